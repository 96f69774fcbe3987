"""What ``system.listen`` and ``system.connect`` do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from understudy.actors._runtime import runtime_of
from understudy.transports._connector import Connector, Listening
from understudy.transports._node import Node, transport_for
from understudy.transports._remote_node import RemoteNode
from understudy.transports._security import check_token
from understudy.transports._spawning import arguments_of
from understudy.transports._terms import LinkOptions, NodeTerms, Terms
from understudy.transports._wire import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from understudy.actors._actor import Actor
    from understudy.actors._context import System
    from understudy.actors._ref import ActorRef
    from understudy.system import ActorSystem
    from understudy.transports._connection import Transport
    from understudy.transports._tls import Tls

__all__ = ["connect", "listen", "reach"]


def node_of(system: ActorSystem) -> Node:
    """The node that *system* is; made when it is first wanted."""
    node: Node | None = system._understudy_node  # pyright: ignore[reportPrivateUsage]
    if node is None:
        node = system._understudy_node = Node(system, runtime_of(system))  # pyright: ignore[reportPrivateUsage]
    return node


async def listen(
    system: ActorSystem,
    url: str,
    *,
    token: str | PathLike[str] | None,
    messages: Sequence[type[Any]],
    actors: Sequence[type[Actor[Any]]],
    tls: Tls | None,
    origins: Sequence[str],
    hosts: Sequence[str],
    debug: bool,
    options: LinkOptions | None,
    transport: Transport | None,
) -> Listening:
    """See :meth:`understudy.ActorSystem.listen`."""
    node = node_of(system)
    for actor in actors:
        arguments_of(actor)
    terms = Terms(
        registry=Registry(messages, actors),
        token=check_token(token, url),
        options=options or LinkOptions(),
        debug=debug,
    )
    chosen = transport or transport_for(url)
    given = node.options_for(terms, tls=tls, origins=tuple(origins), hosts=tuple(hosts))
    return await Listening(node, terms).start(chosen, url, given)


async def connect(system: ActorSystem, asked: NodeTerms) -> RemoteNode:
    """See :meth:`understudy.ActorSystem.connect`."""
    own, user = node_of(system), object()
    connector = await _connector_for(own, asked)
    connector.use(user)
    try:
        name = await connector.linked()
    except BaseException:
        await connector.release(user)
        raise
    return RemoteNode(own, name, partial(connector.release, user))


async def reach(system: System, asked: NodeTerms, agent: ActorRef[Any]) -> Connector:
    """What links with a node as soon as it can be reached, until *agent* has ended for good.

    Raises:
        InvalidSpec: Others are linked with that place on other terms.
    """
    connector = await _connector_for(node_of(cast("ActorSystem", system)), asked)
    if connector.use(agent, patient=True):
        agent.when_stopped(lambda _: connector.leave(agent))
    return connector


async def _connector_for(node: Node, asked: NodeTerms) -> Connector:
    """What links as *asked*, new or shared; it is to be used before anything else has its turn."""
    url = asked.url
    asked = replace(asked, token=check_token(asked.token, url))
    terms = Terms(
        registry=Registry(asked.messages),
        token=cast("str | None", asked.token),
        options=asked.options or LinkOptions(),
        expect=asked.node,
    )
    while (known := node.connectors.get(url)) is not None and known.closing:
        await asyncio.wait({known.ended})  # else the end of that link would be the end of the new one
    if known is None:
        transport = asked.transport or transport_for(url)
        options = node.options_for(terms, tls=asked.tls, origins=(), hosts=())
        return Connector(node, transport, options, terms, asked)
    asked.check_same(known.asked)
    return known
