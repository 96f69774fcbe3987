"""One direction of a connection within this process: a bounded queue of messages, and its end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from understudy.transports._bell import Bell
from understudy.transports._errors import ConnectionLost

if TYPE_CHECKING:
    from understudy.environment import Environment
    from understudy.transports._connection import ConnectionLimits, PeerFacts

__all__ = ["ROOM", "Pipe", "PipedConnection"]

ROOM = 16
"""Messages that may wait in one direction."""


class Pipe:
    """Messages in order, for one who puts and one who takes."""

    def __init__(self, env: Environment) -> None:
        self.items: deque[bytes] = deque()
        # Why, and whether it was meant.
        self.ended: tuple[str, bool] | None = None
        self.news = Bell(env.loop)
        self.room = Bell(env.loop)

    def is_full(self) -> bool:
        """The sender has to wait."""
        return self.ended is None and len(self.items) >= ROOM

    def is_dry(self) -> bool:
        """The receiver has to wait."""
        return self.ended is None and not self.items

    def put(self, data: bytes) -> None:
        """One more."""
        self.items.append(data)
        self.news.ring()

    def take(self) -> bytes:
        """The oldest."""
        data = self.items.popleft()
        self.room.ring()
        return data

    def end(self, why: str, clean: bool) -> None:
        """No more will come; the first to say so is right."""
        if self.ended is None:
            self.ended = (why, clean)
            self.news.ring()
            self.room.ring()


class PipedConnection:
    """The receiving half of a connection whose messages are put into a pipe."""

    def __init__(self, peer: PeerFacts, into: Pipe, limits: ConnectionLimits) -> None:
        self.peer = peer
        self._in = into
        self._limits = limits

    async def receive(self) -> bytes:
        """The next message."""
        try:
            await self._in.news.wait_while(self._in.is_dry, self._limits.idle_timeout)
        except TimeoutError:
            self.cut("the peer sent nothing in time")
        if not self._in.items:
            assert self._in.ended is not None
            raise self._lost(*self._in.ended)
        data = self._in.take()
        if len(data) > self._limits.max_size:
            why = f"a message of {len(data):,} bytes came, larger than max_size ({self._limits.max_size:,})"
            self.cut(why)
            raise self._lost(why, clean=False)
        return data

    def cut(self, why: str, *, clean: bool = False) -> None:
        """End both directions, at once."""
        raise NotImplementedError

    def _lost(self, why: str, clean: bool) -> ConnectionLost:
        return ConnectionLost(peer=self.peer.address, why=why, clean=clean)
