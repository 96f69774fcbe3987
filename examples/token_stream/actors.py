"""The model, a desk in front of it, and the reader who tries both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Never

from understudy import (
    Actor,
    ActorFailed,
    ActorRef,
    AskTimeout,
    ConsumerSlow,
    Message,
    StreamMessage,
    UnderstudyError,
    ask_many,
    handler,
)

__all__ = ["Answer", "Desk", "Model", "Reader", "Said", "Tokens"]


class Tokens(StreamMessage[str]):
    """Answer *prompt* token by token."""

    prompt: str
    seconds: float = 0.0
    """How long each token takes."""


class Answer(Message[str]):
    """Answer *prompt*, whole."""

    prompt: str


class Begin(Message): ...


class Said(Message[int]):
    """How much was said in the last stream. It is handled when that has ended, since the model is busy until then."""


class Model(Actor[Tokens | Said]):
    """Says the prompt backwards. The word "crash" is too much for it."""

    def __init__(self) -> None:
        self.said = 0

    @handler
    async def tokens(self, message: Tokens) -> AsyncIterator[str]:
        self.said = 0
        for word in reversed(message.prompt.split()):
            await asyncio.sleep(message.seconds)
            if word == "crash":
                raise ValueError("too much")
            self.said += 1
            yield word

    @handler
    def report(self, message: Said) -> int:
        return self.said


class Desk(Actor[Answer]):
    """Takes questions for the model, and further ones while it waits."""

    @handler(reentrant=True, cancellable=True)
    async def answer(self, message: Answer) -> str:
        model = self.context.system.lookup("token_stream/model", Model)
        return " ".join([token async for token in model.stream(Tokens(prompt=message.prompt))])


class Reader(Actor[Never]):
    """Follows streams, one after the other, and each in another way; then the program is over."""

    def initialize(self) -> None:
        self.context.tell_self(Begin())

    @handler
    async def _read(self, message: Begin) -> None:
        system = self.context.system
        model = system.lookup("token_stream/model", Model)
        for way in (self.to_the_end, self.some, self.too_slowly, self.impatiently):
            await way(model)
            print("   ", await model.ask(Said()), "said")
        await self.through_a_crash(model)
        await self.whole(system.lookup("token_stream/desk", Desk))
        system.stop()

    async def to_the_end(self, model: ActorRef[Tokens]) -> None:
        print("to the end")
        async for token in model.stream(Tokens(prompt="three two one")):
            print("   ", token)

    async def some(self, model: ActorRef[Tokens]) -> None:
        print("until it has heard enough")
        async with model.stream(Tokens(prompt="five four three two one"), buffer=2) as tokens:
            async for word in tokens:
                print("   ", word)
                if word == "two":
                    break

    async def too_slowly(self, model: ActorRef[Tokens]) -> None:
        print("too slowly")
        try:
            async for token in model.stream(Tokens(prompt="five four three two one"), buffer=2, timeout=0.2):
                print("   ", token)
                await asyncio.sleep(0.3)
        except ConsumerSlow as error:
            print("   ", type(error).__name__)

    async def impatiently(self, model: ActorRef[Tokens]) -> None:
        print("impatiently")
        try:
            async for token in model.stream(Tokens(prompt="two one", seconds=0.3), timeout=0.1):
                print("   ", token)
        except AskTimeout as error:
            print("   ", type(error).__name__)

    async def through_a_crash(self, model: ActorRef[Tokens]) -> None:
        print("through a crash of the model")
        for prompt in ("crash two one", "two one"):
            try:
                async for token in model.stream(Tokens(prompt=prompt)):
                    print("   ", token)
            except ActorFailed as error:
                print("   ", type(error).__name__, "because", error.__cause__)

    async def whole(self, desk: ActorRef[Answer]) -> None:
        print("whole answers, all at once, one of them too much")
        prompts = ["one two", "one crash", "three four"]
        for answer in await ask_many([(desk, Answer(prompt=prompt)) for prompt in prompts]):
            print("   ", type(answer).__name__ if isinstance(answer, UnderstudyError) else answer)
