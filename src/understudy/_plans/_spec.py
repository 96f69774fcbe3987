"""The declaration of a child, checked whole before anything starts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeGuard, cast

from typing_extensions import TypeVar, Unpack

from understudy._plans._backoff import reset_default
from understudy._plans._directives import OnFailure, check_on_failure
from understudy.exceptions import InvalidSpec, WrongActorType
from understudy.mailbox._overflow import Mailbox
from understudy.mailbox._rules import check_capacity
from understudy.messages import DeadLetter

__all__ = [
    "DEFAULTS",
    "OPTIONS",
    "ChildSpec",
    "OnRestart",
    "Options",
    "Restart",
    "Shutdown",
    "check_bool",
    "check_class",
    "check_count",
    "check_function",
    "check_interruptible",
    "check_mailbox",
    "check_name",
    "check_names",
    "check_options",
    "check_restart",
    "check_seconds",
    "check_shutdown",
    "check_type",
    "number_of",
    "snake_case",
]

A = TypeVar("A")
M = TypeVar("M", default=Any)

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
OnRestart: TypeAlias = Literal["wait", "fail"]
Shutdown: TypeAlias = float | Literal["infinity", "brutal_kill"]

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Options(TypedDict, total=False):
    """What :meth:`ChildSpec.options` takes."""

    name: str
    restart: Restart
    shutdown: Shutdown
    mailbox: Mailbox | float
    start_timeout: float
    backoff: Callable[[Any], float]
    reset_after: float
    on_failure: OnFailure
    max_handling_seconds: float
    max_concurrency: int
    max_restarts: int
    max_seconds: float
    on_restart: OnRestart
    trap_exits: bool
    stash: int
    leftovers: Callable[[Sequence[DeadLetter]], object]
    significant: bool
    depends_on: Sequence[str]


DEFAULTS = (
    "restart",
    "shutdown",
    "mailbox",
    "start_timeout",
    "backoff",
    "reset_after",
    "on_failure",
    "max_handling_seconds",
    "max_concurrency",
    "on_restart",
    "trap_exits",
    "stash",
    "leftovers",
)
"""The options that a class can set for all its actors."""
OPTIONS = ("name", *DEFAULTS, "max_restarts", "max_seconds", "significant", "depends_on")
"""All options; the others are about the place of a child among its siblings."""


NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ChildSpec(Generic[M]):
    """How to make an actor and how to treat it; made by :func:`understudy.child`, never started by itself.

    What is None is taken from the actor's class, and from the system's settings where the class says nothing.
    """

    factory: type[Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    name: str | None = None
    given: Mapping[str, Any] = field(default_factory=lambda: NO_OPTIONS)
    """What was said of the other options, by the class or here; mostly nothing, and never changed, so it is shared."""

    def options(self, **options: Unpack[Options]) -> ChildSpec[M]:
        """A copy of this spec with *options* changed.

        Args:
            name: The child's name and id, unique among its siblings; of letters, digits, ``_``, ``.`` and ``-``.
                By default the name of the class in snake_case.
            restart: ``"permanent"``: always restarted; ``"transient"``: after an abnormal end only;
                ``"temporary"``: never.
            shutdown: Seconds of grace from the request to stop until force is used; ``"infinity"``: no limit of its
                own; ``"brutal_kill"``: no grace.
            mailbox: A capacity in messages (``math.inf`` for no limit), or a :class:`understudy.Mailbox`.
            start_timeout: Seconds that an ``async def initialize`` may take; a ``def`` cannot be interrupted.
            backoff: How long to wait before a restart: a wait strategy of tenacity, as
                ``wait_exponential(multiplier=0.1, max=30)``. By default a restart is immediate. Messages wait
                meanwhile.
            reset_after: Seconds of health after which the delays begin anew; by default the mean of the first and the
                longest delay.
            on_failure: What an error in a handler means, by its type, the most specific first: ``"restart"`` (the
                default: its restart type decides), ``"resume"`` (the message is lost, the state stays, nothing is
                counted), ``"stop"`` (it ends for good), ``"escalate"`` (it is a failure of the supervisor).
            max_handling_seconds: Seconds that an ``async def`` handler may take; after that the actor is killed, which
                is a failure. A ``def`` handler cannot be interrupted.
            max_concurrency: How many reentrant handlers of the actor may be under way at once; 100 by default.
            on_restart: What becomes of asks that wait in the mailbox when the actor is restarted: ``"wait"`` for the
                next incarnation, or ``"fail"`` at once with ``ActorStopped``. Those that come during a delay wait.
            trap_exits: The abnormal end of an actor that is linked is a ``LinkExit`` signal, not a failure of this one.
            stash: How many messages the actor may put aside at a time; 1,000 by default.
            leftovers: A function that takes what the actor has not handled when it has ended for good, as dead letters
                that were none: see :doc:`the page on dead letters </dead-letters>`. By default they become dead
                letters.
            max_restarts: A limit of its own, next to the supervisor's: more restarts than that within *max_seconds*
                end the child for good, with ``RestartsExceeded``; its siblings live on.
            max_seconds: See *max_restarts*; 5.0 by default.
            significant: Its end by itself may end the supervisor; see ``auto_shutdown`` there. Not for permanent
                children, whose ends are never final.
            depends_on: Names of siblings that must be up before it starts, under a supervisor with ``parallel_start``.

        Raises:
            InvalidSpec: An unknown option or a value that is not allowed; says which child, which option, and what is.
        """
        who = f"child {options.get('name', self.name or self.label)!r}"
        checked: dict[str, Any] = {**check_options(options, who)}
        check_interruptible(self.factory, checked, who)
        name = checked.pop("name", self.name)
        return replace(self, name=name, given={**self.given, **checked} if checked else self.given)

    def get(self, option: str) -> Any:
        """What was said of *option*, here or by the class; None for nothing."""
        return self.name if option == "name" else self.given.get(option)

    @property
    def label(self) -> str:
        """The name it gets when none is given."""
        return snake_case(getattr(self.factory, "__name__", type(self.factory).__name__))


def check_function(name: str, value: object, where: str) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise InvalidSpec(child=where, field=name, problem=f"must be a function or method, got {value!r}")


def check_type(value: type[A], where: str) -> type[A]:
    """*value*, if it is a class."""
    if isinstance(value, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        return value
    raise InvalidSpec(child=where, field="actor", problem=f"must be a class of actors, got {value!r}")


def check_class(spec: ChildSpec[Any], expected: type[Any], path: str) -> None:
    """Refuse what *spec* makes, which is at *path*, if it is no *expected*.

    Raises:
        WrongActorType: Its class is another.
    """
    if not issubclass(spec.factory, check_type(expected, path)):
        raise WrongActorType(path=path, expected=expected.__name__, actual=spec.factory.__name__)


@lru_cache
def snake_case(name: str) -> str:
    """``HTTPServerPool`` as ``http_server_pool``; what no path may hold is replaced by ``_``."""
    return re.sub(r"[^a-z0-9_.-]", "_", _WORD.sub("_", name).lower())


def check_options(options: Options, child: str, known: Sequence[str] = OPTIONS) -> Options:
    """*options*, if each is a *known* one and has a value that is allowed."""
    checked: dict[str, object] = {}
    for key, value in options.items():
        if key not in known:
            raise InvalidSpec(child=child, field="options", problem=f"are {', '.join(known)}, got {key!r}")
        checked[key] = _CHECKS[key](value, child)
    return cast("Options", checked)


def check_interruptible(factory: Any, options: Mapping[str, Any], child: str) -> None:
    """Refuse a limit on the time of handlers where none of them could be interrupted."""
    table: Any = getattr(factory, "__understudy_handlers__", None)
    if "max_handling_seconds" not in options or table is None:
        return
    entries = [*table.values(), *table.private.values(), *table.signals.values(), table.fallback]
    if not any(entry is not None and entry.is_async for entry in entries):
        problem = f"needs an `async def` handler: {factory.__qualname__} has none, and a `def` cannot be interrupted"
        raise InvalidSpec(child=child, field="max_handling_seconds", problem=problem)


def check_name(value: object, child: str) -> str:
    """*value*, if it can be part of a path."""
    if _is_name(value):
        return value
    raise InvalidSpec(child=child, field="name", problem=f"must be letters, digits, '_', '.' and '-', got {value!r}")


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and bool(value.strip("."))


def check_restart(value: object, child: str) -> Restart:
    """*value*, if it is a restart type."""
    if value in ("permanent", "transient", "temporary"):
        return value
    problem = f"must be 'permanent', 'transient' or 'temporary', got {value!r}"
    raise InvalidSpec(child=child, field="restart", problem=problem)


def check_shutdown(value: object, child: str) -> Shutdown:
    """*value*, if it is a grace."""
    if value == "infinity":
        return "infinity"
    if value == "brutal_kill":
        return "brutal_kill"
    seconds = number_of(value)
    if seconds is not None and 0 < seconds < math.inf:
        return seconds
    problem = f"must be a positive number of seconds, 'infinity' or 'brutal_kill', got {value!r}"
    raise InvalidSpec(child=child, field="shutdown", problem=problem)


def check_mailbox(value: object, child: str) -> Mailbox:
    """*value* as a :class:`Mailbox`; a number is a capacity."""
    if isinstance(value, Mailbox):
        return value
    try:
        return Mailbox(capacity=check_capacity(value))
    except ValueError:
        problem = f"must be a capacity (a whole number from 1 on, or math.inf) or a Mailbox, got {value!r}"
        raise InvalidSpec(child=child, field="mailbox", problem=problem) from None


def check_count(field: str, value: object, child: str, *, least: int = 0) -> int:
    """*value*, if it is a whole number from *least* on."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise InvalidSpec(child=child, field=field, problem=f"must be an int from {least} up, got {value!r}")


def check_bool(field: str, value: object, child: str) -> bool:
    """*value*, if it is True or False."""
    if isinstance(value, bool):
        return value
    raise InvalidSpec(child=child, field=field, problem=f"must be True or False, got {value!r}")


def check_names(field: str, value: object, child: str) -> tuple[str, ...]:
    """*value* as names of siblings."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        problem = f"must be a sequence of names, as in ('database',), got {value!r}"
        raise InvalidSpec(child=child, field=field, problem=problem)
    names = tuple(cast("Iterable[object]", value))
    for name in names:
        if not _is_name(name):
            raise InvalidSpec(child=child, field=field, problem=f"must be names of siblings, got {name!r} among them")
    return cast("tuple[str, ...]", names)


def _check_backoff(value: object, child: str) -> Callable[[Any], float]:
    if not callable(value):
        problem = f"must be a wait strategy of tenacity, as wait_exponential(max=30), got {value!r}"
        raise InvalidSpec(child=child, field="backoff", problem=problem)
    wait = cast("Callable[[Any], float]", value)
    try:
        reset_default(wait)
    except Exception as error:
        problem = f"must be a wait strategy of tenacity; calling {value!r} raised {type(error).__name__}: {error}"
        raise InvalidSpec(child=child, field="backoff", problem=problem) from error
    return wait


def _check_on_restart(value: object, child: str) -> OnRestart:
    if value in ("wait", "fail"):
        return value
    raise InvalidSpec(child=child, field="on_restart", problem=f"must be 'wait' or 'fail', got {value!r}")


def _check_leftovers(value: object, child: str) -> Callable[[Any], object]:
    if callable(value) and not iscoroutinefunction(value):
        return cast("Callable[[Any], object]", value)
    raise InvalidSpec(child=child, field="leftovers", problem=f"must be a `def` function of a list, got {value!r}")


def check_seconds(field: str, value: object, child: str) -> float:
    """*value*, if it is a positive number of seconds, or ``math.inf``."""
    seconds = number_of(value)
    if seconds is not None and seconds > 0:
        return seconds
    problem = f"must be a positive number of seconds or math.inf, got {value!r}"
    raise InvalidSpec(child=child, field=field, problem=problem)


def number_of(value: object) -> float | None:
    """*value* as a float, if it is a number that can be compared; one that is too large for a float is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


_CHECKS: dict[str, Callable[[object, str], object]] = {
    "name": check_name,
    "restart": check_restart,
    "shutdown": check_shutdown,
    "mailbox": check_mailbox,
    "start_timeout": partial(check_seconds, "start_timeout"),
    "backoff": _check_backoff,
    "reset_after": partial(check_seconds, "reset_after"),
    "on_failure": check_on_failure,
    "max_handling_seconds": partial(check_seconds, "max_handling_seconds"),
    "max_concurrency": partial(check_count, "max_concurrency", least=1),
    "on_restart": _check_on_restart,
    "trap_exits": partial(check_bool, "trap_exits"),
    "stash": partial(check_count, "stash"),
    "leftovers": _check_leftovers,
    "max_restarts": partial(check_count, "max_restarts"),
    "max_seconds": partial(check_seconds, "max_seconds"),
    "significant": partial(check_bool, "significant"),
    "depends_on": partial(check_names, "depends_on"),
}
