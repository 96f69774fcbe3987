"""One event on its way to those who wait for it to have been handled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar

from understudy.actors._asks import FutureAsk
from understudy.actors._event import Event
from understudy.actors._streams import Bound
from understudy.actors._subscriptions import Outcome, Status
from understudy.exceptions import ActorFailed, AskCycle, MailboxFull

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy.actors._runtime import Runtime
    from understudy.actors._subscriptions import Audience, Subscription
    from understudy.actors._waiting import Waiting

__all__ = ["HANDLED", "OPEN", "Delivery", "Publication", "Published"]

E_co = TypeVar("E_co", bound=Event, covariant=True, default=Event)


@dataclass(frozen=True, slots=True)
class Published(Generic[E_co]):
    """What has become of one event."""

    event: E_co
    """As subscribers see it: with its sequence number and the time."""
    outcomes: tuple[Outcome, ...]
    """One for each subscriber whose topic it belongs to, in the order of their subscriptions."""

    @property
    def handled(self) -> bool:
        """Whether each of them has handled it; also if there is none. False while one is ``queued`` or ``pending``."""
        return all(outcome.status == "handled" for outcome in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Those that have raised, or have not got it."""
        return tuple(outcome for outcome in self.outcomes if outcome.status in ("failed", "refused"))


class Answer:
    """Stands where an ask has the future of its reply: nobody awaits a delivery, and nobody gives it up."""

    __slots__ = ("_error", "_given")

    def __init__(self, error: BaseException | None = None, *, given: bool = True) -> None:
        self._given = given
        self._error = error

    def done(self) -> bool:
        return self._given

    def cancelled(self) -> bool:
        return False

    def exception(self) -> BaseException | None:
        return self._error

    def add_done_callback(self, callback: object) -> None:
        """Who wants to know whether it has been given up never will."""

    def remove_done_callback(self, callback: object) -> None:
        """Likewise."""


OPEN: asyncio.Future[Any] = cast("asyncio.Future[Any]", Answer(given=False))
"""It has not been handled so far."""
HANDLED: asyncio.Future[Any] = cast("asyncio.Future[Any]", Answer())
"""It has."""
_AWAITED: asyncio.Future[Any] = cast("asyncio.Future[Any]", Answer(given=False))
"""Not so far, and an actor waits, who is to be told at once: see `Publication.settled`."""


class Delivery(FutureAsk):
    """The event for one subscriber: an ask that nobody waits for alone, and that is never too late to be handled."""

    __slots__ = ("publication", "subscription")

    message: Event
    # The same for all.
    seconds = deadline = math.inf
    promised = False

    def __init__(self, publication: Publication, subscription: Subscription, cell: Any) -> None:
        self.publication: Publication = publication
        self.subscription = subscription
        self.message = publication.event
        self.sender = publication.waiting.cell
        self.future = OPEN if self.sender is None else _AWAITED
        self.cell = cell
        self.in_hand = False

    def reply(self, value: object) -> bool:
        """It has been handled; nobody is interested in the value."""
        if not self.future.done():
            nobody_waits, self.future = self.future is OPEN, HANDLED
            publication = self.publication
            if nobody_waits and publication.pending > 1:
                publication.pending -= 1  # all that `settled` would do
            else:
                publication.settled(self)
        return True

    def fail(self, error: BaseException) -> bool:
        """It has not been handled."""
        if not self.future.done():
            self.future = cast("asyncio.Future[Any]", Answer(error))
            self.publication.unusual = True
            self.publication.settled(self)
        return True

    def outcome(self) -> Outcome:
        """What has become of it so far, if it has not been handled, for which there is ``subscription.handled``."""
        if not self.future.done():
            return Outcome(self.subscription, "pending")
        error = self.future.exception()
        if isinstance(error, MailboxFull):
            return Outcome(self.subscription, "refused", error)
        cause = error.__cause__ if isinstance(error, ActorFailed) else None
        return Outcome(self.subscription, "failed", cause or error)


class Publication:
    """Counts down those that are still to handle the event."""

    __slots__ = ("_all_settled", "_audience", "_deliveries", "_runtime", "event", "pending", "unusual", "waiting")

    def __init__(self, runtime: Runtime, event: Event, waiting: Waiting, audience: Audience) -> None:
        self._runtime = runtime
        self.event = event
        self.waiting = waiting
        self._audience = audience
        # It has come to something else at one of them, or some of them do not want it.
        self.unusual = False
        # What each subscriber has got: the delivery, or what is known of it already.
        self._deliveries: list[Delivery | Outcome] = []
        self.pending = 0
        self._all_settled: asyncio.Future[None] | None = None

    def deliver(self) -> None:
        """Put the event into the queue of each subscriber that wants it."""
        if self.waiting.cell is not None:
            for subscription in self._audience.subscriptions:
                self._deliver(subscription)
            return
        event, deliveries, new, others = self.event, self._deliveries, _new, 0
        audience: tuple[Any, ...] = self._audience.subscriptions
        cell: Any
        line: Any = None
        join: Any = None
        for subscription in audience:
            mailbox = subscription.direct
            if mailbox is None or len(items := mailbox.items) >= mailbox.append_below:
                self._deliver(subscription)
                others += 1
                line = None  # a predicate may have let those in it have their turn
                continue
            # What `_deliver` does, without the calls.
            delivery = new(Delivery)
            delivery.publication = self
            delivery.subscription = subscription
            delivery.message = event
            delivery.sender = None
            delivery.future = OPEN
            delivery.cell = cell = subscription.cell
            delivery.in_hand = False
            items.append(delivery)
            mailbox.total_in += 1
            if cell.ready:
                cell.ready = False
                cell.queued = True
                if line is not subscription.line:
                    line = subscription.line
                    join = line.open()
                join(subscription)
            deliveries.append(delivery)
        self.pending += len(audience) - others

    def _deliver(self, subscription: Subscription) -> None:
        """Put it into the queue of one, if that wants it."""
        event, cell = self.event, subscription.cell
        if subscription.predicate is not None and not subscription.wants(event):
            self.unusual = True
            return
        if cell is not None:
            delivery = Delivery(self, subscription, cell)
            if self.waiting.cell is None or self._begin(delivery):
                if subscription.put(delivery):
                    self.pending += 1
                    self._deliveries.append(delivery)
                    return
                self.waiting.end(delivery)
                self._report(subscription, "refused")
                return
        self._report(subscription, "queued" if subscription.put(event) else "refused")

    def _report(self, subscription: Subscription, status: Status) -> None:
        self.unusual = True
        self._deliveries.append(Outcome(subscription, status))

    def _begin(self, delivery: Delivery) -> bool:
        """Wait for it from here on; False: in vain, since its subscriber waits for this publication."""
        try:
            self.waiting.begin(delivery.cell, delivery, self.event)
        except AskCycle:
            return False
        return True

    def settled(self, delivery: Delivery) -> None:
        """One less to wait for."""
        self.pending -= 1
        if self.waiting.cell is not None:
            self.waiting.end(delivery)
        if not self.pending and self._all_settled is not None and not self._all_settled.done():
            self._all_settled.set_result(None)

    async def wait(self, deadline: float) -> None:
        """Wait until all have settled, not longer than until *deadline*."""
        runtime = self._runtime
        try:
            done = self._all_settled = runtime.env.loop.create_future()
            runtime.asks.add(Bound(done, deadline, lambda: done.set_result(None)), runtime.env.now())
            await done
        finally:
            if self.waiting.cell is not None:
                for delivery in self._deliveries:
                    self.waiting.end(delivery)

    def report(self) -> tuple[Outcome, ...]:
        """What has become of it so far; to be asked once, at the end."""
        # Each delivery knows its publication: let go of them, or all would wait for the garbage collector.
        deliveries, self._deliveries = self._deliveries, []
        if not self.pending and not self.unusual:
            return self._audience.handled
        outcomes: list[Outcome] = []
        for each in deliveries:
            if not isinstance(each, Delivery):
                outcomes.append(each)
            elif each.future is HANDLED:
                outcomes.append(each.subscription.handled)
            else:
                outcomes.append(each.outcome())
        return tuple(outcomes)


_new: Callable[[type[Delivery]], Delivery] = object.__new__
