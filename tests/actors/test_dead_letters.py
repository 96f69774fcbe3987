"""Dead letters: what the log says of a storm of them, who is told, and how they are told again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog.testing

from tests.cast import Collector, Fail, Gate, Handled, Hold, Holder, Note, Recorder, Unknown, settle
from understudy import (
    Actor,
    ActorRef,
    ActorStopped,
    ActorSystem,
    Broadcast,
    CountDeadLetters,
    DeadLetter,
    Mailbox,
    Message,
    Name,
    Pool,
    Refused,
    ReplayDeadLetters,
    Settings,
    SubscribeDeadLetters,
    Unhandled,
    child,
    handler,
    worker_pool,
)

Entry = MutableMapping[str, Any]
SECRET = "hunter2"


class Secret(Message):
    """Something that no log may show."""

    value: str = SECRET


class Other(Message):
    """Told as well."""


class Kept(Actor[Secret | Other]):
    """Takes some messages and writes down who has sent them."""

    def __init__(self, seen: list[tuple[object, str | None]] | None = None) -> None:
        self.seen: list[tuple[object, str | None]] = [] if seen is None else seen

    @handler
    def secret(self, message: Secret) -> None:
        self._write(message)

    @handler
    def other(self, message: Other) -> None:
        self._write(message)

    def _write(self, message: object) -> None:
        sender = self.context.sender
        self.seen.append((message, None if sender is None else sender.path))


@pytest.fixture
def entries() -> Iterator[list[Entry]]:
    with structlog.testing.capture_logs() as found:
        yield found


async def ended(system: ActorSystem, name: str, *args: Any, actor: Any = Holder, **options: Any) -> ActorRef[Any]:
    """An actor that has ended for good."""
    ref: ActorRef[Any] = await system.spawn(child(actor, *args).options(name=name, **options))
    ref.stop()
    await ref.wait_stopped()
    return ref


def about(entries: list[Entry], event: str = "dead letter") -> list[Entry]:
    return [entry for entry in entries if entry["event"] == event]


async def replay(system: ActorSystem, to: ActorRef[Any], **options: Any) -> int:
    return await system.dead_letters.ask(ReplayDeadLetters(to=to, **options))


# The log


@pytest.mark.asyncio
async def test_a_storm_of_different_dead_letters_is_a_few_lines_and_the_number_of_the_others(
    entries: list[Entry],
) -> None:
    async with ActorSystem() as system:
        refs = [await ended(system, f"dead-{number}") for number in range(100)]
        for number in range(10_000):
            refs[number % 100].tell((Note, Unknown, Handled)[number % 3]())
        await settle()
        written = about(entries)
        assert len(written) == 5
        assert [entry["recipient"] for entry in written] == [f"/user/dead-{number}" for number in range(5)]
        assert about(entries, "dead letters not logged") == []
        await asyncio.sleep(31)
        counted = sum(entry["times"] for entry in about(entries, "dead letter again"))
        (summary,) = about(entries, "dead letters not logged")
        assert summary["number"] == 10_000 - 5 - counted
        assert len(entries) <= 11
        assert system.statistics().dead_letters == 10_000


@pytest.mark.asyncio
async def test_each_window_of_a_storm_has_its_few_lines_and_its_number(entries: list[Entry]) -> None:
    async with ActorSystem() as system:
        refs = [await ended(system, f"dead-{number}") for number in range(12)]
        for _ in range(2):
            for ref in refs:
                ref.tell(Note())
            await asyncio.sleep(40)
        assert len(about(entries)) == 10
        assert [entry["number"] for entry in about(entries, "dead letters not logged")] == [7, 7]
        await asyncio.sleep(100)
        assert len(about(entries, "dead letters not logged")) == 2
        refs[0].tell(Note())
        await asyncio.sleep(40)
        assert len(about(entries)) == 11
        assert len(about(entries, "dead letters not logged")) == 2


@pytest.mark.asyncio
async def test_few_dead_letters_have_no_summary(entries: list[Entry]) -> None:
    async with ActorSystem() as system:
        for number in range(5):
            (await ended(system, f"dead-{number}")).tell(Note())
        await asyncio.sleep(40)
        assert len(about(entries)) == 5
        assert len(entries) == 5


@pytest.mark.asyncio
async def test_a_storm_at_the_end_of_the_system_is_summed_up_before_the_log_ends(entries: list[Entry]) -> None:
    gate = Gate()
    async with ActorSystem() as system:
        for number in range(20):
            ref = await system.spawn(child(Holder, gate).options(name=f"busy-{number}", shutdown="brutal_kill"))
            ref.tell(Hold())
            ref.tell(Note())
        await gate.reached(20)
    assert len(about(entries)) == 5
    counted = sum(entry["times"] for entry in about(entries, "dead letter again"))
    assert [entry["number"] for entry in about(entries, "dead letters not logged")] == [40 - 5 - counted]


@pytest.mark.asyncio
async def test_a_storm_after_the_end_of_the_system_is_no_storm_in_the_log(entries: list[Entry]) -> None:
    async with ActorSystem() as system:
        refs = [await system.spawn(child(Holder).options(name=f"late-{number}")) for number in range(50)]
    for ref in refs:
        for _ in range(100):
            ref.tell(Note())
    assert len(about(entries)) == 5
    assert len(entries) == 5
    assert system.statistics().dead_letters == 5_000


@pytest.mark.asyncio
async def test_the_log_of_dead_letters_shows_types_and_paths_and_never_what_is_in_a_message(
    entries: list[Entry],
) -> None:
    async with ActorSystem() as system:
        crashing = await system.spawn(child(Holder).options(restart="temporary"))
        crashing.tell(Fail(error=ValueError(f"cannot use {SECRET}")))
        crashing.tell(Unknown())
        await crashing.wait_stopped()
        crashing.tell(Note())
        dead = await ended(system, "dead")
        dead.tell(Secret())
        dead.tell(SECRET)
        living = await system.spawn(Holder)
        living.tell(Secret())
        with pytest.raises(ActorStopped):
            await dead.ask(Secret())
        await asyncio.sleep(40)
    letters = [entry for entry in entries if entry["event"].startswith("dead letter")]
    assert SECRET not in str(letters)
    assert [(entry["recipient"], entry["message"], entry["why"]) for entry in about(entries)] == [
        ("/user/holder", "Unknown", "crashed: ValueError"),
        ("/user/holder", "Note", "crashed: ValueError"),
        ("/user/dead", "Secret", "shut down (stopped)"),
        ("/user/dead", "str", "shut down (stopped)"),
        ("/user/holder", "Secret", "unhandled"),
    ]


@pytest.mark.asyncio
async def test_control_characters_in_names_of_types_and_in_reasons_are_escaped_in_the_log(
    entries: list[Entry],
) -> None:
    kind = type("Evil\x1b[2J\nLine", (), {})
    error = type("Bad\x07", (Exception,), {})
    async with ActorSystem() as system:
        holder = await system.spawn(child(Holder).options(restart="temporary"))
        holder.tell(Fail(error=error(SECRET)))
        await holder.wait_stopped()
        holder.tell(kind())
        await settle()
        (entry,) = about(entries)
        assert entry["message"] == r"Evil\x1b[2J\nLine"
        assert entry["why"] == r"crashed: Bad\x07"


# Telling them again


@pytest.mark.asyncio
async def test_kept_letters_are_told_to_a_ref_in_their_order_and_once_each() -> None:
    seen: list[tuple[object, str | None]] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        messages = [Secret(value="1"), Other(), Secret(value="2")]
        for message in messages:
            dead.tell(message)
        heir = await system.spawn(Kept, seen)
        assert await replay(system, heir) == 3
        assert await replay(system, heir) == 0
        await settle()
        assert seen == [(message, "/system/dead_letters") for message in messages]
        assert system.statistics().dead_letters == 3  # a replay is none


@pytest.mark.asyncio
async def test_only_what_matches_recipient_and_type_is_told_and_the_rest_stays() -> None:
    seen: list[tuple[object, str | None]] = []
    async with ActorSystem() as system:
        first, second = await ended(system, "first"), await ended(system, "second")
        for number, ref in enumerate((first, second, first, second)):
            ref.tell(Secret(value=str(number)))
            ref.tell(Other())
        heir = await system.spawn(Kept, seen)
        assert await replay(system, heir, recipient="/user/first", kind=Secret) == 2
        assert await replay(system, heir, recipient="/user/nobody") == 0
        assert await replay(system, heir, kind=Secret) == 2
        assert await replay(system, heir, kind=Message) == 4
        await settle()
        values = [message.value for message, _ in seen if isinstance(message, Secret)]
        assert values == ["0", "2", "1", "3"]
        assert len(seen) == 8


@pytest.mark.asyncio
async def test_no_more_are_kept_than_the_settings_say_and_those_are_the_latest() -> None:
    seen: list[Any] = []
    async with ActorSystem(settings=Settings(dead_letters_kept=3)) as system:
        dead = await ended(system, "dead")
        for value in range(10):
            dead.tell(Note(value=value))
        assert await replay(system, await system.spawn(Collector, seen)) == 3
        await settle()
        assert seen == [Note(value=7), Note(value=8), Note(value=9)]


@pytest.mark.asyncio
async def test_none_are_kept_when_the_settings_say_so() -> None:
    seen: list[Any] = []
    async with ActorSystem(settings=Settings(dead_letters_kept=0)) as system:
        dead = await ended(system, "dead")
        dead.tell(Note())
        assert await replay(system, await system.spawn(Collector, seen)) == 0
        await settle()
        assert (seen, await system.dead_letters.ask(CountDeadLetters())) == ([], 1)


@pytest.mark.asyncio
async def test_what_an_actor_has_no_handler_for_or_leaves_in_its_mailbox_is_kept() -> None:
    seen: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        holder = await system.spawn(Holder, gate)
        holder.tell(Unknown(value=1))
        holder.tell(Hold())
        await gate.reached()
        holder.tell(Note(value=2))
        holder.tell(Note(value=3), sender=holder)
        holder.stop()
        gate.open()
        await holder.wait_stopped()
        assert await replay(system, await system.spawn(Collector, seen), kind=Note) == 2
        await settle()
        assert seen == [Note(value=2), Note(value=3)]
        assert await replay(system, await system.spawn(Collector, seen), kind=Unknown) == 1


@pytest.mark.asyncio
async def test_what_its_sender_has_got_an_error_for_is_not_told_again() -> None:
    gate = Gate()
    seen: list[Any] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        for lost in (dead.ask(Note()), dead.send(Note()), Name(system, "nobody").ask(Note())):
            with pytest.raises(Exception, match=r"dead|nobody"):
                await lost
        busy = await system.spawn(Holder, gate)
        busy.tell(Hold())
        await gate.reached()
        waiting = asyncio.ensure_future(busy.ask(Note()))
        impatient = asyncio.ensure_future(busy.ask(Note(), timeout=1.0))
        await settle()
        busy.stop()
        gate.open()
        for asked in (waiting, impatient):
            with pytest.raises(ActorStopped):
                await asked
        assert system.statistics().dead_letters == 5
        assert await replay(system, await system.spawn(Collector, seen)) == 0


class Selfish(Actor[Note]):
    """Has a message of its own in its mailbox when it ends, and a signal."""

    @handler
    def note(self, message: Note) -> int:
        self.context.tell_self(Note(value=7))
        self.context.tell_self(Unknown(value=8))
        self.context.ref.stop()
        return 0


@pytest.mark.asyncio
async def test_what_an_actor_has_sent_itself_is_not_told_again() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        selfish = await system.spawn(Selfish)
        selfish.tell(Note())
        await selfish.wait_stopped()
        assert system.statistics().dead_letters == 2
        assert await replay(system, await system.spawn(Collector, seen)) == 0


@pytest.mark.asyncio
async def test_a_message_that_nobody_was_there_for_and_one_that_was_displaced_are_kept() -> None:
    seen: list[Any] = []
    gate = Gate()
    async with ActorSystem() as system:
        assert Name(system, "nobody").tell(Note(value=1)) is False
        assert Broadcast(system, [await ended(system, "dead")]).tell(Note(value=2)) is False
        spec = child(Holder, gate).options(mailbox=Mailbox(capacity=1, policy="drop_old"))
        busy = await system.spawn(spec)
        busy.tell(Hold())
        await gate.reached()
        busy.tell(Note(value=3))
        busy.tell(Note(value=4))
        assert await replay(system, await system.spawn(Collector, seen)) == 3
        await settle()
        assert seen == [Note(value=1), Note(value=2), Note(value=3)]
        gate.open()


@pytest.mark.asyncio
async def test_a_letter_that_dies_again_is_counted_again_and_not_kept_again() -> None:
    recorder = Recorder()
    async with ActorSystem(instruments=[recorder]) as system:
        dead = await ended(system, "dead")
        dead.tell(Unknown(value=1))
        for kind in (Holder, Rejecting, RejectingAtOnce, RejectingAside):
            wrong: ActorRef[Any] = await system.spawn(child(kind))
            before = len(recorder.letters)
            dead.tell(Unknown(value=2))
            assert await replay(system, wrong) in (1, 2)
            await settle()
            assert len(recorder.letters) in (before + 2, before + 3)
            assert {letter[2] for letter in recorder.letters if letter[1] == wrong.path} == {"/system/dead_letters"}
            assert await replay(system, wrong) == 0


class Rejecting(Actor[Note]):
    """Says of all but one message that it is unhandled after all."""

    @handler
    def note(self, message: Note) -> int:
        return 0

    async def handle_message(self, message: Any) -> Any:
        return super().handle_message(message)


class RejectingAtOnce(Actor[Note]):
    """The same, in a `def`."""

    @handler
    def note(self, message: Note) -> int:
        return 0

    def handle_message(self, message: Any) -> Any:
        return super().handle_message(message)


class RejectingAside(Actor[Unknown]):
    """The same, in a reentrant handler."""

    @handler(reentrant=True)
    async def unknown(self, message: Unknown) -> int:
        raise Unhandled(path=self.context.path, message=message)


class Grinder(Actor[DeadLetter]):
    """Has each dead letter told to the same ref, again and again."""

    def __init__(self, to: ActorRef[Any], rounds: list[int]) -> None:
        self.to, self.rounds = to, rounds

    @handler
    async def letter(self, message: DeadLetter) -> None:
        self.rounds.append(await self.context.system.dead_letters.ask(ReplayDeadLetters(to=self.to)))


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.asyncio
async def test_who_replays_each_dead_letter_into_the_void_goes_round_once(alive: bool) -> None:
    rounds: list[int] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        void = await system.spawn(Holder) if alive else dead
        grinder = await system.spawn(Grinder, void, rounds)
        await system.dead_letters.ask(SubscribeDeadLetters(subscriber=grinder))
        dead.tell(Unknown())
        await asyncio.sleep(100)
        assert rounds == ([1, 0] if alive else [0])


@pytest.mark.asyncio
async def test_at_the_first_that_finds_no_room_the_replay_ends_and_the_rest_is_still_there() -> None:
    gate = Gate()
    log: list[Any] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        for value in range(5):
            dead.tell(Note(value=value))
        small = await system.spawn(child(Holder, gate, log).options(mailbox=2))
        small.tell(Hold(value=100))
        await gate.reached()
        assert await replay(system, small) == 2
        assert await replay(system, small) == 0
        assert system.statistics().dead_letters == 5  # those for which there is no room are none once more
        gate.open()
        await settle()
        assert await replay(system, small) == 2
        await settle()
        assert await replay(system, small) == 1
        await settle()
        assert log == [100, 0, 1, 2, 3, 4]


@pytest.mark.asyncio
async def test_a_replay_to_an_actor_that_has_ended_tells_nothing_and_loses_nothing() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        dead.tell(Note(value=1))
        assert await replay(system, dead) == 0
        assert system.statistics().dead_letters == 1
        assert await replay(system, await system.spawn(Collector, seen)) == 1
        await settle()
        assert seen == [Note(value=1)]


@pytest.mark.asyncio
async def test_a_pool_can_be_the_one_that_is_told() -> None:
    log: list[Any] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        for value in range(4):
            dead.tell(Note(value=value))
        pool = Pool(await system.spawn(worker_pool("pool", child(Holder, None, log), workers=2)), Holder)
        assert await replay(system, pool) == 4
        await settle()
        assert sorted(log) == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_kept_letters_outlive_a_restart_of_the_dead_letters_actor_and_not_the_system() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        dead.tell(Note(value=1))
        system.dead_letters.kill()
        assert await replay(system, await system.spawn(Collector, seen)) == 1
        await settle()
        assert seen == [Note(value=1)]
        dead.tell(Note(value=2))
    runtime = system._running()  # pyright: ignore[reportPrivateUsage]
    dead.tell(Note(value=3))
    assert list(runtime.kept_letters) == []


@pytest.mark.asyncio
async def test_a_replay_to_a_ref_of_another_event_loop_is_refused_and_the_letters_stay() -> None:
    def elsewhere() -> ActorRef[Any]:
        async def main() -> ActorRef[Any]:
            async with ActorSystem() as other:
                return await other.spawn(Holder)

        return asyncio.run(main())

    far = await asyncio.to_thread(elsewhere)
    async with ActorSystem() as system:
        (await ended(system, "dead")).tell(Note())
        with pytest.raises(Refused):
            await replay(system, far)
        assert system.statistics().crashed == 0
        assert await replay(system, await system.spawn(Holder)) == 1


@pytest.mark.asyncio
async def test_what_a_mailbox_raises_in_the_middle_of_a_replay_tells_nobody_twice() -> None:
    log: list[Any] = []

    def weigh(message: object) -> int:
        if isinstance(message, Note) and message.value == 2:
            raise RuntimeError("too heavy to say")
        return 1

    async with ActorSystem() as system:
        dead = await ended(system, "dead")
        for value in range(4):
            dead.tell(Note(value=value))
        fussy = await system.spawn(child(Holder, None, log).options(mailbox=Mailbox(capacity=100, weigh=weigh)))
        with pytest.raises(Exception, match="too heavy"):
            await replay(system, fussy)
        assert await replay(system, await system.spawn(Holder, None, log)) == 2
        await settle()
        assert sorted(log) == [0, 1, 2, 3]
