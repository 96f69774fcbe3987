"""The server of the chat page, under connections that break, tabs that read slowly, and an agent that fails.

What a person says is said once, however often the page has to say it again; what the page is told has become of it is
true; and each tab hears every delivery once, in order.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocketDisconnect

from understudy import ActorSystem, child
from understudy.agents import AIAgent, HumanAgent, Say, ScriptedModel, Seat
from understudy.agents._chat_acts import Outcomes
from understudy.agents._chat_server import Chat, ChatLimits
from understudy.testing import Faults, Simulation, simulate
from understudy.transports._web_gate import GateRules

TOKEN = "a token of the tests"
LIMITS = ChatLimits(connections=3, message_bytes=10_000, hello_timeout=5.0, send_timeout=3.0)


class Wire:
    """A WebSocket within this process: the server's end by the names of starlette, the page's by ours."""

    def __init__(self) -> None:
        self._up: deque[str] = deque()
        self._down: deque[str] = deque()
        self._news = asyncio.Event()
        self.code: int | None = None
        self.room = 4
        """Frames that the page has not read, from which on the server has to wait."""

    # The server's

    async def accept(self) -> None:
        await asyncio.sleep(0)  # others may have their turn meanwhile

    async def receive(self) -> dict[str, Any]:
        while not self._up and self.code is None:
            await self._wait()
        if self.code is not None:
            return {"type": "websocket.disconnect", "code": self.code}
        return {"type": "websocket.receive", "text": self._up.popleft()}

    async def send_text(self, text: str) -> None:
        while len(self._down) >= self.room and self.code is None:
            await self._wait()
        if self.code is not None:
            raise WebSocketDisconnect(self.code)
        self._down.append(text)
        self._ring()

    async def close(self, code: int) -> None:
        await asyncio.sleep(0)  # likewise
        self.cut(code)

    # The page's

    def cut(self, code: int = 1006) -> None:
        """It has ended, and what was on its way is lost."""
        if self.code is None:
            self.code = code
            self._up.clear()
            self._down.clear()
            self._ring()

    def say(self, **frame: Any) -> None:
        if self.code is None:
            self._up.append(json.dumps(frame))
            self._ring()

    async def hear(self) -> dict[str, Any] | None:
        """The next frame; None: it has ended."""
        while not self._down and self.code is None:
            await self._wait()
        if not self._down:
            return None
        found: dict[str, Any] = json.loads(self._down.popleft())
        self._ring()
        return found

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _ring(self) -> None:
        self._news.set()


class Desk:
    """The endpoint, with wires instead of a server on sockets."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._outcomes = Outcomes()
        self._wires: dict[asyncio.Task[None], Wire] = {}
        self.chat: Chat | None = None
        self.reliable = False

    async def run(self, seat: Seat) -> None:
        self.chat = Chat(seat, GateRules(frozenset(), frozenset(), TOKEN), LIMITS, "", self._outcomes)
        try:
            while self.reliable or self._sim.random.random() < 0.8:  # noqa: ASYNC110 - nothing tells it to fail
                await asyncio.sleep(self._sim.random.choice([0.5, 2.0, 10.0]))
            raise OSError("the server has failed")
        finally:
            self.chat = None
            for wire in self._wires.values():
                wire.cut(1012)

    def connect(self) -> Wire | None:
        """None: nobody is there."""
        if self.chat is None:
            return None
        wire: Any = Wire()
        task = asyncio.create_task(self.chat._connected(wire), name="connection")
        self._wires[task] = wire
        task.add_done_callback(self._ended)
        found: Wire = wire
        return found

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._wires.pop(task).cut()
        task.result()  # it raises nothing

    @property
    def connections(self) -> int:
        return len(self._wires)


@dataclass
class Page:
    """What link.js does."""

    sim: Simulation
    desk: Desk
    name: str
    session: str = ""
    after: int = 0
    acts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    outcomes: dict[str, bool] = field(default_factory=dict[str, bool])
    """Of what was said, by its text."""
    heard: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    wire: Wire | None = None
    welcome: bool = False
    reliable: bool = False
    leaving: bool = False

    def say(self, text: str) -> None:
        frame = {"kind": "say", "id": f"{self.name} {text}", "text": text}
        self.acts[frame["id"]] = frame
        if self.welcome and self.wire is not None:
            self.wire.say(**frame)

    async def run(self) -> None:
        while not self.leaving:
            self.wire, self.welcome = self.desk.connect(), False
            if self.wire is None:
                await asyncio.sleep(0.3)  # as link.js does, whom nobody tells that the server is back
                continue
            self.wire.say(kind="hello", token=TOKEN, session=self.session, after=self.after)
            while (frame := await self.wire.hear()) is not None:
                self.take(frame)
                if self.reliable:
                    continue
                await asyncio.sleep(self.sim.random.choice([0, 0, 0, 0, 0.1, 4.0]))
                if self.sim.random.random() < 0.1:
                    self.wire.cut()
            await asyncio.sleep(self.sim.random.choice([0, 0.2]))

    def take(self, frame: dict[str, Any]) -> None:
        match frame:
            case {"kind": "welcome"}:
                if not frame["resumed"]:
                    self.after, self.heard = 0, []
                self.session, self.welcome = frame["session"], True
                for act in self.acts.values():
                    assert self.wire is not None
                    self.wire.say(**act)
            case {"kind": "delivery", "delivery": {"cursor": cursor, "kind": kind} as delivery}:
                if kind not in ("ended", "gap") and cursor != self.after + 1:
                    self.sim.violated(f"{self.name} hears {cursor} after {self.after}")
                self.after = cursor
                self.heard.append(delivery)
            case {"kind": "done", "id": name, "ok": ok}:
                act = self.acts.pop(name, None)
                if act is not None:
                    self.outcomes[act["text"]] = ok


@simulate(schedules=20, faults=Faults(crash=0.01, stall=0.2))
async def test_what_a_person_says_is_said_once_and_each_tab_hears_all_once(sim: Simulation) -> None:
    random = sim.random
    desk = Desk(sim)
    pages = [Page(sim, desk, name) for name in ("one", "two")]
    async with ActorSystem() as system:
        await system.spawn(child(AIAgent, ScriptedModel(pace=0.05), id="clerk").options(max_restarts=10_000))
        human = await system.spawn(
            child(HumanAgent, desk, to="clerk", outbox=10_000, id="nina").options(max_restarts=10_000)
        )
        running = [asyncio.create_task(page.run(), name=page.name) for page in pages]
        said = [f"message {number}" for number in range(8)]
        for text in said:
            await asyncio.sleep(random.choice([0, 0.1, 1.0, 3.0]))
            random.choice(pages).say(text)
            human.tell(Say(text="a remark"))
        await asyncio.sleep(random.choice([0, 5.0]))
        desk.reliable = True
        for page in pages:
            page.reliable = True
        async with asyncio.timeout(1_000):  # virtual, as all the time here; a page tells nobody what it has sent
            while any(page.acts for page in pages) or not all(page.welcome for page in pages):  # noqa: ASYNC110
                await asyncio.sleep(1.0)
            await asyncio.sleep(60.0)  # for the turns to end, and for what would come too late or twice
        begun = Counter(each["text"] for each in pages[0].heard if each["kind"] == "turn_started")
        outcomes = {text: ok for page in pages for text, ok in page.outcomes.items()}
        assert sorted(outcomes) == said
        for text, ok in outcomes.items():
            assert begun[text] == int(ok), (text, ok, begun)
        lasting = [[each for each in page.heard if each["kind"] not in ("ended", "gap")] for page in pages]
        assert lasting[0] == lasting[1]
        assert [each["cursor"] for each in lasting[0]] == list(range(1, len(lasting[0]) + 1))
        for page in pages:
            page.leaving = True
            assert page.wire is not None
            page.wire.cut()
        await asyncio.wait(running)
        await asyncio.sleep(1.0)  # for the server to see that they have left
        assert desk.connections == 0
