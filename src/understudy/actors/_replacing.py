"""What is done to an actor between two of its messages: its state is replaced, or its class."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar, cast

from understudy._plans._spec import ChildSpec, check_interruptible
from understudy.actors._asks import forget
from understudy.actors._attributes import OURS
from understudy.actors._belongings import Behaviour
from understudy.actors._child import as_spec
from understudy.actors._handler import HandlerTable
from understudy.actors._inspection import occupation
from understudy.exceptions import ActorStopped, InvalidSpec, NotReplaced, ReplaceTimeout, UnderstudyError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from understudy.actors._cell import Cell

__all__ = ["Change", "Problem", "check_successor", "failure", "new_behaviour", "new_state"]

T = TypeVar("T")
What: TypeAlias = Literal["state", "behaviour"]


class Problem(Exception):
    """Why something cannot be replaced, in words; its cause is what was raised, if anything."""


def failure(cell: Cell, what: What, error: BaseException) -> UnderstudyError:
    """What the caller gets when *what* was not replaced because of *error*."""
    cause = error.__cause__ if isinstance(error, Problem) else error
    problem = str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"
    made: UnderstudyError
    if cell.dead or cell.for_good:
        made = ActorStopped(path=cell.path, reason=cell.why_not())
    else:
        made = NotReplaced(path=cell.path, what=what, problem=problem)
    made.__cause__ = cause
    return made


class Change(Generic[T]):
    """A verb that waits for its turn. It ends in one way: done, failed, at its deadline, or given up."""

    __slots__ = ("_cell", "_do", "_seconds", "_what", "deadline", "future")

    def __init__(self, cell: Cell, what: What, do: Callable[[], T], seconds: float) -> None:
        env = cell.runtime.env
        self._cell = cell
        self._do = do
        self._seconds = seconds
        self._what: What = what
        self.deadline = env.now() + seconds
        self.future: asyncio.Future[T] = env.loop.create_future()

    def carry_out(self) -> None:
        """Do it now, unless nobody waits for it any more; never raises."""
        if self.future.done():
            return
        try:
            result = self._do()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self._cell.runtime.interrupt()
            self.fail(error)
        else:
            if not self.future.done():  # as it may be by what it has done
                self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Nothing has been done, because of *error*."""
        if not self.future.done():
            self.future.set_exception(failure(self._cell, self._what, error))

    def expire(self) -> None:
        """The deadline has come."""
        if not self.future.done():
            path, state = self._cell.path, occupation(self._cell)
            self.future.set_exception(ReplaceTimeout(path=path, what=self._what, seconds=self._seconds, state=state))

    def give_up(self) -> None:
        """Nobody waits from here on."""
        forget(self.future)


def new_state(cell: Cell, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Let the actor have the state that *change* makes of the one it has."""
    actor: Any = cell.actor
    state = _checked("change", change(actor._understudy_attributes()), actor.__class__)
    actor._understudy_put(state)
    return MappingProxyType(actor._understudy_attributes())


def new_behaviour(cell: Cell, cls: type[Any], migrate: Callable[[Any], Mapping[str, Any]] | None) -> None:
    """Let the actor be an instance of *cls* from here on, and whenever it is started anew."""
    actor: Any = cell.actor
    before = actor._understudy_attributes()
    try:
        spec = check_successor(cell, cls)
        state = _checked("migrate", before if migrate is None else migrate(actor), cls)
        table = cell.runtime.table_of(cell, Behaviour(cls.__understudy_handlers__))
        _change_class(actor, cls)
    except BaseException:
        # What was done to the attributes is undone; not what was done to the insides of their values.
        actor._understudy_put(before)
        raise
    cell.spec = spec
    if cell.belongings is None:
        cell.use(table)
    else:
        cell.belongings.begin_anew(table)
    actor._understudy_put(state, anew=True)


def check_successor(cell: Cell, cls: type[Any]) -> ChildSpec[Any]:
    """The spec by which the actor is made as a *cls*.

    Raises:
        Problem: *cls* cannot take the place of its class; says why, and what to do.
    """
    spec: ChildSpec[Any] = cell.spec
    old: type[Any] = spec.factory
    if not isinstance(getattr(cls, "__understudy_handlers__", None), HandlerTable) or not hasattr(cls, "__mro__"):
        raise Problem(f"the new class must be a subclass of Actor, got {cls!r}")
    if old.supervises or cls.supervises:
        raise Problem("what a supervisor's class says of its children cannot be changed while they run")
    missing = _lacking(old, cls)
    if missing:
        raise Problem(
            f"{cls.__qualname__} has no handler for {', '.join(missing)}, which may wait in the mailbox: "
            "add one, or override handle_message"
        )
    own = {key: value for key, value in spec.given.items() if old.defaults.get(key) != value}
    try:
        if cell.option("restart") != "temporary":  # else it is never made again, and its arguments may be gone
            as_spec(cls, spec.args, spec.kwargs)
        check_interruptible(cls, own, cell.path)
    except InvalidSpec as error:
        raise Problem(f"a restart could not make a {cls.__qualname__}: {error}") from error
    return replace(spec, factory=cls, given={**cls.defaults, **own})


def _lacking(old: type[Any], new: type[Any]) -> list[str]:
    """The names of the types that may wait for an *old*, and that a *new* has no handler for, whatever its state."""
    before, after = list(old._understudy_tables()), list(new._understudy_tables())
    if any(table.fallback is not None for table in after):
        return []
    accepted = old._understudy_accepts()
    public = _handled(before) if accepted is None else set(accepted)
    private = _handled([table.private for table in before])
    lacking = [
        *_not_in(public, _handled([*after, *(table.batch for table in after)])),
        *_not_in(private, _handled([table.private for table in after])),
    ]
    return sorted(kind.__name__ for kind in lacking)


def _handled(tables: list[HandlerTable]) -> set[type]:
    return {kind for table in tables for kind in table.handled}


def _not_in(wanted: set[type], handled: set[type]) -> list[type]:
    return [kind for kind in wanted if not handled.intersection(kind.__mro__)]


def _checked(function: str, result: object, cls: type[Any]) -> Mapping[str, Any]:
    """*result*, which *function* has returned, as the state of a *cls*."""
    if isinstance(result, Coroutine):
        result.close()
        raise Problem(f"{function} must be a plain function, not a coroutine: nothing can be waited for in it")
    if not isinstance(result, Mapping):
        raise Problem(f"{function} must return a mapping of names to values, got {type(result).__name__}")
    state = dict(cast("Mapping[Any, Any]", result))  # type: ignore[redundant-cast]  # pyright sees Unknown
    for name in state:
        if not isinstance(name, str) or name.startswith(OURS):
            raise Problem(f"{function} must return names of the actor's own attributes, got {name!r} among them")
    problem = cls._understudy_problem(state)
    if problem is not None:
        raise Problem(problem)
    return state


def _change_class(actor: object, cls: type) -> None:
    try:
        object.__setattr__(actor, "__class__", cls)
    except TypeError as error:
        name = type(actor).__qualname__
        raise Problem(f"{cls.__qualname__} must have the same __slots__ as {name}: {error}") from error
