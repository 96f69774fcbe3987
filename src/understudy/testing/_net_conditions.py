"""What happens to bytes on their way: how long they take, in which pieces they come, who is cut off from whom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.testing._choices import Choices
    from understudy.testing._loop import SimLoop

__all__ = ["Conditions"]

MAX_PIECES = 4
LATENCIES = 5
"""How many latencies there are to choose from, evenly between the lowest and the highest."""
SPLIT_PROBABILITY = 0.25
MERGE_PROBABILITY = 0.25
PARTITION_PROBABILITY = 0.02
PARTITION_SECONDS = (0.1, 1.0, 10.0, 60.0)


class Conditions:
    """The state of a simulated network, apart from its connections.

    All chance comes from *choices*. Whatever it says, what is sent over one link arrives in order. The name of the
    link's lane is part of each question, so that a run is repeated as well as possible when another link is left out.

    Args:
        healed: Called after hosts have been reunited on demand.

    Attributes:
        latency: The lowest and the highest, in seconds. The lowest is the undisturbed one.
        window: How many bytes of one direction may be on their way or unread, before the writer has to wait.
        reset_probability: How likely a piece of data breaks its connection.
        partitions: Whether hosts may be cut off from one another by chance, which happens only when something is sent.
    """

    def __init__(self, loop: SimLoop, choices: Choices, healed: Callable[[], None]) -> None:
        self._loop = loop
        self._choices = choices
        self._healed = healed
        self.latency = (0.001, 0.05)
        self.window = 65_536
        self.reset_probability = 0.0
        self.partitions = False
        # The pairs that are cut off, and until when. No timer ends it, since one would be left at the end of a run.
        self._apart: dict[tuple[str, str], float] = {}

    def delay(self, lane: str) -> float:
        """How long the next piece takes, in seconds."""
        low, high = self.latency
        step = self._choices.draw(f"{lane} latency", LATENCIES) if high > low else 0
        return low + (high - low) * step / (LATENCIES - 1)

    def pieces(self, lane: str, size: int) -> list[int]:
        """The sizes of the pieces in which *size* bytes arrive; one piece if undisturbed."""
        if size < 2 or not self._choices.flip(f"{lane} split", SPLIT_PROBABILITY):
            return [size]
        more = 1 + self._choices.draw(f"{lane} pieces", min(size, MAX_PIECES) - 1)
        sizes: list[int] = []
        for following in range(more, 0, -1):
            sizes.append(self._piece(lane, size - sum(sizes) - following))
        return [*sizes, size - sum(sizes)]

    def _piece(self, lane: str, limit: int) -> int:
        """A size from 1 to *limit*, mostly one at which parsers go wrong."""
        match self._choices.draw(f"{lane} cut", 6):
            case 0:
                return (limit + 1) // 2
            case 1 | 2 | 3 as size:
                return min(size, limit)
            case 4:
                return limit
            case _:
                return 1 + self._choices.draw(f"{lane} cut.at", limit)

    def merges(self, lane: str) -> bool:
        """Whether data arrives together with what was sent before it and is still on its way."""
        return self._choices.flip(f"{lane} merge", MERGE_PROBABILITY)

    def breaks(self, lane: str) -> bool:
        """Whether the next piece breaks its connection."""
        return self._choices.flip(f"{lane} reset", self.reset_probability)

    def sent(self, lane: str, source: str, target: str) -> None:
        """Something has been sent, and chance may cut off the two hosts from each other."""
        if not self.partitions or source == target or self.apart_until(source, target) is not None:
            return
        if self._choices.flip(f"{lane} partition", PARTITION_PROBABILITY):
            seconds = PARTITION_SECONDS[self._choices.draw(f"{lane} partition.seconds", len(PARTITION_SECONDS))]
            self._apart[_pair(source, target)] = self._loop.time() + seconds

    def apart_until(self, source: str, target: str) -> float | None:
        """Until when the two hosts are cut off from each other, which may be infinite; None: they are not."""
        until = self._apart.get(_pair(source, target), 0.0) if self._apart else 0.0
        return until if until > self._loop.time() else None

    def partition(self, one: str, other: str) -> None:
        """Cut off the two hosts from each other until :meth:`heal`."""
        if one == other:
            raise ValueError(f"a host cannot be cut off from itself: {one!r}")
        self._apart[_pair(one, other)] = math.inf

    def heal(self, one: str | None = None, other: str | None = None) -> None:
        """Reunite the two hosts; with one, that host with all others; with none, all."""
        wanted = [name for name in (one, other) if name is not None]
        for pair in [pair for pair in self._apart if all(name in pair for name in wanted)]:
            del self._apart[pair]
        self._healed()

    def calm(self) -> None:
        """No more faults."""
        self.reset_probability = 0.0
        self.partitions = False
        self.heal()


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)
