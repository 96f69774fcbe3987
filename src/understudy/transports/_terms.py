"""On which terms a node links with others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from understudy.exceptions import InvalidSpec
from understudy.transports._connection import ConnectionLimits
from understudy.transports._limits import MAX_DEPTH, MAX_SIZE
from understudy.transports._protocol import Timing

if TYPE_CHECKING:
    from os import PathLike

    from understudy.transports._connection import Transport
    from understudy.transports._tls import Tls
    from understudy.transports._wire import Registry

__all__ = ["Answer", "LinkOptions", "NodeTerms", "Terms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """Bounds of links; those of both sides hold, each for what it receives. Times are in seconds."""

    max_size: int = MAX_SIZE
    """Bytes of one frame: a message and what goes with it."""
    max_depth: int = MAX_DEPTH
    """How deep JSON may be."""
    window: int = 64
    """Messages for one actor that may be under way, or wait here for room in its mailbox."""
    outbox: int = 1_000
    """Messages for one actor that may wait here until the other side takes them."""
    max_streams: int = 1_000
    """Streams that one peer may have open at a time."""
    timing: Timing = field(default_factory=Timing)
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    handshake_timeout: float = 10.0
    """From the beginning of a connection until it is a link."""
    reconnect: Callable[[Any], float] | None = None
    """A wait strategy of tenacity; by default up to 0.1 s, doubled with each attempt up to 10 s, by chance."""


@dataclass(frozen=True)
class NodeTerms:
    """How to link with a node; the arguments of :meth:`understudy.ActorSystem.connect`."""

    url: str
    token: str | PathLike[str] | None = field(default=None, repr=False)
    messages: tuple[type[Any], ...] = ()
    tls: Tls | None = None
    node: str | None = None
    options: LinkOptions | None = None
    transport: Transport | None = None

    def check_same(self, other: NodeTerms) -> None:
        """See that whoever asks for this can share a link with whoever has asked for *other*.

        Raises:
            InvalidSpec: He cannot.
        """
        ours, theirs = self._comparable(), other._comparable()
        differing = [each.name for each in fields(self) if ours[each.name] != theirs[each.name]]
        if differing:
            problem = (
                "must be what others in this system have given who are connected to this URL, as its link is shared: "
                "give the same, or close theirs before"
            )
            raise InvalidSpec(child=f"the link with {self.url}", field=", ".join(differing), problem=problem)

    def _comparable(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"messages": frozenset(self.messages), "options": self.options or LinkOptions()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one listener, or one connection, has been told."""

    registry: Registry
    token: str | None
    options: LinkOptions
    debug: bool = False
    expect: str | None = None


class Answer(asyncio.Future[Any]):
    """The future of an ask that came over a link: tells at once, and not in a later turn of the event loop."""

    def __init__(self, told: Callable[[Answer], object], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._told: Callable[[Answer], object] | None = told

    def set_result(self, result: Any, /) -> None:
        """The reply."""
        super().set_result(result)
        self._tell()

    def set_exception(self, exception: type[BaseException] | BaseException, /) -> None:
        """Why there is none."""
        super().set_exception(exception)
        self.exception()  # told, so that it is no error that nobody has fetched
        self._tell()

    def cancel(self, msg: Any | None = None) -> bool:
        """Nobody waits any more."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._told = None
        return cancelled

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(self)
