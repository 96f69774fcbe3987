"""``CallbackEndpoint``: a person who is reached by calls of functions."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from understudy.agents._deliveries import (
    ApprovalClosed,
    ApprovalOpened,
    DeliveryGap,
    QuestionClosed,
    QuestionOpened,
    key_of,
)
from understudy.agents._errors import QuestionNotOpen, SeatClosed
from understudy.exceptions import UnderstudyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from understudy.agents._deliveries import Delivery, OpenRequest
    from understudy.agents._seat import Seat

__all__ = ["CallbackEndpoint"]


class CallbackEndpoint:
    """Calls functions of yours: one for each question, one for each approval, and one for each delivery.

    ::

        async def ask_nina(question: QuestionOpened) -> str | None:
            return await my_chat.ask("nina", question.text)

        child(HumanAgent, CallbackEndpoint(ask_nina), to="desk/clerk")

    The functions for questions and approvals run beside each other, each in a task of its own, which is cancelled when
    nobody waits for the answer any more. One that returns None leaves the question to other channels. The function for
    deliveries gets one after another, questions included, and the next when it is done; if it is slow, deliveries are
    dropped, and it gets a :class:`DeliveryGap`. Each may be a plain function, which must not block, or a coroutine
    function; an error that leaves one is a failure of the agent.

    Args:
        question: Called for each question; what it returns is the answer.
        approval: Called for each request for approval; True approves.
        delivery: Called for each delivery.
        after: The cursor after which deliveries are read; it moves on, also through restarts of the agent.
    """

    def __init__(
        self,
        question: Callable[[QuestionOpened], str | Awaitable[str | None] | None] | None = None,
        *,
        approval: Callable[[ApprovalOpened], bool | Awaitable[bool | None] | None] | None = None,
        delivery: Callable[[Delivery], object | Awaitable[object]] | None = None,
        after: int = 0,
    ) -> None:
        self._question = question
        self._approval = approval
        self._delivery = delivery
        self.after = after
        """The cursor of the last delivery that was dealt with."""

    @property
    def interactive(self) -> bool:
        """Whether there is somebody to ask."""
        return self._question is not None

    async def run(self, seat: Seat) -> None:
        """See :class:`HumanEndpoint`; it goes on until it is cancelled, or the seat is closed."""
        if self._delivery is not None:
            seat.start_task(self._deliver(seat, self._delivery), name="deliveries")
        asked: dict[tuple[str, int], asyncio.Task[None]] = {}
        begin = seat.latest
        for request in seat.waiting:
            self._ask(seat, request, asked)
        async for delivery in seat.read(begin):
            match delivery:
                case QuestionOpened() | ApprovalOpened():
                    self._ask(seat, delivery, asked)
                case DeliveryGap():
                    for request in delivery.waiting:
                        self._ask(seat, request, asked)
                case QuestionClosed() | ApprovalClosed():
                    task = asked.pop(key_of(delivery), None)
                    if task is not None:
                        task.cancel()
                case _:
                    pass

    async def _deliver(self, seat: Seat, function: Callable[[Delivery], object]) -> None:
        async for delivery in seat.read(self.after):
            await _result(function(delivery))
            self.after = delivery.cursor

    def _ask(self, seat: Seat, request: OpenRequest, asked: dict[tuple[str, int], asyncio.Task[None]]) -> None:
        key = key_of(request)
        if key in asked:
            return
        if isinstance(request, QuestionOpened):
            if self._question is not None:
                asked[key] = seat.start_task(self._answer(seat, request, self._question), name=f"question:{key[1]}")
        elif self._approval is not None:
            asked[key] = seat.start_task(self._decide(seat, request, self._approval), name=f"approval:{key[1]}")

    async def _answer(self, seat: Seat, request: QuestionOpened, function: Callable[[QuestionOpened], Any]) -> None:
        text: str | None = await _result(function(request))
        if text is not None:
            with suppress(QuestionNotOpen, SeatClosed):
                seat.answer(request.number, text)

    async def _decide(self, seat: Seat, request: ApprovalOpened, function: Callable[[ApprovalOpened], Any]) -> None:
        approve: bool | None = await _result(function(request))
        if approve is not None:
            with suppress(UnderstudyError):  # it was decided by others, or is not to be decided any more
                await seat.decide(request.number, approve)


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
