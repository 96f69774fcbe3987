"""What may go wrong in a simulated run."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults that chance brings into a simulated run, besides the order in which things happen.

    The probabilities are of each schedule but the first one, which is undisturbed. The runtime's own actors, under
    ``/system``, are spared.

    Attributes:
        crash: Probability that the handling of a message crashes, before or after the handler's own code.
        cancel: Probability that the task of an ``async def`` handler is cancelled by somebody who has no right to;
            which is a crash of that actor.
        reset: Probability for each piece of data on the simulated network that its connection breaks instead.
        partition: Whether parts of the simulated network may lose sight of each other for a while.
        stall: Seconds by which time may go on while there is work to do, since the last moment without any: how far
            the event loop may lag behind the clock. Timeouts that are longer strike only when nothing else can happen.
            ``math.inf``: every timeout may strike.

    Raises:
        ValueError: A probability is not between 0 and 1, or the stall is negative.
    """

    crash: float = 0.0
    cancel: float = 0.0
    reset: float = 0.0
    partition: bool = False
    stall: float = 1.0

    def __post_init__(self) -> None:
        for name in ("crash", "cancel", "reset"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1, got {value!r}")
        if not isinstance(self.partition, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"partition must be True or False, got {self.partition!r}")
        if not _is_number(self.stall) or not self.stall >= 0:
            raise ValueError(f"stall must be a number of seconds from 0 on, or math.inf, got {self.stall!r}")

    def __str__(self) -> str:
        told = [f"{field.name}={getattr(self, field.name)}" for field in fields(self)]
        return f"Faults({', '.join(told)})"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
