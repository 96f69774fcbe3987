"""M8: a wait that can never end fails at once and names the chain; nothing else is taken for one."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.cast import Gate, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Message,
    Reply,
    StartError,
    StreamMessage,
    child,
    handler,
    supervisor,
)

Script = Callable[[Any], Awaitable[object]]


class Do(Message[object]):
    """The handler runs this script with the actor and replies with its result."""

    script: Script


class Node(Actor[Do]):
    def __init__(self, on_start: Script | None = None) -> None:
        self.on_start = on_start

    async def initialize(self) -> None:
        if self.on_start is not None:
            await self.on_start(self)

    @handler
    async def do(self, message: Do) -> object:
        return await message.script(self)


async def done(_actor: Node) -> object:
    return "done"


def ask(ref: ActorRef[Any], script: Script = done, timeout: float | None = 60.0) -> Script:
    """Asks *ref* to run *script*; tells how a circle was named."""

    async def run(_actor: Node) -> object:
        try:
            return await ref.ask(Do(script=script), timeout=timeout)
        except AskCycle as error:
            return ring(error)
        except AskTimeout:
            return "AskTimeout"

    return run


def ask_carelessly(ref: ActorRef[Any], script: Script = done) -> Script:
    async def run(_actor: Node) -> object:
        return await ref.ask(Do(script=script), timeout=60.0)

    return run


def send(ref: ActorRef[Any], script: Script = done) -> Script:
    async def run(_actor: Node) -> object:
        try:
            await ref.send(Do(script=script))
        except AskCycle as error:
            return ring(error)
        return "sent"

    return run


def after(gate: Gate, *scripts: Script) -> Script:
    """Waits at *gate*, then runs the scripts; the result is that of the last."""

    async def run(actor: Node) -> object:
        await gate.hold()
        result = None
        for script in scripts:
            result = await script(actor)
        return result

    return run


def noted(outcomes: dict[str, object], name: str, script: Script) -> Script:
    async def run(actor: Node) -> object:
        outcomes[name] = await script(actor)
        return outcomes[name]

    return run


def ring(error: AskCycle) -> tuple[str, ...]:
    """The names in the circle, from the smallest on."""
    names = [path.rsplit("/", 1)[-1] for path in error.chain]
    assert all(path in str(error) for path in error.chain)
    if len(names) > 1 and names[0] == names[-1]:
        names.pop()
    assert len(set(names)) == len(names)
    smallest = names.index(min(names))
    return (*names[smallest:], *names[:smallest])


async def cast(system: ActorSystem, names: str, mailbox: int = 10) -> list[ActorRef[Any]]:
    return [await system.spawn(child(Node).options(name=name, mailbox=mailbox)) for name in names]


class Watch:
    """Checks that no time has passed."""

    def __init__(self) -> None:
        self.begun = asyncio.get_running_loop().time()

    def at_once(self) -> bool:
        return asyncio.get_running_loop().time() - self.begun < 0.1


# Circles.


@pytest.mark.parametrize("way", ["ask", "tell"])
@pytest.mark.asyncio
async def test_asking_oneself_fails_at_once(way: str) -> None:
    outcomes: dict[str, object] = {}
    ran: list[str] = []

    async def never(_actor: Node) -> object:
        ran.append("run")
        return None

    async with ActorSystem() as system:
        [a] = await cast(system, "a")
        watch = Watch()
        message = Do(script=noted(outcomes, "a", ask(a, never)))
        if way == "ask":
            await a.ask(message)
        else:
            a.tell(message)
            await settle()
        assert outcomes == {"a": ("a",)}
        assert watch.at_once()
        assert ran == []
        assert await a.ask(Do(script=done)) == "done"


@pytest.mark.asyncio
async def test_asking_oneself_through_a_ref_that_was_looked_up_fails_as_well() -> None:
    async def look_up_and_ask(actor: Node) -> object:
        return await ask(actor.context.system.lookup("a", Node))(actor)

    async with ActorSystem() as system:
        [a] = await cast(system, "a")
        assert await a.ask(Do(script=look_up_and_ask)) == ("a",)


@pytest.mark.parametrize("way", ["ask", "tell"])
@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
@pytest.mark.asyncio
async def test_asking_in_a_circle_fails_at_once_where_the_circle_closes(names: str, way: str) -> None:
    outcomes: dict[str, object] = {}
    async with ActorSystem() as system:
        refs = await cast(system, names)
        script = noted(outcomes, "circle", ask(refs[0]))
        for ref in reversed(refs[1:]):
            script = ask(ref, script)
        watch = Watch()
        if way == "ask":
            assert await refs[0].ask(Do(script=script)) == tuple(names)
        else:
            refs[0].tell(Do(script=script))
            await settle()
        assert outcomes == {"circle": tuple(names)}
        assert watch.at_once()


@pytest.mark.asyncio
async def test_a_circle_in_the_middle_of_a_chain_names_only_the_circle() -> None:
    async with ActorSystem() as system:
        a, b, c, d = await cast(system, "abcd")
        script = ask(b, ask(c, ask(d, ask(b))))
        assert await a.ask(Do(script=script)) == ("b", "c", "d")


@pytest.mark.asyncio
async def test_a_circle_that_nobody_catches_is_a_crash_like_any_other() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        a, b = await cast(system, "ab")
        watch = Watch()
        with pytest.raises(ActorFailed) as caught:
            await a.ask(Do(script=ask_carelessly(b, ask_carelessly(a))))
        assert watch.at_once()
        assert caught.value.path == "/user/a"
        inner = caught.value.__cause__
        assert isinstance(inner, ActorFailed)
        assert inner.path == "/user/b"
        assert isinstance(inner.__cause__, AskCycle)
        assert ring(inner.__cause__) == ("a", "b")
        assert [path for path, *_ in recorder.of("actor_crashed")] == ["/user/b", "/user/a"]


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.asyncio
async def test_crossing_asks_give_one_circle_and_the_others_their_replies(names: str, seed: int) -> None:
    # All have a told message in hand when they begin, one after the other, to ask the next in the ring.
    orders: Sequence[Sequence[str]] = list(itertools.permutations(names))
    order = orders[seed * 7 % len(orders)]
    outcomes: dict[str, object] = {}
    async with ActorSystem() as system:
        refs = dict(zip(names, await cast(system, names), strict=True))
        gates = {name: Gate() for name in names}
        for name, following in zip(names, names[1:] + names[:1], strict=True):
            refs[name].tell(Do(script=after(gates[name], noted(outcomes, name, ask(refs[following])))))
        await settle()
        watch = Watch()
        for name in order:
            assert outcomes == {}
            gates[name].open()
            await settle()
        assert outcomes == {name: tuple(names) if name == order[-1] else "done" for name in names}
        assert watch.at_once()


@pytest.mark.parametrize("names", ["ab", "abcde"])
@pytest.mark.asyncio
async def test_crossing_asks_of_one_tick_give_one_circle(names: str) -> None:
    outcomes: dict[str, object] = {}
    gate = Gate()
    async with ActorSystem() as system:
        refs = await cast(system, names)
        for name, ref, following in zip(names, refs, refs[1:] + refs[:1], strict=True):
            ref.tell(Do(script=after(gate, noted(outcomes, name, ask(following)))))
        await gate.reached(len(names))
        watch = Watch()
        gate.open()
        await settle()
        assert sorted(map(str, outcomes.values())) == sorted(["done"] * (len(names) - 1) + [str(tuple(names))])
        assert watch.at_once()


@pytest.mark.asyncio
async def test_crossing_asks_of_handlers_that_are_asked_themselves() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        asked = [
            asyncio.create_task(a.ask(Do(script=after(gate, ask(b))))),
            asyncio.create_task(b.ask(Do(script=after(gate, ask(a))))),
        ]
        await gate.reached(2)
        gate.open()
        assert sorted(map(str, await asyncio.gather(*asked))) == sorted(["done", str(("a", "b"))])


# The asker has given up, the circle is there all the same.


@pytest.mark.asyncio
async def test_a_circle_is_found_after_the_timeout_of_the_asker() -> None:
    outcomes: dict[str, object] = {}
    gate = Gate()
    async with ActorSystem() as system:
        [a] = await cast(system, "a")
        with pytest.raises(AskTimeout):
            await a.ask(Do(script=after(gate, noted(outcomes, "a", ask(a)))), timeout=1.0)
        watch = Watch()
        gate.open()
        await settle()
        assert outcomes == {"a": ("a",)}
        assert watch.at_once()


@pytest.mark.asyncio
async def test_a_circle_through_a_full_mailbox_is_found_after_the_timeout_of_the_asker() -> None:
    outcomes: dict[str, object] = {}
    gate_a, gate_b = Gate(), Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab", mailbox=1)
        with pytest.raises(AskTimeout):
            await a.ask(Do(script=after(gate_a, noted(outcomes, "a", send(b)))), timeout=1.0)
        b.tell(Do(script=after(gate_b, noted(outcomes, "b", ask(a)))))
        await gate_b.reached()
        assert b.tell(Do(script=done))
        gate_b.open()  # b asks a, which is still busy
        await settle()
        assert outcomes == {}
        watch = Watch()
        gate_a.open()  # and a sends to b, which is full
        await settle()
        assert outcomes == {"a": ("a", "b"), "b": "done"}
        assert watch.at_once()


# Sends.


@pytest.mark.parametrize(("first", "second"), list(itertools.product([send, ask], repeat=2)))
@pytest.mark.asyncio
async def test_a_circle_of_full_mailboxes_fails_at_once(first: Any, second: Any) -> None:
    outcomes: dict[str, object] = {}
    gate_a, gate_b = Gate(), Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab", mailbox=1)
        a.tell(Do(script=after(gate_a, noted(outcomes, "a", first(b)))))
        b.tell(Do(script=after(gate_b, noted(outcomes, "b", second(a)))))
        await settle()
        assert a.tell(Do(script=done))
        assert b.tell(Do(script=done))
        watch = Watch()
        gate_a.open()
        await settle()
        assert outcomes == {}
        gate_b.open()
        await settle()
        assert outcomes == {"a": "sent" if first is send else "done", "b": ("a", "b")}
        assert watch.at_once()


@pytest.mark.asyncio
async def test_a_send_to_oneself_fails_only_when_there_is_no_room() -> None:
    async def fill_and_send(actor: Node) -> object:
        me = actor.context.ref
        results = [await send(me)(actor)]
        return (*results, await send(me)(actor))

    async with ActorSystem() as system:
        [a] = await cast(system, "a", mailbox=1)
        watch = Watch()
        assert await a.ask(Do(script=fill_and_send)) == ("sent", ("a",))
        assert watch.at_once()


@pytest.mark.asyncio
async def test_sends_in_a_circle_that_find_room_are_no_circle() -> None:
    gate = Gate()
    outcomes: dict[str, object] = {}
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        a.tell(Do(script=after(gate, noted(outcomes, "a", send(b)))))
        b.tell(Do(script=after(gate, noted(outcomes, "b", send(a)))))
        await gate.reached(2)
        gate.open()
        await settle()
        assert outcomes == {"a": "sent", "b": "sent"}


@pytest.mark.asyncio
async def test_of_two_equal_sends_each_is_waited_for() -> None:
    outcomes: dict[str, object] = {}
    gate_b, ask_b = Gate(), Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab", mailbox=1)

        async def send_twice(actor: Node) -> object:
            return await asyncio.gather(send(b)(actor), send(b)(actor))

        b.tell(Do(script=after(gate_b)))
        await gate_b.reached()
        assert b.tell(Do(script=after(ask_b, noted(outcomes, "b", ask(a)))))
        a_is_asked = asyncio.create_task(a.ask(Do(script=noted(outcomes, "a", send_twice))))
        await settle()
        gate_b.open()
        await ask_b.reached()
        await settle()  # the first send has been accepted, the second waits on
        watch = Watch()
        ask_b.open()
        await settle()
        assert outcomes == {"a": ["sent", "sent"], "b": ("a", "b")}
        assert watch.at_once()
        await a_is_asked


@pytest.mark.asyncio
async def test_a_send_that_was_accepted_is_waited_for_no_longer() -> None:
    outcomes: dict[str, object] = {}
    gate_a, gate_b, hold_a = Gate(), Gate(), Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab", mailbox=1)
        a.tell(Do(script=after(gate_a, noted(outcomes, "send", send(b, noted(outcomes, "b", ask(a)))), after(hold_a))))
        b.tell(Do(script=after(gate_b)))
        await settle()
        assert b.tell(Do(script=done))
        gate_a.open()
        await settle()
        assert outcomes == {}
        gate_b.open()  # b goes on, takes what a sent, and asks a, which is busy with something else
        await settle()
        assert outcomes == {"send": "sent"}
        hold_a.open()
        await settle()
        assert outcomes == {"send": "sent", "b": "done"}


# Spawns.


@pytest.mark.parametrize("by", ["context", "system"])
@pytest.mark.parametrize("way", ["ask", "tell"])
@pytest.mark.asyncio
async def test_a_spawn_whose_initialize_asks_its_spawner_fails_at_once(way: str, by: str) -> None:
    outcomes: list[BaseException] = []

    async def spawn(actor: Node) -> object:
        spawner = actor.context if by == "context" else actor.context.system
        try:
            await spawner.spawn(child(Node, ask_carelessly(actor.context.ref)).options(name="b"))
        except StartError as error:
            outcomes.append(error)
        return None

    async with ActorSystem() as system:
        [a] = await cast(system, "a")
        watch = Watch()
        if way == "ask":
            await a.ask(Do(script=spawn))
        else:
            a.tell(Do(script=spawn))
            await settle()
        assert watch.at_once()
        [error] = outcomes
        assert isinstance(error.__cause__, AskCycle)
        assert ring(error.__cause__) == ("a", "b")
        assert await a.ask(Do(script=done)) == "done"


@pytest.mark.asyncio
async def test_a_circle_through_two_spawns_and_a_third_actor_is_found() -> None:
    async with ActorSystem() as system:
        a, z = await cast(system, "az")

        async def spawn_c(actor: Node) -> object:
            return await actor.context.spawn(child(Node, ask_carelessly(z, ask_carelessly(a))).options(name="c"))

        async def spawn_b(actor: Node) -> object:
            return await actor.context.spawn(child(Node, spawn_c).options(name="b"))

        watch = Watch()
        with pytest.raises(ActorFailed) as caught:
            await a.ask(Do(script=spawn_b))
        assert watch.at_once()
        error: BaseException | None = caught.value
        while error is not None and not isinstance(error, AskCycle):
            error = error.__cause__
        assert error is not None
        assert ring(error) == ("a", "b", "c", "z")


@pytest.mark.asyncio
async def test_a_declared_child_that_asks_its_supervisor_on_its_way_up_fails_at_once() -> None:
    async def ask_parent(actor: Node) -> object:
        return await actor.context.parent.ask(Do(script=done), timeout=60.0)

    async with ActorSystem() as system:
        watch = Watch()
        with pytest.raises(StartError) as caught:
            await system.spawn(supervisor("a", child(Node, ask_parent).options(name="b")))
        assert watch.at_once()
        error: BaseException | None = caught.value
        while error is not None and not isinstance(error, AskCycle):
            error = error.__cause__
        assert error is not None
        assert ring(error) == ("a", "b")


@pytest.mark.asyncio
async def test_a_restarted_child_may_ask_its_parent_on_its_way_up() -> None:
    replies: list[object] = []
    starts: list[int] = []

    async def ask_parent(actor: Node) -> object:
        starts.append(1)
        if len(starts) > 1:
            replies.append(await actor.context.parent.ask(Do(script=done)))
        return None

    async def spawn(actor: Node) -> object:
        return await actor.context.spawn(child(Node, ask_parent).options(name="b"))

    async with ActorSystem() as system:
        [a] = await cast(system, "a")
        b: Any = await a.ask(Do(script=spawn))
        b.kill()
        await settle()
        assert replies == ["done"]
        assert b.status == "running"


@pytest.mark.asyncio
async def test_a_spawn_whose_initialize_tells_its_spawner_is_no_circle() -> None:
    told: list[bool] = []

    async def spawn(actor: Node) -> object:
        me = actor.context.ref

        async def tell(_child: Node) -> object:
            told.append(me.tell(Do(script=done)))
            await me.send(Do(script=done))
            return None

        return (await actor.context.spawn(child(Node, tell).options(name="b"))).path

    async with ActorSystem() as system:
        [a] = await cast(system, "a")
        assert await a.ask(Do(script=spawn)) == "/user/a/b"
        assert told == [True]


# Tasks made in handlers.


async def in_task(awaitable: Awaitable[object]) -> object:
    return await asyncio.ensure_future(awaitable)


async def in_group(awaitable: Awaitable[object]) -> object:
    async def wait() -> object:
        return await awaitable

    async with asyncio.TaskGroup() as group:
        task = group.create_task(wait())
        await asyncio.sleep(0)
    return task.result()


async def gathered(awaitable: Awaitable[object]) -> object:
    [result, _nothing] = await asyncio.gather(awaitable, asyncio.sleep(0))
    return result


@pytest.mark.parametrize("how", [in_task, in_group, gathered])
@pytest.mark.asyncio
async def test_a_task_made_in_the_handler_of_an_ask_counts_as_its_handler(how: Any) -> None:
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        watch = Watch()

        async def self_ask(actor: Node) -> object:
            return await how(ask(a)(actor))

        async def circle(actor: Node) -> object:
            return await how(ask(b, ask(a))(actor))

        assert await a.ask(Do(script=self_ask)) == ("a",)
        assert await a.ask(Do(script=circle)) == ("a", "b")
        assert watch.at_once()


@pytest.mark.asyncio
async def test_a_task_made_in_the_handler_of_a_tell_makes_no_edge_and_its_circle_ends_at_the_deadline() -> None:
    outcomes: dict[str, object] = {}
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        [a] = await cast(system, "a")

        async def self_ask(actor: Node) -> object:
            return await in_task(ask(a, timeout=None)(actor))

        begun = loop.time()
        a.tell(Do(script=noted(outcomes, "a", self_ask)))
        await asyncio.sleep(4)
        assert outcomes == {}
        await asyncio.sleep(4)
        assert outcomes == {"a": "AskTimeout"}
        assert loop.time() - begun < 10
        assert await a.ask(Do(script=done)) == "done"


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.asyncio
async def test_a_task_that_outlives_its_message_makes_no_edge(busy: bool) -> None:
    outcomes: dict[str, object] = {}
    tasks: list[asyncio.Task[object]] = []
    gate, hold = Gate(), Gate()
    async with ActorSystem() as system:
        [a] = await cast(system, "a")

        async def leave_a_task(actor: Node) -> object:
            script = after(gate, noted(outcomes, "task", ask(a)))
            tasks.append(asyncio.ensure_future(script(actor)))  # type: ignore[arg-type]
            await gate.reached()
            return "left"

        assert await a.ask(Do(script=leave_a_task)) == "left"
        if busy:
            a.tell(Do(script=after(hold)))
            await hold.reached()
        gate.open()
        await settle()
        assert outcomes == ({} if busy else {"task": "done"})
        hold.open()
        await settle()
        assert outcomes == {"task": "done"}
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.asyncio
async def test_what_a_task_waits_for_is_no_edge_any_more_when_its_message_has_ended(busy: bool) -> None:
    outcomes: dict[str, object] = {}
    tasks: list[asyncio.Task[object]] = []
    gate, hold = Gate(), Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")

        async def leave_a_task(actor: Node) -> object:
            asking = ask(b, after(gate, noted(outcomes, "b", ask(a))))
            tasks.append(asyncio.ensure_future(asking(actor)))  # type: ignore[arg-type]
            await gate.reached()
            return "left"

        assert await a.ask(Do(script=leave_a_task), timeout=60.0) == "left"
        if busy:
            a.tell(Do(script=after(hold)))
            await hold.reached()
        gate.open()  # b, for which the task waits, asks a, which does not
        await settle()
        assert outcomes == ({} if busy else {"b": "done"})
        hold.open()
        assert await asyncio.gather(*tasks) == ["done"]
        assert outcomes == {"b": "done"}


# Both at once: whatever actors ask of each other, none waits for ever, and no circle is invented.


class Crowd:
    """Actors that ask, and send to, each other at random, and a record of who waits for whom."""

    def __init__(self, seed: int, size: int) -> None:
        self.random = random.Random(seed)
        self.names = [f"n{number}" for number in range(size)]
        self.refs: list[ActorRef[Any]] = []
        self.waiting: Counter[tuple[str, str]] = Counter()
        self.circles = 0
        self.replies = 0

    def script(self, depth: int) -> Script:
        async def run(actor: Node) -> object:
            for _ in range(self.random.randint(0, 3) if depth else 0):
                if self.random.random() < 0.5:
                    await asyncio.sleep(self.random.choice([0, 0, 0.001]))
                await self.turn_to(self.random.choice(self.refs), actor.context.path, depth - 1)
            return "done"

        return run

    async def turn_to(self, target: ActorRef[Any], path: str, depth: int) -> None:
        edge = (path, target.path)
        self.waiting[edge] += 1
        try:
            if self.random.random() < 0.3:
                await target.send(Do(script=self.script(depth)))
            else:
                assert await target.ask(Do(script=self.script(depth)), timeout=60.0) == "done"
            self.replies += 1
        except AskCycle as error:
            self.circles += 1
            chain = list(error.chain)
            if chain[-1] != chain[0]:
                chain.append(chain[0])
            assert path in chain
            assert all(self.waiting[step] for step in itertools.pairwise(chain)), chain
        finally:
            self.waiting[edge] -= 1


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.asyncio
async def test_in_a_crowd_nobody_waits_for_ever_and_every_circle_is_one(seed: int) -> None:
    crowd = Crowd(seed, size=2 + seed % 5)
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        for name in crowd.names:
            crowd.refs.append(await system.spawn(child(Node).options(name=name, mailbox=1 + seed % 3)))
        watch = Watch()
        for _ in range(5):
            asked = [ref.ask(Do(script=crowd.script(3)), timeout=60.0) for ref in crowd.refs]
            assert await asyncio.gather(*asked) == ["done"] * len(crowd.refs)
        await asyncio.sleep(0.5)
        assert asyncio.get_running_loop().time() - watch.begun < 5.0
        assert recorder.of("actor_crashed") == []
        assert crowd.circles > 0
        assert crowd.replies > 0
        assert not +crowd.waiting


# No false alarm.


@pytest.mark.asyncio
async def test_many_who_ask_one_are_no_circle() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        [hub, *others] = await cast(system, "habcdefg", mailbox=100)
        asking = [asyncio.create_task(ref.ask(Do(script=ask(hub, after(gate, done))))) for ref in others]
        await gate.reached()
        await settle()
        gate.open()
        assert await asyncio.gather(*asking) == ["done"] * len(others)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.asyncio
async def test_a_diamond_is_no_circle(turned: bool) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        a, b, c, d = await cast(system, "abcd")

        async def both(actor: Node) -> object:
            ways = [ask(b, ask(d, after(gate, done))), ask(c, ask(d, after(gate, done)))]
            return await asyncio.gather(*(way(actor) for way in (reversed(ways) if turned else ways)))

        asked = asyncio.create_task(a.ask(Do(script=both)))
        await gate.reached()
        await settle()
        gate.open()
        assert await asked == ["done", "done"]


@pytest.mark.asyncio
async def test_asking_each_other_one_after_the_other_is_no_circle() -> None:
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        for _ in range(5):
            assert await a.ask(Do(script=ask(b))) == "done"
            assert await b.ask(Do(script=ask(a))) == "done"

        async def many(actor: Node) -> object:
            return [await ask(b)(actor) for _ in range(5)]

        assert await a.ask(Do(script=many)) == ["done"] * 5


@pytest.mark.asyncio
async def test_asking_one_who_waits_for_somebody_else_is_no_circle() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        a, b, c = await cast(system, "abc")
        first = asyncio.create_task(b.ask(Do(script=ask(c, after(gate, done)))))
        await gate.reached()
        second = asyncio.create_task(a.ask(Do(script=ask(b))))
        await settle()
        assert not second.done()
        gate.open()
        assert await asyncio.gather(first, second) == ["done", "done"]


@pytest.mark.asyncio
async def test_tasks_outside_of_actors_are_in_no_circle() -> None:
    gate = Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")

        async def outside() -> list[object]:
            asked = [a.ask(Do(script=ask(b, after(gate, done)))), b.ask(Do(script=done)), a.ask(Do(script=done))]
            return await asyncio.gather(*asked, a.ask(Do(script=ask(b))))

        asking = [asyncio.create_task(outside()) for _ in range(3)]
        await gate.reached()
        await settle()
        gate.open()
        assert await asyncio.gather(*asking) == [["done"] * 4] * 3


@pytest.mark.asyncio
async def test_a_task_from_outside_that_a_handler_waits_for_makes_no_edge() -> None:
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        outside = asyncio.create_task(b.ask(Do(script=done)))

        async def wait_for_it(_actor: Node) -> object:
            return await outside

        assert await a.ask(Do(script=wait_for_it)) == "done"


@pytest.mark.parametrize("end", ["timeout", "cancel", "scope"])
@pytest.mark.asyncio
async def test_who_has_given_up_waiting_is_in_no_circle(end: str) -> None:
    outcomes: dict[str, object] = {}
    gate, hold = Gate(), Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")

        async def give_up(actor: Node) -> object:
            asking = ask(b, after(gate, noted(outcomes, "b", ask(a))), timeout=1.0 if end == "timeout" else 60.0)
            if end == "timeout":
                assert await asking(actor) == "AskTimeout"
            elif end == "scope":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await asking(actor)
            else:
                task = asyncio.ensure_future(asking(actor))
                await asyncio.sleep(1.0)
                task.cancel()
                await asyncio.wait([task])
            await hold.hold()
            return "gave up"

        if end == "timeout":
            a.tell(Do(script=noted(outcomes, "a", give_up)))
        else:
            asked = asyncio.create_task(a.ask(Do(script=noted(outcomes, "a", give_up)), timeout=60.0))
        await hold.reached()
        if end == "timeout":
            # The ask that b handles has run out, so b can ask only with a fresh message.
            gate.open()
            await settle()
            outcomes.clear()
            b.tell(Do(script=noted(outcomes, "b", ask(a))))
        else:
            gate.open()
        await settle()
        assert "b" not in outcomes
        hold.open()
        await settle()
        assert outcomes == {"a": "gave up", "b": "done"}
        if end != "timeout":
            assert await asked == "gave up"


@pytest.mark.asyncio
async def test_who_has_the_reply_is_in_no_circle() -> None:
    outcomes: dict[str, object] = {}
    hold = Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        a.tell(Do(script=noted(outcomes, "a", after_all(ask(b), after(hold, done)))))
        await hold.reached()
        b.tell(Do(script=noted(outcomes, "b", ask(a))))
        await settle()
        assert outcomes == {}
        hold.open()
        await settle()
        assert outcomes == {"a": "done", "b": "done"}


def after_all(*scripts: Script) -> Script:
    async def run(actor: Node) -> object:
        result = None
        for script in scripts:
            result = await script(actor)
        return result

    return run


@pytest.mark.asyncio
async def test_the_waits_of_a_dead_incarnation_are_in_no_circle() -> None:
    outcomes: dict[str, object] = {}
    gate = Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        a.tell(Do(script=ask(b, after(gate, noted(outcomes, "b", ask(a))))))
        await gate.reached()
        a.kill()
        await settle()
        gate.open()
        await settle()
        assert outcomes == {"b": "done"}


@pytest.mark.asyncio
async def test_after_a_circle_was_refused_nothing_of_it_is_left() -> None:
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        for _ in range(3):
            assert await a.ask(Do(script=ask(b, ask(a)))) == ("a", "b")
            assert await a.ask(Do(script=ask(b))) == "done"
            assert await b.ask(Do(script=ask(a))) == "done"


@pytest.mark.parametrize("ask_first", [False, True])
@pytest.mark.asyncio
async def test_who_waits_for_a_promised_reply_is_in_no_circle(ask_first: bool) -> None:
    outcomes: dict[str, object] = {}
    handles: list[Reply[object]] = []
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")

        async def promise(actor: Node) -> object:
            handles.append(actor.context.reply_later())
            if ask_first:  # a waits for the promised reply, not for this handler
                outcomes["b"] = await ask(a, timeout=1.0)(actor)
            return "not the reply"

        a.tell(Do(script=noted(outcomes, "a", ask(b, promise))))
        await settle()
        if not ask_first:
            b.tell(Do(script=noted(outcomes, "b", ask(a, timeout=1.0))))
        await asyncio.sleep(2.0)
        assert outcomes == {"b": "AskTimeout"}
        assert handles[0].send("the reply")
        await settle()
        assert outcomes == {"a": "the reply", "b": "AskTimeout"}


@pytest.mark.asyncio
async def test_who_has_the_reply_and_not_had_its_turn_yet_is_in_no_circle() -> None:
    outcomes: dict[str, object] = {}
    gate = Gate()
    async with ActorSystem() as system:
        a, b = await cast(system, "ab")
        asked = asyncio.create_task(a.ask(Do(script=ask(b, after(gate, done)))))
        await gate.reached()
        b.tell(Do(script=noted(outcomes, "b", ask(a))))  # handled in the very turn in which b replies to a
        gate.open()
        assert await asked == "done"
        await settle()
        assert outcomes == {"b": "done"}


@pytest.mark.parametrize("way", ["itself", "another"])
@pytest.mark.asyncio
async def test_the_next_part_of_a_stream_is_waited_for_in_a_task_of_the_handler_too(way: str) -> None:
    class Parts(StreamMessage[int]): ...

    class Follow(Message[int]):
        of: Any

    class Reader(Actor[Parts | Follow]):
        other: Any = None

        @handler
        async def parts(self, message: Parts) -> AsyncIterator[int]:
            yield await self.other.ask(Follow(of=None))

        @handler
        async def follow(self, message: Follow) -> int:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.next_part(message.of))
            return task.result()

        async def next_part(self, of: Any) -> int:
            return await anext(of.stream(Parts()))

    class Asking(Reader):
        def __init__(self, other: Any) -> None:
            self.other = other

    async with ActorSystem() as system:
        node = await system.spawn(Reader)
        asking = await system.spawn(Asking, node)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ActorFailed) as failed:
            await node.ask(Follow(of=node if way == "itself" else asking), timeout=60.0)
        assert asyncio.get_running_loop().time() - began < 0.1
        errors: list[BaseException | None] = [failed.value]
        while errors[-1] is not None and not isinstance(errors[-1], AskCycle):
            error = errors[-1]
            errors.append(error.exceptions[0] if isinstance(error, ExceptionGroup) else error.__cause__)
        assert isinstance(errors[-1], AskCycle)
