"""The latest events of a bus, for who comes late."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from understudy.actors._subscriptions import may_be

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._event import Event, EventGap
    from understudy.actors._subscriptions import Topic

__all__ = ["EventLog"]


class EventLog:
    """The latest *keep* events of each class, in the order of their numbers."""

    __slots__ = ("_keep", "_lost", "_rings")

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._rings: dict[type[Event], deque[Event]] = {}
        # The number of the latest event of each class that is not kept any more.
        self._lost: dict[type[Event], int] = {}

    def add(self, event: Event) -> None:
        """Keep *event*, and forget the oldest of its class if there are too many."""
        if not self._keep:
            self._lost[type(event)] = event.sequence
            return
        ring = self._rings.get(type(event))
        if ring is None:
            ring = self._rings[type(event)] = deque()
        if len(ring) >= self._keep:
            self._lost[type(event)] = ring.popleft().sequence
        ring.append(event)

    def since(self, after: int, topic: Topic, gap: Callable[[int, int], EventGap]) -> list[Event]:
        """The events after number *after* that may belong to *topic*; first of all the *gap*, if some are missing."""
        lost = max((number for kind, number in self._lost.items() if may_be(topic, kind)), default=0)
        kept = [ring for kind, ring in self._rings.items() if may_be(topic, kind)]
        events = [event for event in heapq.merge(*kept, key=_number) if event.sequence > after]
        return [gap(after + 1, lost), *events] if lost > after else events


def _number(event: Event) -> int:
    return event.sequence
