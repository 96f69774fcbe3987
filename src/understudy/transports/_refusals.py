"""Subclasses of ``Refused`` on the wire: the attributes that a class annotates, for who has named the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from understudy.exceptions import Refused
from understudy.transports._errors import MessageNotAccepted
from understudy.transports._remembered import Remembered
from understudy.transports._tags import tag_of

if TYPE_CHECKING:
    from understudy.transports._codec import Codec

__all__ = ["RefusalType", "is_refusal", "refusal_type"]

_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def is_refusal(cls: object) -> bool:
    """Whether *cls* says more than ``Refused`` itself."""
    return isinstance(cls, type) and issubclass(cls, Refused) and cls is not Refused


class RefusalType:
    """A subclass of ``Refused``: its tag, and its annotated attributes, which others validate as they do messages.

    Raises:
        MessageNotAccepted: It has no name that others could find, or an annotation that says nothing.
    """

    __slots__ = ("_adapter", "_model", "cls", "tag")

    def __init__(self, cls: type[Refused]) -> None:
        self.cls = cls
        self.tag = tag_of(cls)
        try:
            hints = get_type_hints(cls)
            fields: dict[str, Any] = {
                name: (hint, ...)
                for name, hint in hints.items()
                if not name.startswith("_") and hint is not ClassVar and get_origin(hint) is not ClassVar
            }
            self._model: type[BaseModel] = create_model(cls.__name__, __config__=_CONFIG, **fields)
            self._adapter: TypeAdapter[Any] = TypeAdapter(self._model)
        except Exception as error:  # of whatever stands in annotations
            raise MessageNotAccepted(what=cls.__qualname__, problem=f"its annotations: {error}") from None

    def dump(self, codec: Codec, error: Refused) -> bytes:
        """The attributes of *error*.

        Raises:
            MessageNotAccepted: It has not all of them, or one that does not fit.
        """
        said = {name: error.__dict__[name] for name in self._model.model_fields if name in error.__dict__}
        if len(said) < len(self._model.model_fields):
            raise MessageNotAccepted(what=self.tag, problem="it has not all that its class annotates")
        return codec.dump(self._adapter, self._model.model_construct(**said), self.tag)

    def load(self, codec: Codec, body: bytes, text: str) -> Refused:
        """The error of that class, with that text; its constructor is not called.

        Raises:
            MessageNotAccepted: The attributes are not those of the class.
        """
        made = codec.load(self._adapter, body, self.tag)
        error = self.cls.__new__(self.cls, text)
        error.args = (text,)
        error.__dict__.update({name: getattr(made, name) for name in self._model.model_fields})
        return error


_known: Remembered[type[Refused], RefusalType] = Remembered(RefusalType, 1_000)


def refusal_type(cls: type[Refused]) -> RefusalType:
    """What *cls* is on the wire; found out once for each class.

    Raises:
        MessageNotAccepted: It cannot cross a link.
    """
    return _known[cls]
