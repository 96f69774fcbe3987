"""Small parts for the tests of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def started(*coroutines: Coroutine[Any, Any, T]) -> list[asyncio.Task[T]]:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await settle()
    return tasks


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


async def outcome(awaitable: Awaitable[object]) -> object:
    try:
        return await awaitable
    except Exception as error:
        return type(error)


class Asked:
    """A predicate that writes down what it was asked about."""

    def __init__(self, wanted: Callable[[Any], object]) -> None:
        self.wanted = wanted
        self.items: list[Any] = []

    def __call__(self, item: Any) -> object:
        self.items.append(item)
        return self.wanted(item)


def nothing(_: object) -> bool:
    return False


def even(number: int) -> bool:
    return number % 2 == 0


def odd(number: int) -> bool:
    return number % 2 == 1
