"""Agents: actors with an identity, programs made of them, and language models behind mailboxes."""

from understudy.agents._agent import AsyncAgent
from understudy.agents._ai import AIAgent
from understudy.agents._approvals import (
    ApprovalDecided,
    ApprovalRequested,
    Approvals,
    Decide,
    ListPending,
    NoSuchApproval,
    PendingApproval,
    RequestApproval,
    Resolution,
    WithdrawApproval,
)
from understudy.agents._approving import ApprovalRequest, Approver, Decision
from understudy.agents._budget import Amount, Budget, Reservation, reserve
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
from understudy.agents._errors import (
    BudgetExceeded,
    InvalidProgram,
    ModelFailed,
    ModelUnavailable,
    ProgramFailed,
)
from understudy.agents._history import History, Memory, problems_of
from understudy.agents._limiter import Acquire, RateLimiter, Release
from understudy.agents._model import (
    HistoryItem,
    Model,
    ModelEvent,
    ModelRequest,
    ModelText,
    ModelTurn,
    ModelUsage,
    ToolCall,
    ToolResult,
    ToolSchema,
    UserTurn,
)
from understudy.agents._program import AsyncProgram
from understudy.agents._program_file import load_program
from understudy.agents._pydantic_ai import PydanticAIModel
from understudy.agents._report import PhaseReport, ProgramReport
from understudy.agents._runtime import StructuredAgentRuntime, agent_group
from understudy.agents._scripted import Answer, ScriptedModel, UseTool
from understudy.agents._tools import Tool, ToolError, agent_tool, tool

__all__ = [
    "AIAgent",
    "Acquire",
    "AgentClass",
    "AgentId",
    "Agents",
    "Amount",
    "Answer",
    "AnyOf",
    "ApprovalDecided",
    "ApprovalRequest",
    "ApprovalRequested",
    "Approvals",
    "Approver",
    "AsyncAgent",
    "AsyncProgram",
    "Budget",
    "BudgetExceeded",
    "Converse",
    "Decide",
    "Decision",
    "History",
    "HistoryItem",
    "InvalidProgram",
    "ListPending",
    "Memory",
    "Model",
    "ModelEvent",
    "ModelFailed",
    "ModelRequest",
    "ModelText",
    "ModelTurn",
    "ModelUnavailable",
    "ModelUsage",
    "NoSuchApproval",
    "PendingApproval",
    "PhaseReport",
    "ProgramFailed",
    "ProgramReport",
    "Prompt",
    "PydanticAIModel",
    "RateLimiter",
    "Release",
    "RequestApproval",
    "Reservation",
    "Resolution",
    "Said",
    "Say",
    "ScriptedModel",
    "Spoken",
    "Structured",
    "StructuredAgentRuntime",
    "TextDelta",
    "Tool",
    "ToolCall",
    "ToolEnded",
    "ToolError",
    "ToolResult",
    "ToolSchema",
    "ToolStarted",
    "TurnEnded",
    "UseTool",
    "UserTurn",
    "WithdrawApproval",
    "agent_group",
    "agent_tool",
    "load_program",
    "problems_of",
    "reserve",
    "tool",
]
