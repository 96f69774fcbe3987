"""M14: any other exception is a crash; each asker gets an `ActorFailed` of its own with the original as its cause."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from typing import Any

import pytest

from tests.cast import Fail, Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Crashed,
    Message,
    NoReply,
    Normal,
    Unhandled,
    child,
    handler,
)


class FailLater(Message[int]):
    error: BaseException


class Ask(Message[int]):
    whom: Any
    what: Any
    timeout: float | None = None


class Failing(Actor[Fail | FailLater | Ask | Note]):
    @handler
    def fail(self, message: Fail) -> int:
        raise message.error

    @handler
    async def fail_later(self, message: FailLater) -> int:
        await asyncio.sleep(0)
        raise message.error

    @handler
    async def ask(self, message: Ask) -> int:
        result: int = await message.whom.ask(message.what, timeout=message.timeout)
        return result

    @handler
    def note(self, message: Note) -> int:
        return message.value


class Odd(BaseException):
    """No Exception."""


class Choosy(Exception):
    """Cannot be made anew from its arguments."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


ERRORS: list[BaseException] = [
    ValueError("boom"),
    KeyError("missing"),
    Choosy(code=3),
    TimeoutError("theirs"),
    StopAsyncIteration(),
    GeneratorExit(),
    SystemExit(3),
    MemoryError(),
    RecursionError(),
    Odd("odd"),
    ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    asyncio.CancelledError(),
    asyncio.InvalidStateError("odd"),
    # From an ask of the handler's own that failed: the outer asker must not take them for the fate of its own ask.
    AskTimeout(path="/user/other", message=Note(), seconds=1.0, state="queued"),
    ActorStopped(path="/user/other", reason=Normal(), message=Note()),
    Unhandled(path="/user/other", message=Note()),
    NoReply(path="/user/other", message=Note()),
]


@pytest.mark.parametrize("kind", [Fail, FailLater])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.asyncio
async def test_whatever_a_handler_raises_is_a_crash_and_the_cause(error: BaseException, kind: Any) -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Failing).options(name="one"))
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(kind(error=error))
        assert type(caught.value) is ActorFailed
        assert caught.value.path == "/user/one"
        assert caught.value.message_type == kind.__name__
        assert isinstance(caught.value.reason, Crashed)
        assert caught.value.reason.error is error
        assert caught.value.__cause__ is error
        assert "/user/one" in str(caught.value)
        assert kind.__name__ in str(caught.value)
        assert await ref.ask(Note(value=1)) == 1
        [(path, reason, message_type)] = recorder.of("actor_crashed")
        assert (path, message_type) == ("/user/one", kind.__name__)
        assert reason.error is error
        assert recorder.of("actor_started", "/user/one") == [("/user/one", 1), ("/user/one", 2)]


@pytest.mark.parametrize("kind", [Fail, FailLater])
@pytest.mark.asyncio
async def test_stop_iteration_is_a_crash_too(kind: Any) -> None:
    error = StopIteration("boom")
    async with ActorSystem() as system:
        ref = await system.spawn(Failing)
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(kind(error=error))
        cause = caught.value.__cause__
        # Python itself turns it into a RuntimeError when it leaves a coroutine.
        assert cause is error or (isinstance(cause, RuntimeError) and cause.__cause__ is error)
        assert await ref.ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_each_asker_gets_an_object_of_its_own() -> None:
    shared = ValueError("the same object each time")
    async with ActorSystem() as system:
        ref = await system.spawn(child(Failing).options(name="one"))
        outcomes = await asyncio.gather(*(ref.ask(Fail(error=shared)) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ActorFailed] * 3
        assert len({id(outcome) for outcome in outcomes}) == 3
        assert all(outcome.__cause__ is shared for outcome in outcomes)  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_each_asker_gets_the_error_of_its_own_message() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Failing).options(name="one"))
        errors = [ValueError(str(number)) for number in range(3)]
        asks = [asyncio.create_task(ref.ask(Fail(error=error))) for error in errors]
        asks.insert(1, asyncio.create_task(ref.ask(Note(value=7))))
        outcomes = await asyncio.gather(*asks, return_exceptions=True)
        assert outcomes[1] == 7
        assert [outcome.__cause__ for outcome in outcomes if outcome != 7] == errors  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_a_failure_that_goes_through_several_actors_keeps_the_whole_chain() -> None:
    error = ValueError("at the bottom")
    async with ActorSystem() as system:
        a, b, c = [await system.spawn(child(Failing).options(name=name)) for name in "abc"]
        with pytest.raises(ActorFailed) as caught:
            await a.ask(Ask(whom=b, what=Ask(whom=c, what=Fail(error=error))))
        outer: Any = caught.value
        assert (outer.path, outer.message_type) == ("/user/a", "Ask")
        middle = outer.__cause__
        assert (type(middle), middle.path) == (ActorFailed, "/user/b")
        inner = middle.__cause__
        assert (type(inner), inner.path, inner.message_type) == (ActorFailed, "/user/c", "Fail")
        assert inner.__cause__ is error


@pytest.mark.asyncio
async def test_an_ask_of_the_handler_that_times_out_is_the_crash_of_the_handler() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        held = await system.spawn(Holder, Gate())
        ref = await system.spawn(child(Failing).options(name="one"))
        begun = loop.time()
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(Ask(whom=held, what=Hold(), timeout=1.0), timeout=60.0)
        assert loop.time() - begun == pytest.approx(1.0, abs=0.2)
        assert isinstance(caught.value.__cause__, AskTimeout)
        assert caught.value.__cause__.path == held.path


@pytest.mark.parametrize("kind", [Fail, FailLater])
@pytest.mark.asyncio
async def test_the_traceback_says_where_it_happened_but_holds_no_frame(kind: Any) -> None:
    error = ValueError("boom")
    async with ActorSystem() as system:
        ref = await system.spawn(child(Failing).options(name="one"))
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(kind(error=error))
    assert error.__traceback__ is None  # it would keep the handler's variables alive
    text = "".join(traceback.format_exception(caught.value))
    assert "ValueError: boom" in text
    assert "Failing.fail" in text
    assert "test_m14_the_asker_gets_the_crash.py" in text


@pytest.mark.asyncio
async def test_it_can_be_copied_and_pickled() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Failing).options(name="one"))
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(Fail(error=ValueError("boom")))
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert type(again) is ActorFailed
        assert (again.path, again.message_type) == ("/user/one", "Fail")
        assert isinstance(again.reason, Crashed)
        assert str(again) == str(caught.value)


@pytest.mark.asyncio
async def test_a_handler_that_is_cancelled_by_its_own_task_is_a_crash_and_its_asker_is_not_cancelled() -> None:
    class Suicidal(Actor[Note]):
        @handler
        async def note(self, message: Note) -> int:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
            return 1

    async with ActorSystem() as system:
        ref = await system.spawn(Suicidal)
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(Note())
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        await settle()
        assert ref.status == "running"
