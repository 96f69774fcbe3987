"""``Seat``: where a person sits, as an endpoint sees it; and ``HumanEndpoint``, the seam to whatever shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from understudy._plans._spec import check_count
from understudy.agents._deliveries import SeatEnded
from understudy.agents._errors import SeatClosed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from understudy.agents._approvals import Resolution
    from understudy.agents._deliveries import Delivery, OpenRequest
    from understudy.agents._outbox import Outbox

__all__ = ["HumanEndpoint", "Seat", "Sitting"]

T = TypeVar("T")


class HumanEndpoint(Protocol):
    """What shows a person what he is told, and passes on what he says: a terminal, a page, a callback.

    It may have an attribute ``interactive``; False says that nobody is there to be asked.
    """

    async def run(self, seat: Seat) -> None:
        """Serve the person until nothing more is to come from him, or until cancelled.

        It runs as a task of the :class:`HumanAgent`, once for each of its incarnations, each time with a new seat.
        When it returns, the person has left, and the agent ends by itself. An error that leaves it is a failure of the
        agent: its supervisor decides, and the next incarnation calls it again. What was delivered meanwhile is still
        there, by its cursor.
        """
        ...


class Sitting(Protocol):
    """What a seat needs of its agent."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    async def begin_turn(self, text: str, conversation: str) -> int:
        """See :meth:`Seat.say`."""
        ...

    async def end_turn(self) -> bool:
        """See :meth:`Seat.interrupt`."""
        ...

    def take_answer(self, number: int, text: str) -> None:
        """See :meth:`Seat.answer`."""
        ...

    async def take_decision(self, number: int, approve: bool, comment: str) -> Resolution:
        """See :meth:`Seat.decide`."""
        ...

    def start_beside(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """See :meth:`Seat.start_task`."""
        ...

    def leave(self) -> None:
        """See :meth:`Seat.leave`."""
        ...

    def finish(self) -> None:
        """See :meth:`Seat.close`."""
        ...


class Seat:
    """Where a person sits: what an endpoint is given by its :class:`HumanAgent`, for one incarnation of that.

    ::

        class Page:
            async def run(self, seat: Seat) -> None:
                async for delivery in seat.read(after=0):
                    show(delivery.model_dump_json())

    What the person is told is a list of deliveries, which are counted by a *cursor*: 1, 2, 3, ... The latest of them
    are kept, as many as the agent was made with, also through its restarts. Any number of readers read them, each from
    where it likes and as fast as it likes. *Not* promised: that a delivery is kept until somebody has read it. Whoever
    was too slow is told so by a :class:`DeliveryGap`, which has what still waits for an answer; nothing else is lost in
    silence. An end of the agent for good, and of the process, ends the list: nothing is on disk.

    All calls are for the event loop of the agent.

    Raises:
        SeatClosed: All calls but :meth:`read`: the agent has ended, or was restarted; the next incarnation passes
            another seat to its endpoint.
    """

    def __init__(self, agent: Sitting, outbox: Outbox, loop: asyncio.AbstractEventLoop, *, interactive: bool) -> None:
        self._agent = agent
        self._outbox = outbox
        self._loop = loop
        self._interactive = interactive
        self._ended = ""

    # What there is

    @property
    def name(self) -> str:
        """The id of the agent."""
        return self._agent.id

    @property
    def session(self) -> str:
        """Names the list of deliveries: a cursor of another session means nothing here."""
        return self._outbox.session

    @property
    def latest(self) -> int:
        """The cursor of the latest delivery; 0 if there was none yet."""
        return self._outbox.latest

    @property
    def waiting(self) -> tuple[OpenRequest, ...]:
        """The questions and approvals that wait for the person, oldest first."""
        return self._outbox.waiting

    @property
    def turn(self) -> int | None:
        """The number of the turn that is under way."""
        turn = self._outbox.turn
        return None if turn is None else turn.turn

    @property
    def interactive(self) -> bool:
        """Whether the person can be asked."""
        return self._interactive

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return bool(self._ended)

    # Reading

    def read(self, after: int = 0) -> AsyncIterator[Delivery]:
        """The deliveries after the cursor *after*, and then each as it comes; the last is :class:`SeatEnded`.

        Nobody waits for a reader, and a reader costs no memory but its cursor.

        Args:
            after: The cursor of the last delivery that was read. One that is larger than :attr:`latest` is none of this
                session, and stands for 0.

        Raises:
            InvalidSpec: *after* is no whole number from 0 on.
        """
        return _Reader(self, self._outbox, self._loop, check_count("after", after, f"read of {self.name}", least=0))

    # Speaking

    async def say(self, text: str, *, conversation: str = "") -> int:
        """Say something of one's own: a new turn, which is answered by deliveries. Returns its number.

        There is one turn at a time: while one is under way this waits until that is over, first come, first served. It
        returns when the turn has begun; that it fails is told by its :class:`TurnOver`, and so is its end.

        Raises:
            InvalidContext: The agent was made without anybody to talk to (``to=``).
        """
        self._check()
        return await self._agent.begin_turn(text, conversation)

    async def interrupt(self) -> bool:
        """Give up the turn that is under way, and wait until it is over; False: there was none."""
        self._check()
        return await self._agent.end_turn()

    async def idle(self) -> None:
        """Wait until no turn is under way, or the seat is closed; returns at once if none is."""
        while self._outbox.turn is not None and not self._ended:
            await self._outbox.news(self._loop)

    def answer(self, number: int, text: str) -> None:
        """Answer the question of that number. The first answer counts, and whoever has asked gets it.

        Raises:
            QuestionNotOpen: It has been answered, nobody waits for the answer any more, or there never was one.
        """
        self._check()
        self._agent.take_answer(number, text)

    async def decide(self, number: int, approve: bool, comment: str = "") -> Resolution:
        """Approve of the request of that number, or reject it; the first decision counts, through whatever channel.

        Returns:
            The decision that holds, and whether it is this one.

        Raises:
            NoSuchApproval: There is no request of that number.
            UnderstudyError: As from an ask of :class:`Approvals`.
        """
        self._check()
        return await self._agent.take_decision(number, approve, comment)

    def leave(self) -> None:
        """The person answers no more. Open questions, and those that come, are refused with ``NotInteractive``.

        Approvals are left to other channels. What is delivered can still be read.
        """
        self._check()
        self._interactive = False
        self._agent.leave()

    def start_task(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run *coroutine* beside the endpoint, as a task of the agent; see :meth:`Context.start_task`.

        It ends with the incarnation at the latest; if it fails, the agent has failed.
        """
        try:
            self._check()
        except SeatClosed:
            coroutine.close()
            raise
        return self._agent.start_beside(coroutine, name)

    def close(self) -> None:
        """The person has left for good: the agent ends by itself; returns at once."""
        self._check()
        self._agent.finish()

    # The agent's

    def end(self, reason: str) -> None:
        """Of the agent: it is over."""
        if not self._ended:
            self._ended = reason
            self._outbox.ring()

    @property
    def end_reason(self) -> str:
        """Why it is over; empty while it is not."""
        return self._ended

    def _check(self) -> None:
        if self._ended:
            raise SeatClosed(name=self.name, reason=self._ended)

    def __repr__(self) -> str:
        return f"<Seat of {self.name}{', closed' if self._ended else ''}>"


class _Reader(AsyncIterator["Delivery"]):
    """Reads on from a cursor."""

    def __init__(self, seat: Seat, outbox: Outbox, loop: asyncio.AbstractEventLoop, after: int) -> None:
        self._seat = seat
        self._outbox = outbox
        self._loop = loop
        self._cursor = after if after <= outbox.latest else 0
        self._over = False

    async def __anext__(self) -> Delivery:
        while not self._over:
            delivery = self._outbox.after(self._cursor)
            if delivery is not None:
                self._cursor = delivery.cursor
                return delivery
            if self._seat.end_reason:
                self._over = True
                return SeatEnded(cursor=self._cursor, reason=self._seat.end_reason)
            await self._outbox.news(self._loop)
        raise StopAsyncIteration
