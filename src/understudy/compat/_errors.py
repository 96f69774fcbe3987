"""What the old interfaces raise."""

from __future__ import annotations

from understudy.exceptions import UnderstudyError

__all__ = ["EventBusClosed", "ExecutionFinished"]


class EventBusClosed(UnderstudyError, RuntimeError):
    """The old event bus is closed. ``event`` is what was not published, None after a `subscribe`."""

    def __init__(self, *, session_id: str, event: object = None) -> None:
        self.session_id = session_id
        self.event = event
        what = "nobody was subscribed" if event is None else f"{type(event).__name__} was not published"
        super().__init__(f"event bus {session_id!r} is closed, and {what}: make a new one")


class ExecutionFinished(UnderstudyError):
    """The program has done its work: raised by an agent of the old design, it ends the system in order."""
