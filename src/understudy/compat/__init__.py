"""The way over from the old design: its interfaces, on top of the new parts. Deprecated, all of it."""

from understudy.compat._agents import (  # type: ignore[deprecated]
    BaseAgent,  # pyright: ignore[reportDeprecated]
    OldAgent,
    Program,
    agent,  # pyright: ignore[reportDeprecated]
)
from understudy.compat._bus import (  # type: ignore[deprecated]
    Closing,
    EventBus,  # pyright: ignore[reportDeprecated]
)
from understudy.compat._errors import EventBusClosed, ExecutionFinished
from understudy.compat._inboxes import AgentMessage, Inbox, Inboxes
from understudy.compat._routes import OldEvent

__all__ = [
    "AgentMessage",
    "BaseAgent",
    "Closing",
    "EventBus",
    "EventBusClosed",
    "ExecutionFinished",
    "Inbox",
    "Inboxes",
    "OldAgent",
    "OldEvent",
    "Program",
    "agent",
]
