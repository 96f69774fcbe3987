from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cast import Holder, Note
from understudy import (
    Actor,
    ActorNotFound,
    ActorRef,
    ExitReason,
    InvalidContext,
    InvalidSpec,
    InvalidTimeout,
    MailboxFull,
    Message,
    NameTaken,
    Normal,
    Refused,
    Reply,
    Shutdown,
    StreamMessage,
    Supervisor,
    Unhandled,
    child,
    handler,
)
from understudy.testing import FakeRef, Told, unit


class Observe(Message[int]):
    value: int


class Total(Message[int]): ...


class Subscribe(Message):
    who: ActorRef[Any]


class Enough(Message): ...


class Tick:
    pass


class Meter(Actor[Observe | Total | Subscribe | Enough]):
    """Uses most of what a context has."""

    def __init__(self, place: str, *, limit: int = 10) -> None:
        self.place, self.limit, self.total = place, limit, 0
        self.listeners: list[ActorRef[Any]] = []
        self.life: list[str] = []

    async def initialize(self) -> None:
        self.life.append(f"up at {self.context.path}")

    def shutdown(self, reason: ExitReason) -> None:
        self.life.append(f"down: {reason}")

    @handler
    def observe(self, message: Observe) -> int:
        if message.value < 0:
            raise Refused("negative")
        self.total += message.value
        for listener in self.listeners:
            listener.tell(message, sender=self.context.ref)
        if self.total > self.limit:
            self.context.tell_self(Tick())
        return self.total

    @handler
    async def report(self, message: Total) -> int:
        others = [await each.ask(message) for each in self.listeners]
        return self.total + sum(others)

    @handler
    async def subscribe(self, message: Subscribe) -> None:
        self.listeners.append(message.who)
        self.log.info("subscribed", who=message.who.path)
        if self.context.sender is not None:
            await self.context.sender.send(Enough())

    @handler
    async def enough(self, message: Enough) -> None:
        await self.context.spawn(Meter, "inner")
        self.listeners[0].stop()
        self.context.stop()

    @handler
    def _tick(self, message: Tick) -> None:
        self.total = 0


def test_handlers_are_plain_methods_of_a_typed_actor() -> None:
    u = unit(Meter, "north", limit=5)
    assert isinstance(u.actor, Meter)
    assert (u.actor.place, u.actor.limit) == ("north", 5)
    assert u.actor.observe(Observe(value=3)) == 3
    assert u.actor.observe(Observe(value=4)) == 7
    assert u.told_self != []
    with pytest.raises(Refused):
        u.actor.observe(Observe(value=-1))
    u.actor._tick(u.told_self[0])
    assert u.actor.total == 0
    assert u.told == []


def test_what_is_told_is_written_down_in_order_with_its_sender() -> None:
    u = unit(Meter, "north")
    ear, other = u.ref("ear"), u.ref("/user/deep/ear")
    u.actor.listeners += [ear, other]
    u.actor.observe(Observe(value=3))
    me = u.context.ref
    assert u.told == [Told(ear, Observe(value=3), me), Told(other, Observe(value=3), me)]
    assert [told.to.path for told in u.told] == ["/user/ear", "/user/deep/ear"]
    assert me.path == "/user/meter"


def test_a_fake_ref_is_a_ref_and_can_be_part_of_a_message() -> None:
    u = unit(Meter, "north")
    ear = u.ref("ear")
    assert isinstance(ear, ActorRef)
    assert Subscribe(who=ear).who is ear
    assert u.ref("/user/ear") is ear
    assert ear != u.ref("other")
    assert len({ear, u.ref("other"), u.ref("ear")}) == 2
    assert copy.deepcopy(ear) is ear
    assert repr(ear) == "ActorRef(/user/ear)"
    assert ear != u.context.ref


class Clerk(Actor[Note]):
    def __init__(self, office: ActorRef[Any], *, other: ActorRef[Any]) -> None:
        self.office, self.other = office, other
        office.tell("hello", sender=other)

    @handler
    def note(self, message: Note) -> int:
        return 0


def test_refs_that_the_constructor_wants_belong_to_the_unit_they_are_given_to() -> None:
    office, other = FakeRef("office"), FakeRef("/user/other")
    with pytest.raises(AssertionError, match=r"/user/office belongs to no unit"):
        office.tell(1)
    u = unit(Clerk, office, other=other)
    assert u.told == [Told(office, "hello", other)]
    assert u.ref("office") is office
    assert office != other
    with pytest.raises(ValueError, match="/user/office belongs to another unit"):
        unit(Clerk, office, other=other)
    with pytest.raises(ValueError, match="two fake refs have the path /user/x"):
        unit(Clerk, FakeRef("x"), other=FakeRef("x"))
    same = FakeRef("same")
    assert len(unit(Clerk, same, other=same).told) == 1


def test_the_sender_is_whom_the_test_names() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        await u.actor.subscribe(Subscribe(who=u.ref("ear")))
        assert u.told == []
        u.sender = u.ref("asker")
        await u.actor.subscribe(Subscribe(who=u.ref("ear")))
        assert u.told == [Told(u.ref("asker"), Enough())]

    asyncio.run(main())


def test_asks_are_answered_by_the_script_and_the_last_word_counts() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        u.actor.listeners += [u.ref("a"), u.ref("b")]
        u.answer(u.ref("a"), Total, 1)
        u.answer(u.ref("a"), Total, 2)
        u.answer("b", Message, 40)
        assert await u.actor.report(Total()) == 42
        assert u.asked == [Told(u.ref("a"), Total()), Told(u.ref("b"), Total())]
        u.answer("/user/b", Total, Refused("not today"))
        with pytest.raises(Refused, match="not today"):
            await u.actor.report(Total())

    asyncio.run(main())


def test_an_ask_that_nobody_answers_says_how_to_answer_it() -> None:
    u = unit(Meter, "north")
    u.actor.listeners.append(u.ref("a"))
    u.answer(u.ref("a"), Observe, 1)
    with pytest.raises(AssertionError, match=r"/user/a was asked Total\(\), .*unit.answer\(ref, Total, reply\)"):
        asyncio.run(u.actor.report(Total()))


def test_spawning_and_ending_are_written_down() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        ear = u.ref("ear")
        u.actor.listeners.append(ear)
        ended: list[ExitReason] = []
        ear.when_stopped(ended.append)
        assert (u.stopped, ear.status, u.context.children) == (False, "running", ())
        await u.actor.enough(Enough())
        (spec,) = u.spawned
        assert (spec.factory, spec.args) == (Meter, ("inner",))
        (inner,) = u.context.children
        assert inner.path == "/user/meter/meter"
        assert u.stopped
        assert u.ended == [(ear, "stop")]
        assert (ear.status, ended) == ("stopped", [await ear.wait_stopped()])
        ear.drain(timeout=1)
        inner.kill()
        assert u.ended[1:] == [(ear, "drain"), (inner, "kill")]

    asyncio.run(main())


def test_names_of_spawned_actors_are_those_of_a_system() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        specs = [child(Meter, "x"), child(Meter, "x"), child(Meter, "x").options(name="mine")]
        assert [(await u.context.spawn(spec)).path for spec in specs] == [
            "/user/meter/meter",
            "/user/meter/meter-2",
            "/user/meter/mine",
        ]
        with pytest.raises(NameTaken):
            await u.context.spawn(specs[2])
        with pytest.raises(InvalidSpec):
            await u.context.spawn(Meter)  # type: ignore[call-arg]
        assert (await u.context.system.spawn(Meter, "x")).path == "/user/meter-2"
        assert len(u.spawned) == 4

    asyncio.run(main())


def test_hooks_run_when_the_test_says_so_whether_they_are_async_or_not() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        assert u.actor.life == []
        await u.initialize()
        await u.shutdown()
        await u.shutdown(Normal())
        assert u.actor.life == ["up at /user/meter", f"down: {Shutdown('stopped')}", f"down: {Normal()}"]
        await unit(Holder).initialize()  # has none

    asyncio.run(main())


def test_a_mailbox_can_be_full() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        full = u.ref("full", accepts=False)
        assert not full.tell(1)
        with pytest.raises(MailboxFull):
            await full.send(2)
        assert u.ref("full").tell(3)
        with pytest.raises(InvalidTimeout):
            await full.ask(Total(), timeout=0)

    asyncio.run(main())


def test_the_system_is_a_fake_too() -> None:
    async def main() -> None:
        u = unit(Meter, "north")
        system = u.context.system
        ear = u.ref("ear")
        assert system.lookup("ear", Meter) == ear == system.find("/user/ear")
        assert system.find("nobody") is None
        with pytest.raises(ActorNotFound, match="/user/nobody"):
            system.lookup("nobody")
        assert system.dead_letters.path == "/system/dead_letters"
        assert system.name == "unit"
        with pytest.raises(AssertionError, match="/ is waited for, and nobody has stopped it"):
            await system.wait_stopped()
        system.stop("enough")
        await system.wait_stopped()
        assert [(ref.path, how) for ref, how in u.ended] == [("/", "stop")]
        with pytest.raises(AssertionError, match="no statistics"):
            system.statistics()
        assert u.context.parent is not None
        assert (u.context.parent.path, u.context.incarnation) == ("/user", 1)

    asyncio.run(main())


def test_what_no_handler_takes_is_unhandled() -> None:
    u = unit(Holder)
    with pytest.raises(Unhandled, match="/user/holder"):
        u.actor.handle_message(object())
    assert isinstance(u.actor.note(Note(value=1)), int)


def test_the_context_does_not_exist_in_the_constructor() -> None:
    class Early(Actor[Note]):
        def __init__(self) -> None:
            self.path = self.context.path

        @handler
        def note(self, message: Note) -> int:
            return 0

    with pytest.raises(InvalidContext, match=r"Early.context: exists from initialize on"):
        unit(Early)


def test_what_needs_a_system_says_so() -> None:
    ref = unit(Meter, "north").ref("ear")
    with pytest.raises(AssertionError, match="ask_threadsafe needs a system"):
        ref.ask_threadsafe(Total())
    with pytest.raises(AssertionError, match="a fake ref and cannot do this"):
        ref._cell.mailbox  # noqa: B018


def test_what_is_no_actor_or_does_not_fit_its_constructor_is_refused() -> None:
    with pytest.raises(InvalidSpec, match="must be a subclass of Actor"):
        unit(int)  # type: ignore[type-var]
    with pytest.raises(InvalidSpec, match="do not fit"):
        unit(Meter)  # type: ignore[call-arg]


def test_two_units_have_nothing_in_common_and_the_class_stays_as_it_was() -> None:
    one, two = unit(Meter, "one"), unit(Meter, "two")
    one.context.ref.tell("hello")
    assert (len(one.told), len(two.told)) == (1, 0)
    assert one.context.ref != two.context.ref
    assert type(one.actor).__name__ == "Meter"
    with pytest.raises(InvalidContext):
        Meter("three").context  # noqa: B018


def test_a_supervisor_can_be_a_unit() -> None:
    class Meters(Supervisor):
        def children(self) -> Any:
            return [child(Meter, "north")]

    u = unit(Meters)
    assert [spec.label for spec in u.actor.children()] == ["meter"]


class Registrar(Actor[Enough]):
    def initialize(self) -> None:
        self.context.register("registrar", value=1)
        for _ in range(2):
            self.context.join("clerks")

    @handler
    def enough(self, message: Enough) -> None:
        self.context.system.registry.find("registrar")


def test_what_it_registers_and_joins_is_written_down() -> None:
    u = unit(Registrar)
    u.actor.initialize()
    assert u.registered == {"registrar": 1}
    assert u.joined == ["clerks"]


def test_a_unit_has_no_registry_and_no_groups_to_look_into() -> None:
    u = unit(Registrar)
    with pytest.raises(AssertionError, match="test this with one"):
        u.actor.enough(Enough())
    with pytest.raises(AssertionError, match="no groups"):
        u.context.system.groups.members("clerks")


class Open(Message): ...


class Enter(Message[str]):
    who: str


class Door(Actor[Open | Enter]):
    """Who comes before it is open waits."""

    defaults = {"stash": 2}

    def __init__(self) -> None:
        self.is_open = False

    @handler
    def open(self, message: Open) -> None:
        self.is_open = True
        self.context.unstash_all()

    @handler
    def enter(self, message: Enter) -> str:
        if not self.is_open:
            self.context.stash(message)
            return f"{self.context.stashed} wait"
        return f"{message.who} is in"


def test_what_is_stashed_is_written_down_and_moved_when_it_is_brought_back() -> None:
    u = unit(Door)
    ann, ben = Enter(who="Ann"), Enter(who="Ben")
    assert [u.actor.enter(each) for each in (ann, ben)] == ["1 wait", "2 wait"]
    assert (u.stashed, u.unstashed) == ([ann, ben], [])
    u.actor.open(Open())
    assert (u.stashed, u.unstashed, u.context.stashed) == ([], [ann, ben], 0)
    assert [u.actor.enter(each) for each in u.unstashed] == ["Ann is in", "Ben is in"]
    u.actor.is_open = False
    u.actor.enter(ann)
    u.context.unstash_all()
    assert u.unstashed == [ann, ben, ann]


def test_the_stash_of_a_unit_is_as_large_as_its_class_says() -> None:
    u = unit(Door)
    for who in ("Ann", "Ben"):
        u.actor.enter(Enter(who=who))
    with pytest.raises(MailboxFull, match="the stash of /user/door") as full:
        u.actor.enter(Enter(who="Cas"))
    assert full.value.message == Enter(who="Cas")
    assert [each.who for each in u.stashed] == ["Ann", "Ben"]


def test_the_stash_of_a_unit_whose_class_says_nothing_is_that_of_a_system() -> None:
    u = unit(Meter, "north")
    for number in range(1000):
        u.context.stash(number)
    with pytest.raises(MailboxFull):
        u.context.stash(1000)
    assert u.context.stashed == 1000


class Order(Message[str]):
    dish: str


class Served(Message):
    dish: str


class Closing(Message): ...


class Waiter(Actor[Order | Served | Closing]):
    def __init__(self) -> None:
        self.orders: dict[str, Reply[str]] = {}
        self.wanted: list[bool] = []

    @handler
    def order(self, message: Order) -> Reply[str]:
        if message.dish in self.orders:
            raise Refused("it is being made")
        self.orders[message.dish] = self.context.reply_later(message)
        return self.orders[message.dish]

    @handler
    def served(self, message: Served) -> None:
        reply = self.orders.pop(message.dish)
        self.wanted.append(reply.open)
        self.wanted.append(reply.fail(ValueError("burnt")) if message.dish == "toast" else reply.send("enjoy"))
        self.wanted.append(reply.send("again"))

    @handler
    def closing(self, message: Closing) -> None:
        self.orders.clear()


def test_a_promised_reply_is_written_down_with_what_becomes_of_it() -> None:
    u = unit(Waiter)
    for dish in ("soup", "toast", "fish"):
        u.actor.order(Order(dish=dish))
    assert [(each.message.dish, each.state, each.answer) for each in u.promised] == [
        ("soup", "open", None),
        ("toast", "open", None),
        ("fish", "open", None),
    ]
    for dish in ("toast", "soup"):
        u.actor.served(Served(dish=dish))
    assert u.actor.wanted == [True, True, False] * 2
    soup, toast, fish = u.promised
    assert (soup.state, soup.answer) == ("answered", "enjoy")
    assert (toast.state, repr(toast.answer)) == ("failed", "ValueError('burnt')")
    assert fish.state == "open"


def test_a_promise_that_nothing_refers_to_any_more_is_dropped() -> None:
    u = unit(Waiter)
    u.actor.order(Order(dish="soup"))
    u.actor.order(Order(dish="fish"))
    u.actor.served(Served(dish="soup"))
    u.actor.closing(Closing())
    assert [each.state for each in u.promised] == ["answered", "dropped"]


def test_the_asker_of_a_promised_reply_can_give_up() -> None:
    u = unit(Waiter)
    u.actor.order(Order(dish="soup"))
    u.promised[0].give_up()
    u.actor.served(Served(dish="soup"))
    assert u.actor.wanted == [False, False, False]
    assert (u.promised[0].state, u.promised[0].answer) == ("given up", None)


def test_a_reply_is_promised_once() -> None:
    u = unit(Waiter)
    message = Order(dish="soup")
    held = u.actor.order(message)
    u.actor.orders.clear()
    with pytest.raises(InvalidContext, match="the reply to this Order has been promised already"):
        u.actor.order(message)
    assert held is not u.context.reply_later()  # of another message, for all that a unit knows
    assert len(u.promised) == 2


class Tokens(StreamMessage[str]):
    text: str


class Tell(Message[str]):
    text: str
    enough: int = 100
    neatly: bool = True


class Reader(Actor[Tell | Tokens]):
    """Reads what a model says, and says it again."""

    def __init__(self, model: ActorRef[Tokens]) -> None:
        self.model = model

    @handler
    async def tell(self, message: Tell) -> str:
        stream = self.model.stream(Tokens(text=message.text), timeout=1.0, buffer=2)
        words: list[str] = []
        if not message.neatly:
            async for word in stream:
                words.append(word)
                break
            return " ".join(words)
        async with stream:
            async for word in stream:
                words.append(word)
                if len(words) == message.enough:
                    break
        return " ".join(words)

    @handler
    async def tokens(self, message: Tokens) -> AsyncIterator[str]:
        async for word in self.model.stream(message):
            yield word.upper()


def test_a_stream_has_the_parts_that_the_test_has_set() -> None:
    async def main() -> None:
        u = unit(Reader, FakeRef("model"))
        u.answer("model", Tokens, ["to", "be"])
        assert await u.actor.tell(Tell(text="hamlet")) == "to be"
        assert await u.actor.tell(Tell(text="hamlet", enough=1)) == "to"
        whole, part = u.streamed
        assert (whole.to, whole.message) == (u.ref("model"), Tokens(text="hamlet"))
        assert (whole.taken, whole.ended, whole.closed) == (["to", "be"], True, True)
        assert (part.taken, part.ended, part.closed) == (["to"], False, True)
        assert (u.asked, u.told) == ([], [])
        with pytest.raises(StopAsyncIteration):
            await anext(part)

    asyncio.run(main())


def test_the_handler_of_a_stream_is_a_generator_to_loop_over() -> None:
    async def main() -> None:
        u = unit(Reader, FakeRef("model"))
        u.answer("model", Tokens, ("to", "be"))
        assert [part async for part in u.actor.tokens(Tokens(text="hamlet"))] == ["TO", "BE"]

    asyncio.run(main())


def test_a_stream_that_is_left_without_being_closed_shows_that() -> None:
    async def main() -> None:
        u = unit(Reader, FakeRef("model"))
        u.answer("model", Tokens, ["to", "be"])
        assert await u.actor.tell(Tell(text="hamlet", neatly=False)) == "to"
        assert not u.streamed[0].closed
        await u.streamed[0].aclose()
        assert u.streamed[0].closed

    asyncio.run(main())


def test_a_stream_can_fail_before_its_first_part_and_behind_any() -> None:
    async def main() -> None:
        u = unit(Reader, FakeRef("model"))
        u.answer("model", Tokens, ["to", OSError("unplugged"), "be"])
        with pytest.raises(OSError, match="unplugged"):
            await u.actor.tell(Tell(text="hamlet"))
        u.answer("model", Tokens, Refused("not today"))
        with pytest.raises(Refused, match="not today"):
            await u.actor.tell(Tell(text="hamlet"))
        assert [(each.taken, each.ended, each.closed) for each in u.streamed] == [
            (["to"], True, True),
            ([], True, True),
        ]

    asyncio.run(main())


def test_a_stream_that_nobody_answers_says_how_to_answer_it() -> None:
    async def main() -> None:
        u = unit(Reader, FakeRef("model"))
        with pytest.raises(AssertionError, match=r"unit.answer\(ref, Tokens, parts\)"):
            await u.actor.tell(Tell(text="hamlet"))
        for answer in ("to be", 5):
            u.answer("model", Tokens, answer)
            with pytest.raises(AssertionError, match=r"asks for a stream: unit.answer\(ref, Tokens, \[part, ...\]\)"):
                await u.actor.tell(Tell(text="hamlet"))

    asyncio.run(main())


def test_a_stream_is_written_down_when_its_first_part_is_wanted_and_its_arguments_are_checked_before() -> None:
    u = unit(Reader, FakeRef("model"))
    stream = u.ref("model").stream(Tokens(text="hamlet"))
    assert u.streamed == []
    assert repr(stream) == "<Stream of Tokens from /user/model>"
    with pytest.raises(InvalidTimeout):
        u.ref("model").stream(Tokens(text="hamlet"), timeout=0)
    with pytest.raises(InvalidSpec, match="whole number of parts"):
        u.ref("model").stream(Tokens(text="hamlet"), buffer=0)
