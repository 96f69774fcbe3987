"""Who is restarted when a child has ended, and in which order children stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from understudy._plans._order import circle_in, dependents_of, one_after_another
from understudy._plans._spec import ChildSpec, check_bool, check_count, check_seconds
from understudy.exceptions import InvalidSpec
from understudy.reasons import is_abnormal

if TYPE_CHECKING:
    from understudy._plans._spec import Restart
    from understudy.reasons import ExitReason

__all__ = [
    "PLAIN",
    "AutoShutdown",
    "Plan",
    "Strategy",
    "check_place",
    "dynamic_plan",
    "free_name",
    "plan",
    "restarts",
    "unique_names",
]

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cell supervises.

    With *shared* one budget of *max_restarts* in *max_seconds* serves all children and is the cell's own end when it is
    used up; the specs of children outlive their ends, and children stop one after another. Without, each child has such
    a budget of its own and its end is the child's, nothing is kept of those that have ended for good, and they stop at
    once. With *dynamic* there is one budget, but nothing is kept and they stop at once.
    """

    strategy: Strategy = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0
    shared: bool = False
    dynamic: bool = False
    children: tuple[ChildSpec, ...] = ()
    parallel: bool = False
    auto_shutdown: AutoShutdown = "never"
    max_children: float = math.inf
    on_start: Callable[[], object] | None = None
    """To be called when a child has come up."""

    def start_after(self, names: Iterable[str], specs: Mapping[str, ChildSpec]) -> dict[str, tuple[str, ...]]:
        """For each of *names*, in the order of their declaration, those that have to be up before it starts."""
        if not self.parallel:
            return one_after_another(names)
        return {name: tuple(specs[name].get("depends_on") or ()) for name in names}

    def stop_after(self, children: Mapping[str, tuple[ChildSpec, bool]]) -> dict[str, Collection[str]]:
        """For each of *children*, (spec, declared?) by name in the order of their starts, those that stop before it.

        A static supervisor stops in the exact reverse of the starts; one that starts in parallel, in the reverse of the
        dependencies; everybody else stops those that were started at run time at once, and then those that were
        declared, last first.
        """
        reverse = list(reversed(list(children)))
        if self.dynamic:
            return dict.fromkeys(reverse, ())
        if self.parallel:
            specs = {name: spec for name, (spec, _) in children.items()}
            return {**dependents_of(self.start_after(children, specs))}
        if self.shared:
            return {**one_after_another(reverse)}
        at_run_time = [name for name in reverse if not children[name][1]]
        after: dict[str, Collection[str]] = dict.fromkeys(at_run_time, ())
        last: Collection[str] = at_run_time
        for name in reverse:
            if children[name][1]:
                after[name] = last
                last = (name,)
        return after

    def group_of(self, failed: str, names: Sequence[str], specs: Mapping[str, ChildSpec]) -> list[str]:
        """Who is restarted with *failed*, which is one of *names*; in the order of *names*."""
        if self.strategy == "one_for_all":
            return list(names)
        if self.strategy == "one_for_one":
            return [failed]
        if not self.parallel:
            return list(names[names.index(failed) :])
        group = {failed}
        followers = dependents_of(self.start_after(names, specs))
        pending = [failed]
        while pending:
            for name in followers[pending.pop()]:
                if name not in group:
                    group.add(name)
                    pending.append(name)
        return [name for name in names if name in group]


PLAIN = Plan()
"""What a cell does whose actor is no supervisor."""


def plan(
    owner: str,
    strategy: object,
    max_restarts: object,
    max_seconds: object,
    children: object,
    *,
    parallel_start: object = False,
    auto_shutdown: object = "never",
) -> Plan:
    """The plan of the supervisor *owner*, checked whole.

    Raises:
        InvalidSpec: It says which field is wrong, and what is allowed.
    """
    specs = unique_names(owner, children)
    parallel = check_bool("parallel_start", parallel_start, owner)
    shutdown = cast("AutoShutdown", _one_of("auto_shutdown", auto_shutdown, get_args(AutoShutdown), owner))
    for spec in specs:
        check_place(owner, spec, parallel=parallel, auto_shutdown=shutdown)
    if parallel:
        _check_dependencies(owner, specs)
    return Plan(
        cast("Strategy", _one_of("strategy", strategy, get_args(Strategy), owner)),
        check_count("max_restarts", max_restarts, owner),
        check_seconds("max_seconds", max_seconds, owner),
        shared=True,
        children=specs,
        parallel=parallel,
        auto_shutdown=shutdown,
    )


def dynamic_plan(owner: str, max_restarts: object, max_seconds: object, max_children: object) -> Plan:
    """The plan of a supervisor whose children are all started at run time.

    Raises:
        InvalidSpec: It says which field is wrong, and what is allowed.
    """
    if max_children != math.inf:
        max_children = check_count("max_children", max_children, owner)
    count = check_count("max_restarts", max_restarts, owner)
    seconds = check_seconds("max_seconds", max_seconds, owner)
    limit = cast("float", max_children)
    return Plan("one_for_one", count, seconds, shared=True, dynamic=True, max_children=limit)


def check_place(owner: str, spec: ChildSpec[Any], *, parallel: bool, auto_shutdown: AutoShutdown) -> None:
    """Refuse what *spec* says of its place among siblings if it does not fit its supervisor.

    Raises:
        InvalidSpec: It is significant where that cannot matter, or waits for others where all wait anyway.
    """
    if not spec.given:
        return
    name = f"child {spec.name or spec.label!r} of {owner}"
    if spec.get("depends_on") and not parallel:
        problem = "needs parallel_start = True on the supervisor: without it each child waits for the one before it"
        raise InvalidSpec(child=name, field="depends_on", problem=problem)
    if not spec.get("significant"):
        return
    if auto_shutdown == "never":
        problem = "needs auto_shutdown on the supervisor: 'any_significant' or 'all_significant'"
        raise InvalidSpec(child=name, field="significant", problem=problem)
    restart = spec.get("restart") or "permanent"
    if restart == "permanent":
        problem = "needs restart='transient' or 'temporary': a permanent child never ends by itself"
        raise InvalidSpec(child=name, field="significant", problem=problem)


def _check_dependencies(owner: str, specs: tuple[ChildSpec, ...]) -> None:
    after = {str(spec.name): tuple(spec.get("depends_on") or ()) for spec in specs}
    for name, others in after.items():
        for other in others:
            if other not in after:
                problem = f"names {other!r}, which is no child of {owner}: there are {', '.join(after)}"
                raise InvalidSpec(child=f"child {name!r}", field="depends_on", problem=problem)
    circle = circle_in(after)
    if circle is not None:
        raise InvalidSpec(child=owner, field="depends_on", problem=f"goes round in a circle: {' -> '.join(circle)}")


def _one_of(field: str, value: object, allowed: tuple[str, ...], owner: str) -> str:
    for each in allowed:
        if value == each:
            return each
    *first, last = map(repr, allowed)
    raise InvalidSpec(child=owner, field=field, problem=f"must be {', '.join(first)} or {last}, got {value!r}")


def unique_names(owner: str, specs: object) -> tuple[ChildSpec, ...]:
    """*specs*, each with a name of its own: a default name that is taken gets ``-2``, ``-3`` and so on.

    Raises:
        InvalidSpec: Something in *specs* is no spec, or two children were given the same name.
    """
    given = _specs(owner, specs)
    taken: set[str] = set()
    for spec in given:
        if spec.name in taken:
            problem = f"must be unique among siblings, got {spec.name!r} twice"
            raise InvalidSpec(child=owner, field="name", problem=problem)
        if spec.name is not None:
            taken.add(spec.name)
    numbers: dict[str, int] = {}
    return tuple(
        spec if spec.name is not None else spec.options(name=free_name(spec.label, taken, numbers)) for spec in given
    )


def free_name(label: str, taken: Container[str], numbers: dict[str, int]) -> str:
    """*label*, or ``label-2``, ``label-3`` and so on: the first that was not given before and is not taken.

    *numbers* remembers how far it has counted for each label.
    """
    while True:
        number = numbers[label] = numbers.get(label, 0) + 1
        name = label if number == 1 else f"{label}-{number}"
        if name not in taken:
            return name


def restarts(kind: Restart, reason: ExitReason) -> bool:
    """Whether a child of that restart type comes back after *reason*."""
    return kind == "permanent" or (kind == "transient" and is_abnormal(reason))


def _specs(owner: str, specs: object) -> list[ChildSpec[Any]]:
    if isinstance(specs, str) or not isinstance(specs, Sequence):
        problem = f"must be a list of child(...), got {type(specs).__name__}"
        raise InvalidSpec(child=owner, field="children", problem=problem)
    given = cast("Sequence[ChildSpec[Any]]", specs)
    for spec in given:
        if not _is_spec(spec):
            problem = f"must be a list of child(...), got {spec!r} in it"
            raise InvalidSpec(child=owner, field="children", problem=problem)
    return list(given)


def _is_spec(spec: object) -> bool:
    return isinstance(spec, ChildSpec)
