"""A system as a node among others: its name, its links, and what crosses them."""

from __future__ import annotations

import asyncio
import importlib
import weakref
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Ask
from understudy.actors._cell import Cell
from understudy.actors._supervisor_ref import ref_of
from understudy.exceptions import InvalidContext
from understudy.reasons import NodeDown, Shutdown
from understudy.transports._address import Address, check_node_name
from understudy.transports._calls import Calls
from understudy.transports._connection import TransportOptions
from understudy.transports._errors import LinkDown, MessageNotAccepted, UnsafeListener
from understudy.transports._handshake import NodeId
from understudy.transports._peer import Peer, ref_to
from understudy.transports._protocol import largest_batch
from understudy.transports._reliable import Channels
from understudy.transports._remote_cell import RemoteCell, gone
from understudy.transports._terms import LinkOptions, Terms

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from understudy.actors._ref import ActorRef
    from understudy.actors._runtime import Runtime
    from understudy.system import ActorSystem
    from understudy.transports._connection import Transport
    from understudy.transports._connector import Connector
    from understudy.transports._link import Link
    from understudy.transports._tls import Tls

__all__ = ["Node", "transport_for"]

_MANY = 10_000
"""Names of nodes that are remembered."""
_CHAIN = 32
"""Actors that an ask names as waiting for it."""


class Node:
    """What a system has in common over all its links. One for each system, made with the first of them."""

    def __init__(self, system: ActorSystem, runtime: Runtime) -> None:
        if not check_node_name(system.name):
            problem = "its name is that of the node, and must begin with a letter or digit and have at most 64 of them"
            raise InvalidContext(what=f"system {system.name!r}", problem=problem)
        self.system = system
        self.runtime = runtime
        self.id = NodeId(system.name, runtime.env.token_bytes(8).hex())
        self.calls = Calls(self)
        self.channels = Channels(self)
        self.chains: dict[Ask, tuple[str, ...]] = {}
        """Who waits for the asks that have come over links."""
        # Whoever has a ref to one of its actors, or a link, holds a peer.
        self._peers: weakref.WeakValueDictionary[NodeId, Peer] = weakref.WeakValueDictionary()
        self._links: dict[str, Link] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._ends: list[Any] = []
        self.connectors: dict[str, Connector] = {}
        """What keeps a link, by its URL."""
        # For the log: the nodes whose links were lost, and the run of each node that was linked last.
        self._lost: set[str] = set()
        self._runs: dict[str, str] = {}
        self._outbox = LinkOptions().outbox
        self.closed = False

    @property
    def carrier(self) -> Node:
        """What takes refs in messages over links, and back."""
        return self

    # Refs

    def address_of(self, ref: ActorRef[Any]) -> str:
        """The address of *ref*, for any node."""
        cell: Any = ref._cell  # pyright: ignore[reportPrivateUsage]
        if type(cell) is RemoteCell:
            return str(Address(cell.peer.id.name, cell.peer.id.run, *cell.at))
        # Two systems may live in one process, and the ref be that of the other.
        node: Node | None = cell.runtime.system._understudy_node
        if node is None:
            problem = "its system has no links, so that nobody could send anything back"
            raise MessageNotAccepted(what=f"the ref {cell.path}", problem=problem)
        return str(Address(node.id.name, node.id.run, cell.path, cell.uid))

    def ref_at(self, address: str) -> ActorRef[Any]:
        """The ref for *address*: a local one for an actor of this node; one of no use for what is not there."""
        known = Address.parse(address)
        peer = self.peer(NodeId(known.node, known.run))
        if known.node != self.id.name:
            return peer.ref(known.place)
        if known.run == self.id.run:
            cell = self.find(known.path) if known.path.startswith("/user/") else None
            if cell is not None and cell.uid == known.uid:
                return ref_of(cell)
        return ref_to(gone(peer, known.place))

    def find(self, path: str) -> Cell | None:
        """The actor at *path*, if one is alive there."""
        ref = self.system.find(path)
        return None if ref is None else ref._cell  # pyright: ignore[reportPrivateUsage]

    def peer(self, identity: NodeId) -> Peer:
        """That node as seen from here."""
        found = self._peers.get(identity)
        if found is None:
            found = self._peers[identity] = Peer(identity, self.runtime, self._outbox)
        return found

    # Who waits for whom

    def place_of(self, sender: Any) -> tuple[str, int] | None:
        """Where the actor is that has sent something, if it is one of this node that others may know."""
        if isinstance(sender, Cell) and sender.path.startswith("/user/"):
            return sender.path, sender.uid
        return None

    def chain_to(self, ask: Ask) -> tuple[str, ...]:
        """The addresses of those who wait for *ask*, outermost first, as far as it is known here."""
        sender = ask.sender
        chain: list[str] = []
        while isinstance(sender, Cell) and len(chain) < _CHAIN:
            chain.insert(0, str(Address(self.id.name, self.id.run, sender.path, sender.uid)))
            hand = sender.hand
            if not isinstance(hand, Ask) or not hand.in_hand:
                break
            before = self.chains.get(hand)
            if before is not None:
                return (*before, *chain)[-_CHAIN:]
            sender = hand.sender
        return tuple(chain)

    def waiters_of(self, chain: Iterable[str]) -> list[RemoteCell]:
        """The remote ones of those who wait for something, as far as anybody here may come to wait for them."""
        found: list[RemoteCell] = []
        for address in chain:
            known = Address.parse(address)
            if known.node == self.id.name:
                continue
            other = self._peers.get(NodeId(known.node, known.run))
            if other is not None:
                found.append(other.cell(known.place))
        return found

    def shown(self, address: str) -> str:
        """*address* as a path that people here know."""
        known = Address.parse(address)
        return known.path if known.node == self.id.name else f"//{known.node}{known.path}"

    # Links

    def link_with(self, name: str) -> Link | None:
        """The link with the node of that name, if there is one."""
        return self._links.get(name)

    def link_up(self, link: Link) -> bool:
        """*link* is up, unless it is one too many.

        When both sides have connected to each other, the one stays that the first of them in the alphabet has made, on
        both sides. A second one in the same direction means that the first was lost, and the other side knows it.
        """
        name = link.session.peer.name
        other = self._links.get(name)
        if self.closed:
            return False
        if other is not None:
            same = other.session.peer == link.session.peer
            if same and other.dialled != link.dialled and (self.id.name < name) == other.dialled:
                return False
            other.replace()
            if not same:
                other.peer.end(NodeDown(name))
        self._links[name] = link
        for peer in list(self._peers.values()):
            if peer.id.name == name and peer is not link.peer:
                peer.end(NodeDown(name))
        link.peer.attach(link)
        if name in self._lost:
            self._lost.discard(name)
            self.report("info", "linked again", node=name, anew=link.session.peer.run != self._runs.get(name))
        if len(self._runs) >= _MANY:
            self._runs.clear()
            self._lost.clear()
        self._runs[name] = link.session.peer.run
        self._check_messages(link)
        self.channels.linked(name)
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(None)
        return True

    def _check_messages(self, link: Link) -> None:
        assert link.offer is not None
        ours = link.terms.registry.hashes
        differing = [tag for tag, theirs in link.offer.messages.items() if ours.get(tag, theirs) != theirs]
        if differing:
            self.report("warning", "messages refused", node=link.session.peer.name, tags=", ".join(sorted(differing)))

    def link_down(self, link: Link, why: str) -> None:
        """*link* is over."""
        name = link.session.peer.name
        if self._links.get(name) is link:
            del self._links[name]
        if link.peer.link is link:
            if not link.in_order:
                self._lost.add(name)
                self.report("warning", "link lost", node=name, why=why)
            link.peer.detach(why)

    async def wait_up(self, name: str, timeout: float | None) -> None:
        """Wait until there is a link with the node of that name.

        Raises:
            LinkDown: There is none in time.
        """
        if name in self._links:
            return
        future: asyncio.Future[None] = self.runtime.env.loop.create_future()
        self._waiting.setdefault(name, []).append(future)
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            raise LinkDown(node=name, why=f"no link within {timeout:g} s") from None
        finally:
            waiting = self._waiting.get(name, [])
            if future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._waiting[name]

    def stopped_by(self, peer: NodeId) -> Shutdown:
        """Why an actor ends that another node wants ended."""
        return Shutdown(f"stopped by node {peer.name}")

    # Its own life

    def adopt(self, end: Any) -> None:
        """*end* has an ``aclose`` that ends something when the system ends."""
        self._ends.append(end)

    def dismiss(self, end: Any) -> None:
        """It has ended."""
        if end in self._ends:
            self._ends.remove(end)

    async def aclose(self) -> None:
        """End all links, and accept no more; the phase ``links`` of the shutdown."""
        self.closed = True
        ends = [*self._ends, *self.connectors.values()]
        tasks = [self.start(end.aclose(), "close") for end in reversed(ends)]
        tasks += [self.start(link.close("the system has stopped"), "close") for link in self._links.values()]
        if tasks:
            await asyncio.wait(tasks)
        self.channels.close()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run *coroutine* as a task of the system."""
        return self.runtime.env.start_task(coroutine, name=f"node:{name}", context=Context())

    def report(self, level: str, event: str, **fields: Any) -> None:
        """Write a line into the log; what others have said is made harmless."""
        self.runtime.write_log(level, event, {name: _plain(value) for name, value in fields.items()})

    def options_for(self, terms: Terms, *, tls: Tls | None, origins: tuple[str, ...], hosts: tuple[str, ...]) -> Any:
        """What a transport is told."""
        limits = replace(terms.options.limits, max_size=largest_batch(terms.options.max_size))
        authenticated = terms.token is not None
        return TransportOptions(limits=limits, authenticated=authenticated, tls=tls, origins=origins, hosts=hosts)


def transport_for(url: str) -> Transport:
    """The transport for the scheme of *url*.

    Raises:
        UnsafeListener: There is none.
        MissingExtra: It needs a library that is not installed.
    """
    scheme = url.partition("://")[0]
    found = _TRANSPORTS.get(scheme)
    if found is None:
        known = ", ".join(f"{each}://" for each in _TRANSPORTS)
        raise UnsafeListener(url=url, problem=f"must begin with one of {known}")
    module, name = found
    transport: Transport = getattr(importlib.import_module(f"understudy.transports.{module}"), name)()
    return transport


_TRANSPORTS = {
    "memory": ("_memory", "MemoryTransport"),
    "sse": ("_sse", "SseTransport"),
    "sses": ("_sse", "SseTransport"),
    "ws": ("_websocket", "WebSocketTransport"),
    "wss": ("_websocket", "WebSocketTransport"),
}


def _plain(value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        return value.encode("unicode_escape").decode("ascii")
    return value
