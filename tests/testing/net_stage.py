"""A simulated network without the rest of a simulation: one run of a coroutine on it, and the look at what it left."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from understudy.testing._choices import Choices
from understudy.testing._determinism import determined
from understudy.testing._loop import SimLoop
from understudy.testing._net import SimNet
from understudy.testing._strategies import Fifo, Strategy

T = TypeVar("T")

SETTLING = 3600.0
"""Virtual seconds that a run gets at its end."""


class Script(Fifo):
    """Oldest first, and chance says what the test wants.

    The answers go by the last word of the question's kind; a list is used up in order, a number is for always.
    """

    def __init__(self, **answers: int | Sequence[int]) -> None:
        super().__init__()
        self._answers = {kind: value if isinstance(value, int) else list(value) for kind, value in answers.items()}
        self.asked: list[str] = []

    def draw(self, kind: str, number: int, n: int) -> int:
        word = kind.rpartition(" ")[2]
        self.asked.append(word)
        answer = self._answers.get(word, 0)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else 0
        assert 0 <= answer < n, f"{kind} has {n} answers"
        return answer

    def flip(self, kind: str, number: int, probability: float) -> bool:
        return bool(self.draw(kind, number, 2))


def run(
    main: Callable[[SimNet], Coroutine[Any, Any, T]],
    strategy: Strategy | None = None,
    *,
    reset: float = 0.0,
    partitions: bool = False,
    leaves: Sequence[str] = (),
) -> T:
    """What *main* returns. Nothing may be left but these connections; what a loop's handler hears is raised."""
    choices = Choices(strategy or Fifo(), 0)
    choices.started = True
    loop = SimLoop(choices)
    net = loop.net = SimNet(loop, choices)
    net.reset_probability, net.partitions = reset, partitions

    async def play() -> T:
        result = await main(net)
        await asyncio.sleep(SETTLING)
        return result

    with determined(loop, 0):
        task = loop.create_task(play(), context=contextvars.Context())
        try:
            result: T = loop.run_until_complete(task)
            assert asyncio.all_tasks(loop) == set()
            assert loop.timers() == []
            assert net.open_connections() == list(leaves)
            assert net.open_servers() == []
            assert [str(failure) for failure in loop.failures] == []
        except BaseException:
            put_away(loop)
            raise
        finally:
            loop.close()
    return result


def put_away(loop: SimLoop) -> None:
    """Let the tasks of a run that has failed end, so that none is collected as garbage in the middle."""
    loop.failures.clear()
    for task in loop.tasks():
        task.cancel()
    with contextlib.suppress(Exception):
        loop.run_until_complete(loop.wait_idle())


class Recorder(asyncio.Protocol):
    """Writes down what its transport tells it."""

    def __init__(self, *, stays_open: bool = False) -> None:
        self.log: list[Any] = []
        self.times: list[float] = []
        self.stays_open = stays_open
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    @property
    def data(self) -> bytes:
        return b"".join(each for each in self.log if isinstance(each, bytes))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        self.log.append(data)
        self.times.append(asyncio.get_running_loop().time())

    def eof_received(self) -> bool:
        self.log.append("end")
        return self.stays_open

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.log.append(("lost", type(exc)))
        self.lost.set_result(exc)


def noting(made: list[T], make: Callable[[], T]) -> Callable[[], T]:
    """A factory that puts into *made* what it makes."""

    def noted() -> T:
        made.append(make())
        return made[-1]

    return noted


class Pair:
    """A connection from the host `client` to the host `server`, with a recorder on each side, and its server."""

    client: Recorder
    server: Recorder

    def __init__(self, net: SimNet, *, stays_open: bool = False) -> None:
        self._net = net
        self._stays_open = stays_open

    async def __aenter__(self) -> Pair:
        accepted: list[Recorder] = []
        loop = asyncio.get_running_loop()
        accept = noting(accepted, lambda: Recorder(stays_open=self._stays_open))
        self.listener = await loop.create_server(accept, "server", 80)
        with self._net.host("client"):
            _, self.client = await loop.create_connection(lambda: Recorder(stays_open=self._stays_open), "server", 80)
        self.server = accepted[0]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.listener.close()

    def close(self) -> None:
        self.client.transport.close()
        self.server.transport.close()

    @property
    def sides(self) -> tuple[Recorder, Recorder]:
        return self.client, self.server
