"""The interface of the transports: connections that carry whole messages of bytes, in order, both ways.

A transport does I/O and nothing else. It knows no actors, no frames and no tokens; who the peer is beyond its address
and its certificate, and whether it is to be trusted, is settled in the first messages, by what uses the connection.
`tests/transports/conformance` says what each transport has to do; a new one adds itself to the list there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from understudy.transports._tls import Tls

if TYPE_CHECKING:
    from understudy.environment import Environment

__all__ = [
    "Connection",
    "ConnectionLimits",
    "DirectConnection",
    "Listener",
    "PeerFacts",
    "Serve",
    "Transport",
    "TransportOptions",
    "check_size",
    "serve_out",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """What a transport knows of the other side of a connection."""

    transport: str
    """``"memory"``, ``"ws"`` or ``"wss"``."""
    address: str
    """For people: where it is."""
    encrypted: bool = False
    """Whether others can neither read nor change what is on its way."""
    names: tuple[str, ...] = ()
    """The names in its certificate, if that was verified; none otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a transport grants the other side. Times are in seconds."""

    max_size: int = 256 * 1024
    """Bytes of one message; one that is larger ends its connection before it has been read."""
    open_timeout: float = 10.0
    """From the first byte until the connection is open."""
    frame_timeout: float = 10.0
    """For one message, from its first byte to its last; and for the other side to take one."""
    idle_timeout: float = 60.0
    """For the next message to begin."""
    close_timeout: float = 2.0
    """For the other side to agree to the end."""
    max_connections: int = 1_000
    """Of a listener, in total; further ones are closed at once."""
    max_connections_per_address: int = 100
    """Likewise, from one address of the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """How to listen, or to connect; a transport passes over what does not concern it."""

    limits: ConnectionLimits = ConnectionLimits()
    authenticated: bool = False
    """Whether both sides will prove that they know a token; without that, nothing listens on a socket."""
    tls: Tls | None = None
    origins: tuple[str, ...] = ()
    """Web pages that may connect, by their ``Origin``. Programs, which send none, may."""
    hosts: tuple[str, ...] = ()
    """Names under which the listener may be called, besides the one that it listens on; what else comes as ``Host`` is
    refused."""


class Connection(Protocol):
    """A connection with one peer.

    One task may receive while another sends; two that do the same at the same time are an error of theirs. Neither is
    retried: a message that `send` was given has arrived once, or not at all, and all before it have.
    """

    @property
    def peer(self) -> PeerFacts:
        """Who is on the other side, as far as the transport knows."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand *data* over as one message; waits while the other side does not take what was sent before.

        That it returns does not say that the message has arrived, or will. A cancel leaves the connection as it is, and
        the message may have been sent or not.

        Raises:
            ConnectionLost: It has ended, or the peer has taken nothing for ``frame_timeout``.
            ValueError: *data* is larger than ``max_size``.
        """
        ...

    async def receive(self) -> bytes:
        """The next message; a cancel loses none.

        What had arrived before the end comes before the error.

        Raises:
            ConnectionLost: It has ended, the peer has sent what it may not, or nothing for ``idle_timeout``.
        """
        ...

    async def aclose(self, reason: str = "") -> None:
        """End it, within ``close_timeout``. It may be called again, in any task, and raises nothing.

        *reason* is a word or two that the other side finds in its ``ConnectionLost``.
        """
        ...


@runtime_checkable
class DirectConnection(Connection, Protocol):
    """A connection that can also do without tasks, whose turns cost as much as all else that is done with a message.

    A transport may leave this out. While :meth:`receive_each` runs nobody calls `receive`, and while `send` does nobody
    calls :meth:`write`.
    """

    @property
    def has_room(self) -> bool:
        """Whether it is open, and so little waits to be sent that `send` would not have to wait."""
        ...

    def write(self, data: bytes) -> None:
        """What `send` does, at once; only while it :attr:`has_room`.

        Raises:
            ValueError: *data* is larger than ``max_size``.
        """
        ...

    async def receive_each(self, take: Callable[[bytes], bool]) -> None:
        """Call *take* with each message that comes, right when it does, until it returns False.

        Raises:
            ConnectionLost: As `receive` does.
            Exception: What *take* has raised; nothing that has come after that is looked at.
        """
        ...


class Listener(Protocol):
    """What accepts connections."""

    @property
    def url(self) -> str:
        """Where others can connect; with the port that was chosen, where 0 was asked for."""
        ...

    async def aclose(self) -> None:
        """Accept no more, end all connections that were accepted and wait until their ``serve`` has returned."""
        ...


Serve: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What a listener does with a connection: called once for each, in a task; the connection is closed when it returns."""


def check_size(data: bytes, limits: ConnectionLimits) -> None:
    """What ``send`` looks at first.

    Raises:
        ValueError: *data* is larger than ``max_size``.
    """
    if len(data) > limits.max_size:
        raise ValueError(f"a message of {len(data):,} bytes is larger than max_size ({limits.max_size:,})")


async def serve_out(serve: Serve, connection: Connection, env: Environment) -> None:
    """*serve* a connection to its end, and close it; an error is that of the event loop's exception handler."""
    try:
        await serve(connection)
    except Exception as error:
        problem = {"message": f"understudy: serving {connection.peer.address} failed", "exception": error}
        env.loop.call_exception_handler(problem)
    finally:
        await connection.aclose()


class Transport(Protocol):
    """A way to connect: what stands behind the scheme of a URL."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """Those of its URLs: ``("ws", "wss")``."""
        ...

    async def listen(self, url: str, serve: Serve, options: TransportOptions, env: Any) -> Listener:
        """Accept connections at *url*, from here on.

        Raises:
            UnsafeListener: The URL or the options are not safe, and nothing was opened.
            OSError: The address is in use, or not to be had.
        """
        ...

    async def connect(self, url: str, options: TransportOptions, env: Any) -> Connection:
        """Connect to the listener at *url*, within ``open_timeout``.

        Raises:
            UnsafeListener: The URL or the options are not safe.
            ConnectionLost: Nobody is there, or whoever is does not want to; ``why`` says which.
        """
        ...
