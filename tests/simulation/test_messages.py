"""Tells, sends and asks under crashes, cancels, stops and every order of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from typing import Any

from tests.cast import EAGER
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    AskCycle,
    Mailbox,
    Message,
    UnderstudyError,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate
from understudy.testing._campaign import search
from understudy.testing._schedule import Subject

DEPARTURES = 3 if os.environ.get("UNDERSTUDY_CAMPAIGN") else 2
STARTS = EAGER if os.environ.get("UNDERSTUDY_CAMPAIGN") else EAGER[-1:]  # how the runtime starts tasks on this Python
HARSH = Faults(crash=0.05, cancel=0.05, stall=math.inf)


class Quick(Message[int]):
    number: int


class Slow(Message[int]):
    number: int
    seconds: float = 0.0


class Worker(Actor[Quick | Slow]):
    """Writes down what it has begun and what it has done."""

    def __init__(self, begun: list[int], done: list[int]) -> None:
        self.begun, self.done = begun, done

    @handler
    def quick(self, message: Quick) -> int:
        self.begun.append(message.number)
        self.done.append(message.number)
        return message.number

    @handler
    async def slow(self, message: Slow) -> int:
        self.begun.append(message.number)
        await asyncio.sleep(message.seconds)
        self.done.append(message.number)
        return message.number


def workers(begun: list[int], done: list[int], capacity: int = 1000) -> Any:
    spec = child(Worker, begun, done).options(name="worker", mailbox=capacity)
    return supervisor("root", spec, max_restarts=100_000)


@simulate(schedules=50, faults=HARSH)
async def test_messages_come_once_and_in_order_through_crashes_and_cancels(sim: Simulation) -> None:
    begun: list[int] = []
    done: list[int] = []
    root = await sim.system.spawn(workers(begun, done, capacity=4))
    worker: ActorRef[Any] = sim.system.lookup(f"{root.path}/worker", Worker)

    async def talk(first: int) -> None:
        for number in range(first, first + 6):
            kind = sim.random.randrange(4)
            if kind == 0:
                worker.tell(Quick(number=number))
            elif kind == 1:
                await worker.send(Slow(number=number))
            else:
                message = Slow(number=number) if kind == 2 else Quick(number=number)
                with contextlib.suppress(UnderstudyError):
                    assert await worker.ask(message, timeout=sim.random.choice([0.5, math.inf])) == number

    async with asyncio.TaskGroup() as group:
        for sender in range(3):
            group.create_task(talk(sender * 100), name=f"sender-{sender}")
    await sim.quiesce()
    assert len(begun) == len(set(begun))
    for sender in range(3):
        mine = [number for number in begun if number // 100 == sender]
        assert mine == sorted(mine)
    assert worker.status == "running"


@simulate(schedules=50, faults=Faults(crash=0.02, cancel=0.02, stall=10.0))
async def test_every_ask_has_an_outcome_when_the_actor_stops(sim: Simulation) -> None:
    begun: list[int] = []
    done: list[int] = []
    worker = await sim.system.spawn(child(Worker, begun, done).options(mailbox=2, shutdown=0.5))

    async def ask(number: int) -> str:
        message = Quick(number=number) if number % 2 else Slow(number=number, seconds=sim.random.choice([0, 0.1]))
        try:
            assert await worker.ask(message, timeout=math.inf) == number
        except UnderstudyError as error:
            return type(error).__name__
        return "reply"

    async with asyncio.TaskGroup() as group:
        asks = [group.create_task(ask(number), name=f"ask-{number}") for number in range(6)]
        await asyncio.sleep(sim.random.choice([0, 0.05, 0.15]))
        ending = sim.random.choice([worker.stop, worker.drain, worker.kill])
        ending()
        await asyncio.sleep(0.05)
        worker.stop()
    assert {ask.result() for ask in asks} <= {"reply", "ActorFailed", "ActorStopped"}
    await worker.wait_stopped()
    assert not worker.tell(Quick(number=1))


class Pass(Message[int]):
    left: int


class Node(Actor[Pass]):
    """Asks somebody, who asks somebody..."""

    def __init__(self, others: list[ActorRef[Any]], outcomes: list[str]) -> None:
        self.others, self.outcomes = others, outcomes

    @handler
    async def go_on(self, message: Pass) -> int:
        if not message.left:
            return 0
        target = self.others[message.left % len(self.others)]
        return 1 + await target.ask(Pass(left=message.left - 1))


@simulate(schedules=50, faults=Faults(stall=10.0))
async def test_circles_of_asks_are_found_and_no_ask_waits_for_ever(sim: Simulation) -> None:
    nodes: list[ActorRef[Any]] = []
    for number in range(4):
        spec = child(Node, nodes, []).options(name=f"node-{number}")
        nodes.append(await sim.system.spawn(supervisor(f"s{number}", spec, max_restarts=100_000)))
    nodes[:] = [sim.system.lookup(f"s{number}/node-{number}", Node) for number in range(4)]

    async def ask(number: int) -> str:
        try:
            await nodes[number].ask(Pass(left=sim.random.randrange(1, 5)), timeout=math.inf)
        except UnderstudyError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, AskCycle):
                cause = cause.__cause__
            return "AskCycle" if cause is not None else type(error).__name__
        return "reply"

    async with asyncio.TaskGroup() as group:
        asks = [group.create_task(ask(number % 4)) for number in range(6)]
    # Without any deadline, a circle that was not found would have been a deadlock.
    assert {each.result() for each in asks} <= {"reply", "AskCycle", "ActorFailed", "ActorStopped"}
    await sim.quiesce()


async def stop_against_tell(sim: Any) -> None:
    """Small enough for all orders: what is accepted is handled or becomes a dead letter."""
    begun: list[int] = []
    done: list[int] = []
    worker = await sim.system.spawn(child(Worker, begun, done).options(mailbox=Mailbox(capacity=2)))
    told: list[bool] = []

    async def tell(number: int) -> None:
        told.append(worker.tell(Quick(number=number) if number else Slow(number=number)))

    async def stop() -> None:
        worker.stop()

    tasks = [asyncio.create_task(tell(0), name="tell-0"), asyncio.create_task(tell(1), name="tell-1")]
    tasks.append(asyncio.create_task(stop(), name="stop"))
    await asyncio.wait(tasks)
    await worker.wait_stopped()
    letters = sim.system.statistics().dead_letters
    assert len(done) + letters == 2, (told, done, letters)


def test_all_orders_of_two_tells_and_a_stop() -> None:
    subject = Subject(stop_against_tell, Faults(stall=0.0), budgets=(1,))
    for eager in STARTS:
        name = "all orders of stop against tell"
        report = search(subject, departures=DEPARTURES, at_most=30_000, name=name, eager=eager)
        print(report.summary())
        assert report.complete


@simulate(schedules=50, faults=HARSH)
async def test_back_pressure_holds_through_restarts(sim: Simulation) -> None:
    begun: list[int] = []
    done: list[int] = []
    root = await sim.system.spawn(workers(begun, done, capacity=1))
    worker: ActorRef[Any] = sim.system.lookup(f"{root.path}/worker", Worker)
    sent: list[int] = []

    async def send(first: int) -> None:
        for number in range(first, first + 5):
            with contextlib.suppress(ActorStopped):
                await worker.send(Slow(number=number) if number % 2 else Quick(number=number))
                sent.append(number)

    async with asyncio.TaskGroup() as group:
        for sender in range(3):
            group.create_task(send(sender * 100), name=f"sender-{sender}")
    await sim.quiesce()
    assert len(sent) == 15
    assert len(begun) == len(set(begun))
    assert set(begun) <= set(sent)
