"""What the actors of this program say to one another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

from pydantic import InstanceOf

from understudy import Message

from .parsing import Module
from .report import Failure, Tally

__all__ = ["Failed", "Feed", "Finished", "NextFile", "Parse", "Parsed", "Progress", "TakeStock"]


class Feed(Message):
    """To a feeder, from itself: take the next file."""


class NextFile(Message[Path | None]):
    """To the walker: which file is next? None when there are no more."""


class Parse(Message):
    """To a parser: parse this file, tell the index what is in it, and reply when that is done."""

    reply_within: ClassVar[float | None] = math.inf  # a file takes as long as it takes

    path: Path


class Parsed(Message):
    """To the index: this is in a file."""

    module: InstanceOf[Module]  # made by a parser; looking at each of its thousand names again would only hold the loop


class Failed(Message):
    """To the index: the parser that had this file in hand crashed."""

    failure: InstanceOf[Failure]


class TakeStock(Message[Tally]):
    """To the index: what do you have, and where is *query* defined?"""

    query: str | None


class Progress(Message):
    """To the reporter: so far it is this much."""

    indexed: int
    failed: int


class Finished(Message):
    """To the reporter: these are the files that were given out, and all of them have been dealt with."""

    seen: frozenset[Path]
