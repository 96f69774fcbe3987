"""``RateLimiter``: what agents of one provider may do together."""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from understudy._plans._instant import INSTANT
from understudy._plans._spec import check_count, number_of
from understudy.actors._actor import Actor
from understudy.actors._handler import handler
from understudy.actors._reply import Reply
from understudy.actors._runtime import runtime_of
from understudy.exceptions import InvalidSpec
from understudy.messages import Message, Terminated

if TYPE_CHECKING:
    from understudy.actors._monitors import Monitor
    from understudy.actors._ref import ActorRef

__all__ = ["Acquire", "LimiterOf", "Pace", "RateLimiter", "Release"]


@dataclass(frozen=True, slots=True)
class LimiterOf:
    """The key of the limiter of a provider, in ``system.registry``."""

    provider: str


class Acquire(Message[int]):
    """Ask a :class:`RateLimiter` for leave to make one call; the reply is a number for :class:`Release`."""

    reply_within: ClassVar[float | None] = math.inf
    """As long as whoever asks may wait."""

    tokens: int = Field(default=0, ge=0)
    """How many tokens the call may take."""
    lease: int = Field(default=0, ge=0)
    """The number, if the caller chooses it, so that he can release what he has not waited for; 0: as the limiter likes.
    """


class Release(Message):
    """Tell a :class:`RateLimiter` that a call has ended."""

    lease: int


class Pace:
    """So many in a minute, and not all at once: a bucket that fills steadily, and is full at the beginning.

    A token bucket, as in J. Turner, "New directions in communications", IEEE Communications Magazine 24 (10), 1986.

    Args:
        per_minute: How many in a minute, and how many at once at most; ``math.inf`` for no limit.
    """

    __slots__ = ("_level", "_since", "per_minute")

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._level = per_minute
        self._since = -math.inf

    def delay(self, amount: float, now: float) -> float:
        """Seconds until there is room for *amount*; what is more than the bucket holds waits for a full one."""
        if self.per_minute == math.inf:
            return 0.0
        missing = min(amount, self.per_minute) - self._level_at(now)
        return max(missing, 0.0) * 60.0 / self.per_minute

    def take(self, amount: float, now: float) -> None:
        """Take *amount*; what is more than there is has to be made up for first."""
        if self.per_minute < math.inf:
            self._level, self._since = self._level_at(now) - amount, now

    def _level_at(self, now: float) -> float:
        if self._since == -math.inf:
            return self._level
        return min(self._level + (now - self._since) * self.per_minute / 60.0, self.per_minute)


@dataclass(frozen=True, slots=True)
class _Look:
    """To oneself: there may be room now."""


class RateLimiter(Actor[Acquire | Release]):
    """An actor that lets calls of one provider through as fast as allowed, first come, first served.

    ::

        child(RateLimiter, "openai", calls_per_minute=500, tokens_per_minute=200_000, at_once=8)

    Agents whose model has that provider find it by themselves, in ``system.registry``. A call that was let through
    counts as under way until it is released, or until its actor has ended for good; who gives up waiting is passed
    over. After a restart it begins anew, and whoever waited asks again.

    Args:
        provider: Whose calls it limits.
        calls_per_minute: How many calls in a minute.
        tokens_per_minute: How many tokens in a minute, as far as callers know beforehand.
        at_once: How many calls may be under way.
    """

    def __init__(
        self,
        provider: str,
        *,
        calls_per_minute: float = math.inf,
        tokens_per_minute: float = math.inf,
        at_once: int | None = None,
    ) -> None:
        limits = {"calls_per_minute": calls_per_minute, "tokens_per_minute": tokens_per_minute}
        for field, value in limits.items():
            number = number_of(value)
            if number is None or number <= 0:
                problem = f"must be a positive number, got {value!r}"
                raise InvalidSpec(child=f"rate limiter {provider!r}", field=field, problem=problem)
        if at_once is not None:
            check_count("at_once", at_once, f"rate limiter {provider!r}", least=1)
        self.provider = provider
        self._calls = Pace(calls_per_minute)
        self._tokens = Pace(tokens_per_minute)
        self._most = math.inf if at_once is None else at_once
        self._waiting: deque[tuple[Acquire, Reply[int], ActorRef[Any] | None]] = deque()
        # Below zero, out of the way of those that callers choose.
        self._numbers = itertools.count(-1, -1)
        # Calls that are under way, with the actors that make them, and each of those once with its monitor.
        self._leases: dict[int, ActorRef[Any] | None] = {}
        self._monitors: dict[ActorRef[Any], Monitor] = {}

    def initialize(self) -> None:
        """Be known as the limiter of the provider."""
        self.context.register(LimiterOf(self.provider))

    @handler
    def acquire(self, message: Acquire) -> Reply[int]:
        """Answer when the call may be made."""
        reply = self.context.reply_later(message)
        self._waiting.append((message, reply, self.context.sender))
        self._serve()
        return reply

    @handler
    def release(self, message: Release) -> None:
        """The call has ended, or nobody waits for leave any more; of one that is unknown nothing happens."""
        self._waiting = deque(each for each in self._waiting if not message.lease or each[0].lease != message.lease)
        self._end(message.lease)
        self._serve()

    @handler
    def _look(self, message: _Look) -> None:
        self._serve()

    @handler
    def _terminated(self, message: Terminated) -> None:
        self._monitors.pop(message.ref, None)
        for lease in [lease for lease, holder in self._leases.items() if holder == message.ref]:
            del self._leases[lease]
        self._serve()

    def _serve(self) -> None:
        now = runtime_of(self.context.system).env.now()
        while self._waiting and len(self._leases) < self._most:
            message, reply, holder = self._waiting[0]
            if not reply.open:  # he has given up
                self._waiting.popleft()
                continue
            delay = max(self._calls.delay(1, now), self._tokens.delay(message.tokens, now))
            if delay > INSTANT:
                self.context.timers.after("look", delay, _Look())
                return
            self._waiting.popleft()
            lease = message.lease or next(self._numbers)
            if not reply.send(lease):
                continue
            self._calls.take(1, now)
            self._tokens.take(message.tokens, now)
            self._leases[lease] = holder
            if holder is not None and holder not in self._monitors:
                self._monitors[holder] = self.context.watch(holder)

    def _end(self, lease: int) -> None:
        holder = self._leases.pop(lease, None)
        if holder is not None and holder not in self._leases.values():
            self.context.unwatch(self._monitors.pop(holder))
