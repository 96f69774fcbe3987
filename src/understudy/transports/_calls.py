"""What is asked of a node itself: to look somebody up, to start somebody, to look inside where that is allowed."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from understudy.actors._child import child
from understudy.actors._supervisor_ref import ref_of
from understudy.exceptions import ActorNotFound, ActorStopped, UnderstudyError, WrongActorType
from understudy.reasons import NotFound
from understudy.transports._address import Address, check_path
from understudy.transports._errors import LinkDown, MessageNotAccepted, ProtocolError
from understudy.transports._frames import Call, Fault, Reply
from understudy.transports._spawning import arguments_of
from understudy.transports._tags import tag_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from understudy.transports._link import Link
    from understudy.transports._node import Node

__all__ = ["TEXT", "Calls"]

TEXT: TypeAdapter[str] = TypeAdapter(str)
"""The answers of all calls are texts: addresses, or for people."""
_MANY = 1_000
"""Calls of one node that are under way at a time."""


class Calls:
    """Answers the calls of other nodes, and makes those of this one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._under_way: dict[Link, int] = {}

    # Of others

    def take(self, link: Link, frame: Call, body: bytes) -> None:
        """A call has come."""
        if frame.verb == "lookup":
            self._answer(link, frame.id, partial(self._lookup, frame))
        elif self._under_way.get(link, 0) >= _MANY:
            link.put(Fault(frame.id, "denied", text="too many calls are under way"))
        elif frame.verb == "spawn":
            link.own(self._later(link, frame, partial(self._spawn, link, frame, body)), f"spawn:{frame.tag}")
        elif not link.terms.debug:
            link.put(Fault(frame.id, "denied", text="this node is not open for debugging: debug=True"))
        else:
            link.own(self._later(link, frame, partial(self._debug, link, frame)), f"{frame.verb}:{frame.path}")

    async def _later(self, link: Link, frame: Call, work: Callable[[], Awaitable[str]]) -> None:
        self._under_way[link] = self._under_way.get(link, 0) + 1
        try:
            text = await work()
        except asyncio.CancelledError:
            return
        except Exception as error:
            link.put_fault(frame.id, error)
        else:
            link.put(Reply(frame.id), link.codec.dump(TEXT, text, "the answer"))
        finally:
            self._under_way[link] -= 1
            if not self._under_way[link]:
                del self._under_way[link]

    def _answer(self, link: Link, number: int, work: Callable[[], str]) -> None:
        try:
            link.put(Reply(number), link.codec.dump(TEXT, work(), "the answer"))
        except UnderstudyError as error:
            link.put_fault(number, error)

    def _lookup(self, frame: Call) -> str:
        cell = self._node.find(frame.path) if check_path(frame.path) else None
        if cell is None:
            raise ActorNotFound(path=frame.path)
        if frame.tag and frame.tag not in _tags_of(cell.spec.factory):
            raise WrongActorType(path=cell.path, expected=frame.tag, actual=cell.spec.factory.__qualname__)
        return self._node.address_of(ref_of(cell))

    async def _spawn(self, link: Link, frame: Call, body: bytes) -> str:
        actor = link.terms.registry.actors.get(frame.tag)
        if actor is None:
            problem = "this node does not start it for others: name the class in `actors=`"
            raise MessageNotAccepted(what=frame.tag, problem=problem)
        args, kwargs = arguments_of(actor).load(link.codec, body)
        spec = child(actor, *args, **kwargs)
        if frame.path:
            spec = spec.options(name=frame.path)
        ref = await self._node.system.spawn(spec)
        name = link.session.peer.name
        self._node.report("info", "started from elsewhere", path=ref.path, actor=frame.tag, node=name)
        return self._node.address_of(ref)

    async def _debug(self, link: Link, frame: Call) -> str:
        cell = self._node.find(frame.path) if check_path(frame.path) else None
        if cell is None or cell.uid != frame.uid:
            raise ActorStopped(path=frame.path, reason=NotFound())
        debug = ref_of(cell).debug
        self._node.report("info", f"{frame.verb} from elsewhere", path=cell.path, node=link.session.peer.name)
        match frame.verb:
            case "get_state":
                return repr(debug.get_state())
            case "statistics":
                return repr(debug.statistics())
            case "suspend":
                debug.suspend()
            case _:
                debug.resume()
        return ""

    # Of this node

    async def call(self, link: Link, frame: Call, body: bytes, timeout: float) -> str:
        """Ask the other side, and wait for its answer.

        Raises:
            LinkDown: There was none in time, or the link is gone.
            UnderstudyError: What the other side has answered.
        """
        future = link.peer.called(frame.id)
        link.put(frame, body)
        try:
            async with asyncio.timeout(timeout):
                answer = await future
        except TimeoutError:
            why = f"no answer to {frame.verb} within {timeout:g} s"
            raise LinkDown(node=link.session.peer.name, why=why) from None
        finally:
            link.peer.returned(frame.id)
        text: str = link.codec.load(TEXT, answer, "the answer")
        return text

    async def call_for_address(self, link: Link, frame: Call, body: bytes, timeout: float) -> Address:
        """Likewise, where the answer is an actor of the other side."""
        address = Address.parse(await self.call(link, frame, body, timeout))
        if (address.node, address.run) != (link.session.peer.name, link.session.peer.run):
            raise ProtocolError(problem="the address of somebody else for an answer")
        return address


def _tags_of(actor: type[Any]) -> set[str]:
    tags: set[str] = set()
    for cls in actor.__mro__:
        try:
            tags.add(tag_of(cls))
        except MessageNotAccepted:
            continue
    return tags
