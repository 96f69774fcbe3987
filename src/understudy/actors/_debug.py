"""The debugging verbs: what can be asked of an actor, and done to it, whatever it is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors._inspection import ActorState, ActorStatistics, state_of, statistics_of
from understudy.actors._life import STARTING
from understudy.actors._replacing import Change, Problem, check_successor, failure, new_behaviour, new_state
from understudy.actors._waiting import Waiting, check_timeout
from understudy.exceptions import AskCycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from understudy.actors._actor import Actor
    from understudy.actors._cell import Cell
    from understudy.actors._ref import ActorRef
    from understudy.actors._replacing import What
    from understudy.messages import Traced

__all__ = ["Debug"]

A = TypeVar("A", bound="Actor[Any]")
T = TypeVar("T")


class Debug:
    """The debugging verbs of one actor: ``ref.debug``. They are for people, not for programs.

    They are control, not messages: they do not wait in the mailbox, and overtake what does. ``get_state``,
    ``statistics``, ``trace``, ``suspend`` and ``resume`` take effect at once, also while a handler waits.
    ``replace_state`` and ``replace_behaviour`` are done between two messages: after the one in hand, before the next.
    Nothing is served while a plain ``def`` handler runs.

    All raise ``InvalidContext`` outside of the event loop of the system.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    # At once

    def get_state(self) -> ActorState:
        """What the actor is doing, and its attributes, at this moment.

        The values are those of the actor, not copies: what can be changed goes on changing, and is not to be changed
        from here. A handler that waits may be in the middle of changing them. They may be secret: nobody has chosen
        them to be shown.

        Raises:
            ActorStopped: It has ended for good.
        """
        return state_of(self._living)

    def statistics(self) -> ActorStatistics:
        """What has been counted of the actor, through all its incarnations.

        Raises:
            ActorStopped: It has ended for good.
        """
        return statistics_of(self._living)

    def suspend(self) -> None:
        """Let the actor handle nothing until :meth:`resume`; returns at once. The message in hand is completed.

        What is sent to it waits in its mailbox, with timers and signals, and when there is no more room the policy
        decides. It can be stopped and killed, ``initialize`` and ``shutdown`` run, its tasks go on, and so do its
        children. A drain waits for :meth:`resume`, or its own timeout. The actor stays suspended through restarts. It
        is no error if it is suspended already, or has ended.
        """
        cell = self._cell
        cell.check_loop()
        if not cell.dead and not cell.suspended:
            cell.stand().suspended = True
            cell.interpose()

    def resume(self) -> None:
        """Undo :meth:`suspend`, however often that was called; returns at once. It is no error if it was not."""
        cell = self._cell
        cell.check_loop()
        if cell.standing is not None and cell.standing.suspended:
            cell.standing.suspended = False
            cell.interpose()

    def trace(self, to: ActorRef[Traced] | None) -> None:
        """From the next message on, tell the actor at *to* what this one does, as messages :class:`understudy.Traced`.

        One tracer at a time: another takes its place, None ends the trace, and so does the end for good of either. It
        goes on through restarts. Of each message there are two: that its handler begins, and how that has ended. What
        the tracer has no room for is not told, and becomes no dead letter; the next one says how many those were.
        Messages that tell of a trace are themselves not traced. An actor that is not traced pays nothing.

        Args:
            to: An actor that handles ``Traced``; it may be this one, or one that this one traces.

        Raises:
            ActorStopped: This actor, or *to*, has ended for good; not for None.
        """
        cell = self._cell
        cell.check_loop()
        if to is None:
            if cell.standing is not None:
                cell.standing.follow(cell, None)
            return
        for each in (cell, to._cell):  # pyright: ignore[reportPrivateUsage]
            each.check_loop()
            if each.dead:
                raise each.stopped_error()
        cell.stand().follow(cell, to)

    # Between two messages

    async def replace_state(
        self, change: Callable[[dict[str, Any]], Mapping[str, Any]], *, timeout: float | None = None
    ) -> Mapping[str, Any]:
        """Let the actor have the state that *change* makes of the one it has.

        All or nothing: if *change* raises, or what it returns cannot be the state, the actor keeps the attributes it
        has, and their values. What *change* does to the insides of a value, as by ``state["items"].clear()``, cannot be
        undone: return new values instead.

        It is done once or not at all: after an error nothing will be done any more.

        Args:
            change: A plain function. It gets a dictionary of the actor's attributes, its own to change, and returns
                all that the actor shall have: ``lambda state: {**state, "total": 0}``. What it leaves out the actor
                has no more. Of a state machine the state is among them, as ``"state"``; putting it into another calls
                no ``enter``, ends its state timeout, and brings back what was postponed.
            timeout: Seconds to wait for the turn. None: what is left of the ask being handled, else the system's
                ``ask_timeout``.

        Returns:
            The attributes that the actor has now; read-only.

        Raises:
            NotReplaced: *change* has raised (``__cause__``), or returned what cannot be a state; or the actor is
                stopping or being restarted.
            ReplaceTimeout: Its turn has not come in time; says what the actor is doing.
            ActorStopped: It has ended, or has been told to end, for good.
            AskCycle: The actor is, directly or not, waiting for the one that calls this, or is that itself.
            InvalidTimeout: Not a positive number of seconds.
        """
        cell = self._cell
        return await self._between_messages("state", timeout, lambda: new_state(cell, change))

    async def replace_behaviour(
        self,
        cls: type[Actor[Any]],
        migrate: Callable[[Any], Mapping[str, Any]] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Let the actor be an instance of another class from the next message on, and after each restart.

        The instance stays, so that its tasks, timers, monitors, stash and children do; its class becomes *cls* and its
        attributes what *migrate* returns. ``__init__``, ``initialize`` and ``shutdown`` are not called, and ``become``
        is undone. All or nothing, as :meth:`replace_state`. A restart makes a *cls*, with the arguments that the actor
        was declared with. A supervisor that is itself restarted declares its children anew: if it still declares the
        old class, that is a new actor. Options of the old class make way for those of *cls*, those of the spec stay;
        the mailbox stays as it is.

        Args:
            cls: A class that handles all that the old one does, with a constructor that takes the same arguments.
            migrate: A plain function. It gets the actor as it was, and returns the attributes that it shall have. None:
                those it has. If it raises, what it has set on the actor is undone.
            timeout: As for :meth:`replace_state`.

        Raises:
            NotReplaced: *cls* cannot take the place; *migrate* has raised (``__cause__``), or returned what cannot be a
                state; or the actor is a supervisor, is stopping or being restarted.
            ReplaceTimeout, ActorStopped, AskCycle, InvalidTimeout: As for :meth:`replace_state`.
        """
        cell = self._cell
        await self._between_messages(
            "behaviour",
            timeout,
            lambda: new_behaviour(cell, cls, migrate),
            lambda: check_successor(cell, cls),
        )

    async def _between_messages(
        self, what: What, timeout: float | None, do: Callable[[], T], check: Callable[[], object] = lambda: None
    ) -> T:
        timeout = check_timeout(timeout)
        cell, waiting = self._living, Waiting.now()
        runtime = cell.runtime
        if waiting.cell is cell:
            raise AskCycle(chain=(cell.path, cell.path))
        try:
            if not cell.running and (cell.life is not STARTING or cell.ending is not None):
                raise Problem(f"it is {cell.status}: wait until it is running")
            check()
        except Problem as problem:
            raise failure(cell, what, problem) from problem.__cause__
        now = runtime.env.now()
        change = Change(cell, what, do, waiting.seconds(timeout, None, now, runtime.settings.ask_timeout))
        standing = cell.stand()
        waiting.begin(cell, change, None)
        try:
            standing.changes.append(change)
            cell.interpose()
            runtime.dispatcher.run_ahead()
            if not change.future.done():
                runtime.asks.add(change, now)
            return await change.future
        finally:
            waiting.end(change)
            standing.withdraw(cell, change)
            change.give_up()

    @property
    def _living(self) -> Cell:
        cell = self._cell
        cell.check_loop()
        if cell.dead:
            raise cell.stopped_error()
        return cell

    def __repr__(self) -> str:
        return f"<Debug {self._cell.path}>"
