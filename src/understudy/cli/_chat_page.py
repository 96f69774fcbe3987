"""``understudy chat --web``: a person at a page in a browser."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import tempfile
import threading
import webbrowser
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.agents._web_endpoint import WebEndpoint
from understudy.cli._chat import seat_person
from understudy.cli._progress import Progress
from understudy.cli._running import run_program
from understudy.exceptions import MissingExtra, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from understudy.actors._settings import Settings
    from understudy.agents._program import AsyncProgram
    from understudy.cli._chat import Front

__all__ = ["chat_page"]


def chat_page(program: AsyncProgram, front: Front, settings: Settings, *, port: int, show: bool) -> int:
    """Run *program*, with a person at a page who talks to its front, until Ctrl-C.

    Args:
        program: The program.
        front: Whom the person talks to.
        settings: Those of its system.
        port: Of this machine; 0: any that is free.
        show: Whether to open the page in the person's browser.

    Raises:
        UsageError: The extra is not installed; or as :func:`run_program`.
        ProgramFailed: An agent or a phase has failed, or the port is taken.
    """
    with _browser() as open_page:

        def announce(address: str) -> None:
            print(f"You talk to {front.to} at {address}", flush=True)
            if show:
                open_page(address)

        try:
            endpoint = WebEndpoint(port=port, title=front.to, announce=announce)
        except MissingExtra as error:
            raise UsageError(f"--web: {error}") from error
        # A port that is taken will be so in a moment.
        seat_person(program, front, endpoint, "stream", on_failure={OSError: "stop"})
        return run_program(program, Progress(), settings)


@contextmanager
def _browser() -> Generator[Callable[[str], None]]:
    """What opens addresses in the person's browser.

    The address has a secret, and what a program is started with can be read by everybody on this machine. So the
    browser is shown a file that only the person can read, and which leads there; it is removed in the end.
    """
    files: list[str] = []

    def open_page(address: str) -> None:
        descriptor, path = tempfile.mkstemp(".html", "understudy-")  # with the mode 0600
        files.append(path)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(
                '<!doctype html><meta charset="utf-8"><title>understudy</title>'
                f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">'
            )
        threading.Thread(target=_show, args=(Path(path).as_uri(),), name="browser", daemon=True).start()

    try:
        yield open_page
    finally:
        for path in files:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _show(url: str) -> None:
    """In a thread, as a browser in the terminal returns when it is left."""
    if not webbrowser.open(url):
        print("understudy: no browser was found: open the address in one", file=sys.stderr)
