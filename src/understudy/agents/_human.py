"""``HumanAgent``: a person behind a mailbox."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast, get_args

from understudy._plans._spec import check_count, check_seconds
from understudy.actors._handler import handler
from understudy.actors._ref import ActorRef
from understudy.actors._reply import Reply
from understudy.actors._runtime import runtime_of
from understudy.agents._above import people_can_be_asked
from understudy.agents._agent import AsyncAgent
from understudy.agents._approvals import (
    APPROVALS,
    UNWANTED,
    ApprovalDecided,
    ApprovalRequested,
    Decide,
    ListPending,
    NoSuchApproval,
    PendingApproval,
    Resolution,
)
from understudy.agents._approving import Decision
from understudy.agents._conversation import Converse, Prompt, Said, Say
from understudy.agents._deliveries import (
    ApprovalClosed,
    ApprovalOpened,
    QuestionClosed,
    QuestionOpened,
    Remark,
    TurnOver,
    TurnText,
    TurnToolEnded,
    TurnToolStarted,
)
from understudy.agents._directory import AgentId
from understudy.agents._errors import NotInteractive, QuestionNotOpen, SeatClosed, TooManyQuestions
from understudy.agents._human_turn import HumanTurn
from understudy.agents._outbox import Outbox
from understudy.agents._remembered import remember
from understudy.agents._seat import HumanEndpoint, Seat
from understudy.exceptions import ActorNotFound, InvalidContext, InvalidSpec, UnderstudyError, Unhandled

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from understudy.reasons import ExitReason

__all__ = ["DeliveryMode", "HumanAgent"]

DeliveryMode: TypeAlias = Literal["stream", "buffered", "targeted"]

Counterpart: TypeAlias = "str | AgentId | ActorRef[Any] | type[AsyncAgent[Any]] | None"

T = TypeVar("T")

_MOST = 100
"""Questions that may wait for one person."""
_SHOWN = 60
"""Characters of a question that an error repeats."""

_WITHHELD: Mapping[DeliveryMode, tuple[type[object], ...]] = {
    "stream": (),
    "buffered": (TurnText,),
    "targeted": (TurnText, TurnToolStarted, TurnToolEnded, Remark),
}


@dataclass(frozen=True, slots=True)
class _OutboxOf:
    """The key of a person's agent in ``system.registry``, whose value is his outbox."""

    id: str


@dataclass(frozen=True, slots=True)
class _Question:
    """One that is open."""

    prompt: Prompt
    reply: Reply[Said]


@dataclass(frozen=True, slots=True)
class _Serve:
    """To oneself: begin."""


class HumanAgent(AsyncAgent[Prompt | Say | ApprovalRequested | ApprovalDecided]):
    """A person behind a mailbox: other agents ask and tell him, and he talks to one of them.

    ::

        child(HumanAgent, TerminalEndpoint(), to="desk/clerk").options(name="nina")

        said = await nina.ask(Prompt(text="Shall I send it?", speaker=self.id))     # waits for what she answers
        nina.tell(Say(text="It is sent.", speaker=self.id))

    How he is reached is up to the *endpoint*, which sees a :class:`Seat`: a terminal, a page, a callback. It may come
    and go; what he was told meanwhile is kept in an outbox, and read from a cursor.

    - A :class:`Prompt` is a question, and open until it has its one answer, through whatever channel. Whoever has asked
      and gives up, because of his deadline, a cancel or his end, closes it, and a late answer is told so. Any number of
      agents may ask at once, up to 100 questions. The mailbox is never held by one.
    - A :class:`Say` is delivered, and not answered.
    - What he says of his own accord is a turn: a stream of the agent *to*, or an ask of a ``Prompt`` if that has none.
    - Requests to the :class:`Approvals` of the system are delivered too, also those of before the start. A decision
      through any channel closes them in all.
    - Where nobody is there to answer, since there is no endpoint, or it is not *interactive*, or he has left, a
      question is refused at once with :class:`NotInteractive`, which leaves the agent as it was.

    The outbox is bounded: the oldest deliveries are dropped, whether they were read or not, so nobody ever waits for a
    reader. Questions and approvals that are open are known apart from it.

    When the endpoint returns, the agent ends by itself. When it fails, the agent has failed: the next incarnation calls
    it again, with the deliveries of before. Questions that were open then have failed with ``NoReply``, and a turn that
    was under way is interrupted. A subclass that has ``initialize`` or ``shutdown`` calls those of this class.

    Args:
        endpoint: Where the person sits. None: nowhere; he is only told things.
        to: Whom he talks to: the id or the path of an agent, its ref, or a class, of which the oldest agent is meant.
        delivery: What he wants to be told. ``"stream"``: all, as it comes. ``"buffered"``: answers in one piece.
            ``"targeted"``: only what is for him alone, in one piece: answers, questions and approvals; not what others
            just say, nor which tools are used.
        outbox: How many deliveries are kept.
        interactive: Whether he can be asked; by default what the endpoint says, else yes.
        approvals: Whether he is shown the requests for approval.
        patience: Seconds to wait for the next part of an answer to him; ``math.inf`` for ever.
        ends_program: Whether the program ends when he has left.
        id: Its id; see :class:`AsyncAgent`.
        description: Who it is.

    Raises:
        InvalidSpec: One of these is not allowed.
    """

    def __init__(
        self,
        endpoint: HumanEndpoint | None = None,
        *,
        to: Counterpart = None,
        delivery: DeliveryMode = "stream",
        outbox: int = 1_000,
        interactive: bool | None = None,
        approvals: bool = True,
        patience: float = 600.0,
        ends_program: bool = False,
        id: str = "",  # noqa: A002 - the name of the attribute
        description: str = "",
    ) -> None:
        if delivery not in get_args(DeliveryMode):
            allowed = ", ".join(repr(each) for each in get_args(DeliveryMode))
            raise InvalidSpec(child="HumanAgent", field="delivery", problem=f"must be {allowed}, got {delivery!r}")
        if endpoint is not None and not callable(getattr(endpoint, "run", None)):
            problem = f"must have a method `async def run(self, seat)`, got {endpoint!r}"
            raise InvalidSpec(child="HumanAgent", field="endpoint", problem=problem)
        self._size = check_count("outbox", outbox, "HumanAgent", least=1)
        self._patience = check_seconds("patience", patience, "HumanAgent")
        self._endpoint = endpoint
        self._to: Counterpart = to
        self._delivery: DeliveryMode = delivery
        here = bool(getattr(endpoint, "interactive", True)) if interactive is None else interactive
        self._interactive = endpoint is not None and here
        self._approvals = approvals
        self._ends_program = ends_program
        if id:
            self.id = id
        if description:
            self.description = description
        self._away = ""
        # The open questions of this incarnation; each is in here as long as its reply is open, or a moment longer.
        self._questions: dict[int, _Question] = {}
        # How those that are not open any more were closed.
        self._closed: OrderedDict[int, str] = OrderedDict()
        # Decisions that came before it was heard that there was a request.
        self._decided: OrderedDict[int, None] = OrderedDict()
        self._turn: asyncio.Task[None] | None = None
        # Held from before a turn starts until it is over; whoever waits for it is served first come, first served.
        self._floor = asyncio.Lock()

    # The life of the agent

    def initialize(self) -> None:
        """Take over what was delivered before, and begin to serve the person."""
        self._interactive = self._interactive and people_can_be_asked(self)
        if not self._interactive:
            self._away = "it is not interactive" if self._endpoint is not None else "it has no endpoint"
        registry, key = self.context.system.registry, _OutboxOf(self.id)
        kept = registry.values(key)
        runtime = runtime_of(self.context.system)
        if kept:
            self._outbox = cast("Outbox", kept[0])
        else:
            session = runtime.env.token_bytes(8).hex()
            self._outbox = Outbox(self._size, session, _WITHHELD[self._delivery])
        self.context.register(key, self._outbox)
        self._close_what_was_open()
        self._seat = Seat(self, self._outbox, runtime.env.loop, interactive=self._interactive)
        if self._approvals:
            for event in (ApprovalRequested, ApprovalDecided):
                self.context.system.events.subscribe(event, self.context.ref)
        self.context.tell_self(_Serve())

    def shutdown(self, reason: ExitReason) -> None:
        """Tell whoever reads that it is over."""
        self._seat.end(str(reason))

    @handler
    def _serve(self, message: _Serve) -> None:
        if self._endpoint is not None:
            self.context.start_task(self._run(self._endpoint), name="endpoint")
        if self._approvals:
            self.context.start_task(self._list_pending(), name="approvals")

    async def _run(self, endpoint: HumanEndpoint) -> None:
        seat = self._seat
        try:
            await endpoint.run(seat)
            self.finish()
        finally:
            seat.end("its endpoint has ended")

    def _close_what_was_open(self) -> None:
        """What an earlier incarnation has left open, which nobody waits for any more."""
        for number in self._outbox.numbers("question"):
            self._outbox.post(QuestionClosed, number=number, why="given_up")
        turn = self._outbox.turn
        if turn is not None:
            self._outbox.post(TurnOver, turn=turn.turn, status="interrupted", conversation=turn.conversation)

    # What others say

    @handler
    def hear(self, message: Say) -> None:
        """Deliver it."""
        self._outbox.post(
            Remark,
            text=message.text,
            speaker=message.speaker,
            conversation=message.conversation,
            end_of_turn=message.end_of_turn,
        )

    @handler
    def question(self, message: Prompt) -> Reply[Said]:
        """Deliver it, and answer when the person has."""
        if len(self._questions) >= _MOST:
            raise TooManyQuestions(who=self.id, most=_MOST)
        if self._away:
            self._outbox.post(QuestionClosed, number=self._deliver(message), why="refused")
            raise NotInteractive(who=self.id, what=_shortened(message.text), state=self._away)
        try:
            reply = self.context.reply_later(message)
        except InvalidContext:
            raise Unhandled(path=self.context.path, message=message, remedy="ask it, or tell a Say") from None
        number = self._deliver(message)
        self._questions[number] = _Question(message, reply)
        reply.when_closed(partial(self._given_up, number))
        return reply

    def _deliver(self, question: Prompt) -> int:
        number = self._outbox.next_question()
        self._outbox.post(
            QuestionOpened,
            number=number,
            text=question.text,
            speaker=question.speaker,
            conversation=question.conversation,
        )
        return number

    def take_answer(self, number: int, text: str) -> None:
        """See :meth:`Seat.answer`."""
        question = self._questions.get(number)
        if question is None or not question.reply.open:
            state = self._closed.get(number, "unknown") if question is None else "given_up"
            raise QuestionNotOpen(who=self.id, number=number, state=state)
        self._close(number, "answered", text)
        question.reply.send(Said(text=text, speaker=self.id, conversation=question.prompt.conversation))

    def _given_up(self, number: int) -> None:
        if number in self._questions:
            self._close(number, "given_up")

    def _close(self, number: int, why: Literal["answered", "given_up", "refused"], text: str = "") -> None:
        del self._questions[number]
        remember(self._closed, number, why)
        if self._outbox.is_open("question", number):
            self._outbox.post(QuestionClosed, number=number, why=why, text=text)

    def leave(self) -> None:
        """See :meth:`Seat.leave`."""
        self._away = self._away or "the person has left"
        for number, question in list(self._questions.items()):
            self._close(number, "refused")
            if question.reply.open:
                what = _shortened(question.prompt.text)
                question.reply.fail(NotInteractive(who=self.id, what=what, state=self._away))

    def finish(self) -> None:
        """See :meth:`Seat.close`."""
        self.leave()
        self.context.stop()
        if self._ends_program:
            self.end_program()

    # What the person says

    async def begin_turn(self, text: str, conversation: str) -> int:
        """See :meth:`Seat.say`."""
        message = Converse(text=text, speaker=self.id, conversation=conversation)
        if self._to is None:
            problem = "nobody was named to talk to: make the agent with HumanAgent(..., to=...)"
            raise InvalidContext(what=f"say of {self.id}", problem=problem)
        await self._floor.acquire()
        try:
            if self._seat.closed:
                raise SeatClosed(name=self.id, reason=self._seat.end_reason)
            turn = HumanTurn(self._outbox, message, self._counterpart, self._patience)
            self._turn = self.context.start_task(turn.run(), name=f"turn:{turn.number}")
        except BaseException:
            self._floor.release()
            raise
        self._turn.add_done_callback(partial(self._turn_over, turn))
        return turn.number

    def _turn_over(self, turn: HumanTurn, _: asyncio.Task[None]) -> None:
        turn.over("interrupted")  # if it was cancelled before its first step
        self._turn = None
        self._floor.release()

    async def end_turn(self) -> bool:
        """See :meth:`Seat.interrupt`."""
        if self._turn is None:
            return False
        task = self._turn
        task.cancel()
        await asyncio.wait({task})
        return True

    def start_beside(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """See :meth:`Seat.start_task`."""
        return self.context.start_task(coroutine, name=name)

    def _counterpart(self) -> ActorRef[Any]:
        match self._to:
            case ActorRef():
                return self._to
            case AgentId(id=name):
                return self.agents.get(name)
            case str(name):
                return self.agents.find(name) or self.context.system.find(name) or self.agents.get(name)
            case type() as cls:
                found = self.agents.of(cls)
                if not found:
                    raise ActorNotFound(path=f"of the class {cls.__name__}")
                return found[0]
            case None:
                raise AssertionError

    # Approvals

    @handler
    def approval_requested(self, message: ApprovalRequested) -> None:
        """Deliver it, unless it is known, or decided already."""
        self._open_approval(message)

    @handler
    def approval_decided(self, message: ApprovalDecided) -> None:
        """Close it here too."""
        self._close_approval(message.number, message.decision)

    async def take_decision(self, number: int, approve: bool, comment: str) -> Resolution:
        """See :meth:`Seat.decide`."""
        approvals = self.context.system.registry.find(APPROVALS)
        try:
            if approvals is None:
                raise NoSuchApproval(number)
            decide = Decide(number=number, approve=approve, by=self.id, comment=comment)
            resolution: Resolution = await approvals.ask(decide)
        except NoSuchApproval:
            self._close_approval(number, UNWANTED)
            raise
        self._close_approval(number, resolution.decision)
        return resolution

    def _open_approval(self, found: ApprovalRequested | PendingApproval) -> None:
        if found.number not in self._decided and not self._outbox.is_open("approval", found.number):
            self._outbox.post(ApprovalOpened, number=found.number, request=found.request)

    def _close_approval(self, number: int, decision: Decision) -> None:
        if self._outbox.is_open("approval", number):
            self._outbox.post(ApprovalClosed, number=number, decision=decision)
        remember(self._decided, number, None)

    async def _list_pending(self) -> None:
        """Learn of the requests of before, and which of those that were open then have been decided meanwhile."""
        approvals = self.context.system.registry.find(APPROVALS)
        before = self._outbox.numbers("approval")
        if approvals is None:
            pending: tuple[PendingApproval, ...] = ()
        else:
            try:
                pending = await approvals.ask(ListPending())
            except UnderstudyError:
                return  # those that come are events
        for each in pending:
            self._open_approval(each)
        for number in set(before).difference(each.number for each in pending):
            self._close_approval(number, UNWANTED)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
