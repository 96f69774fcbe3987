"""What stands before every route of a served application: who may speak, how much, and how long."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

from understudy.transports._mcp_errors import InvalidFrame, MessageTooLarge
from understudy.transports._mcp_frames import check_json

__all__ = ["Gate", "GateRules", "Refusal"]

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no."""

    status: HTTPStatus
    text: str


@dataclass(frozen=True, slots=True)
class GateRules:
    """Who may speak; a decision, which waits for nothing.

    Args:
        hosts: What the Host header may be, port included: a page whose name was made to point here has another.
        origins: What the Origin header may be, where there is one: a browser sends that of the page.
        token: What the Authorization header must bear; None: nobody is asked for one.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    token: str | None = None

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


def _only(found: dict[bytes, list[str]], name: bytes) -> str | None:
    return found[name][0] if name in found else None


def _bears(authorization: str | None, token: str) -> bool:
    scheme, _, given = (authorization or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


class Gate:
    """An ASGI application in front of another one: asks the rules, on every path, before anything is read.

    Args:
        app: What is behind.
        rules: Who may speak.
        path: The only path there is.
        limit: Bytes of a body.
        patience: Seconds for a body to come.
    """

    def __init__(self, app: App, rules: GateRules, *, path: str, limit: int, patience: float) -> None:
        self._app = app
        self._rules = rules
        self._path = path
        self._limit = limit
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a {scope['type']} is not served here")  # uvicorn is told to make none
        refusal = self._rules.judge(scope["headers"])
        if refusal is None and scope["path"] != self._path:
            refusal = Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        body = b""
        if refusal is None:
            body, refusal = await self._body(receive)
        if refusal is not None:
            await _refuse(refusal, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _body(self, receive: Receive) -> tuple[bytes, Refusal | None]:
        body = bytearray()
        try:
            async with asyncio.timeout(self._patience):
                while (event := await receive())["type"] == "http.request":
                    body += event.get("body", b"")
                    if len(body) > self._limit:
                        return b"", Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._limit:,} bytes")
                    if not event.get("more_body", False):
                        break
        except TimeoutError:
            return b"", Refusal(HTTPStatus.REQUEST_TIMEOUT, f"no whole body within {self._patience:g} s")
        try:
            if body:
                check_json(bytes(body), source="the client", limit=self._limit)
        except (InvalidFrame, MessageTooLarge) as error:
            return b"", Refusal(HTTPStatus.BAD_REQUEST, str(error))
        return bytes(body), None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """*receive*, with the body, which has been read, once more in front."""
    events: list[Event] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Event:
        return events.pop() if events else await receive()

    return again


async def _refuse(refusal: Refusal, send: Send) -> None:
    text = refusal.text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"connection", b"close"),  # what has not been read is not worth reading
    ]
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": text})
