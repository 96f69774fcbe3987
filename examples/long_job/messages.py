"""What is said between the one who counts and the one who wants to know."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from understudy import ActorRef, Message

__all__ = ["CallOff", "CalledOff", "Count", "Progress", "Where"]


class Progress(Message):
    """So many parts *of* all are done. *resumed*: that many of them by an earlier life of the counter."""

    job: Path
    done: int
    of: int
    resumed: int


class CalledOff(Message):
    """The job will not be finished, and nothing of it is left."""

    job: Path
    why: str


class Count(Message[int]):
    """Count the primes below *below*, part by part, into the file *job*; answered with how many there are.

    Who follows it is told of each part. It is called off by :class:`CallOff`, or when nobody waits for the answer any
    more.
    """

    job: Path
    below: PositiveInt
    parts: PositiveInt
    follower: ActorRef[Progress | CalledOff]


class CallOff(Message[bool]):
    """Call the present job off; answered with whether there was one."""


class Where(Message[Path]):
    """In which folder shall the results be?"""
