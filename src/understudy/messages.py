"""What actors send one another.

A :class:`Message` is a frozen pydantic model that names the type of its reply: ``class Total(Message[int])`` is
answered with an ``int``. Inside one process an object of any class may be *told*; only a :class:`Message` may be
*asked*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from understudy.reasons import ExitReason

__all__ = ["Asks", "ChildEnded", "ChildStarted", "DeadLetter", "Message", "reply_type"]

R = TypeVar("R", default=None)
M_co = TypeVar("M_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class Message(BaseModel, Generic[R]):
    """A frozen, validated message whose reply has the type *R* (by default None).

    It is validated when it is made and never again inside one process. Equal field values make equal messages.
    Frozen does not mean deep: do not put into a message what you go on changing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    reply_within: ClassVar[float | None] = None
    """Seconds an ask of this class waits when neither the caller nor the handler in hand sets a deadline."""

    def _understudy_self(self) -> Self:
        """For the type checkers: what is sent."""
        return self

    def _understudy_reply(self) -> R:
        """For the type checkers: what comes back."""
        raise NotImplementedError


class Asks(Protocol[M_co, R_co]):
    """A message of type *M* that is answered with *R*; :class:`Message` is one."""

    def _understudy_self(self) -> M_co: ...
    def _understudy_reply(self) -> R_co: ...


def reply_type(message: type) -> Any:
    """What a message class is answered with: ``int`` for ``class Total(Message[int])``, None for no reply.

    Classes that are no messages are never asked, so they have no reply: None.
    """
    metadata: Any = message.__dict__.get("__pydantic_generic_metadata__")
    origin = metadata["origin"] if metadata else None
    if origin is Message:
        return metadata["args"][0]
    if origin is not None:  # a generic message of ours: what it says of its reply, with its variable filled in
        reply = reply_type(origin)
        variables: tuple[Any, ...] = origin.__pydantic_generic_metadata__["parameters"]
        return metadata["args"][variables.index(reply)] if reply in variables else reply
    bases: list[Any] = [base for base in message.__bases__ if issubclass(base, Message)]
    return reply_type(bases[0]) if bases else None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was not handled, to whom it was sent, by whom (a path, or None) and why it was lost."""

    message: object
    recipient: str
    sender: str | None
    why: str


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """Control: a child has come up."""

    name: str
    uid: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """Control: an incarnation of a child has ended; posted exactly once for each."""

    name: str
    uid: int
    incarnation: int
    reason: ExitReason
