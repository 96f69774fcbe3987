"""``TerminalEndpoint``: a person at a terminal, or lines from a pipe."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter, deque
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

from understudy.agents._deliveries import (
    ApprovalClosed,
    ApprovalOpened,
    DeliveryGap,
    QuestionClosed,
    QuestionOpened,
    TurnOver,
    key_of,
)
from understudy.agents._errors import QuestionNotOpen, SeatClosed
from understudy.agents._lines import PlainLines
from understudy.agents._terminal_view import TerminalView, prompt_for
from understudy.exceptions import MissingExtra, UnderstudyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from understudy.agents._deliveries import Delivery, OpenRequest, TurnStatus
    from understudy.agents._lines import LineSource
    from understudy.agents._seat import Seat

__all__ = ["TerminalEndpoint"]

Step: TypeAlias = Literal["again", "wait", "end"]

_HELP = (
    "What you type is said. Ctrl-C in a chat, or /stop where lines are not edited, interrupts the answer under way. "
    "/quit leaves, and so does the end of input."
)
_YES, _NO = {"y", "yes"}, {"n", "no"}


class TerminalEndpoint:
    """A person at a terminal: what he types is said, what is asked is asked there, and answers appear as they come.

    ::

        child(HumanAgent, TerminalEndpoint(), to="desk/clerk").options(name="console")

    The text of answers goes to standard output, and nothing else does: tools, questions, requests for approval and
    problems go to standard error. Where standard input is no terminal its lines are taken one after another, each when
    the one before has been dealt with: a line answers the oldest open question or request, and is said if there is
    none. At the end of input it waits for the answer under way; then the person has left.

    At a terminal, what was typed before a question or a request appeared does not answer it. ``/stop`` interrupts the
    turn under way, ``/quit`` leaves, ``/help`` says so. Ctrl-C is the program's affair, which may call
    :meth:`interrupt`, as ``understudy chat`` does.

    Standard input is read without a thread, and not made non-blocking. With the extra ``chat`` and a terminal on both
    sides, lines are edited with prompt_toolkit; then there is no prompt while an answer is under way, and no ``/stop``,
    and Ctrl-C at the prompt is the end of input. Control characters in what others say are escaped, but not in answers
    that go to no terminal. *Not* promised: that it runs without prompt_toolkit on an event loop that cannot watch
    descriptors (Windows); and two of them cannot share one terminal.

    Args:
        messages: What is said, instead of lines that are typed; it ends when all has been answered. Lines are then only
            read to answer questions.
        interactive: Whether the person can be asked. False: questions are refused with ``NotInteractive``.
        alone: Whether there is no other channel: what nobody can decide here is rejected at once, and not left to wait.
        style: ``"plain"``: without prompt_toolkit; ``"prompt"``: with it, or not at all; ``"auto"``: if it is there and
            the terminal can do what it needs.
        stdin: The descriptor that is read.
        stdout: Where answers go to, by default ``sys.stdout``.
        stderr: Where all else goes to, by default ``sys.stderr``.

    Raises:
        MissingExtra: The style is ``"prompt"``, and prompt_toolkit is not installed.
    """

    def __init__(
        self,
        messages: Iterable[str] | None = None,
        *,
        interactive: bool = True,
        alone: bool = True,
        style: Literal["auto", "plain", "prompt"] = "auto",
        stdin: int = 0,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.interactive = interactive
        """Whether the person can be asked."""
        self.turns: Counter[TurnStatus] = Counter()
        """How many turns were completed, interrupted, and have failed."""
        self.unanswered = 0
        """Questions and requests that were refused, since nobody was there."""
        self._messages = None if messages is None else deque(messages)
        self._alone = alone
        self._descriptor = stdin
        self._stdout, self._stderr = stdout or sys.stdout, stderr or sys.stderr
        self._view = TerminalView(self._stdout, self._stderr)
        self._source: LineSource | None = None
        self._style = style
        if style == "prompt" and find_spec("prompt_toolkit") is None:
            raise MissingExtra(what="the terminal style 'prompt'", package="prompt-toolkit", extra="chat")
        # Where it has come to; a new run goes on there.
        self._cursor = 0
        # Of the run in hand.
        self._seat: Seat | None = None
        # Set when something has changed since the last step.
        self._news = asyncio.Event()
        self._over = False
        self._saying = False
        # The turn that was interrupted last.
        self._interrupted: int | None = None
        # Those that the person has seen; that he is being asked; and that are dealt with.
        self._seen: set[tuple[str, int]] = set()
        self._asked: tuple[str, int] | None = None
        self._dealt: set[tuple[str, int]] = set()

    async def run(self, seat: Seat) -> None:
        """See :class:`HumanEndpoint`."""
        loop = asyncio.get_running_loop()
        self._seat = seat
        self._over = self._saying = False
        self._seen.clear()
        self._dealt.clear()
        source = self._source = self._source or self._choose(loop)
        source.open(self._news.set, lambda work, name: seat.start_task(work, name=name))
        self._see(each for each in seat.waiting if each.cursor <= self._cursor)
        try:
            seat.start_task(self._show(seat, source), name="show")
            while (step := self._step(seat, source)) != "end":
                if step == "wait":
                    await self._next_news()
            while self._cursor < seat.latest and not self._over:
                await self._next_news()
        finally:
            source.close()
            self._seat = None

    def interrupt(self) -> bool:
        """Give up the turn that is under way; False: there is none, or it was given up before and does not end."""
        seat = self._seat
        if seat is None or seat.closed or seat.turn is None or seat.turn == self._interrupted:
            return False
        self._interrupted = seat.turn
        seat.start_task(seat.interrupt(), name="interrupt")
        return True

    # What is shown

    async def _show(self, seat: Seat, source: LineSource) -> None:
        async for delivery in seat.read(self._cursor):
            try:
                await source.show(partial(self._view.write, delivery))
            except BrokenPipeError:  # nobody reads the answers any more
                break
            self._note(seat, delivery)
            self._news.set()
        self._over = True
        self._news.set()

    def _note(self, seat: Seat, delivery: Delivery) -> None:
        self._cursor = delivery.cursor
        match delivery:
            case QuestionOpened() | ApprovalOpened():
                self._see([delivery])
            case DeliveryGap():
                self._keep_what_is_open(seat)
                self._see(delivery.waiting)
            case QuestionClosed() | ApprovalClosed():
                self._seen.discard(key_of(delivery))
                self._dealt.discard(key_of(delivery))
                self.unanswered += isinstance(delivery, QuestionClosed) and delivery.why == "refused"
            case TurnOver():
                self.turns[delivery.status] += 1
            case _:
                pass

    def _see(self, requests: Iterable[OpenRequest]) -> None:
        self._seen.update(map(key_of, requests))

    def _keep_what_is_open(self, seat: Seat) -> None:
        still = set(map(key_of, seat.waiting))
        self._seen &= still
        self._dealt &= still

    # What is done next

    def _step(self, seat: Seat, source: LineSource) -> Step:
        """Do what can be done now."""
        if self._over or seat.closed:
            return "end"
        request = next((each for each in seat.waiting if self._is_due(each)), None)
        if request is not None:
            return self._deal(seat, source, request)
        self._asked = None
        if seat.turn is not None or self._saying:
            source.ask(None)
            return self._overtake(seat, source)
        if self._messages is not None:
            return self._say(seat, self._messages.popleft()) if self._messages else "end"
        line = source.take()
        if line is None and not source.ended:
            source.ask(prompt_for(None))
            return "wait"
        return "end" if line is None else self._obey(seat, source, line)

    def _is_due(self, request: OpenRequest) -> bool:
        key = key_of(request)
        return key in self._seen and key not in self._dealt

    def _overtake(self, seat: Seat, source: LineSource) -> Step:
        """While an answer is under way: what is typed waits, but not these."""
        if source.terminal and source.peek() == "/stop":
            source.take()
            self.interrupt()
            return "again"
        return "end" if source.terminal and source.peek() == "/quit" else "wait"

    def _obey(self, seat: Seat, source: LineSource, line: str) -> Step:
        if not line.strip():
            return "again"
        if source.terminal:
            match line.strip():
                case "/quit":
                    return "end"
                case "/stop":
                    return "again"
                case "/help":
                    self._view.note(_HELP)
                    return "again"
                case _:
                    pass
        return self._say(seat, line)

    def _say(self, seat: Seat, text: str) -> Step:
        self._saying = True
        seat.start_task(self._speak(seat, text), name="say")
        return "again"

    async def _speak(self, seat: Seat, text: str) -> None:
        try:
            self._view.own_turns.add(await seat.say(text))
        except SeatClosed:
            pass
        finally:
            self._saying = False
            self._news.set()

    def _deal(self, seat: Seat, source: LineSource, request: OpenRequest) -> Step:
        """Have the person answer *request*, or see to it that nobody waits for him in vain."""
        key = key_of(request)
        asks = self.interactive and seat.interactive
        line = source.take() if asks and self._asked == key else None
        if line is None:
            if not asks or (source.ended and source.peek() is None):
                return self._refuse(seat, request)
            if self._asked != key:
                self._asked = key
                if source.terminal:  # what was typed before was not meant for this
                    source.discard()
                return "again"
            source.ask(prompt_for(request))
            return "wait"
        self._dealt.add(key)
        if isinstance(request, QuestionOpened):
            self._view.own_answers.add(request.number)
            try:
                seat.answer(request.number, line)
            except QuestionNotOpen:
                self._view.own_answers.discard(request.number)
            return "again"
        word, _, comment = line.strip().partition(" ")
        if word.lower() not in _YES | _NO:
            self._view.note("(y or n, and a comment if you like)")
            self._dealt.discard(key)
        else:
            self._decide(seat, request, word.lower() in _YES, comment.strip())
        return "again"

    def _refuse(self, seat: Seat, request: OpenRequest) -> Step:
        self._dealt.add(key_of(request))
        if isinstance(request, QuestionOpened):
            seat.leave()
        elif self._alone:
            self.unanswered += 1
            self._decide(seat, request, False, "nobody is there to decide")
        return "again"

    def _decide(self, seat: Seat, request: ApprovalOpened, approve: bool, comment: str) -> None:
        seat.start_task(self._tell_decision(seat, request, approve, comment), name=f"decide:{request.number}")

    async def _tell_decision(self, seat: Seat, request: ApprovalOpened, approve: bool, comment: str) -> None:
        try:
            resolution = await seat.decide(request.number, approve, comment)
        except UnderstudyError as error:
            self._view.note(f"(request {request.number}: {error})")
        else:
            if not resolution.accepted:
                self._view.note(f"(request {request.number} had been decided before)")

    async def _next_news(self) -> None:
        await self._news.wait()
        self._news.clear()

    def _choose(self, loop: asyncio.AbstractEventLoop) -> LineSource:
        able = os.environ.get("TERM") != "dumb" and os.isatty(self._descriptor)
        able = able and self._stderr.isatty() and self._stdout.isatty()
        if self._style == "plain" or (self._style == "auto" and not able):
            return PlainLines(self._descriptor, self._stderr, loop)
        try:
            from understudy.agents._prompt_lines import PromptLines  # noqa: PLC0415 - an extra
        except ImportError:
            return PlainLines(self._descriptor, self._stderr, loop)
        return PromptLines(self._descriptor, self.interrupt)
