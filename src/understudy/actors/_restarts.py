"""What the end of a child means while its parent is up: let it go, start it anew, start its group anew, give up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from understudy._plans._backoff import next_delay, reset_default
from understudy._plans._intensity import count_failure
from understudy._plans._order import Order
from understudy._plans._strategies import restarts
from understudy.actors._book import Book
from understudy.actors._child_record import Child, Member, Owner
from understudy.exceptions import ActorFailed
from understudy.instrument import Instrument
from understudy.reasons import Crashed, ExitReason, RestartsExceeded, Shutdown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy._plans._spec import ChildSpec
    from understudy.actors._life import Ending
    from understudy.actors._runtime import Runtime

__all__ = ["Group", "Restarts"]

C = TypeVar("C", bound=Member)


class Group:
    """Members that are restarted together: first they stop, then, perhaps after a delay, they start."""

    __slots__ = ("delay", "delayed", "names", "others", "starts", "stops", "timer")

    def __init__(self, names: list[str], stops: Order, delay: float, others: list[str]) -> None:
        self.names = names
        """Those that are to be up again and are not yet, in the order of the children."""
        self.others = others
        """Those that are starting anyway, and for which members may have to wait."""
        self.stops = stops
        self.starts: Order | None = None
        """None while any of them stops, and through the delay."""
        self.delay = delay
        self.delayed = False
        """The delay is running; for ever, if it is infinite."""
        self.timer: asyncio.TimerHandle | None = None

    def on_their_way(self) -> list[str]:
        """Those that are starting."""
        return [] if self.starts is None else list(self.starts.active)

    def starting(self, name: str) -> bool:
        """Whether *name* is in the part that starts."""
        return self.starts is not None and name in self.starts


class Restarts(Book[C]):
    """Decides. It never waits: it tells cells to stop and to start, and hears of it later."""

    __slots__ = ("_group", "_keep", "_open", "times")

    def __init__(self, owner: Owner, make: Callable[[Runtime, Any, ChildSpec[Any], str], C]) -> None:
        super().__init__(owner, make)
        self.times: list[float] = []
        """The failures that count, of all children together."""
        # From a start of the owner to its end; only then is a child restarted.
        self._open = True
        # While closing: those that were declared stay, for the owner's next incarnation.
        self._keep = False
        self._group: Group | None = None

    def restarting(self, name: str) -> bool:
        """Whether *name* is between two of its lives, or starting one that is not its first."""
        child = self.children[name]
        if self._group is not None and name in self._group.names and not child.up:
            return True
        cell = child.cell
        return not (cell.dead or cell.for_good) and (cell.down or (child.started and not child.up))

    # Deciding

    def _decide(self, name: str, child: Child[C], ending: Ending) -> None:
        reason = ending.reason
        if ending.directive == "escalate":
            self._end_owner(Crashed(_failure(child.cell.path, reason)))
        elif ending.directive == "stop" or not restarts(child.cell.option("restart"), reason):
            self._let_go(name, child, reason)
            self._significant_ended(name, child)
        elif self._within_limits(name, child, reason):
            wait = child.cell.spec.given.get("backoff")
            delay = 0.0 if wait is None else self._delay(child, wait)
            if self.plan.strategy == "one_for_one":
                self._restart_one(child, delay)
            else:
                self._restart_group(name, delay)

    def _let_go(self, name: str, child: Child[C], reason: ExitReason, *, ignored: bool = False) -> None:
        """A child has ended, and nobody starts it anew."""
        if self._group is not None:
            self._leave_group(name)
        self._bury(name, reason, listed=bool(child.kept) and self._stays_listed(child), ignored=ignored)

    def _within_limits(self, name: str, child: Child[C], reason: ExitReason) -> bool:
        """Count the failure; if it was one too many, see to that."""
        plan, failures = self.plan, 0
        if plan.shared:
            times, over = count_failure(self.times, self._now(), plan.max_restarts, plan.max_seconds)
            self.times, failures = times, len(times)
            if over:
                exceeded = self._gave_up(self._owner.path, child, reason, failures, plan.max_seconds)
                self._end_owner(exceeded)
                return False
        given = child.cell.spec.given
        if not plan.shared or given.get("max_restarts") is not None:
            most, seconds = given.get("max_restarts"), given.get("max_seconds")
            most = plan.max_restarts if most is None else most
            seconds = plan.max_seconds if seconds is None else seconds
            window = count_failure(child.troubled().times, self._now(), most, seconds)
            child.troubled().times = window.times
            failures = failures or len(window.times)
            if window.exceeded:
                exceeded = self._gave_up(child.cell.path, child, reason, len(window.times), seconds)
                self._let_go(name, child, exceeded)
                self._significant_ended(name, child)
                return False
        instruments = self._owner.runtime.instruments
        instruments.restarting.count += 1
        if instruments.restarting.heard:
            instruments.tell(Instrument.actor_restarting, child.cell.path, reason, failures)
        return True

    def _gave_up(self, path: str, child: Child[C], reason: ExitReason, count: int, seconds: float) -> RestartsExceeded:
        exceeded = RestartsExceeded(child.cell.path, reason, count, seconds)
        self._owner.runtime.instruments.emit(Instrument.gave_up, path, exceeded)
        return exceeded

    def _end_owner(self, reason: ExitReason) -> None:
        # Decided once: what else has ended by now waits for the decision of the owner's parent.
        self._open, self._keep = False, True
        self._owner.family_over(reason)

    def _significant_ended(self, name: str, child: Child[C]) -> None:
        """A child has ended by itself, which may be the end of the owner too."""
        rule = self.plan.auto_shutdown
        if rule == "never" or not self._open or not child.spec.get("significant"):
            return
        significant = (child for child in self.children.values() if child.spec.get("significant"))
        if rule == "any_significant" or all(child.cell.dead for child in significant):
            self._end_owner(Shutdown(f"auto_shutdown: {name} has ended"))

    def _delay(self, child: Child[C], wait: Callable[[Any], float]) -> float:
        trouble = child.troubled()
        reset_after = child.spec.given.get("reset_after")
        if reset_after is None:
            reset_after = reset_default(wait)
        healthy_for = 0.0 if trouble.up_since is None else self._now() - trouble.up_since
        trouble.up_since = None
        delay = next_delay(wait, trouble.attempts, healthy_for, reset_after)
        trouble.attempts = delay.attempt
        return delay.seconds

    # One

    def _restart_one(self, child: Child[C], delay: float) -> None:
        child.cell.between_incarnations()
        if delay <= 0:
            child.start()
            return
        trouble = child.troubled()

        def start() -> None:
            trouble.timer, trouble.delayed = None, False
            child.start()

        trouble.delayed = True
        trouble.timer = self._owner.runtime.env.call_at(self._now() + delay, start)

    # A group

    def _restart_group(self, failed: str, delay: float) -> None:
        """Restart those that the strategy restarts with *failed*, and those that were being restarted anyway."""
        specs = {name: child.spec for name, child in self.children.items()}
        wanted = set(self.plan.group_of(failed, list(specs), specs))
        on_their_way: list[str] = []
        if self._group is not None:
            # Who is starting, and is not restarted with this one, goes on; whoever stops is waited for.
            on_their_way = [name for name in self._group.on_their_way() if name not in wanted]
            wanted.update(name for name in self._group.names if name not in on_their_way)
            wanted.update(self._group.stops.active, self._group.stops.waiting)
        self._drop_group()
        members = [name for name in specs if name in wanted]
        # Also one that has gone down, and whose end has not been seen yet: it belongs to the group.
        resting = [name for name in members if self.children[name].rests]
        stops = Order(self.plan.stop_after({name: (specs[name], True) for name in members}))
        for name in resting:
            stops.done(name)
        stops.begin()
        for name in resting:
            if not self.children[name].cell.dead:
                self.children[name].cell.between_incarnations()
        group = Group([name for name in members if self._comes_back(name)], stops, delay, on_their_way)
        self._group = group
        self._stop_members(list(stops.active))
        self._go_on(group)

    def _comes_back(self, name: str) -> bool:
        cell = self.children[name].cell
        return bool(cell.option("restart") != "temporary") and (cell.dead or not cell.for_good)

    def _stop_members(self, names: list[str]) -> None:
        for name in names:
            reason = Shutdown("its group is restarted")
            self.children[name].cell.request_stop(reason, keep=self._comes_back(name))

    def _member_stopped(self, group: Group, name: str) -> None:
        """A member has ended, as it was told to or by itself; either way it is not counted."""
        child = self.children[name]
        if name in group.names:
            child.cell.between_incarnations()
        else:
            self._bury(name, child.cell.reason or Shutdown("its group is restarted"))
        self._stop_members(group.stops.done(name))
        self._go_on(group)

    def _member_started(self, name: str) -> None:
        group = self._group
        if group is not None and group.starts is not None and name in group.starts:
            if name in group.names:
                group.names.remove(name)
            self._start_members(group.starts.done(name))
            self._finish(group)

    def _leave_group(self, name: str) -> None:
        """*name* is not restarted with its group; whoever waits for it in there goes on."""
        group = self._group
        if group is None:
            return
        if name in group.names:
            group.names.remove(name)
        if name in group.stops:
            self._stop_members(group.stops.done(name))
        if group.starts is not None and name in group.starts:
            self._start_members(group.starts.done(name))
        self._go_on(group)

    def _go_on(self, group: Group) -> None:
        """Let the members start when all have stopped and the delay is over."""
        if self._group is not group or group.stops or group.delayed:
            return
        if group.starts is not None:
            self._finish(group)
        elif group.delay > 0:
            group.delayed = True
            group.timer = self._owner.runtime.env.call_at(self._now() + group.delay, lambda: self._delay_over(group))
        else:
            others = [name for name in group.others if name in self.children and self.children[name].up is None]
            specs = {name: self.children[name].spec for name in [*others, *group.names]}
            group.starts = Order(self.plan.start_after(list(specs), specs))
            self._start_members([name for name in group.starts.begin() if name not in others])
            self._finish(group)

    def _delay_over(self, group: Group) -> None:
        group.timer, group.delay, group.delayed = None, 0.0, False
        self._go_on(group)

    def _start_members(self, names: list[str]) -> None:
        for name in names:
            child = self.children[name]
            if child.cell.dead:  # it had been stopped, or had ended by itself: a new actor under the old name
                child.renew(self._cell(child.spec, name))
                child.started = True  # a failure of its start is one of the group's, and counts
            child.start()

    def _finish(self, group: Group) -> None:
        if self._group is group and not group.starts:
            self._group = None

    def _drop_group(self) -> None:
        if self._group is not None and self._group.timer is not None:
            self._group.timer.cancel()
        self._group = None


def _failure(path: str, reason: ExitReason) -> ActorFailed:
    failure = ActorFailed(path=path, message_type="a message", reason=reason)
    failure.__cause__ = reason.error if isinstance(reason, Crashed) else None
    return failure
