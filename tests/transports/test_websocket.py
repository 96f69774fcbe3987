"""Links over real WebSockets: what only real sockets can show."""

from __future__ import annotations

import asyncio
import builtins
import sys
from typing import Any

import pytest
from tenacity import wait_fixed

from tests.transports.cast import MESSAGES, Add, Count, Counter, Introduce, Total, Watch, Watcher, Watching
from tests.transports.stage import Letters, until
from understudy import ActorSystem
from understudy.exceptions import MissingExtra
from understudy.transports import ConnectionLost, LinkOptions, Timing
from understudy.transports._websocket import WebSocketTransport

TOKEN = "a token of a good length"
OPTIONS = LinkOptions(timing=Timing(heartbeat=1.0, ack_timeout=5.0), reconnect=wait_fixed(0.01))
pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]


class Kept(WebSocketTransport):
    """Keeps the connections that it has made, so that a test can break them."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def connect(self, *args: Any) -> Any:
        self.made.append(await super().connect(*args))
        return self.made[-1]


@pytest.mark.parametrize("url", ["ws://127.0.0.1:0", "sse://127.0.0.1:0"])
async def test_all_that_refs_can_do_they_can_do_over_a_socket(url: str) -> None:
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop") as shop:
        await bank.spawn(Counter)
        listening = await bank.listen(url, token=TOKEN, messages=MESSAGES, actors=[Counter])
        node = await shop.connect(listening.url, token=TOKEN, messages=MESSAGES)
        await until(lambda: listening.peers == ("shop",), 5.0)
        ref = await node.lookup("counter", Counter)
        for number in range(300):
            await ref.send(Add(number=number))
        assert await ref.ask(Total()) == sum(range(300))
        async with ref.stream(Count(to=50)) as parts:
            assert [part async for part in parts] == list(range(50))
        watcher = await shop.spawn(Watcher)
        await ref.ask(Introduce(to=watcher))
        await watcher.ask(Watch(whom=ref))
        ref.stop()
        await ref.wait_stopped(5.0)
        async with asyncio.timeout(5.0):
            while not await watcher.ask(Watching()):  # each actor hears of an end for itself: it may be behind us
                pass
        assert await watcher.ask(Watching()) == ["//bank/user/counter: shut down (stopped by node shop)"]
        other = await node.spawn(Counter, 7)
        assert await other.ask(Total()) == 7


async def test_a_channel_loses_nothing_and_duplicates_nothing_over_fifty_broken_connections() -> None:
    transport, letters = Kept(), Letters()
    seen: list[Any] = []
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop", instruments=[letters]) as shop:
        await bank.spawn(Counter, 0, seen)
        listening = await bank.listen(token=TOKEN, messages=MESSAGES, options=OPTIONS)
        node = await shop.connect(listening.url, token=TOKEN, options=OPTIONS, transport=transport)
        channel = node.channel("counter", Counter)
        sent = 0
        for cycle in range(50):
            for _ in range(20):
                await channel.send(Add(number=sent))
                sent += 1
            await asyncio.sleep(0.002 * (cycle % 4))  # so that it breaks at different moments
            transport.made[-1].transport.abort()
            await until(lambda: len(transport.made) == cycle + 2, 20.0)  # noqa: B023 - it is called at once
        await channel.flush(20.0)
        assert len(transport.made) >= 51
    assert seen == list(range(sent))
    assert letters.letters == []


async def test_a_port_where_nobody_listens_is_an_error_that_says_so() -> None:
    async with ActorSystem(name="shop") as shop:
        with pytest.raises(ConnectionLost, match=r"ws://127\.0\.0\.1:1"):
            await shop.connect("ws://127.0.0.1:1", token=TOKEN)


async def test_a_missing_library_gives_one_helpful_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name == "websockets" or name.startswith("websockets.") or name == "understudy.transports._websocket":
            monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *args: Any, **given: Any) -> Any:
        if name.partition(".")[0] == "websockets":
            raise ImportError(name)
        return real(name, *args, **given)

    monkeypatch.setattr(builtins, "__import__", without)
    async with ActorSystem(name="bank") as bank:
        with pytest.raises(MissingExtra, match=r'pip install "understudy\[websocket\]"'):
            await bank.listen("ws://127.0.0.1:0", token=TOKEN)
