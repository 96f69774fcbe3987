"""What stands before the SDK: the rules for who may speak, and the limits of what is said."""

from __future__ import annotations

from http import HTTPStatus

from understudy.transports._mcp_errors import InvalidFrame, MessageTooLarge
from understudy.transports._mcp_frames import check_json
from understudy.transports._web_gate import App, Event, GateRules, Receive, Refusal, Scope, Send, read_body, refuse

__all__ = ["Gate"]


class Gate:
    """An ASGI application in front of another one: asks the rules, on every path, before anything is read.

    Args:
        app: What is behind.
        rules: Who may speak.
        path: The only path there is.
        limit: Bytes of a body.
        patience: Seconds for a body to come.
    """

    def __init__(self, app: App, rules: GateRules, *, path: str, limit: int, patience: float) -> None:
        self._app = app
        self._rules = rules
        self._path = path
        self._limit = limit
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a {scope['type']} is not served here")  # uvicorn is told to make none
        refusal = self._rules.judge(scope["headers"])
        if refusal is None and scope["path"] != self._path:
            refusal = Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        answer = refusal or await self._body(receive)
        if isinstance(answer, Refusal):
            await refuse(answer, send)
        else:
            await self._app(scope, _replayed(answer, receive), send)

    async def _body(self, receive: Receive) -> bytes | Refusal:
        body = await read_body(receive, limit=self._limit, patience=self._patience)
        try:
            if isinstance(body, bytes) and body:
                check_json(body, source="the client", limit=self._limit)
        except (InvalidFrame, MessageTooLarge) as error:
            return Refusal(HTTPStatus.BAD_REQUEST, str(error))
        return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """*receive*, with the body, which has been read, once more in front."""
    events = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Event:
        return events.pop() if events else await receive()

    return again
