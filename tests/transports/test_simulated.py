"""Links on the simulated network: pieces, latency, resets, half-open connections and partitions, in any order."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter as Counter_
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tests.transports.cast import MESSAGES, Add, Chatter, Count, Counter, Introduce, Total, Watch, Watcher, Watching
from tests.transports.stage import Letters
from understudy import (
    ActorRef,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    UnderstudyError,
    child,
)
from understudy.testing import Faults, Simulation, simulate
from understudy.transports import LinkDown, LinkError, LinkOptions, Timing, TransportOptions
from understudy.transports._codec import Codec, MsgpackHeaders
from understudy.transports._frames import Letter
from understudy.transports._websocket import WebSocketTransport

CAMPAIGN = bool(os.environ.get("UNDERSTUDY_CAMPAIGN"))
CYCLES = 25 if CAMPAIGN else 5
KILLS = int(os.environ.get("UNDERSTUDY_KILLS", 25 if CAMPAIGN else 10))
"""Links that are lost in one run. With 1000 of them a run takes minutes, so the number is for itself to set."""
TOKEN = "a token of a good length"
URL = "ws://server:80"
ROUGH = Faults(reset=0.02, partition=True)
# The event loop may lag behind by a second, again and again.
TIMING = Timing(heartbeat=5.0, ack_timeout=30.0)
OPTIONS = LinkOptions(timing=TIMING)


class Simulated(WebSocketTransport):
    """Between hosts that exist only in the simulation, where nobody listens in and there is no TLS."""

    def check_server(self, url: str, options: TransportOptions) -> SplitResult:
        return urlsplit(url)

    def check_client(self, url: str, options: TransportOptions) -> SplitResult:
        return urlsplit(url)


class Counted(Simulated):
    """Counts the connections that it has made, and the letters that it has sent, by their numbers."""

    def __init__(self) -> None:
        self.made = 0
        self.sent: Counter_[int] = Counter_()

    async def connect(self, *args: Any) -> Any:
        connection = await super().connect(*args)
        self.made += 1
        write = connection.write

        def counted(data: bytes) -> None:
            if data[:1] != b"{":  # of the handshake
                for frame, _ in Codec(MsgpackHeaders(), None).unpack(data[:-16], 17):
                    if isinstance(frame, Letter):
                        self.sent[frame.number] += 1
            write(data)

        connection.write = counted
        return connection


class Stage:
    """Two systems on two hosts, linked as far as the network lets them be."""

    def __init__(self, sim: Simulation, options: LinkOptions = OPTIONS) -> None:
        self.sim = sim
        self.options = options
        self.bank, self.shop = ActorSystem(name="bank"), ActorSystem(name="shop")
        self.seen: list[Any] = []
        self.healing: list[asyncio.TimerHandle] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Stage:
        await self._stack.enter_async_context(self.bank)
        await self._stack.enter_async_context(self.shop)
        given: dict[str, Any] = {
            "token": TOKEN,
            "messages": MESSAGES,
            "options": self.options,
            "transport": Simulated(),
        }
        await self.bank.listen(URL, **given)
        await self.bank.spawn(child(Counter, 0, self.seen).options(restart="temporary"))
        self.node = await connected(self.shop, given)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.__aexit__(*error)

    async def ref(self) -> ActorRef[Any]:
        """The counter, as soon as there is a link."""
        while True:
            try:
                await self.node.wait_up(120.0)
                return await self.node.lookup("counter", Counter)
            except LinkDown:
                continue

    def trouble(self) -> None:
        """One of the things that happen to connections."""
        kind = self.sim.random.randrange(3)
        ours = ("local", "server")
        with contextlib.suppress(TypeError):
            if kind == 0:
                self.sim.net.cut(ours, direction=self.sim.random.choice(["out", "in", "both"]))
            elif kind == 1:
                self.sim.net.reset(ours)
            else:
                self.sim.net.partition(*ours)
                later = self.sim.random.choice([0.1, 3.0, 30.0])
                self.healing.append(self.sim.loop.call_later(later, self.sim.net.heal, *ours))

    def calm(self) -> None:
        """From here on the network behaves."""
        for timer in self.healing:
            timer.cancel()
        self.sim.choices.calm = True
        self.sim.net.calm()


@simulate(schedules=4, faults=ROUGH)
async def test_a_channel_loses_nothing_and_duplicates_nothing_through_any_trouble(sim: Simulation) -> None:
    async with Stage(sim) as stage:
        channel = stage.node.channel("counter", Counter)
        sent = 0
        for _ in range(CYCLES):
            for _ in range(sim.random.randrange(1, 8)):
                await channel.send(Add(number=sent))
                sent += 1
            await asyncio.sleep(sim.random.choice([0.0, 0.01, 0.5, 3.0]))
            stage.trouble()
        stage.calm()
        await channel.flush(300.0)
        assert stage.seen == list(range(sent))


@simulate(schedules=2, faults=Faults(reset=0.005, partition=True))
async def test_a_channel_outlives_kill_after_kill_of_links_and_of_the_node_at_the_other_end(sim: Simulation) -> None:
    """Each message is sent at least once, and every living receiver gets it once, in order, until one has it."""
    lives: list[list[int]] = []
    wire = Counted()
    given: dict[str, Any] = {"token": TOKEN, "messages": MESSAGES, "options": OPTIONS}
    shop_letters = Letters()
    async with ActorSystem(name="shop", instruments=[shop_letters]) as shop:
        bank = await Life.begin(given, lives)
        node = await connected(shop, given | {"transport": wire})
        channel = node.channel("counter", Counter)
        sent = kill = 0
        while wire.made <= KILLS:  # so that as many links were lost, and made again
            kill += 1
            for _ in range(sim.random.randrange(1, 6)):
                sent += 1
                await channel.send(Add(number=sent))
            await asyncio.sleep(sim.random.choice([0.0, 0.0, 0.001, 0.02, 0.3, 2.0]))
            if kill % 25 == 0:  # the node itself, with no word of farewell
                sim.net.reset(("local", "server"))
                await bank.end()
                await asyncio.sleep(sim.random.choice([0.0, 0.5]))
                bank = await Life.begin(given, lives)
                await node.wait_up(300.0)
            elif sim.random.randrange(4):
                sim.net.reset(("local", "server"))
                if sim.random.randrange(2):
                    await node.wait_up(300.0)
            else:  # nobody is told
                sim.net.cut(("local", "server"), direction=sim.random.choice(["out", "in", "both"]))
        sim.choices.calm = True
        sim.net.calm()
        await channel.flush(600.0)
        await bank.end()
    assert shop_letters.letters == []
    had = set().union(*lives)
    assert had == set(range(1, sent + 1))  # nothing is lost
    for life in lives:
        assert life == sorted(set(life))  # nothing is doubled, or out of order
    assert all(wire.sent[number] >= 1 for number in range(1, sent + 1))
    print(
        f"{kill:,} kills, {wire.made:,} connections, {len(lives)} lives of the receiver; {sent:,} messages in "
        f"{wire.sent.total():,} letters; {sum(map(len, lives)):,} received, none lost, none twice in one life"
    )


class Life:
    """The receiving node, from one start to the next."""

    def __init__(self) -> None:
        self.letters = Letters()
        self.system = ActorSystem(name="bank", instruments=[self.letters])
        self.stack = contextlib.AsyncExitStack()
        self.had: list[int] = []

    @classmethod
    async def begin(cls, given: dict[str, Any], lives: list[list[int]]) -> Life:
        """Listen, with an actor that notes what it gets."""
        life = cls()
        await life.stack.enter_async_context(life.system)
        lives.append(life.had)
        await life.system.spawn(child(Counter, 0, life.had).options(restart="temporary"))
        await life.system.listen(URL, **given, transport=Simulated())
        return life

    async def end(self) -> None:
        """Stop; what is in the mailbox then has been received, too."""
        await self.stack.aclose()
        self.had += [letter.message.number for letter in self.letters.letters if isinstance(letter.message, Add)]


async def connected(shop: ActorSystem, given: dict[str, Any]) -> Any:
    """A link with the server, as soon as the network lets there be one."""
    while True:
        try:
            return await shop.connect(URL, **given)
        except (LinkError, OSError):
            await asyncio.sleep(1.0)  # of virtual time, in which the network is troubled and healed


@simulate(schedules=4, faults=ROUGH)
async def test_tells_arrive_at_most_once_and_in_order_and_asks_end_in_one_way(sim: Simulation) -> None:
    async with Stage(sim) as stage:
        outcomes: list[int | str] = []

        async def ask(ref: ActorRef[Any], number: int) -> None:
            try:
                await ref.ask(Add(number=number), timeout=5.0)
                outcomes.append(number)
            except (AskTimeout, ActorStopped) as error:
                outcomes.append(type(error).__name__)

        asking: list[Any] = []
        accepted: list[int] = []
        for cycle in range(CYCLES):
            ref = await stage.ref()
            for number in range(cycle * 10, cycle * 10 + 10):
                if sim.random.randrange(2):
                    if ref.tell(Add(number=number)):
                        accepted.append(number)
                else:
                    asking.append(asyncio.ensure_future(ask(ref, number)))
                    await asyncio.sleep(0)
            if sim.random.randrange(2):
                await asyncio.sleep(0.2)
            stage.trouble()
        stage.calm()
        await asyncio.wait(asking) if asking else None
        ref = await stage.ref()
        await ref.ask(Total(), timeout=60.0)
        assert len(outcomes) == len(asking)
        handled = [number for number in stage.seen if isinstance(number, int)]
        assert len(handled) == len(set(handled))
        told = [number for number in handled if number in accepted]  # each ask was made by a task of its own
        assert told == sorted(told)
        assert {each for each in outcomes if isinstance(each, int)} <= set(handled)


@simulate(schedules=4, faults=ROUGH)
async def test_each_watch_is_told_exactly_once(sim: Simulation) -> None:
    async with Stage(sim) as stage:
        watcher = await stage.shop.spawn(Watcher)
        ref = await stage.ref()
        for _ in range(CYCLES):
            await watcher.ask(Watch(whom=ref))
            await asyncio.sleep(sim.random.choice([0.0, 0.1]))
            stage.trouble()
            await asyncio.sleep(sim.random.choice([0.0, 5.0]))
        stage.calm()
        await stage.node.wait_up(120.0)
        counter = stage.bank.find("counter")
        assert counter is not None
        counter.stop()
        await counter.wait_stopped()
        await asyncio.sleep(30.0)
        assert len(await watcher.ask(Watching())) == CYCLES


@simulate(schedules=4)
async def test_the_news_of_an_end_comes_behind_what_was_sent(sim: Simulation) -> None:
    async with Stage(sim, LinkOptions(window=4, timing=TIMING)) as stage:
        watcher = await stage.shop.spawn(Watcher)
        await stage.bank.spawn(child(Chatter).options(restart="temporary"))
        chatter: Any = await stage.node.lookup("chatter")
        await chatter.ask(Introduce(to=watcher))
        await watcher.ask(Watch(whom=chatter))
        await asyncio.sleep(1.0)
        chatter.tell(Add(number=30))
        await asyncio.sleep(60.0)
        heard = await watcher.ask(Watching())
        assert heard == [*map(str, range(30)), "//bank/user/chatter: a normal end"]


@simulate(schedules=4, faults=ROUGH)
async def test_a_stream_gives_the_first_parts_in_order_and_then_all_or_an_error(sim: Simulation) -> None:
    async with Stage(sim) as stage:
        for _ in range(CYCLES):
            ref = await stage.ref()
            got: list[int] = []
            try:
                async for part in ref.stream(Count(to=12), buffer=sim.random.choice([1, 3, 16]), timeout=20.0):
                    got.append(part)
                    if sim.random.randrange(20) == 0:
                        stage.trouble()
                assert got == list(range(12))
            except UnderstudyError:
                assert got == list(range(len(got)))
        stage.calm()
        await asyncio.sleep(60.0)
        assert stage.seen.count("stream closed") <= stage.seen.count("part 0")
