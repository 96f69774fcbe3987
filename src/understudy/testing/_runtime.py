"""The runtime of a system in a simulated run: the same cells, on ports that the simulation holds."""

from __future__ import annotations

import asyncio
import functools
import sys
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Arrival, Onward, message_of
from understudy.actors._dispatcher import Dispatcher
from understudy.actors._handler import Handler, HandlerTable, WrappedTable
from understudy.actors._inbox import Inbox
from understudy.actors._intake import Intake
from understudy.actors._life import Turn
from understudy.actors._runtime import Runtime
from understudy.actors._waiting import frame_now
from understudy.environment import Environment, Halt, not_now
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.messages import Continue
from understudy.testing._errors import EscapeError, InjectedCrash
from understudy.testing._lanes import SimTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from understudy.actors._asks import Ask
    from understudy.actors._dispatcher import Runnable
    from understudy.actors._plain_ask import PlainAsk
    from understudy.actors._settings import Settings
    from understudy.environment import Patrol
    from understudy.instrument import Instrument
    from understudy.mailbox._rules import Rules
    from understudy.testing._lanes import Lane, Step, Timer
    from understudy.testing._loop import SimLoop
    from understudy.testing._monitors import Watch
    from understudy.testing._simulation import Simulation

__all__ = ["SimDispatcher", "SimEnvironment", "SimMailbox", "runtime_for"]


class SimEnvironment(Environment):
    """Ports on a simulated loop: no clock but its own, seeded chance, numbered tasks."""

    __slots__ = ("_choices", "eager")

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(loop)
        self._choices = loop.choices
        self.stopwatch = self.processor_time = loop.time
        self.random = loop.choices.random
        self.token_bytes = self.random.randbytes
        self.eager = loop.eager
        eager = {"eager_start": True} if loop.eager else {}

        def new_task(coroutine: Any, *, name: str, context: Context) -> asyncio.Task[Any]:
            return SimTask(coroutine, loop=loop, name=name, context=context, **eager)

        self.new_task = new_task

    def halt(self) -> Halt | None:
        """A task that goes on does so in a step of its own; where the next begins at once, perhaps it ends instead."""
        if self.eager and not self._choices.draw("stand still", 2):
            return None
        return SimHalt(self.loop)

    def patrol(self, look: Callable[[], bool], interval: float, name: str) -> Patrol:
        """Not here: no thread can look at a loop whose every step is decided by a seed."""
        raise EscapeError("a watchdog", "it is a thread, and no seed can repeat when that looks: use watchdog=None")


class SimHalt(Halt):
    """Where a task stands still until it has a turn."""

    __slots__ = ()

    def go_on(self) -> None:
        """Not now: chance decides what runs next."""
        self.go_on_later()


class SimDispatcher(Dispatcher):
    """Each activation is a step of the loop, in the lane of its cell, for as many messages as chance allows.

    Chance also decides whether what can be done ahead of its turn is; in the undisturbed run nothing is.
    """

    __slots__ = ("_lanes", "_loop", "_steps", "budgets")

    def __init__(self, loop: SimLoop, env: Environment, complain: Callable[[str, BaseException], None]) -> None:
        super().__init__(env, limit=64, slice_seconds=1.0, complain=complain)
        self._loop = loop
        self._lanes: dict[Runnable, Lane] = {}
        # The steps of those that are in the run queue, in its order.
        self._steps: dict[Runnable, Step | Timer] = {}
        self.budgets: tuple[int, ...] = (64, 1, 2)

    @property
    def works_ahead(self) -> bool:
        """Perhaps."""
        return self._perhaps("end ahead")

    def push(self, cell: Runnable) -> None:
        """A step for *cell*."""
        if self.closed:
            return
        lane = self._lanes.get(cell)
        if lane is None:
            lane = self._lanes[cell] = self._loop.new_lane(str(getattr(cell, "path", "cell")))
        self._steps[cell] = self._loop.call_in_lane(lane, self._step, cell, context=Context())

    def push_first(self, cell: Runnable) -> None:
        """The same: there is no front."""
        self.push(cell)

    def may_step_ahead(self) -> bool:
        """Perhaps."""
        return not self.closed and self._perhaps("start ahead")

    def run_ahead(self) -> None:
        """Perhaps, one cell or some."""
        if self.under_way or not self._steps or self.closed or not self._perhaps("run ahead"):
            return
        self._env.call_aside(self._run_some, self._steps, self.context)
        self._clean()

    def answer_ahead(self, cell: Inbox, ask: Ask) -> object:
        """Perhaps, in the lane of *cell*."""
        mailbox = cell.mailbox
        if self.under_way or self._steps or self.closed or not isinstance(mailbox, SimMailbox):
            return not_now
        if mailbox.items or mailbox.take_up_to <= 0 or not self._perhaps("answer ahead"):
            return not_now
        result = self._env.call_aside(self._answer, ask, self.context)
        self._clean()
        return result

    def send_ahead(self, cell: Intake, ask: Ask) -> bool:
        """Perhaps."""
        if self.under_way or self._steps or self.closed or not self._perhaps("send ahead"):
            return False
        sent = self._env.call_aside(cell.send_ahead, ask, self.context)
        self._clean()
        return sent is True

    def _answer(self, ask: Ask) -> None:
        cell: Inbox = ask.cell
        assert isinstance(cell.mailbox, SimMailbox)
        cell.mailbox.passed_by(ask)
        self.slices += 1
        self.under_way = True
        self._loop.run_aside(self._lanes[cell], cell.answer_ahead, ask)
        self.under_way = False

    def run_first(self, cell: Runnable) -> None:
        """Perhaps, *cell* before all others."""
        self.push(cell)
        if not self.closed:
            self._steps = {cell: self._steps.pop(cell), **self._steps}
            self.run_ahead()

    def allowance(self, handled: int, since_last: int) -> int:
        """How many more messages a pump may handle."""
        return (64, 0, 1)[self._loop.choices.draw("allowance", 3)]

    def _run_some(self, steps: dict[Runnable, Step | Timer]) -> None:
        while steps:
            cell, step = next(iter(steps.items()))
            step.cancel()
            self._loop.run_aside(self._lanes[cell], self._activate, cell)
            if self.context or not self._perhaps("run on ahead"):
                return

    def _perhaps(self, what: str) -> bool:
        # Questions of their own: what is left out of one kind does not change which of another is which.
        return self._loop.choices.draw(what, 2) == 1

    def _step(self, cell: Runnable) -> None:
        # As in a turn; perhaps nobody goes on before his own next step.
        answered: list[PlainAsk] | None = [] if self._perhaps("go on in the turn") else None
        self.answered = answered
        self.context.run(self._activate, cell)
        self.answered = None
        self._clean()
        if answered:
            self._go_on(answered)

    def _go_on(self, answered: list[PlainAsk]) -> None:
        rest = iter(answered)
        try:
            for ask in rest:
                if ask.step is not None:
                    self._loop.run_aside(self._loop.lane_of(ask.step), ask.context.run, ask.step, self.done)
        finally:
            for ask in rest:
                ask.go_on_later(self.done)

    def _activate(self, cell: Runnable) -> None:
        del self._steps[cell]
        if self.closed:
            return
        self.slices += 1
        budget = self.budgets[self._loop.choices.draw("budget", len(self.budgets))]
        self.under_way = True
        try:
            cell.activate(budget)
        except BaseException as error:
            self._failed(error)
        self.under_way = False

    def _clean(self) -> None:
        if self.context:
            self.context = Context()


class SimMailbox(AsyncMessageQueue[Any]):
    """A mailbox that tells what goes in and out."""

    __slots__ = ("_cell", "_watch")

    def __init__(self, capacity: float, rules: Rules, cell: Inbox, watch: Watch) -> None:
        self._cell = cell
        self._watch = watch
        super().__init__(capacity, rules=rules)

    def append_limit(self) -> int:
        """None: nobody appends past `offer`."""
        return 0

    def offer(self, item: Any) -> bool:
        """Put *item* at the end if that is possible now."""
        accepted = super().offer(item)
        if accepted:
            self._watch.accepted(self._cell, item)
        return accepted

    def passed_by(self, item: Any) -> None:
        """*item* is taken in the very moment in which it is put."""
        self._watch.accepted(self._cell, item)

    async def put(self, item: Any, *, timeout: float | None = None) -> bool:
        """Put *item* at the end; wait for room."""
        accepted = await super().put(item, timeout=timeout)
        if accepted:
            self._watch.accepted(self._cell, item)  # in the very step in which it went in
        return accepted


def runtime_for(sim: Simulation) -> type[Runtime]:
    """The class of runtimes that belong to *sim*."""

    class SimRuntime(Runtime):
        __slots__ = ("_watch",)

        def __init__(
            self, loop: asyncio.AbstractEventLoop, settings: Settings, instruments: Sequence[Instrument], system: Any
        ) -> None:
            self._watch, listeners = sim.watch()
            super().__init__(loop, settings, (*instruments, *listeners), system)
            self.table_of = self._watched_table

        def make_environment(self, loop: asyncio.AbstractEventLoop) -> Environment:
            return SimEnvironment(sim.loop)

        def make_dispatcher(self) -> Dispatcher:
            dispatcher = SimDispatcher(sim.loop, self.env, self.complain)
            dispatcher.budgets = sim.budgets
            return dispatcher

        def make_mailbox(self, cell: Inbox) -> AsyncMessageQueue[Any]:
            return SimMailbox(cell.option("mailbox").capacity, self.rules_of(cell), cell, self._watch)

        def dead_letter(
            self, message: object, recipient: str, sender: str | None, why: str, *, told: bool = False
        ) -> None:
            self._watch.refusing = sys._getframe(1).f_code is Intake.refuse.__code__  # pyright: ignore[reportPrivateUsage]
            super().dead_letter(message, recipient, sender, why, told=told)

        def write_log(self, level: str, event: str, fields: dict[str, Any]) -> None:
            """What happens is in the story; nobody wants the log of a thousand runs."""

        def _watched_table(self, cell: Inbox, actor: Any) -> HandlerTable:
            self._watch.met(cell)
            return watched(actor.__understudy_handlers__, cell, self._watch)

    return SimRuntime


def watched(table: HandlerTable, cell: Inbox, watch: Watch) -> HandlerTable:
    """*table*, with *watch* told before and after each handler of *cell*."""
    wrapped = WrappedTable(table, lambda entry: _wrap(entry, cell, watch))
    if table.batch is not table:
        wrapped.batch = WrappedTable(table.batch, lambda entry: _wrap(entry, cell, watch, many=True))
    wrapped.signals = table.signals  # not sent by anybody, and void when nobody wants to hear them any more
    return wrapped


def _wrap(entry: Handler, cell: Inbox, watch: Watch, *, many: bool = False) -> Handler:
    function = entry.function

    def began(handled: Any) -> None:
        # What an actor has set in motion itself is no message that somebody has sent, and goes with its incarnation.
        if not isinstance(cell.hand, Onward | Arrival):
            for message in handled if many else (handled,):
                watch.began(cell, message_of(message))
        elif type(cell.hand) is Onward:
            watch.took_up(cell, handled)

    def ended(handled: Any, result: Any) -> None:
        # A subscriber of the event bus goes on with the very message that it has begun with.
        if type(result) is Continue and result.message is message_of(handled):
            watch.put_off(cell, result.message)

    @functools.wraps(function)
    def call(actor: Any, message: Any) -> Any:
        began(message)
        late = _perhaps_crash(watch.sim, cell)
        result = function(actor, message)
        if late is not None:
            raise late
        ended(message, result)
        return result

    @functools.wraps(function)
    async def call_async(actor: Any, message: Any) -> Any:
        began(message)
        late = _perhaps_crash(watch.sim, cell)
        _perhaps_cancel(watch.sim, cell)
        result = await function(actor, message)
        if late is not None:
            raise late
        return result

    return replace(entry, function=call_async if entry.is_async else call)


def _perhaps_crash(sim: Simulation, cell: Inbox) -> InjectedCrash | None:
    """Raise before the handler, or return what is to be raised after it."""
    if not (sim.faults.crash and _is_users(cell) and sim.choices.flip("crash", sim.faults.crash)):
        return None
    crash = InjectedCrash(f"injected into {cell.path}")
    if sim.choices.draw("crash after the handler", 2):
        return crash
    raise crash


def _perhaps_cancel(sim: Simulation, cell: Inbox) -> None:
    if sim.faults.cancel and _is_users(cell) and sim.choices.flip("cancel", sim.faults.cancel):
        frame = frame_now()
        if isinstance(frame, Turn):
            sim.loop.call_in_lane(sim.loop.new_lane("a stray cancel"), _cancel_turn, sim, frame)
        else:
            sim.loop.call_in_lane(sim.loop.new_lane("a stray cancel"), _cancel, sim, cell, cell.hand)


def _cancel_turn(sim: Simulation, turn: Turn) -> None:
    if turn.task is not None and not turn.over:
        sim.tell(f"somebody cancels a task of {turn.cell.path}")
        turn.task.cancel("injected")


def _cancel(sim: Simulation, cell: Inbox, hand: Any) -> None:
    job = cell.job
    if job is not None and job.task is not None and job.started and cell.hand is hand is not None:
        sim.tell(f"somebody cancels the task of {cell.path}")
        job.task.cancel("injected")


def _is_users(cell: Inbox) -> bool:
    return cell.path.startswith("/user/")
