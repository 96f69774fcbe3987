"""The tree: a supervisor for each strategy, and the director.

strategies              restarts whatever gives up below it
    tills               one_for_one: each works for itself
    line                one_for_all: none can go on without the others
    site                rest_for_one: each needs those before it
    plant               the same with a start in parallel: each needs those that it names
    glass               gives up at its second failure, and is restarted as a whole
    director            makes one of each fail
"""

from __future__ import annotations

from collections.abc import Sequence

from understudy import ChildSpec, Supervisor, child, supervisor

from .actors import Curtain, Director, Scene, Worker

__all__ = ["Plant", "Strategies", "program"]

SCENES = [
    Scene("one_for_one: only who has failed", "strategies/tills/till-2", last="strategies/tills/till-2"),
    Scene("one_for_all: all of them", "strategies/line/parser", last="strategies/line/writer"),
    Scene("rest_for_one: and those behind it", "strategies/site/cache", last="strategies/site/web"),
    Scene("rest_for_one, by dependencies", "strategies/plant/boiler", last="strategies/plant/turbine"),
    Scene("giving up: too often", "strategies/glass/pane", last="strategies/glass/frame", times=2),
]


class Plant(Supervisor):
    """Boiler and crane start at once; the turbine needs the boiler, so it comes and goes with it."""

    strategy = "rest_for_one"
    parallel_start = True

    def __init__(self, curtain: Curtain) -> None:
        self.curtain = curtain

    def children(self) -> list[ChildSpec]:
        return [
            *workers(self.curtain, "boiler", "crane"),
            child(Worker, self.curtain).options(name="turbine", depends_on=["boiler"]),
        ]


class Strategies(Supervisor):
    """See the module."""

    def children(self) -> list[ChildSpec]:
        curtain = Curtain()
        return [
            supervisor("tills", *workers(curtain, "till-1", "till-2", "till-3")),
            supervisor("line", *workers(curtain, "reader", "parser", "writer"), strategy="one_for_all"),
            supervisor("site", *workers(curtain, "database", "cache", "web"), strategy="rest_for_one"),
            child(Plant, curtain),
            supervisor("glass", *workers(curtain, "pane", "frame"), max_restarts=1),
            child(Director, curtain, SCENES).options(restart="temporary"),
        ]


def workers(curtain: Curtain, *names: str) -> Sequence[ChildSpec]:
    """A worker of each name."""
    return [child(Worker, curtain).options(name=name) for name in names]


program = Strategies
