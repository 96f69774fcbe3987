"""Programs of agents: three phases, each bounded and reported, and the last one always."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.agents.cast import Break, Echo, Finish, Slow
from tests.cast import Gate, settle
from understudy import ChildSpec, InvalidContext, InvalidSpec, RestartsExceeded, Settings, child
from understudy.agents import (
    AIAgent,
    AsyncProgram,
    HumanAgent,
    NotInteractive,
    ProgramFailed,
    ProgramReport,
    Prompt,
    ScriptedModel,
    Seat,
    agent_group,
)


class Quick(Echo):
    """Is done as soon as it is up."""

    def initialize(self) -> None:
        super().initialize()
        self.context.ref.tell(Finish())


class Doomed(Echo):
    """Fails until it is given up."""

    def initialize(self) -> None:
        self.context.ref.tell(Break(error=ValueError("doomed")))


class Recorded(AsyncProgram):
    """Writes down what it does."""

    name = "play"

    def __init__(self, *specs: ChildSpec[Any], log: list[str] | None = None) -> None:
        self.specs = specs
        self.log: list[str] = [] if log is None else log
        self.gate = Gate()

    def agents(self) -> Sequence[ChildSpec[Any]]:
        return self.specs

    async def initialize(self) -> None:
        self.log.append("initialize")
        await self.resources.enter_async_context(self.thing("first"))
        await self.resources.enter_async_context(self.thing("second"))

    async def clean_up(self) -> None:
        self.log.append("clean_up")

    @asynccontextmanager
    async def thing(self, name: str) -> AsyncIterator[None]:
        self.log.append(f"{name} opened")
        try:
            yield
        finally:
            self.log.append(f"{name} closed")


OPENED = ["initialize", "first opened", "second opened"]
CLOSED = ["clean_up", "second closed", "first closed"]


def nothing_left() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


def problems(report: ProgramReport | None) -> dict[str, str]:
    assert report is not None
    return {phase.name: phase.problem for phase in report.phases}


# Good ends


@pytest.mark.asyncio
async def test_it_is_complete_when_its_agents_are_and_says_how_each_phase_went() -> None:
    log: list[str] = []
    program = Recorded(child(Quick, log), agent_group("pair", child(Quick, log), child(Quick, log)), log=log)
    report = await program.run()
    assert (report.program, report.outcome, report.result, report.failures) == ("play", "completed", None, {})
    assert problems(report) == {"initialize": "", "execute": "", "clean_up": ""}
    assert report == program.report
    assert log[:3] == OPENED
    assert log[-3:] == CLOSED
    assert sorted(log[3:-3]) == sorted(
        f"play/{name} {what}" for name in ("quick", "pair/quick", "pair/quick-2") for what in ("up", "down")
    )
    assert nothing_left()


@pytest.mark.asyncio
async def test_an_agent_ends_it_with_a_result_and_the_first_counts() -> None:
    class Ender(Echo):
        def initialize(self) -> None:
            self.context.ref.tell(Finish())

        def finish(self, message: Finish) -> None:
            self.end_program("the first")
            self.end_program("another")

    report = await Recorded(child(Ender), child(Echo)).run()
    assert (report.outcome, report.result) == ("completed", "the first")


@pytest.mark.asyncio
async def test_it_ends_when_it_is_asked_to_and_when_an_agent_stops_the_system() -> None:
    program = Recorded(child(Echo))
    running = asyncio.create_task(program.run())
    await settle()
    program.stop("asked")
    report = await running
    assert (report.outcome, report.result) == ("completed", "asked")
    program = Recorded(child(Echo))
    running = asyncio.create_task(program.run())
    await settle()
    program.runtime.system.stop()
    assert (await running).outcome == "completed"
    assert program.log[-3:] == CLOSED


@pytest.mark.asyncio
async def test_its_own_work_begins_when_all_are_up_and_its_end_is_that_of_the_program() -> None:
    class Late(Echo):
        async def initialize(self) -> None:
            await asyncio.sleep(0.5)

    class Working(Recorded):
        async def execute(self) -> object:
            return (await self.runtime.agents.get("play/late", Late).ask(Prompt(text="hi"))).text

    program = Working(child(Late))
    report = await program.run()
    assert (report.outcome, report.result) == ("completed", "hi")
    phase = report.phase("initialize")
    assert phase is not None
    assert phase.seconds == pytest.approx(0.5, abs=0.01)


@pytest.mark.asyncio
async def test_a_hundred_agents_make_a_program_that_starts_in_the_time_of_one() -> None:
    class Slowly(Echo):
        async def initialize(self) -> None:
            await asyncio.sleep(0.01)

    class Working(Recorded):
        async def execute(self) -> object:
            return len(self.runtime.agents.of(Slowly))

    report = await Working(*(child(Slowly) for _ in range(100))).run()
    assert report.result == 100
    phase = report.phase("initialize")
    assert phase is not None
    assert phase.seconds == pytest.approx(0.01, abs=0.001)


@pytest.mark.asyncio
async def test_an_end_that_comes_before_all_are_up_is_an_end_and_no_failure() -> None:
    class Hasty(Echo):
        def initialize(self) -> None:
            self.end_program("early")

    class Late(Echo):
        async def initialize(self) -> None:
            await asyncio.sleep(5)

    program = Recorded(child(Hasty), child(Late))
    report = await program.run()
    assert (report.outcome, report.result) == ("completed", "early")
    assert program.log == [*OPENED, *CLOSED]


@pytest.mark.asyncio
async def test_agents_that_are_added_do_not_keep_it_from_ending() -> None:
    class Boss(Echo):
        async def initialize(self) -> None:
            await self.agents.any_of(Echo).ref()
            self.context.ref.tell(Finish())

    assert (await Recorded(child(Boss)).run()).outcome == "completed"


# Bad ends


@pytest.mark.asyncio
async def test_an_agent_that_has_failed_for_good_ends_it_and_the_others_end_in_order() -> None:
    log: list[str] = []
    program = Recorded(child(Doomed), child(Echo, log), log=log)
    with pytest.raises(ProgramFailed, match="/user/play/doomed has ended") as caught:
        await program.run()
    failed = caught.value
    assert isinstance(failed.reason, RestartsExceeded)
    assert isinstance(failed.__cause__, ValueError)
    assert failed.report == program.report
    assert list(failed.report.failures or ()) == ["/user/play/doomed"]
    assert failed.report.outcome == "failed"
    assert log == [*OPENED, "play/echo up", "play/echo down", *CLOSED]
    assert nothing_left()


@pytest.mark.asyncio
async def test_the_others_go_on_if_the_program_says_so() -> None:
    gate = Gate()
    program = Recorded(child(Doomed), child(Echo, None, gate))
    program.keep_going = True
    running = asyncio.create_task(program.run())
    await settle()
    echo = program.runtime.agents.get("play/echo", Echo)
    waiting = asyncio.create_task(echo.ask(Slow(), timeout=60))
    await gate.reached()
    gate.open()
    assert await waiting == "done"
    echo.tell(Finish())
    report = await running
    assert report.outcome == "completed"
    assert list(report.failures or ()) == ["/user/play/doomed"]


@pytest.mark.asyncio
async def test_its_own_work_that_fails_is_a_failure_of_the_program_also_if_it_keeps_going() -> None:
    class Failing(Recorded):
        keep_going = True

        async def execute(self) -> object:
            raise LookupError("nothing to do")

    program = Failing(child(Echo))
    with pytest.raises(ProgramFailed, match="nothing to do") as caught:
        await program.run()
    assert isinstance(caught.value.__cause__, LookupError)
    assert program.log == [*OPENED, *CLOSED]


@pytest.mark.asyncio
async def test_half_an_initialization_is_cleaned_up() -> None:
    class Half(Recorded):
        async def initialize(self) -> None:
            await super().initialize()
            raise OSError("the third")

    log: list[str] = []
    program = Half(child(Echo, log), log=log)
    with pytest.raises(ProgramFailed, match=r"initialize: .*the third"):
        await program.run()
    assert log == [*OPENED, *CLOSED]
    assert [phase.name for phase in (program.report.phases if program.report else ())] == ["initialize", "clean_up"]
    assert nothing_left()


@pytest.mark.asyncio
async def test_an_agent_that_does_not_start_fails_it_and_what_was_opened_is_closed() -> None:
    class Unable(Echo):
        def initialize(self) -> None:
            raise OSError("no")

    log: list[str] = []
    program = Recorded(child(Unable), child(Echo, log), log=log)
    with pytest.raises(ProgramFailed, match="unable"):
        await program.run()
    assert log[:3] == OPENED
    assert log[-3:] == CLOSED


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.asyncio
async def test_an_initialization_that_takes_too_long_is_cancelled_and_cleaned_up(stubborn: bool) -> None:
    class Slowly(Recorded):
        initialize_timeout = 0.5

        async def initialize(self) -> None:
            await super().initialize()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if stubborn:
                    await asyncio.sleep(0.05)
                raise

    loop = asyncio.get_running_loop()
    began = loop.time()
    program = Slowly()
    with pytest.raises(ProgramFailed, match=r"initialize: not done within 0.5 s"):
        await program.run()
    assert loop.time() - began < 1.0
    assert program.log == [*OPENED, *CLOSED]
    assert problems(program.report) == {"initialize": "not done within 0.5 s", "clean_up": ""}


@pytest.mark.asyncio
async def test_an_execution_that_takes_too_long_is_ended_in_order() -> None:
    log: list[str] = []
    program = Recorded(child(Echo, log), log=log)
    program.execute_timeout = 2.0
    with pytest.raises(ProgramFailed, match="execute: not done within 2 s"):
        await program.run()
    assert log == [*OPENED, "play/echo up", "play/echo down", *CLOSED]


@pytest.mark.parametrize("how", ["fails", "hangs", "resists"])
@pytest.mark.asyncio
async def test_a_clean_up_that_fails_or_hangs_is_told_of_bounded_and_what_comes_after_it_is_done(how: str) -> None:
    class Dirty(Recorded):
        clean_up_timeout = 0.5

        async def clean_up(self) -> None:
            await super().clean_up()
            if how == "fails":
                raise OSError("cannot")
            for _ in range(1 if how == "hangs" else 4):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if how == "hangs":
                        raise

    loop = asyncio.get_running_loop()
    program = Dirty(child(Quick))
    began = loop.time()
    with pytest.raises(ProgramFailed, match=r"clean_up: .*(cannot|in time)"):
        await program.run()
    assert loop.time() - began < 2.0
    assert program.log == [*OPENED, *CLOSED]
    assert nothing_left()


@pytest.mark.asyncio
async def test_an_error_of_the_clean_up_does_not_hide_what_came_before_it() -> None:
    class Dirty(Recorded):
        async def initialize(self) -> None:
            raise OSError("first")

        async def clean_up(self) -> None:
            raise OSError("second")

    program = Dirty()
    with pytest.raises(ProgramFailed, match=r"initialize: .*first"):
        await program.run()
    assert problems(program.report)["clean_up"] == "OSError: second"


# Cancels


@pytest.mark.asyncio
async def test_a_cancel_goes_through_the_clean_up_and_on() -> None:
    log: list[str] = []
    program = Recorded(child(Echo, log), log=log)
    running = asyncio.create_task(program.run())
    await settle()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert log == [*OPENED, "play/echo up", "play/echo down", *CLOSED]
    assert program.report is not None
    assert program.report.outcome == "cancelled"
    assert nothing_left()


@pytest.mark.parametrize("where", ["initialize", "agents", "clean_up"])
@pytest.mark.asyncio
async def test_a_second_cancel_shortens_the_end_and_leaves_nothing(where: str) -> None:
    hold = asyncio.Event()

    class Lingering(Echo):
        async def shutdown(self, reason: object) -> None:
            if where == "agents":
                await hold.wait()

    class Slowly(Recorded):
        async def initialize(self) -> None:
            await super().initialize()
            if where == "initialize":
                try:
                    await hold.wait()
                finally:
                    await asyncio.sleep(0.5)

        async def clean_up(self) -> None:
            await super().clean_up()
            if where == "clean_up":
                await hold.wait()

    loop = asyncio.get_running_loop()
    program = Slowly(child(Lingering))
    running = asyncio.create_task(program.run())
    await settle()
    running.cancel()
    await settle()
    assert not running.done()
    began = loop.time()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert loop.time() - began < 0.3
    assert program.log == [*OPENED, *CLOSED]
    assert nothing_left()


@pytest.mark.asyncio
async def test_a_cancel_at_any_moment_leaves_nothing_open() -> None:
    for turns in range(60):
        program = Recorded(child(Quick), child(Echo))
        running = asyncio.create_task(program.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])
        opened = program.log.count("first opened") + program.log.count("second opened")
        closed = program.log.count("first closed") + program.log.count("second closed")
        assert opened == closed
        assert nothing_left()


# Use


@pytest.mark.asyncio
async def test_an_instance_runs_once_and_has_a_runtime_while_it_does() -> None:
    program = Recorded(child(Quick))
    with pytest.raises(InvalidContext, match="has not begun"):
        program.stop()
    assert not program.has_begun
    await program.run()
    with pytest.raises(InvalidContext, match="runs once"):
        await program.run()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda program: setattr(program, "clean_up_timeout", 0), "clean_up_timeout"),
        (lambda program: setattr(program, "name", "a b"), "name"),
        (lambda program: setattr(program, "specs", (child(Echo).options(name="a"),) * 2), "must be unique"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_not_allowed_is_refused_before_anything_starts(
    change: Callable[[Any], object], problem: str
) -> None:
    program = Recorded(child(Echo))
    change(program)
    with pytest.raises(InvalidSpec, match=problem):
        await program.run()
    with pytest.raises(InvalidSpec, match=problem):
        program.spec()
    assert program.log == []


@pytest.mark.asyncio
async def test_agents_that_resist_do_not_take_the_time_of_the_clean_up() -> None:
    class Stubborn(Echo):
        async def shutdown(self, reason: object) -> None:
            while not hold.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await hold.wait()

    hold = asyncio.Event()
    program = Recorded(child(Stubborn))
    running = asyncio.create_task(program.run(settings=Settings(shutdown=1.0, shutdown_timeout=3.0)))
    await settle()
    program.stop()
    report = await running
    assert program.log == [*OPENED, *CLOSED]
    assert report.outcome == "completed"
    assert len(report.abandoned) == 1
    hold.set()
    await settle()


def test_a_report_is_told_in_lines() -> None:
    assert str(ProgramReport(program="x", outcome="completed")) == "program x completed"


# What whoever runs it adds


class Blank(AIAgent):
    """Was given no model."""


class Own(AIAgent):
    model = ScriptedModel(["of the class"])


@pytest.mark.asyncio
async def test_the_model_of_a_program_is_that_of_agents_that_were_given_none() -> None:
    given = ScriptedModel(["of the agent"])
    play = Recorded(agent_group("team", child(Blank), child(Own)), child(AIAgent, given))
    play.model = ScriptedModel(["of the program", "and of this one"])
    running = asyncio.create_task(play.run())
    await settle()
    agents = [play.runtime.agents.get(f"play/{name}") for name in ("team/blank", "team/own", "ai_agent")]
    agents.append(await play.runtime.start_agent(Blank))
    said = [(await each.ask(Prompt(text="?"))).text for each in agents]
    assert said == ["of the program", "of the class", "of the agent", "and of this one"]
    play.stop()
    await running


@pytest.mark.asyncio
async def test_a_guest_is_one_of_the_agents_and_a_person_may_end_the_program_when_he_leaves() -> None:
    class Hurried:
        async def run(self, seat: Seat) -> None:
            await seat.say("hello")
            await seat.idle()

    play = Recorded(child(Echo))
    person = child(HumanAgent, Hurried(), to="play/echo", ends_program=True)
    play.guests = [person.options(name="guest", depends_on=("echo",))]
    report = await play.run()
    assert (report.outcome, play.log[-1]) == ("completed", "first closed")


@pytest.mark.asyncio
async def test_in_a_program_that_is_not_interactive_no_person_can_be_asked() -> None:
    class Patient:
        async def run(self, seat: Seat) -> None:
            assert not seat.interactive
            await asyncio.Event().wait()

    play = Recorded(agent_group("people", child(HumanAgent, Patient())))
    play.interactive = False
    running = asyncio.create_task(play.run())
    await settle()
    with pytest.raises(NotInteractive, match="it is not interactive"):
        await play.runtime.agents.get("play/people/human_agent", HumanAgent).ask(Prompt(text="?"))
    play.stop()
    await running
