"""A run told in terms of actors: who sent what, who handled it, who crashed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from understudy.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from understudy.reasons import ExitReason

__all__ = ["Story", "shown"]

_LONGEST = 160


class Story(Instrument):
    """Lines, in order. A ``*`` marks what came before something that had waited longer: the unusual choices."""

    _understudy_unobtrusive: ClassVar[bool] = True

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._unusual = False
        self.open = False
        """What comes before is the same in every run, and not told."""

    def told(self, *, last: int = 60) -> list[str]:
        """The *last* lines; the end is what matters."""
        left_out = len(self._lines) - last
        if left_out <= 0:
            return list(self._lines)
        return [f"... {left_out} lines before", *self._lines[-last:]]

    def line(self, text: str) -> None:
        """Something has happened in the step that runs."""
        if not self.open:
            return
        mark = "*" if self._unusual else " "
        self._unusual = False
        text = " ".join(text.split())
        self._lines.append(f"{mark} {text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'}")

    def step(self, what: str, unusual: bool) -> None:
        """*what* runs, out of its turn if *unusual*."""
        self._unusual = self._unusual or unusual
        # Activations and pumps tell of themselves by what they handle; the rest has nothing to tell.
        if what.startswith(("'", "the clock")) and not what.startswith(("'actor:", "'system:")):
            self.line(what)

    def sent(self, sender: str, recipient: str, message: object) -> None:
        """A message is in a mailbox; those of the runtime's own actors are none of the reader's."""
        if not recipient.startswith("/system/"):
            self.line(f"{sender} sends {recipient} {shown(message)}")

    def handles(self, path: str, message: object) -> None:
        """A handler is called."""
        if not path.startswith("/system/"):
            self.line(f"{path} handles {shown(message)}")

    def actor_started(self, path: str, incarnation: int) -> None:
        """Up."""
        self.line(f"{path} has started" + (f", incarnation {incarnation}" if incarnation > 1 else ""))

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        """Down for good."""
        self.line(f"{path} has ended for good: {reason}")

    def actor_crashed(self, path: str, reason: ExitReason, message_type: str | None) -> None:
        """Failed."""
        self.line(f"{path} crashes: {reason}")

    def actor_restarting(self, path: str, reason: ExitReason, failures: int) -> None:
        """Will be up again."""
        self.line(f"{path} is restarted")

    def gave_up(self, path: str, reason: ExitReason) -> None:
        """No more restarts."""
        self.line(f"{path} gives up: {reason}")

    def abandoned(self, path: str, stack: Sequence[str]) -> None:
        """Would not end."""
        self.line(f"a task of {path} would not end and is left to itself")

    def dead_letter(self, message: object, recipient: str, sender: str | None, why: str) -> None:
        """Lost, and reported."""
        self.line(f"{shown(message)} for {recipient} becomes a dead letter: {why}")

    def system_phase(self, system: str, phase: str) -> None:
        """The system goes on."""
        self.line(f"system {system} is {phase}" if phase in ("running", "stopped") else f"system {system}: {phase}")


def shown(message: object) -> str:
    """*message* for people; one that cannot be shown must not change the run."""
    try:
        return repr(message)
    except Exception:
        return f"<{type(message).__name__}>"
