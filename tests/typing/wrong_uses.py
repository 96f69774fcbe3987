"""Uses that both type checkers must refuse. Nothing here is run.

Each error is announced, with its code, by the comments that would silence it. The checkers report a comment that is not
needed, so an error that is no longer found is an error too.
"""

from __future__ import annotations

from concurrent.futures import Future

from understudy import Actor, ActorRef, ActorSystem, ChildSpec, Mailbox, Message, Supervisor, child, handler, supervisor


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
    meter.tell(Ping())
    meter.tell("five")
    await meter.send(Ping())
    meter.tell_threadsafe(Ping())
    await meter.ask(Ping())
    await meter.ask("five")
    meter.ask_threadsafe(Ping())


async def replies_of_another_type(meter: ActorRef[Observe | Total | Ping], text: str, number: int) -> None:
    text = await meter.ask(Observe(value=1))
    number = await meter.ask(Ping())
    text = await meter.ask(Total(), timeout=1.0)
    text = meter.tell(Ping())


def replies_of_another_type_from_a_thread(meter: ActorRef[Observe], future: Future[str]) -> None:
    future = meter.ask_threadsafe(Observe(value=1))


async def arguments_of_another_type(meter: ActorRef[Observe]) -> None:
    await meter.ask(Observe(value=1), timeout="soon")
    await meter.ask(Observe(value=1), 1.0)
    meter.tell(Observe(value=1), sender="me")


async def fields_of_another_type(meter: ActorRef[Observe | Total]) -> None:
    meter.tell(Observe(value="five"))
    meter.tell(Observe())


async def constructors(system: ActorSystem) -> None:
    child(Meter)
    child(Meter, 1)
    child(Meter, "north", "south")
    child(Meter, plaice="north")
    await system.spawn(Meter)
    await system.spawn(Meter, 1)
    await system.spawn(Meter, plaice="north")
    child(int)


class Host(Actor[Ping]):
    @handler
    async def ping(self, message: Ping) -> None:
        await self.context.spawn(Meter, 1)


def options() -> None:
    child(Meter, "north").options(nmae="north")
    child(Meter, "north").options(name=1)
    child(Meter, "north").options(restart="always")
    child(Meter, "north").options(shutdown="never")
    child(Meter, "north").options(mailbox="large")
    child(Meter, "north").options(start_timeout="soon")
    Mailbox(capacity=1, policy="drop")
    supervisor("top", child(Meter, "north"), strategy="one_for_nobody")
    supervisor("top", Meter)


class Nocturnal(Actor[Ping]):
    defaults = {"restart": "always"}

    @handler
    def ping(self, message: Ping) -> None: ...


class Owl(Actor[Ping]):
    defaults = {"restrat": "permanent"}

    @handler
    def ping(self, message: Ping) -> None: ...


class Meters(Supervisor):
    strategy = "one_for_nobody"
    max_restarts = "three"

    def children(self) -> list[ChildSpec]:
        return [Meter]


def who_accepts_less_for_who_accepts_more(
    observer: ActorRef[Observe], meter: ActorRef[Observe | Total], pinger: ActorRef[Ping]
) -> None:
    meter = observer
    pinger = observer


async def what_is_found_is_what_was_looked_for(system: ActorSystem, pinger: ActorRef[Ping]) -> None:
    pinger = system.lookup("meters/north", Meter)
    pinger = await system.spawn(Meter, "north")
    system.find("meters/north", Meter).tell(Total())
    system.lookup("meters/north", Observe)


def a_spec_is_one_of_its_actor(spec: ChildSpec[Ping]) -> None:
    spec = child(Meter, "north")


def trees() -> None:
    ActorSystem("meters")
    ActorSystem([child(Meter, "north")])
    ActorSystem(name=1)
    ActorSystem(settings={"ask_timeout": 1.0})
