"""What ``system.listen`` and ``system.connect`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._runtime import runtime_of
from understudy.transports._connector import Connector, Listening
from understudy.transports._node import Node, transport_for
from understudy.transports._remote_node import RemoteNode
from understudy.transports._security import check_token
from understudy.transports._spawning import arguments_of
from understudy.transports._terms import LinkOptions, Terms
from understudy.transports._wire import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from understudy.actors._actor import Actor
    from understudy.system import ActorSystem
    from understudy.transports._connection import Transport
    from understudy.transports._tls import Tls

__all__ = ["connect", "listen"]


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


async def connect(
    system: ActorSystem,
    url: str,
    *,
    token: str | PathLike[str] | None,
    messages: Sequence[type[Any]],
    tls: Tls | None,
    node: str | None,
    options: LinkOptions | None,
    transport: Transport | None,
) -> RemoteNode:
    """See :meth:`understudy.ActorSystem.connect`."""
    own = node_of(system)
    terms = Terms(
        registry=Registry(messages), token=check_token(token, url), options=options or LinkOptions(), expect=node
    )
    chosen = transport or transport_for(url)
    connector = Connector(own, chosen, url, own.options_for(terms, tls=tls, origins=(), hosts=()), terms)
    return RemoteNode(own, await connector.start(), connector)
