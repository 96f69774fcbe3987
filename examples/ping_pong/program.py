"""The tree: two players.

ping_pong               restarts whoever fails, and ends with the ping player
    pong                hits the ball back, and stumbles once
    ping                serves, counts, and stops at five
"""

from __future__ import annotations

from understudy import ChildSpec, Supervisor, child

from .actors import PingPlayer, PongPlayer

__all__ = ["PingPong", "program"]


class PingPong(Supervisor):
    """See the module."""

    auto_shutdown = "any_significant"

    def __init__(self, balls: int = 5, stumbles_at: int | None = 3, *, lives: int = 1) -> None:
        self.balls = balls
        self.stumbles_at = stumbles_at
        self.lives = lives

    def children(self) -> list[ChildSpec]:
        return [
            child(PongPlayer, self.stumbles_at, lives=self.lives).options(name="pong"),
            child(PingPlayer, self.balls, "ping_pong/pong").options(name="ping", restart="transient", significant=True),
        ]


program = PingPong
