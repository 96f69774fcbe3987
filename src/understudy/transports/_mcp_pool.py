"""What a pool of MCP sessions needs: how to open one, whether it is well, how to close it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.actors._child import child
from understudy.exceptions import UnderstudyError
from understudy.transports._mcp_session import MCPSession, MCPSessionMessage, Ping

if TYPE_CHECKING:
    from understudy.actors._context import Context, System
    from understudy.actors._ref import ActorRef
    from understudy.transports._mcp_link import MCPServerAddress

__all__ = ["MCPSessionFactory"]


class MCPSessionFactory:
    """Opens, checks and closes sessions with one server, each an actor that is not restarted: the pool opens others.

    Args:
        spawner: Under whom they are spawned: an actor's ``context``, or the system.
        server: Whom with.
        patience: Seconds for a check, and for the end of a session.
    """

    def __init__(self, spawner: Context | System, server: MCPServerAddress, *, patience: float = 5.0) -> None:
        self._spawner = spawner
        self._server = server
        self._patience = patience

    async def open(self) -> ActorRef[MCPSessionMessage]:
        """A new session.

        Raises:
            StartError: There is none; ``__cause__`` is a :class:`MCPConnectionFailed`.
        """
        return await self._spawner.spawn(child(MCPSession, self._server).options(restart="temporary"))

    async def is_healthy(self, session: ActorRef[MCPSessionMessage]) -> bool:
        """Whether its server answers a ping; never raises but for a cancel."""
        try:
            await session.ask(Ping(), timeout=self._patience)
        except UnderstudyError:
            return False
        return True

    async def close(self, session: ActorRef[MCPSessionMessage]) -> None:
        """End it, by force if it takes longer than the patience; it may have ended before."""
        session.stop()
        try:
            await session.wait_stopped(timeout=self._patience)
        except TimeoutError:
            session.kill()
            await session.wait_stopped()
