"""What reaches beyond this process: refs to actors of others, connections and a pool of them, and MCP.

It imports no extra; what a transport needs is imported when that transport is first used.
:mod:`understudy.transports.mcp`: sessions with MCP servers, and actors served as tools of an MCP server.
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
from understudy.transports._connector import Listening
from understudy.transports._errors import (
    ConnectionLost,
    HandshakeFailed,
    LinkDown,
    LinkError,
    MessageNotAccepted,
    ProtocolError,
    RemoteError,
    UnsafeListener,
)
from understudy.transports._mcp_session import MCPSession
from understudy.transports._memory import MemoryTransport
from understudy.transports._pool import AsyncTransportPool
from understudy.transports._pool_errors import LeaseReleased, PoolClosed, PoolTimeout
from understudy.transports._pool_instrument import CloseReason, PoolInstrument
from understudy.transports._pool_lease import Acquisition, Lease
from understudy.transports._pool_settings import PoolSettings
from understudy.transports._pool_statistics import PoolStatistics
from understudy.transports._protocol import Timing
from understudy.transports._reliable import ReliableChannel
from understudy.transports._remote_node import RemoteNode
from understudy.transports._sse import SseTransport
from understudy.transports._terms import LinkOptions
from understudy.transports._tls import Tls

__all__ = [
    "Acquisition",
    "AsyncTransportPool",
    "CloseReason",
    "Connection",
    "ConnectionLimits",
    "ConnectionLost",
    "HandshakeFailed",
    "Lease",
    "LeaseReleased",
    "LinkDown",
    "LinkError",
    "LinkOptions",
    "Listener",
    "Listening",
    "MCPSession",
    "MemoryTransport",
    "MessageNotAccepted",
    "PeerFacts",
    "PoolClosed",
    "PoolInstrument",
    "PoolSettings",
    "PoolStatistics",
    "PoolTimeout",
    "ProtocolError",
    "ReliableChannel",
    "RemoteError",
    "RemoteNode",
    "Serve",
    "SseTransport",
    "Timing",
    "Tls",
    "Transport",
    "TransportOptions",
    "UnsafeListener",
]
