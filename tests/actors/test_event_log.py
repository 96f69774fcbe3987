"""Who comes late begins where he wants to, as far as that is kept, and is told of what is not: against a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cast import Recorder, settle
from understudy import ActorSystem, Mailbox
from understudy.actors._event_log import EventLog
from understudy.events import AsyncEventBus, Event, EventGap


class Colour(Event):
    number: int = 0


class Red(Colour): ...


class Blue(Colour): ...


class DarkBlue(Blue): ...


KINDS: tuple[type[Event], ...] = (Red, Blue, DarkBlue, Event)
TOPICS: dict[str, Any] = {
    "Red": Red,
    "Blue": Blue,
    "DarkBlue": DarkBlue,
    "Colour": Colour,
    "Event": Event,
    "star": "*",
    "predicate": lambda event: event.sequence % 2 == 0,
}


@dataclass
class Model:
    """All that was published, and how many of each class are kept: the rest is thinking."""

    keep: int
    published: list[Event] = field(default_factory=list)

    def kept(self) -> list[Event]:
        kept: list[Event] = []
        for kind in KINDS:
            mine = [event for event in self.published if type(event) is kind]
            kept += mine[len(mine) - min(self.keep, len(mine)) :]
        return sorted(kept, key=lambda event: event.sequence)

    def may_want(self, topic: Any, event: Event) -> bool:
        """By its class alone: what is lost cannot be shown to a predicate any more."""
        return isinstance(event, topic) if isinstance(topic, type) else True

    def since(self, after: int, topic: Any) -> tuple[tuple[int, int] | None, list[int]]:
        """The gap, from which number to which, and the numbers that come behind it."""
        wanted = [event for event in self.published if event.sequence > after and self.may_want(topic, event)]
        kept = {event.sequence for event in self.kept()}
        missing = [event.sequence for event in wanted if event.sequence not in kept]
        gap = (after + 1, max(missing)) if missing else None
        return gap, [event.sequence for event in wanted if event.sequence in kept]


KIND_NUMBERS = st.lists(st.integers(0, len(KINDS) - 1), max_size=40)


@given(kinds=KIND_NUMBERS, keep=st.integers(0, 5), after=st.integers(0, 45), topic=st.sampled_from(list(TOPICS)))
def test_the_log_gives_what_is_kept_and_a_gap_that_ends_at_the_last_event_that_is_not(
    kinds: list[int], keep: int, after: int, topic: str
) -> None:
    log, model = EventLog(keep), Model(keep)
    for number, kind in enumerate(kinds, start=1):
        event = KINDS[kind](sequence=number)
        log.add(event)
        model.published.append(event)

    found = log.since(after, TOPICS[topic], lambda first, last: EventGap(first_missed=first, last_missed=last))

    gap, numbers = model.since(after, TOPICS[topic])
    told = [(event.first_missed, event.last_missed) for event in found if isinstance(event, EventGap)]
    assert told == ([] if gap is None else [gap])
    assert not told or isinstance(found[0], EventGap)
    assert [event.sequence for event in found if not isinstance(event, EventGap)] == numbers
    # Never both: no gap, and something that is missing; and nothing is missing beyond the gap.
    wanted = {
        event.sequence for event in model.published if event.sequence > after and model.may_want(TOPICS[topic], event)
    }
    silent = wanted - set(numbers) - (set(range(gap[0], gap[1] + 1)) if gap else set())
    assert silent == set()


def numbers_of(events: list[Event]) -> list[Any]:
    return [
        ("gap", event.first_missed, event.last_missed) if isinstance(event, EventGap) else event.sequence
        for event in events
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("keep", [0, 1, 2, 100])
async def test_a_late_subscriber_and_a_late_stream_get_the_same_and_then_what_comes(topic: str, keep: int) -> None:
    async with AsyncEventBus("late", keep=keep) as bus:
        model = Model(keep)
        for kind in (Red, Blue, Red, DarkBlue, Event, Blue, Blue):
            model.published.append(bus.publish_nowait(kind()))
        for after in range(8):
            gap, numbers = model.since(after, TOPICS[topic])
            seen: list[Event] = []
            subscription = bus.subscribe(TOPICS[topic], seen.append, after=after)
            wanted = [number for number in numbers if topic != "predicate" or number % 2 == 0]
            expected = ([] if gap is None else [("gap", *gap)]) + wanted
            await settle()
            assert numbers_of(seen) == expected
            if isinstance(TOPICS[topic], type):
                with bus.stream(TOPICS[topic], after=after) as stream:
                    assert numbers_of([await anext(stream) for _ in expected]) == expected
            subscription.cancel()
        # From then on it gets what is published, like anybody.
        seen = []
        bus.subscribe(TOPICS[topic], seen.append, after=7)
        await bus.publish(DarkBlue())
        assert numbers_of(seen) == ([] if topic == "Red" else [8])


@pytest.mark.asyncio
async def test_a_gap_says_whose_it_is_and_takes_no_number() -> None:
    async with AsyncEventBus("gap", keep=1) as bus:
        for _ in range(3):
            bus.publish_nowait(Red())
        seen: list[Event] = []
        bus.subscribe(Red, seen.append, after=0)
        await bus.publish(Red())
        gap, *events = seen
        assert isinstance(gap, EventGap)
        assert (gap.session_id, gap.first_missed, gap.last_missed, gap.sequence) == ("gap", 1, 2, 0)
        assert gap.time > 0
        assert [event.sequence for event in events] == [3, 4]
        assert bus.statistics().published == 4


@pytest.mark.asyncio
async def test_what_a_late_subscriber_has_no_room_for_is_refused_like_anything_else() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        bus = system.events
        for number in range(5):
            bus.publish_nowait(Red(number=number))
        seen: list[Red] = []
        subscription = bus.subscribe(Red, seen.append, after=0, mailbox=Mailbox(capacity=2))
        await settle()
        assert [event.number for event in seen] == [0, 1]
        assert subscription.refused == 3
    assert [letter[0].number for letter in recorder.letters] == [2, 3, 4]


@pytest.mark.asyncio
async def test_who_is_subscribed_already_does_not_get_anything_twice() -> None:
    async with AsyncEventBus("twice") as bus:
        seen: list[Event] = []
        append = seen.append
        subscription = bus.subscribe(Red, append)
        await bus.publish(Red())
        assert bus.subscribe(Red, append, after=0) is subscription
        await settle()
        assert len(seen) == 1
