"""Lines that a person types, with the editing, the history and the keys of prompt_toolkit.

Only imported when the extra ``chat`` is there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.application.current import set_app

from understudy.agents._lines import LineSource, flush_typed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

    from understudy.agents._lines import Start

__all__ = ["PromptLines"]


class PromptLines(LineSource):
    """The lines of a terminal; the extra ``chat``.

    The terminal is only in its hands while a line is wanted; otherwise keys do what they do without.

    Args:
        descriptor: That of the terminal.
        interrupted: Called for Ctrl-C at the prompt; True: it was of use, False: it is the end.
        keys: Where keys come from, by default the terminal.
        screen: Where the prompt is drawn, by default the terminal.
    """

    terminal = True

    def __init__(
        self,
        descriptor: int,
        interrupted: Callable[[], bool],
        keys: Input | None = None,
        screen: Output | None = None,
    ) -> None:
        self._session: PromptSession[str] = PromptSession(message=lambda: self._prompt or "", input=keys, output=screen)
        self._descriptor = descriptor
        self._interrupted = interrupted
        self._lines: deque[str] = deque()
        self._prompt: str | None = None
        # The task that waits at the prompt, as long as there is one.
        self._task: asyncio.Task[None] | None = None
        self._news: Callable[[], None] | None = None
        self._start: Start | None = None

    def open(self, news: Callable[[], None], start: Start) -> None:
        """Begin."""
        self._news, self._start = news, start

    def close(self) -> None:
        """Prompt no more."""
        self.ask(None)
        self._news = self._start = None

    def take(self) -> str | None:
        """The next line."""
        return self._lines.popleft() if self._lines else None

    def peek(self) -> str | None:
        """The next line, which stays."""
        return self._lines[0] if self._lines else None

    def discard(self) -> None:
        """Forget what has been typed."""
        self._lines.clear()
        self._session.default_buffer.reset()
        flush_typed(self._descriptor)

    def ask(self, prompt: str | None) -> None:
        """Prompt for a line, under another text if there is a prompt already; None: no more."""
        changed, self._prompt = prompt != self._prompt, prompt
        if self._task is not None:
            if changed:
                self._task.cancel()  # there is news when it has ended, and who then still wants a line asks again
        elif prompt is not None and self._start is not None and not self.ended:
            self._task = self._start(self._line(), "prompt")
            self._task.add_done_callback(self._done)

    async def show(self, write: Callable[[], None]) -> None:
        """Write above the prompt."""
        if not self._session.app.is_running:
            write()
            return
        with set_app(self._session.app):
            await run_in_terminal(write)

    async def _line(self) -> None:
        try:
            self._lines.append(await self._session.prompt_async(handle_sigint=False))
        except EOFError:
            self.ended = True
        except KeyboardInterrupt:
            self.ended = not self._interrupted()

    def _done(self, _: asyncio.Task[None]) -> None:
        self._task = None
        if self._news is not None:
            self._news()
