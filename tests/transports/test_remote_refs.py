"""Refs to actors of another node: what they promise is what refs promise, as far as a link can."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from tests.transports.cast import (
    MESSAGES,
    Add,
    AskFriend,
    Boom,
    Chatter,
    Count,
    Counter,
    Friend,
    Held,
    Introduce,
    Liar,
    No,
    Picky,
    Relay,
    Slow,
    Total,
    Unknown,
    Watch,
    Watcher,
    Watching,
    WhoSent,
)
from tests.transports.stage import QUICK, linked, until
from understudy import (
    ActorFailed,
    ActorNotFound,
    ActorRef,
    ActorStopped,
    AskTimeout,
    ConsumerSlow,
    InvalidContext,
    InvalidSpec,
    Mailbox,
    MailboxFull,
    NotFound,
    Refused,
    Shutdown,
    Unhandled,
    WrongActorType,
    child,
    handler,
)
from understudy.actors._runtime import runtime_of
from understudy.agents import CONVERSATION, AsyncAgent, Prompt, Said, Say
from understudy.testing import Gate
from understudy.transports import LinkOptions, MessageNotAccepted, RemoteError

pytestmark = pytest.mark.asyncio


async def test_a_ref_of_another_node_is_a_ref_like_any_other() -> None:
    async with linked() as pair:
        local = await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        assert isinstance(ref, ActorRef)
        assert (ref.path, ref.uid, ref.status) == ("//bank/user/counter", local.uid, "running")
        assert await pair.node.lookup("/user/counter") == ref
        assert ref != local
        assert copy.copy(ref) is ref


async def test_tell_send_and_ask_reach_it_in_the_order_in_which_they_were_made() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        for number in range(200):
            kind = number % 3
            if kind == 0:
                assert ref.tell(Add(number=number))
            elif kind == 1:
                await ref.send(Add(number=number))
            else:
                await ref.ask(Add(number=number))
        assert await ref.ask(Total()) == sum(range(200))
        assert seen == list(range(200))


async def test_who_asks_one_after_another_waits_for_no_turn_of_the_run_queue_on_either_side() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        assert await ref.ask(Add()) == 1  # which makes the mailboxes
        runtimes = [runtime_of(system) for system in (pair.shop, pair.bank)]
        pushed: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            for runtime in runtimes:
                patch.setattr(type(runtime.dispatcher), "push", lambda _, cell: pushed.append(cell))
            assert [await ref.ask(Add()) for _ in range(5)] == [2, 3, 4, 5, 6]
        assert pushed == []


async def test_asks_put_while_another_is_open_come_in_their_order_behind_what_was_told() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        await ref.ask(Total())
        asked = [asyncio.ensure_future(ref.ask(Add(number=number))) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        ref.tell(Add(number=4))
        asked.append(asyncio.ensure_future(ref.ask(Add(number=5))))
        assert await asyncio.gather(*asked) == [1, 3, 6, 15]


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (No(), Refused, "not today"),
        (Boom(text="oh"), ActorFailed, "//bank/user/counter failed while handling Boom .*ValueError: oh"),
        (Watching(), Unhandled, "//bank/user/counter has no handler for Watching"),
        (Unknown(), MessageNotAccepted, "bank does not accept"),
        (Slow(seconds=100.0), AskTimeout, "//bank/user/counter .*bank, which has not answered"),
    ],
)
async def test_an_ask_that_fails_says_why_as_it_does_at_home(message: Any, error: Any, text: str) -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter")
        with pytest.raises(error, match=text) as caught:
            await ref.ask(message, timeout=3.0)
        if error is ActorFailed:
            assert isinstance(caught.value.__cause__, RemoteError)
            assert caught.value.__cause__.name == "ValueError"
        assert await ref.ask(Total()) == 0


async def test_an_asker_that_gives_up_is_heard_of_on_the_other_side() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        asking = asyncio.ensure_future(ref.ask(Slow(seconds=50.0)))
        await until(lambda: seen)
        asking.cancel()
        await until(lambda: "slow cancelled" in seen, 1.0)
        with pytest.raises(AskTimeout):
            await ref.ask(Slow(seconds=50.0), timeout=0.5)
        await until(lambda: seen == ["slow began", "slow cancelled"] * 2, 1.0)


async def test_the_deadline_travels() -> None:
    async with linked() as pair:
        friend = await pair.shop.spawn(Held, gate := Gate(), [])
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        await ref.ask(Introduce(to=friend))
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises((AskTimeout, ActorFailed)):
            await ref.ask(AskFriend(seconds=40.0), timeout=2.0)
        assert loop.time() - before == pytest.approx(2.0, abs=0.2)
        await asyncio.sleep(0.2)
        assert await ref.ask(Total()) == 0  # it waits no longer than its own asker
        gate.open()


async def test_the_sender_is_who_has_sent_it_and_can_be_answered() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        sender = await pair.shop.spawn(Watcher)
        ref.tell(WhoSent(), sender=sender)
        ref.tell(WhoSent())
        await until(lambda: len(seen) == 2)
        assert seen == ["//shop/user/watcher", None]


async def test_refs_travel_and_come_home_as_what_they_were() -> None:
    async with linked() as pair:
        at_bank = await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        at_shop = await pair.shop.spawn(Watcher)
        await ref.ask(Introduce(to=at_shop))
        assert await ref.ask(Friend()) == at_shop
        there = await at_bank.ask(Friend())
        assert there is not None
        assert there.path == "//shop/user/watcher"
        assert await there.ask(Add(number=7)) == 7
        await ref.ask(Introduce(to=ref))
        assert await at_bank.ask(Friend()) == at_bank


async def test_an_actor_that_has_ended_and_its_successor_are_two() -> None:
    async with linked() as pair:
        local = await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        local.stop()
        await local.wait_stopped()
        await pair.bank.spawn(Counter, 100)
        assert ref.tell(Add())
        with pytest.raises(ActorStopped) as caught:
            await ref.ask(Total())
        assert caught.value.reason == NotFound()
        assert (Add(), "/user/counter") in pair.bank_letters.told
        # The node has told, so that what comes now is refused at once.
        assert not ref.tell(Add())
        assert ref.status == "stopped"
        assert await (await pair.node.lookup("counter", Counter)).ask(Total()) == 100


async def test_a_restart_is_nothing_that_a_ref_would_notice() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        ref.tell(Boom())
        assert await ref.ask(Add()) == 1


async def test_lookups_find_what_is_there_and_nothing_of_the_runtime() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        for path in ("nobody", "/system/reporter", "/system", "/user", "/", "", "/user/x\ny", "/user/counter/../x"):
            with pytest.raises(ActorNotFound, match="//bank"):
                await pair.node.lookup(path)
        with pytest.raises(WrongActorType, match=r"//bank/user/counter is a Counter, not a .*Watcher"):
            await pair.node.lookup("counter", Watcher)


# Watching


async def test_a_watcher_is_told_once_behind_all_that_the_actor_had_sent_it() -> None:
    async with linked() as pair:
        watcher = await pair.shop.spawn(Watcher)
        await pair.bank.spawn(child(Chatter).options(restart="temporary"))
        ref = await pair.node.lookup("chatter", Chatter)
        await ref.ask(Introduce(to=watcher))
        await watcher.ask(Watch(whom=ref))
        await ref.ask(Add(number=500))
        await until(lambda: pair.shop.find("watcher") is not None)
        await asyncio.sleep(5.0)
        heard = await watcher.ask(Watching())
        assert heard == [*map(str, range(500)), "//bank/user/chatter: a normal end"]


async def test_watching_what_has_ended_tells_at_once_and_unwatching_tells_nothing() -> None:
    async with linked() as pair:
        local = await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        watcher = await pair.shop.spawn(Watcher)
        cell: Any = watcher._cell
        cell.actor.context.watch(ref).cancel()
        local.stop()
        await local.wait_stopped()
        await asyncio.sleep(1.0)
        assert await watcher.ask(Watching()) == []
        await watcher.ask(Watch(whom=ref))
        await asyncio.sleep(1.0)
        assert await watcher.ask(Watching()) == ["//bank/user/counter: not found"]


@pytest.mark.parametrize("how", ["stop", "drain"])
async def test_an_actor_elsewhere_can_be_stopped_and_its_end_waited_for(how: str) -> None:
    async with linked() as pair:
        local = await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        getattr(ref, how)()
        reason = await ref.wait_stopped(timeout=5.0)
        assert local.status == "stopped"
        assert reason == (Shutdown("stopped by node shop") if how == "stop" else Shutdown("drained"))
        assert not ref.tell(Add())


async def test_a_kill_is_a_failure_and_the_supervisor_there_restarts() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        await ref.ask(Add(number=5))
        ref.kill()
        await until(lambda: pair.bank.statistics().restarted == 1)
        assert await ref.ask(Total()) == 0


async def test_links_between_lives_do_not_reach_other_processes_and_say_so() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        watcher = await pair.shop.spawn(Watcher)
        cell: Any = watcher._cell
        with pytest.raises(InvalidContext, match="use watch"):
            cell.actor.context.link(ref)
        assert cell.observers is None


# Streams


async def test_a_stream_comes_in_order_and_no_further_ahead_than_its_buffer() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        got = []
        async with ref.stream(Count(to=40), buffer=4) as parts:
            async for part in parts:
                got.append(part)
                await asyncio.sleep(0.1)
                assert sum(1 for each in seen if str(each).startswith("part")) - len(got) <= 4
        assert got == list(range(40))
        assert seen[-1] == "stream closed"


@pytest.mark.parametrize("buffer", [1, 2, 16])
async def test_a_stream_that_is_left_early_is_closed_on_the_other_side(buffer: int) -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        async with ref.stream(Count(to=10_000), buffer=buffer) as parts:
            async for part in parts:
                if part == 3:
                    break
        await until(lambda: "stream closed" in seen, 1.0)
        assert await ref.ask(Total()) == 0


async def test_a_stream_that_fails_does_so_behind_its_parts() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Counter)
        ref = await pair.node.lookup("counter", Counter)
        parts = ref.stream(Count(to=10, fail_at=5))
        assert [await anext(parts) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ActorFailed, match="no further"):
            await anext(parts)


async def test_a_part_that_is_not_taken_in_time_closes_the_stream() -> None:
    async with linked() as pair:
        seen: list[Any] = []
        await pair.bank.spawn(Counter, 0, seen)
        ref = await pair.node.lookup("counter", Counter)
        parts = ref.stream(Count(to=100), buffer=2, timeout=1.0)
        assert await anext(parts) == 0
        await asyncio.sleep(5.0)
        assert "stream closed" in seen
        with pytest.raises(ConsumerSlow):
            await drained(parts)


async def drained(parts: Any) -> None:
    async for _ in parts:
        pass


# Back-pressure


async def test_a_slow_actor_slows_send_and_no_buffer_grows() -> None:
    options = LinkOptions(window=8, outbox=5, timing=QUICK.timing)
    async with linked(options=options) as pair:
        gate, seen = Gate(), []
        await pair.bank.spawn(child(Held, gate, seen).options(mailbox=Mailbox(capacity=4)))
        ref = await pair.node.lookup("held", Held)
        sent = 0

        async def pour() -> None:
            nonlocal sent
            for number in range(500):
                await ref.send(Add(number=number))
                sent += 1

        pouring = asyncio.ensure_future(pour())
        await asyncio.sleep(20.0)
        # One in hand, the mailbox, the window, the outbox.
        assert sent <= 1 + 4 + 8 + 1_000
        before = sent
        await asyncio.sleep(20.0)
        assert sent == before
        gate.open()
        await pouring
        assert await ref.ask(Total()) == 500
        assert seen == list(range(500))


async def test_a_slow_actor_does_not_hold_up_its_neighbours() -> None:
    async with linked(options=LinkOptions(window=8, timing=QUICK.timing)) as pair:
        gate = Gate()
        await pair.bank.spawn(child(Held, gate, []).options(mailbox=1))
        await pair.bank.spawn(Counter)
        held = await pair.node.lookup("held", Held)
        counter = await pair.node.lookup("counter", Counter)
        for number in range(100):
            held.tell(Add(number=number))
        assert await counter.ask(Add(number=3), timeout=1.0) == 3
        gate.open()


async def test_a_mailbox_that_refuses_does_so_from_afar_too() -> None:
    async with linked() as pair:
        gate = Gate()
        await pair.bank.spawn(child(Held, gate, []).options(mailbox=Mailbox(capacity=1, policy="fail")))
        ref = await pair.node.lookup("held", Held)
        ref.tell(Add(number=0))
        await asyncio.sleep(0.5)
        ref.tell(Add(number=1))
        with pytest.raises(MailboxFull, match="//bank/user/held"):
            await ref.ask(Add(number=2))
        gate.open()


# Odd ones


async def test_a_message_whose_own_check_fails_on_the_other_side_is_refused_and_the_link_stays() -> None:
    async with linked(messages=[*MESSAGES, Picky]) as pair:
        await pair.bank.spawn(Counter)
        ref: Any = await pair.node.lookup("counter")
        for error in (KeyError, ZeroDivisionError, ValueError):
            Picky.raises = error
            with pytest.raises(MessageNotAccepted, match="Picky"):
                await ref.ask(Picky.model_construct(number=1))
        assert await ref.ask(Total()) == 0


async def test_a_text_that_has_no_form_in_unicode_is_refused_by_itself_and_the_link_stays() -> None:
    async with linked(messages=CONVERSATION, connect={"messages": CONVERSATION}) as pair:
        seen: list[str] = []

        class Listener(AsyncAgent[Say | Prompt]):
            @handler
            def hear(self, message: Say) -> None:
                seen.append(message.text)

            @handler
            def answer(self, message: Prompt) -> Said:
                return Say(text="half a pair: \ud83d")

        await pair.bank.spawn(child(Listener).options(name="listener"))
        ref = await pair.node.lookup("listener")
        for text in ("one", "\ud800", "two"):
            ref.tell(Say(text=text))
        for prompt in ("\udfff", "well?"):
            with pytest.raises(MessageNotAccepted, match="surrogates not allowed"):
                await ref.ask(Prompt(text=prompt))
        assert seen == ["one", "two"]
        assert pair.node.is_up
        assert len(pair.wire.opened) == 1
        (letter,) = [each for each in pair.shop_letters.letters if isinstance(each.message, Say)]
        assert "surrogates not allowed" in letter.why


async def test_a_reply_that_does_not_fit_its_type_is_an_error_of_that_ask_only() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Liar)
        ref = await pair.node.lookup("liar", Liar)
        with pytest.raises(MessageNotAccepted, match="the reply"):
            await ref.ask(Add())
        assert await ref.ask(Total()) == 1


# Circles


async def test_a_circle_of_asks_over_two_nodes_is_found_at_once() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Relay)
        here = await pair.shop.spawn(Relay)
        there = await pair.node.lookup("relay", Relay)
        await there.ask(Introduce(to=here))
        await here.ask(Introduce(to=there))
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(ActorFailed) as caught:
            await here.ask(AskFriend())
        assert "circle" in str(caught.value)
        assert loop.time() - before < 1.0


async def test_a_circle_that_closes_at_home_is_found_too() -> None:
    async with linked() as pair:
        await pair.bank.spawn(Relay)
        first = await pair.shop.spawn(child(Relay).options(name="first"))
        second = await pair.shop.spawn(child(Relay).options(name="second"))
        there = await pair.node.lookup("relay", Relay)
        await first.ask(Introduce(to=there))
        await there.ask(Introduce(to=second))
        await second.ask(Introduce(to=first))  # first (shop), relay (bank), second (shop), first
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(ActorFailed, match="circle"):
            await first.ask(AskFriend())
        assert loop.time() - before < 1.0


async def test_asks_that_meet_without_a_circle_are_no_false_alarm() -> None:
    async with linked() as pair:
        counter = await pair.bank.spawn(Counter, 5)
        await pair.bank.spawn(Relay)
        here = await pair.shop.spawn(Relay)
        there = await pair.node.lookup("relay", Relay)
        await there.ask(Introduce(to=counter))
        await here.ask(Introduce(to=there))
        assert [await here.ask(AskFriend()) for _ in range(3)] == [5, 5, 5]
        node: Any = pair.bank._understudy_node
        assert node.chains == {}


# Spawning


async def test_what_is_on_the_list_can_be_started_there_with_arguments_and_a_name() -> None:
    async with linked(actors=[Counter, Watcher]) as pair:
        ref = await pair.node.spawn(Counter, 7)
        assert ref.path == "//bank/user/counter"
        assert await ref.ask(Total()) == 7
        named = await pair.node.spawn(child(Counter, start=9).options(name="nine"))
        assert named.path == "//bank/user/nine"
        assert await named.ask(Total()) == 9


async def test_arguments_that_do_not_fit_are_refused_before_anything_is_sent() -> None:
    async with linked(actors=[Counter]) as pair:
        with pytest.raises(InvalidSpec, match="arguments"):
            await pair.node.spawn(Counter, "seven")
        with pytest.raises(InvalidSpec, match="only a name"):
            await pair.node.spawn(child(Counter).options(restart="temporary"))
        assert pair.bank.find("counter") is None
