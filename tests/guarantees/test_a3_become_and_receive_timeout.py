"""A3: `become` is reset by a restart; a receive timeout is one signal for each quiet period."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from tests.cast import Gate, settle
from understudy import Actor, ActorSystem, InvalidTimeout, Message, ReceiveTimeout, Unhandled, handler


class Knock(Message[str]): ...


class Turn(Message[str]): ...


class Fail(Message): ...


class Whisper(Message):
    resets_receive_timeout: ClassVar[bool] = False


class Hold(Message):
    gate: Any


class Tick: ...


class Door(Actor[Knock | Turn | Fail]):
    """Closed at first."""

    @handler
    def knock(self, message: Knock) -> str:
        return "closed"

    @handler
    def turn(self, message: Turn) -> str:
        self.context.become(self.opened)
        return "opens"

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError

    def opened(self, message: Any) -> Any:
        match message:
            case Knock():
                return "open"
            case Turn():
                self.context.become(self.guarded, keep=True)
                return "guarded"
            case Fail():
                raise ValueError
            case _:
                return self.handle_message(message)

    async def guarded(self, message: Any) -> str:
        await asyncio.sleep(0)
        if isinstance(message, Turn):
            assert self.context.unbecome()
            return "unguarded"
        return "guarded"


@pytest.mark.asyncio
async def test_another_behaviour_takes_the_messages_from_the_next_one_on() -> None:
    async with ActorSystem() as system:
        door = await system.spawn(Door)
        answers = [await door.ask(message) for message in (Knock(), Turn(), Knock(), Turn(), Knock(), Turn(), Knock())]
        assert answers == ["closed", "opens", "open", "guarded", "guarded", "unguarded", "open"]


@pytest.mark.asyncio
async def test_what_waits_in_the_same_burst_meets_the_new_behaviour() -> None:
    async with ActorSystem() as system:
        door = await system.spawn(Door)
        messages: list[Any] = [Knock(), Turn(), Knock(), Turn(), Knock(), Turn(), Knock()]
        answers = await asyncio.gather(*(door.ask(message) for message in messages))
        assert answers == ["closed", "opens", "open", "guarded", "guarded", "unguarded", "open"]


@pytest.mark.asyncio
async def test_a_restart_begins_with_the_handlers_of_the_class() -> None:
    async with ActorSystem() as system:
        door = await system.spawn(Door)
        await door.ask(Turn())
        await door.ask(Turn())
        await door.ask(Turn())
        door.tell(Fail())
        assert await door.ask(Knock()) == "closed"


@pytest.mark.asyncio
async def test_what_a_behaviour_does_not_want_is_unhandled() -> None:
    class Other(Message): ...

    async with ActorSystem() as system:
        door: Any = await system.spawn(Door)
        await door.ask(Turn())
        with pytest.raises(Unhandled):
            await door.ask(Other())
        assert await door.ask(Knock()) == "open"


@pytest.mark.asyncio
async def test_there_is_an_end_to_going_back() -> None:
    class Plain(Actor[Knock]):
        @handler
        def knock(self, message: Knock) -> str:
            return str(self.context.unbecome())

    async with ActorSystem() as system:
        assert await (await system.spawn(Plain)).ask(Knock()) == "False"


@pytest.mark.asyncio
async def test_an_actor_may_begin_with_another_behaviour() -> None:
    class Open(Door):
        def initialize(self) -> None:
            self.context.become(self.opened)

    async with ActorSystem() as system:
        assert await (await system.spawn(Open)).ask(Knock()) == "open"


class Sentry(Actor[Knock | Whisper | Hold | Fail]):
    """Writes down when it was quiet."""

    def __init__(self, quiet: list[float], seconds: float | None = 2.0) -> None:
        self.quiet = quiet
        self.seconds = seconds
        self.start = asyncio.get_running_loop().time() if not quiet else 0.0

    def initialize(self) -> None:
        self.context.receive_timeout(self.seconds)

    @handler
    def knock(self, message: Knock) -> str:
        return "here"

    @handler
    def whisper(self, message: Whisper) -> None: ...

    @handler
    async def hold(self, message: Hold) -> None:
        await message.gate.hold()

    @handler
    def fail(self, message: Fail) -> None:
        raise ValueError

    @handler
    def silence(self, signal: ReceiveTimeout) -> None:
        assert signal.seconds == self.seconds
        self.quiet.append(round(asyncio.get_running_loop().time(), 3))


@pytest.mark.asyncio
async def test_one_signal_comes_for_each_quiet_period_and_a_message_begins_the_next() -> None:
    quiet: list[float] = []
    async with ActorSystem() as system:
        start = asyncio.get_running_loop().time()
        sentry = await system.spawn(Sentry, quiet)
        await asyncio.sleep(1.5)
        await sentry.ask(Knock())
        await asyncio.sleep(1.9)
        assert quiet == []
        await asyncio.sleep(100)
        assert [round(when - start, 3) for when in quiet] == [3.5]
        await sentry.ask(Knock())
        await asyncio.sleep(100)
        assert len(quiet) == 2


@pytest.mark.asyncio
async def test_messages_that_say_so_do_not_end_the_quiet() -> None:
    quiet: list[float] = []
    async with ActorSystem() as system:
        sentry = await system.spawn(Sentry, quiet)
        for _ in range(5):
            await asyncio.sleep(0.5)
            sentry.tell(Whisper())
        await settle()
        assert len(quiet) == 1


@pytest.mark.asyncio
async def test_it_is_not_quiet_while_a_handler_works_and_the_period_begins_when_it_has_ended() -> None:
    quiet: list[float] = []
    async with ActorSystem() as system:
        start = asyncio.get_running_loop().time()
        sentry, gate = await system.spawn(Sentry, quiet), Gate()
        sentry.tell(Hold(gate=gate))
        await asyncio.sleep(10)
        assert quiet == []
        gate.open()
        await asyncio.sleep(50)
        assert [round(when - start, 1) for when in quiet] == [12.0]


@pytest.mark.asyncio
async def test_a_signal_that_waits_behind_a_message_is_not_true_any_more() -> None:
    quiet: list[float] = []

    class Sleepy(Sentry):
        @handler
        async def knock(self, message: Knock) -> str:  # type: ignore[override] - the same handler, but async
            self.context.receive_timeout(1.0)
            self.seconds = 1.0
            await asyncio.sleep(0)
            return "here"

    async with ActorSystem() as system:
        sentry = await system.spawn(Sleepy, quiet, None)
        await asyncio.sleep(10)
        assert quiet == []
        await sentry.ask(Knock())
        await asyncio.sleep(0.9)
        await sentry.ask(Knock())
        await asyncio.sleep(0.9)
        assert quiet == []


@pytest.mark.asyncio
async def test_a_restart_and_a_none_end_it() -> None:
    quiet: list[float] = []
    async with ActorSystem() as system:
        sentry = await system.spawn(Sentry, quiet)
        sentry.tell(Fail())
        await asyncio.sleep(10)
        assert len(quiet) == 1  # of the second incarnation, which has set one of its own
        with pytest.raises(InvalidTimeout):
            raise _refused(await _misuse(system))


async def _misuse(system: ActorSystem) -> list[BaseException]:
    caught: list[BaseException] = []

    class Wrong(Actor[Knock]):
        @handler
        def knock(self, message: Knock) -> str:
            try:
                self.context.receive_timeout(0)
            except InvalidTimeout as error:
                caught.append(error)
            return ""

    await (await system.spawn(Wrong)).ask(Knock())
    return caught


def _refused(caught: list[BaseException]) -> BaseException:
    (error,) = caught
    return error


@pytest.mark.asyncio
async def test_a_message_that_does_not_end_the_quiet_does_not_prevent_its_signal_by_taking_long() -> None:
    quiet: list[float] = []

    class Slow(Sentry):
        @handler
        async def whisper(self, message: Whisper) -> None:  # type: ignore[override] - the same handler, but async
            await asyncio.sleep(1.0)

    async with ActorSystem() as system:
        start = asyncio.get_running_loop().time()
        sentry = await system.spawn(Slow, quiet)
        await asyncio.sleep(1.5)
        sentry.tell(Whisper())
        await asyncio.sleep(50)
        assert [round(when - start, 1) for when in quiet] == [2.5]


@pytest.mark.asyncio
async def test_what_an_actor_sends_itself_does_not_prevent_the_signal_of_the_quiet_by_taking_long() -> None:
    quiet: list[float] = []

    class Ticking(Sentry):
        def initialize(self) -> None:
            super().initialize()
            self.context.timers.after("tick", 1.5, Tick())

        @handler
        async def _tick(self, message: Tick) -> None:
            await asyncio.sleep(1.0)

    async with ActorSystem() as system:
        start = asyncio.get_running_loop().time()
        sentry = await system.spawn(Ticking, quiet)
        await asyncio.sleep(50)
        assert [round(when - start, 1) for when in quiet] == [2.5]
        await sentry.ask(Knock())
        await asyncio.sleep(50)
        assert len(quiet) == 2
