"""Refs: what they tell, how they are copied, and where they can be used."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import Fail, Gate, Handled, Hold, Holder, Note, Recorder, Refuse, Unknown, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    InvalidContext,
    InvalidTimeout,
    Message,
    Refused,
    UnderstudyError,
    Unhandled,
    child,
    handler,
)


class Carry(Message[str]):
    """A ref may be a field of a message."""

    ref: ActorRef[Note]


class Carrier(Actor[Carry]):
    @handler
    async def carry(self, message: Carry) -> str:
        return f"{message.ref.path} says {await message.ref.ask(Note(value=5))}"


class Slow(Actor[Note | Fail]):
    """Goes through the gate on each way up and down."""

    def __init__(self, up: Gate, down: Gate) -> None:
        self.up, self.down = up, down

    async def initialize(self) -> None:
        await self.up.hold()

    async def shutdown(self, reason: object) -> None:
        await self.down.hold()

    @handler
    def note(self, message: Note) -> int:
        return message.value

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error


# What they tell.


@pytest.mark.asyncio
async def test_the_status_follows_the_life_of_the_actor() -> None:
    up, down = Gate(), Gate()
    refs: list[ActorRef[Any]] = []

    class Known(Slow):
        async def initialize(self) -> None:
            refs.append(self.context.ref)
            await super().initialize()

    async with ActorSystem() as system:
        spawning = asyncio.create_task(system.spawn(Known, up, down))
        await up.reached()
        [ref] = refs
        assert ref.status == "starting"
        up.open()
        assert (await spawning).status == "running"
        up.shut()
        ref.tell(Fail(error=ValueError("boom")))
        await down.reached()
        assert ref.status in ("stopping", "restarting")
        down.open()
        await up.reached(2)
        assert ref.status == "restarting"
        up.open()
        await settle()
        assert ref.status == "running"
        down.shut()
        ref.stop()
        await down.reached(2)
        assert ref.status == "stopping"
        down.open()
        await ref.wait_stopped()
        assert ref.status == "stopped"
    assert ref.status == "stopped"


@pytest.mark.asyncio
async def test_path_and_uid_outlive_a_restart() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder).options(name="one"))
        before = (ref.path, ref.uid)
        ref.tell(Fail(error=ValueError("boom")))
        await settle()
        again = system.lookup("one", Holder)
        assert (ref.path, ref.uid) == (again.path, again.uid) == before == ("/user/one", ref.uid)


@pytest.mark.asyncio
async def test_all_refs_of_one_actor_are_equal_and_those_of_its_successor_are_not() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder).options(name="one"))
        assert system.lookup("/user/one", Holder) == ref
        assert {system.lookup("one", Holder): 1}[ref] == 1
        ref.stop()
        await ref.wait_stopped()
        successor = await system.spawn(child(Holder).options(name="one"))
        assert successor != ref
        assert len({ref, successor}) == 2


@pytest.mark.asyncio
async def test_a_ref_shows_its_path() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder).options(name="one"))
        assert "/user/one" in repr(ref)


@pytest.mark.asyncio
async def test_a_ref_travels_in_a_message() -> None:
    async with ActorSystem() as system:
        ref, carrier = await system.spawn(Holder), await system.spawn(Carrier)
        assert await carrier.ask(Carry(ref=ref)) == "/user/holder says 5"


# How they are copied.


@pytest.mark.asyncio
async def test_a_copy_of_a_ref_is_the_ref() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        assert copy.copy(ref) is ref
        assert copy.deepcopy(ref) is ref
        assert copy.deepcopy({"refs": [ref]})["refs"][0] is ref
        message = Carry(ref=ref)
        assert message.model_copy(deep=True).ref is ref
        assert copy.deepcopy(message).ref is ref


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.asyncio
async def test_a_ref_cannot_be_pickled_and_says_so(protocol: int) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        for thing in (ref, [ref], {"ref": ref}):
            with pytest.raises((UnderstudyError, TypeError, pickle.PicklingError), match="/user/holder") as caught:
                pickle.dumps(thing, protocol)
            assert "pickle" in str(caught.value)


# Where they can be used.

USES: dict[str, Callable[[ActorRef[Any]], Any]] = {
    "tell": lambda ref: ref.tell(Note(value=1)),
    "send": lambda ref: ref.send(Note(value=1)),
    "ask": lambda ref: ref.ask(Note(value=1)),
    "stop": lambda ref: ref.stop(),
    "drain": lambda ref: ref.drain(),
    "kill": lambda ref: ref.kill(),
    "wait_stopped": lambda ref: ref.wait_stopped(),
}


async def use(ref: ActorRef[Any], way: str) -> object:
    result = USES[way](ref)
    return await result if asyncio.iscoroutine(result) else result


@pytest.mark.parametrize("way", USES)
@pytest.mark.asyncio
async def test_use_from_another_event_loop_is_a_clear_error_and_does_nothing(way: str) -> None:
    log: list[Any] = []
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, None, log)

        def other_loop() -> object:
            return asyncio.run(use(ref, way))

        with pytest.raises(UnderstudyError, match="event loop"):
            await asyncio.to_thread(other_loop)
        await settle()
        assert log == []
        assert ref.status == "running"
        assert recorder.of("actor_crashed") == []


@pytest.mark.parametrize("way", ["tell", "stop", "drain", "kill"])
@pytest.mark.asyncio
async def test_use_from_a_thread_without_a_loop_is_a_clear_error_and_does_nothing(way: str) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        with pytest.raises(UnderstudyError, match="event loop") as caught:
            await asyncio.to_thread(USES[way], ref)
        if way == "tell":
            assert "tell_threadsafe" in str(caught.value)
        await settle()
        assert log == []
        assert ref.status == "running"


@pytest.mark.asyncio
async def test_a_tell_from_another_thread_is_an_error_also_while_the_actor_is_about_to_work() -> None:
    log: list[Any] = []
    outcomes: list[object] = []

    def tell() -> None:
        try:
            outcomes.append(ref.tell(Note(value=2)))
        except UnderstudyError as error:
            outcomes.append(type(error))

    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        ref.tell(Note(value=1))
        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()  # the event loop stands still meanwhile
        await settle()
        assert outcomes == [InvalidContext]
        assert log == [1]


@pytest.mark.asyncio
async def test_a_ref_whose_loop_is_gone_fails_and_does_not_hang() -> None:
    refs: list[ActorRef[Any]] = []

    async def make() -> None:
        async with ActorSystem() as system:
            refs.append(await system.spawn(Holder))

    def run_two() -> None:
        asyncio.run(make())
        with pytest.raises(UnderstudyError):
            asyncio.run(use(refs[0], "ask"))
        with pytest.raises((UnderstudyError, RuntimeError)):
            refs[0].tell_threadsafe(Note())
        with pytest.raises((UnderstudyError, RuntimeError)):
            refs[0].ask_threadsafe(Note()).result(5)

    await asyncio.to_thread(run_two)


@pytest.mark.asyncio
async def test_tell_threadsafe_delivers_in_order_from_other_threads() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)

        def talk(first: int) -> None:
            for value in range(first, first + 100):
                ref.tell_threadsafe(Note(value=value))

        await asyncio.gather(*(asyncio.to_thread(talk, first) for first in (0, 1_000, 2_000)))
        await settle()
        assert sorted(log) == [*range(100), *range(1_000, 1_100), *range(2_000, 2_100)]
        for first in (0, 1_000, 2_000):
            assert [value for value in log if first <= value < first + 100] == list(range(first, first + 100))


@pytest.mark.asyncio
async def test_tell_threadsafe_to_a_stopped_actor_is_a_dead_letter() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder)
        ref.stop()
        await ref.wait_stopped()
        await asyncio.to_thread(ref.tell_threadsafe, Note(value=1))
        await settle()
        assert [message for message, *_ in recorder.letters] == [Note(value=1)]


@pytest.mark.asyncio
async def test_ask_threadsafe_gives_a_future_for_other_threads() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        seen: list[Any] = []

        def talk() -> None:
            seen.append(ref.ask_threadsafe(Note(value=1)).result(5))
            seen.append(ref.ask_threadsafe(Note(value=2), timeout=math.inf).result(5))
            futures = [ref.ask_threadsafe(Note(value=value)) for value in range(3, 10)]
            seen.extend(future.result(5) for future in futures)

        await asyncio.to_thread(talk)
        assert seen == list(range(1, 10))
        assert await ref.ask(Handled()) == seen


@pytest.mark.parametrize(
    ("message", "expected"),
    [(Refuse(), Refused), (Fail(error=ValueError("boom")), ActorFailed), (Unknown(), Unhandled)],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@pytest.mark.asyncio
async def test_ask_threadsafe_brings_the_error_of_the_ask(message: Any, expected: type[Exception]) -> None:
    async with ActorSystem() as system:
        ref: Any = await system.spawn(Holder)
        with pytest.raises(expected):
            await asyncio.to_thread(lambda: ref.ask_threadsafe(message).result(5))


@pytest.mark.asyncio
async def test_ask_threadsafe_of_a_stopped_actor_fails() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        ref.stop()
        await ref.wait_stopped()
        with pytest.raises(ActorStopped):
            await asyncio.to_thread(lambda: ref.ask_threadsafe(Note()).result(5))


@pytest.mark.real_time
@pytest.mark.asyncio
async def test_ask_threadsafe_has_a_timeout() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, Gate())
        with pytest.raises(AskTimeout):
            await asyncio.to_thread(lambda: ref.ask_threadsafe(Hold(), timeout=0.05).result(5))
        ref.kill()


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "1", True])
@pytest.mark.asyncio
async def test_ask_threadsafe_refuses_a_bad_timeout(timeout: Any) -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        with pytest.raises(InvalidTimeout):
            await asyncio.to_thread(lambda: ref.ask_threadsafe(Note(), timeout=timeout).result(5))
        await settle()
        assert log == []


@pytest.mark.asyncio
async def test_an_ask_threadsafe_that_was_cancelled_while_queued_is_not_started() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, gate, log)
        ref.tell(Hold(value=1))
        await gate.reached()
        future = await asyncio.to_thread(ref.ask_threadsafe, Note(value=2))
        await settle()
        assert await asyncio.to_thread(future.cancel) is True
        await settle()
        gate.open()
        await settle()
        assert log == [1]


@pytest.mark.asyncio
async def test_both_also_work_in_the_thread_of_the_loop() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Holder, None, log)
        ref.tell_threadsafe(Note(value=1))
        assert await asyncio.wrap_future(ref.ask_threadsafe(Note(value=2))) == 2
        assert log == [1, 2]
        assert threading.current_thread() is threading.main_thread()
