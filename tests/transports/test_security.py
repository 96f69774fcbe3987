"""What an attacker may try on a link, each with what must come of it; on real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import socket
import ssl
import struct
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.transports.cast import MESSAGES, Add, Counter, Total, Watcher, WhoSent
from tests.transports.certificates import Authority
from tests.transports.stage import Letters, linked, until
from understudy import ActorSystem, Message
from understudy.transports import (
    ConnectionLimits,
    ConnectionLost,
    HandshakeFailed,
    LinkOptions,
    MessageNotAccepted,
    RemoteError,
    Tls,
    UnsafeListener,
)
from understudy.transports._codec import Codec, JsonHeaders
from understudy.transports._frames import Ask, Call, Ended, Frame, Letter, Offer, Stop, Watch
from understudy.transports._handshake import Handshake, NodeId, Session
from understudy.transports._protocol import LinkProtocol, Timing

TOKEN = "correct horse battery staple"
pytestmark = [pytest.mark.asyncio, pytest.mark.real_time]


@asynccontextmanager
async def bank(**terms: Any) -> Any:
    """A node that listens on a socket, with one actor."""
    letters = Letters()
    async with ActorSystem(name="bank", instruments=[letters]) as system:
        given: dict[str, Any] = {"token": TOKEN, "messages": MESSAGES}
        listening = await system.listen("ws://127.0.0.1:0", **given | terms)
        counter = await system.spawn(Counter)
        yield Bank(system, listening, counter, letters)


class Bank:
    def __init__(self, system: ActorSystem, listening: Any, counter: Any, letters: Letters) -> None:
        self.system, self.listening, self.counter, self.letters = system, listening, counter, letters
        self.url: str = listening.url

    async def still_works(self) -> None:
        """An honest client is served as if nothing had happened."""
        async with asyncio.timeout(5.0), ActorSystem(name="honest") as shop:
            node = await shop.connect(self.url, token=TOKEN)
            before = await self.counter.ask(Total())
            assert await (await node.lookup("counter", Counter)).ask(Add()) == before + 1


class Stranger:
    """An independent client: the library, the handshake by the book, and then whatever the test wants to send."""

    def __init__(self, url: str, *, name: str = "stranger", token: str | None = TOKEN, **options: Any) -> None:
        self._dial = connect(url, compression=None, proxy=None, ping_interval=None, **options)
        self._name, self._token = name, token
        self.said: list[bytes] = []

    async def __aenter__(self) -> Stranger:
        self.ws = await self._dial
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.ws.close()

    async def shake(self) -> Stranger:
        handshake = Handshake(
            "client",
            NodeId(self._name, "f" * 16),
            token=self._token,
            nonce=os.urandom(32),
            facts=Any,
        )
        handshake._facts = type("Facts", (), {"names": (), "address": "bank"})()
        said = handshake.begin()
        while said is not None:
            self.said.append(said)
            await self.ws.send(said)
            answer = await self.ws.recv()
            assert isinstance(answer, bytes)
            said = handshake.receive(answer)
        assert handshake.session is not None
        self.session: Session = handshake.session
        self.protocol = LinkProtocol(Codec(JsonHeaders(), None), self.session, Timing(), 0.0)
        return self

    async def link(self) -> Stranger:
        await self.shake()
        await self.put(Offer({}, (), 64, 262_144))
        return self

    async def put(self, frame: Frame, body: bytes = b"") -> None:
        self.protocol.put(frame, body)
        batch = self.protocol.next_batch(0.0)
        assert batch is not None
        await self.ws.send(batch)

    async def frames(self, seconds: float = 0.3) -> list[Any]:
        """What comes within that time."""
        found: list[Any] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    data = await self.ws.recv()
                    assert isinstance(data, bytes)
                    found += [frame for frame, _ in self.protocol.receive(data, 0.0)]
        except TimeoutError:
            return found

    async def end(self) -> ConnectionClosed:
        """How the other side has closed it."""
        async with asyncio.timeout(5.0):
            while True:
                try:
                    await self.ws.recv()
                except ConnectionClosed as closed:
                    return closed


# Before anything listens


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("ws://127.0.0.1:0", {}, "needs a token"),
        ("ws://localhost:0", {}, "needs a token"),
        ("ws://127.0.0.1:0", {"token": ""}, "at least 16"),
        ("ws://127.0.0.1:0", {"token": "short"}, "at least 16"),
        ("ws://0.0.0.0:0", {"token": TOKEN}, "needs TLS"),
        ("ws://0.0.0.0:0", {}, "needs a token"),
        ("ws://[::]:0", {"token": TOKEN}, "needs TLS"),
        ("ws://192.168.0.1:0", {"token": TOKEN}, "needs TLS"),
        ("ws://example.org:0", {"token": TOKEN}, "needs TLS"),
        ("wss://0.0.0.0:0", {"token": TOKEN}, "needs a certificate"),
        ("wss://0.0.0.0:0", {"tls": Tls(certificate="x", key="y")}, "needs a token"),
        ("ws://127.0.0.1:0", {"token": TOKEN, "tls": Tls(certificate="x", key="y")}, "use wss"),
        ("ws://user:hunter2@127.0.0.1:0", {"token": TOKEN}, "no user"),
        ("ws://127.0.0.1:0/?token=hunter2", {"token": TOKEN}, "no user, query"),
        ("http://127.0.0.1:0", {"token": TOKEN}, "must begin with"),
        ("ws://", {"token": TOKEN}, "must be like"),
    ],
)
async def test_what_is_not_safe_raises_before_a_socket_is_opened(
    url: str, options: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ActorSystem(name="bank") as system:
        opened: list[Any] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(type(loop), "create_server", lambda *args, **given: opened.append(args))
        monkeypatch.setattr(type(loop), "create_connection", lambda *args, **given: opened.append(args))
        with pytest.raises(UnsafeListener, match=problem) as caught:
            await system.listen(url, **options)
        assert "hunter2" not in str(caught.value)
        if "certificate" not in problem:
            with pytest.raises(UnsafeListener, match=problem):
                await system.connect(url, **options)
        assert opened == []


async def test_a_program_that_binds_all_addresses_without_protection_exits_non_zero(tmp_path: Path) -> None:
    program = (
        "import understudy\n"
        "from understudy import ActorSystem\n"
        "async def main():\n"
        "    async with ActorSystem(name='bank') as system:\n"
        "        await system.listen('ws://0.0.0.0:0')\n"
        "understudy.run(main())\n"
    )
    command = [sys.executable, "-c", program]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "needs a token" in done.stderr


# Tokens


@pytest.mark.parametrize("token", ["another token of good length", None])
async def test_two_with_different_tokens_never_exchange_a_frame(token: str | None) -> None:
    async with bank() as there:
        async with Stranger(there.url, token=token) as stranger:
            with pytest.raises(ConnectionClosed) as closed:
                await stranger.shake()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
        assert there.listening.peers == ()
        if token is not None:
            async with ActorSystem(name="shop") as shop:
                with pytest.raises(HandshakeFailed, match="unauthorized"):
                    await shop.connect(there.url, token=token)
        await there.still_works()


async def test_nothing_is_answered_before_the_proof() -> None:
    async with bank() as there:
        for frame in (Call(1, "lookup", path="/user/counter"), Stop(("/user/counter", 1), "kill"), Offer({}, (), 1, 1)):
            async with Stranger(there.url) as stranger:
                protocol = LinkProtocol(Codec(JsonHeaders(), None), _no_session(), Timing(), 0.0)
                protocol.put(frame)
                await stranger.ws.send(protocol.next_batch(0.0) or b"")
                assert (await stranger.end()).rcvd is not None
        assert there.counter.status == "running"


def _no_session() -> Session:
    return Session(peer=NodeId("bank", "0" * 16), format="json", send_key=None, receive_key=None)


async def test_a_recorded_session_is_refused() -> None:
    async with bank() as there:
        async with await Stranger(there.url).__aenter__() as stranger:
            await stranger.link()
            said = stranger.said
        async with Stranger(there.url) as again:
            await again.ws.send(said[0])
            await again.ws.recv()
            await again.ws.send(said[1])
            closed = await again.end()
            assert closed.rcvd is not None
            assert closed.rcvd.code == 4401


async def test_the_token_is_seen_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    wire = []
    async with linked(token=TOKEN, connect={"token": TOKEN}) as pair:
        wire = [*pair.wire.last.sent, *pair.wire.last.received]
        for thing in (pair.node, pair.listening, pair.shop, pair.bank):
            assert TOKEN not in repr(thing)
    with pytest.raises(UnsafeListener) as caught:
        async with ActorSystem(name="x") as system:
            await system.listen("ws://0.0.0.0:0", token=TOKEN)
    assert TOKEN not in str(caught.value)
    assert not any(TOKEN.encode() in data for data in wire)
    out, err = capsys.readouterr()
    assert TOKEN not in out + err


# Certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def secure_bank(tls: Tls, **terms: Any) -> Any:
    async with ActorSystem(name="bank") as system:
        listening = await system.listen("wss://127.0.0.1:0", token=TOKEN, messages=MESSAGES, tls=tls, **terms)
        await system.spawn(Counter)
        yield listening


async def test_two_with_certificates_of_one_authority_are_linked_over_tls(authority: Authority) -> None:
    async with secure_bank(authority.tls("bank")) as listening, ActorSystem(name="shop") as shop:
        node = await shop.connect(listening.url, token=TOKEN, tls=authority.tls("shop"))
        assert await (await node.lookup("counter", Counter)).ask(Add()) == 1
        (link,) = shop._understudy_node._links.values()
        assert link._connection.peer.encrypted
        assert "bank" in link._connection.peer.names


async def test_who_has_a_certificate_of_another_authority_or_none_never_gets_a_frame(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path)
    async with secure_bank(authority.tls("bank")) as listening, ActorSystem(name="shop") as shop:
        for tls in (other.tls("shop"), Tls(ca=authority.tls("shop").ca), other.tls("shop", ca=authority.ca), None):
            with pytest.raises((ConnectionLost, HandshakeFailed)):
                await shop.connect(listening.url, token=TOKEN, tls=tls)
        assert listening.peers == ()


async def test_the_name_of_a_node_is_that_of_its_certificate(authority: Authority) -> None:
    async with secure_bank(authority.tls("bank")) as listening, ActorSystem(name="teller") as teller:
        with pytest.raises(HandshakeFailed):
            await teller.connect(listening.url, token=TOKEN, tls=authority.tls("shop"))
    async with secure_bank(authority.tls("shop")) as listening, ActorSystem(name="teller") as teller:
        with pytest.raises(HandshakeFailed, match="certificate is for"):
            await teller.connect(listening.url, token=TOKEN, tls=authority.tls("teller"))


async def test_old_versions_of_tls_are_refused(authority: Authority) -> None:
    assert authority.tls("bank").for_server().minimum_version >= ssl.TLSVersion.TLSv1_2
    assert authority.tls("bank").for_client().minimum_version >= ssl.TLSVersion.TLSv1_2
    assert authority.tls("bank").for_client().check_hostname


# Web pages


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": "b\u00e4nk.example"}, 421),
        ({"Origin": ""}, 403),
        ({"Host": ""}, 421),
        ({"Origin": "https://good.example", "Host": "evil.example"}, 421),
    ],
)
async def test_a_foreign_page_or_a_rebound_name_does_not_get_through(headers: dict[str, str], status: int) -> None:
    async with bank(origins=["https://good.example"]) as there:
        assert await _upgrade(there.url, headers) == status
        await there.still_works()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://good.example"},
        {"Host": "localhost:PORT"},
        {"Host": "bank.example:PORT"},
        {"Host": "BANK.example:PORT", "Origin": "https://GOOD.example"},
        {"Host": "[::1]:PORT"},
        {"Host": "[fe80::a]:PORT"},
        {"Host": "proxy.example"},
        {"Host": "proxy.example:443"},
    ],
)
async def test_who_is_named_gets_as_far_as_the_handshake(headers: dict[str, str]) -> None:
    async with bank(origins=["https://good.example"], hosts=["bank.example", "FE80::A", "proxy.example:443"]) as there:
        port = there.url.rpartition(":")[2]
        assert await _upgrade(there.url, {name: value.replace("PORT", port) for name, value in headers.items()}) == 101


@pytest.mark.parametrize("path", ["/other", "/?token=x", "/user/counter"])
async def test_there_is_one_route_and_no_query(path: str) -> None:
    async with bank() as there:
        assert await _upgrade(there.url, {}, path) == 404


async def test_what_is_no_upgrade_is_told_so() -> None:
    async with bank() as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(there.url.rpartition(":")[2]))
        writer.write(f"GET / HTTP/1.1\r\nHost: {there.url.split('/')[2]}\r\n\r\n".encode())
        assert b" 426 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
        await there.still_works()


async def _upgrade(url: str, headers: dict[str, str], path: str = "/") -> int:
    """The status that an upgrade by hand gets."""
    port = int(url.rpartition(":")[2])
    said = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
    } | headers
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items()), "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def test_compression_is_off_so_that_there_is_no_bomb() -> None:
    async with bank() as there:
        async with connect(there.url, compression="deflate", proxy=None) as ws:
            assert ws.protocol.extensions == []
        async with Stranger(there.url) as stranger:
            # A frame that says it is compressed.
            stranger.ws.transport.write(b"\xc2\x80" + os.urandom(4))
            closed = await stranger.end()
            assert closed.sent is None or closed.sent.code == 1002
        await there.still_works()


# After the handshake


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": 1}),
        b"",
        b"\x00" * 50,
        b"{}",
        random.Random(7).randbytes(100),
    ],
)
async def test_bytes_that_are_no_batch_end_that_connection_only(data: bytes) -> None:
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        await stranger.ws.send(data)
        closed = await stranger.end()
        assert closed.rcvd is not None
        assert closed.rcvd.reason == "protocol error"
        await there.still_works()


class Bomb:
    """Unpickled, it would leave a trace."""

    def __reduce__(self) -> Any:
        return (os.putenv, ("UNDERSTUDY_PWNED", "1"))


async def test_a_pickle_in_place_of_a_body_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    bomb = pickle.dumps(Bomb())
    monkeypatch.setattr(os, "putenv", lambda *args: done.append(args))
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        at = ("/user/counter", there.counter.uid)
        await stranger.put(Ask(at, "tests.transports.cast.Add", 1, 5.0), bomb)
        assert (await stranger.end()).rcvd is not None
        assert done == []
        assert await there.counter.ask(Total()) == 0


@pytest.mark.parametrize(
    "body",
    [
        b'[{"number": 1, "number": 2}]',
        b'[{"number": NaN}]',
        b"[" * 40,
        b'[{"number": "\\ud800"}]',
        b"[\xff]",
        b"[{",
        b"[1e999]",
        b"[]",
        b"{}",
        b'{"number": 1}',
        b"[" + b"[" * 32 + b"]" * 32 + b"]" + b"]",
        b"",
    ],
)
async def test_json_that_may_be_read_in_two_ways_ends_that_connection_only(body: bytes) -> None:
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        await stranger.put(Letter(("/user/counter", there.counter.uid), "tests.transports.cast.Add"), body)
        closed = await stranger.end()
        assert closed.rcvd is not None
        assert closed.rcvd.reason == "protocol error"
        assert await there.counter.ask(Total()) == 0
        await there.still_works()


@pytest.mark.parametrize("body", [b'{"number": "1"}', b'{"number": 1.5}', b'{"number": true}', b'{"x": 1}', b"[]"])
async def test_a_message_of_the_wrong_type_never_reaches_a_mailbox(body: bytes) -> None:
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        await stranger.put(Ask(("/user/counter", there.counter.uid), "tests.transports.cast.Add", 1, 5.0), body)
        (fault,) = [frame for frame in await stranger.frames() if type(frame).__name__ == "Fault"]
        assert fault.kind == "not_accepted"
        assert await there.counter.ask(Total()) == 0


@pytest.mark.parametrize("tag", ["os.system", "tests.transports.cast.Unknown", "builtins.dict", "", "x" * 1_000])
async def test_a_tag_that_nobody_has_named_gives_an_error_and_imports_nothing(tag: str) -> None:
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        before = set(sys.modules)
        await stranger.put(Ask(("/user/counter", there.counter.uid), tag, 1, 5.0), b"{}")
        (fault,) = [frame for frame in await stranger.frames() if type(frame).__name__ == "Fault"]
        assert fault.kind == "not_accepted"
        assert set(sys.modules) == before


async def test_a_class_that_is_not_on_the_list_is_not_started_and_nothing_is_imported() -> None:
    async with bank(actors=[Counter]) as there, Stranger(there.url) as stranger:
        await stranger.link()
        before = set(sys.modules)
        for number, tag in enumerate(("tests.transports.cast.Watcher", "antigravity.X", "os.system", "")):
            await stranger.put(Call(number + 1, "spawn", tag=tag), b"{}")
        faults = [frame for frame in await stranger.frames() if type(frame).__name__ == "Fault"]
        assert [fault.kind for fault in faults] == ["not_accepted"] * 4
        assert set(sys.modules) == before
        assert [node.path for node in there.system.tree().walk() if "watcher" in node.path] == []
        async with ActorSystem(name="shop") as shop:
            node = await shop.connect(there.url, token=TOKEN)
            with pytest.raises(MessageNotAccepted, match="actors="):
                await node.spawn(Watcher)


async def test_a_sender_is_always_one_of_the_peer_and_never_somebody_else() -> None:
    seen: list[Any] = []
    async with bank() as there, Stranger(there.url) as stranger:
        there.counter.stop()
        await there.counter.wait_stopped()
        there.counter = await there.system.spawn(Counter, 0, seen)
        await stranger.link()
        at = ("/user/counter", there.counter.uid)
        # It says that it is an actor of the bank itself: that is an actor of its own of that path.
        await stranger.put(Letter(at, "tests.transports.cast.WhoSent", at), b"[{}]")
        await until(lambda: seen, 5.0)
        assert seen == ["//stranger/user/counter"]
        await stranger.put(Letter(at, "tests.transports.cast.WhoSent", ("/system/reporter", 1)), b"[{}]")
        assert (await stranger.end()).rcvd is not None
        assert len(seen) == 1
        assert WhoSent.__name__ == "WhoSent"


async def test_a_stale_uid_or_a_guessed_one_reaches_nobody() -> None:
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        for uid in (there.counter.uid - 1, there.counter.uid + 1, 0):
            await stranger.put(Letter(("/user/counter", uid), "tests.transports.cast.Add"), b"[{}]")
        frames = await stranger.frames()
        assert sum(1 for frame in frames if isinstance(frame, Ended)) == 3
        assert await there.counter.ask(Total()) == 0
        assert len(there.letters.letters) == 3


@pytest.mark.parametrize("path", ["/system/reporter", "/system", "/user", "/", "/user/a\nb"])
async def test_what_is_the_runtimes_own_cannot_be_named(path: str) -> None:
    async with bank() as there:
        for frame in (Stop((path, 1), "kill"), Watch((path, 1)), Letter((path, 1), "tests.transports.cast.Add")):
            async with Stranger(there.url) as stranger:
                await stranger.link()
                await stranger.put(frame, b"[{}]" if isinstance(frame, Letter) else b"")
                assert (await stranger.end()).rcvd is not None
        await there.still_works()


async def test_debugging_from_elsewhere_is_for_nodes_that_were_opened_for_it() -> None:
    for debug in (False, True):
        async with bank(debug=debug) as there, ActorSystem(name="shop") as shop:
            node = await shop.connect(there.url, token=TOKEN)
            ref = await node.lookup("counter", Counter)
            if debug:
                assert "Counter" in await node.debug(ref, "get_state")
                await node.debug(ref, "suspend")
                await node.debug(ref, "resume")
                assert await ref.ask(Total()) == 0
            else:
                for verb in ("get_state", "statistics", "suspend", "resume"):
                    with pytest.raises(RemoteError, match="debug=True"):
                        await node.debug(ref, verb)


async def test_a_name_with_a_newline_makes_no_line_of_its_own_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async with bank() as there:
        async with Stranger(there.url, name="evil\nlink up node=bank") as stranger:
            with pytest.raises(ConnectionClosed):
                await stranger.shake()
        await there.still_works()
    assert not any(line.startswith("link up node=bank") for line in capsys.readouterr().out.splitlines())


async def test_a_frame_larger_than_the_limit_ends_the_connection_before_it_is_read() -> None:
    async with bank() as there, Stranger(there.url, max_size=None) as stranger:
        await stranger.link()
        await stranger.ws.send(bytes(2_000_000))
        closed = await stranger.end()
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1009
        await there.still_works()


async def test_two_versions_of_a_message_are_told_apart_and_the_link_stays() -> None:
    class Price(Message[int]):
        wire_name: ClassVar[str | None] = "price"
        amount: int

    old = Price

    class NewPrice(Message[int]):
        wire_name: ClassVar[str | None] = "price"
        amount: int
        currency: str = "EUR"

    async with bank(messages=[*MESSAGES, old]) as there, ActorSystem(name="shop") as shop:
        node = await shop.connect(there.url, token=TOKEN)
        ref: Any = await node.lookup("counter")
        with pytest.raises(MessageNotAccepted, match="another version"):
            await ref.ask(NewPrice(amount=1))
        assert await ref.ask(Add()) == 1


# Slow ones


async def test_who_does_not_finish_the_handshake_is_let_go() -> None:
    async with bank(options=LinkOptions(handshake_timeout=0.3, limits=ConnectionLimits(open_timeout=0.3))) as there:
        port = int(there.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with Stranger(there.url) as stranger, asyncio.timeout(3.0):
            assert (await stranger.end()).rcvd is not None  # open, and says nothing
            await reader.read()  # not even open
        writer.close()
        await there.still_works()


async def test_who_sends_a_message_byte_by_byte_is_let_go() -> None:
    limits = ConnectionLimits(frame_timeout=0.3, idle_timeout=5.0)
    async with bank(options=LinkOptions(limits=limits, timing=Timing(heartbeat=10, ack_timeout=20))) as there:
        async with Stranger(there.url) as stranger:
            await stranger.link()
            stranger.ws.transport.write(b"\x82\xfe" + struct.pack("!H", 1_000) + b"\x00" * 4)
            async with asyncio.timeout(3.0):
                while not stranger.ws.transport.is_closing() and stranger.ws.close_code is None:
                    stranger.ws.transport.write(b"x")
                    await asyncio.sleep(0.05)  # it trickles
        await there.still_works()


async def test_many_tricklers_do_not_keep_an_honest_client_out() -> None:
    limits = ConnectionLimits(open_timeout=5.0, max_connections=600, max_connections_per_address=520)
    async with bank(options=LinkOptions(limits=limits)) as there:
        port = int(there.url.rpartition(":")[2])
        # In a thread, or nobody would accept them.
        sockets = await asyncio.to_thread(lambda: [socket.create_connection(("127.0.0.1", port)) for _ in range(500)])
        try:
            for each in sockets:
                each.sendall(b"GET / HTTP/1.1\r\nHost: 127")
            await asyncio.sleep(0.1)  # in real time: most have been accepted by now, and it is right if they have not
            loop = asyncio.get_running_loop()
            before = loop.time()
            async with ActorSystem(name="honest") as shop:
                node = await shop.connect(there.url, token=TOKEN)
                ref = await node.lookup("counter", Counter)
                connected = loop.time() - before
                assert await ref.ask(Add()) == 1
            assert connected < 1.0
        finally:
            for each in sockets:
                each.close()


async def test_one_address_has_no_more_connections_than_its_share() -> None:
    limits = ConnectionLimits(max_connections_per_address=3)
    async with bank(options=LinkOptions(limits=limits)) as there:
        strangers = [await Stranger(there.url).__aenter__() for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(there.url.rpartition(":")[2]))
        assert await reader.read() == b""
        writer.close()
        await strangers.pop().__aexit__()
        async with asyncio.timeout(10.0):
            while True:
                try:
                    await there.still_works()
                    break
                except ConnectionLost:
                    await asyncio.sleep(0.01)  # nobody tells when the place of the one that has left is free
        for stranger in strangers:
            await stranger.__aexit__()


# An independent client that behaves


async def test_a_plain_client_that_keeps_to_the_pages_on_the_wire_is_served() -> None:
    async with bank() as there, Stranger(there.url) as stranger:
        await stranger.link()
        await stranger.put(Call(1, "lookup", path="/user/counter"))
        at = ("/user/counter", there.counter.uid)
        await stranger.put(Ask(at, "tests.transports.cast.Add", 2, 5.0), json.dumps({"number": 4}).encode())
        kinds = [type(frame).__name__ for frame in await stranger.frames(0.6)]
        assert kinds.count("Reply") == 2
        assert await there.counter.ask(Total()) == 4


async def test_a_redirect_is_not_followed() -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ActorSystem(name="shop") as shop:
        with pytest.raises(ConnectionLost, match="302"):
            await shop.connect(f"ws://127.0.0.1:{port}", token=TOKEN)
