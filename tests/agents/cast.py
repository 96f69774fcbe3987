"""For many tests of agents: some that answer, wait at a gate, stream or fail; a tool; and somebody who listens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tests.cast import Gate
from understudy import ActorRef, Message, handler
from understudy.agents import AsyncAgent, Converse, Prompt, Said, Spoken, TextDelta, tool


@tool(dangerous=True)
def delete(path: str) -> str:
    """Delete a file."""
    return f"{path} is gone"


class Break(Message):
    """The handler raises this error."""

    error: Any


class Finish(Message):
    """The work of the agent is done."""


class Slow(Message[str]):
    """Handled by waiting at the gate of the agent."""


class Echo(AsyncAgent[Prompt | Break | Finish | Slow]):
    """Says what it hears."""

    def __init__(self, log: list[str] | None = None, gate: Gate | None = None) -> None:
        self.log_of_all = [] if log is None else log
        self.gate = gate
        self.heard: list[str] = []

    def initialize(self) -> None:
        self.log_of_all.append(f"{self.id} up")

    def shutdown(self, reason: object) -> None:
        self.log_of_all.append(f"{self.id} down")

    @handler
    def answer(self, message: Prompt) -> Said:
        self.heard.append(message.text)
        return Said(text=message.text, speaker=self.id, conversation=message.conversation)

    @handler
    def fail(self, message: Break) -> None:
        raise message.error

    @handler
    def finish(self, message: Finish) -> None:
        self.context.stop()

    @handler
    async def slow(self, message: Slow) -> str:
        assert self.gate is not None, "this agent was given no gate"
        await self.gate.hold()
        return "done"


class Streamer(AsyncAgent[Converse]):
    """Streams what it hears, in two parts, and waits at a gate between them."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    @handler
    async def converse(self, message: Converse) -> AsyncIterator[Spoken]:
        yield TextDelta(text=message.text)
        await self.gate.hold()
        yield TextDelta(text="!")


async def listen(agent: ActorRef[Any], text: str, heard: list[str]) -> None:
    """Say *text*, and put into *heard* what comes, which is nothing but text, until it fails."""
    async for part in agent.stream(Converse(text=text)):
        assert isinstance(part, TextDelta)
        heard.append(part.text)
