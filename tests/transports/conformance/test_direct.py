"""What a transport has to do that can hand over and take without tasks: the same, in the same order, only at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.transports.conformance.cases import CASES, Stage, lost
from understudy.transports import ConnectionLimits, ConnectionLost
from understudy.transports._connection import DirectConnection

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]
CASE = next(case for case in CASES if case.name == "websocket")


async def direct_pair(stage: Stage) -> tuple[Any, Any]:
    client, server = await stage.pair()
    assert isinstance(client, DirectConnection)
    assert isinstance(server, DirectConnection)
    return client, server


def into(had: list[bytes]) -> Callable[[bytes], bool]:
    """What puts all that comes into *had*."""

    def take(data: bytes) -> bool:
        had.append(data)
        return True

    return take


async def test_what_is_written_and_what_is_sent_arrives_in_one_order_also_where_it_was_received_before() -> None:
    messages = [str(number).encode() * (number % 7) for number in range(60)]
    async with Stage(CASE) as stage:
        for source, target in (await direct_pair(stage), tuple(reversed(await direct_pair(stage)))):
            for number, message in enumerate(messages):
                if number % 3 and source.has_room:
                    source.write(message)
                else:
                    await source.send(message)
            had = [await target.receive() for _ in range(10)]

            def take(data: bytes, had: list[bytes] = had) -> bool:
                had.append(data)
                return len(had) < len(messages)

            await target.receive_each(take)
            assert had == messages


async def test_who_takes_is_called_when_something_comes_and_not_after_he_has_said_no() -> None:
    async with Stage(CASE) as stage:
        client, server = await direct_pair(stage)
        had: list[bytes] = []

        def take(data: bytes) -> bool:
            had.append(data)
            return len(had) < 2

        taking = asyncio.ensure_future(server.receive_each(take))
        for data in (b"one", b"two", b"three"):
            client.write(data)
        await taking
        await client.send(b"four")
        await client.aclose()
        await lost(server)
        assert had == [b"one", b"two"]


async def test_what_he_raises_is_raised_where_the_end_is_waited_for() -> None:
    async with Stage(CASE) as stage:
        client, server = await direct_pair(stage)

        def take(data: bytes) -> bool:
            raise KeyError(data)

        taking = asyncio.ensure_future(server.receive_each(take))
        await client.send(b"one")
        await client.send(b"two")
        with pytest.raises(KeyError, match="one"):
            await taking


async def test_the_end_comes_behind_all_that_was_sent_before_it_and_there_is_no_room_afterwards() -> None:
    async with Stage(CASE) as stage:
        client, server = await direct_pair(stage)
        had: list[bytes] = []
        client.write(b"one")
        client.write(b"two")
        await client.aclose("done")
        with pytest.raises(ConnectionLost, match="done"):
            await server.receive_each(into(had))
        assert had == [b"one", b"two"]
        assert not client.has_room
        assert not server.has_room


async def test_there_is_no_room_while_nobody_reads_and_too_large_is_too_large() -> None:
    async with Stage(CASE, ConnectionLimits(max_size=100_000)) as stage:
        client, _ = await direct_pair(stage)
        with pytest.raises(ValueError, match="max_size"):
            client.write(bytes(100_001))
        written = 0
        while client.has_room and written < 1_000:
            client.write(bytes(100_000))
            written += 1
        assert written < 1_000


@pytest.mark.parametrize(
    ("limits", "said", "why"),
    [
        (ConnectionLimits(frame_timeout=0.3, idle_timeout=10.0), b"\x82\xfe\x01\x00" + bytes(5), "rest of a message"),
        (ConnectionLimits(frame_timeout=0.3, idle_timeout=10.0), b"\x82\xfe\x01\x00", "rest of a message"),
        (ConnectionLimits(frame_timeout=10.0, idle_timeout=0.3), b"", "nothing in time"),
    ],
)
async def test_half_a_message_and_silence_end_it_at_their_deadlines_here_too(
    limits: ConnectionLimits, said: bytes, why: str
) -> None:
    async with Stage(CASE, limits) as stage:
        client, server = await direct_pair(stage)
        client.transport.write(said)
        with pytest.raises(ConnectionLost, match=why):
            await server.receive_each(lambda _: True)


async def test_a_message_in_fragments_is_one_and_text_is_none() -> None:
    async with Stage(CASE) as stage:
        client, server = await direct_pair(stage)
        had: list[bytes] = []
        taking = asyncio.ensure_future(server.receive_each(into(had)))
        await client._ws.send([b"a", b"b", b"c"])
        await client._ws.send("text")
        with pytest.raises(ConnectionLost, match="text"):
            await taking
        assert had == [b"abc"]
