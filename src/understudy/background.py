"""``Background``: a system in a thread of its own, for programs that have no event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from understudy.actors._threads import Errand
from understudy.environment import Environment, running_loop, start_thread
from understudy.exceptions import InvalidContext
from understudy.runner import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from understudy.environment import Thread
    from understudy.system import ActorSystem

__all__ = ["Background"]

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """A system on an event loop of its own, in a thread of its own, for as long as the body of ``with``.

    ::

        with Background(ActorSystem(Meters)) as background:
            north = background.call(background.system.lookup, "meters/north", Meter)
            print(north.ask_threadsafe(Observe(value=5)).result())
            print(background.call(background.system.tree))

    It enters when the whole tree has started. Refs are used by their calls for other threads, from any number of them;
    all else goes through :meth:`call`. Leaving it stops everything in order, within ``Settings.shutdown_timeout``, and
    closes the event loop. An interrupt while it does shortens that by force, and is raised in the end.

    The collapse of the system does not interrupt the body: what it asks raises ``ActorStopped`` from then on, and
    leaving raises ``SystemCollapsed``. An interrupt or an exit that leaves the body goes before it.

    It installs no signal handlers. A process that ends without leaving the body takes the thread with it, and nothing
    is stopped in order. It can be used once, and not in a thread in which an event loop runs.

    Args:
        system: The system, which has not been entered.
        loop_factory: Makes the event loop; by default it is an ordinary one.

    Raises:
        InvalidContext: It is entered a second time, or in an event loop.
        InvalidSpec: On entering: the tree or the name cannot be used.
        StartError: On entering: an actor of the tree did not start; everything has been stopped again.
        SystemCollapsed: On leaving: the tree ended abnormally.
    """

    def __init__(
        self, system: ActorSystem, *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> None:
        self.system = system
        """Its calls are for :meth:`call`."""
        self._loop_factory = loop_factory
        self._entered = False
        # None also where its start was interrupted, though it may run.
        self._thread: Thread | None = None
        # Written by the thread before it reads `_leaving`, and read after that is written: one of the two sees the
        # other, so that one which is late in its start does nothing any more.
        self._begun = False
        # Done when the tree has started, or will not.
        self._up: concurrent.futures.Future[Environment] = concurrent.futures.Future()
        # Done when nothing runs in the thread any more. To be waited for in place of the thread: before Python 3.13 a
        # `join` that is interrupted takes that for ended.
        self._gone: concurrent.futures.Future[None] = concurrent.futures.Future()
        # What is to be raised on leaving.
        self._error: BaseException | None = None
        # Written here before `_main` is read, and looked at there after that is written: one of the two sees the other.
        self._leaving = False
        # Of the thread: its main task, and what that waits for between start and end.
        self._main: asyncio.Task[Any] | None = None
        self._left: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        what = self._label
        if running_loop() is not None:
            raise InvalidContext(what=what, problem="an event loop runs here and would stand still: use `async with`")
        if self._entered:
            raise InvalidContext(what=what, problem="it can be entered once; make a new one")
        self._entered = True
        try:
            # Within the `try` too: it waits until the thread runs, which may take its time.
            self._thread = start_thread(self._run, f"system:{self.system.name}")
            self._up.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._error is None or not (error is None or isinstance(error, Exception)):
            return
        if error is not None:
            self._error.add_note(f"the body of `with` had failed too: {type(error).__name__}: {error}")
        raise self._error

    @overload
    def call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def call(self, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call *function* in the event loop of the system, and await what it returns, if one can; in any thread.

        ``background.call(lambda: background.system.spawn(Meter, "east"))`` keeps the type of the ref. If an interrupt
        ends the wait for the outcome here, *function* is cancelled there.

        Args:
            function: Called while nothing else runs there; it must not block.
            *args: For *function*.
            **kwargs: Likewise.

        Returns:
            What has come of it. What it raises is raised here.

        Raises:
            InvalidContext: Outside of ``with``, or in the event loop itself; or the end came before it was through.
        """
        env = self._env()

        async def body() -> Any:
            outcome = function(*args, **kwargs)
            return await outcome if inspect.isawaitable(outcome) else outcome

        name = f"call:{getattr(function, '__qualname__', function)}"
        errand: Errand[Any] = Errand(env, name, body, self._over)
        try:
            errand.order()
        except RuntimeError:
            raise self._over() from None
        future = errand.future
        del errand  # only the loop holds it from here on, so that it ends with the loop
        try:
            return future.result()
        finally:
            future.cancel()  # which does nothing if it is done

    def _env(self) -> Environment:
        if not self._up.done() or self._up.exception() is not None:
            problem = "it is not running: use it inside of `with`"
            raise InvalidContext(what=self._label, problem=problem)
        env = self._up.result()
        if env.is_here():
            problem = "this is its event loop, which would wait for itself: call the function as it is"
            raise InvalidContext(what=f"call to system {self.system.name!r}", problem=problem)
        return env

    @property
    def _label(self) -> str:
        """What it is called in errors."""
        return f"system {self.system.name!r} in the background"

    def _over(self) -> InvalidContext:
        problem = "its `with` has been left: nothing runs there any more"
        return InvalidContext(what=self._label, problem=problem)

    # In the thread

    def _run(self) -> None:
        self._begun = True
        try:
            if self._leaving:
                return
            run(self._live(), loop_factory=self._loop_factory)
        except BaseException as error:
            self._error = error
            if not self._up.done():
                self._up.set_exception(error)
        finally:
            self._gone.set_result(None)

    async def _live(self) -> None:
        self._main, self._left = asyncio.current_task(), asyncio.get_running_loop().create_future()
        if self._leaving:
            return
        await self.system.start()
        env = Environment(asyncio.get_running_loop())
        self._up.set_result(env)
        try:
            # The loop lives until the body is left, whatever becomes of the system: calls find it as it is.
            await self._left
            await self.system.aclose()
        finally:
            env.tasks.close()  # nobody would see to the end of a call that begins while the loop is being closed

    def _leave(self) -> None:
        assert self._main is not None
        assert self._left is not None
        if not self._up.done():
            self._main.cancel()
        elif not self._left.done():
            self._left.set_result(None)

    # The end

    def _end(self) -> None:
        """Have the thread end, and wait for that."""
        self._leaving = True
        if not self._begun:
            return
        interrupt: BaseException | None = None
        step: Callable[[], object] = self._leave
        while True:
            # Within the `try` too: an interrupt comes at any moment, not only while this waits.
            try:
                self._post(step)
                self._gone.result()
                break
            except BaseException as error:
                interrupt, step = error, self.system.kill
        if self._thread is not None:
            self._thread.join()
        if interrupt is not None:
            raise interrupt

    def _post(self, function: Callable[[], object]) -> None:
        if self._main is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._main.get_loop().call_soon_threadsafe(function)
