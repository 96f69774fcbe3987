"""Agents: actors with an identity, programs made of them, and language models behind mailboxes."""

from understudy.agents._agent import AsyncAgent
from understudy.agents._conversation import (
    Converse,
    Prompt,
    Said,
    Say,
    Spoken,
    Structured,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnEnded,
)
from understudy.agents._directory import AgentClass, AgentId, Agents, AnyOf

__all__ = [
    "AgentClass",
    "AgentId",
    "Agents",
    "AnyOf",
    "AsyncAgent",
    "Converse",
    "Prompt",
    "Said",
    "Say",
    "Spoken",
    "Structured",
    "TextDelta",
    "ToolEnded",
    "ToolStarted",
    "TurnEnded",
]
