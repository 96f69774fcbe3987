"""What went wrong with the queue of an earlier design, and must not again, seen from actors where they show it.

| then | the test here |
|---|---|
| Q1 | test_one_item_wakes_one_of_three_hundred_who_wait |
| Q3 | test_a_message_whose_handling_raises_spoils_nothing_for_the_others, test_an_item_that_raises_... |
| Q4 | test_a_message_from_another_thread_wakes_the_loop_at_once, test_a_tell_from_another_thread_is_refused... |
| Q5 | test_what_goes_by_does_not_start_the_timeout_again |
| Q7 | test_a_cancel_is_not_swallowed_with_a_timeout |
| Q8 | test_closing_cancels_nobody |
| Q9 | test_who_waits_is_seen_and_nobody_spins_on_what_is_closed |
| Q11 | test_overflow_is_seen_by_all_whom_it_concerns, test_messages_are_handled_in_the_order_in_which_they_came |
| Q13 | test_a_timeout_of_zero_is_never_the_default |
| Q14 | test_the_end_of_an_actor_does_not_look_like_a_timeout |
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from typing import Any, Never

import pytest

from tests.cast import Collector, Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    AsyncMessageQueue,
    InvalidContext,
    InvalidTimeout,
    MailboxFull,
    SubscribeDeadLetters,
    child,
    handler,
)
from understudy.mailbox import QueueClosed


def holder(name: str, *args: Any, **options: Any) -> Any:
    return child(Holder, *args).options(name=name, **options)


class Counted:
    """Awaits a coroutine and counts how often that is resumed."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.wakes = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            step = self.coroutine.send(None)
            while True:
                value = yield step
                self.wakes += 1
                step = self.coroutine.send(value)
        except StopIteration as done:
            return done.value


@pytest.mark.asyncio
async def test_one_item_wakes_one_of_three_hundred_who_wait() -> None:
    """Each put woke all who waited: 300 waiters and 300 puts made 45,150 calls of predicates."""
    queue = AsyncMessageQueue[int]()
    waits = [Counted(queue.get()) for _ in range(300)]

    async def wait(counted: Counted) -> int:
        return await counted  # type: ignore[no-any-return]

    tasks = [asyncio.create_task(wait(counted)) for counted in waits]
    await settle()
    assert queue.statistics().getters_waiting == 300

    for number in range(300):
        queue.put_nowait(number)
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == list(range(300))

    assert sum(counted.wakes for counted in waits) == 300


@pytest.mark.asyncio
async def test_a_message_whose_handling_raises_spoils_nothing_for_the_others() -> None:
    """A predicate that raised was evaluated in everybody's put and get, and so failed every consumer."""
    log: list[Any] = []
    async with ActorSystem() as system:
        horn, drum = await system.spawn(holder("horn", None, log)), await system.spawn(holder("drum"))
        asks = [
            asyncio.create_task(horn.ask(message))
            for message in (Note(value=1), Fail(error=KeyError("x")), Note(value=2), Note(value=3))
        ]
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert [results[0], *results[2:]] == [1, 2, 3]
        assert isinstance(results[1], ActorFailed)
        assert log == [1, 2, 3]
        assert await drum.ask(Note(value=4)) == 4
        assert system.statistics().dead_letters == 0


class Touchy:
    """Whoever compares, counts or prints it is sorry."""

    def _raise(self, *_: object) -> Never:
        raise RuntimeError("do not touch")

    __eq__ = __bool__ = __len__ = __iter__ = __repr__ = __str__ = _raise  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Careful(Actor[Touchy | Note]):
    def __init__(self, seen: list[object]) -> None:
        self.seen = seen

    @handler
    def touchy(self, message: Touchy) -> None:
        self.seen.append(type(message))

    @handler
    async def note(self, message: Note) -> int:
        self.seen.append(type(message))
        return message.value


@pytest.mark.asyncio
async def test_an_item_that_raises_when_it_is_looked_at_passes_like_any_other() -> None:
    """Items were compared and tested for truth on their way through the queue."""
    queue = AsyncMessageQueue[Touchy](capacity=2)
    getter = asyncio.create_task(queue.get())
    await settle()
    items = [Touchy(), Touchy(), Touchy()]
    queue.put_nowait(items[0])
    await settle()
    assert getter.done()
    assert getter.result() is items[0]
    queue.put_nowait(items[1])
    await queue.put(items[2])
    with pytest.raises(MailboxFull):
        queue.put_nowait(Touchy())
    assert queue.get_nowait() is items[1]
    assert queue.close(drain=False)[0] is items[2]

    seen: list[object] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Careful, seen)
        assert ref.tell(Touchy())
        assert await ref.ask(Note(value=1)) == 1
        assert seen == [Touchy, Note]
        ref.stop()
        await ref.wait_stopped()
        assert ref.tell(Touchy()) is False
        assert system.statistics().dead_letters == 1
        assert system.statistics().crashed == 0


@pytest.mark.real_time
@pytest.mark.timeout(20)
@pytest.mark.asyncio
async def test_a_message_from_another_thread_wakes_the_loop_at_once() -> None:
    """A put from another thread woke nobody until something else happened in the loop, which could be never."""
    seen: list[Any] = []
    arrived = asyncio.Event()

    class Bell(Actor[Note]):
        @handler
        def ring(self, message: Note) -> int:
            seen.append(message.value)
            arrived.set()
            return message.value

    async with ActorSystem(child(Bell)) as system:
        bell = system.lookup("bell", Bell)
        # From here on nothing happens in this loop unless the thread makes it happen.
        thread = threading.Timer(0.05, lambda: bell.tell_threadsafe(Note(value=7)))
        thread.start()
        await arrived.wait()
        thread.join()
        assert seen == [7]


@pytest.mark.asyncio
async def test_a_tell_from_another_thread_is_refused_before_it_does_harm() -> None:
    """A put from another thread went into the queue's lists without anybody being told."""
    errors: list[BaseException] = []

    async with ActorSystem(holder("horn")) as system:
        horn = system.lookup("horn", Holder)

        def tell() -> None:
            try:
                horn.tell(Note(value=7))
            except InvalidContext as error:
                errors.append(error)

        await asyncio.to_thread(tell)
        assert len(errors) == 1
        assert "tell_threadsafe" in str(errors[0])
        assert await horn.ask(Note(value=1)) == 1
        assert system.statistics().dead_letters == 0


@pytest.mark.asyncio
async def test_what_goes_by_does_not_start_the_timeout_again() -> None:
    """`get(predicate, timeout=0.2)` began its 0.2 seconds anew at each put that did not match."""
    gate = Gate()
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        busy = await system.spawn(holder("busy", gate))
        busy.tell(Hold())
        await gate.reached()

        async def traffic() -> None:
            for value in range(100):
                await asyncio.sleep(0.05)
                busy.tell(Note(value=value))

        noise = asyncio.create_task(traffic())
        begin = loop.time()
        with pytest.raises(AskTimeout):
            await busy.ask(Note(value=-1), timeout=0.2)
        assert loop.time() - begin == pytest.approx(0.2, abs=0.02)

        begin = loop.time()
        with pytest.raises(TimeoutError):
            await busy.wait_stopped(timeout=0.2)
        assert loop.time() - begin == pytest.approx(0.2, abs=0.02)
        noise.cancel()
        gate.open()

    queue = AsyncMessageQueue[int]()
    getters = [asyncio.create_task(queue.get()) for _ in range(10)]
    last = asyncio.create_task(queue.get(timeout=0.2))
    begin = loop.time()
    for number in range(10):  # each is for one that came before
        await asyncio.sleep(0.05)
        if not last.done():
            queue.put_nowait(number)
    assert isinstance(last.exception(), TimeoutError)
    for getter in getters:
        getter.cancel()
    await asyncio.wait(getters)


@pytest.mark.parametrize("wait", ["ask", "send", "wait_stopped", "get", "put"])
@pytest.mark.asyncio
async def test_a_cancel_is_not_swallowed_with_a_timeout(wait: str) -> None:
    """On Python 3.11 a cancel in the tick of the result was swallowed where a timeout was set."""
    gate = Gate()
    async with ActorSystem() as system:
        horn = await system.spawn(holder("horn", gate, mailbox=1))
        queue = AsyncMessageQueue[int](capacity=1)
        if wait == "put":
            queue.put_nowait(0)
        if wait != "ask":
            horn.tell(Hold())
            await gate.reached()
            horn.tell(Note())

        async def live() -> str:
            if wait == "ask":
                await horn.ask(Hold(value=1), timeout=60)
            elif wait == "send":
                await horn.send(Note(), timeout=60)
            elif wait == "wait_stopped":
                await horn.wait_stopped(timeout=60)
            elif wait == "get":
                await queue.get(timeout=60)
            else:
                await queue.put(1, timeout=60)
            return "done"

        waiting = asyncio.create_task(live())
        await settle()
        assert not waiting.done()
        # What it waits for and the cancel, in one tick.
        gate.open()
        if wait == "wait_stopped":
            horn.stop()
        elif wait == "get":
            queue.put_nowait(1)
        elif wait == "put":
            queue.get_nowait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert len(queue) == (1 if wait == "get" else 0)


@pytest.mark.asyncio
async def test_closing_cancels_nobody() -> None:
    """`close(timeout)` cancelled the tasks of those who happened to wait in the queue."""
    gate = Gate()
    async with ActorSystem() as system:
        horn = await system.spawn(holder("horn", gate, mailbox=1))
        horn.tell(Hold())
        await gate.reached()
        horn.tell(Note())
        went_on: list[str] = []

        async def live(name: str, wait: Coroutine[Any, Any, object]) -> None:
            with pytest.raises(ActorStopped):
                await wait
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(1)
            went_on.append(name)

        tasks = [
            asyncio.create_task(live("asker", horn.ask(Note()))),
            asyncio.create_task(live("sender", horn.send(Note()))),
        ]
        await settle()
        horn.stop()
        gate.open()
        await asyncio.gather(*tasks)
        assert sorted(went_on) == ["asker", "sender"]


@pytest.mark.asyncio
async def test_who_waits_is_seen_and_nobody_spins_on_what_is_closed() -> None:
    """Those who waited for a batch were missing in the statistics, and a closed queue made its callers spin."""
    queue = AsyncMessageQueue[int](capacity=1)
    loop: Any = asyncio.get_running_loop()
    ended: list[str] = []

    async def consume() -> None:
        async for _ in queue:
            pass
        ended.append("consumer")

    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    await settle()
    assert queue.statistics().getters_waiting == 3
    queue.close()
    await asyncio.gather(*consumers)
    assert ended == ["consumer"] * 3
    assert queue.statistics().getters_waiting == 0

    turns = 0
    turn = loop._run_once

    def counted() -> None:
        nonlocal turns
        turns += 1
        turn()

    loop._run_once = counted
    with pytest.raises(QueueClosed):
        await queue.get()
    await asyncio.sleep(3600)
    assert turns <= 3

    gate = Gate()
    async with ActorSystem() as system:
        horn = await system.spawn(holder("horn", gate))
        horn.tell(Hold())
        await gate.reached()
        asks = [asyncio.create_task(horn.ask(Note(value=value))) for value in range(5)]
        await settle()
        assert [node.waiting for node in system.tree().walk() if node.name == "horn"] == [5]
        gate.open()
        await asyncio.gather(*asks)


@pytest.mark.asyncio
async def test_overflow_is_seen_by_all_whom_it_concerns() -> None:
    """A full queue dropped messages, or grew, without telling anybody."""
    gate, seen = Gate(), list[Any]()
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        collector = await system.spawn(Collector, seen)
        await system.dead_letters.ask(SubscribeDeadLetters(subscriber=collector))
        horn = await system.spawn(holder("horn", gate, mailbox=2))
        horn.tell(Hold(value=0))
        await gate.reached()

        assert [horn.tell(Note(value=value)) for value in range(1, 5)] == [True, True, False, False]
        with pytest.raises(MailboxFull) as full:
            await horn.send(Note(value=5), timeout=1)
        with pytest.raises(AskTimeout, match="never accepted"):
            await horn.ask(Note(value=6), timeout=1)

        assert full.value.message == Note(value=5)
        await settle()
        assert [letter.message for letter in seen] == [Note(value=3), Note(value=4)]
        assert {letter.why for letter in seen} == {"mailbox full"}
        assert recorder.of("mailbox_full")[0] == ("/user/horn", 2)
        assert system.statistics().dead_letters == 2
        gate.open()


@pytest.mark.asyncio
async def test_messages_are_handled_in_the_order_in_which_they_came() -> None:
    """What was called a priority queue gave the last message first."""
    gate, log = Gate(), list[Any]()
    async with ActorSystem() as system:
        horn = await system.spawn(holder("horn", gate, log))
        horn.tell(Hold(value=-1))
        await gate.reached()
        for value in range(200):
            horn.tell(Note(value=value) if value % 3 else Hold(value=value))
        gate.open()
        await horn.ask(Note(value=200))
    assert log == list(range(-1, 201))


@pytest.mark.asyncio
async def test_a_timeout_of_zero_is_never_the_default() -> None:
    """`timeout=0` was taken for no timeout at all, and waited as long as the default."""
    gate, log = Gate(), list[Any]()
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        horn = await system.spawn(holder("horn", gate, log))
        begin = loop.time()
        for wait in (horn.ask, horn.send):
            with pytest.raises(InvalidTimeout, match="got 0"):
                await wait(Note(value=1), timeout=0)
        for end in (horn.wait_stopped, lambda timeout: horn.drain(timeout)):
            with pytest.raises(InvalidTimeout, match="got 0"):
                await end(timeout=0)  # type: ignore[misc]
        assert loop.time() == begin
        assert horn.status == "running"
        await horn.ask(Note(value=2))
        assert log == [2]

        queue = AsyncMessageQueue[int](capacity=1)
        begin = loop.time()
        with pytest.raises(TimeoutError):
            await queue.get(timeout=0)
        await queue.put(1, timeout=0)
        with pytest.raises(TimeoutError):
            await queue.put(2, timeout=0)
        assert await queue.get(timeout=0) == 1
        assert loop.time() == begin


@pytest.mark.asyncio
async def test_the_end_of_an_actor_does_not_look_like_a_timeout() -> None:
    """The end of a conversation, when it came first, reached those who waited for a message as a timeout."""
    gate = Gate()
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        horn = await system.spawn(holder("horn", gate))
        horn.tell(Hold())
        await gate.reached()
        waiting = [asyncio.create_task(horn.ask(Note(value=value), timeout=60)) for value in range(3)]
        await settle()
        begin = loop.time()
        horn.stop()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        gate.open()
        await horn.wait_stopped()
        with pytest.raises(ActorStopped):
            await horn.ask(Note(), timeout=60)
        assert loop.time() - begin < 0.1
        for error in results:
            assert isinstance(error, ActorStopped)
            assert not isinstance(error, TimeoutError)

    queue = AsyncMessageQueue[int]()
    getter = asyncio.create_task(queue.get(timeout=60))
    await settle()
    queue.close()
    with pytest.raises(QueueClosed):
        await getter
    assert not issubclass(QueueClosed, TimeoutError)
