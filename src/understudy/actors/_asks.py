"""Asks in flight: their envelopes, their deadlines, and who waits for whom."""

from __future__ import annotations

import asyncio
import heapq
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from understudy.exceptions import AskTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from understudy.environment import Environment

__all__ = [
    "FRAME",
    "Arrival",
    "Ask",
    "DeadlineQueue",
    "Due",
    "FutureAsk",
    "Letter",
    "Node",
    "Onward",
    "Private",
    "Source",
    "find_cycle",
    "forget",
    "is_plain",
    "message_of",
    "sender_of",
    "trace_of",
]

FRAME: ContextVar[Any] = ContextVar("understudy_frame", default=None)
"""What the code that runs is part of: the ask in hand, else the cell whose pump it is. The only context variable of the
runtime, and set in tasks of the runtime only."""


class Due(Protocol):
    """Something with a deadline: an ask, or one wait of a stream."""

    @property
    def deadline(self) -> float: ...
    @property
    def future(self) -> asyncio.Future[Any]: ...

    def expire(self) -> None:
        """The deadline has come."""
        ...


class Node(Protocol):
    """One end of a wait: an actor, as far as the search for circles is concerned."""

    @property
    def path(self) -> str: ...

    def awaited(self) -> Iterator[Node]:
        """Those for which the handler in hand waits at this moment."""
        ...


class Letter:
    """A message with its sender's cell. A plain tell needs none: the message itself is stored.

    What belongs to a trace that spans several nodes has a ``trace`` too; see :func:`trace_of`.
    """

    __slots__ = ("message", "sender", "trace")
    trace: Mapping[str, str]

    def __init__(self, message: object, sender: Any) -> None:
        self.message = message
        self.sender = sender

    @property
    def sender_path(self) -> str | None:
        """For reports."""
        return None if self.sender is None else self.sender.path


class Private(Letter):
    """A message that an actor sends itself, for the handlers whose names begin with ``_``."""

    __slots__ = ()

    @property
    def void(self) -> bool:
        """Nobody wants it any more."""
        return False

    def taken(self) -> None:
        """It is being handled."""


class Onward(Private):
    """A message that is handled next, whatever waits; gone with the incarnation that wished for it."""

    __slots__ = ()


class Source(Protocol):
    """Something of an incarnation that sends its actor messages."""

    def wants(self, arrival: Arrival) -> bool:
        """Whether *arrival* is to be handled."""
        ...

    def taken(self, arrival: Arrival) -> None:
        """*arrival* is being handled."""
        ...


class Arrival(Private):
    """A message from a timer, a task or a thread of the actor's own; void when that does not want it any more."""

    __slots__ = ("_source",)

    def __init__(self, message: object, sender: Any, source: Source) -> None:
        super().__init__(message, sender)
        self._source = source

    @property
    def void(self) -> bool:
        """Nobody wants it any more."""
        return not self._source.wants(self)

    def taken(self) -> None:
        """It is being handled."""
        self._source.taken(self)


class Ask(Letter):
    """A message that is waited for.

    Separate facts: *in hand* (its handler is running), *answered* (the future is done), the deadline, which binds what
    the handler does also after the asker has given up, and *promised* (what the handler returns is not the reply).
    """

    __slots__ = ("cell", "deadline", "in_hand", "promised", "seconds")

    sender: Any
    cell: Any
    """Of the actor that is asked."""
    seconds: float
    deadline: float
    in_hand: bool
    promised: bool

    if TYPE_CHECKING:

        @property
        def future(self) -> asyncio.Future[Any]:
            """Who waits, and for how it has ended."""
            ...

    def reply(self, value: object) -> bool:
        """Answer, once; False: nobody waits any more."""
        if self.future.done():
            return False
        self.future.set_result(value)
        return True

    def fail(self, error: BaseException) -> bool:
        """Answer with *error*, once; False: nobody waits any more."""
        if self.future.done():
            return False
        self.future.set_exception(error)
        return True

    @property
    def answered(self) -> bool:
        """Whether there is a reply that is no error."""
        return self.future.done() and not self.future.cancelled() and self.future.exception() is None

    def late(self, outcome: object, replier: str | None = None) -> None:
        """Nobody waits for the *outcome* of its handler any more: that becomes a dead letter.

        *replier* is the path of who has answered, if that is not the actor which has it in hand.
        """
        cell = self.cell
        cell.runtime.dead_letter(outcome, self.sender_path or "(asker)", replier or cell.path, "late reply")

    def give_up(self) -> None:
        """Nobody waits from here on."""
        forget(self.future)

    def expire(self) -> None:
        """The deadline has come."""
        if not self.future.done():
            state = self.cell.state_of(self)
            error = AskTimeout(path=self.cell.path, message=self.message, seconds=self.seconds, state=state)
            self.future.set_exception(error)


class FutureAsk(Ask):
    """An ask with a future that somebody else has made, who waits for it in a way of his own."""

    __slots__ = ("future",)

    if TYPE_CHECKING:
        future: asyncio.Future[Any]

    def __init__(
        self, message: object, sender: Any, future: asyncio.Future[Any], cell: Any, seconds: float, deadline: float
    ) -> None:
        self.message = message
        self.sender = sender
        self.future = future  # pyright: ignore[reportIncompatibleMethodOverride] - it may be set too
        self.cell = cell
        self.seconds = seconds
        self.deadline = deadline
        self.in_hand = self.promised = False


def forget(future: asyncio.Future[Any]) -> None:
    """Nobody waits for *future* from here on; an error that nobody has fetched is no news."""
    if not future.done():
        future.cancel()
    elif not future.cancelled():
        future.exception()


def message_of(item: Any) -> Any:
    """The message in an envelope, or what needs none."""
    return item.message if isinstance(item, Letter) else item


def is_plain(item: Any) -> bool:
    """Whether somebody has told or sent it, so that it can be told again: no ask, no news, nothing private."""
    return type(item) is Letter or not isinstance(item, Letter)


def sender_of(item: Any) -> str | None:
    """The path of the sender on an envelope, for reports; a bare message does not say."""
    return item.sender_path if isinstance(item, Letter) else None


def trace_of(item: Any) -> Mapping[str, str] | None:
    """The trace context of an envelope. Most have none, and do not even say so, as that would cost something."""
    return getattr(item, "trace", None) if isinstance(item, Letter) else None


class DeadlineQueue:
    """The deadlines of all asks, with one timer between them.

    Most asks are answered within milliseconds and their deadlines are seconds away. So a new ask is only noted;
    *settle* seconds later those still open are sorted into a heap, and the rest has cost next to nothing. The timer
    runs only while it may be wanted.
    """

    __slots__ = ("_env", "_heap", "_serial", "_settle", "_timer", "due", "fresh")

    def __init__(self, env: Environment, *, settle: float = 0.05) -> None:
        self._env = env
        self._settle = settle
        self.fresh: dict[Due, None] = {}
        """What has come since the last look. Who is done may take himself out, so as not to be kept until the next."""
        self._heap: list[tuple[float, int, Due]] = []
        self._serial = 0
        self._timer: asyncio.TimerHandle | None = None
        self.due = math.inf
        """When the timer fires."""

    def add(self, ask: Due, now: float) -> None:
        """Let *ask* fail at its deadline, unless it is answered before."""
        # While there are others, the timer fires soon enough for whatever is not due at once.
        if not self.fresh or ask.deadline < self.due:
            due = min(now + self._settle, ask.deadline)
            if due < self.due:
                self._arm(due)
        self.fresh[ask] = None

    def close(self) -> None:
        """Forget them all."""
        self.fresh.clear()
        self._heap.clear()
        self._arm(math.inf)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.due = due
        self._timer = self._env.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self.due = None, math.inf
        now = self._env.now()
        fresh, self.fresh = self.fresh, {}
        for ask in fresh:
            if not ask.future.done() and ask.deadline < math.inf:
                self._serial += 1
                heapq.heappush(self._heap, (ask.deadline, self._serial, ask))
        heap = self._heap
        # The loop fires timers up to one tick of its clock early: what is due within that is due now.
        while heap and (heap[0][2].future.done() or heap[0][0] <= now + 1e-9):
            heapq.heappop(heap)[2].expire()
        if heap:
            self._arm(heap[0][0])


def find_cycle(waiting: Node, target: Node) -> list[str] | None:
    """The paths of a circle that *waiting* would close by waiting for *target*, or None.

    Walked from the target at the moment of waiting over the waits that stand, so that it sees crossing waits too.
    """
    if target is waiting:
        return [waiting.path, waiting.path]
    came_from: dict[int, tuple[Node, Node | None]] = {id(target): (target, None)}
    pending = [target]
    while pending:
        node = pending.pop()
        for following in node.awaited():
            if following is waiting:
                return _chain(came_from, node, waiting)
            if id(following) not in came_from:
                came_from[id(following)] = (following, node)
                pending.append(following)
    return None


def _chain(came_from: dict[int, tuple[Node, Node | None]], last: Node, waiting: Node) -> list[str]:
    steps: list[str] = [waiting.path]
    node: Node | None = last
    while node is not None:
        steps.append(node.path)
        node = came_from[id(node)][1]
    return [waiting.path, *reversed(steps)]
