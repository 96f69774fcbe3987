"""The simulated network: hosts with names, TCP connections between them, and everything that can go wrong there.

A host is a name; it exists as soon as somebody uses it. Code runs on the host that :meth:`SimNet.host` says, else on
``"local"``; a server and all that its connections call run on the host where the server listens. ``localhost`` and its
addresses mean the host on which the code that uses them runs.

What is promised: bytes of one direction arrive in order and once, or not at all. What is not: in which pieces, when,
and whether two connections keep any order between them.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from understudy.testing._net_conditions import Conditions
from understudy.testing._net_connection import Connection, NetConnection, Side
from understudy.testing._net_ports import (
    CONNECTION_OPTIONS,
    SERVER_OPTIONS,
    Ports,
    check_options,
    current_host,
    is_local,
    resolve,
)
from understudy.testing._net_server import SimServer, turn
from understudy.testing._net_transport import SimTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator, Sequence

    from understudy.testing._choices import Choices
    from understudy.testing._loop import SimLoop
    from understudy.testing._net_connection import Address

__all__ = ["Direction", "NetConnection", "SimNet"]

P = TypeVar("P", bound="asyncio.BaseProtocol")

Direction = Literal["out", "in", "both"]


class SimNet:
    """The network of one simulated run.

    The event loop of the run delegates ``create_server``, ``create_connection`` and ``getaddrinfo`` to it, so that
    asyncio's streams and what is built on them run unchanged. There is no TLS, no UDP, no Unix socket and no socket
    object behind a transport.
    """

    def __init__(self, loop: SimLoop, choices: Choices) -> None:
        self._loop = loop
        self._conditions = Conditions(loop, choices, self._healed)
        self._ports = Ports()
        # Those that somebody holds, in the order of their numbers.
        self._connections: dict[int, Connection] = {}
        self._cut: dict[int, Connection] = {}
        self._made = 0

    # Settings

    @property
    def latency(self) -> tuple[float, float]:
        """The shortest and the longest time that a piece of data takes, in seconds.

        Each piece takes one of a few times in between, the shortest when undisturbed. The first is (0.001, 0.05).
        """
        return self._conditions.latency

    @latency.setter
    def latency(self, value: tuple[float, float]) -> None:
        low, high = value
        if not 0 <= low <= high < float("inf"):
            raise ValueError(f"latency must be (low, high) with 0 <= low <= high, in seconds, got {value!r}")
        self._conditions.latency = (low, high)

    @property
    def window(self) -> int:
        """How many bytes of one direction of a connection may be on their way or unread; 65,536 at first.

        When the window is full, what is written waits in the transport's buffer.
        """
        return self._conditions.window

    @window.setter
    def window(self, value: int) -> None:
        if value < 1:
            raise ValueError(f"window must be at least 1 byte, got {value!r}")
        self._conditions.window = value

    @property
    def reset_probability(self) -> float:
        """How likely each piece of data breaks its connection, with a ``ConnectionResetError`` on both sides."""
        return self._conditions.reset_probability

    @reset_probability.setter
    def reset_probability(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError(f"reset_probability must be from 0 to 1, got {value!r}")
        self._conditions.reset_probability = value

    @property
    def partitions(self) -> bool:
        """Whether two different hosts may be cut off from each other by chance, and reunited after a while."""
        return self._conditions.partitions

    @partitions.setter
    def partitions(self, value: bool) -> None:
        self._conditions.partitions = value

    # Where code runs

    @contextmanager
    def host(self, name: str) -> Generator[None]:
        """Run what is inside on the host *name*; tasks that are created inside stay there.

        Actors have contexts of their own, empty ones, so they run on ``"local"`` wherever they are spawned.
        """
        if is_local(name):
            raise ValueError(f"a host must have a name of its own, got {name!r}")
        token = current_host.set(name)
        try:
            yield
        finally:
            current_host.reset(token)

    @property
    def here(self) -> str:
        """The host on which the code that asks runs."""
        return current_host.get()

    # What the loop delegates

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        start_serving: bool = True,
        **options: Any,
    ) -> SimServer:
        """Listen, as ``loop.create_server`` does.

        The name of another host makes the server run there. Port 0 or None is the next free one of the host, from
        49,152 on. Options that tune sockets have no effect.

        Raises:
            EscapeError: ``ssl`` or ``sock`` is given.
            OSError: A server listens at that address (``EADDRINUSE``).
        """
        check_options("create_server", options, SERVER_OPTIONS)
        if host is None and port is None:
            raise ValueError("create_server needs a host or a port")
        names = [host] if host is None or isinstance(host, str) else host
        # A name twice is one address: localhost has several.
        hosts = list(dict.fromkeys(resolve(name) for name in names))
        await turn(self._loop)
        addresses = self._ports.free_addresses(hosts, int(port or 0))
        server = SimServer(self._loop, addresses, protocol_factory, copy_context(), self._ports.release)
        self._ports.take(addresses, server)
        if start_serving:
            server.begin()
        return server

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str | None = None, port: int | None = None, **options: Any
    ) -> tuple[SimTransport, P]:
        """Connect, as ``loop.create_connection`` does.

        While the two hosts are cut off from each other it waits, without limit: bring a timeout. ``local_addr`` says
        from which host to connect instead of the one where the code runs. Any name is a host, so a wrong one is
        refused and not unknown.

        Raises:
            EscapeError: ``ssl`` or ``sock`` is given.
            ConnectionRefusedError: Nobody listens there.
        """
        local_addr: tuple[str | None, int] | None = options.pop("local_addr", None)
        check_options("create_connection", options, CONNECTION_OPTIONS)
        if port is None:
            raise ValueError("create_connection needs a port")
        source = resolve(local_addr[0] if local_addr is not None else None)
        local = (source, (local_addr[1] if local_addr is not None else 0) or self._ports.next_free(source))
        connection = self._new_connection(local, (resolve(host), int(port)))
        connection.open()
        try:
            await connection.answered
            protocol = protocol_factory()
        except BaseException:
            connection.client.close()
            raise
        connected: asyncio.Future[None] = self._loop.create_future()

        def on_started() -> None:
            if not connected.done():
                connected.set_result(None)

        transport = SimTransport(self._loop, protocol, connection.client, copy_context(), on_started=on_started)
        try:
            await connected
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | None,
        *,
        type: int = 0,  # noqa: A002 - the name that asyncio gives it
        proto: int = 0,
        **options: Any,
    ) -> list[tuple[int, int, int, str, Address]]:
        """The one address of *host*: its name."""
        await turn(self._loop)
        name = resolve(host.decode() if isinstance(host, bytes) else host)
        kind = type or socket.SOCK_STREAM
        return [(socket.AF_INET, kind, proto or socket.IPPROTO_TCP, "", (name, int(port or 0)))]

    # Trouble on demand

    def partition(self, one: str, other: str) -> None:
        """Cut off two hosts from each other, in both directions.

        Nothing is lost: what is sent waits, and goes on after :meth:`heal`, in order. No connection ends by this alone.
        """
        self._conditions.partition(one, other)

    def heal(self, one: str | None = None, other: str | None = None) -> None:
        """Reunite two hosts; with one, that host with all others; with none, all.

        What :meth:`cut` has done stays.
        """
        self._conditions.heal(one, other)

    def cut(self, what: object, *, direction: Direction = "out") -> None:
        """Make a connection half-open: one direction swallows all that is sent over it.

        Its writer notices nothing: writes succeed, ``is_closing()`` stays False. What was swallowed is never
        acknowledged, so after a window full of bytes the writer is told to pause. The connection ends for a side when
        it closes it, or when the other side does and the direction that carries the news still works.

        Args:
            what: A transport, or what has one as ``transport`` (a ``StreamWriter``, a websocket), for its connection;
                or the names of two hosts, for all connections between them that there are.
            direction: As seen from the transport, or from the first host.
        """
        for side in self._sides(what):
            for link in side.connection.links(side, direction):
                link.swallows = True
            self._cut[side.connection.number] = side.connection

    def reset(self, what: object) -> None:
        """Break a connection: both sides get a ``ConnectionResetError``, and what is on its way is lost.

        Args:
            what: As for :meth:`cut`.
        """
        for side in self._sides(what):
            side.connection.break_off()

    def abort(self) -> None:
        """Break all connections, at the end of a run."""
        for connection in list(self._connections.values()):
            connection.break_off()

    def calm(self) -> None:
        """Switch the faults off and repair what they have done, so that everything can settle.

        Hosts are reunited. Connections that were cut half-open have lost data, so they are reset. Latency, and that
        data comes in pieces, are no faults.
        """
        self._conditions.calm()
        cut, self._cut = self._cut, {}
        for connection in cut.values():
            connection.break_off()

    # What can be seen

    @property
    def connections(self) -> list[NetConnection]:
        """The connections that somebody holds or tries to make, in the order of the attempts."""
        return [connection.seen() for connection in self._connections.values()]

    def open_connections(self) -> list[str]:
        """A line for each connection that somebody still holds or tries to make; at the end of a run these leak."""
        return [str(connection) for connection in self._connections.values()]

    def open_servers(self) -> list[str]:
        """A line for each address at which a server has not been closed; at the end of a run these leak."""
        return [f"server at {host}:{port}" for host, port in self._ports]

    # Below

    def _new_connection(self, client: Address, server: Address) -> Connection:
        self._made += 1
        connection = Connection(self._loop, self._conditions, self._made, client, server, self._accept, self._forget)
        self._connections[connection.number] = connection
        return connection

    def _accept(self, connection: Connection) -> bool:
        server = self._ports.get(connection.server.socket.getsockname())
        if server is None or not server.is_serving():
            return False
        server.accept(connection.server)
        return True

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection.number]
        self._cut.pop(connection.number, None)

    def _healed(self) -> None:
        for connection in list(self._connections.values()):
            connection.client.out.resume()
            connection.server.out.resume()

    def _sides(self, what: object) -> list[Side]:
        transport = getattr(what, "transport", what)
        if isinstance(transport, SimTransport):
            return [transport.side]
        match what:
            case (str() as one, str() as other):
                sides = [side for each in self._connections.values() for side in (each.client, each.server)]
                return [side for side in sides if (side.out.source, side.out.target) == (one, other)]
            case _:
                raise TypeError(
                    f"expected a transport of the simulated network or the names of two hosts, got {what!r}"
                )
