"""``ask_many``: many asks with one deadline, and what each has ended with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cast import Fail, Gate, Handled, Hold, Holder, Note, Recorder, Refuse, Unknown, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    AskTimeout,
    InvalidTimeout,
    MailboxFull,
    Message,
    Refused,
    UnderstudyError,
    Unhandled,
    ask_many,
    child,
    handler,
)
from understudy.testing import Simulation, simulate


@pytest.mark.asyncio
async def test_the_replies_come_in_the_order_of_the_asks() -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(Holder) for _ in range(3)]
        assert await ask_many(refs, Note(value=7)) == [7, 7, 7]
        assert await ask_many((ref, Note(value=value)) for value, ref in enumerate(refs * 2)) == [0, 1, 2, 3, 4, 5]
        assert await refs[0].ask(Handled()) == [7, 0, 3]


@pytest.mark.asyncio
async def test_to_ask_nobody_is_to_get_nothing() -> None:
    assert await ask_many([]) == []
    assert await ask_many([], Note()) == []


@pytest.mark.asyncio
async def test_one_that_fails_disturbs_no_other() -> None:
    async with ActorSystem() as system:
        stopped = await system.spawn(Holder)
        stopped.stop()
        await stopped.wait_stopped()
        good, bad, held = [await system.spawn(Holder, Gate()) for _ in range(3)]
        asks: list[tuple[ActorRef[Any], Message[Any]]] = [
            (good, Note(value=1)),
            (stopped, Note()),
            (good, Refuse()),
            (good, Unknown()),
            (bad, Fail(error=ValueError("boom"))),
            (held, Hold()),
            (good, Note(value=2)),
        ]
        results = await ask_many(asks, timeout=1.0)
        kinds = [type(each) for each in results]
        assert kinds == [int, ActorStopped, Refused, Unhandled, ActorFailed, AskTimeout, int]
        assert [each for each in results if not isinstance(each, UnderstudyError)] == [1, 2]


@pytest.mark.asyncio
async def test_all_have_one_deadline() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        refs = [await system.spawn(Holder, Gate()) for _ in range(100)]
        begun = loop.time()
        results = await ask_many(refs, Hold(), timeout=2.0)
        assert loop.time() - begun == pytest.approx(2.0, abs=0.1)
        assert all(isinstance(each, AskTimeout) and each.seconds == 2.0 for each in results)


@pytest.mark.asyncio
async def test_they_have_no_timers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        gate = Gate()
        refs = [await system.spawn(Holder, gate) for _ in range(100)]
        made: list[object] = []
        call_at = loop.call_at
        monkeypatch.setattr(loop, "call_at", lambda *args, **kwargs: made.append(args) or call_at(*args, **kwargs))
        asked = asyncio.create_task(ask_many(refs, Hold(value=1), timeout=20.0))
        await gate.reached(100)
        assert len(made) < 5
        gate.open()
        assert await asked == [1] * 100


@pytest.mark.asyncio
async def test_to_cancel_it_is_to_cancel_all() -> None:
    gate, log, recorder = Gate(), [], Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        held, quick = await system.spawn(Holder, gate, log), await system.spawn(Holder)
        held.tell(Hold(value=0))
        await gate.reached()
        asked = asyncio.create_task(ask_many([(held, Note(value=1)), (quick, Note(value=2)), (held, Note(value=3))]))
        await settle()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert recorder.letters == [(2, "(asker)", quick.path, "late reply")]
        gate.open()
        await settle()
        assert log == [0]


@pytest.mark.asyncio
async def test_where_there_is_no_room_they_wait_for_it_and_the_others_do_not() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        full = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        other = await system.spawn(Holder)
        full.tell(Hold(value=0))
        await gate.reached()
        asks = [(full, Note(value=1)), (full, Note(value=2)), (full, Note(value=3)), (other, Note(value=4))]
        asked = asyncio.create_task(ask_many(asks, timeout=60.0))
        await settle()
        assert await other.ask(Handled()) == [4]
        assert log == []
        gate.open()
        assert await asked == [1, 2, 3, 4]
        assert log == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["timeout", "cancel", "stop"])
@pytest.mark.asyncio
async def test_what_found_no_room_is_never_sent(how: str) -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        full = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        full.tell(Hold(value=0))
        await gate.reached()
        full.tell(Note(value=1))
        asked = asyncio.create_task(ask_many([full, full], Note(value=2), timeout=1.0))
        await settle()
        if how == "cancel":
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        elif how == "stop":
            full.stop()
            assert [type(each) for each in await asked] == [ActorStopped, ActorStopped]
        else:
            for each in await asked:
                assert isinstance(each, AskTimeout)
                assert "never accepted" in each.state
        gate.open()
        await settle()
        assert log == ([0] if how == "stop" else [0, 1])


@pytest.mark.asyncio
async def test_a_mailbox_that_refuses_is_an_error_among_the_results() -> None:
    from understudy import Mailbox

    gate = Gate()
    async with ActorSystem() as system:
        full = await system.spawn(child(Holder, gate).options(mailbox=Mailbox(capacity=1, policy="fail")))
        full.tell(Hold(value=0))
        await gate.reached()
        asked = asyncio.create_task(ask_many([full, full], Note(value=1)))
        await settle()
        gate.open()
        first, second = await asked
        assert first == 1
        assert isinstance(second, MailboxFull)
        assert second.message == Note(value=1)


class Ask(Message[list[object]]):
    refs: tuple[Any, ...]
    message: Any
    timeout: float | None = None


class Asker(Actor[Ask | Note]):
    @handler
    async def ask(self, message: Ask) -> list[object]:
        return [
            each.chain if isinstance(each, AskCycle) else each
            for each in await ask_many(message.refs, message.message, timeout=message.timeout)
        ]

    @handler
    def note(self, message: Note) -> int:
        return message.value


@pytest.mark.asyncio
async def test_a_circle_is_an_error_among_the_results() -> None:
    async with ActorSystem() as system:
        asker, other = await system.spawn(Asker), await system.spawn(Asker)
        asked = Ask(refs=(other, asker, other), message=Note(value=1))
        assert await asker.ask(asked) == [1, (asker.path, asker.path), 1]
        inner = Ask(refs=(asker,), message=Note(value=1))
        outer = await asker.ask(Ask(refs=(other,), message=inner))
        assert outer == [[(other.path, asker.path, other.path)]]


@pytest.mark.asyncio
async def test_one_that_has_replied_may_ask_the_asker_although_others_have_not() -> None:
    gate, outcomes = Gate(), []
    async with ActorSystem() as system:
        asker, quick, held = await system.spawn(Asker), await system.spawn(Asker), await system.spawn(Holder, gate)
        asked = asyncio.create_task(asker.ask(Ask(refs=(quick, held), message=Note(value=1))))
        await settle()
        assert await asked == [1, 1]
        both = Ask(refs=(quick, held), message=Hold(value=1))
        asked = asyncio.create_task(asker.ask(both, timeout=60.0))  # quick does not handle it, held does at the gate
        await gate.reached()
        later = asyncio.create_task(quick.ask(Ask(refs=(asker,), message=Note(value=2)), timeout=60.0))
        await settle()
        assert not later.done()
        gate.open()
        outcomes.append(await later)
        assert outcomes == [[2]]
        assert (await asked)[1] == 1


@pytest.mark.asyncio
async def test_in_the_handler_of_an_ask_all_have_what_is_left_of_it() -> None:
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        asker, held = await system.spawn(Asker), await system.spawn(Holder, Gate())
        begun = loop.time()
        with pytest.raises(AskTimeout):
            await asker.ask(Ask(refs=(held, held), message=Hold(), timeout=50.0), timeout=2.0)
        await settle()
        assert loop.time() - begun < 2.1
        assert await asker.ask(Ask(refs=(asker,), message=Note())) is not None


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "soon"])
@pytest.mark.asyncio
async def test_a_bad_timeout_is_refused_before_anything_is_sent(timeout: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        with pytest.raises(InvalidTimeout):
            await ask_many([ref], Note(value=1), timeout=timeout)
        assert await ref.ask(Handled()) == []


@simulate(schedules=30)
async def test_each_of_them_ends_whatever_the_order(sim: Simulation) -> None:
    refs = [await sim.system.spawn(child(Holder).options(mailbox=1)) for _ in range(3)]
    chosen = [refs[sim.random.randrange(3)] for _ in range(8)]
    asked = asyncio.create_task(ask_many([(ref, Note(value=n)) for n, ref in enumerate(chosen)], timeout=60.0))
    if sim.random.random() < 0.5:
        refs[0].stop()
    if sim.random.random() < 0.3:
        await asyncio.sleep(0)
        if asked.cancel():
            with pytest.raises(asyncio.CancelledError):
                await asked
            return
    for number, (ref, result) in enumerate(zip(chosen, await asked, strict=True)):
        assert result == number or (ref == refs[0] and isinstance(result, ActorStopped))
