"""The transport over HTTP: server-sent events from the listener, posts to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.exceptions import MissingExtra
from understudy.transports._errors import UnsafeListener
from understudy.transports._security import check_client, check_server
from understudy.transports._web_gate import GateRules

if TYPE_CHECKING:
    from understudy.environment import Environment
    from understudy.transports._connection import Serve, TransportOptions
    from understudy.transports._sse_client import SseClientConnection
    from understudy.transports._sse_server import SseListener

__all__ = ["SseTransport"]

_PATH = "/understudy"


class SseTransport:
    """``sse://127.0.0.1:8000/path``, and ``sses://`` with TLS: for where proxies let nothing but plain HTTP pass.

    What the listener says is a stream of server-sent events; what a client says is a POST for each message. A stream
    that breaks off is read on from where it was, and a post whose answer was lost is posted again and taken once, so
    that neither a lost socket nor a proxy that ends a long answer ends the connection. What the listener has said
    meanwhile and does not keep any more is reported as a gap, with which the client's end is lost.

    It is slower than ``ws://``: each message of a client is a request that is answered. A listener does not learn the
    name in a client's certificate, so it takes no ``ca``: use ``wss://`` where nodes are known by certificates.

    It needs the extra ``sse``.
    """

    schemes = ("sse", "sses")
    """Those of its URLs."""

    async def listen(self, url: str, serve: Serve, options: TransportOptions, env: Environment) -> SseListener:
        """Accept connections at *url*; without a path, below ``/understudy``.

        Raises:
            UnsafeListener: ``sse`` anywhere but on loopback, ``sses`` without a certificate, either without a token; or
                with ``ca``.
            MissingExtra: The extra ``sse`` is not installed.
            OSError: The address is in use, or not to be had.
        """
        parts = check_server(url, options, self.schemes)
        secure = parts.scheme == "sses"
        if options.tls is not None and options.tls.mutual:
            raise UnsafeListener(url=url, problem="cannot know clients by their certificates (ca=): listen at wss://")
        try:
            from understudy.transports._sse_server import SseListener  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtra(what="listening at sse://", package="sse-starlette", extra="sse") from error
        context = options.tls.for_server() if secure and options.tls is not None else None
        host = parts.hostname or ""

        def rules(port: int) -> GateRules:
            return GateRules.at(host, port, encrypted=secure, hosts=options.hosts, origins=options.origins)

        listener = SseListener(parts.path or _PATH, serve, options.limits, env)
        await listener.start(host, parts.port or 0, rules, context)
        return listener

    async def connect(self, url: str, options: TransportOptions, env: Environment) -> SseClientConnection:
        """Connect to the listener at *url*, within ``open_timeout``.

        Raises:
            UnsafeListener: ``sse`` to anywhere but loopback, or without a token.
            MissingExtra: The extra ``sse`` is not installed.
            ConnectionLost: Nobody is there, or whoever is does not want to; ``why`` says which.
        """
        parts = check_client(url, options, self.schemes)
        try:
            from understudy.transports._sse_client import connect_sse  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtra(what="connecting to sse://", package="httpx2", extra="sse") from error
        scheme = "https" if parts.scheme == "sses" else "http"
        return await connect_sse(f"{scheme}://{parts.netloc}{parts.path or _PATH}", options, env)
