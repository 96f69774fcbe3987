"""Trace contexts: what a sender's instrument gives along is what the handler on the other node finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from typing import Any

import pytest

from tests.transports.stage import QUICK, Letters, Wire
from understudy import Actor, ActorRef, ActorSystem, Instrument, Message, StreamMessage, child, handler
from understudy.transports import LinkOptions

pytestmark = pytest.mark.asyncio

SPAN: ContextVar[str | None] = ContextVar("span", default=None)


class Told(Message[None]):
    number: int


class Asked(Message[dict[str, str]]): ...


class Numbers(StreamMessage[str]): ...


class Forward(Message[dict[str, str]]):
    to: ActorRef[Any]


MESSAGES = [Told, Asked, Numbers, Forward]


class Tracer(Instrument):
    """Gives along the span of whoever sends, as a tracing library would."""

    def trace_context(self) -> Mapping[str, str] | None:
        span = SPAN.get()
        return None if span is None else {"traceparent": span}


class Other(Instrument):
    def trace_context(self) -> Mapping[str, str] | None:
        return {"baggage": "x=1"}


class Bad(Instrument):
    def __init__(self, given: Any) -> None:
        self.given = given

    def trace_context(self) -> Mapping[str, str] | None:
        if isinstance(self.given, Exception):
            raise self.given
        found: Mapping[str, str] = self.given
        return found


class Listener(Actor[Told | Asked | Numbers | Forward]):
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    @handler
    def told(self, message: Told) -> None:
        self.seen.append((message.number, dict(self.context.trace)))

    @handler
    async def asked(self, message: Asked) -> dict[str, str]:
        return dict(self.context.trace)

    @handler
    async def numbers(self, message: Numbers) -> AsyncIterator[str]:
        yield self.context.trace.get("traceparent", "none")

    @handler
    async def forward(self, message: Forward) -> dict[str, str]:
        SPAN.set(f"{self.context.trace['traceparent']}/below")
        found: dict[str, str] = await message.to.ask(Asked())
        return found


async def test_what_is_sent_takes_along_the_context_of_who_sends_it_at_that_moment() -> None:
    wire, seen = Wire(), list[Any]()
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop", instruments=[Tracer()]) as shop:
        await bank.spawn(Listener, seen)
        await bank.listen("memory://bank", messages=MESSAGES, transport=wire, options=QUICK)
        node = await shop.connect("memory://bank", transport=wire, options=QUICK)
        ref = await node.lookup("listener", Listener)
        friend = await shop.spawn(child(Listener, []).options(name="friend"))
        ref.tell(Told(number=0))
        SPAN.set("a")
        ref.tell(Told(number=1))
        ref.tell(Told(number=2))
        SPAN.set("b")
        ref.tell(Told(number=3), sender=friend)
        await ref.send(Told(number=4))
        assert await ref.ask(Asked()) == {"traceparent": "b"}
        async with ref.stream(Numbers()) as parts:
            assert [part async for part in parts] == ["b"]
        SPAN.set(None)
        assert await ref.ask(Asked()) == {}
    a, b = {"traceparent": "a"}, {"traceparent": "b"}
    assert seen == [(0, {}), (1, a), (2, a), (3, b), (4, b)]


async def test_a_handler_can_carry_a_trace_on_to_a_third_node() -> None:
    wire = Wire()
    async with (
        ActorSystem(name="bank", instruments=[Tracer()]) as bank,
        ActorSystem(name="shop", instruments=[Tracer(), Other()]) as shop,
    ):
        await bank.spawn(Listener, [])
        friend = await shop.spawn(child(Listener, []).options(name="friend"))
        given: Any = {"messages": MESSAGES, "transport": wire, "options": QUICK}
        await bank.listen("memory://bank", **given)
        node = await shop.connect("memory://bank", **given)
        ref = await node.lookup("listener", Listener)
        SPAN.set("a")
        assert await ref.ask(Forward(to=friend)) == {"traceparent": "a/below"}
        assert await ref.ask(Asked()) == {"traceparent": "a", "baggage": "x=1"}
        assert await friend.ask(Asked()) == {}  # at home nothing goes along


@pytest.mark.parametrize("given", [ValueError("broken"), {"traceparent": 1}, {1: "x"}, "text"])
async def test_a_tracer_that_fails_is_reported_and_keeps_no_message_back(given: Any) -> None:
    wire, complaints = Wire(), list[Any]()
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop", instruments=[Bad(given), Other()]) as shop:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, problem: complaints.append(problem))
        await bank.spawn(Listener, [])
        await bank.listen("memory://bank", messages=MESSAGES, transport=wire, options=QUICK)
        node = await shop.connect("memory://bank", transport=wire, options=QUICK)
        ref = await node.lookup("listener", Listener)
        assert await ref.ask(Asked()) == {"baggage": "x=1"}
        loop.set_exception_handler(None)
    assert len(complaints) == 1
    assert "Bad.trace_context" in complaints[0]["message"]


async def test_a_full_outbox_makes_traced_messages_wait_and_loses_them_as_any_others() -> None:
    wire, seen, letters = Wire(), list[Any](), Letters()
    options = LinkOptions(window=1, outbox=2, timing=QUICK.timing)
    async with (
        ActorSystem(name="bank") as bank,
        ActorSystem(name="shop", instruments=[Tracer(), letters]) as shop,
    ):
        await bank.spawn(Listener, seen)
        await bank.listen("memory://bank", messages=MESSAGES, transport=wire, options=options)
        node = await shop.connect("memory://bank", transport=wire, options=options)
        ref = await node.lookup("listener", Listener)
        SPAN.set("a")
        for number in range(30):
            await ref.send(Told(number=number))
        assert await ref.ask(Asked()) == {"traceparent": "a"}
        assert seen == [(number, {"traceparent": "a"}) for number in range(30)]
        assert [ref.tell(Told(number=number)) for number in range(4)].count(False) == 2
        assert letters.told == [(Told(number=number), "//bank/user/listener") for number in (2, 3)]
