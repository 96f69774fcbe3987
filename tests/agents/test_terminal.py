"""A person at a terminal, or lines from a pipe: what is said, what is asked, and how it ends."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests.agents.cast import Echo, Streamer, delete
from tests.cast import Gate
from understudy import ActorRef, ActorSystem, InvalidContext, MissingExtra, Normal
from understudy.agents import (
    AIAgent,
    Approvals,
    Decide,
    HumanAgent,
    ListPending,
    NotInteractive,
    Prompt,
    Say,
    ScriptedModel,
    TerminalEndpoint,
    ToolResult,
    UseTool,
    agent_tool,
)
from understudy.agents._deliveries import Remark, TurnText
from understudy.agents._lines import PlainLines
from understudy.agents._prompt_lines import PromptLines
from understudy.agents._terminal_view import TerminalView

pytestmark = pytest.mark.real_time


class Screen(io.StringIO):
    """A stream that may say that it is a terminal, and tells when something is on it."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal
        self._news = asyncio.Event()

    def isatty(self) -> bool:
        return self._terminal

    async def has(self, text: str) -> None:
        """Wait until *text* is on it."""
        async with asyncio.timeout(10):
            while text not in self.getvalue():
                self._news.clear()
                await self._news.wait()

    def write(self, text: str) -> int:
        self._news.set()
        return super().write(text)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    source, target = os.pipe()
    try:
        yield source, target
    finally:
        for each in (source, target):
            with suppress(OSError):
                os.close(each)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo terminal: where a person types, and what a program reads."""
    typing, reading = os.openpty()
    try:
        yield typing, reading
    finally:
        os.close(typing)
        os.close(reading)


class Stage:
    """A system with a person at a terminal, and what is on his screens."""

    def __init__(self, system: ActorSystem, endpoint: TerminalEndpoint, human: ActorRef[Any]) -> None:
        self.system = system
        self.endpoint = endpoint
        self.human = human

    @property
    def out(self) -> Screen:
        return self.endpoint._stdout  # type: ignore[return-value]

    @property
    def err(self) -> Screen:
        return self.endpoint._stderr  # type: ignore[return-value]

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            assert isinstance(await self.human.wait_stopped(), Normal)


@asynccontextmanager
async def stage(stdin: int, model: ScriptedModel | None = None, **options: Any) -> AsyncIterator[Stage]:
    isatty = os.isatty(stdin)
    endpoint = TerminalEndpoint(
        stdin=stdin, stdout=Screen(terminal=isatty), stderr=Screen(terminal=isatty), style="plain", **options
    )
    before = set(threading.enumerate())
    async with ActorSystem() as system:
        await system.spawn(Approvals)
        ask = agent_tool("nina", name="ask_nina", description="Asks Nina.")
        await system.spawn(AIAgent, model, tools=[delete, ask], id="clerk")
        human: ActorRef[Any] = await system.spawn(HumanAgent, endpoint, to="clerk", id="nina")
        yield Stage(system, endpoint, human)
    assert set(threading.enumerate()) <= before  # no thread is left, nor ever was


def results(model: ScriptedModel) -> list[tuple[str, Any]]:
    return [(item.status, item.content) for item in model.requests[-1].history if isinstance(item, ToolResult)]


# Pipes and files


@pytest.mark.asyncio
async def test_lines_of_a_pipe_are_said_one_after_another_and_answers_alone_go_to_standard_output() -> None:
    model = ScriptedModel(["first answer", [UseTool("nothing")], "second\nanswer"])
    with pipe() as (source, target):
        os.write(target, "one\r\n\ntwo: é".encode())
        os.close(target)
        async with stage(source, model) as here:
            await here.ended()
            assert here.out.getvalue() == "first answer\nsecond\nanswer\n"
            assert here.err.getvalue() == "[nothing ...]\n[nothing: error]\n"
    assert [request.history[-1].text for request in list(model.requests)[:2]] == ["one", "two: é"]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["file", "/dev/null", "closed"])
@pytest.mark.asyncio
async def test_what_no_event_loop_can_watch_is_read_too(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("".join(f"{number}\n" for number in range(20)))
    descriptor = os.open(file if kind == "file" else "/dev/null", os.O_RDONLY)
    if kind == "closed":
        os.close(descriptor)
    async with stage(descriptor) as here:
        await here.ended()
        said = here.out.getvalue().splitlines()
    assert len(said) == (20 if kind == "file" else 0)
    if kind != "closed":
        os.close(descriptor)


@pytest.mark.asyncio
async def test_a_line_answers_what_is_asked_and_the_descriptor_stays_as_it_was() -> None:
    script = [[UseTool("ask_nina", text="really?"), UseTool("delete", path="/x")], "done"]
    model = ScriptedModel(script)
    with pipe() as (source, target):
        os.write(target, b"go\n")
        async with stage(source, model) as here:
            await here.err.has("clerk asks (question 1): really?")
            await here.err.has("ai_agent wants to use delete (request")
            os.write(target, b"of course\nperhaps\n")
            await here.err.has("(y or n, and a comment if you like)")
            os.write(target, b"Yes it is old\n")
            await here.out.has("done\n")
            assert os.get_blocking(source)
            os.close(target)
            await here.ended()
            assert "approved by nina: it is old" in here.err.getvalue()
            assert "elsewhere" not in here.err.getvalue()
    assert sorted(results(model)) == [("ok", "/x is gone"), ("ok", "of course")]


@pytest.mark.asyncio
async def test_at_the_end_of_input_nobody_is_there_to_answer_and_the_answer_under_way_is_waited_for() -> None:
    script = [[UseTool("ask_nina", text="really?"), UseTool("delete", path="/x")], "well then"]
    model = ScriptedModel(script)
    with pipe() as (source, target):
        os.write(target, b"go\n")
        os.close(target)
        async with stage(source, model) as here:
            await here.ended()
            assert here.out.getvalue() == "well then\n"
            assert here.endpoint.unanswered == 2
    (asked, deleted) = sorted(results(model), reverse=True)
    assert asked[0] == "error" and "NotInteractive" in asked[1]  # noqa: PT018
    assert deleted == ("denied", "rejected by nina: nobody is there to decide")


@pytest.mark.asyncio
async def test_who_is_not_interactive_is_not_asked_although_there_are_lines() -> None:
    model = ScriptedModel([UseTool("ask_nina", text="really?"), "fine", "two"])
    with pipe() as (source, target):
        os.write(target, b"go\nyes\n")
        os.close(target)
        async with stage(source, model, interactive=False) as here:
            with pytest.raises(NotInteractive, match="it is not interactive"):
                await here.human.ask(Prompt(text="x"))
            await here.ended()
            assert here.out.getvalue() == "fine\ntwo\n"
            assert here.endpoint.unanswered == 2
            assert "(question 1 was refused: nobody is there to answer)" in here.err.getvalue()


@pytest.mark.asyncio
async def test_messages_are_said_instead_of_lines_and_lines_only_answer() -> None:
    model = ScriptedModel([UseTool("ask_nina", text="really?"), "fine", KeyError("a bug")])
    with pipe() as (source, target):
        async with stage(source, model, messages=["one", "two"]) as here:
            await here.err.has("clerk asks")
            os.write(target, b"yes\nnot said\n")
            await here.ended()
            assert here.out.getvalue() == "fine\n"
            assert here.endpoint.turns == {"completed": 1, "failed": 1}
            assert "(failed: " in here.err.getvalue()
            assert "KeyError" in here.err.getvalue()
    assert len(model.requests) == 3


@pytest.mark.asyncio
async def test_what_another_channel_has_decided_is_told_and_asked_no_more() -> None:
    model = ScriptedModel([UseTool("delete", path="/x"), "done"])
    with pipe() as (source, target):
        os.write(target, b"go\n")
        async with stage(source, model) as here:
            await here.err.has("wants to use delete")
            approvals = here.system.lookup("approvals", Approvals)
            (pending,) = await approvals.ask(ListPending())
            await approvals.ask(Decide(number=pending.number, approve=True, by="page"))
            await here.out.has("done\n")
            os.write(target, b"n\n")  # now it is a message
            os.close(target)
            await here.ended()
            assert f"(request {pending.number} approved by page)" in here.err.getvalue()
    assert model.requests[-1].history[-1].text == "n"  # type: ignore[union-attr]


@pytest.mark.parametrize("hurry", [0, 0.001, 0.01])
@pytest.mark.asyncio
async def test_of_a_terminal_and_another_channel_that_decide_at_once_one_has_decided(hurry: float) -> None:
    model = ScriptedModel([UseTool("delete", path="/x"), "done"])
    with pipe() as (source, target):
        os.write(target, b"go\n")
        async with stage(source, model) as here:
            await here.err.has("wants to use delete")
            approvals = here.system.lookup("approvals", Approvals)
            (pending,) = await approvals.ask(ListPending())
            os.write(target, b"y\n")
            await asyncio.sleep(hurry)  # which of them is first is what is tried
            page = await approvals.ask(Decide(number=pending.number, approve=False, by="page"))
            await here.out.has("done\n")
            os.close(target)
            await here.ended()
            told = [line for line in here.err.getvalue().splitlines() if line.endswith(("by nina)", "by page)"))]
    winner = "rejected by page" if page.accepted else "approved by nina"
    assert told == [f"(request {pending.number} {winner})"]
    first = next(request for request in model.requests if isinstance(request.history[-1], ToolResult))
    assert first.history[-1].status == ("denied" if page.accepted else "ok")  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_when_nobody_reads_the_answers_it_ends() -> None:
    class Broken(Screen):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pipe() as (source, target):
        os.write(target, b"go\nand on\n")
        endpoint = TerminalEndpoint(stdin=source, stdout=Broken(), stderr=Screen())
        async with ActorSystem() as system:
            await system.spawn(Echo)
            human = await system.spawn(HumanAgent, endpoint, to="echo")
            assert isinstance(await human.wait_stopped(10), Normal)


@pytest.mark.asyncio
async def test_a_long_line_comes_in_pieces_and_many_lines_wait_outside() -> None:
    with pipe() as (source, target):
        lines = PlainLines(source, io.StringIO(), asyncio.get_running_loop())
        news = asyncio.Event()
        lines.open(news.set, lambda work, name: asyncio.ensure_future(work))
        text = b"x" * 1_500_000 + b"\n" + b"".join(b"%d\n" % number for number in range(5_000))

        def write() -> None:
            sent = 0
            while sent < len(text):
                sent += os.write(target, text[sent : sent + 60_000])
            os.close(target)

        writing = asyncio.get_running_loop().run_in_executor(None, write)
        taken: list[str] = []
        most = 0
        while not (lines.ended and lines.peek() is None):
            line = lines.take()
            if line is None:
                news.clear()
                await news.wait()
                await asyncio.sleep(0)  # who is slow finds more than one read has brought
                continue
            most = max(most, len(lines._lines))
            taken.append(line)
        await writing
        lines.close()
    assert [len(line) for line in taken[:2]] == [1_000_000, 500_000]
    assert taken[2:] == [str(number) for number in range(5_000)]
    assert most < 20_000


@pytest.mark.asyncio
async def test_an_event_loop_that_cannot_watch_says_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    with pipe() as (source, _):
        lines = PlainLines(source, io.StringIO(), loop)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "add_reader", refuse, raising=False)
            with pytest.raises(InvalidContext, match=r"understudy\[chat\]"):
                lines.open(lambda: None, lambda work, name: asyncio.ensure_future(work))


# Terminals


@pytest.mark.asyncio
async def test_what_was_typed_before_a_request_appeared_does_not_approve_it() -> None:
    model = ScriptedModel([UseTool("delete", path="/x"), "done"], delay=0.1)
    with terminal() as (typing, reading):
        async with stage(reading, model) as here:
            await here.err.has("> ")
            os.write(typing, b"go\ny\ny\n")
            await here.err.has("approve request")
            await asyncio.sleep(0.1)  # in which it would be approved; nothing tells that it is not
            (pending,) = await here.system.lookup("approvals", Approvals).ask(ListPending())
            assert pending.request.tool == "delete"
            os.write(typing, b"n keep it\n")
            await here.out.has("done")
            os.write(typing, b"/quit\n")
            await here.ended()
    assert results(model) == [("denied", "rejected by nina: keep it")]


@pytest.mark.asyncio
async def test_at_a_terminal_there_are_commands_and_an_interrupt_gives_up_the_turn_and_then_there_is_none() -> None:
    gate = Gate()
    with terminal() as (typing, reading):
        async with stage(reading) as here:
            await here.system.spawn(Streamer, gate)
            endpoint = TerminalEndpoint(stdin=reading, stdout=here.out, stderr=here.err, style="plain")
            here.human.stop()
            await here.human.wait_stopped()
            human = await here.system.spawn(HumanAgent, endpoint, to=Streamer)
            assert not endpoint.interrupt()
            os.write(typing, b"/help\n\n/stop\none\n")
            await here.out.has("one")
            assert "/stop where lines are not edited" in here.err.getvalue()
            os.write(typing, b"typed ahead\n")
            assert endpoint.interrupt()
            assert not endpoint.interrupt()  # a second time: it is the end
            await here.err.has("(interrupted)")
            await here.out.has("typed ahead")
            os.write(typing, b"/stop\n")
            await gate.reached(2)
            human.tell(Say(text="\x1b[2Jhello\x07\n(request 7 approved)", speaker="olaf\n"))
            await here.err.has("olaf\\n: \\x1b[2Jhello\\x07\n  (request 7 approved)\n")
            os.write(typing, b"/quit\n")
            assert isinstance(await human.wait_stopped(10), Normal)
            assert here.out.getvalue() == "one\ntyped ahead\n"


@pytest.mark.asyncio
async def test_a_remark_comes_below_the_prompt_which_is_written_again_and_a_hangup_is_the_end_of_input() -> None:
    with pytest.MonkeyPatch.context() as patch:
        typing, reading = os.openpty()
        async with stage(reading) as here:
            await here.err.has("> ")
            here.human.tell(Say(text="by the way", speaker="olaf"))
            await here.err.has("olaf: by the way\n> ")
            patch.undo()
            os.close(typing)
            await here.ended()
        os.close(reading)


@pytest.mark.asyncio
async def test_after_a_restart_of_the_agent_the_terminal_goes_on_where_it_was() -> None:
    model = ScriptedModel([UseTool("delete", path="/x"), "done"])
    with pipe() as (source, target):
        async with stage(source, model) as here:
            os.write(target, b"go\n")
            await here.err.has("wants to use delete")
            asking = asyncio.create_task(
                here.system.lookup("ai_agent", AIAgent).ask(Prompt(text="another way"), timeout=10)
            )
            here.human.kill()
            await here.err.has("(request")  # the turn was interrupted, and with it the request
            await here.err.has("(interrupted)")
            await asking
            os.write(target, b"after\n")
            await here.out.has("You said: after")
            os.close(target)
            await here.ended()
            assert here.err.getvalue().count("wants to use delete") == 1


# With prompt_toolkit


@pytest.mark.asyncio
async def test_with_prompt_toolkit_lines_are_edited_and_keys_interrupt_and_end() -> None:
    stopped = list[bool]()
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    drawn, typed = asyncio.Event(), asyncio.Event()

    def typed_too_early(buffer: Buffer) -> None:
        if buffer.text == "too early":
            typed.set()

    async def line(lines: PromptLines) -> str | None:
        async with asyncio.timeout(10):
            while (found := lines.take()) is None and not lines.ended:
                news.clear()
                lines.ask("> ")
                await news.wait()
        return found

    with create_pipe_input() as keys:
        lines = PromptLines(0, lambda: stopped.append(True) or len(stopped) < 2, keys, DummyOutput())
        lines.open(news.set, lambda work, name: loop.create_task(work, name=name))
        lines._session.app.after_render += lambda _: drawn.set()
        lines._session.default_buffer.on_text_changed += typed_too_early
        keys.send_text("hallo\x7f\x7f\x7f\x7fello\r")
        assert await line(lines) == "hello"
        keys.send_text("\x03next\r")  # Ctrl-C is of use, once
        assert await line(lines) == "next"
        drawn.clear()
        lines.ask("answer 1> ")
        await drawn.wait()
        shown: list[str] = []
        await lines.show(lambda: shown.append("a remark"))
        assert shown == ["a remark"]
        keys.send_text("too early")
        await typed.wait()
        lines.discard()
        keys.send_text("in time\r")
        assert await line(lines) == "in time"
        drawn.clear()
        lines.ask("> ")
        await drawn.wait()
        news.clear()
        lines.ask(None)
        await news.wait()
        await lines.show(lambda: shown.append("nothing in the way"))
        keys.send_text("\x03")
        assert await line(lines) is None
        assert (stopped, lines.ended) == ([True, True], True)
        lines.close()
    assert shown[-1] == "nothing in the way"


@pytest.mark.asyncio
async def test_without_prompt_toolkit_the_style_that_needs_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("understudy.agents._terminal.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'prompt-toolkit: pip install "understudy\[chat\]"'):
        TerminalEndpoint(style="prompt")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "é¤ ab\\ud800€c"),
        ("utf-16", "é¤ ab\\ud800€c"),
        ("ascii", "\\xe9\\xa4 ab\\ud800\\u20acc"),
        ("iso8859-15", "é\\xa4 ab\\ud800€c"),
    ],
)
def test_what_has_no_form_in_the_encoding_of_a_file_is_written_out(encoding: str, text: str) -> None:
    answers, notes = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    view = TerminalView(answers, notes)
    view.write(TurnText(cursor=1, turn=1, text="é¤ ab"))
    view.write(TurnText(cursor=2, turn=1, text="\ud800€c"))
    view.write(Remark(cursor=3, text="é\ud800", speaker="clerk"))
    assert answers.buffer.getvalue().decode(encoding) == text  # type: ignore[attr-defined]
    assert "clerk: " in notes.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def test_so_it_is_in_a_stream_that_does_not_say_its_encoding() -> None:
    file = io.BytesIO()
    writer: Any = codecs.getwriter("latin-1")(file)
    assert not hasattr(writer, "encoding")
    TerminalView(writer, io.StringIO()).write(TurnText(cursor=1, turn=1, text="é€"))
    assert file.getvalue() == b"\xe9\\u20ac"
