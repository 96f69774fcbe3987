"""Thespian: actors of the system base that runs in this process and thread; the others are processes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar

from thespian.actors import Actor, ActorExitRequest, ActorSystem

from benchmarks.baselines.bare import BREATH, ONE, TICK, Add, Tick, Token
from benchmarks.common import RING_SIZE
from benchmarks.harness import PATIENCE, Run, Stopwatch, expect
from benchmarks.peers.stage import (
    ASK,
    ASK_AT_ONCE,
    BURST,
    COME_AND_GO,
    NO_EVENTS,
    PACED,
    RESTART,
    RING,
    Way,
    main,
)


class Counter(Actor):
    counted: ClassVar[int] = 0
    total = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        if isinstance(message, Add):
            self.total += message.value
            self.send(sender, self.total)
        elif isinstance(message, Tick):
            Counter.counted += 1


class Node(Actor):
    neighbour: Any = None
    first: Any = None

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - theirs
        if isinstance(message, Token):
            message.left -= 1
            if message.left:
                self.send(self.neighbour, message)
        elif not isinstance(message, ActorExitRequest):
            self.neighbour = message


@contextmanager
def system() -> Generator[Any]:
    inner = ActorSystem("simpleSystemBase")
    yield inner
    inner.shutdown()


def told(breath: int | None) -> Run:
    async def run(count: int, watch: Stopwatch) -> None:
        with system() as inner:
            ref = inner.createActor(Counter)
            Counter.counted = 0
            with watch:
                for number in range(count):
                    inner.tell(ref, TICK)
                    if breath is not None and number % breath == breath - 1:
                        inner.listen(0)
                while Counter.counted < count:
                    inner.listen(0)
            expect("messages counted", Counter.counted, count)

    return run


async def ask(count: int, watch: Stopwatch) -> None:
    with system() as inner:
        ref, total = inner.createActor(Counter), 0
        with watch:
            for _ in range(count):
                total = inner.ask(ref, ONE, PATIENCE)
        expect("the last reply", total, count)


async def ring(count: int, watch: Stopwatch) -> None:
    with system() as inner:
        first = last = inner.createActor(Node)
        for _ in range(RING_SIZE - 1):
            node = inner.createActor(Node)
            inner.tell(node, last)
            last = node
        inner.tell(first, last)
        token = Token(count)
        with watch:
            inner.tell(last, token)
            while token.left:
                inner.listen(0)
        expect("hops left", token.left, 0)


async def come_and_go(count: int, watch: Stopwatch) -> None:
    ended = 0
    with system() as inner, watch:
        for _ in range(count):
            inner.tell(inner.createActor(Counter), ActorExitRequest())
            ended += 1
    expect("ended", ended, count)


if __name__ == "__main__":
    main(
        "thespian",
        {
            BURST: Way(told(None), 0.1),
            PACED: Way(told(BREATH), 0.1),
            ASK: Way(ask, 0.5),
            RING: Way(ring, 0.1),
            COME_AND_GO: Way(come_and_go, 0.5),
        },
        {
            **NO_EVENTS,
            ASK_AT_ONCE: "an ask blocks the only thread",
            RESTART: "tells the parent that a child has failed, and the parent makes another one",
        },
        note="the system base that runs in one thread (simpleSystemBase)",
    )
