"""uvicorn, the SDK's sessions and our gate, run by one task of an actor."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from understudy.transports._mcp_gate import Gate
from understudy.transports._mcp_service import sdk_server

if TYPE_CHECKING:
    from understudy.transports._mcp_serving import HttpBinding
    from understudy.transports._mcp_tools import Tools

__all__ = ["Served", "serve_http"]

GRACE = 1
"""Seconds that calls in hand get at the end."""
IDLE = 5
"""Seconds that a connection is kept open for the next request."""
SESSION_IDLE = 600.0
"""Seconds after which a session without requests is forgotten, for clients whose protocol has sessions."""


@dataclass(frozen=True)
class Served:
    """A service that is up."""

    url: str
    leave: Callable[[], None]
    """Ask it to end, in order."""


async def serve_http(tools: Tools, binding: HttpBinding, up: asyncio.Future[Served]) -> None:
    """Serve until asked to leave, or cancelled; nothing is left of it then, whichever it was.

    Raises:
        OSError: The port is taken, or the certificate cannot be read.
    """
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    with socket.create_server((binding.host, binding.port), family=family) as listening:
        port: int = listening.getsockname()[1]
        manager = StreamableHTTPSessionManager(
            sdk_server(tools),
            max_request_body_size=binding.max_message_bytes,
            max_sessions=binding.max_sessions,
            session_idle_timeout=SESSION_IDLE,
        )
        gate = Gate(
            cast("Any", manager.handle_request),
            binding.rules(port),
            path=binding.path,
            limit=binding.max_message_bytes,
            patience=binding.body_timeout,
        )
        server = Server(_config(gate, binding))
        server.on_started = lambda: _tell(up, Served(binding.url(port), server.leave))
        async with manager.run():
            await server.serve_all([listening])


def _tell(up: asyncio.Future[Served], served: Served) -> None:
    if not up.done():
        up.set_result(served)


def _config(gate: Gate, binding: HttpBinding) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", gate),
        lifespan="off",
        ws="none",
        http="h11",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=binding.max_connections,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=binding.certificate,
        ssl_keyfile=None if binding.key is None else str(binding.key),
    )


class Server(uvicorn.Server):
    """uvicorn's server as a part of a program that has signals of its own, and that may end it at any time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_started: Callable[[], None] = lambda: None
        self.servers: list[Any] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the program."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.on_started()

    def leave(self) -> None:
        """End soon, in order."""
        self.should_exit = True

    async def serve_all(self, sockets: list[socket.socket]) -> None:
        """Serve until asked to leave; when cancelled, drop everything at once."""
        try:
            await self.serve(sockets)
        finally:
            for server in self.servers:
                server.close()
            tasks = list(self.server_state.tasks)
            for task in tasks:
                task.cancel()
            for connection in list(self.server_state.connections):
                transport = getattr(connection, "transport", None)
                if transport is not None:
                    transport.abort()
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE)
