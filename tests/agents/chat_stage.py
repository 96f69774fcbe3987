"""A person with a page, an agent to talk to, and clients of the page without a browser."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from understudy import ActorRef, ActorSystem, child, handler, supervisor
from understudy.agents import (
    AIAgent,
    Approvals,
    HumanAgent,
    Prompt,
    Say,
    ScriptedModel,
    UseTool,
    WebEndpoint,
    tool,
)

TOKEN = "canary-of-the-chat-page"
MUTE = logging.getLogger("tests.chat_stage")
MUTE.setLevel(logging.CRITICAL + 1)
CRASH = "crash"
GUARD = 20.0
"""Seconds after which a test that waits has failed."""


@tool(dangerous=True)
def blow_up(what: str) -> str:
    """Blow something up."""
    return f"{what} is gone"


def answer(request: Any) -> Any:
    """What the guide says: a word of the person's decides."""
    text = getattr(request.history[-1], "text", "")
    match text.split():
        case ["blow", "up", *what]:
            return UseTool("blow_up", what=" ".join(what))
        case ["count", "to", number]:
            return " ".join(str(each + 1) for each in range(int(number)))
        case ["fail"]:
            return ValueError("a bug of the guide")
        case []:
            return "Done."
    return f"You said: {text}"


class Nina(HumanAgent):
    """A person whose agent can be made to fail."""

    @handler
    def hear(self, message: Say) -> None:
        if message.text == CRASH:
            raise RuntimeError("as the test has it")
        super().hear(message)


@dataclass(frozen=True)
class Answer:
    """What the server says to a request."""

    status: int
    headers: dict[str, str]
    text: str


class Chat:
    """What a test sees of it."""

    def __init__(self, system: ActorSystem, page: WebEndpoint) -> None:
        self.system = system
        self.page = page

    @property
    def nina(self) -> ActorRef[Prompt | Say]:
        """The person."""
        found: Any = self.system.lookup("team/nina")
        return found

    def crash(self) -> None:
        """Have the person's agent fail, so that it is restarted."""
        self.nina.tell(Say(text=CRASH))

    @property
    def port(self) -> int:
        return int(self.page.url.rpartition(":")[2].rstrip("/"))

    async def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """One request, with exactly that path."""
        head = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"} | (headers or {})
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
            writer.write("\r\n".join(lines).encode())
            async with asyncio.timeout(GUARD):
                said, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
        status, *rest = said.decode().split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return Answer(int(status.split(" ")[1]), found, body.decode())

    @asynccontextmanager
    async def socket(
        self, *, path: str = "/socket", scheme: str = "ws", **options: Any
    ) -> AsyncGenerator[ClientConnection, None]:
        """A connection that has said nothing."""
        url = f"{scheme}://127.0.0.1:{self.port}{path}"
        plain: dict[str, Any] = {"compression": None, "proxy": None, "max_size": None, "max_queue": None}
        async with connect(url, logger=MUTE, **plain, **options) as ws:
            yield ws

    @asynccontextmanager
    async def tab(self, *, after: int = 0, session: str = "") -> AsyncGenerator[Tab, None]:
        """A page that is welcome."""
        async with self.socket() as ws:
            await say_hello(ws, after=after, session=session)
            yield Tab(ws, json.loads(await ws.recv()))


async def say_hello(ws: ClientConnection, token: str = TOKEN, **facts: Any) -> None:
    await ws.send(json.dumps({"kind": "hello", "token": token, **facts}))


async def end_of(ws: ClientConnection) -> tuple[list[str | bytes], int | None]:
    """What comes until it is closed, and with which code it is."""
    found: list[str | bytes] = []
    try:
        async with asyncio.timeout(GUARD):
            while True:
                found.append(await ws.recv())
    except ConnectionClosed:
        return found, ws.close_code


class Tab:
    """A page, without a browser."""

    def __init__(self, ws: ClientConnection, welcome: dict[str, Any]) -> None:
        self.ws = ws
        self.welcome = welcome
        self.deliveries: list[dict[str, Any]] = []
        self.done: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []

    async def send(self, kind: str, **facts: Any) -> None:
        await self.ws.send(json.dumps({"kind": kind, **facts}))

    async def take(self) -> None:
        frame = json.loads(await self.ws.recv())
        match frame["kind"]:
            case "delivery":
                self.deliveries.append(frame["delivery"])
            case "open":
                self.open.append(frame)
            case _:
                self.done.append(frame)

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The latest delivery that is *wanted*, of those that have come, or the next of those that will."""
        async with asyncio.timeout(GUARD):
            found = next(filter(wanted, reversed(self.deliveries)), None)
            while found is None:
                seen = len(self.deliveries)
                await self.take()
                found = next(filter(wanted, self.deliveries[seen:]), None)
            return found

    async def kind(self, kind: str) -> dict[str, Any]:
        return await self.until(lambda delivery: delivery["kind"] == kind)

    async def act(self, kind: str, **facts: Any) -> dict[str, Any]:
        """Do something, and wait for what becomes of it."""
        await self.send(kind, **facts)
        return await self.outcome(facts["id"])

    async def outcome(self, id: str) -> dict[str, Any]:
        async with asyncio.timeout(GUARD):
            while True:
                for done in self.done:
                    if done["id"] == id:
                        self.done.remove(done)
                        return done
                await self.take()

    @property
    def cursors(self) -> list[int]:
        return [delivery["cursor"] for delivery in self.deliveries]


@asynccontextmanager
async def chat(
    *, outbox: int = 1_000, pace: float = 0.0, interactive: bool | None = None, **options: Any
) -> AsyncGenerator[Chat, None]:
    """The system, with the page up."""
    up: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    page = WebEndpoint(token=TOKEN, announce=lambda address: up.done() or up.set_result(address), **options)
    tree = supervisor(
        "team",
        child(Approvals),
        child(AIAgent, ScriptedModel(answer, pace=pace), tools=[blow_up]).options(name="guide"),
        child(Nina, page, to="team/guide", outbox=outbox, interactive=interactive).options(name="nina"),
    )
    async with ActorSystem(tree) as system:
        async with asyncio.timeout(GUARD):
            await up
        yield Chat(system, page)
