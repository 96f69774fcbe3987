"""What a parent knows of a child, and what it needs of a child's cell and of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from understudy.exceptions import StartError, StartTimeout
from understudy.reasons import ExitReason, StartFailed, root_error

if TYPE_CHECKING:
    import asyncio

    from understudy._plans._spec import ChildSpec
    from understudy.actors._runtime import Runtime
    from understudy.environment import Environment

__all__ = ["Child", "Member", "Owner", "Trouble", "start_error"]


class Member(Protocol):
    """A child's cell, as its family sees it."""

    spec: ChildSpec[Any]
    family: Any

    @property
    def name(self) -> str: ...
    @property
    def incarnation(self) -> int: ...
    @property
    def for_good(self) -> bool: ...
    @property
    def reason(self) -> ExitReason | None: ...
    @property
    def path(self) -> str: ...
    @property
    def down(self) -> bool: ...
    @property
    def dead(self) -> bool: ...
    @property
    def running(self) -> bool: ...
    def option(self, name: str) -> Any: ...
    def start(self, ahead: Child[Any] | None = None) -> None: ...
    def request_stop(self, reason: ExitReason, *, keep: bool) -> None: ...
    def force(self, *, keep: bool) -> None: ...
    def between_incarnations(self) -> None: ...
    def bury(self, reason: ExitReason) -> None: ...
    def abandon_tree(self) -> None: ...


C = TypeVar("C", bound=Member)


class Owner(Protocol):
    """The parent's cell, as the family sees it."""

    runtime: Runtime

    @property
    def path(self) -> str: ...
    def family_started(self) -> None: ...
    def family_failed(self, reason: StartFailed) -> None: ...
    def family_stopped(self) -> None: ...
    def family_over(self, reason: ExitReason) -> None: ...


class Trouble:
    """What is kept of a child that has been restarted."""

    __slots__ = ("attempts", "delayed", "timer", "times", "up_since")

    def __init__(self) -> None:
        # Its own failures that count, where it has a limit of its own.
        self.times: list[float] = []
        # Backing off: how many delays there have been, since when it has been up, and what will start it.
        self.attempts = 0
        self.up_since: float | None = None
        self.delayed = False
        self.timer: asyncio.TimerHandle | None = None


class Child(Generic[C]):
    """One line in the book of a parent.

    It is listed until its name is free again; a child whose spec is *kept* also after that, with the dead cell of its
    last life, until the spec is deleted. Those that were never restarted, most of them, have no *trouble*.
    """

    __slots__ = ("cell", "declared", "kept", "started", "trouble", "up", "waiters")

    def __init__(self, cell: C, declared: bool) -> None:
        self.cell = cell
        self.declared = declared
        # Whether its spec outlives it; None: from the moment on at which it has come up, or has wished not to run.
        self.kept: bool | None = declared
        # Whether an incarnation of this cell has ever come up: until then a failure is its starter's, not the plan's.
        self.started = False
        # Whether the present incarnation has come up; None while it starts, False also when there is none.
        self.up: bool | None = False
        self.waiters: list[asyncio.Future[None]] | None = None
        self.trouble: Trouble | None = None

    @property
    def spec(self) -> ChildSpec[Any]:
        """How it is made the next time."""
        return self.cell.spec

    def start(self) -> None:
        """Begin the next incarnation."""
        self.up = None
        self.cell.start()

    def waiter(self, env: Environment) -> asyncio.Future[None]:
        """Is told how the start goes, which is under way."""
        waiter: asyncio.Future[None] = env.loop.create_future()
        self.waiters = [*(self.waiters or ()), waiter]
        return waiter

    @property
    def rests(self) -> bool:
        """There is no incarnation, and the end of the last has been seen."""
        return self.cell.down and self.up is False

    def troubled(self) -> Trouble:
        """The trouble it has, from now on."""
        if self.trouble is None:
            self.trouble = Trouble()
        return self.trouble

    def renew(self, cell: C) -> None:
        """*cell* takes the place of one that has ended for good."""
        self.cancel_timer()
        self.cell = cell
        self.started = self.up = False
        self.trouble = None

    def settle(self, error: BaseException | None) -> None:
        """Tell those who wait for its start how it went, once."""
        waiters, self.waiters = self.waiters, None
        for waiter in waiters or ():
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    @property
    def delayed(self) -> bool:
        """Whether it waits for the end of a delay before it starts."""
        return self.trouble is not None and self.trouble.delayed

    def cancel_timer(self) -> None:
        """It shall not start by itself any more."""
        if self.trouble is None:
            return
        self.trouble.delayed = False
        if self.trouble.timer is not None:
            self.trouble.timer.cancel()
            self.trouble.timer = None


def start_error(path: str, reason: ExitReason) -> StartError:
    """What the starter of *path* gets."""
    if isinstance(reason, StartFailed) and isinstance(reason.error, StartTimeout):
        return reason.error
    error = StartError(path=path, reason=reason)
    error.__cause__ = root_error(reason)
    return error
