"""A connection as the operating systems of its two hosts see it."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from understudy.testing._net_link import Link, Signal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy.testing._loop import SimLoop
    from understudy.testing._net_conditions import Conditions

__all__ = ["Address", "Connection", "NetConnection", "Side", "SimSocket"]

Address = tuple[str, int]
"""A host's name and a port."""


@dataclass(frozen=True)
class NetConnection:
    """What can be seen of a connection.

    Attributes:
        client: Host and port of the side that has connected.
        server: Host and port to which it has connected.
        open_at_client: The client's program holds its side, or still tries to connect.
        open_at_server: The server's program holds its side.
        to_server: Bytes that the client's host has sent and the server's program has not read.
        to_client: The same in the other direction.
        cut: The directions that swallow what is sent, as seen from the client.
    """

    number: int
    client: Address
    server: Address
    open_at_client: bool
    open_at_server: bool
    to_server: int
    to_client: int
    cut: tuple[Literal["out", "in"], ...]


class SimSocket:
    """Stands for a socket where a library wants to look at one. Nothing can be sent or received through it."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, name: Address, peer: Address | None = None) -> None:
        self._name = name
        self._peer = peer

    def __repr__(self) -> str:
        peer = f" -> {_told(self._peer)}" if self._peer is not None else ""
        return f"<SimSocket {_told(self._name)}{peer}>"

    def getsockname(self) -> Address:
        """The host's name and the port."""
        return self._name

    def getpeername(self) -> Address:
        """The name and the port of the other side."""
        if self._peer is None:
            raise OSError(errno.ENOTCONN, f"{_told(self._name)} is listening and has no peer")
        return self._peer

    def fileno(self) -> int:
        """-1: there is no descriptor."""
        return -1

    def getsockopt(self, level: int, option: int) -> int:
        """0, whatever the option."""
        return 0

    def setsockopt(self, level: int, option: int, value: object) -> None:
        """No option has an effect."""

    def gettimeout(self) -> float:
        """0: it does not block."""
        return 0.0


class Side:
    """One end of a connection: what a program gets for a socket.

    Attributes:
        out: What this side sends.
        into: What it is sent.
        open: A program holds this side.
    """

    def __init__(self, connection: Connection, out: Link, into: Link, name: Address, peer: Address) -> None:
        self.connection = connection
        self.out = out
        self.into = into
        self.socket = SimSocket(name, peer)
        self.open = False
        self._ended = False
        self._reset = False  # one has been sent or received

    @property
    def host(self) -> str:
        """The name of the host."""
        return self.socket.getsockname()[0]

    def end(self) -> None:
        """Send no more data, after all that has been sent."""
        if not self._ended:
            self._ended = True
            self.out.signal(Signal.END)

    def was_reset(self) -> None:
        """The other side has reset the connection; what this one sends goes nowhere."""
        self._reset = True
        self.out.discard()

    def close(self) -> None:
        """Give up this side.

        What has been sent still arrives, and then the end; or a reset, if there was data that nobody has read.
        """
        if not self.open:
            return
        self.open = False
        unread = self.into.stop_reading()
        if unread:
            self.refuse()
        else:
            self.end()
        self.connection.side_has_closed()

    def refuse(self) -> None:
        """Data has come that nobody will read: answer with a reset."""
        if not self._reset:
            self._reset = True
            self.out.signal(Signal.RESET)


class Connection:
    """Two sides and the two links between them, from the first attempt to connect.

    Args:
        accept: Called when the attempt arrives at the server's host; returns whether somebody listens there.
        forget: Called when both sides have been closed.

    Attributes:
        answered: Done when the server's host has answered, with an exception if it has refused.
    """

    def __init__(
        self,
        loop: SimLoop,
        conditions: Conditions,
        number: int,
        client: Address,
        server: Address,
        accept: Callable[[Connection], bool],
        forget: Callable[[Connection], None],
    ) -> None:
        self.number = number
        self._accept = accept
        self._forget = forget
        there = Link(loop, conditions, f"net:{number}:{_told(client)}->{_told(server)}", client[0], server[0])
        back = Link(loop, conditions, f"net:{number}:{_told(server)}->{_told(client)}", server[0], client[0])
        self.client = Side(self, there, back, client, server)
        self.server = Side(self, back, there, server, client)
        self.answered: asyncio.Future[None] = loop.create_future()
        for side in (self.client, self.server):
            side.out.on_break = self.break_off
            side.into.on_stray = side.refuse
        there.on_arrival = self._knock
        back.on_arrival = self._answer

    def __repr__(self) -> str:
        return f"<Connection {self}>"

    def __str__(self) -> str:
        client, server = self.client.socket.getsockname(), self.server.socket.getsockname()
        holders = [name for name, side in (("client", self.client), ("server", self.server)) if side.open]
        return (
            f"connection {self.number} {_told(client)} -> {_told(server)}, held by {' and '.join(holders) or 'nobody'}"
        )

    def open(self) -> None:
        """Send the attempt to connect."""
        self.client.open = True
        self.client.out.signal(Signal.OPEN)

    def _knock(self) -> None:
        link = self.server.into
        opened = link.take(0) is Signal.OPEN  # or a reset
        link.on_arrival = _nothing
        if not opened:
            return
        self.server.open = True
        if self._accept(self):
            self.server.out.signal(Signal.ACCEPTED)
        else:
            self.server.out.signal(Signal.REFUSED)
            self.server.open = False

    def _answer(self) -> None:
        link = self.client.into
        answer = link.take(0)
        link.on_arrival = _nothing  # until the client has a transport; what arrives now waits
        if self.answered.done():
            return
        if answer is Signal.ACCEPTED:
            self.answered.set_result(None)
            return
        where = _told(self.server.socket.getsockname())
        if answer is Signal.REFUSED:
            error: OSError = ConnectionRefusedError(
                errno.ECONNREFUSED, f"{self.client.host} cannot connect to {where}: nobody listens there"
            )
        else:
            error = ConnectionResetError(errno.ECONNRESET, f"{where} has reset the connection while it was being made")
        self.client.was_reset()
        self.answered.set_exception(error)

    def links(self, side: Side, direction: Literal["out", "in", "both"]) -> list[Link]:
        """The links of a *direction*, seen from *side*."""
        return {"out": [side.out], "in": [side.into], "both": [side.out, side.into]}[direction]

    def seen(self) -> NetConnection:
        """What can be seen of it now."""
        there, back = self.client.out, self.client.into
        directions: list[tuple[Literal["out", "in"], Link]] = [("out", there), ("in", back)]
        return NetConnection(
            number=self.number,
            client=self.client.socket.getsockname(),
            server=self.server.socket.getsockname(),
            open_at_client=self.client.open,
            open_at_server=self.server.open,
            to_server=there.filled,
            to_client=back.filled,
            cut=tuple(name for name, link in directions if link.swallows),
        )

    def break_off(self) -> None:
        """Reset the connection on both sides; what is on its way is lost."""
        for side in (self.client, self.server):
            side.out.break_off()

    def side_has_closed(self) -> None:
        """One side was given up; after both nothing is left."""
        if not self.client.open and not self.server.open:
            for side in (self.client, self.server):
                side.out.discard()
            self._forget(self)


def _told(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _nothing() -> None:
    pass
