"""``DynamicSupervisor``: children that come and go, as many as there is work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Never

from typing_extensions import TypeVar

from understudy._plans._strategies import Plan, dynamic_plan
from understudy.exceptions import InvalidSpec
from understudy.supervision._supervisor import Supervisor

if TYPE_CHECKING:
    pass

__all__ = ["DynamicSupervisor"]

M = TypeVar("M", default=Never)


class DynamicSupervisor(Supervisor[M]):
    """A supervisor that declares no children; they are started by ``start_child`` on its ref, or ``context.spawn``.

    ::

        class Sessions(DynamicSupervisor):
            max_children = 10_000

        session = await sessions.start_child(child(Session, user).options(restart="temporary"))

    Each child is restarted alone, and all share one budget of restarts. Nothing is kept of a child that has ended for
    good, and of a temporary one not even its arguments while it runs. Its children stop all at once, each under its own
    deadline. Names are optional: children are addressed by their refs.
    """

    max_children: ClassVar[float] = math.inf
    """How many there may be, those that are being restarted included; one more is refused with ``TooManyChildren``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.children is not Supervisor.children:
            problem = "are not declared here: a dynamic supervisor starts them by start_child; use Supervisor instead"
            raise InvalidSpec(child=f"class {cls.__qualname__}", field="children", problem=problem)
        if cls.strategy != "one_for_one" or cls.parallel_start or cls.auto_shutdown != "never":
            problem = "must be left alone: a dynamic supervisor restarts each child alone, and has no order among them"
            raise InvalidSpec(
                child=f"class {cls.__qualname__}", field="strategy, parallel_start and auto_shutdown", problem=problem
            )
        dynamic_plan(f"class {cls.__qualname__}", cls.max_restarts, cls.max_seconds, cls.max_children)

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        return dynamic_plan(path, self.max_restarts, self.max_seconds, self.max_children)
