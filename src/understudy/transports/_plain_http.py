"""Answers over HTTP that cannot be larger than they look: never compressed, and of a bounded size."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["PlainTransport"]


class PlainTransport(httpx2.AsyncBaseTransport):
    """Passes on what *inner* gets, unless it is compressed or too large; then it is an error of the peer's.

    The stream of a GET, whose events are bounded where they are read, may be of any length.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, limit: int) -> None:
        self._inner = inner
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send *request*."""
        request.headers["accept-encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise httpx2.RemoteProtocolError("a compressed answer came, which nobody has asked for")
        if request.method == "GET" and response.status_code == HTTPStatus.OK:
            return response
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response, self._limit),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, limit: int) -> None:
        self._response = response
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        async for part in self._response.aiter_raw():
            left -= len(part)
            if left < 0:
                raise httpx2.RemoteProtocolError(f"an answer of more than {self._limit:,} bytes came")
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()
