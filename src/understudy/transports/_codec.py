"""Frames and messages into bytes, and back; no I/O.

A packed frame is its number (one byte), the lengths of header and body (four bytes each, big-endian), the header and
the body. The header is the frame itself, in JSON or, where both sides have it, in MessagePack; the body is a message, a
reply or a part of a stream, always JSON as pydantic writes it.
"""

from __future__ import annotations

import importlib
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from understudy.exceptions import MissingExtra, UnderstudyError
from understudy.transports._errors import MessageNotAccepted, ProtocolError
from understudy.transports._frames import FRAMES, Ask, Fault, Open, Stop
from understudy.transports._limits import MAX_DEPTH, MAX_SIZE, check_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy.actors._ref import Carrier
    from understudy.transports._frames import Frame

__all__ = ["HEADER_SIZE", "Codec", "JsonHeaders", "MsgpackHeaders", "Packed", "has_msgpack"]

_HEAD = struct.Struct("!BII")
HEADER_SIZE = _HEAD.size
"""Bytes before the header of each frame."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A frame that has come, with its body, which nobody has looked at."""

    frame: Frame
    body: bytes


class JsonHeaders:
    """Headers as JSON, strictly validated."""

    name = "json"

    def __init__(self) -> None:
        self._adapters = _adapters()

    def dump(self, frame: Frame) -> bytes:
        """The header of *frame*."""
        return self._adapters[frame.code].dump_json(frame, exclude_defaults=True)

    def load(self, code: int, header: bytes, max_depth: int) -> Frame:
        """The frame with that number and header.

        Raises:
            ProtocolError: It is none.
        """
        check_json(header, max_size=len(header), max_depth=max_depth)
        try:
            frame: Frame = self._adapters[code].validate_json(header, strict=True)
        except ValidationError as error:
            raise ProtocolError(problem=_first(error, f"a {FRAMES[code].__name__}")) from None
        return frame


class MsgpackHeaders:
    """Headers as MessagePack; needs msgspec.

    Raises:
        MissingExtra: msgspec is not installed.
    """

    name = "msgpack"

    def __init__(self) -> None:
        try:
            library: Any = importlib.import_module("msgspec")
        except ImportError:
            raise MissingExtra(what="MessagePack", package="msgspec", extra="msgpack") from None
        self._encode = library.msgpack.Encoder().encode
        self._decoders = {code: library.msgpack.Decoder(cls) for code, cls in FRAMES.items()}
        self._errors = (library.DecodeError, UnicodeDecodeError, RecursionError)

    def dump(self, frame: Frame) -> bytes:
        """The header of *frame*."""
        data: bytes = self._encode(frame)
        return data

    def load(self, code: int, header: bytes, max_depth: int) -> Frame:
        """The frame with that number and header; how deep it can be its class says.

        Raises:
            ProtocolError: It is none.
        """
        try:
            frame: Frame = self._decoders[code].decode(header)
        except self._errors as error:
            raise ProtocolError(problem=f"no {FRAMES[code].__name__}: {error}") from None
        for name in _NUMBERS.get(code, ()):
            value = getattr(frame, name)
            if value is not None and not math.isfinite(value):
                raise ProtocolError(problem=f"a {FRAMES[code].__name__} whose {name} is {value}")
        return frame


def has_msgpack() -> bool:
    """Whether msgspec is there."""
    try:
        importlib.import_module("msgspec")
    except ImportError:
        return False
    return True


class Codec:
    """Packs and unpacks what crosses one link, in one direction or both.

    Args:
        headers: How headers are written.
        carrier: What refs in messages become, and come from.
        max_size: Bytes of header and body of one frame.
        max_depth: How deep JSON may be.
    """

    def __init__(
        self,
        headers: JsonHeaders | MsgpackHeaders,
        carrier: Carrier | None,
        *,
        max_size: int = MAX_SIZE,
        max_depth: int = MAX_DEPTH,
    ) -> None:
        self.headers = headers
        self._carrier = carrier
        self.max_size = max_size
        self._max_depth = max_depth

    # Frames

    def pack(self, frame: Frame, body: bytes = b"") -> bytes:
        """The bytes of *frame*.

        Raises:
            MessageNotAccepted: It is larger than the limit.
        """
        header = self.headers.dump(frame)
        size = len(header) + len(body)
        if size > self.max_size:
            problem = f"it makes a frame of {size:,} bytes, where {self.max_size:,} are allowed"
            raise MessageNotAccepted(what=getattr(frame, "tag", type(frame).__name__), problem=problem)
        return _HEAD.pack(frame.code, len(header), len(body)) + header + body

    def unpack(self, data: bytes, start: int = 0) -> Iterator[Packed]:
        """The frames in *data* from *start* on, one after the other.

        Raises:
            ProtocolError: What comes next is no frame, or too large.
        """
        end = len(data)
        while start < end:
            if end - start < HEADER_SIZE:
                raise ProtocolError(problem="a frame that ends within its lengths")
            code, header_size, body_size = _HEAD.unpack_from(data, start)
            if code not in FRAMES:
                raise ProtocolError(problem=f"a frame of kind {code}, which does not exist")
            if header_size + body_size > self.max_size:
                raise ProtocolError(
                    problem=f"a frame of {header_size + body_size:,} bytes, where {self.max_size:,} are allowed"
                )
            body_at = start + HEADER_SIZE + header_size
            following = body_at + body_size
            if following > end:
                raise ProtocolError(problem="a frame that ends before its end")
            header = data[start + HEADER_SIZE : body_at]
            yield Packed(self.headers.load(code, header, self._max_depth), data[body_at:following])
            start = following

    # Bodies

    def dump(self, adapter: TypeAdapter[Any], value: object, what: str, *, exclude_unset: bool = False) -> bytes:
        """*value* as a body.

        Raises:
            MessageNotAccepted: It does not fit its own type, or has no form in JSON.
        """
        try:
            return adapter.dump_json(value, context=self._carrier, warnings="error", exclude_unset=exclude_unset)
        except (PydanticSerializationError, UnicodeEncodeError, RecursionError) as error:
            raise MessageNotAccepted(what=what, problem=f"its value has no form in JSON: {error}") from None

    def load(self, adapter: TypeAdapter[Any], body: bytes, what: str) -> Any:
        """The value in *body*.

        Raises:
            ProtocolError: It is no JSON as it has to be; nobody sends that by accident.
            MessageNotAccepted: It is, and is no such value.
        """
        check_json(body, max_size=self.max_size, max_depth=self._max_depth)
        try:
            return adapter.validate_json(body, strict=True, context=self._carrier)
        except ValidationError as error:
            raise MessageNotAccepted(what=what, problem=_first(error, "a value")) from None
        except UnderstudyError:  # of a ref in it
            raise
        except Exception as error:  # of a validator of the user's
            raise MessageNotAccepted(what=what, problem=f"its validation raised {type(error).__name__}") from error


def _adapters() -> dict[int, TypeAdapter[Any]]:
    if not _made:
        for code, cls in FRAMES.items():
            setattr(cls, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010 - a dataclass has no such field
            _made[code] = TypeAdapter(cls)
    return _made


_NUMBERS = {Ask.code: ("left",), Open.code: ("left", "patience"), Fault.code: ("number",), Stop.code: ("seconds",)}
"""What MessagePack would let be no number, or without limit; JSON does not."""
_made: dict[int, TypeAdapter[Any]] = {}
"""Made when the first link is; to import this module costs nothing."""


def _first(error: ValidationError, what: str) -> str:
    """The first of what is wrong, without the data."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(each) for each in first["loc"])
    return (
        f"{what} with a wrong {where}: {first['type']}" if where else f"no {what.removeprefix('a ')}: {first['type']}"
    )
