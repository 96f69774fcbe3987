"""What the command does: exit codes, and what is said where."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import understudy
from understudy.cli import main

STAGE = str(Path(__file__).with_name("stage.py"))
TIMEOUT = 60.0

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def unchanged_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("stage", None)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(understudy.__file__).parents[1]), **more}


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "understudy", *args]


# How it ends


def test_a_program_that_ends_by_itself_exits_with_0(capsys: Output) -> None:
    assert main(["run", STAGE]) == 0
    out, err = capsys.readouterr()
    assert out == "hello\n"
    assert re.search(r"started actors=\d+ restarts=0 dead_letters=0 seconds=", err)
    assert "spoken actor=/user/fine/speaker text=hello" in err
    assert re.search(r"ended actors=0 restarts=0", err)


def test_a_tree_declared_in_line_is_run(capsys: Output) -> None:
    assert main(["run", f"{STAGE}:declared"]) == 0
    assert capsys.readouterr().out == "declared in line\n"


def test_a_collapse_exits_with_1_and_the_chain_of_causes(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{STAGE}:Collapsing"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    chain = err[err.index("understudy: system 'collapsing' collapsed: /user/collapsing ended") :].splitlines()
    steps = ["/user/collapsing/inner/crashing failed 3 times", "crashed: ValueError: no good", "KeyError: 'key'"]
    because = [line for line in chain if line.startswith("  because ")]
    assert [step in line for step, line in zip(steps, because, strict=True)] == [True, True, True]
    assert any(re.fullmatch(r"  at .*stage\.py:\d+ in Crashing\.go", line) for line in chain)
    assert "Traceback" not in err


def test_a_program_that_does_not_start_exits_with_1_and_the_chain_of_causes(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{STAGE}:NotStarting"]) == 1
    first, *because = capsys.readouterr().err.splitlines()
    assert first.startswith("understudy: /user/not_starting did not start")
    assert because[-1] == "  because OSError: the port is taken"


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("gone.py", "there is no file gone.py"),
        (f"{STAGE}:Speaker", f"{STAGE}:Speaker is the class Speaker, not a supervisor class or a tree"),
        (f"{STAGE}:Misdeclared", "/user/misdeclared declares what cannot work: name must be unique"),
        (f"{STAGE}:Taking", "say what to say"),
    ],
)
def test_what_cannot_be_run_gives_one_sentence_and_exits_with_2(target: str, sentence: str, capsys: Output) -> None:
    assert main(["run", "--quiet", target]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"understudy: {sentence}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "args", [[], ["run"], ["run", "--fast", STAGE], ["walk"], ["run", STAGE, "--log-format", "xml"]]
)
def test_a_command_line_that_makes_no_sense_exits_with_2(args: list[str], capsys: Output) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert "sage: understudy" in out + err


# Arguments of the program


def test_what_follows_two_dashes_goes_to_the_program(capsys: Output) -> None:
    assert main(["run", f"{STAGE}:Taking", "--quiet", "--", "--tree", "of", "words"]) == 0
    assert capsys.readouterr().out == "--tree of words\n"


def test_arguments_for_a_program_that_takes_none_are_refused(capsys: Output) -> None:
    assert main(["run", STAGE, "--", "--fast"]) == 2
    assert f"understudy: {STAGE} takes no arguments (it has no from_args), got: --fast\n" == capsys.readouterr().err


def test_a_program_may_show_its_help(capsys: Output) -> None:
    assert main(["run", f"{STAGE}:Taking", "--", "--help"]) == 0
    assert capsys.readouterr() == ("usage: TEXT ...\n", "")


def test_a_program_may_leave_with_words(capsys: Output) -> None:
    assert main(["run", f"{STAGE}:Taking", "--", "--leave"]) == 1
    assert capsys.readouterr() == ("", "not today\n")


def test_an_interrupt_before_the_start_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.cli._app.run_app", interrupt)
    assert main(["run", STAGE]) == 130


# Options


def test_the_tree_is_printed_and_nothing_is_started(capsys: Output) -> None:
    assert main(["run", "--tree", f"{STAGE}:Collapsing"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "collapsing  Collapsing, permanent; one_for_one, 1 restarts in 5 s",
        "└── inner  DeclaredSupervisor, permanent; one_for_one, 2 restarts in 5 s",
        "    └── crashing  Crashing, permanent",
    ]
    assert err == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Undeclarable", "declaring it raised LookupError: who? ({stage}:"),
        ("Misdeclared", "declares what cannot work: name must be unique among siblings, got 'one' twice (misdeclared)"),
    ],
)
def test_a_tree_that_cannot_be_declared_is_not_printed(name: str, sentence: str, capsys: Output) -> None:
    assert main(["run", "--tree", f"{STAGE}:{name}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence.format(stage=STAGE) in err


class Releases(io.StringIO):
    """Stands for stderr, and lets the program go on when it has been reported."""

    def write(self, text: str) -> int:
        if "event loop is blocked" in text and "/user/blocking/blocker" in text:
            sys.modules["stage"].Blocker.reported.set()
        return super().write(text)


def test_who_blocks_the_event_loop_is_reported_on_stderr_when_that_is_wished_for(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr := Releases())
    assert main(["run", "--quiet", "--watchdog", "0.02", f"{STAGE}:Blocking"]) == 0
    assert capsys.readouterr().out == "free again\n"
    line = next(line for line in stderr.getvalue().splitlines() if "/user/blocking/blocker" in line)
    assert re.search(
        r"event loop is blocked actor=/user/blocking/blocker doing=handler handling=Go .*stage\.py:\d+", line
    )


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_watchdog_for_no_time_at_all_is_refused(seconds: str, capsys: Output) -> None:
    assert main(["run", "--watchdog", seconds, STAGE]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--watchdog" in err


def test_quiet_is_quiet(capsys: Output) -> None:
    assert main(["run", "--quiet", STAGE]) == 0
    assert capsys.readouterr() == ("hello\n", "")


def test_quiet_still_lets_warnings_and_errors_through(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{STAGE}:Talking"]) == 0
    err = capsys.readouterr().err
    assert "crashed actor=/user/talking/talkative" in err
    assert "from logging" in err
    assert "from structlog" not in err


@pytest.mark.parametrize(
    ("name", "code", "event"),
    [
        ("Fine", 0, "ended"),
        ("Talking", 0, "ended"),
        ("Collapsing", 1, "system 'collapsing' collapsed"),
        ("Taking", 2, "say what to say"),
    ],
)
def test_as_json_each_line_of_stderr_is_an_object(name: str, code: int, event: str, capsys: Output) -> None:
    assert main(["run", "--log-format", "json", f"{STAGE}:{name}"]) == code
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[-1]["event"].startswith(event)
    assert all(line["level"] and line["timestamp"] for line in lines)


def test_as_json_all_that_is_logged_is_there(capsys: Output) -> None:
    assert main(["run", "--log-format", "json", f"{STAGE}:Talking"]) == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = {line["event"]: line for line in lines}
    assert events["from logging"]["logger"] == "library"
    assert "KeyError: 'logged'" in events["with a traceback"]["exception"]
    assert any("UserWarning: from warnings" in event for event in events)
    assert events["crashed"]["reason"] == "crashed: ValueError: two\nlines"
    assert events["restarting"]["actor"] == "/user/talking/talkative"


def test_as_json_the_causes_of_a_collapse_are_a_list(capsys: Output) -> None:
    assert main(["run", "--log-format", "json", f"{STAGE}:Collapsing"]) == 1
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last["because"][-1] == "KeyError: 'key'"


def test_the_version_is_told(capsys: Output) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"understudy( \d+\.\d+.*|, not installed)\n", capsys.readouterr().out)


def test_a_stack_is_shown_once(capsys: Output) -> None:
    assert main(["run", f"{STAGE}:Failing"]) == 0
    err = capsys.readouterr().err
    assert [f"no {number}" in err for number in range(4)] == [True] * 4
    assert err.count("in Failer.go") == 1


def test_without_a_terminal_progress_is_a_line_in_the_log_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr("understudy.cli._progress.LogLines.interval", 0.001)
    assert main(["run", f"{STAGE}:Failing"]) == 0
    assert re.search(r"running actors=\d+ restarts=\d dead_letters=0 seconds=\d", capsys.readouterr().err)


# Without the extra


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_sentence_names_it(missing: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["run", STAGE]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f'understudy: the command line needs {missing}: pip install "understudy[cli]"\n')


def test_without_the_extra_the_module_says_so_too() -> None:
    script = "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('understudy', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 2
    assert done.stderr == 'understudy: the command line needs typer: pip install "understudy[cli]"\n'


# Signals and terminals, which need a process


@contextmanager
def started(*args: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command(*args), env=environment(), stdout=subprocess.PIPE, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    while (got := process.stdout.readline()) != f"{line}\n":
        assert got, f"the process has ended without saying {line!r}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_in_order_and_exits_with_0(number: signal.Signals) -> None:
    with started("run", f"{STAGE}:Waiting", stderr=subprocess.PIPE) as process:
        read_until(process, "last is up")
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert out == "last goes\nfirst goes\n"
    assert "stopping" in err
    assert "ended actors=0" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_kills(number: signal.Signals) -> None:
    with started("run", "--quiet", f"{STAGE}:Dawdling", stderr=subprocess.PIPE) as process:
        read_until(process, "dawdler is up")
        process.send_signal(number)
        read_until(process, "dawdler goes")
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + number
    assert (out, "Traceback" in err) == ("", False)


def test_on_a_terminal_a_line_lives_on_stderr_and_the_program_has_stdout() -> None:
    terminal, end = pty.openpty()
    try:
        with started("run", f"{STAGE}:Waiting", stderr=end) as process:
            read_until(process, "last is up")
            shown = read_terminal(terminal, until="0 dead letters")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=TIMEOUT)
            shown += read_terminal(terminal, until="ended")
    finally:
        os.close(terminal)
        os.close(end)
    assert process.returncode == 0
    assert out == "last goes\nfirst goes\n"
    assert re.search(r"\d+ actors · 0 restarts · 0 dead letters · [\d.]+ seconds", shown)


def read_terminal(terminal: int, *, until: str) -> str:
    shown = b""
    while until.encode() not in shown:
        shown += os.read(terminal, 4096)
    return shown.decode()


# The declared tree


def test_tree_draws_what_is_declared_and_starts_nothing(capsys: Output) -> None:
    assert main(["tree", f"{STAGE}:declared"]) == 0
    out, err = capsys.readouterr()
    assert "declared in line" not in out
    assert err == ""
    first, *others = out.splitlines()
    assert "one_for_one" in first
    assert all(line.startswith(("├── ", "└── ")) for line in others)


def test_tree_writes_mermaid_and_json_too(capsys: Output) -> None:
    assert main(["tree", f"{STAGE}:declared", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    [root] = data["actors"]
    assert root["children"]
    assert {node["status"] for node in root["children"]} <= {"permanent", "transient", "temporary"}
    assert main(["tree", f"{STAGE}:declared", "-f", "mermaid"]) == 0
    assert capsys.readouterr().out.startswith("flowchart TD\n")


def test_tree_of_nothing_is_an_error_with_a_sentence(capsys: Output) -> None:
    assert main(["tree", "nowhere.py"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("understudy: ")
    assert "Traceback" not in err


# Programs of agents


def test_a_program_of_agents_is_run_through_its_phases_and_told_of(capsys: Output) -> None:
    assert main(["run", f"{STAGE}:School", "--", "here", "too"]) == 0
    out, err = capsys.readouterr()
    assert sorted(out.splitlines()) == ["school/pupil-2: too", "school/pupil: here", "the school closes"]
    assert re.search(r"report outcome=completed initialize=\S+ execute=\S+ clean_up=\S+\n", err)


def test_a_program_that_was_made_already_is_run_as_it_is(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{STAGE}:school"]) == 0
    assert capsys.readouterr().out == "school/pupil: late\nthe school closes\n"


def test_a_program_of_agents_that_fails_cleans_up_and_exits_with_1(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{STAGE}:Burning"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "the school closes"
    assert "understudy: program burning failed: execute: /user/burning/main has ended: crashed: OSError" in err
    assert re.search(r"\n  at .*stage\.py:\d+ in Burning\.execute\n", err)


def test_a_program_that_declares_what_cannot_work_exits_with_2(capsys: Output) -> None:
    assert main(["run", "--quiet", f"{STAGE}:Misfounded"]) == 2
    assert "declares what cannot work: name must be unique" in capsys.readouterr().err
    assert main(["run", "--tree", f"{STAGE}:Misfounded"]) == 2


def test_the_tree_of_a_program_is_drawn(capsys: Output) -> None:
    assert main(["tree", f"{STAGE}:School"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "school  AgentRoot, permanent; one_for_one, each within its own limit",
        "├── dynamic_agents  DynamicAgents, permanent; one_for_one, each within its own limit",
        "└── pupil  Pupil, transient",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_program_of_agents_in_order(number: signal.Signals) -> None:
    with subprocess.Popen(
        command("run", "--quiet", f"{STAGE}:Staying"), stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "teacher is up\n"
        process.send_signal(number)
        assert process.stdout.read() == "teacher goes\nthe school closes\n"
        assert process.wait(TIMEOUT) == 0


def test_a_program_is_declared_in_a_file_and_what_is_wrong_there_is_told_by_line_and_key(
    tmp_path: Path, capsys: Output
) -> None:
    good = tmp_path / "good.toml"
    good.write_text('[agents.pupil]\nclass = "pupils_of_a_file:Pupil"\narguments = { text = "in a file" }\n')
    (tmp_path / "pupils_of_a_file.py").write_text(Path(STAGE).read_text())
    assert main(["run", "--quiet", str(good)]) == 0
    assert capsys.readouterr().out == "good/pupil: in a file\n"
    bad = tmp_path / "bad.toml"
    bad.write_text('[agents.pupil]\nclass = "stage:Pupil"\nrestart = "always"\n')
    assert main(["run", "--quiet", str(bad)]) == 2
    said = f"understudy: {bad}:3: agents.pupil.restart: input should be 'permanent', 'transient' or 'temporary'"
    assert capsys.readouterr().err.startswith(said)
    sys.modules.pop("pupils_of_a_file")
