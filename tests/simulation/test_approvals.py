"""Approvals under channels that answer at once, askers who give up, and cancels: each is decided exactly once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from understudy import ActorRef, ActorSystem, AskTimeout
from understudy.agents import (
    ApprovalDecided,
    ApprovalRequest,
    Approvals,
    Decide,
    Decision,
    ListPending,
    RequestApproval,
)
from understudy.testing import Faults, Simulation, simulate

REQUEST = ApprovalRequest(agent="/user/x", tool="delete", arguments="{}")


@simulate(schedules=20, faults=Faults(crash=0.0, cancel=0.02, stall=0.2))
async def test_whatever_channels_do_each_request_is_decided_exactly_once(sim: Simulation) -> None:
    random = sim.random
    decided: dict[int, list[Decision]] = {}
    accepted: dict[int, list[str]] = {}
    async with ActorSystem() as system:
        system.events.subscribe(
            ApprovalDecided, lambda event: decided.setdefault(event.number, []).append(event.decision)
        )
        approvals: ActorRef[Any] = await system.spawn(Approvals, expires_after=random.choice([0.2, 2.0]))
        replies: dict[int, Decision] = {}

        async def request(number: int) -> None:
            with contextlib.suppress(AskTimeout):
                replies[number] = await approvals.ask(
                    RequestApproval(number=number, request=REQUEST), timeout=random.choice([0.1, 5.0])
                )

        async def channel(name: str) -> None:
            for _ in range(6):
                await asyncio.sleep(random.choice([0, 0.05, 0.15]))
                for pending in await approvals.ask(ListPending(), timeout=100):
                    answer = Decide(number=pending.number, approve=random.random() < 0.5, by=name)
                    resolution = await approvals.ask(answer, timeout=100)
                    if resolution.accepted:
                        accepted.setdefault(pending.number, []).append(name)

        tasks = [asyncio.create_task(request(number), name=f"request-{number}") for number in range(5)]
        tasks += [asyncio.create_task(channel(name), name=name) for name in ("terminal", "page")]
        await asyncio.wait(tasks, timeout=300)
        await asyncio.sleep(5)
        await sim.quiesce()
        assert all(len(names) == 1 for names in accepted.values())
        assert all(len(decisions) == 1 for decisions in decided.values())
        for number, names in accepted.items():
            assert decided[number][0].by == names[0]
        for number, reply in replies.items():
            assert decided[number] == [reply]
