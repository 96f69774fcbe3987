"""Whole WebSocket messages, made and read past the library: as it would have made and read them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from tests.transports.stage import until
from understudy.environment import Environment
from understudy.transports._connection import Connection, ConnectionLimits, TransportOptions
from understudy.transports._errors import ConnectionLost
from understudy.transports._websocket import WebSocketTransport
from understudy.transports._websocket_ends import End
from understudy.transports._websocket_frames import frame_size, pack_message, whole_message

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)
LARGE = 1 << 20


def parsed(data: bytes, *, masked: bool) -> Frame:
    """What the library says *data* is, which is one frame as a whole."""
    at = 0

    def read_exact(count: int) -> Generator[None, None, bytes]:
        nonlocal at
        piece = data[at : at + count]
        assert len(piece) == count
        at += count
        return piece
        yield

    parser = Frame.parse(read_exact, mask=masked)
    try:
        while True:
            next(parser)
    except StopIteration as stop:
        assert at == len(data)
        frame: Frame = stop.value
        return frame


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_message_is_a_frame_as_the_library_reads_it_and_the_other_way_round(size: int, masked: bool) -> None:
    data = random.Random(size).randbytes(size)
    packed = pack_message(data, masked=masked)
    frame = parsed(packed, masked=masked)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, data)
    assert len(packed) == frame_size(size, masked=masked)
    theirs = Frame(Opcode.BINARY, data).serialize(mask=masked)
    assert whole_message(b"ab" + theirs + b"c", 2, size, masked=masked) == (data, 2 + len(theirs))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_message_that_is_not_there_as_a_whole_is_left_to_the_library(size: int, masked: bool) -> None:
    packed = pack_message(b"x" * size, masked=masked)
    for end in {*range(min(len(packed), 16)), len(packed) // 2, len(packed) - 1}:
        assert whole_message(packed[:end], 0, LARGE, masked=masked) is None


@pytest.mark.parametrize("masked", [True, False])
def test_so_is_what_is_no_whole_message_of_bytes(masked: bool) -> None:
    for frame in (
        Frame(Opcode.TEXT, b"text"),
        Frame(Opcode.BINARY, b"the beginning", fin=False),
        Frame(Opcode.CONT, b"the end"),
        Frame(Opcode.PING, b""),
        Frame(Opcode.PONG, b""),
        Frame(Opcode.CLOSE, b""),
    ):
        assert whole_message(frame.serialize(mask=masked), 0, LARGE, masked=masked) is None
    packed = pack_message(b"x" * 200, masked=masked)
    assert whole_message(packed, 0, 199, masked=masked) is None
    assert whole_message(packed, 0, LARGE, masked=not masked) is None
    assert whole_message(bytes([0xC2]) + packed[1:], 0, LARGE, masked=masked) is None  # a bit that is reserved


@given(st.binary(max_size=40), st.booleans())
def test_whatever_is_taken_the_library_would_have_taken_too(data: bytes, masked: bool) -> None:
    for noise in (data, b"\x82" + data, b"\x82\x84" + data, b"\x82\x04" + data, b"\x82\x7e\x00" + data):
        found = whole_message(noise, 0, LARGE, masked=masked)
        if found is not None:
            message, end = found
            frame = parsed(noise[:end], masked=masked)
            assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, message)


class Accepted:
    """A listener that hands over the one connection that it accepts, and what comes over it."""

    def __init__(self) -> None:
        self.connection: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.came: list[bytes] = []
        self.over = asyncio.Event()

    async def serve(self, connection: Connection) -> None:
        self.connection.set_result(connection)
        receive_each: Any = getattr(connection, "receive_each")  # noqa: B009 - which not all have
        with suppress(ConnectionLost):
            await receive_each(self._take)

    def _take(self, data: bytes) -> bool:
        self.came.append(data)
        if data == b"the last":
            self.over.set()
            return False
        return True


def frames(chance: random.Random, messages: list[bytes]) -> bytes:
    """*messages* as a client may send them: whole, in parts, with pings within and between."""
    stream = bytearray()
    for message in messages:
        parts = [message]
        if chance.random() < 0.3:
            cut = chance.randrange(len(message) + 1)
            parts = [message[:cut], message[cut:]]
        for number, part in enumerate(parts):
            if chance.random() < 0.2:
                stream += Frame(Opcode.PING, b"there?").serialize(mask=True)
            opcode = Opcode.CONT if number else Opcode.BINARY
            stream += Frame(opcode, part, fin=number == len(parts) - 1).serialize(mask=True)
    return bytes(stream)


@pytest.mark.asyncio
@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(25))
async def test_messages_come_as_they_were_sent_however_the_bytes_are_cut(seed: int) -> None:
    chance = random.Random(seed)
    accepted, transport, env = Accepted(), WebSocketTransport(), Environment(asyncio.get_running_loop())
    options = TransportOptions(authenticated=True)
    listener = await transport.listen("ws://127.0.0.1:0", accepted.serve, options, env)
    try:
        client = await transport.connect(listener.url, options, env)
        end: Any = getattr(await accepted.connection, "_ws")  # noqa: B009
        await until(lambda: end.taker is not None, 5.0)
        messages = [chance.randbytes(chance.choice((0, 5, 125, 126, 2_000, 66_000))) for _ in range(12)]
        stream = frames(chance, messages)
        at = 0
        while at < len(stream):
            size = chance.choice((1, 2, 3, 6, 130, 2_100, 70_000))
            end.data_received(stream[at : at + size])
            at += size
            if chance.random() < 0.3 and at < len(stream):  # more often where nothing is left over
                assert (end.half_since is None) == (end.protocol.current_size is None and not unfinished(stream[:at]))
        assert accepted.came == messages
        assert end.half_since is None
        end.data_received(pack_message(b"the last", masked=True) + pack_message(b"too late", masked=True))
        await accepted.over.wait()
        await client.aclose()
    finally:
        await listener.aclose()
    assert accepted.came == [*messages, b"the last"]


def anything(chance: random.Random) -> bytes:
    """A frame that a client may send, or must not."""
    data = chance.randbytes(chance.choice((0, 3, 125, 126, 999, 1_000)))
    allowed = pack_message(data, masked=True)
    longer = b"".join((bytes((chance.choice((0x82, 0x80, 0x02)), 0xFF)), len(data).to_bytes(8, "big"), bytes(4), data))
    return chance.choice(
        (
            *[allowed] * 8,
            *[longer] * 2,
            Frame(Opcode.PING, data[:125]).serialize(mask=True),
            Frame(Opcode.BINARY, data, fin=False).serialize(mask=True),
            Frame(Opcode.CONT, data, fin=chance.random() < 0.5).serialize(mask=True),
            Frame(Opcode.CLOSE, chance.choice((b"", b"\x03", b"\x03\xe8"))).serialize(mask=True),
            pack_message(data, masked=False),
            pack_message(bytes(1_001), masked=True),
            bytes((allowed[0] | chance.choice((0x40, 0x20, 0x10, 0x01, 0x0A)),)) + allowed[1:],
            data[:5],
        )
    )


@pytest.mark.asyncio
@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(60))
async def test_with_what_must_not_be_sent_too_nothing_becomes_of_it_but_what_the_library_alone_says(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [anything(chance) for _ in range(8)]
    if chance.random() < 0.5:  # else each is cut off where it ends
        stream = b"".join(pieces)
        pieces.clear()
        while stream:
            size = chance.choice((1, 2, 3, 6, 130, 1_100, 3_000))
            pieces.append(stream[:size])
            stream = stream[size:]
    env, limits = Environment(asyncio.get_running_loop()), ConnectionLimits(max_size=1_000)
    options = TransportOptions(authenticated=True, limits=limits)
    found: list[tuple[object, ...]] = []
    for largest in (limits.max_size, 0):
        accepted, transport = Accepted(), WebSocketTransport()
        listener = await transport.listen("ws://127.0.0.1:0", accepted.serve, options, env)
        try:
            client = await transport.connect(listener.url, options, env)
            end: Any = getattr(await accepted.connection, "_ws")  # noqa: B009
            end.max_direct = largest
            end.taker = accepted.came.append
            for piece in pieces:
                end.data_received(piece)
            protocol = end.protocol
            found.append(
                (accepted.came, protocol.state, protocol.close_rcvd, protocol.close_sent, protocol.current_size)
            )
            client.transport.abort()
        finally:
            await listener.aclose()
    assert found[0] == found[1]


def unfinished(stream: bytes) -> bool:
    """Whether *stream* ends within a frame."""
    at = 0
    while at < len(stream):
        if len(stream) - at < 2:
            return True
        size = stream[at + 1] & 0x7F
        more = {126: 2, 127: 8}.get(size, 0)
        if more:
            if len(stream) - at < 2 + more:
                return True
            size = int.from_bytes(stream[at + 2 : at + 2 + more], "big")
        at += 2 + more + 4 + size
    return at > len(stream)


@pytest.mark.asyncio
@pytest.mark.real_time
@pytest.mark.parametrize("cut", range(5))
async def test_the_opening_handshake_may_come_cut_within_its_last_line(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_a_whole = End.data_received

    def in_pieces(end: End, data: bytes) -> None:
        at = data.find(b"\r\n\r\n") + cut if end.protocol.state is State.CONNECTING else 0
        for piece in filter(None, (data[:at], data[at:])):
            as_a_whole(end, piece)

    monkeypatch.setattr(End, "data_received", in_pieces)
    accepted, transport, env = Accepted(), WebSocketTransport(), Environment(asyncio.get_running_loop())
    options = TransportOptions(authenticated=True)
    listener = await transport.listen("ws://127.0.0.1:0", accepted.serve, options, env)
    try:
        client = await transport.connect(listener.url, options, env)
        ends: list[Any] = [getattr(each, "_ws") for each in (client, await accepted.connection)]  # noqa: B009
        assert [end.half_since for end in ends] == [None, None]
        # The key and the rest of this message look like a message of their own.
        within = pack_message(b"x", masked=True)
        message = bytes([0x82, 0x80 | (len(within) - 4)]) + within
        for size in (1, 2):
            ends[1].data_received(message[:size])
            assert ends[1].half_since is not None
            ends[1].data_received(message[size:])
            assert ends[1].half_since is None
        await until(lambda: len(accepted.came) == 2, 5.0)
        await client.aclose()
    finally:
        await listener.aclose()
    assert accepted.came == [bytes(parsed(message, masked=True).data)] * 2


@pytest.mark.asyncio
@pytest.mark.real_time
async def test_a_message_that_is_too_large_ends_its_connection_also_behind_others() -> None:
    accepted, transport, env = Accepted(), WebSocketTransport(), Environment(asyncio.get_running_loop())
    options = TransportOptions(authenticated=True, limits=ConnectionLimits(max_size=1_000))
    listener = await transport.listen("ws://127.0.0.1:0", accepted.serve, options, env)
    try:
        client = await transport.connect(listener.url, options, env)
        await accepted.connection
        whole = pack_message(b"x" * 1_000, masked=True)
        client.transport.write(whole + pack_message(b"y" * 1_001, masked=True) + whole)
        with pytest.raises(ConnectionLost, match="exceeds limit of 1000"):
            await client.receive()
        await client.aclose()
    finally:
        await listener.aclose()
    assert accepted.came == [b"x" * 1_000]


@settings(max_examples=50)
@given(st.integers(0, 200_000), st.booleans())
def test_the_size_of_a_frame_is_that_of_its_shortest_form(size: int, masked: bool) -> None:
    assert frame_size(size, masked=masked) == len(Frame(Opcode.BINARY, b"x" * size).serialize(mask=masked))
