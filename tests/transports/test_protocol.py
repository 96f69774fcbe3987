"""The handshake and the batches of a link, without I/O."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest

from understudy.transports import ConnectionLost, HandshakeFailed, PeerFacts, ProtocolError
from understudy.transports._codec import Codec, JsonHeaders
from understudy.transports._frames import Cancel, Goodbye, Reply
from understudy.transports._handshake import Handshake, NodeId, Session
from understudy.transports._protocol import BATCH_SIZE, LinkProtocol, Timing, largest_batch

TOKEN = "a token of a good length"
CLIENT, SERVER = NodeId("client", "0" * 16), NodeId("server", "1" * 16)
FACTS = PeerFacts(transport="memory", address="there")


def side(role: Any, **options: Any) -> Handshake:
    given: dict[str, Any] = {"token": TOKEN, "nonce": (b"c" if role == "client" else b"s") * 32, "facts": FACTS}
    me = options.pop("me", CLIENT if role == "client" else SERVER)
    return Handshake(role, me, **given | options)


def shake(client: Handshake, server: Handshake) -> list[bytes]:
    """Let the two talk to the end; what was said."""
    said: list[bytes] = []
    message, sides = client.begin(), [server, client]
    while message is not None:
        said.append(message)
        message = sides[0].receive(message)
        sides.reverse()
    return said


def test_two_that_know_the_token_become_a_link_with_the_same_keys() -> None:
    client, server = side("client"), side("server")
    said = shake(client, server)
    ours, theirs = client.session, server.session
    assert ours is not None
    assert theirs is not None
    assert (ours.peer, theirs.peer) == (SERVER, CLIENT)
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert ours.send_key != ours.receive_key
    assert len(said) == 4
    assert not any(TOKEN.encode() in message or TOKEN.encode().hex().encode() in message for message in said)


@pytest.mark.parametrize(("ours", "theirs"), [(TOKEN, TOKEN + "x"), (TOKEN, None), (None, TOKEN)])
def test_a_client_with_another_token_gets_no_proof_of_the_server(ours: Any, theirs: Any) -> None:
    client, server = side("client", token=ours), side("server", token=theirs)
    hello = client.begin()
    assert hello is not None
    challenge = server.receive(hello)
    assert challenge is not None
    response = client.receive(challenge)
    assert response is not None
    with pytest.raises(HandshakeFailed, match="unauthorized"):
        server.receive(response)
    assert server.session is None


def test_a_server_that_does_not_know_the_token_is_found_out() -> None:
    client, server = side("client"), side("server", token="another token of good length")
    hello = client.begin()
    assert hello is not None
    client.receive(server.receive(hello) or b"")
    for proof in ("", "0" * 64):
        with pytest.raises(HandshakeFailed, match="unauthorized"):
            client.receive(json.dumps({"proof": proof}).encode())
    assert client.session is None


def test_a_recorded_session_is_refused() -> None:
    hello, _, response, _ = shake(side("client"), side("server"))
    again = side("server", nonce=b"t" * 32)
    assert again.receive(hello) is not None
    with pytest.raises(HandshakeFailed, match="unauthorized"):
        again.receive(response)


def test_a_proof_sent_back_to_who_has_made_it_proves_nothing() -> None:
    client = side("client")
    hello = client.begin() or b""
    mirrored = json.loads(hello)
    challenge = {key: mirrored[key] for key in ("nonce", "run")} | {"node": "mirror", "version": 1, "format": "json"}
    response = client.receive(json.dumps(challenge).encode()) or b""
    with pytest.raises(HandshakeFailed, match="unauthorized"):
        client.receive(response)


@pytest.mark.parametrize("changed", ["node", "run", "nonce", "formats"])
def test_whoever_changes_what_was_said_on_the_way_makes_it_fail(changed: str) -> None:
    client, server = side("client", formats=("msgpack", "json")), side("server", formats=("msgpack", "json"))
    hello = json.loads(client.begin() or b"")
    hello[changed] = {"node": "other", "run": "2" * 16, "nonce": "0" * 64, "formats": ["json"]}[changed]
    response = client.receive(server.receive(json.dumps(hello).encode()) or b"") or b""
    with pytest.raises(HandshakeFailed, match="unauthorized"):
        server.receive(response)


def test_the_best_format_that_both_know_is_taken() -> None:
    for ours, theirs, taken in ((("msgpack", "json"), ("json",), "json"), (("msgpack", "json"),) * 2 + ("msgpack",)):
        client, server = side("client", formats=ours), side("server", formats=theirs)
        shake(client, server)
        assert client.session is not None
        assert server.session is not None
        assert client.session.format == server.session.format == taken


@pytest.mark.parametrize(
    ("client", "server", "why"),
    [
        ({}, {"facts": PeerFacts(transport="wss", address="x", names=("other",))}, "certificate is for other"),
        ({"facts": PeerFacts(transport="wss", address="x", names=("a", "b"))}, {}, "certificate is for a, b"),
        ({"expect": "another"}, {}, "not another"),
        ({"me": SERVER}, {}, "name of this node"),
        ({"formats": ("msgpack",)}, {}, "formats"),
    ],
)
def test_who_is_not_who_he_should_be_is_refused(client: Any, server: Any, why: str) -> None:
    with pytest.raises(HandshakeFailed, match=why):
        shake(side("client", **client), side("server", **server))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"x" * 5_000,
        b'{"node": "a"}',
        json.dumps({"node": "/etc", "run": "0" * 16, "nonce": "0" * 64, "versions": [1], "formats": ["json"]}).encode(),
        json.dumps({"node": "a", "run": "0", "nonce": "0" * 64, "versions": [1], "formats": ["json"]}).encode(),
        json.dumps({"node": "a", "run": "0" * 16, "nonce": "0", "versions": [1], "formats": ["json"]}).encode(),
        json.dumps({"proof": "0" * 64}).encode(),
    ],
)
def test_what_is_no_hello_ends_the_handshake(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        side("server").receive(data)


def test_another_version_is_refused() -> None:
    hello = {"node": "a", "run": "0" * 16, "nonce": "0" * 64, "versions": [2, 3], "formats": ["json"]}
    with pytest.raises(HandshakeFailed, match="version"):
        side("server").receive(json.dumps(hello).encode())


def test_nothing_comes_after_the_end() -> None:
    client, server = side("client"), side("server")
    said = shake(client, server)
    with pytest.raises(ProtocolError, match="after the end"):
        server.receive(said[2])


# Batches


TIMING = Timing(heartbeat=5.0, ack_timeout=10.0, ack_delay=0.05)


def pair(*, keys: bool = True) -> tuple[LinkProtocol, LinkProtocol]:
    one, two = (b"1" * 32, b"2" * 32) if keys else (None, None)
    sessions = [
        Session(peer=peer, format="json", send_key=send, receive_key=receive)
        for peer, send, receive in ((SERVER, one, two), (CLIENT, two, one))
    ]
    client, server = (LinkProtocol(Codec(JsonHeaders(), None), session, TIMING, 0.0) for session in sessions)
    return client, server


def batch(protocol: LinkProtocol, now: float = 0.0) -> bytes:
    data = protocol.next_batch(now)
    assert data is not None
    return data


@pytest.mark.parametrize("keys", [True, False])
def test_frames_of_one_moment_go_together_and_come_in_order(keys: bool) -> None:
    client, server = pair(keys=keys)
    for number in range(10):
        client.put(Cancel(number))
    assert client.due() < 0
    frames = [frame for frame, _ in server.receive(batch(client), 0.0)]
    assert frames == [Cancel(number) for number in range(10)]
    assert client.next_batch(0.0) is None


def test_a_batch_is_bounded_but_for_a_single_large_frame() -> None:
    client, server = pair()
    for _ in range(3):
        client.put(Goodbye("x" * 40_000))
    client.put(Goodbye("y" * 200_000))
    sizes = []
    while (data := client.next_batch(0.0)) is not None:
        sizes.append(len(data))
        server.receive(data, 0.0)
    assert len(sizes) == 4
    assert max(sizes) <= largest_batch(256 * 1024)
    assert all(size < BATCH_SIZE + 100 for size in sizes[:3])


def test_what_comes_is_acknowledged_soon_or_with_what_goes_anyway() -> None:
    client, server = pair()
    client.put(Cancel(1))
    server.receive(batch(client), 1.0)
    assert server.due() == pytest.approx(1.05)
    assert server.next_batch(1.04) is None
    assert client.receive(batch(server, 1.05), 1.1) == []
    client.check(1_000.0)
    # An acknowledgement is not acknowledged, or it would never end.
    assert client.due() == pytest.approx(5.0)
    client.put(Cancel(2))
    server.receive(batch(client, 2.0), 2.0)
    server.put(Cancel(3))
    client.receive(batch(server, 2.0), 2.0)
    client.check(1_000.0)


def test_what_is_not_acknowledged_in_time_ends_the_link_though_every_write_succeeds() -> None:
    client, _ = pair()
    client.put(Cancel(1))
    batch(client, 1.0)
    client.put(Cancel(2))
    batch(client, 9.0)
    assert client.due() == pytest.approx(11.0)
    client.check(10.9)
    with pytest.raises(ConnectionLost, match="acknowledged for 10 s"):
        client.check(11.0)


def test_a_silent_link_is_asked_now_and_then_and_ends_when_nobody_answers() -> None:
    client, server = pair()
    assert client.next_batch(4.9) is None
    server.receive(batch(client, 5.0), 5.0)
    client.receive(batch(server, 5.05), 5.05)
    client.check(100.0)
    batch(client, 10.0)
    with pytest.raises(ConnectionLost):
        client.check(20.0)


def test_a_batch_that_comes_twice_out_of_turn_or_not_at_all_ends_the_link() -> None:
    client, server = pair()
    first, second = [(client.put(Cancel(number)), batch(client))[1] for number in (1, 2)]
    with pytest.raises(ProtocolError, match="batch 2 after batch 0"):
        pair()[1].receive(second, 0.0)
    server.receive(first, 0.0)
    with pytest.raises(ProtocolError, match="batch 1 after batch 1"):
        server.receive(first, 0.0)


def test_a_changed_bit_anywhere_is_noticed() -> None:
    client, _ = pair()
    client.put(Cancel(1))
    data = batch(client)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(ProtocolError, match="authentic"):
            pair()[1].receive(bytes(changed), 0.0)


@pytest.mark.parametrize("key", [b"", b"k" * 32, b"k" * 64, b"k" * 65])
@pytest.mark.parametrize("bodies", [[], [b""], [b"x" * 100], [b"x" * 100_000], [b"a", b"b" * 63, b"c" * 64]])
def test_the_code_of_a_batch_is_the_one_of_the_page(key: bytes, bodies: list[bytes]) -> None:
    session = Session(peer=SERVER, format="json", send_key=key, receive_key=key)
    sender, receiver = (LinkProtocol(Codec(JsonHeaders(), None), session, Timing(), 0.0) for _ in range(2))
    for body in bodies:
        sender.put(Reply(1), body)
    data = sender.next_batch(10.0)
    assert data is not None
    assert data[-16:] == hmac.digest(key, data[:-16], "sha256")[:16]
    assert [body for _, body in receiver.receive(data, 10.0)] == bodies
    for short in (b"", data[-15:], data[-16:]):
        with pytest.raises(ProtocolError, match="authentic"):
            receiver.receive(short, 10.0)


def test_there_is_an_object_of_openssl_behind_the_one_that_python_makes() -> None:
    behind: Any = getattr(hmac.new(b"key", digestmod="sha256"), "_hmac")  # noqa: B009 - a private name
    assert type(behind).__module__ == "_hashlib"


def test_a_batch_of_another_session_or_direction_is_not_authentic() -> None:
    client, _ = pair()
    client.put(Cancel(1))
    data = batch(client)
    with pytest.raises(ProtocolError, match="authentic"):
        pair()[0].receive(data, 0.0)


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 16, (1).to_bytes(8, "big") + (5).to_bytes(8, "big") + b"\x00", (1).to_bytes(8, "big") * 2 + b"\x02"],
)
def test_what_is_no_batch_ends_the_link(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        pair(keys=False)[1].receive(data, 0.0)
