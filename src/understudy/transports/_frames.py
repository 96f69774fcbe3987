"""What is said over a link: one class for each kind of frame, and its number.

A target is always on the side that receives the frame, and a sender on the side that sends it, so neither names a node:
there is no way to write down a sender that is somebody else's.

Nobody changes a frame. That these classes are not frozen has a reason: to make one would take three times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from understudy.transports._address import Place

__all__ = [
    "FRAMES",
    "Ask",
    "Call",
    "Cancel",
    "Confirm",
    "Credit",
    "Ended",
    "Fault",
    "Frame",
    "Goodbye",
    "Letter",
    "Offer",
    "Open",
    "Part",
    "Reply",
    "Step",
    "Stop",
    "Taken",
    "Unwatch",
    "Watch",
]


@dataclass(slots=True)
class Letter:
    """A message that was told or sent; its body follows.

    In a reliable channel it is for whoever is at the path, and the uid is 0.
    """

    code: ClassVar[int] = 1
    to: Place
    tag: str
    sender: Place | None = None
    trace: Mapping[str, str] | None = None
    number: int = 0
    """In a reliable channel, from 1 on; 0: in none."""
    channel: str = ""


@dataclass(slots=True)
class Ask:
    """A message that is waited for; its body follows. It is answered by a :class:`Reply` or a :class:`Fault`."""

    code: ClassVar[int] = 2
    to: Place
    tag: str
    id: int
    left: float | None
    """Seconds that the asker still waits, as seen when it was sent; None: without limit."""
    sender: Place | None = None
    chain: tuple[str, ...] = ()
    """The addresses of the actors that wait for this, outermost first."""
    trace: Mapping[str, str] | None = None


@dataclass(slots=True)
class Open:
    """A request for a stream; its body follows. It is answered by parts, and a :class:`Reply` or :class:`Fault`."""

    code: ClassVar[int] = 3
    to: Place
    tag: str
    id: int
    left: float | None
    patience: float | None
    limit: int
    sender: Place | None = None
    chain: tuple[str, ...] = ()
    trace: Mapping[str, str] | None = None


@dataclass(slots=True)
class Reply:
    """The answer to an ask or a call, whose body follows; or the regular end of a stream, without one."""

    code: ClassVar[int] = 4
    id: int


@dataclass(slots=True)
class Step:
    """One step of why an actor has ended; see :mod:`understudy.transports._reasons`."""

    kind: Literal["normal", "shutdown", "killed", "crashed", "not_found", "node_down", "start_failed", "exceeded"]
    name: str = ""
    text: str = ""
    count: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Fault:
    """The other answer: why there is no reply. With the tag of a refusal, its body has the attributes of that."""

    code: ClassVar[int] = 5
    id: int
    kind: Literal[
        "refused",
        "failed",
        "unhandled",
        "full",
        "stopped",
        "timeout",
        "cycle",
        "no_reply",
        "slow",
        "not_found",
        "wrong_type",
        "name_taken",
        "not_started",
        "not_accepted",
        "denied",
        "error",
    ]
    text: str = ""
    name: str = ""
    reason: tuple[Step, ...] = ()
    facts: tuple[str, ...] = ()
    number: float = 0.0
    tag: str = ""


@dataclass(slots=True)
class Part:
    """One part of a stream; its body follows."""

    code: ClassVar[int] = 6
    id: int


@dataclass(slots=True)
class Taken:
    """So many parts were taken from a stream, so that there is room for as many more."""

    code: ClassVar[int] = 7
    id: int
    count: int


@dataclass(slots=True)
class Cancel:
    """Nobody waits for the answer any more."""

    code: ClassVar[int] = 8
    id: int


@dataclass(slots=True)
class Watch:
    """Tell of the end of an actor."""

    code: ClassVar[int] = 9
    of: Place
    by: Place | None = None
    """Who shall hear of it, behind all that the other has sent it; None: the runtime."""


@dataclass(slots=True)
class Unwatch:
    """Do not."""

    code: ClassVar[int] = 10
    of: Place
    by: Place | None = None


@dataclass(slots=True)
class Ended:
    """An actor has ended; or is not there, which is news to whoever has sent it something."""

    code: ClassVar[int] = 11
    of: Place
    reason: tuple[Step, ...]
    by: Place | None = None


@dataclass(slots=True)
class Stop:
    """End an actor, in one of three ways."""

    code: ClassVar[int] = 12
    to: Place
    how: Literal["stop", "drain", "kill"]
    seconds: float | None = None


@dataclass(slots=True)
class Credit:
    """So many messages for an actor have found their place, so that as many more may be sent."""

    code: ClassVar[int] = 13
    to: Place
    count: int


@dataclass(slots=True)
class Call:
    """Something that is asked of the node itself; a body may follow."""

    code: ClassVar[int] = 14
    id: int
    verb: Literal["lookup", "spawn", "get_state", "statistics", "suspend", "resume"]
    path: str = ""
    uid: int = 0
    tag: str = ""


@dataclass(slots=True)
class Goodbye:
    """The last frame: this side goes, in order."""

    code: ClassVar[int] = 15
    why: str = ""


@dataclass(slots=True)
class Offer:
    """The first frame: what this side understands, by tag, with the hash of its schema."""

    code: ClassVar[int] = 16
    messages: dict[str, str]
    actors: tuple[str, ...]
    window: int
    """How many messages for one actor may be under way."""
    max_size: int
    """Of one frame, in bytes."""


@dataclass(slots=True)
class Confirm:
    """All letters of a reliable channel up to this number have found their place."""

    code: ClassVar[int] = 17
    channel: str
    number: int
    missing: bool = False
    """Nobody is there to take the next: it is to be sent again later."""


Frame: TypeAlias = (
    Letter
    | Ask
    | Open
    | Reply
    | Fault
    | Part
    | Taken
    | Cancel
    | Watch
    | Unwatch
    | Ended
    | Stop
    | Credit
    | Call
    | Goodbye
    | Offer
    | Confirm
)

FRAMES: dict[int, type[Any]] = {each.code: each for each in get_args(Frame)}
"""The classes by their numbers."""
