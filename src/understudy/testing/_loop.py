"""An asyncio event loop in which a seed decides everything: who runs next, and when time goes on.

Time is virtual. When nothing is ready it jumps to the next timer. It may also go on while steps are ready, as it does
on a machine that is busy, by up to *stall* seconds since the loop was last idle; a loop whose time jumps only when it
is idle never shows a race between a timeout and what it waits for.

What would leave the simulation (sockets, processes, signals, other threads) raises
:class:`understudy.testing.EscapeError`. ``to_thread`` and executors call their function within the loop, as a step of
its own.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import heapq
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from understudy.actors._plain_ask import PlainAsk
from understudy.environment import Environment, thread_id
from understudy.testing._chains import await_chain, where
from understudy.testing._errors import DeadlockError, EscapeError, LivenessError
from understudy.testing._lanes import Lane, Ready, SimFuture, SimTask, Step, Timer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from understudy.testing._choices import Choices
    from understudy.testing._net import SimNet

__all__ = ["MAX_STEPS", "SimLoop"]

MAX_STEPS = 100_000
"""A run that takes more steps than that does not end."""


class SimLoop(asyncio.BaseEventLoop):
    """See the module.

    Args:
        choices: Decides.
        stall: Seconds by which time may go on while there is work, since the loop was last idle.
        eager: Start the runtime's own tasks eagerly (3.12 and later), as it does outside.
    """

    def __init__(self, choices: Choices, *, stall: float = 1.0, eager: bool = False) -> None:
        self.choices = choices
        self.stall = stall
        self.eager = eager
        self.ready = Ready()
        self.running: Lane | None = None
        """The lane whose step runs."""
        self.steps = 0
        self.last_step = MAX_STEPS
        self.lanes = 0
        self.net: SimNet | None = None
        self.understudy_runtime: type[Any] | None = None
        self.understudy_environment: Callable[[Any], Any] = Environment
        self.failures: list[BaseException] = []
        """What was reported to the loop's exception handler, and broken promises: the first ends the run."""
        self.muted = False
        """The run has ended and is being put away: nothing is a failure any more."""
        self.after_step: Callable[[], object] | None = None
        self.when_idle: list[Callable[[], object]] = []
        self.on_choice: Callable[[str, bool], object] | None = None
        """For stories: what runs or how far time goes on, and whether something older had to wait."""
        self.describe_waiting: Callable[[], list[str]] = self.waiting_tasks
        self._now = 0.0
        self._idle_since = 0.0
        # Timers up to there have become ready. Code that computes, or sleeps as threads do, moves the clock alone.
        self._fired_until = 0.0
        # The youngest step of this iteration, as an ordinary loop counts them: it looks at its timers between two.
        self._iteration = 0
        self._order = 0
        self._numbers = 0
        self._path = array("L")
        self._labels: list[str] = []
        self._same: Counter[str] = Counter()
        self._own_thread = thread_id()
        self._lanes_by_id: dict[int, tuple[Any, Lane]] = {}
        self._lanes_by_name: dict[str, Lane] = {}
        self._idle: list[asyncio.Future[None]] = []
        self._idle_next: list[asyncio.Future[None]] = []
        super().__init__()
        self._scheduled: list[Timer] = []
        self._plain = self.new_lane("loop")
        self._clock = self.new_lane("clock")
        self._clock.is_clock = True
        self.set_exception_handler(_report)

    # Time

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def block(self, seconds: float) -> None:
        """The code that runs has computed, or slept in the way of threads, for so long."""
        self._now += seconds

    # Names and numbers, the same in each run

    def next_number(self) -> int:
        """A number that no other thing of this loop has."""
        self._numbers += 1
        return self._numbers

    def new_lane(self, label: str) -> Lane:
        """A lane of its own."""
        self.lanes += 1
        self._labels.append(label)
        self._same[label] += 1
        same = self._same[label]
        return Lane(label, self.lanes, label if same == 1 else f"{label}#{same}")

    def lane(self, name: str) -> Lane:
        """The lane of that name."""
        lane = self._lanes_by_name.get(name)
        if lane is None:
            lane = self._lanes_by_name[name] = self.new_lane(name)
        return lane

    def digest(self) -> str:
        """Tells two runs apart: who ran in which order."""
        path = hashlib.blake2b(self._path.tobytes(), digest_size=16)
        path.update("\n".join(self._labels).encode())
        return path.hexdigest()

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended, oldest first."""
        return sorted(asyncio.all_tasks(self), key=hash)

    def waiting_tasks(self) -> list[str]:
        """What each of them waits for."""
        return [await_chain(task) for task in self.tasks()]

    # What asyncio calls

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Step:  # type: ignore[override]
        """Run *callback* as a step, in the lane of whose it is."""
        self._check_thread("call_soon")
        return self._enqueue(self.lane_of(callback, args), callback, args, context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Step:
        """The same; other threads are outside."""
        self._check_thread("call_soon_threadsafe")
        return self._enqueue(self.lane_of(callback, args), callback, args, context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Timer:  # type: ignore[override]
        """Run *callback* at *when*, in a lane of its own."""
        self._check_thread("call_at")
        return self._schedule(Lane("timer", 0, ""), when, callback, args, context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Timer:
        """Run *callback* after *delay* seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_in_lane(
        self,
        lane: str | Lane,
        callback: Callable[..., Any],
        *args: Any,
        delay: float = 0.0,
        context: Context | None = None,
    ) -> Step | Timer:
        """Run *callback* as a step of *lane*, after *delay* seconds and after all that is in the lane already."""
        target = self.lane(lane) if isinstance(lane, str) else lane
        when = max(self._now + delay, target.due)
        if when <= self._now and target.due <= self._fired_until:
            return self._enqueue(target, callback, args, context)
        target.due = when
        return self._schedule(target, when, callback, args, context)

    def run_aside(self, lane: Lane, callback: Callable[..., object], *args: Any) -> None:
        """Call *callback* now, in the middle of another step, as if it were one of *lane*."""
        self._path.append(lane.number)
        if self.on_choice is not None:
            self.on_choice(lane.label, True)
        running, self.running = self.running, lane
        try:
            callback(*args)
        finally:
            self.running = running

    def create_future(self) -> asyncio.Future[Any]:
        """A future whose hash is the same in each run."""
        return SimFuture(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """A task whose hash and name are the same in each run."""
        self._check_closed()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return SimTask(coro, loop=self, **options)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Call *func* as a step of its own; no thread is started."""
        future: asyncio.Future[Any] = self.create_future()
        self._enqueue(self.new_lane("thread"), self._call_inline, (future, functools.partial(func, *args)), None)
        return future

    def _call_inline(self, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
        if future.cancelled():
            return
        try:
            result = function()
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            future.set_exception(error)
        else:
            future.set_result(result)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    # What is outside

    async def create_server(self, *args: Any, **options: Any) -> Any:
        """A server on the simulated network."""
        return await self._network("create_server").create_server(*args, **options)

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """A connection over the simulated network."""
        return await self._network("create_connection").create_connection(*args, **options)

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """The simulated network knows all hosts."""
        return await self._network("getaddrinfo").getaddrinfo(host, port, **options)

    def _network(self, what: str) -> SimNet:
        if self.net is None:
            raise EscapeError(what, "this run has no simulated network")
        return self.net

    def _check_thread(self, what: str) -> None:
        if thread_id() != self._own_thread:
            error = EscapeError(f"{what} from another thread", "nobody can repeat when it comes; use to_thread")
            self.failures.append(error)
            raise error

    # Running

    def _run_once(self) -> None:
        while not self._stopping:  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            self._step()
            if self.failures and not self.muted:
                raise self.failures[0]

    def _step(self) -> None:
        lanes = self.ready.lanes
        if not lanes:
            self._on_idle()
            return
        if lanes[0].age > self._iteration:
            self._fire_due()
            self._iteration = self._order
        index = self.choices.next(lanes, self._early_clock())
        if index == len(lanes):
            self._advance(early=True)
        else:
            self._run_step(index)

    def _early_clock(self) -> Lane | None:
        """The clock, if time may go on now."""
        choices = self.choices
        if choices.calm or not choices.started or not self.stall:
            return None
        timer = self._next_timer()
        if timer is None or (timer.when() > self._now and timer.when() - self._idle_since > self.stall):
            return None
        self._clock.steps.clear()
        self._clock.steps.append(timer)
        self._clock.behind = self._order + 1  # younger than all that is ready
        return self._clock

    def _run_step(self, index: int) -> None:
        step = self.ready.take(index)
        lane = self.running = step.lane
        self.steps += 1
        if self.steps > self.last_step:
            raise LivenessError(f"no end after {self.last_step:,} steps; the last was one of {lane.label!r}")
        self._path.append(lane.number)
        if self.on_choice is not None and self.choices.started:
            self.on_choice(self._told(step), index > 0)
        step._run()
        del step  # breaks a cycle: the frames of an exception lead here
        self.running = None
        if self.after_step is not None:
            self.after_step()

    def _told(self, step: Step | Timer) -> str:
        owner = getattr(getattr(step, "_callback", None), "__self__", None)
        return where(owner) if _is_task(owner) else step.lane.label

    def _on_idle(self) -> None:
        self._idle_since = self._now
        for look in self.when_idle:
            look()
        if self.failures and not self.muted:
            return
        if self._idle:
            self._release(self._idle)
        elif self._next_timer() is not None:
            self._advance(early=False)
            self._idle, self._idle_next = self._idle_next, []
        elif self._idle_next:
            self._release(self._idle_next)
        else:
            raise DeadlockError(self._now, self.describe_waiting())

    def _release(self, waiting: list[asyncio.Future[None]]) -> None:
        released = list(waiting)
        waiting.clear()
        for future in released:
            if not future.done():
                future.set_result(None)

    def next_due(self) -> float | None:
        """When the next timer is due."""
        timer = self._next_timer()
        return None if timer is None else timer.when()

    def timers(self) -> list[Timer]:
        """Those that are set, by their times."""
        return sorted(timer for timer in self._scheduled if not timer.cancelled())

    async def wait_idle(self, *, later: bool = False) -> None:
        """Wait until nothing is ready; *later*: after the next timer, unless there is none."""
        future = self.create_future()
        (self._idle_next if later else self._idle).append(future)
        await future

    def _next_timer(self) -> Timer | None:
        timers = self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)
        return timers[0] if timers else None

    def _advance(self, *, early: bool) -> None:
        """Go to the next timer: it is ready, and all that are due at the same time."""
        timer = self._next_timer()
        assert timer is not None
        self._now = max(self._now, timer.when())
        if not early:
            self._idle_since = self._now
        self._path.append(self._clock.number)
        if self.on_choice is not None:
            self.on_choice(f"the clock goes on to {self._now:g} s", early)
        self._fire_due()

    def _fire_due(self) -> None:
        self._fired_until = self._now
        while (timer := self._next_timer()) is not None and timer.when() <= self._now:
            heapq.heappop(self._scheduled)
            self._order += 1
            timer.order = self._order
            if timer.lane.number == 0:
                timer.lane = self.new_lane("timer")
            self.ready.add(timer)

    def _enqueue(
        self, lane: Lane, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> Step:
        self._check_closed()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        self._order += 1
        step = Step(callback, args, self, context, lane, self._order)
        self.ready.add(step)
        return step

    def _schedule(
        self, lane: Lane, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> Timer:
        self._check_closed()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        self._order += 1
        timer = Timer(when, callback, args, self, context, lane, self._order)
        if when != float("inf"):
            heapq.heappush(self._scheduled, timer)
        return timer

    def lane_of(self, callback: Any, args: tuple[Any, ...] = ()) -> Lane:
        """The lane of whose *callback* is, which is called with *args*."""
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, SimTask):
            return owner.lane
        if isinstance(owner, asyncio.Task | asyncio.TaskGroup):
            return self._lane_by_identity(owner)
        if args and isinstance(args[0], asyncio.Future | PlainAsk):
            return self._lane_by_identity(args[0])
        return self._plain

    def _lane_by_identity(self, owner: Any) -> Lane:
        # The owner is kept, so that no other object can get its identity while its lane exists.
        known = self._lanes_by_id.get(id(owner))
        if known is None:
            known = self._lanes_by_id[id(owner)] = (owner, self.new_lane(type(owner).__name__))
        return known[1]

    # What the base class wants

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when they come to the front."""

    def _write_to_self(self) -> None:
        """Nothing sleeps, so nothing is woken."""

    def _process_events(self, event_list: Any) -> None:
        """There are none."""


def _is_task(owner: Any) -> TypeGuard[SimTask[Any]]:
    return isinstance(owner, SimTask)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, SimLoop)
    error = context.get("exception")
    if not isinstance(error, BaseException):
        error = RuntimeError(context["message"])
    elif error not in loop.failures:
        error.add_note(f"reported to the event loop: {context['message']}")
    loop.failures.append(error)


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: SimLoop, *args: object, **options: object) -> NoReturn:
        raise EscapeError(name, "a simulated run has only `sim.net` and `sim.disk`")

    return refuse


for _name in (
    "add_reader", "add_signal_handler", "add_writer", "connect_accepted_socket", "connect_read_pipe",
    "connect_write_pipe", "create_datagram_endpoint", "create_unix_connection", "create_unix_server", "remove_reader",
    "remove_signal_handler", "remove_writer", "sendfile", "sock_accept", "sock_connect", "sock_recv", "sock_recv_into",
    "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendfile", "sock_sendto", "start_tls",
    "subprocess_exec", "subprocess_shell",
):  # fmt: skip
    setattr(SimLoop, _name, _refusing(_name))
