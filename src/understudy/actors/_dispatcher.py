"""The run queue: many activations of actors for one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from understudy.actors._parked import ParkedPumps
from understudy.environment import not_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._asks import Ask
    from understudy.actors._inbox import Inbox
    from understudy.actors._intake import Intake
    from understudy.actors._life import Job
    from understudy.actors._plain_ask import PlainAsk
    from understudy.environment import Environment

__all__ = ["Dispatcher", "Runnable"]

_STRETCH = 16
_FEW = 8
"""Who has a reply goes on between two looks at the clock with so many others."""
_ROUND = 0.004
"""Seconds within which each of those who wait for a turn should have had one, however many are flooded."""
_WORTHWHILE = 10e-6
"""Seconds; a turn is not made shorter than that, as to begin one costs too."""
_CROWD = 8
"""Who wait for one turn of the event loop; from more on that costs each of them next to nothing."""


class Runnable(Protocol):
    """What waits in the run queue."""

    def activate(self, limit: int) -> int:
        """Handle at most *limit* messages, say how many, and push itself again if there are more. Never raises."""
        ...


class Dispatcher:
    """Runs cells that have work, all of them together for one slice of time in each turn of the event loop.

    The slice bounds how long timers and I/O wait, whatever the number of busy actors. A ``def`` handler runs here, in
    :attr:`context`; pumps of ``async def`` handlers are tasks and ask for an :meth:`allowance` of further messages.
    """

    __slots__ = (
        "_ahead_until",
        "_asked",
        "_complain",
        "_env",
        "_limit",
        "_queue",
        "_scheduled",
        "_share",
        "_slice",
        "_stretch",
        "answered",
        "closed",
        "context",
        "crowded",
        "done",
        "marked",
        "parked",
        "slice_end",
        "slices",
        "spare",
        "under_way",
        "waiting",
    )

    def __init__(
        self, env: Environment, *, limit: int, slice_seconds: float, complain: Callable[[str, BaseException], None]
    ) -> None:
        self._env = env
        self._complain = complain
        self._limit = limit
        self._slice = slice_seconds
        self._queue: deque[Runnable] = deque()
        self.marked = False
        """Whether there is work, which this or the next turn will do."""
        # Whether the event loop has been asked for a turn. It may come to nothing, if all has been done ahead of it.
        self._scheduled = False
        # Messages between two looks at the clock. One, once that many have cost more than the slice.
        self._stretch = min(_STRETCH, limit)
        # Messages that an actor handles before the next has its turn.
        self._share = limit
        self.slice_end = 0.0
        self.slices = 0
        """Counts when one begins in a step of the event loop, and when it ends; not those that are ahead of one, in the
        midst of somebody's step. So a task that finds another number than before has been suspended."""
        self._asked = 0.0
        self.under_way = False
        """A slice is running."""
        self.spare: tuple[Runnable, Job] | None = None
        """A pump that has nothing more to do, and whose cell is being activated at its end: it may go on."""
        # Until when, since the last turn, work may be done ahead of the next; 0 when none has been.
        self._ahead_until = 0.0
        self.waiting = 0
        """How many wait for the next turn, which was not done ahead for them."""
        self.crowded = False
        """So many have waited for the last turn that it costs each of them next to nothing: nothing is done ahead."""
        self.answered: list[PlainAsk] | None = None
        """While a turn is under way, those whose tasks have got their replies in it: they go on at its end."""
        self.done: asyncio.Future[None] = asyncio.Future(loop=env.loop)
        """A future that is done, to show to tasks that go on."""
        self.done.set_result(None)
        self.closed = False
        self.parked = ParkedPumps(env)
        self.context = Context()
        """Where ``def`` handlers run: empty between two messages, replaced when a handler has left something in it."""

    def push(self, cell: Runnable) -> None:
        """Put *cell*, which is not in the queue, at its end."""
        self._queue.append(cell)
        if not self.marked and not self.closed:
            self.marked = True
            if not self._scheduled:
                self._schedule()

    def push_first(self, cell: Runnable) -> None:
        """Put *cell*, which has just been activated, back at the front: it goes on before the next one begins."""
        self._queue.appendleft(cell)
        if not self.marked:
            self._mark()

    def allowance(self, handled: int, since_last: int) -> int:
        """How many more messages a pump may handle in this iteration of the loop before it asks again; 0: none.

        A pump that resumes after a wait finds no turn under way and opens a slice of its own, which lasts until the
        turn that it marks begins.

        Args:
            handled: How many messages it has handled since it began.
            since_last: How many of them since it asked last; with the time since anybody asked, that is their cost.
        """
        now = self._env.stopwatch()
        cost, self._asked = (now - self._asked) / since_last, now
        self._share = self._next_share(cost)
        left = self._share - handled
        if left <= 0 and self._queue:
            return 0
        if not self.marked:
            self.slice_end = now + self._slice
            self.slices += 1
            self._mark()
        elif now >= self.slice_end:
            return 0
        few = self._next_stretch(cost)
        return few if few <= left or left <= 0 else left

    @property
    def idle(self) -> bool:
        """Whether nobody is in the run queue, and nobody's turn is under way."""
        return not self._queue and not self.under_way

    @property
    def works_ahead(self) -> bool:
        """Whether what takes next to no time is done now, here, and not in the next turn."""
        return True

    def may_step_ahead(self) -> bool:
        """Whether there is time to do now, here, what the next turn would do: as for :meth:`run_ahead`."""
        if self.closed:
            return False
        now = self._env.stopwatch()
        if self.under_way:
            return now < self.slice_end
        if not self._ahead_until:
            self._ahead_until = now + self._slice
            self._schedule()
        return now < self._ahead_until

    def run_ahead(self) -> None:
        """Do now what the next turn would do, for somebody who is about to wait for the outcome.

        It spares him two turns of the event loop, which cost several times what an actor does in between. All that is
        done ahead of one turn has one more slice; then he waits, and others have the loop. Nothing that runs here can
        tell the difference from a turn. Does nothing where that could not be kept: see `Environment.call_aside`.
        """
        if self.under_way or not self._queue or self.closed:
            return
        if self.crowded:
            self.waiting += 1
            return
        now = self._env.stopwatch()
        if not self._ahead_until:
            self._ahead_until = now + self._slice
        elif now >= self._ahead_until:
            self.waiting += 1
            return
        self._asked, self.slice_end = now, self._ahead_until
        self._env.call_aside(self._run_first, self._queue, self.context)
        if not self._queue:
            self.marked = False

    def answer_ahead(self, cell: Inbox, ask: Ask) -> object:
        """Have *cell*, which is idle and has a ``def`` handler for *ask*, answer it now, as :meth:`run_ahead` would.

        That needs neither the mailbox nor the run queue, if there is nothing in either.

        Returns:
            :data:`not_now` if it was not to be.
        """
        mailbox = cell.mailbox
        if self._queue or self.under_way or self.crowded or self.closed or mailbox is None:
            return not_now
        # It would be appended to nothing and be taken at once, and nobody else would be concerned.
        if mailbox.items or mailbox.append_below <= 0:
            return not_now
        env, until = self._env, self._ahead_until
        now = env.stopwatch()
        if now >= until:
            if until:
                return not_now
            self._ahead_until = until = now + self._slice
            self._schedule()
        self.slice_end = until
        self.under_way = True
        try:
            result = env.call_aside(cell.answer_ahead, ask, self.context)
        except BaseException as error:
            self._failed(error)
            result = None  # nobody will answer it before the deadline
        self.under_way = False
        if self.context:
            self.context = Context()
        if self._queue:
            self.run_ahead()
        return result

    def send_ahead(self, cell: Intake, ask: Ask) -> bool:
        """Have *cell*, which stands for an actor elsewhere, send *ask* now, past the mailbox and the run queue.

        It is work of the asker's own, who waits from then on: no slice bounds it. False: it has to go the usual way.
        """
        if self._queue or self.crowded or self.under_way or self.closed:
            return False
        sent = self._env.call_aside(cell.send_ahead, ask, self.context)
        if self.context:
            self.context = Context()
        return sent is True

    def run_first(self, cell: Runnable) -> None:
        """:meth:`run_ahead`, with *cell*, which is not in the queue, before all others; in a turn if not ahead."""
        self._queue.appendleft(cell)
        self.marked = True  # what is done here needs no turn
        self.run_ahead()
        if self._queue:
            self._mark()

    def under_way_since(self) -> float | None:
        """Since when, on the stopwatch, one slice has been running; None: none is. For other threads too."""
        # In this order: whoever sets `under_way` has set the end of that slice before.
        return self.slice_end - self._slice if self.under_way else None

    def close(self) -> None:
        """Forget all work; nothing runs from here on."""
        self._queue.clear()
        self.closed = True
        self.parked.close()

    def _mark(self) -> None:
        if self.closed:
            return
        self.marked = True
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            # Not in the context of now, which may be another when the turn comes: see `run_ahead`.
            self._env.loop.call_soon(self._turn, context=self._env.neutral)

    def _turn(self) -> None:
        self._ahead_until = 0.0
        self._env.is_shallow = False
        self.crowded, self.waiting = self.waiting > _CROWD, 0
        self._scheduled = False
        self.slices += 1
        answered: list[PlainAsk] | None = None
        if self._queue:
            self.marked = True
            self.answered = answered = []
            self.context.run(self._run)
            self.answered = None
            self.slices += 1  # it is over: who has begun in it and goes on has been suspended
        self.marked = False
        if self._queue:
            self._mark()
        if answered:
            self._go_on(answered)

    def _go_on(self, answered: list[PlainAsk]) -> None:
        """For as long as another slice; the event loop would not even look at the clock between two of them."""
        stopwatch, done = self._env.stopwatch, self.done
        end = stopwatch() + self._slice
        try:
            for start in range(0, len(answered), _FEW):
                if stopwatch() >= end:
                    break
                for ask in answered[start : start + _FEW]:
                    if ask.step is not None:
                        ask.context.run(ask.step, done)
            else:
                answered = []
        finally:
            for ask in answered:
                ask.go_on_later(done)

    def _run_first(self, queue: deque[Runnable]) -> None:
        """Most often there are one or two activations, and nothing more when they have had their turn."""
        self.under_way = True
        context, left = self.context, self._stretch
        if left > self._share:
            left = self._share
        try:
            while queue and left > 0:
                left -= queue.popleft().activate(left) or 1
                if context:
                    self.context = Context()
                    break
            else:
                if queue:
                    self._run_slice(queue, self._limit)
        except BaseException as error:
            self._failed(error)
        self.under_way = False

    def _run(self) -> None:
        try:
            self._run_slice(self._queue, self._limit)
        except BaseException as error:
            self._failed(error)
        self.under_way = False

    def _failed(self, error: BaseException) -> None:
        # No user code gets here; a defect of the runtime must not stop all actors.
        self._complain("an activation failed", error)

    def _run_slice(self, queue: deque[Runnable], limit: int) -> None:
        stopwatch, context = self._env.stopwatch, self.context
        started = self._asked = stopwatch()
        self.slice_end = end = started + self._slice
        self.under_way = True  # after the line above: see `under_way_since`
        stretch = left = self._stretch
        # A stopwatch that stands still must not make a turn endless.
        turns = max(len(queue), limit) * 16
        while queue and turns > 0:
            turns -= 1
            left -= queue.popleft().activate(min(self._share, left)) or 1
            if context:
                self.context = Context()
                break
            if left <= 0:
                now = stopwatch()
                cost = (now - started) / stretch
                self._share, stretch = self._next_share(cost), self._next_stretch(cost)
                if now >= end:
                    break
                started, left = now, stretch
        self._stretch = stretch

    def _next_share(self, cost: float) -> int:
        """How many messages of that *cost* an actor handles in its turn: fewer, if many wait for theirs."""
        seconds = max(_ROUND / (len(self._queue) + 1), _WORTHWHILE)
        return self._limit if cost * self._limit <= seconds else max(int(seconds / cost), 1)

    def _next_stretch(self, cost: float) -> int:
        """How many messages of that *cost* fit in a small part of the slice."""
        if cost * _STRETCH >= self._slice:
            return 1
        return self._limit if cost * self._limit * 8 < self._slice else min(_STRETCH, self._limit)
