"""What agents and their programs raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.exceptions import Refused, UnderstudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.agents._report import ProgramReport
    from understudy.reasons import ExitReason

__all__ = [
    "BudgetExceeded",
    "InvalidProgram",
    "ModelFailed",
    "ModelUnavailable",
    "NotInteractive",
    "ProgramFailed",
    "QuestionNotOpen",
    "SeatClosed",
    "TooManyQuestions",
]


class ProgramFailed(UnderstudyError):
    """A program did not come to a good end; it has cleaned up. ``report`` has all of it, ``__cause__`` the first error.

    ``reason`` is the exit reason of the agent whose end it was, if it was one's.
    """

    def __init__(self, *, program: str, problem: str, report: ProgramReport, reason: ExitReason | None = None) -> None:
        self.program = program
        self.problem = problem
        self.report = report
        self.reason = reason
        super().__init__(f"program {program} failed: {problem}")


class InvalidProgram(UnderstudyError, ValueError):
    """A file that declares a program cannot be used; nothing was started.

    ``problems`` has for each thing that is wrong the line (None where there is none), the key, and what is allowed.
    """

    def __init__(self, *, file: str, problems: Sequence[tuple[int | None, str, str]]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(self._sentence(*problem) for problem in self.problems))

    def _sentence(self, line: int | None, key: str, problem: str) -> str:
        place = self.file if line is None else f"{self.file}:{line}"
        return f"{place}: {key}: {problem}" if key else f"{place}: {problem}"


class BudgetExceeded(UnderstudyError):
    """A call was not made, since a budget has not enough left. Nothing was spent on it. Never retried."""

    def __init__(
        self, *, budget: str, what: str, limit: float, spent: float, wanted: float, reserved: float = 0
    ) -> None:
        self.budget = budget
        self.what = what
        self.limit = limit
        self.spent = spent
        self.wanted = wanted
        self.reserved = reserved
        busy = f", {reserved:g} reserved by calls under way" if reserved else ""
        super().__init__(
            f"the budget {budget!r} has not enough {what} left: {spent:g} of {limit:g} spent{busy}, {wanted:g} wanted"
        )


class ModelUnavailable(UnderstudyError):
    """A model did not answer, and may do so another time; to be raised by models. It is tried again, after a delay.

    ``retry_after`` is for how many seconds it wants to be left alone, if it has said so: the delay is no shorter.
    """

    def __init__(self, problem: str, *, model: str = "the model", retry_after: float | None = None) -> None:
        self.model = model
        self.problem = problem
        self.retry_after = retry_after
        super().__init__(f"{model} is not available: {problem}")


class ModelFailed(UnderstudyError):
    """A model has not given an answer that can be used, after all attempts; ``__cause__`` is the last error, if any."""

    def __init__(self, *, model: str, problem: str) -> None:
        self.model = model
        self.problem = problem
        super().__init__(f"{model} has given no answer: {problem}")


class NotInteractive(Refused):
    """A person was to be asked, and nobody is there to answer. Whoever has asked is told so at once."""

    def __init__(self, *, who: str, what: str, state: str) -> None:
        self.who = who
        self.what = what
        self.state = state
        super().__init__(
            f"{who} cannot be asked {what!r}: {state}; give it an endpoint at which somebody sits, or go on without"
        )


class TooManyQuestions(Refused):
    """A person has as many questions to answer as may wait for him. Ask again when some have been answered."""

    def __init__(self, *, who: str, most: int) -> None:
        self.who = who
        self.most = most
        super().__init__(f"{who} has {most} questions to answer already: ask again later")


class QuestionNotOpen(UnderstudyError):
    """An answer has come too late, or to what was never asked; nobody gets it.

    ``state`` is ``"answered"``, ``"given_up"`` (nobody waits any more), ``"refused"`` or ``"unknown"``.
    """

    def __init__(self, *, who: str, number: int, state: str) -> None:
        self.who = who
        self.number = number
        self.state = state
        why = {
            "answered": "it has been answered",
            "given_up": "nobody waits for the answer any more",
            "refused": "it was refused, since nobody was there to answer",
        }.get(state, "there is none of that number, or it was long ago")
        super().__init__(f"question {number} to {who} is not open: {why}")


class SeatClosed(UnderstudyError):
    """The agent of a person has ended, or was restarted, and its endpoint still used the seat of before."""

    def __init__(self, *, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"the seat of {name} is closed ({reason}): use the one that its endpoint is given next")
