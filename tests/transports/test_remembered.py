"""What is found out once for each key, and forgotten when there is too much of it."""

from __future__ import annotations

import pytest

from understudy.transports._remembered import Remembered


def test_each_key_is_found_out_once_until_there_are_too_many() -> None:
    asked: list[int] = []

    def twice(key: int) -> int:
        asked.append(key)
        return key * 2

    known = Remembered(twice, 3)
    assert [known[key] for key in (1, 2, 3, 1, 2, 3)] == [2, 4, 6, 2, 4, 6]
    assert asked == [1, 2, 3]
    assert known[4] == 8
    assert known == {4: 8}  # those before it are forgotten
    assert known[1] == 2
    assert asked == [1, 2, 3, 4, 1]


def test_what_cannot_be_found_out_is_an_error_each_time_and_pushes_nothing_out() -> None:
    def none(key: int) -> int:
        if key < 0:
            raise ValueError(key)
        return key

    known = Remembered(none, 1)
    assert known[5] == 5
    for _ in range(2):
        with pytest.raises(ValueError, match="-1"):
            known[-1]
    assert known == {5: 5}
