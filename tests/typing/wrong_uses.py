"""Uses that both type checkers must refuse. Nothing here is run.

Each error is announced, with its code, by the comments that would silence it. The checkers report a comment that is not
needed, so an error that is no longer found is an error too.
"""

from __future__ import annotations

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


async def replies_of_another_type(meter: ActorRef[Observe | Total | Ping]) -> None:
    text: str = await meter.ask(Observe(value=1))
    number: int = await meter.ask(Ping())
    maybe: bool = await meter.send(Total())


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
    restart = "always"

    @handler
    def ping(self, message: Ping) -> None: ...


class Meters(Supervisor):
    strategy = "one_for_nobody"

    def children(self) -> list[ChildSpec]:
        return [Meter]


def who_accepts_less_for_who_accepts_more(observer: ActorRef[Observe]) -> None:
    meter: ActorRef[Observe | Total] = observer
    pinger: ActorRef[Ping] = observer


async def what_is_found_is_what_was_looked_for(system: ActorSystem) -> None:
    pinger: ActorRef[Ping] = system.lookup("meters/north", Meter)
    meter: ActorRef[Observe] = system.find("meters/north", Meter)
    spawned: ActorRef[Ping] = await system.spawn(Meter, "north")
    system.lookup("meters/north").tell(Ping())
    spec: ChildSpec[Ping] = child(Meter, "north")


def trees() -> None:
    ActorSystem(Meter)
    ActorSystem("meters")
