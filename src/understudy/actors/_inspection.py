"""What can be seen of one actor, at once and whatever it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Onward, message_of
from understudy.actors._bundles import Bundle
from understudy.reasons import plain_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from understudy.actors._cell import Cell

__all__ = ["ActorState", "ActorStatistics", "InHand", "hands_of", "occupation", "state_of", "statistics_of"]


@dataclass(frozen=True, slots=True)
class InHand:
    """Something that an actor is doing and has not ended."""

    what: str
    """The type of the message that is handled; ``initialize`` or ``shutdown`` for a hook."""
    seconds: float
    """For how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorState:
    """An actor at one moment; what ``ref.debug.get_state()`` returns."""

    path: str
    actor: str
    """The name of its class."""
    status: str
    """As of :attr:`ActorRef.status`."""
    incarnation: int
    suspended: bool
    behaviours: tuple[str, ...]
    """What has taken the place of the handlers of its class, the last on top: the names of what ``become`` was given;
    of a state machine that is not where it began, its state."""
    in_hand: tuple[InHand, ...]
    """What it is doing: one thing at most, and its reentrant handlers. A plain ``def`` handler is never seen, since
    nothing else runs meanwhile."""
    waits_for: tuple[str, ...]
    """The paths of those that the handler in hand waits for."""
    waiting: int
    """Messages in the mailbox."""
    stashed: int
    """Messages that it has put aside."""
    state: Mapping[str, Any]
    """Its attributes by their names, as they are now: a read-only view of a copy of the names, but of the values
    themselves, which go on changing if they can. Empty while there is no instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorStatistics:
    """What is counted of one actor, through all its incarnations; what ``ref.debug.statistics()`` returns."""

    path: str
    handled: int
    """Messages that were taken from the mailbox and are done with, however that went; signals and timers too. What it
    has told itself ``next`` is not counted."""
    waiting: int
    """Messages in the mailbox, now."""
    high_water: int
    """The most that have waited at a time."""
    dead_letters: int
    """Messages for it that were lost: not accepted, thrown away, or not wanted any more."""
    restarts: int
    """Starts after the first, those that failed included."""
    crashes: int
    """Failures that have ended an incarnation, or the start of one but the first; kills are none."""
    zombies: int
    """Tasks of actors with this path that were given up on, whether they have ended since or not."""
    up_since: float | None
    """When the present incarnation came up, on the event loop's clock. None while it is not up; and as a rule for the
    first, of which nobody has noted it: an idle actor has to be small."""


def state_of(cell: Cell) -> ActorState:
    """*cell* as it is now."""
    belongings = cell.belongings
    return ActorState(
        path=cell.path,
        actor=cell.class_name,
        status=cell.status,
        incarnation=cell.incarnation,
        suspended=cell.suspended,
        behaviours=() if belongings is None else belongings.behaviours,
        in_hand=tuple(hands_of(cell)),
        waits_for=tuple(target.path for target in cell.awaited()),
        waiting=cell.waiting,
        stashed=0 if belongings is None else len(belongings.aside),
        state=MappingProxyType({} if cell.actor is None else cell.actor._understudy_attributes()),
    )


def statistics_of(cell: Cell) -> ActorStatistics:
    """What is counted of *cell*."""
    mailbox, standing = cell.mailbox, cell.standing
    queue = None if mailbox is None else mailbox.statistics()
    return ActorStatistics(
        path=cell.path,
        handled=0 if queue is None else queue.total_out - _not_done_with(cell),
        waiting=cell.waiting,
        high_water=0 if queue is None else queue.high_water,
        dead_letters=0 if standing is None else standing.dead_letters,
        restarts=max(cell.incarnation - 1, 0),
        crashes=0 if standing is None else standing.crashes,
        zombies=sum(_is_of(cell.path, name) for name in cell.runtime.env.tasks.abandoned),
        up_since=None if standing is None else standing.up_since,
    )


def hands_of(cell: Cell) -> Iterator[InHand]:
    """What *cell* is doing."""
    now, job = cell.runtime.env.now(), cell.job
    if cell.hand is not None and job is not None:
        yield InHand(_name_of(cell.hand), now - cell.hand_since)
    elif job is not None and job.started and job.kind in ("initialize", "shutdown"):
        yield InHand(job.kind, now - cell.hand_since)
    for hand, since in () if cell.turns is None else cell.turns.begun:
        yield InHand(_name_of(hand), now - since)


def occupation(cell: Cell) -> str:
    """What keeps *cell* from being between two messages, for the error of the one who waited for that in vain."""
    hands = " and ".join(f"{each.what} for {plain_seconds(each.seconds)}" for each in hands_of(cell))
    return f"{f'handling {hands}' if hands else cell.status}, {cell.queue_state}"


def _not_done_with(cell: Cell) -> int:
    """How many have been taken from the mailbox, and are in hand or put aside; less those put in front of it."""
    belongings, mailbox = cell.belongings, cell.mailbox
    count = sum(map(_count, cell.hands))
    count += 0 if belongings is None else len(belongings.aside)
    waiting = () if mailbox is None else mailbox.contents()
    return count - sum(1 for _ in takewhile(lambda item: type(item) is Onward, waiting))


def _count(hand: Any) -> int:
    if type(hand) is Bundle:
        return len(hand.items)
    return int(hand is not None and type(hand) is not Onward)


def _name_of(hand: Any) -> str:
    if type(hand) is Bundle:
        return f"list[{type(hand.messages[0]).__name__}]"
    return type(message_of(hand)).__name__


def _is_of(path: str, task: str) -> bool:
    return task in (f"actor:{path}", f"task:{path}") or task.startswith(f"task:{path}:")
