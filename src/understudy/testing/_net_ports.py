"""Which host code runs on, which addresses are in use, and which options of asyncio the simulated network takes."""

from __future__ import annotations

import errno
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from understudy.testing._errors import EscapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy.testing._net_connection import Address
    from understudy.testing._net_server import SimServer

__all__ = [
    "CONNECTION_OPTIONS",
    "SERVER_OPTIONS",
    "Ports",
    "check_options",
    "current_host",
    "is_local",
    "resolve",
]

LOCAL_NAMES = ("", "localhost", "127.0.0.1", "0.0.0.0", "::", "::1")  # noqa: S104 - names; no socket is bound
FIRST_FREE_PORT = 49_152

current_host: ContextVar[str] = ContextVar("understudy_sim_host", default="local")
"""The host on which the code of this context runs."""


def is_local(name: str) -> bool:
    """Whether *name* means the host on which one is."""
    return name in LOCAL_NAMES


def resolve(name: str | None) -> str:
    """The host that *name* means here."""
    return current_host.get() if name is None or is_local(name) else name


class Ports:
    """The addresses at which servers listen, and the numbers that were given out."""

    def __init__(self) -> None:
        self._servers: dict[Address, SimServer] = {}
        self._last: dict[str, int] = {}

    def __iter__(self) -> Iterator[Address]:
        return iter(list(self._servers))

    def get(self, address: Address) -> SimServer | None:
        """Who listens there."""
        return self._servers.get(address)

    def next_free(self, host: str) -> int:
        """A number that this host has not given out before and at which no server listens."""
        port = self._last.get(host, FIRST_FREE_PORT - 1) + 1
        while (host, port) in self._servers:
            port += 1
        self._last[host] = port
        return port

    def free_addresses(self, hosts: list[str], port: int) -> list[Address]:
        """The addresses of a server on *hosts*; for port 0 the next free one of each."""
        addresses = [(host, port or self.next_free(host)) for host in hosts]
        for host, number in addresses:
            if (host, number) in self._servers:
                raise OSError(errno.EADDRINUSE, f"{host}:{number} is in use: a server listens there already")
        return addresses

    def take(self, addresses: list[Address], server: SimServer) -> None:
        """*server* has these addresses now."""
        self._servers.update(dict.fromkeys(addresses, server))

    def release(self, server: SimServer) -> None:
        """*server* needs its addresses no more."""
        for address in [address for address, owner in self._servers.items() if owner is server]:
            del self._servers[address]


CONNECTION_OPTIONS = frozenset(
    {
        "all_errors", "family", "flags", "happy_eyeballs_delay", "interleave", "proto", "server_hostname",
        "ssl_handshake_timeout", "ssl_shutdown_timeout",
    }
)  # fmt: skip
"""What has no effect on a network without TLS and without sockets, for ``create_connection``."""

SERVER_OPTIONS = frozenset(
    {
        "backlog", "family", "flags", "keep_alive", "reuse_address", "reuse_port", "ssl_handshake_timeout",
        "ssl_shutdown_timeout",
    }
)  # fmt: skip
"""The same for ``create_server``."""


def check_options(what: str, options: dict[str, Any], harmless: frozenset[str]) -> None:
    """Refuse what would need something real, and what asyncio does not know."""
    if options.pop("ssl", None):
        raise EscapeError(f"{what} with ssl", "the simulated network has no TLS, so leave it out")
    if options.pop("sock", None) is not None:
        raise EscapeError(f"{what} with sock", "a socket is real, so give a host and a port")
    unknown = sorted(options.keys() - harmless)
    if unknown:
        raise TypeError(f"{what} got an unexpected keyword argument {unknown[0]!r}")
