"""``Outbox``: what a person is told, until it is read; bounded, and honest about what it has dropped."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from understudy.agents._deliveries import (
    ApprovalClosed,
    ApprovalOpened,
    DeliveryGap,
    QuestionClosed,
    QuestionOpened,
    TurnOver,
    TurnStarted,
    key_of,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

    from understudy.agents._deliveries import Delivery, OpenRequest

__all__ = ["CHARACTERS", "Outbox"]

CHARACTERS = 2_000_000
"""How many characters all that is kept may have; the latest delivery is kept whatever it has."""
_EACH = 100
"""What each counts besides its texts."""


class Outbox:
    """The deliveries to one person, the latest *size* of them, for any number of readers.

    It outlives the incarnations of its agent. What is too much is dropped, oldest first, whether anybody has read it or
    not: who puts something in never waits, and a reader that is too slow is told how many it has missed. What waits
    for the person is known apart from that, and so never lost.
    """

    def __init__(self, size: int, session: str, withheld: Collection[object] = ()) -> None:
        self.size = size
        self.session = session
        self._withheld = frozenset(withheld)
        self.latest = 0
        """The cursor of the latest delivery."""
        # Their cursors are consecutive, and the last is `latest`.
        self._kept: deque[Delivery] = deque()
        self._characters = 0
        self._open: dict[tuple[str, int], OpenRequest] = {}
        self._turn: TurnStarted | None = None
        self._turns = 0
        self._questions = 0
        # The readers that wait for news, each with a future of its own: a cancelled one cancels no other.
        self._waiting: dict[asyncio.Future[None], None] = {}

    # Putting in

    def post(self, kind: Callable[..., Delivery], **facts: Any) -> None:
        """Add a delivery, unless its kind is one that this person does not want."""
        if kind in self._withheld:
            return
        self.latest += 1
        delivery = kind(cursor=self.latest, **facts)
        self._note(delivery)
        self._kept.append(delivery)
        self._characters += _weight(delivery)
        while len(self._kept) > self.size or (self._characters > CHARACTERS and len(self._kept) > 1):
            self._characters -= _weight(self._kept.popleft())
        self.ring()

    def next_question(self) -> int:
        """A number that no question has had."""
        self._questions += 1
        return self._questions

    def next_turn(self) -> int:
        """A number that no turn has had."""
        self._turns += 1
        return self._turns

    def ring(self) -> None:
        """Have all readers look again."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def _note(self, delivery: Delivery) -> None:
        match delivery:
            case QuestionOpened() | ApprovalOpened():
                self._open[key_of(delivery)] = delivery
            case QuestionClosed() | ApprovalClosed():
                self._open.pop(key_of(delivery), None)
            case TurnStarted():
                self._turn = delivery
            case TurnOver():
                self._turn = None
            case _:
                pass

    # What there is

    @property
    def turn(self) -> TurnStarted | None:
        """The turn that is under way."""
        return self._turn

    @property
    def waiting(self) -> tuple[OpenRequest, ...]:
        """What waits for the person, oldest first."""
        return tuple(self._open.values())

    def is_open(self, kind: str, number: int) -> bool:
        """Whether the ``"question"`` or ``"approval"`` of that number waits for the person."""
        return (kind, number) in self._open

    def numbers(self, kind: str) -> list[int]:
        """The numbers of those that wait."""
        return [number for each, number in self._open if each == kind]

    # Reading

    def after(self, cursor: int) -> Delivery | None:
        """What comes after *cursor*, a gap if that is not kept any more; None if nothing does yet."""
        first = self.latest - len(self._kept) + 1
        if cursor + 1 < first:
            lost = tuple(each for each in self._open.values() if cursor < each.cursor < first)
            return DeliveryGap(cursor=first - 1, missed=first - 1 - cursor, waiting=lost)
        return self._kept[cursor + 1 - first] if cursor < self.latest else None

    async def news(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until there is something new."""
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting[mine] = None
        try:
            await mine
        finally:
            self._waiting.pop(mine, None)


def _weight(delivery: Delivery) -> int:
    texts = sum(len(value) for value in vars(delivery).values() if isinstance(value, str))
    return _EACH + texts + (len(delivery.request.arguments) if isinstance(delivery, ApprovalOpened) else 0)
