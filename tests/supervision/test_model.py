"""Random trees under random acts, compared with the model of supervision after each act.

Sixty examples by default, the same ones in each run; `UNDERSTUDY_CAMPAIGN=1` makes it two thousand others.
"""

from __future__ import annotations

import asyncio
import copy
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.supervision.model import (
    Grace,
    Hook,
    Identity,
    Item,
    Kind,
    Model,
    Reason,
    Restart,
    Role,
    Script,
    StartMode,
    Strategy,
    Vague,
)
from tests.supervision.stage import (
    MOMENT,
    Crash,
    Hold,
    Note,
    Spawn,
    Stage,
    World,
    outcome_of,
    plain,
    tell_all,
)
from understudy import (
    ActorFailed,
    ActorRef,
    ChildAlreadyPresent,
    NameTaken,
    StartError,
    SupervisorRef,
    SystemCollapsed,
    UnderstudyError,
)

CAMPAIGN = os.environ.get("UNDERSTUDY_CAMPAIGN") == "1"

T = TypeVar("T")

# What is drawn.

RESTARTS: list[Restart] = ["permanent", "permanent", "permanent", "transient", "transient", "temporary"]
STRATEGIES: list[Strategy] = ["one_for_one", "one_for_all", "rest_for_one"]
HOOKS: list[Hook] = ["plain", "plain", "plain", "plain", "raises", "hangs"]
KINDS: list[Kind] = ["supervisor", "host"]
MODES: list[StartMode] = ["raises", "constructor", "slow", "hangs"]
STARTS = st.sampled_from(MODES)


@st.composite
def workers(draw: st.DrawFn, name: str, graces: tuple[float, float] = (1.0, 2.0)) -> Role:
    hook = draw(st.sampled_from(HOOKS))
    # A hook that hangs ends with the grace, so there must be one.
    allowed: list[Grace] = [*graces] if hook == "hangs" else [*graces, "infinity", "brutal_kill"]
    return Role(name, restart=draw(st.sampled_from(RESTARTS)), shutdown=draw(st.sampled_from(allowed)), hook=hook)


@st.composite
def supervisors(draw: st.DrawFn, names: list[str], depth: int, name: str) -> Role:
    children: list[Role] = []
    for _ in range(draw(st.integers(1, 3))):
        name_of_child = names.pop(0)
        below = depth > 1 and draw(st.booleans())
        children.append(draw(supervisors(names, depth - 1, name_of_child) if below else workers(name_of_child)))
    kind = draw(st.sampled_from(KINDS))
    return Role(
        name,
        kind=kind,
        restart=draw(st.sampled_from(RESTARTS)),
        # A hook that hangs would need a grace, and a supervisor has all the time in the world.
        hook=draw(st.sampled_from(HOOKS[:-1])) if kind == "host" else "plain",
        children=tuple(children),
        strategy=draw(st.sampled_from(STRATEGIES)),
        # The top lives long, so that much can happen below.
        max_restarts=draw(st.sampled_from([8, 20, 5, 1, 0] if name == "top" else [1, 0, 2, 3])),
        max_seconds=draw(st.sampled_from([1.0, 4.0, 0.25])),
    )


@st.composite
def trees(draw: st.DrawFn, name: str, letters: str, depths: tuple[int, int]) -> Role:
    names = [*letters, *(f"{first}{second}" for first in letters for second in letters)]
    return draw(supervisors(names, draw(st.integers(*depths)), name))


def sometimes(what: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.integers(0, 5).flatmap(lambda number: what if number == 5 else st.none())


PICKS = st.integers(0, 1000)
NOTES = st.integers(0, 2)


# The machine.


class SupervisionMachine(RuleBasedStateMachine):
    """Each rule does one thing to the system and the same to the model; then both must look alike."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self._stage: Stage | None = None

    @property
    def stage(self) -> Stage:
        assert self._stage is not None
        return self._stage

    # Acting

    @initialize(tree=trees("top", "abcdefghijklmnopqrstuvw", (2, 3)), failing=sometimes(st.tuples(PICKS, STARTS)))
    def open(self, tree: Role, failing: tuple[int, StartMode] | None) -> None:
        scripts: dict[str, Script] = {}
        if failing is not None:
            names = [role.name for role in tree.walk() if role.kind != "supervisor"]
            scripts[names[failing[0] % len(names)]] = Script(starts=[failing[1]])
        self.model = Model(tree, copy.deepcopy(scripts))
        self.world = World(scripts)
        self.refs: dict[int, ActorRef[Any]] = {}
        self.uids: dict[int, object] = {}
        self.model.open()
        self._stage = Stage(self.world.spec(tree))
        self.settle()

    @property
    def up(self) -> bool:
        return self.model.state == "running"

    @property
    def playing(self) -> bool:
        """Whether there is anybody who takes messages."""
        return self.up and bool(self.model.running("worker", "host"))

    def pick(self, number: int, *kinds: str) -> Identity:
        return self.choose(self.model.running(*kinds), number)

    @staticmethod
    def choose(those: list[Identity], number: int) -> Identity:
        return those[number % len(those)]

    def notes(self, count: int) -> list[int]:
        self.number += count
        return list(range(self.number - count, self.number))

    def play(
        self,
        who: Identity,
        real: Callable[[ActorRef[Any]], object],
        modelled: Callable[[Model, Identity], object],
        later: int | None = None,
    ) -> bool:
        """Do it to both, if the model knows what comes of it; say whether it was done.

        If it takes time and *later* is given, a note goes to somebody while it does.
        """
        loop = self.stage.loop
        self.model.begin(loop.time())
        trial = copy.deepcopy(self.model)
        try:
            modelled(trial, trial.identities[who.number - 1])
        except Vague:
            return False
        takes = trial.now - self.model.now
        others = self.model.running("worker", "host")
        self.stage.call(lambda: real(self.refs[who.number]))
        modelled(self.model, who)
        if later is not None and takes and others:
            other = others[later % len(others)]
            [note] = self.notes(1)
            self.stage.run_until(loop.time() + takes * (1 + later % 15) / 16)
            self.stage.call(lambda: self.refs[other.number].tell(Note(number=note)))
            self.model.meanwhile(other, note)
        self.settle()
        return True

    def settle(self) -> None:
        """Let pass the time that the model says it takes, and a moment, and compare."""
        self.stage.run_until(max(self.model.now, self.stage.loop.time()) + MOMENT)
        self.compare()

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, times=st.integers(1, 4), before=NOTES, after=NOTES, later=PICKS)
    def crash(self, who: int, times: int, before: int, after: int, later: int) -> None:
        """Several crashes in a row, all in the mailbox at once, among notes."""
        crashes: list[Item] = ["crash"] * times
        items: list[Item] = [*self.notes(before), *crashes, *self.notes(after)]
        target = self.pick(who, "worker", "host")
        while not self.play(
            target, lambda ref: tell_all(ref, items), lambda model, it: model.deliver(it, *items), later
        ):
            items.remove("crash")

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, times=st.integers(1, 5))
    def crash_again_and_again(self, who: int, times: int) -> None:
        """Several crashes in a row, each when all has come of the one before it."""
        target = self.pick(who, "worker", "host")
        for _ in range(times):
            if target.status == "running":
                self.play(target, lambda ref: ref.tell(Crash()), lambda model, it: model.deliver(it, "crash"))

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, after=NOTES)
    def crash_by_ask(self, who: int, after: int) -> None:
        asked: list[asyncio.Future[Any]] = []
        notes = self.notes(after)

        def ask(ref: ActorRef[Any]) -> None:
            asked.append(asyncio.ensure_future(ref.ask(Crash(), timeout=500.0)))
            asyncio.get_running_loop().call_soon(tell_all, ref, notes)

        target = self.pick(who, "worker", "host")
        self.play(target, ask, lambda model, it: model.deliver(it, "crash", *notes))
        assert isinstance(asked[0].exception(), ActorFailed)

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, before=NOTES, after=NOTES)
    def end(self, who: int, before: int, after: int) -> None:
        items: list[Item] = [*self.notes(before), "end", *self.notes(after)]
        target = self.pick(who, "worker", "host")
        self.play(target, lambda ref: tell_all(ref, items), lambda model, it: model.deliver(it, *items))

    @precondition(lambda self: self.up)
    @rule(
        who=PICKS,
        how=st.sampled_from(["stop", "drain", "kill"]),
        before=NOTES,
        after=NOTES,
        top=st.integers(0, 9),
        later=PICKS,
    )
    def request(self, who: int, how: str, before: int, after: int, top: int, later: int) -> None:
        """Stop, drain or kill one that has nothing in hand; seldom the tree itself, which is the end of the example."""
        target = self.pick(who)
        if target is self.model.top and top < 9:
            return
        if target.role.kind == "supervisor":
            before = after = 0
        first, then = self.notes(before), self.notes(after)

        def act(ref: ActorRef[Any]) -> None:
            tell_all(ref, first)
            getattr(ref, how)()
            tell_all(ref, then)

        self.play(target, act, lambda model, it: getattr(model, how)(it, first, then), later)

    @precondition(lambda self: self.up and self.model.running("worker"))
    @rule(
        who=PICKS,
        how=st.sampled_from(["stop", "drain", "kill"]),
        seconds=st.sampled_from([0.25, 1.5, 8.0]),
        before=NOTES,
        later=PICKS,
    )
    def request_while_busy(self, who: int, how: str, seconds: float, before: int, later: int) -> None:
        """Stop, drain or kill one that has a handler in hand."""
        target = self.pick(who, "worker")
        ref = self.refs[target.number]
        [held] = self.notes(1)
        rest = self.notes(before)
        self.stage.call(lambda: ref.tell(Hold(number=held, seconds=seconds)))
        began = self.stage.loop.time()
        self.stage.run_until(began + MOMENT)
        left = began + seconds - self.stage.loop.time()

        def act(ref: ActorRef[Any]) -> None:
            tell_all(ref, rest)
            getattr(ref, how)()

        def modelled(model: Model, it: Identity) -> None:
            match how:
                case "stop":
                    model.stop_while_busy(it, left, held, rest)
                case "drain":
                    model.drain_while_busy(it, left, held, rest)
                case _:
                    model.kill_while_busy(it, held, rest)

        assert self.play(target, act, modelled, later)

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, modes=st.lists(STARTS, min_size=1, max_size=3))
    def let_starts_fail(self, who: int, modes: list[StartMode]) -> None:
        name = self.pick(who, "worker", "host").name
        for scripts in (self.model.scripts, self.world.scripts):
            scripts[name].starts[:] = modes

    @precondition(lambda self: self.up)
    @rule(seconds=st.sampled_from([0.125, 1.0, 6.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.stage.run_until(self.stage.loop.time() + seconds)
        self.compare()

    @precondition(lambda self: self.up and self.model.edges())
    @rule(which=PICKS, beside=st.sampled_from([0.0, MOMENT, -MOMENT]))
    def go_to_the_edge_of_a_window(self, which: int, beside: float) -> None:
        """To the very moment at which a restart still counts for the last time, or just beside it."""
        self.pass_to(self.model.edges(), which, beside)

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, beside=st.sampled_from([0.0, MOMENT, -MOMENT]))
    def use_up_a_budget_and_crash_at_its_edge(self, who: int, beside: float) -> None:
        """As many crashes as are allowed, and one more when the first of them is about to be forgotten."""
        players = self.model.running("worker", "host")
        # Seldom at the cost of the whole tree.
        target = self.choose([each for each in players if each.parent is not self.model.top] or players, who)
        budget = self.model.budget(target)
        while target.status == "running" and budget.left(self.model.now):
            before = budget.left(self.model.now)
            self.play(target, lambda ref: ref.tell(Crash()), lambda model, it: model.deliver(it, "crash"))
            if budget.left(self.model.now) == before:
                return  # of a temporary one, for example
        if target.status == "running" and self.pass_to(budget.edges()[:1], 0, beside):
            self.play(target, lambda ref: ref.tell(Crash()), lambda model, it: model.deliver(it, "crash"))

    def pass_to(self, edges: list[float], which: int, beside: float) -> bool:
        """Let time pass until one of *edges*, if it is still to come."""
        to_come = [edge + beside for edge in edges if edge + beside > self.stage.loop.time()]
        if to_come:
            self.stage.run_until(to_come[which % len(to_come)])
            self.compare()
        return bool(to_come)

    @precondition(lambda self: self.up)
    @rule(role=workers("r", (0.5, 0.75)), name=st.sampled_from(["r1", "r2", "r3"]), fails=sometimes(STARTS))
    def spawn_beside_the_tree(self, role: Role, name: str, fails: StartMode | None) -> None:
        spec = replace(role, name=name)
        self.spawn(self.model.user, spec, fails, lambda: outcome_of(self.stage.system.spawn(self.world.spec(spec))))

    @precondition(lambda self: self.up)
    @rule(tree=trees("q", "xyz", (1, 1)), fails=sometimes(STARTS))
    def spawn_a_supervisor_beside_the_tree(self, tree: Role, fails: StartMode | None) -> None:
        self.spawn(self.model.user, tree, fails, lambda: outcome_of(self.stage.system.spawn(self.world.spec(tree))))

    @precondition(lambda self: self.playing)
    @rule(
        who=PICKS,
        role=workers("r", (0.5, 0.75)),
        name=st.sampled_from(["r1", "r2", "r3"]),
        fails=sometimes(STARTS),
    )
    def spawn_under_an_actor(self, who: int, role: Role, name: str, fails: StartMode | None) -> None:
        parent = self.pick(who, "worker", "host")
        ref = self.refs[parent.number]
        spec = replace(role, name=name)
        self.spawn(parent, spec, fails, lambda: ref.ask(Spawn(spec=self.world.spec(spec)), timeout=500.0))

    def spawn(self, parent: Identity, role: Role, fails: StartMode | None, real: Callable[[], Awaitable[Any]]) -> None:
        if any(each.name == role.name and each.parent is not parent for each in self.model.alive()):
            return  # one name, one script
        first = next(each.name for each in role.walk() if each.kind != "supervisor")
        for scripts in (self.model.scripts, self.world.scripts):
            scripts.setdefault(first, Script()).starts[:] = [fails] if fails else []
        self.model.begin(self.stage.loop.time())
        spawned = self.stage.task(real())
        outcome = self.model.spawn(role, parent)
        self.settle()
        match outcome, spawned.result():
            case "started", ActorRef():
                assert spawned.result() == self.refs[parent.children[-1].number]
            case ("taken", NameTaken()) | ("present", ChildAlreadyPresent()) | ("failed", StartError()):
                pass
            case other:
                raise AssertionError(other)

    @precondition(lambda self: self.up)
    @rule(
        who=PICKS,
        verb=st.sampled_from(["start", "terminate", "terminate", "restart", "restart", "delete"]),
        which=PICKS,
        role=workers("r", (0.5, 0.75)),
        timeout=st.sampled_from([None, None, 0.25, 1.25]),
        fails=sometimes(STARTS),
    )
    def administer(
        self, who: int, verb: str, which: int, role: Role, timeout: float | None, fails: StartMode | None
    ) -> None:
        """An administrative call, which answers as the table says."""
        parent = self.pick(who, "supervisor", "host")
        ref = self.refs[parent.number]
        assert isinstance(ref, SupervisorRef)
        name = self.choose_name([each.name for each in parent.listed], which, verb)
        known = parent.place(name)
        if any(each.name == name and each.parent is not parent for each in self.model.alive()):
            return  # one name, one script
        if verb in ("start", "restart") and (known is None or known.role.kind != "supervisor"):
            for scripts in (self.model.scripts, self.world.scripts):
                scripts.setdefault(name, Script()).starts[:] = [fails] if fails else []
        self.model.begin(self.stage.loop.time())
        match verb:
            case "start":
                spec = replace(role, name=name)
                real: Awaitable[Any] = ref.start_child(self.world.spec(spec))
                answer = self.model.start_child(parent, spec)
            case "terminate":
                real = ref.terminate_child(name, timeout=timeout)
                answer = self.model.terminate_child(parent, name, timeout)
            case "restart":
                real = ref.restart_child(name)
                answer = self.model.restart_child(parent, name)
            case _:
                real = ref.delete_child(name)
                answer = self.model.delete_child(parent, name)
        called = self.stage.task(answer_of(real))
        self.settle()
        assert called.result() == answer

    @staticmethod
    def choose_name(names: list[str], which: int, verb: str) -> str:
        """Mostly of somebody who is listed."""
        others = ["r1", "r2", "r3"] if verb == "start" else ["nobody"]
        those = [*names, *names, *others] if verb != "start" else [*names, *others, *others]
        return those[which % len(those)]

    @precondition(lambda self: self.playing)
    @rule(who=PICKS, count=st.integers(1, 3))
    def send_notes(self, who: int, count: int) -> None:
        notes = self.notes(count)
        target = self.pick(who, "worker", "host")
        self.play(target, lambda ref: tell_all(ref, notes), lambda model, it: model.deliver(it, *notes))

    @precondition(lambda self: not self.up or any(each.status == "stopped" for each in self.model.identities))
    @rule(who=PICKS)
    def send_to_the_dead(self, who: int) -> None:
        dead = [each for each in self.model.identities if each.status == "stopped" and each.number in self.refs]
        if dead:
            [note] = self.notes(1)
            target = dead[who % len(dead)]
            self.play(target, lambda ref: tell_all(ref, [note]), lambda model, it: model.deliver(it, note))

    # Comparing

    def compare(self) -> None:
        self.compare_tree()
        self.compare_events()
        self.compare_notes()
        self.compare_state()

    def compare_tree(self) -> None:
        """Who is alive, as whom (uid), in which incarnation, under whom and in which order."""
        system = self.stage.system
        alive = self.model.alive()
        for each in alive:
            ref = system.find(each.path)
            assert ref is not None, each.path
            known = self.refs.setdefault(each.number, ref)
            uid = self.uids.setdefault(each.number, ref.uid)
            assert (ref.uid, known.uid) == (uid, uid), (each.path, each.number)
        assert len(set(self.uids.values())) == len(self.uids)
        for each in self.model.identities:
            if each.number in self.refs:
                assert self.refs[each.number].status == each.status, (each.path, each.number)
        self.compare_listings()
        nodes = [node for node in system.tree().walk() if node.path.startswith("/user/")]
        seen = {node.path: node for node in nodes if node.status != "stopped"}
        assert {path: (node.status, node.incarnation, node.waiting) for path, node in seen.items()} == {
            each.path: (each.status, each.incarnation, len(each.queue)) for each in alive
        }
        assert {path: [below.path for below in node.children if below.path in seen] for path, node in seen.items()} == {
            each.path: [below.path for below in each.children] for each in alive
        }

    def compare_listings(self) -> None:
        """What a supervisor says of its children: which are listed, in which order, and how many of what."""
        supervisors = self.model.running("supervisor", "host")
        asked = [self.stage.task(listing_of(self.refs[each.number])) for each in supervisors]
        self.stage.run_until(self.stage.loop.time())
        for each, told in zip(supervisors, asked, strict=True):
            children = {child.name: child for child in each.children}
            listed = [
                (
                    place.name,
                    children[place.name].status if place.name in children else "stopped",
                    place.role.supervises,
                )
                for place in each.listed
            ]
            supervising = sum(supervises for _, _, supervises in listed)
            counts = (len(listed), len(children), supervising, len(listed) - supervising)
            assert told.result() == (listed, counts), each.path

    def compare_events(self) -> None:
        """What instruments and hooks have seen since the last time, in order, as far as there is one."""
        log, journal, loose = self.model.take()
        heard, written = self.stage.ear.log[:], self.world.journal[:]
        self.stage.ear.log.clear()
        self.world.journal.clear()
        if loose:
            heard, log = sorted(heard, key=repr), sorted(log, key=repr)
            written, journal = sorted(written), sorted(journal)
        assert heard == log, f"heard {heard}, not {log}"
        assert written == journal, f"written {written}, not {journal}"

    def compare_notes(self) -> None:
        """Each note has been handled once, by whom the model says, or lost once; in order."""
        seen: list[tuple[int, tuple[Any, ...]]] = [
            (number, ("handled", name, instance)) for number, name, instance in self.world.handled
        ]
        seen += [(number, ("lost",)) for number in self.stage.ear.lost]
        assert len(seen) == len(dict(seen)), seen
        assert dict(seen).keys() == self.model.fates.keys()
        for number, fate in seen:
            assert fate in self.model.fates[number], f"note {number} was {fate}, not {self.model.fates[number]}"
        for name in {name for _, name, _ in self.world.handled}:
            numbers = [number for number, by, _ in self.world.handled if by == name]
            assert numbers == sorted(numbers)

    def compare_state(self) -> None:
        """R14: whether the system is up, has ended or has collapsed."""
        assert self.stage.complaints == []
        assert self.stage.system.abandoned == ()
        match self.model.state:
            case "collapsed":
                assert isinstance(self.stage.outcome, SystemCollapsed)
                assert self.stage.cancelled
                assert self.model.top is not None
                assert plain(self.stage.outcome.reason) == self.model.top.reason
                assert len(self.stage.outcome.chain) == depth(self.model.top.reason)
            case "ended" if self.model.top is not None and not self.refs:
                assert isinstance(self.stage.outcome, StartError)
            case _:
                assert self.stage.outcome is None
                assert not self.stage.cancelled

    def teardown(self) -> None:
        """Leave the system, compare for the last time, and close the loop; after a failure only the latter."""
        if self._stage is None:
            return
        try:
            if sys.exc_info()[1] is None:
                self.leave()
        finally:
            self._stage.close()

    def leave(self) -> None:
        stage = self.stage
        if not stage.body.done():
            self.model.begin(stage.loop.time())
            self.model.close()
            stage.leave()
            self.settle()
        assert stage.body.done()
        seen = [each for each in self.model.identities if each.number in self.refs]
        endings = [stage.task(self.refs[each.number].wait_stopped()) for each in seen]
        stage.run_until(stage.loop.time() + MOMENT)
        assert [plain(ending.result()) for ending in endings] == [each.reason for each in seen]
        assert asyncio.all_tasks(stage.loop) == set()


async def answer_of(call: Awaitable[Any]) -> str:
    """How an administrative call is answered."""
    try:
        await call
    except StartError:  # a timeout is one
        return "StartError"
    except UnderstudyError as error:
        return type(error).__name__
    return "ok"


async def listing_of(ref: ActorRef[Any]) -> tuple[list[tuple[str, str, bool]], tuple[int, int, int, int]]:
    assert isinstance(ref, SupervisorRef)
    listed = [(each.name, each.status, each.supervisor) for each in await ref.which_children()]
    counts = await ref.count_children()
    return listed, (counts.specs, counts.active, counts.supervisors, counts.workers)


def depth(reason: Reason | None) -> int:
    """How many lines the chain of causes has."""
    assert reason is not None
    return 1 + depth(reason[2]) if reason[0] == "exceeded" else 1


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Thousands of crashes make a lot of lines that nobody reads."""
    before = structlog.get_config()
    structlog.configure(processors=[drop])
    yield
    structlog.configure(**before)


def drop(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    raise structlog.DropEvent


@pytest.mark.timeout(3600 if CAMPAIGN else 400)  # a failure takes minutes to be made small
def test_the_system_does_what_the_model_says() -> None:
    run_state_machine_as_test(
        SupervisionMachine,
        settings=settings(
            max_examples=2000 if CAMPAIGN else 60,
            stateful_step_count=40,
            derandomize=not CAMPAIGN,
            database=None,
            report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
