"""``Budget``: what a part of a tree may spend. Reserved before each call, shared by all below."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from understudy._plans._spec import number_of
from understudy.agents._above import line_of
from understudy.agents._errors import BudgetExceeded
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Amount", "Budget", "Reservation", "budgets_of", "reserve"]


@dataclass(frozen=True, slots=True)
class Amount:
    """So much of everything that a budget limits."""

    tokens: float = 0
    cost: float = 0.0
    calls: float = 0
    seconds: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(*(getattr(self, name) + getattr(other, name) for name in DIMENSIONS))

    def __sub__(self, other: Amount) -> Amount:
        return Amount(*(getattr(self, name) - getattr(other, name) for name in DIMENSIONS))


DIMENSIONS = tuple(field.name for field in fields(Amount))


class Budget:
    """A limit for an agent, a group, a program or any other part of a tree: what is None has no limit.

    ::

        budget = Budget(tokens=100_000, cost=2.5, calls=200, seconds=600)

    It is the attribute ``budget`` of whoever stands above: an agent, a supervisor class, ``agent_group(budget=...)``,
    a program. All agents below share it, with each budget on the way up. Before each call of a model or a tool as much
    as it may take at most is reserved in all of them, or in none; afterwards what it has really taken is spent. It
    outlives restarts, as the object is passed to each incarnation.

    Nothing goes over a limit, as far as models and tools keep to what they are allowed: the tokens of an answer and the
    seconds of a call are cut to what is left. Only the input tokens of a call are the model's own estimate; where that
    was too low, :attr:`spent` tells the truth and nothing more is allowed.

    Args:
        tokens: Input and output of models, together.
        cost: Of models by their price, and of tools by theirs; in whatever currency these are in.
        calls: Of models and tools.
        seconds: That calls of models and tools take, together; two at the same time count twice.
        name: For errors.
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        cost: float | None = None,
        calls: int | None = None,
        seconds: float | None = None,
        name: str = "budget",
    ) -> None:
        self.name = name
        given = {"tokens": tokens, "cost": cost, "calls": calls, "seconds": seconds}
        for field, value in given.items():
            number = None if value is None else number_of(value)
            if value is not None and (number is None or number < 0):
                problem = f"must be a number from 0 up, or None, got {value!r}"
                raise InvalidSpec(child=f"budget {name!r}", field=field, problem=problem)
        self.limit = Amount(**{field: math.inf if value is None else value for field, value in given.items()})
        """How much it allows; ``math.inf`` where it has no limit."""
        self.spent = Amount()
        """What was taken."""
        self.reserved = Amount()
        """What calls that are under way may still take."""

    @property
    def left(self) -> Amount:
        """What can be reserved at this moment."""
        return self.limit - self.spent - self.reserved

    def __repr__(self) -> str:
        parts = [
            f"{field} {getattr(self.spent, field):g} of {getattr(self.limit, field):g}"
            for field in DIMENSIONS
            if getattr(self.limit, field) < math.inf
        ]
        return f"<Budget {self.name!r}: {', '.join(parts) or 'no limit'}>"


class Reservation:
    """What was reserved for one call: ``granted``, to be settled exactly once, by :meth:`settle`."""

    __slots__ = ("_budgets", "_open", "granted")

    def __init__(self, budgets: Sequence[Budget], granted: Amount) -> None:
        self._budgets = budgets
        self._open = True
        self.granted = granted

    def settle(self, used: Amount) -> None:
        """The call is over and has taken *used*; what else was reserved is free again. Later calls change nothing."""
        if not self._open:
            return
        self._open = False
        for budget in self._budgets:
            budget.reserved -= self.granted
            budget.spent += used


def reserve(budgets: Sequence[Budget], wish: Amount, least: Amount) -> Reservation:
    """Reserve up to *wish*, and no less than *least*, in all *budgets* or in none.

    Raises:
        BudgetExceeded: One of them has less left than *least*.
    """
    granted: dict[str, float] = {}
    for field in DIMENSIONS:
        granted[field] = getattr(wish, field)
        for budget in budgets:
            left = getattr(budget.left, field)
            if left < getattr(least, field) - _DUST:
                raise BudgetExceeded(
                    budget=budget.name,
                    what=field,
                    limit=getattr(budget.limit, field),
                    spent=getattr(budget.spent, field),
                    reserved=getattr(budget.reserved, field),
                    wanted=getattr(least, field),
                )
            granted[field] = min(granted[field], max(left, 0.0))
    reservation = Reservation(tuple(budgets), Amount(**granted))
    for budget in budgets:
        budget.reserved += reservation.granted
    return reservation


_DUST = 1e-9
"""Sums of floats are that much off."""


def budgets_of(agent: Any) -> Sequence[Budget]:
    """The budgets that bind *agent*: its own, and those of all above it; each once."""
    found: list[Budget] = []
    for actor in line_of(agent):
        budget = getattr(actor, "budget", None)
        if isinstance(budget, Budget) and budget not in found:
            found.append(budget)
    return found
