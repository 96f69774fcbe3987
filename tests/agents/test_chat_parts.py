"""The parts of the page's server, without a network: frames, acts, and a tab with a connection that is played."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.websockets import WebSocketDisconnect

from tests.cast import settle
from understudy import ActorSystem, MissingExtra
from understudy.agents import HumanAgent, Say, Seat, WebEndpoint
from understudy.agents._chat_acts import PENDING, Acts, Outcomes
from understudy.agents._chat_frames import Done, InterruptFrame, Welcome, parse_act, parse_hello
from understudy.agents._chat_tab import ANSWERS, Tab
from understudy.transports._errors import ProtocolError

ROOT = Path(__file__).parents[2]
WELCOME = Welcome(title="nina", session="1", resumed=False, max_bytes=1_000)


class Sit:
    """An endpoint that only shows its seat."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []

    async def run(self, seat: Seat) -> None:
        self.seats.append(seat)
        await asyncio.get_running_loop().create_future()


class Played:
    """A connection: what comes over it, and how much of what is sent it takes before it stands still."""

    def __init__(self, frames: list[str], takes: int) -> None:
        self.frames = frames
        self.read = 0
        self.taken: list[dict[str, Any]] = []
        self._takes = takes

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)  # as a connection would, it lets others have their turn
        if self.read == len(self.frames):
            await asyncio.get_running_loop().create_future()
        self.read += 1
        return {"type": "websocket.receive", "text": self.frames[self.read - 1]}

    async def send_text(self, text: str) -> None:
        if len(self.taken) == self._takes:
            await asyncio.get_running_loop().create_future()
        self.taken.append(json.loads(text))


async def served(frames: list[str], takes: int, patience: float = 5.0) -> tuple[int | None, Played, float]:
    """What becomes of a tab; and after how many seconds."""
    sit, ws = Sit(), Played(frames, takes)
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        nina = await system.spawn(HumanAgent, sit)
        nina.tell(Say(text="hello"))
        await settle()
        (seat,) = sit.seats
        played: Any = ws
        before = loop.time()
        code = await Tab(played, seat, Acts(seat, Outcomes()), patience=patience).serve(WELCOME, 0)
        return code, ws, loop.time() - before


@pytest.mark.asyncio
async def test_a_tab_that_takes_nothing_in_time_is_given_up() -> None:
    code, ws, seconds = await served([], takes=1)
    assert code is None
    assert [frame["kind"] for frame in ws.taken] == ["welcome"]
    assert seconds == pytest.approx(5.0)


@pytest.mark.asyncio
async def test_a_tab_that_asks_on_and_on_and_reads_no_answer_is_given_up_before_they_pile_up() -> None:
    frames = [json.dumps({"kind": "answer", "id": str(number), "number": 1, "text": ""}) for number in range(1_000)]
    code, ws, seconds = await served(frames, takes=2, patience=1_000.0)
    assert code is None
    assert ws.read <= ANSWERS + PENDING + 2
    assert seconds < 1.0


@pytest.mark.asyncio
async def test_a_tab_is_told_what_there_is_and_what_becomes_of_its_acts() -> None:
    frames = [json.dumps({"kind": "interrupt", "id": "1"}), "nonsense"]
    code, ws, _ = await served(frames, takes=10)
    assert code == 4400
    assert sorted(frame["kind"] for frame in ws.taken) == ["delivery", "done", "welcome"]


@pytest.mark.asyncio
async def test_a_tab_whose_connection_ends_leaves_no_task() -> None:
    class Ending(Played):
        async def send_text(self, text: str) -> None:
            raise WebSocketDisconnect(1006)

    sit = Sit()
    async with ActorSystem() as system:
        await system.spawn(HumanAgent, sit)
        await settle()
        (seat,) = sit.seats
        before = asyncio.all_tasks()
        ws: Any = Ending([], takes=0)
        assert await Tab(ws, seat, Acts(seat, Outcomes()), patience=5.0).serve(WELCOME, 0) is None
        assert asyncio.all_tasks() == before


@pytest.mark.asyncio
async def test_outcomes_are_remembered_and_bounded_and_an_act_is_not_done_again() -> None:
    sit, outcomes, told = Sit(), Outcomes(), list[Done]()
    loop = asyncio.get_running_loop()
    async with ActorSystem() as system:
        await system.spawn(HumanAgent, sit)
        await settle()
        acts = Acts(sit.seats[0], outcomes)
        for number in range(1_500):
            done: asyncio.Future[Done] = loop.create_future()
            acts.begin(InterruptFrame(id=str(number)), done.set_result)
            told.append(await done)
    assert len(told) == 1_500
    assert len(outcomes) == 1_000
    outcomes["1499"] = Done(id="1499", ok=False, text="remembered")
    acts.begin(InterruptFrame(id="1499"), told.append)  # though the seat is closed
    assert told[-1].text == "remembered"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
NAMES = st.sampled_from(["kind", "id", "token", "session", "after", "text", "number", "approve", "comment"])
KINDS = st.sampled_from(["hello", "say", "answer", "decide", "interrupt"])


@settings(max_examples=60)
@given(st.text() | VALUES.map(json.dumps) | st.dictionaries(NAMES, VALUES | KINDS).map(json.dumps))
def test_any_text_is_a_frame_or_a_protocol_error(text: str) -> None:
    for parse in (parse_hello, parse_act):
        try:
            frame = parse(text)
        except ProtocolError:
            continue
        assert json.loads(text)["kind"] == frame.kind


def test_the_token_is_in_no_text_of_a_frame() -> None:
    hello = parse_hello('{"kind": "hello", "token": "canary"}')
    assert hello.token == "canary"
    assert "canary" not in f"{hello!r} {hello}"
    with pytest.raises(ProtocolError) as caught:
        parse_hello('{"kind": "hello", "token": "canary", "canary": 1}')
    assert "canary" not in str(caught.value)


def test_the_wheel_has_the_files_of_the_page(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    folder = "understudy/agents/_chat_page"
    with zipfile.ZipFile(tmp_path / made.stdout.split()[-1]) as wheel:
        found = {name for name in wheel.namelist() if name.startswith(folder)}
    here = {f"{folder}/{file.name}" for file in (ROOT / "src" / folder).iterdir() if file.is_file()}
    assert found == here
    assert f"{folder}/index.html" in here


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "websockets"])
def test_without_the_extra_there_is_one_helpful_error(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf'a chat page needs {package}: pip install "understudy\[web\]"'):
        WebEndpoint()


def test_making_a_page_imports_none_of_the_extra() -> None:
    code = (
        "import sys\n"
        "from understudy.agents import WebEndpoint\n"
        "WebEndpoint()\n"
        "print({'starlette', 'uvicorn', 'websockets', 'h11'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
