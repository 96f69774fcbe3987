"""The processes in which files are parsed."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .parsing import Module, parse

__all__ = ["Workers", "WorkersLost"]


class WorkersLost(Exception):
    """There are no processes, and there is no hope of any."""


class Workers:
    """*count* processes, which somebody opens and closes and others use.

    They are spawned, not forked: a copy of a process that runs an event loop would share its selector and its signals.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None  # from open to close
        self._broken: list[ProcessPoolExecutor] = []
        """Kept until the end: Python 3.12 may hang when the last reference to a pool goes while it is breaking down."""
        self._hopeless = False
        self._started: list[Future[int]] = []

    def open(self) -> None:
        """Start the processes, and do not wait until they are up: the first files wait for them."""
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_settle_in)
        with _interrupts_held():
            # A process is started for each task that finds none idle.
            self._started = [self._pool.submit(os.getpid) for _ in range(self.count)]

    async def parse(self, path: Path) -> Module:
        """What is in the file at *path*.

        Raises:
            BrokenProcessPool: The process that had it in hand died, and with it the others. The next file gets new
                ones, unless these never came up: then others will not either.
            Exception: What the parser raised.
        """
        pool = self._pool
        assert pool is not None, "used before open or after close"
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, parse, path)
        except BrokenProcessPool:
            if pool is self._pool and not self._hopeless:  # the first to notice
                self._replace(pool)
            raise

    def check(self) -> None:
        """Whether there is any use in trying.

        Raises:
            WorkersLost: The processes do not come up.
        """
        if self._hopeless:
            raise WorkersLost("the worker processes die before they have done anything")

    async def close(self) -> None:
        """End the processes; what they have in hand is finished, what waits is dropped."""
        pools = [*self._broken, self._pool]
        self._pool = None
        with ThreadPoolExecutor(1) as thread:  # it waits, which the event loop must not
            for pool in filter(None, pools):
                await asyncio.get_running_loop().run_in_executor(thread, partial(pool.shutdown, cancel_futures=True))

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        self._broken.append(broken)
        self._hopeless = not any(start.done() and start.exception() is None for start in self._started)
        if not self._hopeless:
            self.open()


def _settle_in() -> None:
    """What each process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches all processes of a terminal; the parent says when to end
    warnings.simplefilter("ignore")  # on the style of other people's files
    gc.disable()  # syntax trees have no cycles, and looking for them takes a fifth of the time
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot say that it is over."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _interrupts_held() -> Generator[None]:
    """Start processes with Ctrl-C blocked, since they cannot ignore it before they have got going.

    The parent misses nothing: a signal that arrives meanwhile is delivered afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
