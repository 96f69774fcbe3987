"""What supervision promises, as a model: one act at a time, every consequence of it, and how long that takes.

The model is written from the clauses of the guarantees (S1, S5, R1 to R12a, R14, D1 to D2, and the table of
administrative calls), which its docstrings name, and not from the code that it is compared with. It knows nothing of
event loops. A consequence that takes time moves the model's clock; ends that the text lets happen at the same time
start at the same time and last as long as the longest.

What the clauses leave open, it leaves open too: see `Model.loose`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

Reason: TypeAlias = tuple[Any, ...]
"""An exit reason as plain data: ("crashed",), ("killed", first reason or None), ("exceeded", path, last, count, s)."""
Event: TypeAlias = tuple[Any, ...]
"""What an instrument hears: the kind, the path, and what goes with it."""
Item: TypeAlias = "int | Literal['crash', 'end']"
"""What waits in a mailbox: the number of a note, or an order."""
Fate: TypeAlias = tuple[Any, ...]
"""("lost",) or ("handled", by which name, by which instance)."""
Kind: TypeAlias = Literal["worker", "supervisor", "host"]
"""A host is a supervisor that takes orders and has hooks of its own."""
Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Grace: TypeAlias = float | Literal["infinity", "brutal_kill"]
Hook: TypeAlias = Literal["plain", "raises", "hangs"]
"""What a `shutdown` hook does; one that hangs gives in to the first cancel."""
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
Cause: TypeAlias = Literal["asked", "itself", "failed", "killed"]
StartMode: TypeAlias = Literal["constructor", "raises", "hangs", "slow"]
"""How a start goes wrong, or that it takes its time."""

SLOW = 1.0
"""Seconds that a slow start takes; less than any start timeout."""

NORMAL: Reason = ("normal",)
SHUTDOWN: Reason = ("shutdown",)
CRASHED: Reason = ("crashed",)
START_FAILED: Reason = ("start failed",)
KILLED: Reason = ("killed", None)

SPAWNED_MAX_RESTARTS, SPAWNED_MAX_SECONDS = 3, 5.0
"""The budget of each actor that is spawned at run time elsewhere than under a supervisor (R3a)."""


@dataclass(frozen=True, repr=False)
class Role:
    """A declaration: what one place in the tree is for."""

    name: str
    kind: Kind = "worker"
    restart: Restart = "permanent"
    shutdown: Grace = "infinity"
    hook: Hook = "plain"
    start_timeout: float = 2.0
    children: tuple[Role, ...] = ()
    strategy: Strategy = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0

    def __repr__(self) -> str:
        """What is not the default, so that a tree can be read in a report."""
        told = [
            (each.name, getattr(self, each.name))
            for each in fields(self)[1:]
            if each.default != getattr(self, each.name)
        ]
        return f"Role({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in told)])})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def supervises(self) -> bool:
        return self.kind != "worker"

    def walk(self) -> Iterator[Role]:
        yield self
        for each in self.children:
            yield from each.walk()


@dataclass
class Script:
    """What the starts under one name do, whoever has the name; shared by all that ever have it."""

    constructed: int = 0
    starts: list[StartMode] = field(default_factory=list[StartMode])
    """How the next starts go; those after them succeed."""


@dataclass
class Budget:
    """R3, to the letter: one list of times, and a count that includes the failure of now."""

    owner: str
    max_restarts: int
    max_seconds: float
    times: list[float] = field(default_factory=list[float])

    def count(self, now: float) -> int:
        self.times = [t for t in self.times if t >= now - self.max_seconds] + [now]
        return len(self.times)

    def left(self, now: float) -> int:
        """How many restarts are still allowed."""
        return self.max_restarts - sum(t >= now - self.max_seconds for t in self.times)

    def edges(self) -> list[float]:
        """When each of the restarts counts for the last time."""
        return [t + self.max_seconds for t in self.times]


@dataclass(eq=False)
class Listing:
    """A place under a supervisor: a spec, whether or not its child is alive."""

    role: Role
    at_run_time: bool
    keeps: bool
    """The spec outlives the child: declared, or added by `start_child`; never that of a temporary child (R2)."""

    @property
    def name(self) -> str:
        return self.role.name


@dataclass(eq=False)
class Identity:
    """One actor from its first start to its final end, through all restarts (path and uid)."""

    number: int
    path: str
    role: Role
    parent: Identity | None
    at_run_time: bool
    """Spawned, not declared: it does not outlive an incarnation of its parent (R12a)."""
    was_up: bool = False
    """It has started at least once; before that it is nobody whose crash or end anybody is told of (S1)."""
    incarnation: int = 0
    """How many starts it has had, failed ones too."""
    instance: int = 0
    """Which construction under its name is at work."""
    ups: list[int] = field(default_factory=list[int])
    """The instances that have been up since the last order or act: any of them may have handled what was queued,
    because nothing says that a child waits for its siblings to be up too."""
    status: Literal["starting", "running", "restarting", "stopping", "stopped"] = "starting"
    reason: Reason | None = None
    """Of the last incarnation that ended; in the end of the actor."""
    queue: list[Item] = field(default_factory=list[Item])
    refusing: bool = False
    """Asked to end for good: what comes now is a dead letter."""
    children: list[Identity] = field(default_factory=list["Identity"])
    """In the order of their starts; a restart does not change anybody's place, nor does a new start by name."""
    listed: list[Listing] = field(default_factory=list[Listing])
    """Of a supervisor: the places that it has, in their order."""
    kept: list[Identity] = field(default_factory=list["Identity"])
    """Children of the incarnation that has ended, which wait for the next one to declare them (R12a)."""
    family: Budget | None = None
    """What all children of this incarnation of a supervisor share (R3)."""
    own: Budget | None = None
    """What it has for itself, if it was spawned elsewhere than under a supervisor (R3a)."""

    @property
    def name(self) -> str:
        return self.role.name

    @property
    def has_hooks(self) -> bool:
        return self.role.kind != "supervisor"

    def walk(self) -> Iterator[Identity]:
        yield self
        for each in [*self.children, *self.kept]:
            yield from each.walk()

    def child(self, name: str) -> Identity | None:
        """The child of that name, if it is alive or about to be again."""
        return next((each for each in self.children if each.name == name), None)

    def place(self, name: str) -> Listing | None:
        return next((each for each in self.listed if each.name == name), None)


class Vague(Exception):
    """The clauses do not say what comes of this: two things would happen at once whose order matters."""


class Model:
    """All identities there ever were, and what has been seen of them.

    `log` is what instruments hear, `journal` what the hooks of the actors write, both since somebody last took them.
    `loose` says that the order of the ends in them is open: several actors ended at the same time (R7, dynamic
    children), or because a supervisor did not come back (R12a says that they end, not in which order).
    """

    def __init__(self, top: Role, scripts: dict[str, Script]) -> None:
        self.scripts = scripts
        self.now = 0.0
        self.log: list[Event] = []
        self.journal: list[str] = []
        self.loose = False
        self.fates: dict[int, frozenset[Fate]] = {}
        """What may have become of each note; one thing, but for the instances that were up for no time at all."""
        self.identities: list[Identity] = []
        self.user = Identity(0, "/user", Role("user"), None, at_run_time=False, status="running")
        """Above the tree and all that is spawned beside it; ends only with the system."""
        self.top_role = top
        self.top: Identity | None = None
        self.state: Literal["new", "running", "ended", "collapsed"] = "new"

    # Asking the model

    def alive(self) -> list[Identity]:
        """Everybody who has not ended for good, parents first."""
        return [each for each in self.user.walk() if each is not self.user]

    def running(self, *kinds: str) -> list[Identity]:
        return [each for each in self.alive() if each.status == "running" and (not kinds or each.role.kind in kinds)]

    def edges(self) -> list[float]:
        """The moments at which a restart ceases to count, and those just beside them (R3)."""
        budgets = [budget for each in self.alive() for budget in (each.family, each.own) if budget is not None]
        ends = {edge for budget in budgets for edge in budget.edges()}
        return sorted(end for end in ends if end >= self.now)

    def budget(self, who: Identity) -> Budget:
        """What a restart of *who* is paid from: what all children of a supervisor share (R3), or its own (R3a)."""
        assert who.parent is not None
        if who.parent.role.supervises:
            assert who.parent.family is not None
            return who.parent.family
        if who.own is None:
            who.own = Budget(who.path, SPAWNED_MAX_RESTARTS, SPAWNED_MAX_SECONDS)
        return who.own

    def take(self) -> tuple[list[Event], list[str], bool]:
        """What has been seen since the last call."""
        seen = self.log, self.journal, self.loose
        self.log, self.journal, self.loose = [], [], False
        return seen

    # Acts from outside

    def open(self) -> bool:
        """Enter the system: whether the whole tree has started (R14)."""
        self.top = self._new(self.top_role, self.user, at_run_time=False)
        if self._try_start(self.top) is not None:
            self._discard(self.top)
            self.state = "ended"
            return False
        self.state = "running"
        return True

    def spawn(self, role: Role, parent: Identity) -> Literal["started", "taken", "present", "failed"]:
        """S1, S2: up, or nothing is left; and a name in use is refused before anything runs."""
        if any(each.name == role.name for each in [*parent.children, *parent.kept]):
            return "taken"
        if parent.place(role.name) is not None:
            return "present"
        spawned = self._new(role, parent, at_run_time=True)
        if self._try_start(spawned) is not None:
            self._discard(spawned)
            return "failed"
        return "started"

    def start_child(self, parent: Identity, role: Role) -> str:
        """The table: a failing one discards the spec; a name that is listed is refused."""
        outcome = self.spawn(role, parent)
        if outcome == "started":
            place = parent.place(role.name)
            assert place is not None
            place.keeps = role.restart != "temporary"
        return {"taken": "ChildAlreadyStarted", "present": "ChildAlreadyPresent", "failed": "StartError"}.get(
            outcome, "ok"
        )

    def terminate_child(self, parent: Identity, name: str, timeout: float | None) -> str:
        """The table: it ends for good by its own rule, with force after *timeout*; its spec stays."""
        child = parent.child(name)
        if child is None:
            return "ChildNotFound" if parent.place(name) is None else "ok"
        child.ups.clear()
        self._end_for_good(child, force_at=math.inf if timeout is None else self.now + timeout)
        return "ok"

    def restart_child(self, parent: Identity, name: str) -> str:
        """The table: a new actor under the name; a failure leaves the spec, stopped, and does not count."""
        place = parent.place(name)
        if place is None:
            return "ChildNotFound"
        if parent.child(name) is not None:
            return "ChildRunning"
        child = self._new(place.role, parent, at_run_time=place.at_run_time)
        if self._try_start(child) is None:
            return "ok"
        self._discard(child)
        return "StartError"

    def delete_child(self, parent: Identity, name: str) -> str:
        place = parent.place(name)
        if place is None:
            return "ChildNotFound"
        if parent.child(name) is not None:
            return "ChildRunning"
        parent.listed.remove(place)
        return "ok"

    def deliver(self, to: Identity, *items: Item) -> None:
        """Put *items* into the mailbox in one go, and let everything come of it that comes of it."""
        to.ups.clear()
        for item in items:
            if to.status == "stopped" or to.refusing:
                self._lose(item, to)
            else:
                to.queue.append(item)
        self._work(to)

    def stop(self, who: Identity, before: list[int], after: list[int]) -> None:
        """D1, D1a: ends for good; what is queued (*before*) or comes later (*after*) is lost, and nothing counts."""
        who.ups.clear()
        who.queue += before
        self._end_for_good(who)
        for each in after:
            self._lose(each, who)

    def drain(self, who: Identity, before: list[int], after: list[int]) -> None:
        """D1, D1a: ends for good too, but what was queued is handled first."""
        who.ups.clear()
        who.queue += before
        self._work(who)
        self._end_for_good(who)
        for each in after:
            self._lose(each, who)

    def kill(self, who: Identity, before: list[int], after: list[int]) -> None:
        """D1a: a failure, so the restart type is asked, it counts, and what is queued is kept if it restarts."""
        who.ups.clear()
        who.queue += [*before, *after]
        self._incarnation_over(who, KILLED, "killed")
        self._work(who)

    def busy(self, who: Identity, seconds: float, number: int) -> None:
        """D2: a handler was in hand when a stop came; it has the grace to end, or its note is lost."""
        grace = self._grace(who, "asked")
        if seconds < grace:
            self.now += seconds
            self._handled(who, number)
        else:
            self.now += grace
            self._lose(number, who)

    def stop_while_busy(self, who: Identity, seconds: float, held: int, before: list[int]) -> None:
        """D1, D2: one clock for the handler in hand, the children and the hook; then force."""
        who.ups.clear()
        who.queue += before
        began = self.now
        self.busy(who, seconds, held)
        self._end_for_good(who, began=began)

    def drain_while_busy(self, who: Identity, seconds: float, held: int, before: list[int]) -> None:
        """D1: a drain without a timeout waits for the handler in hand and for all that is queued."""
        who.ups.clear()
        who.queue += before
        self.now += seconds
        self._handled(who, held)
        self._work(who)
        self._end_for_good(who)

    def kill_while_busy(self, who: Identity, held: int, before: list[int]) -> None:
        """D1: interrupts the one in hand, which is lost; those behind it are kept if the actor restarts."""
        who.ups.clear()
        who.queue += before
        self._lose(held, who)
        self._incarnation_over(who, KILLED, "killed")
        self._work(who)

    def close(self) -> None:
        """D8: what was spawned beside the tree stops first, at the same time; then the tree, in reverse (R7)."""
        if self.state == "running":
            self.state = "ended"
        beside = [each for each in self.user.children if each is not self.top]
        self._together(self._end_for_good, beside)
        if self.top is not None and self.top in self.user.children:
            self._end_for_good(self.top)

    def begin(self, now: float) -> None:
        """An act is about to come."""
        self.now = now
        for each in self.identities:
            each.ups = [each.instance] if each.status == "running" else []

    def meanwhile(self, who: Identity, number: int) -> None:
        """A note came while the last act took its time.

        R1, R12a: whoever lives on has it handled, by the incarnation of then or a later one. D6: whoever has ended has
        lost it, unless it was still up when the note came.
        """
        if who.status == "stopped":
            self._lose(number, who)
        else:
            self._handled(who, number)

    # Mailboxes

    def _work(self, who: Identity) -> None:
        """R1: in order, one at a time; what crashed is not handled again, the next one is the one behind it."""
        while who.queue and who.status == "running":
            item = who.queue.pop(0)
            if not isinstance(item, int):
                who.ups.clear()
            if item == "crash":
                self._incarnation_over(who, CRASHED, "failed", orders_left=who.queue)
            elif item == "end":
                self._incarnation_over(who, NORMAL, "itself", orders_left=who.queue)
            else:
                assert isinstance(item, int)
                self._handled(who, item)

    def _handled(self, who: Identity, number: int) -> None:
        self._note(number, self._handlers(who) | {("handled", who.name, who.instance)})

    def _lose(self, item: Item, who: Identity) -> None:
        if isinstance(item, int):
            self._note(item, {("lost",)} | self._handlers(who))

    def _handlers(self, who: Identity) -> set[Fate]:
        return {("handled", who.name, instance) for instance in who.ups}

    def _note(self, number: int, fate: set[Fate]) -> None:
        assert number not in self.fates
        self.fates[number] = frozenset(fate)

    # Starts

    def _new(self, role: Role, parent: Identity, *, at_run_time: bool) -> Identity:
        path = f"{parent.path}/{role.name}"
        made = Identity(len(self.identities) + 1, path, role, parent, at_run_time)
        self.identities.append(made)
        if parent.role.supervises and parent.place(role.name) is None:
            parent.listed.append(Listing(role, at_run_time, keeps=not at_run_time and role.restart != "temporary"))
        self._join(made)
        return made

    @staticmethod
    def _join(child: Identity) -> None:
        """Take its place among the children."""
        parent = child.parent
        assert parent is not None
        parent.children.append(child)
        if parent.role.supervises:
            order = [each.name for each in parent.listed]
            parent.children.sort(key=lambda each: order.index(each.name))

    def _try_start(self, who: Identity) -> Reason | None:
        """One start: None when it is up, else why it is not."""
        script = self.scripts.setdefault(who.name, Script())
        who.incarnation += 1
        if who.has_hooks:
            script.constructed += 1
            who.instance = script.constructed
            mode = script.starts.pop(0) if script.starts else None
            if mode == "constructor":
                self._report_failure(who, START_FAILED)
                return START_FAILED
            self.journal.append(f"{who.name} starts")
            self.now += {"hangs": who.role.start_timeout, "slow": SLOW}.get(mode or "", 0.0)
            if mode in ("hangs", "raises"):
                self._report_failure(who, START_FAILED)
                return START_FAILED
        if who.role.supervises:
            who.family = Budget(who.path, who.role.max_restarts, who.role.max_seconds)
            who.listed.clear()
        for role in who.role.children:
            if not self._start_declared(who, role):
                return START_FAILED
        self.log.append(("started", who.path, who.incarnation))
        who.was_up = True
        who.ups.append(who.instance)
        who.status = "running"
        return None

    def _start_declared(self, who: Identity, role: Role) -> bool:
        """S5: the child after those before it; if it fails, these stop in reverse. R12a: as who it was, if it was."""
        known = next((each for each in who.kept if each.role is role), None)
        if known is None:
            known = self._new(role, who, at_run_time=False)
        else:
            who.kept.remove(known)
            who.listed.append(Listing(role, at_run_time=False, keeps=role.restart != "temporary"))
            self._join(known)
        failed = self._try_start(known)
        if failed is None:
            return True
        self._report_failure(who, START_FAILED)
        who.children.remove(known)
        for each in reversed(list(who.children)):
            self._end_child(each, SHUTDOWN, "asked", keep=True)
        known.status, known.reason = "restarting", failed
        who.kept.append(known)
        return False

    def _discard(self, who: Identity) -> None:
        """S1: it never was up, so nothing is left of it: nobody is told of an end, and whoever waited is released."""
        self._final(who, START_FAILED)

    # Ends of incarnations

    def _end_for_good(self, who: Identity, *, began: float | None = None, force_at: float = math.inf) -> None:
        """D1a: nobody is asked and nothing counts. A spec stays, but only a new start of its parent uses it."""
        who.refusing = True
        reason = self._end_incarnation(who, SHUTDOWN, "asked", keep=False, began=began, force_at=force_at)
        self._final(who, reason)
        if who is self.top and self.state == "running":
            self.close()  # R14: its normal end is the orderly end of the program

    def _incarnation_over(
        self, who: Identity, reason: Reason, cause: Cause, *, orders_left: list[Item] | None = None
    ) -> None:
        """One incarnation ends without having been asked to; then its parent decides (D1a)."""
        if cause != "itself":
            self._report_failure(who, reason)
        reason = self._end_incarnation(who, reason, cause, keep=True)
        if cause == "itself" and reason[0] == "killed":
            self._report_failure(who, reason)
        self._decide(who, reason, orders_left or [])

    def _report_failure(self, who: Identity, reason: Reason) -> None:
        """What is reported as a crash: a kill is a failure, but nobody crashed.

        The very first start that fails is told to whoever asked for it, spawner or supervisor, and to nobody else (S1).
        """
        if reason[0] != "killed" and (who.was_up or who.incarnation > 1):
            self.log.append(("crashed", who.path, reason))

    def _end_incarnation(
        self,
        who: Identity,
        reason: Reason,
        cause: Cause,
        *,
        keep: bool,
        force_at: float = math.inf,
        began: float | None = None,
    ) -> Reason:
        """D2: one clock from the request on, for the children and then the hook; what is over it is ended by force.

        Returns the reason in the end. D1b: no hook after a kill, and killing a parent kills its children.
        """
        who.status = "stopping"
        if cause == "asked" and who.role.shutdown == "brutal_kill":
            cause, reason = "killed", ("killed", reason)
        if cause == "killed":
            self._together(lambda each: self._end_child(each, KILLED, "killed", keep=keep), list(who.children))
            who.reason = reason
            return reason
        began = self.now if began is None else began
        deadline = min(force_at, began + self._grace(who, cause))
        self._end_children(who, deadline, keep=keep)
        if who.has_hooks and self.now < deadline:
            self._run_hook(who, deadline)
        if self.now >= deadline and reason[0] not in ("crashed", "exceeded"):
            reason = ("killed", reason)
        who.reason = reason
        return reason

    def _grace(self, who: Identity, cause: Cause) -> float:
        match who.role.shutdown:
            case "infinity":
                return math.inf
            case "brutal_kill":
                return 0.0 if cause == "asked" else math.inf  # where its hook ends by itself
            case seconds:
                return seconds

    def _run_hook(self, who: Identity, deadline: float) -> None:
        """D1b: bounded; one that raises is reported, and the end goes on."""
        self.journal.append(f"{who.name} stops")
        match who.role.hook:
            case "raises":
                self.log.append(("hook failed", who.path))
            case "hangs":
                self.now = deadline
            case "plain":
                self.journal.append(f"{who.name} down")

    def _end_children(self, who: Identity, force_at: float, *, keep: bool) -> None:
        """R7: one after another in the reverse of their starts; under an actor that is no supervisor all at once.

        Those who were not asked while there was time are killed, with no first reason (D2).
        """

        def end(child: Identity) -> None:
            if self.now >= force_at:
                self.loose = True  # all that are left are killed at the same time
                self._end_child(child, KILLED, "killed", keep=keep)
                return
            self._end_child(child, SHUTDOWN, "asked", keep=keep, force_at=force_at)

        if who.role.supervises:
            for each in reversed(list(who.children)):
                end(each)
        else:
            self._together(end, list(who.children))

    def _end_child(
        self, child: Identity, reason: Reason, cause: Cause, *, keep: bool, force_at: float = math.inf
    ) -> None:
        """End a child because its parent ends. R12a: one that may be declared again waits; others end for good."""
        parent = child.parent
        assert parent is not None
        keep = keep and not child.at_run_time
        if child.status == "restarting":  # it waits for its turn in a restart of its group, and nothing of it is alive
            reason = child.reason or reason
        else:
            reason = self._end_incarnation(child, reason, cause, keep=keep, force_at=force_at)
        if keep:
            child.status = "restarting"
            parent.children.remove(child)
            parent.kept.append(child)
        else:
            self._final(child, reason)

    def _final(self, who: Identity, reason: Reason) -> None:
        """The end of an actor: the name is free (D4) and what was queued is lost, each once (D6)."""
        assert who.parent is not None
        for family in (who.parent.children, who.parent.kept):
            if who in family:
                family.remove(who)
        place = who.parent.place(who.name)
        if place is not None and not place.keeps:
            who.parent.listed.remove(place)
        for each in list(who.kept):
            self.loose = True
            self._final(each, each.reason or SHUTDOWN)
        who.status, who.reason = "stopped", reason
        for item in who.queue:
            self._lose(item, who)
        who.queue.clear()
        if who.was_up:
            self.log.append(("stopped", who.path, reason))

    def _together(self, act: Callable[[Identity], None], those: list[Identity]) -> None:
        """Let *act* begin for all at the same moment; it is over when the longest is."""
        began = ended = self.now
        for each in those:
            self.now = began
            act(each)
            ended = max(ended, self.now)
        self.now = ended
        self.loose = self.loose or len(those) > 1

    # Decisions

    def _decide(self, who: Identity, reason: Reason, orders_left: list[Item]) -> None:
        """R2, R3, R6: restart it, if its type says so and there is room for one more; a start that fails counts too."""
        while True:
            if not self._restarts(who, reason):
                self._ends_unrestarted(who, reason)
                return
            budget = self.budget(who)
            count = budget.count(self.now)
            if count > budget.max_restarts:
                self._too_often(who, reason, budget, orders_left)
                return
            self.log.append(("restarting", who.path, reason, count))
            who.status = "restarting"
            group = self._group_of(who)
            if len(group) > 1 and any(not isinstance(item, int) for item in orders_left):
                raise Vague("orders are left for a child that may be up while others of its group still start")
            failed = self._restart_group(who, group)
            if failed is None:
                return
            who = failed
            assert who.reason is not None
            reason = who.reason

    def _group_of(self, who: Identity) -> list[Listing | Identity]:
        """R5: who is stopped, and starts again, when *who* is restarted; in the order of the starts."""
        parent = who.parent
        assert parent is not None
        if not parent.role.supervises or parent.role.strategy == "one_for_one":
            return [who]
        names = [each.name for each in parent.listed]
        if parent.role.strategy == "rest_for_one":
            return [*parent.listed[names.index(who.name) :]]
        return [*parent.listed]

    def _restart_group(self, failed: Identity, group: list[Listing | Identity]) -> Identity | None:
        """R5: the others stop in reverse, temporary ones for good; then all start in order, those that had stopped too.

        Returns who has failed to start, if somebody has.
        """
        parent = failed.parent
        assert parent is not None
        for each in reversed(group):
            member = parent.child(each.name)
            if member is None or member.status == "restarting":
                continue
            reason = self._end_incarnation(member, SHUTDOWN, "asked", keep=True)
            if member.role.restart == "temporary":
                self._final(member, reason)
            else:
                member.status = "restarting"
        for each in group:
            member = parent.child(each.name)
            if member is None and isinstance(each, Listing) and each in parent.listed:
                member = self._new(each.role, parent, at_run_time=each.at_run_time)
            if member is not None and member.status != "running":
                member.reason = self._try_start(member)
                if member.reason is not None:
                    member.status = "restarting"
                    return member
        return None

    def _restarts(self, who: Identity, reason: Reason) -> bool:
        """R2; R14: the tree itself is never restarted."""
        if who is self.top:
            return False
        abnormal = reason[0] in ("crashed", "killed", "start failed", "exceeded")
        return who.role.restart == "permanent" or (who.role.restart == "transient" and abnormal)

    def _too_often(self, who: Identity, last: Reason, budget: Budget, orders_left: list[Item]) -> None:
        reason = ("exceeded", who.path, last, len(budget.times), budget.max_seconds)
        self.log.append(("gave up", budget.owner, reason))
        if budget is who.own:  # R3a: ends for good; parent and siblings live on
            self._final(who, reason)
            return
        # R4: stop the others in reverse, each by its own rule, then fail; the parent decides.
        if any(not isinstance(item, int) for item in orders_left):
            raise Vague("orders are left for a child whose supervisor is about to start anew")
        supervisor = who.parent
        assert supervisor is not None
        if who.at_run_time:
            self._final(who, last)
        else:
            who.status, who.reason = "restarting", last
            supervisor.children.remove(who)
            supervisor.kept.append(who)
        reason = self._end_incarnation(supervisor, reason, "failed", keep=True)
        self._decide(supervisor, reason, [])

    def _ends_unrestarted(self, who: Identity, reason: Reason) -> None:
        self._final(who, reason)
        if who is self.top and self.state == "running":
            abnormal = reason[0] != "normal"
            self.state = "collapsed" if abnormal else "ended"  # R14
            self.close()
