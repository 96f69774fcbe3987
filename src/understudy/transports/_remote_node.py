"""``RemoteNode``: another node, for whoever has connected to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from understudy.actors._addresses import absolute
from understudy.actors._child import as_spec
from understudy.actors._waiting import check_timeout
from understudy.exceptions import InvalidSpec
from understudy.transports._errors import LinkDown, MessageNotAccepted
from understudy.transports._frames import Call
from understudy.transports._reliable import ReliableChannel
from understudy.transports._remote_cell import RemoteCell
from understudy.transports._spawning import arguments_of
from understudy.transports._tags import tag_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Literal

    from understudy._plans._spec import ChildSpec
    from understudy.actors._actor import Actor
    from understudy.actors._ref import ActorRef
    from understudy.transports._link import Link
    from understudy.transports._node import Node

__all__ = ["RemoteNode"]

M = TypeVar("M")

_START = 60.0
"""Seconds for another node to start an actor."""


class RemoteNode:
    """Another system, in another process or not: what ``system.connect`` returns.

    The link with it is made again when it is lost, for as long as this one is not closed. A node that has been started
    anew is another one under the same name: old refs are of no use with it, :meth:`lookup` gives new ones.
    """

    def __init__(self, node: Node, name: str, release: Callable[[], Awaitable[None]] | None) -> None:
        self._node = node
        self._release = release
        self.name = name
        """What that system is called, and says so."""

    @property
    def is_up(self) -> bool:
        """Whether there is a link at this moment, as far as anybody can know."""
        return self._node.link_with(self.name) is not None

    async def wait_up(self, timeout: float | None = None) -> None:
        """Wait until there is a link.

        Raises:
            LinkDown: There is none in time.
        """
        await self._node.wait_up(self.name, check_timeout(timeout))

    @overload
    async def lookup(self, path: str, actor: type[Actor[M]], *, timeout: float | None = None) -> ActorRef[M]: ...
    @overload
    async def lookup(self, path: str, *, timeout: float | None = None) -> ActorRef[Any]: ...
    async def lookup(
        self, path: str, actor: type[Actor[Any]] | None = None, *, timeout: float | None = None
    ) -> ActorRef[Any]:
        """The ref of the actor that is at *path* there now, like ``/user/accounts`` or, for short, ``accounts``.

        Args:
            path: Absolute, or below ``/user``. What the runtime there has for itself is not found.
            actor: The class that it must have, by its name over links; for you and for the type checker.
            timeout: Seconds to wait for the answer. None: the ``ask_timeout`` of this system.

        Raises:
            ActorNotFound: Nothing is alive there.
            WrongActorType: Its class is another.
            LinkDown: There is no link, or no answer in time.
        """
        link = self._link()
        tag = "" if actor is None else tag_of(actor)
        frame = Call(link.peer.next_number(), "lookup", path=absolute(path), tag=tag)
        return await self._call_for_ref(link, frame, b"", self._seconds(timeout))

    @overload
    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def spawn(self, actor: Callable[..., Actor[M]], /, *args: Any, **kwargs: Any) -> ActorRef[M]: ...
    async def spawn(self, actor: Any, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start an actor there, beside its tree; that node must have the class among its ``actors=``.

        Of a spec, the name crosses over, and nothing else may have been given. Arguments cross over as the annotations
        of the constructor say.

        Raises:
            MessageNotAccepted: That node does not start this class, or an argument has no form in JSON.
            NameTaken: Something there has that name.
            StartError: It did not start.
            InvalidSpec: The arguments do not fit, or the spec says more than a name.
            LinkDown: There is no link, or no answer within 60 s.
        """
        spec = as_spec(actor, args, kwargs)
        surplus = sorted(set(spec.given) - set(spec.factory.defaults))
        if surplus:
            problem = f"cannot cross a link: only a name can; got {', '.join(surplus)}"
            raise InvalidSpec(child=f"child {spec.label!r}", field="options", problem=problem)
        link = self._link()
        tag = tag_of(spec.factory)
        assert link.offer is not None
        if tag not in link.offer.actors:
            problem = f"node {self.name} does not start it for others: name the class in its `actors=`"
            raise MessageNotAccepted(what=spec.factory.__qualname__, problem=problem)
        body = arguments_of(spec.factory).dump(link.codec, tuple(spec.args), spec.kwargs)
        frame = Call(link.peer.next_number(), "spawn", path=spec.name or "", tag=tag)
        return await self._call_for_ref(link, frame, body, _START)

    @overload
    def channel(self, path: str, actor: type[Actor[M]], *, capacity: int = 1_000) -> ReliableChannel[M]: ...
    @overload
    def channel(self, path: str, *, capacity: int = 1_000) -> ReliableChannel[Any]: ...
    def channel(
        self, path: str, actor: type[Actor[Any]] | None = None, *, capacity: int = 1_000
    ) -> ReliableChannel[Any]:
        """A reliable channel to whoever is at *path* there.

        Args:
            path: Absolute, or below ``/user``.
            actor: The class, for the type checker.
            capacity: How many messages may be unconfirmed before ``send`` waits.
        """
        return self._node.channels.open(self.name, absolute(path), capacity)

    async def debug(self, ref: ActorRef[Any], verb: Literal["get_state", "statistics", "suspend", "resume"]) -> str:
        """Use a debugging verb on an actor of that node, which must have been opened with ``debug=True``.

        What it gives is a text for people.

        Raises:
            RemoteError: That node does not allow it.
            ActorStopped: The actor has ended.
            InvalidSpec: *ref* is not of that node.
            LinkDown: There is no link, or no answer in time.
        """
        link = self._link()
        cell: Any = ref._cell  # pyright: ignore[reportPrivateUsage]
        if type(cell) is not RemoteCell or cell.peer is not link.peer:
            raise InvalidSpec(child="debug", field="ref", problem=f"must be that of an actor of node {self.name}")
        frame = Call(link.peer.next_number(), verb, path=cell.at[0], uid=cell.at[1])
        return await self._node.calls.call(link, frame, b"", self._seconds(None))

    async def aclose(self) -> None:
        """End the link, and do not make it again, unless others in this system have connected to the same URL.

        Then it ends with the last of them; refs are of use until then.
        """
        if self._release is not None:
            await self._release()

    def _link(self) -> Link:
        link = self._node.link_with(self.name)
        if link is None:
            raise LinkDown(node=self.name, why="there is no link at this moment")
        return link

    def _seconds(self, timeout: float | None) -> float:
        return check_timeout(timeout) or self._node.runtime.settings.ask_timeout

    async def _call_for_ref(self, link: Link, frame: Call, body: bytes, seconds: float) -> ActorRef[Any]:
        address = await self._node.calls.call_for_address(link, frame, body, seconds)
        return link.peer.ref(address.place)

    def __repr__(self) -> str:
        return f"<RemoteNode {self.name}, {'up' if self.is_up else 'down'}>"
