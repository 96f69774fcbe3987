"""Streams: asks that are answered in parts.

A request for a stream is an :class:`Ask` whose future says how the stream has ended, so that it is accepted, refused,
lost and failed like any other; the parts pass beside it, in a buffer that both ends hold.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from understudy.actors._asks import FutureAsk
from understudy.actors._recall import Recall
from understudy.actors._waiting import Waiting, hand_now
from understudy.environment import thread_id
from understudy.exceptions import AskTimeout, ConsumerSlow, InvalidContext, Unhandled

if TYPE_CHECKING:
    from types import TracebackType

    from understudy.actors._ref import ActorRef

__all__ = ["Stream", "StreamAsk", "run_stream"]

T_co = TypeVar("T_co", covariant=True)


class StreamAsk(FutureAsk):
    """A request for a stream, with the parts that have been yielded and not been taken."""

    __slots__ = ("limit", "news", "parts", "patience", "room")

    def __init__(
        self, message: object, sender: Any, future: asyncio.Future[Any], cell: Any, seconds: float, deadline: float
    ) -> None:
        super().__init__(message, sender, future, cell, seconds, deadline)
        self.parts: deque[Any] = deque()
        # Never more parts than that.
        self.limit = 1
        # Seconds that either end waits for the other.
        self.patience = math.inf
        # Waited for by the consumer, and by the generator.
        self.news: asyncio.Future[None] | None = None
        self.room: asyncio.Future[None] | None = None

    def reply(self, value: object) -> bool:
        """The generator has come to its end. That nobody follows it any more is no loss."""
        super().reply(None)
        return True

    def take(self) -> Any:
        """The next part, of which there is one."""
        part = self.parts.popleft()
        _wake(self.room)
        return part

    def arrive(self, part: object) -> None:
        """Add *part*, whether there is room or not."""
        self.parts.append(part)
        _wake(self.news)

    async def put(self, part: object) -> None:
        """Add *part*; return when there is room for one more."""
        self.arrive(part)
        if len(self.parts) >= self.limit:
            runtime = self.cell.runtime
            now = runtime.env.now()
            self.room = room = runtime.env.loop.create_future()
            runtime.asks.add(Bound(room, now + self.patience, self._too_slow), now)
            await room

    def _too_slow(self) -> None:
        self.fail(ConsumerSlow(path=self.cell.path, message=self.message, seconds=self.patience))

    def no_part(self) -> None:
        """The consumer has waited too long."""
        if self.news is not None and not self.news.done():
            state = self.cell.state_of(self)
            error = AskTimeout(path=self.cell.path, message=self.message, seconds=self.patience, state=state)
            self.news.set_exception(error)

    def ended(self, future: asyncio.Future[Any]) -> None:
        """There will be no more parts: the consumer has to see why."""
        _wake(self.news)


class Bound:
    """How long one end waits for the other; goes with :meth:`DeadlineQueue.add`, as it holds no consumer."""

    __slots__ = ("_action", "deadline", "future")

    def __init__(self, future: asyncio.Future[None], deadline: float, action: Callable[[], None]) -> None:
        self.future = future
        self.deadline = deadline
        self._action = action

    def expire(self) -> None:
        """The time is up, unless the wait is over."""
        if not self.future.done():
            self._action()


async def run_stream(function: Callable[[Any, Any], AsyncGenerator[Any, None]], actor: Any, message: Any) -> None:
    """Run the generator of a stream, part by part, until it ends or nobody follows it any more."""
    ask = hand_now()
    if type(ask) is not StreamAsk:  # it was told, or asked
        raise Unhandled(path=actor.context.path, message=message)
    parts = function(actor, message)
    with Recall(ask) as recall:
        try:
            async for part in parts:
                if ask.future.done():  # it has not been cancelled yet, or has swallowed that
                    break
                await ask.put(part)
        finally:
            recall.disarm()
            # Here and now, in this task: nobody else would do it in time.
            await parts.aclose()


class Stream(AsyncIterator[T_co]):
    """The parts of a stream, for one consumer: what ``ref.stream(...)`` returns.

    It is used with ``async for``, once. The request is sent when the first part is asked for. When the loop comes to
    its end, or an error comes out of it, or the consumer is cancelled while it waits, the stream is closed, and the
    generator with it. One that leaves the loop earlier, by ``break`` or an error of its own, closes it as soon as
    nothing refers to this object any more; ``async with`` around the loop does it at that moment, whoever refers to it.
    """

    __slots__ = ("__weakref__", "_ask", "_busy", "_closed", "_limit", "_message", "_patience", "_ref", "trace")

    def __init__(self, ref: ActorRef[Any], message: Any, patience: float, limit: int) -> None:
        self._ref = ref
        self._message = message
        self._patience = patience
        self._limit = limit
        self.trace: Mapping[str, str] | None = None
        """What has come with the request for it from another node; for the runtime."""
        self._ask: StreamAsk | None = None
        self._busy = False
        self._closed = False

    async def __anext__(self) -> T_co:
        ask = self._ask
        if ask is None or not ask.parts:
            ask = await self._more()
        part: T_co = ask.take()
        return part

    async def _more(self) -> StreamAsk:
        """Return when there is a part."""
        if self._busy:
            raise InvalidContext(what=repr(self), problem="somebody waits for its next part already")
        self._busy = True
        try:
            ask = self._ask
            if ask is None and not self._closed:
                ask = await self._begin()
            while ask is not None and not self._closed:
                if ask.parts:
                    return ask
                if ask.future.done():
                    ask.future.result()  # raises what it has failed with
                    break
                await self._wait(ask)
            raise StopAsyncIteration
        except BaseException:
            self._close()
            raise
        finally:
            self._busy = False

    async def _begin(self) -> StreamAsk:
        cell = self._ref._cell  # pyright: ignore[reportPrivateUsage]
        cell.check_loop()
        runtime, waiting = cell.runtime, Waiting.now()
        now = runtime.env.now()
        deadline = math.inf if waiting.ask is None else waiting.ask.deadline
        future: asyncio.Future[None] = runtime.env.loop.create_future()
        left = max(deadline - now, 0.0)
        ask = StreamAsk(self._message, waiting.cell, future, cell, left, deadline)
        ask.limit, ask.patience = self._limit, self._patience
        if self.trace is not None:
            ask.trace = self.trace
        if cell.gate is not None:
            cell.refuse(self._message, ask.sender_path)
            raise cell.stopped_error(self._message)
        future.add_done_callback(ask.ended)
        self._ask = ask
        waiting.begin(cell, ask, self._message)
        try:
            if self._ref._queues:  # pyright: ignore[reportPrivateUsage]
                problem = self._ref._ask_now(ask)  # pyright: ignore[reportPrivateUsage]
                if problem is not None:
                    raise problem
            elif not cell.make_mailbox().offer(ask):
                await self._ref._put_ask(ask, min(self._patience, ask.seconds))  # pyright: ignore[reportPrivateUsage]
            cell.wake()
            runtime.dispatcher.run_ahead()
        finally:
            waiting.end(ask)
        if not future.done():
            runtime.asks.add(ask, now)
        return ask

    async def _wait(self, ask: StreamAsk) -> None:
        """Until something has happened."""
        runtime, waiting = ask.cell.runtime, Waiting.now()
        now = runtime.env.now()
        ask.news = news = runtime.env.loop.create_future()
        bound = Bound(news, now + self._patience, ask.no_part)
        waiting.begin(ask.cell, bound, self._message)
        runtime.asks.add(bound, now)
        try:
            await news
        finally:
            waiting.end(bound)
            news.cancel()

    async def aclose(self) -> None:
        """Want no more parts, and have the generator closed; does not wait until it is."""
        self._close()

    def _close(self) -> None:
        self._closed = True
        if self._ask is not None:
            self._ask.parts.clear()
            self._ask.give_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __repr__(self) -> str:
        return f"<Stream of {type(self._message).__name__} from {self._ref.path}>"

    def __del__(self) -> None:
        # The generator knows the ask, but not this object, so this one goes with its last consumer.
        ask = self._ask
        if ask is None or ask.future.done():
            return
        env = ask.cell.runtime.env
        if env.loop.is_closed():
            return
        if thread_id() == env.thread:
            ask.give_up()
        else:
            env.loop.call_soon_threadsafe(ask.give_up)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
