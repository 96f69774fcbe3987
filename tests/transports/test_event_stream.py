"""What a side has said: numbers, what is kept to be said again, and what is not any more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.transports._event_stream import EventStream, Gap


def said(*events: bytes, keep: int = 3, keep_bytes: int = 100) -> EventStream:
    stream = EventStream(keep=keep, keep_bytes=keep_bytes)
    for event in events:
        stream.add(event)
    return stream


def test_events_are_numbered_from_one_and_come_one_after_another() -> None:
    stream = said(b"a", b"b")
    assert stream.after(0) == (1, b"a")
    assert stream.after(1) == (2, b"b")
    assert stream.after(2) is None
    assert (stream.last, stream.unsent) == (2, 2)


def test_what_was_not_sent_is_kept_however_much_it_is() -> None:
    stream = said(*[bytes(60)] * 10)
    assert [stream.after(number) for number in range(10)] == [(number + 1, bytes(60)) for number in range(10)]
    assert stream.unsent == 10


def test_of_what_was_sent_the_latest_are_kept() -> None:
    stream = said(*(bytes([number]) for number in range(10)))
    stream.sent(8)
    with pytest.raises(Gap) as gap:
        stream.after(0)
    assert (gap.value.first, gap.value.last) == (1, 5)
    assert stream.after(5) == (6, b"\x05")
    assert stream.unsent == 2


def test_of_what_was_sent_no_more_is_kept_than_so_many_bytes() -> None:
    stream = said(bytes(60), bytes(60), b"c")
    stream.sent(2)
    with pytest.raises(Gap) as gap:
        stream.after(0)
    assert (gap.value.first, gap.value.last) == (1, 1)
    assert stream.after(1) == (2, bytes(60))


def test_that_something_was_sent_again_changes_nothing() -> None:
    stream = said(b"a", b"b", b"c")
    stream.sent(2)
    stream.sent(1)
    assert stream.unsent == 1
    assert stream.after(0) == (1, b"a")


@pytest.mark.parametrize("number", [-1, 3])
def test_there_is_nothing_behind_a_number_that_was_never_given(number: int) -> None:
    with pytest.raises(ValueError, match=f"there is no event {number}"):
        said(b"a", b"b").after(number)


@given(
    st.lists(st.one_of(st.binary(max_size=5), st.integers(0, 20)), max_size=25), st.integers(0, 4), st.integers(0, 9)
)
def test_it_is_a_list_of_which_just_enough_is_forgotten(steps: list[bytes | int], keep: int, keep_bytes: int) -> None:
    stream, events = EventStream(keep=keep, keep_bytes=keep_bytes), list[bytes]()
    sent = gone = 0
    for step in steps:
        if isinstance(step, bytes):
            events.append(step)
            assert stream.add(step) == len(events)
        else:
            sent = max(sent, min(step, len(events)))
            stream.sent(min(step, len(events)))
            while gone < sent and (sent - gone > keep or sum(map(len, events[gone:sent])) > keep_bytes):
                gone += 1
        assert (stream.last, stream.unsent) == (len(events), len(events) - sent)
        for number in range(len(events)):
            if number < gone:
                with pytest.raises(Gap) as gap:
                    stream.after(number)
                assert (gap.value.first, gap.value.last) == (number + 1, gone)
            else:
                assert stream.after(number) == (number + 1, events[number])
