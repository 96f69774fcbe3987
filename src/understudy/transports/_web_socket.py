"""uvicorn's WebSocket as a part of a program: it keeps out of the log, and ends although its peer does not read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from understudy.transports._web_server import GRACE

__all__ = ["WebSocketProtocol"]

_log = logging.getLogger("understudy.transports.web_socket")
_log.setLevel(logging.CRITICAL + 1)  # at DEBUG the library writes down what every frame says, and tokens are in there


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection; for :func:`understudy.transports._web_server.web_config`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _log
        self.conn.logger = _log
        self.conn.debug = False
        self.close_timeout = GRACE
        self.on_lost: Callable[[], object] = lambda: None
        self._end: asyncio.TimerHandle | None = None

    async def run_asgi(self) -> None:
        """Run the application; what has not been written out soon after it has returned is given up."""
        try:
            await super().run_asgi()
        finally:
            if not self.disconnected:
                self._end = self.loop.call_later(GRACE, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        super().connection_lost(exc)
        if self._end is not None:
            self._end.cancel()
        self.on_lost()
