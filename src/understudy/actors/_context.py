"""What an actor sees of the runtime: ``self.context``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from understudy._plans._spec import ChildSpec
from understudy.actors._asks import Letter, Private
from understudy.actors._child import as_spec
from understudy.actors._ref import ActorRef, Waiting
from understudy.exceptions import InvalidContext, NameTaken
from understudy.reasons import Shutdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.actors._actor import Actor
    from understudy.actors._cell import Cell
    from understudy.instrument import Statistics

__all__ = ["Context", "System", "spawn_under"]

M = TypeVar("M")
P = ParamSpec("P")


class System(Protocol):
    """The system as an actor sees it: ``self.context.system``. It is an :class:`understudy.ActorSystem`."""

    @property
    def name(self) -> str:
        """The system's name."""
        ...

    @property
    def dead_letters(self) -> ActorRef[Any]:
        """The actor that knows of messages that were lost."""
        ...

    @overload
    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def spawn(self, actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...

    @overload
    def lookup(self, path: str, actor: type[Actor[M]]) -> ActorRef[M]: ...
    @overload
    def lookup(self, path: str) -> ActorRef[Any]: ...

    @overload
    def find(self, path: str, actor: type[Actor[M]]) -> ActorRef[M] | None: ...
    @overload
    def find(self, path: str) -> ActorRef[Any] | None: ...

    def statistics(self) -> Statistics:
        """Counts since the start, and how many actors there are."""
        ...

    def stop(self, detail: str = "") -> None:
        """Request the orderly end of the system; returns at once."""
        ...

    async def wait_stopped(self) -> None:
        """Wait until the system has ended."""
        ...


class Context:
    """The way from an actor to its ref, its children and its system.

    It belongs to one incarnation. When that has ended, whoever still holds it gets an ``InvalidContext``, so that code
    of an earlier incarnation that is still running cannot touch the next one.
    """

    __slots__ = ("_actor", "_cell")

    def __init__(self, cell: Cell, actor: object) -> None:
        self._actor = actor
        self._cell = cell

    @property
    def _alive(self) -> Cell:
        if self._cell.actor is not self._actor:
            raise InvalidContext(
                what=f"context of {self._cell.path}",
                problem="this incarnation has ended; what it holds is no longer its own",
            )
        return self._cell

    @property
    def ref(self) -> ActorRef[Any]:
        """The actor's own ref."""
        return ActorRef(self._alive)

    @property
    def path(self) -> str:
        """The actor's path, like ``/user/meters/north``."""
        return self._cell.path

    @property
    def incarnation(self) -> int:
        """1 for the first start, 2 after the first restart, and so on."""
        return self._alive.incarnation

    @property
    def sender(self) -> ActorRef[Any] | None:
        """The actor that has asked, or that was named in ``tell(..., sender=)``; None for everybody else."""
        hand = self._alive.hand
        return ActorRef(hand.sender) if isinstance(hand, Letter) and hand.sender is not None else None

    @property
    def parent(self) -> ActorRef[Any] | None:
        """Who supervises this actor; None for those at the top."""
        parent = self._alive.parent
        return None if parent is None else ActorRef(parent)

    @property
    def children(self) -> tuple[ActorRef[Any], ...]:
        """The actors that this one supervises, in the order of their starts."""
        family = self._alive.family
        return () if family is None else tuple(ActorRef(child.cell) for child in family.children.values())

    @property
    def system(self) -> System:
        """The system in which the actor lives."""
        system: System = self._alive.runtime.system
        return system

    @overload
    async def spawn(self, actor: ChildSpec[M], /) -> ActorRef[M]: ...
    @overload
    async def spawn(self, actor: Callable[P, Actor[M]], /, *args: P.args, **kwargs: P.kwargs) -> ActorRef[M]: ...
    async def spawn(self, actor: Any, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start a child of this actor; returns when its ``initialize`` has ended.

        The child is restarted alone when it fails. Under a plain actor it has a budget of restarts of its own and ends
        for good when that is used up; under a supervisor it shares the supervisor's.

        Args:
            actor: The class, or what :func:`understudy.child` has made of it.
            *args: For the constructor of the class, passed to each incarnation as they are.
            **kwargs: Likewise.

        Raises:
            StartError: The constructor or ``initialize`` failed (``__cause__``); nothing is left.
            StartTimeout: ``initialize`` had not ended in time; nothing is left.
            NameTaken: A child has that name; carries its ref.
            InvalidSpec: The class is no actor, or the arguments do not fit its constructor.
            ActorStopped: This actor is on its way out.
            AskCycle: ``initialize`` waits for this actor.
        """
        return await spawn_under(self._alive, as_spec(actor, args, kwargs))

    def stop(self) -> None:
        """End normally after the message in hand. A permanent actor is restarted then, and that counts."""
        self._alive.request_end()

    def tell_self(self, message: object) -> bool:
        """Put *message* into the own mailbox; it reaches handlers whose names begin with ``_``, and only this way."""
        cell = self._alive
        accepted = cell.accept(Private(message, cell))
        if not accepted:
            cell.refuse(message, cell.path)
        return accepted


async def spawn_under(parent: Cell, spec: ChildSpec[Any], *, declared: bool = False) -> ActorRef[Any]:
    """Start *spec* under *parent*, wait until it is up, and return its ref.

    One that is *declared* is stopped after those that are not.
    """
    runtime = parent.runtime
    parent.check_loop()
    taken = parent.family.children.get(spec.name) if parent.family is not None and spec.name is not None else None
    if taken is not None:
        raise NameTaken(path=taken.cell.path, ref=ActorRef(taken.cell))
    waiter: asyncio.Future[None] = runtime.env.loop.create_future()
    waiting = Waiting.now()
    cell = parent.spawn(spec, waiter, declared=declared)
    try:
        waiting.begin(cell, waiter, None)
        await waiter
    except BaseException:
        # Whoever does not get the ref must not be left with the actor.
        if waiter.cancelled() or not waiter.done() or waiter.exception() is None:
            cell.request_stop(Shutdown("its start was cancelled"))
        raise
    finally:
        waiting.end(waiter)
    return ActorRef(cell)
