"""An actor with a handler for any object gets messages, and never what the runtime carries them in."""

from __future__ import annotations

import pytest

from tests.cast import Note, settle
from understudy import Actor, ActorSystem, Continue, handler
from understudy.events import Event

pytestmark = pytest.mark.asyncio


class Paid(Event):
    number: int = 0


class Taker(Actor[object]):
    """Takes anything; what follows a note it has handled next."""

    def __init__(self, log: list[object]) -> None:
        self.taken = log

    @handler
    def take(self, message: object) -> Continue | None:
        self.taken.append(message)
        return Continue("next") if isinstance(message, Note) else None


class AsyncTaker(Actor[object]):
    """The same in a task."""

    def __init__(self, log: list[object]) -> None:
        self.taken = log

    @handler
    async def take(self, message: object) -> Continue | None:
        self.taken.append(message)
        return Continue("next") if isinstance(message, Note) else None


@pytest.mark.parametrize("taker", [Taker, AsyncTaker])
async def test_an_event_that_is_waited_for_reaches_who_takes_any_object(taker: type[Taker | AsyncTaker]) -> None:
    log: list[object] = []
    async with ActorSystem() as system:
        system.events.subscribe(Paid, await system.spawn(taker, log))
        published = await system.events.publish(Paid(number=1), timeout=1.0)
        assert log == [published.event]
        assert [outcome.status for outcome in published.outcomes] == ["handled"]


@pytest.mark.parametrize("taker", [Taker, AsyncTaker])
async def test_what_an_actor_has_handled_next_reaches_who_takes_any_object(taker: type[Taker | AsyncTaker]) -> None:
    log: list[object] = []
    async with ActorSystem() as system:
        ref = await system.spawn(taker, log)
        ref.tell(Note(value=1))
        await ref.ask("last")
        await settle()
        assert log == [Note(value=1), "next", "last"]
