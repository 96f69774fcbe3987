"""Agents whose counterparts are elsewhere, under kills, crashes, losses, hangs and slow answers.

Each call has one outcome, in time; nothing is done twice; no tool is called that nobody has approved of; and when the
trouble is over, everything works.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tenacity import wait_fixed

from tests.agents.mcp_stage import READ, WRITE, info
from tests.transports.stage import Wire
from understudy import (
    ActorRef,
    ActorSystem,
    ChildSpec,
    Message,
    StreamMessage,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.agents import (
    AIAgent,
    Approvals,
    AsyncAgent,
    Decide,
    ListPending,
    MCPAgent,
    MCPTool,
    Prompt,
    Remote,
    ScriptedModel,
    ToolPins,
    UseTool,
    mcp_tools,
    problems_of,
)
from understudy.testing import Faults, Simulation, simulate
from understudy.transports import LinkOptions, Timing
from understudy.transports.mcp import (
    CallTool,
    CallToolProgress,
    MCPConnectionLost,
    MCPRefused,
    TextContent,
    ToolInfo,
    ToolProgress,
    ToolResult,
    description_hash,
)

VERSIONS = [READ, info("read_file", "The text of a file, and more.")]


class ReadFile(MCPTool[str]):
    path: str


class ChanceLink:
    """A connection whose server does what chance says; its tools are those of the time when it was opened."""

    def __init__(self, server: Chance) -> None:
        self.server = server
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.listed = (server.sim.random.choice(VERSIONS), WRITE)
        self.calls = 0

    def lose(self) -> None:
        if not self.lost.done():
            self.lost.set_result("by chance")

    async def _serve(self) -> None:
        random = self.server.sim.random
        self.calls += 1
        try:
            for _ in range(random.randrange(3)):
                await asyncio.sleep(random.choice([0, 0.01, 0.3]))
                if random.random() < 0.03 and not self.server.calm:
                    self.lose()
                if self.lost.done():
                    raise MCPConnectionLost(server="files", problem="by chance")
            if random.random() < 0.05 and not self.server.calm:
                await asyncio.wait({self.lost})  # not answered, until it is lost
                raise MCPConnectionLost(server="files", problem="by chance")
            if random.random() < 0.05 and not self.server.calm:
                raise MCPRefused(server="files", request="it", code=1, problem="no")
        finally:
            self.calls -= 1

    async def follow_tools(self, changed: Any) -> None:
        """It says nothing of itself."""

    async def tools(self, seconds: float) -> tuple[ToolInfo, ...]:
        await self._serve()
        return self.listed

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float, on_progress: Any) -> ToolResult:
        server = self.server
        (mine,) = [each for each in self.listed if each.name == tool]
        if not server.pins.holds(mine):
            server.sim.violated(f"{tool} is called, and nobody has approved of it as it is")
        number = arguments.get("path")
        if number in server.done:
            server.sim.violated(f"call {number} is made twice")
        server.done.add(number)
        if on_progress is not None:
            on_progress(ToolProgress(progress=1.0))
        await self._serve()
        return ToolResult(server="files", tool=tool, content=(TextContent(text="it"),))


@dataclass(eq=False)
class Chance:
    """The server."""

    sim: Simulation
    pins: ToolPins
    name: str = "files"
    call_timeout: float = 20.0
    calm: bool = True
    links: list[ChanceLink] = field(default_factory=list[ChanceLink])
    done: set[Any] = field(default_factory=set[Any])
    serial: int = 0

    def number(self) -> str:
        self.serial += 1
        return str(self.serial)

    @contextlib.asynccontextmanager
    async def connect(self, log: Any) -> AsyncGenerator[ChanceLink, None]:
        await asyncio.sleep(self.sim.random.choice([0, 0.01]))
        if self.links == [] and self.sim.random.random() < 0.1 and not self.calm:
            raise ConnectionError("nobody there")
        link = ChanceLink(self)
        self.links.append(link)
        if len(self.links) > 1:
            self.sim.violated("two sessions of one agent are open")
        try:
            yield link
        finally:
            self.links.remove(link)


async def humans(sim: Simulation, approvals: ActorRef[Any]) -> None:
    """Decides about what is pending, now and then."""
    while True:
        await asyncio.sleep(sim.random.choice([0.1, 1.0, 3.0]))
        with contextlib.suppress(UnderstudyError):
            for each in await approvals.ask(ListPending()):
                await approvals.ask(Decide(number=each.number, approve=sim.random.random() < 0.8, by="nina"))


def clerk(sim: Simulation, server: Chance) -> ChildSpec[Any]:
    """A model that calls the tools."""

    def answer(request: Any) -> Any:
        problems = problems_of(request.history)
        if problems:
            sim.violated(f"a model is asked with a history that is not sound: {problems}")
        tools = [each.name for each in request.tools if each.name == "read_file"]
        if tools and sim.random.random() < 0.5:
            return [UseTool("read_file", path=server.number()) for _ in range(sim.random.randrange(1, 3))]
        return "done"

    model = ScriptedModel(answer)
    return child(AIAgent, model, tools=[mcp_tools("files", timeout=3.0)]).options(name="clerk")


async def call(sim: Simulation, server: Chance, files: ActorRef[Any], clerk: ActorRef[Any]) -> str:
    timeout = sim.random.choice([0.05, 1.0, 20.0])
    arguments: Any = {"path": server.number()}
    try:
        match sim.random.choice(["typed", "call", "stream", "model", "model"]):
            case "typed":
                assert await files.ask(ReadFile(**arguments), timeout=timeout) == "it"
            case "call":
                await files.ask(CallTool(name="read_file", arguments=arguments), timeout=timeout)
            case "stream":
                parts = [
                    part
                    async for part in files.stream(
                        CallToolProgress(name="write_file", arguments=arguments), timeout=timeout
                    )
                ]
                assert isinstance(parts[-1], ToolResult)
            case _:
                await clerk.ask(Prompt(text="go"), timeout=timeout)
    except UnderstudyError as error:
        return type(error).__name__
    return "result"


@simulate(schedules=6, faults=Faults(crash=0.01, cancel=0.01, stall=0.2))
async def test_calls_of_tools_have_one_outcome_in_time_and_nothing_unapproved_is_called(sim: Simulation) -> None:
    pins = ToolPins({each.name: description_hash(each) for each in (READ, WRITE)})
    server = Chance(sim, pins)
    spec: ChildSpec[Any] = child(
        MCPAgent, server, pins=pins, id="files", session={"backoff": wait_fixed(0.05), "max_restarts": 100_000}
    ).options(name="files", backoff=wait_fixed(0.1), shutdown=1.0)
    tree = supervisor(
        "root",
        child(Approvals, expires_after=5.0).options(name="approvals"),
        spec,
        clerk(sim, server),
        max_restarts=100_000,
    )
    sim.choices.calm = True  # a tree that does not even come up shows nothing
    async with ActorSystem(tree) as system:
        files, asker = system.lookup("root/files"), system.lookup("root/clerk")
        server.calm = sim.choices.calm = False
        human = asyncio.create_task(humans(sim, system.lookup("root/approvals")))
        tasks = [asyncio.create_task(call(sim, server, files, asker)) for _ in range(10)]
        for _ in range(sim.random.randrange(8)):
            await asyncio.sleep(sim.random.choice([0, 0.01, 0.2, 1.0]))
            match sim.random.choice(["session", "agent", "clerk", "lose", "lose", "cancel"]):
                case "session":
                    session = system.find("root/files/session")
                    if session is not None:
                        session.kill()
                case "agent":
                    files.kill()
                case "clerk":
                    asker.kill()
                case "lose":
                    for link in server.links:
                        link.lose()
                case _:
                    sim.random.choice(tasks).cancel()
        await asyncio.wait(tasks, timeout=200.0)
        assert all(task.done() for task in tasks), "somebody waits for ever"
        outcomes = ["cancelled" if task.cancelled() else task.result() for task in tasks]
        assert set(outcomes) <= {
            *("result", "cancelled", "AskTimeout", "ActorFailed", "ActorStopped", "NoReply"),
            *("MCPRefused", "MCPCallLost", "ToolWithheld", "ConsumerSlow"),
        }, outcomes
        server.calm = sim.choices.calm = True
        worked = False
        async with asyncio.timeout(100.0):  # later calls work
            while not worked:  # nobody tells when the session is open again, or which tools it has then
                await asyncio.sleep(0.1)
                for link in server.links:
                    pins.approve(link.listed[0])
                with contextlib.suppress(UnderstudyError):
                    worked = await files.ask(ReadFile(path=server.number()), timeout=20.0) == "it"
        human.cancel()
        await sim.quiesce()
        assert [link.calls for link in server.links if link.calls] == []
    assert server.links == []


# --- Agents of another process ----------------------------------------------------------------------------------------


class Number(Message[int]):
    number: int


class Numbers(StreamMessage[int]):
    to: int


class Counter(AsyncAgent[Number | Numbers]):
    def __init__(self, sim: Simulation, seen: list[int]) -> None:
        self.sim = sim
        self.seen = seen

    @handler
    async def take(self, message: Number) -> int:
        if message.number in self.seen:
            self.sim.violated(f"{message.number} is handled twice")
        self.seen.append(message.number)
        await asyncio.sleep(self.sim.random.choice([0, 0, 0.05]))
        return message.number

    @handler
    async def stream(self, message: Numbers) -> AsyncIterator[int]:
        for number in range(message.to):
            yield number


class RemoteCounter(Remote[Number | Numbers]): ...


OPTIONS = LinkOptions(timing=Timing(heartbeat=5.0, ack_timeout=30.0))


class Shop:
    """A stand-in here, and the agent there, in a system that comes and goes."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.seen: list[int] = []
        self.wire = Wire()
        self.terms: dict[str, Any] = {"options": OPTIONS, "transport": self.wire}
        patience = sim.random.choice([0.5, 5.0])
        self.spec = child(RemoteCounter, "memory://bank", id="counter", patience=patience, **self.terms)
        self.counter: ActorRef[Any]
        self.bank: contextlib.AsyncExitStack | None = None
        self.tasks: list[asyncio.Task[str]] = []

    async def open_bank(self) -> None:
        self.bank = contextlib.AsyncExitStack()
        system = await self.bank.enter_async_context(ActorSystem(name="bank"))
        spec: ChildSpec[Any] = child(Counter, self.sim, self.seen)
        await system.spawn(spec.options(name="counter", restart="permanent", max_restarts=100_000))
        await system.listen("memory://bank", messages=[Number, Numbers], **self.terms)

    async def close_bank(self) -> None:
        if self.bank is not None:
            await self.bank.aclose()
            self.bank = None

    async def outcome(self, number: int) -> str:
        random = self.sim.random
        timeout = random.choice([0.1, 2.0, 30.0])
        try:
            match random.choice(["ask", "ask", "tell", "stream"]):
                case "ask":
                    assert await self.counter.ask(Number(number=number), timeout=timeout) == number
                case "tell":
                    self.counter.tell(Number(number=number))
                case _:
                    async for part in self.counter.stream(Numbers(to=20), timeout=timeout):
                        if part == random.choice([3, 50]):
                            break
        except UnderstudyError as error:
            return type(error).__name__
        return "result"

    async def trouble(self) -> None:
        match self.sim.random.choice(["", "", "", "cut", "bank", "kill", "cancel"]):
            case "cut" if self.wire.opened:
                self.wire.last.cut()
            case "bank":
                await (self.open_bank() if self.bank is None else self.close_bank())
            case "kill":
                self.counter.kill()
            case "cancel":
                self.sim.random.choice(self.tasks).cancel()
            case _:
                pass


@simulate(schedules=6, faults=Faults(crash=0.01, cancel=0.01, stall=0.2))
async def test_an_agent_of_another_process_is_never_asked_twice_and_found_again(sim: Simulation) -> None:
    shop = Shop(sim)
    tree = supervisor("root", shop.spec.options(name="counter"), max_restarts=100_000)
    async with ActorSystem(tree, name="shop") as system:
        shop.counter = system.lookup("root/counter")
        if sim.random.random() < 0.8:
            await shop.open_bank()
        for number in range(25):
            shop.tasks.append(asyncio.create_task(shop.outcome(number)))
            await asyncio.sleep(sim.random.choice([0, 0.01, 0.3]))
            await shop.trouble()
        await asyncio.wait(shop.tasks, timeout=200.0)
        assert all(task.done() for task in shop.tasks), "somebody waits for ever"
        outcomes = ["cancelled" if task.cancelled() else task.result() for task in shop.tasks]
        assert set(outcomes) <= {
            *("result", "cancelled", "AskTimeout", "ActorFailed", "ActorStopped", "NoReply"),
            *("AgentUnavailable", "ConsumerSlow"),
        }, outcomes
        sim.choices.calm = True
        if shop.bank is None:
            await shop.open_bank()
        await asyncio.sleep(30.0)  # longer than the longest pause between two attempts
        assert await shop.counter.ask(Number(number=1_000)) == 1_000
        await shop.close_bank()
