"""Strategies: who is next, of those who could be, and what chance brings.

Index 0 is the oldest lane, what an ordinary loop would run; so 0 everywhere is the plain run, and each strategy is a
way to depart from it. The last candidate may be the clock: time goes on although there is work, as on a busy machine.

- `RandomWalk`: each time anybody.
- `Pct`: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatti, ASPLOS 2010): lanes have random
  priorities, the highest runs, and at *depth* - 1 random moments the running one falls to the bottom. A bug that needs
  *depth* events in order shows with probability 1 / (lanes * steps ** (depth - 1)) or more in each run.
- `Pos`: partial order sampling in its basic form (Yuan, Yang, Gu, CAV 2018): each event draws a priority when it
  becomes ready, the highest runs.
- `DelayBounded`: first in, first out, but for a few lanes that are made to wait behind all others (Emmi, Qadeer,
  Rakamaric, POPL 2011).
- `DepthFirst`: all orders, one after the other, up to a number of departures.
- `Replay`: what a tape says, and else the oldest.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from understudy.testing._choices import Departure, StepId
    from understudy.testing._lanes import Lane, Step, Timer

__all__ = ["DelayBounded", "DepthFirst", "Fifo", "Pct", "Pos", "RandomWalk", "Replay", "Strategy"]


class Strategy:
    """Decides one run. What it returns is recorded by :class:`understudy.testing._choices.Choices`."""

    name = "random walk"

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - it has to be repeatable

    def pick(self, lanes: Sequence[Lane]) -> int:
        """Who of two or more is next."""
        return self._random.randrange(len(lanes))

    def draw(self, kind: str, number: int, n: int) -> int:
        """A number from 0 to *n* - 1; 0 is the undisturbed case. *number* counts the questions of this kind."""
        return self._random.randrange(n)

    def flip(self, kind: str, number: int, probability: float) -> bool:
        """Whether something happens."""
        return self._random.random() < probability

    def ran(self, step: StepId) -> None:
        """*step* is running."""

    def _highest(self, ranked: Sequence[Lane] | Sequence[Step | Timer]) -> int:
        """Where the one of the highest priority is; who has none yet draws one."""
        best, highest = 0, -math.inf
        for index, each in enumerate(ranked):
            if each.priority is None:
                each.priority = self._random.random()
            if each.priority > highest:
                best, highest = index, each.priority
        return best


class RandomWalk(Strategy):
    """Anybody, each time."""


class Fifo(Strategy):
    """The oldest, and nothing happens by chance."""

    name = "fifo"

    def pick(self, lanes: Sequence[Lane]) -> int:
        """The oldest."""
        return 0

    def draw(self, kind: str, number: int, n: int) -> int:
        """The undisturbed case."""
        return 0

    def flip(self, kind: str, number: int, probability: float) -> bool:
        """No."""
        return False


class Pct(Strategy):
    """The lane of the highest priority; at a few random moments it loses it."""

    name = "pct"

    def __init__(self, seed: int, *, depth: int, steps: int) -> None:
        super().__init__(seed)
        self.depth = depth
        self.moments = max(steps, depth)
        """Choices among which it changes; a longer run is not covered."""
        changes = self._random.sample(range(self.moments), depth - 1)
        # The rank to which whoever runs at that moment falls: below all others, each change below the one before it.
        self._changes = {moment: -number for number, moment in enumerate(sorted(changes), 1)}
        self._moment = 0

    def pick(self, lanes: Sequence[Lane]) -> int:
        """The highest, after it has perhaps fallen."""
        best = self._highest(lanes)
        fallen = self._changes.get(self._moment)
        self._moment += 1
        if fallen is not None:
            lanes[best].priority = fallen
            best = self._highest(lanes)
        return best


class Pos(Strategy):
    """The step of the highest priority, drawn for each step when it is seen first."""

    name = "pos"

    def pick(self, lanes: Sequence[Lane]) -> int:
        """The highest."""
        return self._highest([lane.head for lane in lanes])


class DelayBounded(Strategy):
    """The oldest, but at a few random moments it is sent behind all that are ready."""

    name = "delay-bounded"

    def __init__(self, seed: int, *, delays: int, steps: int) -> None:
        super().__init__(seed)
        self._moments = set(self._random.sample(range(max(steps, delays)), delays))
        self._moment = 0

    def pick(self, lanes: Sequence[Lane]) -> int:
        """The oldest of those that are not made to wait."""
        if self._moment in self._moments:
            lanes[self._first(lanes)].behind = max(lane.age for lane in lanes) + 1
        self._moment += 1
        return self._first(lanes)

    def _first(self, lanes: Sequence[Lane]) -> int:
        return min(range(len(lanes)), key=lambda index: max(lanes[index].age, lanes[index].behind))


class Replay(Fifo):
    """The undisturbed run, except for what was recorded; what does not fit any more is passed over."""

    name = "replay"

    def __init__(self, departures: Iterable[Departure]) -> None:
        super().__init__()
        self._held: dict[str, str] = {}
        self._early: Counter[str] = Counter()
        self._drawn: dict[str, int] = {}
        self._done: set[str] = set()
        self._last = "/0"
        for kind, what, how in departures:
            if kind == "hold":
                self._held[what] = how
            elif kind == "clock":
                self._early[what] += 1
            else:
                self._drawn[what] = int(how)

    def pick(self, lanes: Sequence[Lane]) -> int:
        """The oldest that is not held; the clock where it went on."""
        last = len(lanes) - 1
        if lanes[last].is_clock:
            if self._early[self._last] > 0:
                self._early[self._last] -= 1
                return last
            lanes = lanes[:last]
        for index, lane in enumerate(lanes):
            until = self._held.get(f"{lane.key}/{lane.ran}")
            if until is None or until in self._done:
                return index
        return 0

    def ran(self, step: StepId) -> None:
        """Who was held until this step may run."""
        self._last = f"{step[0]}/{step[1]}"
        self._done.add(self._last)

    def draw(self, kind: str, number: int, n: int) -> int:
        """As it was."""
        value = self._drawn.get(f"{kind}/{number}", 0)
        return value if value < n else 0

    def flip(self, kind: str, number: int, probability: float) -> bool:
        """As it was."""
        return self.draw(kind, number, 2) == 1


class DepthFirst(Fifo):
    """One path of a search through all orders; :meth:`following` is the next.

    Only who is next is searched, not what chance brings. No path departs from the oldest more than *departures* times.
    """

    name = "depth-first"

    def __init__(self, prefix: Sequence[int] = (), *, departures: int) -> None:
        super().__init__()
        self._prefix = prefix
        self._departures = departures
        self._taken: list[int] = []
        self._widths: list[int] = []
        self._left = departures

    def pick(self, lanes: Sequence[Lane]) -> int:
        """As the prefix says, then the oldest."""
        position = len(self._taken)
        value = self._prefix[position] if position < len(self._prefix) else 0
        self._widths.append(len(lanes) if self._left > 0 else 1)
        self._taken.append(value)
        self._left -= value > 0
        return value

    def following(self) -> DepthFirst | None:
        """The path after this one, which has been run to its end; None after the last."""
        taken = list(self._taken)
        while taken and taken[-1] + 1 >= self._widths[len(taken) - 1]:
            taken.pop()
        if not taken:
            return None
        taken[-1] += 1
        return DepthFirst(taken, departures=self._departures)
