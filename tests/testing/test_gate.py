from __future__ import annotations

import asyncio

import pytest

from tests.cast import settle
from understudy.testing._gate import Gate


async def come(gate: Gate, log: list[int], number: int) -> None:
    await gate.hold()
    log.append(number)


def crowd(gate: Gate, log: list[int], *numbers: int) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(come(gate, log, number)) for number in numbers]


@pytest.mark.asyncio
async def test_a_gate_is_shut_at_first_and_lets_all_go_on_in_order_when_it_opens() -> None:
    gate, log = Gate(), list[int]()
    tasks = crowd(gate, log, 1, 2, 3)
    await gate.reached(3)
    await settle()
    assert (gate.came, gate.went, gate.held, gate.is_open) == (3, 0, 3, False)
    gate.open()
    await asyncio.wait(tasks)
    assert log == [1, 2, 3]
    assert (gate.came, gate.went, gate.held, gate.is_open) == (3, 3, 0, True)


@pytest.mark.asyncio
async def test_an_open_gate_holds_nobody_until_it_is_shut() -> None:
    gate, log = Gate(), list[int]()
    gate.open()
    await come(gate, log, 1)
    gate.shut()
    (task,) = crowd(gate, log, 2)
    await settle()
    assert log == [1]
    gate.open()
    await task


@pytest.mark.asyncio
async def test_those_held_go_on_when_it_opens_even_if_it_is_shut_at_once() -> None:
    gate, log = Gate(), list[int]()
    tasks = crowd(gate, log, 1, 2)
    await gate.reached(2)
    gate.open()
    gate.shut()
    await asyncio.wait(tasks)
    assert log == [1, 2]


@pytest.mark.asyncio
async def test_let_lets_exactly_so_many_pass_first_those_who_wait_then_those_who_come() -> None:
    gate, log = Gate(), list[int]()
    tasks = crowd(gate, log, 1, 2, 3)
    await gate.reached(3)
    gate.let(2)
    await settle()
    assert log == [1, 2]
    gate.let(3)
    tasks += crowd(gate, log, 4, 5, 6)
    await settle()
    assert log == [1, 2, 3, 4, 5]
    assert gate.held == 1
    gate.let()
    await asyncio.wait(tasks)
    assert log == [1, 2, 3, 4, 5, 6]


@pytest.mark.asyncio
async def test_passes_that_nobody_used_are_taken_back_by_shutting() -> None:
    gate, log = Gate(), list[int]()
    gate.let(5)
    gate.shut()
    (task,) = crowd(gate, log, 1)
    await settle()
    assert log == []
    gate.let(0)
    await settle()
    assert log == []
    gate.open()
    await task
    gate.let(2)  # an open gate has no use for passes
    gate.shut()
    (task,) = crowd(gate, log, 2)
    await settle()
    assert log == [1]
    gate.open()
    await task


@pytest.mark.asyncio
async def test_who_is_cancelled_while_held_takes_no_pass_with_them() -> None:
    gate, log = Gate(), list[int]()
    first, second, third = crowd(gate, log, 1, 2, 3)
    await gate.reached(3)
    first.cancel()
    gate.let(1)  # the first has not noticed yet
    await asyncio.wait([first, second])
    assert log == [2]
    gate.let(1)
    third.cancel()  # after it was let, before it went
    await asyncio.wait([third])
    assert third.cancelled()
    assert gate.held == 0
    await come(gate, log, 4)
    assert log == [2, 4]
    assert (gate.came, gate.went) == (4, 2)


@pytest.mark.asyncio
async def test_reached_waits_for_the_number_and_not_for_less() -> None:
    gate, log = Gate(), list[int]()
    gate.open()
    waiting = asyncio.ensure_future(gate.reached(2))
    gone = asyncio.ensure_future(gate.reached(2))
    await come(gate, log, 1)
    await settle()
    assert not waiting.done()
    gone.cancel()
    await come(gate, log, 2)
    await waiting
    await gate.reached(1)


@pytest.mark.asyncio
async def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        Gate().let(-1)
