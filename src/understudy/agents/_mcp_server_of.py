"""A server as a file of plain values declares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from understudy.agents._variables import token_in
from understudy.exceptions import InvalidSpec
from understudy.transports._mcp_servers import HttpServer, StdioServer

if TYPE_CHECKING:
    from understudy.transports._mcp_link import MCPServerAddress

__all__ = ["server_of"]


def server_of(server: MCPServerAddress | Mapping[str, Any]) -> MCPServerAddress:
    """*server*, or what it declares.

    A table with a ``command`` is a :class:`StdioServer`, one with a ``url`` a :class:`HttpServer`; the other keys are
    the arguments of these. ``token_variable`` names the environment variable that has the token, so that it need not be
    in a file.

    Raises:
        InvalidSpec: It is neither, a key is not known, or the variable is not set.
        MissingExtra: The SDK is not installed.
    """
    if not isinstance(server, Mapping):
        return server
    given = dict(server)
    if ("command" in given) == ("url" in given):
        problem = f"must have either a `command` or a `url`, got {', '.join(map(repr, given)) or 'nothing'}"
        raise InvalidSpec(child="MCPAgent", field="server", problem=problem)
    if "token_variable" in given:
        given["token"] = token_in(given.pop("token_variable"), "server")
    try:
        return StdioServer(**given) if "command" in given else HttpServer(**given)
    except TypeError as error:
        raise InvalidSpec(child="MCPAgent", field="server", problem=f"cannot be made: {error}") from None
