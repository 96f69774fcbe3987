"""The two ends of a WebSocket, as the library makes them, with messages that are taken as they come.

The library has a queue for what has come, with a lock, and somebody has to be woken to take from it. That costs as much
as all the rest that is done with a message; so its own queue is passed by, and who wants to is called. Its parser is
passed by too, where a message is there as a whole: see :mod:`understudy.transports._websocket_frames`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.exceptions import MissingExtra
from understudy.transports._bell import Bell
from understudy.transports._websocket_frames import frame_size, whole_message

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.asyncio.connection import Connection as AnyEnd
    from websockets.asyncio.server import ServerConnection
    from websockets.frames import DATA_OPCODES, Frame, Opcode
    from websockets.protocol import Side, State
except ImportError:
    raise MissingExtra(what="a WebSocket", package="websockets", extra="websocket") from None

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from websockets.http11 import Request, Response

__all__ = ["ClientEnd", "Connect", "End", "ServerEnd"]

_BLANK = b"\r\n\r\n"
_QUEUE = 4
"""Messages that have come and have not been taken, from which on nothing more is read."""


class End(AnyEnd):
    """What both ends have in common."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.half_since: float | None = None
        """Since when half a message has been there; None: none is."""
        self.came: deque[bytes | None] = deque()
        """The messages that nobody has taken; None stands for text."""
        self.taker: Callable[[bytes | None], None] | None = None
        """Takes them at once, if it is there. It must not raise."""
        self.news = Bell(self.loop)
        """Rung when one has come, and at the end."""
        self.max_direct = 0
        """Bytes of the largest message that may pass the library by; none may, until somebody says so."""
        self.is_client = self.protocol.side is Side.CLIENT
        """Whether what it sends has to be masked, and what comes must not be."""
        # Bytes that the library was given and has made no frame of. A frame in a longer form than need be leaves some.
        self._unread = 0
        self._behind_blank = 0
        self._last_heard = b""
        self._parts: list[bytes] = []
        self._is_text = False

    def process_event(self, event: Frame | Request | Response) -> None:
        """A frame has come, or the other side's part of the opening handshake."""
        if not isinstance(event, Frame):
            self._unread = self._behind_blank
            super().process_event(event)
            return
        self._unread -= frame_size(len(event.data), masked=not self.is_client)
        if event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if event.opcode is not Opcode.CONT:
            self._is_text = event.opcode is Opcode.TEXT
        data = bytes(event.data)
        if not event.fin or self._parts:  # how large they may be together, the library says
            self._parts.append(data)
            if not event.fin:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        self._arrived(None if self._is_text else data)

    def _arrived(self, message: bytes | None) -> None:
        if self.taker is not None:
            self.taker(message)
            return
        self.came.append(message)
        if len(self.came) > _QUEUE:
            self.transport.pause_reading()
        self.news.ring()

    def next_message(self) -> bytes | None:
        """The oldest that nobody has taken; there must be one."""
        message = self.came.popleft()
        if len(self.came) == _QUEUE:
            self.transport.resume_reading()
        return message

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        protocol = self.protocol
        if protocol.state is State.OPEN:
            # Between two messages the library has no more to say of a whole one than that it is one. What it was given
            # has become frames as a whole if their shortest forms add up to it: no form of any is shorter.
            if not self._unread and self.max_direct and protocol.current_size is None:
                data = self._take_whole(data)
                if not data:
                    return
        elif protocol.state is State.CONNECTING:
            # The other side's part of the opening handshake ends with a blank line, which may come in pieces.
            heard = self._last_heard + data
            self._behind_blank = len(heard) - heard.find(_BLANK) - len(_BLANK)
            self._last_heard = heard[1 - len(_BLANK) :]
        self._unread += len(data)
        super().data_received(data)
        if self._unread or protocol.current_size is not None:
            if self.half_since is None:
                self.half_since = self.loop.time()
        else:
            self.half_since = None

    def _take_whole(self, data: bytes) -> bytes:
        """Take the whole messages at the beginning of *data*; what is behind them."""
        at, size, masked = 0, len(data), not self.is_client
        while (found := whole_message(data, at, self.max_direct, masked=masked)) is not None:
            message, at = found
            if self.taker is not None:
                self.taker(message)
            else:
                self._arrived(message)
            if at == size:
                return b""
            if self.protocol.state is not State.OPEN:
                break
        return data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        super().connection_lost(exc)
        self.news.ring()


class ClientEnd(End, ClientConnection):
    """The end of who has connected."""


class ServerEnd(End, ServerConnection):
    """The end of who has accepted.

    Args:
        admit: Whether there is room for a connection from an address.
        release: Called when a connection from that address, which there was room for, is over.
    """

    def __init__(self, admit: Callable[[str], bool], release: Callable[[str], None], *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._admit = admit
        self._release = release
        self._address: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected, and has said nothing."""
        super().connection_made(transport)
        address = str((transport.get_extra_info("peername") or ("?",))[0])
        if self._admit(address):
            self._address = address
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        super().connection_lost(exc)
        if self._address is not None:
            self._release(self._address)
            self._address = None


class Connect(connect):
    """An attempt to connect, which goes to where it was told."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Where a server sends us, nobody has checked."""
        return exc
