from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from understudy.mailbox import Mailbox


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
    with pytest.raises(ValidationError, match="should be 'block'"):
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
