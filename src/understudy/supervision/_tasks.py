"""``TaskSupervisor``: coroutines as supervised children, with results."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Never, TypeVar, TypeVarTuple, Unpack, cast, overload

from understudy._plans._spec import ChildSpec, check_class, check_name, check_shutdown, snake_case
from understudy._plans._strategies import free_name
from understudy.actors._ref import ActorRef, check_ref
from understudy.actors._supervisor_ref import SupervisorRef, ref_of
from understudy.actors._waiting import Waiting, check_timeout
from understudy.exceptions import ActorStopped, InvalidContext, InvalidSpec, NameTaken
from understudy.supervision._dynamic import DynamicSupervisor
from understudy.supervision._task import Outcome, Task, TaskHandle, all_ended
from understudy.supervision._task_map import Flight, TaskMap

if TYPE_CHECKING:
    from understudy._plans._spec import Shutdown
    from understudy.actors._cell import Cell

__all__ = ["TaskSupervisor", "Tasks"]

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class TaskSupervisor(DynamicSupervisor):
    """A supervisor whose children are tasks: coroutines that run, bring a result, and are gone.

    ::

        class App(Supervisor):
            def children(self) -> list[ChildSpec]:
                return [child(TaskSupervisor).options(name="tasks")]

        tasks = Tasks(system.lookup("app/tasks"))
        page = await tasks.run(fetch, "https://example.org", timeout=10.0)

    It is used through :class:`Tasks`. The tasks end with it, as its children do: they have a grace to come to their
    end, then they are cancelled, again and again, and given up on in the end.
    """

    task_shutdown: ClassVar[Shutdown | None] = None
    """The grace of a task when its supervisor ends, as in ``.options(shutdown=...)``; None: what the system says (5.0).
    ``"brutal_kill"``: it is cancelled at once."""

    _numbers: dict[str, int] | None = None
    """How many tasks of each name there have been."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.task_shutdown is not None:
            check_shutdown(cls.task_shutdown, f"task_shutdown of class {cls.__qualname__}")

    def _understudy_numbers(self) -> dict[str, int]:
        numbers: dict[str, int] | None = self._numbers
        if numbers is None:
            numbers = {}
            object.__setattr__(self, "_numbers", numbers)  # not by setattr: the class may have made itself frozen
        return numbers


class Tasks(SupervisorRef[Never]):
    """The ref of a :class:`TaskSupervisor`, with the calls that only such a one has.

    They may be used inside and outside of actors. A task is a child of the supervisor: it is drawn in
    ``system.tree()`` under the name of its function, counts for ``max_children``, and can be stopped by its name. It is
    no part of the code that has started it: it sees none of the caller's context variables, and none of the deadline of
    the ask that the caller is handling. It may take part in waits that could never end (``AskCycle``) as any actor.

    While the supervisor is starting, or being restarted, the calls wait until it is up. A restart of it ends its tasks.

    Args:
        supervisor: The ref of a task supervisor.

    Raises:
        WrongActorType: It is the ref of something else.
    """

    __slots__ = ()

    def __init__(self, supervisor: ActorRef[Never]) -> None:
        super().__init__(check_ref(supervisor, "Tasks", "supervisor")._cell)
        check_class(self._cell.spec, TaskSupervisor, self.path)

    async def run(self, function: Callable[[Unpack[Ts]], Awaitable[R]], *args: *Ts, timeout: float | None = None) -> R:
        """Run ``function(*args)`` as a task, and return what it returns.

        A failure is the caller's only: it is raised here and reported nowhere. When this returns or raises, the task
        has ended. A caller that is cancelled cancels the task and waits for its end, no longer than the runtime takes
        to give up on a task.

        Args:
            function: An ``async def``; ``functools.partial`` gives it keyword arguments.
            *args: What it is called with.
            timeout: Seconds after which the task is cancelled; by default it may take as long as it likes.

        Raises:
            Exception: What the function has raised.
            TimeoutError: It had not ended in time.
            ActorFailed: It raised what is not meant for others, a SystemExit, or a CancelledError that nobody has asked
                for; that is the ``__cause__``.
            ActorStopped: The task was ended by somebody, or the supervisor has ended or is about to.
            TooManyChildren: There are as many tasks as ``max_children`` allows.
            AskCycle: The task is, directly or not, waiting for this actor.
            InvalidTimeout: Not a positive number of seconds.
        """
        outcome = await self._begin(function, args, check_timeout(timeout))
        try:
            await outcome.wait()
            result: R = outcome.take()
            return result
        finally:
            outcome.cancel("nobody waits for it any more")
            outcome.unheld()
            await all_ended([outcome])
            del outcome

    async def start(
        self,
        function: Callable[[Unpack[Ts]], Awaitable[R]],
        *args: *Ts,
        link: bool | ActorRef[Never] = False,
        name: str | None = None,
        timeout: float | None = None,
    ) -> TaskHandle[R]:
        """Start ``function(*args)`` as a task, and return a handle at once.

        A failure is raised by ``handle.result()``. If nobody has asked for it when the handle is gone, it is reported
        as a crash.

        Linked, the task and the actor fail and end together. A failure of the task, its being killed and its timeout
        count, is one of the actor: its handler is interrupted, and it is restarted or not as after any crash; its rules
        (``on_failure``) are asked about an ``ActorFailed`` whose ``__cause__`` is the error. The end of the actor's
        incarnation, however it comes about, cancels the task. A task that is cancelled by its handle or stopped with
        its supervisor has not failed.

        Args:
            function: An ``async def``; ``functools.partial`` gives it keyword arguments.
            *args: What it is called with.
            link: True: link it with the actor whose code this is. The ref of an actor: with that one.
            name: Its name; by default that of the function, with a number if there are several.
            timeout: Seconds after which it is cancelled, which is a failure, a ``TimeoutError``.

        Raises:
            InvalidContext: ``link=True`` outside of an actor.
            ActorStopped: The supervisor, or the actor that is to be linked, has ended or is about to.
            NameTaken: A task has that name; carries its ref.
            TooManyChildren: There are as many tasks as ``max_children`` allows.
            InvalidSpec: The name cannot be one.
            InvalidTimeout: Not a positive number of seconds.
        """
        starter = self._starter(link)
        incarnation = None if starter is None else starter.actor
        outcome: Outcome[R] = await self._begin(function, args, check_timeout(timeout), name=name)
        if starter is not None:
            if starter.actor is not incarnation or starter.ending is not None:
                outcome.cancel("its starter has ended")
                raise ActorStopped(path=starter.path, reason=starter.why_not())
            outcome.link(starter)
        return TaskHandle(outcome)

    @overload
    def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> TaskMap[R]: ...
    @overload
    def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T] | AsyncIterable[T],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout: float | None = None,
        return_exceptions: bool,
    ) -> TaskMap[R | Exception]: ...
    def map(
        self,
        function: Callable[[Any], Awaitable[Any]],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        max_concurrency: int = 8,
        ordered: bool = True,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> TaskMap[Any]:
        """Run ``function(item)`` as a task for each of *items*, some at a time; the results come with ``async for``.

        ::

            async for page in tasks.map(fetch, urls, max_concurrency=20, timeout=10.0):
                ...

        The first failure, a timeout included, is raised in its turn; the others are cancelled then, and have ended when
        it comes. With *return_exceptions* failures take the places of results, and the others go on. If getting the
        next item from *items* raises, that is raised behind the results of those that came before.

        Nothing starts before the first result is asked for. Nothing is left running when the loop is over, however it
        was left: see :class:`TaskMap`. *items* is asked for no item before there is room for it, so it may be endless.

        Args:
            function: An ``async def`` with one parameter.
            items: An iterable, read between the results by the consumer; or an asynchronous one, read by a task of its
                own, which counts as one more for ``max_children``. An asynchronous generator is closed in the end.
            max_concurrency: How many may be under way, those counted that have ended and whose results were not yet
                taken.
            ordered: Whether the results come in the order of the items, or as they are there.
            timeout: Seconds for each item, from the start of its task.
            return_exceptions: Whether failures come as results.

        Raises:
            InvalidSpec: *max_concurrency* is not a number from 1 up.
            InvalidTimeout: Not a positive number of seconds.
        """
        _check_concurrency(max_concurrency, f"map by {self.path}")
        self._cell.check_loop()
        seconds = check_timeout(timeout)
        label = _label(function)

        async def begin(code: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Outcome[Any]:
            if code is function:
                return await self._begin(code, args, seconds)
            return await self._begin(code, args, None, label=f"{label}-source")

        source = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        flight = Flight(begin, function, source, limit=max_concurrency, ordered=ordered)
        return TaskMap(flight, exceptions=return_exceptions)

    async def _begin(
        self,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        timeout: float | None,
        *,
        label: str | None = None,
        name: str | None = None,
    ) -> Outcome[Any]:
        label = label or _label(function)
        family = await self._family()
        supervisor: Any = self._cell.actor
        if name is None:
            name = free_name(snake_case(label), family.children, supervisor._understudy_numbers())
        elif check_name(name, f"task of {self.path}") in family.children:
            taken = family.children[name].cell
            raise NameTaken(path=taken.path, ref=ref_of(taken))
        loop = self._cell.runtime.env.loop
        outcome: Outcome[Any] = Outcome(label, loop.create_future())
        # By hand: `child(...).options(...)` costs more than all the rest of it.
        spec: ChildSpec[Never] = ChildSpec(
            Task, (outcome, function, args), name=name, given={**Task.defaults, "shutdown": supervisor.task_shutdown}
        )
        outcome.began(self._cell.spawn(spec).cell, timeout)
        return outcome

    def _starter(self, link: bool | ActorRef[Never]) -> Cell | None:
        if isinstance(link, ActorRef):
            given = link._cell
            if given.actor is None or given.ending is not None:
                raise ActorStopped(path=given.path, reason=given.why_not())
            return given
        if not link:
            return None
        cell = Waiting.now().cell
        if cell is None:
            problem = "works in the async handlers and hooks of an actor only: give it the ref of an actor"
            raise InvalidContext(what="link=True", problem=problem)
        return cell


def _check_concurrency(value: object, who: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidSpec(child=who, field="max_concurrency", problem=f"must be an int from 1 up, got {value!r}")


def _label(function: Callable[..., object]) -> str:
    while isinstance(function, partial):
        function = cast("partial[object]", function).func
    return str(getattr(function, "__name__", type(function).__name__))
