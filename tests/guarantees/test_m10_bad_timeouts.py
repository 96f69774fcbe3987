"""M10: a bad timeout is refused before anything is sent; `math.inf` is none."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from tests.cast import Gate, Hold, Holder, Note, Recorder, settle
from understudy import ActorSystem, InvalidTimeout, child

BAD = [0, 0.0, -0.0, -1, -0.5, -math.inf, math.nan, "1", "", b"1", True, False, [], {}, (1,), 1j, object()]


@pytest.mark.parametrize("way", ["ask", "send"])
@pytest.mark.asyncio
async def test_a_bad_timeout_is_refused_and_nothing_is_sent(way: str) -> None:
    log: list[Any] = []
    recorder = Recorder()
    loop = asyncio.get_running_loop()
    async with ActorSystem(instruments=[recorder]) as system:
        ref = await system.spawn(Holder, None, log)
        for timeout in BAD:
            begun = loop.time()
            with pytest.raises(InvalidTimeout) as caught:
                await getattr(ref, way)(Note(value=1), timeout=timeout)
            assert isinstance(caught.value, ValueError)
            assert caught.value.value is timeout
            assert repr(timeout) in str(caught.value)
            assert loop.time() == begun
            await settle()
            assert log == []
        assert recorder.letters == []


@pytest.mark.parametrize("way", ["ask", "send"])
@pytest.mark.asyncio
async def test_a_bad_timeout_is_refused_before_the_state_of_the_target_is_looked_at(way: str) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        ref.stop()
        await ref.wait_stopped()
        for timeout in BAD:
            with pytest.raises(InvalidTimeout):
                await getattr(ref, way)(Note(value=1), timeout=timeout)


@pytest.mark.asyncio
async def test_a_bad_timeout_of_a_drain_is_refused_and_nothing_is_drained() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        for timeout in BAD:
            with pytest.raises(InvalidTimeout):
                ref.drain(timeout)  # type: ignore[arg-type]
            await settle()
            assert ref.status == "running"
        assert await ref.ask(Note(value=1)) == 1


@pytest.mark.asyncio
async def test_a_bad_timeout_of_a_wait_is_refused_also_when_there_is_nothing_to_wait_for() -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        for timeout in BAD:
            with pytest.raises(InvalidTimeout):
                await ref.wait_stopped(timeout)  # type: ignore[arg-type]
        ref.stop()
        await ref.wait_stopped()
        for timeout in BAD:
            with pytest.raises(InvalidTimeout):
                await ref.wait_stopped(timeout)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_bad_timeout_inside_of_an_actor_is_refused_too() -> None:
    from understudy import Actor, Message, handler

    log: list[Any] = []

    class Try(Message[list[str]]):
        pass

    async with ActorSystem() as system:
        target = await system.spawn(Holder, None, log)

        class Trier(Actor[Try]):
            @handler
            async def try_all(self, message: Try) -> list[str]:
                found = []
                for timeout in BAD:
                    try:
                        await target.ask(Note(value=1), timeout=timeout)  # type: ignore[arg-type]
                    except InvalidTimeout as error:
                        found.append(type(error).__name__)
                return found

        trier = await system.spawn(Trier)
        assert await trier.ask(Try()) == ["InvalidTimeout"] * len(BAD)
        await settle()
        assert log == []


@pytest.mark.asyncio
async def test_infinity_waits_as_long_as_it_takes() -> None:
    gate, log = Gate(), []
    async with ActorSystem() as system:
        ref = await system.spawn(child(Holder, gate, log).options(mailbox=1))
        asked = asyncio.create_task(ref.ask(Hold(value=1), timeout=math.inf))
        await gate.reached()
        await ref.send(Note(value=2))
        sent = asyncio.create_task(ref.send(Note(value=3), timeout=math.inf))
        waited = asyncio.create_task(ref.wait_stopped(math.inf))
        await asyncio.sleep(365 * 24 * 3600)
        assert not asked.done()
        assert not sent.done()
        assert not waited.done()
        gate.open()
        assert await asked == 1
        await sent
        await settle()
        assert log == [1, 2, 3]
        ref.drain(math.inf)
        await waited


@pytest.mark.parametrize("timeout", [1, 1.0, 1e-9, 10**12, 1e300, None])
@pytest.mark.asyncio
async def test_every_positive_number_is_allowed(timeout: Any) -> None:
    async with ActorSystem() as system:
        ref = await system.spawn(Holder)
        await ref.send(Note(value=1), timeout=timeout)
        if timeout != 1e-9:
            assert await ref.ask(Note(value=2), timeout=timeout) == 2
