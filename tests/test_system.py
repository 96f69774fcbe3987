"""`ActorSystem`: what it shows, what it finds, and how it says that it is used wrongly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import understudy
from tests.cast import Collector, Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorNotFound,
    ActorStopped,
    ActorSystem,
    InvalidContext,
    InvalidSpec,
    Message,
    StartError,
    Supervisor,
    SystemCollapsed,
    WrongActorType,
    child,
    handler,
    supervisor,
)
from understudy._tree import Node, Tree


def holder(name: str, *args: Any, **options: Any) -> Any:
    return child(Holder, *args).options(name=name, **options)


def band(**tuning: Any) -> Any:
    return supervisor("band", holder("horn"), supervisor("rhythm", holder("drum"), holder("bass")), **tuning)


# What it shows


@pytest.mark.asyncio
async def test_the_tree_is_drawn_as_text_with_all_that_matters() -> None:
    gate = Gate()
    async with ActorSystem(band(), name="show") as system:
        soloist = await system.spawn(holder("solo.ist-1", gate))
        drum = system.lookup("band/rhythm/drum", Holder)
        drum.tell(Fail(error=ValueError("off beat")))
        soloist.tell(Hold())
        await gate.reached()
        for _ in range(3):
            soloist.tell(Note())
        await settle()

        assert str(system.tree()).splitlines() == [
            "show",
            "├── system  Guardian, running",
            "│   ├── reporter  Reporter, running",
            "│   └── dead_letters  DeadLetters, running",
            "└── user  Guardian, running",
            "    ├── band  DeclaredSupervisor, running",
            "    │   ├── horn  Holder, running",
            "    │   └── rhythm  DeclaredSupervisor, running, 1 recent restart",
            "    │       ├── drum  Holder, running, incarnation 2",
            "    │       └── bass  Holder, running",
            "    └── solo.ist-1  Holder, running, 3 waiting",
        ]
        gate.open()


@pytest.mark.asyncio
async def test_the_tree_is_a_snapshot_that_does_not_change() -> None:
    async with ActorSystem(band()) as system:
        before = system.tree()
        text = str(before)
        ref = await system.spawn(holder("late"))
        assert str(before) == text
        assert [node.path for node in system.snapshot().walk()] == [
            *(node.path for node in before.walk()),
            "/user/late",
        ]
        ref.stop()
        await ref.wait_stopped()
        assert system.tree() == before


@pytest.mark.asyncio
async def test_the_tree_as_json_has_the_same_facts() -> None:
    async with ActorSystem(band(), name="show") as system:
        tree = system.tree()
    data = json.loads(tree.json())
    assert data["system"] == "show"
    found: list[dict[str, Any]] = []
    pending = list(reversed(data["actors"]))
    while pending:
        node = pending.pop()
        found.append(node)
        pending += reversed(node["children"])
    assert [(node["path"], node["actor"], node["status"]) for node in found] == [
        (node.path, node.actor, node.status) for node in tree.walk()
    ]
    drum = next(node for node in found if node["name"] == "drum")
    assert drum == {
        "name": "drum",
        "path": "/user/band/rhythm/drum",
        "actor": "Holder",
        "status": "running",
        "incarnation": 1,
        "waiting": 0,
        "suspended": False,
        "restarts": 0,
        "children": [],
    }


@pytest.mark.asyncio
async def test_the_tree_as_mermaid_has_each_actor_once_under_its_parent() -> None:
    async with ActorSystem(supervisor("band", holder("horn")), name="show") as system:
        lines = system.tree().mermaid().splitlines()
    assert lines == [
        "flowchart TD",
        '    root["show"]',
        '    n0["system<br/>Guardian, running"]',
        "    root --> n0",
        '    n1["reporter<br/>Reporter, running"]',
        "    n0 --> n1",
        '    n2["dead_letters<br/>DeadLetters, running"]',
        "    n0 --> n2",
        '    n3["user<br/>Guardian, running"]',
        "    root --> n3",
        '    n4["band<br/>DeclaredSupervisor, running"]',
        "    n3 --> n4",
        '    n5["horn<br/>Holder, running"]',
        "    n4 --> n5",
    ]


def test_nothing_in_a_name_can_be_markup() -> None:
    # Paths are checked, names of classes are whatever somebody made them.
    node = Node("horn", "/user/horn", 'We"ird & <script>', "running", 1, 0)
    text = Tree("show", (node,)).mermaid()
    assert '["horn<br/>We&quot;ird &amp; &lt;script>, running"]' in text
    assert json.loads(Tree("show", (node,)).json())["actors"][0]["actor"] == 'We"ird & <script>'


@pytest.mark.parametrize("name", ["", "a b", "a/b", 'a"b', "..", None, 3])
def test_a_system_whose_name_could_not_be_part_of_a_path_is_refused(name: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"^name must be letters"):
        ActorSystem(name=name)


@pytest.mark.asyncio
async def test_statistics_count_what_has_happened_and_who_is_there() -> None:
    async with ActorSystem(band()) as system:
        before = system.statistics()
        assert before.actors == len(list(system.tree().walk())) == before.started
        assert (before.stopped, before.crashed, before.restarted, before.dead_letters, before.abandoned) == (0,) * 5

        ref = await system.spawn(holder("late"))
        ref.tell(Fail(error=ValueError("x")))
        await ref.ask(Note())
        other = await system.spawn(holder("other"))
        other.stop()
        await other.wait_stopped()
        other.tell(Note())

        after = system.statistics()
        assert before.actors == after.actors - 1, "a copy that does not change"
        assert (after.actors, after.started - before.started) == (before.actors + 1, 3)
        assert (after.stopped, after.crashed, after.restarted, after.dead_letters) == (1, 1, 1, 1)
    end = system.statistics()
    assert (end.actors, end.abandoned) == (0, 0)
    # Two starts of one actor have one end.
    assert end.stopped == end.started - 1


# Whom it finds


@pytest.mark.asyncio
async def test_an_actor_is_found_by_its_whole_path_or_by_what_is_below_user() -> None:
    async with ActorSystem(band()) as system:
        drum = system.lookup("band/rhythm/drum", Holder)
        assert drum == system.lookup("/user/band/rhythm/drum") == system.find("band/rhythm/drum")
        assert drum.path == "/user/band/rhythm/drum"
        assert await drum.ask(Note(value=3)) == 3
        assert system.lookup("/system/dead_letters") == system.dead_letters
        # A base class will do.
        assert system.lookup("band/rhythm/drum", Actor) == drum
        assert system.lookup("band", Supervisor).path == "/user/band"


@pytest.mark.parametrize(
    ("path", "absolute", "nearest"),
    [
        ("band/rhythm/drums", "/user/band/rhythm/drums", "/user/band/rhythm/drum"),
        ("/user/band/hron", "/user/band/hron", "/user/band/horn"),
        ("/usr/band", "/usr/band", "/user/band"),
        ("band/horn/valve", "/user/band/horn/valve", "/user/band/horn"),
    ],
)
@pytest.mark.asyncio
async def test_who_is_not_found_is_named_with_names_that_come_close(path: str, absolute: str, nearest: str) -> None:
    async with ActorSystem(band()) as system:
        assert system.find(path) is None
        assert system.find(path, Holder) is None
        with pytest.raises(ActorNotFound) as caught:
            system.lookup(path, Holder)
    assert caught.value.path == absolute
    assert nearest in caught.value.nearest
    assert len(caught.value.nearest) <= 3
    assert str(caught.value).startswith(f"there is no actor {absolute}; nearest: ")


@pytest.mark.asyncio
async def test_who_has_been_terminated_does_not_come_close_to_itself() -> None:
    async with ActorSystem(band()) as system:
        await system.lookup("band", Supervisor).terminate_child("horn")
        with pytest.raises(ActorNotFound) as caught:
            system.lookup("band/horn")
    assert "/user/band/horn" not in caught.value.nearest
    assert "/user/band" in caught.value.nearest


@pytest.mark.parametrize("path", ["zzz", "/", "/zzz", "//", "/user//band", "band//rhythm"])
@pytest.mark.asyncio
async def test_a_path_that_leads_nowhere_finds_nobody(path: str) -> None:
    async with ActorSystem(band()) as system:
        assert system.find(path) is None
        with pytest.raises(ActorNotFound):
            system.lookup(path)


@pytest.mark.asyncio
async def test_an_actor_of_another_class_is_no_hit() -> None:
    async with ActorSystem(band()) as system:
        for find in (system.lookup, system.find):
            with pytest.raises(WrongActorType) as caught:
                find("band/horn", Collector)
            assert str(caught.value) == "/user/band/horn is a Holder, not a Collector"


@pytest.mark.asyncio
async def test_an_actor_that_has_ended_is_not_found_and_one_that_restarts_is() -> None:
    gate = Gate()

    class Slow(Actor[Fail]):
        starts = 0

        async def initialize(self) -> None:
            Slow.starts += 1
            if Slow.starts > 1:
                await gate.hold()

        @handler
        def fail(self, message: Fail) -> int:
            raise message.error

    async with ActorSystem() as system:
        ref = await system.spawn(Slow)
        ref.tell(Fail(error=ValueError("x")))
        await gate.reached()
        assert (system.lookup("slow", Slow), ref.status) == (ref, "restarting")
        gate.open()
        ref.stop()
        await ref.wait_stopped()
        assert system.find("slow") is None


# Phases


@pytest.mark.parametrize("phase", ["actors", "", "Before", None, 1])
def test_a_phase_that_does_not_exist_is_refused_with_those_that_do(phase: Any) -> None:
    system = ActorSystem()

    async def task() -> None: ...

    with pytest.raises(InvalidSpec) as caught:
        system.phases.add(phase, task)
    assert str(caught.value) == f"phase must be 'before' or 'after', got {phase!r} (phases)"
    assert [system.phases.of(each) for each in ("before", "after")] == [[], []]  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_tasks_of_a_phase_may_be_added_before_entering_and_while_it_runs() -> None:
    order: list[str] = []

    def task(name: str) -> Callable[[], Any]:
        async def run() -> None:
            order.append(name)

        return run

    recorder = Recorder()
    system = ActorSystem(holder("horn"), instruments=[recorder])
    system.phases.add("after", task("after"), name="last")
    async with system:
        system.phases.add("before", task("first"))
        system.phases.add("before", task("second"))
    assert order == ["first", "second", "after"]
    names = [name for name, _ in system.phases.of("after")]
    assert names == ["last"]


# Used at the wrong time

USES: dict[str, Callable[[ActorSystem], Any]] = {
    "tree": lambda system: system.tree(),
    "statistics": lambda system: system.statistics(),
    "lookup": lambda system: system.lookup("horn"),
    "find": lambda system: system.find("horn"),
    "dead_letters": lambda system: system.dead_letters,
    "abandoned": lambda system: system.abandoned,
    "stop": lambda system: system.stop(),
    "kill": lambda system: system.kill(),
}


@pytest.mark.parametrize("use", USES)
def test_before_it_is_entered_it_says_how_it_is_to_be_used(use: str) -> None:
    with pytest.raises(InvalidContext) as caught:
        USES[use](ActorSystem(holder("horn"), name="show"))
    assert str(caught.value) == "system 'show': it is not running: use it inside of `async with`, or after start()"


@pytest.mark.asyncio
async def test_before_it_is_entered_nothing_can_be_spawned_or_waited_for() -> None:
    system = ActorSystem(name="show")
    for use in (lambda: system.spawn(Holder), system.wait_stopped):
        with pytest.raises(InvalidContext, match="it is not running: use it inside of `async with`"):
            await use()
    # That did no harm.
    async with system:
        assert await (await system.spawn(Holder)).ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_a_system_cannot_be_entered_while_it_runs_and_goes_on_undisturbed() -> None:
    system = ActorSystem(holder("horn"), name="show")
    async with system:
        before = system.tree()
        with pytest.raises(InvalidContext, match="a system can be entered once; make a new one"):
            async with system:
                pytest.fail("entered")
        assert system.tree() == before
        assert await system.lookup("horn", Holder).ask(Note(value=1)) == 1


@pytest.mark.parametrize("fails", [False, True], ids=["after its end", "after a start that failed"])
@pytest.mark.asyncio
async def test_a_system_cannot_be_entered_again(fails: bool) -> None:
    class Broken(Actor[Note]):
        def initialize(self) -> None:
            if fails:
                raise ValueError("broken")

        @handler
        def note(self, message: Note) -> int:
            return 0

    system = ActorSystem(child(Broken))
    try:
        async with system:
            pass
    except StartError:
        assert fails
    with pytest.raises(InvalidContext, match="a system can be entered once"):
        async with system:
            pytest.fail("entered")


@pytest.mark.asyncio
async def test_after_its_end_it_can_be_looked_at_and_nothing_can_be_done_with_it() -> None:
    async with ActorSystem(band()) as system:
        horn = system.lookup("band/horn", Holder)
    system.stop()
    system.kill()
    await system.wait_stopped()
    assert system.find("band/horn") is None
    assert system.abandoned == ()
    assert system.statistics().actors == 0
    with pytest.raises(ActorNotFound):
        system.lookup("band/horn")
    with pytest.raises(ActorStopped):
        await system.spawn(Holder)
    assert horn.tell(Note()) is False
    assert horn.status == "stopped"


# Ends that meet the start

PHASES = ("starting", "running", "before", "links", "actors", "system", "after", "stopped")


class Slow(Actor[Note]):
    """Takes a while to start and writes down what becomes of it."""

    def __init__(self, gate: Gate, log: list[str]) -> None:
        self.gate = gate
        self.journal = log

    async def initialize(self) -> None:
        self.journal.append("begins")
        await self.gate.hold()
        self.journal.append("is up")

    def shutdown(self, reason: object) -> None:
        self.journal.append("is down")

    @handler
    def note(self, message: Note) -> int:
        return message.value


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.asyncio
async def test_a_stop_while_it_starts_is_a_start_that_failed_and_leaves_nothing(end: str) -> None:
    gate, log, first = Gate(), list[str](), list[Any]()
    recorder = Recorder()
    tree = supervisor("band", holder("horn", None, first), child(Slow, gate, log))
    system = ActorSystem(tree, instruments=[recorder])

    async def stop() -> None:
        await gate.reached()
        getattr(system, end)()

    stopper = asyncio.create_task(stop())
    with pytest.raises(StartError) as caught:
        async with system:
            pytest.fail("entered")
    await stopper

    assert caught.value.path == "/user/band"
    assert "shut down" in str(caught.value) or "killed" in str(caught.value)
    assert log == ["begins"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert system.statistics().actors == 0
    assert recorder.of("system_phase")[-1] == ("system", "stopped")
    assert ("system", "running") not in recorder.of("system_phase")


@pytest.mark.asyncio
async def test_a_tree_that_stops_the_system_as_soon_as_it_is_up_is_an_orderly_end_and_no_failed_start() -> None:
    journal: list[str] = []

    class Brief(Actor[Note]):
        def initialize(self) -> None:
            self.context.ref.tell(Note(value=1))

        def shutdown(self, reason: object) -> None:
            journal.append("is down")

        @handler
        def note(self, message: Note) -> int:
            self.context.system.stop("all is done")
            return message.value

    async with ActorSystem(supervisor("band", child(Brief))) as system:
        journal.append("entered")
        await system.wait_stopped()
    assert sorted(journal) == ["entered", "is down"]
    assert (system.statistics().actors, system.statistics().crashed) == (0, 0)


@pytest.mark.parametrize("ticks", range(14))
@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.asyncio
async def test_a_stop_at_any_tick_of_the_start_ends_the_system_and_leaves_nothing(end: str, ticks: int) -> None:
    recorder = Recorder()
    system = ActorSystem(band(), instruments=[recorder])
    entered = False

    async def stop() -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        getattr(system, end)()

    async def live() -> None:
        nonlocal entered
        async with system:
            entered = True
            await system.wait_stopped()

    living, stopper = asyncio.create_task(live()), asyncio.create_task(stop())
    _, pending = await asyncio.wait([living, stopper], timeout=20)

    assert not pending
    stopper.result()
    if not entered:
        assert isinstance(living.exception(), StartError | ActorStopped)
    else:
        living.result()
    assert system.statistics().actors == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # Once it has begun to end it never says again that it starts or runs.
    phases = [phase for _, phase in recorder.of("system_phase")]
    assert phases == [phase for phase in PHASES if phase in phases]
    assert phases[-6:] == list(PHASES[-6:])


@pytest.mark.parametrize("ticks", range(14))
@pytest.mark.asyncio
async def test_a_cancel_at_any_tick_of_the_start_is_a_cancel_and_leaves_nothing(ticks: int) -> None:
    recorder = Recorder()
    system = ActorSystem(band(), instruments=[recorder])

    async def live() -> None:
        async with system:
            await asyncio.sleep(3600)

    living = asyncio.create_task(live())
    for _ in range(ticks):
        await asyncio.sleep(0)
    living.cancel()
    await asyncio.wait([living], timeout=20)

    assert living.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if ticks:
        assert system.statistics().actors == 0
        assert recorder.of("system_phase")[-1] == ("system", "stopped")
        started = [path for path, _ in recorder.of("actor_started")]
        assert sorted(started) == sorted(path for path, _ in recorder.of("actor_stopped"))


@pytest.mark.asyncio
async def test_a_second_cancel_of_the_start_shortens_it_by_force() -> None:
    gate, began = Gate(), Gate()

    class Slowly(Actor[Note]):
        async def shutdown(self, reason: object) -> None:
            await began.hold()

        @handler
        def note(self, message: Note) -> int:
            return 0

    system = ActorSystem(supervisor("band", child(Slowly), child(Slow, gate, [])))

    async def live() -> None:
        async with system:
            pytest.fail("entered")

    loop = asyncio.get_running_loop()
    living = asyncio.create_task(live())
    await gate.reached()
    living.cancel()
    await began.reached()
    begin = loop.time()
    living.cancel()
    await asyncio.wait([living])

    assert living.cancelled()
    assert loop.time() - begin < 0.5
    assert began.went == 0
    assert system.abandoned == ()


# Collapse


@pytest.mark.asyncio
async def test_a_body_that_fails_while_the_system_collapses_is_told_in_a_note() -> None:
    async def live() -> None:
        async with ActorSystem(holder("horn"), name="show") as system:
            try:
                system.lookup("horn", Holder).tell(Fail(error=KeyError("first")))
                await asyncio.sleep(3600)
            finally:
                raise OSError("in the cleanup of the body")

    with pytest.raises(SystemCollapsed) as caught:
        await live()
    error = caught.value
    assert error.__notes__ == ["the body of `async with` had failed too: OSError: in the cleanup of the body"]
    assert isinstance(error.__cause__, KeyError)
    assert error.path == "/user/horn"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.asyncio
async def test_a_collapse_that_meets_no_other_error_has_no_note() -> None:
    async def live() -> None:
        async with ActorSystem(holder("horn")) as system:
            system.lookup("horn", Holder).tell(Fail(error=KeyError("first")))
            await asyncio.sleep(3600)

    with pytest.raises(SystemCollapsed) as caught:
        await live()
    assert not hasattr(caught.value, "__notes__")


# Under any runner, beside and inside of others

RUNNERS: list[Callable[[Any], Any]] = [asyncio.run, understudy.run]


@pytest.mark.parametrize("run", RUNNERS, ids=["asyncio.run", "understudy.run"])
def test_a_system_lives_under_either_runner(run: Callable[[Any], Any]) -> None:
    ended: list[str] = []

    class Tidy(Actor[Note]):
        async def shutdown(self, reason: object) -> None:
            await asyncio.sleep(0.001)
            ended.append(self.context.path)

        @handler
        async def note(self, message: Note) -> int:
            await asyncio.sleep(0.001)
            return message.value + 1

    async def main() -> int:
        async with ActorSystem(child(Tidy)) as system:
            result = await system.lookup("tidy", Tidy).ask(Note(value=1))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    assert run(main()) == 2
    assert ended == ["/user/tidy"]


@pytest.mark.parametrize("run", RUNNERS, ids=["asyncio.run", "understudy.run"])
def test_a_collapse_comes_out_of_either_runner(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with ActorSystem(holder("horn")) as system:
            system.lookup("horn", Holder).tell(Fail(error=KeyError("first")))
            await asyncio.sleep(60)

    with pytest.raises(SystemCollapsed, match="/user/horn ended: crashed: KeyError: 'first'"):
        run(main())


class Pass(Message[int]):
    value: int


class Forwarder(Actor[Pass]):
    """Asks an actor of another system."""

    def __init__(self, target: Any) -> None:
        self.target = target

    @handler
    async def forward(self, message: Pass) -> int:
        return await self.target.ask(Note(value=message.value)) * 10  # type: ignore[no-any-return]


@pytest.mark.asyncio
async def test_systems_in_one_loop_share_nothing_but_the_loop() -> None:
    async with ActorSystem(holder("horn"), name="outer") as outer:
        horn = outer.lookup("horn", Holder)
        async with ActorSystem(child(Forwarder, horn).options(name="horn"), name="inner") as inner:
            namesake = inner.lookup("horn", Forwarder)
            assert namesake.path == horn.path
            assert namesake != horn
            assert await namesake.ask(Pass(value=4)) == 40
            inner.stop()
            await inner.wait_stopped()
            assert namesake.status == "stopped"
            assert await horn.ask(Note(value=5)) == 5
        assert await horn.ask(Note(value=6)) == 6
        assert (inner.statistics().actors, inner.statistics().crashed) == (0, 0)
        assert outer.statistics().stopped == 0


@pytest.mark.asyncio
async def test_the_inner_of_two_systems_ends_before_the_outer_when_their_task_is_cancelled() -> None:
    recorders = Recorder(), Recorder()
    gate = Gate()

    async def live() -> None:
        outer = ActorSystem(holder("horn"), name="outer", instruments=[recorders[0]])
        inner = ActorSystem(holder("horn"), name="inner", instruments=[recorders[1]])
        async with outer, inner:
            await gate.hold()

    living = asyncio.create_task(live())
    await gate.reached()
    living.cancel()
    await asyncio.wait([living])

    assert living.cancelled()
    for recorder in recorders:
        assert [phase for _, phase in recorder.of("system_phase")][-1] == "stopped"
        assert recorder.of("abandoned") == []


@pytest.mark.asyncio
async def test_a_system_inside_a_task_group_ends_in_good_order_when_the_group_is_cancelled_from_outside() -> None:
    ended: list[str] = []
    inside = Gate()

    class Tidy(Actor[Note]):
        async def shutdown(self, reason: object) -> None:
            await asyncio.sleep(1)
            ended.append("tidy")

        @handler
        def note(self, message: Note) -> int:
            return 0

    async def live() -> None:
        async with ActorSystem(child(Tidy)):
            await inside.hold()
        ended.append("went on")

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(live())
            tasks.create_task(asyncio.sleep(3600))
        ended.append("group went on")

    living = asyncio.create_task(group())
    await inside.reached()
    living.cancel()
    await asyncio.wait([living])

    assert living.cancelled()
    assert living.cancelling() == 1
    assert ended == ["tidy"]


@pytest.mark.asyncio
async def test_a_system_around_a_task_group_ends_in_good_order_when_cancelled_from_outside() -> None:
    order: list[str] = []
    inside = Gate()

    async def work() -> None:
        try:
            await inside.hold()
        finally:
            order.append("work ends")

    async def live() -> None:
        recorder = Recorder()
        try:
            async with ActorSystem(holder("horn"), instruments=[recorder]), asyncio.TaskGroup() as tasks:
                tasks.create_task(work())
        finally:
            order.append(str(recorder.of("system_phase")[-1][1]))

    living = asyncio.create_task(live())
    await inside.reached()
    living.cancel()
    await asyncio.wait([living])

    assert living.cancelled()
    assert order == ["work ends", "stopped"]


@pytest.mark.asyncio
async def test_a_collapse_inside_a_task_group_fails_the_group_and_cancels_its_other_tasks() -> None:
    other = Gate()

    async def live() -> None:
        async with ActorSystem(holder("horn")) as system:
            await other.reached()
            system.lookup("horn", Holder).tell(Fail(error=KeyError("first")))
            await asyncio.sleep(3600)

    waiting: list[asyncio.Task[None]] = []

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(live())
            waiting.append(tasks.create_task(other.hold()))

    with pytest.raises(ExceptionGroup) as caught:
        await group()
    assert [type(error) for error in caught.value.exceptions] == [SystemCollapsed]
    assert waiting[0].cancelled()
