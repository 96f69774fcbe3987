"""The cell: what stands behind a ref. Mailbox, behaviour, state of life.

    NEW -> STARTING -> RUNNING -> STOPPING -> DOWN -> DEAD
              ^                                |
              +---------- start ---------------+

A cell is DOWN between two incarnations, while its parent decides; only the parent buries it (DEAD). Every step of a
life that may run code of a user's is made in :meth:`Cell.activate`, in the dispatcher's own context, so that hooks
never run in the caller of ``stop``. Whatever changes something sets a field and puts the cell into the run queue; where
no such code has a part in a start or an end, its steps are made at once: see :meth:`Cell.start` and :meth:`Cell.stop`.

At most one *job*, a task, belongs to a cell at a time: the pump of its ``async def`` handlers, a hook, or, for a
callback of a bus, the task in which it has its turn after others. After any await a job looks whether it is still its
cell's job; if not it has been abandoned and returns in silence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from understudy._plans._strategies import PLAIN
from understudy.actors._actor import Actor
from understudy.actors._asks import Ask, Onward
from understudy.actors._belongings import Belongings
from understudy.actors._family import Family
from understudy.actors._handler import NO_HANDLERS
from understudy.actors._leftovers import hand_over
from understudy.actors._life import (
    DEAD,
    DOWN,
    NEW,
    RUNNING,
    STARTING,
    STOPPING,
    Ending,
    Job,
)
from understudy.actors._mortal import Mortal
from understudy.actors._reports import crash_report
from understudy.actors._runtime import own_table
from understudy.actors._standing import Standing
from understudy.actors._turns import Turns
from understudy.exceptions import ActorStopped, InvalidSpec, StartTimeout
from understudy.instrument import Instrument
from understudy.messages import Continue, Ignore
from understudy.reasons import (
    Crashed,
    ExitReason,
    Killed,
    Normal,
    Shutdown,
    StartFailed,
    plain_seconds,
    without_traceback,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from understudy._plans._spec import ChildSpec
    from understudy._plans._strategies import Plan
    from understudy.actors._child_record import Child
    from understudy.actors._handler import Handler, HandlerTable
    from understudy.actors._runtime import Runtime
    from understudy.mailbox._queue import AsyncMessageQueue

__all__ = ["Cell"]

# Not by setattr: the class of an actor may have made itself frozen.
_put = object.__setattr__
# Of an actor that nobody else, a subclass or a linked task, has to hear of when it ends.
_leave_plainly: Any = vars(Actor)["_understudy_leave"]


class Cell(Mortal):
    """See the module. Fields that rarely matter are None until they do: an idle actor has to be small."""

    __slots__ = ("_path", "came_up", "observers")

    family: Family[Cell] | None
    came_up: bool
    """Whether any incarnation has ever come up."""
    observers: dict[Callable[[ExitReason], object], None] | None
    _path: str | None

    def __init__(self, runtime: Runtime, parent: Cell | None, spec: ChildSpec[Any], name: str) -> None:
        # All fields of a cell are set here: a call for each of its parts would cost as much as all that is in them.
        env = runtime.env
        self.runtime = runtime
        self.spec = spec
        self.parent = parent
        self.name = name
        self.place = env.place
        self.uid = env.next_uid()
        self.life = NEW
        self.incarnation = 0
        self.table = NO_HANDLERS
        self.hand_since = 0.0
        self.left = ()
        self.queued = self.ready = self.attention = self.for_good = self.came_up = False
        self.mailbox = self.gate = self.reason = self.actor = self.ending = self.job = self.hand = self.waits = None
        self.control = self.belongings = self.standing = self.family = self.observers = self._timer = self._path = None
        runtime.population += 1

    def __repr__(self) -> str:
        return f"<Cell {self.path} {self.life.value}>"

    @property
    def path(self) -> str:
        """Like ``/user/meters/north``."""
        path = self._path
        if path is None:
            path = self._path = f"{self.parent.path if self.parent is not None else ''}/{self.name}"
        return path

    def ancestors(self) -> tuple[str, ...]:
        """The paths of its parent, the parent of that, and so on."""
        paths: list[str] = []
        cell = self.parent
        while cell is not None:
            paths.append(cell.path)
            cell = cell.parent
        return tuple(paths)

    @property
    def class_name(self) -> str:
        """The name of the actor's class."""
        name: str = self.spec.factory.__name__
        return name

    @property
    def down(self) -> bool:
        """No incarnation is alive."""
        return self.life is DOWN or self.life is DEAD

    @property
    def running(self) -> bool:
        """Up, and not on its way down."""
        return self.life is RUNNING and self.ending is None

    @property
    def dead(self) -> bool:
        """The final end has come."""
        return self.life is DEAD

    @property
    def draining(self) -> float | None:
        """Until when it is to be drained, if it is; through restarts."""
        return None if self.standing is None else self.standing.draining

    @property
    def suspended(self) -> bool:
        """Whether messages wait until somebody resumes it; through restarts."""
        return self.standing is not None and self.standing.suspended

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self.mailbox) if self.mailbox is not None else 0

    @property
    def status(self) -> str:
        """For people and for refs: starting, running, restarting, stopping or stopped."""
        if self.life is DEAD:
            return "stopped"
        if self.life is STOPPING or self.ending is not None or self.for_good:
            return "stopping"
        if self.life is RUNNING:
            return "running"
        return "starting" if self.incarnation <= 1 and self.life is not DOWN else "restarting"

    def option(self, name: str) -> Any:
        """A setting of this actor: of its spec, which knows what its class says, else of the system."""
        value = self.spec.given.get(name)
        return self.runtime.defaults.get(name) if value is None else value

    # Messages

    def state_of(self, ask: Ask) -> str:
        """How far *ask* has got, for the error of the one who waited in vain."""
        now = self.runtime.env.now()
        if ask.in_hand:
            turns = self.turns
            since = self.hand_since if self.hand is ask or turns is None else turns.since(ask)
            return f"handling it for {plain_seconds(now - since)}"
        waiting = self.queue_state
        if self.life is RUNNING and self.hand is not None:
            return f"handling another message for {plain_seconds(now - self.hand_since)}, {waiting}"
        if self.life is not RUNNING:
            attempt = f", attempt {self.incarnation}" if self.incarnation > 1 else ""
            return f"{self.status}{attempt}{self._next_attempt(now)}, {waiting}"
        return f"accepted, {waiting}"

    @property
    def queue_state(self) -> str:
        """For errors: how many messages wait, and whether for :meth:`resume`."""
        return f"{'suspended, ' if self.suspended else ''}{self.waiting} waiting"

    def _next_attempt(self, now: float) -> str:
        family = self.parent.family if self.parent is not None else None
        record = family.children.get(self.name) if family is not None else None
        trouble = record.trouble if record is not None and record.cell is self else None
        if trouble is None or trouble.timer is None:
            return ""
        return f" in {plain_seconds(trouble.timer.when() - now)}"

    def awaited(self) -> Iterator[Cell]:
        """Those that this actor's code waits for: see :func:`understudy.actors._asks.find_cycle`."""
        if self.waits is not None:
            # One who has the reply waits no more, though he may not have had his turn to say so.
            for token, target in self.waits.items():
                future = getattr(token, "future", None)
                if future is None or not future.done():
                    yield target
        if self.family is not None and self.family.booting is not None:
            yield self.family.booting

    # Requests from anywhere

    def start(self, ahead: Child[Any] | None = None) -> None:
        """Begin the next incarnation; for the parent.

        That of a new child *ahead* of an activation, if there is time, and nobody can tell: no code of a user's runs in
        the start.
        """
        assert self.life is NEW or self.life is DOWN, self
        self.life = STARTING
        self.incarnation += 1
        if self.incarnation > 1 and self.standing is None:
            self.stand()
        if ahead is not None and self._starts_in_silence() and self.runtime.dispatcher.may_step_ahead():
            if not self._is_up_at_once(ahead):
                self._boot()
        else:
            self.enqueue()

    def _starts_in_silence(self) -> bool:
        factory = self.spec.factory
        table: HandlerTable = factory.__understudy_handlers__
        silent = table.is_silent(factory) if table.silent is None else table.silent
        return silent and not self.runtime.instruments.started.minded

    def request_stop(self, reason: ExitReason, *, keep: bool = False) -> None:
        """End this incarnation with grace; without *keep* for good, which closes the gate and empties the mailbox."""
        if self.life is DEAD:
            return
        if not keep:
            self._shut(reason)
        if self.life is DOWN:
            if not keep and self.parent is not None and self.parent.family is not None:
                self.parent.family.end_kept(self.name)
            return
        if self.ending is None:
            self.end(reason, hook=True)

    def stop(self, reason: ExitReason) -> None:
        """:meth:`request_stop`, by somebody outside.

        Ahead of an activation, if nothing is to be waited for and nobody can tell: no code of a user's runs in the end.
        """
        if self.ready and self._ends_in_silence():
            if not self._is_gone_at_once(reason):
                self.ready = False
                self._shut(reason)
                self._go_down(Ending(reason, hook=False))
        else:
            self.request_stop(reason)

    def _ends_in_silence(self) -> bool:
        """Of one that is up and has nothing to do."""
        parent, runtime, mailbox = self.parent, self.runtime, self.mailbox
        return (
            self.table.shutdown is None
            and self.standing is None
            and self.belongings is None
            and self.family is None
            and self.observers is None
            and (mailbox is None or not mailbox.items)
            and parent is not None
            and parent.life is RUNNING
            and parent.ending is None
            and self.spec.given.get("shutdown") != "brutal_kill"
            and not runtime.instruments.stopped.minded
            and runtime.dispatcher.works_ahead
        )

    # The shortest life: of one without options, with nothing of its own, whose parent has nothing to decide. What its
    # start and its end come to is done in one go here, each after a look at all that could make it come to anything
    # else; if anything does, nothing has been done, and the steps are taken. Whatever is added to them has to be added
    # here, or to what is looked at.

    def _is_up_at_once(self, record: Child[Any]) -> bool:
        """All that :meth:`_boot` comes to for a new child; if it may be more than that, nothing."""
        runtime, spec = self.runtime, self.spec
        parent: Any = self.parent
        if (
            spec.given
            or spec.args
            or spec.kwargs
            or runtime.table_of is not own_table
            or runtime.serving
            or parent.control is not None
            or not parent.family.calm
        ):
            return False
        factory = spec.factory
        try:
            actor = factory()
        except BaseException as error:
            self.start_failed(error)
            return True
        _put(actor, "_understudy_cell", self)
        self.actor, self.table = actor, factory.__understudy_handlers__
        self.life = RUNNING
        self.came_up = self.ready = record.started = record.up = True
        if record.kept is None:
            record.kept = True
        started = runtime.instruments.started
        started.count += 1
        if started.heard:
            runtime.instruments.tell(Instrument.actor_started, self.path, 1)
        return True

    def _is_gone_at_once(self, reason: ExitReason) -> bool:
        """All that the end comes to of one that :meth:`_ends_in_silence`; if it may be more than that, nothing."""
        runtime, actor = self.runtime, self.actor
        parent: Any = self.parent
        family: Family[Cell] = parent.family
        record = family.children.get(self.name)
        if (
            self.mailbox is not None
            or self.gate is not None
            or self._timer is not None
            or getattr(actor._understudy_leave, "__func__", None) is not _leave_plainly
            or actor._understudy_monitors is not None
            or actor._understudy_promises is not None
            or record is None
            or record.cell is not self
            or record.kept
            or record.waiters is not None
            or record.trouble is not None
            or runtime.serving
            or parent.control is not None
            or not family.calm
        ):
            return False
        # First the name is free, then anybody can hear of the death.
        del family.children[self.name]
        self.for_good = True
        self.ready = record.up = False
        self.gate = self.reason = reason
        self.life = DEAD
        self.actor, self.table = None, NO_HANDLERS
        _put(actor, "_understudy_cell", None)
        runtime.population -= 1
        if runtime.dispatcher.parked.pumps:
            runtime.dispatcher.parked.drop(self)
        stopped = runtime.instruments.stopped
        stopped.count += 1
        if stopped.heard:
            runtime.instruments.tell(Instrument.actor_stopped, self.path, reason)
        return True

    def request_drain(self, timeout: float | None) -> None:
        """Accept nothing more, handle what is there, then end for good."""
        if self.life is DEAD or self.for_good:
            return
        self.stand().draining = until = math.inf if timeout is None else self.runtime.env.now() + timeout
        self.gate = Shutdown("drained")
        if self.mailbox is not None:
            self.mailbox.close()
        if self.life is RUNNING and self.ending is None:
            self._arm(until, self._drained)
            self.enqueue()

    def request_end(self) -> None:
        """A normal end, wished for by the actor itself."""
        if not self.down and self.ending is None:
            self.end(Normal(), hook=True)

    def force(self, *, keep: bool) -> None:
        """No grace, or no more of it: interrupt what runs, kill the children, skip the hook.

        With *keep* it is a failure by decree, and the parent asks the restart type; without, it is the final end.
        """
        # At once, not after the job: a family that resists is over when its head is. Without recursion: a tree may be
        # taller than the stack.
        pending: list[tuple[Cell, bool]] = [(self, keep)]
        for cell, kept in pending:
            pending += cell._force(keep=kept)

    def _force(self, *, keep: bool) -> list[tuple[Cell, bool]]:
        """Force is used on this one; on whom else it is to be used."""
        if self.down:
            return []
        if not keep:
            self._shut(Shutdown("parent killed"))
        if self.ending is None:
            self.end(Killed(), hook=False)
        ending = self.ending
        assert ending is not None
        if ending.forced:
            return []
        ending.forced = True
        self._interrupt()
        self.enqueue()
        return [] if self.family is None else self.family.kill_all(keep=not self.for_good)

    def exit(self, reason: ExitReason) -> None:
        """A failure that comes from elsewhere: end this incarnation by force, for *reason*."""
        if self.ending is None and not self.down:
            self.end(reason, hook=False)
        self.force(keep=True)

    @property
    def traps_exits(self) -> bool:
        """Whether the end of somebody linked is a signal here, not an end."""
        return bool(self.option("trap_exits"))

    def family_over(self, reason: ExitReason) -> None:
        """The family cannot go on: it has failed too often, or a failure or an end in it is this actor's too."""
        if self.ending is None:
            self.end(reason, hook=True)

    def between_incarnations(self) -> None:
        """The last incarnation has ended and there will be another, now or later."""
        mailbox, spec = self.mailbox, self.spec
        if mailbox is not None and mailbox.items and spec.given.get("on_restart") == "fail":
            for ask in mailbox.remove(_is_ask):
                self.lose(ask, self.why_not())

    def hear(self, child: Any, incarnation: int, ending: Ending | None) -> None:
        """News of a child, that it is up or how it has ended: dealt with at once, or in the next activation.

        What is in hand or waits does not matter.

        Not at once where a group is restarted: members that fail in one turn of the run queue are one failure. Nor if
        it follows from other news, so that what climbs a tall tree does not climb the stack.
        """
        runtime, family = self.runtime, self.family
        if family is None:
            return
        if self.control is None and not runtime.serving and family.plan.strategy == "one_for_one":
            runtime.serving = True
            try:
                if ending is None:
                    family.child_started(child)
                else:
                    family.child_ended(child, ending)
            finally:
                runtime.serving = False
            return
        if self.control is None:
            self.control = []
        self.control.append((child, incarnation, ending))
        if self.queued:
            self.attention = True  # an activation that is under way has served what there was
        self.enqueue()

    def observe(self, callback: Callable[[ExitReason], object], watcher: Cell | None = None) -> None:
        """Call *callback* with the reason at the final end, at once when that has come.

        *watcher* is whose news that is, if it has to come behind what this actor has sent it: here it does.
        """
        if self.life is DEAD:
            callback(self.reason or Shutdown())
        else:
            if self.observers is None:
                self.observers = {}
            self.observers[callback] = None

    def unobserve(self, callback: Callable[[ExitReason], object]) -> None:
        """Forget *callback*."""
        if self.observers is not None:
            self.observers.pop(callback, None)
            self.observers = self.observers or None

    def bury(self, reason: ExitReason) -> None:
        """The final end, if it has not come yet; for the parent, which has freed the name."""
        if self.life is DEAD:
            return
        assert self.life is DOWN, self
        if self.family is not None:
            self._bury_family()  # a method of its own: pyright takes the family for unknown here
        self.life = DEAD
        self.reason = reason
        if not self.for_good:
            self._shut(reason)
        self.gate = reason
        if self.left:
            left, self.left = self.left, ()
            hand_over(self, left)
        if self.observers is not None:
            observers, self.observers = self.observers, None
            for callback in observers:
                callback(reason)
        if self.standing is not None:
            self.standing.close(reason)
            self.standing = None
        self.runtime.population -= 1
        if self.runtime.dispatcher.parked.pumps:
            self.runtime.dispatcher.parked.drop(self)
        if self.came_up:
            instruments = self.runtime.instruments
            instruments.stopped.count += 1
            if instruments.stopped.heard:
                instruments.tell(Instrument.actor_stopped, self.path, reason)

    def _bury_family(self) -> None:
        if self.family is not None:
            self.family.bury_all()

    def abandon_tree(self) -> None:
        """End this cell and all under it now, without waiting for anything. The name must be free already."""
        # Without recursion: a tree may be taller than the stack.
        cells = [self]
        for cell in cells:
            cells += [] if cell.family is None else [child.cell for child in cell.family.children.values()]
        for cell in reversed(cells):
            cell._abandon_life()

    def _abandon_life(self) -> None:
        if self.life is DEAD:
            return
        if self.family is not None:
            self.family.abandon_all()
        first = self.ending.final_reason() if self.ending is not None else self.reason
        self.cancel_all()
        self.abandon_all()
        reason = first if isinstance(first, Killed) else Killed(first=first)
        self._leave(reason)
        self.life = DOWN
        self.bury(reason)

    # Activation

    def enqueue(self) -> None:
        """Let the dispatcher activate this cell."""
        if not self.queued:
            self.ready = False
            self.queued = True
            self.runtime.dispatcher.push(self)

    def activate(self, limit: int) -> int:
        """Serve control, then take the next step of life or handle up to *limit* messages; how many it says."""
        if self.control is not None:
            self._serve_control()
        handled = 0
        mailbox = self.mailbox
        if (self.life is RUNNING or self._comes_up()) and self.job is None and not self.attention:
            mailbox = self.mailbox  # which may have been made in the start
            if mailbox is not None:
                handled = self.handle(mailbox, limit)
        self.queued = False
        if self.attention:
            self._attend()
        elif self.life is RUNNING and self.job is None:
            if mailbox is None or mailbox.items or self.standing is not None:
                self.settle()
            else:
                self.ready = True  # what that would do, without the call
        return handled

    def _attend(self) -> None:
        """Something comes before the next message: news, the end of this incarnation, a verb, or other handlers."""
        ending, standing = self.ending, self.standing
        if self.control is not None:
            self.enqueue()  # news of children that this activation has brought about come first
        elif ending is None and standing is None:
            self._stand_by(None)
        elif self.runtime.dispatcher.context:
            self.enqueue()  # neither the hook nor a verb shall see what the last handler has set
        elif ending is None:
            self._stand_by(standing)
        else:
            self._proceed()
            if self.ending is ending:
                self._watch_grace(ending)

    def _stand_by(self, standing: Standing | None) -> None:
        """Carry out what stands before the next message; if that is to wait any longer, there is nothing more to do."""
        held = standing is not None and standing.holds(self)
        if self.ending is not None:
            return  # by what was carried out
        self.attention = held
        if self.life is not RUNNING or self.job is not None:
            return
        if not held:
            self.settle()
        elif self._dry:
            self._drained()

    def _serve_control(self) -> None:
        control, self.control = self.control or (), None
        family = self.family
        assert family is not None, self
        for child, incarnation, ending in control:
            if child.incarnation != incarnation:
                continue  # old news
            if ending is not None:
                family.child_ended(child, ending)
            elif not child.down:
                family.child_started(child)

    def settle(self) -> None:
        """RUNNING without a job: what next?"""
        if self.queued:
            return
        if self.attention or (self.mailbox is not None and self.mailbox.items and self._may_handle(self.mailbox)):
            self.queued = True
            self.runtime.dispatcher.push(self)
        elif self.standing is not None and self.standing.draining is not None and self._dry:
            self._drained()
        else:
            self.ready = True

    def _may_handle(self, mailbox: AsyncMessageQueue[Any]) -> bool:
        """Whether what is there may be handled now; a burst that is being collected is waited for."""
        if not mailbox.collects:
            return True
        due = mailbox.burst_due()
        if due <= self.runtime.env.now():
            return True
        # A timer that fires too early does no harm: it is set anew once, and not for each message.
        if self._timer is None or self._timer.when() > due:
            self._arm(due, self._burst_due)
        self.ready = True
        return False

    def _burst_due(self) -> None:
        self._timer = None
        self.enqueue()

    @property
    def _dry(self) -> bool:
        return self.draining is not None and not self.waiting and not self.turns

    def _drained(self) -> None:
        self.request_stop(Shutdown("drained"))

    # Starting

    def _comes_up(self) -> bool:
        """Start, if it is time for that; whether messages may be handled in the same activation."""
        if self.life is not STARTING or self.actor is not None or self.ending is not None:
            return False
        self._boot()
        return self.life is RUNNING and not self.runtime.dispatcher.context  # which no handler shall see

    def _boot(self) -> None:
        try:
            spec, runtime = self.spec, self.runtime
            if spec.given:
                self._check_grace(spec.given.get("shutdown"))
            # To unpack a mapping costs more than most constructors, also if nothing is in it.
            actor = spec.factory(*spec.args, **spec.kwargs) if spec.kwargs else spec.factory(*spec.args)
            table = runtime.table_of(self, actor)
            if self.standing is not None and self.standing.trace is not None:
                table = self.standing.shown(table)
            plan = PLAIN
            if actor.supervises:
                plan = actor._understudy_plan(self.path, None if self.family is None else self.family.plan)
            _put(actor, "_understudy_cell", self)
            self.actor, self.table = actor, table
            if table.initialize is None:
                if self.ending is not None:
                    pass
                elif plan is PLAIN and self.family is None:
                    self.family_started()
                else:
                    self._begin_family(plan)
                return
            if table.initialize.is_async:
                self._arm(self.runtime.env.now() + self.option("start_timeout"), self._start_timed_out)
                self.start_job("initialize", self._run_initialize, plan)
                return
            result = table.initialize.function(actor)
        except BaseException as error:
            self.start_failed(error)
        else:
            self._initialized(plan, result)

    def _check_grace(self, grace: Any) -> None:
        problem = None if grace is None else self.runtime.settings.grace_problem(grace)
        if problem is not None:
            raise InvalidSpec(child=self.path, field="shutdown", problem=problem)

    async def _run_initialize(self, job: Job, plan: Plan) -> None:
        error = await self._run_hook(job, self.table.initialize)
        if self.job is not job:
            return
        self.job = None
        if self.ending is not None:
            self.enqueue()
        elif error is not None:
            self.start_failed(error)
        else:
            self._initialized(plan, job.result)

    def _initialized(self, plan: Plan, result: object = None) -> None:
        if self.ending is not None:
            return
        if self._timer is not None:
            self._arm(math.inf)
        if result is None:
            pass
        elif isinstance(result, Continue):
            self.hand = Onward(result.message, self)  # until it is up
        elif isinstance(result, Ignore):
            self.end(Normal(), hook=False).ignored = True
            return
        elif (problem := self._not_nothing("initialize", result)) is not None:
            self.start_failed(problem)
            return
        self._begin_family(plan)

    def _begin_family(self, plan: Plan) -> None:
        """Last of all its declared children start, if there are any."""
        if self.family is not None or plan.children or plan.shared:
            self._make_family().boot(plan)
        else:
            self.family_started()

    def start_failed(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.runtime.interrupt()
        if self.ending is not None:
            self.enqueue()
            return
        frames = self.frames(error)
        self._fail_start(StartFailed(without_traceback(error), frames))

    def _start_timed_out(self) -> None:
        error = StartTimeout(path=self.path, seconds=self.option("start_timeout"))
        self._fail_start(StartFailed(error))

    def _fail_start(self, reason: StartFailed) -> None:
        if self.incarnation > 1:
            self.report_crash(reason, None)
        self.end(reason, hook=False).directive = self.directive(reason.error)

    def report_crash(self, reason: Crashed | StartFailed, message_type: str | None) -> None:
        """An incarnation has failed: the event, and one report for whoever wants to know more."""
        if self.life is not DEAD:  # of a task, it may be reported long afterwards
            (self.standing or self.stand()).crashes += 1
        self.runtime.instruments.crashed(
            self.path, reason, message_type, lambda: crash_report(self, reason, message_type)
        )

    def family_started(self) -> None:
        """All declared children are up: so is this actor."""
        self.life = RUNNING
        self.came_up = True
        if self.standing is not None:
            self.standing.came_up(self)
            if self.standing.draining is not None:
                self._arm(self.standing.draining, self._drained)
        onward, self.hand = self.hand, None
        if onward is not None:
            self.give_back(self.make_mailbox(), onward)
        instruments = self.runtime.instruments
        instruments.started.count += 1
        if instruments.started.heard:
            instruments.tell(Instrument.actor_started, self.path, self.incarnation)
        if self.parent is not None:
            self.parent.hear(self, self.incarnation, None)
        self.settle()

    def family_failed(self, reason: StartFailed) -> None:
        """A declared child did not start."""
        if self.ending is None:
            self._fail_start(reason)

    def family_stopped(self) -> None:
        """No child is up any more."""
        self.enqueue()

    def _make_family(self) -> Family[Cell]:
        if self.family is None:
            self.family = Family(self, Cell)
        return self.family

    def spawn(self, spec: ChildSpec[Any], *, declared: bool = False, kept: bool = False) -> Child[Cell]:
        """Start a child at run time. Refused when this actor is on its way out."""
        if (self.life is not RUNNING and self.life is not STARTING) or self.ending is not None:
            raise ActorStopped(path=self.path, reason=self.why_not())
        family = self.family or self._make_family()
        return family.spawn(spec, declared=declared, kept=kept)

    def why_not(self) -> ExitReason:
        return self.ending.reason if self.ending is not None else self.gate or self.reason or Shutdown()

    # What few have

    def stand(self) -> Standing:
        """What few cells have, and what outlives the incarnation; made when it is first wanted."""
        assert self.life is not DEAD, self
        if self.standing is None:
            self.standing = Standing()
        return self.standing

    def interpose(self) -> None:
        """Something may stand before the next message: look at that first. For one that is not up, when it is."""
        if self.life is RUNNING:
            self.look_up()
            self.enqueue()

    def note_loss(self, message: object, why: str) -> None:
        """A message for this actor has become a dead letter."""
        standing = self.standing
        if standing is None and self.life is not DEAD:
            standing = self.stand()
        if standing is not None:
            standing.lost(message, why)

    def own(self) -> Belongings:
        """What few actors have, made when it is first wanted."""
        if self.belongings is None:
            self.belongings = Belongings(self)
            if self.job is not None:
                self.job.look = True
        return self.belongings

    def start_turn(self, item: Any, message: Any, ask: Ask | None, handler: Handler) -> bool:
        """Handle *item* beside what else is under way; False: nothing more may be handled for now."""
        belongings = self.own()
        if belongings.turns is None:
            belongings.turns = Turns(self)
        return belongings.turns.start(item, message, ask, handler)


def _is_ask(item: object) -> bool:
    return isinstance(item, Ask)
