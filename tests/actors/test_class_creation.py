"""Checks at class creation: an actor class that contradicts itself is an error that names the place."""

from __future__ import annotations

import sys
import textwrap
import types
from typing import Any

import pytest

from understudy import Actor, ActorSystem, InvalidActor, Message, handler

IMPORTS = """
from dataclasses import dataclass
from typing import Any, Generic, Optional, TypeAlias, TypeVar, Union
from understudy import Actor, Message, handler
"""

MESSAGES = """
class Ping(Message[int]):
    value: int = 1

class Pong(Message[str]): ...

class Pang(Message[int]): ...

class Quiet(Message): ...

@dataclass
class Plain:
    value: int = 1

T = TypeVar("T")
"""

postponed_or_not = pytest.mark.parametrize("postponed", [False, True], ids=["evaluated", "postponed"])


def define(source: str, postponed: bool, local: bool = False) -> dict[str, Any]:
    """Run *source* as a module of its own, or inside of a function of one, with its annotations postponed or not."""
    source = MESSAGES + textwrap.dedent(source)
    if local:
        source = "def scope():\n" + textwrap.indent(source, "    ") + "\n    return locals()\n"
    source = ("from __future__ import annotations\n" if postponed else "") + IMPORTS + source
    module = types.ModuleType("a_module_of_its_own")
    namespace = module.__dict__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)  # where typing and dataclasses look names up
        exec(compile(source, "<definition>", "exec", dont_inherit=True), namespace)
        return {**namespace, **namespace["scope"]()} if local else dict(namespace)


async def replies(cls: type[Actor[Any]], *messages: Any) -> list[object]:
    async with ActorSystem() as system:
        ref: Any = await system.spawn(cls)
        return [await ref.ask(message) for message in messages]


WRONG = {
    "a missing handler": (
        """
        class X(Actor[Ping | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1
        """,
        ["X", "Pong"],
    ),
    "a missing handler of a union": (
        """
        class X(Actor[Ping | Pong | Pang]):
            @handler
            def on_some(self, message: Ping | Pang) -> int:
                return 1
        """,
        ["X", "Pong"],
    ),
    "no handler at all": (
        """
        class X(Actor[Ping]):
            pass
        """,
        ["X", "Ping"],
    ),
    "a handler that forgot its decorator": (
        """
        class X(Actor[Ping]):
            def on_ping(self, message: Ping) -> int:
                return 1
        """,
        ["X", "Ping"],
    ),
    "a surplus handler": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return ""
        """,
        ["X", "on_pong", "Pong"],
    ),
    "a surplus member of a union": (
        """
        class X(Actor[Ping]):
            @handler
            def on_both(self, message: Ping | Pang) -> int:
                return 1
        """,
        ["X", "on_both", "Pang"],
    ),
    "a wrong return annotation": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> str:
                return ""
        """,
        ["X", "on_ping", "str", "int"],
    ),
    "a wrong return annotation of an async handler": (
        """
        class X(Actor[Ping]):
            @handler
            async def on_ping(self, message: Ping) -> str:
                return ""
        """,
        ["X", "on_ping", "str", "int"],
    ),
    "a reply to a message that has none": (
        """
        class X(Actor[Quiet]):
            @handler
            def on_quiet(self, message: Quiet) -> int:
                return 1
        """,
        ["X", "on_quiet", "int"],
    ),
    "no reply to a message that has one": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> None:
                return None
        """,
        ["X", "on_ping", "int"],
    ),
    "a reply that may be nothing": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> int | None:
                return None
        """,
        ["X", "on_ping", "int"],
    ),
    "a return annotation that fits one member of a union only": (
        """
        class X(Actor[Ping | Pong]):
            @handler
            def on_both(self, message: Ping | Pong) -> int:
                return 1
        """,
        ["X", "on_both", "Pong", "str"],
    ),
    "a wrong element type of the reply": (
        """
        class Names(Message[list[str]]): ...

        class X(Actor[Names]):
            @handler
            def on_names(self, message: Names) -> list[int]:
                return []
        """,
        ["X", "on_names"],
    ),
    "two handlers of one type": (
        """
        class X(Actor[Ping]):
            @handler
            def first(self, message: Ping) -> int:
                return 1

            @handler
            def second(self, message: Ping) -> int:
                return 2
        """,
        ["X", "first", "second", "Ping"],
    ),
    "two handlers of one type, one of them by a union": (
        """
        class X(Actor[Ping | Pang]):
            @handler
            def first(self, message: Ping | Pang) -> int:
                return 1

            @handler
            def second(self, message: Pang) -> int:
                return 2
        """,
        ["X", "first", "second", "Pang"],
    ),
    "two handlers of one type, one of them in a mixin": (
        """
        class Mixin:
            @handler
            def first(self, message: Ping) -> int:
                return 1

        class X(Mixin, Actor[Ping]):
            @handler
            def second(self, message: Ping) -> int:
                return 2
        """,
        ["X", "first", "second", "Ping"],
    ),
    "a handler without an annotation": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self, message) -> int:
                return 1
        """,
        ["X", "on_ping"],
    ),
    "a handler without a message": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self) -> int:
                return 1
        """,
        ["X", "on_ping"],
    ),
    "a parametrised generic message": (
        """
        class Env(Message[int], Generic[T]):
            content: T

        class X(Actor[Env[int]]):
            @handler
            def on_env(self, message: Env[int]) -> int:
                return 1
        """,
        ["X", "(Env[int]):"],
    ),
    "a parametrised generic message in a union": (
        """
        class Env(Message[int], Generic[T]):
            content: T

        class X(Actor[Ping | Env[int]]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_env(self, message: Env[int]) -> int:
                return 1
        """,
        ["X", "(Env[int]):"],
    ),
    "a mixin with a surplus handler": (
        """
        class Mixin:
            @handler
            def on_pong(self, message: Pong) -> str:
                return ""

        class X(Mixin, Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1
        """,
        ["X", "on_pong", "Pong"],
    ),
    "an inherited handler that was overridden with a wrong reply": (
        """
        class Base(Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

        class X(Base):
            @handler
            def on_ping(self, message: Ping) -> str:
                return ""
        """,
        ["X", "on_ping", "str", "int"],
    ),
}


@postponed_or_not
@pytest.mark.parametrize("local", [False, True], ids=["in a module", "in a function"])
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str, local: bool, postponed: bool) -> None:
    source, words = WRONG[case]
    with pytest.raises(InvalidActor) as caught:
        define(source, postponed, local)
    assert isinstance(caught.value, TypeError)
    missing = [word for word in words if word not in str(caught.value)]
    assert missing == [], str(caught.value)
    assert caught.value.actor.rsplit(".", 1)[-1] == "X"


def test_an_annotation_that_cannot_be_resolved_is_named_with_its_method() -> None:
    with pytest.raises(InvalidActor) as caught:
        define(
            """
            class X(Actor[Ping]):
                @handler
                def on_ping(self, message: Pingg) -> int:
                    return 1
            """,
            postponed=True,
        )
    assert "on_ping" in str(caught.value)
    assert "Pingg" in str(caught.value)


def test_a_return_annotation_that_cannot_be_resolved_is_named_with_its_method() -> None:
    with pytest.raises(InvalidActor) as caught:
        define(
            """
            class X(Actor[Ping]):
                @handler
                def on_ping(self, message: Ping) -> Intt:
                    return 1
            """,
            postponed=True,
        )
    assert "on_ping" in str(caught.value)
    assert "Intt" in str(caught.value)


def test_what_is_right_in_one_handler_does_not_hide_what_is_wrong_in_another() -> None:
    with pytest.raises(InvalidActor) as caught:
        define(
            """
            class X(Actor[Ping | Pong]):
                @handler
                def on_ping(self, message: Ping) -> int:
                    return 1

                @handler
                def on_pong(self, message: Pong) -> int:
                    return 1
            """,
            postponed=True,
        )
    assert "on_pong" in str(caught.value)
    assert "on_ping" not in str(caught.value)


RIGHT = {
    "one type": (
        """
        class X(Actor[Ping]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1
        """,
        {"Ping": 1},
    ),
    "plain and async": (
        """
        class X(Actor[Ping | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            async def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        {"Ping": 1, "Pong": "pong"},
    ),
    "a union with one reply": (
        """
        class X(Actor[Ping | Pang | Pong]):
            @handler
            def on_some(self, message: Ping | Pang) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        {"Ping": 1, "Pang": 1, "Pong": "pong"},
    ),
    "a union of the old syntax": (
        """
        class X(Actor[Union[Ping, Pang]]):
            @handler
            def on_some(self, message: Union[Ping, Pang]) -> int:
                return 1
        """,
        {"Ping": 1, "Pang": 1},
    ),
    "a nested union": (
        """
        class X(Actor[Union[Ping, Union[Pang, Pong]] | Quiet]):
            @handler
            def on_some(self, message: Ping | Pang) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"

            @handler
            def on_quiet(self, message: Quiet) -> None: ...
        """,
        {"Ping": 1, "Pang": 1, "Pong": "pong", "Quiet": None},
    ),
    "an alias": (
        """
        Both = Ping | Pong

        class X(Actor[Both]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        {"Ping": 1, "Pong": "pong"},
    ),
    "an alias with its annotation, in a union": (
        """
        Numbers: TypeAlias = Ping | Pang

        class X(Actor[Numbers | Pong]):
            @handler
            def on_numbers(self, message: Ping | Pang) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        {"Ping": 1, "Pang": 1, "Pong": "pong"},
    ),
    "a reply that is a list": (
        """
        class Names(Message[list[str]]): ...

        class X(Actor[Names]):
            @handler
            def on_names(self, message: Names) -> list[str]:
                return ["a"]
        """,
        {"Names": ["a"]},
    ),
    "a reply that may be nothing": (
        """
        class Find(Message[int | None]): ...
        class FindToo(Message[Optional[int]]): ...

        class X(Actor[Find | FindToo]):
            @handler
            def on_find(self, message: Find) -> int | None:
                return 1

            @handler
            def on_find_too(self, message: FindToo) -> None:
                return None
        """,
        {"Find": 1, "FindToo": None},
    ),
    "a reply of a narrower class": (
        """
        class Flag(Message[int]): ...
        class Error(Message[Exception]): ...

        class X(Actor[Flag | Error]):
            @handler
            def on_flag(self, message: Flag) -> bool:
                return True

            @handler
            def on_error(self, message: Error) -> ValueError:
                return ValueError
        """,
        {"Flag": True, "Error": "ValueError"},
    ),
    "a reply of a class from the same scope": (
        """
        class Answer:
            pass

        class Question(Message[Answer]): ...

        class X(Actor[Question]):
            @handler
            def on_question(self, message: Question) -> Answer:
                return Answer
        """,
        {"Question": "Answer"},
    ),
    "a reply inside of a list from the same scope": (
        """
        class Answer:
            pass

        class Question(Message[list[Answer]]): ...

        class X(Actor[Question]):
            @handler
            def on_question(self, message: Question) -> list[Answer]:
                return []
        """,
        {"Question": []},
    ),
    "any reply": (
        """
        class Get(Message[Any]): ...
        class GetObject(Message[object]): ...

        class X(Actor[Get | GetObject]):
            @handler
            def on_get(self, message: Get) -> int:
                return 1

            @handler
            def on_get_object(self, message: GetObject) -> str:
                return "object"
        """,
        {"Get": 1, "GetObject": "object"},
    ),
    "a quiet message": (
        """
        class X(Actor[Quiet]):
            @handler
            async def on_quiet(self, message: Quiet) -> None: ...
        """,
        {"Quiet": None},
    ),
    "inherited handlers": (
        """
        class Base(Actor[Ping | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"

        class X(Base):
            pass
        """,
        {"Ping": 1, "Pong": "pong"},
    ),
    "an overridden handler": (
        """
        class Base(Actor[Ping | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"

        class X(Base):
            @handler
            async def on_ping(self, message: Ping) -> int:
                return super().on_ping(message) + 1
        """,
        {"Ping": 2, "Pong": "pong"},
    ),
    "a mixin": (
        """
        class Pinging:
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

        class Ponging:
            @handler
            async def on_pong(self, message: Pong) -> str:
                return "pong"

        class X(Pinging, Ponging, Actor[Ping | Pong | Pang]):
            @handler
            def on_pang(self, message: Pang) -> int:
                return 2
        """,
        {"Ping": 1, "Pong": "pong", "Pang": 2},
    ),
    "handle_message lifts the need": (
        """
        class X(Actor[Ping | Pang]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            def handle_message(self, message: object) -> object:
                return 99
        """,
        {"Ping": 1, "Pang": 99},
    ),
    "an inherited handle_message lifts the need": (
        """
        class Open(Actor[T]):
            async def handle_message(self, message: object) -> object:
                return 99

        class X(Open[Ping | Pang]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1
        """,
        {"Ping": 1, "Pang": 99},
    ),
    "a class whose messages are still open": (
        """
        M = TypeVar("M")

        class Base(Actor[M]):
            pass

        class X(Base[Ping | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        {"Ping": 1, "Pong": "pong"},
    ),
    "messages that stay open through two classes": (
        """
        K = TypeVar("K")
        M = TypeVar("M")

        class Base(Actor[M], Generic[K, M]):
            pass

        class Middle(Base[str, T]):
            pass

        class X(Middle[Ping | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        {"Ping": 1, "Pong": "pong"},
    ),
    "a named subclass of a generic message": (
        """
        class Env(Message[int], Generic[T]):
            content: T

        class IntEnv(Env[int]):
            content: int = 5

        class X(Actor[IntEnv]):
            @handler
            def on_env(self, message: IntEnv) -> int:
                return message.content
        """,
        {"IntEnv": 5},
    ),
    "a handler of the base of all": (
        """
        class Base(Message[int]): ...
        class First(Base): ...
        class Second(Base): ...

        class X(Actor[Base]):
            @handler
            def on_base(self, message: Base) -> int:
                return 1
        """,
        {"Base": 1, "First": 1, "Second": 1},
    ),
    "ordinary methods beside": (
        """
        class X(Actor[Ping]):
            def helper(self, message: Pong) -> str:
                return "no handler"

            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @property
            def size(self) -> int:
                raise AssertionError("read at class creation")
        """,
        {"Ping": 1},
    ),
}


@postponed_or_not
@pytest.mark.parametrize("local", [False, True], ids=["in a module", "in a function"])
@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.asyncio
async def test_what_is_right_works(case: str, local: bool, postponed: bool) -> None:
    source, expected = RIGHT[case]
    defined = define(source, postponed, local)
    found = await replies(defined["X"], *(defined[name]() for name in expected))
    assert [getattr(reply, "__name__", reply) for reply in found] == list(expected.values())


@pytest.mark.parametrize(("postponed", "local"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("alias", ["Numbers: TypeAlias =", "type Numbers ="])
@pytest.mark.asyncio
async def test_a_handler_may_take_an_alias_that_can_be_seen(alias: str, postponed: bool, local: bool) -> None:
    if alias.startswith("type ") and sys.version_info < (3, 12):
        pytest.skip("the syntax came with Python 3.12")
    defined = define(
        f"{alias} Ping | Pang\n"
        + textwrap.dedent("""
        class X(Actor[Numbers]):
            @handler
            def on_numbers(self, message: Numbers) -> int:
                return 1
        """),
        postponed,
        local,
    )
    assert await replies(defined["X"], defined["Ping"](), defined["Pang"]()) == [1, 1]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
@postponed_or_not
@pytest.mark.parametrize("local", [False, True], ids=["in a module", "in a function"])
@pytest.mark.asyncio
async def test_an_alias_of_the_new_syntax_works_alone_and_nested(local: bool, postponed: bool) -> None:
    defined = define(
        """
        type Numbers = Ping | Pang
        type All = Numbers | Pong

        class X(Actor[All]):
            @handler
            def on_numbers(self, message: Ping | Pang) -> int:
                return 1

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"

        class Y(Actor[Numbers | Pong]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_pang(self, message: Pang) -> int:
                return 2

            @handler
            def on_pong(self, message: Pong) -> str:
                return "pong"
        """,
        postponed,
        local,
    )
    messages = [defined[name]() for name in ("Ping", "Pang", "Pong")]
    assert await replies(defined["X"], *messages) == [1, 1, "pong"]
    assert await replies(defined["Y"], *messages) == [1, 2, "pong"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
@postponed_or_not
def test_an_alias_of_the_new_syntax_hides_no_missing_handler(postponed: bool) -> None:
    with pytest.raises(InvalidActor, match="Pong"):
        define(
            """
            type All = Ping | Pong

            class X(Actor[All]):
                @handler
                def on_ping(self, message: Ping) -> int:
                    return 1
            """,
            postponed,
        )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax came with Python 3.12")
@postponed_or_not
@pytest.mark.asyncio
async def test_a_class_with_type_parameters_of_the_new_syntax_may_lack_handlers(postponed: bool) -> None:
    defined = define(
        """
        class Base[M](Actor[M]):
            pass

        class X(Base[Ping]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1
        """,
        postponed,
    )
    assert await replies(defined["X"], defined["Ping"]()) == [1]


@pytest.mark.asyncio
async def test_messages_that_are_no_messages_can_be_told() -> None:
    defined = define(
        """
        class X(Actor[Plain | str | Ping]):
            def __init__(self):
                self.seen = []

            @handler
            def on_plain(self, message: Plain) -> None:
                self.seen.append(message.value)

            @handler
            def on_text(self, message: str) -> None:
                self.seen.append(message)

            @handler
            def on_ping(self, message: Ping) -> int:
                assert self.seen == [7, "text"]
                return len(self.seen)
        """,
        postponed=False,
    )
    async with ActorSystem() as system:
        ref: Any = await system.spawn(defined["X"])
        ref.tell(defined["Plain"](7))
        ref.tell("text")
        assert await ref.ask(defined["Ping"]()) == 2


@postponed_or_not
@pytest.mark.asyncio
async def test_two_messages_of_one_name_can_be_told_apart(postponed: bool) -> None:
    # As by `from elsewhere import Ping as OtherPing`.
    defined = define(
        """
        OurPing = Ping

        class Ping(Message[str]): ...

        OtherPing = Ping
        Ping = OurPing

        class X(Actor[Ping | OtherPing]):
            @handler
            def on_ping(self, message: Ping) -> int:
                return 1

            @handler
            def on_other_ping(self, message: OtherPing) -> str:
                return "other"
        """,
        postponed,
    )
    assert await replies(defined["X"], defined["Ping"](), defined["OtherPing"]()) == [1, "other"]


# Dispatch.


class Base(Message[str]): ...


class Middle(Base): ...


class Leaf(Middle): ...


class OtherLeaf(Base): ...


class Mix:
    """No message, but a base of one."""


class Mixed(Mix, Middle): ...


class Nearest(Actor[Base | Middle]):
    @handler
    def on_base(self, message: Base) -> str:
        return "base"

    @handler
    def on_middle(self, message: Middle) -> str:
        return "middle"


class Exact(Nearest, Actor[Base | Middle]):
    @handler
    def on_middle(self, message: Middle) -> str:
        return "overridden"


@pytest.mark.parametrize(
    ("message", "expected"),
    [(Base(), "base"), (Middle(), "middle"), (Leaf(), "middle"), (OtherLeaf(), "base"), (Mixed(), "middle")],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.asyncio
async def test_a_message_goes_to_the_handler_of_its_type_else_of_its_nearest_base(message: Any, expected: str) -> None:
    # Twice, since what was found is kept.
    assert await replies(Nearest, message, message, Base(), message) == [expected, expected, "base", expected]


@pytest.mark.asyncio
async def test_what_one_class_has_found_does_not_show_in_its_subclass() -> None:
    for _ in range(2):
        assert await replies(Nearest, Leaf(), Middle()) == ["middle", "middle"]
        assert await replies(Exact, Leaf(), Middle(), OtherLeaf()) == ["overridden", "overridden", "base"]
