"""Traps 12 to 29, as far as they are not about tasks and cancels."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import understudy
from tests.cast import in_a_fork
from tests.guarantees.cast_of_supervision import (
    STUBBORN,
    Boom,
    Call,
    Diary,
    Flat,
    Gate,
    Note,
    Part,
    Player,
    boom,
    now,
    settle,
    staged,
)
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorSystem,
    AskCycle,
    AskTimeout,
    Crashed,
    Killed,
    Message,
    Settings,
    StartError,
    handler,
)
from understudy.actors._runtime import Runtime
from understudy.testing._virtual import VirtualLoop

ROOT = Path(__file__).parent.parent.parent

# 12: nested exception groups.


@pytest.mark.asyncio
async def test_12_a_group_of_errors_is_one_failure_and_stays_a_tree() -> None:
    async def fail_in_groups(_: object) -> None:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(inner())
            outer.create_task(fail(LookupError("outer")))

    async def inner() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ValueError("first")))
            group.create_task(fail(KeyError("second")))

    async def fail(error: Exception) -> None:
        raise error

    part = Part()
    async with staged(part.spec(), max_restarts=1) as stage:
        with pytest.raises(ActorFailed) as caught:
            await stage["player"].ask(Call(what=fail_in_groups))
        await settle()
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert group.subgroup(LookupError) is not None
        assert [failures for *_, failures in stage.diary.restarting] == [1]
        assert (part.starts, stage.top.status) == (2, "running")


# 13: the `finally` of an async generator runs later, in another task.


def test_13_run_closes_the_generators_that_were_left_open() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    kept: list[AsyncIterator[int]] = []

    async def take_one(_: object) -> int:
        kept.append(numbers())
        return await anext(kept[0])

    async def main() -> object:
        async with ActorSystem(Part().spec()) as system:
            return await system.lookup("player", Player).ask(Call(what=take_one))

    assert understudy.run(main()) == 1
    assert closed == ["closed"]


# 14: a blocking handler stalls everything, and nothing in the loop can say who it is.


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.real_time
@pytest.mark.asyncio
async def test_14_the_watchdog_names_actor_and_line_during_the_stall(
    kind: type[Call | Flat], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    named = threading.Event()

    def hear(self: Runtime, level: str, event: str, fields: dict[str, Any]) -> None:
        if event == "event loop is blocked" and fields.get("handling") == kind.__name__:
            lines.append(fields)
            named.set()

    monkeypatch.setattr(Runtime, "write_log", hear)
    async with ActorSystem(settings=Settings(watchdog=0.02)) as system:
        ref = await system.spawn(Part().spec())
        await ref.ask(kind(what=lambda actor: named.wait(50)), timeout=50)
    assert lines[0]["actor"] == "/user/player"
    assert lines[0]["at"].startswith(f"{__file__}:")
    assert "named.wait" in lines[0]["source"]


# 15: draining what is ready starves everybody else.


class Tick(Message):
    number: int


class Counter(Actor[Tick]):
    def __init__(self) -> None:
        self.count = 0

    @handler
    def tick(self, message: Tick) -> None:
        self.count += 1


class NeverSuspended(Actor[Tick]):
    def __init__(self) -> None:
        self.count = 0

    @handler
    async def tick(self, message: Tick) -> None:
        self.count += 1


@pytest.mark.parametrize("actor", [Counter, NeverSuspended])
@pytest.mark.asyncio
async def test_15_the_event_loop_has_its_turn_while_a_flooded_actor_works(
    actor: type[Counter | NeverSuspended],
) -> None:
    count = 20_000
    spec = understudy.child(actor).options(mailbox=count)
    async with ActorSystem(settings=Settings(slice_seconds=0.0001)) as system:
        ref: ActorRef[Any] = await system.spawn(spec)
        tick = Tick(number=0)
        for _ in range(count):
            ref.tell(tick)
        drained = asyncio.ensure_future(ref.wait_stopped())
        ref.drain()
        beats = 0
        while not drained.done():
            await asyncio.sleep(0)
            beats += 1
        assert now() == 0
        assert beats >= 20


@pytest.mark.asyncio
async def test_15_a_flooded_actor_leaves_its_neighbours_their_turn() -> None:
    async with ActorSystem(settings=Settings(slice_seconds=10.0)) as system:
        flooded: ActorRef[Any] = await system.spawn(understudy.child(Counter).options(mailbox=20_000))
        order: list[str] = []
        part = Part()
        other = await system.spawn(part.spec())
        tick = Tick(number=0)
        for _ in range(20_000):
            flooded.tell(tick)
        other.tell(Flat(what=lambda actor: order.append("other")))
        flooded_done = asyncio.ensure_future(flooded.wait_stopped())
        flooded.drain()
        flooded_done.add_done_callback(lambda _: order.append("flooded"))
        await flooded_done
        await settle()
        assert order == ["other", "flooded"]  # 64 messages, and then the next


# 16: handlers see the context variables of whoever made the task.

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="untouched")


def read(_: object) -> str:
    return VARIABLE.get()


def write(_: object) -> None:
    VARIABLE.set("by a handler")


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.asyncio
async def test_16_neither_spawner_nor_sender_nor_an_earlier_message_leaks_context_variables(
    kind: type[Call | Flat],
) -> None:
    VARIABLE.set("by the spawner")
    seen: list[str] = []
    part = Part(
        initialize=lambda actor: seen.append(VARIABLE.get()), shutdown=lambda actor: seen.append(VARIABLE.get())
    )
    async with staged(part.spec()) as stage:
        VARIABLE.set("by the sender")
        player = stage["player"]
        assert await player.ask(kind(what=read)) == "untouched"
        await player.ask(kind(what=write))
        assert await player.ask(kind(what=read)) == "untouched"
        player.tell(kind(what=write))
        assert await player.ask(Call(what=read)) == "untouched"
        assert await player.ask(Flat(what=read)) == "untouched"
        player.tell(Flat(what=boom))
        assert await player.ask(kind(what=read)) == "untouched"
    assert seen == ["untouched"] * len(seen)
    assert len(seen) == 4
    assert VARIABLE.get() == "by the sender"


# 17: an ask to oneself hangs to the timeout.


@pytest.mark.asyncio
async def test_17_an_ask_to_oneself_fails_at_once() -> None:
    async def ask_yourself(actor: Actor[Any]) -> object:
        try:
            return await actor.context.ref.ask(Flat(what=read), timeout=1000)
        except AskCycle as cycle:
            return cycle.chain

    part = Part()
    async with staged(part.spec()) as stage:
        chain: Any = await stage["player"].ask(Call(what=ask_yourself))
        assert set(chain) == {"/user/top/player"}
        assert now() == 0
        assert part.starts == 1


@pytest.mark.asyncio
async def test_17_a_circle_is_found_even_when_the_first_asker_has_given_up_long_ago() -> None:
    outcomes: list[object] = []

    async def ask_yourself_late(actor: Actor[Any]) -> None:
        await asyncio.sleep(1.0)
        try:
            outcomes.append(await actor.context.ref.ask(Flat(what=read)))
        except Exception as error:
            outcomes.append(error)

    part = Part()
    async with staged(part.spec()) as stage:
        with pytest.raises(AskTimeout):
            await stage["player"].ask(Call(what=ask_yourself_late), timeout=0.1)
        await asyncio.sleep(10)
        assert [type(outcome) for outcome in outcomes] == [AskCycle]


# 18: a thousand asks leave a thousand timers.


@pytest.mark.asyncio
async def test_18_a_thousand_asks_leave_no_timers_and_never_need_many() -> None:
    loop: Any = asyncio.get_running_loop()
    part = Part()
    async with staged(part.spec()) as stage:
        before = len(loop._scheduled)
        for number in range(1_000):
            assert await stage["player"].ask(Flat(what=lambda actor, number=number: number)) == number
        assert len(loop._scheduled) - before < 10
        gate = Gate()
        asks = [asyncio.ensure_future(stage["player"].ask(Call(what=gate), timeout=100)) for _ in range(1_000)]
        await settle()
        assert len(loop._scheduled) - before < 50
        gate.open()
        await asyncio.gather(*asks)
        await asyncio.sleep(200)
        assert len(loop._scheduled) <= before + 1


# 19: a reply to an ask that is over raises in the replier.


@pytest.mark.parametrize("over", ["timed out", "cancelled"])
@pytest.mark.parametrize("late", ["reply", "error"])
@pytest.mark.asyncio
async def test_19_a_late_reply_raises_nothing_and_is_one_dead_letter(over: str, late: str) -> None:
    gate = Gate()

    async def end_late(_: object) -> str:
        await gate()
        if late == "error":
            raise Boom
        return "late"

    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        asked = asyncio.ensure_future(player.ask(Call(what=end_late), timeout=1.0))
        await gate.reached.wait()
        if over == "cancelled":
            asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled() if over == "cancelled" else isinstance(asked.exception(), AskTimeout)
        assert stage.diary.dead == []
        gate.open()
        await settle()
        if late == "reply":
            assert part.starts == 1
            assert len(stage.diary.dead) == 1
        else:
            assert part.starts == 2
        assert await player.ask(Flat(what=lambda actor: "next")) == "next"


# 20: `asyncio.run` waits for ever for a task that cannot be cancelled.


def test_20_run_ends_although_a_task_of_the_user_resists_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    gates: list[Gate] = []
    tasks: list[asyncio.Task[Any]] = []

    async def resist() -> None:
        gates.append(Gate(resists=STUBBORN))
        await gates[0]()

    async def main() -> str:
        tasks.append(asyncio.create_task(resist(), name="the one that resists"))
        await asyncio.sleep(0.1)
        return "result"

    loop = VirtualLoop()
    assert understudy.run(main(), loop_factory=lambda: loop) == "result"
    assert loop.time() < 20
    assert "the one that resists" in "".join(capsys.readouterr())
    assert loop.is_closed()
    assert not tasks[0].done()
    assert len(gates[0].cancelled_at) > 1


def test_20_run_ends_although_an_actor_resists_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    gates: list[Gate] = []

    async def main() -> None:
        gates.append(Gate(resists=STUBBORN))
        async with ActorSystem(Part().spec()) as system:
            system.lookup("player", Player).tell(Call(what=gates[0]))
            await gates[0].reached.wait()

    loop = VirtualLoop()
    understudy.run(main(), loop_factory=lambda: loop)
    assert loop.time() < 31
    assert "/user/player" in "".join(capsys.readouterr())


def test_20_even_plain_asyncio_run_is_not_held_up_by_an_abandoned_actor() -> None:
    source = """
import asyncio
from understudy import Actor, ActorSystem, Message, Settings, child, handler

class Job(Message): ...

class Stubborn(Actor[Job]):
    @handler
    async def job(self, message: Job) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

async def main():
    async with ActorSystem(child(Stubborn), settings=Settings(shutdown=0.2, abandon_after=0.2)) as system:
        system.lookup("stubborn", Stubborn).tell(Job())
        await asyncio.sleep(0.1)
    print("left", system.abandoned)

asyncio.run(main())
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert "/user/stubborn" in done.stdout
    assert done.stdout.rstrip().endswith("ended")
    assert "was destroyed but it is pending" not in done.stderr


# 21: work in a thread cannot be cancelled.


@pytest.mark.asyncio
async def test_21_an_actor_whose_thread_works_on_can_be_killed_and_the_shutdown_does_not_wait_for_the_thread() -> None:
    release = threading.Event()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        release.wait(30)

    part = Part()
    try:
        async with ActorSystem() as system:
            ref = await system.spawn(part.spec(restart="temporary"))
            other = await system.spawn(Part("other").spec(shutdown=1.0))
            ref.tell(Call(what=lambda actor: asyncio.to_thread(work)))
            other.tell(Call(what=lambda actor: asyncio.to_thread(release.wait, 30)))
            await asyncio.to_thread(begun.wait, 30)
            ref.kill()
            assert await ref.wait_stopped() == Killed()
        assert not release.is_set()
        assert other.status == "stopped"
    finally:
        release.set()


# 22: `gather` leaves siblings running after it raised.


@pytest.mark.parametrize("call", ["gather", "wait_for", "Condition", "create_task", "ensure_future", "shield"])
def test_22_the_core_does_not_use_what_loses_tasks_or_cancels(call: str) -> None:
    core = ROOT / "src" / "understudy"
    pattern = re.compile(rf"(?<!def )\b{call}\((?!\{{)")  # a method of that name, and its name in a text, are no calls
    found = []
    for folder in ("_plans", "actors", "mailbox", "supervision"):
        for file in sorted((core / folder).rglob("*.py")):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if pattern.search(line.split("#")[0]) and "``" not in line:
                    found.append(f"{file.relative_to(core)}:{number}: {line.strip()}")
    assert found == []


# 23: a stored exception pins the locals of the handler.


class Heavy:
    """What a handler has in a local variable when it fails."""


@pytest.mark.parametrize("kind", ["def", "async def", "initialize", "shutdown"])
@pytest.mark.asyncio
async def test_23_what_is_kept_of_a_failure_pins_no_local_variable(kind: str) -> None:
    heavy: list[weakref.ref[Heavy]] = []

    def fail(_: object) -> None:
        local = Heavy()
        heavy.append(weakref.ref(local))
        try:
            raise LookupError("inner")
        except LookupError as inner:
            raise Boom from inner

    async def fail_later(actor: object) -> None:
        local = Heavy()
        heavy.append(weakref.ref(local))
        await asyncio.sleep(0)
        fail(actor)

    diary = Diary()
    errors: list[BaseException] = []
    part = Part(
        initialize=lambda actor: fail_later(actor) if kind == "initialize" and actor.incarnation == 2 else None,
        shutdown=lambda actor: fail_later(actor) if kind == "shutdown" else None,
    )
    async with ActorSystem(instruments=[diary]) as system:
        ref = await system.spawn(part.spec())
        message = Call(what=fail_later) if kind == "async def" else Flat(what=fail if kind == "def" else boom)
        try:
            await ref.ask(message)
        except ActorFailed as error:
            errors.append(error)
        await asyncio.sleep(10)
        part.instances.clear()
        gc.collect()
        assert len(heavy) >= 1
        assert [weak() for weak in heavy] == [None] * len(heavy)
        assert len(diary.crashed) >= 1
        assert len(errors) == 1
        assert isinstance(errors[0].__cause__, Boom)


@pytest.mark.asyncio
async def test_23_the_place_of_a_failure_is_kept_all_the_same() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        with pytest.raises(ActorFailed) as caught:
            await stage["player"].ask(Call(what=boom))
        reason = caught.value.reason
        assert isinstance(reason, Crashed)
        file, line, function = reason.frames[-1]
        assert file.endswith("cast_of_supervision.py")
        assert line > 0
        assert function == "boom"
        assert any("boom" in note for note in caught.value.__notes__)


# 24: a StopIteration cannot be set on a future.


@pytest.mark.parametrize("kind", [Call, Flat])
@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
@pytest.mark.asyncio
async def test_24_a_stop_iteration_reaches_the_asker_wrapped(kind: type[Call | Flat], error: type[Exception]) -> None:
    def exhaust(_: object) -> None:
        raise error("exhausted")

    part = Part()
    async with staged(part.spec()) as stage:
        with pytest.raises(ActorFailed) as caught:
            await stage["player"].ask(kind(what=exhaust))
        assert "exhausted" in f"{caught.value.__cause__!r} {caught.value.__cause__.__cause__!r}"  # type: ignore[union-attr]
        assert await stage["player"].ask(Flat(what=lambda actor: actor.incarnation)) == 2


@pytest.mark.parametrize("where", ["construct", "initialize"])
@pytest.mark.asyncio
async def test_24_a_stop_iteration_in_a_start_is_a_failed_start(where: str) -> None:
    def exhaust(_: object) -> None:
        raise StopIteration("exhausted")

    async with ActorSystem() as system:
        with pytest.raises(StartError):
            await system.spawn(Part(**{where: exhaust}).spec())  # type: ignore[arg-type]


# 25: a forked child has no running loop, but shares the parent's selector.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.asyncio
async def test_25_a_forked_child_finds_the_system_unusable_with_a_clear_error() -> None:
    part = Part()
    async with staged(part.spec()) as stage:
        player = stage["player"]
        told = in_a_fork(
            (
                lambda: player.tell(Note(number=1)),
                lambda: player.stop(),
                lambda: player.kill(),
                lambda: player.ask(Note(number=1)).send(None),
                lambda: player.send(Note(number=1)).send(None),
                lambda: stage.system.spawn(part.spec()).send(None),
            )
        )
        assert len(told) == 6
        for line in told:
            assert re.match(r"(InvalidContext|RuntimeError): .*loop", line), line
        # And the parent works on.
        assert await player.ask(Flat(what=lambda actor: "here")) == "here"
        await settle()
        assert (part.notes, part.starts, player.status) == ([], 1, "running")


# 27: equal deadlines have no order.


@pytest.mark.asyncio
async def test_27_asks_with_the_same_deadline_end_in_the_order_in_which_they_were_made() -> None:
    gate = Gate()
    order: list[int] = []

    async def ask(ref: ActorRef[Any], number: int) -> None:
        with pytest.raises(AskTimeout):
            await ref.ask(Note(number=number), timeout=1.0)
        order.append(number)

    part = Part()
    async with staged(part.spec()) as stage:
        stage["player"].tell(Call(what=gate))
        await gate.reached.wait()
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(ask(stage["player"], number))
        assert order == list(range(100))
        gate.open()


# 29: sets hashed by id() give another order in each process.

ORDER = """
import asyncio, sys
from understudy import Actor, ActorSystem, Instrument, Message, handler, child

class Job(Message): ...
junk = [bytearray(int(sys.argv[1]) * 37 + i) for i in range(200)]
seen = []

class Diary(Instrument):
    def actor_stopped(self, path, reason):
        seen.append(path)

class Worker(Actor[Job]):
    async def shutdown(self, reason):
        await asyncio.sleep(0)

    @handler
    async def job(self, message: Job) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append(f"cancelled {self.context.path}")

async def main():
    async with ActorSystem(instruments=[Diary()]) as system:
        refs = [await system.spawn(child(Worker).options(name=f"w{i}", shutdown="brutal_kill")) for i in range(12)]
        for ref in refs[::2]:
            ref.tell(Job())
        await asyncio.sleep(0.01)

asyncio.run(main())
print(" ".join(seen))
"""


def test_29_the_order_of_cancels_and_ends_is_the_same_in_every_process() -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", ORDER, str(number)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    # The log goes to stdout as well; the order is the last line.
    orders = {process.communicate(timeout=30)[0].strip().splitlines()[-1] for process in running}
    assert len(orders) == 1
    assert "cancelled" in orders.pop()
