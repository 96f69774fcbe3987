"""Where something is served over HTTP, and what has to stand before it may be."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from understudy._plans._spec import check_count
from understudy.exceptions import InvalidSpec
from understudy.transports._security import TOKEN_SIZE, is_loopback, url_at
from understudy.transports._tls import Tls

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

__all__ = ["check_binding", "listen_at", "tls_of", "web_url"]

_PORTS = 65535


def check_binding(
    where: str,
    *,
    host: str,
    port: int,
    token: str | None,
    certificate: str | Path | None,
    key: str | Path | None,
    hosts: tuple[str, ...],
) -> None:
    """Refuse to be reached by others without a token and TLS.

    Raises:
        InvalidSpec: Says what is wrong with *where*, and what would not be.
    """
    if not 0 <= check_count("port", port, where) <= _PORTS:
        raise InvalidSpec(child=where, field="port", problem=f"must be from 0 to {_PORTS}, got {port!r}")
    if token is not None and (len(token) < TOKEN_SIZE or not token.isascii() or not token.isprintable()):
        problem = f"must be {TOKEN_SIZE} or more printable ASCII characters"
        raise InvalidSpec(child=where, field="token", problem=problem)
    if (certificate is None) != (key is None):
        raise InvalidSpec(child=where, field="key", problem="and certificate go together: give both, or neither")
    if is_loopback(host):
        return
    if token is None or certificate is None:
        problem = "is reached by others: that needs `token=` and `certificate=` with `key=`; or bind to 127.0.0.1"
        raise InvalidSpec(child=where, field="host", problem=problem)
    if not hosts and host in ("0.0.0.0", "::", ""):  # noqa: S104 - what is refused
        problem = "must say by which names clients ask, when it listens on every address"
        raise InvalidSpec(child=where, field="hosts", problem=problem)


def listen_at(host: str, port: int) -> socket.socket:
    """A socket that listens there; at a free port, where 0 is asked for.

    Raises:
        OSError: The address is in use, or not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def tls_of(certificate: str | Path | None, key: str | Path | None) -> ssl.SSLContext | None:
    """What encrypts it, if anything does.

    Raises:
        OSError: A file is not there, or is no certificate.
    """
    return None if certificate is None else Tls(certificate=str(certificate), key=str(key)).for_server()


def web_url(host: str, port: int, path: str, *, encrypted: bool) -> str:
    """How it is reached at *port* from this machine."""
    here = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return url_at("https" if encrypted else "http", here, port, path)
