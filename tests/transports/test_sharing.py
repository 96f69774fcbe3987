"""One link for all who connect to a URL: who shares it, who ends it, and who is told when there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.cast import settle
from tests.transports.cast import MESSAGES, Add, Counter, Total
from tests.transports.stage import QUICK, Pair, Wire, linked, until
from understudy import ActorSystem, InvalidSpec, child
from understudy.agents import RemoteAgent
from understudy.testing import Gate
from understudy.transports import ConnectionLost, HandshakeFailed, LinkDown, LinkOptions, RemoteNode, Tls

pytestmark = pytest.mark.asyncio

TERMS: dict[str, Any] = {"messages": MESSAGES, "options": QUICK}


class HeldWire(Wire):
    """Makes no connection before the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def connect(self, url: str, options: Any, env: Any) -> Any:
        await self.gate.hold()
        return await super().connect(url, options, env)


async def connect(pair: Pair, **more: Any) -> RemoteNode:
    given: dict[str, Any] = TERMS | {"transport": pair.wire} | more
    return await pair.shop.connect("memory://bank", **given)


def links_of(system: ActorSystem) -> Any:
    node = system._understudy_node  # pyright: ignore[reportPrivateUsage]
    assert node is not None
    return node


async def test_who_connects_to_one_url_twice_has_one_link_and_keeps_it() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        other = await connect(pair, messages=list(reversed(MESSAGES)))
        ref = await pair.node.lookup("counter", Counter)
        same = await other.lookup("counter", Counter)
        for _ in range(30):  # two links would take each other's place again and again
            await asyncio.sleep(1.0)
            await ref.ask(Add())
        assert await same.ask(Total()) == 30
        assert len(pair.wire.opened) == 1
        assert pair.shop_letters.letters == []


async def test_a_shared_link_ends_with_the_last_who_closes_it_however_often_the_others_do() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        other = await connect(pair)
        ref = await other.lookup("counter", Counter)
        for _ in range(3):
            await pair.node.aclose()
        assert await ref.ask(Add()) == 1
        pair.wire.last.cut()  # it is made again for who is left
        await until(lambda: not other.is_up)
        await other.wait_up(10.0)
        assert await ref.ask(Add()) == 2
        await asyncio.gather(other.aclose(), other.aclose())
        assert not other.is_up
        await asyncio.sleep(30.0)
        assert len(pair.wire.opened) == 2
        assert links_of(pair.shop).connectors == {}
        assert links_of(pair.bank).link_with("shop") is None


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"token": "another token of a good length"}, "token"),
        ({"messages": [Add]}, "messages"),
        ({"tls": Tls(ca="ca.pem")}, "tls"),
        ({"node": "bank"}, "node"),
        ({"options": LinkOptions()}, "options"),
        ({"transport": Wire()}, "transport"),
        ({"messages": [], "node": "x"}, "messages, node"),
    ],
)
async def test_who_would_share_a_link_on_other_terms_is_told_which_and_nothing_changes(more: Any, field: str) -> None:
    async with linked() as pair:
        with pytest.raises(InvalidSpec) as caught:
            await connect(pair, **more)
        assert caught.value.field == field
        assert "the link with memory://bank" in str(caught.value)
        assert "give the same, or close theirs before" in str(caught.value)
        assert "a good length" not in str(caught.value)
        assert pair.node.is_up
        assert len(pair.wire.opened) == 1
        await pair.node.aclose()
        if field == "node":  # and afterwards they are as good as any
            assert (await connect(pair, **more)).is_up


async def test_of_two_that_wait_for_a_first_link_one_may_be_cancelled() -> None:
    wire = HeldWire()
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop") as shop:
        await bank.listen("memory://bank", **TERMS, transport=wire)
        for leaver in (0, 1):
            wire.gate = Gate()
            waiting = [asyncio.ensure_future(shop.connect("memory://bank", **TERMS, transport=wire)) for _ in range(2)]
            await wire.gate.reached()
            await settle()
            waiting[leaver].cancel()
            await asyncio.wait({waiting[leaver]}, timeout=1.0)
            assert waiting[leaver].cancelled()
            wire.gate.open()
            node = await waiting[1 - leaver]
            assert node.is_up
            await node.aclose()
        assert len(wire.opened) == 2


async def test_when_all_who_wait_for_a_first_link_are_cancelled_nothing_is_left() -> None:
    wire = HeldWire()
    async with ActorSystem(name="shop") as shop:
        waiting = [asyncio.ensure_future(shop.connect("memory://bank", transport=wire)) for _ in range(2)]
        await wire.gate.reached()
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        assert links_of(shop).connectors == {}
        assert wire.opened == []


async def test_when_the_first_link_fails_all_who_wait_are_told_and_the_next_begins_anew() -> None:
    wire = HeldWire()
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop") as shop:
        waiting = [asyncio.ensure_future(shop.connect("memory://bank", **TERMS, transport=wire)) for _ in range(3)]
        await wire.gate.reached()
        await settle()
        wire.gate.open()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ConnectionLost] * 3
        assert links_of(shop).connectors == {}
        await bank.listen("memory://bank", **TERMS, transport=wire)
        assert (await shop.connect("memory://bank", **TERMS, transport=wire)).is_up


async def test_who_connects_while_the_last_one_closes_gets_a_link_of_his_own() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        for _ in range(3):
            closing = asyncio.ensure_future(pair.node.aclose())
            await asyncio.sleep(0)  # it has begun
            pair.node = await connect(pair)
            await closing
            assert pair.node.is_up
        await asyncio.sleep(30.0)
        assert await (await pair.node.lookup("counter", Counter)).ask(Add()) == 1
        assert len(pair.wire.opened) == 4


async def test_a_close_that_is_cancelled_goes_on_and_the_next_waits_for_it() -> None:
    async with linked() as pair:
        closing = asyncio.ensure_future(pair.node.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        await pair.node.aclose()
        assert links_of(pair.shop).connectors == {}
        await until(lambda: links_of(pair.bank).link_with("shop") is None)
        assert len(pair.wire.opened) == 1


async def test_who_connects_while_the_link_is_lost_has_it_tried_at_once_and_fails_alone() -> None:
    rare = LinkOptions(timing=QUICK.timing, reconnect=wait_fixed(1_000.0))
    async with linked(options=rare) as pair:
        loop = asyncio.get_running_loop()
        pair.wire.refusing = True
        pair.wire.last.cut()
        await until(lambda: not pair.node.is_up)
        began = loop.time()
        with pytest.raises(ConnectionRefusedError):
            await connect(pair, options=rare)
        pair.wire.refusing = False
        other = await connect(pair, options=rare)
        assert loop.time() - began < 1.0
        assert other.is_up
        assert pair.node.is_up
        await other.aclose()
        assert pair.node.is_up


async def test_a_system_that_stops_ends_what_waits_for_a_link() -> None:
    wire = HeldWire()
    async with ActorSystem(name="shop") as shop:
        waiting = [asyncio.ensure_future(shop.connect("memory://bank", transport=wire)) for _ in range(2)]
        await wire.gate.reached()
        await settle()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in outcomes] == [LinkDown] * 2


async def test_two_urls_of_one_node_are_one_link_and_the_other_takes_its_place_when_it_ends() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        await pair.bank.listen("memory://branch", **TERMS, transport=pair.wire)
        other = await pair.shop.connect("memory://branch", **TERMS, transport=pair.wire)
        ref = await other.lookup("counter", Counter)
        for total in range(1, 31):
            await asyncio.sleep(1.0)
            assert await ref.ask(Add()) == total
        assert pair.shop_letters.letters == []
        await pair.node.aclose()
        await other.wait_up(15.0)
        assert await ref.ask(Add()) == 31


async def test_who_refuses_is_told_of_to_whoever_begins_and_to_nobody_else() -> None:
    async with linked(token="a token of a good length", connect={"token": "a token of a good length"}) as pair:
        await pair.node.aclose()
        with pytest.raises(HandshakeFailed):
            await connect(pair, token="another token of a good length")
        assert (await connect(pair, token="a token of a good length")).is_up


async def test_the_pauses_before_a_first_link_are_those_that_were_asked_for() -> None:
    class Counted(Wire):
        attempts = 0

        async def connect(self, url: str, options: Any, env: Any) -> Any:
            self.attempts += 1
            return await super().connect(url, options, env)

    wire = Counted()
    async with ActorSystem(name="shop") as shop, ActorSystem(name="bank") as bank:
        options = LinkOptions(timing=QUICK.timing, reconnect=wait_fixed(20.0))
        terms: dict[str, Any] = {"options": options, "transport": wire}
        agent = await shop.spawn(child(RemoteAgent, "memory://bank", id="counter", **terms))
        await asyncio.sleep(100.0)
        assert 6 <= wire.attempts <= 11  # after 10 to 20 s each
        # Who connects besides has one attempt made at once; the agent goes on all the same, until it has ended.
        with pytest.raises(ConnectionLost):
            await shop.connect("memory://bank", **terms)
        attempts = wire.attempts
        await asyncio.sleep(25.0)
        assert wire.attempts > attempts
        await bank.listen("memory://bank", **terms)
        node = await shop.connect("memory://bank", **terms)
        agent.stop()
        await agent.wait_stopped()
        await asyncio.sleep(5.0)
        assert node.is_up
        assert len(wire.opened) == 1


@pytest.mark.leaks("exceptions")
async def test_a_wait_strategy_that_fails_is_told_of_and_ends_the_link_for_good() -> None:
    def broken(state: Any) -> float:
        raise ZeroDivisionError("no such pause")

    options = LinkOptions(timing=QUICK.timing, reconnect=broken)
    async with linked(options=options) as pair:
        pair.wire.last.cut()
        await until(lambda: not pair.node.is_up)
        await settle()
        assert links_of(pair.shop).connectors == {}
        await pair.node.aclose()
        assert (await connect(pair, options=options)).is_up
