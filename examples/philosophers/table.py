"""Three tables, which differ in their forks and in which of them is taken first."""

from __future__ import annotations

from collections.abc import Sequence

from understudy import ChildSpec, Supervisor, child, supervisor

from .actors import Evening, Fork, Greedy, JealousFork, Philosopher

__all__ = ["JealousTable", "OrderedTable", "Table"]


class Table(Supervisor):
    """Forks, and guests of whom each takes the fork on his left first. That is the naive way.

    A fork that fails does not know any more whose hand it is in. So the guests, who come behind the forks, start anew
    with it, at once and with empty hands.
    """

    strategy = "rest_for_one"
    max_restarts, max_seconds = 1000, 1.0

    def __init__(self, path: str, guests: Sequence[str], evening: Evening, *, visitors: Sequence[str] = ()) -> None:
        self.path = path
        self.names = guests
        self.evening = evening
        self.visitors = visitors

    def children(self) -> list[ChildSpec]:
        forks = [self.fork().options(name=f"fork-{number}") for number in range(len(self.names))]
        guests = [
            self.guest(*self.seat(number)).options(
                name=name,
                restart="temporary" if name in self.visitors else "permanent",
                shutdown="brutal_kill",
            )
            for number, name in enumerate(self.names)
        ]
        return [*forks, supervisor("guests", *guests, max_restarts=1000, max_seconds=1.0)]

    def fork(self) -> ChildSpec:
        return child(Fork)

    def guest(self, first: str, second: str) -> ChildSpec:
        return child(Philosopher, self.evening, first, second)

    def seat(self, number: int) -> tuple[str, str]:
        """The forks of a guest, in the order in which he takes them."""
        return self.fork_path(number), self.fork_path((number + 1) % len(self.names))

    def fork_path(self, number: int) -> str:
        return f"{self.path}/fork-{number}"


class OrderedTable(Table):
    """Everybody takes the fork with the lower number first, so the last guest begins on his right.

    Whoever holds a fork waits only for one with a higher number. So no circle of waits can close.
    """

    def seat(self, number: int) -> tuple[str, str]:
        first, second = sorted([number, (number + 1) % len(self.names)])
        return self.fork_path(first), self.fork_path(second)


class JealousTable(Table):
    """The naive way again, with forks that are busy as long as they are in a hand."""

    def fork(self) -> ChildSpec:
        return child(JealousFork, self.evening)

    def guest(self, first: str, second: str) -> ChildSpec:
        return child(Greedy, first, second)
