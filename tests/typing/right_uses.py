"""Uses that both type checkers accept, with the types that they infer. Nothing here is run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, Never, assert_type

from pydantic import BaseModel, ConfigDict

import understudy
from understudy import (
    Actor,
    ActorRef,
    ActorState,
    ActorStatistics,
    ActorSystem,
    Background,
    Broadcast,
    ChildInfo,
    Children,
    ChildSpec,
    Continue,
    CountDeadLetters,
    DeadLetter,
    Debug,
    ExitReason,
    Group,
    InHand,
    Instrument,
    Joined,
    Left,
    LoopBlocked,
    LoopLag,
    Mailbox,
    Message,
    Monitor,
    Name,
    Pool,
    Registered,
    Registry,
    ReplayDeadLetters,
    Reply,
    Router,
    ScatterGather,
    Settings,
    Stream,
    StreamMessage,
    SubscribeDeadLetters,
    Supervisor,
    SupervisorRef,
    Terminated,
    Traced,
    TraceEvent,
    UnderstudyError,
    Unregistered,
    Via,
    ask_many,
    child,
    detached,
    handler,
    supervisor,
    worker_pool,
)
from understudy._tree import Tree
from understudy.agents import (
    CONVERSATION,
    Agents,
    AIAgent,
    AnyOf,
    ApprovalOpened,
    ApprovalRequest,
    Approvals,
    AsyncAgent,
    AsyncProgram,
    Attendee,
    AwaitEnd,
    Budget,
    CallbackEndpoint,
    ChangeState,
    CloseMeeting,
    Contribute,
    Converse,
    Decide,
    Decision,
    DeliveryGap,
    GetMeeting,
    GiveFloor,
    HumanAgent,
    HumanEndpoint,
    Invitation,
    Join,
    Leave,
    ListOffers,
    MCPAgent,
    MCPTool,
    Meeting,
    MeetingEnded,
    MeetingMessage,
    MeetingNews,
    MeetingRules,
    MeetingView,
    Minute,
    ModelEvent,
    ModelRequest,
    ModelText,
    ModelUsage,
    ModeratorChooses,
    ProgramReport,
    Prompt,
    QuestionOpened,
    Remote,
    RemoteAgent,
    RequestTurn,
    Resolution,
    RoundRobin,
    Rsvp,
    Said,
    Say,
    Seat,
    Spoken,
    Structured,
    StructuredAgentRuntime,
    Table,
    TerminalEndpoint,
    ToolOffer,
    ToolPins,
    TurnDecision,
    YourTurn,
    agent_group,
    mcp_tools,
    tool,
)
from understudy.events import (
    ActorCrashedEvent,
    AsyncEventBus,
    BusStatistics,
    CountEvents,
    Event,
    EventGap,
    EventStream,
    Outcome,
    Published,
    Subscription,
)
from understudy.transports import AsyncTransportPool, CloseReason, Lease, PoolSettings, PoolStatistics
from understudy.transports.mcp import (
    CallTool,
    CallToolProgress,
    ExposedTool,
    HttpBinding,
    HttpServer,
    ListTools,
    MCPHttpService,
    MCPSession,
    MCPSessionMessage,
    StdioServer,
    ToolInfo,
    ToolProgress,
    ToolResult,
    Tools,
    WhereServed,
    description_hash,
    expose,
)
from understudy.transports.mcp import Ping as MCPPing
from understudy.transports.mcp import tool as mcp_tool

# --- The first example of the README ----------------------------------------------------------------------------------


class Observe(Message[int]):  # a frozen pydantic model; an ask of it returns an int
    value: int


class Total(Message[int]): ...


class Meter(Actor[Observe | Total]):
    def __init__(self, place: str) -> None:
        self.place, self.total = place, 0

    @handler
    def observe(self, message: Observe) -> int:
        self.total += message.value
        return self.total

    @handler
    async def report(self, message: Total) -> int:
        return self.total


class Meters(Supervisor):
    strategy = "one_for_one"
    max_restarts, max_seconds = 3, 5.0

    def children(self) -> list[ChildSpec]:
        return [
            child(Meter, "north").options(name="north"),
            child(Meter, "south").options(name="south", restart="transient", shutdown=2.0),
        ]


async def main() -> None:
    async with ActorSystem(Meters) as system:
        north = system.lookup("meters/north", Meter)
        assert_type(north, ActorRef[Observe | Total])
        print(await north.ask(Observe(value=5)))
        north.tell(Observe(value=3))
        print(system.tree())


def run_the_example() -> None:
    understudy.run(main())


async def answer() -> int:
    return 42


def run_gives_what_the_coroutine_returns() -> None:
    assert_type(understudy.run(answer()), int)


# --- Messages and replies ---------------------------------------------------------------------------------------------


class Ping(Message): ...


class Names(Message[tuple[str, ...]]):
    prefix: str = ""


class Find(Message[str | None]):
    name: str


class Book(Actor[Names | Find | Ping | str]):
    @handler
    def names(self, message: Names) -> tuple[str, ...]:
        return (message.prefix,)

    @handler
    async def find(self, message: Find) -> str | None:
        return message.name or None

    @handler
    def ping(self, message: Ping) -> None: ...

    @handler
    def text(self, message: str) -> None:
        self.log.info("text", text=message)


async def a_reply_has_the_type_that_the_message_says(book: ActorRef[Names | Find | Ping | str]) -> None:
    assert_type(await book.ask(Names()), tuple[str, ...])
    assert_type(await book.ask(Find(name="a"), timeout=1.0), str | None)
    assert_type(await book.ask(Find(name="a"), timeout=math.inf), str | None)
    assert_type(book.ask_threadsafe(Names(), timeout=1.0), concurrent.futures.Future[tuple[str, ...]])


async def a_bare_message_is_answered_with_none(book: ActorRef[Ping]) -> None:
    assert_type(book.ask_threadsafe(Ping()), concurrent.futures.Future[None])
    assert_type(Ping()._understudy_reply(), None)  # pyright: ignore[reportPrivateUsage]
    await book.ask(Ping())


async def any_object_may_be_told(book: ActorRef[Names | Find | Ping | str]) -> None:
    assert_type(book.tell("a text"), bool)
    assert_type(book.tell(Ping(), sender=book), bool)
    assert_type(await book.send("a text", timeout=1.0), None)
    book.tell_threadsafe("a text")


# --- Refs -------------------------------------------------------------------------------------------------------------


async def a_ref_knows_how_to_end_its_actor(meter: ActorRef[Observe]) -> None:
    assert_type(meter.stop(), None)
    assert_type(meter.drain(), None)
    assert_type(meter.drain(timeout=2.0), None)
    assert_type(meter.kill(), None)
    assert_type(await meter.wait_stopped(timeout=1.0), ExitReason)
    assert_type(meter.path, str)
    assert_type(meter.uid, int)


class Forward(Message):
    """A ref may travel in a message, and says there too what it accepts."""

    to: ActorRef[Observe]


async def who_accepts_more_may_stand_for_who_accepts_less(meter: ActorRef[Observe | Total]) -> None:
    Forward(to=meter)
    observers: Sequence[ActorRef[Observe]] = [meter, *as_observers(meter)]
    assert_type(await observers[0].ask(Observe(value=1)), int)


def as_observers(*observers: ActorRef[Observe]) -> tuple[ActorRef[Observe], ...]:
    return observers


# --- Declaring and starting -------------------------------------------------------------------------------------------


class Clock(Actor[Ping]):
    defaults = {"restart": "transient", "shutdown": "infinity", "mailbox": 100, "start_timeout": 2.0}

    @handler
    async def ping(self, message: Ping) -> None: ...


def a_child_is_declared_with_its_constructors_arguments() -> list[ChildSpec]:
    assert_type(child(Meter, "north"), ChildSpec[Observe | Total])
    assert_type(child(Meter, place="north").options(name="north"), ChildSpec[Observe | Total])
    return [
        child(Meter, place="north"),
        child(Book).options(restart="permanent", shutdown="infinity", mailbox=10, start_timeout=1.0),
        child(Book).options(restart="temporary", shutdown="brutal_kill", mailbox=math.inf),
        child(Clock).options(mailbox=Mailbox(capacity=100, policy="block")),
        supervisor("inner", child(Book), child(Clock), strategy="one_for_one", max_restarts=1, max_seconds=2.0),
    ]


async def what_is_spawned_accepts_what_its_class_handles(system: ActorSystem) -> None:
    assert_type(await system.spawn(Meter, "east"), ActorRef[Observe | Total])
    assert_type(await system.spawn(Meter, place="east"), ActorRef[Observe | Total])
    assert_type(await system.spawn(child(Meter, "west").options(name="west")), ActorRef[Observe | Total])
    assert_type(system.lookup("/user/book", Book), ActorRef[Names | Find | Ping | str])
    assert_type(system.find("west", Meter), ActorRef[Observe | Total] | None)
    assert_type(system.lookup("west"), ActorRef[Any])
    assert_type(system.find("west"), ActorRef[Any] | None)


class Host(Actor[Names]):
    async def initialize(self) -> None:
        self.guest = await self.context.spawn(Meter, "inside")
        assert_type(self.guest, ActorRef[Observe | Total])
        assert_type(await self.context.spawn(child(Book).options(name="book")), ActorRef[Names | Find | Ping | str])
        assert_type(await self.context.system.spawn(Meter, "beside"), ActorRef[Observe | Total])
        assert_type(self.context.system.lookup("meters/north", Meter), ActorRef[Observe | Total])

    @handler
    async def names(self, message: Names) -> tuple[str, ...]:
        assert_type(self.context.path, str)
        return (str(await self.guest.ask(Total())),)

    async def shutdown(self, reason: ExitReason) -> None:
        self.log.info("shutdown", reason=reason)


class Anything(Actor[object]):
    """Hooks may be plain functions, and `handle_message` takes what no handler does."""

    def initialize(self) -> None: ...

    def handle_message(self, message: object) -> None: ...


class Letters(Actor[DeadLetter]):
    @handler
    def letter(self, message: DeadLetter) -> None: ...


async def dead_letters_are_counted_told_and_told_again(system: ActorSystem, letters: ActorRef[DeadLetter]) -> None:
    assert_type(await system.dead_letters.ask(CountDeadLetters()), int)
    assert_type(await system.dead_letters.ask(SubscribeDeadLetters(subscriber=letters)), None)
    assert_type(await system.dead_letters.ask(ReplayDeadLetters(to=letters)), int)
    ReplayDeadLetters(to=letters, recipient="/user/meters/north", kind=Observe)


def leftovers_go_to_a_function(left: list[DeadLetter]) -> None:
    def save(letters: Sequence[DeadLetter]) -> int:
        left.extend(letters)
        return len(left)

    child(Clock).options(leftovers=save)
    child(Clock).options(leftovers=left.extend)


async def a_system_takes_a_tree_of_any_kind() -> None:
    async with ActorSystem() as system:
        assert_type(system, ActorSystem)
        assert_type(system.name, str)
        assert_type(system.tree().mermaid(), str)
        assert_type(system.tree().json(), str)
    async with ActorSystem(child(Clock), name="clock", settings=Settings(ask_timeout=1.0)):
        pass
    async with ActorSystem(supervisor("top", child(Clock))):
        pass
    async with ActorSystem(Clock):
        pass


class Sections(Supervisor):
    max_restarts = 5


async def supervisors_have_refs_of_their_own(system: ActorSystem) -> None:
    sections = system.lookup("sections", Sections)
    assert_type(sections, SupervisorRef[Never])
    assert_type(system.find("sections", Sections), SupervisorRef[Never] | None)
    assert_type(await system.spawn(Sections), SupervisorRef[Never])
    assert_type(await sections.start_child(Meter, "north"), ActorRef[Observe | Total])
    assert_type(await sections.start_child(child(Meter, "north").options(name="north")), ActorRef[Observe | Total])
    assert_type(await sections.restart_child("north"), ActorRef[Any])
    assert_type(await sections.which_children(), list[ChildInfo])
    assert_type((await sections.count_children()).active, int)
    assert_type(await sections.get_childspec("north"), ChildSpec[Any])


class Watcher(Actor[Ping]):
    def initialize(self) -> Continue | None:
        self.monitor = self.context.watch(self.context.ref)
        return Continue(Ping())

    @handler
    def ping(self, message: Ping) -> None:
        assert_type(self.monitor, Monitor)
        self.context.unwatch(self.monitor)

    @handler
    def ended(self, news: Terminated) -> None:
        assert_type(news.reason, ExitReason)

    @handler
    def many(self, messages: list[Ping]) -> None:
        """A burst."""


async def actors_are_found_with_their_types(system: ActorSystem, north: ActorRef[Observe | Total]) -> None:
    assert_type(system.registry, Registry)
    assert_type(system.registry.lookup("north"), ActorRef[Any])
    assert_type(system.registry.lookup("north", Meter), ActorRef[Observe | Total])
    assert_type(system.registry.find("north", Meter), ActorRef[Observe | Total] | None)
    assert_type(Via(system.registry, "north"), Via[Any])
    assert_type(Via(system.registry, "north", Meter), Via[Observe | Total])
    assert_type(Name(system, "meters/north", Meter), Name[Observe | Total])
    assert_type(await Name(system, "meters/north", Meter).ask(Observe(value=1)), int)
    group = system.groups.group("meters", Meter)
    assert_type(group, Group[Observe | Total])
    group.join(north)
    router = Router(system, group)
    assert_type(router, Router[Observe | Total])
    assert_type(await router.ask(Observe(value=1)), int)
    assert_type(Router(system, [north]), Router[Observe | Total])
    assert_type(Router(system, Children(north, Meter)), Router[Observe | Total])
    assert_type(await ScatterGather(system, group).ask(Observe(value=1)), int)
    assert_type(await Broadcast(system, group).ask(Observe(value=1)), list[int | UnderstudyError])


class Ear(Actor[Registered | Unregistered | Joined | Left]):
    def initialize(self) -> None:
        self.context.register(("ear", 1), value=1)
        self.context.join("ears")
        self.context.system.registry.listen(self.context.ref)

    @handler
    def entry(self, event: Registered | Unregistered) -> None: ...

    @handler
    def member(self, event: Joined | Left) -> None: ...


async def listeners_take_what_they_get(system: ActorSystem) -> None:
    ear = await system.spawn(Ear)
    system.registry.listen(ear)
    system.registry.listen(print)
    assert_type(system.groups.subscribe(ear, "ears"), tuple[ActorRef[Any], ...])


async def a_pool_is_used_like_a_ref(system: ActorSystem) -> None:
    pool = Pool(await system.spawn(worker_pool("pool", child(Meter, "north"), workers=2)), Meter)
    assert_type(pool, Pool[Observe | Total])
    assert_type(await pool.ask(Observe(value=1)), int)
    assert_type(pool.refs, tuple[ActorRef[Observe | Total], ...])
    meter: ActorRef[Observe] = pool
    meter.tell(Observe(value=1))
    Router(system, pool)


# --- Debugging verbs --------------------------------------------------------------------------------------------------


class Gauge(Meter):
    """Another meter."""


def of_a_meter(old: Meter) -> dict[str, int]:
    return {"total": old.total}


async def verbs_say_what_they_return(meter: ActorRef[Observe], tracer: ActorRef[Traced]) -> None:
    assert_type(meter.debug, Debug)
    state = meter.debug.get_state()
    assert_type(state, ActorState)
    assert_type(state.in_hand, tuple[InHand, ...])
    assert_type(state.state, Mapping[str, Any])
    assert_type(meter.debug.statistics(), ActorStatistics)
    assert_type(meter.debug.statistics().up_since, float | None)
    assert_type(meter.debug.suspend(), None)
    assert_type(meter.debug.resume(), None)
    assert_type(meter.debug.trace(tracer), None)
    assert_type(meter.debug.trace(None), None)
    assert_type(await meter.debug.replace_state(lambda state: {**state, "total": 0}, timeout=1.0), Mapping[str, Any])
    await meter.debug.replace_behaviour(Gauge)
    await meter.debug.replace_behaviour(Gauge, of_a_meter, timeout=math.inf)


class Tracer(Actor[Traced]):
    @handler
    def traced(self, message: Traced) -> None:
        assert_type(message.event, TraceEvent)
        assert_type(message.detail, object)


# --- Promised replies, many asks, streams -----------------------------------------------------------------------------


class Tokens(StreamMessage[str]):
    prompt: str = ""


class Model(Actor[Tokens | Total | Ping]):
    @handler
    async def tokens(self, message: Tokens) -> AsyncIterator[str]:
        yield message.prompt

    @handler(cancellable=True)
    async def total(self, message: Total) -> Reply[int]:
        assert_type(self.context.reply_later(), Reply[Any])
        reply = self.context.reply_later(message)
        assert_type(reply, Reply[int])
        assert_type(reply.send(5), bool)
        assert_type(reply.fail(ValueError()), bool)
        return reply

    @handler()
    def ping(self, message: Ping) -> None: ...


async def a_decorated_handler_keeps_its_type(model: Model) -> None:
    assert_type(await model.total(Total()), Reply[int])
    assert_type(model.tokens(Tokens()), AsyncIterator[str])


async def the_parts_of_a_stream_have_the_type_that_the_message_says(model: ActorRef[Tokens | Total | Ping]) -> None:
    parts: AsyncIterator[str] = model.stream(Tokens(prompt="a"))
    async for part in parts:
        assert_type(part, str)
    stream = model.stream(Tokens(), timeout=1.0, buffer=2)
    assert_type(stream, Stream[str])
    async with stream as entered:
        assert_type(entered, Stream[str])
        assert_type(await anext(entered), str)
    model.tell(Ping())


async def many_are_asked_at_once(meters: list[ActorRef[Observe | Total]], book: ActorRef[Find]) -> None:
    results = await ask_many(meters, Total(), timeout=1.0)
    assert_type(results, list[int | UnderstudyError])
    assert_type([each for each in results if not isinstance(each, UnderstudyError)], list[int])
    assert_type(await ask_many([(meters[0], Total()), (meters[1], Total())]), list[int | UnderstudyError])
    assert_type(await ask_many([(book, Find(name="a"))]), list[str | UnderstudyError | None])
    with detached():
        assert_type(await meters[0].ask(Total()), int)


async def the_lag_of_the_event_loop_is_known_if_it_is_watched(system: ActorSystem) -> None:
    lag = system.loop_lag()
    assert_type(lag, LoopLag | None)
    if lag is not None:
        assert_type((lag.last, lag.p99), tuple[float, float])
        assert_type((lag.looks, lag.blocked), tuple[int, int])


class Listens(Instrument):
    def loop_blocked(self, report: LoopBlocked) -> None:
        assert_type(report.actor, str | None)
        assert_type(report.seconds, float)


def a_watchdog_is_a_setting() -> None:
    Settings(watchdog=0.1)
    Settings(watchdog=None)


# --- Into other programs ----------------------------------------------------------------------------------------------


async def a_system_is_started_and_closed(system: ActorSystem) -> None:
    assert_type(await system.start(), ActorSystem)
    assert_type(await system.aclose(), None)


def what_is_called_in_the_background_keeps_its_type(background: Background) -> None:
    async def later(number: int, *, name: str) -> list[str]:
        return [name] * number

    with background as entered:
        assert_type(entered, Background)
    assert_type(background.system, ActorSystem)
    assert_type(background.call(later, 3, name="a"), list[str])
    assert_type(background.call(len, "a text"), int)
    assert_type(background.call(background.system.tree), Tree)
    assert_type(background.call(lambda: background.system.spawn(Book)), ActorRef[Names | Find | Ping | str])
    assert_type(background.call(lambda: background.system.lookup("book", Book)), ActorRef[Names | Find | Ping | str])


# --- Events -----------------------------------------------------------------------------------------------------------


class OrderPaid(Event):
    cents: int = 0


class PaidLate(OrderPaid): ...


class Till(Actor[OrderPaid]):
    @handler
    def paid(self, event: OrderPaid) -> None: ...


def ship(event: OrderPaid) -> None: ...


async def book(event: OrderPaid) -> str:
    return "booked"


def gaps_too(event: OrderPaid | EventGap) -> None: ...


def anything(event: Event) -> int:
    return event.sequence


async def events_are_subscribed_to(bus: AsyncEventBus, till: ActorRef[OrderPaid]) -> None:
    assert_type(bus.subscribe(OrderPaid, ship), Subscription)
    bus.subscribe(PaidLate, ship, mailbox=10, on_error=3)
    bus.subscribe(OrderPaid, book, mailbox=Mailbox(capacity=5), on_error=till)
    bus.subscribe(OrderPaid, gaps_too, after=0)
    bus.subscribe(OrderPaid, anything)
    bus.subscribe(OrderPaid, lambda event: event.cents)
    bus.subscribe(OrderPaid, till)
    bus.subscribe(PaidLate, till)
    bus.subscribe("*", anything)
    bus.subscribe("*", till)
    bus.subscribe(lambda event: event.sequence % 2, anything, on_error="keep")
    with bus.subscribe(ActorCrashedEvent, lambda event: print(event.path, event.reason)) as subscription:
        assert_type(subscription, Subscription)
        assert_type((subscription.failures, subscription.refused, subscription.active), tuple[int, int, bool])
    assert_type(bus.subscriber_count(OrderPaid), int)
    assert_type(bus.subscriber_count("*"), int)
    bus.clear(lambda event: True)


async def events_are_published_and_read(system: ActorSystem) -> None:
    bus = system.events
    assert_type(bus, AsyncEventBus)
    assert_type(bus.publish_nowait(PaidLate()), PaidLate)
    published = await bus.publish(OrderPaid(cents=5), timeout=1.0)
    assert_type(published, Published[OrderPaid])
    assert_type(published.event.cents, int)
    for outcome in published.outcomes:
        assert_type(outcome, Outcome)
        assert_type(outcome.status, Literal["handled", "failed", "refused", "queued", "pending"])
        assert_type(outcome.error, BaseException | None)
    assert_type(await bus.wait_for(OrderPaid), OrderPaid)
    assert_type(await bus.wait_for(OrderPaid, lambda event: event.cents > 5, timeout=2.0), OrderPaid)
    with bus.stream(OrderPaid) as stream:
        assert_type(stream, EventStream[OrderPaid])
        async for event in stream:
            assert_type(event, OrderPaid)
    async for late in bus.stream(OrderPaid, after=5):
        assert_type(late, OrderPaid | EventGap)
    assert_type(await bus.ref.ask(CountEvents()), BusStatistics)


async def a_bus_stands_alone() -> None:
    async with AsyncEventBus("session-1", keep=10) as bus:
        assert_type(bus, AsyncEventBus)
        assert_type(bus.session_id, str)
        await bus.close(drain=False, timeout=None)


class Served(Message[int]):
    number: int


class ServedInParts(StreamMessage[str]): ...


async def mcp_sessions_answer_with_values(
    session: ActorRef[MCPSessionMessage], actor: ActorRef[Served | ServedInParts | Message[None]]
) -> None:
    assert_type(await session.ask(CallTool(name="add", arguments={"a": [1, None]}), timeout=1.0), ToolResult)
    assert_type(await session.ask(ListTools()), tuple[ToolInfo, ...])
    assert_type(await session.ask(MCPPing()), None)
    async for part in session.stream(CallToolProgress(name="add")):
        assert_type(part, ToolProgress | ToolResult)
    assert_type(expose(actor, Served, ServedInParts), tuple[ExposedTool, ...])
    assert_type(mcp_tool(actor, Served, name="serve", call_timeout=1.0), ExposedTool)
    assert_type(description_hash((await session.ask(ListTools()))[0]), str)


async def mcp_services_are_actors(system: ActorSystem, tools: Tools) -> None:
    service = await system.spawn(MCPHttpService, tools, HttpBinding(token="x" * 16))
    assert_type(await service.ask(WhereServed()), str)
    assert_type(await system.spawn(MCPSession, StdioServer("server", ("-v",))), ActorRef[MCPSessionMessage])
    assert_type(child(MCPSession, HttpServer("https://example.org")), ChildSpec[MCPSessionMessage])


# --- Pools of connections ---------------------------------------------------------------------------------------------


class Session:
    async def query(self, text: str) -> int:
        return len(text)

    async def is_alive(self) -> bool:
        return True

    async def aclose(self) -> None: ...
    def close(self) -> None: ...


async def connect() -> Session:
    return Session()


async def pools_of_connections() -> None:
    async with AsyncTransportPool(connect, close=Session.aclose, check=Session.is_alive) as pool:
        assert_type(pool, AsyncTransportPool[Session])
        async with pool.acquire() as session:
            assert_type(session, Session)
        async with pool.acquire(timeout=1) as session:
            assert_type(await session.query("one"), int)
        lease = await pool.acquire(timeout=math.inf)
        assert_type(lease, Lease[Session])
        assert_type(lease.connection, Session)
        lease.release(broken=True)
        assert_type(pool.statistics(), PoolStatistics)
        assert_type(pool.statistics().closed_by, Mapping[CloseReason, int])
        pool.resize(3, min_idle=1)
        await pool.drain(timeout=5)
    other = AsyncTransportPool(
        Session, close=Session.close, check=lambda session: True, settings=PoolSettings(max_size=2)
    )
    assert_type(other, AsyncTransportPool[Session])
    await other.close(timeout=0)


# --- Agents -----------------------------------------------------------------------------------------------------------


class Verdict(BaseModel):
    good: bool


class Judge(Structured[Verdict]): ...


class Count(Structured[int]): ...


class Echoing(AsyncAgent[Prompt | Say]):
    def __init__(self, name: str, *, loud: bool = False) -> None:
        self.name = name

    @handler
    def answer(self, message: Prompt) -> Said:
        assert_type(self.agents, Agents)
        return Said(text=message.text, speaker=self.id)

    @handler
    def hear(self, message: Say) -> None:
        self.end_program()


@tool
async def search(query: str) -> list[str]:
    return [query]


class Research(AsyncProgram):
    def agents(self) -> Sequence[ChildSpec]:
        return [child(Echoing, "a"), agent_group("g", child(AIAgent), child(Echoing, "b", loud=True))]


class Careful:
    async def decide(self, request: ApprovalRequest) -> Decision:
        return Decision(status="approved")


class Parrot:
    name = "parrot"
    provider = "birds"
    max_tokens = 10

    async def respond(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield ModelText(text="hello")

    def count(self, request: ModelRequest) -> int:
        return 1

    def price(self, usage: ModelUsage) -> float:
        return 0.0


class Window:
    async def run(self, seat: Seat) -> None:
        async for delivery in seat.read(after=3):
            match delivery:
                case QuestionOpened():
                    assert_type(delivery.number, int)
                    seat.answer(delivery.number, "yes")
                case ApprovalOpened():
                    assert_type(await seat.decide(delivery.number, approve=True), Resolution)
                case DeliveryGap():
                    assert_type(delivery.waiting, tuple[QuestionOpened | ApprovalOpened, ...])
                case _:
                    assert_type(delivery.cursor, int)
        assert_type(await seat.say("hello"), int)
        assert_type(seat.start_task(seat.interrupt(), name="x"), asyncio.Task[bool])


async def answered(question: QuestionOpened) -> str | None:
    return question.text


async def people(system: ActorSystem) -> None:
    endpoint: HumanEndpoint = Window()
    for each in (endpoint, TerminalEndpoint(["hi"], interactive=False), CallbackEndpoint(answered), None):
        human = await system.spawn(HumanAgent, each, to=Echoing, delivery="targeted")
        assert_type(await human.ask(Prompt(text="?")), Said)
        human.tell(Say(text="!"))
    child(HumanAgent, to="desk/clerk", ends_program=True)


async def agents(ai: ActorRef[Prompt | Say | Converse | Judge | Count], runtime: StructuredAgentRuntime) -> None:
    assert_type(await ai.ask(Prompt(text="?")), Said)
    assert_type(await ai.ask(Judge(text="?")), Verdict)
    assert_type(await ai.ask(Count(text="?")), int)
    assert_type(ai.stream(Converse(text="?")), Stream[Spoken])
    async with Echoing("alone", loud=True) as alone:
        assert_type(alone, ActorRef[Prompt | Say])
        assert_type(await alone.ask(Prompt(text="?")), Said)
    spawned = await runtime.system.spawn(AIAgent, Parrot(), tools=[search], approver=Careful(), budget=Budget(calls=1))
    assert_type(await spawned.ask(Judge(text="?")), Verdict)
    assert_type(runtime.agents.get("x", Echoing), ActorRef[Prompt | Say])
    assert_type(runtime.agents.find("x", Echoing), ActorRef[Prompt | Say] | None)
    assert_type(runtime.agents.of(Echoing), tuple[ActorRef[Prompt | Say], ...])
    anybody = runtime.agents.any_of(child(Echoing, "c"))
    assert_type(anybody, AnyOf[Prompt | Say])
    assert_type(await anybody.ask(Prompt(text="?")), Said)
    assert_type(await runtime.start_agent(Echoing, "d", loud=True), ActorRef[Prompt | Say])
    assert_type(await runtime.start_agent(child(Echoing, "d")), ActorRef[Prompt | Say])
    assert_type(await Research().run(), ProgramReport)
    approvals = runtime.system.lookup("approvals", Approvals)
    assert_type(await ask_approvals(approvals), Resolution)


class Sheet(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str = ""


class Backwards:
    def next(self, table: Table) -> TurnDecision:
        return GiveFloor(table.members[-1]) if table.members else CloseMeeting("nobody")


class Invited(AsyncAgent[Invitation | YourTurn | MeetingNews]):
    @handler
    def invited(self, message: Invitation) -> Rsvp:
        assert_type(message.meeting, ActorRef[Any])
        return Rsvp()

    @handler
    async def speak(self, message: YourTurn) -> Said:
        await message.meeting.ask(ChangeState(changes={"title": "x"}))
        return Said(text="y")

    @handler
    def news(self, message: MeetingNews) -> None:
        assert_type(message.minutes, tuple[Minute, ...])


async def meet(system: ActorSystem, ann: ActorRef[Prompt | Say], bob: ActorRef[Invitation | YourTurn]) -> None:
    rules = MeetingRules(quorum=2, turn_seconds=5.0)
    meeting = await system.spawn(
        Meeting, [ann, Attendee(bob, required=False), "team/cid"], rules=rules, turns=Backwards(), state=Sheet()
    )
    assert_type(meeting, ActorRef[MeetingMessage])
    assert_type(await meeting.ask(Join()), MeetingView)
    assert_type(await meeting.ask(Leave(why="late")), None)
    assert_type(await meeting.ask(RequestTurn()), int)
    assert_type(await meeting.ask(Contribute(text="x")), int)
    assert_type(await meeting.ask(ChangeState(changes={}, based_on=1)), int)
    assert_type(await meeting.ask(GetMeeting()), MeetingView)
    assert_type(await meeting.ask(AwaitEnd()), MeetingEnded)
    await system.spawn(child(Meeting, ["a", "b"], turns=RoundRobin(2)).options(name="round"))
    await system.spawn(Meeting, [ann], turns=ModeratorChooses("ann"))


async def ask_approvals(approvals: ActorRef[Decide]) -> Resolution:
    return await approvals.ask(Decide(number=1, approve=True, by="nina"))


# --- Agents whose counterparts are elsewhere --------------------------------------------------------------------------


class ReadFile(MCPTool[str], tool="read_file"):
    path: str


class ListFiles(MCPTool[list[str]]): ...


class WholeAnswer(MCPTool, tool="read_file"):
    path: str
    lines: int | None = None


class RemoteMeter(Remote[Observe | Total]): ...


async def counterparts_elsewhere(system: ActorSystem) -> None:
    server = StdioServer("files-server")
    files = await system.spawn(MCPAgent, server, tools=[ReadFile, ListFiles], pins=ToolPins(), id="files")
    assert_type(await files.ask(ReadFile(path="a")), str)
    assert_type(await files.ask(ListFiles()), list[str])
    assert_type(await files.ask(WholeAnswer(path="a")), ToolResult)
    assert_type(await files.ask(CallTool(name="x")), ToolResult)
    assert_type(await files.ask(ListOffers()), tuple[ToolOffer, ...])
    child(MCPAgent, {"command": "files-server"}, pins={"x": "sha256:..."}, session={"max_restarts": 5})
    await system.spawn(AIAgent, Parrot(), tools=[search, mcp_tools("files", only=["x"], dangerous=True)])
    await system.listen(messages=[*CONVERSATION, Judge])
    critic = await system.spawn(RemoteAgent, "wss://host", id="critic", token="x")
    assert_type(await critic.ask(Prompt(text="?")), Said)
    assert_type(await critic.ask(Judge(text="?")), Verdict)
    assert_type(critic.stream(Converse(text="?")), Stream[Spoken])
    meter = await system.spawn(child(RemoteMeter, "wss://host", id="meter", token="x"))
    assert_type(await meter.ask(Total()), int)
    assert_type(
        Agents(system).get("files", MCPAgent).stream(CallToolProgress(name="x")), Stream[ToolProgress | ToolResult]
    )
