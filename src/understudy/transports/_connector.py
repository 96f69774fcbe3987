"""Both ways to a link: accepting connections, and making one and making it again when it is lost."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from understudy._plans._backoff import next_delay
from understudy.transports._codec import has_msgpack
from understudy.transports._errors import ConnectionLost, HandshakeFailed, LinkDown, LinkError, ProtocolError
from understudy.transports._handshake import NONCE_SIZE, Handshake
from understudy.transports._link import Link

if TYPE_CHECKING:
    from typing import Literal

    from understudy.transports._connection import Connection, Listener, Transport, TransportOptions
    from understudy.transports._handshake import Session
    from understudy.transports._node import Node
    from understudy.transports._terms import Terms

__all__ = ["Connector", "Listening"]

_SELDOM = 1.0
"""Seconds between two lines about connections that were refused."""
_HEALTHY = 30.0
"""Seconds that a link must have been up for the waiting to begin anew."""


async def shake(connection: Connection, role: Literal["client", "server"], node: Node, terms: Terms) -> Session:
    """Become a link over *connection*, within the time for that.

    Raises:
        LinkError: It did not come to that; the connection is closed.
    """
    nonce = node.runtime.env.token_bytes(NONCE_SIZE)
    formats = ("msgpack", "json") if has_msgpack() else ("json",)
    handshake = Handshake(
        role, node.id, token=terms.token, nonce=nonce, facts=connection.peer, formats=formats, expect=terms.expect
    )
    try:
        async with asyncio.timeout(terms.options.handshake_timeout):
            said = handshake.begin()
            while True:
                if said is not None:
                    await connection.send(said)
                if handshake.session is not None:
                    return handshake.session
                said = handshake.receive(await connection.receive())
    except TimeoutError:
        await connection.aclose("too late")
        raise HandshakeFailed(peer=connection.peer.address, why="the handshake took too long") from None
    except (HandshakeFailed, ProtocolError) as error:
        unauthorized = isinstance(error, HandshakeFailed) and "unauthorized" in error.why
        await connection.aclose("unauthorized" if unauthorized else "refused")
        raise
    except ConnectionLost as lost:
        raise HandshakeFailed(peer=connection.peer.address, why=lost.why) from None
    except asyncio.CancelledError:
        await connection.aclose("it was cancelled")
        raise


class Listening:
    """What ``system.listen`` returns: others can connect until :meth:`aclose`, or until the system stops."""

    def __init__(self, node: Node, terms: Terms) -> None:
        self._node = node
        self._terms = terms
        self._listener: Listener | None = None
        self._links: dict[Link, None] = {}
        # Connections that were refused and are not in the log yet, and when the last line was written.
        self._refused = 0
        self._told = -math.inf

    async def start(self, transport: Transport, url: str, options: TransportOptions) -> Listening:
        """Begin to listen; for the node."""
        self._listener = await transport.listen(url, self._serve, options, self._node.runtime.env)
        self._node.adopt(self)
        return self

    @property
    def url(self) -> str:
        """Where others can connect; with the port that was chosen, where 0 was asked for."""
        assert self._listener is not None
        return self._listener.url

    @property
    def peers(self) -> tuple[str, ...]:
        """The names of the nodes that have connected here, and are linked now."""
        return tuple(link.session.peer.name for link in self._links if link.up.done())

    async def aclose(self) -> None:
        """Accept no more, and end the links that were accepted."""
        self._node.dismiss(self)
        closing = [self._node.start(link.close("the listener was closed"), "close") for link in self._links]
        if closing:
            await asyncio.wait(closing)
        if self._listener is not None:
            await self._listener.aclose()

    async def _serve(self, connection: Connection) -> None:
        try:
            session = await shake(connection, "server", self._node, self._terms)
        except LinkError as error:
            self._refuse(connection.peer.address, str(error))
            return
        link = Link(self._node, connection, session, self._terms, dialled=False)
        self._links[link] = None
        try:
            await link.run()
        finally:
            del self._links[link]

    def _refuse(self, peer: str, why: str) -> None:
        """A line of the log, or one more for the next: who is refused must not be able to fill it."""
        self._refused += 1
        now = self._node.runtime.env.now()
        if now >= self._told + _SELDOM:
            self._node.report("warning", "connection refused", peer=peer, why=why, times=self._refused)
            self._refused, self._told = 0, now


class Connector:
    """Keeps a link with one node, as long as it is wanted."""

    def __init__(self, node: Node, transport: Transport, url: str, options: TransportOptions, terms: Terms) -> None:
        self._node = node
        self._env = node.runtime.env
        self._transport = transport
        self._url = url
        self._options = options
        self._terms = terms
        self._link: Link | None = None
        self._first: asyncio.Future[str] = self._env.loop.create_future()
        self._closing: asyncio.Future[None] = self._env.loop.create_future()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Make the first link; the name of the other node. Only that one attempt is made.

        Raises:
            LinkError: It has failed.
        """
        self._task = self._node.start(self._run(), f"connect:{self._url}")
        self._node.adopt(self)
        try:
            return await self._first
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the link, and make no other."""
        self._node.dismiss(self)
        if not self._closing.done():
            self._closing.set_result(None)
        link, task = self._link, self._task
        if link is not None:
            await link.close("it was closed")
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        try:
            await self._keep()
        except asyncio.CancelledError:
            pass
        finally:
            if not self._first.done():
                self._first.set_exception(LinkDown(node=self._url, why="it was closed"))

    async def _keep(self) -> None:
        attempts = 0
        while not self._closing.done():
            began = self._env.now()
            why = await self._link_once()
            if why is None:
                return
            seconds, attempts = next_delay(self._wait, attempts, self._env.now() - began, _HEALTHY)
            # Many that have lost the same peer must not come back all at once.
            await asyncio.wait({self._closing}, timeout=seconds * self._env.random.uniform(0.5, 1.0))

    async def _link_once(self) -> str | None:
        """Why there is none, any more; None when the very first attempt has failed."""
        try:
            connection = await self._transport.connect(self._url, self._options, self._env)
            session = await shake(connection, "client", self._node, self._terms)
        except Exception as error:
            if not self._first.done():
                self._first.set_exception(error)
                return None
            if not isinstance(error, LinkError | OSError):  # of a transport that says too little; no reason to give up
                self._node.runtime.complain(f"connecting to {self._url} failed", error)
            return str(error)
        self._link = link = Link(self._node, connection, session, self._terms, dialled=True)
        link.up.add_done_callback(self._came_up)
        try:
            why = await link.run()
        finally:
            self._link = None
        if not self._first.done():
            name = session.peer.name
            if self._node.link_with(name) is not None:
                self._first.set_result(name)  # the other side had connected to this one
            else:
                self._first.set_exception(HandshakeFailed(peer=name, why=why))
                return None
        return why

    def _came_up(self, up: asyncio.Future[None]) -> None:
        if not up.cancelled() and not self._first.done() and self._link is not None:
            self._first.set_result(self._link.session.peer.name)

    def _wait(self, state: Any) -> float:
        chosen = self._terms.options.reconnect
        if chosen is None:
            from tenacity import wait_exponential  # noqa: PLC0415 - only where somebody connects

            chosen = wait_exponential(multiplier=0.1, max=10.0)
        return float(chosen(state))
