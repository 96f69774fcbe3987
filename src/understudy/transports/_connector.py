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
    from collections.abc import Hashable
    from typing import Literal

    from understudy.transports._connection import Connection, Listener, Transport, TransportOptions
    from understudy.transports._handshake import Session
    from understudy.transports._node import Node
    from understudy.transports._terms import NodeTerms, Terms

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
    """Keeps a link with one node, as long as anybody wants it.

    There is one for each URL, as two would take each other's place at the other side for ever. Who wants the link is a
    *user* of it: an impatient one fails with the next attempt, a patient one is content if there is a link one day.
    Without users it ends; before there has ever been a link, also when the very first attempt is refused, or fails and
    nobody is patient.
    """

    def __init__(
        self, node: Node, transport: Transport, options: TransportOptions, terms: Terms, asked: NodeTerms
    ) -> None:
        self.node = node
        """This side of the link."""
        self._env = node.runtime.env
        self._transport = transport
        self._options = options
        self._terms = terms
        self._url = asked.url
        self.asked = asked
        """What whoever began it has asked for."""
        future = self._env.loop.create_future
        self.tried: asyncio.Future[None] = future()
        """Done when the first attempt has been made."""
        self.reached: asyncio.Future[str] = future()
        """The name of the node, from the first link on. It has an error if there never was one, and none will be."""
        self.closing = False
        """Whether it is over, or about to be."""
        self.ended: asyncio.Future[None] = future()
        """Done when nothing is left of it."""
        # Users, and whether each is patient.
        self._users: dict[Hashable, bool] = {}
        # What becomes of the attempt that is under way, or else of the next; not done before ``closing``.
        self._attempt: asyncio.Future[str] = future()
        # Done when the next attempt is to be made at once; another for each attempt.
        self._hurried: asyncio.Future[None] = future()
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None

    # Its users

    def use(self, user: Hashable, *, patient: bool = False) -> bool:
        """*user* wants the link until :meth:`leave`; whether he has not been among those who do."""
        new = user not in self._users
        self._users[user] = patient
        if self._task is None:
            self.node.connectors[self._url] = self
            self._task = self.node.start(self._run(), f"connect:{self._url}")
            self._task.add_done_callback(self._over)
        return new

    async def linked(self) -> str:
        """Wait for a link, or what becomes of one attempt, which is made at once; the name of the node.

        Raises:
            LinkError, OSError: It has failed.
        """
        if self.reached.done() and self.node.link_with(name := self.reached.result()) is not None:
            return name
        self._hurry()
        outcome = self._attempt
        await asyncio.wait({outcome})
        return outcome.result()

    def leave(self, user: Hashable) -> None:
        """*user* wants it no more; with the last one it ends, of which ``ended`` tells."""
        self._users.pop(user, None)
        if not self._users:
            self._close()

    async def release(self, user: Hashable) -> None:
        """Likewise, and wait for the end if he was the last one."""
        self.leave(user)
        if self.closing:
            await asyncio.wait({self.ended})

    async def aclose(self) -> None:
        """End it, whoever uses it."""
        self._close()
        await asyncio.wait({self.ended})

    # Its life

    def _close(self) -> None:
        if not self.closing:
            self.closing = True
            self.node.start(self._wind_up(), f"close:{self._url}")

    async def _wind_up(self) -> None:
        """In a task of its own, as whoever closes it may be cancelled."""
        link, task = self._link, self._task
        if link is not None:
            await link.close("it was closed")
        if task is not None and not task.done():
            task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        # A callback of the task, as one that is cancelled before its first step does not come to its ``finally``.
        self.closing = True
        del self.node.connectors[self._url]
        self._fail(LinkDown(node=self._url, why="it was closed"))
        self.ended.set_result(None)

    def _hurry(self) -> None:
        if not self._hurried.done():
            self._hurried.set_result(None)

    async def _run(self) -> None:
        try:
            await self._keep()
        except asyncio.CancelledError:
            pass
        except Exception as error:  # of a user's wait strategy, or a mistake of ours
            self.node.runtime.complain(f"connecting to {self._url} is given up", error)

    async def _keep(self) -> None:
        attempts = 0
        while not self.closing:
            began = self._env.now()
            error = await self._link_once()
            if error is not None and not self._goes_on_after(error):
                self.closing = True
                self._fail(error)
                return
            if error is not None:
                self._settle().set_exception(error)
            seconds, attempts = next_delay(self._wait, attempts, self._env.now() - began, _HEALTHY)
            # Many that have lost the same peer must not come back all at once.
            seconds *= self._env.random.uniform(0.5, 1.0)
            await asyncio.wait({self._hurried}, timeout=seconds)

    async def _link_once(self) -> Exception | None:
        """One link from its beginning to its end; what has gone wrong, if there was none."""
        try:
            connection = await self._transport.connect(self._url, self._options, self._env)
            session = await shake(connection, "client", self.node, self._terms)
        except Exception as error:
            return error
        name = session.peer.name
        if self._is_linked_elsewhere(session):
            await connection.aclose("linked already")
            self._linked(name)
            return None
        outcome = self._attempt
        self._link = link = Link(self.node, connection, session, self._terms, dialled=True)
        link.up.add_done_callback(self._came_up)
        try:
            why = await link.run()
        finally:
            self._link = None
        if outcome.done():
            return None
        if self.node.link_with(name) is None:
            return HandshakeFailed(peer=name, why=why)
        self._linked(name)  # the other side had connected to this one
        return None

    def _is_linked_elsewhere(self, session: Session) -> bool:
        """Whether another URL leads to the same node, which would give up that link for a second one."""
        other = self.node.link_with(session.peer.name)
        return other is not None and other.dialled and other.session.peer == session.peer

    def _came_up(self, up: asyncio.Future[None]) -> None:
        if not up.cancelled() and self._link is not None:
            self._linked(self._link.session.peer.name)

    def _linked(self, name: str) -> None:
        if not self.reached.done():
            self.reached.set_result(name)
        if not self.tried.done():
            self.tried.set_result(None)
        self._settle().set_result(name)

    def _goes_on_after(self, error: Exception) -> bool:
        """Whether another attempt is made although there was no link, because of *error*."""
        nobody = isinstance(error, ConnectionLost | LinkDown | OSError)
        if self.reached.done():
            if not isinstance(error, LinkError | OSError):  # of a transport that says too little; no reason to give up
                self.node.runtime.complain(f"connecting to {self._url} failed", error)
            return True
        first = not self.tried.done()
        if (first and not nobody) or not any(self._users.values()):
            return False
        if first or not nobody:
            self.node.report("warning", "node not reached", url=self._url, why=str(error))
        if first:
            self.tried.set_result(None)
        return True

    def _settle(self) -> asyncio.Future[str]:
        """For what has become of this attempt; whoever asks from here on waits for the next."""
        outcome, self._attempt = self._attempt, self._env.loop.create_future()
        self._hurried = self._env.loop.create_future()
        outcome.add_done_callback(_told)
        return outcome

    def _fail(self, error: Exception) -> None:
        """There will be no other attempt."""
        for future in (self._attempt, self.reached):
            if not future.done():
                future.add_done_callback(_told)
                future.set_exception(error)
        if not self.tried.done():
            self.tried.set_result(None)

    def _wait(self, state: Any) -> float:
        chosen = self._terms.options.reconnect
        if chosen is None:
            from tenacity import wait_exponential  # noqa: PLC0415 - only where somebody connects

            chosen = wait_exponential(multiplier=0.1, max=10.0)
        return float(chosen(state))


def _told(outcome: asyncio.Future[str]) -> None:
    """An error of *outcome* is none that nobody has fetched, where nobody waits for it any more."""
    outcome.exception()
