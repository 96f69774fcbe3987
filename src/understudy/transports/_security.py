"""What has to stand before anything listens, or connects, on a socket."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, cast
from urllib.parse import SplitResult, urlsplit

from understudy.transports._errors import UnsafeListener
from understudy.transports._token_file import UnsafeFile, read_token

if TYPE_CHECKING:
    from understudy.transports._connection import TransportOptions

__all__ = ["TOKEN_SIZE", "bracketed", "check_client", "check_server", "check_token", "is_loopback", "url_at"]

TOKEN_SIZE = 16
"""Characters that a token must have at least; who makes them by chance should take twice as many."""


def is_loopback(host: str) -> bool:
    """Whether *host* can only be this machine, without asking any name server."""
    if host in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # Pythons differ in whether they look inside by themselves
    return address.is_loopback


def check_token(token: object, url: str) -> str | None:
    """*token*, or what is in its file, if it is long enough.

    Raises:
        UnsafeListener: It could be guessed, or its file be read by others.
    """
    if token is None:
        return None
    source = "the token"
    if isinstance(token, os.PathLike):
        path = cast("os.PathLike[str]", token)
        source = f"the token file {os.fspath(path)}"
        try:
            token = read_token(path)
        except UnsafeFile as error:
            raise UnsafeListener(url=url, problem=f"{source} {error}") from None
    if isinstance(token, str) and len(token) >= TOKEN_SIZE:
        return token
    how = "secrets.token_urlsafe()" if source == "the token" else "`understudy token`"
    problem = f"{source} must be a text of at least {TOKEN_SIZE} characters: {how} makes one"
    raise UnsafeListener(url=url, problem=problem)


def check_server(url: str, options: TransportOptions, schemes: tuple[str, str]) -> SplitResult:
    """The parts of *url*, at which something is about to listen. *schemes* are the plain and the encrypted one.

    Raises:
        UnsafeListener: It must not, with these options.
    """
    parts = _check(url, options, schemes)
    tls = options.tls
    if parts.scheme == schemes[1] and (tls is None or tls.certificate is None or tls.key is None):
        raise UnsafeListener(url=url, problem=f"{schemes[1]} needs a certificate: tls=Tls(certificate=..., key=...)")
    return parts


def check_client(url: str, options: TransportOptions, schemes: tuple[str, str]) -> SplitResult:
    """Likewise, for a URL to connect to."""
    return _check(url, options, schemes)


def _check(url: str, options: TransportOptions, schemes: tuple[str, str]) -> SplitResult:
    plain, encrypted = schemes
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError as error:
        raise UnsafeListener(url=url, problem=f"is no URL: {error}") from None
    if not well_formed or not parts.hostname:
        raise UnsafeListener(url=url, problem=f"must be like {plain}://127.0.0.1:8765")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        problem = "must have no user, query or fragment: a secret in a URL ends up in logs"
        raise UnsafeListener(url=_without_secrets(parts), problem=problem)
    if not options.authenticated:
        raise UnsafeListener(url=url, problem="needs a token, which both sides know: token=...")
    if parts.scheme == plain and not is_loopback(parts.hostname):
        problem = f"is not on this machine only, so it needs TLS: {encrypted}:// and tls=Tls(...)"
        raise UnsafeListener(url=url, problem=problem)
    if parts.scheme == plain and options.tls is not None:
        raise UnsafeListener(url=url, problem=f"is not encrypted, though tls= was given: use {encrypted}://")
    return parts


def url_at(scheme: str, host: str, port: int, path: str) -> str:
    """The URL under which a listener is to be reached."""
    return f"{scheme}://{bracketed(host)}:{port}{path}"


def bracketed(host: str) -> str:
    """*host* as it stands in a URL, where a port may follow: an IPv6 address in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def _without_secrets(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.hostname}"
