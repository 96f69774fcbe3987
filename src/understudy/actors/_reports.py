"""What is told of a failed incarnation, to whoever wants to know more than that it has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.instrument import CrashReport

if TYPE_CHECKING:
    from understudy.actors._cell import Cell
    from understudy.reasons import Crashed, StartFailed

__all__ = ["crash_report"]


def crash_report(cell: Cell, reason: Crashed | StartFailed, message_type: str | None) -> CrashReport:
    """The report on the incarnation of *cell* that has failed for *reason*."""
    actor = cell.actor
    return CrashReport(
        path=cell.path,
        actor=type(actor).__qualname__ if actor is not None else cell.spec.factory.__qualname__,
        incarnation=cell.incarnation,
        message_type=message_type,
        reason=reason,
        state=_state_of(actor),
        description=_description_of(actor),
        ancestors=cell.ancestors(),
    )


def _state_of(actor: Any) -> dict[str, str]:
    """Names and types of its attributes; never a value, which may be secret, large or broken."""
    attributes: dict[str, Any] = getattr(actor, "__dict__", {})
    return {name: type(value).__name__ for name, value in attributes.items() if not name.startswith("_understudy")}


def _description_of(actor: Any) -> dict[str, str]:
    """What the actor tells of itself."""
    try:
        return {} if actor is None else {str(name): repr(value) for name, value in actor.describe().items()}
    except Exception as error:
        return {"describe": f"raised {type(error).__name__}"}
