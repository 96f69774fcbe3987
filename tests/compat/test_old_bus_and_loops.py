"""The old event bus and event loops: before one, inside, after, in several, and in threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.cast import Gate, settle
from understudy import Actor, ActorSystem, Message, handler
from understudy.compat import EventBus
from understudy.testing import VirtualLoop

pytestmark = pytest.mark.filterwarnings("ignore:EventBus is the interface:DeprecationWarning")


def run(main: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def noting(bus: EventBus) -> list[Any]:
    """What the bus delivers to a plain callback."""
    seen: list[Any] = []
    bus.subscribe("*", seen.append)
    return seen


def noting_async(bus: EventBus) -> list[Any]:
    """The same of an `async` one, which waits before it notes."""
    seen: list[Any] = []

    async def note(event: object) -> None:
        await asyncio.sleep(0)
        seen.append(event)

    bus.subscribe("*", note)
    return seen


def test_who_subscribes_before_a_loop_runs_counts_inside_and_after_it() -> None:
    bus = EventBus("session-1")
    plain, later = noting(bus), noting_async(bus)
    bus.publish("before")

    async def main() -> None:
        bus.publish("inside")
        await settle()
        assert plain == later == ["before", "inside"]

    run(main())
    bus.publish("after")
    run(main_again(bus))
    bus.close()

    assert plain == later == ["before", "inside", "after", "in another"]


async def main_again(bus: EventBus) -> None:
    bus.publish("in another")
    await settle()


def test_who_subscribes_in_a_loop_stays_subscribed_after_it() -> None:
    bus = EventBus("session-1")
    seen: list[Any] = []

    async def main() -> None:
        bus.subscribe("*", seen.append)
        bus.publish(1)
        await settle()

    run(main())
    bus.publish(2)
    bus.unsubscribe("*", seen.append)
    bus.publish(3)
    assert seen == [1, 2]


@pytest.mark.parametrize("ticks", range(8))
def test_what_is_published_before_a_loop_ends_is_delivered(ticks: int) -> None:
    """To plain callbacks: what waits in an `async` one is cancelled with all the rest, as ever."""
    bus = EventBus("session-1")
    plain = noting(bus)
    async_ones = [noting_async(bus) for _ in range(5)]

    async def main() -> None:
        bus.publish(1)
        for _ in range(ticks):
            await asyncio.sleep(0)
        bus.publish(2)

    with capture_logs():
        run(main())

    assert plain == [1, 2]
    assert all(seen in ([], [1], [2], [1, 2]) for seen in async_ones)
    bus.publish(3)
    assert plain == [1, 2, 3]
    assert all(seen[-1] == 3 for seen in async_ones)


@pytest.mark.parametrize("ticks", [0, 1, 50])
def test_however_much_is_published_before_a_loop_ends_it_is_delivered(ticks: int) -> None:
    bus = EventBus("session-1")
    seen = noting(bus)

    async def main() -> None:
        for number in range(10_000):
            bus.publish(number)
        for _ in range(ticks):
            await asyncio.sleep(0)
        bus.publish(10_000)

    run(main())
    assert seen == list(range(10_001))


def test_what_a_callback_publishes_while_the_loop_ends_is_delivered() -> None:
    bus = EventBus("session-1")
    seen = noting(bus)

    def chain(event: int) -> None:
        if event < 5:
            bus.publish(event + 1)

    bus.subscribe(int, chain)

    async def main() -> None:
        bus.publish(1)

    run(main())
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("ticks", [0, 1, 3, 10, 100])
def test_what_tasks_publish_in_their_last_lines_is_delivered(ticks: int) -> None:
    bus = EventBus("session-1")
    seen = noting(bus)

    async def live(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(ticks * number):
                await asyncio.sleep(0)
            bus.publish(number)

    async def main() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(live(number)) for number in range(5)]
        await asyncio.sleep(0)
        bus.publish("up")
        return tasks

    run(main())
    assert seen[0] == "up"
    assert sorted(seen[1:]) == [0, 1, 2, 3, 4]


def test_a_bus_that_is_not_closed_leaves_no_task_when_the_loop_has_ended() -> None:
    bus = EventBus("session-1")
    seen = noting(bus)

    async def main() -> None:
        bus.publish(1)
        await settle()
        assert len(asyncio.all_tasks()) > 1

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
        loop = runner.get_loop()
    assert asyncio.all_tasks(loop) == set()
    assert seen == [1]


def test_where_a_loop_stands_still_the_callbacks_are_called_without_it() -> None:
    bus = EventBus("session-1")
    seen = noting_async(bus)

    async def publish(event: int) -> None:
        bus.publish(event)
        await settle()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(publish(1))
        bus.publish(2)
        runner.run(publish(3))
        run_elsewhere = ThreadPoolExecutor(1)
        with run_elsewhere:
            run_elsewhere.submit(lambda: run(publish(4))).result()
        runner.run(publish(5))
        runner.run(bus.close())
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.asyncio
async def test_a_bus_that_is_closed_before_it_has_come_up_delivers_what_was_published() -> None:
    bus = EventBus("session-1")
    plain, later = noting(bus), noting_async(bus)
    bus.publish(1)
    bus.close()
    await settle()
    assert plain == later == [1]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_a_close_may_be_awaited_left_or_given_to_whatever_takes_a_coroutine() -> None:
    seen: list[object] = []
    for use in (lambda closing: closing, asyncio.create_task, asyncio.gather, lambda closing: settle()):
        bus = EventBus("session-1")
        bus.subscribe("*", seen.append)
        bus.publish(1)
        await use(bus.close())
    assert seen == [1, 1, 1, 1]
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_close_may_be_run_where_no_loop_runs() -> None:
    bus = EventBus("session-1")
    run(bus.close())
    assert bus.is_closing


# A loop within a callback


def test_a_callback_that_is_awaited_without_a_loop_may_publish_on_any_bus() -> None:
    bus, other = EventBus("session-1"), EventBus("session-2")
    seen, seen_there = noting(bus), noting(other)

    async def pass_on(event: int) -> None:
        if event < 3:
            bus.publish(event + 1)
            other.publish(event + 10)
            await asyncio.sleep(0)

    bus.subscribe(int, pass_on)
    bus.publish(1)
    assert seen == [1, 2, 3]
    assert seen_there == [11, 12]


def test_a_callback_may_run_a_loop_of_its_own_that_waits_for_events() -> None:
    bus = EventBus("session-1")
    seen: list[str] = []

    async def work() -> None:
        got = asyncio.Event()
        bus.subscribe(str, lambda event: got.set())
        bus.publish("from within")
        await got.wait()
        seen.append("got it")

    bus.subscribe(int, lambda event: run(work()))
    bus.publish(1)
    assert seen == ["got it"]


# Threads


@pytest.mark.asyncio
async def test_what_another_thread_publishes_is_delivered_in_the_loop_of_the_bus() -> None:
    bus = EventBus("session-1")
    threads: list[int] = []
    seen: list[Any] = []

    def note(event: object) -> None:
        threads.append(threading.get_ident())
        seen.append(event)

    bus.subscribe(int, note)
    bus.publish(0)
    await settle()

    def work() -> None:
        for number in range(1, 100):
            bus.publish(number)
        bus.subscribe(str, seen.append)
        bus.publish("a text")

    await asyncio.to_thread(work)
    await settle()
    await bus.close()

    assert [each for each in seen if each != "a text"] == list(range(100))
    assert "a text" in seen
    assert set(threads) == {threading.get_ident()}


def test_threads_without_a_loop_deliver_each_event_once_and_in_order_of_each_thread() -> None:
    bus, seen = EventBus("session-1"), list[tuple[int, int]]()
    bus.subscribe(tuple, seen.append)
    ready = threading.Barrier(4)

    def work(thread: int) -> None:
        ready.wait()
        for number in range(500):
            bus.publish((thread, number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    for thread in range(4):
        assert [number for by, number in seen if by == thread] == list(range(500))
    assert len(seen) == 2000


@pytest.mark.asyncio
async def test_a_thread_may_close_the_bus() -> None:
    bus = EventBus("session-1")
    seen = noting(bus)
    bus.publish(1)
    await settle()
    await asyncio.to_thread(bus.close)
    await settle()
    assert bus.is_closing
    assert seen == [1]
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Within actors


class Publish(Message):
    event: int


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.asyncio
async def test_a_handler_may_publish_and_close(kind: str) -> None:
    bus = EventBus("session-1")
    seen = noting_async(bus)

    class Plain(Actor[Publish]):
        @handler
        def publish(self, message: Publish) -> None:
            bus.publish(message.event)

    class Waiting(Actor[Publish]):
        @handler
        async def publish(self, message: Publish) -> None:
            bus.publish(message.event)
            if message.event == 3:
                await bus.close()

    async with ActorSystem() as system:
        actor = await system.spawn(Plain if kind == "def" else Waiting)
        for number in (1, 2, 3):
            await actor.ask(Publish(event=number))
        await bus.close()
    assert seen == [1, 2, 3]


@pytest.mark.asyncio
async def test_the_deadline_of_an_ask_in_hand_is_not_that_of_the_bus() -> None:
    bus, gate, seen = EventBus("session-1"), Gate(), list[Any]()

    async def held(event: int) -> None:
        await gate.hold()
        seen.append(event)

    bus.subscribe(int, held)

    class Plain(Actor[Publish]):
        @handler
        async def publish(self, message: Publish) -> None:
            bus.publish(message.event)

    async with ActorSystem() as system:
        actor = await system.spawn(Plain)
        await actor.ask(Publish(event=1), timeout=1.0)
        await actor.ask(Publish(event=2), timeout=1.0)
    await asyncio.sleep(60)
    gate.open()
    await bus.close()
    assert seen == [1, 2]
