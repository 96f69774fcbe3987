"""The two players."""

from __future__ import annotations

from understudy import Actor, handler

from .messages import Hits, Ping, Pong

__all__ = ["PATIENCE", "PingPlayer", "PongPlayer"]

PATIENCE = 0.5
"""Seconds that the ping player waits for a ball to come back."""


class PongPlayer(Actor[Ping | Hits]):
    """Hits every ball back, but for the one that it stumbles over."""

    def __init__(self, stumbles_at: int | None = None, *, lives: int = 1) -> None:
        self.stumbles_at = stumbles_at
        self.lives = lives
        self.hits = 0

    @handler
    def ping(self, message: Ping) -> None:
        if message.number == self.stumbles_at and self.context.incarnation <= self.lives:
            print(f"  pong stumbles over {message.number}")
            raise RuntimeError("stumbled")
        self.hits += 1
        print(f"  pong {message.number}")
        message.back.tell(Pong(number=message.number))

    @handler
    def count(self, message: Hits) -> int:
        return self.hits


class Serve:
    """To the ping player, from itself: begin."""


class Lost:
    """To the ping player, from its timer: the ball has not come back."""


class PingPlayer(Actor[Pong]):
    """Serves, and hits the ball until it has been there and back so many times."""

    def __init__(self, balls: int, partner: str) -> None:
        self.balls = balls
        self.partner = partner
        self.number = 0

    def initialize(self) -> None:
        self.pong = self.context.system.lookup(self.partner, PongPlayer)
        self.context.tell_self(Serve())

    @handler
    def _serve(self, message: Serve) -> None:
        print("ping serves")
        self.number = 1
        self.hit()

    def hit(self) -> None:
        print(f"  ping {self.number}")
        self.pong.tell(Ping(number=self.number, back=self.context.ref))
        self.context.timers.after("ball", PATIENCE, Lost())  # in the place of the one for the last ball

    @handler
    async def back(self, message: Pong) -> None:
        if message.number != self.number:
            return  # a ball that was served again, and has come back twice
        if self.number < self.balls:
            self.number += 1
            self.hit()
        else:
            hits = await self.pong.ask(Hits())
            print(f"the rally is over: {self.balls} balls, and pong knows of {hits}")
            self.context.stop()

    @handler
    def _lost(self, message: Lost) -> None:
        print("nothing comes back, and ping serves again")
        self.hit()
