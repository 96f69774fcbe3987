"""Actors and messages that live on both sides of links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from pydantic import field_validator

from understudy import (
    Actor,
    ActorRef,
    Message,
    Refused,
    StreamMessage,
    Terminated,
    handler,
)
from understudy.testing import Gate


class Add(Message[int]):
    number: int = 1


class Total(Message[int]): ...


class Boom(Message[None]):
    text: str = "boom"


class No(Message[None]): ...


class Slow(Message[str]):
    seconds: float = 0.0


class WhoSent(Message[str | None]): ...


class Introduce(Message[None]):
    to: ActorRef[Any]


class Friend(Message[ActorRef[Any] | None]): ...


class AskFriend(Message[int]):
    seconds: float = 5.0


class Count(StreamMessage[int]):
    to: int
    fail_at: int = -1


class Picky(Message[int]):
    """Has a check that fails, with whatever the test wants."""

    raises: ClassVar[type[Exception]] = ValueError
    number: int

    @field_validator("number")
    @classmethod
    def check(cls, value: int) -> int:
        raise cls.raises("picky")


class Unknown(Message[None]): ...


class Watching(Message[list[str]]): ...


class Watch(Message[None]):
    whom: ActorRef[Any]


class Counter(Actor[Add | Total | Boom | No | Slow | WhoSent | Introduce | Friend | AskFriend | Count]):
    def __init__(self, start: int = 0, seen: list[Any] | None = None) -> None:
        self.total = start
        self.seen: list[Any] = [] if seen is None else seen
        self.friend: ActorRef[Any] | None = None

    @handler
    def add(self, message: Add) -> int:
        self.total += message.number
        self.seen.append(message.number)
        return self.total

    @handler
    def tell(self, message: Total) -> int:
        return self.total

    @handler
    def boom(self, message: Boom) -> None:
        raise ValueError(message.text)

    @handler
    def no(self, message: No) -> None:
        raise Refused("not today")

    @handler(cancellable=True)
    async def slow(self, message: Slow) -> str:
        self.seen.append("slow began")
        try:
            await asyncio.sleep(message.seconds)
        except asyncio.CancelledError:
            self.seen.append("slow cancelled")
            raise
        return "done"

    @handler
    def who_sent(self, message: WhoSent) -> str | None:
        sender = self.context.sender
        self.seen.append(None if sender is None else sender.path)
        return None if sender is None else sender.path

    @handler
    def introduce(self, message: Introduce) -> None:
        self.friend = message.to

    @handler
    def who_is(self, message: Friend) -> ActorRef[Any] | None:
        return self.friend

    @handler
    async def ask_friend(self, message: AskFriend) -> int:
        assert self.friend is not None
        found: int = await self.friend.ask(Total(), timeout=message.seconds)
        return found

    @handler
    async def count(self, message: Count) -> AsyncIterator[int]:
        try:
            for number in range(message.to):
                if number == message.fail_at:
                    raise ValueError("no further")
                self.seen.append(f"part {number}")
                yield number
        finally:
            self.seen.append("stream closed")


class Relay(Actor[AskFriend | Introduce | Total]):
    """Asks its friend what it is asked."""

    def __init__(self) -> None:
        self.friend: ActorRef[Any] | None = None

    @handler
    def introduce(self, message: Introduce) -> None:
        self.friend = message.to

    @handler
    async def ask_friend(self, message: AskFriend) -> int:
        assert self.friend is not None
        asked: Any = message if self.friend.path.endswith(("relay", "first", "second")) else Total()
        found: int = await self.friend.ask(asked)
        return found

    @handler
    def total(self, message: Total) -> int:
        return 0


class Liar(Actor[Add | Total]):
    """Says that it replies with numbers."""

    @handler
    def add(self, message: Add) -> int:
        return "no number"

    @handler
    def total(self, message: Total) -> int:
        return 1


class Held(Actor[Add | Total]):
    """Handles nothing while its gate is closed."""

    def __init__(self, gate: Gate, seen: list[Any]) -> None:
        self.gate, self.seen = gate, seen

    @handler
    async def add(self, message: Add) -> int:
        await self.gate.hold()
        self.seen.append(message.number)
        return message.number

    @handler
    async def total(self, message: Total) -> int:
        await self.gate.hold()
        return len(self.seen)


class Watcher(Actor[Watch | Watching | Add]):
    """Notes what it is sent, and the ends of whom it watches, in the order in which it hears of them."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @handler
    def watch(self, message: Watch) -> None:
        self.context.watch(message.whom)

    @handler
    def add(self, message: Add) -> int:
        self.heard.append(str(message.number))
        return message.number

    @handler
    def ended(self, signal: Terminated) -> None:
        self.heard.append(f"{signal.ref.path}: {signal.reason}")

    @handler
    def watching(self, message: Watching) -> list[str]:
        return self.heard


class Chatter(Actor[Add | Introduce]):
    """Passes on what it is told, and ends after number 0."""

    def __init__(self) -> None:
        self.to: ActorRef[Any] | None = None

    @handler
    def introduce(self, message: Introduce) -> None:
        self.to = message.to

    @handler
    def add(self, message: Add) -> int:
        assert self.to is not None
        for number in range(message.number):
            self.to.tell(Add(number=number))
        self.context.stop()
        return 0


MESSAGES = [
    Add, Total, Boom, No, Slow, WhoSent, Introduce, Friend, AskFriend, Count, Watching, Watch
]  # fmt: skip
