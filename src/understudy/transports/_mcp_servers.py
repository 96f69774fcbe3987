"""How to reach an MCP server: in this process, as a child process, over HTTP. Data, checked when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from understudy._plans._spec import check_count, check_seconds
from understudy.exceptions import InvalidSpec
from understudy.transports._mcp_extra import need
from understudy.transports._mcp_frames import MAX_MESSAGE_BYTES
from understudy.transports._mcp_guard import AddressRules, Origin
from understudy.transports._mcp_link import MCPLink
from understudy.transports._security import is_loopback

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["HttpServer", "MemoryServer", "Dialect", "Resolver", "StdioServer"]

Dialect: TypeAlias = Literal["auto", "legacy"]
"""``"auto"``: the newest that both speak; ``"legacy"``: the handshake of 2025 and before, without trying others."""

Resolver: TypeAlias = Callable[[str, int], Sequence[str]]
"""From a name and a port to addresses; called in a thread."""

CALL_TIMEOUT = 300.0


@dataclass(frozen=True, kw_only=True)
class _Server:
    """What all of them have."""

    name: str = ""
    """What answers, errors and log lines call it."""
    call_timeout: float = CALL_TIMEOUT
    """Seconds that a request may take, whoever waits longer, and whoever does not wait."""
    protocol: Dialect = "auto"
    """Which generation of the protocol to speak."""

    def _check(self) -> None:
        need("mcp", extra="mcp", what="a session with an MCP server")
        check_seconds("call_timeout", self.call_timeout, self.name)
        if self.protocol not in ("auto", "legacy"):
            problem = f"must be 'auto' or 'legacy', got {self.protocol!r}"
            raise InvalidSpec(child=self.name, field="protocol", problem=problem)


@dataclass(frozen=True)
class MemoryServer(_Server):
    """A server in this process: a :class:`ToolService`, or an ``MCPServer`` or ``Server`` of the SDK.

    Requests are calls, without bytes in between, so the deadline of an ask reaches as far as the actor that answers.
    With ``protocol="legacy"`` they are messages in memory.

    Raises:
        MissingExtra: The SDK is not installed.
        InvalidSpec: A value that is not allowed.
    """

    server: Any

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", str(getattr(self.server, "name", "memory")))
        self._check()

    def connect(self, log: FilteringBoundLogger) -> AbstractAsyncContextManager[MCPLink]:
        """See :class:`MCPServerAddress`."""
        from understudy.transports._mcp_client import open_memory  # noqa: PLC0415 - it imports the extra

        return open_memory(self, log)


@dataclass(frozen=True)
class StdioServer(_Server):
    """A server that is started as a child process, and spoken with over its standard input and output.

    It is started by the session's actor in a process group of its own. What it writes to its standard error goes to
    the log, control characters escaped. When the session ends, its standard input is closed; if it has not ended
    after *grace* seconds, the group is terminated, and after as many again killed. When the actor is killed, so is the
    group, at once. A process that has left the group is not found.

    Args:
        command: The program; looked for in ``PATH``, no shell.
        args: Its arguments.
        env: Variables besides the few harmless ones (``PATH``, ``HOME`` ...) that it inherits. Nothing else of this
            process's environment reaches it.
        cwd: Its working directory.
        grace: Seconds.
        max_message_bytes: The longest line that is accepted. A longer one ends the session.

    Raises:
        MissingExtra: The SDK is not installed.
        InvalidSpec: A value that is not allowed.
    """

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: str | Path | None = None
    grace: float = 1.0
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", tuple(self.args))
        if not self.name:
            object.__setattr__(self, "name", Path(self.command).name)
        self._check()
        check_seconds("grace", self.grace, self.name)
        check_count("max_message_bytes", self.max_message_bytes, self.name, least=1024)
        if not self.command or any("\0" in each for each in (self.command, *self.args, *self.env, *self.env.values())):
            problem = "must be a program, and nothing in it or its arguments may hold a NUL"
            raise InvalidSpec(child=self.name, field="command", problem=problem)

    def connect(self, log: FilteringBoundLogger) -> AbstractAsyncContextManager[MCPLink]:
        """See :class:`MCPServerAddress`."""
        from understudy.transports._mcp_client import open_stdio  # noqa: PLC0415 - it imports the extra

        return open_stdio(self, log)


@dataclass(frozen=True)
class HttpServer(_Server):
    """A server that is reached over streamable HTTP.

    Token and headers belong to the origin of *url*, scheme, host and port, and are sent nowhere else: a redirect to
    another origin is not followed. The name in *url* is resolved once for each session, and the connection is made to
    an address that was checked. Proxies of the environment are not used, compressed answers are not accepted.

    Args:
        url: The endpoint.
        token: Sent as ``Authorization: Bearer``. Over plain ``http`` only to this machine.
        headers: Sent with each request.
        allow: Addresses and networks besides public ones that *url* may lead to, as ``("10.1.0.0/16",)``. Loopback
            needs no mention when *url* itself says it.
        max_message_bytes: The longest answer, and the longest event of a stream, that is accepted. A longer one ends
            the session.
        connect_timeout: Seconds for a connection.
        ca_file: Certificates to trust instead of the usual ones, in PEM.
        resolver: What to resolve the name with; for tests.

    Raises:
        MissingExtra: The SDK is not installed.
        InvalidSpec: A value that is not allowed.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    allow: tuple[str, ...] = ()
    max_message_bytes: int = MAX_MESSAGE_BYTES
    connect_timeout: float = 10.0
    ca_file: str | Path | None = None
    resolver: Resolver | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow", tuple(self.allow))
        where = self.name or "HttpServer"
        origin = Origin.of(self.url, where)
        if not self.name:
            object.__setattr__(self, "name", origin.host)
        self._check()
        AddressRules.of(self.allow, self.name)
        check_seconds("connect_timeout", self.connect_timeout, self.name)
        check_count("max_message_bytes", self.max_message_bytes, self.name, least=1024)
        secrets = [*self.headers.items(), ("Authorization", self.token or "")]
        for name, value in secrets:
            if not _is_header(name) or not _is_header(value) or name.lower() in _OURS:
                problem = f"must be printable ASCII, and not one of {', '.join(sorted(_OURS))}, in {name!r}"
                raise InvalidSpec(child=self.name, field="headers", problem=problem)
        if self.token is not None and origin.scheme == "http" and not is_loopback(origin.host):
            problem = "is not sent over plain http to another machine, where anybody could read it: use https"
            raise InvalidSpec(child=self.name, field="token", problem=problem)

    @property
    def origin(self) -> Origin:
        """What the token belongs to."""
        return Origin.of(self.url, self.name)

    @property
    def secret_headers(self) -> dict[str, str]:
        """What is sent with each request, to this origin."""
        token = {} if self.token is None else {"authorization": f"Bearer {self.token}"}
        return {**{name.lower(): value for name, value in self.headers.items()}, **token}

    def connect(self, log: FilteringBoundLogger) -> AbstractAsyncContextManager[MCPLink]:
        """See :class:`MCPServerAddress`."""
        from understudy.transports._mcp_client import open_http  # noqa: PLC0415 - it imports the extra

        return open_http(self, log)


_OURS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"}


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable()
