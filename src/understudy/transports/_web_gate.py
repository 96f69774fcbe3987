"""What stands before every route of what is served over HTTP: who may speak, how much, and how long."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

from understudy.transports._security import bracketed, is_loopback

__all__ = [
    "App",
    "Event",
    "GateRules",
    "Receive",
    "Refusal",
    "Scope",
    "Send",
    "read_body",
    "refuse",
]

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


_HTTP, _HTTPS = 80, 443
_USUAL = (str(_HTTP), str(_HTTPS))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no."""

    status: HTTPStatus
    text: str


@dataclass(frozen=True, slots=True)
class GateRules:
    """Who may speak; a decision, which waits for nothing.

    Args:
        hosts: What the Host header may be, in lower case, port included: a page whose name was made to point here has
            another.
        origins: What the Origin header may be, where there is one: a browser sends that of the page.
        token: What the Authorization header must bear; None: nobody is asked for one.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    token: str | None = None

    @classmethod
    def at(
        cls,
        host: str,
        port: int,
        *,
        encrypted: bool,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        token: str | None = None,
    ) -> GateRules:
        """Those of what listens there; *hosts* are names by which it is known besides, each with its port or without.

        Without one it is *port*. Which port clients leave out is a matter of what they speak: the usual one of
        *encrypted*, and of both for a name that was given with a port, as whoever passes requests on from there may
        speak another.
        """
        own = ("127.0.0.1", "localhost", "::1") if is_loopback(host) else ()
        names: set[str] = set()
        for name in map(bracketed, filter(None, (host, *hosts, *own))):
            bare, _, given = name.rpartition(":") if _has_port(name) else (name, "", "")
            names.add(name if given else f"{name}:{port}")
            if given in _USUAL or (not given and port == (_HTTPS if encrypted else _HTTP)):
                names.add(bare)
        return cls(frozenset(map(str.lower, names)), frozenset(map(str.lower, origins)), token)

    def judge(self, headers: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
        """Why a request with these *headers* is refused; None: it is not. Their names are in lower case."""
        found: dict[bytes, list[str]] = {}
        for name, value in headers:
            found.setdefault(name, []).append(value.decode("latin-1").strip())
        if any(len(found.get(name, ())) > 1 for name in (b"host", b"origin", b"authorization")):
            return Refusal(HTTPStatus.BAD_REQUEST, "a header that decides stands there twice")
        host, origin = _only(found, b"host"), _only(found, b"origin")
        if host is None or host.lower() not in self.hosts:
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "the Host header is not one of this server")
        if origin is not None and origin.lower() not in self.origins:
            return Refusal(HTTPStatus.FORBIDDEN, "the Origin header is not one that this server knows")
        if self.token is not None and not _bears(_only(found, b"authorization"), self.token):
            return Refusal(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer ...")
        return None


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and (host.count(":") == 1 or host.startswith("["))


def _only(found: dict[bytes, list[str]], name: bytes) -> str | None:
    return found[name][0] if name in found else None


def _bears(authorization: str | None, token: str) -> bool:
    scheme, _, given = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


async def read_body(receive: Receive, *, limit: int, patience: float) -> bytes | Refusal:
    """The body of a request, of at most *limit* bytes and within *patience* seconds; or why there is none."""
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while (event := await receive())["type"] == "http.request":
                body += event.get("body", b"")
                if len(body) > limit:
                    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limit:,} bytes")
                if not event.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return Refusal(HTTPStatus.REQUEST_TIMEOUT, f"no whole body within {patience:g} s")
    return Refusal(HTTPStatus.BAD_REQUEST, "the client has left")


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer with *refusal*, and close the connection: what has not been read of it is not worth reading."""
    text = refusal.text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),
    ]
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": text})
