"""The plan of a meeting: what follows from what has happened, without any actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from understudy import ActorStopped, AskTimeout, InvalidSpec, Killed, NoReply, Refused, Unhandled
from understudy.agents import (
    AskModerator,
    ByRequest,
    CloseMeeting,
    GiveFloor,
    MeetingEnded,
    MeetingRules,
    ModeratorChooses,
    NextSpeaker,
    NotInMeeting,
    NotYourTurn,
    RoundRobin,
    Rsvp,
    Said,
    StaleState,
    Table,
    TurnDecision,
    TurnPolicy,
    WaitForRequest,
)
from understudy.agents._meeting_answers import take_choice, take_rsvp, take_words
from understudy.agents._meeting_effects import AskToChoose, AskToSpeak, Close, Dismiss, Invite, TakeBack
from understudy.agents._meeting_plan import MeetingPlan

THREE = {"ann": True, "bob": True, "cid": False}


class Draft(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    pages: int = 0

    @model_validator(mode="after")
    def _is_short(self) -> Draft:
        if self.pages > 10:
            raise ValueError("ten pages are enough")
        return self


def planned(
    attendees: dict[str, bool] | None = None,
    *there: str,
    policy: TurnPolicy | None = None,
    state: BaseModel | None = None,
    **rules: Any,
) -> MeetingPlan:
    """A plan that has begun, and those who are *there* have accepted; what it wanted so far is done."""
    policy = RoundRobin() if policy is None else policy
    plan = MeetingPlan(THREE if attendees is None else attendees, MeetingRules(**rules), policy, state)
    plan.begin({})
    for name in there:
        plan.accepted(name)
    return plan


def end_of(plan: MeetingPlan) -> MeetingEnded:
    """The one end among what is to be done."""
    (close,) = [effect for effect in plan.effects() if isinstance(effect, Close)]
    return close.ended


def kinds(plan: MeetingPlan) -> list[str]:
    return [f"{minute.kind} {minute.who}".strip() for minute in plan.minutes]


# Inviting


def test_all_are_invited_at_once() -> None:
    assert planned().effects() == [Invite("ann"), Invite("bob"), Invite("cid")]


def test_it_begins_when_all_who_are_required_are_there_and_waits_for_nobody_else() -> None:
    plan = planned()
    plan.effects()
    plan.accepted("bob")
    assert (plan.phase, plan.effects()) == ("inviting", [])
    plan.accepted("ann")
    assert plan.phase == "in_session"
    assert plan.effects() == [AskToSpeak(1, 1, "ann")]
    assert kinds(plan) == ["joined bob", "joined ann", "began"]


# What happens to the first of them while the meeting invites; whether it is over then, and whether it was required.
Happening = Callable[[MeetingPlan, str], None]
FATES: dict[str, Happening] = {
    "declines": lambda plan, name: plan.declined(name, "has declined"),
    "is silent": lambda plan, name: plan.silent(name, "has not answered"),
    "ends": lambda plan, name: plan.gone(name, "has ended"),
    "accepts and leaves": lambda plan, name: (plan.accepted(name), plan.left(name, "bye"))[1],
    "accepts and ends": lambda plan, name: (plan.accepted(name), plan.gone(name, "has ended"))[1],
}


@pytest.mark.parametrize("fate", FATES)
def test_without_one_who_is_required_it_is_not_held_and_that_is_said_at_once(fate: str) -> None:
    plan = planned()
    FATES[fate](plan, "bob")
    ended = end_of(plan)
    assert (ended.outcome, plan.phase) == ("not_held", "ended")
    assert "bob is required, and is not there" in ended.reason
    assert ended.absent["bob"]
    assert ended.absent["ann"] == "has not answered yet"


@pytest.mark.parametrize("fate", FATES)
def test_without_one_who_is_optional_it_is_held(fate: str) -> None:
    plan = planned()
    FATES[fate](plan, "cid")
    assert plan.phase == "inviting"
    plan.accepted("ann")
    plan.accepted("bob")
    assert plan.phase == "in_session"


@pytest.mark.parametrize(
    ("quorum", "there", "phase"),
    [
        (None, "a", "in_session"),
        (1, "a", "in_session"),
        (2, "a", "inviting"),
        (2, "ab", "in_session"),
        (4, "abc", "inviting"),
        (4, "abcd", "in_session"),
    ],
)
def test_it_begins_with_the_quorum(quorum: int | None, there: str, phase: str) -> None:
    assert planned(dict.fromkeys("abcd", False), *there, quorum=quorum).phase == phase


def test_it_is_not_held_as_soon_as_the_quorum_cannot_be_reached_any_more() -> None:
    plan = planned(dict.fromkeys("abcd", False), "a", quorum=3)
    plan.silent("b", "has not answered")
    assert plan.phase == "inviting"
    plan.declined("c", "has declined")
    ended = end_of(plan)
    assert ended.outcome == "not_held"
    assert ended.reason.startswith("a quorum of 3 is not there, 1 are; b: has not answered; c: has declined")


def test_nobody_is_invited_if_one_who_is_required_is_missing() -> None:
    plan = MeetingPlan(THREE, MeetingRules(), RoundRobin())
    plan.begin({"bob": "there is no such agent"})
    assert end_of(plan).absent == {"ann": "was not invited", "bob": "there is no such agent", "cid": "was not invited"}
    assert plan.audience == ()


def test_who_comes_late_is_a_member_and_gets_its_turn() -> None:
    plan = planned(None, "ann", "bob")
    plan.silent("cid", "has not answered")
    plan.accepted("cid")
    plan.spoke(1, "a")
    plan.spoke(2, "b")
    assert plan.members == ("ann", "bob", "cid")
    assert plan.floor == "cid"
    assert kinds(plan) == ["joined ann", "joined bob", "began", "joined cid", "said ann", "said bob"]


# Turns


def test_only_what_comes_in_the_turn_is_heard() -> None:
    plan = planned(None, "ann", "bob")
    plan.spoke(1, "first")
    plan.spoke(1, "again")
    plan.missed(1, "late")
    plan.spoke(7, "out of the blue")
    assert [minute.text for minute in plan.minutes if minute.kind == "said"] == ["first"]
    assert plan.floor == "bob"


def test_who_has_more_to_say_keeps_the_floor_as_long_as_there_are_turns() -> None:
    plan = planned(None, "ann", "bob", max_turns=3)
    for ticket in (1, 2, 3):
        assert plan.floor == "ann"
        plan.spoke(ticket, "and", more=True)
    assert end_of(plan).reason == "all 3 turns are over"


def test_who_misses_too_many_turns_in_a_row_is_removed_and_who_speaks_in_between_is_not() -> None:
    plan = planned({"ann": False, "bob": False}, "ann", "bob", max_misses=2, quorum=1)
    plan.missed(1, "late")  # ann
    plan.missed(2, "late")  # bob
    plan.spoke(3, "here")
    plan.missed(4, "late")
    assert plan.members == ("ann",)
    plan.missed(5, "late")
    assert plan.members == ("ann",)
    assert kinds(plan)[-3:] == ["missed bob", "removed bob", "missed ann"]
    assert Dismiss("bob") in plan.effects()


def test_a_turn_is_taken_back_when_its_member_goes() -> None:
    plan = planned(None, "ann", "bob", "cid")
    plan.spoke(1, "a")
    plan.spoke(2, "b")
    plan.effects()
    plan.left("cid", "tired")
    assert plan.effects() == [TakeBack(), Dismiss("cid"), AskToSpeak(4, 4, "ann")]
    plan.spoke(3, "and another thing")
    assert kinds(plan)[-1] == "left cid"


@pytest.mark.parametrize("fate", ["left", "gone"])
def test_it_is_broken_off_when_one_who_is_required_goes(fate: str) -> None:
    plan = planned(None, "ann", "bob", "cid")
    getattr(plan, fate)("bob", "a reason")
    ended = end_of(plan)
    assert (ended.outcome, ended.reason) == ("broken_off", "bob is required, and is not there: a reason")


def test_it_is_broken_off_when_the_quorum_is_lost() -> None:
    plan = planned(dict.fromkeys("abc", False), "a", "b", quorum=2)
    plan.left("a", "")
    assert end_of(plan).outcome == "broken_off"


def test_what_somebody_contributes_counts_in_its_turn_only() -> None:
    plan = planned(None, "ann", "bob")
    number = plan.contributed("ann", "first of all")
    assert plan.minutes[number - 1].text == "first of all"
    with pytest.raises(NotYourTurn, match="bob has not the floor, ann has"):
        plan.contributed("bob", "but")
    with pytest.raises(NotInMeeting, match="it is no member"):
        plan.contributed("cid", "but")
    assert plan.floor == "ann"


def test_a_policy_that_names_somebody_who_is_not_there_is_an_error() -> None:
    class Odd:
        def next(self, table: Table) -> TurnDecision:
            return GiveFloor("zoe")

    with pytest.raises(InvalidSpec, match="one of ann, bob, got 'zoe'"):
        planned(None, "ann", "bob", policy=Odd())


def test_a_policy_that_asks_a_moderator_for_ever_is_an_error() -> None:
    class Undecided:
        def next(self, table: Table) -> TurnDecision:
            return AskModerator("ann")

    plan = planned(None, "ann", "bob", policy=Undecided())
    with pytest.raises(InvalidSpec, match="only once"):
        plan.chose(1, NextSpeaker(name="bob"))


# What answers mean


@pytest.mark.parametrize(
    ("value", "status", "why"),
    [
        (Rsvp(), "present", ""),
        (Unhandled(path="/user/cid", message=None), "present", ""),
        (Rsvp(coming=False), "away", "has declined"),
        (Refused("no"), "away", "has declined: no"),
        (
            AskTimeout(path="/user/cid", message=None, seconds=30, state="busy"),
            "silent",
            "has not answered within 30 s",
        ),
        (ActorStopped(path="/user/cid", message=None, reason=Killed()), "away", "has ended: killed"),
        (OSError("the line is dead"), "away", "could not be invited: the line is dead"),
        (3, "away", "has answered an invitation with 3, and not with an Rsvp"),
    ],
)
def test_what_an_answer_to_an_invitation_means(value: object, status: str, why: str) -> None:
    plan = planned(None, "ann", "bob")
    take_rsvp(plan, "cid", value)
    assert plan._seats["cid"].status == status
    assert plan.absent.get("cid", "") == why


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (Said(text="well"), "said", "well"),
        (Said(text="  "), "passed", "  "),
        (AskTimeout(path="/user/ann", message=None, seconds=9, state="busy"), "missed", "no answer within 120 s"),
        (NoReply(path="/user/ann", message=None, reason=Killed()), "missed", None),
        ("well", "missed", "it has answered with 'well'"),
    ],
)
def test_what_an_answer_to_a_turn_means(value: object, kind: str, text: str | None) -> None:
    plan = planned(None, "ann", "bob")
    take_words(plan, 1, value)
    assert plan.minutes[-1].kind == kind
    assert plan.minutes[-1].text == (str(value) if text is None else text)


def test_what_is_no_choice_is_a_turn_that_the_moderator_has_missed() -> None:
    plan = planned(None, "ann", "bob", policy=ModeratorChooses("ann"))
    take_choice(plan, 1, "bob")
    assert (plan.minutes[-1].kind, plan.floor) == ("missed", "ann")
    plan.spoke(2, "so it is me")
    take_choice(plan, 3, NextSpeaker(name="bob"))
    assert plan.floor == "bob"


# Policies


def table(members: str = "abc", *, last: str | None = None, turns: str = "", requests: str = "", **more: Any) -> Table:
    given: dict[str, Any] = {"answer": None, "asked": False, "state": None, **more}
    counts = {name: turns.count(name) for name in "abc"}
    return Table(tuple("abc"), tuple(members), tuple(requests), counts, last, **given)


@pytest.mark.parametrize(
    ("policy", "at", "decision"),
    [
        (RoundRobin(), table(), GiveFloor("a")),
        (RoundRobin(), table(last="a"), GiveFloor("b")),
        (RoundRobin(), table(last="c"), GiveFloor("a")),
        (RoundRobin(), table("a", last="a"), GiveFloor("a")),
        (RoundRobin(), table("ac", last="a"), GiveFloor("c")),
        (RoundRobin(), table("ac", last="b"), GiveFloor("c")),
        (RoundRobin(1), table(last="c", turns="abc"), CloseMeeting("each member has had 1 turn")),
        (RoundRobin(2), table(last="c", turns="abc"), GiveFloor("a")),
        (RoundRobin(2), table(last="b", turns="aabb"), GiveFloor("c")),
        (RoundRobin(2), table("ab", last="b", turns="aabbc"), CloseMeeting("each member has had 2 turns")),
        (ByRequest(), table(), WaitForRequest()),
        (ByRequest(), table(requests="ca", last="c"), GiveFloor("c")),
        (ModeratorChooses("b"), table(), AskModerator("b")),
        (ModeratorChooses("b"), table(asked=True, answer=NextSpeaker(name="c")), GiveFloor("c")),
        (ModeratorChooses("b"), table(asked=True, last="a"), GiveFloor("b")),
        (ModeratorChooses("b"), table("ac", last="a"), GiveFloor("c")),
        (ModeratorChooses("b"), table(asked=True, answer=NextSpeaker(name=None)), CloseMeeting("b has closed it")),
        (
            ModeratorChooses("b"),
            table(asked=True, answer=NextSpeaker(name=None, why="all is said")),
            CloseMeeting("all is said"),
        ),
    ],
)
def test_a_policy_decides_by_the_table_alone(policy: TurnPolicy, at: Table, decision: TurnDecision) -> None:
    assert policy.next(at) == decision


def test_who_asks_for_a_turn_gets_it_in_order_and_once() -> None:
    plan = planned(None, "ann", "bob", "cid", policy=ByRequest())
    assert plan.effects()[3:] == []
    assert plan.requested("bob") == 0
    assert plan.floor == "bob"
    assert [plan.requested(name) for name in ("cid", "ann", "cid")] == [0, 1, 0]
    plan.spoke(1, "b")
    assert plan.floor == "cid"
    plan.spoke(2, "c")
    plan.spoke(3, "a")
    assert plan.floor is None
    assert plan.phase == "in_session"


def test_who_goes_does_not_wait_for_a_turn_any_more() -> None:
    plan = planned(None, "ann", "bob", "cid", policy=ByRequest())
    for name in ("ann", "cid", "bob"):
        plan.requested(name)
    plan.left("cid", "")
    plan.spoke(1, "a")
    assert plan.floor == "bob"


def test_a_moderator_is_asked_before_each_turn() -> None:
    plan = planned(None, "ann", "bob", policy=ModeratorChooses("ann"))
    assert plan.effects()[-1] == AskToChoose(1, "ann", ("ann", "bob"))
    assert plan.floor is None
    plan.chose(1, NextSpeaker(name="bob"))
    assert plan.floor == "bob"
    plan.spoke(2, "well")
    plan.chose(3, NextSpeaker(name=None, why="all is said"))
    assert end_of(plan).reason == "all is said"


def test_a_moderator_who_names_nobody_who_is_there_has_missed_it_and_the_others_go_on() -> None:
    plan = planned(None, "ann", "bob", policy=ModeratorChooses("ann"))
    plan.chose(1, NextSpeaker(name="zoe"))
    assert plan.floor == "ann"
    assert plan.minutes[-1].text == "'zoe' is not there, and cannot speak"


@pytest.mark.parametrize("make", [lambda: RoundRobin(0), lambda: ModeratorChooses(""), lambda: RoundRobin(True)])
def test_policies_refuse_what_they_cannot_do(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidSpec):
        make()


def test_a_policy_that_decides_nothing_is_an_error() -> None:
    class Dumb:
        def next(self, table: Table) -> Any:
            return None

    with pytest.raises(InvalidSpec, match="must return a TurnDecision, got None"):
        planned(None, "ann", "bob", policy=Dumb())


def test_a_policy_is_not_told_of_somebody_chosen_who_has_gone_meanwhile() -> None:
    class Patient:
        """Waits for a request after the moderator has answered."""

        def next(self, table: Table) -> TurnDecision:
            if not table.asked:
                return AskModerator("ann")
            seen.append(table.answer)
            return WaitForRequest()

    seen: list[NextSpeaker | None] = []
    plan = planned(None, "ann", "bob", "cid", policy=Patient())
    plan.chose(1, NextSpeaker(name="cid"))
    plan.left("cid", "")
    assert seen == [NextSpeaker(name="cid"), None]


# The state


def test_changes_of_the_state_are_numbered_and_validated_whole() -> None:
    plan = planned(None, "ann", "bob", state=Draft())
    assert plan.changed("ann", {"title": "Bees"}) == 1
    assert plan.changed("bob", {"pages": 3}, based_on=1) == 2
    assert plan.state == Draft(title="Bees", pages=3)
    changes = [minute for minute in plan.minutes if minute.kind == "changed"]
    assert [(minute.version, minute.state) for minute in changes] == [
        (1, Draft(title="Bees")),
        (2, Draft(title="Bees", pages=3)),
    ]
    assert plan.floor == "ann"


def test_fields_are_changed_by_their_names_whatever_their_aliases() -> None:
    class Aliased(BaseModel):
        model_config = ConfigDict(frozen=True)

        title: str = Field(default="", alias="the-title")
        pages: int = 0

    plan = planned(None, "ann", "bob", state=Aliased(**{"the-title": "Bees"}))
    plan.changed("ann", {"pages": 2})
    plan.changed("ann", {"title": "Wasps"})
    assert plan.state == Aliased(**{"the-title": "Wasps"}, pages=2)


@pytest.mark.parametrize(
    ("changes", "based_on", "told"),
    [
        ({"pages": 11}, None, "ten pages are enough"),
        ({"pages": "many", "title": "x"}, None, "pages: "),
        ({"colour": "red"}, None, "Draft has no colour; it has title, pages"),
        ({"pages": 1}, 0, "is based on state 0, which is now 1"),
    ],
)
def test_a_change_that_is_not_accepted_changes_nothing(changes: Any, based_on: int | None, told: str) -> None:
    plan = planned(None, "ann", "bob", state=Draft())
    plan.changed("ann", {"title": "Bees"})
    before = list(plan.minutes)
    with pytest.raises(Refused, match=told) as caught:
        plan.changed("bob", changes, based_on)
    assert (plan.state, plan.version, plan.minutes) == (Draft(title="Bees"), 1, before)
    assert isinstance(caught.value, StaleState) == (based_on is not None)


def test_a_change_is_refused_before_and_after_the_meeting_by_strangers_and_without_a_state() -> None:
    plan = planned(state=Draft())
    with pytest.raises(NotInMeeting, match="it has not begun"):
        plan.changed("ann", {})
    plan.accepted("ann")
    plan.accepted("bob")
    with pytest.raises(NotInMeeting, match="it is no member"):
        plan.changed("cid", {})
    plan.adjourn("enough")
    with pytest.raises(NotInMeeting, match="it is over"):
        plan.changed("ann", {})
    with pytest.raises(Refused, match="has no shared state"):
        planned(None, "ann", "bob").changed("ann", {})


# The end


@pytest.mark.parametrize(
    ("happens", "outcome", "reason"),
    [
        (lambda plan: plan.adjourn("enough"), "held", "enough"),
        (lambda plan: plan.time_is_up(), "held", "the time is up, after 3600 s"),
        (lambda plan: plan.stopped("stopped", failed=False), "broken_off", "stopped"),
        (lambda plan: plan.stopped("crashed", failed=True), "failed", "crashed"),
    ],
)
def test_it_ends_in_one_way_and_nothing_happens_afterwards(
    happens: Callable[[MeetingPlan], None], outcome: str, reason: str
) -> None:
    plan = planned(None, "ann", "bob", "cid", state=Draft())
    plan.changed("ann", {"pages": 2})
    plan.effects()
    happens(plan)
    take_back, close = plan.effects()
    assert take_back == TakeBack()
    assert isinstance(close, Close)
    ended = close.ended
    assert (ended.outcome, ended.reason, ended.version, ended.state) == (outcome, reason, 1, Draft(pages=2))
    assert ended.minutes == tuple(plan.minutes)
    assert plan.audience == ("ann", "bob", "cid")
    for name in THREE:
        plan.accepted(name)
        plan.left(name, "")
        plan.gone(name, "")
        plan.silent(name, "")
    plan.spoke(1, "late")
    plan.adjourn("again")
    plan.stopped("and again", failed=True)
    assert plan.effects() == []
    assert ended.minutes == tuple(plan.minutes)


@pytest.mark.parametrize("there", [[], ["ann"]])
def test_one_that_never_began_was_not_held(there: list[str]) -> None:
    plan = planned(None, *there)
    plan.time_is_up()
    assert end_of(plan).outcome == "not_held"


def test_the_minutes_have_an_end_and_so_the_meeting() -> None:
    plan = planned(None, "ann", "bob", state=Draft())
    while plan.phase == "in_session":
        plan.changed("ann", {"pages": len(plan.minutes) % 10})
    assert end_of(plan).reason == "there is no room for more than 10,000 minutes"
    assert len(plan.minutes) == 10_000


@pytest.mark.parametrize(
    "rules",
    [
        {"quorum": 0},
        {"max_turns": 0},
        {"max_misses": 0},
        {"turn_seconds": 0},
        {"max_seconds": float("inf")},
        {"invite_seconds": float("inf")},
        {"keep_seconds": -1.0},
    ],
)
def test_rules_that_let_it_go_on_for_ever_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=next(iter(rules))):
        MeetingRules(**rules)


# Whatever happens

NAMES = ("a", "b", "c", "d")
STEPS = st.tuples(
    st.sampled_from(
        [
            *("accepted", "accepted", "accepted", "declined", "silent", "left", "gone", "requested"),
            *("spoke", "spoke", "spoke", "more", "missed", "chose", "contributed", "changed", "adjourn", "old"),
        ]
    ),
    st.sampled_from(NAMES),
)


@given(
    required=st.lists(st.booleans(), min_size=4, max_size=4),
    quorum=st.sampled_from([None, 1, 2, 4]),
    policy=st.sampled_from([RoundRobin(), RoundRobin(2), ByRequest(), ModeratorChooses("b")]),
    steps=st.lists(STEPS, max_size=40),
)
def test_whatever_happens_the_promises_hold(
    required: list[bool], quorum: int | None, policy: TurnPolicy, steps: list[tuple[str, str]]
) -> None:
    attendees = dict(zip(NAMES, required, strict=True))
    plan = planned(attendees, policy=policy, state=Draft(), quorum=quorum, max_turns=8, max_misses=2)
    effects = plan.effects()
    for step, name in steps:
        ticket = plan._ticket
        floor, before = plan.floor, len(plan.minutes)
        match step:
            case "accepted":
                plan.accepted(name)
            case "spoke" | "more" if floor is not None:
                plan.spoke(ticket, "x", more=step == "more")
            case "missed":
                plan.missed(ticket, "late")
            case "chose" if floor is None:
                plan.chose(ticket, NextSpeaker(name=name))
            case "old":
                plan.spoke(ticket - 1, "too late")
            case "declined" | "silent" | "left" | "gone":
                getattr(plan, step)(name, "why")
            case "requested" | "contributed" | "changed" as call:
                arguments = {"requested": (), "contributed": ("y",), "changed": ({"pages": 1},)}[call]
                try:
                    getattr(plan, call)(name, *arguments)
                except Refused:
                    assert len(plan.minutes) == before
            case "adjourn":
                plan.adjourn("enough")
            case _:
                pass
        said = [minute for minute in plan.minutes[before:] if minute.kind in ("said", "passed")]
        assert all(minute.who == floor for minute in said), "somebody has spoken out of turn"
        effects += plan.effects()
        members = plan.members
        if plan.phase == "in_session":
            assert all(each in members for each, needed in attendees.items() if needed)
            assert len(members) >= max(quorum or 1, 1)
            assert plan.floor is None or plan.floor in members
    assert [minute.number for minute in plan.minutes] == list(range(1, len(plan.minutes) + 1))
    versions = [minute.version for minute in plan.minutes if minute.kind == "changed"]
    assert versions == list(range(1, plan.version + 1))
    assert len([effect for effect in effects if isinstance(effect, AskToSpeak)]) <= 8
    closes = [number for number, effect in enumerate(effects) if isinstance(effect, Close)]
    assert len(closes) == (plan.phase == "ended")
    assert not closes or closes[0] == len(effects) - 1, "something is to be done after the end"
