from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from understudy.mailbox import AsyncMessageQueue, Mailbox, RollingBatch
from understudy.mailbox._rules import PLAIN


def test_a_mailbox_blocks_at_ten_thousand_unless_told_otherwise() -> None:
    mailbox = Mailbox()

    assert (mailbox.capacity, mailbox.policy) == (10_000, "block")


@pytest.mark.parametrize("capacity", [1, 100, math.inf])
def test_a_capacity_is_kept_as_it_is_given(capacity: float) -> None:
    kept = Mailbox(capacity=capacity).capacity

    assert kept == capacity
    assert type(kept) is type(capacity)


@pytest.mark.parametrize("capacity", [0, -3, 2.5, 3.0, math.nan, True, "10", None])
def test_a_capacity_that_cannot_be_is_refused_by_name(capacity: Any) -> None:
    with pytest.raises(ValidationError, match=r"capacity must be a whole number from 1 on, or math\.inf") as caught:
        Mailbox(capacity=capacity)

    assert [error["loc"] for error in caught.value.errors()] == [("capacity",)]


def test_an_unknown_policy_is_refused_with_what_is_allowed() -> None:
    words = "policy must be 'block', 'fail', 'drop_new', 'drop_old' or 'stop', got 'discard'"
    with pytest.raises(ValidationError, match=words):
        Mailbox(policy="discard")  # type: ignore[arg-type]


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Mailbox(colour="red")  # type: ignore[call-arg]


def test_a_mailbox_cannot_be_changed_and_equals_its_like() -> None:
    mailbox = Mailbox(capacity=5)

    assert mailbox == Mailbox(capacity=5)
    assert hash(mailbox) == hash(Mailbox(capacity=5))
    with pytest.raises(ValidationError):
        mailbox.capacity = 6


@pytest.mark.parametrize("policy", ["block", "fail", "drop_new", "drop_old", "stop"])
def test_each_policy_is_taken(policy: Any) -> None:
    assert Mailbox(policy=policy).policy == policy


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weigh": 3}, "weigh must be a function of a message, got 3"),
        (
            {"high": 200, "capacity": 100},
            r"high must be a number above 0 and no more than the capacity \(100\), got 200",
        ),
        ({"high": 10, "low": 10}, r"low must be a number from 0 on and below high \(10\), got 10"),
        ({"low": 3}, r"low \(3\) means nothing without high: set `high=`, above it"),
        ({"priority": int}, "priority must be a function of a message, or types in a tuple, got <class 'int'>"),
        ({"priority": 3}, "priority must be a function of a message, or types in a tuple, got 3"),
        ({"priority": ()}, "levels must be types, or tuples of types, the most urgent first, got none"),
        ({"priority": ("a",)}, "levels must be types, or tuples of types, the most urgent first, got 'a'"),
        ({"batch": 0.5}, "batch must be a RollingBatch, got 0.5"),
    ],
)
def test_what_cannot_be_is_refused_with_the_name_and_what_can(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Mailbox(**options)


def test_a_mailbox_shows_what_is_special_about_it() -> None:
    assert repr(Mailbox()) == "Mailbox(capacity=10000, policy='block')"
    assert repr(Mailbox(high=5, priority=(int, str))) == (
        "Mailbox(capacity=10000, policy='block', high=5, priority=(<class 'int'>, <class 'str'>))"
    )


def test_a_mailbox_with_everything_is_a_value_too() -> None:
    def make() -> Mailbox:
        return Mailbox(
            capacity=50,
            policy="drop_old",
            weigh=len,
            high=40,
            low=5,
            priority=[int, (str, bytes)],
            batch=RollingBatch(),
        )

    assert make() == make()
    assert hash(make()) == hash(make())
    assert make().priority == (int, (str, bytes))


def test_a_mailbox_without_wishes_makes_the_plainest_of_queues() -> None:
    assert Mailbox(capacity=7).rules(on_drop=lambda *_: None) is PLAIN


class Envelope:
    def __init__(self, message: Any) -> None:
        self.message = message


def message_of(item: Any) -> Any:
    return item.message if isinstance(item, Envelope) else item


@pytest.mark.asyncio
async def test_the_functions_of_a_mailbox_are_for_the_message_in_the_envelope() -> None:
    drops: list[Any] = []
    mailbox = Mailbox(
        capacity=6, policy="drop_old", weigh=len, priority=(bytes,), batch=RollingBatch(urgent=lambda m: m == "!")
    )
    rules = mailbox.rules(message_of=message_of, on_drop=lambda *drop: drops.append(drop))
    queue = AsyncMessageQueue[Any](mailbox.capacity, rules=rules)
    old, urgent = Envelope("abc"), Envelope(b"de")
    assert queue.offer(old)
    assert queue.offer(urgent)
    assert queue.burst_due() > 0

    assert queue.offer("!")
    assert queue.burst_due() == -math.inf
    assert queue.offer("x")

    assert drops == [(old, "drop_old")]
    assert queue.take_burst() == [urgent, "!", "x"]


@pytest.mark.asyncio
async def test_the_marks_of_a_mailbox_are_told() -> None:
    told: list[Any] = []
    mailbox = Mailbox(capacity=10, high=2)
    rules = mailbox.rules(
        on_high=lambda load: told.append(("high", load)), on_low=lambda load: told.append(("low", load))
    )
    queue = AsyncMessageQueue[int](mailbox.capacity, rules=rules)
    for number in range(3):
        queue.offer(number)
    for _ in range(3):
        queue.take()
    assert told == [("high", 2), ("low", 1)]


@pytest.mark.asyncio
async def test_a_subclass_that_wants_to_see_each_item_sees_it() -> None:
    class Watched(AsyncMessageQueue[int]):
        def append_limit(self) -> int:
            return 0

    for rules in (PLAIN, Mailbox(high=2, capacity=3).rules()):
        queue = Watched(3, rules=rules)
        for number in range(3):
            assert queue.append_below == 0
            assert queue.offer(number)
        assert not queue.offer(3)
        getter = queue.get(lambda number: number == 5, timeout=None)
        getter.send(None)
        queue.take()
        getter.close()
        queue.clear()
        assert queue.append_below == 0
        waiting = queue.get()
        waiting.send(None)
        queue.offer(1)
        assert queue.append_below == 0
        waiting.close()
        assert queue.clear() == [1]
