"""What an actor without a system is given for the monitors, promises and streams of a running one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from understudy.actors._reply import Reply
from understudy.actors._streams import Stream

if TYPE_CHECKING:
    from understudy.actors._ref import ActorRef
    from understudy.testing._unit import FakeRef, Unit

__all__ = ["FakeMonitor", "FakePromise", "FakeReply", "FakeStream", "Told"]


@dataclass(frozen=True, slots=True)
class Told:
    """A message that the actor has sent to a fake ref: to whom, what, and whom it named as the sender."""

    to: ActorRef[Any]
    message: Any
    sender: ActorRef[Any] | None = None


class FakeMonitor:
    """What ``context.watch`` of an actor without a system returns.

    Attributes:
        ref: Who is watched.
        pact: Whether the end of that actor was to be a failure of this one.
        active: Whether it has not been cancelled.
    """

    def __init__(self, ref: ActorRef[Any], pact: bool) -> None:
        self.ref = ref
        self.pact = pact
        self.active = True

    def cancel(self) -> None:
        """Nothing would come of it any more."""
        self.active = False


class FakePromise:
    """A reply that the actor has promised by ``context.reply_later``, and what has become of it.

    Attributes:
        message: The message that was given to ``reply_later``; None if none was.
        state: ``"open"``; ``"answered"`` by ``send``; ``"failed"`` by ``fail``; ``"dropped"`` when nothing refers to
            the handle any more; ``"given up"`` by the test.
        answer: What it was answered with, or the error that it has failed with.
    """

    def __init__(self, message: Any) -> None:
        self.message = message
        self.state: Literal["open", "answered", "failed", "dropped", "given up"] = "open"
        self.answer: Any = None

    def give_up(self) -> None:
        """Let the asker be gone: what the actor sends from now on is too late, and its ``send`` returns False."""
        self.end("given up", None)

    def end(self, state: Literal["answered", "failed", "dropped", "given up"], answer: Any) -> bool:
        """Write down what has become of it; False: something has already. For the handle."""
        if self.state != "open":
            return False
        self.state, self.answer = state, answer
        return True

    def __repr__(self) -> str:
        return f"<FakePromise of a reply to {type(self.message).__name__}, {self.state}>"


class FakeReply(Reply[Any]):
    """The handle of a promise: what ``context.reply_later`` of an actor without a system returns."""

    __slots__ = ("_promise",)

    def __init__(self, promise: FakePromise) -> None:
        self._promise = promise

    def send(self, value: Any) -> bool:
        """Write it down in the promise; False: it was kept, or given up, before."""
        return self._promise.end("answered", value)

    def fail(self, error: Exception) -> bool:
        """Write it down in the promise; False: it was kept, or given up, before."""
        return self._promise.end("failed", error)

    @property
    def open(self) -> bool:
        """Whether somebody still waits for it."""
        return self._promise.state == "open"

    def __repr__(self) -> str:
        return f"<FakeReply to {type(self._promise.message).__name__}, {self._promise.state}>"

    def __del__(self) -> None:
        self._promise.end("dropped", None)


class FakeStream(Stream[Any]):
    """What ``stream`` of a fake ref returns; the unit has it in ``streamed`` once its first part was wanted.

    Attributes:
        to: Whom the actor has asked for it.
        message: The request.
        taken: The parts that the actor has taken, in order.
        ended: Whether the loop has come to its end, by the last part or an error.
        closed: Whether it is over: it has ended, or the actor has closed it, by ``async with`` or ``aclose``. A loop
            that is left by ``break`` does not close it by itself.
    """

    __slots__ = ("_parts", "_unit", "closed", "ended", "message", "taken", "to")

    def __init__(self, unit: Unit[Any], to: FakeRef, message: Any, patience: float, limit: int) -> None:
        super().__init__(to, message, patience, limit)
        self.to, self.message = to, message
        self.taken: list[Any] = []
        self.ended = self.closed = False
        self._unit = unit
        self._parts: Iterator[Any] | None = None

    async def __anext__(self) -> Any:
        if self.closed:
            raise StopAsyncIteration
        try:
            part = self._next_part()
        except BaseException:
            self.ended = self.closed = True
            raise
        self.taken.append(part)
        return part

    def _next_part(self) -> Any:
        if self._parts is None:
            self._unit.streamed.append(self)
            self._parts = _parts(self._unit.reply_to(self.to, self.message, "parts"), self.message)
        try:
            part = next(self._parts)
        except StopIteration:
            raise StopAsyncIteration from None
        if isinstance(part, BaseException):
            raise part
        return part

    def _close(self) -> None:
        self.closed = True


def _parts(answer: Any, message: Any) -> Iterator[Any]:
    if isinstance(answer, str | bytes) or not hasattr(answer, "__iter__"):
        name = type(message).__name__
        raise AssertionError(f"{name} asks for a stream: unit.answer(ref, {name}, [part, ...]), not {answer!r}")
    parts: Iterator[Any] = iter(answer)
    return parts
