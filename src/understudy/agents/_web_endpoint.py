"""``WebEndpoint``: a person at a page in a browser."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from understudy._plans._spec import check_count, check_seconds
from understudy.agents._chat_acts import Outcomes
from understudy.environment import environment_of
from understudy.exceptions import InvalidContext
from understudy.transports._mcp_extra import need
from understudy.transports._web_binding import check_binding, listen_at, tls_of, web_url
from understudy.transports._web_gate import GateRules

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from understudy.agents._seat import Seat

__all__ = ["WebEndpoint"]

_WHERE = "chat page"
_TOKEN_BYTES = 24


class WebEndpoint:
    """A page in a browser, by which a person is reached: an endpoint for :class:`HumanAgent`. In the extra ``web``.

    ::

        page = WebEndpoint(announce=print)          # prints http://127.0.0.1:53211/#token=...
        tree = supervisor("team", child(HumanAgent, page, to="team/guide"), child(Guide, model))

    The page shows what the person is told, streamed text and the use of tools among it; questions to be answered, and
    approvals with their two buttons. It may be open in several tabs, all of which show the same. One that has lost its
    connection comes back by itself, and is told what it has missed.

    - Whoever has the token is the person. It travels in the first frame of a WebSocket, never in a URL that is sent, a
      cookie or a log; the address has it in its fragment, which stays in the browser, and which the page removes.
    - Host and Origin are checked on every path. Without a token there are only the files of the page, in which nothing
      is secret. They name no other host, and allow no script but their own; what agents say is only ever shown as text.
    - Other than on loopback it needs a token of yours, and TLS.
    - It begins and ends with each incarnation of its agent, at the same address, if that is still free.

    *Not* promised: that what was said by a person whose connection was lost in that moment has arrived; the page says
    it again when it is back, and it is never done twice.

    Args:
        host: The address to listen on.
        port: 0: any that is free.
        token: What the page has to know, of 16 characters or more. None: one is made, and lasts as long as this object.
        hosts: Names besides *host* by which the page is reached, with a port where that is another, as a proxy's.
        origins: Other pages that may speak to it, as ``("https://desk.example.org",)``.
        certificate: A file in PEM, for TLS.
        key: The file of its key.
        max_connections: Tabs at a time.
        max_message_bytes: How long what the person says may be, as a frame.
        hello_timeout: Seconds in which a connection has to say whose it is.
        send_timeout: Seconds for which a tab may read nothing, before it is cut off.
        title: What stands above the page; by default the id of its agent.
        announce: Called with the address, the token in its fragment, when it listens there for the first time.

    Raises:
        MissingExtra: starlette, uvicorn or websockets is not installed.
        InvalidSpec: A value that is not allowed; above all, a bind to other than loopback without a token and TLS.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        max_connections: int = 16,
        max_message_bytes: int = 64 * 1024,
        hello_timeout: float = 10.0,
        send_timeout: float = 10.0,
        title: str = "",
        announce: Callable[[str], object] | None = None,
    ) -> None:
        for package in ("starlette", "uvicorn", "websockets"):
            need(package, extra="web", what="a chat page")
        self._hosts, self._origins = tuple(hosts), tuple(origins)
        check_binding(_WHERE, host=host, port=port, token=token, certificate=certificate, key=key, hosts=self._hosts)
        self._host, self._any_port, self._token = host, port == 0, token
        self._certificate, self._key = certificate, key
        self._connections = check_count("max_connections", max_connections, _WHERE, least=1)
        self._message_bytes = check_count("max_message_bytes", max_message_bytes, _WHERE, least=1024)
        self._hello_timeout = check_seconds("hello_timeout", hello_timeout, _WHERE)
        self._send_timeout = check_seconds("send_timeout", send_timeout, _WHERE)
        self._title = title
        self._announce = announce
        # The one that it has got, from the first time on that it listens.
        self._port = port
        self._announced = ""
        self._busy = False
        self._outcomes = Outcomes()

    @property
    def url(self) -> str:
        """Where the page is, without the token; port 0 before it has listened for the first time."""
        return web_url(self._host, self._port, "/", encrypted=self._certificate is not None)

    @property
    def address(self) -> str:
        """What to open in a browser: the URL, and the token in its fragment.

        Raises:
            InvalidContext: It has not listened yet.
        """
        if not self._announced:
            raise InvalidContext(what=_WHERE, problem="it has no address before its agent has started")
        return self._announced

    async def run(self, seat: Seat) -> None:
        """Serve the person at *seat* until cancelled; see :class:`HumanEndpoint`.

        Raises:
            OSError: The port is taken, or the certificate cannot be read.
            InvalidContext: It serves somebody already.
        """
        from understudy.agents._chat_server import ChatLimits, serve_chat  # noqa: PLC0415 - it imports the extra

        if self._busy:
            raise InvalidContext(what=_WHERE, problem="it serves somebody already: make one for each person")
        self._busy = True
        try:
            with self._listen() as listening:
                self._port = listening.getsockname()[1]
                await serve_chat(
                    seat,
                    listening,
                    rules=self._rules(),
                    tls=tls_of(self._certificate, self._key),
                    limits=ChatLimits(
                        connections=self._connections,
                        message_bytes=self._message_bytes,
                        hello_timeout=self._hello_timeout,
                        send_timeout=self._send_timeout,
                    ),
                    title=self._title,
                    outcomes=self._outcomes,
                    on_up=self._tell,
                )
        finally:
            self._busy = False

    def _listen(self) -> socket.socket:
        try:
            return listen_at(self._host, self._port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._any_port or self._port == 0:
                raise
            return listen_at(self._host, 0)  # somebody has taken ours meanwhile

    def _rules(self) -> GateRules:
        if self._token is None:
            env = environment_of(asyncio.get_running_loop())
            self._token = env.token_bytes(_TOKEN_BYTES).hex()
        encrypted = self._certificate is not None
        rules = GateRules.at(
            self._host,
            self._port,
            encrypted=encrypted,
            hosts=self._hosts,
            origins=self._origins,
            token=self._token,
        )
        own = {f"{'https' if encrypted else 'http'}://{name}" for name in rules.hosts}
        return replace(rules, origins=rules.origins | own)

    def _tell(self) -> None:
        address = f"{self.url}#token={quote(self._token or '', safe='')}"
        if address != self._announced:
            self._announced = address
            if self._announce is not None:
                self._announce(address)

    def __repr__(self) -> str:
        return f"<WebEndpoint at {self.url}>"
