"""The transport within a process: two ends of a pair of bounded queues."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from understudy.transports._connection import PeerFacts, TransportOptions, check_size
from understudy.transports._errors import ConnectionLost, UnsafeListener
from understudy.transports._pipe import Pipe, PipedConnection
from understudy.transports._serving import Serving

if TYPE_CHECKING:
    from understudy.environment import Environment
    from understudy.transports._connection import ConnectionLimits, Serve

__all__ = ["MemoryTransport"]

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
        self._limits = limits
        self._env = env
        self._serving: Serving[MemoryConnection] = Serving(serve, env)
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
        there, back = Pipe(self._env), Pipe(self._env)
        ours = MemoryConnection(label, back, there, self._limits)
        self._serving.start(ours, label)
        return MemoryConnection(self.url, there, back, limits)

    async def aclose(self) -> None:
        """Accept no more, and end all connections."""
        names = _listeners.get(self._env.loop, {})
        if names.get(self._name) is self:
            del names[self._name]
        for connection in self._serving.connections:
            await connection.aclose("the listener was closed")
        await self._serving.join()


class MemoryConnection(PipedConnection):
    """See :class:`understudy.transports._connection.Connection`."""

    def __init__(self, label: str, out: Pipe, into: Pipe, limits: ConnectionLimits) -> None:
        super().__init__(PeerFacts(transport="memory", address=label, encrypted=True), into, limits)
        self._out = out

    async def send(self, data: bytes) -> None:
        """Hand *data* over; waits for room."""
        check_size(data, self._limits)
        try:
            await self._out.room.wait_while(self._out.is_full, self._limits.frame_timeout)
        except TimeoutError:
            self.cut("the peer took nothing in time")
        if self._out.ended is not None:
            raise self._lost(*self._out.ended)
        self._out.put(data)

    async def aclose(self, reason: str = "") -> None:
        """End it; what was sent before can still be received."""
        self.cut(reason or "it was closed", clean=True)

    def cut(self, why: str, *, clean: bool = False) -> None:
        """End both directions, at once."""
        for pipe in (self._out, self._in):
            pipe.end(why, clean)


def _name_of(url: str) -> str:
    name = urlsplit(url).netloc
    if not name:
        raise UnsafeListener(url=url, problem="must be like memory://name")
    return name
