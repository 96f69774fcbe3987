"""The transport over server-sent events, beyond what each transport has to do: losses on the way, and strangers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx2
import pytest

from tests.transports.certificates import Authority
from tests.transports.conformance.cases import Case, Stage, lost
from tests.transports.sockets import Middle
from understudy.exceptions import MissingExtra
from understudy.transports import (
    Connection,
    ConnectionLimits,
    ConnectionLost,
    SseTransport,
    Tls,
    TransportOptions,
    UnsafeListener,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]

SSE = Case("sse", SseTransport, "sse://127.0.0.1:0", True, TransportOptions(authenticated=True))


def port_of(stage: Stage) -> int:
    return httpx2.URL(stage.listener.url.replace("sse", "http", 1)).port or 0


@asynccontextmanager
async def strangers(stage: Stage) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that knows nothing of ours."""
    url = stage.listener.url.replace("sse", "http", 1)
    async with httpx2.AsyncClient(base_url=f"{url}/", trust_env=False) as client:
        yield client


@asynccontextmanager
async def through(stage: Stage, middle: Middle) -> AsyncIterator[tuple[Connection, Connection]]:
    """Both ends of a connection that goes through *middle*."""
    name = f"127.0.0.1:{middle.port}"
    client = await stage.transport.connect(f"sse://{name}/understudy", stage.options, stage.env)
    try:
        yield client, await stage.accepted.get()
    finally:
        await client.aclose()


@asynccontextmanager
async def staged(limits: ConnectionLimits | None = None) -> AsyncIterator[tuple[Stage, Middle]]:
    """A listener, and something in front of it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    async with Middle(port) as middle:
        # The proxy is called by another name than the listener, as proxies are.
        options = TransportOptions(authenticated=True, hosts=(f"127.0.0.1:{middle.port}",))
        async with Stage(Case("sse", SseTransport, f"sse://127.0.0.1:{port}", True, options), limits) as stage:
            yield stage, middle


# Losses on the way


async def test_a_stream_that_breaks_off_is_read_on_without_a_loss_or_a_repetition() -> None:
    messages = [str(number).encode() * 5_000 for number in range(300)]
    async with staged() as (stage, middle), through(stage, middle) as (client, server):

        async def send() -> None:
            for message in messages:
                await server.send(message)

        sending = asyncio.ensure_future(send())
        received: list[bytes] = []
        while len(received) < len(messages):
            received.append(await client.receive())
            if len(received) % 50 == 0:
                middle.cut()
        await sending
        assert received == messages
        assert middle.connections > 6


async def test_what_a_client_says_arrives_once_though_the_answers_are_lost() -> None:
    messages = [str(number).encode() for number in range(60)]
    async with staged() as (stage, middle), through(stage, middle) as (client, server):
        for number, message in enumerate(messages):
            middle.swallowing = number % 20 == 10
            sending = asyncio.ensure_future(client.send(message))
            assert await server.receive() == message
            if middle.swallowing:
                assert not sending.done()
                middle.swallowing = False
                middle.cut()
            await sending
        await client.aclose("all said")
        with pytest.raises(ConnectionLost, match="all said"):
            await server.receive()


async def test_what_was_swallowed_on_the_way_is_said_again() -> None:
    async with staged() as (stage, middle), through(stage, middle) as (client, server):
        await server.send(b"first")
        assert await client.receive() == b"first"
        middle.swallowing = True
        sent: list[bytes] = []

        async def send() -> None:
            for number in range(100):
                await server.send(str(number).encode())
                sent.append(str(number).encode())

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(0.2)  # in real time: nobody tells that a sender has to wait
        # The socket would take more; but nothing is said that might have to be said again and could not be.
        assert 20 < len(sent) < 40
        middle.swallowing = False
        middle.cut()
        received = [await client.receive() for _ in range(100)]
        await sending
        assert received == sent


async def test_a_listener_that_cannot_be_reached_again_in_time_is_lost() -> None:
    async with (
        staged(ConnectionLimits(frame_timeout=0.3, close_timeout=0.2)) as (stage, middle),
        through(stage, middle) as (client, server),
    ):
        middle.closed = True
        middle.cut()
        assert "broke off" in (await lost(client)).why
        assert "does not read" in (await lost(server)).why
        with pytest.raises(ConnectionLost):
            await server.send(b"to nobody")


async def test_a_message_that_is_cancelled_on_its_way_harms_none_that_follows() -> None:
    async with staged() as (stage, middle), through(stage, middle) as (client, server):
        await client.send(b"one")
        middle.swallowing = True
        sending = asyncio.ensure_future(client.send(b"two"))
        await asyncio.sleep(0.05)  # it may have arrived by now, or not: both are right
        sending.cancel()
        await asyncio.wait({sending})
        middle.swallowing = False
        middle.cut()
        await client.send(b"three")
        received = [await server.receive(), await server.receive()]
        if received[1] == b"two":
            received.append(await server.receive())
        assert received in ([b"one", b"two", b"three"], [b"one", b"three"])


async def test_who_opens_a_connection_and_does_not_read_is_let_go() -> None:
    async with Stage(SSE, ConnectionLimits(open_timeout=0.2, max_connections_per_address=1)) as stage:
        async with strangers(stage) as client:
            assert (await client.post("connections")).status_code == 201
            server = await stage.accepted.get()
            assert (await client.post("connections")).status_code == 503
            assert "does not read" in (await lost(server)).why
        stage.release(server)
        await stage.pair_when_there_is_room()


# Strangers


async def test_a_program_that_knows_only_http_can_speak_with_a_listener(tmp_path: Path) -> None:
    async with Stage(SSE) as stage:
        url = stage.listener.url.replace("sse", "http", 1)

        async def curl(*arguments: str) -> str:
            process = await asyncio.create_subprocess_exec(
                "curl", "--silent", "--max-time", "10", *arguments, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            return out.decode()

        opened = json.loads(await curl("--request", "POST", f"{url}/connections"))
        name = f"Understudy-Connection: {opened['connection']}"
        server = await stage.accepted.get()
        reading = asyncio.ensure_future(curl("--no-buffer", "--header", name, f"{url}/events"))
        await curl("--header", name, "--header", "Understudy-Sequence: 1", "--data-binary", "hello", f"{url}/messages")
        assert await server.receive() == b"hello"
        await server.send(b"hello yourself")
        await server.send(b"")
        await server.aclose("bye")
        events = [event for event in (await reading).split("\n\n") if event and not event.startswith(":")]
        assert events == [
            'id: 1\nevent: message\ndata: "aGVsbG8geW91cnNlbGY="',
            'id: 2\nevent: message\ndata: ""',
            'event: end\ndata: {"why": "bye", "clean": true}',
        ]


async def test_a_stranger_that_comes_late_reads_on_from_the_event_that_it_names_and_is_told_of_a_gap() -> None:
    async with Stage(SSE) as stage, strangers(stage) as client:
        name = (await client.post("connections")).json()["connection"]
        headers = {"Understudy-Connection": name}
        server = await stage.accepted.get()

        async def read(after: int, number: int) -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            async with client.sse("events", headers=headers | {"Last-Event-ID": str(after)}) as source:
                async for event in source:
                    found.append((event.event, event.id))
                    if len(found) == number:
                        break
            return found

        reading = asyncio.ensure_future(read(0, 100))
        for number in range(100):
            await server.send(str(number).encode())
        assert await reading == [("message", str(number)) for number in range(1, 101)]
        assert await read(97, 3) == [("message", "98"), ("message", "99"), ("message", "100")]
        [first, second] = await read(3, 2)
        assert first == ("gap", str(int(second[1]) - 1))
        assert second[0] == "message"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
async def test_a_listener_on_this_machine_may_be_called_by_any_of_its_names(name: str) -> None:
    async with Stage(SSE) as stage, strangers(stage) as client:
        port = stage.listener.url.split(":")[2].partition("/")[0]
        answer = await client.post("connections", headers={"Host": f"{name}:{port}"})
        assert answer.is_success, answer.text


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "connections", {"Host": "evil.example"}, 421),
        ("POST", "connections", {"Host": "127.0.0.1"}, 421),
        ("POST", "connections", {"Origin": "https://evil.example"}, 403),
        ("POST", "connections", {"Origin": "null"}, 403),
        ("GET", "connections", {}, 405),
        ("GET", "events", {}, 404),
        ("GET", "events", {"Understudy-Connection": "0" * 32}, 404),
        ("GET", "events", {"Host": "evil.example", "Understudy-Connection": "{name}"}, 421),
        ("GET", "events", {"Origin": "https://evil.example", "Understudy-Connection": "{name}"}, 403),
        ("GET", "events", {"Understudy-Connection": "{name}", "Last-Event-ID": "1"}, 400),
        ("GET", "events", {"Understudy-Connection": "{name}", "Last-Event-ID": "-1"}, 400),
        ("GET", "events", {"Understudy-Connection": "{name}", "Last-Event-ID": "9" * 5_000}, 400),
        ("POST", "events", {"Understudy-Connection": "{name}"}, 405),
        ("POST", "messages", {"Understudy-Connection": "{name}"}, 400),
        ("POST", "messages", {"Understudy-Connection": "{name}", "Understudy-Sequence": "1e3"}, 400),
        ("POST", "messages", {"Host": "evil.example", "Understudy-Connection": "{name}"}, 421),
        ("POST", "close", {"Understudy-Connection": "{name}"}, 400),
        ("POST", "close", {"Origin": "https://evil.example", "Understudy-Connection": "{name}"}, 403),
        ("GET", "", {}, 404),
        ("GET", "../../etc/passwd", {}, 404),
        ("POST", "messages/1", {"Understudy-Connection": "{name}", "Understudy-Sequence": "1"}, 404),
    ],
)
async def test_what_is_no_request_of_ours_is_refused_and_does_nothing(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with Stage(SSE) as stage, strangers(stage) as client:
        name = (await client.post("connections")).json()["connection"]
        server = await stage.accepted.get()
        sent = {key: value.format(name=name) for key, value in headers.items()}
        response = await client.request(method, path, headers=sent)
        assert response.status_code == status
        assert name not in response.text
        assert stage.accepted.empty()
        # The connection is as it was.
        fine = {"Understudy-Connection": name, "Understudy-Sequence": "1"}
        assert (await client.post("messages", content=b"fine", headers=fine)).status_code == 202
        assert await server.receive() == b"fine"


async def test_pages_that_are_listed_may_connect() -> None:
    options = TransportOptions(authenticated=True, origins=("https://Shop.example",))
    async with (
        Stage(Case("sse", SseTransport, "sse://127.0.0.1:0", True, options)) as stage,
        strangers(stage) as client,
    ):
        assert (await client.post("connections", headers={"Origin": "https://shop.example"})).status_code == 201
        assert (await client.post("connections", headers={"Origin": "http://shop.example"})).status_code == 403


async def test_a_message_that_is_too_large_is_not_read_to_its_end() -> None:
    async with Stage(SSE, ConnectionLimits(max_size=1_000)) as stage, strangers(stage) as client:
        name = (await client.post("connections")).json()["connection"]
        headers = {"Understudy-Connection": name, "Understudy-Sequence": "1"}
        sent = 0

        async def pour() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(2_000):
                sent += 50_000
                yield bytes(50_000)

        with suppress(httpx2.TransportError):
            response = await client.post("messages", content=pour(), headers=headers)
            assert response.status_code == 413
        assert sent < 50_000_000
        assert (await stage.accepted.get()).peer.address


async def test_who_says_half_a_request_is_let_go_and_holds_up_nobody() -> None:
    limits = ConnectionLimits(open_timeout=2.0, frame_timeout=2.0, max_connections=600, max_connections_per_address=520)
    async with Stage(SSE, limits) as stage:
        port = port_of(stage)
        tricklers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(500)]
        for number, (_, writer) in enumerate(tricklers):
            if number % 2:
                writer.write(b"POST /understudy/connections HTTP/1.1\r\nHost: 127.")
        client, server = await stage.pair()
        await client.send(b"still served")
        assert await server.receive() == b"still served"
        ends = [await asyncio.wait_for(reader.read(), 10) for reader, _ in tricklers]
        assert set(ends) == {b""}
        for _, writer in tricklers:
            writer.close()


async def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    stage = Stage(SSE)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionLost, match="307"):
        await stage.transport.connect(f"sse://127.0.0.1:{port}", stage.options, stage.env)
    server.close()
    await server.wait_closed()
    assert len(asked) == 1


async def test_no_task_looks_again_and_again_whether_the_server_is_to_end() -> None:
    async with Stage(SSE) as stage:
        await stage.pair()
        names = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
        assert not [name for name in names if "watcher" in name]


# What is not safe


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("sse://0.0.0.0:0", TransportOptions(authenticated=True), "needs TLS: sses://"),
        ("sse://192.0.2.1:8000", TransportOptions(authenticated=True), "needs TLS: sses://"),
        ("sse://[::]:0", TransportOptions(authenticated=True), "needs TLS: sses://"),
        ("sse://localhost.evil.example:0", TransportOptions(authenticated=True), "needs TLS: sses://"),
        ("sse://me:secret@127.0.0.1:0", TransportOptions(authenticated=True), "must have no user"),
        ("sse://127.0.0.1:0/x?token=1", TransportOptions(authenticated=True), "must have no user, query"),
        ("sse://127.0.0.1:port", TransportOptions(authenticated=True), "is no URL: Port"),
        ("sse://", TransportOptions(authenticated=True), "must be like"),
        ("sse://127.0.0.1:0", TransportOptions(), "needs a token"),
        ("http://127.0.0.1:0", TransportOptions(authenticated=True), "must be like"),
        ("sses://127.0.0.1:0", TransportOptions(authenticated=True), "needs a certificate"),
        (
            "sses://127.0.0.1:0",
            TransportOptions(authenticated=True, tls=Tls(certificate="c.pem")),
            "needs a certificate",
        ),
        (
            "sses://127.0.0.1:0",
            TransportOptions(authenticated=True, tls=Tls(certificate="c.pem", key="k.pem", ca="ca.pem")),
            "wss://",
        ),
    ],
)
async def test_what_is_not_safe_does_not_listen(url: str, options: TransportOptions, problem: str) -> None:
    stage = Stage(SSE)
    with pytest.raises(UnsafeListener, match=problem):
        await stage.transport.listen(url, stage.serve, options, stage.env)


@pytest.mark.parametrize("url", ["sse://192.0.2.1:8000", "sse://me:secret@127.0.0.1:1", "sse://127.0.0.1:1/?a=b"])
async def test_what_is_not_safe_does_not_connect(url: str) -> None:
    stage = Stage(SSE)
    with pytest.raises(UnsafeListener):
        await stage.transport.connect(url, stage.options, stage.env)


def encrypted(tls: Tls) -> Case:
    """A listener with this certificate, which asks for none."""
    options = TransportOptions(authenticated=True, tls=replace(tls, ca=None))
    return Case("sses", SseTransport, "sses://127.0.0.1:0", True, options)


async def test_with_tls_only_a_listener_whose_certificate_is_believed_is_connected_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    ours, theirs = Authority(tmp_path), Authority(tmp_path / "elsewhere")
    async with Stage(encrypted(ours.tls("shop"))) as stage:
        for tls in (None, Tls(ca=theirs.ca)):
            options = TransportOptions(authenticated=True, tls=tls)
            with pytest.raises(ConnectionLost, match="CERTIFICATE_VERIFY_FAILED"):
                await stage.transport.connect(stage.listener.url, options, stage.env)
        assert stage.accepted.empty()


async def test_with_tls_messages_go_both_ways_and_each_end_knows_that_it_is_private(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with Stage(encrypted(ours.tls("shop"))) as stage:
        options = TransportOptions(authenticated=True, tls=Tls(ca=ours.ca))
        client = await stage.transport.connect(stage.listener.url, options, stage.env)
        server = await stage.accepted.get()
        await client.send(b"there")
        assert await server.receive() == b"there"
        await server.send(b"and back")
        assert await client.receive() == b"and back"
        assert client.peer.encrypted
        assert server.peer.encrypted
        assert (client.peer.names, server.peer.names) == (("shop", "localhost"), ())
        await client.aclose()


@pytest.mark.parametrize("way", ["listen", "connect"])
async def test_without_the_extra_it_says_what_to_install(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("understudy.transports._sse_")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("sse_starlette", "sse_starlette.event", "httpx2"):
        monkeypatch.setitem(sys.modules, name, None)
    stage = Stage(SSE)
    uses = {
        "listen": partial(stage.transport.listen, "sse://127.0.0.1:0", stage.serve, stage.options, stage.env),
        "connect": partial(stage.transport.connect, "sse://127.0.0.1:1", stage.options, stage.env),
    }
    with pytest.raises(MissingExtra, match=r'pip install "understudy\[sse\]"'):
        await uses[way]()


async def test_a_gap_is_the_end_for_a_client_of_ours() -> None:
    # No listener of ours tells one to a client that says what it has heard; another might.
    said = [
        b'id: 1\nevent: message\ndata: "YQ=="\n\n',
        b"id: 2\nevent: later\ndata: what a newer version may say\n\n",
        b"id: 6\nevent: gap\ndata: 3-6\n\n",
    ]
    async with foreign(*said) as (url, told):
        stage = Stage(SSE)
        client = await stage.transport.connect(url, stage.options, stage.env)
        assert await client.receive() == b"a"
        end = await lost(client)
        assert (end.clean, end.why) == (False, "what it said meanwhile is lost (messages 3-6)")
        await client.aclose()
    assert json.loads(told[-1]) == {"why": end.why}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (b"id: 1\nevent: message\ndata: YQ==\n\n", "no JSON string of base64"),
        (b'id: 1\nevent: message\ndata: "!"\n\n', "no base64"),
        (b'id: one\nevent: message\ndata: "YQ=="\n\n', "invalid literal"),
        (b"event: end\ndata: []\n\n", "no JSON object"),
        (b"event: end\ndata: " + b"[" * 100_000 + b"\n\n", "more than 32 deep"),
        (b'id: 1\nevent: message\ndata: "' + b"A" * 400_000 + b'"\n\n', "exceeded"),
        (b"id: 1\nevent: message\ndata: " + b"A" * 400_000, "exceeded"),
    ],
    ids=["no string", "no base64", "no number", "no object", "deep", "large", "no end of a line"],
)
async def test_a_listener_that_breaks_the_protocol_is_lost_and_told_why(event: bytes, problem: str) -> None:
    async with foreign(event) as (url, told):
        stage = Stage(SSE)
        client = await stage.transport.connect(url, stage.options, stage.env)
        end = await lost(client)
        assert problem in end.why
        assert not end.clean
        await client.aclose()
    assert json.loads(told[-1])["why"] == end.why[:200]


@asynccontextmanager
async def foreign(*said: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A listener that is none of ours: its URL, and the bodies of what it was told."""
    told: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                told.append(await reader.readexactly(int(length or 0)))
                if head.startswith(b"get"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(said))
                    await reader.read()
                    break
                body = b'{"connection": "secret"}' if b"/connections " in head else b""
                status = b"201 Created" if body else b"204 No Content"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"sse://127.0.0.1:{server.sockets[0].getsockname()[1]}", told
