"""What went wrong with the queue of an earlier design, and must not again, seen from actors where they show it.

| then | the test here |
|---|---|
| Q1 | test_one_item_wakes_one_of_three_hundred_who_wait, test_three_hundred_who_choose_are_asked_... |
| Q2 | test_a_put_asks_none_of_a_thousand_who_wait_for_..., test_what_is_taken_from_the_middle_is_not_looked_for |
| Q3 | test_a_message_whose_handling_raises_..., test_an_item_that_raises_..., test_a_predicate_that_raises_... |
| Q4 | test_a_message_from_another_thread_..., test_a_put_from_another_thread_..., test_a_tell_from_... |
| Q5 | test_what_goes_by_does_not_start_the_timeout_again, test_what_is_refused_does_not_start_the_timeout_again |
| Q6 | test_a_batch_that_is_cancelled_or_fails_loses_nothing |
| Q7 | test_a_cancel_is_not_swallowed_with_a_timeout |
| Q8 | test_closing_cancels_nobody |
| Q9 | test_who_waits_is_seen_and_nobody_spins_on_what_is_closed, test_who_waits_for_a_batch_is_seen_... |
| Q10 | test_nothing_that_follows_a_put_can_make_it_fail |
| Q11 | test_overflow_is_seen_by_all_whom_it_concerns, test_each_item_that_a_policy_drops_..., test_messages_are_... |
| Q12 | test_a_priority_queue_does_all_that_a_queue_does_and_is_first_in_first_out_among_equals |
| Q13 | test_a_timeout_of_zero_is_never_the_default |
| Q14 | test_the_end_of_an_actor_does_not_look_like_a_timeout |
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
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
from understudy.mailbox import PriorityMessageQueue, QueueClosed, QueueFull


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


@pytest.mark.parametrize("wait", ["ask", "send", "wait_stopped", "get", "get(predicate)", "get_batch", "put"])
@pytest.mark.asyncio
async def test_a_cancel_is_not_swallowed_with_a_timeout(wait: str) -> None:
    """On Python 3.11 a cancel in the tick of the result was swallowed where a timeout was set."""
    gets: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "get": lambda: queue.get(timeout=60),
        "get(predicate)": lambda: queue.get(bool, timeout=60),
        "get_batch": lambda: queue.get_batch(5, linger=1, timeout=60),
    }
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
            elif wait in gets:
                await gets[wait]()
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
        elif wait in gets:
            queue.put_nowait(1)
        elif wait == "put":
            queue.get_nowait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert len(queue) == (1 if wait in gets else 0)


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
        with pytest.raises(TimeoutError):
            await queue.get(bool, timeout=0)
        with pytest.raises(TimeoutError):
            await queue.get_batch(2, min_items=2, linger=5, timeout=0)
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
    getters: list[asyncio.Task[Any]] = [
        asyncio.create_task(queue.get(timeout=60)),
        asyncio.create_task(queue.get(bool, timeout=60)),
        asyncio.create_task(queue.get_batch(3, min_items=3, timeout=60)),
    ]
    await settle()
    queue.close()
    for getter in getters:
        with pytest.raises(QueueClosed):
            await getter
    assert not issubclass(QueueClosed, TimeoutError)


# The queue as a primitive of its own


class Chooser:
    """A predicate that counts how often it is called."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.calls = 0

    def __call__(self, item: int) -> bool:
        self.calls += 1
        return item == self.wanted


@pytest.mark.asyncio
async def test_three_hundred_who_choose_are_asked_once_about_each_item() -> None:
    """Each put woke all who waited, and waking just one woke the wrong one."""
    queue = AsyncMessageQueue[int]()
    choosers = [Chooser(number) for number in range(300)]
    waits = [Counted(queue.get(chooser)) for chooser in choosers]

    async def wait(counted: Counted) -> int:
        return await counted  # type: ignore[no-any-return]

    tasks = [asyncio.create_task(wait(counted)) for counted in waits]
    await settle()
    for number in range(300):  # each is for the one who has waited longest
        queue.put_nowait(number)

    assert await asyncio.gather(*tasks) == list(range(300))
    assert sum(chooser.calls for chooser in choosers) == 300
    assert sum(counted.wakes for counted in waits) == 300


@pytest.mark.asyncio
async def test_a_put_asks_none_of_a_thousand_who_wait_for_other_keys() -> None:
    """A put that was for none of 1,000 who waited took milliseconds."""
    queue = AsyncMessageQueue[int](key=lambda item: item)
    choosers = [Chooser(number) for number in range(1_000)]
    tasks = [asyncio.create_task(queue.get(chooser, key=chooser.wanted)) for chooser in choosers]
    await settle()

    for _ in range(100):
        queue.put_nowait(5_000)
    assert sum(chooser.calls for chooser in choosers) == 0
    queue.put_nowait(999)
    assert await tasks[999] == 999
    assert sum(chooser.calls for chooser in choosers) == 1

    for task in tasks[:999]:
        task.cancel()
    await asyncio.wait(tasks)
    assert queue.statistics().getters_waiting == 0


@pytest.mark.asyncio
async def test_what_is_taken_from_the_middle_is_not_looked_for() -> None:
    """To take something from the middle the queue was taken apart and put together again."""
    keys: list[int] = []

    def key(item: int) -> int:
        keys.append(item)
        return item

    queue = AsyncMessageQueue[int](key=key)
    for number in range(1_000):
        queue.put_nowait(number)
    assert keys == [], "it pays for keys although nobody has asked by key"

    for number in range(999, 0, -2):
        assert queue.get_nowait(key=number) == number

    assert len(keys) == 1_000, "a key was computed again"
    assert queue.clear() == list(range(0, 1_000, 2))


@pytest.mark.asyncio
async def test_a_predicate_that_raises_fails_its_own_getter_and_no_other() -> None:
    """It was evaluated in everybody's put and get, and so failed every consumer, again and again."""
    queue = AsyncMessageQueue[int]()

    def bad(item: int) -> bool:
        raise ZeroDivisionError(item)

    poisoned = asyncio.create_task(queue.get(bad))
    healthy = asyncio.create_task(queue.get(lambda item: item == 2))
    await settle()
    queue.put_nowait(1)
    queue.put_nowait(2)

    assert await healthy == 2
    with pytest.raises(ZeroDivisionError):
        await poisoned
    assert await queue.get() == 1


@pytest.mark.real_time
@pytest.mark.timeout(20)
@pytest.mark.asyncio
async def test_a_put_from_another_thread_wakes_the_loop_at_once() -> None:
    """It woke nobody until something else happened in the loop. The plain call is an error, and does nothing."""
    queue = AsyncMessageQueue[int]()
    errors: list[BaseException] = []

    def put() -> None:
        try:
            queue.put_nowait(6)
        except InvalidContext as error:
            errors.append(error)
        queue.put_threadsafe(7)

    # From here on nothing happens in this loop unless the thread makes it happen.
    thread = threading.Timer(0.05, put)
    thread.start()
    assert await queue.get(lambda item: item == 7) == 7
    thread.join()
    assert "put_threadsafe" in str(errors[0])
    assert queue.empty()


@pytest.mark.asyncio
async def test_what_is_refused_does_not_start_the_timeout_again() -> None:
    """`get(predicate, timeout=0.2)` began its 0.2 seconds anew at each put that did not match."""
    queue = AsyncMessageQueue[int]()
    loop = asyncio.get_running_loop()

    async def traffic() -> None:
        for value in range(100):
            await asyncio.sleep(0.05)
            queue.put_nowait(value)

    noise = asyncio.create_task(traffic())
    begin = loop.time()
    with pytest.raises(TimeoutError):
        await queue.get(lambda item: item < 0, timeout=0.2)
    assert loop.time() - begin == pytest.approx(0.2, abs=0.01)
    begin = loop.time()
    with pytest.raises(TimeoutError):
        await queue.get_batch(50, min_items=50, timeout=0.2)
    assert loop.time() - begin == pytest.approx(0.2, abs=0.01)
    noise.cancel()


@pytest.mark.parametrize("end", ["cancel", "cancel when it is complete", "predicate", "timeout"])
@pytest.mark.asyncio
async def test_a_batch_that_is_cancelled_or_fails_loses_nothing(end: str) -> None:
    """What it had taken by then was gone."""
    queue = AsyncMessageQueue[int]()

    def wanted(item: int) -> bool:
        if end == "predicate" and item == 3:
            raise ZeroDivisionError
        return item % 5 != 0

    for number in range(3):
        queue.put_nowait(number)
    batch = asyncio.create_task(queue.get_batch(9, min_items=4, predicate=wanted, timeout=1))
    await settle()
    for number in range(3, 7 if end == "cancel when it is complete" else 4):
        queue.put_nowait(number)
    if end.startswith("cancel"):
        batch.cancel()
    await asyncio.wait([batch])

    errors = {"predicate": ZeroDivisionError, "timeout": TimeoutError}
    if end in errors:
        assert isinstance(batch.exception(), errors[end])
    else:
        assert batch.cancelled()
    assert queue.clear() == list(range(7 if end == "cancel when it is complete" else 4))
    assert queue.statistics().total_out == 0


@pytest.mark.asyncio
async def test_who_waits_for_a_batch_is_seen_and_is_sent_away_when_the_queue_is_closed() -> None:
    """Those who waited for a batch were missing in the statistics, and a closed queue made them spin."""
    queue = AsyncMessageQueue[int]()
    waits = [
        Counted(queue.get_batch(5)),
        Counted(queue.get_batch(5, min_items=2)),
        Counted(queue.get_batch(5, predicate=bool, linger=3)),
    ]

    async def wait(counted: Counted) -> Any:
        return await counted

    tasks = [asyncio.create_task(wait(counted)) for counted in waits]
    await settle()
    assert queue.statistics().getters_waiting == 3

    queue.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [QueueClosed] * 3
    assert [counted.wakes for counted in waits] == [1, 1, 1]
    assert queue.statistics().getters_waiting == 0


@pytest.mark.asyncio
async def test_nothing_that_follows_a_put_can_make_it_fail() -> None:
    """A line for the log that could not be formatted made a put fail whose item was in the queue already."""
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def raises(*_: object) -> None:
        raise RuntimeError("this observer is broken")

    queue = AsyncMessageQueue[Touchy](2, policy="drop_old", high=1, on_high=raises, on_drop=raises, key=raises)
    getter = asyncio.create_task(queue.get(lambda item: False))
    await settle()
    items = [Touchy() for _ in range(3)]
    for item in items:
        assert queue.put_nowait(item) is True

    assert [type(error) for error in told] == [RuntimeError] * 2
    assert queue.get_nowait() is items[1]
    assert queue.get_nowait() is items[2]
    getter.cancel()
    await asyncio.wait([getter])


@pytest.mark.asyncio
async def test_each_item_that_a_policy_drops_is_reported_once() -> None:
    """A full queue dropped messages without a word."""
    for policy, dropped, kept in (("drop_old", [0, 1, 2], [3, 4]), ("drop_new", [2, 3, 4], [0, 1])):
        drops: list[tuple[int, str]] = []

        def on_drop(item: int, reason: str, drops: list[tuple[int, str]] = drops) -> None:
            drops.append((item, reason))

        queue = AsyncMessageQueue[int](2, policy=policy, on_drop=on_drop)  # type: ignore[arg-type]
        for number in range(5):
            queue.put_nowait(number)
        assert drops == [(number, policy) for number in dropped]
        assert queue.statistics().dropped_by == {policy: 3}
        assert queue.clear() == kept

    strict = AsyncMessageQueue[int](1, policy="fail")
    strict.put_nowait(0)
    with pytest.raises(QueueFull) as full:
        await strict.put(1)
    assert full.value.message == 1


@pytest.mark.asyncio
async def test_a_priority_queue_does_all_that_a_queue_does_and_is_first_in_first_out_among_equals() -> None:
    """It gave the last one first, and lacked half of the methods."""
    public = {name for name in dir(AsyncMessageQueue) if not name.startswith("_")}
    assert public <= set(dir(PriorityMessageQueue))

    queue = PriorityMessageQueue[int](5, priority=lambda item: item // 10, key=lambda item: item % 2)
    for number in (21, 11, 12, 22, 13):
        queue.put_nowait(number)
    putter = asyncio.create_task(queue.put(14, timeout=5))
    await settle()
    assert queue.peek() == 11
    assert await queue.get(lambda item: item > 12, timeout=0) == 13
    assert await queue.get(key=1) == 11
    await putter
    assert queue.remove(lambda item: item == 22) == [22]
    assert await queue.get_batch(2, min_items=2) == [12, 14]
    queue.close()
    assert [item async for item in queue] == [21]
    with pytest.raises(QueueClosed):
        await queue.get()
    assert queue.statistics().total_out == 5
