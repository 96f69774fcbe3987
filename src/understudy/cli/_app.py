"""What the command line takes. Only imported when the extra ``cli`` is there."""

from __future__ import annotations

import enum
import io
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from pydantic import ValidationError

from understudy.actors._settings import Settings
from understudy.agents._errors import ProgramFailed
from understudy.agents._program import AsyncProgram
from understudy.cli._bench import Report, as_json, show
from understudy.cli._logs import LogFormat, logs_to_stderr
from understudy.cli._lone import LoneAgent
from understudy.cli._profile import Profile
from understudy.cli._progress import progress_on
from understudy.cli._running import causes, run_program, run_tree
from understudy.cli._tapes import replay, shrink
from understudy.cli._targets import declare, load, spec_of
from understudy.cli._token import make_token
from understudy.cli._trees import declared, draw
from understudy.exceptions import StartError, SystemCollapsed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = ["run_app"]

_TAPE = "What a simulated test has saved, in .understudy."

_MODEL = typer.Option(
    "--model",
    metavar="NAME",
    help="The model of agents that were given none: a name of pydantic-ai, as openai:gpt-5-mini, or scripted.",
)
_NON_INTERACTIVE = typer.Option(
    "--non-interactive", help="Nobody is there: whoever would ask a person is told so at once."
)

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run supervised programs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def run_app(args: Sequence[str] | None) -> int:
    """Do what *args* say and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        app(args=None if args is None else list(args), prog_name="understudy")
    except SystemExit as leave:
        if isinstance(leave.code, str):
            print(leave.code, file=sys.stderr)
            return 1
        return leave.code or 0
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"understudy {version('understudy')}")
        except PackageNotFoundError:
            print("understudy, not installed")
        raise typer.Exit


@app.callback()
def _understudy(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command("run")
def _run(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="module:Name, file.py[:Name], file.toml, or a folder with a program.py."),
    ],
    args: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGS]", help="What the program takes.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, and no log below warnings.")] = False,
    log_format: Annotated[LogFormat, typer.Option(help="How log and progress are written to stderr.")] = "console",
    tree: Annotated[bool, typer.Option("--tree", help="Print the declared tree and leave, starting nothing.")] = False,
    watchdog: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0.01, help="Report who blocks the event loop for longer than that, while it does."
        ),
    ] = None,
    model: Annotated[str | None, _MODEL] = None,
    message: Annotated[
        list[str] | None,
        typer.Option("--message", "-m", metavar="TEXT", help="Say this to a program of agents; may be given again."),
    ] = None,
    non_interactive: Annotated[bool, _NON_INTERACTIVE] = False,
) -> None:
    """Run the supervised program TARGET until it ends, or until Ctrl-C.

    A program of agents can be talked to: what --message says, or what is piped in if the program has a front, is
    answered on standard output, where nothing else is written, and then the program ends.

    Exit codes: 0, it ended in order, also by Ctrl-C; 1, it failed, or has not answered; 2, it cannot be run; 3, a
    person had to be asked, and nobody was there; 130 or 143, it was killed.
    """
    with logs_to_stderr(log_format, quiet=quiet), _told_failures(log_format):
        found = declare(load(target, agents=True), args or ())
        if tree:
            print(draw(spec_of(found, target), target))
            return
        settings = _settings(watchdog)
        if isinstance(found, AsyncProgram):
            _prepare(found, model, non_interactive=non_interactive)
            raise typer.Exit(_run_agents(found, target, message, quiet=quiet, log_format=log_format, settings=settings))
        if model is not None or message or non_interactive:
            raise UsageError(f"{target} is no program of agents: nobody in it takes a model or a message")
        raise typer.Exit(run_tree(found, progress_on(quiet=quiet, plain=log_format == "json"), settings))


def _prepare(program: AsyncProgram, model: str | None, *, non_interactive: bool) -> None:
    if model is not None:
        from understudy.cli._chat import model_named

        program.model = model_named(model)
    if non_interactive:
        program.interactive = False


def _run_agents(
    program: AsyncProgram,
    target: str,
    messages: Sequence[str] | None,
    *,
    quiet: bool,
    log_format: LogFormat,
    settings: Settings,
) -> int:
    from understudy.cli._chat import front_of, piped_message, say_messages

    lone = isinstance(program, LoneAgent)
    if not messages and (lone or program.front is not None):
        piped = piped_message()
        messages = None if piped is None else [piped]
    if not messages and lone:
        raise UsageError(f"{target} is an agent: say something by --message, or use `understudy chat {target}`")
    if not messages:
        return run_program(program, progress_on(quiet=quiet, plain=log_format == "json"), settings)
    return say_messages(program, front_of(program, target), messages, progress_on(quiet=True, plain=True), settings)


@app.command("chat")
def _chat(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A program of agents, as for run; or a class of agents.")
    ],
    args: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGS]", help="What the program takes.")] = None,
    model: Annotated[str | None, _MODEL] = None,
    non_interactive: Annotated[bool, _NON_INTERACTIVE] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="The log below warnings, too.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Talk at a page in a browser, on this machine.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port of the page; 0: any that is free.")] = 0,
    show: Annotated[bool, typer.Option("--open", help="Show the page in your browser.")] = False,
) -> None:
    """Run the program TARGET and talk to its front agent, until the end of input.

    What you type is said; answers are written to standard output as they come, and all else to standard error. Tools
    that are dangerous ask you first. Ctrl-C interrupts the answer under way; if there is none, or it does not end, it
    ends the chat. Lines that are piped in are said one after another.

    With --web you do so at a page in a browser, until Ctrl-C. Its address is printed once, and is for nobody but you.

    Exit codes: as for run.
    """
    from understudy.cli._chat import chat, front_of

    with logs_to_stderr("console", quiet=not verbose), _told_failures():
        if not web and (port or show):
            raise UsageError("--port and --open are for the page: add --web")
        found = declare(load(target, agents=True), args or ())
        if not isinstance(found, AsyncProgram):
            raise UsageError(f"{target} is no program of agents, and no class of agents: there is nobody to talk to")
        _prepare(found, model, non_interactive=non_interactive)
        front = front_of(found, target)
        if web:
            from understudy.cli._chat_page import chat_page

            raise typer.Exit(chat_page(found, front, _settings(None), port=port, show=show))
        raise typer.Exit(chat(found, front, _settings(None)))


def _settings(watchdog: float | None) -> Settings:
    try:
        return Settings(watchdog=watchdog)
    except ValidationError:  # what the option lets pass: infinity
        raise UsageError(f"--watchdog takes seconds, got {watchdog:g}") from None


@app.command("bench")
def _bench(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="As for run.")],
    args: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGS]", help="What the program takes.")] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", "-s", min=0.01, max=86_400, help="Stop it after that, if it still runs.")
    ] = 5.0,
    as_object: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Run TARGET for some seconds and report what its handlers take; all that is measured costs some speed."""
    with logs_to_stderr("console", quiet=True), _told_failures():
        found, profile = declare(load(target), args or ()), Profile()
        if isinstance(found, AsyncProgram):
            raise UsageError(f"{target} is a program of agents, whose phases have no place here: bench a tree")
        code = run_tree(found, progress_on(quiet=True, plain=False), Settings(), profile, seconds)
    report = Report.of(target, profile)
    if as_object:
        print(as_json(report))
    else:
        show(report)
    raise typer.Exit(code)


class TreeFormat(enum.Enum):
    """How a declared tree is written."""

    TEXT = "text"
    MERMAID = "mermaid"
    JSON = "json"


@app.command("tree")
def _tree(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="As for run.")],
    args: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGS]", help="What the program takes.")] = None,
    output: Annotated[TreeFormat, typer.Option("--format", "-f", help="How it is written.")] = TreeFormat.TEXT,
) -> None:
    """Draw the supervision tree that TARGET declares; nothing is started."""
    with _told_misuse():
        spec = spec_of(declare(load(target), args or ()), target)
        if output is TreeFormat.TEXT:
            print(draw(spec, target))
        else:
            tree = declared(spec, target)
            print(tree.mermaid() if output is TreeFormat.MERMAID else tree.json())


@app.command("replay")
def _replay(tape: Annotated[Path, typer.Argument(metavar="TAPE", help=_TAPE)]) -> None:
    """Run a simulated test as it ran when it failed, and tell what happened."""
    _on_tape(lambda: replay(tape))


@app.command("shrink")
def _shrink(
    tape: Annotated[Path, typer.Argument(metavar="TAPE", help=_TAPE)],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to, instead of into TAPE.")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="How many runs may be tried.")] = 3000,
) -> None:
    """Look for a plainer run that fails in the same way."""
    _on_tape(lambda: shrink(tape, output, attempts))


@app.command("token")
def _token(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; its folder must be there.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the token that is there.")] = False,
) -> None:
    """Make a token for links between systems, in a FILE of mode 0600: token=Path(FILE) on both sides."""
    with _told_misuse():
        print(make_token(file, force=force))


def _on_tape(action: Callable[[], int]) -> None:
    with _told_misuse():
        raise typer.Exit(action())


@contextmanager
def _told_misuse(log_format: LogFormat = "console") -> Generator[None]:
    """What cannot be done is said on stderr, and is the exit code 2."""
    try:
        yield
    except UsageError as error:
        _complain(log_format, [str(error)])
        raise typer.Exit(2) from None


@contextmanager
def _told_failures(log_format: LogFormat = "console") -> Generator[None]:
    """So is what has failed, which is the exit code 1."""
    with _told_misuse(log_format):
        try:
            yield
        except (ProgramFailed, StartError, SystemCollapsed) as error:
            _complain(log_format, list(causes(error)))
            raise typer.Exit(1) from None


def _complain(log_format: LogFormat, lines: Sequence[str]) -> None:
    if log_format == "json":
        structlog.get_logger().error(lines[0], because=[line.strip().removeprefix("because ") for line in lines[1:]])
    else:
        print(f"understudy: {lines[0]}", *lines[1:], sep="\n", file=sys.stderr)
