"""An ask of an idle actor with a `def` handler is answered on the spot, and is an ask like any other all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.cast import Recorder, settle
from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskCycle,
    Message,
    NoReply,
    Refused,
    Reply,
    Settings,
    Traced,
    Unhandled,
    child,
    handler,
)

UNHURRIED = Settings(slice_seconds=60.0)
"""However busy the machine is, the time for what is done ahead does not run out."""


class Add(Message[int]):
    amount: int


class Fail(Message[int]): ...


class Refuse(Message[int]): ...


class Pass(Message[int]): ...


class Promise(Message[int]):
    at_once: bool = False


class Lose(Message[int]): ...


class Keep(Message[int]): ...


class Release(Message[int]): ...


class Leave(Message[str]): ...


class Forward(Message[int]):
    to: ActorRef[Add]


class Sum(Actor[Add | Fail | Refuse | Pass | Promise | Lose | Keep | Release | Leave | Forward]):
    def initialize(self) -> None:
        self.total = 0
        self.open = False
        self.promises: list[Reply[int]] = []

    @handler
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @handler
    def fail(self, message: Fail) -> int:
        raise ValueError("boom")

    @handler
    def refuse(self, message: Refuse) -> int:
        raise Refused("no")

    @handler
    def pass_on(self, message: Pass) -> int:
        raise Unhandled(path=self.context.path, message=message)

    @handler
    def promise(self, message: Promise) -> int:
        reply = self.context.reply_later(message)
        if message.at_once:
            reply.send(self.total)
        else:
            self.promises.append(reply)
        return -1

    @handler
    def lose(self, message: Lose) -> Reply[int]:
        return self.context.reply_later(message)

    @handler
    def keep(self, message: Keep) -> int:
        if not self.open:
            self.context.stash(message)
            return -1
        return self.total

    @handler
    def release(self, message: Release) -> int:
        self.open = True
        self.context.unstash_all()
        for promise in self.promises:
            promise.send(self.total)
        self.promises.clear()
        return self.total

    @handler
    def leave(self, message: Leave) -> str:
        self.context.stop()
        return "on my way"

    @handler
    def forward(self, message: Forward) -> int:
        message.to.tell(Add(amount=self.total))
        self.context.ref.tell(Add(amount=100))
        return self.total


async def _ready(system: ActorSystem, **options: Any) -> ActorRef[Any]:
    """One that is idle and has a mailbox."""
    ref = await system.spawn(child(Sum).options(**options))
    assert await ref.ask(Add(amount=1)) == 1
    return ref


def _futures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the futures that are made from here on."""
    loop, made = asyncio.get_running_loop(), [0]
    create: Callable[[], Any] = loop.create_future

    def counted() -> Any:
        made[0] += 1
        return create()

    monkeypatch.setattr(loop, "create_future", counted)
    return made


@pytest.mark.asyncio
async def test_an_answer_that_is_there_at_once_needs_no_future_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        made = _futures(monkeypatch)
        assert [await ref.ask(Add(amount=1)) for _ in range(10)] == [*range(2, 12)]
        assert made == [0]
        mailbox = ref._cell.mailbox  # pyright: ignore[reportPrivateUsage]
        assert mailbox is not None
        statistics = mailbox.statistics()
        assert (statistics.total_in, statistics.total_out, statistics.size) == (11, 11, 0)


@pytest.mark.asyncio
async def test_what_was_told_before_is_handled_before() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        ref.tell(Add(amount=10))
        assert await ref.ask(Add(amount=1)) == 12


@pytest.mark.asyncio
async def test_a_crash_reaches_the_asker_and_restarts_the_actor() -> None:
    recorder = Recorder()
    async with ActorSystem(settings=UNHURRIED, instruments=[recorder]) as system:
        ref = await _ready(system)
        with pytest.raises(ActorFailed) as caught:
            await ref.ask(Fail())
        assert isinstance(caught.value.__cause__, ValueError)
        assert await ref.ask(Add(amount=1)) == 1  # fresh state
        assert await ref.ask(Add(amount=1)) == 2
        assert len(recorder.of("actor_crashed", ref.path)) == 1


@pytest.mark.asyncio
async def test_a_refusal_and_what_is_not_handled_reach_the_asker_and_leave_the_state_alone() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        with pytest.raises(Refused, match="no"):
            await ref.ask(Refuse())
        with pytest.raises(Unhandled):
            await ref.ask(Pass())
        assert await ref.ask(Add(amount=1)) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("message", [Promise(), Keep()])
async def test_one_that_is_promised_or_put_aside_is_answered_later(message: Message[int]) -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        asked = asyncio.create_task(ref.ask(message))
        await asyncio.sleep(0)
        assert not asked.done()
        await ref.ask(Add(amount=4))
        await ref.ask(Release())
        assert await asked == 5
        assert await ref.ask(Promise(at_once=True)) == 5


@pytest.mark.asyncio
async def test_a_promise_has_the_deadline_of_its_ask_and_goes_with_its_incarnation() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        with pytest.raises(TimeoutError):
            await ref.ask(Promise(), timeout=0.01)
        asked = asyncio.create_task(ref.ask(Promise()))
        await asyncio.sleep(0)
        with pytest.raises(ActorFailed):
            await ref.ask(Fail())
        with pytest.raises(NoReply):
            await asked


@pytest.mark.asyncio
async def test_a_promise_that_nobody_has_any_more_is_told_at_once_also_where_the_handler_has_returned_it() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoReply):
            await ref.ask(Lose())
        assert asyncio.get_running_loop().time() == began


@pytest.mark.asyncio
async def test_whoever_ends_answers_first() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system, restart="temporary")
        assert await ref.ask(Leave()) == "on my way"
        await ref.wait_stopped()
        with pytest.raises(ActorStopped):
            await ref.ask(Add(amount=1))


@pytest.mark.asyncio
async def test_what_the_handler_tells_others_and_itself_is_handled_before_the_asker_goes_on() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref, other = await _ready(system), await _ready(system)
        await ref.ask(Forward(to=other))
        totals = [each._cell.actor.total for each in (ref, other)]  # pyright: ignore[reportPrivateUsage]
        assert totals == [101, 2]


@pytest.mark.asyncio
async def test_one_that_drains_or_is_suspended_answers_as_ever() -> None:
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        ref.debug.suspend()
        asked = asyncio.create_task(ref.ask(Add(amount=1)))
        await asyncio.sleep(0)
        assert not asked.done()
        ref.debug.resume()
        assert await asked == 2
        ref.drain()
        with pytest.raises(ActorStopped):
            await ref.ask(Add(amount=1))


@pytest.mark.asyncio
async def test_one_that_is_traced_answers_as_ever_and_the_tracer_sees_it() -> None:
    events: list[tuple[str, object]] = []

    class Tracer(Actor[Traced]):
        @handler
        def traced(self, message: Traced) -> None:
            events.append((message.event, message.detail))

    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await _ready(system)
        ref.debug.trace(await system.spawn(Tracer))
        assert [await ref.ask(Add(amount=1)) for _ in range(2)] == [2, 3]
        with pytest.raises(Refused):
            await ref.ask(Refuse())
        await settle()
    assert [event for event, _ in events[:5]] == ["received", "replied", "received", "replied", "received"]
    assert events[5][0] == "refused"


class Put(Message[str]):
    """Have somebody put an ask aside, and wait for its answer."""


class Hint(Message[str]):
    """Ask the one who waits."""


class Asker(Actor[Put | Add]):
    def __init__(self, keeper: ActorRef[Any]) -> None:
        self.keeper = keeper

    @handler
    async def put(self, message: Put) -> str:
        await asyncio.sleep(0)  # from here on no activation is under way
        return f"{await self.keeper.ask(Keep(), timeout=60.0)}"

    @handler
    async def add(self, message: Add) -> int:
        return message.amount


class Keeper(Actor[Keep | Hint | Release]):
    def __init__(self, others: list[ActorRef[Any]]) -> None:
        self.others = others
        self.open = False

    @handler
    def keep(self, message: Keep) -> int:
        if not self.open:
            self.context.stash(message)
        return 5

    @handler
    async def hint(self, message: Hint) -> str:
        try:
            return f"{await self.others[0].ask(Add(amount=1))}"
        except AskCycle as error:
            return " ".join(error.chain)

    @handler
    def release(self, message: Release) -> int:
        self.open = True
        self.context.unstash_all()
        return 0


@pytest.mark.asyncio
async def test_whoever_waits_for_what_has_been_put_aside_is_seen_to_wait() -> None:
    others: list[ActorRef[Any]] = []
    async with ActorSystem(settings=UNHURRIED) as system:
        keeper = await system.spawn(child(Keeper, others).options(name="keeper"))
        others.append(await system.spawn(child(Asker, keeper).options(name="asker")))
        assert await keeper.ask(Hint()) == "1"
        asked = asyncio.create_task(others[0].ask(Put()))
        await settle()
        assert await keeper.ask(Hint(), timeout=1.0) == "/user/keeper /user/asker /user/keeper"
        assert not asked.done()
        await keeper.ask(Release())
        assert await asked == "5"
        assert await keeper.ask(Hint()) == "1"  # and then to wait no more


class Hold(Message[bool]): ...


class IsBusy(Message[bool]): ...


class Changing(Actor[Hold | IsBusy]):
    """Is in the midst of a handler, which has changed the handlers and changed them back."""

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate
        self.busy = False

    @handler
    async def hold(self, message: Hold) -> bool:
        self.busy = True
        self.context.become(self.handle_message)
        self.context.unbecome()
        await self.gate.wait()
        self.busy = False
        return True

    @handler
    def is_busy(self, message: IsBusy) -> bool:
        return self.busy


@pytest.mark.asyncio
async def test_nothing_is_answered_in_the_midst_of_a_handler_that_changes_the_handlers() -> None:
    gate = asyncio.Event()
    async with ActorSystem(settings=UNHURRIED) as system:
        ref = await system.spawn(Changing, gate)
        for _ in range(2):  # the second time, its task may go on in the midst of the activation
            assert await ref.ask(IsBusy()) is False
            held = asyncio.create_task(ref.ask(Hold()))
            await settle()
            asked = asyncio.create_task(ref.ask(IsBusy()))
            await settle()
            assert not asked.done()
            gate.set()
            assert await held
            assert await asked is False
            gate.clear()
