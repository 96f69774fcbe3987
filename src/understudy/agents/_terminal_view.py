"""How deliveries look in a terminal: answers on one stream, and all else on another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.actors._reporter import printable
from understudy.agents._deliveries import (
    ApprovalClosed,
    ApprovalOpened,
    DeliveryGap,
    QuestionClosed,
    QuestionOpened,
    Remark,
    TurnOver,
    TurnStarted,
    TurnText,
    TurnToolEnded,
    TurnToolStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from understudy.agents._deliveries import Delivery, OpenRequest

__all__ = ["TerminalView", "prompt_for"]


class TerminalView:
    """Writes deliveries.

    What others have said may have control characters in it, which could do anything to a terminal: those are escaped.
    Where answers do not go to a terminal they are written as they are, but for what has no form in the encoding there,
    as half of a surrogate pair has in none: that is escaped too.

    Args:
        answers: Where the text of answers goes to, and nothing else.
        notes: Where all else goes to.
    """

    def __init__(self, answers: TextIO, notes: TextIO) -> None:
        self._answers = answers
        self._notes = notes
        self._escapes = answers.isatty()
        # Both are seen in one place, and must not share a line.
        self._together = self._escapes and notes.isatty()
        # The turn of which some text was written, and whether the line of that is still open.
        self._spoken: int | None = None
        self._open = False
        self.own_turns: set[int] = set()
        """Turns that were begun here, and need no word."""
        self.own_answers: set[int] = set()
        """Questions that were answered here."""

    def write(self, delivery: Delivery) -> None:
        """Write *delivery*.

        Raises:
            OSError: It cannot be written.
        """
        match delivery:
            case TurnText():
                self._answer(delivery.text)
                self._spoken, self._open = delivery.turn, True
            case TurnOver():
                self._over(delivery)
            case _:
                for line in self._lines(delivery):
                    self.note(line)

    def note(self, line: str) -> None:
        """Write a line about what happens."""
        if self._open and self._together:
            self._end_line()
        _put(self._notes, f"{line}\n")

    def _answer(self, text: str) -> None:
        _put(self._answers, safe(text) if self._escapes else text)

    def _end_line(self) -> None:
        self._answer("\n")
        self._open = False

    def _over(self, turn: TurnOver) -> None:
        if self._open:
            self._end_line()
        elif turn.status == "completed" and self._spoken != turn.turn:
            self._answer(f"{turn.text}\n")
        self.own_turns.discard(turn.turn)
        if turn.status != "completed":
            self.note(f"({turn.status}{f': {quoted(turn.problem)}' if turn.problem else ''})")

    def _lines(self, delivery: Delivery) -> Iterator[str]:
        match delivery:
            case TurnStarted() if delivery.turn not in self.own_turns:
                yield f"(said elsewhere: {quoted(delivery.text)})"
            case TurnToolStarted():
                yield f"[{printable(delivery.tool)} ...]"
            case TurnToolEnded():
                yield f"[{printable(delivery.tool)}: {delivery.status}]"
            case Remark():
                yield f"{printable(delivery.speaker) or 'somebody'}: {quoted(delivery.text)}"
            case QuestionOpened() | ApprovalOpened():
                yield described(delivery)
            case QuestionClosed():
                yield from self._closed(delivery)
            case ApprovalClosed():
                yield f"(request {delivery.number} {printable(delivery.decision.in_words)})"
            case DeliveryGap():
                yield f"({delivery.missed} deliveries were missed)"
                yield from map(described, delivery.waiting)
            case _:
                pass

    def _closed(self, question: QuestionClosed) -> Iterator[str]:
        match question.why:
            case "answered" if question.number not in self.own_answers:
                yield f"(question {question.number} was answered elsewhere: {quoted(question.text)})"
            case "given_up":
                yield f"(question {question.number}: nobody waits for the answer any more)"
            case "refused":
                yield f"(question {question.number} was refused: nobody is there to answer)"
            case _:
                pass
        self.own_answers.discard(question.number)


def described(request: OpenRequest) -> str:
    """What somebody wants of the person."""
    if isinstance(request, QuestionOpened):
        return f"{printable(request.speaker) or 'somebody'} asks (question {request.number}): {quoted(request.text)}"
    wanted = request.request
    who = wanted.agent.removeprefix("/user/")
    what = f"{printable(wanted.tool)} (request {request.number}): {printable(wanted.arguments)}"
    return f"{printable(who)} wants to use {what}"


def prompt_for(request: OpenRequest | None) -> str:
    """What stands before the line that is typed."""
    match request:
        case QuestionOpened():
            return f"answer {request.number}> "
        case ApprovalOpened():
            return f"approve request {request.number}? [y/n] "
        case None:
            return "> "


def quoted(text: str) -> str:
    """*text* in a note: its further lines are set in, so that none of them looks like a note of ours."""
    return safe(text).replace("\n", "\n  ")


def safe(text: str) -> str:
    """*text* without control characters other than the ends of lines and tabs."""
    return "".join(each if each in "\n\t" else printable(each) for each in text) if not text.isprintable() else text


def _put(stream: TextIO, text: str) -> None:
    """Write *text* now, with what cannot be encoded written out."""
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        # The error's own is "charmap" for most encodings of 256 characters; but not every stream has one.
        encoding = getattr(stream, "encoding", None) or error.encoding
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
