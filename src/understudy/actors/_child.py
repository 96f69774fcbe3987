"""``child``: the declaration of an actor, before there is one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from understudy._plans._spec import ChildSpec
from understudy.actors._handler import HandlerTable
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._actor import Actor

__all__ = ["as_spec", "child"]

_NONE: Mapping[str, Any] = MappingProxyType({})
"""Shared by all that have no keywords, as most actors."""

M = TypeVar("M")
P = ParamSpec("P")


def child(actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ChildSpec[M]:
    """Declare an actor of the class *actor*, made as ``actor(*args, **kwargs)`` at each start.

    The arguments are passed to each incarnation as they are: a mutable one is shared by all of them. More is said with
    ``.options(...)``::

        child(Meter, "north").options(name="north", restart="transient", shutdown=2.0)

    Raises:
        InvalidSpec: The class is no actor, or the arguments do not fit its constructor.
    """
    return as_spec(actor, args, kwargs)


def as_spec(actor: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ChildSpec[Any]:
    """*actor* with its arguments as a spec; a spec is one already and takes none."""
    table = getattr(actor, "__understudy_handlers__", None)
    if not (isinstance(table, HandlerTable) and isinstance(actor, type)):
        if isinstance(actor, ChildSpec):
            given = cast("ChildSpec[Any]", actor)  # type: ignore[redundant-cast]  # pyright sees ChildSpec[Unknown]
            return _without_arguments(given, bool(args or kwargs))
        raise InvalidSpec(child="child", field="actor", problem=f"must be a subclass of Actor, got {actor!r}")
    if table.bare is not None and not args and not kwargs:
        return table.bare
    cls = cast("type[Actor[Any]]", actor)
    spec: ChildSpec[Any] = ChildSpec(cls, args, dict(kwargs) if kwargs else _NONE, given=cls.defaults)
    # What fits depends on the number of arguments and the names of keywords only, so it is found out once for each.
    shape: tuple[int | str, ...] = (len(args), *kwargs)
    if shape not in table.fitting:
        _check_arguments(spec)
        table.fitting.add(shape)
    if not args and not kwargs:
        table.bare = spec
    return spec


def _check_arguments(spec: ChildSpec[Any]) -> None:
    try:
        signature = inspect.signature(spec.factory)
    except ValueError:
        return  # a constructor without a signature, as some written in C: the start will tell
    try:
        signature.bind(*spec.args, **spec.kwargs)
    except TypeError as error:
        problem = f"do not fit {spec.factory.__qualname__}{signature}: {error}"
        raise InvalidSpec(child=f"child {spec.label!r}", field="arguments", problem=problem) from None


def _without_arguments(spec: ChildSpec[Any], given: bool) -> ChildSpec[Any]:
    if given:
        problem = "belong into child(...), not beside it"
        raise InvalidSpec(child=f"child {spec.name or spec.label!r}", field="arguments", problem=problem)
    return spec
