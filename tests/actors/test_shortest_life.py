"""Starts and ends that concern nobody else are done in one go, and nobody can tell that from the steps, one by one.

Each list of acts is done twice: as it is, and with all starts and ends taken step by step. What can be seen of it, from
outside and of the cells, is the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    DynamicSupervisor,
    ExitReason,
    Instrument,
    Message,
    Settings,
    Supervisor,
    SupervisorRef,
    Terminated,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.actors._cell import Cell

UNHURRIED = Settings(slice_seconds=60.0)
"""However busy the machine is, the time for what is done ahead does not run out."""


class Work(Message): ...


class Fail(Message): ...


class Later(Message): ...


class Look(Message):
    at: ActorRef[Any]


class Forget(Message): ...


class Hire(Message): ...


class Bare(Actor[Work | Fail | Later | Look | Forget | Hire]):
    """Has no part in its start or end, but may come to have something."""

    @handler
    def work(self, message: Work) -> None:
        pass

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError("told to")

    @handler
    def later(self, message: Later) -> None:
        self.promised = self.context.reply_later(message)

    @handler
    def look(self, message: Look) -> None:
        self.monitor = self.context.watch(message.at)

    @handler
    def forget(self, message: Forget) -> None:
        if (monitor := self.__dict__.get("monitor")) is not None:
            self.context.unwatch(monitor)

    @handler
    async def hire(self, message: Hire) -> None:
        await self.context.spawn(Bare)


class Hooked(Bare):
    def shutdown(self, reason: ExitReason) -> None:
        pass


class Watcher(Actor[Look]):
    def __init__(self, news: list[Any]) -> None:
        self.news = news

    @handler
    def look(self, message: Look) -> None:
        self.context.watch(message.at)

    @handler
    def gone(self, signal: Terminated) -> None:
        self.news.append(("terminated", signal.ref.path, str(signal.reason), signal.ref.status))


class Pool(DynamicSupervisor):
    pass


class Few(DynamicSupervisor):
    max_children = 2


class Listed(Supervisor):
    pass


class Together(Supervisor):
    strategy = "one_for_all"


class Listener(Instrument):
    """Hears of starts and ends; unobtrusive, as those of the simulation, so that it is no reason to take the steps."""

    _understudy_unobtrusive: ClassVar[bool] = True

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def actor_started(self, path: str, incarnation: int) -> None:
        self.seen.append(("started", path, incarnation))

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        self.seen.append(("stopped", path, str(reason)))

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        self.seen.append(("restarting", path, failures))

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        self.seen.append(("dead letter", type(message).__name__, recipient, why))


PARENTS = ("pool", "few", "listed", "together", "user")
SPECS: dict[str, Callable[[], Any]] = {
    "bare": lambda: Bare,
    "named": lambda: child(Bare).options(name="one"),
    "temporary": lambda: child(Bare).options(restart="temporary"),
    "hooked": lambda: Hooked,
}
Act: TypeAlias = tuple[str, Any, Any]
which = st.integers(0, 7)
ACTS: st.SearchStrategy[list[Act]] = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from(PARENTS), st.sampled_from(("bare", "bare", *SPECS))),
        st.tuples(st.just("stop"), which, st.none()),
        st.tuples(st.just("stop"), which, st.none()),
        st.tuples(st.just("tell"), which, st.sampled_from((Work(), Fail(), Forget(), Hire()))),
        st.tuples(
            st.sampled_from(("ask", "ask later", "watch", "drain", "kill", "suspend", "resume")), which, st.none()
        ),
        st.tuples(st.just("look at"), which, which),
        st.tuples(st.just("terminate"), st.sampled_from(PARENTS[:-1]), which),
        st.tuples(st.just("wait"), which, st.none()),
        st.tuples(st.just("breathe"), st.none(), st.none()),
    ),
    max_size=25,
)


class Stage:
    """One run of a list of acts, and all that can be seen of it."""

    def __init__(self, system: ActorSystem, watcher: ActorRef[Look], seen: list[Any]) -> None:
        self.system = system
        self.watcher = watcher
        self.seen = seen
        self.refs: list[ActorRef[Any]] = []
        self.asks: list[asyncio.Task[Any]] = []
        self.supervisors: dict[str, SupervisorRef[Any]] = {
            name: system.lookup(f"top/{name}", kind)
            for name, kind in {"pool": Pool, "few": Few, "listed": Listed, "together": Together}.items()
        }

    async def do(self, act: Act) -> None:
        what, one, other = act
        if what == "start":
            await self.start(one, other)
        elif what == "terminate":
            await self.terminate(one, other)
        elif what == "breathe":
            await asyncio.sleep(0)
        elif self.refs:
            await self.have(what, self.refs[one % len(self.refs)], other)

    async def start(self, parent: str, kind: str) -> None:
        spec = SPECS[kind]()
        try:
            if parent == "user":
                self.refs.append(await self.system.spawn(spec))
            else:
                self.refs.append(await self.supervisors[parent].start_child(spec))
        except UnderstudyError as error:
            self.seen.append(("not started", str(error)))

    async def terminate(self, parent: str, number: int) -> None:
        children = await self.supervisors[parent].which_children()
        if children:
            await self.supervisors[parent].terminate_child(children[number % len(children)].name)

    async def have(self, what: str, ref: ActorRef[Any], other: Any) -> None:
        if what == "tell":
            self.seen.append(ref.tell(other))
        elif what in ("ask", "ask later"):
            self.asks.append(asyncio.ensure_future(ref.ask(Work() if what == "ask" else Later(), timeout=1_000.0)))
        elif what == "watch":
            self.watcher.tell(Look(at=ref))
        elif what == "look at":
            ref.tell(Look(at=self.refs[other % len(self.refs)]))
        elif what in ("suspend", "resume"):
            if ref.status != "stopped":
                getattr(ref.debug, what)()
        elif what == "wait":
            self.resume(ref)
            if ref._cell.for_good:  # one that was killed may be restarted
                self.seen.append(str(await ref.wait_stopped()))
        else:
            getattr(ref, what)()

    def resume(self, ref: ActorRef[Any]) -> None:
        """One that is drained ends when it has handled all."""
        if ref.status != "stopped":
            ref.debug.resume()

    async def note(self) -> None:
        """All that can be seen at this moment."""
        self.seen.append([(ref.path, ref.status) for ref in self.refs])
        self.seen.append([_fields(ref) for ref in self.refs])
        statistics = self.system.statistics()
        self.seen.append((statistics.actors, statistics.started, statistics.stopped, statistics.restarted))
        self.seen.append(str(self.system.tree()))
        for each in self.supervisors.values():
            if each.status == "running":
                self.seen.append([(info.name, info.status) for info in await each.which_children()])
                self.seen.append(await each.count_children())


def _fields(ref: ActorRef[Any]) -> dict[str, Any]:
    """Those of the cell, all of them, as far as they can be compared between two systems."""
    cell = ref._cell
    names = [name for base in type(cell).__mro__ for name in vars(base).get("__slots__", ())]
    plain = (bool, int, str, type(None), type(cell.life))
    fields: dict[str, Any] = {}
    for name in names:
        value = getattr(cell, name)
        if name in ("gate", "reason"):
            fields[name] = str(value)
        elif name not in ("uid", "place", "hand_since", "_path"):
            fields[name] = value if isinstance(value, plain) else type(value).__name__
    fields["handlers"] = sorted(kind.__name__ for kind in cell.table)
    return fields


async def _run(acts: list[Act]) -> list[Any]:
    seen: list[Any] = []
    tree = supervisor("top", *(child(each).options(restart="temporary") for each in (Pool, Few, Listed, Together)))
    async with ActorSystem(tree, settings=UNHURRIED, instruments=[Listener(seen)]) as system:
        stage = Stage(system, await system.spawn(Watcher, seen), seen)
        for act in acts:
            await stage.do(act)
            await stage.note()
        for ref in stage.refs:
            stage.resume(ref)
            ref.stop()
        await stage.note()
        seen += [str(await ref.wait_stopped()) for ref in stage.refs]
        for _ in range(5):
            await asyncio.sleep(0)
        await stage.note()
        seen += map(repr, await asyncio.gather(*stage.asks, return_exceptions=True))
    return seen


Taken: TypeAlias = Counter[tuple[str, bool]]


def _counted(patch: pytest.MonkeyPatch, taken: Taken, *, possible: bool) -> None:
    """Count how often each of the two was done in one go; if that is not *possible*, it never is."""

    def counted(name: str, before: Callable[..., bool]) -> Callable[..., bool]:
        def done(cell: Cell, what: Any) -> bool:
            answer = possible and before(cell, what)
            taken[name, answer] += 1
            return answer

        return done

    for name in ("_is_up_at_once", "_is_gone_at_once"):
        patch.setattr(Cell, name, counted(name, getattr(Cell, name)))


@settings(max_examples=25, deadline=None)
@given(acts=ACTS)
def test_nobody_can_tell_a_life_in_one_go_from_one_in_steps(acts: list[Act]) -> None:
    taken: Taken = Counter()
    with pytest.MonkeyPatch.context() as patch:
        _counted(patch, taken, possible=True)
        at_once = asyncio.run(_run(acts))
    with pytest.MonkeyPatch.context() as patch:
        _counted(patch, taken, possible=False)
        in_steps = asyncio.run(_run(acts))
    assert at_once == in_steps


def test_one_that_is_killed_is_not_waited_for_as_it_starts_anew() -> None:
    acts: list[Act] = [("start", "user", "named"), ("tell", 0, Work()), ("kill", 0, None), ("wait", 0, None)]
    acts += [("breathe", None, None)] * 3
    assert ("started", "/user/one", 2) in asyncio.run(_run(acts))


def test_most_lives_are_the_shortest() -> None:
    taken: Taken = Counter()
    acts: list[Act] = [*[("start", "pool", "bare")] * 3, *(("stop", number, None) for number in range(3))]
    with pytest.MonkeyPatch.context() as patch:
        _counted(patch, taken, possible=True)
        asyncio.run(_run(acts))
    assert taken == {("_is_up_at_once", True): 3, ("_is_gone_at_once", True): 3}


@pytest.mark.parametrize(
    ("acts", "starts", "ends"),
    [
        ([("start", "listed", "bare"), ("stop", 0, None)], True, False),
        ([("start", "together", "bare"), ("stop", 0, None)], False, False),
        ([("start", "pool", "temporary"), ("stop", 0, None)], False, True),
        ([("start", "pool", "bare"), ("tell", 0, Work()), ("breathe", None, None), ("stop", 0, None)], True, False),
    ],
)
def test_what_may_come_to_more_is_taken_in_steps(acts: list[Act], starts: bool, ends: bool) -> None:
    taken: Taken = Counter()
    with pytest.MonkeyPatch.context() as patch:
        _counted(patch, taken, possible=True)
        asyncio.run(_run(acts))
    assert taken == {("_is_up_at_once", starts): 1, ("_is_gone_at_once", ends): 1}
