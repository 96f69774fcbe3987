"""Pykka: an actor is a thread. Whoever asks waits for the future of the reply; nobody restarts anybody."""

from __future__ import annotations

import threading
import time

import pykka

from benchmarks.baselines.bare import ASKERS, BREATH, ONE, TICK, Add, Tick, Token
from benchmarks.common import RING_SIZE
from benchmarks.harness import PATIENCE, Stopwatch, expect
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


class Counter(pykka.ThreadingActor):
    use_daemon_thread = True

    def __init__(self, expected: int, done: threading.Event) -> None:
        super().__init__()
        self.count = self.total = 0
        self.expected = expected
        self.done = done

    def on_receive(self, message: object) -> int | None:
        if isinstance(message, Add):
            self.total += message.value
            return self.total
        if isinstance(message, Tick):
            self.count += 1
            if self.count == self.expected:
                self.done.set()
        return None


class Node(pykka.ThreadingActor):
    use_daemon_thread = True

    def __init__(self, neighbour: pykka.ActorRef[Node] | None, done: threading.Event) -> None:
        super().__init__()
        self.neighbour = neighbour
        self.done = done

    def on_receive(self, message: object) -> None:
        if not isinstance(message, Token):
            self.neighbour = message  # type: ignore[assignment]
            return
        message.left -= 1
        if message.left and self.neighbour is not None:
            self.neighbour.tell(message)
        else:
            self.done.set()


async def burst(count: int, watch: Stopwatch) -> None:
    done = threading.Event()
    ref = Counter.start(count, done)
    with watch:
        for _ in range(count):
            ref.tell(TICK)
        done.wait(PATIENCE)
    expect("messages counted", ref.proxy().count.get(), count)
    ref.stop()


async def paced(count: int, watch: Stopwatch) -> None:
    done = threading.Event()
    ref = Counter.start(count, done)
    with watch:
        for number in range(count):
            ref.tell(TICK)
            if number % BREATH == BREATH - 1:
                time.sleep(0)
        done.wait(PATIENCE)
    expect("messages counted", ref.proxy().count.get(), count)
    ref.stop()


async def ask(count: int, watch: Stopwatch) -> None:
    ref = Counter.start(0, threading.Event())
    total = 0
    with watch:
        for _ in range(count):
            total = ref.ask(ONE)
    expect("the last reply", total, count)
    ref.stop()


async def ask_at_once(count: int, watch: Stopwatch) -> None:
    ref = Counter.start(0, threading.Event())
    each, total = -(-count // ASKERS), 0
    with watch:
        for _ in range(each):
            total = max(pykka.get_all([ref.ask(ONE, block=False) for _ in range(ASKERS)]))
    expect("the highest reply", total, each * ASKERS)
    ref.stop()


async def ring(count: int, watch: Stopwatch) -> None:
    done = threading.Event()
    first = last = Node.start(None, done)
    refs = [first]
    for _ in range(RING_SIZE - 1):
        last = Node.start(last, done)
        refs.append(last)
    first.ask(last)
    token = Token(count)
    with watch:
        last.tell(token)
        done.wait(PATIENCE)
    expect("hops left", token.left, 0)
    for ref in refs:
        ref.stop()


async def come_and_go(count: int, watch: Stopwatch) -> None:
    ended = 0
    with watch:
        for _ in range(count):
            ref = Counter.start(0, threading.Event())
            ended += ref.stop()
    expect("ended", ended, count)


if __name__ == "__main__":
    main(
        "pykka",
        {
            BURST: Way(burst),
            PACED: Way(paced),
            ASK: Way(ask, 0.5),
            ASK_AT_ONCE: Way(ask_at_once, 0.5),
            RING: Way(ring, 0.1),
            COME_AND_GO: Way(come_and_go, 0.5),
        },
        {**NO_EVENTS, RESTART: "does not restart actors"},
        note="each actor is a thread",
    )
