"""The turns of callbacks that have events to handle: many of them as one entry of the run queue.

A callback is an actor with a mailbox and a life, and everything that goes for actors goes for it. But most of the time
it is up, idle and gets one event; then a whole activation, and for a coroutine function a whole task, is more than the
callback itself. So callbacks of one bus stand in a line, each at most once, and have their turns one after another:
those of plain functions in one activation, those of coroutine functions in one task, the *leader*. Whatever is out of
the ordinary, of a subscriber or its next message, is left to an activation of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from contextvars import Context
from functools import partial
from sys import getrefcount
from typing import TYPE_CHECKING, Any
from weakref import getweakrefcount

from understudy.actors._asks import FRAME, message_of
from understudy.actors._life import Job
from understudy.actors._publication import HANDLED, OPEN, Delivery
from understudy.actors._subscriber import AsyncSubscriber, Hand, Subscriber
from understudy.environment import variables_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy.actors._cell import Cell
    from understudy.actors._runtime import Runtime
    from understudy.actors._subscriptions import ActorSubscription

__all__ = ["AsyncFanOut", "FanOut", "PlainFanOut"]


class FanOut(ABC):
    """The line of those who wait for their turn; in the run queue, or led, whenever somebody is in it.

    Who is in line counts as queued, like a cell in the run queue, so that nobody else activates it. A turn is one
    event; who has more of them goes into the run queue, behind all others. The line keeps its place in the run queue
    until those have had their turn who were in it when it came to the front: so it delays others no more than as many
    actors would, and a circle of callbacks that publish delays nobody.
    """

    __slots__ = ("_round", "_runtime", "queued", "waiting")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.waiting: deque[ActorSubscription] = deque()
        # In the run queue, or with a leader under way: whoever joins the line need not see to it.
        self.queued = False
        # How many are still to have their turn before the line goes to the end of the run queue.
        self._round = 0

    def open(self) -> Callable[[ActorSubscription], None]:
        """See to it that those in line will have their turn; what is returned is for joining it, as long as none has.

        Who joins is up and idle, has an event in his queue, and is marked as queued.
        """
        if not self.queued:
            self.queued = True
            self._runtime.dispatcher.push(self)
        return self.waiting.append

    @abstractmethod
    def activate(self, limit: int) -> int:
        """Let some have their turn, and stay in the run queue if there are more."""

    def _begin_round(self) -> None:
        if self._round <= 0:
            self._round = len(self.waiting)

    def _go_on(self) -> None:
        """Those who are still in line have their turn later."""
        dispatcher = self._runtime.dispatcher
        if not self.waiting:
            self._round = 0
            self.queued = False
        elif self._round > 0:
            dispatcher.push_first(self)
        else:
            dispatcher.push(self)


class PlainFanOut(FanOut):
    """The line of plain functions: called here, in the dispatcher's own context."""

    __slots__ = ()

    def activate(self, limit: int) -> int:
        """Call up to *limit* of them; how many it were."""
        self._begin_round()
        waiting, context, plain, last = self.waiting, self._runtime.dispatcher.context, _PLAIN, None
        handled, most = 0, min(limit, self._round)
        while handled < most:
            handled += 1
            subscription = waiting.popleft()
            cell: Any = subscription.target
            mailbox = cell.mailbox
            items: deque[object] = mailbox.items
            # Else the first that is there need not be the next, or the queue has to note its size.
            if (
                not 0 < len(items) <= mailbox.take_up_to
                or cell.attention
                or cell.table is not plain
                or ((kind := type(items[0])) is not last and kind is not Delivery and plain[kind] is None)
            ):
                cell.activate(1)
            else:
                last = kind
                item: Any = items.popleft()
                try:
                    if kind is not Delivery:
                        if (result := subscription.callback(item)) is not None:
                            self._returned(cell, item, result)
                    elif (result := subscription.callback(item.message)) is not None:
                        self._returned(cell, item, result)
                    elif item.future is OPEN and (publication := item.publication).pending > 1:
                        item.future = HANDLED  # all that `reply` would do
                        publication.pending -= 1
                    else:
                        item.reply(None)
                except BaseException as error:
                    self._raised(subscription, item, error)
                cell.queued = False
                if items or cell.attention or cell.standing is not None:
                    cell.activate(0)
                else:
                    cell.ready = True
            if context:
                break
        self._round -= handled
        self._go_on()
        return handled

    def _raised(self, subscription: ActorSubscription, item: Any, error: BaseException) -> None:
        subscription.failed(error)
        if type(item) is Delivery:
            item.fail(error)
        subscription.target.failed(error, item, None)

    def _returned(self, cell: Cell, item: Any, result: object) -> None:
        """A callback has returned something, which may be to be awaited."""
        delivery = item if type(item) is Delivery else None
        onward = cell.actor.go_on(result, message_of(item), delivery)
        if onward is not None:
            cell.replied(onward, None)
        elif delivery is not None:
            delivery.reply(None)


class Leader(Job):
    """The task in which callbacks run until one of them suspends: from then on it is the job of that one alone."""

    __slots__ = ("ground", "subscription")

    def __init__(self, ground: Ground) -> None:
        super().__init__("messages", ground.context)
        self.ground = ground
        # Whose callback is running.
        self.subscription: ActorSubscription | None = None


class Ground:
    """Where a leader runs: a context, with nothing in it but the frame of the callbacks, and that in no copy of it.

    The frame is one for all of them, one after another, as long as nobody else has it. A task or a timer that a
    callback makes has a copy of the context, and in it the frame; who has kept one of these has this frame for himself,
    and the others get another.

    That nobody has kept any is seen by how many refer to the variables and to the frame. A copy of the context refers
    to the variables. Should one take the place of the context, since that has got others meanwhile, then these refer to
    the frame, once more than before.
    """

    __slots__ = ("_usual", "context", "frame", "variables")

    def __init__(self) -> None:
        self.context = Context()
        self.context.run(self.renew)
        self._usual = self._references()

    def renew(self) -> bool:
        """Another frame; to be called in the context. False: somebody has left a variable in that."""
        self.frame = Hand(None, None)
        FRAME.set(self.frame)
        self.variables = variables_of(self.context)
        return len(self.context) == 1

    @property
    def is_clean(self) -> bool:
        """Whether nobody has anything of it, after all that has run there, and no variable has been left."""
        return self._references() == self._usual and len(self.context) == 1

    def rest(self) -> None:
        """Let go of the last callback that has run there, unless somebody has its frame."""
        if self._references()[1:] == self._usual[1:]:
            self.frame.message = self.frame.cell = None

    def _references(self) -> tuple[int, int, int]:
        return getrefcount(self.context), getrefcount(self.variables), getrefcount(self.frame)


class AsyncFanOut(FanOut):
    """The line of coroutine functions.

    Most coroutines end without having been suspended, and to have run some of those leaves no trace in a task: it is
    looked at after each, and given up if there is one. A callback that is suspended keeps the task, as if it had been
    its own from the beginning. The others get tasks of their own, at once, and so does it from then on.
    """

    __slots__ = ("_ground", "_leader", "_starting")

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        # Its task serves the line; until it has ended, or been suspended.
        self._leader: Leader | None = None
        # Of the last leader that was not suspended, for the next one if it is clean.
        self._ground: Ground | None = None
        # The task is being made: what it does now it does at once.
        self._starting = False

    def activate(self, limit: int) -> int:
        """Start a leader."""
        self._begin_round()
        before = len(self.waiting)
        ground, self._ground = self._ground, None
        if ground is None or not ground.is_clean:
            ground = Ground()
        leader = self._leader = Leader(ground)
        self._starting = True
        task = self._runtime.env.start_task(
            self._lead(leader),
            name=self.waiting[0].task_name,
            context=leader.context,
            on_done=partial(self._ended, leader),
        )
        self._starting = False
        if self._leader is leader:
            leader.task = task
            if leader.started:
                self._look(leader)
        return max(before - len(self.waiting), 1)

    async def _lead(self, leader: Leader) -> None:
        leader.begin()
        at_once = self._starting
        if not at_once:
            self._runtime.env.loop.call_soon(self._look, leader, context=Context())  # no copy of this one
        await self._serve(leader)
        if self._leader is leader:
            self._leader = None
            self._go_on()
            self._ground = leader.ground
            leader.ground.rest()
            if not at_once and leader.task is not None:
                self._runtime.env.tasks.leave(leader.task)

    async def _serve(self, leader: Leader) -> None:
        """Let those in line have their turns, until the round or the slice is over or this task is somebody's."""
        waiting, context, ground, table = self.waiting, leader.context, leader.ground, _ASYNC
        task: Any = leader.task
        dispatcher, now = self._runtime.dispatcher, self._runtime.env.now
        assert task is not None
        since_last, allowed, since = 0, 1, now()
        set_name, last = task.set_name, None
        frame, variables = ground.frame, ground.variables
        hand: Any
        usual = copies = holders = 0
        while allowed and self._round > 0:
            # What the callback before has left in the task, or kept of it, must not meet the next one. Who has the
            # task or its context, has cancelled it, if only for a moment, or waits for its end: it is his. Who has a
            # copy of the context: the frame is his. Private names; a test on each Python guards them.
            traces = getrefcount(task) + getweakrefcount(task) + getrefcount(context) + task._must_cancel
            traces += len(task._callbacks or _NONE)
            kept, held = getrefcount(variables), getrefcount(frame)
            if traces != usual or kept != copies or held != holders:
                if usual and (traces != usual or not ground.renew()):
                    break
                frame, variables, usual = ground.frame, ground.variables, traces
                copies, holders = copies or kept, holders or held  # of which nobody has anything
            self._round -= 1
            leader.subscription = subscription = waiting.popleft()
            cell: Any = subscription.target
            mailbox = cell.mailbox
            items: deque[object] = mailbox.items
            # Below 0, the first that is there need not be the next.
            if (
                not items
                or mailbox.take_up_to < 0
                or cell.attention
                or ((kind := type(items[0])) is not last and kind is not Delivery and table[kind] is None)
            ):
                dispatcher.push(cell)
                continue
            last = kind
            item: Any = items.popleft() if len(items) <= mailbox.take_up_to else mailbox.take()
            hand, event = (item, item.message) if kind is Delivery else (frame, item)
            frame.message = event
            frame.cell = cell
            frame.in_hand = hand.in_hand = True
            cell.queued = False
            cell.job = leader
            cell.hand = item
            cell.hand_since = since
            set_name(subscription.task_name)
            try:
                usually = cell.table is table  # else somebody looks on
                await (subscription.callback(event) if usually else cell.table[type(event)].function(cell.actor, event))
                if kind is Delivery and cell.job is leader:
                    if item.future is OPEN and (publication := item.publication).pending > 1:
                        item.future = HANDLED  # all that `reply` would do
                        publication.pending -= 1
                    else:
                        item.reply(None)
            except BaseException as error:
                self._raised(leader, subscription, item, error)
            finally:
                frame.in_hand = hand.in_hand = False
                hand = None  # which may be the frame, and is not to count above
            if (
                cell.job is not leader
                or self._leader is not leader
                or items
                or cell.queued
                or cell.attention
                or cell.standing is not None
            ):
                if not self._settled(leader, cell):
                    break
            else:
                cell.hand = cell.waits = cell.job = None
                cell.ready = True
            since_last += 1
            if since_last >= allowed and self._round > 0:
                allowed, since_last, since = dispatcher.allowance(0, since_last), 0, now()

    def _settled(self, leader: Leader, cell: Cell) -> bool:
        """*cell* has had its turn, after which not all is as usual; whether the next can have his in the same task."""
        if cell.job is not leader:  # abandoned
            return False
        cell.release()
        cell.job = None
        cell.settle()
        return self._leader is leader  # else the callback was suspended, and has kept the task

    def _raised(self, leader: Leader, subscription: ActorSubscription, item: Any, error: BaseException) -> None:
        cell: Cell = subscription.target
        if isinstance(error, GeneratorExit) and not leader.is_current:
            raise error
        if cell.job is not leader:
            return
        if cell.ending is not None and cell.ending.interrupting:
            cell.interrupted()
            return
        if cell.table is _ASYNC:
            subscription.failed(error)
        cell.failed(error, message_of(item), item if type(item) is Delivery else None)

    def _look(self, leader: Leader) -> None:
        """The leader has had its first step: if it has not ended by now, a callback has been suspended and keeps it."""
        if self._leader is not leader or leader.task is None or leader.task.done():
            return
        self._leader = None
        if leader.subscription is not None:
            leader.subscription.leave_line()
            leader.subscription.target.hand_since = self._runtime.env.now()
        for subscription in self.waiting:
            self._runtime.dispatcher.push(subscription.target)
        self.waiting.clear()
        self._go_on()

    def _ended(self, leader: Leader, task: asyncio.Task[None]) -> None:
        """The task has ended. Usually its last lines have seen to all; not if it was cancelled before its first one."""
        if leader.subscription is not None:
            leader.subscription.target.job_done(task)
        if self._leader is leader:
            self._leader = None
            self._go_on()


_NONE = ()
_PLAIN = Subscriber.__understudy_handlers__
_ASYNC = AsyncSubscriber.__understudy_handlers__
