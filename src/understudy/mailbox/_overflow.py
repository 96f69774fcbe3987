"""What happens when a mailbox is full, and how much it takes until then."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from understudy.mailbox._queue import DEFAULT_CAPACITY, check_capacity

__all__ = ["Mailbox"]


class Mailbox(BaseModel):
    """How an actor's mailbox is made; for `mailbox=` of a child specification.

        child(Index).options(mailbox=Mailbox(capacity=100))

    Attributes:
        capacity: How many messages may wait: a whole number from 1 on, or `math.inf`.
        policy: What becomes of the message after that. `"block"`: a `send` waits for room, an `ask` waits for it within
            its timeout, a `tell` is refused and says so. No policy forgets a message in silence.

    Raises:
        pydantic.ValidationError: For a bad value or an unknown name; says which, and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capacity: int | float = DEFAULT_CAPACITY
    policy: Literal["block"] = "block"

    @field_validator("capacity", mode="before")
    @classmethod
    def _check_capacity(cls, value: object) -> float:
        return check_capacity(value)
