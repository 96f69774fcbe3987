"""Who is restarted when a child has ended, and in which order children stop."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from understudy._plans._spec import ChildSpec, check_seconds
from understudy.exceptions import InvalidSpec
from understudy.reasons import is_abnormal

if TYPE_CHECKING:
    from understudy._plans._spec import Restart
    from understudy.reasons import ExitReason

__all__ = ["PLAIN", "Plan", "Strategy", "free_name", "plan", "restarts", "stop_order", "unique_names"]

Strategy: TypeAlias = Literal["one_for_one"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a cell supervises.

    With *shared* one budget of *max_restarts* in *max_seconds* serves all children and is the cell's own end when it is
    used up, and children stop one after another; without, each child has such a budget of its own and its end is the
    child's, and they stop at once.
    """

    strategy: Strategy = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0
    shared: bool = False
    children: tuple[ChildSpec, ...] = ()


PLAIN = Plan()
"""What a cell does whose actor is no supervisor."""


def plan(owner: str, strategy: object, max_restarts: object, max_seconds: object, children: object) -> Plan:
    """The plan of the supervisor *owner*, checked whole.

    Raises:
        InvalidSpec: It says which field is wrong, and what is allowed.
    """
    for allowed in get_args(Strategy):
        if strategy == allowed:
            break
    else:
        choice = " or ".join(repr(name) for name in get_args(Strategy))
        raise InvalidSpec(child=owner, field="strategy", problem=f"must be {choice}, got {strategy!r}")
    if not isinstance(max_restarts, int) or isinstance(max_restarts, bool) or max_restarts < 0:
        raise InvalidSpec(child=owner, field="max_restarts", problem=f"must be an int from 0 up, got {max_restarts!r}")
    seconds = check_seconds("max_seconds", max_seconds, owner)
    return Plan(allowed, max_restarts, seconds, shared=True, children=unique_names(owner, children))


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


def stop_order(children: Sequence[tuple[str, bool]], *, one_by_one: bool) -> list[list[str]]:
    """In which batches *children* stop; each is (name, declared?), in the order of their starts.

    One by one: the exact reverse of the starts. Else those started at run time stop at once, then the declared ones,
    last first.
    """
    reverse = list(reversed(children))
    if one_by_one:
        return [[name] for name, _ in reverse]
    at_run_time = [name for name, declared in reverse if not declared]
    return ([at_run_time] if at_run_time else []) + [[name] for name, declared in reverse if declared]


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
