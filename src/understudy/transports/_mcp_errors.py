"""What goes wrong between an MCP session and its server.

    UnderstudyError
    +-- MCPConnectionFailed     there was no connection: ``__cause__`` of the session's ``StartError``
    +-- MCPConnectionLost       there is none any more: the session crashes with it
    +-- MessageTooLarge         more bytes than are allowed; the peer is given up
    +-- InvalidFrame            no JSON that is accepted; the peer is given up
    +-- AddressBlocked          the address of a server is not one that may be connected to
    +-- Refused
        +-- MCPRefused          the server has answered with an error of the protocol
            +-- MCPCallTimeout      the server did not answer within the server's own limit
            +-- MCPInvalidResult    the server's answer is none

A :class:`Refused` leaves the session as it was.
"""

from __future__ import annotations

from typing import cast

from understudy.exceptions import Refused, UnderstudyError

__all__ = [
    "AddressBlocked",
    "InvalidFrame",
    "MCPCallTimeout",
    "MCPConnectionFailed",
    "MCPConnectionLost",
    "MCPInvalidResult",
    "MCPRefused",
    "MessageTooLarge",
    "root_of",
]


class MCPConnectionFailed(UnderstudyError):
    """A session could not be opened; ``__cause__`` is what the client raised."""

    def __init__(self, *, server: str, problem: str) -> None:
        self.server = server
        self.problem = problem
        super().__init__(f"no session with the MCP server {server}: {problem}")


class MCPConnectionLost(UnderstudyError):
    """The connection of a session has ended; the session crashes, and its supervisor opens the next."""

    def __init__(self, *, server: str, problem: str) -> None:
        self.server = server
        self.problem = problem
        super().__init__(f"the connection with the MCP server {server} was lost: {problem}")


class MCPRefused(Refused):
    """The server has answered a request with an error of the protocol, say for a tool that it does not have.

    That a tool fails is no such error but a :class:`ToolResult` with ``is_error``.
    """

    def __init__(self, *, server: str, request: str, code: int, problem: str) -> None:
        self.server = server
        self.request = request
        self.code = code
        self.problem = problem
        super().__init__(f"the MCP server {server} refused {request}: {problem} ({code})")


class MCPCallTimeout(MCPRefused):
    """The server has not answered within its own limit, shorter than the asker's; whether it was done is unknown."""

    def __init__(self, *, server: str, request: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(server=server, request=request, code=_TIMEOUT, problem="")
        self.args = (
            f"the MCP server {server} did not answer {request} within {seconds:g} s, its limit; raise `call_timeout=`",
        )


class MCPInvalidResult(MCPRefused):
    """The server's answer is not what the protocol, or the server's own schema, says it must be."""

    def __init__(self, *, server: str, request: str, problem: str) -> None:
        super().__init__(server=server, request=request, code=_INVALID, problem=problem)
        self.args = (f"the answer of the MCP server {server} to {request} is none: {problem}",)


class MessageTooLarge(UnderstudyError):
    """A message is larger than allowed; it was not parsed."""

    def __init__(self, *, source: str, limit: int) -> None:
        self.source = source
        self.limit = limit
        super().__init__(f"{source} sent a message of more than {limit:,} bytes: raise `max_message_bytes=` if it may")


class InvalidFrame(UnderstudyError):
    """Text that is no JSON, or JSON that two readers could understand differently."""

    def __init__(self, *, source: str, problem: str) -> None:
        self.source = source
        self.problem = problem
        super().__init__(f"{source} sent what is not accepted: {problem}")


class AddressBlocked(UnderstudyError):
    """A server's name stands for an address that may not be connected to; nothing was sent."""

    def __init__(self, *, host: str, address: str, why: str) -> None:
        self.host = host
        self.address = address
        self.why = why
        where = address if host == address else f"{host}, which is {address},"
        super().__init__(f"no connection to {where} is allowed: {why}; list it in `allow=` if it is meant")


def root_of(error: BaseException) -> BaseException:
    """The first error in a group that is none itself, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


_TIMEOUT = -32001
_INVALID = -32603
