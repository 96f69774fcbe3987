"""What the players say to each other."""

from __future__ import annotations

from understudy import ActorRef, Message

__all__ = ["Hits", "Ping", "Pong"]


class Pong(Message):
    """The ball on its way back."""

    number: int


class Ping(Message):
    """The ball on its way there. It says who gets it back: whoever takes a Pong."""

    number: int
    back: ActorRef[Pong]


class Hits(Message[int]):
    """How often have you hit the ball? An ask of this is answered with an int."""
