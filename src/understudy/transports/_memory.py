"""The transport within a process: two ends of a pair of bounded queues."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from understudy.transports._connection import PeerFacts, TransportOptions
from understudy.transports._errors import ConnectionLost, UnsafeListener

if TYPE_CHECKING:
    from understudy.environment import Environment
    from understudy.transports._connection import ConnectionLimits, Serve

__all__ = ["MemoryTransport"]

_ROOM = 16
"""Messages that may be on their way in one direction."""

_listeners: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, MemoryListener]] = (
    weakref.WeakKeyDictionary()
)
"""By event loop and name: loops share nothing, so that tests do not."""


class MemoryTransport:
    """``memory://name``: listeners have names, and who is in the same event loop can connect to them.

    It is for tests, and for systems that live in one process. Who can call it can reach into the other system anyway,
    so it needs neither token nor TLS.
    """

    schemes = ("memory",)
    """Those of its URLs."""

    async def listen(self, url: str, serve: Serve, options: TransportOptions, env: Environment) -> MemoryListener:
        """Accept connections under a name.

        Raises:
            OSError: Somebody listens there.
            UnsafeListener: The URL has no name.
        """
        name = _name_of(url)
        names = _listeners.setdefault(env.loop, {})
        if name in names:
            raise OSError(f"somebody listens at memory://{name} already")
        listener = names[name] = MemoryListener(name, serve, options.limits, env)
        return listener

    async def connect(self, url: str, options: TransportOptions, env: Environment) -> MemoryConnection:
        """Connect to the listener of that name.

        Raises:
            ConnectionLost: There is none, or it has as many connections as it may have.
            UnsafeListener: The URL has no name.
        """
        name = _name_of(url)
        listener = _listeners.get(env.loop, {}).get(name)
        if listener is None:
            raise ConnectionLost(peer=url, why="nobody listens there")
        return listener.accept(options.limits)


class MemoryListener:
    """See :class:`understudy.transports._connection.Listener`."""

    def __init__(self, name: str, serve: Serve, limits: ConnectionLimits, env: Environment) -> None:
        self._name = name
        self._serve = serve
        self._limits = limits
        self._env = env
        self._serving: dict[asyncio.Task[None], MemoryConnection] = {}
        self._made = 0

    @property
    def url(self) -> str:
        """Where others connect."""
        return f"memory://{self._name}"

    def accept(self, limits: ConnectionLimits) -> MemoryConnection:
        """A new connection: the end of the client, whose limits these are."""
        if len(self._serving) >= min(self._limits.max_connections, self._limits.max_connections_per_address):
            raise ConnectionLost(peer=self.url, why="it has too many connections")
        self._made += 1
        label = f"{self.url}#{self._made}"
        there, back = _Pipe(self._env), _Pipe(self._env)
        ours = MemoryConnection(label, back, there, self._limits, self._env)
        task = self._env.start_task(self._run(ours), name=f"link:{label}", context=Context(), on_done=self._ended)
        if not task.done():
            self._serving[task] = ours
        return MemoryConnection(self.url, there, back, limits, self._env)

    async def aclose(self) -> None:
        """Accept no more, and end all connections."""
        names = _listeners.get(self._env.loop, {})
        if names.get(self._name) is self:
            del names[self._name]
        for connection in list(self._serving.values()):
            await connection.aclose("the listener was closed")
        pending = [task for task in self._serving if task is not asyncio.current_task()]
        if pending:
            await asyncio.wait(pending)

    async def _run(self, connection: MemoryConnection) -> None:
        try:
            await self._serve(connection)
        except Exception as error:
            problem = {"message": f"understudy: serving {connection.peer.address} failed", "exception": error}
            self._env.loop.call_exception_handler(problem)
        finally:
            await connection.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        connection = self._serving.pop(task, None)
        if connection is not None:
            connection.cut("the listener was closed", clean=True)


class MemoryConnection:
    """See :class:`understudy.transports._connection.Connection`."""

    def __init__(self, label: str, out: _Pipe, into: _Pipe, limits: ConnectionLimits, env: Environment) -> None:
        self.peer = PeerFacts(transport="memory", address=label, encrypted=True)
        self._out = out
        self._in = into
        self._limits = limits
        self._env = env

    async def send(self, data: bytes) -> None:
        """Hand *data* over; waits for room."""
        if len(data) > self._limits.max_size:
            raise ValueError(f"a message of {len(data):,} bytes is larger than max_size ({self._limits.max_size:,})")
        if self._out.is_full():
            try:
                async with asyncio.timeout(self._limits.frame_timeout):
                    while self._out.is_full():
                        await self._out.wait_room()
            except TimeoutError:
                self.cut("the peer took nothing in time")
        if self._out.ended is not None:
            raise self._lost(*self._out.ended)
        self._out.put(data)

    async def receive(self) -> bytes:
        """The next message."""
        if self._in.is_dry():
            try:
                async with asyncio.timeout(self._limits.idle_timeout):
                    while self._in.is_dry():
                        await self._in.wait_news()
            except TimeoutError:
                self.cut("the peer sent nothing in time")
        if not self._in.items:
            assert self._in.ended is not None
            raise self._lost(*self._in.ended)
        data = self._in.take()
        if len(data) > self._limits.max_size:
            self.cut(f"a message of {len(data):,} bytes came, larger than max_size ({self._limits.max_size:,})")
            raise self._lost(f"a message of {len(data):,} bytes came, more than {self._limits.max_size:,}", False)
        return data

    async def aclose(self, reason: str = "") -> None:
        """End it; what was sent before can still be received."""
        self.cut(reason or "it was closed", clean=True)

    def cut(self, why: str, *, clean: bool = False) -> None:
        """End both directions, at once."""
        for pipe in (self._out, self._in):
            pipe.end(why, clean)

    def _lost(self, why: str, clean: bool) -> ConnectionLost:
        return ConnectionLost(peer=self.peer.address, why=why, clean=clean)


class _Pipe:
    """One direction."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.items: deque[bytes] = deque()
        # Why, and whether it was meant.
        self.ended: tuple[str, bool] | None = None
        # Waited for by the receiver and the sender, of whom there is one each.
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def is_full(self) -> bool:
        """The sender has to wait."""
        return self.ended is None and len(self.items) >= _ROOM

    def is_dry(self) -> bool:
        """The receiver has to wait."""
        return self.ended is None and not self.items

    def put(self, data: bytes) -> None:
        self.items.append(data)
        _wake(self._news)

    def take(self) -> bytes:
        data = self.items.popleft()
        _wake(self._room)
        return data

    def end(self, why: str, clean: bool) -> None:
        if self.ended is None:
            self.ended = (why, clean)
            _wake(self._news)
            _wake(self._room)

    async def wait_news(self) -> None:
        self._news = self._env.loop.create_future()
        await self._news

    async def wait_room(self) -> None:
        self._room = self._env.loop.create_future()
        await self._room


def _wake(future: asyncio.Future[Any] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _name_of(url: str) -> str:
    name = urlsplit(url).netloc
    if not name:
        raise UnsafeListener(url=url, problem="must be like memory://name")
    return name
