from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.testing.net_stage import Pair, Recorder, Script, noting, run
from understudy.testing._errors import DeadlockError, EscapeError
from understudy.testing._net import SimNet
from understudy.testing._strategies import Pos, RandomWalk

RESET = ("lost", ConnectionResetError)
CLOSED = ("lost", type(None))

# --- Connecting -------------------------------------------------------------------------------------------------------


def test_streams_carry_data_both_ways_and_end() -> None:
    async def main(net: SimNet) -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert net.here == "server"
            writer.write((await reader.read()).upper())
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "server", 80):
            with net.host("client"):
                reader, writer = await asyncio.open_connection("server", 80)
            writer.write(b"hello ")
            writer.writelines([b"wor", b"ld"])
            writer.write_eof()
            await writer.drain()
            reply = await reader.read()
            writer.close()
            await writer.wait_closed()
        return reply

    assert run(main) == b"HELLO WORLD"
    for seed in range(50):
        assert run(main, Pos(seed)) == b"HELLO WORLD"


def test_nobody_listens_so_the_connection_is_refused_after_there_and_back() -> None:
    async def main(net: SimNet) -> float:
        net.latency = (0.25, 0.25)
        with pytest.raises(ConnectionRefusedError, match="local cannot connect to server:80: nobody listens there"):
            await asyncio.open_connection("server", 80)
        return asyncio.get_running_loop().time()

    assert run(main) == 0.5


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "0.0.0.0", "::1", ""])
def test_local_names_mean_the_host_on_which_one_is(name: str) -> None:
    async def main(net: SimNet) -> list[Any]:
        loop = asyncio.get_running_loop()
        with net.host("here"):
            server = await loop.create_server(Recorder, name, 80)
            transport, _ = await loop.create_connection(Recorder, name, 80)
        with net.host("elsewhere"), pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, name, 80)
        with net.host("elsewhere"):
            other, _ = await loop.create_connection(Recorder, "here", 80)
        names = [each.get_extra_info(what) for each in (transport, other) for what in ("sockname", "peername")]
        transport.close()
        other.close()
        server.close()
        await server.wait_closed()
        return names

    assert run(main) == [("here", 49_152), ("here", 80), ("elsewhere", 49_153), ("here", 80)]


def test_port_0_is_the_next_free_one_of_the_host_and_never_one_in_use() -> None:
    async def main(net: SimNet) -> list[int]:
        servers = [await asyncio.start_server(print, "server", port) for port in (49_153, 0, None, 0)]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        for server in servers:
            server.close()
        return ports

    assert run(main) == [49_153, 49_152, 49_154, 49_155]


def test_an_address_in_use_is_refused_until_its_server_is_closed() -> None:
    async def main(net: SimNet) -> None:
        first = await asyncio.start_server(print, "server", 80)
        with pytest.raises(OSError, match="server:80 is in use") as caught:
            await asyncio.start_server(print, "server", 80)
        assert caught.value.errno == errno.EADDRINUSE
        other = await asyncio.start_server(print, "other", 80)
        assert net.open_servers() == ["server at server:80", "server at other:80"]
        first.close()
        again = await asyncio.start_server(print, "server", 80)
        again.close()
        other.close()

    run(main)


def test_a_server_on_several_hosts_has_one_address_on_each() -> None:
    async def main(net: SimNet) -> list[str]:
        hosts: list[str] = []

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hosts.append(net.here)
            writer.close()

        async with await asyncio.start_server(tell, ["a", "b", "localhost", "::1"], 80) as server:
            hosts.extend(each.getsockname()[0] for each in server.sockets)
            for name in ("b", "a"):
                reader, writer = await asyncio.open_connection(name, 80)
                assert await reader.read() == b""
                writer.close()
        return hosts

    assert run(main) == ["a", "b", "local", "b", "a"]


@pytest.mark.parametrize("option", ["ssl", "sock"])
def test_what_needs_something_real_is_an_escape(option: str) -> None:
    async def main(net: SimNet) -> None:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {option: object()}
        with pytest.raises(EscapeError, match=f"create_connection with {option}"):
            await loop.create_connection(Recorder, "server", 80, **options)
        with pytest.raises(EscapeError, match=f"create_server with {option}"):
            await loop.create_server(Recorder, "server", 80, **options)

    run(main)


def test_options_that_tune_sockets_are_taken_and_unknown_ones_are_refused() -> None:
    async def main(net: SimNet) -> None:
        loop: Any = asyncio.get_running_loop()
        options: dict[str, Any] = {"family": socket.AF_INET, "flags": 0, "ssl": None}
        server = await loop.create_server(Recorder, "server", 80, backlog=5, reuse_address=True, **options)
        transport, _ = await loop.create_connection(
            Recorder, "server", 80, happy_eyeballs_delay=0.1, local_addr=("client", 1234), **options
        )
        assert transport.get_extra_info("sockname") == ("client", 1234)
        transport.close()
        server.close()
        wrong: dict[str, Any] = {"blacklog": 1}
        with pytest.raises(TypeError, match="create_server got an unexpected keyword argument 'blacklog'"):
            await loop.create_server(Recorder, "server", 80, **wrong)
        with pytest.raises(TypeError, match="create_connection got an unexpected keyword argument 'blacklog'"):
            await loop.create_connection(Recorder, "server", 80, **wrong)
        with pytest.raises(ValueError, match="needs a host or a port"):
            await loop.create_server(Recorder)
        with pytest.raises(ValueError, match="needs a port"):
            await loop.create_connection(Recorder, "server")

    run(main)


def test_names_are_resolved_without_a_resolver() -> None:
    async def main(net: SimNet) -> None:
        loop = asyncio.get_running_loop()
        expected = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("server", 80))
        assert await loop.getaddrinfo("server", 80) == [expected]
        with net.host("client"):
            found = await loop.getaddrinfo(b"localhost", None, type=socket.SOCK_DGRAM, family=socket.AF_INET)
        assert [(kind, address) for _, kind, _, _, address in found] == [(socket.SOCK_DGRAM, ("client", 0))]

    run(main)


def test_the_stand_in_for_a_socket_can_be_looked_at_and_no_more() -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            stand_in = pair.client.transport.get_extra_info("socket")
            assert (stand_in.family, stand_in.type) == (socket.AF_INET, socket.SOCK_STREAM)
            assert (stand_in.getsockname(), stand_in.getpeername()) == (("client", 49_152), ("server", 80))
            assert (stand_in.fileno(), stand_in.gettimeout()) == (-1, 0.0)
            stand_in.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            assert stand_in.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            assert not hasattr(stand_in, "send")
            (listening,) = pair.listener.sockets
            with pytest.raises(OSError, match="server:80 is listening and has no peer") as caught:
                listening.getpeername()
            assert caught.value.errno == errno.ENOTCONN
            assert repr(stand_in) == "<SimSocket client:49152 -> server:80>"
            assert "open, 0 bytes to write" in repr(pair.client.transport)
            pair.close()
            await pair.client.lost
            assert "closed" in repr(pair.client.transport)
            assert pair.client.transport.get_protocol() is None

    run(main)


def test_a_connect_that_is_cancelled_on_its_way_leaves_nothing() -> None:
    async def main(net: SimNet, moment: float) -> list[Any]:
        net.latency = (1.0, 1.0)
        accepted: list[Recorder] = []

        server = await asyncio.get_running_loop().create_server(noting(accepted, Recorder), "server", 80)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(moment):
                await asyncio.open_connection("server", 80)
        await asyncio.sleep(10)
        server.close()
        return [recorder.log for recorder in accepted]

    # Before it arrives; and while the answer is under way: the server then sees a client that comes and goes.
    assert run(lambda net: main(net, 0.5)) == []
    assert run(lambda net: main(net, 1.5)) == [["made", "end", CLOSED]]


def test_a_connect_may_be_cancelled_at_any_step_and_leaves_nothing() -> None:
    async def main(net: SimNet, moment: float, turns: int) -> bool:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "server", 80)
        connecting = asyncio.ensure_future(loop.create_connection(Recorder, "server", 80))
        await asyncio.sleep(moment)
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])
        connected = not connecting.cancelled()
        if connected:
            transport, _ = connecting.result()
            transport.close()
        server.close()
        await server.wait_closed()
        return connected

    seen: set[bool] = set()
    for seed in range(40):
        for moment in (0.0, 0.0005, 0.001, 0.0015, 0.002):
            for turns in range(5):
                seen.add(run(functools.partial(main, moment=moment, turns=turns), Pos(seed)))
    assert seen == {True, False}


def test_a_connection_may_be_reset_while_it_is_made() -> None:
    async def main(net: SimNet, delay: float) -> list[Any]:
        net.latency = (1.0, 1.0)
        accepted: list[Recorder] = []

        server = await asyncio.get_running_loop().create_server(noting(accepted, Recorder), "server", 80)
        asyncio.get_running_loop().call_later(delay, net.reset, ("local", "server"))
        with pytest.raises(ConnectionResetError, match="server:80 has reset the connection while it was being made"):
            await asyncio.open_connection("server", 80)
        server.close()
        await server.wait_closed()
        return [recorder.log for recorder in accepted]

    assert run(lambda net: main(net, 0.5)) == []
    assert run(lambda net: main(net, 1.5)) == [["made", RESET]]


def test_a_protocol_factory_that_fails_closes_the_connection() -> None:
    def fail() -> asyncio.Protocol:
        raise ZeroDivisionError

    async def main(net: SimNet) -> list[Any]:
        recorders: list[Recorder] = []

        loop = asyncio.get_running_loop()
        server = await loop.create_server(noting(recorders, Recorder), "server", 80)
        with pytest.raises(ZeroDivisionError):
            await loop.create_connection(fail, "server", 80)
        await recorders[0].lost
        server.close()
        return recorders[0].log

    assert run(main) == ["made", "end", CLOSED]

    async def other_side(net: SimNet) -> None:
        server = await asyncio.get_running_loop().create_server(fail, "server", 80)
        try:
            await asyncio.open_connection("server", 80)
        finally:
            server.close()

    with pytest.raises(ZeroDivisionError) as caught:
        run(other_side)
    assert "protocol factory failed" in caught.value.__notes__[0]


# --- Hosts ------------------------------------------------------------------------------------------------------------


def test_tasks_stay_on_the_host_on_which_they_were_made() -> None:
    async def main(net: SimNet) -> tuple[str, str, str]:
        async def where() -> str:
            await asyncio.sleep(1)
            return net.here

        with net.host("a"):
            task = asyncio.ensure_future(where())
            with net.host("b"):
                inner = net.here
        return await task, inner, net.here

    assert run(main) == ("a", "b", "local")


def test_a_host_needs_a_name_of_its_own() -> None:
    async def main(net: SimNet) -> None:
        with (
            pytest.raises(ValueError, match="a host must have a name of its own, got 'localhost'"),
            net.host("localhost"),
        ):
            pass

    run(main)


def test_each_side_is_called_in_its_own_context_and_not_in_that_of_who_sends() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")

    class Seen(Recorder):
        def data_received(self, data: bytes) -> None:
            self.log.append(variable.get())
            variable.set(variable.get() + "!")

    async def main(net: SimNet) -> tuple[list[Any], str]:
        seen: list[Seen] = []

        loop = asyncio.get_running_loop()
        variable.set("server's")
        server = await loop.create_server(noting(seen, Seen), "server", 80)
        variable.set("client's")
        transport, _ = await loop.create_connection(Recorder, "server", 80)
        for _ in range(2):
            transport.write(b"x")
            await asyncio.sleep(1)
        transport.close()
        server.close()
        return seen[0].log[1:3], variable.get()

    assert run(main) == (["server's", "server's!"], "client's")


# --- Data -------------------------------------------------------------------------------------------------------------


def test_undisturbed_each_write_arrives_whole_and_alone() -> None:
    async def main(net: SimNet) -> list[Any]:
        async with Pair(net) as pair:
            for data in (b"one", bytearray(b"two"), memoryview(b"three")):
                pair.client.transport.write(data)
            pair.client.transport.write(b"")
            await asyncio.sleep(1)
            pair.close()
        return pair.server.log

    assert run(main) == ["made", b"one", b"two", b"three", CLOSED]


@pytest.mark.parametrize(
    ("cuts", "at", "expected"),
    [
        ([0, 0, 0], [], [b"abc", b"de", b"f", b"gh"]),  # half of what is left, less one for each piece to come
        ([1, 2, 0], [], [b"a", b"bc", b"de", b"fgh"]),
        ([4, 4, 4], [], [b"abcde", b"f", b"g", b"h"]),
        ([5, 3, 1], [3], [b"abcd", b"ef", b"g", b"h"]),
    ],
)
def test_a_write_may_arrive_in_pieces(cuts: list[int], at: list[int], expected: list[bytes]) -> None:
    async def main(net: SimNet) -> list[Any]:
        async with Pair(net) as pair:
            pair.client.transport.write(b"abcdefgh")
            await asyncio.sleep(1)
            pair.close()
        return pair.server.log[1:]

    answers: dict[str, Any] = {"split": 1, "pieces": [2], "cut": cuts, "cut.at": at}
    assert run(main, Script(**answers)) == expected


def test_writes_may_arrive_as_one() -> None:
    async def main(net: SimNet) -> list[Any]:
        async with Pair(net) as pair:
            for data in (b"a", b"b", b"c"):
                pair.client.transport.write(data)
            await asyncio.sleep(1)
            pair.client.transport.write(b"d")
            await asyncio.sleep(1)
            pair.close()
        return pair.server.log[1:]

    assert run(main, Script(merge=[1, 0])) == [b"ab", b"c", b"d"]
    assert run(main, Script(merge=1)) == [b"abc", b"d"]


def test_what_is_faster_does_not_overtake() -> None:
    async def main(net: SimNet) -> list[tuple[Any, float]]:
        net.latency = (1.0, 5.0)
        async with Pair(net) as pair:
            start = asyncio.get_running_loop().time()
            for data in (b"slow", b"fast", b"slower"):
                pair.client.transport.write(data)
            await asyncio.sleep(20)
            pair.close()
            return [(data, time - start) for data, time in zip(pair.server.log[1:], pair.server.times, strict=True)]

    # The first two are those of the connect.
    assert run(main, Script(latency=[0, 0, 2, 0, 4])) == [(b"slow", 3.0), (b"fast", 3.0), (b"slower", 5.0)]


@settings(max_examples=60)
@given(
    writes=st.lists(st.binary(min_size=0, max_size=3000), max_size=12),
    seed=st.integers(0, 2**32),
    window=st.sampled_from([1, 7, 1000, 65_536]),
)
def test_whatever_chance_does_the_bytes_of_each_direction_arrive_once_and_in_order(
    writes: list[bytes], seed: int, window: int
) -> None:
    async def main(net: SimNet) -> tuple[bytes, bytes]:
        net.window = max(window, sum(map(len, writes)) // 500 + 1)
        async with Pair(net, stays_open=True) as pair:
            for data in writes:
                pair.client.transport.write(data)
                pair.server.transport.write(data[::-1])
                await asyncio.sleep(0)
            for side in pair.sides:
                side.transport.write_eof()
            await asyncio.sleep(1000)
            for side in pair.sides:
                assert side.log.count("end") == 1
                assert side.log.index("end") > max(
                    [0, *(i for i, each in enumerate(side.log) if isinstance(each, bytes))]
                )
            pair.close()
        return pair.server.data, pair.client.data

    there, back = run(main, RandomWalk(seed), partitions=True)
    assert there == b"".join(writes)
    assert back == b"".join(data[::-1] for data in writes)


def test_a_buffered_protocol_is_filled_as_far_as_its_buffer_goes() -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(4)
            self.log: list[Any] = []

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.log.append(bytes(self.buffer[:nbytes]))

        def eof_received(self) -> None:
            self.log.append("end")

    async def main(net: SimNet) -> list[Any]:
        made: list[Buffered] = []

        loop = asyncio.get_running_loop()
        server = await loop.create_server(noting(made, Buffered), "server", 80)
        transport, _ = await loop.create_connection(Recorder, "server", 80)
        transport.write(b"abcdefghij")
        transport.close()
        server.close()
        await server.wait_closed()
        return made[0].log

    assert run(main) == [b"abcd", b"efgh", b"ij", "end"]


def test_a_buffered_protocol_without_room_is_told_to_the_loop() -> None:
    class Full(asyncio.BufferedProtocol):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

    async def main(net: SimNet) -> None:
        server = await asyncio.get_running_loop().create_server(Full, "server", 80)
        transport, _ = await asyncio.get_running_loop().create_connection(Recorder, "server", 80)
        transport.write(b"x")
        server.close()
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="empty buffer"):
        run(main)


def test_a_protocol_can_be_exchanged() -> None:
    async def main(net: SimNet) -> tuple[list[Any], list[Any]]:
        async with Pair(net) as pair:
            second = Recorder()
            pair.server.transport.set_protocol(second)
            assert pair.server.transport.get_protocol() is second
            pair.client.transport.write(b"x")
            await asyncio.sleep(1)
            pair.close()
        return pair.server.log, second.log

    assert run(main) == (["made"], [b"x", CLOSED])


# --- Back-pressure ----------------------------------------------------------------------------------------------------


def test_a_reader_that_pauses_makes_the_writer_pause_and_lets_it_go_on_later() -> None:
    async def main(net: SimNet) -> None:
        net.window = 100
        async with Pair(net) as pair:
            writer, reader = pair.client.transport, pair.server.transport
            writer.set_write_buffer_limits(high=50, low=10)
            assert writer.get_write_buffer_limits() == (10, 50)
            reader.pause_reading()
            assert not reader.is_reading()
            writer.write(bytes(150))
            await asyncio.sleep(10)
            assert (writer.get_write_buffer_size(), pair.client.log) == (50, ["made"])
            writer.write(b"1")
            assert (writer.get_write_buffer_size(), pair.client.log) == (51, ["made", "pause"])
            await asyncio.sleep(10)
            assert pair.client.log == ["made", "pause"]
            assert pair.server.log == ["made"]
            assert net.connections[0].to_server == 100
            reader.resume_reading()
            assert pair.server.log == ["made"]  # not from within the call
            await asyncio.sleep(10)
            assert pair.client.log == ["made", "pause", "resume"]
            assert pair.server.data == bytes(150) + b"1"
            assert writer.get_write_buffer_size() == 0
            pair.close()

    run(main)


def test_drain_waits_for_a_slow_reader_in_both_directions() -> None:
    async def main(net: SimNet) -> list[str]:
        done: list[str] = []

        async def send(writer: asyncio.StreamWriter, name: str) -> None:
            for _ in range(10):
                writer.write(bytes(50_000))
                await writer.drain()
            done.append(name)

        async def read(reader: asyncio.StreamReader) -> None:
            await reader.readexactly(500_000)

        sides: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        server = await asyncio.start_server(lambda *streams: sides.put_nowait(streams), "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        peer_reader, peer_writer = await sides.get()
        tasks = [asyncio.ensure_future(send(writer, "there")), asyncio.ensure_future(send(peer_writer, "back"))]
        await asyncio.sleep(100)
        assert done == []
        await read(reader)
        await asyncio.sleep(100)
        assert done == ["back"]
        await read(peer_reader)
        await asyncio.wait(tasks)
        for each in (writer, peer_writer):
            each.close()
        server.close()
        return done

    assert run(main) == ["back", "there"]


def test_what_waited_while_reading_was_paused_comes_as_one() -> None:
    async def main(net: SimNet) -> list[Any]:
        async with Pair(net) as pair:
            pair.server.transport.pause_reading()
            for data in (b"a", b"b", b"c"):
                pair.client.transport.write(data)
            pair.client.transport.write_eof()
            await asyncio.sleep(1)
            assert pair.server.log == ["made"]
            pair.server.transport.resume_reading()
            pair.server.transport.resume_reading()
            await asyncio.sleep(1)
            pair.client.transport.close()
        return pair.server.log

    assert run(main) == ["made", b"abc", "end", CLOSED]


@pytest.mark.parametrize(
    ("high", "low", "limits"), [(None, None, (16_384, 65_536)), (None, 10, (10, 40)), (0, None, (0, 0))]
)
def test_the_limits_of_the_write_buffer(high: int | None, low: int | None, limits: tuple[int, int]) -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            pair.client.transport.set_write_buffer_limits(high=high, low=low)
            assert pair.client.transport.get_write_buffer_limits() == limits
            with pytest.raises(ValueError, match="must be >="):
                pair.client.transport.set_write_buffer_limits(high=1, low=2)
            pair.close()

    run(main)


# --- Closing ----------------------------------------------------------------------------------------------------------


def test_close_sends_what_was_written_first_and_the_other_side_sees_the_end() -> None:
    async def main(net: SimNet) -> Pair:
        net.window = 10
        async with Pair(net) as pair:
            pair.client.transport.write(bytes(95))
            pair.client.transport.close()
            pair.client.transport.close()
            assert pair.client.transport.is_closing()
            assert pair.client.log[-1] != CLOSED
            await asyncio.sleep(10)
        return pair

    pair = run(main)
    assert pair.server.data == bytes(95)
    assert pair.server.log[-2:] == ["end", CLOSED]
    assert pair.client.log == ["made", CLOSED]


def test_abort_does_not_send_what_waits_in_the_buffer() -> None:
    async def main(net: SimNet) -> Pair:
        net.window = 10
        async with Pair(net) as pair:
            pair.client.transport.write(bytes(95))
            pair.client.transport.abort()
            pair.client.transport.abort()
            assert pair.client.transport.is_closing()
            assert pair.client.log == ["made"]  # not from within the call
            await asyncio.sleep(10)
        return pair

    pair = run(main)
    assert pair.server.data == bytes(10)
    assert pair.client.log == ["made", CLOSED]
    assert pair.server.log[-2:] == ["end", CLOSED]


def test_who_has_ended_writing_can_still_read() -> None:
    async def main(net: SimNet) -> Pair:
        async with Pair(net, stays_open=True) as pair:
            pair.client.transport.write_eof()
            pair.client.transport.write_eof()
            with pytest.raises(RuntimeError, match="after write_eof"):
                pair.client.transport.write(b"x")
            await asyncio.sleep(1)
            assert not pair.server.transport.is_closing()
            pair.server.transport.write(b"still here")
            await asyncio.sleep(1)
            pair.close()
        return pair

    pair = run(main)
    assert pair.client.log == ["made", b"still here", CLOSED]
    assert pair.server.log == ["made", "end", CLOSED]


def test_the_end_comes_after_all_that_waited_to_be_written() -> None:
    async def main(net: SimNet) -> list[Any]:
        net.window = 2
        async with Pair(net) as pair:
            pair.client.transport.write(b"abcde")
            pair.client.transport.write_eof()
            await asyncio.sleep(1)
            assert pair.client.log == ["made", "end", CLOSED]  # as the server has closed on the end
        return pair.server.log

    assert run(main) == ["made", b"ab", b"cd", b"e", "end", CLOSED]


def test_data_for_who_has_closed_is_answered_with_a_reset() -> None:
    async def main(net: SimNet) -> Pair:
        async with Pair(net, stays_open=True) as pair:
            pair.client.transport.close()
            await asyncio.sleep(1)
            assert pair.server.log == ["made", "end"]
            pair.server.transport.write(b"hello?")
            await asyncio.sleep(1)
            # It reads no more, so it learns of the reset when it writes again.
            assert pair.server.log == ["made", "end"]
            pair.server.transport.write(b"hello??")
            await asyncio.sleep(1)
            pair.server.transport.write(b"nobody")
        return pair

    pair = run(main)
    assert pair.client.log == ["made", CLOSED]
    assert pair.server.log == ["made", "end", ("lost", BrokenPipeError)]


def test_who_closes_with_data_unread_resets_the_other_side() -> None:
    async def main(net: SimNet) -> Pair:
        async with Pair(net) as pair:
            pair.client.transport.pause_reading()
            pair.server.transport.write(b"important")
            await asyncio.sleep(1)
            pair.client.transport.close()
            await asyncio.sleep(1)
        return pair

    pair = run(main)
    assert pair.client.log == ["made", CLOSED]
    assert pair.server.log == ["made", RESET]


def test_a_write_after_the_connection_is_lost_goes_nowhere() -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            pair.client.transport.close()
            await asyncio.sleep(1)
            for side in pair.sides:
                side.transport.write(b"x")
                side.transport.write_eof()
                side.transport.pause_reading()
                side.transport.resume_reading()
                side.transport.abort()
                assert side.log[-1] == CLOSED
            with pytest.raises(TypeError, match="data must be bytes-like, got 'str'"):
                pair.client.transport.write("x")

    run(main)


@pytest.mark.parametrize("method", ["data_received", "eof_received", "pause_writing", "connection_lost"])
def test_a_protocol_that_fails_is_told_to_the_loop(method: str) -> None:
    async def main(net: SimNet) -> None:
        def fail(*args: object) -> None:
            raise ZeroDivisionError(method)

        net.window = 1000
        async with Pair(net) as pair:
            setattr(pair.client, method, fail)
            pair.client.transport.write(bytes(70_000))
            pair.server.transport.write(b"x")
            pair.server.transport.write_eof()
            await asyncio.sleep(10)
            pair.client.transport.abort()
            await asyncio.sleep(10)

    with pytest.raises(ZeroDivisionError, match=method):
        run(main)


# --- Servers ----------------------------------------------------------------------------------------------------------


def test_a_server_serves_from_when_it_is_told_to() -> None:
    async def main(net: SimNet) -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "server", 80, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("server", 80)
        await server.start_serving()
        assert server.is_serving()
        _, writer = await asyncio.open_connection("server", 80)
        writer.close()
        server.close()
        assert (server.is_serving(), server.sockets) == (False, ())
        with pytest.raises(RuntimeError, match="is closed"):
            await server.start_serving()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("server", 80)
        assert server.get_loop() is asyncio.get_running_loop()

    run(main)


def test_serving_for_ever_ends_with_a_cancel_or_a_close() -> None:
    async def main(net: SimNet) -> None:
        server = await asyncio.start_server(print, "server", 80, start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(1)
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="already serving for ever"):
            await server.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert net.open_servers() == []

        server = await asyncio.start_server(print, "server", 80)
        task = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(1)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_waiting_for_a_server_waits_for_its_connections_too() -> None:
    async def main(net: SimNet) -> list[bool]:
        async with Pair(net) as pair:
            server: Any = pair.listener
            waiter = asyncio.ensure_future(server.wait_closed())
            seen: list[bool] = []
            for step in (lambda: None, server.close, pair.client.transport.close):
                step()
                await asyncio.sleep(1)
                seen.append(waiter.done())
            await server.wait_closed()
        return seen

    assert run(main) == [False, False, True]


@pytest.mark.parametrize("way", ["close_clients", "abort_clients"])
def test_a_server_can_close_its_connections(way: str) -> None:
    async def main(net: SimNet) -> Pair:
        net.window = 5
        async with Pair(net) as pair:
            pair.server.transport.write(b"farewell")
            getattr(pair.listener, way)()
            await asyncio.sleep(1)
        return pair

    pair = run(main)
    assert pair.client.data == (b"farewell" if way == "close_clients" else b"farew")
    assert (pair.client.log[-1], pair.server.log[-1]) == (CLOSED, CLOSED)


# --- Trouble ----------------------------------------------------------------------------------------------------------


def test_a_reset_breaks_both_sides_and_loses_what_is_on_its_way() -> None:
    async def main(net: SimNet) -> Pair:
        async with Pair(net) as pair:
            pair.client.transport.write(b"lost")
            net.reset(pair.server.transport)
            assert pair.server.log == ["made"]
            await asyncio.sleep(1)
            assert all(side.transport.is_closing() for side in pair.sides)
        return pair

    pair = run(main)
    assert pair.client.log == ["made", RESET]
    assert pair.server.log == ["made", RESET]


def test_a_reset_of_streams_is_raised_by_reads_and_writes() -> None:
    async def main(net: SimNet) -> list[str]:
        raised: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.read()
            except ConnectionResetError as error:
                raised.append(str(error))
            writer.close()

        async with await asyncio.start_server(serve, "server", 80):
            with net.host("client"):
                reader, writer = await asyncio.open_connection("server", 80)
            await asyncio.sleep(1)
            net.reset(writer)
            with pytest.raises(ConnectionResetError):
                await reader.readline()
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await writer.drain()
            writer.close()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()
        return raised

    assert run(main) == [f"[Errno {errno.ECONNRESET}] client:49152 has reset the connection"]


def test_a_reset_wakes_a_writer_that_waits_for_room_and_not_a_reader_that_has_paused() -> None:
    async def main(net: SimNet) -> None:
        net.window = 10
        accepted: list[asyncio.StreamWriter] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transport: Any = writer.transport
            transport.pause_reading()
            accepted.append(writer)

        async with await asyncio.start_server(accept, "server", 80):
            _, writer = await asyncio.open_connection("server", 80)
            writer.write(bytes(100_000))
            waiting = asyncio.ensure_future(writer.drain())
            await asyncio.sleep(1)
            assert not waiting.done()
            net.reset(writer)
            with pytest.raises(ConnectionResetError):
                await waiting
            await asyncio.sleep(1000)
            (connection,) = net.connections
            assert (connection.open_at_client, connection.open_at_server) == (False, True)
            accepted[0].write(b"x")
            assert accepted[0].is_closing()
            with pytest.raises(ConnectionResetError):
                await accepted[0].wait_closed()

    run(main)


def test_who_waits_for_room_learns_of_a_reset_even_when_reading_is_paused() -> None:
    async def main(net: SimNet) -> None:
        net.window = 10
        async with Pair(net) as pair:
            for side in pair.sides:
                side.transport.pause_reading()
            pair.client.transport.write(bytes(100))
            await asyncio.sleep(1)
            net.reset(pair.client)
            await asyncio.sleep(1)
            assert pair.client.log == ["made", RESET]
            assert pair.server.log == ["made"]
            pair.server.transport.close()
            await asyncio.sleep(1)
            assert pair.server.log == ["made", CLOSED]

    run(main)


def test_chance_resets_connections_only_at_data() -> None:
    async def main(net: SimNet) -> Pair:
        async with Pair(net) as pair:
            pair.client.transport.write(b"arrives")
            pair.client.transport.write(b"does not")
            pair.server.transport.write(b"does")
            await asyncio.sleep(1)
        return pair

    script = Script(reset=[0, 1])
    pair = run(main, script, reset=0.1)
    assert pair.server.log == ["made", b"arrives", RESET]
    assert pair.client.log[-1] == RESET
    assert script.asked.count("reset") == 3


def test_while_hosts_are_cut_off_what_is_sent_waits_and_arrives_in_order_when_they_are_reunited() -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            pair.client.transport.write(b"under way,")
            net.partition("server", "client")
            pair.client.transport.write(b"first,")
            await asyncio.sleep(100)
            pair.client.transport.write(b"second,")
            pair.server.transport.write(b"back")
            net.heal("client")
            pair.client.transport.write(b"third")
            assert [side.log for side in pair.sides] == [["made"], ["made"]]
            await asyncio.sleep(1)
            assert pair.server.log[1:] == [b"under way,", b"first,", b"second,", b"third"]
            assert pair.client.log[1:] == [b"back"]
            pair.close()

    run(main)


def test_a_partition_concerns_only_its_two_hosts_and_ends_only_when_it_is_healed() -> None:
    async def main(net: SimNet) -> None:
        net.partition("client", "other")
        net.partition("client", "third")
        async with Pair(net) as pair:
            pair.client.transport.write(b"x")
            await asyncio.sleep(1)
            net.partition("client", "server")
            pair.client.transport.write(b"y")
            net.heal("client", "other")
            net.heal("server", "other")
            await asyncio.sleep(1)
            assert pair.server.data == b"x"
            net.heal()
            await asyncio.sleep(1)
            assert pair.server.data == b"xy"
            pair.close()
        with pytest.raises(ValueError, match="cannot be cut off from itself: 'a'"):
            net.partition("a", "a")

    run(main)


def test_a_connect_to_a_host_that_is_cut_off_waits_until_it_is_reunited() -> None:
    async def main(net: SimNet) -> None:
        net.partition("client", "server")
        with net.host("client"), pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await asyncio.open_connection("server", 80)
        assert net.connections == []
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "server", 80):
            with net.host("client"):
                connecting = asyncio.ensure_future(asyncio.open_connection("server", 80))
            await asyncio.sleep(1000)
            assert net.open_connections() == ["connection 2 client:49153 -> server:80, held by client"]
            net.heal()
            reader, writer = await connecting
            assert await reader.read() == b""
            writer.close()

    run(main)


def test_who_waits_for_a_partition_that_nobody_heals_is_in_a_deadlock() -> None:
    async def main(net: SimNet) -> None:
        net.partition("local", "server")
        await asyncio.open_connection("server", 80)

    with pytest.raises(DeadlockError):
        run(main)


def test_chance_cuts_off_hosts_and_reunites_them() -> None:
    async def main(net: SimNet) -> float:
        loop = asyncio.get_running_loop()
        async with Pair(net) as pair:
            start = loop.time()
            pair.client.transport.write(b"a")
            pair.client.transport.write(b"b")
            await asyncio.sleep(100)
            pair.close()
            assert pair.server.data == b"ab"
            return pair.server.times[-1] - start

    # The first two questions are asked when the connection is made.
    assert run(main, Script(**{"partition": [0, 0, 1], "partition.seconds": [2]}), partitions=True) == pytest.approx(
        10, abs=0.1
    )


def test_chance_does_not_cut_off_a_host_from_itself_and_sets_no_timer() -> None:
    async def main(net: SimNet) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, None, 80)
        transport, _ = await loop.create_connection(Recorder, "", 80)
        transport.write(b"x")
        await asyncio.sleep(1)
        transport.close()
        server.close()

    script = Script(partition=1)
    run(main, script, partitions=True)
    assert "partition" not in script.asked


def test_calm_ends_partitions_at_once_and_no_more_come() -> None:
    async def main(net: SimNet) -> float:
        loop: Any = asyncio.get_running_loop()
        async with Pair(net) as pair:
            pair.client.transport.write(b"a")
            await asyncio.sleep(1)
            assert len(loop.timers()) == 1
            assert pair.server.data == b""
            net.calm()
            start: float = loop.time()
            pair.client.transport.write(b"b")
            await asyncio.sleep(1)
            assert pair.server.data == b"ab"
            assert (net.partitions, net.reset_probability) == (False, 0.0)
            assert loop.timers() == []
            pair.close()
            return pair.server.times[-1] - start

    answers: dict[str, Any] = {"partition": [0, 0, 1, 1, 1], "partition.seconds": 3}
    assert run(main, Script(**answers), partitions=True, reset=0.1) < 0.1


CutSide = Callable[[Pair], Any]


@pytest.mark.parametrize(
    ("what", "direction"),
    [
        (lambda pair: pair.client.transport, "out"),
        (lambda pair: pair.server.transport, "in"),
        (lambda pair: ("client", "server"), "out"),
        (lambda pair: ("server", "client"), "in"),
    ],
)
def test_a_connection_cut_half_open_swallows_one_direction_without_a_word(what: CutSide, direction: Any) -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            net.cut(what(pair), direction=direction)
            assert net.connections[0].cut == ("out",)
            for _ in range(15):
                pair.client.transport.write(b"anybody?")
                await asyncio.sleep(0.2)
            pair.server.transport.write(b"hello")
            await asyncio.sleep(1)
            assert not pair.client.transport.is_closing()
            assert pair.client.log == ["made", b"hello"]
            assert pair.server.log == ["made"]
            net.heal()
            await asyncio.sleep(1)
            assert pair.server.log == ["made"]
            # The other direction brings the news.
            pair.server.transport.close()
            await asyncio.sleep(1)
            assert pair.client.log == ["made", b"hello", "end", CLOSED]
            assert pair.server.log == ["made", CLOSED]

    run(main)


def test_who_closes_a_side_whose_news_are_swallowed_leaves_the_other_side_open() -> None:
    async def main(net: SimNet) -> list[list[Any]]:
        async with Pair(net) as pair:
            net.cut(pair.client.transport, direction="both")
            pair.client.transport.close()
            await asyncio.sleep(1000)
        return [side.log for side in pair.sides]

    left = "connection 1 client:49152 -> server:80, held by server"
    assert run(main, leaves=[left]) == [["made", CLOSED], ["made"]]


def test_what_is_swallowed_is_never_acknowledged_so_a_writer_is_paused_in_the_end() -> None:
    async def main(net: SimNet) -> None:
        net.window = 100
        async with Pair(net) as pair:
            pair.client.transport.set_write_buffer_limits(high=0)
            net.cut(pair.client.transport)
            pair.client.transport.write(bytes(100))
            await asyncio.sleep(10)
            assert pair.client.log == ["made"]
            pair.client.transport.write(b"x")
            await asyncio.sleep(10)
            assert pair.client.log == ["made", "pause"]
            net.reset(pair.client.transport)
            await asyncio.sleep(1)
            assert [side.log[-1] for side in pair.sides] == [RESET, RESET]

    run(main)


def test_calm_resets_connections_that_were_cut_half_open() -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            net.cut(pair.client.transport)
            pair.client.transport.write(b"gone")
            net.calm()
            await asyncio.sleep(1)
            assert [side.log for side in pair.sides] == [["made", RESET], ["made", RESET]]

    run(main)


def test_trouble_needs_a_transport_of_this_network_or_two_hosts() -> None:
    async def main(net: SimNet) -> None:
        for wrong in (None, "client", ("client",), object()):
            with pytest.raises(TypeError, match="a transport of the simulated network or the names of two hosts"):
                net.cut(wrong)
            with pytest.raises(TypeError, match="a transport of the simulated network or the names of two hosts"):
                net.reset(wrong)
        net.reset(("nobody", "nowhere"))

    run(main)


# --- Settings and looks -----------------------------------------------------------------------------------------------


def test_settings_are_checked() -> None:
    async def main(net: SimNet) -> None:
        for latency in ((-1.0, 0.0), (2.0, 1.0), (0.0, float("inf"))):
            with pytest.raises(ValueError, match="latency must be"):
                net.latency = latency
        with pytest.raises(ValueError, match="window must be at least 1 byte, got 0"):
            net.window = 0
        with pytest.raises(ValueError, match=r"reset_probability must be from 0 to 1, got 1\.5"):
            net.reset_probability = 1.5
        assert (net.latency, net.window, net.reset_probability) == ((0.001, 0.05), 65_536, 0.0)

    run(main)


def test_connections_can_be_looked_at() -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net) as pair:
            pair.server.transport.pause_reading()
            pair.client.transport.write(b"12345")
            (seen,) = net.connections
            assert (seen.number, seen.client, seen.server) == (1, ("client", 49_152), ("server", 80))
            assert (seen.to_server, seen.to_client, seen.cut) == (5, 0, ())
            assert (seen.open_at_client, seen.open_at_server) == (True, True)
            pair.client.transport.close()
            await asyncio.sleep(1)
            (seen,) = net.connections
            assert (seen.open_at_client, seen.open_at_server) == (False, True)
            assert net.open_connections() == ["connection 1 client:49152 -> server:80, held by server"]
            pair.server.transport.close()
            await asyncio.sleep(1)
            assert net.connections == []

    run(main)


def test_what_a_run_leaves_is_seen() -> None:
    async def main(net: SimNet) -> None:
        async with Pair(net):
            pass

    run(main, leaves=["connection 1 client:49152 -> server:80, held by client and server"])


def test_the_same_seed_is_the_same_run() -> None:
    def play(seed: int) -> list[Any]:
        async def main(net: SimNet) -> list[Any]:
            loop: Any = asyncio.get_running_loop()
            async with Pair(net) as pair:
                for number in range(20):
                    pair.client.transport.write(b"%d," % number)
                    pair.server.transport.write(b"%d;" % number)
                    await asyncio.sleep(0.01)
                await asyncio.sleep(100)
                for side in pair.sides:
                    side.transport.abort()
                await asyncio.sleep(1)
            return [pair.client.log, pair.server.log, loop.digest(), loop.time()]

        return run(main, RandomWalk(seed), reset=0.01, partitions=True)

    runs = [play(seed) for seed in range(20)]
    assert [play(seed) for seed in range(20)] == runs
    assert len({str(each) for each in runs}) == 20


# --- Against the real thing -------------------------------------------------------------------------------------------

Nap = Callable[[], Awaitable[None]]


async def close(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.write(b"some")
    client.transport.close()


async def abort(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.write(b"some")
    client.transport.abort()


async def both_close(client: Recorder, server: Recorder, nap: Nap) -> None:
    for side in (client, server):
        side.transport.write(b"some")
        side.transport.close()


async def close_with_data_unread(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.pause_reading()
    server.transport.write(b"some")
    await nap()
    client.transport.close()


async def abort_with_data_unread(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.pause_reading()
    server.transport.write(b"some")
    await nap()
    client.transport.abort()


async def end(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.write(b"some")
    client.transport.write_eof()


async def end_and_answer(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.write_eof()
    await nap()
    server.transport.write(b"some")
    server.transport.close()


async def write_to_who_has_closed(client: Recorder, server: Recorder, nap: Nap) -> None:
    client.transport.close()
    for _ in range(3):
        await nap()
        server.transport.write(b"some")


async def end_while_reading_is_paused(client: Recorder, server: Recorder, nap: Nap) -> None:
    server.transport.pause_reading()
    server.transport.pause_reading()
    client.transport.write(b"some")
    client.transport.write_eof()
    await nap()
    server.log.append("resumes")
    server.transport.resume_reading()
    server.transport.resume_reading()


async def reset_while_reading_is_paused_and_write(client: Recorder, server: Recorder, nap: Nap) -> None:
    await close_with_data_unread(server, client, nap)
    client.transport.pause_reading()
    await nap()
    client.log.append("writes")
    client.transport.write(b"some")
    await nap()
    client.transport.write(b"some")


async def reset_while_reading_is_paused_and_resume(client: Recorder, server: Recorder, nap: Nap) -> None:
    await close_with_data_unread(server, client, nap)
    client.transport.pause_reading()
    await nap()
    client.log.append("resumes")
    client.transport.resume_reading()


SCENES = [
    close, abort, both_close, close_with_data_unread, abort_with_data_unread, end, end_and_answer,
    write_to_who_has_closed, end_while_reading_is_paused, reset_while_reading_is_paused_and_write,
    reset_while_reading_is_paused_and_resume,
]  # fmt: skip


async def play_on_loopback(scene: Callable[..., Awaitable[None]], *, stays_open: bool) -> list[list[Any]]:
    async def nap() -> None:
        # The loopback delivers within the system call that sends, so a few rounds of the loop are enough.
        for _ in range(5):
            await asyncio.sleep(0.002)

    accepted: list[Recorder] = []

    loop = asyncio.get_running_loop()
    server = await loop.create_server(noting(accepted, lambda: Recorder(stays_open=stays_open)), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    _, client = await loop.create_connection(lambda: Recorder(stays_open=stays_open), *address)
    while not accepted or "made" not in accepted[0].log:
        await nap()
    await scene(client, accepted[0], nap)
    await nap()
    logs = [list(client.log), list(accepted[0].log)]
    for side in (client, accepted[0]):
        side.transport.abort()
        await side.lost
    server.close()
    await server.wait_closed()
    return logs


@pytest.mark.parametrize("stays_open", [False, True])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_protocols_are_told_the_same_as_by_asyncio_over_the_loopback(
    scene: Callable[..., Awaitable[None]], stays_open: bool
) -> None:
    async def main(net: SimNet) -> list[list[Any]]:
        async with Pair(net, stays_open=stays_open) as pair:
            await scene(*pair.sides, lambda: asyncio.sleep(1))
            await asyncio.sleep(1)
            logs = [list(side.log) for side in pair.sides]
            for side in pair.sides:
                side.transport.abort()
        return logs

    assert run(main) == asyncio.run(play_on_loopback(scene, stays_open=stays_open))
