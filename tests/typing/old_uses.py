"""Uses of the old design's interfaces that both type checkers accept, but for what they say of all of them: that they
are deprecated, which wrong_uses.py has. Nothing here is run."""

# mypy: disable-error-code="deprecated"
# pyright: reportDeprecated=false

from __future__ import annotations

from typing import Any, assert_type

from understudy import ActorRef, ActorSystem, AsyncEventBus, ChildSpec, Event
from understudy.compat import AgentMessage, BaseAgent, EventBus, OldEvent, agent


class Meter(BaseAgent):
    def __init__(self, agent_id: str, scale: float) -> None:
        super().__init__(agent_id)
        self.scale = scale

    async def begin(self) -> None:
        assert_type(await self.inboxes["north"].get(), str)
        assert_type(await self.WaitForMessage("*"), str)
        assert_type(self.inboxes.all.get_nowait(), str)
        assert_type(list(self.inboxes), list[str])


class Foreign:
    def __init__(self, name: str) -> None:
        self.id = name

    async def handle_message(self, message: AgentMessage) -> None: ...


async def an_old_agent_is_a_child_like_any_other(system: ActorSystem) -> None:
    assert_type(agent(Meter, "1000", scale=2.0), ChildSpec[AgentMessage])
    meter = await system.spawn(agent(Meter, "1000", 2.0).options(name="meter"))
    assert_type(meter, ActorRef[AgentMessage])
    meter.tell(AgentMessage(sender_id="human", content="hello"))
    assert_type(agent(Foreign, "1001"), ChildSpec[AgentMessage])


class Paid:
    order: int


class Shipped(Event):
    order: int


def note(event: Paid) -> int:
    return event.order


def note_all(event: object) -> None: ...


async def note_later(event: Shipped) -> None: ...


async def the_old_bus_gives_callbacks_what_they_subscribe_to(new: AsyncEventBus) -> None:
    bus = EventBus("session-1", bus=new)
    bus.subscribe(Paid, note)
    bus.subscribe(Paid, note_all)
    bus.subscribe(Shipped, note_later)
    bus.subscribe("*", note_all)
    bus.unsubscribe(Paid, note)
    bus.clear_subscribers("*")
    bus.clear_subscribers()
    bus.publish(Paid())
    assert_type(bus.is_closing, bool)
    await bus.close()
    bus.close()
    assert_type(OldEvent(value=3).value, Any)
