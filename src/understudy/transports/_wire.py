"""Which classes may cross a link, by what name, and in what shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from types import GenericAlias
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from understudy.exceptions import InvalidSpec
from understudy.messages import Message, StreamMessage, part_type, reply_type
from understudy.transports._errors import MessageNotAccepted
from understudy.transports._refusals import RefusalType, is_refusal, refusal_type
from understudy.transports._remembered import Remembered
from understudy.transports._tags import tag_of

if TYPE_CHECKING:
    from understudy.actors._actor import Actor

__all__ = ["Registry", "WireType", "vocabulary", "wire_type"]


class WireType:
    """A message class on the wire: tag, hash of its schema, and what its replies and parts are."""

    __slots__ = ("_adapter_of_many", "adapter", "answer", "answer_class", "cls", "hash", "tag")

    def __init__(self, cls: type[Any]) -> None:
        if not _is_message(cls):
            what = getattr(cls, "__qualname__", repr(cls))
            raise MessageNotAccepted(what=str(what), problem="only a Message or a StreamMessage can")
        self.cls = cls
        self.tag = tag_of(cls)
        streams = issubclass(cls, StreamMessage)
        answer: Any = (part_type if streams else reply_type)(cls)
        try:
            self.adapter: TypeAdapter[Any] = TypeAdapter(cls)
            self.answer: TypeAdapter[Any] = TypeAdapter(type(None) if answer is None else answer)
            shapes = [adapter.json_schema() for adapter in (self.adapter, self.answer)]
        except PydanticInvalidForJsonSchema as error:
            raise MessageNotAccepted(what=cls.__qualname__, problem=f"it has no form in JSON: {error}") from None
        except PydanticUserError as error:
            raise MessageNotAccepted(what=cls.__qualname__, problem=str(error).partition("\n")[0]) from None
        self.hash = _hash_of([_bare(shape) for shape in shapes])
        # What is of this class fits the type of the answer, without a look at it.
        self.answer_class = answer if isinstance(answer, type) and issubclass(answer, _PLAIN) else None
        self._adapter_of_many: TypeAdapter[Any] | None = None

    @property
    def adapter_of_many(self) -> TypeAdapter[Any]:
        """Of a list of them; made when it is first wanted, since many classes are only asked."""
        if self._adapter_of_many is None:
            many: Any = GenericAlias(list, (self.cls,))
            self._adapter_of_many = TypeAdapter(many)
        return self._adapter_of_many


_PLAIN = (BaseModel, str, int, float, bool)
_known: Remembered[type[Any], WireType] = Remembered(WireType, 10_000)


def wire_type(cls: type[Any]) -> WireType:
    """What *cls* is on the wire; found out once for each class.

    Raises:
        MessageNotAccepted: It cannot cross a link.
    """
    return _known[cls]


def vocabulary(actor: type[Actor[Any]]) -> list[type[Any]]:
    """The message classes that *actor* declares to handle."""
    table = getattr(actor, "__understudy_handlers__", None)
    if table is None:
        raise InvalidSpec(child="actors", field="actors", problem=f"must be classes of actors, got {actor!r}")
    return [cls for cls in table if _is_message(cls)]


class Registry:
    """What one side of a link decodes: the message classes that it was given, and those its actors handle.

    Args:
        messages: Message classes, and subclasses of ``Refused`` that may come in the place of replies.
        actors: Classes of actors that others may start here; what they handle is added.

    Raises:
        InvalidSpec: Two classes have one tag; names their modules.
        MessageNotAccepted: A class cannot cross a link.
    """

    def __init__(self, messages: Iterable[type[Any]] = (), actors: Iterable[type[Actor[Any]]] = ()) -> None:
        self._types: dict[str, WireType] = {}
        self.actors: dict[str, type[Actor[Any]]] = {}
        self.refusals: dict[str, RefusalType] = {}
        for cls in messages:
            if is_refusal(cls):
                self._add_refusal(refusal_type(cls))
            else:
                self.add(cls)
        for actor in actors:
            for cls in vocabulary(actor):
                self.add(cls)
            tag = tag_of(actor)
            _check_free(self.actors.get(tag), actor, tag)
            self.actors[tag] = actor

    def add(self, cls: type[Any]) -> WireType:
        """Decode *cls* as well."""
        found = wire_type(cls)
        other = self._types.get(found.tag)
        _check_free(None if other is None else other.cls, cls, found.tag)
        self._types[found.tag] = found
        return found

    def _add_refusal(self, found: RefusalType) -> None:
        other = self.refusals.get(found.tag)
        _check_free(None if other is None else other.cls, found.cls, found.tag)
        self.refusals[found.tag] = found

    def find(self, tag: str) -> WireType:
        """The class with that tag.

        Raises:
            MessageNotAccepted: There is none that may be decoded.
        """
        found = self._types.get(tag)
        if found is None:
            raise MessageNotAccepted(what=tag, problem="this node does not accept it: name it in `messages=`")
        return found

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of the schemas, by tag."""
        return {tag: each.hash for tag, each in sorted(self._types.items())}


def _check_free(other: type | None, cls: type, tag: str) -> None:
    """*tag* is to be that of *cls*, and is that of *other* if there is one."""
    if other is not None and other is not cls:
        both = f"{other.__module__}.{other.__qualname__} and {cls.__module__}.{cls.__qualname__}"
        problem = f"two classes have the tag {tag!r}, {both}: give one of them another `wire_name`"
        raise InvalidSpec(child="messages", field="wire_name", problem=problem)


def _is_message(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, Message | StreamMessage)


def _hash_of(shape: object) -> str:
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:32]


def _bare(schema: Any, *, names: bool = False) -> Any:
    """*schema* without what only people read; with *names*, its keys are those of fields and not of the schema."""
    if isinstance(schema, dict):
        known = cast("dict[str, Any]", schema)
        return {
            key: _bare(value, names=not names and key in ("properties", "$defs"))
            for key, value in known.items()
            if names or key not in ("title", "description", "examples")
        }
    if isinstance(schema, list):
        return [_bare(each) for each in schema]  # pyright: ignore[reportUnknownVariableType]
    return schema
