"""The one source of chance in a simulated run, and the record of what it said."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.testing._lanes import Lane
    from understudy.testing._strategies import Strategy

__all__ = ["Choices", "Departure", "StepId"]

StepId: TypeAlias = tuple[str, int]
"""A step: the key of its lane, and how many steps of that lane were before it."""

Departure: TypeAlias = tuple[str, str, str]
"""What was not as in the undisturbed run, in words that a tape can hold:

- ``("hold", a, b)``: the step *a* waited until *b* had run, although *a* was ready earlier than *b*;
- ``("clock", a, "")``: time went on after the step *a*, although others were ready;
- ``("draw", kind/n, value)``: the *n*-th question of that kind had this answer instead of 0.
"""


class Choices:
    """Asks a strategy and remembers every answer that departs from the undisturbed run.

    Attributes:
        started: Before that nothing is asked: the set-up of a run is always the same.
        calm: Nothing happens by chance any more; only the order stays open.
        random: For the code under test, seeded.
    """

    def __init__(self, strategy: Strategy, seed: int) -> None:
        self._strategy = strategy
        self.started = False
        self.calm = False
        self.random = random.Random(seed)  # noqa: S311 - it has to be repeatable
        self._last: StepId = ("", 0)
        # The last step that has overtaken each.
        self._overtaken: dict[StepId, StepId] = {}
        self._early: list[StepId] = []
        self._drawn: list[tuple[str, int, int]] = []
        self._asked: Counter[str] = Counter()

    def next(self, lanes: Sequence[Lane], clock: Lane | None) -> int:
        """Who runs; one more than the last index: time goes on. The lanes are in the order of their ages."""
        index = 0
        if self.started and (clock is not None or len(lanes) > 1):
            index = self._strategy.pick(lanes if clock is None else [*lanes, clock])
            if index == len(lanes):
                self._early.append(self._last)
                return index
        lane = lanes[index]
        self._last = step = (lane.key, lane.ran)
        for older in lanes[:index]:
            self._overtaken[older.key, older.ran] = step
        lane.ran += 1
        self._strategy.ran(step)
        return index

    def draw(self, kind: str, n: int) -> int:
        """A number from 0 to *n* - 1 for *kind*, which is a word for people; 0 is the undisturbed case."""
        if n < 2 or self.calm or not self.started:
            return 0
        number = self._number(kind)
        return self._note(kind, number, self._strategy.draw(kind, number, n))

    def flip(self, kind: str, probability: float) -> bool:
        """Whether *kind* happens, which it does with *probability* at most."""
        if probability <= 0 or self.calm or not self.started:
            return False
        number = self._number(kind)
        return self._note(kind, number, int(self._strategy.flip(kind, number, probability))) == 1

    def departures(self) -> tuple[Departure, ...]:
        """All that was not as in the undisturbed run; with the seed, it is the run."""
        held = [("hold", _show(step), _show(until)) for step, until in self._overtaken.items()]
        early = [("clock", _show(step), "") for step in self._early]
        drawn = [("draw", f"{kind}/{number}", str(value)) for kind, number, value in self._drawn]
        return (*held, *early, *drawn)

    def _number(self, kind: str) -> int:
        number = self._asked[kind]
        self._asked[kind] = number + 1
        return number

    def _note(self, kind: str, number: int, value: int) -> int:
        if value:
            self._drawn.append((kind, number, value))
        return value


def _show(step: StepId) -> str:
    return f"{step[0]}/{step[1]}"
