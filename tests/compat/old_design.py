"""A stand-in for the old design: its interfaces as programs saw them, small, with what they did and did not do.

For the pages and for nothing else. The pages import it as `old_design`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("old_design")


class ExecutionFinished(Exception):
    """Raised by an agent that has done the program's work."""


class EventBus:
    """Exact classes and "*"; plain callbacks within `publish`, coroutines as tasks that nobody keeps."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self._by_class: dict[Any, list[Callable[[Any], Any]]] = defaultdict(list)
        self._closing = False

    @property
    def is_closing(self) -> bool:
        return self._closing

    def subscribe(self, event_type: Any, callback: Callable[[Any], Any]) -> None:
        self._by_class[event_type].append(callback)

    def unsubscribe(self, event_type: Any, callback: Callable[[Any], Any]) -> None:
        self._by_class[event_type].remove(callback)

    def clear_subscribers(self, event_type: Any = None) -> None:
        if event_type is None:
            self._by_class.clear()
        else:
            self._by_class.pop(event_type, None)

    def publish(self, event: Any) -> None:
        for callback in [*self._by_class[type(event)], *self._by_class["*"]]:
            try:
                result = callback(event)
                if inspect.iscoroutine(result):
                    try:
                        asyncio.get_running_loop().create_task(result)
                    except RuntimeError:
                        asyncio.run(result)
            except Exception as error:
                logger.error("error in a subscriber: %s", error)

    def close(self) -> None:
        self._closing = True
        self._by_class.clear()


class AsyncMessageQueue:
    """All waiters are woken at each put; a timeout begins again with each of them."""

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._news = asyncio.Condition()

    async def put(self, message: Any, priority: bool = False) -> None:
        async with self._news:
            self._messages.insert(0 if priority else len(self._messages), message)
            self._news.notify_all()

    async def get(self, predicate: Callable[[Any], bool] | None = None, timeout: float | None = None) -> Any:
        async with self._news:
            while True:
                for index, message in enumerate(self._messages):
                    if predicate is None or predicate(message):
                        return self._messages.pop(index)
                await asyncio.wait_for(self._news.wait(), timeout)

    async def get_batch(
        self,
        predicate: Callable[[Any], bool] | None = None,
        max_messages: int = 10,
        timeout: float = 5.0,
        min_messages: int = 1,
    ) -> list[Any]:
        batch: list[Any] = []
        try:
            while len(batch) < max_messages and (self._messages or len(batch) < min_messages):
                batch.append(await self.get(predicate, timeout))
        except TimeoutError:
            pass
        return batch

    @property
    def size(self) -> int:
        return len(self._messages)


class BaseAgent:
    """An inbox for each sender; one agent's task for its whole life."""

    def __init__(self, agent_id: str, program: Program, **kwargs: Any) -> None:
        self.id = agent_id
        self.program = program
        self.kwargs = kwargs
        self.inboxes: dict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)

    async def initialize(self) -> None:
        pass

    async def begin(self) -> None:
        pass

    async def SendMessage(self, target_agent_id: str, message: str) -> None:
        await self.program.route_message(self.id, target_agent_id, message)

    async def WaitForMessage(self, source_agent_id: str) -> str:
        inbox = self.inboxes[source_agent_id]
        messages = [await inbox.get()]
        while not inbox.empty():
            messages.append(inbox.get_nowait())
        return "\n".join(messages)


class Program:
    """A fixed set of agents, each a task, until one of them raises `ExecutionFinished`, or any other error."""

    def __init__(self, event_bus: EventBus) -> None:
        self.event_bus = event_bus
        self.agents: list[BaseAgent] = []
        self.agents_by_id: dict[str, BaseAgent] = {}

    def create_agent(self, cls: Callable[..., BaseAgent], agent_id: str, **kwargs: Any) -> BaseAgent:
        agent = cls(agent_id, self, **kwargs)
        self.agents.append(agent)
        self.agents_by_id[agent_id] = agent
        return agent

    async def route_message(self, sender_id: str, receiver_id: str, message: str) -> None:
        receiver = self.agents_by_id.get(receiver_id)
        if receiver is not None:
            await receiver.inboxes[sender_id].put(message)

    async def run_till_exit(self) -> None:
        for agent in self.agents:
            await agent.initialize()
        try:
            await asyncio.gather(*(agent.begin() for agent in self.agents))
        except ExecutionFinished:
            pass
        finally:
            await self.shutdown()

    async def shutdown(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        self.event_bus.close()
