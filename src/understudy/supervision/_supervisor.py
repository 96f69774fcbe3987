"""``Supervisor``: an actor whose children are declared, and that decides what their ends mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Never, TypedDict

from typing_extensions import TypeVar, Unpack

from understudy._plans._spec import ChildSpec
from understudy._plans._strategies import AutoShutdown, Plan, Strategy, plan
from understudy.actors._actor import Supervises
from understudy.actors._child import child
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Supervisor", "supervisor"]

M = TypeVar("M", default=Never)


class Supervisor(Supervises[M]):
    """An actor that starts the children it declares, in order, and stops them in the reverse order.

    ``one_for_one``: a child that ends is restarted alone, or not, by its restart type. More than *max_restarts*
    restarts within *max_seconds* are too many: the supervisor stops its children and fails with ``RestartsExceeded``,
    and its own parent decides. Being restarted, a child keeps its ref and its mailbox; a supervisor's children that are
    declared again under their name and class keep theirs.

    It supervises while it handles messages, waits or is busy starting: no user code runs in the supervision itself.
    """

    strategy: ClassVar[Strategy] = "one_for_one"
    """Who is restarted with a child that has failed: only that one, ``"one_for_all"``, or ``"rest_for_one"``."""
    max_restarts: ClassVar[int] = 3
    """How many restarts are allowed within ``max_seconds``; 0: the first failure is one too many."""
    max_seconds: ClassVar[float] = 5.0
    """For how many seconds a restart is counted."""
    parallel_start: ClassVar[bool] = False
    """Start all children at once, but for those that name others in ``depends_on``."""
    auto_shutdown: ClassVar[AutoShutdown] = "never"
    """Whether the supervisor ends when ``"any_significant"`` child, or ``"all_significant"`` ones, have ended."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._plan_of(f"class {cls.__qualname__}", cls, ())

    def children(self) -> Sequence[ChildSpec]:
        """The children, in the order of their starts.

        Called once for each incarnation, after ``__init__`` and before ``initialize``, without a context: it only
        declares. The children start when ``initialize`` has ended.
        """
        return []

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        return self._plan_of(path, self, self.children())

    @staticmethod
    def _plan_of(owner: str, says: Supervisor[Any] | type[Supervisor[Any]], children: object) -> Plan:
        return plan(
            owner,
            says.strategy,
            says.max_restarts,
            says.max_seconds,
            children,
            parallel_start=says.parallel_start,
            auto_shutdown=says.auto_shutdown,
        )


class Tuning(TypedDict, total=False):
    """What :func:`supervisor` takes by keyword."""

    strategy: Strategy
    max_restarts: int
    max_seconds: float
    parallel_start: bool
    auto_shutdown: AutoShutdown


def supervisor(name: str, *children: ChildSpec, **tuning: Unpack[Tuning]) -> ChildSpec[Never]:
    """Declare a supervisor and its children in line.

    ::

        supervisor("meters", child(Meter, "north"), child(Meter, "south"), max_restarts=10)

    Args:
        name: Its name.
        *children: What it supervises, in the order of their starts.
        **tuning: ``strategy``, ``max_restarts``, ``max_seconds``, ``parallel_start`` and ``auto_shutdown``, as for a
            :class:`Supervisor`.

    Raises:
        InvalidSpec: Something in it is not allowed; it says what, where, and what is.
    """
    checked = plan(
        f"supervisor {name!r}",
        tuning.pop("strategy", "one_for_one"),
        tuning.pop("max_restarts", 3),
        tuning.pop("max_seconds", 5.0),
        children,
        parallel_start=tuning.pop("parallel_start", False),
        auto_shutdown=tuning.pop("auto_shutdown", "never"),
    )
    if tuning:
        known = ", ".join(Tuning.__annotations__)
        problem = f"are {known}, got {next(iter(tuning))!r}"
        raise InvalidSpec(child=f"supervisor {name!r}", field="options", problem=problem)
    return child(DeclaredSupervisor, checked).options(name=name)


class DeclaredSupervisor(Supervisor):
    """What :func:`supervisor` declares."""

    def __init__(self, declared: Plan) -> None:
        self.declared = declared

    def children(self) -> Sequence[ChildSpec[Any]]:
        return self.declared.children

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        return self.declared
