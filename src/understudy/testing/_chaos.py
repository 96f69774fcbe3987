"""Chaos: failures, cancels and pressure, at random and repeatable, for a running system."""

from __future__ import annotations

import asyncio
import fnmatch
import gc
import inspect
import math
import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from understudy.actors._actor import Actor
from understudy.actors._addresses import absolute
from understudy.actors._child import child
from understudy.actors._dead_letters import SubscribeDeadLetters, UnsubscribeDeadLetters
from understudy.actors._handler import handler
from understudy.actors._life import Life
from understudy.actors._ref import ActorRef
from understudy.exceptions import AskTimeout, MailboxFull, Refused, Unhandled
from understudy.messages import DeadLetter, Message
from understudy.testing._errors import InjectedCrash
from understudy.testing._inject import Intervention, cells_of, inject, runtime_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from understudy.actors._cell import Cell
    from understudy.system import ActorSystem

__all__ = ["Chaos", "CloseReport", "CrashReport", "Ledger", "MemoryReport", "StormReport", "SubscriptionReport"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CrashReport:
    """Who was made to fail, in order, and how often nobody could be found."""

    paths: tuple[str, ...]
    missed: int = 0


@dataclass(frozen=True, slots=True)
class StormReport:
    """What became of the calls of a storm.

    Attributes:
        finished: How many came to their end before they were cancelled.
        cancelled: How many were cancelled.
        errors: What the others raised.
        resisted: How many did not end although they were cancelled.
    """

    finished: int
    cancelled: int
    errors: tuple[BaseException, ...]
    resisted: int


@dataclass(slots=True)
class MemoryReport:
    """How much was taken, and how often garbage was collected meanwhile; complete after the block."""

    megabytes: float
    collections: int = 0


@dataclass(frozen=True, slots=True)
class CloseReport:
    """How many calls there were, what they raised, by the number of the closer, and which had not ended in time."""

    calls: int
    errors: tuple[tuple[int, BaseException], ...]
    hung: tuple[int, ...]

    @property
    def idempotent(self) -> bool:
        """Whether every call came to a good end."""
        return not self.errors and not self.hung


@dataclass(frozen=True, slots=True)
class SubscriptionReport:
    """How often was subscribed and unsubscribed, and what that raised."""

    subscribed: int
    unsubscribed: int
    errors: tuple[BaseException, ...]


@dataclass(slots=True)
class Ledger:
    """What became of the messages of :meth:`Chaos.producers_and_consumers`, by their numbers.

    Attributes:
        sent: Those that producers have sent, or tried to.
        handled: Those whose handler has returned, once for each time.
        crashed: Those whose handler crashed.
        lost: Dead letters, among them those whose handler was interrupted by the runtime.
        refused: Those that nobody took, and of which the producer was told.
        errors: What the producers got instead of a reply, by the number.
        crashes: How many crashes were injected.
    """

    sent: list[int] = field(default_factory=list[int])
    handled: list[int] = field(default_factory=list[int])
    crashed: list[int] = field(default_factory=list[int])
    lost: list[int] = field(default_factory=list[int])
    refused: list[int] = field(default_factory=list[int])
    errors: dict[int, BaseException] = field(default_factory=dict[int, BaseException])
    crashes: int = 0

    @property
    def unaccounted(self) -> list[int]:
        """Those of which nothing is known; an empty list when all is well."""
        known = {*self.handled, *self.crashed, *self.lost, *self.refused}
        return [number for number in self.sent if number not in known]

    @property
    def doubled(self) -> list[int]:
        """Those that were handled more than once, or handled and lost; an empty list when all is well."""
        ends = Counter([*self.handled, *self.crashed, *self.lost, *self.refused])
        return sorted(number for number, times in ends.items() if times > 1)


class Chaos:
    """Disturbs a running system, at random.

    All chance comes from *seed*: on a virtual clock the same calls disturb the same actors at the same times. Actors
    are chosen among those whose paths fit a pattern (see :func:`inject`; without a ``/`` at its beginning it is below
    ``/user``), which never are the guardians. What is chosen by chance is spread over some seconds of the event loop's
    clock; each method returns when it is done, and promises nothing about when the system has recovered.
    """

    def __init__(self, system: ActorSystem, seed: int = 0) -> None:
        self._system = system
        self._random = random.Random(seed)  # noqa: S311 - no secrets
        runtime_of(system)

    # Failing actors

    async def crash_some(self, pattern: str = "*", *, count: int = 1, seconds: float = 1.0) -> CrashReport:
        """Let *count* actors fail, one after the other.

        One that has nothing in hand crashes, between two messages, with an :class:`InjectedCrash`. One whose ``async
        def`` handler is waiting is killed, and its message is lost.
        """
        paths: list[str] = []
        for pause in self._pauses(count, seconds):
            await asyncio.sleep(pause)
            cell = self._choose(pattern, _can_crash)
            if cell is None:
                continue
            paths.append(cell.path)
            if cell.job is not None:
                ActorRef(cell).kill()
            else:
                _crash(cell)
        return CrashReport(tuple(paths), count - len(paths))

    async def cancel_some(self, pattern: str = "*", *, count: int = 1, seconds: float = 1.0) -> CrashReport:
        """Cancel *count* times the task in which an ``async def`` handler is waiting, behind the runtime's back.

        That is a crash of its actor, with a ``CancelledError``. When no such handler is waiting at the moment, it is
        missed.
        """
        paths: list[str] = []
        for pause in self._pauses(count, seconds):
            await asyncio.sleep(pause)
            cell = self._choose(pattern, _is_pumping)
            if cell is not None and cell.job is not None:
                paths.append(cell.path)
                cell.job.cancel()
        return CrashReport(tuple(paths), count - len(paths))

    # Cancelling callers

    async def cancellation_storm(
        self, call: Callable[[], Awaitable[Any]], *, count: int = 100, seconds: float = 1.0, patience: float = 30.0
    ) -> StormReport:
        """Make *count* calls at once and cancel each at a moment of its own: ``storm(lambda: ref.ask(Charge()))``.

        Some are cancelled before their first step, some after their last. Each has *patience* seconds to end after it
        was cancelled.
        """
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(_call(call), name=f"storm-{number}") for number in range(count)]
        timers: list[asyncio.TimerHandle] = []
        try:
            for task in self._shuffled(tasks):
                delay = self._random.uniform(0.0, seconds)
                if self._random.random() < 0.1:
                    task.cancel()  # has not begun
                else:
                    timers.append(loop.call_later(delay, task.cancel))
            await asyncio.wait(tasks, timeout=seconds + patience)
        finally:
            for timer in timers:
                timer.cancel()
            for task in tasks:
                task.cancel()
        ended = [task for task in tasks if task.done()]
        errors = [error for task in ended if not task.cancelled() and (error := task.exception()) is not None]
        cancelled = sum(task.cancelled() for task in ended)
        return StormReport(len(ended) - cancelled - len(errors), cancelled, tuple(errors), count - len(ended))

    # Pressure

    @contextmanager
    def memory_pressure(self, megabytes: float = 64, *, threshold: int = 10) -> Generator[MemoryReport]:
        """Hold so much memory, and let the garbage collector run after every *threshold* new objects.

        What is held by nothing but a weak reference or a pending task is lost here, if it can be lost.
        """
        if not 0 <= megabytes < math.inf or threshold < 1:
            raise ValueError(f"give megabytes from 0 on and a threshold from 1 on, got {megabytes!r} and {threshold!r}")
        report = MemoryReport(megabytes)
        before, enabled, began = gc.get_threshold(), gc.isenabled(), _collections()
        ballast = [bytearray(b"\1") * 2**20 for _ in range(int(megabytes))]
        gc.set_threshold(threshold, 1, 1)
        gc.enable()
        try:
            yield report
        finally:
            gc.set_threshold(*before)
            if not enabled:
                gc.disable()
            report.collections = _collections() - began
            ballast.clear()

    # Closing and subscribing

    async def concurrent_close(
        self, *close: Callable[[], Awaitable[Any] | None], times: int = 3, patience: float = 30.0
    ) -> CloseReport:
        """Call each of *close*, sync or async, *times* times, all at once and in a random order.

        Closing has to be idempotent, also while it is under way: see ``report.idempotent``. After *patience* seconds
        those that have not ended are cancelled.
        """
        calls = self._shuffled([number for number in range(len(close)) for _ in range(times)])
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(_call(close[number]), name=f"close-{number}"): number for number in calls}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=patience)
        finally:
            hung = [task for task in tasks if not task.done()]
            for task in hung:
                task.cancel()
        if hung:
            await asyncio.wait(hung, timeout=patience)
        errors = [(number, error) for task, number in tasks.items() if task not in hung and (error := _error(task))]
        return CloseReport(len(calls), tuple(errors), tuple(sorted(tasks[task] for task in hung)))

    async def rapid_subscriptions(
        self,
        subscribe: Callable[[], Awaitable[Any] | None],
        unsubscribe: Callable[[], Awaitable[Any] | None],
        *,
        times: int = 100,
        seconds: float = 1.0,
    ) -> SubscriptionReport:
        """Subscribe and unsubscribe *times* times, in quick alternation; what is subscribed in the end is nothing.

        Between two steps it goes on at once, gives way for one turn of the event loop, or waits, by chance. To publish
        meanwhile is up to another task of the test.
        """
        errors: list[BaseException] = []
        done = {subscribe: 0, unsubscribe: 0}
        for _ in range(times):
            for step in (subscribe, unsubscribe):
                try:
                    await _call(step)
                    done[step] += 1
                except Exception as error:
                    errors.append(error)
                pause = self._random.randrange(3)
                if pause:
                    await asyncio.sleep(0.0 if pause == 1 else self._random.uniform(0.0, seconds / times))
        return SubscriptionReport(done[subscribe], done[unsubscribe], tuple(errors))

    # Working under failure

    async def producers_and_consumers(
        self,
        consumers: Sequence[ActorRef[Any]],
        make: Callable[[int], Any],
        *,
        producers: int = 3,
        messages: int = 100,
        how: Literal["tell", "send", "ask"] = "send",
        crash: float = 0.02,
        delay: tuple[float, float] | None = None,
        seconds: float = 1.0,
        patience: float = 60.0,
    ) -> Ledger:
        """Let *producers* send *messages* to *consumers*, whose handlers crash at times, and count what became of each.

        It ends when the fate of every message is known, and after *patience* seconds at the latest; what is not known
        then is ``unaccounted``. Consumers are restarted by their supervisors, or are not; messages to those that have
        ended for good are ``lost``.

        Args:
            consumers: Who gets the messages; each is sent to one of them, by chance.
            make: Makes the message with that number; each must be a new object.
            producers: How many tasks send.
            messages: How many messages in all.
            how: By which method they are sent.
            crash: The probability for a message to let its handler crash.
            delay: The least and the most seconds that an ``async def`` handler has to wait.
            seconds: Over how much time the messages are spread.
            patience: How long to wait for their ends.
        """
        ledger = Ledger()
        made = [make(number) for number in range(messages)]
        if len({id(message) for message in made}) < messages:
            raise ValueError("make must return a new object for each number, so that they can be told apart")
        watch = _Watch(self._system, {ref.path for ref in consumers}, ledger, made)
        spec = child(_Letters, watch).options(name=f"chaos-{self._random.getrandbits(32):08x}", mailbox=math.inf)
        letters = await self._system.spawn(spec)
        subscription = self._system.dead_letters
        await subscription.ask(SubscribeDeadLetters(subscriber=letters))
        injections = [
            inject(self._system, _literally(path), crash=crash, delay=delay, seed=self._random.getrandbits(32))
            for path in sorted(watch.paths)
            if crash or delay is not None
        ]
        entered: list[Intervention] = []
        loop = asyncio.get_running_loop()
        try:
            entered += [each.__enter__() for each in (watch, *injections)]
            plans = self._plans(len(consumers), producers, messages, seconds)
            tasks = [loop.create_task(_produce(plan, consumers, made, how, ledger), name="producer") for plan in plans]
            try:
                await asyncio.wait(tasks, timeout=seconds + patience)
                await watch.settled(patience)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            await letters.ask(_Flush())
            watch.classify()
        finally:
            for each in reversed(entered):
                each.__exit__(None, None, None)
            await subscription.ask(UnsubscribeDeadLetters(subscriber=letters))
            letters.stop()
            await letters.wait_stopped()
        ledger.crashes = sum(each.crashes for each in injections)
        return ledger

    def _plans(
        self, consumers: int, producers: int, messages: int, seconds: float
    ) -> list[list[tuple[int, int, float]]]:
        """For each producer: which message to whom, and how long to wait before it."""
        if consumers < 1 or producers < 1 or messages < 1:
            raise ValueError("there must be a consumer, a producer and a message")
        plans: list[list[tuple[int, int, float]]] = [[] for _ in range(min(producers, messages))]
        for number in range(messages):
            pause = self._random.uniform(0.0, 2 * seconds * len(plans) / messages)
            plans[number % len(plans)].append((number, self._random.randrange(consumers), pause))
        return plans

    # Chance

    def _pauses(self, count: int, seconds: float) -> list[float]:
        if count < 0 or not 0 <= seconds < math.inf:
            raise ValueError(f"give a count and a number of seconds from 0 on, got {count!r} and {seconds!r}")
        moments = sorted(self._random.uniform(0.0, seconds) for _ in range(count))
        return [after - before for before, after in zip([0.0, *moments], moments, strict=False)]

    def _choose(self, pattern: str, fits: Callable[[Cell], bool]) -> Cell | None:
        pattern = absolute(pattern)
        found = [
            cell
            for cell in cells_of(self._system)
            if cell.parent is not None and fnmatch.fnmatchcase(cell.path, pattern) and fits(cell)
        ]
        return self._random.choice(found) if found else None

    def _shuffled(self, things: list[T]) -> list[T]:
        return self._random.sample(things, len(things))


def _is_up(cell: Cell) -> bool:
    return cell.life is Life.RUNNING and cell.ending is None


def _can_crash(cell: Cell) -> bool:
    return _is_up(cell) and (cell.job is None or cell.job.started)


def _is_pumping(cell: Cell) -> bool:
    return _is_up(cell) and cell.job is not None and cell.job.started and cell.hand is not None


def _crash(cell: Cell) -> None:
    error = InjectedCrash(f"{cell.path} was made to crash between two messages")
    cell._crash(error, None, None)  # pyright: ignore[reportPrivateUsage]


def _literally(path: str) -> str:
    """A pattern that fits *path* alone."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in path)


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _call(function: Callable[[], Awaitable[Any] | Any]) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result


async def _produce(
    plan: list[tuple[int, int, float]], consumers: Sequence[ActorRef[Any]], made: list[Any], how: str, ledger: Ledger
) -> None:
    for number, consumer, pause in plan:
        await asyncio.sleep(pause)
        ref = consumers[consumer]
        ledger.sent.append(number)
        try:
            if how == "tell":
                ref.tell(made[number])
            elif how == "send":
                await ref.send(made[number])
            else:
                await ref.ask(made[number])
        except Exception as error:
            ledger.errors[number] = error


class _Watch(Intervention):
    """Sees what becomes of the messages of a ledger."""

    def __init__(self, system: ActorSystem, paths: set[str], ledger: Ledger, made: list[Any]) -> None:
        super().__init__(system, "*")
        self.paths = paths
        self._ledger = ledger
        self._numbers = {id(message): number for number, message in enumerate(made)}
        self._crashed: dict[int, None] = {}
        self._missing: set[int] = set()
        self._done: asyncio.Future[None] | None = None

    def concerns(self, path: str) -> bool:
        """The consumers, whatever characters their paths have."""
        return path in self.paths

    def after(self, path: str, message: object, error: BaseException | None) -> None:
        """A handler has ended."""
        number = self._numbers.get(id(message))
        if number is None:
            return
        if error is None or isinstance(error, Refused):
            self._ledger.handled.append(number)
        elif not isinstance(error, Unhandled):  # of which somebody will be told
            self._crashed[number] = None
        else:
            return
        self._known(number)

    def lost(self, message: object) -> None:
        """A dead letter."""
        number = self._numbers.get(id(message))
        if number is not None:
            self._ledger.lost.append(number)
            self._known(number)

    def _known(self, number: int) -> None:
        self._missing.discard(number)
        if self._done is not None and not self._missing and not self._done.done():
            self._done.set_result(None)

    async def settled(self, patience: float) -> None:
        """Wait until the fates of all that have been sent are known, or *patience* is over."""
        ledger = self._ledger
        ledger.refused = [number for number, error in ledger.errors.items() if _nobody_took(error)]
        self._missing = {*ledger.sent}.difference(ledger.handled, self._crashed, ledger.lost, ledger.refused)
        if not self._missing:
            return
        self._done = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._done], timeout=patience)

    def classify(self) -> None:
        """One whose handler was interrupted is a dead letter as well, and that is what it is."""
        lost = {*self._ledger.lost}
        self._ledger.crashed = [number for number in self._crashed if number not in lost]


def _nobody_took(error: BaseException) -> bool:
    """Whether this is all that anybody hears of a message."""
    if isinstance(error, AskTimeout):
        return error.state.startswith("never accepted")
    return isinstance(error, MailboxFull | Unhandled)


class _Flush(Message):
    """Answered when all dead letters of before have been heard."""


class _Letters(Actor[DeadLetter | _Flush]):
    """Hears of dead letters."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    @handler
    def letter(self, message: DeadLetter) -> None:
        """One more."""
        self._watch.lost(message.message)

    @handler
    def flush(self, message: _Flush) -> None:
        """All have been heard."""
