"""The context: what an actor knows of itself and of its place, and when."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.cast import Fail, Gate, Holder, Note, Recorder, settle
from understudy import Actor, ActorRef, ActorSystem, InvalidContext, Message, child, handler, supervisor


class Look(Message[dict[str, Any]]): ...


class LookLater(Message[dict[str, Any]]): ...


class Spawn(Message[str]):
    spec: Any


class Leave(Message): ...


def facts(actor: Actor[Any]) -> dict[str, Any]:
    context = actor.context
    return {
        "ref": context.ref,
        "path": context.path,
        "sender": context.sender,
        "parent": context.parent,
        "children": context.children,
        "system": context.system,
    }


class Witness(Actor[Look | LookLater | Spawn | Leave | Fail]):
    def __init__(self, seen: dict[str, Any] | None = None) -> None:
        self.seen: dict[str, Any] = {} if seen is None else seen

    def initialize(self) -> None:
        self.seen["initialize"] = facts(self)

    def shutdown(self, reason: object) -> None:
        self.seen["shutdown"] = facts(self)

    @handler
    def look(self, message: Look) -> dict[str, Any]:
        return facts(self)

    @handler
    async def look_later(self, message: LookLater) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return facts(self)

    @handler
    async def spawn(self, message: Spawn) -> str:
        ref = await self.context.spawn(message.spec)
        return str(ref.path)

    @handler
    def leave(self, message: Leave) -> None:
        self.context.stop()

    @handler
    def fail(self, message: Fail) -> int:
        raise message.error


both = pytest.mark.parametrize("question", [Look(), LookLater()], ids=["def", "async def"])


@both
@pytest.mark.asyncio
async def test_an_actor_knows_itself_and_its_place(question: Any) -> None:
    seen: dict[str, Any] = {}
    async with ActorSystem(supervisor("root", child(Witness, seen).options(name="one"))) as system:
        ref = system.lookup("root/one", Witness)
        found = await ref.ask(question)
        for known in (found, seen["initialize"]):
            assert known["ref"] == ref
            assert known["path"] == "/user/root/one"
            assert known["parent"].path == "/user/root"
            assert known["children"] == ()
            assert known["system"] is system
            assert known["sender"] is None
    assert seen["shutdown"]["path"] == "/user/root/one"


@both
@pytest.mark.asyncio
async def test_children_are_listed_while_they_live(question: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(child(Witness).options(name="parent"))
        for name in ("a", "b"):
            assert await ref.ask(Spawn(spec=child(Holder).options(name=name))) == f"/user/parent/{name}"
        children = (await ref.ask(question))["children"]
        assert isinstance(children, tuple)
        assert [known.path for known in children] == ["/user/parent/a", "/user/parent/b"]
        first = system.lookup("parent/a", Holder)
        first.stop()
        await first.wait_stopped()
        assert [known.path for known in (await ref.ask(question))["children"]] == ["/user/parent/b"]


@pytest.mark.asyncio
async def test_children_end_with_their_parent() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Witness).options(name="parent"))
        await ref.ask(Spawn(spec=child(Holder).options(name="a")))
        held = system.lookup("parent/a", Holder)
        ref.stop()
        await ref.wait_stopped()
        assert held.status == "stopped"
        assert [path for path, _ in recorder.of("actor_stopped")] == ["/user/parent/a", "/user/parent"]


@both
@pytest.mark.asyncio
async def test_the_sender_is_who_the_sender_says_it_is(question: Any) -> None:
    async with ActorSystem() as system:
        sender = await system.spawn(Holder)
        seen: list[Any] = []

        class Asked(Actor[Note]):
            @handler
            def note(self, message: Note) -> int:
                seen.append(self.context.sender)
                return 0

        class AskedLater(Actor[Note]):
            @handler
            async def note(self, message: Note) -> int:
                await asyncio.sleep(0.001)
                seen.append(self.context.sender)
                return 0

        ref: ActorRef[Note] = await system.spawn(Asked if isinstance(question, Look) else AskedLater)
        ref.tell(Note(), sender=sender)
        ref.tell(Note())
        ref.tell(Note(), sender=sender)
        await ref.ask(Note())
        assert seen == [sender, None, sender, None]


@both
@pytest.mark.asyncio
async def test_the_sender_of_an_ask_is_the_actor_that_asks(question: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Witness)

        class Asker(Actor[Leave]):
            @handler
            async def leave(self, message: Leave) -> None:
                seen.append((await ref.ask(question))["sender"])

        seen: list[Any] = []
        asker = await system.spawn(Asker)
        await asker.ask(Leave())
        asker.tell(Leave())
        await asyncio.sleep(1)
        assert seen == [asker, asker]


@pytest.mark.asyncio
async def test_a_dead_letter_names_its_sender() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        sender, ref = await system.spawn(Holder), await system.spawn(Witness)
        ref.stop()
        await ref.wait_stopped()
        ref.tell(Leave(), sender=sender)
        [(_message, _recipient, named, _why)] = recorder.letters
        assert named == sender.path


@pytest.mark.asyncio
async def test_the_context_does_not_exist_before_initialize_and_says_so() -> None:
    errors: list[Exception] = []

    class Early(Actor[Note]):
        def __init__(self) -> None:
            try:
                _ = self.context
            except InvalidContext as error:
                errors.append(error)

        @handler
        def note(self, message: Note) -> int:
            return 1

    async with ActorSystem() as system:
        ref = await system.spawn(Early)
        assert await ref.ask(Note()) == 1
        [error] = errors
        assert "initialize" in str(error)
        with pytest.raises(InvalidContext):
            _ = Early().context


@pytest.mark.asyncio
async def test_arguments_are_handed_to_each_incarnation_as_they_are() -> None:
    seen: dict[str, Any] = {}
    async with ActorSystem() as system:
        ref = await system.spawn(Witness, seen)
        seen.clear()
        ref.tell(Fail(error=ValueError("boom")))
        await settle()
        assert "initialize" in seen


@pytest.mark.asyncio
async def test_the_context_of_a_dead_incarnation_does_not_reach_its_successor() -> None:
    kept: list[Any] = []

    class Kept(Witness):
        def initialize(self) -> None:
            kept.append(self.context)

    async with ActorSystem() as system:
        ref = await system.spawn(Kept)
        ref.tell(Fail(error=ValueError("boom")))
        await settle()
        assert len(kept) == 2
        with contextlib.suppress(InvalidContext):
            kept[0].stop()
        with pytest.raises(InvalidContext):
            await kept[0].spawn(Holder)
        await settle()
        assert ref.status == "running"
        assert (await ref.ask(Look()))["children"] == ()
        assert len(kept) == 2


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.asyncio
async def test_a_stop_from_inside_is_a_normal_end_after_the_message_in_hand(restart: Any) -> None:
    gate, recorder, log = Gate(), Recorder(), []

    class Leaving(Actor[Leave]):
        @handler
        async def leave(self, message: Leave) -> None:
            self.context.stop()
            await gate.hold()
            log.append("ended its message")

    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(child(Leaving).options(name="one", restart=restart))
        asked = asyncio.create_task(ref.ask(Leave()))
        await gate.reached()
        gate.open()
        assert await asked is None
        await settle()
        assert log == ["ended its message"]
        assert recorder.of("actor_crashed") == []
        assert ref.status == ("running" if restart == "permanent" else "stopped")
        assert len(recorder.of("actor_started", "/user/one")) == (2 if restart == "permanent" else 1)
