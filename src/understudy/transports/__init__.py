"""Refs that reach other processes: connections, what is said over them, and who may say it.

It imports no extra; what a transport needs is imported when that transport is first used.
"""

from understudy.transports._connection import (
    Connection,
    ConnectionLimits,
    Listener,
    PeerFacts,
    Serve,
    Transport,
    TransportOptions,
)
from understudy.transports._errors import (
    ConnectionLost,
    HandshakeFailed,
    LinkDown,
    LinkError,
    MessageNotAccepted,
    MissingExtra,
    ProtocolError,
    RemoteError,
    UnsafeListener,
)
from understudy.transports._memory import MemoryTransport
from understudy.transports._tls import Tls

__all__ = [
    "Connection",
    "ConnectionLimits",
    "ConnectionLost",
    "HandshakeFailed",
    "LinkDown",
    "LinkError",
    "Listener",
    "MemoryTransport",
    "MessageNotAccepted",
    "MissingExtra",
    "PeerFacts",
    "ProtocolError",
    "RemoteError",
    "Serve",
    "Tls",
    "Transport",
    "TransportOptions",
    "UnsafeListener",
]
