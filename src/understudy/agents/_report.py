"""``ProgramReport``: how the three phases of a program went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from understudy.reasons import ExitReason

__all__ = ["Outcome", "PhaseName", "PhaseReport", "ProgramReport"]

PhaseName: TypeAlias = Literal["initialize", "execute", "clean_up"]
Outcome: TypeAlias = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One phase of a program that has begun."""

    name: PhaseName
    seconds: float
    problem: str = ""
    """What went wrong in it; empty if nothing did."""


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """How a program went; what :meth:`AsyncProgram.run` returns, and ``program.report`` afterwards in any case."""

    program: str
    outcome: Outcome
    """``"completed"``: its agents were done, or somebody had it end in order. ``"failed"``: an agent or a phase failed,
    or a phase was not done in time. ``"cancelled"``: it was cancelled from outside."""
    result: object = None
    """What it was ended with, or what ``execute`` has returned."""
    phases: tuple[PhaseReport, ...] = ()
    failures: Mapping[str, ExitReason] | None = None
    """Agents that have ended for good by a failure, by their paths."""
    abandoned: tuple[str, ...] = ()
    """Names of the tasks that would not end."""

    def phase(self, name: PhaseName) -> PhaseReport | None:
        """The report of that phase, None if it has not begun."""
        return next((phase for phase in self.phases if phase.name == name), None)

    def __str__(self) -> str:
        lines = [f"program {self.program} {self.outcome}"]
        for phase in self.phases:
            problem = f": {phase.problem}" if phase.problem else ""
            lines.append(f"  {phase.name}: {phase.seconds:.3f} s{problem}")
        lines += [f"  {path}: {reason}" for path, reason in (self.failures or {}).items()]
        return "\n".join(lines)
