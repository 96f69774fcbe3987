"""How an actor's mailbox is made: how much it takes, what happens then, and in which order it gives out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from understudy.mailbox._rolling import RollingBatch
from understudy.mailbox._rules import (
    DEFAULT_CAPACITY,
    PLAIN,
    Level,
    Levels,
    Policy,
    Rules,
    check_capacity,
    check_marks,
    check_policy,
)

__all__ = ["Mailbox"]


class Mailbox(BaseModel):
    """How an actor's mailbox is made; for `mailbox=` of a child specification.

        child(Index).options(mailbox=Mailbox(capacity=100))

    Functions that are given to it are called with the message, by whoever sends it; they must be quick.

    Attributes:
        capacity: How many messages may wait, or how much they may weigh together: a whole number from 1 on, or
            `math.inf`.
        policy: What becomes of the message after that. `"block"`: a `send` waits for room, an `ask` waits for it within
            its timeout, a `tell` is refused and says so. `"fail"` and `"drop_new"`: it is refused. `"drop_old"`: the
            oldest goes. `"stop"`: the actor fails. No policy forgets a message in silence.
        weigh: Computes what a message takes of the capacity, a number from 0 on; by default each takes 1.
        high: When so much is taken, the runtime reports it, once ...
        low: ... until no more than this is taken, which it reports too. By default half of *high*.
        priority: Types, or tuples of types, the most urgent first, and after them all others; or a function of a
            message, which gives something that can be compared, the smallest for the most urgent. Equally urgent
            messages are handled in the order in which they came. Stopping and supervising are above all of them.
        batch: Collect messages, and handle a burst of them at once.

    Raises:
        pydantic.ValidationError: For a bad value or an unknown name; says which, and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    capacity: int | float = DEFAULT_CAPACITY
    policy: Policy = "block"
    weigh: Callable[[Any], float] | None = None
    high: int | float | None = None
    low: int | float | None = None
    priority: tuple[Level, ...] | Callable[[Any], Any] | None = None
    batch: RollingBatch | None = None

    @field_validator("capacity", mode="before")
    @classmethod
    def _check_capacity(cls, value: object) -> float:
        return check_capacity(value)

    @field_validator("policy", mode="before")
    @classmethod
    def _check_policy(cls, value: object) -> Policy:
        return check_policy(value)

    @field_validator("weigh", mode="before")
    @classmethod
    def _check_weigh(cls, value: object) -> object:
        if value is not None and not callable(value):
            raise ValueError(f"weigh must be a function of a message, got {value!r}")
        return value

    @field_validator("priority", mode="before")
    @classmethod
    def _check_priority(cls, value: object) -> object:
        if value is None or (callable(value) and not isinstance(value, type)):
            return value
        if not isinstance(value, tuple | list):
            raise ValueError(f"priority must be a function of a message, or types in a tuple, got {value!r}")
        levels = tuple(cast("list[Level]", value))
        Levels(levels)
        return levels

    @field_validator("batch", mode="before")
    @classmethod
    def _check_batch(cls, value: object) -> object:
        if value is not None and not isinstance(value, RollingBatch):
            raise ValueError(f"batch must be a RollingBatch, got {value!r}")
        return value

    @model_validator(mode="after")
    def _check_marks(self) -> Self:
        check_marks(self.high, self.low, self.capacity)
        return self

    @property
    def plain(self) -> bool:
        """Whether all that distinguishes it is its capacity; for the runtime."""
        extras = (self.weigh, self.high, self.priority, self.batch)
        return self.policy == "block" and extras == (None, None, None, None)

    def rules(
        self,
        *,
        message_of: Callable[[Any], Any] | None = None,
        on_drop: Callable[[Any, str], object] | None = None,
        on_high: Callable[[float], object] | None = None,
        on_low: Callable[[float], object] | None = None,
    ) -> Rules:
        """What `AsyncMessageQueue` takes as `rules=`, beside the capacity; for the runtime.

        Args:
            message_of: What waits in the mailbox may be an envelope: gives the message, which the functions are for.
            on_drop: Called with what the policy `drop_old` has displaced, as it waits in the mailbox, and that name.
            on_high: Called when the load has reached *high*.
            on_low: Called when it is down to *low*.
        """
        if self.plain:
            return PLAIN
        high, low = check_marks(self.high, self.low, self.capacity)
        batch, priority = self.batch, self.priority
        if priority is not None and not callable(priority):
            priority = Levels(priority)
        if batch is not None and batch.urgent is not None:
            batch = RollingBatch(quiet=batch.quiet, cap=batch.cap, urgent=_after(message_of, batch.urgent))
        return Rules(
            policy=self.policy,
            weigh=_after(message_of, self.weigh),
            priority=_after(message_of, priority),
            high=high,
            low=low,
            on_high=on_high,
            on_low=on_low,
            on_drop=on_drop,
            batch=batch,
        )

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        fields: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        always = ("capacity", "policy")
        return [(name, value) for name, value in fields.items() if name in always or value is not None]


def _after(
    message_of: Callable[[Any], Any] | None, function: Callable[[Any], Any] | None
) -> Callable[[Any], Any] | None:
    """*function* of the message in an envelope."""
    if message_of is None or function is None:
        return function
    return lambda item: function(message_of(item))
