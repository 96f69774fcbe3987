"""One link for all agents of a system that want one to the same place: two would take each other's place for ever."""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tenacity import wait_exponential
from tenacity.wait import wait_base

from understudy._plans._backoff import next_delay
from understudy.actors._runtime import runtime_of
from understudy.agents._pause import pause
from understudy.exceptions import InvalidSpec
from understudy.transports._errors import ConnectionLost, LinkDown

if TYPE_CHECKING:
    from understudy.actors._context import System
    from understudy.actors._ref import ActorRef
    from understudy.transports._connection import Transport
    from understudy.transports._remote_node import RemoteNode
    from understudy.transports._terms import LinkOptions
    from understudy.transports._tls import Tls

__all__ = ["NodeTerms", "SharedNode", "shared_node"]

_RECONNECT: wait_base = wait_exponential(multiplier=0.1, max=10.0)
"""Seconds between attempts at a first link; as between those at a next one."""


@dataclass(frozen=True)
class NodeTerms:
    """How to link with a node; the arguments of :meth:`understudy.ActorSystem.connect`."""

    url: str
    token: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    node: str | None = None
    options: LinkOptions | None = None
    transport: Transport | None = None
    messages: tuple[type[Any], ...] = ()

    async def connect(self, system: Any) -> RemoteNode:
        """One attempt at a link."""
        node: RemoteNode = await system.connect(
            self.url,
            token=self.token,
            messages=self.messages,
            tls=self.tls,
            node=self.node,
            options=self.options,
            transport=self.transport,
        )
        return node


class SharedNode:
    """A node, as soon as somebody has reached it, for all who want it.

    The first who wants it makes the first attempt, and is told what is wrong if it is refused. Where just nobody is
    there, it is tried again until somebody is. When all who have wanted it have ended for good, the link is closed.
    """

    def __init__(self, system: System, terms: NodeTerms) -> None:
        self._system = system
        self.terms = terms
        self._users: set[ActorRef[Any]] = set()
        self._runtime = runtime_of(system)
        self._env = self._runtime.env
        self.tried: asyncio.Future[None] = self._env.loop.create_future()
        """Done when the first attempt has been made."""
        self.found: asyncio.Future[RemoteNode] = self._env.loop.create_future()
        """The node. It has an error, if the first attempt was refused."""
        self._task: asyncio.Task[None] | None = None

    def use(self, agent: ActorRef[Any]) -> None:
        """*agent* wants it, until it has ended for good."""
        if agent in self._users:
            return
        self._users.add(agent)
        agent.when_stopped(lambda _: self._leave(agent))
        if self._task is None:
            name = f"agents:connect:{self.terms.url}"
            self._task = self._env.start_task(self._keep(), name=name, context=Context())

    def _leave(self, agent: ActorRef[Any]) -> None:
        self._users.discard(agent)
        if not self._users:
            self._discard()
            if self._task is not None:
                self._task.cancel()

    def _discard(self) -> None:
        """Whoever wants it from here on begins anew."""
        known = _SHARED.get(self._system, {})
        if known.get(self.terms.url) is self:
            del known[self.terms.url]

    async def _keep(self) -> None:
        """Find the node, and hold the link with it until nobody wants it any more."""
        node: RemoteNode | None = None
        try:
            node = await self._find()
            if node is not None:
                self.found.set_result(node)
                self._tried()
                await self._env.loop.create_future()
        except asyncio.CancelledError:
            self.found.cancel()
        finally:
            self._tried()
            if node is not None:
                await node.aclose()

    async def _find(self) -> RemoteNode | None:
        attempts = 0
        while True:
            try:
                return await self.terms.connect(self._system)
            except Exception as error:
                nobody = isinstance(error, ConnectionLost | LinkDown | OSError)
                if attempts == 0 and not nobody:
                    self._discard()
                    self.found.set_exception(error)
                    self.found.exception()  # who has begun this is told, if he is still there
                    return None
                if attempts == 0 or not nobody:
                    said = {"url": self.terms.url, "why": str(error)}
                    self._runtime.write_log("warning", "node of agents not reached", said)
            self._tried()
            seconds, attempts = next_delay(_RECONNECT, attempts, 0.0, 1.0)
            await pause(seconds * self._env.random.uniform(0.5, 1.0))

    def _tried(self) -> None:
        if not self.tried.done():
            self.tried.set_result(None)


# By the URL: a system has one link with a place.
_SHARED: WeakKeyDictionary[Any, dict[str, SharedNode]] = WeakKeyDictionary()


def shared_node(system: System, terms: NodeTerms) -> SharedNode:
    """The one for these *terms*.

    Raises:
        InvalidSpec: Others are linked with that place on other terms.
    """
    known = _SHARED.setdefault(system, {})
    found = known.get(terms.url)
    if found is None:
        found = known[terms.url] = SharedNode(system, terms)
    elif found.terms != terms:
        problem = "is that of another agent too, which connects with another token or options: give both the same"
        raise InvalidSpec(child=f"RemoteAgent at {terms.url}", field="node", problem=problem)
    return found
