"""Both ends of a stream that crosses a link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from understudy.actors._supervisor_ref import ref_of
from understudy.exceptions import AskTimeout
from understudy.transports._bell import Bell
from understudy.transports._errors import MessageNotAccepted, ProtocolError
from understudy.transports._frames import Part, Reply, Taken

if TYPE_CHECKING:
    from understudy.actors._cell import Cell
    from understudy.actors._streams import StreamAsk
    from understudy.transports._frames import Open
    from understudy.transports._inbound import Inbound
    from understudy.transports._wire import WireType

__all__ = ["Following", "Forwarding"]


class Forwarding:
    """On the side of the actor: reads the stream as anybody here would, and sends its parts."""

    def __init__(self, inbound: Inbound, frame: Open, cell: Cell, wire: WireType, message: Any) -> None:
        self._inbound = inbound
        self._link = inbound.link
        self._frame = frame
        self._cell = cell
        self._wire = wire
        self._message = message
        # Parts that may be sent; one more is in the buffer of the actor.
        self._room = max(frame.limit - 1, 1)
        self._news = Bell(self._link.node.runtime.env.loop)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = self._link.own(self._run(), f"stream:{self._cell.path}")

    def taken(self, count: int) -> None:
        """The consumer has taken so many."""
        if count < 1 or self._room + count > max(self._frame.limit - 1, 1):
            raise ProtocolError(problem="more parts taken than were sent")
        self._room += count
        self._news.ring()

    def cancel(self) -> None:
        """Nobody reads any more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        number, left = self._frame.id, self._frame.left
        try:
            async with asyncio.timeout(left):
                await self._forward()
        except asyncio.CancelledError:
            return
        except TimeoutError as error:
            timeout = AskTimeout(path=self._cell.path, message=self._message, seconds=left or 0.0, state="streaming")
            self._fail(error if isinstance(error, AskTimeout) else timeout)
        except Exception as error:
            self._fail(error)
        else:
            if self._inbound.forwarding.pop(number, None) is not None:
                self._link.put(Reply(number))

    async def _forward(self) -> None:
        stream = ref_of(self._cell).stream(self._message, timeout=self._frame.patience, buffer=1)
        stream.trace = self._frame.trace
        async with stream:
            async for part in stream:
                self._room -= 1
                body = self._link.codec.dump(self._wire.answer, part, f"a part of {self._wire.tag}")
                self._link.put(Part(self._frame.id), body)
                # Before the next is taken, or the actor would be one part further ahead.
                while self._room < 1:
                    await self._news.wait()

    def _fail(self, error: BaseException) -> None:
        if self._inbound.forwarding.pop(self._frame.id, None) is None:
            return
        if isinstance(error, MessageNotAccepted):
            self._link.node.report("warning", "a part could not be sent", path=self._cell.path, why=str(error))
        self._link.put_fault(self._frame.id, error)


class Following:
    """On the side of the consumer: puts parts into the buffer of his stream, and tells when he has taken some."""

    def __init__(self, inbound: Inbound, number: int, ask: StreamAsk) -> None:
        self._inbound = inbound
        self._number = number
        self._ask = ask
        self._arrived = 0
        self._told = 0

    def arrived(self, part: Any) -> None:
        """One more."""
        ask = self._ask
        if self._arrived - self._told >= max(ask.limit - 1, 1):
            raise ProtocolError(problem="more parts than there is room for")
        self._arrived += 1
        ask.arrive(part)
        if ask.room is None or ask.room.done():
            self._await_room()

    def _some_taken(self, future: asyncio.Future[None]) -> None:
        ask = self._ask
        taken = self._arrived - len(ask.parts) - self._told
        if taken > 0 and not ask.future.done():
            self._told += taken
            self._inbound.link.put(Taken(self._number, taken))
        if ask.parts and not ask.future.done():
            self._await_room()

    def _await_room(self) -> None:
        self._ask.room = room = self._inbound.link.node.runtime.env.loop.create_future()
        room.add_done_callback(self._some_taken)
