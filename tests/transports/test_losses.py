"""Links that are lost: who is told, what is kept, and what comes back."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.transports.cast import MESSAGES, Add, Count, Counter, Held, Introduce, Slow, Total, Watch, Watcher, Watching
from tests.transports.stage import QUICK, linked, until
from understudy import ActorStopped, ActorSystem, NodeDown, child
from understudy.testing import Gate
from understudy.transports import ConnectionLost, HandshakeFailed, LinkDown

pytestmark = pytest.mark.asyncio

DOWN = NodeDown("bank")


async def test_whoever_waits_for_a_node_is_told_at_once_when_it_is_lost() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        loop = asyncio.get_running_loop()
        asking = [asyncio.ensure_future(ref.ask(Slow(seconds=100.0), timeout=50.0)) for _ in range(3)]
        ending = asyncio.ensure_future(ref.wait_stopped())
        parts = ref.stream(Count(to=10))
        await asyncio.sleep(1.0)
        before = loop.time()
        pair.wire.refusing = True
        pair.wire.last.cut()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert loop.time() - before < 0.1
        assert [type(outcome) for outcome in outcomes] == [ActorStopped] * 3
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, ActorStopped)} == {DOWN}
        assert await ending == DOWN
        with pytest.raises(ActorStopped):
            await anext(parts)


async def test_each_watch_gets_one_news_of_the_lost_node() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        watcher = await pair.shop.spawn(Watcher)
        for _ in range(2):
            await watcher.ask(Watch(whom=ref))
        pair.wire.last.cut()
        await pair.node.wait_up(60.0)
        await asyncio.sleep(10.0)
        assert await watcher.ask(Watching()) == ["//bank/user/counter: node bank is down"] * 2
        # A watch on a node that is away is told at once, and one after its return is a new one.
        pair.wire.refusing = True
        pair.wire.last.cut()
        await until(lambda: not pair.node.is_up)
        await watcher.ask(Watch(whom=ref))
        assert len(await watcher.ask(Watching())) == 3


async def test_what_is_sent_to_a_lost_node_is_refused_and_what_waited_is_a_dead_letter() -> None:
    async with linked() as pair:
        gate = Gate()
        await pair.bank.spawn(child(Held, gate, []).options(mailbox=1))
        ref = await pair.node.lookup("held", Held)
        for number in range(200):
            ref.tell(Add(number=number))
        await asyncio.sleep(1.0)
        pair.wire.refusing = True
        pair.wire.last.cut()
        await until(lambda: not pair.node.is_up)
        waited = [letter.why for letter in pair.shop_letters.letters]
        assert waited
        assert set(waited) == {"node bank is down"}
        assert not ref.tell(Add())
        assert ref.status == "stopped"
        with pytest.raises(ActorStopped) as caught:
            await ref.send(Add())
        assert caught.value.reason == DOWN
        with pytest.raises(LinkDown, match="bank"):
            await pair.node.lookup("held")
        gate.open()


async def test_a_ref_is_of_use_again_when_the_same_node_is_back() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        for number in range(20):
            await ref.ask(Add(number=number))
            pair.wire.last.cut()
            await until(lambda: not pair.node.is_up)
            await pair.node.wait_up(60.0)
        assert seen == list(range(20))
        assert await pair.node.lookup("counter", Counter) == ref
        assert len(pair.wire.opened) == 21


async def test_a_node_that_was_started_anew_is_another_one() -> None:
    async with linked() as pair:
        watcher = await pair.shop.spawn(Watcher)
        await pair.bank.spawn(Counter, 5)
        ref = await pair.node.lookup("counter", Counter)
        await watcher.ask(Watch(whom=ref))
        await pair.listening.aclose()
        await until(lambda: not pair.node.is_up)
        async with ActorSystem(name="bank") as again:
            await again.spawn(Counter, 7)
            await again.listen("memory://bank", messages=MESSAGES, options=QUICK, transport=pair.wire)
            await pair.node.wait_up(60.0)
            assert not ref.tell(Add())
            with pytest.raises(ActorStopped) as caught:
                await ref.ask(Total())
            assert caught.value.reason == DOWN
            other = await pair.node.lookup("counter", Counter)
            assert other != ref
            assert other.path == ref.path
            assert await other.ask(Total()) == 7
            assert await watcher.ask(Watching()) == ["//bank/user/counter: node bank is down"]
            # A ref to the old one that travels is of no use either, on whichever side.
            await other.ask(Introduce(to=ref))
            assert (await again.lookup("counter", Counter).ask(Total())) == 7


async def test_a_link_whose_other_end_is_gone_is_given_up_although_writes_succeed() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        pair.wire.refusing = True
        pair.wire.last.swallows = True
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert ref.tell(Add())
        with pytest.raises(ActorStopped) as caught:
            await ref.ask(Total(), timeout=60.0)
        assert caught.value.reason == DOWN
        assert loop.time() - before == pytest.approx(2.0, abs=0.2)
        # The other side notices by itself.
        await until(lambda: pair.listening.peers == (), 10.0)


async def test_a_silent_link_stays_up_and_a_dead_one_does_not() -> None:
    async with linked() as pair:
        connection = pair.wire.last
        await asyncio.sleep(600.0)
        assert pair.wire.last is connection
        assert pair.node.is_up
        batches = len(connection.sent)
        assert batches < 1_500  # no more than two a second each way
        pair.wire.refusing = True
        connection.swallows = True
        await until(lambda: not pair.node.is_up, 4.0)


async def test_attempts_come_ever_more_rarely_and_not_all_at_once() -> None:
    async with linked() as pair:
        pair.wire.refusing = True
        tries: list[float] = []
        connect = type(pair.wire).connect
        loop = asyncio.get_running_loop()

        async def counted(self: Any, *args: Any) -> Any:
            tries.append(loop.time())
            return await connect(self, *args)

        pair.wire.connect = counted.__get__(pair.wire)
        pair.wire.last.cut()
        await asyncio.sleep(120.0)
        gaps = [after - before for before, after in itertools.pairwise(tries)]
        assert 10 <= len(tries) <= 40
        assert max(gaps) <= 10.0
        assert gaps[0] < 0.5
        assert len({round(gap, 3) for gap in gaps[-5:]}) > 1
        pair.wire.refusing = False
        await pair.node.wait_up(20.0)


async def test_a_first_attempt_that_fails_is_an_error_of_connect_that_says_why() -> None:
    async with ActorSystem(name="shop") as shop:
        with pytest.raises(ConnectionLost, match="nobody listens"):
            await shop.connect("memory://nowhere")
        async with ActorSystem(name="shop") as other:
            await other.listen("memory://other")
            with pytest.raises(HandshakeFailed, match="name of this node"):
                await shop.connect("memory://other")


@pytest.mark.leaks("exceptions")
async def test_a_transport_that_fails_in_a_way_of_its_own_is_tried_again() -> None:
    async with linked() as pair:
        connect = type(pair.wire).connect
        failures = [ZeroDivisionError("odd")]

        async def odd(self: Any, *args: Any) -> Any:
            if failures:
                raise failures.pop()
            return await connect(self, *args)

        pair.wire.connect = odd.__get__(pair.wire)
        pair.wire.last.cut()
        await until(lambda: not pair.node.is_up)
        await pair.node.wait_up(30.0)
        assert failures == []


async def test_a_node_that_goes_in_order_says_so_and_its_refs_are_told() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        ending = asyncio.ensure_future(ref.wait_stopped())
        pair.wire.refusing = True
        pair.bank.stop()
        await pair.bank.wait_stopped()
        assert await ending == DOWN
        assert not pair.node.is_up


async def test_a_connection_that_is_closed_is_not_made_again() -> None:
    async with linked() as pair:
        await pair.node.aclose()
        await asyncio.sleep(100.0)
        assert not pair.node.is_up
        assert pair.listening.peers == ()
        assert len(pair.wire.opened) == 1
        await pair.node.aclose()
        with pytest.raises(LinkDown, match="within 1 s"):
            await pair.node.wait_up(1.0)


async def test_two_that_have_connected_to_each_other_agree_on_one_link() -> None:
    async with linked() as pair:
        await pair.shop.listen("memory://shop", messages=MESSAGES, options=QUICK, transport=pair.wire)
        await pair.bank.spawn(Counter, 3)
        await pair.shop.spawn(Counter, 4)
        back = await pair.bank.connect("memory://shop", messages=MESSAGES, options=QUICK, transport=pair.wire)
        await asyncio.sleep(60.0)
        assert pair.node.is_up
        assert back.is_up
        assert await (await pair.node.lookup("counter", Counter)).ask(Total()) == 3
        assert await (await back.lookup("counter", Counter)).ask(Total()) == 4
        for connection in list(pair.wire.opened):
            connection.cut()
        await asyncio.sleep(60.0)
        assert await (await back.lookup("counter", Counter)).ask(Total()) == 4


async def test_nothing_grows_with_links_that_come_and_go() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        watcher = await pair.shop.spawn(Watcher)
        tasks = 0
        for number in range(30):
            await watcher.ask(Watch(whom=ref))
            ref.tell(Add())
            assert await ref.ask(Total()) >= 0
            pair.wire.last.cut()
            await until(lambda: not pair.node.is_up)
            await pair.node.wait_up(60.0)
            if number == 2:
                tasks = len(asyncio.all_tasks())
        assert len(asyncio.all_tasks()) <= tasks + 1
        for system in (pair.bank, pair.shop):
            node: Any = system._understudy_node
            assert node.chains == {}
            assert len(node._peers) == 1
            (peer,) = node._peers.values()
            assert (peer.asks, peer._numbers, peer._calls, dict(peer.watched)) == ({}, {}, {}, {})
