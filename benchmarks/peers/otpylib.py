"""otpylib: gen_server modules in processes; a cast is awaited, a supervisor restarts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar

from otpylib import atom, gen_server, process, supervisor
from otpylib.gen_server import NoReply, Reply
from otpylib.module import GEN_SERVER, SUPERVISOR, OTPModule
from otpylib.runtime import set_runtime
from otpylib.runtime.backends.asyncio_backend.backend import AsyncIOBackend, _current_process

from benchmarks.baselines.bare import ASKERS, ONE, Fail, Oops, Tick, Token
from benchmarks.harness import Comparison, Stopwatch, expect
from benchmarks.peers.actors import Done, actor_ways, restart_way
from benchmarks.peers.stage import (
    ASK,
    ASK_AT_ONCE,
    BURST,
    COME_AND_GO,
    NO_EVENTS,
    PACED,
    RESTART,
    RING,
    Way,
    main,
)

SHARES: dict[Comparison, float] = {
    BURST: 0.1, PACED: 0.1, ASK: 0.1, ASK_AT_ONCE: 0.1, RING: 0.1, COME_AND_GO: 0.2
}  # fmt: skip
RESTART_SHARE = 0.05


class Counter(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):  # type: ignore[call-arg]
    async def init(self, argument: Any) -> Any:
        return [0, 0, *argument]

    async def handle_call(self, message: Any, _from: Any, state: Any) -> Any:
        state[1] += message.value
        return Reply(payload=state[1]), state

    async def handle_cast(self, message: Any, state: Any) -> Any:
        if isinstance(message, Tick):
            state[0] += 1
            if state[0] == state[2]:
                state[3].set_result(state[0])
        return NoReply(), state

    async def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply(), state

    async def terminate(self, reason: Any, state: Any) -> None:
        pass


class Node(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):  # type: ignore[call-arg]
    async def init(self, argument: Any) -> Any:
        return list(argument)

    async def handle_call(self, message: Any, _from: Any, state: Any) -> Any:
        return Reply(payload=None), state

    async def handle_cast(self, message: Any, state: Any) -> Any:
        if not isinstance(message, Token):
            state[0] = message
            return NoReply(), state
        message.left -= 1
        if message.left:
            await gen_server.cast(state[0], message)
        else:
            state[1].set_result(message.left)
        return NoReply(), state

    async def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply(), state

    async def terminate(self, reason: Any, state: Any) -> None:
        pass


class Player(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):  # type: ignore[call-arg]
    incarnations: ClassVar[list[int]] = []

    async def init(self, argument: Any) -> Any:
        Player.incarnations.append(1)
        return None

    async def handle_call(self, message: Any, _from: Any, state: Any) -> Any:
        return Reply(payload=len(Player.incarnations)), state

    async def handle_cast(self, message: Any, state: Any) -> Any:
        if isinstance(message, Fail):
            raise Oops
        return NoReply(), state

    async def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply(), state

    async def terminate(self, reason: Any, state: Any) -> None:
        pass


class Top(metaclass=OTPModule, behavior=SUPERVISOR, version="1.0.0"):  # type: ignore[call-arg]
    async def init(self, argument: Any) -> Any:
        spec = supervisor.child_spec(id="player", module=Player, name="player", restart=atom.ensure("permanent"))
        return [spec], supervisor.options(max_restarts=10**9, max_seconds=5)

    async def terminate(self, reason: Any, state: Any) -> None:
        pass


class Actors:
    """Each has a name: one cannot call a process that has none."""

    def __init__(self) -> None:
        self.numbers = itertools.count()

    async def counter(self, expected: int, done: Done) -> Any:
        name = f"counter-{next(self.numbers)}"
        await gen_server.start(Counter, (expected, done), name)
        return name

    async def node(self, neighbour: Any, done: Done) -> Any:
        name = f"node-{next(self.numbers)}"
        await gen_server.start(Node, (neighbour, done), name)
        return name

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        return partial(gen_server.cast, ref)

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        return partial(gen_server.call, ref)

    async def stop(self, ref: Any) -> None:
        monitor = await process.monitor(process.whereis(ref))
        await process.exit(ref, atom.ensure("shutdown"))
        while (await process.receive())[1] != monitor:
            pass


class Persistent(Actors):
    """For one that may be being restarted: it has no name then, so who asks waits until it has been started."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = 1

    def tell(self, ref: Any) -> Callable[[Any], Any]:
        async def tell(message: Any) -> None:
            self.awaited += 1
            await gen_server.cast(ref, message)

        return tell

    def ask(self, ref: Any) -> Callable[[Any], Awaitable[Any]]:
        async def ask(message: Any) -> Any:
            while len(Player.incarnations) < self.awaited or process.whereis(ref) is None:  # noqa: ASYNC110 - no other
                await asyncio.sleep(0)
            return await gen_server.call(ref, message)

        return ask


@asynccontextmanager
async def node() -> AsyncGenerator[None]:
    """Runs what is within as a process of a node; what its servers print of each crash goes nowhere."""
    backend = AsyncIOBackend()
    await backend.initialize()
    set_runtime(backend)
    entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def idle() -> None:
        entered.set_result(None)
        await asyncio.Event().wait()

    pid = await process.spawn(idle, mailbox=True)
    await entered
    token = _current_process.set(pid)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
        _current_process.reset(token)
        await backend.shutdown()


@asynccontextmanager
async def system() -> AsyncGenerator[Actors]:
    async with node():
        yield Actors()


async def ask_at_once(count: int, watch: Stopwatch) -> None:
    """Each asker is a process, since replies come to the mailbox of the one that has called."""
    async with system() as actors:
        ref, each = await actors.counter(0, asyncio.get_running_loop().create_future()), -(-count // ASKERS)
        totals: list[int] = []
        all_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def asker() -> None:
            total = 0
            for _ in range(each):
                total = await gen_server.call(ref, ONE)
            totals.append(total)
            if len(totals) == ASKERS:
                all_done.set_result(None)

        with watch:
            for _ in range(ASKERS):
                await process.spawn(asker, mailbox=True)
            await all_done
        expect("the highest reply", max(totals), each * ASKERS)


@asynccontextmanager
async def player() -> AsyncGenerator[tuple[Actors, Any]]:
    async with node():
        Player.incarnations.clear()
        await supervisor.start_link(Top)
        yield Persistent(), "player"


if __name__ == "__main__":
    main(
        "otpylib",
        {
            **actor_ways(system, SHARES),
            ASK_AT_ONCE: Way(ask_at_once, SHARES[ASK_AT_ONCE]),
            RESTART: restart_way(player, RESTART_SHARE),
        },
        NO_EVENTS,
    )
