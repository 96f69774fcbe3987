"""How a running program shows that it runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from understudy.instrument import Statistics

__all__ = ["LiveLine", "LogLines", "Progress", "facts", "progress_on"]


class Progress:
    """Shows nothing; its subclasses show something between start and stop."""

    interval = 60.0
    """Seconds after which it wants to know again how things are."""

    def start(self) -> None:
        """The program is about to start."""

    def show(self, now: Statistics, seconds: float) -> None:
        """*now* is how things are, *seconds* how long it has been running."""

    def stop(self) -> None:
        """It has ended, in whatever way."""


class LogLines(Progress):
    """Now and then a line in the log."""

    interval = 5.0

    def show(self, now: Statistics, seconds: float) -> None:
        structlog.get_logger().info("running", **facts(now, seconds))


class LiveLine(Progress):
    """One line at the bottom of the terminal, under whatever else is printed, gone at the end."""

    interval = 0.1

    def __init__(self) -> None:
        # Refreshed by `show` alone: a thread would show a line that lives while the event loop hangs. What the program
        # prints may only be led past the line, through stderr, when both are the same terminal.
        console = Console(stderr=True, soft_wrap=True)
        self._live = Live(console=console, transient=True, auto_refresh=False, redirect_stdout=sys.stdout.isatty())

    def start(self) -> None:
        self._live.start()

    def show(self, now: Statistics, seconds: float) -> None:
        numbers = facts(now, seconds)
        words = " · ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items())
        self._live.update(Text(words, style="dim", no_wrap=True, overflow="ellipsis"), refresh=True)

    def stop(self) -> None:
        self._live.stop()


def progress_on(*, quiet: bool, plain: bool) -> Progress:
    """A live line if stderr is a terminal; log lines if it is not, or if they shall be *plain*; nothing if *quiet*."""
    if quiet:
        return Progress()
    return LiveLine() if sys.stderr.isatty() and not plain else LogLines()


def facts(now: Statistics, seconds: float) -> dict[str, float]:
    """What is shown of *now*."""
    return {
        "actors": now.actors,
        "restarts": now.restarted,
        "dead_letters": now.dead_letters,
        "seconds": round(seconds, 1),
    }
