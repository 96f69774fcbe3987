"""The client's end of a connection over server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import math
from contextvars import Context
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2
from tenacity import wait_exponential_jitter

from understudy._plans._backoff import next_delay
from understudy.transports._bell import Bell
from understudy.transports._connection import PeerFacts, check_size
from understudy.transports._errors import ConnectionLost
from understudy.transports._pipe import Pipe, PipedConnection
from understudy.transports._plain_http import PlainTransport
from understudy.transports._sse_wire import (
    CLOSE,
    CONNECTION,
    CONNECTIONS,
    EVENTS,
    HEARD,
    MESSAGES,
    SEQUENCE,
    from_event,
    from_json,
    to_json,
)
from understudy.transports._tls import names_of

if TYPE_CHECKING:
    from understudy.environment import Environment
    from understudy.transports._connection import ConnectionLimits, TransportOptions

__all__ = ["connect_sse"]

_BACKOFF = wait_exponential_jitter(multiplier=0.05, max=1.0, jitter=0.05)
"""Between two attempts to reach the listener again, until ``frame_timeout`` is over."""
_HEARD = 8
"""Events between two words to the listener that they have been read; it lets four times as many be on their way."""
_ANSWER = 16 * 1_024
"""Bytes that a listener may answer to a post; it has little to say."""
_ENVELOPE = 1_024
"""Bytes of an event that are not its message."""


async def connect_sse(url: str, options: TransportOptions, env: Environment) -> SseClientConnection:
    """Connect to the listener at *url*, an ``http`` one, within ``open_timeout``.

    Raises:
        ConnectionLost: Nobody is there, or whoever is does not want to.
    """
    limits = options.limits
    sockets = httpx2.AsyncHTTPTransport(
        verify=options.tls.for_client() if options.tls is not None else True,
        limits=httpx2.Limits(max_connections=4),
        trust_env=False,
    )
    http = httpx2.AsyncClient(
        base_url=url.rstrip("/") + "/",
        transport=PlainTransport(sockets, _ANSWER),
        timeout=httpx2.Timeout(limits.open_timeout),
        follow_redirects=False,
        trust_env=False,
    )
    try:
        async with asyncio.timeout(limits.open_timeout):
            connection = await _opened(http, url, options, env)
            try:
                await connection.begin()
            except BaseException:
                await connection.aclose()
                raise
            return connection
    except TimeoutError:
        await http.aclose()
        raise ConnectionLost(peer=url, why=f"it was not open within {limits.open_timeout:g} s") from None
    except httpx2.HTTPError as error:
        await http.aclose()
        raise ConnectionLost(peer=url, why=_why(error)) from error
    except BaseException:
        await http.aclose()
        raise


async def _opened(
    http: httpx2.AsyncClient, url: str, options: TransportOptions, env: Environment
) -> SseClientConnection:
    name = options.tls.server_name if options.tls is not None else None
    response = await http.post(
        CONNECTIONS, content=to_json(hears=True), extensions={"sni_hostname": name} if name else {}
    )
    if response.status_code != HTTPStatus.CREATED:
        raise ConnectionLost(peer=url, why=f"it says no: {_refusal(response)}")
    secret = from_json(response.content)["connection"]
    secure = http.base_url.scheme == "https"
    peer = PeerFacts(
        transport="sses" if secure else "sse",
        address=url,
        encrypted=secure,
        names=_names(response) if options.tls is not None and options.tls.mutual else (),
    )
    http.headers[CONNECTION] = secret
    return SseClientConnection(peer, http, options.limits, env)


def _names(response: httpx2.Response) -> tuple[str, ...]:
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    return names_of(tls.getpeercert()) if tls is not None else ()


def _refusal(response: httpx2.Response) -> str:
    return f"{response.status_code} {response.text[:200]}".strip()


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class SseClientConnection(PipedConnection):
    """Reads the stream, and again from where it was when that breaks off; posts its own messages one by one."""

    def __init__(self, peer: PeerFacts, http: httpx2.AsyncClient, limits: ConnectionLimits, env: Environment) -> None:
        super().__init__(peer, Pipe(env), limits)
        self._http = http
        self._env = env
        self._sequence = 0
        # The number of the latest event that was read.
        self._read_to = 0
        # Rung at the end, for who would wait longer.
        self._over = Bell(env.loop)
        self._open = env.loop.create_future()
        self._reader: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Read the stream from here on; returns when it has begun.

        Raises:
            ConnectionLost: It did not.
        """
        self._reader = self._env.start_task(self._read(), name=f"events:{self.peer.address}", context=Context())
        waiting: set[asyncio.Future[None]] = {self._open, self._reader}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self._open.done():
            assert self._in.ended is not None
            raise self._lost(*self._in.ended)

    async def send(self, data: bytes) -> None:
        """Post *data*; waits until the listener has taken it."""
        check_size(data, self._limits)
        if self._in.ended is None:
            self._sequence += 1
            try:
                async with asyncio.timeout(self._limits.frame_timeout):
                    await self._post(self._sequence, data)
            except TimeoutError:
                self.cut("the peer took nothing in time")
        if self._in.ended is not None:
            raise self._lost(*self._in.ended)

    async def aclose(self, reason: str = "") -> None:
        """End it, and tell the listener, if that is to be reached within ``close_timeout``."""
        self.cut(reason or "it was closed", clean=True)
        if self._leaving is not None:
            await asyncio.wait({self._leaving})

    def cut(self, why: str, *, clean: bool = False) -> None:
        """End both directions; the listener is told, and what was open is closed, soon after."""
        self._cut(why, clean, tell=True)

    def _cut(self, why: str, clean: bool, *, tell: bool) -> None:
        if self._in.ended is not None:
            return
        self._in.end(why, clean)
        self._over.ring()
        leaving = self._leave(why if tell else None)
        self._leaving = self._env.start_task(leaving, name=f"close:{self.peer.address}", context=Context())

    async def _leave(self, reason: str | None) -> None:
        try:
            if reason is not None:
                async with asyncio.timeout(self._limits.close_timeout):
                    await self._http.post(CLOSE, content=to_json(why=reason))
        except (TimeoutError, httpx2.HTTPError):
            pass  # it will notice that nobody reads
        finally:
            if self._reader is not None and not self._reader.done():
                self._reader.cancel()
                await asyncio.wait({self._reader})
            await self._http.aclose()

    async def _post(self, number: int, data: bytes) -> None:
        attempts = 0
        while self._in.ended is None:
            try:
                response = await self._http.post(
                    MESSAGES, content=data, headers={SEQUENCE: str(number)}, timeout=self._limits.frame_timeout
                )
            except httpx2.TransportError:
                # Perhaps it has arrived; the listener takes each number once.
                attempts += 1
                await self._pause(attempts)
                continue
            if response.status_code == HTTPStatus.ACCEPTED:
                return
            if response.status_code == HTTPStatus.GONE:
                self._cut(response.text[:200], clean=True, tell=False)
            else:
                self.cut(f"it refused a message: {_refusal(response)}")

    async def _read(self) -> None:
        """Read until the end; whatever happens becomes one."""
        attempts, since = 0, self._env.now()
        while self._in.ended is None:
            before = self._read_to
            try:
                await self._follow()
            except httpx2.SSEError as error:
                self.cut(str(error))
            except httpx2.TransportError as error:
                if self._read_to > before or attempts == 0:
                    attempts, since = 0, self._env.now()
                attempts += 1
                if not self._open.done() or self._env.now() - since > self._limits.frame_timeout:
                    self.cut(f"the stream broke off: {_why(error)}")
                await self._pause(attempts)
            except Exception as error:  # of a library, for which the user is not to wait for ever
                self.cut(_why(error))

    async def _follow(self) -> None:
        """Read the stream from behind the latest event, until it ends."""
        largest = self._limits.max_size * 4 // 3 + _ENVELOPE
        # The reads have no deadline: who uses the connection may have to wait for its next message.
        patience = httpx2.Timeout(self._limits.open_timeout, read=None)
        headers = {"Last-Event-ID": str(self._read_to)}
        async with self._http.sse(EVENTS, headers=headers, timeout=patience, max_event_size=largest) as source:
            if source.response.status_code != HTTPStatus.OK:
                await source.response.aread()
                self.cut(f"it refused to go on: {_refusal(source.response)}")
                return
            if not self._open.done():
                self._open.set_result(None)
            async for event in source:
                while self._in.is_full():
                    await self._in.room.wait()
                if self._in.ended is not None or not self._heard(event):
                    return
                if self._read_to % _HEARD == 0:
                    await self._http.post(HEARD, headers={"Last-Event-ID": str(self._read_to)})
        raise httpx2.ReadError("it ended in the middle")

    def _heard(self, event: httpx2.ServerSentEvent) -> bool:
        """Whether there is more to hear."""
        try:
            if event.event == "message":
                self._in.put(from_event(event.data))
                self._read_to = int(event.id)
                return True
            if event.event == "gap":
                self.cut(f"what it said meanwhile is lost (messages {event.data[:40]})")
            elif event.event == "end":
                facts = from_json(event.data)
                self._cut(facts["why"] or "it was closed", facts["clean"], tell=False)
            else:
                return True
        except ValueError as error:
            self.cut(f"the peer broke the protocol: {error}")
        return False

    async def _pause(self, attempts: int) -> None:
        seconds = next_delay(_BACKOFF, attempts - 1, 0.0, math.inf).seconds
        with contextlib.suppress(TimeoutError):
            await self._over.wait_while(lambda: self._in.ended is None, seconds)
