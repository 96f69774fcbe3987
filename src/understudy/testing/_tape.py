"""A tape: all that is needed to have one run again."""

from __future__ import annotations

import platform
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from understudy.testing._choices import Departure
from understudy.testing._faults import Faults
from understudy.testing._strategies import Replay

if TYPE_CHECKING:
    from understudy.testing._schedule import Outcome

__all__ = ["Tape", "TapeError", "this_python"]


class TapeError(ValueError):
    """A tape cannot be read, or does not fit."""


class Tape(BaseModel):
    """A run, as data. ``choices`` are its departures from the undisturbed run.

    It fits the code and the version of Python that it was made with; elsewhere it is run as far as it fits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    version: Literal[1] = 1
    test: str
    python: str
    seed: int
    eager: bool
    strategy: str
    faults: Faults
    choices: tuple[Departure, ...]
    digest: str
    steps: int
    error: str
    story: tuple[str, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome, *, test: str, seed: int, eager: bool, strategy: str, faults: Faults) -> Tape:
        """The tape of a run."""
        return cls(
            test=test,
            python=this_python(),
            seed=seed,
            eager=eager,
            strategy=strategy,
            faults=faults,
            choices=outcome.made,
            digest=outcome.digest,
            steps=outcome.steps,
            error=f"{type(outcome.error).__name__}: {outcome.error}" if outcome.error is not None else "",
            story=outcome.story,
        )

    @classmethod
    def load(cls, path: Path) -> Tape:
        """Read a tape.

        Raises:
            TapeError: There is none, or it is not one.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise TapeError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise TapeError(f"{path} is no tape: {where}: {first['msg']}") from error

    def save(self, folder: Path) -> Path:
        """Write it to a file of its own in *folder*, named after the test, the seed and the run."""
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.test.rpartition("::")[2])
        run = zlib.crc32(f"{self.test} {self.digest}".encode())
        path = folder / f"{name}-{self.seed}-{run:08x}.json"
        self.write(path)
        return path

    def write(self, path: Path) -> None:
        """Write it to *path*."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def strategy_of(self) -> Replay:
        """What repeats the run."""
        return Replay(self.choices)

    @field_validator("choices")
    @classmethod
    def _check_choices(cls, choices: tuple[Departure, ...]) -> tuple[Departure, ...]:
        for kind, what, how in choices:
            if kind not in ("hold", "clock", "draw"):
                raise ValueError(f"a choice is a hold, a clock or a draw, got {kind!r}")
            if kind == "draw" and not how.isdecimal():
                raise ValueError(f"the draw of {what!r} must be a whole number, got {how!r}")
        return choices


def this_python() -> str:
    """Like ``CPython 3.11.7``."""
    return f"{platform.python_implementation()} {platform.python_version()}"
