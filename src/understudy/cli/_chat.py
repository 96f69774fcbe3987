"""A person at a program of agents: who is talked to, what is said, and the exit code."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from understudy.actors._child import child
from understudy.agents._approvals import Approvals
from understudy.agents._human import HumanAgent
from understudy.agents._pydantic_ai import PydanticAIModel
from understudy.agents._scripted import ScriptedModel
from understudy.agents._terminal import TerminalEndpoint
from understudy.cli._lone import answers
from understudy.cli._progress import Progress
from understudy.cli._running import run_program
from understudy.cli._targets import guarded
from understudy.cli._trees import leaves
from understudy.exceptions import MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy._plans._directives import OnFailure
    from understudy._plans._spec import ChildSpec
    from understudy.actors._settings import Settings
    from understudy.agents._model import Model
    from understudy.agents._program import AsyncProgram
    from understudy.agents._seat import HumanEndpoint

__all__ = ["Front", "chat", "front_of", "model_named", "piped_message", "say_messages", "seat_person"]

_MOST = 1_000_000
"""Characters of a message that is piped in."""
NOBODY_THERE = 3
"""The exit code: somebody had to be asked, and nobody was there."""


@dataclass(frozen=True, slots=True)
class Front:
    """Whom people talk to in a program."""

    to: str
    """Its path below ``/user``, or its id."""
    own: tuple[str, ...]
    """The names of all that the program itself declares at the top."""
    has_approvals: bool
    has_people: bool
    """Whether the program has people of its own, who may decide what nobody at the terminal does."""


def front_of(program: AsyncProgram, target: str) -> Front:
    """Whom people talk to in *program*, to which *target* led.

    Raises:
        UsageError: There is nobody to talk to, or it does not say who of several; or its declaration does not validate.
    """
    found = guarded(target, lambda: list(leaves(program.spec())), "declaring it raised")
    candidates = [path for path, cls in found if answers(cls)]
    wanted = program.front
    if isinstance(wanted, str):
        candidates = [path for path, _ in found if path == wanted or path.endswith(f"/{wanted}")] or [wanted]
    elif wanted is not None:
        candidates = [path for path, cls in found if issubclass(cls, wanted)]
    if not candidates:
        what = f"no agent of the class {wanted.__name__}" if isinstance(wanted, type) else "no agent to talk to"
        raise UsageError(f"{target} declares {what}: one that handles Prompt or Converse, as an AIAgent does")
    if len(candidates) > 1 and wanted is None:
        raise UsageError(f"{target} has several agents to talk to, {', '.join(candidates)}: set `front` of the program")
    tops = dict.fromkeys(path.split("/")[1] for path, _ in found)
    return Front(
        candidates[0],
        tuple(tops),
        has_approvals=any(issubclass(cls, Approvals) for _, cls in found),
        has_people=any(issubclass(cls, HumanAgent) for _, cls in found),
    )


def seat_person(
    program: AsyncProgram,
    front: Front,
    endpoint: HumanEndpoint,
    delivery: Literal["stream", "buffered"],
    on_failure: OnFailure | None = None,
) -> None:
    """Add a person to *program*, who talks to *front*, and whose end is that of the program."""
    person = child(HumanAgent, endpoint, to=front.to, delivery=delivery, ends_program=True, id="terminal")
    guests: list[ChildSpec[Any]] = [
        person.options(name="terminal", depends_on=front.own, on_failure={} if on_failure is None else on_failure)
    ]
    if not front.has_approvals:
        guests.append(child(Approvals).options(name="approvals"))
    program.guests = [*program.guests, *guests]


def model_named(name: str) -> Model:
    """The model of that name, as pydantic-ai knows it, or ``scripted``.

    Raises:
        UsageError: There is none, or what it needs is not there; says why.
    """
    if name == "scripted":
        return ScriptedModel()
    try:
        return PydanticAIModel(name)
    except MissingExtra as error:
        raise UsageError(f"--model {name}: {error}") from error
    except Exception as error:  # of the library, or of that of the provider
        raise UsageError(f"--model {name}: {type(error).__name__}: {error}") from error


def piped_message() -> str | None:
    """All of standard input, as one message, if it is no terminal and there is anything in it.

    Raises:
        UsageError: It is too long, or no text.
    """
    try:
        if os.isatty(0):
            return None
        text = sys.stdin.read(_MOST + 1)
    except OSError:  # it is closed
        return None
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is no text: {error}") from None
    if len(text) > _MOST:
        raise UsageError(f"standard input has more than {_MOST:,} characters, which is too much for a message")
    return text.strip("\n") or None


def say_messages(
    program: AsyncProgram, front: Front, messages: Sequence[str], progress: Progress, settings: Settings
) -> int:
    """Run *program*, say *messages* to its front, and end it when all have been answered.

    Raises:
        UsageError, ProgramFailed: As :func:`run_program`.
    """
    endpoint = _seat_at_terminal(program, front, messages)
    code = run_program(program, progress, settings)
    if code:
        return code
    left = len(messages) - endpoint.turns["completed"]
    if left:
        if not endpoint.turns["failed"]:
            print(f"understudy: it ended before it had answered {left} of {len(messages)} messages", file=sys.stderr)
        return 1
    return NOBODY_THERE if endpoint.unanswered else 0


def chat(program: AsyncProgram, front: Front, settings: Settings) -> int:
    """Run *program*, with a person at the terminal who talks to its front, until he leaves.

    Raises:
        UsageError, ProgramFailed: As :func:`run_program`.
    """
    endpoint = _seat_at_terminal(program, front)
    typed = os.isatty(0)
    if typed:
        print(f"You talk to {front.to}. Ctrl-C interrupts an answer, or ends; /help says more.", file=sys.stderr)
    code = run_program(program, Progress(), settings, interrupted=endpoint.interrupt)
    if code or typed:
        return code
    return 1 if endpoint.turns["failed"] else NOBODY_THERE if endpoint.unanswered else 0


def _seat_at_terminal(program: AsyncProgram, front: Front, messages: Sequence[str] | None = None) -> TerminalEndpoint:
    endpoint = TerminalEndpoint(messages, alone=not front.has_people)
    seat_person(program, front, endpoint, "stream" if sys.stdout.isatty() else "buffered")
    return endpoint
