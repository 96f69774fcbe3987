"""A declared tree as text, with nothing started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from understudy._plans._strategies import PLAIN
from understudy._tree import Node, Tree
from understudy.agents._course import MAIN
from understudy.agents._runtime import UNLIMITED
from understudy.cli._targets import guarded
from understudy.supervision._supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy._plans._spec import ChildSpec
    from understudy._plans._strategies import Plan
    from understudy.actors._actor import Actor, Supervises

__all__ = ["declared", "draw", "leaves"]


def draw(spec: ChildSpec[Any], target: str) -> str:
    """*spec*, to which *target* led, and all that is declared below it, a line each.

    Supervisors are made, and asked for their children, but never started.

    Raises:
        UsageError: That failed; a sentence for the user.
    """
    name = spec.name or spec.label
    return "\n".join(guarded(target, lambda: list(_lines(spec, name, "", "")), "declaring it raised"))


def declared(spec: ChildSpec[Any], target: str) -> Tree:
    """The same as data, with restart types where a live tree has states.

    Raises:
        UsageError: As for :func:`draw`.
    """
    name = spec.name or spec.label
    node = guarded(target, lambda: _node(spec, f"/user/{name}"), "declaring it raised")
    return Tree(target, (node,))


def leaves(spec: ChildSpec[Any]) -> Iterator[tuple[str, type[Actor[Any]]]]:
    """The paths, below ``/user``, and classes of all that *spec* declares and that is no supervisor."""
    for path, cls in _leaves(spec, spec.name or spec.label):
        if path.split("/")[1:] not in ([], [MAIN]):
            yield path, cls


def _leaves(spec: ChildSpec[Any], path: str) -> Iterator[tuple[str, type[Actor[Any]]]]:
    cls = _class(spec)
    if not issubclass(cls, Supervisor):
        yield path, cls
    for inner in _plan(spec, path).children:
        yield from _leaves(inner, f"{path}/{inner.name}")


def _node(spec: ChildSpec[Any], path: str) -> Node:
    cls, plan = _class(spec), _plan(spec, path)
    return Node(
        name=path.rpartition("/")[2],
        path=path,
        actor=cls.__name__,
        status=spec.get("restart") or "permanent",
        incarnation=0,
        waiting=0,
        children=tuple(_node(inner, f"{path}/{inner.name}") for inner in plan.children),
    )


def _lines(spec: ChildSpec[Any], path: str, first: str, rest: str) -> Iterator[str]:
    plan = _plan(spec, path)
    yield f"{first}{path.rpartition('/')[2]}  {_description(spec, plan)}"
    for number, inner in enumerate(plan.children, 1):
        last = number == len(plan.children)
        branch, trunk = ("└── ", "    ") if last else ("├── ", "│   ")
        yield from _lines(inner, f"{path}/{inner.name}", rest + branch, rest + trunk)


def _plan(spec: ChildSpec[Any], path: str) -> Plan:
    cls = _class(spec)
    if not issubclass(cls, Supervisor):
        return PLAIN
    made: Supervises[Any] = cls(*spec.args, **spec.kwargs)
    return made._understudy_plan(path)  # pyright: ignore[reportPrivateUsage]


def _description(spec: ChildSpec[Any], plan: Plan) -> str:
    cls = _class(spec)
    words = f"{cls.__name__}, {spec.get('restart') or 'permanent'}"
    if not plan.shared:
        return words
    if plan.max_restarts >= UNLIMITED:
        return f"{words}; {plan.strategy}, each within its own limit"
    return f"{words}; {plan.strategy}, {plan.max_restarts:,} restarts in {plan.max_seconds:g} s"


def _class(spec: ChildSpec[Any]) -> type[Actor[Any]]:
    return cast("type[Actor[Any]]", spec.factory)  # as `child` has seen to
