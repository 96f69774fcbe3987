"""What the runtime raises. The class owns the sentence; call sites pass facts, and facts are attributes.

    UnderstudyError
    +-- StartError              the actor did not come up; ``__cause__`` says why
    |   +-- StartTimeout
    +-- NameTaken               carries the live ref
    +-- KeyTaken                the same for a key of a registry
    +-- ActorStopped            gone for good: find another
    +-- ActorFailed             the handler crashed; ``__cause__`` is what it raised
    +-- Refused                 the actor said no; raise it, or a subclass, in a handler
    +-- Unhandled               the actor has no handler for this type
    +-- AskTimeout              no reply in time: the outcome is unknown (also a ``TimeoutError``)
    +-- ConsumerSlow            a part of a stream was not taken in time
    +-- AskCycle                the wait could never end
    +-- NoReply                 the reply that was promised will not come
    +-- MailboxFull             wait, or give it a larger mailbox
    +-- ChildError              an administrative call does not fit the state of the child
    |   +-- ChildAlreadyStarted     carries the ref of the child that has the name
    |   +-- ChildAlreadyPresent     there is a spec of that name, whose child is not running
    |   +-- ChildRunning            terminate it first
    |   +-- ChildRestarting         it is between two of its lives: terminate it first
    |   +-- ChildNotFound           no child, and no spec, of that name
    +-- TooManyChildren         as many as ``max_children`` allows
    +-- NotReplaced             a debugging verb has changed nothing; ``__cause__`` says why, if something was raised
    |   +-- ReplaceTimeout          its turn has not come in time (also a ``TimeoutError``)
    +-- ActorNotFound           no actor under that path
    +-- WrongActorType          an actor, but of another class
    +-- SystemCollapsed         the root gave up; carries the chain of reasons
    +-- InvalidSpec             also a ``ValueError``; at declaration
    +-- InvalidActor            also a ``TypeError``; at class creation
    +-- InvalidSubscription     also a ``ValueError``; nobody was subscribed
    +-- InvalidTimeout          also a ``ValueError``
    +-- InvalidTransition       also a ``RuntimeError``; a state machine may not go there
    +-- InvalidContext          also a ``RuntimeError``; used at the wrong time or in the wrong place
    +-- MissingExtra            a package is not installed (also an ``ImportError``)
    +-- UsageError              bad arguments of a program

Every one of them survives ``copy.copy`` and ``pickle`` with its facts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy import reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ActorFailed",
    "ActorNotFound",
    "ActorStopped",
    "AskCycle",
    "AskTimeout",
    "ChildAlreadyPresent",
    "ChildAlreadyStarted",
    "ChildError",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ConsumerSlow",
    "InvalidActor",
    "InvalidContext",
    "InvalidSpec",
    "InvalidSubscription",
    "InvalidTimeout",
    "InvalidTransition",
    "KeyTaken",
    "MailboxFull",
    "MissingExtra",
    "NameTaken",
    "NoReply",
    "NotReplaced",
    "Refused",
    "ReplaceTimeout",
    "StartError",
    "StartTimeout",
    "SystemCollapsed",
    "TooManyChildren",
    "UnderstudyError",
    "Unhandled",
    "UsageError",
    "WrongActorType",
]


class UnderstudyError(Exception):
    """The root of all errors of the runtime."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt from the sentence and the facts, past the constructors, so that a subclass may take what it likes.
        return _rebuild, (type(self), self.args, self._facts())

    def _facts(self) -> dict[str, Any]:
        notes = self.__dict__.get("__notes__")
        return self.__dict__ | ({} if notes is None else {"__notes__": list(notes)})


def _rebuild(cls: type[UnderstudyError], args: tuple[Any, ...], facts: dict[str, Any]) -> UnderstudyError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class StartError(UnderstudyError):
    """The actor did not start and nothing of it is left. ``__cause__`` is the reason."""

    def __init__(self, *, path: str, reason: reasons.ExitReason) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} did not start: {self._why(reason)}")

    @staticmethod
    def _why(reason: reasons.ExitReason) -> str:
        return str(reason).removeprefix("did not start: ")


class StartTimeout(StartError):
    """``initialize`` had not ended at its deadline."""

    def __init__(self, *, path: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(path=path, reason=reasons.Killed())
        self.args = (f"{path} did not start: initialize had not ended after {seconds:g} s",)


class NameTaken(UnderstudyError):
    """Another actor has that name. ``ref`` is its live ref; it is undisturbed."""

    def __init__(self, *, path: str, ref: Any) -> None:
        self.path = path
        self.ref = ref
        super().__init__(f"the name {path} is taken: use `ref` of this error, or choose another name")

    def __reduce__(self) -> tuple[Any, ...]:
        # A ref belongs to its event loop and does not travel; the path does.
        return _rebuild, (type(self), self.args, self._facts() | {"ref": None})


class KeyTaken(UnderstudyError):
    """Another actor is registered under that key. ``ref`` is its live ref; it is undisturbed."""

    def __init__(self, *, registry: str, key: object, ref: Any) -> None:
        self.registry = registry
        self.key = key
        self.ref = ref
        holder = getattr(ref, "path", "another actor")
        problem = f"is taken by {holder}: use `ref` of this error, or choose another key"
        super().__init__(f"the key {key!r} of registry {registry!r} {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        # A ref belongs to its event loop and does not travel.
        return _rebuild, (type(self), self.args, self._facts() | {"ref": None})


class ActorStopped(UnderstudyError):
    """The actor was, or went, down before it could reply, accept the message or obey. Carries the reason."""

    def __init__(self, *, path: str, reason: reasons.ExitReason, message: object = None) -> None:
        self.path = path
        self.reason = reason
        self.message = message
        what = "" if message is None else f" and did not handle {_name(message)}"
        super().__init__(f"{path} has stopped ({reason}){what}")


class ActorFailed(UnderstudyError):
    """The handler crashed. ``__cause__`` is what it raised; where, is in the notes.

    Each asker gets an object of its own.
    """

    def __init__(self, *, path: str, message_type: str, reason: reasons.ExitReason) -> None:
        self.path = path
        self.message_type = message_type
        self.reason = reason
        super().__init__(f"{path} failed while handling {message_type} ({reason})")

    def __getattr__(self, name: str) -> Any:
        # Reading source lines costs far more than failing, so the notes are made when somebody prints them.
        if name != "__notes__":
            raise AttributeError(name)
        frames = self.__dict__["reason"].frames if isinstance(self.__dict__.get("reason"), reasons.Crashed) else ()
        if not frames:
            raise AttributeError(name)
        where = "\n".join(f'  File "{file}", line {line}, in {at}' for file, line, at in frames)
        notes = self.__dict__["__notes__"] = [f"in {self.path}:\n{where}"]
        return notes


class Refused(UnderstudyError):
    """An expected "no": raise it in a handler. The asker gets it; state and counters stay as they are.

    Subclasses may take typed fields::

        class Insufficient(Refused):
            def __init__(self, missing: int) -> None:
                super().__init__(f"{missing} short")
                self.missing = missing
    """


class Unhandled(UnderstudyError):
    """The actor has no handler for this type of message. It is unharmed."""

    def __init__(self, *, path: str, message: object, remedy: str = "") -> None:
        self.path = path
        self.message = message
        self.remedy = remedy
        what = _name(message)
        if isinstance(message, type):
            what, remedy = f"the class {message.__name__}", remedy or f"send an instance, {message.__name__}(...)"
        super().__init__(f"{path} has no handler for {what}{remedy and ': '}{remedy}")


class AskTimeout(UnderstudyError, TimeoutError):
    """No reply in time. Whether the actor handled the message is unknown; ``state`` says how far it was seen to get."""

    def __init__(self, *, path: str, message: object, seconds: float, state: str) -> None:
        self.path = path
        self.message = message
        self.seconds = seconds
        self.state = state
        super().__init__(f"{path} did not reply to {_name(message)} within {reasons.plain_seconds(seconds)} ({state})")


class ConsumerSlow(UnderstudyError):
    """The consumer of a stream has left no room for the next part for too long, and the stream was closed."""

    def __init__(self, *, path: str, message: object, seconds: float) -> None:
        self.path = path
        self.message = message
        self.seconds = seconds
        super().__init__(
            f"{path} closed the stream of {_name(message)}: no part was taken within {reasons.plain_seconds(seconds)}; "
            "take them faster, or raise `timeout=`"
        )


class AskCycle(UnderstudyError):
    """The wait could never end: each actor of the chain waits for the next, and the last for the first."""

    def __init__(self, *, chain: Sequence[str], message: object = None) -> None:
        self.chain = tuple(chain)
        self.message = message
        what = "" if message is None else f" ({_name(message)})"
        super().__init__(f"waiting in a circle{what}: {' -> '.join(self.chain)}")


class NoReply(UnderstudyError):
    """The actor promised a reply and its incarnation ended (``reason``), or the promise was dropped, without one."""

    def __init__(self, *, path: str, message: object, reason: reasons.ExitReason | None = None) -> None:
        self.path = path
        self.message = message
        self.reason = reason
        end = "dropped the promise" if reason is None else f"ended without one ({reason})"
        super().__init__(f"{path} promised a reply to {_name(message)} and {end}")


class MailboxFull(UnderstudyError):
    """There is no room. ``message`` is the undelivered message."""

    def __init__(
        self,
        *,
        path: str,
        capacity: float,
        message: object = None,
        seconds: float | None = None,
        setting: str = "mailbox=",
    ) -> None:
        self.path = path
        self.capacity = capacity
        self.message = message
        self.seconds = seconds
        remedy = f"use `await ref.send(...)`, or set `{setting}`"
        if seconds is not None:
            remedy = f"no room for {_name(message)} within {seconds:g} s"
        super().__init__(f"{path} is full ({capacity:,}): {remedy}")


class ChildError(UnderstudyError):
    """An administrative call does not fit the state of the child; nothing was done."""

    _says = "is not in the right state"

    def __init__(self, *, supervisor: str, name: str) -> None:
        self.supervisor = supervisor
        self.name = name
        super().__init__(f"child {name!r} of {supervisor} {self._says}")


class ChildAlreadyStarted(ChildError):
    """A child of that name is running. ``ref`` is its ref."""

    _says = "is running already: use `ref` of this error, or another name"

    def __init__(self, *, supervisor: str, name: str, ref: Any) -> None:
        self.ref = ref
        super().__init__(supervisor=supervisor, name=name)

    def __reduce__(self) -> tuple[Any, ...]:
        # A ref belongs to its event loop and does not travel.
        return _rebuild, (type(self), self.args, self._facts() | {"ref": None})


class ChildAlreadyPresent(ChildError):
    """There is a spec of that name, whose child is not running or is being restarted."""

    _says = "has a spec already and is not running: use restart_child, or delete_child and start_child"


class ChildRunning(ChildError):
    """What was asked needs a child that is not running."""

    _says = "is running: use terminate_child first"


class ChildRestarting(ChildError):
    """What was asked needs a child that is not being restarted."""

    _says = "is being restarted: wait, or use terminate_child first"


class ChildNotFound(ChildError):
    """The supervisor has no child and no spec of that name; those of temporary children go with them."""

    _says = "does not exist: which_children lists those that do"


class TooManyChildren(UnderstudyError):
    """The supervisor has as many children as its ``max_children`` allows, counting those that are being restarted."""

    def __init__(self, *, path: str, limit: int) -> None:
        self.path = path
        self.limit = limit
        super().__init__(f"{path} has {limit:,} children, as many as max_children allows: wait until one has ended")


class NotReplaced(UnderstudyError):
    """The *state* or the *behaviour* of an actor was not replaced, and is as it was.

    ``__cause__`` is what ``change`` or ``migrate`` has raised, if that was the reason.
    """

    def __init__(self, *, path: str, what: str, problem: str) -> None:
        self.path = path
        self.what = what
        self.problem = problem
        super().__init__(f"the {what} of {path} was not replaced, and is as it was: {problem}")


class ReplaceTimeout(NotReplaced, TimeoutError):
    """The actor was not between two messages in time, and nothing will be replaced any more; ``state`` says why."""

    def __init__(self, *, path: str, what: str, seconds: float, state: str) -> None:
        self.seconds = seconds
        self.state = state
        super().__init__(path=path, what=what, problem=f"no turn within {reasons.plain_seconds(seconds)} ({state})")


class ActorNotFound(UnderstudyError):
    """Nothing is alive under that path. ``nearest`` lists names that come close."""

    def __init__(self, *, path: str, nearest: Sequence[str] = ()) -> None:
        self.path = path
        self.nearest = tuple(nearest)
        hint = f"; nearest: {', '.join(self.nearest)}" if self.nearest else ""
        super().__init__(f"there is no actor {path}{hint}")


class WrongActorType(UnderstudyError):
    """There is an actor under that path, but its class is another."""

    def __init__(self, *, path: str, expected: str, actual: str) -> None:
        self.path = path
        self.expected = expected
        self.actual = actual
        super().__init__(f"{path} is a {actual}, not a {expected}")


class SystemCollapsed(UnderstudyError):
    """The tree given to the system ended abnormally. ``chain`` says who failed, outermost first."""

    def __init__(self, *, system: str, path: str, reason: reasons.ExitReason) -> None:
        self.system = system
        self.path = path
        self.reason = reason
        self.chain = tuple(reasons.describe(reason))
        """What has ended and why, a line each, outermost first."""
        steps = "".join(f"\n  because {line}" for line in self.chain[1:])
        super().__init__(f"system {system!r} collapsed: {path} ended: {self.chain[0]}{steps}")


class InvalidSpec(UnderstudyError, ValueError):
    """A declaration that cannot work: says which child, which field, what is allowed. Nothing was started."""

    def __init__(self, *, child: str, field: str, problem: str) -> None:
        self.child = child
        self.field = field
        self.problem = problem
        super().__init__(f"{field} {problem} ({child})")


class InvalidActor(UnderstudyError, TypeError):
    """An actor class that contradicts itself: says which class, which method, and what to do."""

    def __init__(self, *, actor: str, problem: str) -> None:
        self.actor = actor
        self.problem = problem
        super().__init__(f"{actor}: {problem}")


class InvalidSubscription(UnderstudyError, ValueError):
    """Something that ``subscribe`` was given cannot be used; nobody was subscribed."""

    def __init__(self, *, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field} {problem}")


class InvalidTimeout(UnderstudyError, ValueError):
    """A timeout that is no positive number of seconds; nothing was sent."""

    def __init__(self, *, value: object, allowed: str = "a positive number of seconds, math.inf or None") -> None:
        self.value = value
        self.allowed = allowed
        super().__init__(f"timeout must be {allowed}, got {value!r}")


class InvalidTransition(UnderstudyError, RuntimeError):
    """A state machine was to go to a state that it does not declare to go to from where it is."""

    def __init__(self, *, actor: str, source: str, target: str) -> None:
        self.actor = actor
        self.source = source
        self.target = target
        super().__init__(
            f"{actor} does not go from {source} to {target}: declare it, as in @in_state({source}, to={target})"
        )


class InvalidContext(UnderstudyError, RuntimeError):
    """Something of the runtime was used at a time or in a place where it cannot work."""

    def __init__(self, *, what: str, problem: str) -> None:
        self.what = what
        self.problem = problem
        super().__init__(f"{what}: {problem}")


class MissingExtra(UnderstudyError, ImportError):
    """What was used needs a *package* that comes with an *extra* of this one, and is not installed."""

    def __init__(self, *, what: str, package: str, extra: str) -> None:
        self.what = what
        self.package = package
        self.extra = extra
        super().__init__(f'{what} needs {package}: pip install "understudy[{extra}]"')


class UsageError(UnderstudyError):
    """Arguments that make no sense; raised by a program's ``from_args``. The command line exits with code 2."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


def _name(message: object) -> str:
    return type(message).__name__
