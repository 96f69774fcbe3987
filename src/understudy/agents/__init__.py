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
from understudy.agents._errors import InvalidProgram, ProgramFailed
from understudy.agents._program import AsyncProgram
from understudy.agents._program_file import load_program
from understudy.agents._report import PhaseReport, ProgramReport
from understudy.agents._runtime import StructuredAgentRuntime, agent_group

__all__ = [
    "AgentClass",
    "AgentId",
    "Agents",
    "AnyOf",
    "AsyncAgent",
    "AsyncProgram",
    "Converse",
    "InvalidProgram",
    "PhaseReport",
    "ProgramFailed",
    "ProgramReport",
    "Prompt",
    "Said",
    "Say",
    "Spoken",
    "Structured",
    "StructuredAgentRuntime",
    "TextDelta",
    "ToolEnded",
    "ToolStarted",
    "TurnEnded",
    "agent_group",
    "load_program",
]
