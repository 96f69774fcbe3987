"""``Meeting``: several agents who take turns, share a state, and come to an end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeAlias, TypeVar

from pydantic import BaseModel

from understudy.actors._handler import handler
from understudy.actors._ref import ActorRef
from understudy.actors._reply import Reply
from understudy.actors._runtime import runtime_of
from understudy.agents._agent import AsyncAgent
from understudy.agents._attendee import Attendee, by_name
from understudy.agents._meeting_answers import take_choice, take_rsvp, take_words
from understudy.agents._meeting_effects import AskToChoose, AskToSpeak, Close, Dismiss, Invite, TakeBack
from understudy.agents._meeting_messages import (
    Adjourn,
    AwaitEnd,
    ChangeState,
    ChooseSpeaker,
    Contribute,
    GetMeeting,
    Invitation,
    Join,
    Leave,
    MeetingEnded,
    MeetingMessage,
    MeetingNews,
    MeetingView,
    NotInMeeting,
    RequestTurn,
    Rsvp,
    YourTurn,
)
from understudy.agents._meeting_plan import MeetingPlan
from understudy.agents._meeting_rules import MeetingRules
from understudy.agents._turn_policies import RoundRobin
from understudy.exceptions import InvalidSpec
from understudy.messages import Terminated
from understudy.reasons import Killed, is_abnormal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from understudy._plans._spec import Options
    from understudy.agents._meeting_effects import Effect
    from understudy.agents._meeting_messages import MemberMessage
    from understudy.agents._turn_policies import TurnPolicy

    _Work: TypeAlias = Callable[[], Coroutine[Any, Any, object]]

__all__ = ["Meeting"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Begin:
    pass


@dataclass(frozen=True, slots=True)
class _TimeIsUp:
    pass


@dataclass(frozen=True, slots=True)
class _Forget:
    pass


@dataclass(frozen=True, slots=True)
class _Answered:
    """What has come of something that the meeting has asked: a value, or an error."""

    put: Callable[[Any], None]
    value: object


class Meeting(AsyncAgent[MeetingMessage]):
    """A meeting: it invites its attendees, gives them the floor in turn, and tells each of them what happens.

    ::

        meeting = await system.spawn(
            Meeting, [Attendee(chair), Attendee(expert), Attendee(guest, required=False)],
            topic="the new harbour", turns=RoundRobin(rounds=2), state=Plan(),
        )
        ended = await meeting.ask(AwaitEnd())

    Whoever takes :class:`Prompt` and :class:`Say` can be a member: every :class:`AIAgent` can. Those who have handlers
    for :class:`Invitation`, :class:`YourTurn`, :class:`MeetingNews` and :class:`MeetingEnded` are told the same with
    all its details.

    1. *Inviting.* All are asked at once whether they come. The meeting begins when all who are required are there, and
       a quorum is; optional attendees who say no, or nothing, hold nobody up, and may come later, by :class:`Join`.
       When one who is required declines, ends, or does not answer in time, it is not held, and that is said at once.
    2. *In session.* A policy says who speaks next; that one gets the floor by a :class:`YourTurn`, for
       ``turn_seconds``. Who does not answer by then, or fails, has missed the turn, and is removed after
       ``max_misses`` in a row; who has ended is removed at once. All that happens is written into the minutes, numbered
       without a gap, and told to all members in that order. The shared state changes by :class:`ChangeState` only.
    3. *Ended.* When the policy closes it or somebody adjourns it; after ``max_turns`` or ``max_seconds``; or when a
       required member or the quorum is lost. All members are told once, by a :class:`MeetingEnded`, and so is whoever
       waits by :class:`AwaitEnd`; then the actor ends.

    It is never restarted, since nobody could go on with it: when the actor crashes, is stopped or killed, that is the
    end of the meeting, which all members are told as well. With another restart type, each incarnation is a meeting of
    its own, which invites all of them again.

    Not promised: that a member has understood what it was told, or has seen it before it speaks, if it is slow; that it
    is told anything while its mailbox is full (it is told later, but of the end only if there is room at that moment);
    and that an answer that comes too late for its turn is heard.

    Args:
        attendees: Who is invited: :class:`Attendee`, or its ref or id for one who is required.
        topic: What it is about; for the members.
        rules: How many must come, and how long all may take.
        turns: Who speaks next.
        state: The shared state: a pydantic model that is frozen. Its validators are the rules for changes.
        id: Its id; see :class:`AsyncAgent`.
        description: What it is for.

    Raises:
        InvalidSpec: There are no attendees, or two with one name; the quorum is larger than their number; or the state
            is no frozen model.
    """

    defaults: ClassVar[Options] = {"restart": "temporary"}
    """It is not restarted."""

    def __init__(
        self,
        attendees: Sequence[Attendee | ActorRef[Any] | str],
        *,
        topic: str = "",
        rules: MeetingRules | None = None,
        turns: TurnPolicy | None = None,
        state: BaseModel | None = None,
        id: str = "",  # noqa: A002 - the name of the attribute
        description: str = "",
    ) -> None:
        self.id, self.description = id, description
        self.topic = topic
        self.rules = MeetingRules() if rules is None else rules
        self._turns: TurnPolicy = RoundRobin() if turns is None else turns
        self._attendees = by_name(attendees, self.rules)
        self._state = _checked_state(state)
        # Who is told what happens, with the number of the last minute that was told, and to which incarnation.
        self._told: dict[str, tuple[int, int]] = {}
        self._refs: dict[str, ActorRef[Any]] = {}
        self._names: dict[ActorRef[Any], str] = {}
        # Who has been sent an invitation.
        self._invited: set[str] = set()
        self._turn_task: asyncio.Task[Any] | None = None
        self._waiting: list[Reply[MeetingEnded]] = []
        self._ended: MeetingEnded | None = None

    def initialize(self) -> None:
        """Begin, as soon as there is somebody to see to the end."""
        self._conversation = f"meeting {self.id} {self.context.ref.uid}"[:200]
        self._plan = MeetingPlan(
            {name: each.required for name, each in self._attendees.items()},
            self.rules,
            self._turns,
            self._state,
            meeting_id=self.id,
            topic=self.topic,
            conversation=self._conversation,
        )
        self._began = self._env.now()
        loop = asyncio.get_running_loop()
        stands: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()
        self.context.start_task(self._see_to_the_end(stands), name="end")
        self.context.pipe_to_self(stands, lambda _: _Begin())

    def words_for_turn(self, name: str, view: MeetingView) -> str:
        """What a member is told with the floor; to be overridden. *view* is the meeting as it is then."""
        others = ", ".join(each for each in view.members if each != name)
        about = f" about {view.topic}" if view.topic else ""
        told = f"You are {name}, in a meeting{about} with {others or 'nobody else'}."
        if isinstance(view.state, BaseModel):
            told += f" The shared state is number {view.version}: {view.state.model_dump_json()}."
        return f"{told} It is your turn."

    # What members say

    @handler
    def join(self, message: Join) -> MeetingView:
        """Somebody comes after all, or again."""
        name = self._name_of(message)
        if self._plan.phase == "ended":
            raise NotInMeeting(self.id, name, "it is over")
        self._told.pop(name, None)
        self._do(self._plan.accepted, name)
        return self._plan.view()

    @handler
    def leave(self, message: Leave) -> None:
        """A member goes; somebody who has not come yet declines by it."""
        name = self._name_of(message)
        self._do(self._plan.left, name, message.why)
        self._do(self._plan.declined, name, message.why or "does not come")

    @handler
    def request_turn(self, message: RequestTurn) -> int:
        """A member would like to speak."""
        return self._do(self._plan.requested, self._name_of(message))

    @handler
    def contribute(self, message: Contribute) -> int:
        """Who has the floor says something."""
        return self._do(self._plan.contributed, self._name_of(message), message.text)

    @handler
    def change_state(self, message: ChangeState) -> int:
        """A member changes the shared state."""
        return self._do(self._plan.changed, self._name_of(message), message.changes, message.based_on)

    # What anybody may say

    @handler
    def adjourn(self, message: Adjourn) -> None:
        """It is over now."""
        self._do(self._plan.adjourn, message.why)

    @handler
    def tell_how_it_goes(self, message: GetMeeting) -> MeetingView:
        """The meeting as it is now."""
        return self._plan.view()

    @handler
    def await_end(self, message: AwaitEnd) -> Reply[MeetingEnded]:
        """Answer when it is over."""
        self._waiting.append(reply := self.context.reply_later(message))
        if self._answer_waiting():
            self.context.stop()
        return reply

    # What the meeting hears from elsewhere

    @handler
    def _begin(self, message: _Begin) -> None:
        self.context.timers.after("time is up", self.rules.max_seconds, _TimeIsUp())
        missing: dict[str, str] = {}
        for name, attendee in self._attendees.items():
            agent = attendee.agent
            ref = self.agents.find(agent) if isinstance(agent, str) else agent
            if ref is None:
                missing[name] = "there is no agent with that id"
            elif ref in self._names:
                missing[name] = f"is known as {self._names[ref]} already"
            else:
                self._refs[name] = ref
                self._names[ref] = name
                self.context.watch(ref)
        self._do(self._plan.begin, missing)

    @handler
    def _answered(self, message: _Answered) -> None:
        self._do(message.put, message.value)

    @handler
    def _time_is_up(self, message: _TimeIsUp) -> None:
        self._do(self._plan.time_is_up)

    @handler
    def _forget(self, message: _Forget) -> None:
        self.context.stop()

    @handler
    def _terminated(self, message: Terminated) -> None:
        name = self._names.get(message.ref)
        if name is not None:
            self._do(self._plan.gone, name, f"has ended: {message.reason}")

    # Doing what the plan says

    def _do(self, happened: Callable[P, T], *facts: P.args, **more: P.kwargs) -> T:
        """Something has *happened*; do what follows from that."""
        self._plan.now = self._env.now() - self._began
        result = happened(*facts, **more)
        self._inform()
        for effect in self._plan.effects():
            self._effect(effect)
        return result

    def _effect(self, effect: Effect) -> None:
        match effect:
            case Invite(name):
                if name in self._refs:
                    self._ask(partial(self._invite, name), partial(take_rsvp, self._plan, name), f"invite:{name}")
            case AskToSpeak(ticket, turn, name):
                work = partial(self._give_floor, name, turn)
                self._turn_task = self._ask(work, partial(take_words, self._plan, ticket), f"turn:{turn}")
            case AskToChoose(ticket, name, candidates):
                work = partial(self._ask_to_choose, name, candidates)
                self._turn_task = self._ask(work, partial(take_choice, self._plan, ticket), f"choice:{ticket}")
            case TakeBack():
                if self._turn_task is not None:
                    self._turn_task.cancel()
            case Dismiss(name):
                self._told.pop(name, None)
            case Close(ended):
                self._close(ended)

    def _ask(self, work: _Work, put: Callable[[Any], None], name: str) -> asyncio.Task[Any]:
        """Ask somebody, beside the handlers; what comes of it is *put*."""
        task: asyncio.Task[Any] = self.context.start_task(_outcome(work), name=name)
        self.context.pipe_to_self(task, partial(_Answered, put), failed=partial(_Answered, put))
        return task

    async def _invite(self, name: str) -> object:
        if self._ended is not None:
            return Rsvp(coming=False)
        self._invited.add(name)
        invitation = Invitation(
            meeting=self.context.ref,
            meeting_id=self.id,
            topic=self.topic,
            name=name,
            required=self._attendees[name].required,
            attendees=tuple(self._attendees),
            seconds=self.rules.invite_seconds,
        )
        return await self._refs[name].ask(invitation, timeout=self.rules.invite_seconds)

    async def _give_floor(self, name: str, turn: int) -> object:
        view = self._plan.view()
        your_turn = YourTurn(
            text=self.words_for_turn(name, view),
            speaker=self.id,
            conversation=self._conversation,
            meeting=self.context.ref,
            turn=turn,
            seconds=self.rules.turn_seconds,
            version=view.version,
            state=view.state,
        )
        return await self._refs[name].ask(your_turn, timeout=self.rules.turn_seconds)

    async def _ask_to_choose(self, name: str, candidates: tuple[str, ...]) -> object:
        choose = ChooseSpeaker(
            text=f"Who shall speak next? There are {', '.join(candidates)}. Name nobody to close the meeting.",
            speaker=self.id,
            conversation=self._conversation,
            meeting=self.context.ref,
            candidates=candidates,
        )
        return await self._refs[name].ask(choose, timeout=self.rules.turn_seconds)

    # Telling the members

    def _inform(self) -> None:
        """Tell each member the minutes behind those that it was told last; nothing comes behind the end."""
        if self._ended is not None:
            return
        for name in self._plan.members:
            self._told.setdefault(name, (0, 0))
        minutes = self._plan.minutes
        news = cache(self._news)  # most members have been told the same, and are told one message
        for name, (number, incarnation) in list(self._told.items()):
            ref = self._refs[name]
            now = _incarnation(ref)
            if now != incarnation:  # it was restarted, and may have forgotten what it was told
                number = 0
            if number < len(minutes) and ref._accepts and ref.tell(news(number)):  # pyright: ignore[reportPrivateUsage]
                number = len(minutes)
            self._told[name] = (number, now)

    def _news(self, number: int) -> MeetingNews:
        news = tuple(self._plan.minutes[number:])
        alone = len(news) == 1 and news[0].kind == "said"
        return MeetingNews(
            text=news[0].text if alone else "\n".join(map(str, news)),
            speaker=news[0].who if alone else self.id,
            conversation=self._conversation,
            meeting_id=self.id,
            minutes=news,
        )

    # The end

    def _close(self, ended: MeetingEnded) -> None:
        self._ended = ended
        self.context.timers.cancel("time is up")
        self._over.set_result(None)
        self._tell_end(ended)
        if self._answer_waiting():
            self.context.stop()
        else:
            self.context.timers.after("forget", self.rules.keep_seconds, _Forget())

    def _tell_end(self, ended: MeetingEnded) -> None:
        members = self._plan.members
        for name in self._plan.audience:
            ref = self._refs[name]
            # An invitation that was still to be sent is not sent any more.
            if (name in self._invited or name in members) and ref._accepts:  # pyright: ignore[reportPrivateUsage]
                ref.tell(ended)

    def _answer_waiting(self) -> bool:
        """Tell whoever waits for the end that it is there; False: nobody does, or it is not."""
        if self._ended is None:
            return False
        waiting, self._waiting = self._waiting, []
        told = [reply for reply in waiting if reply.open and reply.send(self._ended)]
        return bool(told)

    async def _see_to_the_end(self, stands: asyncio.Future[None]) -> None:
        """Tell all if the actor ends before the meeting does, whatever ends it: no hook is called when it is killed."""
        stands.set_result(None)
        meeting = self.context.ref
        try:
            await asyncio.wait([self._over])
        except asyncio.CancelledError:
            if self._ended is None and self._understudy_cell.ending is None:
                meeting.kill()  # somebody has cancelled this task alone, which is a failure
            raise
        finally:
            if self._ended is None:
                self._end_with_actor()

    def _end_with_actor(self) -> None:
        ending = self._understudy_cell.ending
        reason = Killed() if ending is None else ending.final_reason()
        self._plan.stopped(f"its actor has ended: {reason}", failed=is_abnormal(reason))
        self._inform()
        for effect in self._plan.effects():
            if isinstance(effect, Close):
                self._ended = effect.ended
                self._tell_end(effect.ended)
                self._answer_waiting()

    # Inside

    @property
    def _env(self) -> Any:
        return runtime_of(self.context.system).env

    def _name_of(self, message: MemberMessage[Any]) -> str:
        """Who has sent *message*.

        Raises:
            NotInMeeting: Somebody who was not invited.
        """
        sender = self.context.sender
        name = message.member if sender is None else self._names.get(sender, "")
        if name not in self._refs:
            who = message.member if sender is None else sender.path
            raise NotInMeeting(self.id, who, "it was not invited")
        return name


async def _outcome(work: _Work) -> object:
    """What *work* returns, or its error, which is no failure of the meeting."""
    try:
        return await work()
    except Exception as error:
        return error


def _incarnation(ref: ActorRef[Any]) -> int:
    """Which incarnation gets what is told now; always the same for an actor elsewhere, of which that is not known."""
    cell: Any = ref._cell  # pyright: ignore[reportPrivateUsage]
    return getattr(cell, "incarnation", 0)


def _checked_state(state: BaseModel | None) -> BaseModel | None:
    if state is None or getattr(type(state), "model_config", {}).get("frozen"):
        return state
    problem = f"must be a frozen pydantic model, since members are shown it and change it by ChangeState: got {state!r}"
    raise InvalidSpec(child="meeting", field="state", problem=problem)
