"""What is said to programs of agents on the command line, what comes back where, and the exit codes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_command import command, environment
from understudy.cli import main

TALK = str(Path(__file__).with_name("talk.py"))

Output = pytest.CaptureFixture[str]
Pipe = Callable[[str], None]


@pytest.fixture(autouse=True)
def unchanged_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("talk", None)


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """Makes a text the standard input of this process, to its end."""
    before = os.dup(0)

    def pipe(text: str) -> None:
        source, target = os.pipe()
        os.write(target, text.encode())
        os.close(target)
        os.dup2(source, 0)
        os.close(source)
        monkeypatch.setattr(sys, "stdin", open(0, closefd=False))  # noqa: SIM115

    yield pipe
    os.dup2(before, 0)
    os.close(before)


# Messages


def test_the_answers_alone_are_on_standard_output_and_then_the_program_ends(piped: Pipe, capsys: Output) -> None:
    piped("")
    assert main(["run", f"{TALK}:Desk", "--message", "one", "-m", "two"]) == 0
    out, err = capsys.readouterr()
    assert out == "you said one\nyou said two\n"
    assert "started" not in out
    assert "outcome=completed" in err


@pytest.mark.parametrize(("target", "expected"), [("Clerk", "you said a\nb\n"), ("Named", "a\nb\n")])
def test_what_is_piped_in_is_one_message(target: str, expected: str, piped: Pipe, capsys: Output) -> None:
    piped("a\nb\n")
    assert main(["run", "--quiet", f"{TALK}:{target}"]) == 0
    assert capsys.readouterr() == (expected, "")


def test_a_program_without_a_front_leaves_standard_input_alone(piped: Pipe, capsys: Output) -> None:
    piped("not for it")
    assert main(["run", "--quiet", f"{TALK}:Asking"]) == 0
    assert sys.stdin.read() == "not for it"


def test_a_failed_answer_exits_with_1_and_says_why(piped: Pipe, capsys: Output) -> None:
    piped("")
    assert main(["run", "--quiet", f"{TALK}:Desk", "-m", "fail", "-m", "two"]) == 1
    out, err = capsys.readouterr()
    assert out == "you said two\n"
    assert "(failed: " in err
    assert "KeyError" in err


def test_a_program_that_ends_too_early_exits_with_1_and_says_so(piped: Pipe, capsys: Output) -> None:
    piped("")
    assert main(["run", "--quiet", f"{TALK}:Short", "-m", "one", "-m", "two"]) == 1
    assert "it ended before it had answered" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--non-interactive"], []], ids=["non-interactive", "no input"])
@pytest.mark.parametrize("message", ["ask", "delete it"])
def test_where_a_person_had_to_be_asked_and_nobody_was_there_it_exits_with_3(
    message: str, options: list[str], piped: Pipe, capsys: Output
) -> None:
    piped("")
    assert main(["run", "--quiet", f"{TALK}:Desk", "-m", message, *options]) == 3
    out, err = capsys.readouterr()
    assert out == {"ask": "so it is error\n", "delete it": "so it is denied\n"}[message]
    assert ("refused: nobody is there to answer" in err) == (message == "ask")


def test_lines_answer_what_is_asked_about_a_message(piped: Pipe, capsys: Output) -> None:
    piped("y\n")
    assert main(["run", "--quiet", f"{TALK}:Desk", "-m", "delete it"]) == 0
    assert capsys.readouterr().out == "so it is ok\n"


def test_non_interactive_is_for_the_people_of_the_program_too(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{TALK}:Asking", "--non-interactive"]) == 0
    assert capsys.readouterr().out.startswith("nina cannot be asked 'x': it is not interactive")


# Models


def test_the_model_is_that_of_agents_that_were_given_none(piped: Pipe, capsys: Output) -> None:
    piped("")
    assert main(["run", "--quiet", f"{TALK}:Blank", "-m", "hello", "--model", "test"]) == 0
    assert capsys.readouterr().out == "success (no tool calls)\n"
    assert main(["run", "--quiet", f"{TALK}:Clerk", "-m", "hello", "--model", "test"]) == 0
    assert capsys.readouterr().out == "you said hello\n"


def test_without_a_model_an_agent_says_that_it_has_none(piped: Pipe, capsys: Output) -> None:
    piped("")
    for model in ([], ["--model", "scripted"]):
        assert main(["run", "--quiet", f"{TALK}:Blank", "-m", "hello", *model]) == 0
        assert capsys.readouterr().out.startswith("I am a scripted model, no language model is connected.")


# What makes no sense


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["chat", f"{TALK}:Tree"], "nobody to talk to"),
        (["run", f"{TALK}:Tree", "-m", "x"], "nobody in it takes a model or a message"),
        (["chat", f"{TALK}:Nobody"], "declares no agent to talk to"),
        (["chat", f"{TALK}:Unsure"], "several agents to talk to, unsure/desk/clerk, unsure/desk/echo: set `front`"),
        (["chat", TALK], "defines several trees: Desk, Named"),
        (["run", f"{TALK}:Clerk"], "Clerk is an agent: say something by --message, or use `understudy chat"),
        (["chat", f"{TALK}:Desk", "--model", "nonsense"], "--model nonsense: "),
    ],
    ids=lambda value: " ".join(value[:3])[-30:] if isinstance(value, list) else "",
)
def test_what_makes_no_sense_exits_with_2(args: list[str], sentence: str, piped: Pipe, capsys: Output) -> None:
    piped("")
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert sentence in err


def test_too_much_to_be_a_message_is_refused(
    piped: Pipe, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "much"
    file.write_text("x" * 1_000_001)
    piped("")
    with file.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["run", "--quiet", f"{TALK}:Clerk"]) == 2
    assert "more than 1,000,000 characters" in capsys.readouterr().err


# Chat


def test_lines_that_are_piped_into_a_chat_are_turns_and_answers_to_what_is_asked(piped: Pipe, capsys: Output) -> None:
    piped("hello\ndelete it\nn not today\nask\nof course\n")
    assert main(["chat", f"{TALK}:Desk"]) == 0
    out, err = capsys.readouterr()
    assert out == "you said hello\nso it is denied\nso it is ok\n"
    assert "desk/desk/clerk wants to use delete" in err
    assert "rejected by terminal: not today" in err
    assert "desk/desk/clerk asks (question 1): really?" in err


@pytest.mark.parametrize(("lines", "code"), [("fail\n", 1), ("delete it\n", 3), ("", 0)])
def test_a_chat_that_is_piped_has_the_exit_codes_of_run(lines: str, code: int, piped: Pipe, capsys: Output) -> None:
    piped(lines)
    assert main(["chat", f"{TALK}:Desk"]) == code


class Terminal:
    """A chat in a process of its own, at a pseudo terminal."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._descriptor = descriptor
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def until(self, text: str) -> None:
        """Read until *text* has come, and forget what was before."""
        end = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            try:
                self.seen += os.read(self._descriptor, 10_000).decode()
            except OSError:  # the other end has gone
                raise AssertionError(self.seen) from None
        self.seen = self.seen.partition(text)[2]


@contextmanager
def at_a_terminal(*args: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("chat", *args),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="dumb"),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_chat_at_a_terminal_streams_asks_inline_and_interrupts() -> None:
    with at_a_terminal(f"{TALK}:Desk") as chat:
        chat.until("You talk to desk/desk/clerk.")
        chat.until("> ")
        chat.type("hello\r")
        chat.until("you said hello")
        chat.until("> ")
        chat.type("delete it\r")
        chat.until("wants to use delete")
        chat.until("[y/n]")
        chat.type("y\r")
        chat.until("so it is ok")
        chat.until("> ")
        chat.type("delete it\r")
        chat.until("[y/n]")
        os.kill(chat.process.pid, signal.SIGINT)
        chat.until("(interrupted)")
        chat.until("> ")
        chat.type("still there\r")
        chat.until("you said still there")
        chat.until("> ")
        chat.type("\x04")
        chat.process.wait(30)
    assert chat.process.returncode == 0


def test_an_interrupt_with_no_answer_under_way_ends_a_chat_in_order() -> None:
    with at_a_terminal(f"{TALK}:Clerk") as chat:
        chat.until("> ")
        os.kill(chat.process.pid, signal.SIGINT)
    assert chat.process.returncode == 0
