"""The page of a person, on uvicorn and starlette. Only imported when the extra ``web`` is there."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from understudy.agents._chat_acts import Acts, Outcomes
from understudy.agents._chat_frames import BAD_FRAME, CROWDED, TOO_LATE, UNAUTHORIZED, Hello, Welcome, parse_hello
from understudy.agents._chat_tab import Tab, close, next_text
from understudy.transports._errors import ProtocolError
from understudy.transports._web_gate import GateRules, Receive, Refusal, Scope, Send, refuse
from understudy.transports._web_server import SocketLimits, WebServer, web_config
from understudy.transports._web_socket import WebSocketProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from starlette.requests import Request

    from understudy.agents._seat import Seat
    from understudy.transports._web_gate import App

__all__ = ["ChatLimits", "serve_chat"]

SOCKET = "/socket"
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/link.js": ("link.js", "text/javascript; charset=utf-8"),
    "/view.js": ("view.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""All that anybody is given without a token. There is no secret in it, and no other file is ever read."""
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

STRANGERS = 32
"""Connections that have not said yet whose they are; of more, the oldest is closed."""
SPARE = 64
"""Sockets besides these and those of tabs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLimits:
    """What pages may take."""

    connections: int
    message_bytes: int
    hello_timeout: float
    send_timeout: float


async def serve_chat(
    seat: Seat,
    listening: socket.socket,
    *,
    rules: GateRules,
    tls: ssl.SSLContext | None,
    limits: ChatLimits,
    title: str,
    outcomes: Outcomes,
    on_up: Callable[[], None],
) -> None:
    """Serve the page at *listening* until cancelled, in order; that takes no longer than a second or two.

    Raises:
        OSError: It did not start.
    """
    chat = Chat(seat, rules, limits, title, outcomes)
    total = limits.connections + STRANGERS + SPARE
    sockets = SocketLimits(limits.hello_timeout, total, total, make_room=True)
    config = web_config(chat.app, sockets, tls, websocket=WebSocketProtocol, max_message_bytes=limits.message_bytes)
    server = _Server(config)
    server.on_started = on_up
    await server.serve_all([listening])
    raise server.cancel or OSError("the server of the page did not start")


class _Server(WebServer):
    """The server, for a task whose first cancel is the wish to end in order."""

    cancel: asyncio.CancelledError | None = None

    async def main_loop(self) -> None:
        """Serve until cancelled."""
        try:
            await super().main_loop()
        except asyncio.CancelledError as cancel:
            self.cancel = cancel
        self.should_exit = True


class Chat:
    """The application: a few files, and a WebSocket, for one person, who may have several tabs."""

    def __init__(self, seat: Seat, rules: GateRules, limits: ChatLimits, title: str, outcomes: Outcomes) -> None:
        self._seat = seat
        self._limits = limits
        self._title = title or seat.name
        assert rules.token is not None
        self._token = rules.token
        self._acts = Acts(seat, outcomes)
        self._tabs = 0
        # The deadlines of those who have not said yet who they are, oldest first.
        self._strangers: dict[asyncio.Timeout, None] = {}
        routes = [*(_file(path, *facts) for path, facts in PAGE.items()), WebSocketRoute(SOCKET, self._connected)]
        self.app = ChatGate(cast("App", Starlette(routes=routes)), rules)

    async def _connected(self, ws: WebSocket) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            await ws.accept()
            code = await self._welcomed(ws)
            if code is not None:
                await close(ws, code, self._limits.send_timeout)

    async def _welcomed(self, ws: WebSocket) -> int | None:
        """Serve whoever is at the other end; returns the code to close with."""
        hello = await self._hello(ws)
        if not isinstance(hello, Hello):
            return hello
        if self._tabs >= self._limits.connections:
            return CROWDED
        seat, limits = self._seat, self._limits
        resumed = hello.session == seat.session and hello.after <= seat.latest
        welcome = Welcome(title=self._title, session=seat.session, resumed=resumed, max_bytes=limits.message_bytes)
        self._tabs += 1
        try:
            tab = Tab(ws, seat, self._acts, patience=limits.send_timeout)
            return await tab.serve(welcome, hello.after if resumed else 0)
        finally:
            self._tabs -= 1

    async def _hello(self, ws: WebSocket) -> Hello | int:
        try:
            async with asyncio.timeout(self._limits.hello_timeout) as deadline:
                self._admit(deadline)
                try:
                    hello = parse_hello(await next_text(ws))
                finally:
                    self._strangers.pop(deadline, None)
        except TimeoutError:
            return TOO_LATE
        except ProtocolError:
            return BAD_FRAME
        return hello if hmac.compare_digest(hello.token.encode(), self._token.encode()) else UNAUTHORIZED

    def _admit(self, deadline: asyncio.Timeout) -> None:
        self._strangers[deadline] = None
        if len(self._strangers) > STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())


def _file(path: str, name: str, media_type: str) -> Route:
    response = Response(files("understudy.agents").joinpath("_chat_page", name).read_bytes(), media_type=media_type)
    response.headers.update(HEADERS)

    async def answer(request: Request) -> Response:
        return response

    return Route(path, answer, methods=["GET"])


class ChatGate:
    """Asks who may speak, on every path and for every verb, before anything else is looked at.

    A browser that opens the page, or a WebSocket, can send no token in a header: these need none here, and the socket
    asks for it in its first frame. All else is refused without one, whether it is there or not.
    """

    def __init__(self, app: App, rules: GateRules) -> None:
        self._app = app
        self._rules = rules
        self._open = GateRules(rules.hosts, rules.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        rules = self._open if _is_open(scope) else self._rules
        refusal = rules.judge(scope["headers"])
        if refusal is None and scope["query_string"]:
            refusal = Refusal(HTTPStatus.BAD_REQUEST, "no query is taken: a secret in a URL ends up in logs")
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse(refusal, _denying(send))
        else:
            await refuse(refusal, send)


def _is_open(scope: Scope) -> bool:
    if scope["type"] == "websocket":
        return bool(scope["path"] == SOCKET)
    return scope["method"] in ("GET", "HEAD") and scope["path"] in PAGE


def _denying(send: Send) -> Send:
    """*send*, for an answer to a request for a WebSocket that will be none."""

    async def deny(event: Any) -> None:
        await send({**event, "type": event["type"].replace("http.", "websocket.http.", 1)})

    return deny
