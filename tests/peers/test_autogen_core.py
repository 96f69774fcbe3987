"""What the page of comparisons says of autogen-core, by what that does; ``make test-peers`` installs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("autogen_core", reason="autogen-core is not installed here; make test-peers installs it")

from autogen_core import AgentId, MessageContext, RoutedAgent, SingleThreadedAgentRuntime, message_handler

GUIDE = AgentId("guide", "anna")


@dataclass
class Ask:
    place: str


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Guide(RoutedAgent):
    made = 0

    def __init__(self) -> None:
        super().__init__("knows the way")
        type(self).made += 1
        self.asked, self.inside, self.most = 0, 0, 0

    @message_handler
    async def tell_the_way(self, message: Ask, ctx: MessageContext) -> int:
        self.asked += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            if message.place == "nowhere":
                raise ValueError("no map")
            if message.place == "far":
                await asyncio.sleep(0.01)  # so that the others come in between
            if message.place == "further":
                await asyncio.sleep(60)  # until it is cancelled
            return self.asked if message.place != "how many" else self.most
        finally:
            self.inside -= 1


async def started() -> Any:
    Guide.made = 0
    runtime = SingleThreadedAgentRuntime()
    await Guide.register(runtime, "guide", Guide)
    runtime.start()
    return runtime


def test_an_error_goes_to_who_has_sent_and_the_agent_goes_on_as_it_is() -> None:
    async def failing() -> int:
        runtime = await started()
        await runtime.send_message(Ask("castle"), GUIDE)
        with pytest.raises(ValueError, match="no map"):
            await runtime.send_message(Ask("nowhere"), GUIDE)
        count = await runtime.send_message(Ask("castle"), GUIDE)
        await runtime.stop_when_idle()
        return int(count)

    assert asyncio.run(failing()) == 3
    assert Guide.made == 1


def test_an_agent_handles_several_messages_at_once() -> None:
    async def crowded() -> int:
        runtime = await started()
        await asyncio.gather(*(runtime.send_message(Ask("far"), GUIDE) for _ in range(100)))
        most = await runtime.send_message(Ask("how many"), GUIDE)
        await runtime.stop_when_idle()
        return int(most)

    assert asyncio.run(crowded()) > 10


def test_a_message_has_no_limit_of_time_and_one_that_hangs_keeps_the_runtime_from_ending() -> None:
    async def hanging() -> None:
        runtime = await started()
        asking = asyncio.create_task(runtime.send_message(Ask("further"), GUIDE))
        await asyncio.sleep(0.05)  # the message is on its way, of which the runtime does not tell
        ending = asyncio.create_task(runtime.stop_when_idle())
        await asyncio.sleep(0.3)  # what never happens can only be given time
        assert not asking.done()
        assert not ending.done()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(asking, ending, return_exceptions=True)

    asyncio.run(hanging())


def test_the_queue_has_no_bound() -> None:
    async def flooded() -> int:
        runtime = SingleThreadedAgentRuntime()
        await Guide.register(runtime, "guide", Guide)
        telling = [asyncio.create_task(runtime.send_message(Ask("castle"), GUIDE)) for _ in range(20_000)]
        await asyncio.sleep(0)  # each of them has its turn, and does not suspend before its message is in the queue
        waiting = runtime.unprocessed_messages_count
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)
        return int(waiting)

    assert asyncio.run(flooded()) == 20_000
