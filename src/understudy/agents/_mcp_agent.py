"""``MCPAgent``: the tools of an MCP server behind a mailbox."""

from __future__ import annotations

import asyncio
import json
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from tenacity import wait_exponential

from understudy.actors._child import child
from understudy.actors._handler import handler
from understudy.actors._runtime import runtime_of
from understudy.agents._agent import AsyncAgent
from understudy.agents._approvals import approver_of, decision_of
from understudy.agents._approving import ApprovalRequest, Decision
from understudy.agents._mcp_errors import MCPCallLost, ToolMismatch, ToolWithheld, unknown_tool
from understudy.agents._mcp_messages import AnyMCPTool, ApproveTool, ListOffers, ToolOffer
from understudy.agents._mcp_schema import answer_of, arguments_of, mismatches
from understudy.agents._mcp_server_of import server_of
from understudy.agents._mcp_session import AgentSession, KnownTool, PinnedCall, PinnedCallProgress, ToolChanged
from understudy.agents._passing_on import ask_on
from understudy.agents._pins import ToolPins
from understudy.agents._remembered import remember
from understudy.exceptions import ActorFailed, ActorStopped, AskTimeout, InvalidSpec, NoReply, UnderstudyError
from understudy.transports._mcp_errors import MCPCallTimeout
from understudy.transports._mcp_frames import printable
from understudy.transports._mcp_session import CallTool, CallToolProgress, ListTools
from understudy.transports._mcp_values import ToolInfo, ToolProgress, ToolResult

if TYPE_CHECKING:
    from understudy._plans._spec import Options
    from understudy.actors._ref import ActorRef
    from understudy.agents._approving import Approver
    from understudy.agents._mcp_messages import MCPTool
    from understudy.transports._mcp_link import MCPServerAddress

__all__ = ["MCPAgent"]

_GLANCE = 1.0
"""Seconds that a look at the server's tools may take, when what is known of them will do as well."""


class MCPAgent(AsyncAgent[CallTool | CallToolProgress | ListTools | ListOffers | ApproveTool | AnyMCPTool]):
    """An agent whose counterpart is an MCP server: its tools are what it can be asked.

    ::

        class ReadFile(MCPTool[str], tool="read_file"):
            path: str

        files = await system.spawn(MCPAgent, StdioServer("files-server"), tools=[ReadFile], id="files")
        text = await files.ask(ReadFile(path="notes.txt"))
        clerk = await system.spawn(AIAgent, model, tools=[mcp_tools("files", only=["read_file"])])

    The session is a child of its own, ``session``, an :class:`MCPSession` that is opened again when it is lost. Calls
    in hand fail at once then, with :class:`MCPCallLost`; later ones wait for the next session until their deadlines,
    and none is sent twice. Up to ``max_concurrency`` (100) calls run at once. When the session has ended for good, so
    does the incarnation of the agent, and its supervisor decides.

    A server says what its tools are for, and models do what they read. So what is *approved* of a tool is pinned: name,
    title, description, schemas and annotations, by their hash. A tool that is not what was approved, or is new, is
    *withheld*: whoever calls it waits until a human has decided, at the *approver* or the :class:`Approvals` of the
    system, who is shown both descriptions; without one it is denied (:class:`ToolWithheld`). The hash is compared in
    one step with the call, by the session that makes it, so a server that was replaced meanwhile is noticed in time.
    What cannot be noticed is a tool that does something else under the same description.

    It does not answer a ``Prompt``: a server has tools, which take arguments, and no voice. To turn text into calls
    takes a model; give the tools to an :class:`AIAgent`.

    Args:
        server: A :class:`StdioServer`, :class:`HttpServer` or :class:`MemoryServer`; or, for files, a table with the
            arguments of one of the first two, in which ``token_variable`` names the environment variable with the
            token.
        tools: Classes of messages that are checked against the server's tools when the agent starts.
        pins: What is approved; also a table of hashes by name, or the path of a file. Without, each incarnation trusts
            what it finds first.
        approver: Who approves of what is not pinned.
        session: Options of the session, as ``{"backoff": wait_fixed(1.0)}``.
        id: Its id; see :class:`AsyncAgent`.
        description: What it is for.

    Raises:
        InvalidSpec: *server* or *pins* cannot be used.
        ToolMismatch: In ``initialize``: one of *tools* does not fit the server's; names both.
        StartError: In ``initialize``: there is no session.
    """

    defaults: ClassVar[Options] = {"max_concurrency": 100, "backoff": wait_exponential(multiplier=1.0, max=30.0)}
    """Many calls at once; and after a failure, which is mostly the server's, it waits before it starts again."""
    tools: Sequence[type[MCPTool[Any]]] = ()
    """Classes of messages that must fit the server's tools."""
    approver: Approver | None = None
    """Who approves of what is not pinned; by default the :class:`Approvals` of the system."""

    def __init__(
        self,
        server: MCPServerAddress | Mapping[str, Any],
        *,
        tools: Sequence[type[MCPTool[Any]]] = (),
        pins: ToolPins | Mapping[str, str] | str | Path | None = None,
        approver: Approver | None = None,
        session: Options | None = None,
        id: str = "",  # noqa: A002 - the name of the attribute
        description: str = "",
    ) -> None:
        self.server = server_of(server)
        self.pins = _pins_of(pins)
        self._understudy_set(
            tools=tuple(tools) or None, approver=approver, id=id or None, description=description or None
        )
        spec = child(AgentSession, self.server).options(name="session")
        self._session_spec = spec.options(**session) if session else spec
        self._known: dict[str, KnownTool] = {}
        # By name and hash: what a human is being asked about, and what he has said no to.
        self._asking: dict[tuple[str, str], asyncio.Task[Decision]] = {}
        self._rejected: OrderedDict[tuple[str, str], Decision] = OrderedDict()
        # By message and hash: what does not fit.
        self._unfit: OrderedDict[tuple[type[MCPTool[Any]], str], tuple[str, ...]] = OrderedDict()

    async def initialize(self) -> None:
        """Open the session, and compare what the server offers with what is pinned and declared."""
        if self.pins.file is not None:
            await runtime_of(self.context.system).blocking.call(self.pins.read)
        self._session: ActorRef[Any] = await self.context.spawn(self._session_spec)
        self.context.watch(self._session, pact=True)
        await self._look()
        for message in self.tools:
            tool = self._known.get(message.mcp_tool)
            if tool is None:
                problems = (f"there is no such tool; there are: {', '.join(self._known) or 'none'}",)
                raise self._mismatch(message, problems)
            self._check(message, tool)

    def describe(self) -> dict[str, object]:
        """For crash reports."""
        return {"id": self.id, "server": self.server.name, "tools": len(self._known)}

    # What there is

    @handler(cancellable=True, reentrant=True)
    async def list_tools(self, message: ListTools) -> tuple[ToolInfo, ...]:
        """The tools that are approved, as they were approved."""
        await self._glance()
        return tuple(known.tool for known in self._known.values() if self._is_pinned(known))

    @handler(cancellable=True, reentrant=True)
    async def list_offers(self, message: ListOffers) -> tuple[ToolOffer, ...]:
        """All tools, and what has been decided about them."""
        await self._glance()
        return tuple(self._offer(known) for known in self._known.values())

    @handler(cancellable=True, reentrant=True)
    async def approve_tool(self, message: ApproveTool) -> Decision:
        """Ask a human, if that is needed."""
        return await self._decision(await self._tool(message.name))

    # Calls

    @handler(cancellable=True, reentrant=True)
    async def call_tool(self, message: CallTool) -> ToolResult:
        """Call the tool, if it is approved."""
        return await self._call(message.name, message.arguments)

    @handler(cancellable=True, reentrant=True)
    async def call_typed(self, message: AnyMCPTool) -> Any:
        """Likewise, if the message fits it; the answer is of the type that the message names."""
        kind = type(message)
        self._check(kind, await self._tool(kind.mcp_tool))
        return answer_of(kind, await self._call(kind.mcp_tool, arguments_of(message)))

    @handler(reentrant=True)
    async def call_tool_progress(self, message: CallToolProgress) -> AsyncIterator[ToolProgress | ToolResult]:
        """Likewise, and follow it."""
        known = await self._tool(message.name)
        while True:
            await self._allow(known)
            call = PinnedCallProgress(name=message.name, arguments=message.arguments, pin=known.hash)
            try:
                # The consumer's patience is the bound, and the server's.
                async with self._session.stream(call, timeout=math.inf) as parts:
                    async for part in parts:
                        yield part
            except ToolChanged as changed:
                known = self._changed(message.name, changed)
            except AskTimeout as error:  # the deadline of whoever follows it
                raise MCPCallTimeout(
                    server=self.server.name, request=f"tool {message.name!r}", seconds=error.seconds
                ) from error
            except (ActorFailed, ActorStopped, NoReply) as error:
                self._lost(message.name, error)
            else:
                return

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        known = await self._tool(name)
        while True:
            await self._allow(known)
            call = PinnedCall(name=name, arguments=dict(arguments), pin=known.hash)
            try:
                result: ToolResult = await ask_on(self._session, call)
            except ToolChanged as changed:
                known = self._changed(name, changed)
            except (ActorFailed, ActorStopped, NoReply) as error:
                self._lost(name, error)
            else:
                return result

    def _changed(self, name: str, changed: ToolChanged) -> KnownTool:
        """The session knows better what there is."""
        if changed.tool is None:
            self._known.pop(name, None)
            raise unknown_tool(self.server.name, name)
        known = self._known[name] = KnownTool(changed.tool)
        return known

    def _lost(self, tool: str, error: UnderstudyError) -> NoReturn:
        problem = str(error.__cause__ or error)
        raise MCPCallLost(server=self.server.name, request=f"tool {tool!r}", problem=problem) from error

    # What is known of the tools

    async def _tool(self, name: str) -> KnownTool:
        """The tool as far as it is known here; the session compares again before it calls.

        One that would be withheld is looked at once more: it may be what was approved again.
        """
        known = self._known.get(name)
        if known is None or not self._is_pinned(known):
            await self._glance()
            known = self._known.get(name)
        if known is None:
            raise unknown_tool(self.server.name, name)
        return known

    async def _glance(self) -> None:
        """See what there is, if that can be seen at once; otherwise what is known will do."""
        try:
            await self._look(_GLANCE)
        except UnderstudyError as error:
            self.log.debug("tools not listed", server=self.server.name, why=printable(str(error)))

    async def _look(self, seconds: float | None = None) -> None:
        tools: tuple[ToolInfo, ...] = await self._session.ask(ListTools(), timeout=seconds)
        before, self._known = self._known, {}
        for tool in tools:
            known = before.get(tool.name)
            self._known[tool.name] = known if known is not None and known.tool is tool else KnownTool(tool)
        if self.pins.meet(tools):
            await self._keep()

    async def _keep(self) -> None:
        if self.pins.file is None:
            return
        try:
            await runtime_of(self.context.system).blocking.call(self.pins.write)
        except OSError as error:  # what is approved holds, for as long as this process lives
            self.log.error("pins not written", file=str(self.pins.file), why=str(error))

    def _is_pinned(self, known: KnownTool) -> bool:
        """What :meth:`ToolPins.holds` says, without another hash."""
        pin = self.pins.get(known.tool.name)
        return pin is not None and pin.hash == known.hash

    def _offer(self, known: KnownTool) -> ToolOffer:
        pin = self.pins.get(known.tool.name)
        if pin is None:
            return ToolOffer(tool=known.tool, state="new")
        return ToolOffer(tool=known.tool, state="approved" if self._is_pinned(known) else "changed", approved=pin.tool)

    def _check(self, message: type[MCPTool[Any]], known: KnownTool) -> None:
        key = message, known.hash
        problems = self._unfit.get(key)
        if problems is None:
            problems = mismatches(message, known.tool)
            remember(self._unfit, key, problems)
        if problems:
            raise self._mismatch(message, problems)

    def _mismatch(self, message: type[MCPTool[Any]], problems: tuple[str, ...]) -> ToolMismatch:
        return ToolMismatch(
            server=self.server.name, tool=message.mcp_tool, message=message.__qualname__, problems=problems
        )

    # What is approved

    async def _allow(self, known: KnownTool) -> None:
        """Return when the tool is approved as it is.

        Raises:
            ToolWithheld: It is not.
        """
        decision = await self._decision(known)
        if not decision.approved:
            name = known.tool.name
            changed = self.pins.get(name) is not None
            raise ToolWithheld(server=self.server.name, tool=name, changed=changed, decision=decision)

    async def _decision(self, known: KnownTool) -> Decision:
        if self._is_pinned(known):
            return Decision(status="approved", comment="pinned")
        name = known.tool.name
        key = name, known.hash
        if key in self._rejected:
            return self._rejected[key]
        task = self._asking.get(key)
        if task is None:
            # It belongs to the agent and not to whoever calls: a human may take longer than that one waits.
            task = self._asking[key] = self.context.start_task(self._ask_human(known), name=f"approval:{name}")
            task.add_done_callback(partial(self._asked, key))
        await asyncio.wait({task})
        return task.result()

    def _asked(self, key: tuple[str, str], task: asyncio.Task[Decision]) -> None:
        del self._asking[key]

    async def _ask_human(self, known: KnownTool) -> Decision:
        tool = known.tool
        request = ApprovalRequest(
            agent=self.context.path, tool=printable(tool.name), arguments=self._both(tool), reason=self._reason(tool)
        )
        decision = await decision_of(approver_of(self, self.approver), request)
        self.log.warning(
            "tool withheld" if not decision.approved else "tool approved",
            server=self.server.name,
            tool=printable(tool.name),
            decision=decision.in_words,
        )
        if decision.approved:
            self.pins.approve(tool)
            await self._keep()
        elif decision.status == "rejected" and decision.by:
            remember(self._rejected, (tool.name, known.hash), decision)
        return decision

    def _both(self, tool: ToolInfo) -> str:
        """What the server says, and what was approved, for a human to compare."""
        pin = self.pins.get(tool.name)
        before = None if pin is None or pin.tool is None else pin.tool.model_dump(mode="json")
        return json.dumps({"approved": before, "now": tool.model_dump(mode="json")})

    def _reason(self, tool: ToolInfo) -> str:
        pin = self.pins.get(tool.name)
        if pin is None:
            return f"the tool is new at the MCP server {self.server.name}; it says: {tool.description!r}"
        before = "only its hash is known" if pin.tool is None else f"it said: {pin.tool.description!r}"
        return (
            f"what the MCP server {self.server.name} says of the tool has changed since it was approved; "
            f"{before}; it says now: {tool.description!r}"
        )


def _pins_of(pins: ToolPins | Mapping[str, str] | str | Path | None) -> ToolPins:
    if isinstance(pins, ToolPins):
        return pins
    if isinstance(pins, str | Path):
        return ToolPins(file=pins)
    if pins is None or isinstance(pins, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        return ToolPins(pins)
    problem = f"must be ToolPins, a table of hashes, or the path of a file, got {pins!r}"
    raise InvalidSpec(child="MCPAgent", field="pins", problem=problem)
