"""The declaration of a child, checked whole before anything starts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypedDict, cast

from typing_extensions import TypeVar, Unpack

from understudy.exceptions import InvalidSpec
from understudy.mailbox._overflow import Mailbox
from understudy.mailbox._queue import check_capacity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "DEFAULTS",
    "OPTIONS",
    "ChildSpec",
    "Options",
    "Restart",
    "Shutdown",
    "check_mailbox",
    "check_name",
    "check_options",
    "check_restart",
    "check_seconds",
    "check_shutdown",
    "number_of",
    "snake_case",
]

M = TypeVar("M", default=Any)

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
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


OPTIONS = ("name", "restart", "shutdown", "mailbox", "start_timeout")
DEFAULTS = OPTIONS[1:]
"""The options that a class can set for all its actors; names are for each."""


@dataclass(frozen=True, slots=True)
class ChildSpec(Generic[M]):
    """How to make an actor and how to treat it; made by :func:`understudy.child`, never started by itself.

    What is None is taken from the actor's class, and from the system's settings where the class says nothing.
    """

    factory: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    name: str | None = None
    restart: Restart | None = None
    shutdown: Shutdown | None = None
    mailbox: Mailbox | None = None
    start_timeout: float | None = None

    def options(self, **options: Unpack[Options]) -> ChildSpec[M]:
        """A copy of this spec with *options* changed.

        Args:
            name: The child's name and id, unique among its siblings; of letters, digits, ``_``, ``.`` and ``-``.
                By default the name of the class in snake_case.
            restart: ``"permanent"``: always restarted; ``"transient"``: after an abnormal end only;
                ``"temporary"``: never.
            shutdown: Seconds of grace from the request to stop until force is used; ``"infinity"``: no limit of its
            own;
                ``"brutal_kill"``: no grace.
            mailbox: A capacity in messages (``math.inf`` for no limit), or a :class:`understudy.Mailbox`.
            start_timeout: Seconds that an ``async def initialize`` may take; a ``def`` cannot be interrupted.

        Raises:
            InvalidSpec: An unknown option or a value that is not allowed; says which child, which option, and what is.
        """
        who = f"child {options.get('name', self.name or self.label)!r}"
        changes: dict[str, Any] = {**check_options(options, who)}
        return replace(self, **changes)

    @property
    def label(self) -> str:
        """The name it gets when none is given."""
        return snake_case(getattr(self.factory, "__name__", type(self.factory).__name__))


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


def check_name(value: object, child: str) -> str:
    """*value*, if it can be part of a path."""
    if isinstance(value, str) and _NAME.fullmatch(value) and value.strip("."):
        return value
    raise InvalidSpec(child=child, field="name", problem=f"must be letters, digits, '_', '.' and '-', got {value!r}")


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
    "start_timeout": lambda value, child: check_seconds("start_timeout", value, child),
}
