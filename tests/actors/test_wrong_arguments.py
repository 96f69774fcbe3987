"""Wrong arguments are refused where they are given: who, what is allowed, what was given; and nothing is done."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.cast import Gate, Hold, Holder, Note, Recorder, settle
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Broadcast,
    Children,
    InvalidContext,
    InvalidSpec,
    InvalidTimeout,
    LinkExit,
    Mailbox,
    MailboxFull,
    Message,
    Name,
    Partitions,
    Pool,
    Registry,
    Router,
    ScatterGather,
    StreamMessage,
    Tasks,
    Terminated,
    UnderstudyError,
    Unhandled,
    Via,
    ask_many,
    child,
    handler,
    worker_pool,
)


class Do(Message[object]):
    """Calls it with the context, in a `def` handler."""

    what: Any


class Parts(StreamMessage[int]): ...


class Doer(Actor[Do | Note | Parts]):
    @handler
    def do(self, message: Do) -> object:
        return message.what(self.context)

    @handler
    def note(self, message: Note) -> int:
        return message.value

    @handler
    async def parts(self, message: Parts) -> AsyncIterator[int]:
        yield 1

    @handler
    def ended(self, news: Terminated) -> None: ...

    @handler
    def linked(self, news: LinkExit) -> None: ...


async def nothing() -> None: ...


def nil(value: Any = None) -> Any:
    return value


Wrong = Callable[[Any], Any]

IN_AN_ACTOR: dict[str, tuple[Wrong, type[UnderstudyError], str]] = {
    "watch": (
        lambda context: context.watch("north"),
        InvalidSpec,
        "ref must be the ref of an actor, got 'north' (watch of /user/doer)",
    ),
    "unwatch": (
        lambda context: context.unwatch(context.ref),
        InvalidSpec,
        "monitor must be what `watch` has returned, got ActorRef(/user/doer) (unwatch of /user/doer)",
    ),
    "link": (
        lambda context: context.link(None),
        InvalidSpec,
        "ref must be the ref of an actor, got None (link of /user/doer)",
    ),
    "unlink": (
        lambda context: context.unlink(7),
        InvalidSpec,
        "ref must be the ref of an actor, got 7 (unlink of /user/doer)",
    ),
    "become": (
        lambda context: context.become("opened"),
        InvalidSpec,
        "function must be a function or method, got 'opened' (become of /user/doer)",
    ),
    "start_task": (
        lambda context: context.start_task(7),
        InvalidSpec,
        "coroutine must be what an `async def` returns when it is called, got 7 (start_task of /user/doer)",
    ),
    "pipe_to_self": (
        lambda context: context.pipe_to_self(7, nil),
        InvalidSpec,
        "awaitable must be a coroutine, a task or a future, got 7 (pipe_to_self of /user/doer)",
    ),
    "pipe_to_self: to": (
        lambda context: context.pipe_to_self(nothing(), "Done"),
        InvalidSpec,
        "to must be a function or method, got 'Done' (pipe_to_self of /user/doer)",
    ),
    "pipe_to_self: failed": (
        lambda context: context.pipe_to_self(nothing(), nil, failed=7),
        InvalidSpec,
        "failed must be a function or method, got 7 (pipe_to_self of /user/doer)",
    ),
    "run_blocking": (
        lambda context: context.run_blocking(7, nil),
        InvalidSpec,
        "function must be a function or method, got 7 (run_blocking of /user/doer)",
    ),
    "timers.after": (
        lambda context: context.timers.after("k", -1.0, nil),
        InvalidTimeout,
        "timeout must be a positive, finite number of seconds, got -1.0",
    ),
    "timers.after: NaN": (
        lambda context: context.timers.after("k", math.nan, nil),
        InvalidTimeout,
        "timeout must be a positive, finite number of seconds, got nan",
    ),
    "timers.every": (
        lambda context: context.timers.every("k", "1", nil),
        InvalidTimeout,
        "timeout must be a positive, finite number of seconds, got '1'",
    ),
    "timers.every: first": (
        lambda context: context.timers.every("k", 1.0, nil, first=math.inf),
        InvalidTimeout,
        "timeout must be a positive, finite number of seconds, got inf",
    ),
    "receive_timeout": (
        lambda context: context.receive_timeout(True),
        InvalidTimeout,
        "timeout must be a positive, finite number of seconds, got True",
    ),
    "tell: sender": (
        lambda context: context.ref.tell(Note(), sender="me"),
        InvalidSpec,
        "sender must be the ref of an actor, got 'me' (tell to /user/doer)",
    ),
    "registry.register": (
        lambda context: context.system.registry.register("k", "north"),
        InvalidSpec,
        "ref must be the ref of an actor, got 'north' (an entry)",
    ),
    "registry.listen": (
        lambda context: context.system.registry.listen(7),
        InvalidSpec,
        "listener must be a function, or the ref of an actor, got 7 (a subscription)",
    ),
    "registry.lookup": (
        lambda context: context.system.registry.lookup("known", 7),
        InvalidSpec,
        "actor must be a class of actors, got 7 (/user/doer)",
    ),
    "groups.join": (
        lambda context: context.system.groups.join("g", 7),
        InvalidSpec,
        "ref must be the ref of an actor, got 7 (an entry)",
    ),
    "groups.subscribe": (
        lambda context: context.system.groups.subscribe("me", "g"),
        InvalidSpec,
        "listener must be a function, or the ref of an actor, got 'me' (a subscription)",
    ),
    "lookup": (
        lambda context: context.system.lookup("doer", 7),
        InvalidSpec,
        "actor must be a class of actors, got 7 (/user/doer)",
    ),
    "Router": (
        lambda context: Router(context.system, [context.ref, "north"]),
        InvalidSpec,
        "routees must be the ref of an actor, got 'north' (a router)",
    ),
    "Router of nothing like it": (
        lambda context: Router(context.system, 7),
        InvalidSpec,
        "routees must be refs, or what has them as `refs`, like a Group or another router, got 7 (a router)",
    ),
    "Router in a list": (
        lambda context: Router(context.system, [Router(context.system, [])]),
        InvalidSpec,
        "routees must be the ref of an actor, got <Router round_robin, 0 routees> (a router)",
    ),
    "Broadcast": (
        lambda context: Broadcast(context.system, ["north"]),
        InvalidSpec,
        "routees must be the ref of an actor, got 'north' (a router)",
    ),
    "ScatterGather": (
        lambda context: ScatterGather(context.system, None),
        InvalidSpec,
        "routees must be refs, or what has them as `refs`, like a Group or another router, got None (a router)",
    ),
    "Children": (
        lambda context: Children("north", Holder),
        InvalidSpec,
        "supervisor must be the ref of an actor, got 'north' (Children)",
    ),
    "Children: their class": (
        lambda context: Children(context.ref, "Holder"),
        InvalidSpec,
        "actor must be a class of actors, got 'Holder' (Children)",
    ),
    "Name": (
        lambda context: Name(context.system, 7),
        InvalidSpec,
        "path must be a string like 'meters/north', got 7 (Name)",
    ),
    "Via: its class": (
        lambda context: Via(context.system.registry, "k", 7),
        InvalidSpec,
        "actor must be a class of actors, got 7 (Via registry, 'k')",
    ),
    "Registry": (
        lambda context: Registry(context.system, kind="many"),
        InvalidSpec,
        "kind must be 'unique' or 'duplicate', got 'many' (registry 'registry')",
    ),
    "Pool": (
        lambda context: Pool("hashers", Holder),
        InvalidSpec,
        "supervisor must be the ref of an actor, got 'hashers' (Pool)",
    ),
    "Partitions": (
        lambda context: Partitions("carts", Holder),
        InvalidSpec,
        "supervisor must be the ref of an actor, got 'carts' (Partitions)",
    ),
    "Tasks": (
        lambda context: Tasks("tasks"),
        InvalidSpec,
        "supervisor must be the ref of an actor, got 'tasks' (Tasks)",
    ),
    "worker_pool: key": (
        lambda context: worker_pool("pool", child(Holder), workers=1, key="path"),
        InvalidSpec,
        "key must be a function or method, got 'path' (pool 'pool')",
    ),
    "Router: key": (
        lambda context: Router(context.system, [], "consistent_hash", key="path"),
        InvalidSpec,
        "key must be a function or method, got 'path' (router consistent_hash)",
    ),
    "stream: buffer": (
        lambda context: context.ref.stream(Parts(), buffer=0),
        InvalidSpec,
        "buffer must be a whole number of parts from 1 on, got 0 (a stream of /user/doer)",
    ),
    "stream: timeout": (
        lambda context: context.ref.stream(Parts(), timeout=math.nan),
        InvalidTimeout,
        "timeout must be a positive number of seconds, math.inf or None, got nan",
    ),
}


@pytest.mark.parametrize("call", IN_AN_ACTOR)
@pytest.mark.asyncio
async def test_it_is_refused_with_what_is_allowed_and_nothing_is_done(call: str) -> None:
    wrong, kind, text = IN_AN_ACTOR[call]
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        doer = await system.spawn(Doer)
        system.registry.register("known", doer)

        def attempt(context: Any) -> object:
            with pytest.raises(kind) as caught:
                wrong(context)
            return str(caught.value)

        assert await doer.ask(Do(what=attempt)) == text
        await asyncio.sleep(10)
        assert doer.status == "running"
        assert recorder.letters == []
        assert recorder.of("actor_crashed") == []
        assert system.registry.count() == 1
        assert system.groups.groups() == ()


@pytest.mark.asyncio
async def test_an_async_function_cannot_run_in_a_thread() -> None:
    async with ActorSystem() as system:
        doer = await system.spawn(Doer)

        def attempt(context: Any) -> object:
            with pytest.raises(InvalidSpec) as caught:
                context.run_blocking(nothing, nil)
            return str(caught.value)

        text = str(await doer.ask(Do(what=attempt)))
        assert text.startswith("function must not be an `async def`: use start_task or pipe_to_self, got <function")


AWAITED: dict[str, tuple[Callable[[ActorRef[Any]], Awaitable[Any]], type[UnderstudyError], str]] = {
    "ask_many of no refs": (
        lambda ref: ask_many(["north"], Note()),
        InvalidSpec,
        "ref must be the ref of an actor, got 'north' (ask_many)",
    ),
    "ask_many of no pairs": (
        lambda ref: ask_many([(ref, Note()), "north"]),
        InvalidSpec,
        "asks must be pairs of a ref and a message, or refs with one message for all, got 'north' (ask_many)",
    ),
    "ask_many: timeout": (
        lambda ref: ask_many([ref], Note(), timeout=0),
        InvalidTimeout,
        "timeout must be a positive number of seconds, math.inf or None, got 0",
    ),
    "ask of what nobody handles": (
        lambda ref: ref.ask("note"),
        Unhandled,
        "/user/doer has no handler for str",
    ),
    "ask of a class instead of a message": (
        lambda ref: ref.ask(Note),
        Unhandled,
        "/user/doer has no handler for the class Note: send an instance, Note(...)",
    ),
    "a stream of a message that is none": (
        lambda ref: anext(ref.stream(Note())),
        Unhandled,
        "/user/doer has no handler for Note: it is not answered in parts, use `ask`",
    ),
    "an ask of a stream": (
        lambda ref: ref.ask(Parts()),
        Unhandled,
        "/user/doer has no handler for Parts: it is answered in parts, use `stream`",
    ),
}


@pytest.mark.parametrize("call", AWAITED)
@pytest.mark.asyncio
async def test_what_is_awaited_fails_with_what_is_allowed(call: str) -> None:
    wrong, kind, text = AWAITED[call]
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        doer = await system.spawn(Doer)
        with pytest.raises(kind) as caught:
            await wrong(doer)
        assert str(caught.value) == text
        await settle()
        assert doer.status == "running"
        assert recorder.of("actor_crashed") == []
        assert await doer.ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_what_was_not_delivered_is_on_the_error() -> None:
    async with ActorSystem() as system:
        doer = await system.spawn(child(Doer).options(mailbox=1))
        doer.stop()
        await doer.wait_stopped()
        message = Note(value=7)
        for call in (doer.send(message), doer.ask(message)):
            with pytest.raises(ActorStopped) as caught:
                await call
            assert caught.value.message is message
        [error] = await ask_many([doer], message)
        assert isinstance(error, ActorStopped)
        assert error.message is message
        for policy in ("block", "fail", "drop_new"):
            mailbox = Mailbox(capacity=1, policy=policy)
            gate = Gate()
            busy = await system.spawn(child(Holder, gate).options(mailbox=mailbox))
            busy.tell(Hold())
            await gate.reached()
            busy.tell(Note())
            with pytest.raises(MailboxFull) as full:
                await busy.send(message, timeout=1.0)
            assert full.value.message is message
            gate.open()


@pytest.mark.asyncio
async def test_a_ref_of_another_system_in_the_same_event_loop_is_as_good_as_any() -> None:
    ends: list[str] = []

    class Watcher(Doer):
        @handler
        def ended(self, news: Terminated) -> None:
            ends.append(news.ref.path)

    async with ActorSystem(name="north") as north, ActorSystem(name="south") as south:
        watcher, other = await north.spawn(Watcher), await south.spawn(Doer)

        def involve(context: Any) -> None:
            context.watch(other)
            context.system.registry.register("other", other)
            context.system.groups.join("others", other)

        await watcher.ask(Do(what=involve))
        assert await Router(north, north.groups.group("others")).ask(Note(value=3)) == 3
        other.stop()
        await other.wait_stopped()
        await settle()
        assert ends == ["/user/doer"]
        assert north.registry.count() == 0
        assert north.groups.groups() == ()


OUTSIDE: dict[str, Wrong] = {
    "watch": lambda context: context.watch(context.ref),
    "timers": lambda context: context.timers,
    "stash": lambda context: context.stash(Note()),
    "become": lambda context: context.become(nil),
    "start_task": lambda context: context.start_task(nothing()),
    "pipe_to_self": lambda context: context.pipe_to_self(nothing(), nil),
    "run_blocking": lambda context: context.run_blocking(nil, nil),
    "register": lambda context: context.register("k"),
    "join": lambda context: context.join("g"),
    "tell_self": lambda context: context.tell_self(Note()),
    "reply_later": lambda context: context.reply_later(),
    "stop": lambda context: context.stop(),
}


@pytest.mark.parametrize("call", OUTSIDE)
@pytest.mark.asyncio
async def test_a_context_of_an_incarnation_that_has_ended_does_nothing_and_says_so(call: str) -> None:
    contexts: list[Any] = []
    async with ActorSystem() as system:
        doer = await system.spawn(Doer)
        await doer.ask(Do(what=contexts.append))
        doer.kill()
        await settle()
        assert doer.status == "running"
        with pytest.raises(InvalidContext) as caught:
            OUTSIDE[call](contexts[0])
        assert str(caught.value) == (
            "context of /user/doer: this incarnation has ended; what it holds is no longer its own"
        )
        await settle()
        assert doer.status == "running"
        assert system.registry.count() == 0


@pytest.mark.parametrize("call", OUTSIDE)
@pytest.mark.asyncio
async def test_before_initialize_there_is_no_context_and_it_says_so(call: str) -> None:
    texts: list[str] = []

    class Early(Doer):
        def __init__(self) -> None:
            with pytest.raises(InvalidContext) as caught:
                OUTSIDE[call](self.context)
            texts.append(str(caught.value))

    async with ActorSystem() as system:
        await system.spawn(Early)
    [text] = texts
    assert "self.context" in text or "context" in text
    assert "initialize" in text


@pytest.mark.parametrize("call", ["watch", "link", "unlink"])
@pytest.mark.asyncio
async def test_a_ref_of_an_event_loop_that_is_gone_is_refused(call: str) -> None:
    refs: list[ActorRef[Any]] = []

    async def elsewhere() -> None:
        async with ActorSystem(name="elsewhere") as system:
            refs.append(await system.spawn(child(Holder).options(name="far")))

    await asyncio.to_thread(asyncio.run, elsewhere())
    async with ActorSystem() as system:
        doer = await system.spawn(Doer)

        def attempt(context: Any) -> object:
            with pytest.raises(InvalidContext) as caught:
                getattr(context, call)(refs[0])
            return str(caught.value)

        assert str(await doer.ask(Do(what=attempt))).startswith("/user/far: used after its event loop has been closed")
