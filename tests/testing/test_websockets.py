"""The unmodified websockets library on the simulated network, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, NoReturn

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidMessage,
    WebSocketException,
)

from tests.testing.net_stage import Script, run
from understudy.testing._net import SimNet
from understudy.testing._strategies import Fifo, Pos, RandomWalk

KEEPALIVE = 20.0
"""Seconds between pings, and how long each waits for its answer: the library's defaults."""


class RealSocket(AssertionError):
    """Somebody has opened one."""


@pytest.fixture(autouse=True)
def no_real_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> NoReturn:
        raise RealSocket

    for name in ("socketpair", "create_connection", "create_server", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "__init__", refuse)
    with pytest.raises(RealSocket):
        socket.socket()


def dial(**options: Any) -> connect:
    return connect("ws://server:80/", proxy=None, **options)


async def dialled(net: SimNet, host: str = "client", **options: Any) -> ClientConnection:
    with net.host(host):
        return await dial(**options)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


class Listener:
    """A handler that keeps what it receives and how its connection ended."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.ends: list[ConnectionClosed] = []
        self.connections: list[ServerConnection] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            while True:
                self.messages.append(await connection.recv())
        except ConnectionClosed as end:
            self.ends.append(end)


def strategies() -> list[Any]:
    return [pytest.param(kind(seed), id=f"{kind.name}-{seed}") for kind in (RandomWalk, Pos) for seed in range(12)]


@pytest.mark.parametrize("strategy", [pytest.param(Fifo(), id="fifo"), *strategies()])
def test_messages_are_echoed_whatever_the_network_makes_of_them(strategy: Any) -> None:
    async def main(net: SimNet) -> list[Any]:
        messages: list[Any] = ["", "hello", b"\x00\x01", "x" * 126, b"y" * 70_000]
        async with serve(echo, "server", 80):
            client = await dialled(net)
            assert (client.local_address, client.remote_address) == (("client", 49_152), ("server", 80))
            for message in messages:
                await client.send(message)
            assert [await client.recv() for _ in messages] == messages
            await client.close()
        assert net.connections == []
        return [client.close_code, client.close_reason]

    assert run(main, strategy) == [1000, ""]


def test_frames_may_come_byte_by_byte() -> None:
    async def main(net: SimNet) -> str | bytes:
        net.window = 1
        async with serve(echo, "server", 80):
            client = await dialled(net)
            await client.send("hello")
            reply = await client.recv()
            await client.close()
        return reply

    assert run(main) == "hello"


def test_a_close_handshake_brings_code_and_reason_to_the_other_side() -> None:
    async def main(net: SimNet) -> None:
        listener = Listener()
        async with serve(listener, "server", 80):
            client = await dialled(net)
            await client.close(1000, "enough")
            with pytest.raises(ConnectionClosedOK):
                await client.recv()
            await asyncio.sleep(1)
            assert net.connections == []
            (end,) = listener.ends
            assert isinstance(end, ConnectionClosedOK)
            assert end.rcvd is not None
            assert (end.rcvd.code, end.rcvd.reason, end.rcvd_then_sent) == (1000, "enough", True)

    run(main)


def test_a_server_that_closes_says_so_to_all_its_clients() -> None:
    async def main(net: SimNet) -> list[Any]:
        server = await serve(echo, "server", 80)
        clients = [await dialled(net, f"client-{number}") for number in (1, 2)]
        server.close()
        await server.wait_closed()
        for client in clients:
            await client.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await dialled(net)
        return [(client.close_code, client.close_reason) for client in clients]

    assert run(main) == [(1001, ""), (1001, "")]


def test_two_clients_are_served_side_by_side_each_in_order() -> None:
    async def main(net: SimNet) -> dict[str, list[Any]]:
        listener = Listener()
        received: dict[str, list[Any]] = {}

        async def play(name: str) -> None:
            client = await dialled(net, name)
            for number in range(5):
                await client.send(f"{name} {number}")
            received[name] = [await client.recv() for _ in range(2)]
            await client.close()

        async with serve(listener, "server", 80):
            tasks = [asyncio.ensure_future(play(name)) for name in ("a", "b")]
            await asyncio.sleep(10)
            broadcast(listener.connections, "to all")
            broadcast(listener.connections[:1], "to the first")
            broadcast(listener.connections[1:], "to the second")
            await asyncio.wait(tasks)
            for name in ("a", "b"):
                mine = [message for message in listener.messages if str(message).startswith(name)]
                assert mine == [f"{name} {number}" for number in range(5)]
        return received

    for strategy in (Fifo(), RandomWalk(1), RandomWalk(2), Pos(3)):
        received = run(main, strategy)
        assert sorted(received.values()) == [["to all", "to the first"], ["to all", "to the second"]]


def test_who_sends_more_than_the_other_side_takes_has_to_wait() -> None:
    async def main(net: SimNet) -> None:
        sent: list[int] = []
        go_on = asyncio.Event()

        async def pour(connection: ServerConnection) -> None:
            for number in range(100):
                await connection.send(bytes(10_000))
                sent.append(number)

        async def slow(client: ClientConnection) -> int:
            await go_on.wait()
            return sum([len(message) async for message in client])

        async with serve(pour, "server", 80, compression=None):
            client = await dialled(net, compression=None, ping_interval=None)
            reading = asyncio.ensure_future(slow(client))
            await asyncio.sleep(10)
            # The client's queue, the window, the server's buffer.
            assert 15 < len(sent) < 60
            before = len(sent)
            await asyncio.sleep(5)
            assert len(sent) == before
            go_on.set()
            assert await reading == 1_000_000
            await client.close()

    run(main)


@pytest.mark.parametrize("direction", ["out", "in", "both"])
def test_the_keepalive_notices_a_connection_that_is_cut_half_open(
    direction: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "websockets")

    async def main(net: SimNet) -> float:
        loop = asyncio.get_running_loop()
        listener = Listener()
        async with serve(listener, "server", 80):
            client = await dialled(net)
            start = loop.time()
            net.cut(client, direction=direction)
            for _ in range(15):
                await client.send("anybody?")
                await asyncio.sleep(0.2)
            assert not client.transport.is_closing()
            with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
                await client.recv()
            noticed = loop.time() - start
            await listener.connections[0].wait_closed()
            assert listener.messages == (["anybody?"] * 15 if direction == "in" else [])
            assert isinstance(listener.ends[0], ConnectionClosedError)
        return noticed

    # After one ping without an answer; the time for the close handshake, which nobody answers, may come on top.
    assert 2 * KEEPALIVE <= run(main) <= 2 * KEEPALIVE + 11


def test_without_a_keepalive_a_half_open_connection_stays_until_somebody_writes_and_waits() -> None:
    async def main(net: SimNet) -> None:
        listener = Listener()
        async with serve(listener, "server", 80, ping_interval=None):
            client = await dialled(net, ping_interval=None)
            net.cut(client)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100_000):
                    await client.recv()
            pong = await client.ping()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await asyncio.shield(pong)
            net.calm()
            with pytest.raises(ConnectionClosedError):
                await pong
            await client.wait_closed()

    run(main)


def test_a_reset_in_the_middle_ends_both_sides_without_a_handshake() -> None:
    async def main(net: SimNet) -> None:
        listener = Listener()
        async with serve(listener, "server", 80):
            client = await dialled(net)
            await client.send("arrives")
            await asyncio.sleep(1)
            await client.send("does not")
            net.reset(client)
            with pytest.raises(ConnectionClosedError) as caught:
                await client.recv()
            assert caught.value.rcvd is None
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            with pytest.raises(ConnectionClosedError):
                await client.send("too late")
            await asyncio.sleep(1)
            assert listener.messages == ["arrives"]
            assert isinstance(listener.ends[0].__cause__, ConnectionResetError)
            assert net.connections == []

    run(main)


def test_a_reset_by_chance_while_the_connection_is_opened_is_an_error_of_connect() -> None:
    async def main(net: SimNet) -> None:
        async with serve(echo, "server", 80):
            with pytest.raises(InvalidMessage):
                await dialled(net)
            assert net.connections == []

    run(main, Script(reset=[1]), reset=0.1)


def test_a_client_that_connects_again_and_again_gets_over_a_reset() -> None:
    async def main(net: SimNet) -> list[Any]:
        replies: list[Any] = []
        async with serve(echo, "server", 80):
            with net.host("client"):
                async for client in dial():
                    try:
                        await client.send(f"attempt {len(replies)}")
                        replies.append(await client.recv())
                        if len(replies) == 1:
                            net.reset(client)
                        else:
                            await client.close()
                            break
                        await client.recv()
                    except ConnectionClosedError:
                        continue
        return replies

    assert run(main) == ["attempt 0", "attempt 1"]


def test_what_is_sent_during_a_short_partition_arrives_in_order_after_it() -> None:
    async def main(net: SimNet) -> None:
        listener = Listener()
        async with serve(listener, "server", 80):
            client = await dialled(net)
            net.partition("client", "server")
            for number in range(3):
                await client.send(str(number))
                await asyncio.sleep(5)
            assert listener.messages == []
            net.heal("client", "server")
            await client.send("3")
            await asyncio.sleep(1)
            assert listener.messages == ["0", "1", "2", "3"]
            # Several pings later the connection still stands.
            await asyncio.sleep(10 * KEEPALIVE)
            assert listener.ends == []
            await client.close()

    run(main)


def test_a_long_partition_ends_the_connection_on_both_sides_and_a_new_one_can_be_made_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "websockets")

    async def main(net: SimNet) -> None:
        listener = Listener()
        async with serve(listener, "server", 80):
            client = await dialled(net)
            net.partition("client", "server")
            with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
                await client.recv()
            with pytest.raises(TimeoutError, match="opening handshake"):
                await dialled(net)
            assert net.open_connections() == []
            assert len(listener.ends) == 1
            net.heal()
            client = await dialled(net)
            await client.send("again")
            await client.close()
            await asyncio.sleep(1)
            assert listener.messages == ["again"]

    run(main)


def test_a_run_with_resets_and_partitions_is_repeated_exactly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "websockets")

    async def main(net: SimNet) -> list[Any]:
        loop: Any = asyncio.get_running_loop()
        seen: list[Any] = []
        async with serve(echo, "server", 80):
            for number in range(5):
                try:
                    client = await dialled(net)
                    for _ in range(5):
                        await client.send(str(number))
                        seen.append((await client.recv(), loop.time()))
                    await client.close()
                except (OSError, WebSocketException) as error:
                    seen.append((type(error).__name__, loop.time()))
        return [seen, loop.digest()]

    def play(seed: int) -> list[Any]:
        return run(main, RandomWalk(seed), reset=0.02, partitions=True)

    runs = [play(seed) for seed in range(10)]
    assert [play(seed) for seed in range(10)] == runs
    assert any("Closed" in str(seen) for seen, _ in runs)
