"""Frames and messages into bytes, and back; no I/O.

A packed frame is its number (one byte), the lengths of header and body (four bytes each, big-endian), the header and
the body. The header is the frame itself, in JSON or, where both sides have it, in MessagePack; the body is a message,
an array of messages, a reply or a part of a stream, always JSON as pydantic writes it.
"""

from __future__ import annotations

import importlib
import math
import struct
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from understudy.exceptions import MissingExtra
from understudy.transports._address import NoAddress
from understudy.transports._errors import MessageNotAccepted, ProtocolError
from understudy.transports._frames import FRAMES, Ask, Fault, Goodbye, Open, Stop
from understudy.transports._limits import MAX_DEPTH, MAX_SIZE, check_json, elements_of, is_harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._ref import Carrier
    from understudy.transports._frames import Frame
    from understudy.transports._wire import WireType

__all__ = ["HEADER_SIZE", "Codec", "JsonHeaders", "MsgpackHeaders", "Packed", "has_msgpack"]

_HEAD = struct.Struct("!BII")
HEADER_SIZE = _HEAD.size
"""Bytes before the header of each frame."""


Packed: TypeAlias = "tuple[Frame, bytes]"
"""A frame that has come, with its body, which nobody has looked at."""


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
        self.dump: Callable[[Frame], bytes] = library.msgpack.Encoder().encode
        """The header of a frame."""
        self._decoders = {code: library.msgpack.Decoder(cls) for code, cls in FRAMES.items()}
        self._errors = (library.DecodeError, UnicodeDecodeError, RecursionError)

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
        # Letters to one actor have the same header again and again: the last that was read, and what it says.
        self._last: tuple[int, bytes, Frame] = (-1, b"", Goodbye())

    # Frames

    def pack(self, frame: Frame, body: bytes = b"") -> bytes:
        """The bytes of *frame*.

        Raises:
            MessageNotAccepted: It is larger than the limit.
        """
        return self.join(frame.code, self.headers.dump(frame), body, frame)

    def join(self, code: int, header: bytes, body: bytes, frame: object) -> bytes:
        """The bytes of *frame*, whose number and header these are.

        Raises:
            MessageNotAccepted: It is larger than the limit.
        """
        size = len(header) + len(body)
        if size > self.max_size:
            problem = f"it makes a frame of {size:,} bytes, where {self.max_size:,} are allowed"
            raise MessageNotAccepted(what=getattr(frame, "tag", type(frame).__name__), problem=problem)
        return b"".join((_HEAD.pack(code, len(header), len(body)), header, body))

    def unpack(self, data: bytes, start: int = 0, stop: int | None = None) -> list[Packed]:
        """The frames in *data* from *start* on, up to *stop* or its end, one after the other.

        Raises:
            ProtocolError: There is something that is no frame, or is too large.
        """
        found: list[Packed] = []
        at, end, max_size = start, len(data) if stop is None else stop, self.max_size
        while at < end:
            if end - at < HEADER_SIZE:
                raise ProtocolError(problem="a frame that ends within its lengths")
            code, header_size, body_size = _HEAD.unpack_from(data, at)
            if code not in FRAMES:
                raise ProtocolError(problem=f"a frame of kind {code}, which does not exist")
            if header_size + body_size > max_size:
                raise ProtocolError(
                    problem=f"a frame of {header_size + body_size:,} bytes, where {max_size:,} are allowed"
                )
            body_at = at + HEADER_SIZE + header_size
            following = body_at + body_size
            if following > end:
                raise ProtocolError(problem="a frame that ends before its end")
            header = data[at + HEADER_SIZE : body_at]
            last_code, last_header, frame = self._last
            if header != last_header or code != last_code:
                frame = self.headers.load(code, header, self._max_depth)
                self._last = (code, header, frame)
            found.append((frame, data[body_at:following]))
            at = following
        return found

    # Bodies

    def dump(
        self,
        adapter: TypeAdapter[Any],
        value: object,
        what: str,
        *,
        exclude_unset: bool = False,
        validated: bool = False,
    ) -> bytes:
        """*value* as a body.

        Args:
            adapter: Of its type.
            value: What to write.
            what: It is, in the error.
            exclude_unset: Whether to leave out what nobody has set.
            validated: Whether it was when it was made, as messages are: to look again whether it fits its type costs
                more than to write it, and the other side does so in any case.

        Raises:
            MessageNotAccepted: It does not fit its own type, or has no form in JSON.
        """
        warnings: Literal["error", False] = False if validated else "error"
        try:
            return adapter.serializer.to_json(
                value, context=self._carrier, warnings=warnings, exclude_unset=exclude_unset
            )
        except (PydanticSerializationError, UnicodeEncodeError, RecursionError) as error:
            raise MessageNotAccepted(what=what, problem=f"its value has no form in JSON: {error}") from None

    def load(self, adapter: TypeAdapter[Any], body: bytes, what: str) -> Any:
        """The value in *body*.

        Raises:
            ProtocolError: It is no JSON as it has to be, or has no address where a ref should be; nobody sends that by
                accident.
            MessageNotAccepted: It is, and is no such value.
        """
        if len(body) > self.max_size or not is_harmless(body, max_depth=self._max_depth):
            check_json(body, max_size=self.max_size, max_depth=self._max_depth)
            return self._validated(adapter, body, what)
        try:
            return self._validated(adapter, body, what)
        except MessageNotAccepted:
            check_json(body, max_size=self.max_size, max_depth=self._max_depth)  # it may be no JSON
            raise

    def load_each(self, wire: WireType, body: bytes, most: int) -> list[Any]:
        """The messages in *body*, an array of them; in the place of one that is no such message the error that says so.

        A message that stands beside a wrong one may be validated twice.

        Raises:
            ProtocolError: As from :meth:`load`, or *body* is no array with something in it, and no more than *most*.
        """
        # Objects only are counted so early; of something else a message is made by a validator of the user's alone.
        depth = self._max_depth + 1
        checked = len(body) > self.max_size or not is_harmless(body, max_depth=depth, max_elements=most)
        if checked:
            self.count(body, most)
        try:
            messages: list[Any] = self._validated(wire.adapter_of_many, body, wire.tag)
            if 0 < len(messages) <= most:
                return messages
        except MessageNotAccepted:
            pass
        if not checked:  # it may be no JSON, or have too many elements
            self.count(body, most)
        return [self._validated_or_error(wire, each) for each in elements_of(body)]

    def count(self, body: bytes, most: int) -> int:
        """How many elements the array in *body* has, of which nothing but JSON has been made yet.

        Raises:
            ProtocolError: It is no such JSON, or has none, or more than *most*.
        """
        found: Any = check_json(body, max_size=self.max_size, max_depth=self._max_depth + 1)
        if found.__class__ is not list or not found:
            raise ProtocolError(problem="a letter without messages")
        if len(found) > most:
            raise ProtocolError(problem=f"more messages for one actor than the {most:,} that may be under way")
        return len(found)

    def _validated_or_error(self, wire: WireType, element: bytes) -> Any:
        try:
            return self._validated(wire.adapter, element, wire.tag)
        except MessageNotAccepted as error:
            return error

    def _validated(self, adapter: TypeAdapter[Any], body: bytes, what: str) -> Any:
        try:
            return adapter.validator.validate_json(body, strict=True, context=self._carrier)
        except ValidationError as error:
            raise MessageNotAccepted(what=what, problem=_first(error, "a value")) from None
        except NoAddress:
            raise
        except Exception as error:  # of a validator of the user's, whatever it is
            raise MessageNotAccepted(what=what, problem=f"its validation raised {type(error).__name__}") from error


def _adapters() -> dict[int, TypeAdapter[Any]]:
    if not _made:
        for code, cls in FRAMES.items():
            setattr(cls, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010 - a dataclass has no such field
            _made[code] = TypeAdapter(cls)
    return _made


_NUMBERS = {Ask.code: ("left",), Open.code: ("left", "patience"), Fault.code: ("number",), Stop.code: ("seconds",)}
"""What MessagePack would let be no number, or without limit; JSON does not."""
_FEW = 1_000
"""Mistakes in a value, of which the first is told."""
_made: dict[int, TypeAdapter[Any]] = {}
"""Made when the first link is; to import this module costs nothing."""


def _first(error: ValidationError, what: str) -> str:
    """The first of what is wrong, without the data."""
    if error.error_count() > _FEW:  # to say each would take many times what was sent
        return f"{what} with {error.error_count():,} mistakes"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(each) for each in first["loc"])
    return (
        f"{what} with a wrong {where}: {first['type']}" if where else f"no {what.removeprefix('a ')}: {first['type']}"
    )
