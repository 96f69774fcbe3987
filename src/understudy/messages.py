"""What actors send one another.

A :class:`Message` is a frozen pydantic model that names the type of its reply: ``class Total(Message[int])`` is
answered with an ``int``. Inside one process an object of any class may be *told*; only a :class:`Message` may be
*asked*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeAlias

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from understudy.reasons import ExitReason

__all__ = [
    "Asks",
    "Continue",
    "DeadLetter",
    "Ignore",
    "LinkExit",
    "Message",
    "ReceiveTimeout",
    "Signal",
    "StreamMessage",
    "Streams",
    "Terminated",
    "TraceEvent",
    "Traced",
    "part_type",
    "reply_type",
]

R = TypeVar("R", default=None)
T = TypeVar("T")
M_co = TypeVar("M_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)


class Message(BaseModel, Generic[R]):
    """A frozen, validated message whose reply has the type *R* (by default None).

    It is validated when it is made and never again inside one process. Equal field values make equal messages.
    Frozen does not mean deep: do not put into a message what you go on changing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    reply_within: ClassVar[float | None] = None
    """Seconds an ask of this class waits when neither the caller nor the handler in hand sets a deadline."""

    wire_name: ClassVar[str | None] = None
    """The name of this very class where it crosses to another process; without one it is that of module and class.
    Subclasses do not inherit it."""

    resets_receive_timeout: ClassVar[bool] = True
    """Whether a message of this class ends the quiet that an actor with a receive timeout listens for."""

    def _understudy_self(self) -> Self:
        """For the type checkers: what is sent."""
        return self

    def _understudy_reply(self) -> R:
        """For the type checkers: what comes back."""
        raise NotImplementedError


class StreamMessage(BaseModel, Generic[T]):
    """A message that is answered with a stream of *T*: ``class Tokens(StreamMessage[str])``, ``ref.stream(Tokens())``.

    It is a frozen model like :class:`Message`. Its handler is an asynchronous generator, annotated
    ``-> AsyncIterator[T]``. It cannot be asked; told, it is unhandled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    wire_name: ClassVar[str | None] = None
    """As of :class:`Message`."""

    def _understudy_self(self) -> Self:
        """For the type checkers: what is sent."""
        return self

    def _understudy_part(self) -> T:
        """For the type checkers: what comes back, again and again."""
        raise NotImplementedError


class Streams(Protocol[M_co, T_co]):
    """A message of type *M* that is answered with a stream of *T*; :class:`StreamMessage` is one."""

    def _understudy_self(self) -> M_co: ...
    def _understudy_part(self) -> T_co: ...


class Asks(Protocol[M_co, R_co]):
    """A message of type *M* that is answered with *R*; :class:`Message` is one."""

    def _understudy_self(self) -> M_co: ...
    def _understudy_reply(self) -> R_co: ...


def reply_type(message: type) -> Any:
    """What a message class is answered with: ``int`` for ``class Total(Message[int])``, None for no reply.

    Classes that are no messages are never asked, so they have no reply: None.
    """
    return _argument(message, Message)


def part_type(message: type) -> Any:
    """What a stream of a message class consists of: ``str`` for ``class Tokens(StreamMessage[str])``."""
    return _argument(message, StreamMessage)


def _argument(message: type, root: type) -> Any:
    """``int`` for ``class Total(root[int])``; None where nothing is said."""
    metadata: Any = message.__dict__.get("__pydantic_generic_metadata__")
    origin = metadata["origin"] if metadata else None
    if origin is root:
        return metadata["args"][0]
    if origin is not None:  # a generic message of ours: what it says of its reply, with its variable filled in
        found = _argument(origin, root)
        variables: tuple[Any, ...] = origin.__pydantic_generic_metadata__["parameters"]
        return metadata["args"][variables.index(found)] if found in variables else found
    bases: list[Any] = [base for base in message.__bases__ if issubclass(base, root)]
    return _argument(bases[0], root) if bases else None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was not handled, to whom it was sent, by whom (a path, or None) and why it was lost."""

    message: object
    recipient: str
    sender: str | None
    why: str


TraceEvent: TypeAlias = Literal[
    "started",
    "received",
    "handled",
    "replied",
    "late",
    "refused",
    "unhandled",
    "interrupted",
    "failed",
    "lost",
    "ended",
    "stopped",
]
"""What a :class:`Traced` tells of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """Something that has happened to an actor that is traced; what its tracer gets, see :meth:`Debug.trace`.

    =============== =====================================================================================
    ``event``       what happened, and what ``detail`` is
    =============== =====================================================================================
    ``started``     an incarnation has come up
    ``received``    a message was taken from the mailbox, and its handler begins
    ``handled``     the handler has ended, and there was nothing to reply to
    ``replied``     the ask was answered, by the handler or later; the reply
    ``late``        likewise, but nobody waited for it any more; the reply
    ``refused``     the handler has said no; the ``Refused``
    ``unhandled``   there is no handler for the message
    ``interrupted`` the handler was cancelled by the runtime
    ``failed``      the handler has raised; the error
    ``lost``        a message for the actor has become a dead letter; why
    ``ended``       an incarnation has ended; the exit reason
    ``stopped``     the actor has ended for good; the exit reason, and this is the last
    =============== =====================================================================================

    A message that was interrupted is ``lost`` too; one whose handler was given up on is that only.
    """

    event: TraceEvent
    path: str
    incarnation: int
    time: float
    """On the event loop's clock, in seconds."""
    message: object = None
    """The message itself, not a copy; a list where one handler takes many. None where it is about none."""
    sender: str | None = None
    """The path of the actor that has asked, or was named in ``tell``."""
    detail: object = None
    missed: int = 0
    """How many of these, just before this one, the tracer had no room for."""

    def __str__(self) -> str:
        message = "" if self.message is None else f" {self.message!r}"
        sender = "" if self.sender is None else f" from {self.sender}"
        detail = "" if self.detail is None else f": {self.detail}"
        missed = f" ({self.missed:,} missed before)" if self.missed else ""
        return f"{self.path} #{self.incarnation} {self.event}{message}{sender}{detail}{missed}"


class Signal:
    """News from the runtime, handled by a handler that is annotated with its type; nobody else can send one.

    Signals are not among the messages that a class declares to accept. One without a handler is passed over.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Terminated(Signal):
    """An actor that is watched has ended for good.

    It comes behind all that the actor had sent, and the name of the actor is free by then.
    """

    ref: Any
    """The ref that was watched."""
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class LinkExit(Signal):
    """An actor that is linked has ended abnormally; only for those that trap exits."""

    ref: Any
    """The ref that was linked."""
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class ReceiveTimeout(Signal):
    """No message has come for so many *seconds*; see ``context.receive_timeout``."""

    seconds: float


class Ignore:
    """Returned by ``initialize``: this actor does not want to run now, which is no failure.

    Under a supervisor it stays listed without a ref, and can be started later by ``restart_child``.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Continue:
    """Returned by ``initialize``, or by the handler of such a message: *message* is handled next.

    That is before anything in the mailbox, also before what came earlier. A handler whose name begins with ``_`` may
    take it. ``initialize`` can thus return quickly and let its supervisor go on, with the rest done before any message.
    """

    message: object
