"""The parts of the tests of MCP: a desk whose messages are served, servers of the SDK, a server of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import mcp_types
from mcp import Client
from mcp.server import MCPServer, Server
from mcp.server.context import ServerRequestContext

import understudy
from tests.cast import Gate
from understudy import Actor, ActorRef, ActorSystem, Message, Refused, StreamMessage, child, handler
from understudy.transports._mcp_client import SDKLink, ToolNews
from understudy.transports._mcp_lines import LineReader, LineWriter
from understudy.transports._mcp_stdio_service import Reading, Writing
from understudy.transports._mcp_streams import given, watched
from understudy.transports.mcp import MCPServerAddress, MCPSession, MCPSessionMessage, StdioServer, Tools, expose

SOURCE = str(Path(understudy.__file__).parent.parent)


class Add(Message[int]):
    """Add two whole numbers."""

    a: int
    b: int


class Say(Message[str]):
    """Say it again, so often."""

    text: str
    times: int = 1


class Deny(Message[int]):
    """Always refused."""


class Break(Message[int]):
    """The actor crashes."""


class Wait(Message[int]):
    """Answered when the gate is open."""


class Steps(StreamMessage[int]):
    """Count, part by part."""

    to: int


class Forget(Message):
    """There is no answer."""


class Secret(Message[int]):
    """Handled by the desk, and not exposed."""


DeskMessage = Add | Say | Deny | Break | Wait | Steps | Forget | Secret
EXPOSED = (Add, Say, Deny, Break, Wait, Steps, Forget)


class Desk(Actor[DeskMessage]):
    """Answers in every way there is; several waits at a time."""

    def __init__(self, gate: Gate, log: list[str]) -> None:
        self.gate = gate
        self.told = log

    @handler
    def add(self, message: Add) -> int:
        return message.a + message.b

    @handler
    def say(self, message: Say) -> str:
        return message.text * message.times

    @handler
    def deny(self, message: Deny) -> int:
        raise Refused("the desk is closed")

    @handler
    def crash(self, message: Break) -> int:
        raise ValueError("canary of the inside")

    @handler(cancellable=True, reentrant=True)
    async def wait(self, message: Wait) -> int:
        try:
            await self.gate.hold()
        except asyncio.CancelledError:
            self.told.append("wait cancelled")
            raise
        return 1

    @handler(reentrant=True)
    async def steps(self, message: Steps) -> AsyncIterator[int]:
        try:
            for number in range(message.to):
                yield number
                if number == 1:
                    await self.gate.hold()
        finally:
            self.told.append("steps closed")

    @handler
    def forget(self, message: Forget) -> None:
        self.told.append("forgotten")

    @handler
    def secret(self, message: Secret) -> int:
        self.told.append("secret told")
        return 42


async def open_desk(system: ActorSystem) -> tuple[Tools, Gate, list[str], ActorRef[DeskMessage]]:
    gate, log = Gate(), list[str]()
    desk = await system.spawn(child(Desk, gate, log))
    return Tools(expose(desk, *EXPOSED), name="desk"), gate, log, desk


async def open_session(system: ActorSystem, server: MCPServerAddress, **options: Any) -> ActorRef[MCPSessionMessage]:
    return await system.spawn(child(MCPSession, server).options(**options))


def official_server() -> MCPServer:
    """One made with the SDK's decorators, that answers in many ways; all are `async`, as others run in threads."""
    server = MCPServer("official")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @server.tool(structured_output=False)
    async def nothing() -> list[str]:
        """No content at all."""
        return []

    @server.tool(structured_output=False)
    async def picture() -> mcp_types.ImageContent:
        """Not text."""
        return mcp_types.ImageContent(data="AAEC", mime_type="image/png")

    @server.tool()
    async def fail() -> str:
        """An error of the tool."""
        raise ValueError("the tool is blunt")

    @server.resource("memo://one")
    async def memo() -> str:
        """A memo."""
        return "remember"

    @server.prompt()
    async def greet(name: str) -> str:
        """A greeting."""
        return f"Hello {name}"

    return server


class Odd:
    """A low-level server whose tools return what the test says, and note when they are cancelled."""

    def __init__(self) -> None:
        self.result = mcp_types.CallToolResult(content=[])
        self.gate: Gate | None = None
        self.cancelled = 0
        self.calls = 0
        self.meta: Any = None
        self.pages: dict[str | None, mcp_types.ListToolsResult] = {None: mcp_types.ListToolsResult(tools=[])}

    def server(self) -> Server[Any]:
        async def list_tools(context: ServerRequestContext[Any], params: Any) -> mcp_types.ListToolsResult:
            return self.pages[params.cursor if params is not None else None]

        async def call(context: ServerRequestContext[Any], params: Any) -> mcp_types.CallToolResult:
            self.calls += 1
            self.meta = params.meta
            try:
                if self.gate is not None:
                    await self.gate.hold()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return self.result

        return Server("odd", on_list_tools=list_tools, on_call_tool=call)


# A server of a few lines, which starts faster than anything that imports something

SCRIPT = textwrap.dedent(
    """
    import json, os, signal, subprocess, sys, time
    mode = sys.argv[1:]
    if "stubborn" in mode:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "dies" in mode:
        sys.exit(3)
    if "child" in mode:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
    print("about to \\x1b[31mserve\\x07", file=sys.stderr, flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        method, number = message["method"], message.get("id")
        result = error = None
        if method == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                      "serverInfo": {"name": "few lines", "version": "1"}}
        elif method == "tools/list":
            result = {"tools": [{"name": "pid", "inputSchema": {"type": "object"}}]}
        elif method == "ping":
            result = {}
        elif method == "notifications/cancelled":
            print("cancelled", message["params"]["requestId"], file=sys.stderr, flush=True)
        elif method == "tools/call":
            name, arguments = message["params"]["name"], message["params"].get("arguments") or {}
            if name == "exit":
                os._exit(7)
            if name == "hang":
                continue
            if name == "print":
                print("stray words", flush=True)
            if name == "raw":
                sys.stdout.write(arguments["text"] + "\\n")
                sys.stdout.flush()
                continue
            if name == "environment":
                text = json.dumps(dict(os.environ))
            else:
                text = "x" * arguments["size"] if name == "large" else str(os.getpid())
            result = {"content": [{"type": "text", "text": text}]}
        else:
            error = {"code": -32601, "message": "Method not found"}
        if number is not None:
            answer = {"jsonrpc": "2.0", "id": number}
            answer.update({"result": result} if error is None else {"error": error})
            sys.stdout.write(json.dumps(answer) + "\\n")
            sys.stdout.flush()
    if "stubborn" in mode or "lingers" in mode:
        time.sleep(600)
    """
)


def few_lines(*mode: str, **options: Any) -> StdioServer:
    """A server of a few lines; *mode* says how it misbehaves."""
    return StdioServer(sys.executable, ("-c", SCRIPT, *mode), name="few", **options)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except FileNotFoundError:
        return False
    except ProcessLookupError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process or the network does."""
    async with asyncio.timeout(10.0):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def quiet_sdk() -> Generator[None, None, None]:
    """The SDK tells of each failing handler."""
    logger = logging.getLogger("mcp")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.asynccontextmanager
async def pipes() -> AsyncGenerator[tuple[int, int, int, int], None]:
    """Two pipes: the server's end to read, the client's to write, the client's to read, the server's to write."""
    to_server, from_client = os.pipe()
    to_client, from_server = os.pipe()
    ends = [to_server, from_client, to_client, from_server]
    try:
        yield to_server, from_client, to_client, from_server
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)


def few_certificates(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for *name* that is its own authority, and its key, as files."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


class Wire:
    """The client's ends of two pipes, as a server's address."""

    name, call_timeout = "wire", 30.0

    def __init__(self, read: int, write: int) -> None:
        self._ends = read, write

    def connect(self, log: Any) -> Any:
        return self._connected()

    @contextlib.asynccontextmanager
    async def _connected(self) -> Any:
        loop = asyncio.get_running_loop()
        reader, writer = LineReader(source="service", limit=65536, stray=print), LineWriter()
        read, write = self._ends
        writer.pipe, _ = await loop.connect_write_pipe(lambda: Writing(writer), os.fdopen(write, "wb", 0))
        reader.pipe, _ = await loop.connect_read_pipe(lambda: Reading(reader), os.fdopen(read, "rb", 0))
        lost: asyncio.Future[str] = loop.create_future()
        try:
            async with Client(watched(given((reader, writer)), lost, lambda: "gone"), cache=None) as client:
                yield SDKLink(client, self.name, lost, ToolNews())
        finally:
            reader.pipe.close()
            writer.pipe.close()
