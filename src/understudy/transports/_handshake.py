"""How two sides become a link: who they are, that both know the token, and what both understand. No I/O.

    client  ->  hello      versions, formats, name and run id, a nonce
    server  ->  challenge  version, format, name and run id, a nonce
    client  ->  response   proof of the client
    server  ->  welcome    proof of the server

A proof is an HMAC with the token over a label and all that both have said, so that neither can be used for anything
else: not by the other side, not in another session, and not after a change of a single byte. The token itself is never
sent. The keys with which every batch of the session is authenticated come out of it in the same way, one for each
direction. Nobody learns anything of a server but its name before he has proved that he knows the token.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.transports._address import check_node_name
from understudy.transports._connection import PeerFacts
from understudy.transports._errors import HandshakeFailed, ProtocolError
from understudy.transports._limits import check_json

__all__ = ["HANDSHAKE_SIZE", "NONCE_SIZE", "VERSION", "Handshake", "NodeId", "Session"]

VERSION = 1
"""Of the protocol."""
NONCE_SIZE = 32
"""Bytes."""
HANDSHAKE_SIZE = 4_096
"""Bytes that a message of the handshake may have."""

_S = TypeVar("_S", bound="_Said")
_LABEL = b"understudy link\x00"


@dataclass(frozen=True, slots=True)
class NodeId:
    """A node, from its start to its end: its name, and what tells it from the next one of that name."""

    name: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What both sides have agreed on."""

    peer: NodeId
    format: str
    """``"json"`` or ``"msgpack"``: of the headers."""
    send_key: bytes | None
    """With which what is sent is authenticated; None where there is no token."""
    receive_key: bytes | None


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Introduction(_Said):
    node: str = Field(max_length=64)
    run: str = Field(pattern=r"^[0-9a-f]{16}$")
    nonce: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Hello(_Introduction):
    versions: tuple[int, ...] = Field(max_length=16)
    formats: tuple[str, ...] = Field(max_length=16)


class _Challenge(_Introduction):
    version: int
    format: str


class _Proof(_Said):
    proof: str = Field(pattern=r"^([0-9a-f]{64})?$")


class Handshake:
    """One side of it.

    Args:
        role: Which side.
        me: This node.
        token: What both have to know; None: nothing, on transports where nobody else can be.
        nonce: Random bytes, which have never been used before.
        facts: What the transport knows of the peer; a name in its certificate has to be that of its node.
        formats: Of headers, the best first.
        expect: The name that the peer must have; None: any.
    """

    def __init__(
        self,
        role: Literal["client", "server"],
        me: NodeId,
        *,
        token: str | None,
        nonce: bytes,
        facts: PeerFacts,
        formats: tuple[str, ...] = ("json",),
        expect: str | None = None,
    ) -> None:
        assert len(nonce) == NONCE_SIZE
        self._role = role
        self._me = me
        self._token = None if token is None else token.encode()
        self._nonce = nonce
        self._facts = facts
        self._formats = formats
        self._expect = expect
        self._said = b""
        self._peer: NodeId | None = None
        self._format = ""
        self._awaited = "challenge" if role == "client" else "hello"
        self.session: Session | None = None
        """What was agreed on; None until the end."""

    def begin(self) -> bytes | None:
        """What is to be sent first, if anything is."""
        if self._role == "server":
            return None
        hello = _Hello(
            node=self._me.name,
            run=self._me.run,
            nonce=self._nonce.hex(),
            versions=(VERSION,),
            formats=self._formats,
        )
        return self._say(hello)

    def receive(self, data: bytes) -> bytes | None:
        """Take a message of the peer; what is to be sent in return, if anything is.

        Raises:
            ProtocolError: It is none that could come now.
            HandshakeFailed: There will be no link. Nothing more is to be sent.
        """
        check_json(data, max_size=HANDSHAKE_SIZE, max_depth=4)
        match self._awaited:
            case "hello":
                return self._challenge(_parse(_Hello, data), data)
            case "challenge":
                return self._respond(_parse(_Challenge, data), data)
            case "response":
                self._check(_parse(_Proof, data), "client")
                return _dump(_Proof(proof=self._proof("server")))
            case "welcome":
                self._check(_parse(_Proof, data), "server")
                return None
            case _:
                raise ProtocolError(problem="a message after the end of the handshake")

    # The steps

    def _challenge(self, hello: _Hello, data: bytes) -> bytes:
        self._said += data
        self._meet(hello)
        if VERSION not in hello.versions:
            raise self._failed(
                f"it speaks the versions {list(hello.versions)} of the protocol, and this side {VERSION}"
            )
        self._format = next((each for each in hello.formats if each in self._formats), "")
        if not self._format:
            raise self._failed(f"it knows the formats {list(hello.formats)}, and this side {list(self._formats)}")
        self._awaited = "response"
        challenge = _Challenge(
            node=self._me.name, run=self._me.run, nonce=self._nonce.hex(), version=VERSION, format=self._format
        )
        return self._say(challenge)

    def _respond(self, challenge: _Challenge, data: bytes) -> bytes:
        self._said += data
        self._meet(challenge)
        self._vet()
        if challenge.version != VERSION or challenge.format not in self._formats:
            raise self._failed("it has chosen what was not offered")
        self._format = challenge.format
        self._awaited = "welcome"
        return _dump(_Proof(proof=self._proof("client")))

    # Parts of them

    def _meet(self, other: _Introduction) -> None:
        if not check_node_name(other.node):
            raise ProtocolError(problem="a name that no node can have")
        self._peer = NodeId(other.node, other.run)

    def _vet(self) -> NodeId:
        """Whether the peer is who it has to be. A server looks when it knows that the client has the token."""
        peer = self._peer
        assert peer is not None
        if peer.name == self._me.name:
            raise self._failed("it has the name of this node: ActorSystem(name=...) gives it another")
        if self._expect is not None and peer.name != self._expect:
            raise self._failed(f"it is not {self._expect}")
        if self._facts.names and peer.name not in self._facts.names:
            raise self._failed(f"its certificate is for {', '.join(self._facts.names)}")
        return peer

    def _check(self, said: _Proof, who: Literal["client", "server"]) -> None:
        if not hmac.compare_digest(said.proof, self._proof(who)):
            raise self._failed("unauthorized: it does not know the token")
        peer = self._vet()
        ours, theirs = ("c2s", "s2c") if self._role == "client" else ("s2c", "c2s")
        self._awaited = ""
        self.session = Session(peer=peer, format=self._format, send_key=self._key(ours), receive_key=self._key(theirs))

    def _say(self, said: _Said) -> bytes:
        data = _dump(said)
        self._said += data
        return data

    def _proof(self, who: str) -> str:
        key = self._key(who)
        return "" if key is None else key.hex()

    def _key(self, use: str) -> bytes | None:
        if self._token is None:
            return None
        return hmac.digest(self._token, _LABEL + use.encode() + b"\x00" + hashlib.sha256(self._said).digest(), "sha256")

    def _failed(self, why: str) -> HandshakeFailed:
        name = self._facts.address if self._peer is None else f"{self._peer.name} at {self._facts.address}"
        return HandshakeFailed(peer=name, why=why)


def _dump(said: _Said) -> bytes:
    return said.model_dump_json().encode()


def _parse(kind: type[_S], data: bytes) -> _S:
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        raise ProtocolError(problem=f"no {kind.__name__.strip('_').lower()} where one was due") from None
