"""A transport over a side of a simulated connection."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, cast

from understudy.testing._net_link import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context

    from understudy.testing._loop import SimLoop
    from understudy.testing._net_connection import Side

__all__ = ["SimTransport"]

MAX_READ = 256 * 1024
HIGH_WATER = 64 * 1024


class SimTransport(asyncio.Transport):
    """What :class:`asyncio.Transport` promises for a TCP connection, and does not read or write anything real.

    The protocol is called in the order ``connection_made``, then data and its end, then ``connection_lost`` exactly
    once: with None after ``close``, ``abort`` or the other side's end, with a ``ConnectionResetError`` after a reset,
    which is a ``BrokenPipeError`` for who had received the end. As with a real transport, who has paused reading or has
    received the end learns of a reset when it writes.

    Args:
        context: In which the protocol is called.
        on_started: Called after ``connection_made``.
        on_lost: Called after ``connection_lost``.
    """

    def __init__(
        self,
        loop: SimLoop,
        protocol: asyncio.BaseProtocol,
        side: Side,
        context: Context,
        *,
        on_started: Callable[[], None] | None = None,
        on_lost: Callable[[SimTransport], None] | None = None,
    ) -> None:
        socket = side.socket
        super().__init__({"peername": socket.getpeername(), "sockname": socket.getsockname(), "socket": socket})
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = protocol
        self._side = side
        self._context = context
        self._on_started = on_started
        self._on_lost = on_lost
        self._buffer = bytearray()
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._protocol_paused = False
        self._paused = False
        self._closing = False
        self._ended = False  # by the other side
        self._eof = False  # by this side
        # connection_lost has been scheduled or called; nothing else is called after that.
        self._lost = False
        self._reading_soon = False
        self._flushing_soon = False
        loop.call_soon(self._make_connection, context=context)
        # Apart from the above, which may raise.
        loop.call_soon(self._start, context=context)

    def __repr__(self) -> str:
        state = "closed" if self._protocol is None else "closing" if self._closing else "open"
        return f"<SimTransport {self._side.socket!r} {state}, {len(self._buffer)} bytes to write>"

    @property
    def side(self) -> Side:
        """The side of the connection."""
        return self._side

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Call another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is called."""
        # None after connection_lost, as in asyncio, whose type stubs do not say so either.
        return self._protocol  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def is_closing(self) -> bool:
        """Whether the transport has been closed, by whatever side."""
        return self._closing

    # Reading

    def is_reading(self) -> bool:
        """Whether data is passed on as it comes."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Let data wait; when the window is full the other side has to wait, too."""
        if self.is_reading():
            self._paused = True

    def resume_reading(self) -> None:
        """Pass on what has waited, and what comes."""
        if not self._closing and self._paused:
            self._paused = False
            self._read_soon()

    def _make_connection(self) -> None:
        assert self._protocol is not None
        self._protocol.connection_made(self)

    def _start(self) -> None:
        self._side.into.on_arrival = self._arrived
        self._side.out.on_room = self._flush_soon
        if self._on_started is not None:
            self._on_started()
        self._read_soon()

    def _arrived(self) -> None:
        """Something has come. This is a step of the loop, made in the context of who has sent it."""
        if self._buffer and self._side.into.has_reset:
            self._fail(self._take_reset())
        else:
            self._context.run(self._read)

    def _read_soon(self) -> None:
        if not self._reading_soon and self._side.into.has_arrived:
            self._reading_soon = True
            self._loop.call_soon(self._read, context=self._context)

    def _read(self) -> None:
        self._reading_soon = False
        if self._lost or self._ended or not self.is_reading():
            return
        try:
            self._read_one()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fail_and_tell(error, "the protocol has failed on what it received")
        self._read_soon()

    def _read_one(self) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._read_into_buffer(protocol)
            return
        what = self._side.into.take(MAX_READ)
        if isinstance(what, Signal):
            self._read_signal(what)
        elif what is not None:
            cast("asyncio.Protocol", protocol).data_received(what)

    def _read_into_buffer(self, protocol: asyncio.BufferedProtocol) -> None:
        buffer = memoryview(protocol.get_buffer(-1))
        if not buffer:
            raise RuntimeError("get_buffer() has returned an empty buffer")
        what = self._side.into.take(len(buffer))
        if isinstance(what, Signal):
            self._read_signal(what)
        elif what is not None:
            buffer[: len(what)] = what
            protocol.buffer_updated(len(what))

    def _read_signal(self, signal: Signal) -> None:
        if signal is Signal.RESET:
            self._fail(self._reset())
            return
        self._ended = True
        if not cast("asyncio.Protocol", self._protocol).eof_received():
            self.close()

    def _take_reset(self) -> ConnectionError:
        while self._side.into.take(MAX_READ) is not Signal.RESET:
            pass
        return self._reset()

    def _reset(self) -> ConnectionError:
        self._side.was_reset()
        host, port = self._side.socket.getpeername()
        if self._ended:
            # What Linux says to who writes although the other side had already ended.
            return BrokenPipeError(errno.EPIPE, f"{host}:{port} has closed the connection")
        return ConnectionResetError(errno.ECONNRESET, f"{host}:{port} has reset the connection")

    # Writing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When to pause the protocol that writes, and when to let it go on, in bytes."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._maybe_pause()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high mark, in this order."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """How many bytes have been written that the network has not accepted yet."""
        return len(self._buffer)

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send *data*. After the connection has been lost it goes nowhere, without an error."""
        if not isinstance(data, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"data must be bytes-like, got {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("write() after write_eof()")
        if self._lost or not data:
            return
        if self._side.into.has_reset:
            self._fail(self._take_reset())
            return
        self._buffer += data
        self._send()
        self._maybe_pause()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send all of them, as one."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send no more after what has been written; data may still be received."""
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._buffer:
            self._side.end()

    def _send(self) -> None:
        with memoryview(self._buffer) as view:
            sent = self._side.out.send(view)
        del self._buffer[:sent]

    def _flush_soon(self) -> None:
        """There is room."""
        if self._buffer and not self._flushing_soon and not self._lost:
            self._flushing_soon = True
            self._loop.call_soon(self._flush, context=self._context)

    def _flush(self) -> None:
        self._flushing_soon = False
        if self._lost or not self._buffer:
            return
        self._send()
        self._maybe_resume()
        if self._buffer or self._lost:
            return
        if self._closing:
            self._lost = True
            self._lose_connection(None)
        elif self._eof:
            self._side.end()

    def _maybe_pause(self) -> None:
        if not self._protocol_paused and len(self._buffer) > self._high:
            self._protocol_paused = True
            self._call("pause_writing")

    def _maybe_resume(self) -> None:
        if self._protocol_paused and len(self._buffer) <= self._low:
            self._protocol_paused = False
            self._call("resume_writing")

    def _call(self, name: str) -> None:
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._tell(error, f"protocol.{name}() failed")

    # Closing

    def close(self) -> None:
        """Read no more, send what has been written, then close. It waits as long as that takes."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lose_soon(None)

    def abort(self) -> None:
        """Close without sending what the network has not accepted yet."""
        self._fail(None)

    def _fail_and_tell(self, error: BaseException, message: str) -> None:
        if not isinstance(error, OSError):
            self._tell(error, message)
        self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._buffer.clear()
        self._closing = True
        self._lose_soon(error)

    def _lose_soon(self, error: BaseException | None) -> None:
        self._lost = True
        self._loop.call_soon(self._lose_connection, error, context=self._context)

    def _lose_connection(self, error: BaseException | None) -> None:
        protocol, self._protocol = self._protocol, None
        assert protocol is not None
        try:
            protocol.connection_lost(error)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        finally:
            self._side.close()
            if self._on_lost is not None:
                self._on_lost(self)

    def _tell(self, error: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )
