"""Trap 31: on 3.13.0 a custom task factory yields tasks of the name 'None'; the runtime names its tasks itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Call, Part, staged


def plain(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coro, loop=loop, **kwargs)


FACTORIES: list[Callable[..., Any] | None] = [None, plain]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.asyncio
async def test_31_every_task_that_runs_users_code_is_named_after_its_actor(factory: Callable[..., Any] | None) -> None:
    names: dict[str, str] = {}

    def look(where: str) -> Callable[[object], object]:
        async def what(_: object) -> None:
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            names[where] = task.get_name()

        return what

    asyncio.get_running_loop().set_task_factory(factory)
    part = Part(initialize=look("initialize"), shutdown=look("shutdown"))
    async with staged(part.spec()) as stage:
        await stage["player"].ask(Call(what=look("handler")))
    assert names == dict.fromkeys(("initialize", "handler", "shutdown"), "actor:/user/top/player")
