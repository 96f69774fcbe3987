"""``Tab``: one connection of the page, from the moment in which its server knows whose it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from starlette.websockets import WebSocketDisconnect

from understudy.agents._chat_frames import BAD_FRAME, GONE, Delivered, Done, StillOpen, Welcome, parse_act, to_text
from understudy.agents._deliveries import ApprovalOpened, DeliveryGap, QuestionOpened, SeatEnded
from understudy.agents._errors import SeatClosed
from understudy.transports._bell import Bell
from understudy.transports._errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.websockets import WebSocket

    from understudy.agents._chat_acts import Acts
    from understudy.agents._seat import Seat

__all__ = ["Tab", "close", "next_text"]

ANSWERS = 100
"""Answers to acts that may wait for the page to read them."""


class TooSlow(Exception):
    """The page does not read what it is told."""


class Tab:
    """Tells one page what the person is told, from where it left off, and does what the person does there.

    Each reads the outbox by itself: one that is slow misses something, and is told so, or is cut off; no other one, and
    nobody who has something to say, ever waits for it.

    Args:
        ws: The connection, which has been accepted.
        seat: Where the person sits.
        acts: What the person does.
        patience: Seconds that the page may take to read one frame.
    """

    def __init__(self, ws: WebSocket, seat: Seat, acts: Acts, *, patience: float) -> None:
        self._ws = ws
        self._seat = seat
        self._acts = acts
        self._patience = patience
        self._answers: deque[Done] = deque()
        self._news = Bell(asyncio.get_running_loop())

    async def serve(self, welcome: Welcome, after: int) -> int | None:
        """Serve the page to its end; returns the code to close with, None when there is nobody to be told.

        Args:
            welcome: What it is told first.
            after: The cursor of the last delivery that it shows.
        """
        # Tasks of the agent: a bug in one of them is its failure, and not a line in the log of a server.
        tasks: list[asyncio.Task[int | None]] = []
        try:
            for part in (self._listen, self._answer, partial(self._tell, welcome, after)):
                task = self._seat.start_task(_coded(part), name="tab")
                tasks.append(task)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = (task for task in tasks if task.done() and not task.cancelled() and task.exception() is None)
            return next((task.result() for task in ended), GONE)
        except SeatClosed:
            return GONE
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _listen(self) -> int | None:
        while len(self._answers) <= ANSWERS:
            self._acts.begin(parse_act(await next_text(self._ws)), self._hear)
        return None  # it asks, and reads no answer

    async def _tell(self, welcome: Welcome, after: int) -> int | None:
        await self._send(welcome)
        async for delivery in self._seat.read(after=after):
            await self._send(Delivered(delivery=delivery))
            if isinstance(delivery, DeliveryGap):
                await self._send(self._still_open())
            if isinstance(delivery, SeatEnded):
                break
        return GONE

    def _still_open(self) -> StillOpen:
        waiting = self._seat.waiting
        return StillOpen(
            questions=tuple(each.number for each in waiting if isinstance(each, QuestionOpened)),
            approvals=tuple(each.number for each in waiting if isinstance(each, ApprovalOpened)),
        )

    async def _answer(self) -> int | None:
        while True:
            while self._answers:
                await self._send(self._answers.popleft())
            await self._news.wait()

    def _hear(self, done: Done) -> None:
        self._answers.append(done)
        self._news.ring()

    async def _send(self, frame: Welcome | Delivered | StillOpen | Done) -> None:
        await _send_text(self._ws, to_text(frame), self._patience)


async def _coded(part: Callable[[], Awaitable[int | None]]) -> int | None:
    """What *part* returns, or the code that stands for why it has ended."""
    try:
        return await part()
    except (WebSocketDisconnect, TooSlow):
        return None
    except ProtocolError:
        return BAD_FRAME
    except SeatClosed:
        return GONE


async def next_text(ws: WebSocket) -> str:
    """The next text frame.

    Raises:
        WebSocketDisconnect: There is none any more.
        ProtocolError: It is none of text.
    """
    message = await ws.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    text: str | None = message.get("text")
    if text is None:
        raise ProtocolError(problem="bytes came, where text was due")
    return text


async def close(ws: WebSocket, code: int, patience: float) -> None:
    """Close *ws*, unless it has ended, or its peer reads nothing; its server drops it then."""
    with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):
        async with asyncio.timeout(patience):
            await ws.close(code)


async def _send_text(ws: WebSocket, text: str, patience: float) -> None:
    """Hand a frame over; waits while the peer has not read enough of those before.

    Raises:
        WebSocketDisconnect: The connection has ended.
        TooSlow: The peer took nothing in time.
    """
    try:
        async with asyncio.timeout(patience):
            await ws.send_text(text)
    except TimeoutError:
        raise TooSlow from None
    except RuntimeError:  # the server has closed it by itself: it was too long a frame, or nobody answers its pings
        raise WebSocketDisconnect(1006) from None
