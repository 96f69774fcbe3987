"""`Supervisor`, `supervisor(...)` and `child(...)`: what is declared, when, under which names, and how it shows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import (
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    settle,
    staged,
    stop_yourself,
)
from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    InvalidActor,
    InvalidContext,
    InvalidSpec,
    Message,
    Settings,
    StartError,
    Supervisor,
    child,
    handler,
    supervisor,
)


class Hello(Message[str]): ...


class Greeter(Actor[Hello]):
    def __init__(self, greeting: str = "hello") -> None:
        self.greeting = greeting

    @handler
    def hello(self, message: Hello) -> str:
        return self.greeting


class HTTPServerPool(Greeter): ...


# Declaration.


@pytest.mark.asyncio
async def test_children_is_called_once_for_each_incarnation_before_initialize_and_without_a_context() -> None:
    order: list[str] = []

    class Above(Supervisor):
        max_restarts = 0

        def __init__(self) -> None:
            order.append("made")

        def children(self) -> list[ChildSpec]:
            order.append("declares")
            with pytest.raises(InvalidContext):
                _ = self.context
            return [part.spec()]

        async def initialize(self) -> None:
            order.append(f"initializes {self.context.path}")
            await asyncio.sleep(0)
            order.append("up")

    part = Part(construct=lambda actor: order.append("child made"))
    async with staged(child(Above)) as stage:
        once = ["made", "declares", "initializes /user/top/above", "up", "child made"]
        assert order == once
        stage["above/player"].tell(Flat(what=boom))
        await settle()
        assert order == once + once


@pytest.mark.asyncio
async def test_no_child_starts_when_initialize_fails() -> None:
    part = Part()

    class Above(Supervisor):
        def initialize(self) -> None:
            raise LookupError

        def children(self) -> list[ChildSpec]:
            return [part.spec()]

    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(Above)
    assert part.starts == 0


@pytest.mark.asyncio
async def test_default_names_are_the_class_in_snake_case_and_numbered() -> None:
    specs = [
        child(Greeter),
        child(HTTPServerPool),
        child(Greeter),
        child(Greeter).options(name="greeter-3"),
        child(Greeter),
    ]
    async with staged(*specs) as stage:
        names = ["greeter", "http_server_pool", "greeter-2", "greeter-3", "greeter-4"]
        for name in names:
            assert await stage.system.lookup(f"top/{name}", Greeter).ask(Hello()) == "hello"
        shown = str(stage.system.tree())
        for name in names:
            assert name in shown


@pytest.mark.asyncio
async def test_the_root_is_named_after_its_class() -> None:
    class CodeIndex(Supervisor):
        def children(self) -> list[ChildSpec]:
            return [child(Greeter, "north").options(name="north")]

    async with ActorSystem(CodeIndex) as system:
        assert system.lookup("/user/code_index/north", Greeter).path == "/user/code_index/north"
        assert await system.lookup("code_index/north", Greeter).ask(Hello()) == "north"


@pytest.mark.asyncio
async def test_a_supervisor_without_children_is_fine() -> None:
    async with ActorSystem(supervisor("empty")) as system:
        assert system.lookup("empty", Supervisor).status == "running"
        await asyncio.sleep(10)


@pytest.mark.asyncio
async def test_a_spec_may_be_used_several_times() -> None:
    spec = child(Greeter, "hi").options(name="same")
    async with ActorSystem(supervisor("root", supervisor("a", spec), supervisor("b", spec))) as system:
        first, second = system.lookup("root/a/same", Greeter), system.lookup("root/b/same", Greeter)
        assert first.uid != second.uid
        assert [await ref.ask(Hello()) for ref in (first, second)] == ["hi", "hi"]


@pytest.mark.asyncio
async def test_keyword_arguments_reach_each_incarnation() -> None:
    async with staged(child(Greeter, greeting="servus")) as stage:
        ref = stage.system.lookup("top/greeter", Greeter)
        assert await ref.ask(Hello()) == "servus"
        ref.kill()
        assert await ref.ask(Hello()) == "servus"


@pytest.mark.asyncio
async def test_actors_spawned_without_a_name_are_numbered_among_their_siblings() -> None:
    async with ActorSystem() as system:
        assert [(await system.spawn(Greeter)).path for _ in range(3)] == [
            "/user/greeter",
            "/user/greeter-2",
            "/user/greeter-3",
        ]
        above = await system.spawn(Part("above").spec())
        below: Any = [await above.ask(Call(what=lambda actor: actor.context.spawn(Greeter))) for _ in range(2)]
        assert [ref.path for ref in below] == ["/user/above/greeter", "/user/above/greeter-2"]
        second = system.lookup("greeter-2", Greeter)
        second.stop()
        await second.wait_stopped()
        again = await system.spawn(Greeter)
        assert again.path not in ("/user/greeter", "/user/greeter-3")


@pytest.mark.asyncio
async def test_a_declared_child_whose_name_initialize_has_given_away_is_a_failed_start() -> None:
    declared, spawned = Part("same"), Part("same")

    class Above(Supervisor):
        async def initialize(self) -> None:
            await self.context.spawn(spawned.spec())

        def children(self) -> list[ChildSpec]:
            return [declared.spec()]

    async with ActorSystem() as system:
        with pytest.raises(StartError, match="same"):
            await system.spawn(Above)
        assert declared.starts == 0
        assert spawned.journal[-1] == "same down"


# Defaults.


class Brief(Actor[Hello]):
    defaults = {"restart": "transient", "shutdown": 2.0, "mailbox": 3, "start_timeout": 4.0}

    @handler
    async def hello(self, message: Hello) -> str:
        await asyncio.sleep(1000)
        return "late"


@pytest.mark.parametrize(("option", "grace"), [({}, 2.0), ({"shutdown": 1.0}, 1.0)])
@pytest.mark.asyncio
async def test_the_class_speaks_louder_than_the_settings_and_the_spec_louder_than_the_class(
    option: dict[str, Any], grace: float
) -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem(settings=Settings(shutdown=3.0)) as system:
        ref = await system.spawn(child(Brief).options(**option))
        ref.tell(Hello())
        await settle()
        began = loop.time()
        ref.stop()
        await ref.wait_stopped()
        assert loop.time() - began == pytest.approx(grace, abs=0.01)


@pytest.mark.asyncio
async def test_the_mailbox_of_the_class_is_used() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Brief)
        ref.tell(Hello())
        await settle()
        assert [ref.tell(Hello()) for _ in range(4)] == [True, True, True, False]
        ref.kill()


def test_a_bad_default_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(InvalidSpec, match="restart"):

        class Bad(Greeter):
            defaults = {"restart": "sometimes"}  # type: ignore[typeddict-item]


# The family.


@pytest.mark.asyncio
async def test_an_actor_knows_its_parent_and_its_children() -> None:
    parent, a, b = Part("parent"), Part("a"), Part("b")
    async with staged(parent.spec()) as stage:
        above = stage["parent"]
        assert await above.ask(Flat(what=lambda actor: actor.context.parent)) == stage.top
        first: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(a.spec())))
        second: Any = await above.ask(Call(what=lambda actor: actor.context.spawn(b.spec())))
        children: Any = await above.ask(Flat(what=lambda actor: actor.context.children))
        assert isinstance(children, tuple)
        assert children == (first, second)
        assert await first.ask(Flat(what=lambda actor: actor.context.parent)) == above
        first.stop()
        await first.wait_stopped()
        assert await above.ask(Flat(what=lambda actor: actor.context.children)) == (second,)


@pytest.mark.asyncio
async def test_a_supervisor_handles_messages_of_its_own_while_it_supervises() -> None:
    class Asks(Message[int]): ...

    class Above(Supervisor[Asks]):
        def children(self) -> list[ChildSpec]:
            return [part.spec()]

        @handler
        async def count(self, message: Asks) -> int:
            await gate()
            return len(self.context.children)

    gate = Gate()
    part = Part()
    async with ActorSystem(Above) as system:
        root = system.lookup("above", Above)
        asked = asyncio.ensure_future(root.ask(Asks()))
        await gate.reached.wait()
        system.lookup("above/player", Player).tell(Flat(what=boom))
        await settle()
        assert part.starts == 2  # while the supervisor is in the middle of a message
        gate.open()
        assert await asked == 1


@pytest.mark.asyncio
async def test_what_a_supervisor_starts_at_run_time_stops_with_it_and_shares_its_budget() -> None:
    guest, own = Part("guest"), Part("own")
    guests: list[ActorRef[Any]] = []

    class Host(Supervisor):
        max_restarts = 1

        def children(self) -> list[ChildSpec]:
            return [own.spec()]

        async def initialize(self) -> None:
            guests.append(await self.context.spawn(guest.spec()))

    async with staged(child(Host).options(restart="temporary")) as stage:
        assert (guest.starts, own.starts) == (1, 1)
        guests[0].tell(Flat(what=boom))
        await settle()
        assert (guest.starts, guests[0].status) == (2, "running")
        stage["host/own"].tell(Flat(what=boom))
        await settle()
        assert stage.system.find("top/host", Host) is None
        assert guests[0].status == "stopped"


# How it shows.


@pytest.mark.asyncio
async def test_the_tree_shows_everybody_as_text_as_mermaid_and_as_json() -> None:
    inner = supervisor("inner", Part("leaf").spec(), Part("other").spec())
    async with staged(inner, Part("beside").spec()) as stage:
        tree = stage.system.tree()
        text = str(tree)
        lines = text.splitlines()
        depth = {}
        for name in ("top", "inner", "leaf", "other", "beside"):
            [line] = [line for line in lines if name in line]
            depth[name] = line.index(name)
        assert depth["top"] < depth["inner"] < depth["leaf"] == depth["other"]
        assert depth["beside"] == depth["inner"]
        for shown in (tree.mermaid(), tree.json()):
            for name in depth:
                assert name in shown
        assert tree.mermaid().split()[0] in ("graph", "flowchart")
        json.loads(tree.json())


@pytest.mark.asyncio
async def test_the_status_follows_the_life_of_an_actor() -> None:
    up, down = Gate(), Gate()
    refs: list[ActorRef[Any]] = []

    def start(actor: Player) -> object:
        refs.append(actor.context.ref)
        return up() if actor.incarnation <= 2 else None

    part = Part(initialize=start, shutdown=lambda actor: down() if actor.incarnation == 2 else None)
    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(part.spec()))
        await up.reached.wait()
        seen = [refs[0].status]
        up.open()
        ref = await spawning
        seen.append(ref.status)
        up._open.clear()
        up.reached.clear()
        ref.tell(Flat(what=boom))
        await up.reached.wait()
        seen.append(ref.status)
        up.open()
        await settle()
        seen.append(ref.status)
        ref.stop()
        await down.reached.wait()
        seen.append(ref.status)
        down.open()
        await ref.wait_stopped()
        seen.append(ref.status)
    assert seen == ["starting", "running", "restarting", "running", "stopping", "stopped"]


@pytest.mark.asyncio
async def test_the_statistics_count_lives_and_deaths() -> None:
    diary = Diary()
    async with ActorSystem(instruments=[diary]) as system:
        before = system.statistics()
        a = await system.spawn(Part("a").spec())
        b = await system.spawn(Part("b").spec(restart="transient"))
        a.tell(Flat(what=boom))
        b.tell(Flat(what=stop_yourself))
        await b.wait_stopped()
        b.tell(Note(number=1))
        await settle()
        after = system.statistics()
    assert after.actors - before.actors == 1
    assert after.stopped - before.stopped == 1
    assert (after.crashed, after.restarted, after.dead_letters, after.abandoned) == (1, 1, 1, 0)
    with pytest.raises((AttributeError, TypeError, ValueError)):
        after.crashed = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "value"), [("restart", "temporary"), ("shutdown", 2.0), ("mailbox", 3), ("start_timeout", 1)]
)
def test_an_option_beside_the_defaults_is_refused_when_the_class_is_made(option: str, value: object) -> None:
    with pytest.raises(InvalidActor, match=rf"Player: {option} = .* say `defaults = {{'{option}': "):
        type("Player", (Actor,), {option: value})


def test_a_method_may_have_the_name_of_an_option() -> None:
    assert type("Player", (Actor,), {"restart": lambda self: None, "mailbox": property(lambda self: 1)}).defaults == {}


def test_a_class_cannot_name_all_its_actors() -> None:
    with pytest.raises(InvalidSpec, match="got 'name'"):
        type("Player", (Actor,), {"defaults": {"name": "everybody"}})
