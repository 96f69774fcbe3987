"""Uses that both type checkers must refuse. Nothing here is run.

Each error is announced, with its code, by the comments that would silence it. The checkers report a comment that is not
needed, so an error that is no longer found is an error too.
"""

# Parameters are assigned to, to see what may be assigned.
# pyright: reportUnusedVariable=false

from __future__ import annotations

from concurrent.futures import Future

from understudy import (
    Actor,
    ActorRef,
    ActorSystem,
    Background,
    ChildSpec,
    Mailbox,
    Message,
    ReplayDeadLetters,
    Reply,
    Router,
    StreamMessage,
    Supervisor,
    Via,
    ask_many,
    child,
    compat,
    handler,
    supervisor,
)
from understudy.agents import (
    AIAgent,
    AsyncAgent,
    Converse,
    MCPAgent,
    MCPTool,
    Meeting,
    Prompt,
    Remote,
    RemoteAgent,
    Said,
    StructuredAgentRuntime,
    agent_group,
    mcp_tools,
)
from understudy.events import AsyncEventBus, Event
from understudy.transports import AsyncTransportPool, Lease
from understudy.transports.mcp import CallTool, MCPSession, MCPSessionMessage, StdioServer, expose, tool


class Observe(Message[int]):
    value: int


class Total(Message[int]): ...


class Ping(Message): ...


class Meter(Actor[Observe | Total]):
    def __init__(self, place: str) -> None:
        self.place = place

    @handler
    def observe(self, message: Observe) -> int:
        return message.value

    @handler
    async def report(self, message: Total) -> int:
        return 0


async def messages_of_another_type(meter: ActorRef[Observe | Total]) -> None:
    meter.tell(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    meter.tell("five")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await meter.send(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    meter.tell_threadsafe(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await meter.ask(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await meter.ask("five")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    meter.ask_threadsafe(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def replies_of_another_type(meter: ActorRef[Observe | Total | Ping], text: str, number: int) -> None:
    text = await meter.ask(Observe(value=1))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    number = await meter.ask(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    text = await meter.ask(Total(), timeout=1.0)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    text = meter.tell(Ping())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def replies_of_another_type_from_a_thread(meter: ActorRef[Observe], future: Future[str]) -> None:
    future = meter.ask_threadsafe(Observe(value=1))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]


async def arguments_of_another_type(meter: ActorRef[Observe]) -> None:
    await meter.ask(Observe(value=1), timeout="soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await meter.ask(Observe(value=1), 1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    meter.tell(Observe(value=1), sender="me")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def verbs(meter: ActorRef[Observe], other: ActorRef[Ping]) -> None:
    meter.debug.trace(other)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await meter.debug.replace_state(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await meter.debug.replace_state(lambda state: 5)  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    await meter.debug.replace_behaviour(int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def fields_of_another_type(meter: ActorRef[Observe | Total]) -> None:
    meter.tell(Observe(value="five"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    meter.tell(Observe())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def constructors(system: ActorSystem) -> None:
    child(Meter)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    child(Meter, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Meter, "north", "south")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    child(Meter, plaice="north")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await system.spawn(Meter)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await system.spawn(Meter, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await system.spawn(Meter, plaice="north")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    child(int)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


class Host(Actor[Ping]):
    @handler
    async def ping(self, message: Ping) -> None:
        await self.context.spawn(Meter, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def options() -> None:
    child(Meter, "north").options(nmae="north")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    child(Meter, "north").options(name=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Meter, "north").options(restart="always")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Meter, "north").options(shutdown="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Meter, "north").options(mailbox="large")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Meter, "north").options(start_timeout="soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Mailbox(capacity=1, policy="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    supervisor("top", child(Meter, "north"), strategy="one_for_nobody")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    supervisor("top", Meter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Nocturnal(Actor[Ping]):
    defaults = {"restart": "always"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]

    @handler
    def ping(self, message: Ping) -> None: ...


class Owl(Actor[Ping]):
    defaults = {"restrat": "permanent"}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]

    @handler
    def ping(self, message: Ping) -> None: ...


class Meters(Supervisor):
    strategy = "one_for_nobody"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    max_restarts = "three"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def children(self) -> list[ChildSpec]:
        return [Meter]  # type: ignore[list-item]  # pyright: ignore[reportReturnType]


def who_accepts_less_for_who_accepts_more(
    observer: ActorRef[Observe], meter: ActorRef[Observe | Total], pinger: ActorRef[Ping]
) -> None:
    meter = observer  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    pinger = observer  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def what_is_found_is_what_was_looked_for(system: ActorSystem, pinger: ActorRef[Ping]) -> None:
    pinger = system.lookup("meters/north", Meter)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    pinger = await system.spawn(Meter, "north")  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
    system.find("meters/north", Meter).tell(Total())  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    system.lookup("meters/north", Observe)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


def a_spec_is_one_of_its_actor(spec: ChildSpec[Ping]) -> None:
    spec = child(Meter, "north")  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]


def trees() -> None:
    ActorSystem("meters")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ActorSystem([child(Meter, "north")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ActorSystem(name=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ActorSystem(settings={"ask_timeout": 1.0})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def addresses_take_what_their_actors_take(system: ActorSystem, pinger: ActorRef[Ping]) -> None:
    Via(system.registry, "north", Meter).tell(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Router(system, [pinger]).ask(Total())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    system.groups.group("meters", Meter).join(pinger)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    system.registry.listen(pinger)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Tokens(StreamMessage[str]): ...


async def streams_and_asks_are_two_things(model: ActorRef[Tokens | Total], total: ActorRef[Total]) -> None:
    await model.ask(Tokens())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    model.stream(Total())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    total.stream(Tokens())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    model.stream(Tokens(), timeout="soon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    model.stream(Tokens(), buffer=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def parts_of_another_type(model: ActorRef[Tokens], number: int) -> None:
    async for number in model.stream(Tokens()):  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        assert number


async def many_asks_of_another_type(meters: list[ActorRef[Total]], numbers: list[int]) -> None:
    await ask_many(meters, Ping())  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    numbers = await ask_many(meters, Total())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


def promised_replies_of_another_type(reply: Reply[int]) -> None:
    reply.send("five")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    reply.fail("no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Marked(Actor[Ping]):
    @handler(cancellable="yes")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
    async def ping(self, message: Ping) -> None: ...


def what_is_called_in_the_background_must_fit(background: Background, total: int) -> None:
    background.call(len, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    total = background.call(str, 5)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    Background("system")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def leftovers_of_another_kind(letters: list[str]) -> None:
    child(Marked).options(leftovers=letters.extend)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Marked).options(leftovers=letters)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def replays_to_what_is_no_ref(system: ActorSystem) -> None:
    ReplayDeadLetters(to="/user/heir")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await system.dead_letters.ask(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class OldMeter:
    def __init__(self, name: str) -> None:
        self.id = name

    async def begin(self) -> None: ...


class NoMeter: ...


def takes_a_text(event: str) -> None: ...


def what_is_deprecated_says_so() -> None:
    bus = compat.EventBus("session-1")  # type: ignore[deprecated]  # pyright: ignore[reportDeprecated]
    compat.agent(OldMeter, "north")  # type: ignore[deprecated]  # pyright: ignore[reportDeprecated]
    compat.agent(OldMeter, 5)  # type: ignore[arg-type, deprecated]  # pyright: ignore[reportArgumentType, reportDeprecated]
    compat.agent(NoMeter)  # type: ignore[arg-type, deprecated]  # pyright: ignore[reportArgumentType, reportDeprecated]
    bus.subscribe(int, takes_a_text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


class Paid(Event):
    cents: int = 0


class Shipped(Event): ...


def ship(event: Shipped) -> None: ...


async def events_of_another_type(bus: AsyncEventBus, till: ActorRef[Paid], cents: int) -> None:
    bus.subscribe(Paid, ship)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    bus.subscribe(Shipped, till)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    bus.subscribe("paid", ship)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    bus.subscribe(Paid, "ship")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    bus.subscribe(Paid, till, on_error="drop")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    bus.publish_nowait(Ping())  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    await bus.publish("paid")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    await bus.publish(Paid(), timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    cents = await bus.wait_for(Paid)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    bus.stream("*")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cents = (await bus.publish(Paid())).event  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


async def mcp_with_what_is_not_served(
    system: ActorSystem, till: ActorRef[Ping], session: ActorRef[MCPSessionMessage]
) -> None:
    expose(till, int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tool(till, Total)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    tool(till, int)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    expose(till, Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.ask(Ping())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    CallTool(name=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await system.spawn(MCPSession, "server")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    StdioServer("server", token="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


class Session:
    async def aclose(self) -> None: ...


async def connect() -> Session:
    return Session()


async def pools_of_connections(
    pool: AsyncTransportPool[Session], lease: Lease[Session], text: str, number: int
) -> None:
    number = pool.acquire()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    async with pool.acquire() as text:  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        ...
    await lease.release()  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]
    pool.release(lease)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    lease.release(True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncTransportPool(connect)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    AsyncTransportPool(connect, close=Meter.report)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncTransportPool(connect, close=Session.aclose, check=Session.aclose)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Echoing(AsyncAgent[Prompt]):
    def __init__(self, name: str) -> None:
        self.name = name


async def agents_of_another_type(runtime: StructuredAgentRuntime, echo: ActorRef[Prompt], number: int) -> None:
    child(Echoing, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Echoing()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await runtime.start_agent(Echoing, 5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    echo.stream(Converse(text="?"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    number = await echo.ask(Prompt(text="?"))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    agent_group("g", Echoing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    agent_group("g", strategy="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(AIAgent, "openai:gpt")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(Meeting, [1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    child(Meeting, [echo], turns="round robin")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    runtime.agents.get("x", Said)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class ReadFile(MCPTool[str], tool="read_file"):
    path: str


class RemoteMeter(Remote[Observe]): ...


async def counterparts_elsewhere(
    files: ActorRef[ReadFile], runtime: StructuredAgentRuntime, server: StdioServer, number: int
) -> None:
    number = await files.ask(ReadFile(path="a"))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    await runtime.agents.get("files", MCPAgent).ask(Prompt(text="?"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(MCPAgent, server, tools=[Prompt])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    child(AIAgent, tools=["files"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    mcp_tools("files", dangerous=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child(RemoteAgent, "wss://host")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await runtime.agents.get("critic", RemoteAgent).ask(ReadFile(path="a"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await runtime.agents.get("meter", RemoteMeter).ask(Prompt(text="?"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
