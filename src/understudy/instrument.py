"""The seam for whoever wants to know: the runtime calls an :class:`Instrument` and does not know who listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from understudy.reasons import ExitReason, Frame

__all__ = ["CrashReport", "Instrument", "Instruments", "LoopBlocked", "LoopLag", "Statistics"]

P = ParamSpec("P")


class Instrument:
    """What the runtime reports, each exactly once, on the spot and synchronously.

    Override what you want to know. An instrument must not block and must not raise; what it raises is reported to the
    event loop's exception handler and changes nothing. Paths are absolute, times are seconds.
    """

    _understudy_unobtrusive: ClassVar[bool] = False
    """Whether it does not matter to it, nor to anybody, on whose stack it is called; for the runtime."""

    def actor_started(self, path: str, incarnation: int) -> None:
        """*initialize* has ended and all declared children are up."""

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        """The final end: the name is free."""

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        """An incarnation failed; *message_type* was in hand, None outside of a handler."""

    def crash_reported(self, report: CrashReport) -> None:
        """The same, with all that helps to find out why; it is only made when somebody wants it."""

    def wants_crash_report(self, path: str, reason: ExitReason, message_type: str | None) -> bool:
        """Whether :meth:`crash_reported` shall be called for this crash.

        To make a report takes about as long as a restart. Who has enough of equal ones can spare it.
        """
        return True

    def trace_context(self) -> Mapping[str, str] | None:
        """What goes with a message that is sent to another node, such as a ``traceparent``; None: nothing.

        Called where the message is sent, in the context of who sends it: with OpenTelemetry, ``inject`` into a dict and
        return that. Texts only. The handler on the other side finds it in ``self.context.trace``. While no instrument
        overrides this, nothing goes with messages, and sending them costs nothing more.
        """
        return None

    def actor_resumed(self, path: str, reason: ExitReason, message_type: str) -> None:
        """A handler failed, and the actor goes on as its rules say: the message is lost, the state stays."""

    def handling_too_long(self, path: str, message_type: str, seconds: float) -> None:
        """A handler has exceeded ``max_handling_seconds``; the actor is being killed for it."""

    def loop_blocked(self, report: LoopBlocked) -> None:
        """The event loop turns again, after it was blocked for longer than ``Settings.watchdog``.

        Once for each time; the log has said so while it lasted. Never without a watchdog.
        """

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        """The supervisor has decided to start it anew; *failures* is how many fell into its window."""

    def gave_up(self, path: str, reason: ExitReason) -> None:
        """The actor at *path* has exceeded its restarts, or those of a child."""

    def shutdown_failed(self, path: str, error: BaseException) -> None:
        """The ``shutdown`` hook raised; the end went on without it."""

    def refused(self, path: str, message_type: str, text: str) -> None:
        """A handler raised ``Refused`` on a message that nobody waits for."""

    def late(self, name: str) -> None:
        """A user's task of the shutdown had not ended in time, and is cancelled."""

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        """A task would not end and was given up on; *stack* is where it stands."""

    def mailbox_full(self, path: str, capacity: float) -> None:
        """A message found no room."""

    def mailbox_high(self, path: str, load: float) -> None:
        """A mailbox has reached its high mark."""

    def mailbox_low(self, path: str, load: float) -> None:
        """It is down to its low mark again."""

    def stashed(self, path: str, message: object) -> None:
        """An actor has put a message aside, to be handled later."""

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        """A message was not handled."""

    def left_over(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        """A message was not handled, and the ``leftovers`` of its recipient have taken it: it is no dead letter."""

    def system_phase(self, system: str, phase: str) -> None:
        """The system has entered a phase of its life."""


class Instruments:
    """Counts what happens, and tells those who listen.

    One that raises is reported to *complain* and does not keep the others from hearing.
    """

    __slots__ = (
        "_complain",
        "_crashed",
        "_listeners",
        "_reported_to",
        "_tallies",
        "_tracers",
        "restarting",
        "started",
        "stopped",
    )

    def __init__(self, listeners: Sequence[Instrument], complain: Callable[[str, BaseException], None]) -> None:
        self._listeners = tuple(listeners)
        self._reported_to = self._overriding(Instrument.crash_reported)
        self._tracers = self._overriding(Instrument.trace_context)
        self._complain = complain
        self._tallies: dict[Callable[..., None], _Tally] = {}
        # The most frequent ones, for who counts by himself and tells only if there is somebody to tell.
        self.started = self._tally(Instrument.actor_started)
        self.stopped = self._tally(Instrument.actor_stopped)
        self.restarting = self._tally(Instrument.actor_restarting)
        self._crashed = self._tally(Instrument.actor_crashed)

    def emit(self, event: Callable[Concatenate[Instrument, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Count it, and call the method *event* of those who override it: ``emit(Instrument.late, name)``."""
        tally = self._tallies.get(event) or self._tally(event)
        tally.count += 1
        if tally.heard:
            self.tell(event, *args, **kwargs)

    def tell(self, event: Callable[Concatenate[Instrument, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the method *event* of those who override it; for who has counted it already."""
        for method in (self._tallies.get(event) or self._tally(event)).methods:
            try:
                method(*args, **kwargs)
            except Exception as error:
                self._complain(f"{method.__qualname__} raised", error)

    def crashed(
        self, path: str, reason: ExitReason, message_type: str | None, report: Callable[[], CrashReport]
    ) -> None:
        """An incarnation has failed; *report* makes the report of it."""
        self._crashed.count += 1
        if self._crashed.heard:
            self.tell(Instrument.actor_crashed, path, reason, message_type)
        made: CrashReport | None = None
        for each in self._reported_to:
            try:
                if each.wants_crash_report(path, reason, message_type):
                    made = made or report()
                    each.crash_reported(made)
            except Exception as error:
                self._complain(f"{type(each).__qualname__}.crash_reported raised", error)

    @property
    def trace(self) -> bool:
        """Whether anybody wants something to go with what is sent to other nodes."""
        return bool(self._tracers)

    def trace_context(self) -> dict[str, str] | None:
        """What goes with a message that is sent now, of all who have something."""
        found: dict[str, str] = {}
        for each in self._tracers:
            try:
                found |= _texts(each.trace_context())
            except Exception as error:
                self._complain(f"{type(each).__qualname__}.trace_context raised", error)
        return found or None

    def listen(self, event: Callable[..., None], method: Callable[..., None]) -> None:
        """From now on *method* is told of *event* too."""
        tally = self._tally(event)
        tally.methods = [*tally.methods, method]
        tally.heard = True
        tally.minded += 1

    def ignore(self, event: Callable[..., None], method: Callable[..., None]) -> None:
        """*method*, which listens, does no more."""
        tally = self._tally(event)
        tally.methods = [each for each in tally.methods if each is not method]
        tally.heard = bool(tally.methods)
        tally.minded -= 1

    def count(self, event: Callable[..., None]) -> int:
        """How often it has happened."""
        tally = self._tallies.get(event)
        return 0 if tally is None else tally.count

    def statistics(self, *, actors: int, blocking: int) -> Statistics:
        """The counts of this moment."""
        return Statistics(
            actors=actors,
            blocking=blocking,
            started=self.count(Instrument.actor_started),
            stopped=self.count(Instrument.actor_stopped),
            crashed=self.count(Instrument.actor_crashed),
            restarted=self.count(Instrument.actor_restarting),
            dead_letters=self.count(Instrument.dead_letter),
            abandoned=self.count(Instrument.abandoned),
        )

    def _tally(self, event: Callable[..., None]) -> _Tally:
        tally = self._tallies.get(event)
        if tally is None:
            overriding = self._overriding(event)
            minded = sum(not each._understudy_unobtrusive for each in overriding)  # pyright: ignore[reportPrivateUsage]
            methods = [getattr(each, event.__name__) for each in overriding]
            tally = self._tallies[event] = _Tally(methods, minded)
        return tally

    def _overriding(self, event: Callable[..., object]) -> list[Instrument]:
        return [each for each in self._listeners if getattr(type(each), event.__name__) is not event]


def _texts(given: Any) -> dict[str, str]:
    context = dict(given or {})
    for each in (*context, *context.values()):
        if not isinstance(each, str):
            raise TypeError(f"a trace context is made of texts, got {each!r}")
    return context


class _Tally:
    """How often an event has happened, and who wants to hear of it."""

    __slots__ = ("count", "heard", "methods", "minded")

    def __init__(self, methods: list[Callable[..., None]], minded: int) -> None:
        self.count = 0
        self.methods = methods
        self.heard = bool(methods)
        self.minded = minded
        """How many of them are not unobtrusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport:
    """A failed incarnation; there is one for each, and none for a normal end."""

    path: str
    actor: str
    """The name of its class."""
    incarnation: int
    message_type: str | None
    """What was in hand; None outside of a handler."""
    reason: ExitReason
    """With the error, its cause, and the frames in which it was raised."""
    state: Mapping[str, str]
    """The names of the actor's attributes, and the types of their values."""
    description: Mapping[str, str]
    """What its hook ``describe`` tells."""
    ancestors: tuple[str, ...]
    """The paths of its parent, of the parent of that, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked:
    """What held the event loop when it was looked at last, and for how long; types and places, never values."""

    actor: str | None
    """The path of the actor whose code it was; None when it was no actor's."""
    doing: str
    """``"handler"``, ``"initialize"``, ``"shutdown"``; ``"constructor"``, or ``children`` of a supervisor; ``"task"``,
    of the actor's own, or anybody's if there is no actor; ``"abandoned"``, a task of the actor that was given up on;
    ``"callback"``, of the event loop; ``"runtime"``, what the runtime itself does for the actor."""
    message_type: str | None
    """What the handler had in hand."""
    task: str | None
    """The name of the asyncio task; None in a ``def`` handler or hook, and in callbacks."""
    file: str
    """With *line* and *function*: where it is in the user's own code, the innermost such place; if there is none, in
    what was called first."""
    line: int
    function: str
    frames: tuple[Frame, ...]
    """From the actor's code inwards to what was running, without the runtime; of very many, the first and the last."""
    seconds: float
    """For how long, at least."""


@dataclass(frozen=True, slots=True)
class LoopLag:
    """How late the event loop was for what was to be called at once, over the latest thousand looks of the watchdog.

    All in seconds. A look that finds the loop waiting counts as 0.
    """

    last: float
    mean: float
    p99: float
    longest: float
    looks: int
    """How many looks these numbers are of."""
    blocked: int
    """How often it was blocked for longer than ``Settings.watchdog``, since the start."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the start of a system, and what there is of some things now."""

    actors: int
    started: int
    stopped: int
    crashed: int
    restarted: int
    dead_letters: int
    abandoned: int
    blocking: int
    """Calls of ``run_blocking`` that are under way, or wait for a thread, now."""
