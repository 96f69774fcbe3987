"""Users of one link that come and go as they like, under cuts, cancels and a network that is down now and then.

At any time there is at most one link with the node; nobody waits for ever; who is left has a link when the trouble is
over; and when all have left, there is none.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.transports.cast import MESSAGES, Counter, Total
from tests.transports.stage import Tapped, Wire
from understudy import ActorStopped, ActorSystem
from understudy.testing import Faults, Simulation, simulate
from understudy.transports import LinkDown, LinkError, LinkOptions, RemoteNode, Timing

# The event loop may lag behind by a second, again and again.
OPTIONS = LinkOptions(timing=Timing(heartbeat=5.0, ack_timeout=30.0))
TERMS: dict[str, Any] = {"messages": MESSAGES, "options": OPTIONS}


def connectors_of(system: ActorSystem) -> Any:
    node = system._understudy_node  # pyright: ignore[reportPrivateUsage]
    assert node is not None
    return node.connectors


class Users:
    """Those who come and go at one URL."""

    def __init__(self, sim: Simulation, shop: ActorSystem) -> None:
        self.sim = sim
        self.shop = shop
        self.wire = Wire()
        self.nodes: list[RemoteNode] = []

    async def one(self) -> None:
        """Connect, use it for a while or find that nobody is there, and close it or leave that to the end."""
        random = self.sim.random
        await asyncio.sleep(random.choice([0, 0, 0.01, 0.5]))
        try:
            node = await self.shop.connect("memory://bank", **TERMS, transport=self.wire)
        except (LinkError, OSError):
            return
        self.nodes.append(node)
        await asyncio.sleep(random.choice([0, 0.01, 1.0]))
        if random.randrange(3):
            self.nodes.remove(node)
            await node.aclose()

    async def trouble(self) -> None:
        random = self.sim.random
        await asyncio.sleep(random.choice([0, 0.01, 0.3]))
        self.wire.refusing = random.random() < 0.2
        if self.wire.opened and random.random() < 0.3:
            self.wire.last.cut()

    @property
    def alive(self) -> list[Tapped]:
        return [each for each in self.wire.opened if not each.over]


async def total(node: RemoteNode) -> int:
    """What the counter says, as soon as there is a link that has not been cut."""
    while True:
        try:
            await node.wait_up(60.0)
            counter = await node.lookup("counter", Counter)
            return await counter.ask(Total(), timeout=60.0)
        except (LinkDown, ActorStopped):
            continue


@simulate(schedules=6, faults=Faults(stall=0.1))
async def test_users_that_come_go_and_are_cancelled_share_one_link_at_any_time(sim: Simulation) -> None:
    async with ActorSystem(name="bank") as bank, ActorSystem(name="shop") as shop:
        users = Users(sim, shop)
        await bank.spawn(Counter)
        await bank.listen("memory://bank", **TERMS, transport=users.wire)
        for _ in range(8):
            tasks = [asyncio.create_task(users.one()) for _ in range(sim.random.randrange(1, 5))]
            await users.trouble()
            if sim.random.randrange(2):
                sim.random.choice(tasks).cancel()
            if len(users.alive) > 1:
                sim.violated("there are two links with one node")
            await asyncio.wait(tasks, timeout=100.0)
            assert all(task.done() for task in tasks), "somebody waits for ever"
        users.wire.refusing, sim.choices.calm = False, True
        if users.nodes:
            assert await total(users.nodes[-1]) == 0
        for node in users.nodes:
            await node.aclose()
        await sim.quiesce()
        assert connectors_of(shop) == {}
        assert users.alive == []
