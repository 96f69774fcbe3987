"""A server on the simulated network."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

from understudy.testing._net_connection import SimSocket
from understudy.testing._net_ports import current_host
from understudy.testing._net_transport import SimTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from understudy.testing._loop import SimLoop
    from understudy.testing._net_connection import Address, Side

__all__ = ["SimServer", "turn"]


class SimServer(asyncio.AbstractServer):
    """What :class:`asyncio.Server` promises, in the manner of the latest Python on all of them.

    That concerns :meth:`wait_closed`, which before 3.12.1 did not wait for connections, and :meth:`close_clients` and
    :meth:`abort_clients`, which came with 3.13.

    Args:
        release: Gives up the addresses.
    """

    def __init__(
        self,
        loop: SimLoop,
        addresses: list[Address],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        context: Context,
        release: Callable[[SimServer], None],
    ) -> None:
        self._loop = loop
        self._sockets: list[SimSocket] | None = [SimSocket(address) for address in addresses]
        self._protocol_factory = protocol_factory
        self._context = context
        self._release = release
        self._serving = False
        self._serving_forever: asyncio.Future[None] | None = None
        # In the order in which they came.
        self._clients: dict[SimTransport, None] = {}
        # None: closed, and the last connection is gone.
        self._waiters: list[asyncio.Future[None]] | None = []

    def __repr__(self) -> str:
        return f"<SimServer sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[SimSocket, ...]:
        """Stand-ins for the sockets on which it listens; none once it is closed."""
        return tuple(self._sockets or ())

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._serving

    def begin(self) -> None:
        """Accept connections from now on."""
        if self._sockets is None:
            raise RuntimeError(f"{self!r} is closed")
        self._serving = True

    async def start_serving(self) -> None:
        """Accept connections."""
        self.begin()
        await turn(self._loop)

    async def serve_forever(self) -> None:
        """Accept connections until cancelled, then close."""
        if self._serving_forever is not None:
            raise RuntimeError(f"{self!r} is already serving for ever")
        self.begin()
        self._serving_forever = self._loop.create_future()
        try:
            await self._serving_forever
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise
        finally:
            self._serving_forever = None

    def close(self) -> None:
        """Accept no more connections. Those that there are stay."""
        if self._sockets is None:
            return
        self._release(self)
        self._sockets = None
        self._serving = False
        if self._serving_forever is not None:
            self._serving_forever.cancel()
        self._wake_up()

    def close_clients(self) -> None:
        """Close all connections, each once it has sent what was written."""
        for transport in list(self._clients):
            transport.close()

    def abort_clients(self) -> None:
        """Abort all connections."""
        for transport in list(self._clients):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its connections are gone."""
        if self._waiters is not None:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def accept(self, side: Side) -> None:
        """Somebody has connected; *side* is the server's."""
        # Each has a copy of its own, as the protocol may set variables.
        context = self._context.copy()
        context.run(current_host.set, side.host)
        try:
            protocol = context.run(self._protocol_factory)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            side.close()
            self._loop.call_exception_handler(
                {"message": "the server's protocol factory failed on a connection", "exception": error, "server": self}
            )
            return
        transport = SimTransport(self._loop, protocol, side, context, on_lost=self._lost)
        self._clients[transport] = None

    def _lost(self, transport: SimTransport) -> None:
        del self._clients[transport]
        self._wake_up()

    def _wake_up(self) -> None:
        if self._sockets is None and not self._clients and self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


async def turn(loop: SimLoop) -> None:
    """Let others run."""
    passed: asyncio.Future[None] = loop.create_future()

    def pass_on() -> None:
        if not passed.done():
            passed.set_result(None)

    loop.call_soon(pass_on, context=copy_context())
    await passed
