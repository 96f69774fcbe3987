"""``Simulation``: what a simulated test holds in its hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from understudy.system import ActorSystem
from understudy.testing._disk import SimDisk
from understudy.testing._errors import LivenessError, NotQuiescent, Violation
from understudy.testing._loop import SimLoop
from understudy.testing._monitors import Watch
from understudy.testing._net import SimNet
from understudy.testing._runtime import SimEnvironment, runtime_for

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from understudy.instrument import Instrument
    from understudy.testing._choices import Choices
    from understudy.testing._faults import Faults
    from understudy.testing._story import Story

__all__ = ["SimClock", "Simulation"]

_FEVER = 50_000
"""Steps with work to do all the time, after which a run is said to go in circles."""


class SimClock:
    """The clock of a simulated run: ``sim.clock``."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._loop.time()

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass, and everything happen that is due until then."""
        await asyncio.sleep(seconds)


class Simulation:
    """One run of a simulated test.

    Attributes:
        seed: What this run was made from.
        system: An empty actor system, or with the tree that was given to :func:`understudy.testing.simulate`. It is
            closed at the end of the test.
        net: The network of this run; asyncio's own connections and servers are on it.
        disk: A disk that forgets what was not synced when it crashes.
        clock: Virtual time.
        random: Random numbers for the test, the same in each repetition of the run.
    """

    def __init__(self, loop: SimLoop, choices: Choices, *, seed: int, faults: Faults, story: Story | None) -> None:
        self.loop = loop
        self.choices = choices
        self.seed = seed
        self.faults = faults
        self.random: random.Random = choices.random
        self.clock = SimClock(loop)
        self.net = SimNet(loop, choices)
        self.net.reset_probability = faults.reset
        self.net.partitions = faults.partition
        self.disk = SimDisk(choices)
        self.budgets: tuple[int, ...] = (64, 1, 2)
        self._story = story
        self._system: ActorSystem | None = None
        self._always: list[tuple[str, Callable[[], object]]] = []
        self._cold_at = 0
        self._watches: list[Watch] = []
        loop.net = self.net
        loop.understudy_runtime = runtime_for(self)
        loop.understudy_environment = SimEnvironment
        loop.when_idle.append(self._on_idle)
        loop.describe_waiting = self.describe_waiting
        if story is not None:
            loop.on_choice = story.step

    # For tests

    @property
    def system(self) -> ActorSystem:
        """The actor system of this run."""
        if self._system is None:
            raise RuntimeError("this run was made without a system; make one in the test: `async with ActorSystem()`")
        return self._system

    @property
    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self.loop.time()

    async def quiesce(self, within: float = 60.0) -> None:
        """Faults end here, for the rest of the run, and everything has to settle within *within* virtual seconds.

        Settled is: nothing is ready to run, no message waits, no handler is at work, no actor is between two states of
        its life. Timers may be pending, and tasks may wait for what only the test can bring.

        Raises:
            NotQuiescent: It has not settled; says what is still going on.
        """
        self.choices.calm = True
        self.net.calm()
        deadline = self.now + within
        later = False
        while True:
            await self.loop.wait_idle(later=later)
            busy = self.busy()
            if not busy:
                return
            if self.loop.ready.lanes:  # a timer that was due has fired since it was idle
                later = False
                continue
            due = self.loop.next_due()
            if due is None or due > deadline:
                told = "\n  ".join(busy)
                raise NotQuiescent(f"not settled {within:g} virtual seconds after the last fault:\n  {told}")
            later = True

    def always(self, what: str, holds: Callable[[], object]) -> None:
        """After each step from here on, *holds()* must be true; *what* says what that means.

        It is called in the middle of everything and must not change anything.
        """
        self._always.append((what, holds))
        self.loop.after_step = self._check_always

    def note(self, text: str) -> None:
        """Write a line into the story that is told of a run that fails."""
        self.tell(text)

    # For the rest of the simulation

    def end_story(self) -> None:
        """What comes now is only the putting away."""
        if self._story is not None:
            self._story.open = False

    def watch(self) -> tuple[Watch, Sequence[Instrument]]:
        """For a system of this run: who watches it, and whom it reports to."""
        watch = Watch(self)
        self._watches.append(watch)
        return watch, [*watch.monitors, *([self._story] if self._story is not None else [])]

    def begin(self, system: ActorSystem | None) -> None:
        """The set-up is over, with this *system*: from here on chance decides."""
        self._system = system
        self.choices.started = True
        if self._story is not None:
            self._story.open = True

    def tell(self, text: str) -> None:
        """Something has happened, for the story."""
        if self._story is not None:
            self._story.line(text)

    def who(self) -> str:
        """Whose step runs now."""
        lane = self.loop.running
        if lane is None:
            return "the test"
        return lane.label.removeprefix("actor:")

    def violated(self, promise: str) -> None:
        """A promise is broken: the run ends here."""
        self.tell(f"broken: {promise}")
        self.end_story()
        self.loop.failures.append(Violation(promise))

    def sent(self, path: str, message: object) -> None:
        """A message has been accepted, for the story."""
        if self._story is not None:
            self._story.sent(self.who(), path, message)

    def handles(self, path: str, message: object) -> None:
        """A handler is called, for the story."""
        if self._story is not None:
            self._story.handles(path, message)

    def finish(self) -> None:
        """The test has ended: look at what is left, and at the books."""
        for watch in self._watches:
            watch.finish()
        left = self.loop.waiting_tasks()
        left += [f"a timer of {timer.what}, due at {timer.when():g} s" for timer in self.loop.timers()]
        left += self.net.open_connections()
        left += self.net.open_servers()
        left += self.disk.open_files()
        if left:
            self.violated("left behind at the end:" + "".join(f"\n  {each}" for each in left))

    # Watching

    def busy(self) -> list[str]:
        """What is not settled, a line for each."""
        return [line for watch in self._watches for line in watch.busy()]

    def describe_waiting(self) -> list[str]:
        """Who waits for what, actors first."""
        tasks = (task for task in self.loop.waiting_tasks() if not task.startswith("'system:"))
        return [*self.busy(), *tasks]

    def _on_idle(self) -> None:
        for watch in self._watches:
            watch.idle()
        if not self.busy():
            self._cold_at = self.loop.steps
        elif self.loop.steps - self._cold_at > _FEVER:
            told = "\n  ".join(self.busy())
            self.loop.failures.append(LivenessError(f"work to do for {_FEVER:,} steps, and no end:\n  {told}"))

    def _check_always(self) -> None:
        for what, holds in self._always:
            if not holds():
                self.violated(what)
