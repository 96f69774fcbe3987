"""The listener of the transport over server-sent events, and its ends of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from understudy.transports._bell import Bell
from understudy.transports._connection import PeerFacts, check_size
from understudy.transports._event_stream import EventStream, Gap
from understudy.transports._pipe import ROOM, Pipe, PipedConnection
from understudy.transports._security import url_at
from understudy.transports._serving import Serving
from understudy.transports._sse_wire import (
    CLOSE,
    CONNECTION,
    CONNECTIONS,
    EVENTS,
    HEARD,
    MESSAGES,
    SEQUENCE,
    from_json,
    to_event,
    to_json,
)
from understudy.transports._web_binding import listen_at
from understudy.transports._web_gate import GateRules, Receive, Refusal, Scope, Send, read_body, refuse
from understudy.transports._web_server import SocketLimits, WebServer, web_config

if TYPE_CHECKING:
    import socket
    import ssl

    from understudy.environment import Environment
    from understudy.transports._connection import ConnectionLimits, Serve

__all__ = ["SseListener"]

WINDOW = 32
"""Messages that may be on their way to a client that says what it has heard."""
KEEP = 64
"""Messages that were sent and are kept for any other, whose stream may break off too."""
KEEP_SIZES = 4
"""How large these may be together, in messages of the largest size."""
PING = 15
"""Seconds between comments that keep proxies from taking a quiet stream for a dead one."""
SMALL = 2_048
"""Bytes of a body that is no message."""

Answer: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class SseServerConnection(PipedConnection):
    """The listener's end: what it says is a stream that the client reads, and may read on after a loss.

    A client that *hears* says how far it has read, and until then everything is kept; a socket takes whatever it is
    given, also when nobody is there any more. To any other client, what the socket has taken has been sent.
    """

    def __init__(self, peer: PeerFacts, limits: ConnectionLimits, env: Environment, *, hears: bool) -> None:
        super().__init__(peer, Pipe(env), limits)
        self._env = env
        self._hears = hears
        self._window = WINDOW if hears else ROOM
        self._said = EventStream(keep=KEEP, keep_bytes=KEEP_SIZES * limits.max_size)
        self._news = Bell(env.loop)
        self._room = Bell(env.loop)
        # The number of the stream that is read now. A new one takes over: the client has lost the one before.
        self._reading = 0
        # Runs while nobody reads the stream; who does not come back has gone.
        self._absence: asyncio.TimerHandle | None = None
        self.told = asyncio.Event()
        """Set when the client has been told of the end, or nobody is there to be told."""
        # One message is taken at a time, so that they stay in order; the number of the latest.
        self._taking = asyncio.Lock()
        self._taken = 0
        self._miss(limits.open_timeout)

    @property
    def ended(self) -> tuple[str, bool] | None:
        """Why it has, and whether that was meant."""
        return self._in.ended

    async def send(self, data: bytes) -> None:
        """Put *data* into the stream; waits while the client does not read on."""
        check_size(data, self._limits)
        try:
            await self._room.wait_while(self._is_full, self._limits.frame_timeout)
        except TimeoutError:
            self.cut("the peer took nothing in time")
        if self.ended is not None:
            raise self._lost(*self.ended)
        self._said.add(data)
        self._news.ring()

    async def aclose(self, reason: str = "") -> None:
        """End it, and wait until the client has been told."""
        await _end([self], reason or "it was closed", self._limits.close_timeout)

    def cut(self, why: str, *, clean: bool = False) -> None:
        """End both directions; the client hears of it when it has read what was said before."""
        self._in.end(why, clean)
        self._news.ring()
        self._room.ring()
        if self._absence is not None:  # nobody reads
            self._absence.cancel()
            self.told.set()

    async def take(self, number: int, data: bytes) -> bool:
        """A message of the client; False when there was no room for it in time.

        Each number is taken once: a second post of it is one whose answer was lost.
        """
        async with self._taking:
            if number <= self._taken or self.ended is not None:
                return True
            try:
                await self._in.room.wait_while(self._in.is_full, self._limits.frame_timeout)
            except TimeoutError:
                return False
            if self.ended is None:
                self._taken = number
                self._in.put(data)
            return True

    def heard(self, number: int) -> None:
        """The client has read up to the event of that *number*."""
        self._said.sent(number)
        self._room.ring()

    def has_said(self, number: int) -> bool:
        """Whether there was such an event, so that a stream can begin behind it."""
        return 0 <= number <= self._said.last

    async def events(self, number: int) -> AsyncIterator[ServerSentEvent]:
        """What is said behind the event of that *number*, until another one reads it, or the end."""
        self._reading += 1
        mine = self._reading
        self._news.ring()
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None
        try:
            while self._reading == mine:
                try:
                    found = self._said.after(number)
                except Gap as gap:
                    number = gap.last
                    yield ServerSentEvent(f"{gap.first}-{gap.last}", event="gap", id=str(number), sep="\n")
                    continue
                if found is not None:
                    number, data = found
                    yield ServerSentEvent(to_event(data), event="message", id=str(number), sep="\n")
                    if not self._hears:
                        self.heard(number)
                    await self._turn()
                elif self.ended is not None:
                    why, clean = self.ended
                    yield ServerSentEvent(to_json(why=why, clean=clean), event="end", sep="\n")
                    self.told.set()
                    return
                else:
                    await self._news.wait()
        finally:
            if self._reading == mine:
                self._miss(self._limits.frame_timeout)

    def _is_full(self) -> bool:
        """Who sends has to wait."""
        return self._said.unsent >= self._window and self.ended is None

    async def _turn(self) -> None:
        """Let the event loop find out whether the client is still there, before the next event."""
        turn = Bell(self._env.loop)
        self._env.loop.call_soon(turn.ring)
        await turn.wait()

    def _miss(self, patience: float) -> None:
        """Nobody reads from now on."""
        if self.ended is not None:
            self.told.set()
        else:
            self._absence = self._env.call_at(
                self._env.now() + patience, partial(self.cut, "the peer does not read what is said")
            )


async def _end(connections: list[SseServerConnection], why: str, patience: float) -> None:
    """End them all, and wait until their clients know, together no longer than *patience*."""
    for connection in connections:
        connection.cut(why, clean=True)
    try:
        async with asyncio.timeout(patience):
            for connection in connections:
                await connection.told.wait()
    except TimeoutError:
        for connection in connections:
            connection.told.set()


class SseListener:
    """See :class:`understudy.transports._connection.Listener`; begin it with :meth:`start`."""

    def __init__(self, path: str, serve: Serve, limits: ConnectionLimits, env: Environment) -> None:
        self._limits = limits
        self._env = env
        self._path = path
        self._serving: Serving[SseServerConnection] = Serving(serve, env)
        # By their secret names; one that has ended stays until the client has been told, or had the time for it.
        self._connections: dict[str, SseServerConnection] = {}
        self._addresses: dict[SseServerConnection, str] = {}
        self._closing = False
        self._server: WebServer
        self._task: asyncio.Task[None]
        self.url = ""

    async def start(self, host: str, port: int, rules: Callable[[int], GateRules], tls: ssl.SSLContext | None) -> None:
        """Listen; *rules* are made when the port is known.

        Raises:
            OSError: The address is in use, or not to be had.
        """
        listening = listen_at(host, port)
        chosen: int = listening.getsockname()[1]
        self._rules = rules(chosen)
        self._scheme = "sse" if tls is None else "sses"
        self.url = url_at(self._scheme, host, chosen, self._path)
        # A connection is two sockets, its stream and its messages, and may be a third, which takes over.
        total, per_address = 3 * self._limits.max_connections, 3 * self._limits.max_connections_per_address
        sockets = SocketLimits(self._limits.open_timeout, total, per_address)
        self._server = WebServer(web_config(self._app, sockets, tls))
        up: asyncio.Future[None] = self._env.loop.create_future()
        self._server.on_started = partial(_tell, up)
        self._task = self._env.start_task(self._run(listening), name=f"listener:{self.url}", context=Context())
        waiting: set[asyncio.Future[None]] = {up, self._task}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if not up.done():
            up.cancel()
            raise OSError(f"the server at {self.url} did not start")

    async def aclose(self) -> None:
        """Accept no more, end all connections and wait until their ``serve`` has returned."""
        self._closing = True
        await _end(self._serving.connections, "the listener was closed", self._limits.close_timeout)
        await self._serving.join()
        self._server.leave()
        await asyncio.wait({self._task})

    async def _run(self, listening: socket.socket) -> None:
        with listening:
            try:
                await self._server.serve_all([listening])
            except Exception as error:
                problem = {"message": f"understudy: the server at {self.url} has failed", "exception": error}
                self._env.loop.call_exception_handler(problem)

    # Requests

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"a {scope['type']} is not served here")  # uvicorn is told to make none
        answer = self._rules.judge(scope["headers"]) or await self._answer(scope, receive)
        if isinstance(answer, Refusal):
            await refuse(answer, send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | Refusal:
        below, _, name = scope["path"].rpartition("/")
        if below != self._path.rstrip("/") or name not in (CONNECTIONS, EVENTS, HEARD, MESSAGES, CLOSE):
            return Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        if scope["method"] != ("GET" if name == EVENTS else "POST"):
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{name} takes {'GET' if name == EVENTS else 'POST'}")
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        if name == CONNECTIONS:
            return await self._open(scope, receive)
        connection = self._connections.get(headers.get(CONNECTION.lower(), ""))
        if connection is None:
            return Refusal(HTTPStatus.NOT_FOUND, "there is no such connection")
        if name in (EVENTS, HEARD):
            return _follow(connection, headers.get("last-event-id", "0"), None if name == HEARD else self._limits)
        body = await read_body(
            receive, limit=self._limits.max_size if name == MESSAGES else SMALL, patience=self._limits.frame_timeout
        )
        if isinstance(body, Refusal):
            return body
        if name == CLOSE:
            return _close(connection, body)
        return await _take(connection, headers.get(SEQUENCE.lower(), ""), body)

    async def _open(self, scope: Scope, receive: Receive) -> Answer | Refusal:
        body = await read_body(receive, limit=SMALL, patience=self._limits.frame_timeout)
        if isinstance(body, Refusal):
            return body
        try:
            hears = bool(body) and from_json(body)["hears"]
        except ValueError as error:
            return Refusal(HTTPStatus.BAD_REQUEST, str(error))
        host, port = scope.get("client") or ("", 0)
        mine = sum(address == host for address in self._addresses.values())
        if len(self._addresses) >= self._limits.max_connections or mine >= self._limits.max_connections_per_address:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "it has too many connections")
        if self._closing:
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the listener was closed")
        peer = PeerFacts(transport=self._scheme, address=f"{host}:{port}", encrypted=self._scheme == "sses")
        connection = SseServerConnection(peer, self._limits, self._env, hears=hears)
        name = self._env.token_bytes(16).hex()
        self._connections[name] = connection
        self._addresses[connection] = host
        self._serving.start(connection, peer.address, partial(self._forget, name, connection))
        return Response(to_json(connection=name), HTTPStatus.CREATED, {"Cache-Control": "no-store"}, "application/json")

    def _forget(self, name: str, connection: SseServerConnection) -> None:
        self._connections.pop(name, None)
        self._addresses.pop(connection, None)


def _tell(up: asyncio.Future[None]) -> None:
    if not up.done():
        up.set_result(None)


class _Events(EventSourceResponse):
    """A stream that ends with its connection, and asks nobody's signal handlers twice a second whether to."""

    async def _listen_for_exit_signal(self) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        await asyncio.get_running_loop().create_future()


def _follow(connection: SseServerConnection, after: str, limits: ConnectionLimits | None) -> Answer | Refusal:
    """The stream behind the event *after*; without *limits* nothing but that it was heard."""
    number = int(after) if after.isascii() and after.isdigit() and len(after) < 20 else -1
    if not connection.has_said(number):
        return Refusal(HTTPStatus.BAD_REQUEST, "Last-Event-ID is not the number of an event")
    connection.heard(number)
    if limits is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return _Events(connection.events(number), ping=PING, send_timeout=limits.frame_timeout, sep="\n")


async def _take(connection: SseServerConnection, number: str, body: bytes) -> Answer | Refusal:
    if not (number.isascii() and number.isdigit() and 0 < len(number) < 20):
        return Refusal(HTTPStatus.BAD_REQUEST, f"{SEQUENCE} has to be a number")
    taken = await connection.take(int(number), body)
    if connection.ended is not None:
        return Refusal(HTTPStatus.GONE, connection.ended[0])
    if not taken:
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "nobody takes the messages")
    return Response(status_code=HTTPStatus.ACCEPTED)


def _close(connection: SseServerConnection, body: bytes) -> Answer | Refusal:
    try:
        why = from_json(body)["why"]
    except ValueError as error:
        return Refusal(HTTPStatus.BAD_REQUEST, str(error))
    connection.cut(why or "it was closed", clean=True)
    return Response(status_code=HTTPStatus.NO_CONTENT)
