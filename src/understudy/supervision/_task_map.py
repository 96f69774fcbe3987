"""``tasks.map(...)``: a task for each item, so many at a time, and their results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from understudy.actors._waiting import Waiting
from understudy.environment import thread_id
from understudy.exceptions import InvalidContext
from understudy.supervision._task import all_ended

if TYPE_CHECKING:
    from types import TracebackType

    from understudy.supervision._task import Outcome

__all__ = ["Flight", "TaskMap"]

R_co = TypeVar("R_co", covariant=True)
Code: TypeAlias = Callable[..., Awaitable[Any]]
Begin: TypeAlias = Callable[[Code, tuple[Any, ...]], "Awaitable[Outcome[Any]]"]
"""What starts a task: of that code, with these arguments."""


class TaskMap(Generic[R_co]):
    """The results of ``tasks.map(...)``; made there, and used with ``async for``, once and by one consumer.

    When the loop comes to its end, or an error comes out of it, or the consumer is cancelled while it waits, everything
    has ended. One that leaves with ``break``, or by an error of its own, has everything cancelled at that moment, if
    nothing else refers to this object; ``async with`` around the loop, or ``aclose()``, waits for the ends too.
    """

    __slots__ = ("__weakref__", "_busy", "_exceptions", "_flight", "_loop", "_thread")

    def __init__(self, flight: Flight, *, exceptions: bool) -> None:
        self._flight = flight
        self._exceptions = exceptions
        self._busy = False
        self._loop = asyncio.get_running_loop()
        self._thread = thread_id()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R_co:
        if self._busy:
            raise InvalidContext(what="a map of tasks", problem="somebody waits for its next result already")
        self._busy = True
        flight = self._flight
        try:
            outcome = await flight.next()
            if outcome is None:
                raise StopAsyncIteration
            return self._taken(outcome)
        except BaseException:
            await flight.close()
            raise
        finally:
            self._busy = False
            outcome = None
            del self, flight  # or the traceback of the error would hold the error

    def _taken(self, outcome: Outcome[Any]) -> R_co:
        try:
            value: R_co = outcome.take()
        except Exception as error:
            if not self._exceptions:
                raise
            failure: Any = error.with_traceback(None)
            return failure  # type: ignore[no-any-return]  # R_co has it in it
        else:
            return value
        finally:
            del outcome

    async def aclose(self) -> None:
        """Cancel everything that is under way, and wait until it has ended. There are no more results."""
        await self._flight.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._flight.close()

    def __del__(self) -> None:
        # What is under way knows the flight, but not this object, so this one goes with its last consumer.
        if thread_id() == self._thread:
            self._flight.cancel()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._flight.cancel)


class Flight:
    """What is under way.

    There are never more than *limit* items of it, those counted that have ended and are not yet taken: who is slow to
    take results is slow to be given more, and the source is asked for nothing before there is room for it. A source
    that is asynchronous is read by a task of its own, the feeder.
    """

    def __init__(
        self,
        begin: Begin,
        function: Code,
        source: Iterator[Any] | AsyncIterator[Any],
        *,
        limit: int,
        ordered: bool,
    ) -> None:
        self._begin = begin
        self._function = function
        self._source = source
        self._limit = limit
        self._ordered = ordered
        # Not yet taken, the oldest first; and those of them that have ended, the first first.
        self._items: dict[Outcome[Any], None] = {}
        self._ended: deque[Outcome[Any]] = deque()
        self._feeder: Outcome[None] | None = None
        self._exhausted = False
        # What the source has raised; told when all that came before it has been taken.
        self._failure: BaseException | None = None
        self._closed = False
        self._left: list[Outcome[Any]] = []
        # Waited for by the consumer, and by the feeder.
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    # The consumer

    async def next(self) -> Outcome[Any] | None:
        """The next outcome; None when there are no more."""
        while not self._closed:
            await self._fill()
            outcome = self._ready()
            if outcome is not None:
                del self._items[outcome]
                _wake(self._room)
                return outcome
            if self._exhausted and not self._items:
                if self._failure is not None:
                    raise self._failure
                return None
            await self._wait()
        return None

    def _ready(self) -> Outcome[Any] | None:
        if self._ordered:
            oldest = next(iter(self._items), None)
            return oldest if oldest is not None and oldest.published.done() else None
        return self._ended.popleft() if self._ended else None

    async def _wait(self) -> None:
        """Until something has happened; who is an actor is seen to wait for the oldest, which it has to in the end."""
        self._news = asyncio.get_running_loop().create_future()
        oldest = next((each for each in self._items if not each.published.done()), self._feeder)
        with Waiting.now().on(*([] if oldest is None else [oldest.cell])):
            await self._news

    def cancel(self) -> None:
        """Nobody takes the results any more."""
        if self._closed:
            return
        self._closed = True
        self._left = [*self._items] if self._feeder is None else [self._feeder, *self._items]
        self._items.clear()
        self._ended.clear()
        for outcome in self._left:
            outcome.cancel("nobody takes its result any more")
            outcome.unheld()
        _wake(self._news)
        _wake(self._room)

    async def close(self) -> None:
        """The same, and wait until all has ended."""
        self.cancel()
        await all_ended(self._left)

    # The source

    async def _fill(self) -> None:
        """Start as many as there is room for."""
        source = self._source
        if isinstance(source, AsyncIterator):
            if self._feeder is None:
                self._feeder = await self._begin(self._feed, (source,))
                self._feeder.when_published = self._fed
            return
        while not self._exhausted and len(self._items) < self._limit:
            try:
                item = next(source)
            except StopIteration:
                self._exhausted = True
            except Exception as error:
                self._exhausted, self._failure = True, error
            else:
                await self._add(item)

    async def _add(self, item: object) -> None:
        outcome = await self._begin(self._function, (item,))
        if self._closed:  # while the supervisor was on its way up
            self._left.append(outcome)
            outcome.cancel("nobody takes its result any more")
            outcome.unheld()
            return
        self._items[outcome] = None
        outcome.when_published = partial(self._item_ended, outcome)

    def _item_ended(self, outcome: Outcome[Any]) -> None:
        outcome.when_published = None
        if outcome in self._items:
            self._ended.append(outcome)
            _wake(self._news)

    async def _feed(self, source: AsyncIterator[Any]) -> None:
        try:
            while await self._has_room():
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    break
                await self._add(item)
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    async def _has_room(self) -> bool:
        while len(self._items) >= self._limit and not self._closed:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        return not self._closed

    def _fed(self) -> None:
        self._exhausted = True
        assert self._feeder is not None
        try:
            self._feeder.take()
        except Exception as error:
            self._failure = error
        _wake(self._news)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
