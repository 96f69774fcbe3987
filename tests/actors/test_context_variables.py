"""Context variables do not leak: each message and each hook begins with none but the runtime's own (A5)."""

from __future__ import annotations

import asyncio
import contextvars
from contextvars import ContextVar
from typing import Any

import pytest

from tests.cast import settle
from understudy import Actor, ActorSystem, Message, child, handler, supervisor

VAR: ContextVar[str] = ContextVar("VAR", default="nothing")
OTHER: ContextVar[str] = ContextVar("OTHER", default="nothing")


class Get(Message[str]): ...


class GetLater(Message[str]): ...


class Set(Message[str]):
    value: str


class SetLater(Message[str]):
    value: str


class Crash(Message[str]):
    value: str


class Forward(Message[str]):
    """Sets the variable, then asks *whom* with its own eyes open."""

    whom: Any
    way: str = "ask"
    later: bool = False


class Spawn(Message[str]):
    value: str


class Witness(Actor[Get | GetLater | Set | SetLater | Crash | Forward | Spawn]):
    """Says what it sees, and sets what it is told to."""

    def __init__(self, seen: list[tuple[str, str]] | None = None, value: str | None = None) -> None:
        self.seen: list[tuple[str, str]] = [] if seen is None else seen
        self.value = value
        self._look("__init__")
        if value is not None:
            VAR.set(f"{value} by __init__")

    def _look(self, where: str) -> str:
        self.seen.append((where, VAR.get()))
        return VAR.get()

    def initialize(self) -> None:
        if self.value is not None:
            VAR.set(f"{self.value} by initialize")
        else:
            self._look("initialize")

    def shutdown(self, reason: object) -> None:
        self._look("shutdown")

    @handler
    def get(self, message: Get) -> str:
        return self._look("get")

    @handler
    async def get_later(self, message: GetLater) -> str:
        self._look("get_later")
        await asyncio.sleep(0.001)
        return self._look("get_later")

    @handler
    def set(self, message: Set) -> str:
        self._look("set")
        VAR.set(message.value)
        return VAR.get()

    @handler
    async def set_later(self, message: SetLater) -> str:
        self._look("set_later")
        VAR.set(message.value)
        OTHER.set(message.value)
        await asyncio.sleep(0.001)
        assert OTHER.get() == message.value
        return VAR.get()

    @handler
    async def crash(self, message: Crash) -> str:
        VAR.set(message.value)
        await asyncio.sleep(0.001)
        raise ValueError(message.value)

    @handler
    async def forward(self, message: Forward) -> str:
        VAR.set("set by another actor")
        question = GetLater() if message.later else Get()
        if message.way == "ask":
            reply: str = await message.whom.ask(question)
            assert VAR.get() == "set by another actor"
            return reply
        if message.way == "send":
            await message.whom.send(question)
        else:
            message.whom.tell(question)
        return VAR.get()

    @handler
    async def spawn(self, message: Spawn) -> str:
        VAR.set(message.value)
        ref = await self.context.spawn(Witness, self.seen)
        return await ref.ask(Get())


class AsyncHooks(Witness):
    async def initialize(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0.001)
        super().initialize()

    async def shutdown(self, reason: object) -> None:  # type: ignore[override]
        self._look("shutdown")
        await asyncio.sleep(0.001)
        self._look("shutdown")


both = pytest.mark.parametrize("cls", [Witness, AsyncHooks])
questions = pytest.mark.parametrize("question", [Get(), GetLater()], ids=["def", "async def"])
setters = pytest.mark.parametrize("setter", [Set, SetLater], ids=["def", "async def"])


def blind(seen: list[tuple[str, str]]) -> bool:
    return bool(seen) and {value for _where, value in seen} == {"nothing"}


@both
@questions
@pytest.mark.asyncio
async def test_not_from_the_spawner_nor_from_who_made_the_system(cls: Any, question: Any) -> None:
    seen: list[tuple[str, str]] = []
    VAR.set("before the system")
    async with ActorSystem(supervisor("root", child(cls, seen).options(name="static"))) as system:
        VAR.set("by the spawner")
        ref = await system.spawn(cls, seen)
        assert await ref.ask(question) == "nothing"
        assert await system.lookup("root/static", cls).ask(question) == "nothing"
    assert blind(seen)
    assert {where for where, _ in seen} >= {"__init__", "initialize", "shutdown"}
    assert VAR.get() == "by the spawner"


@questions
@pytest.mark.parametrize("way", ["tell", "send", "ask"])
@pytest.mark.asyncio
async def test_not_from_the_sender(way: str, question: Any) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Witness, seen)
        for value in ("first", "second"):
            VAR.set(value)
            if way == "tell":
                ref.tell(question)
            else:
                await getattr(ref, way)(question)
        await settle()
    assert len(seen) >= 4
    assert blind(seen)


@pytest.mark.parametrize("later", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("way", ["tell", "send", "ask"])
@pytest.mark.asyncio
async def test_not_from_another_actor_that_sends(way: str, later: bool) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        target, other = await system.spawn(Witness, seen), await system.spawn(Witness)
        await other.ask(Forward(whom=target, way=way, later=later))
        await settle()
    assert len(seen) >= 3
    assert blind(seen)


@pytest.mark.asyncio
async def test_not_from_another_actor_that_spawns() -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Witness, seen)
        assert await ref.ask(Spawn(value="by the parent")) == "nothing"
    assert blind(seen)


@questions
@setters
@pytest.mark.asyncio
async def test_not_from_another_actor_that_runs_in_the_same_turn(setter: Any, question: Any) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        setting = [await system.spawn(Witness) for _ in range(3)]
        looking = [await system.spawn(Witness, seen) for _ in range(3)]
        for one, other in zip(setting, looking, strict=True):
            one.tell(setter(value="by a neighbour"))
            other.tell(question)
        await settle()
        await asyncio.sleep(1)
    assert blind(seen)


@questions
@setters
@pytest.mark.asyncio
async def test_not_from_an_earlier_message(setter: Any, question: Any) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Witness, seen)
        # One by one, and then many in a row, which one and the same pump may serve.
        assert await ref.ask(setter(value="earlier")) == "earlier"
        assert await ref.ask(question) == "nothing"
        for number in range(20):
            ref.tell(setter(value=f"earlier {number}"))
            ref.tell(question)
        assert await ref.ask(question) == "nothing"
    assert blind(seen)
    assert len(seen) > 40


@questions
@both
@pytest.mark.asyncio
async def test_not_from_initialize_nor_from_the_constructor(cls: Any, question: Any) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        ref = await system.spawn(cls, seen, "set")
        assert await ref.ask(question) == "nothing"
    # What the constructor set, initialize may see; nobody after them does.
    assert {value for where, value in seen if where not in ("__init__", "initialize")} == {"nothing"}
    assert ("shutdown", "nothing") in seen


class Leaves(Actor[Set | SetLater]):
    """Sets the variable and ends in the same message."""

    def __init__(self, seen: list[tuple[str, str]], fails: bool) -> None:
        self.seen, self.fails = seen, fails

    def initialize(self) -> None:
        self.seen.append(("initialize", VAR.get()))

    def shutdown(self, reason: object) -> None:
        self.seen.append(("shutdown", VAR.get()))

    def _leave(self, value: str) -> str:
        VAR.set(value)
        if self.fails:
            raise ValueError("boom")
        self.context.stop()
        return value

    @handler
    def leave(self, message: Set) -> str:
        return self._leave(message.value)

    @handler
    async def leave_later(self, message: SetLater) -> str:
        return self._leave(message.value)


@setters
@pytest.mark.parametrize("fails", [False, True], ids=["stops", "fails"])
@pytest.mark.asyncio
async def test_not_from_the_last_message_to_the_hook_at_the_end(fails: bool, setter: Any) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        ref = await system.spawn(Leaves, seen, fails)
        ref.tell(setter(value="by the last message"))
        await settle()
    assert [where for where, _ in seen] == ["initialize", "shutdown"] * 2
    assert blind(seen)


@questions
@both
@pytest.mark.asyncio
async def test_not_from_an_earlier_incarnation(cls: Any, question: Any) -> None:
    seen: list[tuple[str, str]] = []
    async with ActorSystem() as system:
        ref = await system.spawn(cls, seen)
        ref.tell(Crash(value="by the one before"))
        assert await ref.ask(question) == "nothing"
    assert [where for where, _ in seen].count("__init__") == 2
    assert blind(seen)


@setters
@pytest.mark.asyncio
async def test_not_back_to_the_sender(setter: Any) -> None:
    async with ActorSystem() as system:
        VAR.set("mine")
        ref = await system.spawn(Witness, None, "theirs")
        assert VAR.get() == "mine"
        await ref.ask(setter(value="theirs"))
        assert VAR.get() == "mine"
        ref.tell(setter(value="theirs"))
        await settle()
        assert VAR.get() == "mine"
    assert VAR.get() == "mine"


@pytest.mark.asyncio
async def test_a_handler_sees_no_variable_that_is_not_the_runtimes() -> None:
    class Look(Message[list[str]]):
        later: bool = False

    class Looking(Actor[Look]):
        @handler
        async def look(self, message: Look) -> list[str]:
            return [variable.name for variable in contextvars.copy_context() if variable in (VAR, OTHER)]

    VAR.set("here")
    OTHER.set("here")
    async with ActorSystem() as system:
        ref = await system.spawn(Looking)
        assert await ref.ask(Look()) == []


@pytest.mark.asyncio
async def test_a_handler_may_set_and_reset_across_its_waits() -> None:
    class Scope(Message[list[str]]): ...

    class Scoped(Actor[Scope]):
        @handler
        async def scope(self, message: Scope) -> list[str]:
            found = [VAR.get()]
            token = VAR.set("inside")
            await asyncio.sleep(0)
            found.append(VAR.get())
            async with asyncio.timeout(1):
                found.append(await asyncio.create_task(self._child()))
            VAR.reset(token)
            found.append(VAR.get())
            return found

        async def _child(self) -> str:
            return VAR.get()

    async with ActorSystem() as system:
        ref = await system.spawn(Scoped)
        for _ in range(3):
            assert await ref.ask(Scope()) == ["nothing", "inside", "inside", "nothing"]
