"""What agents and their programs raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.exceptions import UnderstudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.agents._report import ProgramReport
    from understudy.reasons import ExitReason

__all__ = ["InvalidProgram", "ProgramFailed"]


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
