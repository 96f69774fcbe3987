"""The first example: how a rally goes, and what crashes, slowness and a bad player do to it."""

from __future__ import annotations

import asyncio

import pytest

from examples.ping_pong.actors import PATIENCE, PingPlayer, PongPlayer, Serve
from examples.ping_pong.messages import Hits, Ping, Pong
from examples.ping_pong.program import PingPong
from tests.cast import Recorder
from understudy import ActorNotFound, ActorRef, ActorSystem, Normal, StartError, SystemCollapsed, child
from understudy.testing import TestProbe, unit

PONG = "/user/ping_pong/pong"
PING = "/user/ping_pong/ping"


@pytest.mark.asyncio
async def test_without_a_crash_no_time_passes_and_the_end_of_ping_is_the_end_of_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = Recorder()
    begin = asyncio.get_running_loop().time()
    async with ActorSystem(child(PingPong, 4, None), instruments=[recorder]) as system:
        await system.wait_stopped()
        assert asyncio.get_running_loop().time() - begin < PATIENCE
    assert capsys.readouterr().out.splitlines() == [
        "ping serves",
        *(f"  {who} {number}" for number in range(1, 5) for who in ("ping", "pong")),
        "the rally is over: 4 balls, and pong knows of 4",
    ]
    assert recorder.of("actor_stopped", PING) == [(PING, Normal())]
    assert (recorder.of("actor_crashed"), recorder.letters) == ([], [])


@pytest.mark.asyncio
async def test_a_crash_costs_the_ball_in_hand_and_what_pong_knew_and_ping_is_not_touched() -> None:
    recorder = Recorder()
    async with ActorSystem(PingPong, instruments=[recorder]) as system:
        pong = system.lookup(PONG, PongPlayer)
        await system.wait_stopped()
    assert [(path, kind) for path, _, kind in recorder.of("actor_crashed")] == [(PONG, "Ping")]
    assert recorder.of("actor_started", PING) == [(PING, 1)]
    assert recorder.of("actor_started", PONG) == [(PONG, 1), (PONG, 2)]
    assert pong.status == "stopped"


@pytest.mark.asyncio
async def test_a_player_that_always_stumbles_is_one_crash_too_many_at_its_fourth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = Recorder()
    with pytest.raises(SystemCollapsed, match="/user/ping_pong/pong failed 4 times"):
        async with ActorSystem(child(PingPong, lives=9), instruments=[recorder]) as system:
            await system.wait_stopped()
    assert len(recorder.of("actor_crashed", PONG)) == 4
    printed = capsys.readouterr().out
    assert printed.count("ping serves again") == 3
    assert "over" not in printed.replace("stumbles over", "")


@pytest.mark.asyncio
async def test_a_ball_that_comes_back_twice_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with ActorSystem() as system:
        far = await TestProbe.start(system, "far")
        # A probe takes anything, so it stands in for the player that is looked up.
        ping = await system.spawn(child(_Against, far.ref, 2).options(restart="temporary"))
        assert await far.expect(Ping) == await far.expect(Ping, timeout=2 * PATIENCE) == Ping(number=1, back=ping)
        for _ in range(2):
            ping.tell(Pong(number=1))
        assert (await far.expect(Ping)).number == 2
        await far.expect_no_message(PATIENCE / 2)  # the second Pong(1) is no reason for a third ball
        ping.tell(Pong(number=2))
        await far.expect(Hits)
        far.reply(2)
        assert await ping.wait_stopped() == Normal()
    assert "2 balls, and pong knows of 2" in capsys.readouterr().out


class _Against(PingPlayer):
    """Plays with whom it is given, not with whom it finds."""

    def __init__(self, partner: ActorRef[Ping | Hits], balls: int) -> None:
        super().__init__(balls, partner.path)
        self.pong = partner

    def initialize(self) -> None:
        self.context.tell_self(Serve())


@pytest.mark.asyncio
async def test_a_ping_player_without_a_partner_does_not_start() -> None:
    async with ActorSystem() as system:
        with pytest.raises(StartError, match="/user/ping_player") as error:
            await system.spawn(PingPlayer, 5, "nobody")
        assert isinstance(error.value.__cause__, ActorNotFound)
        assert system.find("ping_player") is None


def test_pong_hits_the_ball_to_whom_it_names_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    u = unit(PongPlayer, 2)
    u.actor.ping(Ping(number=1, back=u.ref("ear")))
    with pytest.raises(RuntimeError, match="stumbled"):
        u.actor.ping(Ping(number=2, back=u.ref("ear")))
    assert [(each.to, each.message) for each in u.told] == [(u.ref("ear"), Pong(number=1))]
    assert u.actor.count(Hits()) == 1
