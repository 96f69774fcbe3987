"""A server on loopback that speaks as much of OpenAI's chat completions as its SDK needs, and answers by a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

__all__ = ["Answer", "Stub", "calling", "cut_after", "hanging", "refusing", "stub", "texts"]

Answer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def chunk(delta: dict[str, Any], finish: str | None = None, usage: bool = False) -> bytes:
    body: dict[str, Any] = {
        "id": "chat-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "stub",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage:
        body["choices"] = []
        body["usage"] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def _send(writer: asyncio.StreamWriter, *parts: bytes) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


def texts(*parts: str) -> Answer:
    """Says these, one after another."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = [chunk({"role": "assistant", "content": part}) for part in parts]
        await _send(writer, HEAD, *said, chunk({}, "stop"), chunk({}, usage=True), b"data: [DONE]\n\n")

    return answer


def calling(name: str, *pieces: str, call: str = "call-1") -> Answer:
    """Calls a tool, whose arguments come in pieces."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = {"index": 0, "id": call, "type": "function", "function": {"name": name, "arguments": ""}}
        calls = [first, *({"index": 0, "function": {"arguments": piece}} for piece in pieces)]
        said = [chunk({"role": "assistant", "tool_calls": [each]}) for each in calls]
        await _send(writer, HEAD, *said, chunk({}, "tool_calls"), chunk({}, usage=True), b"data: [DONE]\n\n")

    return answer


def cut_after(*parts: str) -> Answer:
    """Says these, and then the connection is gone."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if parts:
            head = HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked")
            said = [chunk({"role": "assistant", "content": part}) for part in parts]
            await _send(writer, head, *(b"%x\r\n%s\r\n" % (len(each), each) for each in said))

    return answer


def refusing(status: int, problem: str, **headers: str) -> Answer:
    """Refuses with a status; names of headers are with an underscore."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"error": {"message": problem, "type": "stub", "code": None}}).encode()
        lines = [f"HTTP/1.1 {status} No", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await _send(writer, "\r\n".join([*lines, "Connection: close", "", ""]).encode(), body)

    return answer


def hanging(begun: asyncio.Event, gone: asyncio.Event) -> Answer:
    """Says one word and no more; *gone* is set when the client has gone."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _send(writer, HEAD, chunk({"role": "assistant", "content": "well"}))
            begun.set()
            await reader.read()  # a client says nothing more, and so it returns when that has gone
        except ConnectionError:
            pass
        finally:
            gone.set()

    return answer


class Stub:
    """The server: its address, and what it was asked."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(json.loads(body))
            self.headers.append(headers)
            await self._answers.pop(0)(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def stub(*answers: Answer) -> AsyncIterator[Stub]:
    """A server that gives these answers, one for each request."""
    served = Stub(answers)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(served.serve(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)
    assert not served._answers, "it was not asked for all of its answers"
