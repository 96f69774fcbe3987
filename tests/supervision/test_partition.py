"""Partition supervisors: where keys go, what a restart keeps, and changes of the number at run time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import understudy
from tests.cast import Gate, Recorder, settle
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    ChildNotFound,
    ChildSpec,
    InvalidContext,
    InvalidSpec,
    InvalidTimeout,
    Message,
    NameTaken,
    Settings,
    StartError,
    Supervisor,
    SupervisorRef,
    WrongActorType,
    child,
    handler,
    supervisor,
)
from understudy.supervision import (
    Key,
    Partitions,
    PartitionSupervisor,
    partition_of,
    partition_supervisor,
)
from understudy.testing import Faults, Simulation, simulate

"""Whether the runtime hands on what is needed for that."""


class Put(Message):
    key: str
    value: int


class Get(Message[list[int]]):
    key: str


class Who(Message[tuple[str, int]]):
    """Path and incarnation."""


class Hold(Message): ...


class Boom(Message): ...


class Grow(Message):
    """Change the number of partitions from inside."""

    of: Any
    to: int


class Store(Actor[Put | Get | Who | Hold | Boom | Grow]):
    gates: ClassVar[dict[str, Gate]] = {}
    broken: ClassVar[set[int]] = set()
    slow: ClassVar[set[int]] = set()

    def __init__(self, number: int = -1) -> None:
        self.number = number
        self.values: dict[str, list[int]] = {}

    async def initialize(self) -> None:
        if self.number in self.broken:
            raise ValueError(f"no {self.number}")
        if self.number in self.slow:
            await asyncio.sleep(1.0)

    @handler
    def put(self, message: Put) -> None:
        self.values.setdefault(message.key, []).append(message.value)

    @handler
    def get(self, message: Get) -> list[int]:
        return self.values.get(message.key, [])

    @handler
    def who(self, message: Who) -> tuple[str, int]:
        return self.context.path, self.context.incarnation

    @handler
    async def hold(self, message: Hold) -> None:
        await self.gates["the"].hold()

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError("boom")

    @handler
    async def grow(self, message: Grow) -> None:
        await message.of.resize(message.to)


class Stores(PartitionSupervisor):
    partitions = 4
    max_restarts = 100

    def partition(self, number: int) -> ChildSpec:
        return child(Store, number)


@pytest.fixture(autouse=True)
def gate() -> Gate:
    Store.gates["the"] = gate = Gate()
    Store.broken.clear()
    Store.slow.clear()
    return gate


@contextlib.asynccontextmanager
async def stores(
    declared: ChildSpec[Any] | type[Stores] = Stores,
) -> AsyncGenerator[tuple[ActorSystem, Any, Recorder], None]:
    ear = Recorder()
    async with ActorSystem(instruments=[ear]) as system:
        spec: ChildSpec[Any] = declared if isinstance(declared, ChildSpec) else child(declared)
        ref = await system.spawn(spec.options(name="s"))
        yield system, Partitions(ref, Store), ear


def key_for(number: int, count: int) -> str:
    """A key of that partition."""
    return next(key for key in map(str, range(10_000)) if partition_of(key, count) == number)


def names(system: ActorSystem) -> list[str]:
    return [node.name for node in system.tree().walk() if node.path.startswith("/user/s/")]


# Where keys go


class Colour(Enum):
    RED = 1
    BLUE = 2


class Grade(IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: str


plain_keys = st.text() | st.binary() | st.integers() | st.sampled_from(Colour)
keys = st.recursive(plain_keys, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def test_where_keys_go_never_changes() -> None:
    # These numbers are a promise: other processes, other versions, yesterday's and tomorrow's.
    known: list[Key] = ["anna", "", "ß", b"anna", 0, -1, 10**40, Colour.RED, ("anna", 1), (), (("a",), b"b")]
    assert [partition_of(key, 1000) for key in known] == [66, 425, 299, 420, 316, 285, 85, 530, 937, 424, 742]


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_another_process_with_another_hash_seed_agrees(seed: str) -> None:
    program = (
        "from understudy.supervision._partition import partition_of\n"
        "print([partition_of(('user', n, b'x'), 7) for n in range(50)])"
    )
    path = str(Path(understudy.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str([partition_of(("user", n, b"x"), 7) for n in range(50)])


@given(keys, st.integers(1, 2000))
def test_a_key_has_one_of_the_partitions(key: Key, count: int) -> None:
    assert 0 <= partition_of(key, count) < count


@given(keys, st.integers(1, 500), st.integers(0, 50))
def test_from_fewer_to_more_a_key_stays_or_goes_to_a_new_one(key: Key, count: int, more: int) -> None:
    before, after = partition_of(key, count), partition_of(key, count + more)
    assert after == before or after >= count


@pytest.mark.parametrize("count", [2, 3, 8, 10, 64])
def test_the_shares_of_the_partitions_are_about_equal(count: int) -> None:
    number = 20_000
    shares = Counter(partition_of(f"user-{n}", count) for n in range(number))
    expected = number / count
    assert all(abs(shares[each] - expected) < 6 * expected**0.5 for each in range(count))


@given(keys, keys)
def test_keys_have_the_same_bytes_only_if_they_are_equal(one: Key, other: Key) -> None:
    # Among very many partitions two different keys never meet, unless they are taken for the same.
    assert (partition_of(one, 2**40) == partition_of(other, 2**40)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (Grade.ONE, 1), (Point(1, "a"), (1, "a")), (("a", True), ("a", 1))]
)
def test_equal_keys_of_different_types_have_the_same_partition(one: Key, other: Key) -> None:
    assert one == other
    assert partition_of(one, 2**40) == partition_of(other, 2**40)


@pytest.mark.parametrize("key", [1.0, None, object(), [1], {"a": 1}, bytearray(b"a"), ("a", None), frozenset({1})])
def test_a_key_whose_hash_no_other_process_knows_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match=r"a key must be a str, bytes, an int, a member of an enumeration or a tuple"):
        partition_of(key, 4)


# Declaring


@pytest.mark.parametrize("count", [0, -1, True, 2.0, "3", None])
def test_a_bad_number_is_refused_at_declaration(count: Any) -> None:
    with pytest.raises(InvalidSpec, match="partitions must be an int from 1 up"):
        partition_supervisor("s", child(Store), partitions=count)
    with pytest.raises(InvalidSpec, match="partitions must be an int from 1 up"):
        type("Bad", (PartitionSupervisor,), {"partitions": count})


def test_what_does_not_fit_a_partition_is_refused_at_declaration() -> None:
    with pytest.raises(InvalidSpec, match="partitions are named after their numbers"):
        partition_supervisor("s", child(Store).options(name="store"), partitions=2)
    with pytest.raises(InvalidSpec, match="restart must be 'permanent' or 'transient'"):
        partition_supervisor("s", child(Store).options(restart="temporary"), partitions=2)
    with pytest.raises(InvalidSpec, match=r"partition must be a child"):
        partition_supervisor("s", Store, partitions=2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSpec, match=r"options are partitions, strategy, .*, got 'colour'"):
        partition_supervisor("s", child(Store), partitions=2, colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(InvalidSpec, match="children are its partitions: define `partition"):
        type("Bad", (Stores,), {"children": Supervisor.children})


@pytest.mark.asyncio
async def test_a_supervisor_that_does_not_say_how_many_or_which_does_not_start() -> None:
    class Nothing(PartitionSupervisor): ...

    class Mixed(PartitionSupervisor):
        partitions = 2

        def partition(self, number: int) -> ChildSpec:
            return child(Store) if number else child(Supervisor)

    async with ActorSystem() as system:
        with pytest.raises(StartError, match="partitions must be an int from 1 up, got None"):
            await system.spawn(Nothing)
        with pytest.raises(StartError, match="actor must be Supervisor, as that of the others"):
            await system.spawn(Mixed)


@pytest.mark.asyncio
async def test_partitions_are_children_named_after_their_numbers() -> None:
    async with stores() as (system, carts, _):
        assert names(system) == ["0", "1", "2", "3"]
        assert carts.partitions == 4
        assert [await ref.ask(Who()) for ref in carts.refs] == [(f"/user/s/{number}", 1) for number in range(4)]
        assert isinstance(carts, SupervisorRef)
        assert (await carts.count_children()).active == 4


@pytest.mark.asyncio
async def test_an_instance_may_say_how_many() -> None:
    class Some(Stores):
        def __init__(self, count: int) -> None:
            self.partitions = count

    async with stores(child(Some, 3)) as (system, _, _):
        assert names(system) == ["0", "1", "2"]


@pytest.mark.asyncio
async def test_partitions_can_be_declared_in_line() -> None:
    tree = supervisor("shop", partition_supervisor("s", child(Store), partitions=3, max_restarts=0))
    async with ActorSystem(tree) as system:
        ref = Partitions(system.lookup("shop/s"), Store)
        assert ref.partitions == 3
        ref.route("a").tell(Put(key="a", value=1))
        assert await ref.route("a").ask(Get(key="a")) == [1]


@pytest.mark.asyncio
async def test_refs_of_something_else_are_refused() -> None:
    async with stores() as (system, carts, _):
        with pytest.raises(WrongActorType, match="a partition of /user/s is a Store, not a Supervisor"):
            Partitions(carts, Supervisor)
        with pytest.raises(WrongActorType, match="/user/s/0 is a Store, not a PartitionSupervisor"):
            Partitions(system.lookup("s/0"), Store)
        carts.stop()
        await carts.wait_stopped()
        with pytest.raises(ActorStopped):
            Partitions(carts, Store)
        with pytest.raises(ActorStopped):
            carts.route("a")
        with pytest.raises(ActorStopped):
            await carts.resize(8)


# Routing


@pytest.mark.asyncio
async def test_a_key_has_the_same_partition_each_time() -> None:
    async with stores() as (_, carts, _):
        for value in range(3):
            for key in "abcdefgh":
                carts.route(key).tell(Put(key=key, value=value))
        for key in "abcdefgh":
            assert await carts.route(key).ask(Get(key=key)) == [0, 1, 2]
            assert carts.route(key) == carts.refs[partition_of(key, 4)]


@pytest.mark.asyncio
async def test_a_crash_of_a_partition_keeps_its_ref_and_its_messages_and_spares_the_others() -> None:
    async with stores() as (_, carts, _):
        refs = carts.refs
        refs[1].tell(Boom())
        refs[1].tell(Put(key="a", value=1))
        assert await refs[1].ask(Get(key="a")) == [1]
        assert [(await ref.ask(Who()))[1] for ref in refs] == [1, 2, 1, 1]
        assert carts.refs == refs


@pytest.mark.asyncio
async def test_a_restart_of_the_supervisor_keeps_the_identities_and_messages_wait() -> None:
    async with stores() as (_, carts, _):
        refs = carts.refs
        carts.kill()
        await settle()
        assert carts.refs == refs
        carts.kill()
        assert carts.route("a").tell(Put(key="a", value=1))  # in the middle of it
        assert await carts.route("a").ask(Get(key="a")) == [1]
        assert [(await ref.ask(Who()))[1] for ref in refs] == [3, 3, 3, 3]


@pytest.mark.asyncio
async def test_a_partition_that_was_deleted_is_missed_by_name() -> None:
    async with stores() as (_, carts, _):
        key = key_for(2, 4)
        await carts.terminate_child("2")
        with pytest.raises(ActorStopped):
            await carts.route(key).ask(Who())
        await carts.delete_child("2")
        with pytest.raises(ChildNotFound, match="child '2' of /user/s does not exist"):
            carts.route(key)


# Resizing


@pytest.mark.asyncio
async def test_more_partitions_take_their_keys_and_leave_the_others_alone() -> None:
    async with stores() as (system, carts, _):
        before = {key: carts.route(key) for key in map(str, range(200))}
        await carts.resize(6)
        assert names(system) == [str(number) for number in range(6)]
        assert carts.partitions == 6
        moved = {key for key, ref in before.items() if carts.route(key) != ref}
        assert {carts.route(key).path[-1] for key in moved} == {"4", "5"}
        assert 30 < len(moved) < 110
        assert await carts.refs[5].ask(Who()) == ("/user/s/5", 1)


@pytest.mark.asyncio
async def test_partitions_that_are_up_as_soon_as_they_are_made_are_not_waited_for() -> None:
    class Bare(Actor[Who]):
        @handler
        def who(self, message: Who) -> tuple[str, int]:
            return self.context.path, self.context.incarnation

    async with ActorSystem(settings=Settings(slice_seconds=60.0)) as system:
        ref = await system.spawn(partition_supervisor("s", child(Bare), partitions=2))
        carts = Partitions(ref, Bare)
        async with asyncio.timeout(1.0):
            await carts.resize(3)
        assert await carts.refs[2].ask(Who()) == ("/user/s/2", 1)


@pytest.mark.asyncio
async def test_keys_go_to_new_partitions_only_when_all_are_up() -> None:
    Store.slow.update({4, 5})
    async with stores() as (_, carts, _):
        resize = asyncio.create_task(carts.resize(6))
        await asyncio.sleep(1.5)  # 4 is up
        assert carts.partitions == 4
        assert {carts.route(key).path[-1] for key in map(str, range(100))} == {"0", "1", "2", "3"}
        with pytest.raises(InvalidContext, match="is being resized already"):
            await carts.resize(2)
        await resize
        assert carts.partitions == 6
        await carts.resize(2)


@pytest.mark.asyncio
async def test_fewer_partitions_handle_what_they_have_and_end(gate: Gate) -> None:
    async with stores() as (system, carts, ear):
        refs = carts.refs
        refs[3].tell(Hold())
        for value in range(10):
            refs[3].tell(Put(key="a", value=value))
        await gate.reached()
        resize = asyncio.create_task(carts.resize(2))
        await asyncio.sleep(10.0)
        # It waits for the one that is busy; keys have left already.
        assert (resize.done(), carts.partitions, names(system)) == (False, 2, ["0", "1", "3"])
        assert {carts.route(key) for key in map(str, range(100))} == {refs[0], refs[1]}
        # Nothing is lost in silence: who has kept the ref is told.
        assert not refs[3].tell(Put(key="a", value=10))
        with pytest.raises(ActorStopped):
            await refs[3].send(Put(key="a", value=11))
        gate.open()
        await resize
        assert names(system) == ["0", "1"]
        assert [getattr(letter[0], "value", None) for letter in ear.letters] == [
            10,
            11,
        ]  # and all the others were handled
        assert (await carts.count_children()).specs == 2


@pytest.mark.asyncio
async def test_what_is_not_handled_in_time_becomes_dead_letters(gate: Gate) -> None:
    async with stores() as (system, carts, ear):
        last = carts.refs[3]
        last.tell(Hold())
        last.tell(Put(key="a", value=1))
        await gate.reached()
        await carts.resize(3, timeout=2.0)
        assert names(system) == ["0", "1", "2"]
        assert sorted(type(letter[0]).__name__ for letter in ear.letters) == ["Hold", "Put"]


@pytest.mark.asyncio
async def test_a_partition_that_goes_does_not_wait_for_its_restart_when_it_has_nothing_to_do() -> None:
    spec = partition_supervisor("s", child(Store).options(backoff=lambda _: 1000.0), partitions=2)
    async with stores(spec) as (_, carts, _):
        carts.refs[1].kill()
        await settle()
        assert carts.refs[1].status == "restarting"
        await asyncio.wait_for(carts.resize(1), 1.0)


@pytest.mark.asyncio
async def test_there_and_back_the_new_partitions_are_new_actors() -> None:
    async with stores() as (system, carts, _):
        old = carts.refs[3]
        old.tell(Put(key="a", value=1))
        await carts.resize(1)
        await carts.resize(4)
        assert names(system) == ["0", "1", "2", "3"]
        assert carts.refs[3] != old
        assert await carts.refs[3].ask(Get(key="a")) == []
        await carts.resize(4)
        assert carts.partitions == 4


@pytest.mark.asyncio
async def test_who_grows_while_one_of_that_name_still_goes_waits_for_its_end(gate: Gate) -> None:
    async with stores() as (_, carts, _):
        old = carts.refs[3]
        old.tell(Hold())
        await gate.reached()
        shrink = asyncio.create_task(carts.resize(3))
        await settle()
        shrink.cancel()
        grow = asyncio.create_task(carts.resize(5))
        await settle()
        assert (shrink.cancelled(), grow.done(), carts.partitions) == (True, False, 3)
        gate.open()
        await grow
        assert carts.partitions == 5
        assert carts.refs[3] != old


@pytest.mark.asyncio
async def test_a_new_partition_that_does_not_start_leaves_everything_as_it_was() -> None:
    Store.broken.add(6)
    async with stores() as (system, carts, ear):
        with pytest.raises(StartError, match=r"/user/s/6 did not start: ValueError: no 6"):
            await carts.resize(8)
        assert (carts.partitions, names(system)) == (4, ["0", "1", "2", "3"])
        assert [path for path, _ in ear.of("actor_stopped")] == ["/user/s/5", "/user/s/4"]
        Store.broken.clear()
        await carts.resize(8)
        assert carts.partitions == 8


@pytest.mark.asyncio
async def test_a_resize_that_is_cancelled_leaves_nothing_of_the_new_ones() -> None:
    Store.slow.add(5)
    async with stores() as (system, carts, _):
        resize = asyncio.create_task(carts.resize(8))
        await settle()
        resize.cancel()
        await settle()
        assert resize.cancelled()
        assert (carts.partitions, names(system)) == (4, ["0", "1", "2", "3"])
        await carts.resize(5)


@pytest.mark.asyncio
async def test_the_end_of_the_supervisor_ends_a_resize() -> None:
    Store.slow.add(5)
    async with stores() as (system, carts, _):
        resize = asyncio.create_task(carts.resize(8))
        await settle()
        carts.stop()
        with pytest.raises((StartError, ActorStopped)):
            await resize
        await carts.wait_stopped()
        assert names(system) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [0, True, 1.5])
async def test_a_bad_resize_is_refused(count: Any) -> None:
    async with stores() as (_, carts, _):
        with pytest.raises(InvalidSpec, match="partitions must be an int from 1 up"):
            await carts.resize(count)
        with pytest.raises(InvalidTimeout):
            await carts.resize(2, timeout=-1)
        assert carts.partitions == 4


@pytest.mark.asyncio
async def test_a_name_that_somebody_has_taken_is_left_alone() -> None:
    async with stores() as (_, carts, _):
        other = await carts.start_child(child(Store).options(name="5"))
        with pytest.raises(NameTaken):
            await carts.resize(6)
        assert (carts.partitions, other.status) == (4, "running")


@pytest.mark.asyncio
async def test_a_partition_cannot_wait_for_its_own_end() -> None:
    async with stores() as (_, carts, ear):
        carts.refs[3].tell(Grow(of=carts, to=2))
        await settle()
        [(path, reason, _)] = ear.of("actor_crashed")
        assert path == "/user/s/3"
        assert isinstance(reason.error, AskCycle)
        assert carts.partitions == 4
        carts.refs[0].tell(Grow(of=carts, to=2))
        await settle()
        assert carts.partitions == 2


@pytest.mark.asyncio
async def test_the_number_and_all_identities_survive_restarts_of_the_supervisor() -> None:
    async with stores() as (system, carts, _):
        for count in (7, 2, 3):
            await carts.resize(count)
            refs = carts.refs
            carts.kill()
            await settle()
            assert carts.refs == refs
            assert (carts.partitions, len(names(system))) == (count, count)
            assert all(ref.status == "running" for ref in refs)


@pytest.mark.asyncio
async def test_a_partition_that_was_added_is_restarted_like_the_others() -> None:
    async with stores() as (_, carts, _):
        await carts.resize(6)
        carts.refs[5].tell(Boom())
        assert await carts.refs[5].ask(Who()) == ("/user/s/5", 2)
        await carts.terminate_child("5")
        assert await (await carts.restart_child("5")).ask(Who()) == ("/user/s/5", 1)


@pytest.mark.asyncio
async def test_one_for_all_concerns_those_that_were_added_too() -> None:
    class Together(Stores):
        strategy = "one_for_all"

    async with stores(Together) as (_, carts, _):
        await carts.resize(6)
        carts.refs[0].tell(Boom())
        await settle()
        assert [(await ref.ask(Who()))[1] for ref in carts.refs] == [2] * 6


# Under many schedules


@simulate(schedules=40, faults=Faults(stall=0.01))
async def test_no_message_is_lost_in_silence_while_the_number_changes(sim: Simulation) -> None:
    """Each message is handled where its key belongs, or its sender is told that it was not."""
    handled: list[tuple[int, int]] = []

    class Count(Message):
        number: int

    class Counter(Actor[Count]):
        def __init__(self, number: int) -> None:
            self.number = number

        @handler
        async def count(self, message: Count) -> None:
            if message.number % 3 == 0:
                await asyncio.sleep(0.001)
            handled.append((message.number, self.number))

    class Counters(PartitionSupervisor):
        partitions = 2

        def partition(self, number: int) -> ChildSpec:
            return child(Counter, number)

    ref = Partitions(await sim.system.spawn(Counters), Counter)
    accepted: list[int] = []

    async def send(numbers: range) -> None:
        for number in numbers:
            if ref.route(number).tell(Count(number=number)):
                accepted.append(number)
            await asyncio.sleep(0)

    async def resize() -> None:
        for _ in range(3):
            await ref.resize(sim.random.randint(1, 5))

    async with asyncio.TaskGroup() as group:
        group.create_task(send(range(20)))
        group.create_task(send(range(20, 40)))
        group.create_task(resize())
    await sim.quiesce()
    assert sorted(number for number, _ in handled) == sorted(accepted)
    # Routing is never behind: whom it names accepts.
    assert len(accepted) == 40
    assert len(await ref.which_children()) == ref.partitions


def a_routed_ref_takes_what_the_partition_takes(ref: ActorRef[Any]) -> None:
    carts = Partitions(ref, Store)
    carts.route("a").tell(Put(key="a", value=1))
    carts.route("a").tell("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
