"""What a whole system agrees on."""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from understudy.mailbox._overflow import Mailbox

__all__ = ["Settings"]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=True)]
Finite = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Defaults of a system; an actor's class may say otherwise, and its spec has the last word.

    All times are in seconds on the event loop's clock, but for ``slice_seconds`` and ``watchdog``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask_timeout: Seconds = 5.0
    """How long an ask waits when nobody says otherwise."""
    stream_timeout: Seconds = 30.0
    """How long the consumer of a stream waits for the next part, and the generator for one to be taken."""
    stream_buffer: Annotated[int, Field(ge=1)] = 16
    """How many parts of a stream may have been yielded and not yet been taken."""
    start_timeout: Seconds = 30.0
    """How long an ``async def initialize`` may take."""
    shutdown: Finite = 5.0
    """The grace of an actor that is no supervisor, from the request to stop until force is used."""
    mailbox: Mailbox = Mailbox()
    """How the mailboxes of actors are made that say nothing themselves."""
    stash: Annotated[int, Field(ge=0)] = 1_000
    """How many messages an actor may put aside at a time."""
    dead_letters_kept: Annotated[int, Field(ge=0)] = 100
    """How many of the latest dead letters are kept, to be told again on request; 0: none.

    Their messages live for so long, and what those refer to.
    """
    blocking_threads: Annotated[int, Field(ge=1)] = 32
    """How many calls of ``run_blocking`` run at a time; further ones wait for a thread."""
    cancel_interval: Finite = 0.1
    """A task that resists a cancel is cancelled again after this time, and again."""
    abandon_after: Finite = 1.0
    """A task that has resisted for so long is abandoned: counted, reported, left to itself."""
    shutdown_timeout: Finite = 30.0
    """How long the shutdown of the whole system may take, whatever user code does."""
    phase_timeout: Finite = 5.0
    """How long the users' tasks of one phase of the shutdown may take."""
    messages_per_activation: Annotated[int, Field(ge=1)] = 64
    """How many messages an actor handles before the next has its turn."""
    slice_seconds: Finite = 0.0005
    """Real time for which all actors together hold the event loop in each of its turns."""
    watchdog: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] | None = None
    """Real time for which the event loop may be blocked before a thread reports who blocks it; None: no such thread."""

    @model_validator(mode="after")
    def _check_deadline(self) -> Self:
        if self.shutdown + self.abandon_after > self.shutdown_timeout:
            raise ValueError(
                f"shutdown_timeout ({self.shutdown_timeout:g} s) must not be shorter than what one actor may take to "
                f"end: shutdown + abandon_after ({self.shutdown + self.abandon_after:g} s)"
            )
        return self

    def grace_problem(self, grace: object) -> str | None:
        """What is wrong with an actor's own grace under these settings, or None."""
        if isinstance(grace, float) and grace != math.inf and grace + self.abandon_after > self.shutdown_timeout:
            return (
                f"must leave {self.abandon_after:g} s for abandonment within the system's shutdown_timeout "
                f"({self.shutdown_timeout:g} s), got {grace:g}"
            )
        return None
