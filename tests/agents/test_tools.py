"""Tools: what a model sees of a function, and what is refused at declaration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from understudy import InvalidSpec
from understudy.agents import AIAgent, ScriptedModel, Tool, agent_tool, tool
from understudy.agents._tools import told_validation, toolbox


class Place(BaseModel):
    lat: float


def test_the_schema_comes_from_the_annotations() -> None:
    @tool
    def look(place: Place, what: Literal["far", "near"] = "near", n: Annotated[int, Field(ge=1)] = 3) -> str:
        """Look somewhere."""
        return f"{place.lat} {what} {n}"

    assert (look.name, look.description) == ("look", "Look somewhere.")
    schema = look.schema.parameters
    assert schema["required"] == ["place"]
    assert schema["properties"]["n"]["minimum"] == 1
    assert schema["additionalProperties"] is False
    assert look(Place(lat=1)) == "1.0 near 3"
    arguments: Any = look.validated('{"place": {"lat": 2}}')
    assert (arguments.place, arguments.n) == (Place(lat=2), 3)
    for bad in ('{"place": 1}', "[]", "nonsense", '{"place": {"lat": 1}, "n": 0}', '{"place": {"lat": 1}, "x": 1}'):
        with pytest.raises(ValidationError) as caught:
            look.validated(bad)
        assert "http" not in told_validation(caught.value)


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: tool(name="a b")(_plain), "name"),
        (lambda: tool(name="f")(lambda x: x), "must be annotated: 'x' is not"),
        (lambda: tool(name="f")(lambda *x: x), "must be given by their names"),
        (lambda: tool(name="f", blocking=True)(_coroutine), "is for a plain `def`"),
        (lambda: tool(name="f", timeout=0)(_plain), "timeout"),
        (lambda: tool(_unwritable), "must be types that a model can write as JSON"),
        (lambda: tool(_unresolvable), "cannot be resolved"),
        (lambda: tool(_private), "must not begin with '_'"),
        (lambda: agent_tool("x", name="a b", description=""), "name"),
        (lambda: AIAgent(tools=[tool(_plain), tool(_plain)]), "has two with the name '_plain'"),
        (lambda: AIAgent(tools=[_plain]), "must be what `tool` or `agent_tool` has made"),
        (lambda: AIAgent(tools=[tool(name="final_answer")(_plain)]), "must not have the name 'final_answer'"),
        (lambda: ScriptedModel("just a text"), "must be a list of answers"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_where_it_is_declared(declare: Callable[[], Any], problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        declare()


def _plain() -> None: ...
async def _coroutine() -> None: ...
def _unwritable(x: object, y: Callable[[], int]) -> None: ...
def _unresolvable(x: Nowhere) -> None: ...  # noqa: F821
def _private(_x: int) -> None: ...


def calls_of(use: Callable[[], object]) -> int:
    """How many functions written in C *use* calls."""
    count = 0

    def see(frame: object, event: str, called: object) -> None:
        nonlocal count
        count += event == "c_call"

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        use()
    finally:
        sys.setprofile(before)
    return count


def test_a_class_is_searched_for_tools_once_and_not_for_each_answer() -> None:
    class Agent(AIAgent):
        @tool
        def one(self) -> str:
            return "one"

    agent = Agent(ScriptedModel())
    assert calls_of(lambda: toolbox(type("Fresh", (Agent,), {}), ())) > 100
    assert calls_of(agent.tools_by_name) < 20
    assert list(agent.tools_by_name()) == ["one"]


def test_methods_of_a_class_are_its_tools_and_those_of_its_bases_unless_they_are_overridden() -> None:
    class Base(AIAgent):
        @tool
        def one(self) -> str:
            return "base"

        @tool
        def two(self) -> str:
            return "two"

    class Derived(Base):
        @tool(name="uno")
        def one(self) -> str:
            return "derived"

        two = None

    for _ in range(2):
        assert list(toolbox(Base, ())) == ["one", "two"]
        assert list(toolbox(Derived, ())) == ["uno"]
    assert isinstance(Base.one, Tool)
    assert Derived(ScriptedModel()).one() == "derived"
