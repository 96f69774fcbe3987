"""Make a failing run as plain as possible: undisturbed, except for the few choices that it needs to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.testing._choices import Departure
    from understudy.testing._schedule import Outcome

    Made = tuple[Departure, ...]

__all__ = ["shrink"]


def shrink(failed: Outcome, again: Callable[[Made], Outcome], *, attempts: int) -> Outcome:
    """Drop choices for as long as the run still fails in the same way, trying at most *attempts* runs.

    Delta debugging (Zeller, Hildebrandt, 2002) over the departures from the undisturbed run. When one is dropped, those
    behind it may come to mean other things; what counts is only whether the run fails.
    """
    budget = _Budget(failed, again, attempts)
    best = budget.attempt((), failed)
    if best is not failed:
        return best
    best = _drop(best, budget)
    lowered = _lower(best, budget)
    return lowered if lowered is best else _drop(lowered, budget)


def _drop(best: Outcome, budget: _Budget) -> Outcome:
    size = max(len(best.made) // 2, 1)
    while budget.left and best.made:
        smaller = _drop_some(best, size, budget)
        if smaller is not best:
            best = smaller
            size = min(size, max(len(best.made) // 2, 1))
        elif size == 1:
            break
        else:
            size //= 2
    return best


class _Budget:
    """Runs what is proposed, for as long as there are attempts left."""

    def __init__(self, failed: Outcome, again: Callable[[Made], Outcome], attempts: int) -> None:
        self._failed = failed
        self._again = again
        self.left = attempts

    def attempt(self, made: Made, best: Outcome) -> Outcome:
        """The run with *made* if it fails likewise and is plainer, else *best*."""
        if not self.left:
            return best
        self.left -= 1
        outcome = self._again(made)
        return outcome if outcome.fails_like(self._failed) and _plainer(outcome.made, best.made) else best


def _plainer(made: Made, than: Made) -> bool:
    return _weight(made) < _weight(than)


def _weight(made: Made) -> tuple[int, int]:
    return len(made), sum(int(value) for kind, _, value in made if kind == "draw")


def _drop_some(best: Outcome, size: int, budget: _Budget) -> Outcome:
    # From the end: what comes last is the least entangled.
    start = len(best.made)
    while start > 0 and budget.left:
        start -= size
        made = best.made
        smaller = budget.attempt(made[: max(start, 0)] + made[max(start, 0) + size :], best)
        if smaller is not best:
            best = smaller
            start = min(start, len(best.made))
    return best


def _lower(best: Outcome, budget: _Budget) -> Outcome:
    """Prefer the answers that are closest to the undisturbed one."""
    position = 0
    while position < len(best.made) and budget.left:
        kind, what, value = best.made[position]
        for lower in range(1, int(value) if kind == "draw" else 0):
            plainer = budget.attempt(
                (*best.made[:position], (kind, what, str(lower)), *best.made[position + 1 :]), best
            )
            if plainer is not best:
                best = plainer
                break
        position += 1
    return best
