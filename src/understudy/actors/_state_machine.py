"""State machines: actors whose handlers depend on the state that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from understudy.actors._actor import Actor
from understudy.actors._handler import Handler, HandlerTable, accepted_types
from understudy.actors._states import States, has_states, name_of
from understudy.exceptions import InvalidTransition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from understudy.actors._timers import Timers

__all__ = ["StateMachine"]

M = TypeVar("M")

_STATE_TIMEOUT, _EVENT_TIMEOUT = object(), object()


class StateMachine(Actor[M]):
    """An actor that is in one state at a time, with handlers for each.

    ``initial`` is where it begins, and where each restart begins. Handlers are marked by :func:`in_state`, or by
    :func:`understudy.handler` for all states. A handler goes elsewhere by ``self.goto(state)``: at once the timeout of
    the old state is cancelled, the methods that are marked by :func:`enter` for the new one are called, what was
    postponed is put in front of what waits, and from the next message on the handlers of the new state take over.

    Messages come in this order: what the machine sends itself by :meth:`next`; what was postponed, in its order, after
    a change of state; the mailbox. A message that has no handler in the present state is unhandled.

    The data of a machine are its attributes.

    Raises:
        InvalidActor: At the creation of a class: as for an actor; or a state is not there, or cannot be.
    """

    initial: ClassVar[Any] = None
    """The state it begins in."""

    __understudy_states__: ClassVar[States]
    _understudy_state: Any = None

    @property
    def state(self) -> Any:
        """Where it is."""
        return type(self).initial if self._understudy_state is None else self._understudy_state

    def goto(self, state: Any) -> None:
        """Go to *state*.

        Going to the present state is no change, but enters it again: its timeout is cancelled, and `enter` is called.

        Raises:
            InvalidTransition: No handler of the present state declares to go there.
        """
        source, states = self.state, type(self).__understudy_states__
        if state != source and not states.allows(source, state):
            name = type(self).__qualname__
            raise InvalidTransition(actor=name, source=name_of(source), target=name_of(state))
        self._timers.cancel(_STATE_TIMEOUT)
        object.__setattr__(self, "_understudy_state", state)
        self._understudy_cell.own().be(states.tables[state], name_of(state))
        if state != source:
            self.context.unstash_all()
        self._understudy_enter()

    def postpone(self, message: object) -> None:
        """Handle *message*, the one in hand, after the next change of state; who has asked goes on waiting.

        Raises:
            MailboxFull: More are postponed than the option ``stash`` allows.
        """
        self.context.stash(message)

    def next(self, message: object) -> None:
        """Handle *message* before anything else; it is gone with the incarnation. Several come in their order.

        It is private: handled by a handler whose name begins with ``_``, or by one for such messages.
        """
        self.context.tell_next(message)

    def state_timeout(self, seconds: float, message: object) -> None:
        """Send *message* in *seconds* unless the state has changed by then; takes the place of the one before.

        Raises:
            InvalidTimeout: Not a positive, finite number of seconds.
        """
        self._timers.after(_STATE_TIMEOUT, seconds, message)

    def event_timeout(self, seconds: float, message: object) -> None:
        """Send *message* in *seconds* unless any message has come by then; takes the place of the one before.

        What the machine sends itself does not count. (Named timeouts are ``self.context.timers``: nothing but a cancel,
        a replacement or the end of the incarnation touches them.)

        Raises:
            InvalidTimeout: Not a positive, finite number of seconds.
        """
        self._timers.after(_EVENT_TIMEOUT, seconds, message)
        belongings = self._understudy_cell.own()
        belongings.until_event = _EVENT_TIMEOUT
        belongings.apply()

    @classmethod
    def mermaid(cls) -> str:
        """Its states and declared transitions as a Mermaid state diagram."""
        lines = ["stateDiagram-v2", f"    [*] --> {name_of(cls.initial)}"]
        for source, what, target in cls.__understudy_states__.arrows:
            lines.append(f"    {name_of(source)} --> {name_of(target)}: {what}")
        return "\n".join(lines)

    @property
    def _timers(self) -> Timers:
        return self.context.timers

    def _understudy_attributes(self) -> dict[str, Any]:
        return {**super()._understudy_attributes(), "state": self.state}

    @classmethod
    def _understudy_problem(cls, attributes: Mapping[str, Any]) -> str | None:
        states = cls.__understudy_states__.tables
        if "state" not in attributes or any(attributes["state"] == each for each in states):
            return None
        known = ", ".join(map(name_of, states))
        return f"{cls.__qualname__} has the states {known}, and not {name_of(attributes['state'])}"

    def _understudy_put(self, attributes: Mapping[str, Any], *, anew: bool = False) -> None:
        """Without a *state* it stays where it is, or begins where its class does if that is another now."""
        before = self.state
        rest = dict(attributes)
        state = rest.pop("state", type(self).initial if anew else before)
        super()._understudy_put(rest, anew=anew)
        object.__setattr__(self, "_understudy_state", state)
        if anew or state != before:
            self._understudy_cell.own().be(type(self).__understudy_states__.tables[state], name_of(state))
        if state != before:
            self._timers.cancel(_STATE_TIMEOUT)
            self.context.unstash_all()

    @classmethod
    def _understudy_tables(cls) -> Iterable[HandlerTable]:
        return cls.__understudy_states__.tables.values()

    def _understudy_enter(self) -> None:
        for name in type(self).__understudy_states__.entering(self.state):
            getattr(self, name)()

    @classmethod
    def _understudy_table(cls) -> HandlerTable:
        if cls.initial is None and not has_states(cls):
            return HandlerTable.of(cls, Actor)  # this class itself, or a base of others
        states = cls.__understudy_states__ = States(cls, Actor, cls.initial)
        together = states.together()
        if together.fallback is None:
            together.check_complete(cls, accepted_types(cls, Actor) or ())
        table = states.tables[cls.initial]
        if states.entries:
            table.initialize = _first(cls._understudy_enter, table.initialize)
        return table


def _first(enter: Callable[[Any], None], initialize: Handler | None) -> Handler:
    """`initialize`, after the first state has been entered."""

    async def enter_and_wait(actor: StateMachine[Any]) -> Any:
        enter(actor)
        assert initialize is not None
        return await initialize.function(actor)

    def enter_at_once(actor: StateMachine[Any]) -> Any:
        enter(actor)
        return None if initialize is None else initialize.function(actor)

    is_async = initialize is not None and initialize.is_async
    return Handler(enter_and_wait if is_async else enter_at_once, "initialize", is_async)
