"""`understudy chat --web`: the address, the page behind it, and the end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.cli.test_command import command, environment
from understudy.cli import main

TALK = str(Path(__file__).with_name("talk.py"))
GUARD = 30.0

SHOWN = """
import os, pathlib, sys
url = sys.argv[1]
path = pathlib.Path(url.removeprefix("file://"))
told = pathlib.Path(sys.argv[2])
told.with_suffix(".new").write_text(f"{url}\\n{os.stat(path).st_mode & 0o777:o}\\n{path.read_text()}")
told.with_suffix(".new").rename(told)
"""


@pytest.fixture(autouse=True)
def unchanged_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("talk", None)


@contextmanager
def chatting(*args: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address that it has printed."""
    process = subprocess.Popen(
        command("chat", f"{TALK}:Desk", "--web", *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    with process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said.startswith("You talk to desk/desk/clerk at http://127.0.0.1:")
            yield process, said.split()[-1]
        finally:
            process.kill()


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=GUARD)
    return process.returncode, out, err


def test_the_address_is_printed_once_and_whoever_has_it_is_the_person() -> None:
    with chatting("--verbose") as (process, address):
        url, _, token = address.partition("#token=")
        assert len(token) == 48
        with connect(f"{url.replace('http', 'ws')}socket", compression=None, proxy=None) as ws:
            frames: list[dict[str, Any]] = []

            def until(kind: str) -> dict[str, Any]:
                while not frames or frames[-1]["kind"] != kind:
                    frame = json.loads(ws.recv(GUARD))
                    frames.append(frame.get("delivery", frame))
                return frames[-1]

            ws.send(json.dumps({"kind": "hello", "token": token}))
            assert until("welcome")["title"] == "desk/desk/clerk"
            ws.send(json.dumps({"kind": "say", "id": "1", "text": "ask"}))
            question = until("question")
            assert question["text"] == "really?"
            ws.send(json.dumps({"kind": "answer", "id": "2", "number": question["number"], "text": "yes"}))
            assert until("turn_ended")["text"] == "so it is ok"
            code, out, err = end(process)
        assert (code, out) == (0, "")
        assert "outcome=cancelled" in err
        assert token not in err


def test_the_browser_is_shown_a_file_that_only_the_person_can_read(tmp_path: Path) -> None:
    script, told = tmp_path / "browser.py", tmp_path / "told"
    script.write_text(SHOWN)
    with chatting("--open", BROWSER=f"{sys.executable} {script} %s {told}") as (process, address):
        while not told.exists():
            assert process.poll() is None
            time.sleep(0.01)  # the browser is a process of that process, and tells nobody but the file
        url, mode, page = told.read_text().splitlines()
        assert url.startswith("file:///")
        assert mode == "600"
        assert f'content="0; url={address}"' in page
        path = Path(url.removeprefix("file://"))
        assert path.exists()
        assert end(process)[0] == 0
        assert not path.exists()


def test_a_port_that_is_taken_is_said_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["chat", f"{TALK}:Desk", "--web", "--port", port]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Address already in use" in err
    assert port in err
    assert "restarting" not in err


@pytest.mark.parametrize("args", [["--port", "8765"], ["--open"]])
def test_what_is_for_the_page_is_refused_without_it(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", f"{TALK}:Desk", *args]) == 2
    assert capsys.readouterr().err == "understudy: --port and --open are for the page: add --web\n"


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["chat", f"{TALK}:Desk", "--web"]) == 2
    assert 'needs starlette: pip install "understudy[web]"' in capsys.readouterr().err
