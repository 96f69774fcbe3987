"""A person behind a mailbox: questions, turns, what is delivered and what is dropped, and approvals by any channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.agents.cast import Echo, Streamer, delete
from tests.cast import Gate, Recorder, settle
from understudy import (
    ActorFailed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    Crashed,
    InvalidContext,
    InvalidSpec,
    NoReply,
    Normal,
    handler,
)
from understudy.agents import (
    AgentId,
    AIAgent,
    ApprovalClosed,
    ApprovalOpened,
    Approvals,
    AsyncAgent,
    CallbackEndpoint,
    Decide,
    Delivery,
    DeliveryGap,
    HumanAgent,
    ListPending,
    NoSuchApproval,
    NotInteractive,
    Prompt,
    QuestionClosed,
    QuestionNotOpen,
    QuestionOpened,
    Said,
    Say,
    ScriptedModel,
    Seat,
    SeatClosed,
    SeatEnded,
    TooManyQuestions,
    TurnOver,
    TurnStarted,
    UseTool,
    tool,
)


class Chair:
    """An endpoint at which the test itself sits."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self.left = asyncio.Event()
        self.error: Exception | None = None

    @property
    def seat(self) -> Seat:
        return self.seats[-1]

    async def run(self, seat: Seat) -> None:
        self.seats.append(seat)
        self.left.clear()
        await self.left.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error


async def next_of(reader: AsyncIterator[Delivery], count: int = 1) -> list[Delivery]:
    return [await anext(reader) for _ in range(count)]


async def kept(seat: Seat) -> list[Delivery]:
    """What is kept, and no more."""
    reader = seat.read()
    found: list[Delivery] = []
    while not found or found[-1].cursor < seat.latest:
        found.append(await anext(reader))
    return found


def kinds(deliveries: list[Delivery]) -> list[str]:
    return [delivery.kind for delivery in deliveries]


# Questions


@pytest.mark.asyncio
async def test_a_question_is_open_until_the_person_has_answered_and_later_answers_are_told_so() -> None:
    chair = Chair()
    async with ActorSystem() as system:
        human = await system.spawn(HumanAgent, chair, id="nina")
        await settle()
        asking = asyncio.create_task(human.ask(Prompt(text="tea?", speaker="olaf", conversation="c")))
        await settle()
        (question,) = chair.seat.waiting
        assert (question.kind, question.number) == ("question", 1)
        chair.seat.answer(1, "yes")
        assert chair.seat.waiting == ()
        assert await asking == Said(text="yes", speaker="nina", conversation="c")
        with pytest.raises(QuestionNotOpen, match="it has been answered"):
            chair.seat.answer(1, "no")
        with pytest.raises(QuestionNotOpen, match="there is none of that number"):
            chair.seat.answer(2, "no")
        assert await kept(chair.seat) == [
            QuestionOpened(cursor=1, number=1, text="tea?", speaker="olaf", conversation="c"),
            QuestionClosed(cursor=2, number=1, why="answered", text="yes"),
        ]


@pytest.mark.parametrize("how", ["deadline", "cancel", "end"])
@pytest.mark.asyncio
async def test_a_question_of_somebody_who_waits_no_longer_is_closed(how: str) -> None:
    class Asker(AsyncAgent[Prompt]):
        @handler
        async def ask(self, message: Prompt) -> Said:
            return await self.agents.get("nina", HumanAgent).ask(message, timeout=100)

    chair, recorder = Chair(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        human = await system.spawn(HumanAgent, chair, id="nina")
        asker = await system.spawn(Asker)
        await settle()
        target: Any = asker if how == "end" else human
        asking = asyncio.create_task(target.ask(Prompt(text="tea?"), timeout=5 if how == "deadline" else 100))
        await settle()
        assert len(chair.seat.waiting) == 1
        if how == "cancel":
            asking.cancel()
            with pytest.raises(QuestionNotOpen, match="nobody waits for the answer any more"):
                chair.seat.answer(1, "yes")  # in that very moment, before anybody has heard of it
        elif how == "end":
            asker.kill()
        await asyncio.wait({asking})
        assert asking.cancelled() == (how == "cancel")
        assert how == "cancel" or isinstance(asking.exception(), AskTimeout if how == "deadline" else ActorStopped)
        await settle()
        assert chair.seat.waiting == ()
        with pytest.raises(QuestionNotOpen, match="nobody waits for the answer any more"):
            chair.seat.answer(1, "yes")
        assert kinds(await kept(chair.seat)) == ["question", "question_closed"]
    assert recorder.of("actor_crashed", "/user/human_agent") == []
    assert [letter for letter in recorder.letters if letter[1] == "/user/human_agent"] == []


@pytest.mark.asyncio
async def test_several_agents_may_ask_at_once_and_a_person_has_no_more_questions_than_he_can_bear() -> None:
    chair = Chair()
    async with ActorSystem() as system:
        human = await system.spawn(HumanAgent, chair, outbox=10)
        await settle()
        asks = [asyncio.create_task(human.ask(Prompt(text=str(number)))) for number in range(100)]
        await settle()
        with pytest.raises(TooManyQuestions):
            await human.ask(Prompt(text="one more"))
        human.tell(Say(text="the mailbox is not held by them"))
        await settle()
        (gap, *rest) = await kept(chair.seat)
        assert isinstance(gap, DeliveryGap)
        assert (gap.missed, len(rest), rest[-1].kind) == (91, 10, "said")
        assert [each.number for each in gap.waiting] == list(range(1, 92))  # none of them is lost
        for question in reversed(chair.seat.waiting):
            chair.seat.answer(question.number, str(question.number - 1))
        assert [(await each).text for each in asks] == [str(number) for number in range(100)]


@pytest.mark.parametrize("how", ["no endpoint", "not interactive", "endpoint", "left"])
@pytest.mark.asyncio
async def test_where_nobody_is_there_to_answer_a_question_is_refused_at_once(how: str) -> None:
    chair, recorder = Chair(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        if how == "endpoint":
            human = await system.spawn(HumanAgent, CallbackEndpoint(delivery=lambda delivery: None), id="nina")
        else:
            interactive = False if how == "not interactive" else None
            human = await system.spawn(
                HumanAgent, None if how == "no endpoint" else chair, interactive=interactive, id="nina"
            )
        await settle()
        if how == "left":
            asking = asyncio.create_task(human.ask(Prompt(text="still there?")))
            await settle()
            chair.seat.leave()
            with pytest.raises(NotInteractive, match="the person has left"):
                await asking
        began = asyncio.get_running_loop().time()
        with pytest.raises(NotInteractive) as caught:
            await human.ask(Prompt(text="x" * 100))
        assert asyncio.get_running_loop().time() - began < 0.01
        assert (caught.value.who, len(caught.value.what)) == ("nina", 60)
        human.tell(Say(text="told all the same"))
        await settle()
        assert human.status == "running"
    assert recorder.of("actor_crashed") == []


@pytest.mark.asyncio
async def test_a_question_that_is_told_and_not_asked_is_unhandled_and_harms_nobody() -> None:
    chair, recorder = Chair(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        human = await system.spawn(HumanAgent, chair)
        await settle()
        human.tell(Prompt(text="tea?"))
        await settle()
        assert chair.seat.latest == 0
        assert human.status == "running"
    assert recorder.of("actor_crashed") == []
    assert [(letter[1], letter[3]) for letter in recorder.letters] == [(human.path, "unhandled")]


# Turns


@pytest.mark.parametrize("delivery", ["stream", "buffered", "targeted"])
@pytest.mark.asyncio
async def test_what_a_person_says_is_a_turn_and_he_is_told_as_much_as_he_wants(delivery: Any) -> None:
    chair, model = Chair(), ScriptedModel([UseTool("look"), "all is well"])

    @tool
    def look() -> str:
        return "x"

    async with ActorSystem() as system:
        await system.spawn(AIAgent, model, tools=[look], id="clerk")
        human = await system.spawn(HumanAgent, chair, to="clerk", delivery=delivery, id="nina")
        await settle()
        assert await chair.seat.say("hello", conversation="c") == 1
        assert chair.seat.turn == 1
        await chair.seat.idle()
        assert chair.seat.turn is None
        human.tell(Say(text="by the way"))
        await settle()
        deliveries = await kept(chair.seat)
    assert (
        kinds(deliveries)
        == {
            "stream": ["turn_started", "tool_started", "tool_ended", "text", "text", "text", "turn_ended", "said"],
            "buffered": ["turn_started", "tool_started", "tool_ended", "turn_ended", "said"],
            "targeted": ["turn_started", "turn_ended"],
        }[delivery]
    )
    assert [delivery.cursor for delivery in deliveries] == list(range(1, len(deliveries) + 1))
    (over,) = [delivery for delivery in deliveries if isinstance(delivery, TurnOver)]
    assert (over.status, over.text, over.speaker, over.conversation) == ("completed", "all is well", "clerk", "c")
    assert model.requests[0].history[0] == model.requests[0].history[0].model_copy(update={"speaker": "nina"})


@pytest.mark.parametrize("to", ["class", "ref", "id", "text"])
@pytest.mark.asyncio
async def test_an_agent_that_does_not_stream_is_asked_and_it_is_found_in_several_ways(to: str) -> None:
    chair = Chair()
    async with ActorSystem() as system:
        echo = await system.spawn(Echo)
        target: Any = {"class": Echo, "ref": echo, "id": AgentId("echo"), "text": "echo"}[to]
        await system.spawn(HumanAgent, chair, to=target)
        await settle()
        await chair.seat.say("hello")
        await chair.seat.idle()
        assert kinds(await kept(chair.seat)) == ["turn_started", "text", "turn_ended"]


@pytest.mark.asyncio
async def test_turns_come_one_after_the_other_and_one_can_be_interrupted() -> None:
    chair, gate = Chair(), Gate()
    async with ActorSystem() as system:
        await system.spawn(Streamer, gate)
        await system.spawn(HumanAgent, chair, to=Streamer)
        await settle()
        assert not await chair.seat.interrupt()
        await chair.seat.say("one")
        others = [asyncio.create_task(chair.seat.say(text)) for text in ("two", "three")]
        await gate.reached()
        assert not any(each.done() for each in others)
        assert await chair.seat.interrupt()
        await gate.reached(2)
        gate.open()
        assert [await each for each in others] == [2, 3]
        await chair.seat.idle()
        told = await kept(chair.seat)
    assert [(d.turn, d.text) for d in told if isinstance(d, TurnStarted)] == [(1, "one"), (2, "two"), (3, "three")]
    assert [(d.turn, d.status, d.text) for d in told if isinstance(d, TurnOver)] == [
        (1, "interrupted", "one"),
        (2, "completed", "two!"),
        (3, "completed", "three!"),
    ]


@pytest.mark.asyncio
async def test_a_turn_that_fails_says_why_and_the_person_goes_on() -> None:
    chair = Chair()
    model = ScriptedModel([["well", KeyError("a bug")], "fine"])
    async with ActorSystem() as system:
        await system.spawn(AIAgent, model, id="clerk")
        human = await system.spawn(HumanAgent, chair, to="clerk")
        await settle()
        for text in ("one", "two"):
            await chair.seat.say(text)
            await chair.seat.idle()
        told = [each for each in await kept(chair.seat) if isinstance(each, TurnOver)]
        assert [(each.status, each.text) for each in told] == [("failed", "well"), ("completed", "fine")]
        assert "KeyError" in told[0].problem
        assert human.status == "running"


@pytest.mark.asyncio
async def test_who_was_given_nobody_to_talk_to_is_told_so_and_who_has_gone_fails_the_turn() -> None:
    chair, other = Chair(), Chair()
    async with ActorSystem() as system:
        await system.spawn(HumanAgent, chair)
        await system.spawn(HumanAgent, other, to=Echo)
        await settle()
        with pytest.raises(InvalidContext, match="nobody was named to talk to"):
            await chair.seat.say("hello")
        await other.seat.say("hello")
        await other.seat.idle()
        (over,) = [each for each in await kept(other.seat) if isinstance(each, TurnOver)]
        assert (over.status, over.problem) == ("failed", "there is no actor of the class Echo")


# Reading


@pytest.mark.asyncio
async def test_readers_go_on_from_their_cursors_and_a_slow_one_is_told_what_it_has_missed() -> None:
    chair = Chair()
    async with ActorSystem() as system:
        human = await system.spawn(HumanAgent, chair, outbox=5)
        await settle()
        quick, slow = chair.seat.read(), chair.seat.read()
        heard: list[int] = []

        async def follow() -> None:
            async for delivery in quick:
                heard.append(delivery.cursor)  # noqa: PERF401 - each at once

        following = asyncio.create_task(follow())
        await settle()
        for number in range(3):
            human.tell(Say(text=str(number)))
        await settle()
        assert [each.cursor for each in await next_of(slow, 2)] == [1, 2]
        for number in range(3, 12):
            human.tell(Say(text=str(number)))
            await settle()
        assert heard == list(range(1, 13))
        gap, *rest = await next_of(slow, 6)
        assert gap == DeliveryGap(cursor=7, missed=5)
        assert [each.cursor for each in rest] == [8, 9, 10, 11, 12]
        assert [each.cursor for each in await next_of(chair.seat.read(after=10), 2)] == [11, 12]
        assert await anext(chair.seat.read(after=1_000)) == DeliveryGap(cursor=7, missed=7)
        with pytest.raises(InvalidSpec, match="after must be an int"):
            chair.seat.read(after=-1)
        human.stop()
        await following
        assert heard == [*range(1, 13), 12]
        assert isinstance(await anext(slow), SeatEnded)
        with pytest.raises(StopAsyncIteration):
            await anext(slow)


@pytest.mark.asyncio
async def test_what_is_kept_has_a_bound_in_characters_too() -> None:
    chair = Chair()
    async with ActorSystem() as system:
        human = await system.spawn(HumanAgent, chair, outbox=1_000)
        await settle()
        for _ in range(30):
            human.tell(Say(text="x" * 150_000))
        await settle()
        gap, *rest = await kept(chair.seat)
        assert (gap.kind, len(rest)) == ("gap", 13)
        human.tell(Say(text="x" * 3_000_000))
        await settle()
        assert kinds(await kept(chair.seat)) == ["gap", "said"]


# The life of the agent


@pytest.mark.asyncio
async def test_an_endpoint_that_fails_is_called_again_and_what_was_delivered_is_still_there() -> None:
    chair, gate = Chair(), Gate()
    async with ActorSystem() as system:
        await system.spawn(Streamer, gate)
        human = await system.spawn(HumanAgent, chair, to=Streamer)
        await settle()
        first = chair.seat
        reader = first.read()
        human.tell(Say(text="before"))
        await settle()
        await first.say("hello")
        await gate.reached()
        asking = asyncio.create_task(human.ask(Prompt(text="tea?")))
        await settle()
        assert len(first.waiting) == 1
        chair.error = OSError("the line is cut")
        chair.left.set()
        with pytest.raises(NoReply):
            await asking
        await settle()
        second = chair.seat
        assert second is not first
        assert (first.closed, second.closed, second.waiting, second.turn) == (True, False, (), None)
        assert first.session == second.session
        told = await kept(second)
        assert kinds(told)[:4] == ["said", "turn_started", "text", "question"]
        assert sorted(kinds(told)[4:]) == ["question_closed", "turn_ended"]
        assert [each.why for each in told if isinstance(each, QuestionClosed)] == ["given_up"]
        assert [each.status for each in told if isinstance(each, TurnOver)] == ["interrupted"]
        assert [each.cursor for each in told] == [1, 2, 3, 4, 5, 6]
        old = [each async for each in reader]
        assert old[-1].kind == "ended"
        with pytest.raises(SeatClosed):
            first.answer(1, "yes")
        with pytest.raises(SeatClosed):
            await first.say("hello?")
        human.tell(Say(text="after"))
        await settle()
        assert [each.cursor for each in await next_of(second.read(after=6))] == [7]
        gate.open()


@pytest.mark.asyncio
async def test_what_a_killed_incarnation_has_left_open_is_closed_too() -> None:
    chair, gate = Chair(), Gate()
    async with ActorSystem() as system:
        await system.spawn(Streamer, gate)
        human = await system.spawn(HumanAgent, chair, to=Streamer)
        await settle()
        await chair.seat.say("hello")
        asking = asyncio.create_task(human.ask(Prompt(text="tea?")))
        await settle()
        human.kill()
        with pytest.raises(NoReply):
            await asking
        await settle()
        assert len(chair.seats) == 2
        told = await kept(chair.seat)
        assert sorted(kinds(told)) == ["question", "question_closed", "text", "turn_ended", "turn_started"]
        assert (chair.seat.waiting, chair.seat.turn) == ((), None)
        gate.open()


@pytest.mark.parametrize("how", ["returns", "close", "stop"])
@pytest.mark.asyncio
async def test_when_the_person_has_left_the_agent_ends_and_nobody_waits_for_him(how: str) -> None:
    chair, recorder = Chair(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        human = await system.spawn(HumanAgent, chair)
        await settle()
        asking = asyncio.create_task(human.ask(Prompt(text="tea?")))
        await settle()
        began = asyncio.get_running_loop().time()
        match how:
            case "returns":
                chair.left.set()
            case "close":
                chair.seat.close()
            case _:
                human.stop()
        reason = await human.wait_stopped()
        with pytest.raises(NoReply if how == "stop" else NotInteractive):
            await asking
        assert asyncio.get_running_loop().time() - began < 0.1
        assert isinstance(reason, Normal) == (how != "stop")
        assert chair.seat.closed
        with pytest.raises(SeatClosed):
            chair.seat.leave()
        with pytest.raises(ActorStopped):
            await human.ask(Prompt(text="x"))
    assert recorder.of("actor_restarting") == []


@pytest.mark.asyncio
async def test_a_task_of_the_endpoint_belongs_to_the_agent() -> None:
    chair, recorder = Chair(), Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        await system.spawn(HumanAgent, chair)
        await settle()

        async def fail() -> None:
            raise OSError("x")

        chair.seat.start_task(fail(), name="one")
        await settle()
        ((path, reason, name),) = recorder.of("actor_crashed")
        assert (path, name.endswith(":one")) == ("/user/human_agent", True)
        assert isinstance(reason, Crashed)
        with pytest.raises(SeatClosed):
            chair.seats[0].start_task(fail(), name="two")


@pytest.mark.parametrize(
    "wrong",
    [{"delivery": "all"}, {"outbox": 0}, {"patience": 0}, {"endpoint": "terminal"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_not_allowed_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=next(iter(wrong))):
        HumanAgent(**wrong)


# Callbacks


@pytest.mark.parametrize("way", ["def", "async def"])
@pytest.mark.asyncio
async def test_callbacks_answer_decide_and_are_told(way: str) -> None:
    told: list[Delivery] = []
    endpoint = (
        CallbackEndpoint(lambda q: q.text.upper(), approval=lambda a: a.request.tool == "delete", delivery=told.append)
        if way == "def"
        else CallbackEndpoint(
            later(lambda q: q.text.upper()), approval=later(lambda a: True), delivery=later(told.append)
        )
    )
    async with ActorSystem() as system:
        await system.spawn(Approvals)
        human = await system.spawn(HumanAgent, endpoint, id="nina")
        model = ScriptedModel([UseTool("delete", path="/x"), "done"])
        agent = await system.spawn(AIAgent, model, tools=[delete])
        assert (await human.ask(Prompt(text="tea?"))).text == "TEA?"
        assert (await agent.ask(Prompt(text="go"))).text == "done"
        await asyncio.sleep(1)  # of virtual time, in which a callback has dealt with all that there is, and no more
        assert kinds(told) == ["question", "question_closed", "approval", "approval_decided"]
        assert endpoint.after == 4
        (closed,) = [each for each in told if isinstance(each, ApprovalClosed)]
        assert (closed.decision.status, closed.decision.by) == ("approved", "nina")


def later(function: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def call(value: Any) -> Any:
        await asyncio.sleep(0.01)  # as one that takes its time
        return function(value)

    return call


@pytest.mark.asyncio
async def test_a_callback_that_nobody_waits_for_is_cancelled_and_one_that_fails_is_the_agents_failure() -> None:
    gate, recorder = Gate(), Recorder()
    ended: list[str] = []

    async def question(asked: QuestionOpened) -> str | None:
        if asked.text == "fail":
            raise OSError("no line")
        if asked.text == "none of mine":
            return None
        try:
            await gate.hold()
        finally:
            ended.append(asked.text)
        return "x"

    async with ActorSystem(instruments=[recorder]) as system:
        human = await system.spawn(HumanAgent, CallbackEndpoint(question))
        for text in ("hold", "none of mine"):
            with pytest.raises(AskTimeout):
                await human.ask(Prompt(text=text), timeout=1)
        await settle()
        assert ended == ["hold"]
        assert recorder.of("actor_crashed") == []
        with pytest.raises(NoReply):
            await human.ask(Prompt(text="fail"))
        assert len(recorder.of("actor_crashed", "/user/human_agent")) == 1


# Approvals


@pytest.mark.asyncio
async def test_a_decision_through_any_channel_closes_the_request_in_all() -> None:
    chairs = [Chair(), Chair()]
    async with ActorSystem() as system:
        model = ScriptedModel([UseTool("delete", path="/x"), "done"])
        approvals = await system.spawn(Approvals)
        agent = await system.spawn(AIAgent, model, tools=[delete])
        await system.spawn(HumanAgent, chairs[0], id="nina")
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        await settle()
        await system.spawn(HumanAgent, chairs[1], id="olaf", delivery="targeted")  # comes later, and is shown it too
        indifferent = Chair()
        await system.spawn(HumanAgent, indifferent, approvals=False)
        await settle()
        number = chairs[0].seat.waiting[0].number
        decisions = await asyncio.wait_for(
            _all([chair.seat.decide(number, chair is chairs[1], "so be it") for chair in chairs]), 10
        )
        assert sorted(each.accepted for each in decisions) == [False, True]
        assert len({each.decision.by for each in decisions}) == 1
        await asking
        await settle()
        for chair in chairs:
            assert kinds(await kept(chair.seat)) == ["approval", "approval_decided"]
            assert chair.seat.waiting == ()
            (closed,) = [each for each in await kept(chair.seat) if isinstance(each, ApprovalClosed)]
            assert closed.decision == decisions[0].decision
        assert indifferent.seat.latest == 0
        with pytest.raises(NoSuchApproval):
            await chairs[0].seat.decide(number + 1_000, True)
        late = await chairs[0].seat.decide(number, True)
        assert not late.accepted
        assert await approvals.ask(ListPending()) == ()


async def _all(calls: list[Any]) -> list[Any]:
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.wait(tasks)
    return [task.result() for task in tasks]


@pytest.mark.parametrize("how", ["kill", "crash", "stop"])
@pytest.mark.asyncio
async def test_a_request_goes_with_the_approvals_that_knew_it(how: str) -> None:
    class Fragile(Approvals):
        @handler
        def list_pending(self, message: ListPending) -> Any:
            if how == "crash" and self._pending:
                raise OSError("x")
            return super().list_pending(message)

    chair = Chair()
    async with ActorSystem() as system:
        model = ScriptedModel([UseTool("delete", path="/x"), "done"])
        approvals = await system.spawn(Fragile)
        agent = await system.spawn(AIAgent, model, tools=[delete])
        await system.spawn(HumanAgent, chair)
        await settle()
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        await settle()
        assert len(chair.seat.waiting) == 1
        match how:
            case "kill":
                approvals.kill()
            case "crash":
                with suppress(ActorFailed):
                    await approvals.ask(ListPending())
            case _:
                approvals.stop()
        await asking
        await settle()
        assert chair.seat.waiting == ()
        assert [each.decision.status for each in await kept(chair.seat) if isinstance(each, ApprovalClosed)] == [
            "cancelled"
        ]


@pytest.mark.asyncio
async def test_a_new_incarnation_learns_what_was_decided_while_there_was_none() -> None:
    chair = Chair()
    async with ActorSystem() as system:
        model = ScriptedModel([[UseTool("delete", path="/x"), UseTool("delete", path="/y")], "done"])
        approvals = await system.spawn(Approvals)
        agent = await system.spawn(AIAgent, model, tools=[delete])
        human = await system.spawn(HumanAgent, chair)
        await settle()
        asking = asyncio.create_task(agent.ask(Prompt(text="go")))
        await settle()
        first, second = (each.number for each in chair.seat.waiting)
        human.kill()
        await approvals.ask(Decide(number=first, approve=True, by="olaf"))
        await settle()
        assert len(chair.seats) == 2
        assert [each.number for each in chair.seat.waiting] == [second]
        await chair.seat.decide(second, True)
        await asking
        told = await kept(chair.seat)
        assert [(each.kind, each.number) for each in told if isinstance(each, ApprovalOpened | ApprovalClosed)] == [
            *(("approval", first), ("approval", second)),
            *(("approval_decided", first), ("approval_decided", second)),
        ]
