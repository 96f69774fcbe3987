"""Handlers: methods that take one type of message, collected and checked when their class is made."""

from __future__ import annotations

import importlib
import inspect
import itertools
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, overload

import typing_extensions

from understudy.actors._asks import Letter
from understudy.actors._recall import run_cancellable
from understudy.actors._reply import Reply
from understudy.actors._streams import run_stream
from understudy.exceptions import InvalidActor
from understudy.messages import Continue, Signal, part_type, reply_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from understudy._plans._spec import ChildSpec

__all__ = [
    "NO_HANDLERS",
    "Handler",
    "HandlerTable",
    "WrappedTable",
    "accepted_types",
    "handler",
    "marked_methods",
]

F = TypeVar("F", bound="Callable[..., Any]")

_MARK = "__understudy_handler__"
_ALIASES: tuple[Any, ...] = tuple(
    {alias for module in (typing, typing_extensions) if (alias := getattr(module, "TypeAliasType", None)) is not None}
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the decorator says of a method."""

    cancellable: bool = False
    reentrant: bool = False


@overload
def handler(method: F, /) -> F: ...
@overload
def handler(*, cancellable: bool = False, reentrant: bool = False) -> Callable[[F], F]: ...
def handler(method: F | None = None, /, *, cancellable: bool = False, reentrant: bool = False) -> F | Callable[[F], F]:
    """Mark a method of an actor as the handler of the type that its parameter is annotated with.

    A plain ``def`` runs at once and nothing else runs meanwhile; an ``async def`` may wait. What it returns is the
    reply. The handler of a :class:`understudy.StreamMessage` is an ``async def`` that yields. A method that overrides a
    handler is one, marked or not, and what was said of the one it overrides holds for it too, unless it is marked. A
    handler whose name begins with ``_`` takes messages that the actor sends itself; its type need not be among those
    that the actor declares.

    Args:
        method: The method, for ``@handler`` without arguments.
        cancellable: Cancel it when its asker gives up, because the time is up or he was cancelled himself: an ``await``
            in it raises ``CancelledError``, and the actor goes on with the next message. That is no crash, whatever
            error the handler makes of it; one that swallows the cancel goes on. A message that was told has no asker.
            Only for ``async def``, since nothing else can be interrupted. Streams are cancellable anyway.
        reentrant: While it waits, at an ``await`` of its own, the actor handles further messages, so the state of the
            actor may be another after each ``await``. Nothing is promised about the order in which such handlers go on
            or end. Each runs in a task of its own. An error that leaves it is the actor's crash, which cancels the
            others. At most ``max_concurrency`` of them are under way (an option of the actor, by default 100): then
            the actor handles nothing until one has ended. It makes no edge in the wait-for graph: a circle of waits
            through it ends at a deadline. Only for ``async def``.

    Raises:
        InvalidActor: At the creation of the class, when the handlers do not fit what the class declares to accept.
    """
    mark = Mark(cancellable=cancellable, reentrant=reentrant)

    def marked(method: F) -> F:
        setattr(method, _MARK, mark)
        return method

    return marked if method is None else marked(method)


@dataclass(frozen=True, slots=True)
class Handler:
    """One entry of a table."""

    function: Callable[..., Any]
    """Of the actor and the message; for a stream it runs the generator."""
    name: str
    is_async: bool
    streams: bool = False
    reentrant: bool = False
    pumped: bool = field(init=False)
    """Whether it runs in the pump of its actor, one message after the other."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pumped", self.is_async and not self.reentrant)

    @classmethod
    def of(cls, name: str, function: Any, mark: Mark) -> Handler:
        """The entry for the method *function*."""
        streams = inspect.isasyncgenfunction(function)
        is_async = streams or inspect.iscoroutinefunction(function)
        if streams:
            function = partial(run_stream, function)
        elif mark.cancellable:
            function = partial(run_cancellable, function)
        return cls(function, name, is_async, streams=streams, reentrant=mark.reentrant)


class HandlerTable(dict[type, "Handler | None"]):
    """Handlers by the exact type of the message; the nearest base is looked up once for each new type.

    None stands for: no handler, ask ``fallback``; envelopes have none either, so that who opens them is asked. Handlers
    of private messages have a table of their own, so that nobody outside can reach them. Hooks that do nothing are
    None.
    """

    direct: dict[type, Callable[[Any, Any], Any]]
    """The functions of ``def`` handlers, by the exact type: what most messages need, in one look."""
    pumped: dict[type, Callable[[Any, Any], Any]]
    """The same of handlers that run in the pump."""
    shortcuts: bool
    """Whether there is anything in these two."""
    private: HandlerTable
    signals: HandlerTable
    batch: HandlerTable
    """Handlers of ``list[M]``, by M."""
    fallback: Handler | None
    initialize: Handler | None
    shutdown: Handler | None
    fitting: set[tuple[int | str, ...]]
    """Shapes of arguments that are known to fit the constructor: how many positional ones, and the keywords."""
    silent: bool | None
    """Whether no code of a user's runs when an actor of the class is made and started; None until it is asked for."""
    bare: ChildSpec[Any] | None
    """The spec of all actors of the class that are made without arguments and options; frozen, so one will do."""

    def __init__(self) -> None:
        super().__init__()
        self.direct = {}
        self.pumped = {}
        self.private = self.signals = self.batch = self
        self.fallback = self.initialize = self.shutdown = None
        self.fitting = set()
        self.silent = self.bare = None
        self.shortcuts = True

    def is_silent(self, actor: Any) -> bool:
        """Find out whether it is ``silent``, for the class *actor*, whose table this is."""
        # Not when the class is made: a decorator may still give it a constructor.
        made = actor.__init__ is object.__init__ and actor.__new__ is object.__new__
        called: Any = type(actor).__call__
        self.silent = silent = made and called is type.__call__ and self.initialize is None and not actor.supervises
        return silent

    @property
    def handled(self) -> list[type]:
        """The types that there are handlers for; of further ones those that have been looked up."""
        return [kind for kind, entry in self.items() if entry is not None]

    def without_shortcuts(self) -> HandlerTable:
        """The same, with nothing in ``direct`` and ``pumped``, so that each message is looked at."""
        table = HandlerTable()
        table.shortcuts = False
        table.update(self)
        table.private, table.signals, table.batch = self.private, self.signals, self.batch
        table.fallback, table.initialize, table.shutdown = self.fallback, self.initialize, self.shutdown
        return table

    def __missing__(self, message: type) -> Handler | None:
        # An envelope is no message: who takes any object takes what is in it.
        bases = () if Letter in message.__mro__ else message.__mro__
        found = next((entry for base in bases if (entry := self.get(base)) is not None), None)
        self.put(message, found)
        return found

    def put(self, message: type, entry: Handler | None) -> None:
        """*entry* is the handler of exactly this type."""
        self[message] = entry
        if entry is None or not self.shortcuts:
            return
        if entry.pumped:
            self.pumped[message] = entry.function
        elif not entry.is_async:
            self.direct[message] = entry.function

    @classmethod
    def of(cls, actor: type, root: type, marked: Iterable[tuple[str, Any, Mark]] | None = None) -> HandlerTable:
        """The table of the class *actor*, a subclass of *root*, which has the hooks that do nothing.

        Its handlers are those that are *marked*; by default by `handler`, and then they must be complete.

        Raises:
            InvalidActor: The handlers do not fit each other, or what the class declares to accept.
        """
        accepted = accepted_types(actor, root)
        table = cls()
        table.private, table.signals, table.batch = cls(), cls(), cls()
        scope = _scope(actor, accepted or ())
        for name, function, mark in marked_handlers(actor) if marked is None else marked:
            _check_shape(actor, name, function, mark)
            many, messages = _message_types(actor, name, function, scope)
            entry = Handler.of(name, function, mark)
            for message in messages:
                _check_kind(actor, entry, mark, message, many=many)
                if many:
                    table.batch._add(actor, message, entry)
                    continue
                signal = issubclass(message, Signal)
                target = table.signals if signal else table.private if name.startswith("_") else table
                target._add(actor, message, entry)
                _check_reply(actor, name, function, message, scope)
                if accepted is not None and target is table:
                    _check_wanted(actor, name, message, accepted)
        table.fallback = _hook(actor, root, "handle_message")
        table.initialize = _hook(actor, root, "initialize")
        table.shutdown = _hook(actor, root, "shutdown")
        if table.fallback is None and marked is None:
            table.check_complete(actor, accepted or ())
        return table

    def _add(self, actor: type, message: type, entry: Handler) -> None:
        other = self.get(message)
        if other is not None:
            problem = f"{other.name} and {entry.name} both handle {_show(message)}: keep one of them"
            raise InvalidActor(actor=actor.__qualname__, problem=problem)
        self.put(message, entry)

    def check_complete(self, actor: type, accepted: tuple[Any, ...]) -> None:
        """Refuse *actor* if it takes anything that there is no handler for."""
        for message in accepted:
            if isinstance(message, type) and not any(base in self or base in self.batch for base in message.__mro__):
                raise InvalidActor(
                    actor=actor.__qualname__,
                    problem=f"no handler for {_show(message)}: add a @handler method whose parameter is annotated "
                    "with it, or override handle_message",
                )


class WrappedTable(HandlerTable):
    """The handlers of the table *behind*, each with something around it; the hooks are as they are there."""

    def __init__(self, behind: HandlerTable, wrap: Callable[[Handler], Handler]) -> None:
        super().__init__()
        self.behind = behind
        self._wrap = wrap
        self.shortcuts = behind.shortcuts
        for message, entry in behind.items():
            self.put(message, self._wrapped(entry))
        self.private, self.signals, self.batch = (
            self if part is behind else type(self)(part, wrap)
            for part in (behind.private, behind.signals, behind.batch)
        )
        self.fallback = self._wrapped(behind.fallback)
        self.initialize, self.shutdown, self.fitting = behind.initialize, behind.shutdown, behind.fitting

    def __missing__(self, message: type) -> Handler | None:
        # What the other table finds out when it is asked, it finds out for both.
        entry = self._wrapped(self.behind[message])
        self.put(message, entry)
        return entry

    def _wrapped(self, entry: Handler | None) -> Handler | None:
        return None if entry is None else self._wrap(entry)


NO_HANDLERS = HandlerTable()
"""The table of a cell without an actor."""


def _hook(actor: type, root: type, name: str) -> Handler | None:
    function = getattr(actor, name)
    if function is getattr(root, name):
        return None
    return Handler(function, name, inspect.iscoroutinefunction(function))


def accepted_types(actor: type, root: type) -> tuple[Any, ...] | None:
    """The members of ``M`` in ``class X(root[M])``, flattened; None while ``M`` is a type variable or not given.

    Raises:
        InvalidActor: ``M`` holds something whose instances cannot be told apart by their class.
    """
    declared = _declared(actor, root)
    if declared is None or isinstance(declared, TypeVar | typing_extensions.TypeVar):
        return None
    members = tuple(dict.fromkeys(_flatten(declared)))
    for member in members:
        _check_type(actor, "the messages it declares", member)
    return members


def _declared(actor: type, root: type) -> Any:
    for base in actor.__dict__.get("__orig_bases__", actor.__bases__):
        origin = get_origin(base) or base
        if origin is root:
            return get_args(base)[0] if get_args(base) else None
        if not (isinstance(origin, type) and issubclass(origin, root)):
            continue
        inherited = _declared(origin, root)
        parameters: tuple[Any, ...] = getattr(origin, "__parameters__", ())
        if inherited in parameters:
            arguments = get_args(base)
            return arguments[parameters.index(inherited)] if arguments else None
        return inherited
    return None


def _flatten(declared: Any) -> Iterator[Any]:
    if isinstance(declared, _ALIASES):
        yield from _flatten(declared.__value__)
    elif get_origin(declared) in (Union, types.UnionType):
        for member in get_args(declared):
            yield from _flatten(member)
    elif declared not in (typing.Never, typing.NoReturn):
        yield type(None) if declared is None else declared


def _scope(actor: type, accepted: tuple[Any, ...]) -> dict[str, Any]:
    """Names for annotations that are kept as text: what the class accepts may have been made in a function."""
    scope: dict[str, Any] = {actor.__name__: actor}
    ambiguous: set[str] = set()
    for message in accepted:
        for part in (message, *_flatten(_answer_type(message) if isinstance(message, type) else None)):
            for name, value in _names(part):
                if scope.setdefault(name, value) is not value:
                    ambiguous.add(name)
    return {name: value for name, value in scope.items() if name not in ambiguous}


def _names(part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, type) and get_origin(part) is None:
        yield part.__name__, part
    for argument in get_args(part):
        yield from _names(argument)


def marked_methods(actor: type, mark: str) -> Iterator[tuple[str, Any]]:
    """The methods of *actor* that have the attribute *mark*, or override one that has."""
    names = dict.fromkeys(
        name for base in reversed(actor.__mro__) for name, value in vars(base).items() if getattr(value, mark, False)
    )
    for name in names:
        yield name, inspect.getattr_static(actor, name)


def marked_handlers(actor: type) -> Iterator[tuple[str, Any, Mark]]:
    """The methods of *actor* that `handler` has marked, or that override one; with the mark of the nearest that has."""
    marks: dict[str, Mark] = {}
    for base in reversed(actor.__mro__):
        for name, value in vars(base).items():
            mark = getattr(value, _MARK, None)
            if isinstance(mark, Mark):
                marks[name] = mark
    for name, mark in marks.items():
        yield name, inspect.getattr_static(actor, name), mark


def _check_shape(actor: type, name: str, function: Any, mark: Mark) -> None:
    problem = None
    if not inspect.isfunction(function):
        problem = f"handler {name} must be a plain method, not a {type(function).__name__}"
    elif inspect.isgeneratorfunction(function):
        problem = f"handler {name} is a generator: return the reply instead of yielding it"
    elif mark != Mark() and not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        wish = "cancellable" if mark.cancellable else "reentrant"
        problem = f"handler {name} is a plain def, which cannot be interrupted: make it async def, or not {wish}"
    elif len(_positional(function)) != 2:
        problem = f"handler {name} must take exactly one message besides self"
    if problem is not None:
        raise InvalidActor(actor=actor.__qualname__, problem=problem)


def _check_kind(actor: type, entry: Handler, mark: Mark, message: type, *, many: bool) -> None:
    """Streams are yielded, and nothing else is."""
    wanted = _is_streamed(message)
    problem = None
    if many and (wanted or mark != Mark()):
        problem = "takes many messages at once: that goes neither with streams nor with arguments of @handler"
    elif mark != Mark() and issubclass(message, Signal):
        problem = f"takes {_show(message)}, which is a signal: that does not go with arguments of @handler"
    elif wanted and not entry.streams:
        problem = f"does not yield, but {_show(message)} is answered with a stream: make it async def, and yield"
    elif entry.streams and not wanted:
        problem = f"is a generator, but {_show(message)} is no StreamMessage: return the reply instead of yielding it"
    if problem is not None:
        raise InvalidActor(actor=actor.__qualname__, problem=f"handler {entry.name} {problem}")


def _is_streamed(message: type) -> bool:
    return hasattr(message, "_understudy_part")


def _answer_type(message: type) -> Any:
    return part_type(message) if _is_streamed(message) else reply_type(message)


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(function, **_TEXT).parameters.values()
    return [each for each in parameters if each.default is each.empty or each.kind is each.VAR_POSITIONAL]


def _message_types(actor: type, name: str, function: Any, scope: dict[str, Any]) -> tuple[bool, list[type]]:
    """What the handler takes, and whether it takes many of that at once."""
    annotation = _annotation(actor, name, function, scope, _positional(function)[1].name)
    if annotation is inspect.Parameter.empty:
        raise InvalidActor(
            actor=actor.__qualname__,
            problem=f"handler {name} does not say what it takes: annotate its parameter with a type of message",
        )
    many = get_origin(annotation) is list
    members = list(dict.fromkeys(_flatten(get_args(annotation)[0] if many else annotation)))
    for member in members:
        _check_type(actor, f"handler {name}", member)
    return many, members


def _annotation(actor: type, name: str, function: Any, scope: dict[str, Any], parameter: str) -> Any:
    try:
        annotation = _annotations(function).get(parameter, inspect.Parameter.empty)
        if isinstance(annotation, str):
            # Evaluated as Python itself would have done at the definition; the text is the class author's own code.
            annotation = eval(annotation, function.__globals__, dict(scope))  # noqa: S307
    except Exception as error:
        what = "return annotation" if parameter == "return" else f"annotation of {parameter!r}"
        text = _text_of(function, parameter)
        raise InvalidActor(
            actor=actor.__qualname__,
            problem=f"handler {name}: the {what}{text} cannot be resolved ({error}): "
            "import the name at the top of the module, not under TYPE_CHECKING or in a function",
        ) from error
    return annotation


def _annotations(function: Any) -> dict[str, Any]:
    inner = inspect.unwrap(function)
    annotations: dict[str, Any] = inner.__annotations__
    return annotations


def _text_of(function: Any, parameter: str) -> str:
    try:
        annotation = _annotations(function).get(parameter)
    except Exception:
        return ""
    return f" {annotation!r}" if isinstance(annotation, str) else ""


def _check_type(actor: type, where: str, member: Any) -> None:
    metadata: Any = getattr(member, "__pydantic_generic_metadata__", None)
    problem = None
    if metadata and metadata["args"]:
        problem = f"{where}: {_show(member)} is a parametrised generic: name it, `class Name({_show(member)}): ...`"
    elif member is Any or not isinstance(member, type) or get_origin(member) is not None:
        problem = f"{where}: {_show(member)} is no class of messages"
    if problem is not None:
        raise InvalidActor(actor=actor.__qualname__, problem=problem)


def _check_wanted(actor: type, name: str, message: type, accepted: tuple[Any, ...]) -> None:
    if not any(issubclass(message, other) or issubclass(other, message) for other in accepted):
        raise InvalidActor(
            actor=actor.__qualname__,
            problem=f"handler {name} takes {_show(message)}, which the class does not declare: "
            f"add it to Actor[...], or begin the name with _ if only the actor itself sends it",
        )


def _check_reply(actor: type, name: str, function: Any, message: type, scope: dict[str, Any]) -> None:
    streamed = _is_streamed(message)
    if not streamed and not hasattr(message, "_understudy_reply"):
        return  # not a Message: it can only be told, and what its handler returns goes nowhere
    returned = _annotation(actor, name, function, scope, "return")
    expected = _answer_type(message)
    if streamed:
        expected = types.GenericAlias(AsyncIterator, (expected,))
        if get_origin(returned) in (AsyncGenerator, AsyncIterable):
            returned = types.GenericAlias(AsyncIterator, get_args(returned)[:1])
    if returned is inspect.Parameter.empty or _fits(returned, expected):
        return
    raise InvalidActor(
        actor=actor.__qualname__,
        problem=f"handler {name} returns {_show(returned)}, but {_show(message)} is answered with {_show(expected)}",
    )


def _fits(returned: Any, expected: Any) -> bool:
    """Whether a value of *returned* can stand where *expected* is wanted; in doubt, yes: type checkers know more."""
    if Any in (returned, expected) or object is expected or returned == expected or returned in (Continue, Reply):
        return True
    if get_origin(returned) is Reply:  # it will be one
        return _fits(get_args(returned)[0], expected)
    if isinstance(returned, _ALIASES) or get_origin(returned) in (Union, types.UnionType):
        return all(_fits(member, expected) for member in _flatten(returned))
    if isinstance(expected, _ALIASES) or get_origin(expected) in (Union, types.UnionType):
        return any(_fits(returned, member) for member in _flatten(expected))
    if get_origin(returned) is not None and get_origin(returned) is get_origin(expected):
        pairs = itertools.zip_longest(get_args(returned), get_args(expected), fillvalue=Any)
        return all(_fits(given, wanted) for given, wanted in pairs)
    given, wanted = _runtime_class(returned), _runtime_class(expected)
    if given is None or wanted is None:
        return True
    return issubclass(given, wanted) or (given, wanted) in _PROMOTIONS


def _runtime_class(annotation: Any) -> type | None:
    if annotation is None:
        return type(None)
    if annotation in (typing.Never, typing.NoReturn):
        return None
    origin = get_origin(annotation) or annotation
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return None
    return origin


_PROMOTIONS = {(int, float), (int, complex), (float, complex)}


def _show(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _signature_options() -> dict[str, Any]:
    # From 3.14 on annotations are evaluated when looked at; only names and defaults are wanted here.
    if "annotation_format" not in inspect.signature(inspect.signature).parameters:
        return {}
    return {"annotation_format": importlib.import_module("annotationlib").Format.FORWARDREF}


_TEXT = _signature_options()
