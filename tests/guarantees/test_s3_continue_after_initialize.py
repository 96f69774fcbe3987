"""S3: what `initialize` or a step says is to be continued with comes before anything in the mailbox."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.guarantees.cast_of_supervision import Boom, Gate, Part, boom, result_of, settle
from tests.guarantees.cast_of_trees import staged
from understudy import (
    Actor,
    ActorStopped,
    ActorSystem,
    Continue,
    Message,
    StartError,
    Supervisor,
    child,
    handler,
    supervisor,
)
from understudy.testing import Faults, Simulation, simulate


class Word(Message[str]):
    """From outside."""

    text: str


class Ask(Message[int]):
    """Answered with the incarnation."""


class Crash(Message):
    """The handler raises."""


class _Step:
    def __init__(self, number: int) -> None:
        self.number = number


class _Flat(_Step):
    """Handled by a `def`."""


class Script:
    def __init__(self, **script: Any) -> None:
        self.steps: list[str] = []
        self.starts = 0
        self.initialize: Any = script.get("initialize")
        self.step: Any = script.get("step")


class Walker(Actor[Word | Ask | Crash]):
    def __init__(self, script: Script) -> None:
        script.starts += 1
        self.number, self.script = script.starts, script

    async def initialize(self) -> Any:
        self.write("starts")
        return await result_of(self.script.initialize(self)) if self.script.initialize else Continue(_Step(1))

    def shutdown(self, reason: object) -> None:
        self.write("stops")

    def write(self, step: str) -> None:
        self.script.steps.append(f"{self.number}: {step}")

    @handler
    async def _step(self, message: _Step) -> Any:
        self.write(f"step {message.number}")
        return await result_of(self.script.step(self, message)) if self.script.step else None

    @handler
    def _flat(self, message: _Flat) -> Any:
        self.write(f"flat {message.number}")
        return self.script.step(self, message) if self.script.step else None

    @handler
    def word(self, message: Word) -> str:
        self.write(message.text)
        return message.text

    @handler
    def ask(self, message: Ask) -> int:
        return self.number

    @handler
    def crash(self, message: Crash) -> None:
        raise Boom


def walker(script: Script, **options: Any) -> Any:
    return child(Walker, script).options(name="walker", **options)


@pytest.mark.asyncio
async def test_what_initialize_continues_with_is_handled_before_what_came_earlier() -> None:
    gate = Gate()

    async def initialize(actor: Walker) -> Continue:
        if actor.number > 1:
            await gate()
        return Continue(_Step(1))

    script = Script(initialize=initialize)
    async with staged(walker(script)) as stage:
        ref = stage.system.lookup("top/walker", Walker)
        await settle()
        ref.tell(Crash())
        ref.tell(Word(text="queued before the restart"))
        await gate.reached.wait()
        ref.tell(Word(text="queued before initialize ended"))
        gate.open()
        await settle()
        assert script.steps == [
            *("1: starts", "1: step 1", "1: stops"),
            *("2: starts", "2: step 1", "2: queued before the restart", "2: queued before initialize ended"),
        ]


@pytest.mark.parametrize("flat", [False, True], ids=["async def", "def"])
@pytest.mark.asyncio
async def test_a_step_may_go_on_with_another_and_they_all_come_before_the_mailbox(flat: bool) -> None:
    kind = _Flat if flat else _Step
    script = Script(
        initialize=lambda actor: Continue(kind(1)),
        step=lambda actor, step: Continue(kind(step.number + 1)) if step.number < 5 else None,
    )
    async with ActorSystem() as system:
        spawning = asyncio.ensure_future(system.spawn(walker(script)))
        await asyncio.sleep(0)
        ref = await spawning
        ref.tell(Word(text="word"))
        await settle()
        word = "flat" if flat else "step"
        assert script.steps == ["1: starts", *(f"1: {word} {number}" for number in range(1, 6)), "1: word"]


@pytest.mark.asyncio
async def test_messages_that_come_between_two_steps_wait_for_the_last() -> None:
    gate = Gate()

    async def step(actor: Walker, message: _Step) -> Continue | None:
        await gate()
        return Continue(_Step(message.number + 1)) if message.number < 3 else None

    script = Script(step=step)
    async with ActorSystem() as system:
        ref = await system.spawn(walker(script))
        assert ref.status == "running"  # it is up: the rest is done before any message
        asked = asyncio.ensure_future(ref.ask(Word(text="word")))
        await gate.reached.wait()
        assert not asked.done()
        gate.open()
        assert await asked == "word"
        assert script.steps == ["1: starts", "1: step 1", "1: step 2", "1: step 3", "1: word"]


@pytest.mark.asyncio
async def test_the_next_child_starts_before_a_long_step_has_ended() -> None:
    gate = Gate()
    script, b = Script(step=lambda actor, step: gate()), Part("b")
    async with staged(walker(script), b.spec()) as stage:
        assert b.starts == 1
        assert stage.top.status == "running"
        gate.open()
        await settle()


@pytest.mark.asyncio
async def test_a_very_long_chain_of_steps_lets_others_work() -> None:
    count = 5_000
    script = Script(
        initialize=lambda actor: Continue(_Flat(1)),
        step=lambda actor, step: Continue(_Flat(step.number + 1)) if step.number < count else None,
    )
    async with ActorSystem() as system:
        ref = await system.spawn(walker(script))
        other = await system.spawn(child(Walker, Script(initialize=lambda actor: None)))
        assert await other.ask(Ask()) == 1
        assert await ref.ask(Ask()) == 1
        assert script.steps[-1] == f"1: flat {count}"


@pytest.mark.asyncio
async def test_a_step_that_crashes_is_a_crash_and_is_not_handled_again() -> None:
    script = Script(
        initialize=lambda actor: Continue(_Step(1)) if actor.number == 1 else None, step=lambda actor, step: boom()
    )
    async with staged(walker(script)) as stage:
        await settle()
        assert script.steps == ["1: starts", "1: step 1", "1: stops", "2: starts"]
        [(path, _, message_type)] = stage.diary.crashed
        assert (path, message_type) == ("/user/top/walker", "_Step")
        assert len(stage.diary.restarting) == 1


@pytest.mark.parametrize("how", ["kill", "crash", "stop"])
@pytest.mark.asyncio
async def test_a_next_step_ends_with_its_incarnation(how: str) -> None:
    gate = Gate()

    async def step(actor: Walker, message: _Step) -> Continue:
        await gate()
        if how == "crash":
            boom()
        return Continue(_Step(message.number + 1))

    script = Script(initialize=lambda actor: Continue(_Step(1)) if actor.number == 1 else None, step=step)
    async with staged(walker(script)) as stage:
        ref = stage.system.lookup("top/walker", Walker)
        await gate.reached.wait()
        if how == "kill":
            ref.kill()
        elif how == "stop":
            ref.stop()
        await settle()
        gate.open()
        await settle()
        steps = [step for step in script.steps if "step" in step]
        assert steps == ["1: step 1"]
        assert script.starts == (1 if how == "stop" else 2)


@pytest.mark.asyncio
async def test_a_step_that_had_not_begun_goes_with_its_incarnation() -> None:
    """Killed in the very moment in which it comes up."""
    script = Script(initialize=lambda actor: Continue(_Step(actor.number)) if actor.number < 3 else None)

    class Killer(Supervisor):
        def children(self) -> Any:
            return [walker(script)]

    async with ActorSystem() as system:
        top = await system.spawn(child(Killer).options(name="top"))
        ref = system.lookup("top/walker", Walker)
        ref.kill()  # before anything could be handled, or not
        await settle()
        assert [step for step in script.steps if step.endswith("step 1") and not step.startswith("1")] == []
        assert "2: step 2" in script.steps
        assert top.status == "running"


@pytest.mark.asyncio
async def test_what_no_handler_takes_harms_nobody() -> None:
    """The same as any other message that nobody handles (M9)."""
    script = Script(initialize=lambda actor: Continue(object()))
    async with staged(walker(script)) as stage:
        await settle()
        assert await stage.system.lookup("top/walker", Walker).ask(Ask()) == 1
        assert len(stage.diary.dead) == 1


@pytest.mark.asyncio
async def test_a_step_is_private_and_cannot_come_from_outside() -> None:
    script = Script()
    async with ActorSystem() as system:
        ref: Any = await system.spawn(walker(script))
        await settle()
        ref.tell(_Step(7))
        await settle()
        assert "1: step 7" not in script.steps


@pytest.mark.asyncio
async def test_a_public_message_may_be_a_step_too_and_answers_nobody() -> None:
    script = Script(initialize=lambda actor: Continue(Word(text="to myself")))
    async with staged(walker(script)) as stage:
        await settle()
        assert script.steps == ["1: starts", "1: to myself"]
        assert stage.diary.dead == []


@pytest.mark.asyncio
async def test_an_initialize_that_answers_something_else_has_not_started() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartError, match="initialize"):
            await system.spawn(walker(Script(initialize=lambda actor: 5)))
        with pytest.raises(StartError, match="initialize"):
            await system.spawn(walker(Script(initialize=lambda actor: Continue)))


@pytest.mark.asyncio
async def test_a_supervisor_continues_when_its_children_are_up() -> None:
    steps: list[str] = []
    a = Part("a", steps)

    class Host(Supervisor):
        def children(self) -> Any:
            return [a.spec()]

        def initialize(self) -> Continue:
            steps.append("host initialized")
            return Continue(_Step(1))

        @handler
        def _step(self, message: _Step) -> None:
            steps.append("host continues")

    async with ActorSystem(Host):
        await settle()
        assert steps == ["host initialized", "a starts", "a up", "host continues"]


@pytest.mark.asyncio
async def test_a_stop_before_the_step_ends_it_without_the_step() -> None:
    script = Script()
    async with ActorSystem() as system:
        ref = await system.spawn(walker(script))
        ref.stop()
        await ref.wait_stopped()
        assert script.steps.count("1: step 1") <= 1
        assert script.steps[-1] == "1: stops"
        with pytest.raises(ActorStopped):
            await ref.ask(Ask())


@simulate(schedules=30, faults=Faults(stall=0.0))
async def test_no_message_is_handled_before_the_steps_of_its_incarnation(sim: Simulation) -> None:
    pause = sim.random.choice([0.0, 0.01])

    async def step(actor: Walker, message: _Step) -> Continue | None:
        if pause:
            await asyncio.sleep(pause)
        return Continue(_Step(message.number + 1)) if message.number < 3 else None

    script = Script(step=step)
    await sim.system.spawn(supervisor("top", walker(script), max_restarts=100))
    ref = sim.system.lookup("top/walker", Walker)
    for number in range(8):
        match sim.random.choice(["word", "word", "crash", "kill", "pause"]):
            case "word":
                ref.tell(Word(text=f"word {number}"))
            case "crash":
                ref.tell(Crash())
            case "kill":
                ref.kill()
            case _:
                await asyncio.sleep(sim.random.choice([0, 0.005, 0.05]))
    await sim.quiesce()
    for incarnation in range(1, script.starts + 1):
        own = [each.split(": ")[1] for each in script.steps if each.startswith(f"{incarnation}: ")]
        steps = [each for each in own if each.startswith("step")]
        assert steps == ["step 1", "step 2", "step 3"][: len(steps)]
        if any(each.startswith("word") for each in own):
            assert own[:4] == ["starts", "step 1", "step 2", "step 3"], own
