"""One supervised task: the actor that runs it, what became of it, and the handle by which others know it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, TypeVar

from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.actors._waiting import Waiting
from understudy.environment import thread_id
from understudy.exceptions import ActorFailed, ActorStopped
from understudy.instrument import Instrument
from understudy.reasons import Crashed, ExitReason, Killed, Normal, Shutdown, frames_of, is_abnormal, plain_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from understudy._plans._spec import Options
    from understudy.actors._cell import Cell
    from understudy.reasons import Frame

__all__ = ["Outcome", "Task", "TaskHandle", "all_ended"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Outcome(Generic[R]):
    """What becomes of one task.

    First its code *settles* it, with a value or an error. It is *published* when the actor has ended and its name and
    place are free: only then does anybody hear of it. A task whose actor ends unsettled, because somebody has ended it,
    has that for an error.
    """

    __slots__ = (
        "_links",
        "_looked_at",
        "_starter",
        "_unheld",
        "cell",
        "error",
        "frames",
        "label",
        "late",
        "published",
        "settled",
        "timer",
        "value",
        "when_published",
    )

    value: R
    cell: Cell

    def __init__(self, label: str, published: asyncio.Future[None]) -> None:
        self.label = label
        """What is run, for people."""
        self.published = published
        self.when_published: Callable[[], object] | None = None
        self.settled = False
        self.error: BaseException | None = None
        self.frames: tuple[Frame, ...] = ()
        # Seconds that it was given, when it has exceeded them.
        self.late: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        # Nobody has the handle any more; somebody has got the error.
        self._unheld = False
        self._looked_at = False
        # Whom a failure concerns, and where that actor keeps what is to end with it.
        self._starter: tuple[Cell, object] | None = None
        self._links: Links | None = None

    # Its life

    def began(self, cell: Cell, timeout: float | None) -> None:
        """The actor is there."""
        self.cell = cell
        cell.observe(self._ended)
        if timeout is not None:
            env = cell.runtime.env
            self.timer = env.call_at(env.now() + timeout, lambda: self._timed_out(timeout))

    def link(self, starter: Cell) -> None:
        """From here on the present incarnation of *starter* and the task fail and end together."""
        self._starter = starter, starter.actor
        self._links = Links.of(starter.actor)
        self._links.ends[self] = None

    def cancel(self, why: str) -> None:
        """End the task as soon as it lets itself be ended."""
        if not self.published.done() and not self.settled:
            self.cell.request_stop(Shutdown(why))
            self.cell.force(keep=False)

    def settle(self, error: BaseException | None) -> None:
        """The code has come to its end, with or without an *error*."""
        self.settled = True
        self.error = error
        if error is not None:
            self.frames = tuple(frame for frame in frames_of(error.__traceback__) if frame[0] != __file__)

    def _timed_out(self, seconds: float) -> None:
        if not self.settled:
            self.late = seconds
            self.cancel("its time was over")

    def _ended(self, reason: ExitReason) -> None:
        """The final end of the actor: nothing can come after it."""
        if self.timer is not None:
            self.timer.cancel()
        if self._links is not None:
            self._links.ends.pop(self, None)
        failed = self.error is not None or not self.settled
        if self.late is not None:
            what = f"{self.cell.path} had not ended after {plain_seconds(self.late)}, and was cancelled"
            self.error, failed = TimeoutError(what), True
        elif not self.settled:
            self.error = ActorStopped(path=self.cell.path, reason=reason)
            failed = is_abnormal(reason) and not (isinstance(reason, Killed) and isinstance(reason.first, Shutdown))
        self.settled = True
        self.published.set_result(None)
        if failed and not self._fail_starter():
            self._report_if_unheld()
        if self.when_published is not None:
            self.when_published()

    def _fail_starter(self) -> bool:
        """Whether there was somebody for whom the failure is one too."""
        if self._starter is None:
            return False
        cell, incarnation = self._starter
        if cell.actor is not incarnation or cell.ending is not None:
            return False
        self._looked_at = True
        failure = self.failure()
        reason = Crashed(failure)
        directive = cell.directive(failure)
        if directive == "resume":
            cell.runtime.instruments.emit(Instrument.actor_resumed, cell.path, reason, self.label)
            return True
        cell.report_crash(reason, None)
        cell.end(reason, hook=False).directive = directive
        cell.force(keep=True)
        return True

    def failure(self) -> ActorFailed:
        """The error as that of the task's actor."""
        assert self.error is not None
        reason = Crashed(self.error, self.frames)
        failure = ActorFailed(path=self.cell.path, message_type=self.label, reason=reason)
        failure.__cause__ = self.error
        return failure

    # Who takes it

    async def wait(self) -> None:
        """Wait until it is published; who is an actor is seen to wait."""
        if self.published.done():
            return
        with Waiting.now().on(self.cell):
            await asyncio.wait({self.published})

    def take(self) -> R:
        """The value; the error is raised."""
        self._looked_at = True
        try:
            if self.error is None:
                return self.value
            raise self.error if isinstance(self.error, Exception) else self.failure()
        finally:
            del self  # which holds the error, whose traceback holds this frame

    def unheld(self) -> None:
        """Nobody can take it any more; called by the garbage collector, which may run in any thread."""
        self._unheld = True
        if self.published.done():
            self._report_if_unheld()

    def _report_if_unheld(self) -> None:
        if not self._unheld or self._looked_at or self.error is None or isinstance(self.error, ActorStopped):
            return
        self._looked_at = True
        reason = Crashed(self.error.with_traceback(None), self.frames)
        if thread_id() == self.cell.runtime.env.thread:
            self.cell.report_crash(reason, self.label)
        else:
            self.cell.runtime.env.loop.call_soon_threadsafe(self.cell.report_crash, reason, self.label)


async def all_ended(outcomes: Iterable[Outcome[Any]]) -> None:
    """Wait until all are published, whatever cancels come meanwhile, which count afterwards.

    They are cancelled already, so that takes no longer than the runtime takes to give up on them.
    """
    cancelled: asyncio.CancelledError | None = None
    for outcome in outcomes:
        while not outcome.published.done():
            try:
                await asyncio.wait({outcome.published})
            except asyncio.CancelledError as cancel:
                cancelled = cancel
    if cancelled is not None:
        raise cancelled


class Links:
    """What ends with an incarnation of an actor; it stands in the place of the hook that the runtime calls then."""

    __slots__ = ("_leave", "ends")

    def __init__(self, leave: Callable[[ExitReason], None]) -> None:
        self._leave = leave
        self.ends: dict[Outcome[Any], None] = {}

    @classmethod
    def of(cls, actor: Any) -> Links:
        """Those of *actor*, made with the first of them."""
        leave = actor._understudy_leave
        if isinstance(leave, cls):
            return leave
        links = cls(leave)
        object.__setattr__(actor, "_understudy_leave", links)  # not by setattr: it may have made itself frozen
        return links

    def __call__(self, reason: ExitReason) -> None:
        self._leave(reason)
        ends, self.ends = self.ends, {}
        for outcome in ends:
            outcome.cancel("its starter has ended")


class Run:
    """To itself: begin."""

    __slots__ = ()


class Task(Actor[Never]):
    """Runs one coroutine and ends. It is temporary: it is never restarted, and nothing is kept of it."""

    defaults: ClassVar[Options] = {"restart": "temporary"}

    def __init__(self, outcome: Outcome[Any], function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        self._work: tuple[Outcome[Any], Callable[..., Awaitable[Any]], tuple[Any, ...]] | None = outcome, function, args

    def initialize(self) -> None:
        self.context.tell_self(Run())

    @handler
    async def _run(self, message: Run) -> None:
        # The traceback of an error holds this frame, so the frame must not hold the outcome in the end, which holds the
        # error, nor must the actor.
        assert self._work is not None
        (outcome, function, args), self._work = self._work, None
        try:
            awaitable = function(*args)
            if not inspect.isawaitable(awaitable):
                problem = f"{outcome.label} must be an async function, it returned {type(awaitable).__name__}"
                raise TypeError(problem)
            outcome.value = await awaitable
        except (KeyboardInterrupt, GeneratorExit):
            raise  # of the process, and of a coroutine that is thrown away
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and self._is_interrupted()):
                self._end(outcome, error)
        else:
            self._end(outcome, None)
        finally:
            del outcome

    def _is_interrupted(self) -> bool:
        cell = self._understudy_cell
        return cell is None or (cell.ending is not None and cell.ending.interrupting)

    def _end(self, outcome: Outcome[Any], error: BaseException | None) -> None:
        cell = self._understudy_cell
        if cell is None:
            return  # it was given up on, and that has been told
        outcome.settle(error)
        if cell.ending is None:
            cell.end(Normal() if error is None else Crashed(error, outcome.frames), hook=False)


class TaskHandle(Generic[R_co]):
    """A task that was started: what it brings, and the way to end it.

    It belongs to the event loop of its system. When the handle is gone and nobody has asked for the result, a failure
    of the task is reported as a crash.
    """

    __slots__ = ("__weakref__", "_outcome")

    def __init__(self, outcome: Outcome[R_co]) -> None:
        self._outcome = outcome

    @property
    def name(self) -> str:
        """Its name under its supervisor."""
        return self._outcome.cell.name

    @property
    def path(self) -> str:
        """Like ``/user/tasks/fetch-3``."""
        return self._outcome.cell.path

    @property
    def done(self) -> bool:
        """Whether it has ended, however that came about: its name is free, and nothing of it runs any more."""
        return self._outcome.published.done()

    async def result(self) -> R_co:
        """Wait for the end, and return what the function has returned. May be called as often as you like.

        A caller that is cancelled leaves the task running.

        Raises:
            Exception: What the function has raised.
            TimeoutError: It had not ended within the time that it was given.
            ActorFailed: It raised what is not meant for others, a SystemExit, or a CancelledError that nobody has asked
                for; that is the ``__cause__``.
            ActorStopped: It was ended before it had come to its end: by :meth:`cancel`, or with its supervisor.
            AskCycle: The task is, directly or not, waiting for this actor.
        """
        outcome = self._outcome
        outcome.cell.check_loop()
        try:
            await outcome.wait()
            return outcome.take()
        finally:
            del self, outcome  # or the traceback of the error would hold the error

    def cancel(self) -> None:
        """End the task; returns at once.

        It is cancelled, again and again if it resists, and given up on in the end (``Settings.abandon_after``). One
        that has come to its end already keeps its result.
        """
        self._outcome.cell.check_loop()
        self._outcome.cancel("cancelled")

    def __repr__(self) -> str:
        return f"<TaskHandle {self.path} {'done' if self.done else self._outcome.cell.status}>"

    def __del__(self) -> None:
        self._outcome.unheld()
