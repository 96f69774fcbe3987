"""Agents: actors with an identity, programs made of them, and language models behind mailboxes."""

from __future__ import annotations

import importlib
import typing

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
from understudy.agents._attendee import Attendee
from understudy.agents._budget import Amount, Budget, Reservation, reserve
from understudy.agents._callback_endpoint import CallbackEndpoint
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
from understudy.agents._deliveries import (
    ApprovalClosed,
    ApprovalOpened,
    Delivery,
    DeliveryGap,
    OpenRequest,
    QuestionClosed,
    QuestionOpened,
    Remark,
    SeatEnded,
    TurnOver,
    TurnStarted,
    TurnText,
    TurnToolEnded,
    TurnToolStarted,
)
from understudy.agents._directory import AgentClass, AgentId, Agents, AnyOf
from understudy.agents._errors import (
    BudgetExceeded,
    InvalidProgram,
    ModelFailed,
    ModelUnavailable,
    NotInteractive,
    ProgramFailed,
    QuestionNotOpen,
    SeatClosed,
    TooManyQuestions,
)
from understudy.agents._history import History, Memory, problems_of
from understudy.agents._human import HumanAgent
from understudy.agents._limiter import Acquire, RateLimiter, Release
from understudy.agents._meeting import Meeting
from understudy.agents._meeting_messages import (
    Adjourn,
    AwaitEnd,
    ChangeState,
    ChooseSpeaker,
    Contribute,
    GetMeeting,
    Invitation,
    Join,
    Leave,
    MeetingEnded,
    MeetingMessage,
    MeetingNews,
    MeetingView,
    Minute,
    NextSpeaker,
    NotInMeeting,
    NotYourTurn,
    RequestTurn,
    Rsvp,
    StaleState,
    YourTurn,
)
from understudy.agents._meeting_rules import MeetingRules
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
from understudy.agents._seat import HumanEndpoint, Seat
from understudy.agents._terminal import TerminalEndpoint
from understudy.agents._tools import Tool, ToolDenied, ToolError, ToolInterrupted, ToolSource, agent_tool, tool
from understudy.agents._turn_policies import (
    AskModerator,
    ByRequest,
    CloseMeeting,
    GiveFloor,
    ModeratorChooses,
    RoundRobin,
    Table,
    TurnDecision,
    TurnPolicy,
    WaitForRequest,
)

if typing.TYPE_CHECKING:
    from understudy.agents._mcp_agent import MCPAgent
    from understudy.agents._mcp_errors import MCPCallLost, MCPToolFailed, ToolMismatch, ToolWithheld
    from understudy.agents._mcp_messages import ApproveTool, ListOffers, MCPTool, ToolOffer
    from understudy.agents._mcp_tools import mcp_tools
    from understudy.agents._pins import ToolPin, ToolPins
    from understudy.agents._remote_agent import CONVERSATION, Remote, RemoteAgent
    from understudy.agents._remote_errors import AgentUnavailable
    from understudy.agents._web_endpoint import WebEndpoint

__all__ = [
    "AIAgent",
    "Acquire",
    "Adjourn",
    "AgentClass",
    "AgentId",
    "AgentUnavailable",
    "Agents",
    "Amount",
    "Answer",
    "AnyOf",
    "ApprovalClosed",
    "ApprovalDecided",
    "ApprovalOpened",
    "ApprovalRequest",
    "ApprovalRequested",
    "Approvals",
    "ApproveTool",
    "Approver",
    "AskModerator",
    "AsyncAgent",
    "AsyncProgram",
    "Attendee",
    "AwaitEnd",
    "Budget",
    "BudgetExceeded",
    "ByRequest",
    "CONVERSATION",
    "CallbackEndpoint",
    "ChangeState",
    "ChooseSpeaker",
    "CloseMeeting",
    "Contribute",
    "Converse",
    "Decide",
    "Decision",
    "Delivery",
    "DeliveryGap",
    "GetMeeting",
    "GiveFloor",
    "History",
    "HistoryItem",
    "HumanAgent",
    "HumanEndpoint",
    "InvalidProgram",
    "Invitation",
    "Join",
    "Leave",
    "ListOffers",
    "ListPending",
    "MCPAgent",
    "MCPCallLost",
    "MCPTool",
    "MCPToolFailed",
    "Meeting",
    "MeetingEnded",
    "MeetingMessage",
    "MeetingNews",
    "MeetingRules",
    "MeetingView",
    "Memory",
    "Minute",
    "Model",
    "ModelEvent",
    "ModelFailed",
    "ModelRequest",
    "ModelText",
    "ModelTurn",
    "ModelUnavailable",
    "ModelUsage",
    "ModeratorChooses",
    "NextSpeaker",
    "NoSuchApproval",
    "NotInMeeting",
    "NotInteractive",
    "NotYourTurn",
    "OpenRequest",
    "PendingApproval",
    "PhaseReport",
    "ProgramFailed",
    "ProgramReport",
    "Prompt",
    "PydanticAIModel",
    "QuestionClosed",
    "QuestionNotOpen",
    "QuestionOpened",
    "RateLimiter",
    "Release",
    "Remark",
    "Remote",
    "RemoteAgent",
    "RequestApproval",
    "RequestTurn",
    "Reservation",
    "Resolution",
    "RoundRobin",
    "Rsvp",
    "Said",
    "Say",
    "ScriptedModel",
    "Seat",
    "SeatClosed",
    "SeatEnded",
    "Spoken",
    "StaleState",
    "Structured",
    "StructuredAgentRuntime",
    "Table",
    "TerminalEndpoint",
    "TextDelta",
    "TooManyQuestions",
    "Tool",
    "ToolCall",
    "ToolDenied",
    "ToolEnded",
    "ToolError",
    "ToolInterrupted",
    "ToolMismatch",
    "ToolOffer",
    "ToolPin",
    "ToolPins",
    "ToolResult",
    "ToolSchema",
    "ToolSource",
    "ToolStarted",
    "ToolWithheld",
    "TurnDecision",
    "TurnEnded",
    "TurnOver",
    "TurnPolicy",
    "TurnStarted",
    "TurnText",
    "TurnToolEnded",
    "TurnToolStarted",
    "UseTool",
    "UserTurn",
    "WaitForRequest",
    "WebEndpoint",
    "WithdrawApproval",
    "YourTurn",
    "agent_group",
    "agent_tool",
    "load_program",
    "mcp_tools",
    "problems_of",
    "reserve",
    "tool",
]

_LATER = {
    "AgentUnavailable": "_remote_errors",
    "ApproveTool": "_mcp_messages",
    "CONVERSATION": "_remote_agent",
    "ListOffers": "_mcp_messages",
    "MCPAgent": "_mcp_agent",
    "MCPCallLost": "_mcp_errors",
    "MCPTool": "_mcp_messages",
    "MCPToolFailed": "_mcp_errors",
    "Remote": "_remote_agent",
    "RemoteAgent": "_remote_agent",
    "ToolMismatch": "_mcp_errors",
    "ToolOffer": "_mcp_messages",
    "ToolPin": "_pins",
    "ToolPins": "_pins",
    "ToolWithheld": "_mcp_errors",
    "WebEndpoint": "_web_endpoint",
    "mcp_tools": "_mcp_tools",
}
"""What needs the transports, by the module that has it: imported when it is first wanted, since the transports take as
long to import as all the rest, and most programs of agents have no use for them."""

if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        module = _LATER.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return value
