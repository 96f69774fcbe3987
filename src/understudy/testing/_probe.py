"""An actor that records what it gets, and waits for the test to reply."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from understudy.actors._actor import Actor
from understudy.actors._asks import Ask
from understudy.actors._child import child
from understudy.exceptions import ActorFailed, Refused, UnderstudyError, Unhandled
from understudy.reasons import Crashed

if TYPE_CHECKING:
    from understudy._plans._spec import ChildSpec
    from understudy.actors._ref import ActorRef

__all__ = ["Spawner", "TestProbe"]

T = TypeVar("T")
M = TypeVar("M")


class Spawner(Protocol):
    """Who can start an actor: an :class:`understudy.ActorSystem`, or an actor's ``self.context``."""

    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]:
        """Start *actor* and return its ref when it is up."""
        ...


class TestProbe:
    """An actor that takes any message, shows it to the test, and says what the test wants it to say.

    ::

        probe = await TestProbe.start(system)
        meter.tell(Subscribe(who=probe.ref))
        meter.tell(Observe(value=5))
        assert (await probe.expect(Observed)).total == 5
        await probe.expect_no_message()

    Messages are expected in the order in which they came. An *ask* stays in the probe's hand until :meth:`reply` or
    :meth:`fail`, or until the asker gives up; what comes after it waits in the mailbox meanwhile, as with any actor.
    The mailbox has no limit. When the system stops, a probe that holds an ask is interrupted at once.
    """

    __test__: Final = False  # pytest shall not take it for a class of tests

    def __init__(self, ref: ActorRef[Any], hand: _Hand) -> None:
        self._ref = ref
        self._hand = hand

    @classmethod
    async def start(cls, spawner: Spawner, name: str | None = None) -> TestProbe:
        """Start a probe in a system, or as a child of the actor whose context it is given.

        Args:
            spawner: The system or the context.
            name: Its name; by default ``probe``, ``probe-2`` and so on.

        Raises:
            NameTaken: Something there has that name.
        """
        hand = _Hand()
        spec = child(Probe, hand).options(mailbox=math.inf, shutdown="brutal_kill")
        if name is not None:
            spec = spec.options(name=name)
        return cls(await spawner.spawn(spec), hand)

    @property
    def ref(self) -> ActorRef[Any]:
        """The probe's ref: what the code under test is given."""
        return self._ref

    @property
    def messages(self) -> list[Any]:
        """All messages that have come into the probe's hand, in order, expected or not."""
        return [each.message for each in self._hand.all]

    @property
    def last_sender(self) -> ActorRef[Any] | None:
        """The sender of the message last expected: the actor that asked, or that was named in ``tell``; else None."""
        return None if self._hand.last is None else self._hand.last.sender

    async def expect(self, kind: type[T], *, timeout: float = 3.0) -> T:
        """Wait for the next message, which must be a *kind*, and return it.

        Args:
            kind: A class; an instance of a subclass will do.
            timeout: Seconds to wait on the event loop's clock.

        Raises:
            AssertionError: The next message is something else, and stays to be expected; or none has come in time.
        """
        hand = self._hand
        if not hand.queue and not await hand.news(timeout):
            raise AssertionError(f"{self._who} waited {timeout:g} s for {kind.__name__}; {hand.story()}")
        message = hand.queue[0].message
        if not isinstance(message, kind):
            raise AssertionError(f"{self._who} expected {kind.__name__}, got {message!r}; {hand.story()}")
        hand.last = hand.queue.popleft()
        return message

    async def expect_no_message(self, seconds: float = 0.1) -> None:
        """Wait *seconds*, in which no message comes.

        Raises:
            AssertionError: One came, or had come and was not expected, or waits behind the ask in hand.
        """
        hand = self._hand
        if hand.queue or await hand.news(seconds):
            raise AssertionError(f"{self._who} expected no message, got {hand.queue[0].message!r}; {hand.story()}")
        if hand.waiting:
            raise AssertionError(f"{self._who} expected no message; {hand.story()}")

    def reply(self, value: Any = None) -> None:
        """Answer the ask last expected with *value*.

        Raises:
            AssertionError: The message last expected is no ask, or is answered, or its asker has given up.
        """
        self._take_up("reply to").answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Fail the ask last expected.

        The asker gets an error of understudy (``Refused``, ``ActorStopped``, ...) as it is, and any other as if the
        probe had crashed with it: an ``ActorFailed`` whose cause it is. The probe itself does not crash.

        Raises:
            AssertionError: The message last expected is no ask, or is answered, or its asker has given up.
        """
        received = self._take_up("fail")
        if isinstance(error, Refused):
            received.answer.set_exception(error)
            return
        assert received.ask is not None
        if not isinstance(error, UnderstudyError):
            failure = ActorFailed(
                path=self._ref.path, message_type=type(received.message).__name__, reason=Crashed(error, ())
            )
            failure.__cause__ = error
            error = failure
        received.ask.fail(error)

    def _take_up(self, doing: str) -> _Received:
        last = self._hand.last
        problem = None
        if last is None:
            problem = "no message has been expected yet"
        elif last.ask is None:
            problem = f"{last.message!r} was told, so nobody waits for a reply"
        elif last.answer.done() and not last.answer.cancelled():
            problem = f"{last.message!r} has its answer already"
        elif last.answer.cancelled() or last.ask.future.done():
            problem = f"the asker of {last.message!r} has its answer or has given up"
        if problem is not None or last is None:
            raise AssertionError(f"{self._who} has nothing to {doing}: {problem}; {self._hand.story()}")
        return last

    @property
    def _who(self) -> str:
        return f"probe {self._ref.path}"

    def __repr__(self) -> str:
        return f"<TestProbe {self._ref.path}, {len(self._hand.all)} messages>"


@dataclass(frozen=True, slots=True, eq=False)
class _Received:
    message: Any
    sender: ActorRef[Any] | None
    ask: Ask | None
    answer: asyncio.Future[Any]
    """Done: the handler goes on. Cancelled: without a word."""


class _Hand:
    """What the actor and the test share; it outlives the actor's incarnations."""

    def __init__(self) -> None:
        self.all: list[_Received] = []
        self.queue: deque[_Received] = deque()
        """What has not been expected yet."""
        self.last: _Received | None = None
        """What was expected last."""
        self.cell: Any = None
        self._news: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """How many messages wait in the mailbox, behind an ask in hand."""
        return 0 if self.cell is None else self.cell.waiting

    async def news(self, seconds: float) -> bool:
        """Wait for the next message; False: none has come within *seconds*."""
        if self._news is not None:
            raise RuntimeError("somebody is waiting for this probe's next message already")
        self._news = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._news
        except TimeoutError:
            return bool(self.queue)
        finally:
            self._news = None
        return True

    async def take(self, received: _Received) -> Any:
        """A message has come: show it, and if it is an ask, wait for what the test says to it."""
        self.all.append(received)
        self.queue.append(received)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        if received.ask is None:
            return None
        ask = received.ask.future
        ask.add_done_callback(lambda _: received.answer.cancel())
        await asyncio.wait([received.answer])
        if received.answer.cancelled():
            # Answered by `fail`, or nobody waits any more: it is no news then that nothing was said to it, and a reply
            # would be a dead letter.
            raise Unhandled(path=self.cell.path, message=received.message)
        return received.answer.result()

    def story(self) -> str:
        """For errors: what came, what is queued, and what is in the way."""
        came = ", ".join(repr(each.message) for each in self.all) or "nothing"
        queued = ", ".join(repr(each.message) for each in self.queue) or "nothing"
        story = f"it has got: {came}; not expected yet: {queued}"
        held = self.all[-1] if self.all and self.all[-1].ask is not None else None
        if held is not None and not held.answer.done():
            story += f"; it holds the ask {held.message!r} until reply() or fail(), {self.waiting} waiting behind it"
        return story


class Probe(Actor[object]):
    """The actor of a :class:`TestProbe`."""

    def __init__(self, hand: _Hand) -> None:
        self._shared = hand

    def initialize(self) -> None:
        """Let the test see the mailbox."""
        self._shared.cell = self._understudy_cell

    async def handle_message(self, message: Any) -> Any:
        """Show it to the test."""
        held = self._understudy_cell.hand
        ask = held if isinstance(held, Ask) else None
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return await self._shared.take(_Received(message, self.context.sender, ask, answer))
