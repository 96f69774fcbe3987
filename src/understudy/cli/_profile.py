"""What the actors of a system do, measured: for the event loop that `understudy bench` runs a tree on.

Nothing of this is there when nobody asks for it: the loop names another runtime, which puts a measuring wrapper around
each handler and makes mailboxes that note when a message comes.
"""

from __future__ import annotations

import asyncio
import functools
import time
import types
from collections import defaultdict, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from understudy.actors._asks import message_of
from understudy.actors._handler import Handler, HandlerTable, WrappedTable
from understudy.actors._runtime import Runtime
from understudy.mailbox._queue import AsyncMessageQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence
    from contextlib import AbstractContextManager

    from understudy.actors._inbox import Inbox
    from understudy.actors._settings import Settings
    from understudy.instrument import Instrument
    from understudy.mailbox._rules import Rules

__all__ = ["Histogram", "Measured", "Profile", "stepped"]

_CLOCK = time.perf_counter_ns
_FINE = 5
"""Bits of a duration that are kept: it is off by no more than 1 in 32."""


class Histogram:
    """Durations in nanoseconds, counted in classes that grow with them, so that it stays small however many come."""

    __slots__ = ("_classes", "count", "total")

    def __init__(self) -> None:
        self.count = self.total = 0
        self._classes: defaultdict[int, int] = defaultdict(int)

    def add(self, duration: int) -> None:
        """One more."""
        self.count += 1
        self.total += duration
        shift = max(duration.bit_length() - _FINE, 0)
        self._classes[duration >> shift << shift] += 1

    def percentile(self, part: float) -> float:
        """What that *part* of them, from 0 to 1, does not exceed, in seconds; 0 if there are none."""
        wanted = part * self.count
        for lowest, count in sorted(self._classes.items()):
            wanted -= count
            if wanted <= 0:
                return lowest * 1e-9
        return 0.0


class Measured:
    """What is known of the messages of one type to the actors of one class."""

    __slots__ = ("busy", "handling", "waiting")

    def __init__(self) -> None:
        self.busy = 0
        """Nanoseconds for which the event loop was busy with their handlers."""
        self.handling = Histogram()
        """From the beginning of each to its end, waits included."""
        self.waiting = Histogram()
        """In the mailbox; for a message that had to wait for room, from when it had it."""


class Profile:
    """What has been measured, by the class of the actor and the type of the message."""

    def __init__(self) -> None:
        self.measured: defaultdict[tuple[str, str], Measured] = defaultdict(Measured)
        self.began = self.ended = _CLOCK()
        self.stepped = 0
        """Nanoseconds of all steps of handlers so far; one within another counts once."""

    @property
    def seconds(self) -> float:
        """From the start of the tree until it began to stop."""
        return (self.ended - self.began) * 1e-9

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop whose systems are measured."""
        loop = asyncio.new_event_loop()
        setattr(loop, "understudy_runtime", _runtime_for(self))  # noqa: B010 - loops declare no such attribute
        return loop

    def begin(self) -> None:
        """The tree starts now."""
        self.began = self.ended = _CLOCK()

    def end(self) -> None:
        """What comes from here on does not count."""
        if self.ended == self.began:
            self.ended = _CLOCK()

    def of(self, cell: Inbox, message: object) -> Measured | None:
        """Where to note what concerns *message* to the actor in *cell*; None when it is too late."""
        if self.ended != self.began:
            return None
        actor: str = cell.spec.factory.__name__
        return self.measured[actor, _name_of(message)]

    def wrap(self, cell: Inbox, handler: Handler) -> Handler:
        """The same handler, measured."""
        function = handler.function

        def begun() -> int:
            if isinstance(cell.mailbox, _Mailbox):
                cell.mailbox.settle_taken()
            return _CLOCK()

        def ended(message: object, began: int, steps: _Steps) -> None:
            took = _CLOCK() - began
            if (measured := self.of(cell, message)) is not None:
                measured.busy += steps.spent
                measured.handling.add(took)

        @functools.wraps(function)
        def call(actor: Any, message: Any) -> Any:
            began, steps = begun(), _Steps(self)
            try:
                with steps:
                    return function(actor, message)
            finally:
                ended(message, began, steps)

        @functools.wraps(function)
        async def call_async(actor: Any, message: Any) -> Any:
            began, steps = begun(), _Steps(self)
            try:
                return await stepped(function(actor, message), steps)
            finally:
                ended(message, began, steps)

        return replace(handler, function=call_async if handler.is_async else call)


class _Steps:
    """The time for which one handler keeps the event loop busy, a ``with`` for each of its steps.

    Another handler may run within a step: an ask does what is next in the run queue at once, and a task may begin where
    it is made. What that takes is its own.
    """

    __slots__ = ("_began", "_inner", "_profile", "spent")

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._began = self._inner = 0
        self.spent = 0

    def __enter__(self) -> None:
        self._inner = self._profile.stepped
        self._began = _CLOCK()

    def __exit__(self, *_: object) -> None:
        took = _CLOCK() - self._began
        self.spent += took - (self._profile.stepped - self._inner)
        self._profile.stepped = self._inner + took


@types.coroutine
def stepped(coroutine: Coroutine[Any, Any, Any], steps: AbstractContextManager[None]) -> Generator[Any, Any, Any]:
    """What ``await coroutine`` does, in the same task, with each of its steps in *steps*, and none of its waits."""
    step: Callable[[], Any] = functools.partial(coroutine.send, None)
    while True:
        try:
            with steps:
                waits_for = step()
        except StopIteration as end:
            return end.value
        try:
            step = functools.partial(coroutine.send, (yield waits_for))
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step = functools.partial(coroutine.throw, error)


class _Mailbox(AsyncMessageQueue[Any]):
    """A mailbox that notes how long messages wait in it."""

    __slots__ = ("_came", "_cell", "_profile", "_taken")

    def __init__(self, capacity: float, rules: Rules, cell: Inbox, profile: Profile) -> None:
        self._cell = cell
        self._profile = profile
        # When each that waits has come, by its identity; one message may be there several times.
        self._came: defaultdict[int, deque[int]] = defaultdict(deque)
        # What was taken, when that had come, and for how long it had been there: until a handler begins it may be
        # given back.
        self._taken: list[tuple[Any, int, int]] = []
        super().__init__(capacity, rules=rules)

    def append_limit(self) -> int:
        """None: nobody appends past `offer`."""
        return 0

    def _tune(self, busy: bool) -> None:
        """Likewise nobody takes past `take`."""
        super()._tune(busy)
        self.take_up_to = min(self.take_up_to, 0)

    def offer(self, item: Any) -> bool:
        """Put *item* at the end if that is possible now."""
        accepted = super().offer(item)
        if accepted:
            self._came[id(item)].append(_CLOCK())
        return accepted

    async def put(self, item: Any, *, timeout: float | None = None) -> bool:
        """Put *item* at the end; wait for room."""
        accepted = await super().put(item, timeout=timeout)
        if accepted:
            self._came[id(item)].append(_CLOCK())
        return accepted

    def take(self) -> Any:
        """The item that has waited longest."""
        item = super().take()
        came = self._came.get(id(item))
        if came:  # a signal is put in by another way
            since = came.popleft()
            self._taken.append((item, since, _CLOCK() - since))
            if not came:
                del self._came[id(item)]
        if not len(self):
            self._came.clear()  # of what was thrown away
        return item

    def push_front(self, item: Any) -> None:
        """Take back what was got last."""
        since = _CLOCK()
        if self._taken and self._taken[-1][0] is item:
            _, since, _ = self._taken.pop()
        self._came[id(item)].appendleft(since)
        super().push_front(item)

    def settle_taken(self) -> None:
        """What was taken is not given back any more."""
        for item, _, waited in self._taken:
            if (measured := self._profile.of(self._cell, message_of(item))) is not None:
                measured.waiting.add(waited)
        self._taken.clear()


def _runtime_for(profile: Profile) -> type[Runtime]:
    """The class of the runtimes that *profile* measures."""

    class ProfiledRuntime(Runtime):
        __slots__ = ()

        def __init__(
            self, loop: asyncio.AbstractEventLoop, settings: Settings, instruments: Sequence[Instrument], system: Any
        ) -> None:
            profile.begin()
            super().__init__(loop, settings, instruments, system)
            self.table_of = self._measured_table

        def make_mailbox(self, cell: Inbox) -> AsyncMessageQueue[Any]:
            return _Mailbox(cell.option("mailbox").capacity, self.rules_of(cell), cell, profile)

        def _measured_table(self, cell: Inbox, actor: Any) -> HandlerTable:
            return WrappedTable(actor.__understudy_handlers__, functools.partial(profile.wrap, cell))

    return ProfiledRuntime


def _name_of(message: object) -> str:
    if isinstance(message, list):
        return f"list[{', '.join(dict.fromkeys(type(each).__name__ for each in cast('list[object]', message)))}]"
    return type(message).__name__
