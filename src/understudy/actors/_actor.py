"""``Actor``: the base class of everything with handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias

import structlog
from typing_extensions import TypeVar

from understudy._plans._spec import DEFAULTS, Options, check_interruptible, check_options
from understudy._plans._strategies import PLAIN, Plan
from understudy.actors._attributes import attributes_of, put_attributes
from understudy.actors._context import Context
from understudy.actors._handler import HandlerTable, accepted_types
from understudy.exceptions import InvalidActor, InvalidContext, Unhandled
from understudy.messages import Continue, Ignore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from understudy.actors._monitors import Monitor
    from understudy.actors._reply import Promises
    from understudy.reasons import ExitReason

__all__ = ["Actor", "Started", "Supervises"]

M = TypeVar("M")

Started: TypeAlias = Continue | Ignore | None
"""What ``initialize`` may return."""


class Actor(Generic[M]):
    """An actor class: state on ``self``, a handler for each type of message.

    ``class Meter(Actor[Observe | Total])`` accepts ``Observe`` and ``Total``, and the handlers are checked against that
    when the class is made. An instance lives until the actor fails, stops or is restarted; the next incarnation is a
    new instance, made with the same arguments. One message is handled at a time.

    A subclass need not call ``super().__init__()``. ``self.context`` and ``self.log`` exist from ``initialize`` on.

    Raises:
        InvalidActor: At the creation of a class: a handler is missing, surplus, doubled, or does not fit its message.
        InvalidSpec: Likewise, for a bad entry in ``defaults``.
    """

    defaults: ClassVar[Options] = {}
    """Options for all actors of the class, as in ``child(...).options(...)``, which has the last word."""

    supervises: ClassVar[bool] = False
    """Whether it is a supervisor; for the runtime."""
    __understudy_handlers__: ClassVar[HandlerTable] = HandlerTable()
    _understudy_cell: Any = None
    # Of this incarnation, once there are any.
    _understudy_monitors: dict[Monitor, None] | None = None
    _understudy_promises: Promises | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__understudy_handlers__ = cls._understudy_table()
        cls.defaults = check_options(cls.defaults, f"class {cls.__qualname__}", DEFAULTS)
        check_interruptible(cls, cls.defaults, f"class {cls.__qualname__}")
        for key in DEFAULTS:
            value = cls.__dict__.get(key)
            if value is not None and not callable(value) and not hasattr(value, "__get__"):
                # It would be overlooked in silence, and `shutdown` would take the place of the hook.
                problem = f"{key} = {value!r} means nothing here: say `defaults = {{{key!r}: {value!r}}}`"
                raise InvalidActor(actor=cls.__qualname__, problem=problem)

    # Hooks

    def initialize(self) -> Awaitable[Started] | Started:
        """Called when the actor starts, and again for each restart, on the new instance; ``def`` or ``async def``.

        Messages that arrive meanwhile wait. If it raises, the actor has not started, ``shutdown`` is not called, and
        what it opened itself it has to close itself.

        Returns:
            Usually None. :class:`understudy.Continue` has a message handled before all that waits;
            :class:`understudy.Ignore` says that this actor does not want to run now.
        """
        return None

    def shutdown(self, reason: ExitReason) -> Awaitable[None] | None:
        """Called at the end, when the children have ended; ``def`` or ``async def``.

        That is after a stop, a drain, a normal end, or a crash (before the restart). Not called after a kill, or when
        ``initialize`` had not succeeded. It is bounded by the actor's grace.
        """
        return None

    def handle_message(self, message: Any) -> Awaitable[Any] | Any:
        """Called for a message that no handler takes; ``def`` or ``async def``. What it returns is the reply.

        A class that overrides it may lack handlers. Calling this one from there says that the message is unhandled
        after all.
        """
        raise Unhandled(path=self.context.path, message=message)

    def describe(self) -> Mapping[str, object]:
        """What a crash report shall tell of the state, by name; called when the actor has failed.

        Without it a report has the names and types of attributes only, since values may be secret.
        """
        return {}

    # The runtime

    @property
    def context(self) -> Context:
        """The actor's ref, children, system, and what it can do to itself.

        Raises:
            InvalidContext: Before ``initialize``, or after the end of this incarnation.
        """
        cell = self._understudy_cell
        if cell is None:
            problem = "exists from initialize on and until the end of the incarnation"
            raise InvalidContext(what=f"{type(self).__qualname__}.context", problem=problem)
        return Context(cell, self)

    @property
    def log(self) -> structlog.typing.FilteringBoundLogger:
        """A structlog logger, bound to the actor's path."""
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(actor=self.context.path)
        return log

    @classmethod
    def _understudy_table(cls) -> HandlerTable:
        """The handlers with which an incarnation begins; for the runtime, when the class is made."""
        return HandlerTable.of(cls, Actor)

    def _understudy_attributes(self) -> dict[str, Any]:
        """Its state, by names; a new dictionary of the values themselves; for the runtime."""
        return attributes_of(self)

    def _understudy_put(self, attributes: Mapping[str, Any], *, anew: bool = False) -> None:
        """Have this state and no other. *anew*: the class, and the handlers, are not those that it has had."""
        put_attributes(self, attributes)

    @classmethod
    def _understudy_problem(cls, attributes: Mapping[str, Any]) -> str | None:
        """What is wrong with *attributes* as the state of an instance, or None; for the runtime."""
        return None

    @classmethod
    def _understudy_tables(cls) -> Iterable[HandlerTable]:
        """The handlers that an instance may have, at one time or another; for the runtime."""
        return (cls.__understudy_handlers__,)

    @classmethod
    def _understudy_accepts(cls) -> tuple[Any, ...] | None:
        """The types that the class declares to accept; None if it does not say; for the runtime."""
        return accepted_types(cls, Actor)

    def _understudy_leave(self, reason: ExitReason) -> None:
        """The incarnation has ended, however that came about; for the runtime."""
        # Not by way of the dictionary, which is made when somebody asks for it, and which most never need.
        monitors, promises = self._understudy_monitors, self._understudy_promises
        if monitors is not None:
            del self.__dict__["_understudy_monitors"]
            for monitor in list(monitors):
                monitor.cancel()
        if promises is not None:
            del self.__dict__["_understudy_promises"]
            promises.drop_all(reason)


class Supervises(Actor[M]):
    """An actor with a plan for its children, whose ref is a ``SupervisorRef``; base of all supervisors."""

    supervises: ClassVar[bool] = True
    """It is; for the runtime."""

    def _understudy_plan(self, path: str, before: Plan | None = None) -> Plan:
        """How the actor supervises; for the runtime, once for each incarnation, before ``initialize``.

        *before* is the plan of the incarnation before, as it was at its end; None for the first.
        """
        return PLAIN

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.defaults = {"shutdown": "infinity", **cls.defaults}
