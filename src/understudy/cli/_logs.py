"""Where log lines go: to stderr, for people or as JSON, a line each."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias, cast

import structlog

if TYPE_CHECKING:
    from collections.abc import Generator

    from structlog.typing import EventDict, Processor

__all__ = ["LogFormat", "logs_to_stderr"]

LogFormat: TypeAlias = Literal["console", "json"]


@contextmanager
def logs_to_stderr(log_format: LogFormat, *, quiet: bool) -> Generator[None]:
    """Send what structlog, :mod:`logging` and :mod:`warnings` have to say to stderr; with *quiet*, from warnings up."""
    before = structlog.get_config() if structlog.is_configured() else None
    _configure(log_format, logging.WARNING if quiet else logging.INFO)
    handler = _ToStructlog(logging.WARNING)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)
        structlog.reset_defaults() if before is None else structlog.configure(**before)


def _configure(log_format: LogFormat, level: int) -> None:
    for_programs = log_format == "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if for_programs else "%H:%M:%S", utc=for_programs),
            *(_as_json() if for_programs else _for_people()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )


def _as_json() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _for_people() -> list[Processor]:
    traceback = structlog.dev.plain_traceback
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    renderer = structlog.dev.ConsoleRenderer(
        pad_event_to=0, sort_keys=False, colors=colors, exception_formatter=traceback
    )
    return [_EachStackOnce(), renderer]


class _EachStackOnce:
    """Shows the stack of a crash when it is new: many crashes in one place fill no screens."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        stack: object = event.get("exception")
        if isinstance(stack, str):
            if stack in self._shown:
                del event["exception"]
            self._shown.add(stack)
        return event


class _Stderr:
    """Whatever ``sys.stderr`` is at the moment: the progress line puts itself in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _ToStructlog(logging.Handler):
    """Passes on what libraries log, and what asyncio complains about."""

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, Any] = {"logger": record.name}
        if record.exc_info is not None:
            facts["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, record.getMessage().rstrip(), **facts)
