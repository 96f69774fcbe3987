"""What each transport has to do, whatever it is made of."""

from __future__ import annotations

import asyncio

import pytest

from tests.transports.conformance.cases import Case, Stage, each_transport, lost
from understudy.transports import Connection, ConnectionLimits, ConnectionLost

pytestmark = [pytest.mark.asyncio, pytest.mark.parametrize("case", each_transport())]


async def test_messages_arrive_whole_once_and_in_order_in_both_directions(case: Case) -> None:
    messages = [b"", b"\x00\xff", b"x" * 126, b"y" * 70_000, *(str(number).encode() for number in range(100))]
    async with Stage(case) as stage:
        for source, target in (await stage.pair(), tuple(reversed(await stage.pair()))):

            async def send(source: Connection = source) -> None:
                for message in messages:
                    await source.send(message)

            sending = asyncio.ensure_future(send())
            assert [await target.receive() for _ in messages] == messages
            await sending


async def test_connections_do_not_see_each_others_messages(case: Case) -> None:
    async with Stage(case) as stage:
        pairs = [await stage.pair() for _ in range(3)]
        for number, (client, _) in enumerate(pairs):
            await client.send(str(number).encode())
        assert [await server.receive() for _, server in pairs] == [b"0", b"1", b"2"]


async def test_what_was_sent_before_the_end_can_be_received_after_it(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        await client.send(b"one")
        await client.send(b"two")
        await client.aclose("done")
        assert [await server.receive(), await server.receive()] == [b"one", b"two"]
        with pytest.raises(ConnectionLost) as end:
            await server.receive()
        assert end.value.clean
        assert "done" in end.value.why


async def test_both_ends_learn_of_the_end_whoever_closes(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        waiting = asyncio.ensure_future(lost(client))
        await server.aclose("enough")
        assert "enough" in (await waiting).why
        for end in (client, server):
            with pytest.raises(ConnectionLost):
                await end.receive()
            with pytest.raises(ConnectionLost):
                await end.send(b"too late")


async def test_closing_twice_and_from_other_tasks_raises_nothing(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        receiving = asyncio.ensure_future(lost(client))
        await asyncio.gather(client.aclose(), client.aclose(), server.aclose(), server.aclose())
        await client.aclose()
        assert isinstance(await receiving, ConnectionLost)


async def test_who_sends_more_than_is_taken_has_to_wait(case: Case) -> None:
    async with Stage(case, ConnectionLimits(frame_timeout=30.0)) as stage:
        client, server = await stage.pair()
        sent = 0

        async def pour() -> None:
            nonlocal sent
            while sent < 400:
                await client.send(bytes(100_000))
                sent += 1

        pouring = asyncio.ensure_future(pour())
        await asyncio.sleep(0.3)  # in real time where there are sockets: nobody tells how much these take
        assert sent < 400
        before = sent
        await asyncio.sleep(0.2)
        assert sent == before
        for _ in range(400):
            await server.receive()
        await pouring


async def test_a_peer_that_takes_nothing_loses_the_connection_at_the_deadline(case: Case) -> None:
    async with Stage(case, ConnectionLimits(frame_timeout=0.5, close_timeout=0.2)) as stage:
        client, _ = await stage.pair()
        with pytest.raises(ConnectionLost):
            await pour_out(client)


async def pour_out(connection: Connection) -> None:
    while True:
        await connection.send(bytes(100_000))


async def test_a_peer_that_sends_nothing_loses_the_connection_at_the_deadline(case: Case) -> None:
    async with Stage(case, ConnectionLimits(idle_timeout=0.3, close_timeout=0.2)) as stage:
        client, server = await stage.pair()
        with pytest.raises(ConnectionLost):
            await server.receive()
        assert isinstance(await lost(client), ConnectionLost)


async def test_a_cancelled_receive_loses_no_message(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        for _ in range(3):
            receiving = asyncio.ensure_future(server.receive())
            await asyncio.sleep(0.01)  # it is waiting by now, and it is right if it is not
            receiving.cancel()
            await asyncio.wait({receiving})
        await client.send(b"here")
        assert await server.receive() == b"here"


async def test_a_message_that_is_too_large_is_not_sent_and_not_taken(case: Case) -> None:
    async with Stage(case, ConnectionLimits(max_size=1_000)) as stage:
        client, server = await stage.pair()
        with pytest.raises(ValueError, match="max_size"):
            await client.send(bytes(1_001))
        await client.send(bytes(1_000))
        assert await server.receive() == bytes(1_000)


async def test_a_connection_is_closed_when_serve_returns(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        stage.release(server)
        assert isinstance(await lost(client), ConnectionLost)
        assert stage.ended == [server]


async def test_a_listener_that_is_closed_ends_its_connections_and_accepts_no_more(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        closing = asyncio.ensure_future(stage.listener.aclose())
        assert isinstance(await lost(client), ConnectionLost)
        stage.release(server)
        await closing
        with pytest.raises(ConnectionLost):
            await stage.connect()
        await stage.listener.aclose()


async def test_there_are_no_more_connections_than_the_limit(case: Case) -> None:
    async with Stage(case, ConnectionLimits(max_connections_per_address=2)) as stage:
        pairs = [await stage.pair() for _ in range(2)]
        with pytest.raises(ConnectionLost):
            await lost_or_refused(stage)
        client, server = pairs[0]
        await client.send(b"still here")
        assert await server.receive() == b"still here"
        stage.release(pairs[1][1])
        await lost(pairs[1][0])
        await stage.pair_when_there_is_room()


async def lost_or_refused(stage: Stage) -> None:
    connection = await stage.connect()
    raise await lost(connection)


async def test_an_address_that_is_taken_is_refused(case: Case) -> None:
    async with Stage(case) as stage:
        with pytest.raises(OSError):  # noqa: PT011 - the number depends on the operating system
            await stage.transport.listen(stage.listener.url, stage.serve, stage.options, stage.env)


async def test_each_end_says_what_it_knows_of_the_other(case: Case) -> None:
    async with Stage(case) as stage:
        client, server = await stage.pair()
        for end in (client, server):
            assert end.peer.transport in stage.transport.schemes
            assert end.peer.address
            assert end.peer.names == ()
