"""What guests and forks say to each other."""

from __future__ import annotations

from understudy import ActorRef, Message

__all__ = ["Dine", "Put", "Take", "Use"]


class Dine(Message[int]):
    """To a guest: eat so many meals. Answered with how many that has been in this life."""

    meals: int = 1


class Take(Message):
    """To a fork: answered when it is in your hand."""


class Put(Message):
    """To a fork: whoever sends this neither holds it nor waits for it."""


class Use(Message):
    """To a jealous fork: be used, together with the other; answered after the meal."""

    other: ActorRef[Use] | None = None
