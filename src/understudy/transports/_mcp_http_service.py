"""uvicorn, the SDK's sessions and our gate, run by one task of an actor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import sse_starlette.sse
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from understudy.transports._mcp_gate import Gate
from understudy.transports._mcp_service import sdk_server
from understudy.transports._mcp_tasks import uncancel
from understudy.transports._web_binding import listen_at
from understudy.transports._web_server import GRACE, SocketLimits, WebServer, web_config

if TYPE_CHECKING:
    from understudy.transports._mcp_serving import HttpBinding
    from understudy.transports._mcp_tools import Tools

__all__ = ["serve_http"]

SESSION_IDLE = 600.0
"""Seconds after which a session without requests is forgotten, for clients whose protocol has sessions."""


async def serve_http(tools: Tools, binding: HttpBinding, up: asyncio.Future[str]) -> None:
    """Serve until cancelled: once to end in order, twice to end at once; nothing is left of it then.

    Raises:
        OSError: The port is taken, or the certificate cannot be read.
    """
    with listen_at(binding.host, binding.port) as listening:
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
        sockets = SocketLimits(binding.body_timeout, 2 * binding.max_connections, 2 * binding.max_connections)
        server = Server(web_config(gate, sockets, binding.tls(), busy=binding.max_connections))
        server.on_started = lambda: _tell(up, binding.url(port))
        try:
            async with manager.run():
                await server.serve_all([listening])
        finally:
            await end_watcher()


def _tell(up: asyncio.Future[str], url: str) -> None:
    if not up.done():
        up.set_result(url)


async def end_watcher() -> None:
    """End the task that sse-starlette has started, if nobody uses it any more.

    It begins with the first stream of events of a thread, belongs to nobody, and polls for ever whether a server that
    it finds by its signal handlers is ending. The next stream starts it again.
    """
    state_of: Callable[[], Any] | None = getattr(sse_starlette.sse, "_get_shutdown_state", None)
    if state_of is None or state_of().events:
        return
    watchers = [each for each in asyncio.all_tasks() if getattr(each.get_coro(), "__name__", "") == "_shutdown_watcher"]
    for each in watchers:
        each.cancel()
    if watchers:
        await asyncio.wait(watchers, timeout=GRACE)


class Server(WebServer):
    """The server, for a task whose cancel is the wish to end in order."""

    async def main_loop(self) -> None:
        """Serve until cancelled; the first cancel is the wish to end in order, the next interrupts that."""
        try:
            await super().main_loop()
        except asyncio.CancelledError:
            uncancel()
        self.should_exit = True
