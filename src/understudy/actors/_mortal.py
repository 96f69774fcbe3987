"""The half of a cell that deals with ends: of an incarnation, and of the tasks that belong to it."""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import FRAME, Onward, is_plain, message_of, sender_of
from understudy.actors._handler import NO_HANDLERS, Handler
from understudy.actors._inbox import Inbox
from understudy.actors._life import (
    CHILDREN,
    DEAD,
    DOWN,
    HANDLER,
    HOOK,
    REST,
    STARTING,
    STOPPING,
    Ending,
    Job,
    Life,
)
from understudy.exceptions import InvalidActor
from understudy.instrument import Instrument
from understudy.messages import DeadLetter
from understudy.reasons import Crashed, ExitReason, Shutdown, without_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from understudy.actors._belongings import Belongings
    from understudy.actors._cell import Cell
    from understudy.actors._family import Family

__all__ = ["Mortal"]


class Mortal(Inbox):
    """The part of :class:`understudy.actors._cell.Cell` that ends.

    The steps of an end wait for each other: the handler in hand, the children and tasks, the hook. They are taken in
    activations; the grace is one clock over all of them.
    """

    __slots__ = ("_timer", "family", "for_good", "incarnation", "left", "life", "name", "parent", "uid")

    parent: Cell | None
    name: str
    uid: int
    incarnation: int
    life: Life
    for_good: bool
    """The end in sight is the last: nobody restarts it."""
    left: Sequence[DeadLetter]
    """What is left over for whoever wants to have it, when the final end is near."""
    family: Family[Any] | None
    _timer: asyncio.TimerHandle | None

    # What the cell does

    @property
    @abstractmethod
    def down(self) -> bool: ...
    @abstractmethod
    def bury(self, reason: ExitReason) -> None: ...
    @abstractmethod
    def hear(self, child: Any, incarnation: int, ending: Ending | None) -> None: ...
    @abstractmethod
    def start_failed(self, error: BaseException) -> None: ...

    # Ending

    def _shut(self, reason: ExitReason) -> None:
        """The end is final: accept nothing more, and give back what waits."""
        self.for_good = True
        if self.gate is None:
            self.gate = reason
        if self.mailbox is None:
            return
        self._leave_over(self.mailbox.close(drain=False), reason)

    def _leave_over(self, items: Sequence[Any], reason: ExitReason, *, older: bool = False) -> None:
        """*items* wait in vain, *older* ones than those before; what nobody wants to have is lost."""
        wanted: list[DeadLetter] = []
        somebody = self.spec.given.get("leftovers") is not None
        for item in items:
            if somebody and is_plain(item):
                wanted.append(DeadLetter(message_of(item), self.path, sender_of(item), str(reason)))
            else:
                self.lose(item, reason)
        if wanted:
            self.left = [*wanted, *self.left] if older else [*self.left, *wanted]

    def end(self, reason: ExitReason, *, hook: bool) -> Ending:
        """Begin the end of this incarnation; its grace is one clock from here over handler, children and hook."""
        starting = self.life is STARTING
        self.ending = ending = Ending(reason, hook=hook and not starting)
        ending.since = self.runtime.env.now()
        self.look_up()
        self.ready = False
        if self.standing is not None and self.standing.changes:
            self.standing.dismiss(reason)
        if self._timer is not None:
            self._arm(math.inf)
        if isinstance(reason, Shutdown) and self.option("shutdown") == "brutal_kill":
            self.force(keep=True)
        if starting:
            self._interrupt()
        self.enqueue()
        return ending

    def _watch_grace(self, ending: Ending) -> None:
        """The end was not a matter of this activation, as most are: it gets the timer that bounds it."""
        if ending.watched or ending.interrupting:
            return
        ending.watched = True
        grace = self.option("shutdown")
        if grace == "brutal_kill":
            # Nobody has asked for this end, so there is nothing to be brutal about.
            grace = self.runtime.settings.shutdown
        if grace != "infinity":
            self._arm(ending.since + grace, self._grace_over)

    def _grace_over(self) -> None:
        self.force(keep=not self.for_good)

    def _interrupt(self) -> None:
        """Cancel the job now and at intervals, and abandon it in the end."""
        ending, env = self.ending, self.runtime.env
        assert ending is not None
        if not self._works or ending.interrupting:
            return
        ending.interrupting = True
        ending.abandon_at = env.now() + self.runtime.settings.abandon_after
        self._cancel_again()

    def _cancel_again(self) -> None:
        ending, env = self.ending, self.runtime.env
        if not self._works or ending is None:
            return
        self.cancel_all()
        # Timers fire a little early, so the deadline has an action of its own rather than a comparison with the clock.
        again = env.now() + self.runtime.settings.cancel_interval
        if again < ending.abandon_at:
            self._arm(again, self._cancel_again)
        else:
            self._arm(ending.abandon_at, self._resisted)

    def _resisted(self) -> None:
        if self._works and self.ending is not None:
            self.ending.forced = True
            self.abandon_all()
            self.enqueue()

    @property
    def _works(self) -> bool:
        """Whether a task of this incarnation runs."""
        return self.job is not None or (self.belongings is not None and self.belongings.busy)

    def cancel_all(self) -> None:
        """Cancel whatever of this incarnation runs, once more."""
        if self.job is not None:
            self.job.cancel()
        if self.belongings is not None:
            self.belongings.interrupt()

    def abandon_all(self) -> None:
        """Give up on whatever of this incarnation runs: from now on it is a zombie, and its actor has no context."""
        if self.belongings is not None:
            self.belongings.abandon()
        job, self.job = self.job, None
        if job is None:
            return
        job.look = True
        if job.started and job.task is not None:
            stack = self.runtime.env.tasks.abandon(job.task)
            self.runtime.instruments.emit(Instrument.abandoned, self.path, stack)
        self.interrupted()
        self.release()

    def _proceed(self) -> None:
        """Take the steps of the end that can be taken; called whenever one of them may have become possible."""
        ending = self.ending
        assert ending is not None
        belongings, family = self.belongings, self.family
        turns = None if belongings is None else belongings.turns
        if turns:
            turns.end(ending)
        if self.job is not None or turns or self.life is DOWN or self.life is DEAD:
            return
        if ending.step is HANDLER:
            self.life = STOPPING
            if family is None and belongings is None and self.table.shutdown is None:
                self._go_down(ending)
                return
            ending.step = CHILDREN
            if family is not None:
                self._stop_children(family, ending)
            if belongings is not None:
                belongings.interrupt()
        if ending.step is CHILDREN:
            if (family is not None and not family.stopped) or (belongings is not None and belongings.busy):
                return
            ending.step = HOOK
            hook = self.table.shutdown
            if hook is not None and ending.hook and not ending.forced:
                self._run_shutdown(hook, ending)
        self._rest(ending)

    def _rest(self, ending: Ending) -> None:
        """Go down, unless the hook is running, or something that it has started."""
        if self.job is not None:
            return
        belongings = self.belongings
        if belongings is not None and ending.step is HOOK:
            ending.step = REST
            belongings.interrupt()
        if belongings is None or not belongings.busy:
            self._go_down(ending)

    def _stop_children(self, family: Family[Any], ending: Ending) -> None:
        if ending.forced:
            for cell, keep in family.kill_all(keep=not self.for_good):
                cell.force(keep=keep)
        else:
            family.stop_all(keep=not self.for_good)

    def _run_shutdown(self, hook: Handler, ending: Ending) -> None:
        if hook.is_async:
            self.start_job("shutdown", self._run_shutdown_job, ending)
            return
        try:
            problem = self._not_nothing("shutdown", hook.function(self.actor, ending.reason))
        except BaseException as error:
            problem = error
        if problem is not None:
            self._shutdown_failed(problem)

    async def _run_shutdown_job(self, job: Job, ending: Ending) -> None:
        error = await self._run_hook(job, self.table.shutdown, ending.reason)
        if self.job is not job:
            return
        self.job = None
        if error is None:
            error = self._not_nothing("shutdown", job.result)
        if error is not None and not ending.interrupting:
            self._shutdown_failed(error)
        self.enqueue()

    def _shutdown_failed(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.runtime.interrupt()
        self.runtime.instruments.emit(Instrument.shutdown_failed, self.path, error)
        without_traceback(error)

    def _go_down(self, ending: Ending) -> None:
        if ending.forced:
            ending.reason = ending.final_reason()
        reason = ending.reason
        self._leave(reason)
        self.life = DOWN
        self.reason = reason
        if self.parent is None:
            self.bury(reason)
        else:
            self.parent.hear(self, self.incarnation, ending)

    def _leave(self, reason: ExitReason) -> None:
        """Let go of the incarnation."""
        if self._timer is not None:
            self._arm(math.inf)
        actor, self.actor = self.actor, None
        if actor is not None:
            actor._understudy_leave(reason)
            # A zombie of it, or whoever kept it, can do nothing to the next incarnation.
            object.__setattr__(actor, "_understudy_cell", None)
        self.table = NO_HANDLERS
        self.ending = None
        self.attention = False
        self.ready = False
        if self.hand is not None or self.waits is not None:
            self.release()
        if self.standing is not None:
            self.standing.left(reason)
        mailbox = self.mailbox
        if mailbox is not None and mailbox.items and type(mailbox.next_item()) is Onward:
            self.take_onward()
        if self.belongings is not None:
            self._end_belongings(self.belongings)

    def take_onward(self) -> list[Onward]:
        """What stands in front of all else in the mailbox, by the actor's own wish."""
        taken: list[Onward] = []
        mailbox = self.mailbox
        while mailbox is not None and mailbox.items and type(mailbox.next_item()) is Onward:
            taken.append(mailbox.take())
        return taken

    def _end_belongings(self, belongings: Belongings) -> None:
        self.belongings = None
        belongings.end()
        if self.for_good and self.mailbox is not None:  # what was in the stash has come back
            self._leave_over(self.mailbox.clear(), self.gate or Shutdown(), older=True)

    def task_failed(self, error: BaseException, name: str) -> None:
        """A task of the actor has failed, which is its own failure."""
        if self.ending is not None or self.down:
            return
        if isinstance(error, KeyboardInterrupt):
            self.runtime.interrupt()
        reason = Crashed(error, self.frames(error))
        without_traceback(error)
        self.report_crash(reason, name)
        self.end(reason, hook=True).directive = self.directive(error)

    # Jobs and the one timer

    def start_job(self, kind: str, body: Callable[..., Any], *args: Any) -> None:
        job = self.job = Job(kind)
        task = self.runtime.env.start_task(
            body(job, *args), name=f"actor:{self.path}", context=job.context, on_done=self.job_done
        )
        if self.job is job:
            job.task = task

    async def _run_hook(self, job: Job, hook: Handler | None, *args: Any) -> BaseException | None:
        """Run a hook and return what it raised."""
        assert hook is not None
        job.begin()
        FRAME.set(self)
        if self.ending is not None and self.ending.interrupting:
            return None
        self.hand_since = self.runtime.env.now()
        try:
            job.result = await hook.function(self.actor, *args)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not job.is_current:
                raise
            return error
        finally:
            if self.job is job:
                self.waits = None
        return None

    def job_done(self, task: asyncio.Task[None]) -> None:
        """The task has ended. Usually its last lines have seen to all; not if it was cancelled before its first one."""
        job = self.job
        if job is None or job.task is not task:
            return
        self.job = None
        defect = None if task.cancelled() else task.exception()
        error = defect or asyncio.CancelledError("cancelled by somebody before it began")
        if self.ending is not None:
            self.enqueue()
        elif job.kind == "initialize":
            self.start_failed(error)
        else:
            self._crash(error, None, None)

    def _not_nothing(self, hook: str, result: object) -> BaseException | None:
        if result is None:
            return None
        problem = f"{hook} must return None, got {type(result).__name__}"
        if isinstance(result, Coroutine):
            result.close()
        return InvalidActor(actor=type(self.actor).__qualname__, problem=problem)

    def _arm(self, when: float, action: Callable[[], object] | None = None) -> None:
        """Set the one timer of this cell, or none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if action is not None:
            self._timer = self.runtime.env.call_at(when, action)
