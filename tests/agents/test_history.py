"""The history of a conversation: each call has exactly one result, and there is never too much of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy.agents import History, Memory, ModelTurn, ToolCall, ToolResult, UserTurn, problems_of


def call(id: str, tool: str = "t") -> ToolCall:
    return ToolCall(id=id, tool=tool, arguments="{}")


def result(id: str, tool: str = "t") -> ToolResult:
    return ToolResult(call=id, tool=tool, status="ok", content="x")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.text(max_size=5)),
        st.tuples(st.just("model"), st.lists(st.sampled_from("abc"), max_size=4)),
        st.tuples(st.just("result"), st.sampled_from(["a", "b", "c", "a-2", "b-2"])),
        st.tuples(st.just("settle"), st.none()),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 60))
def test_whatever_is_done_in_whatever_order_every_call_gets_exactly_one_result(
    steps: list[tuple[str, object]], budget: int
) -> None:
    history = History(budget)
    for kind, value in steps:
        if kind == "user":
            history.add_user(str(value))
        elif kind == "model":
            history.add_model("m", [call(str(name)) for name in value])
        elif kind == "result":
            history.add_result(result(str(value)))
        else:
            history.settle("interrupted")
        problems = [problem for problem in problems_of(history.items) if not problem.startswith("at the end")]
        assert problems == []
        assert len(history.open_calls) == len(problems_of(history.items))
    history.settle("interrupted")
    assert problems_of(history.items) == []
    assert history.open_calls == ()


def test_an_open_call_is_settled_as_interrupted_and_a_late_result_is_refused() -> None:
    history = History()
    history.add_user("hi")
    history.add_model("", [call("1"), call("2")])
    assert history.add_result(result("1"))
    assert not history.add_result(result("1"))
    assert [each.status for each in history.settle("crash")] == ["interrupted"]
    assert not history.add_result(result("2"))
    assert [item.kind for item in history.items] == ["user", "model", "tool", "tool"]
    assert history.settle("again") == []


def test_a_result_of_another_tool_is_no_result() -> None:
    history = History()
    history.add_model("", [call("1", "search")])
    assert not history.add_result(result("1", "delete"))


def test_ids_that_a_model_gives_twice_are_made_unique_within_the_turn() -> None:
    history = History()
    turn = history.add_model("", [call("x"), call("x"), call("x-2")])
    assert [each.id for each in turn.calls] == ["x", "x-2", "x-2-2"]
    again = history.add_model("", [call("x")])
    assert [each.id for each in again.calls] == ["x"]


def test_what_is_too_old_is_forgotten_whole_turns_at_a_time_and_the_last_stays() -> None:
    history = History(budget=20)
    for number in range(10):
        history.add_user(f"user {number}")
        history.add_model(f"model {number}", [call("1")])
        history.add_result(result("1"))
    kinds = [item.kind for item in history.items]
    assert kinds[0] == "user"
    assert problems_of(history.items) == []
    assert len(history) <= 6
    history.add_user("y" * 100)
    assert [item.kind for item in history.items] == ["user"]


def test_problems_are_found() -> None:
    turn = ModelTurn(calls=(call("1"),))
    assert problems_of([turn, result("1")]) == []
    assert problems_of([turn]) == ["at the end: call 1 (t) has no result"]
    assert problems_of([turn, UserTurn(text="x")]) == ["entry 1: call 1 (t) has no result before it"]
    assert problems_of([turn, result("1"), result("1")]) == ["entry 2: a result of 1 (t), which is not open"]


def test_a_memory_keeps_the_conversations_that_go_on() -> None:
    memory = Memory(conversations=2)
    first = memory.history("a")
    memory.history("b")
    assert memory.history("a") is first
    memory.history("c")
    assert memory.history("a") is first
    assert len(memory) == 2
    assert len(memory.history("b")) == 0
