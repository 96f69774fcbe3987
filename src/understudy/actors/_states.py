"""The states of a machine, as its class declares them: which handlers each has, and where they go."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from understudy.actors._handler import HandlerTable, Mark, marked_handlers, marked_methods
from understudy.exceptions import InvalidActor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

__all__ = ["States", "enter", "has_states", "in_state", "name_of"]

F = TypeVar("F", bound="Callable[..., Any]")

_HANDLES = "__understudy_in_state__"
_ENTERS = "__understudy_enters__"
_PLAIN = Mark()


class _Mark:
    """What `in_state` says of a method: in which states it handles, () for all, and where it may go from there."""

    __slots__ = ("states", "targets")

    def __init__(self, states: tuple[Hashable, ...], targets: tuple[Hashable, ...]) -> None:
        self.states = states
        self.targets = targets


def in_state(*states: Hashable, to: Any = ()) -> Callable[[F], F]:
    """Mark a method as the handler of the type that its parameter is annotated with, in *states*; without any, in all.

    One that names the state comes before one for all states. Otherwise as :func:`understudy.handler`.

    Args:
        *states: Members of an enumeration, classes, or whatever can be hashed and has a name.
        to: The state that it may go to, or several in a tuple.
    """

    def mark(method: F) -> F:
        targets = cast("tuple[Hashable, ...]", to if isinstance(to, tuple) else (to,))
        setattr(method, _HANDLES, _Mark(states, targets))
        return method

    return mark


def enter(*states: Hashable) -> Callable[[F], F]:
    """Mark a ``def`` method without parameters, to be called when one of *states* is entered; without any, each."""

    def mark(method: F) -> F:
        setattr(method, _ENTERS, states or (None,))
        return method

    return mark


class States:
    """What the class *machine*, a subclass of *root*, declares.

    Raises:
        InvalidActor: The handlers do not fit each other, the states, or what the class declares to accept.
    """

    def __init__(self, machine: type, root: type, initial: Any) -> None:
        marked = list(_marked(machine))
        states = list(dict.fromkeys(state for _, _, mark in marked for state in (*mark.states, *mark.targets)))
        if initial is None or (states and initial not in states):
            problem = f"initial must be one of {', '.join(map(name_of, states))}, got {name_of(initial)}"
            raise InvalidActor(actor=machine.__qualname__, problem=problem)
        self.arrows = tuple(_arrows(states, marked))
        """From where, by which message, to where."""
        self.entries = tuple(_entries(machine, states))
        """The names of the methods to call when a state is entered, and which; None for each."""
        common = HandlerTable.of(
            machine,
            root,
            [
                *marked_handlers(machine),
                *((name, method, _PLAIN) for name, method, mark in marked if not mark.states),
            ],
        )
        self.tables: dict[Any, HandlerTable] = {}
        """The handlers in each state: those for it, and for what is left, those for all."""
        for state in states or [initial]:
            mine = [(name, method, _PLAIN) for name, method, mark in marked if state in mark.states]
            self.tables[state] = _over(HandlerTable.of(machine, root, mine), common)

    def allows(self, source: Any, target: Any) -> bool:
        """Whether a handler of *source* goes to *target*."""
        return any(one == source and other == target for one, _, other in self.arrows)

    def together(self) -> HandlerTable:
        """What is handled in any state."""
        table = HandlerTable()
        table.batch = HandlerTable()
        for each in self.tables.values():
            table.update({kind: entry for kind, entry in each.items() if entry is not None})
            table.batch.update(each.batch)
            table.fallback = each.fallback
        return table

    def entering(self, state: Any) -> Iterator[str]:
        """The names of the methods to call."""
        return (name for name, wanted in self.entries if None in wanted or state in wanted)


def has_states(machine: type) -> bool:
    """Whether a handler of *machine* is for some states only, or goes to another."""
    return any(_marked(machine))


def _marked(machine: type) -> Iterator[tuple[str, Any, _Mark]]:
    for name, method in marked_methods(machine, _HANDLES):
        mark = getattr(method, _HANDLES, None)
        if mark is None:  # it overrides one that is marked
            mark = next(
                getattr(vars(base)[name], _HANDLES)
                for base in machine.__mro__
                if hasattr(vars(base).get(name), _HANDLES)
            )
        yield name, method, mark


def _over(table: HandlerTable, common: HandlerTable) -> HandlerTable:
    for own, other in (
        (table, common),
        (table.private, common.private),
        (table.signals, common.signals),
        (table.batch, common.batch),
    ):
        for kind, entry in other.items():
            if own.get(kind) is None and entry is not None:
                own.put(kind, entry)
    return table


def _arrows(states: list[Any], marked: list[tuple[str, Any, _Mark]]) -> Iterator[tuple[Any, str, Any]]:
    for _, method, mark in marked:
        what = list(inspect.signature(method).parameters.values())[1].annotation
        text = what if isinstance(what, str) else getattr(what, "__name__", str(what))
        for source in mark.states or states:
            for target in mark.targets:
                yield source, text, target


def _entries(machine: type, states: list[Any]) -> Iterator[tuple[str, tuple[Hashable, ...]]]:
    for name, method in marked_methods(machine, _ENTERS):
        wanted: tuple[Hashable, ...] = getattr(method, _ENTERS, (None,))
        unknown = [state for state in wanted if state is not None and state not in states]
        problem = None
        if not inspect.isfunction(method) or inspect.iscoroutinefunction(method):
            problem = f"{name}, marked by @enter, must be a plain `def` method"
        elif len(inspect.signature(method).parameters) != 1:
            problem = f"{name}, marked by @enter, must take nothing besides self"
        elif unknown:
            problem = f"{name} is to be called on entering {name_of(unknown[0])}, which no handler goes to or is for"
        if problem is not None:
            raise InvalidActor(actor=machine.__qualname__, problem=problem)
        yield name, wanted


def name_of(state: Any) -> str:
    """What to call *state*."""
    return str(getattr(state, "__name__", None) or getattr(state, "name", None) or state)
