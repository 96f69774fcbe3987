"""What the page of comparisons says of LangGraph, by what that does; ``make test-peers`` installs it."""

from __future__ import annotations

import asyncio
import operator
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph", reason="LangGraph is not installed here; make test-peers installs it")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain_core.messages import AIMessage, HumanMessage
    from langchain_core.tools import tool
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.errors import GraphRecursionError
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode
    from langgraph.types import Command, RetryPolicy, interrupt

CONVERSATION: Any = {"configurable": {"thread_id": "a conversation"}}


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


def graph_of(*nodes: Callable[..., Any], saver: bool = False, **options: Any) -> Any:
    """A graph of nodes that all begin at once."""
    graph = StateGraph(Log)
    for node in nodes:
        graph.add_node(node.__name__, node, **options)
        graph.add_edge(START, node.__name__)
    return graph.compile(checkpointer=InMemorySaver() if saver else None)


def loop_of(look_up: Any, asked: list[list[Any]]) -> Any:
    """The usual loop of a model and its tools; *asked* gets what the model is asked."""

    async def model(state: MessagesState) -> dict[str, Any]:
        asked.append(list(state["messages"]))
        if len(asked) == 1:
            call = {"name": "look_up", "args": {"place": "castle"}, "id": "c1"}
            return {"messages": [AIMessage("", tool_calls=[call])]}
        return {"messages": [AIMessage("done")]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", ToolNode([look_up]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=InMemorySaver())


def test_an_error_of_a_tool_ends_the_run() -> None:
    @tool
    async def look_up(place: str) -> str:
        """Where."""
        raise ValueError("no map")

    asked: list[list[Any]] = []
    with pytest.raises(ValueError, match="no map"):
        asyncio.run(loop_of(look_up, asked).ainvoke({"messages": [HumanMessage("where?")]}, CONVERSATION))
    assert len(asked) == 1


def test_a_node_that_is_too_slow_ends_the_run_and_one_that_resists_is_waited_for() -> None:
    waited: list[str] = []

    async def slow(state: Log) -> None:
        try:
            await asyncio.sleep(60)  # until it is cancelled
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)  # longer than the step may take
            waited.append("to the end")

    graph = graph_of(slow)
    graph.step_timeout = 0.05
    with pytest.raises(TimeoutError):
        asyncio.run(graph.ainvoke({"log": []}))
    assert waited == ["to the end"]


def test_a_call_that_was_cancelled_stays_in_the_history_without_a_result() -> None:
    asked: list[list[Any]] = []

    async def interrupted() -> None:
        started = asyncio.Event()

        @tool
        async def look_up(place: str) -> str:
            """Where."""
            started.set()
            await asyncio.sleep(60)  # until it is cancelled
            return "never"

        graph = loop_of(look_up, asked)
        asking = asyncio.create_task(graph.ainvoke({"messages": [HumanMessage("where?")]}, CONVERSATION))
        await started.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await graph.ainvoke({"messages": [HumanMessage("and now?")]}, CONVERSATION)

    asyncio.run(interrupted())
    assert [message.type for message in asked[-1]] == ["human", "ai", "human"]
    assert asked[-1][1].tool_calls[0]["id"] == "c1"


def test_an_error_of_a_node_ends_the_run_and_cancels_the_nodes_beside_it() -> None:
    ends: list[str] = []

    async def slow(state: Log) -> None:
        try:
            await asyncio.sleep(60)  # until it is cancelled
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def bad(state: Log) -> None:
        await asyncio.sleep(0)  # the other one has begun
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        asyncio.run(graph_of(slow, bad).ainvoke({"log": []}))
    assert ends == ["cancelled"]


def test_what_was_done_before_a_failure_is_not_done_again_when_the_run_is_resumed() -> None:
    runs: list[str] = []

    async def quick(state: Log) -> Any:
        runs.append("quick")
        return {"log": ["quick"]}

    async def bad(state: Log) -> Any:
        await asyncio.sleep(0.05)  # the other one is done
        runs.append("bad")
        if len(runs) == 2:
            raise ValueError("bad")
        return {"log": ["bad"]}

    async def resumed() -> Any:
        graph = graph_of(quick, bad, saver=True)
        with pytest.raises(ValueError, match="bad"):
            await graph.ainvoke({"log": []}, CONVERSATION)
        return await graph.ainvoke(None, CONVERSATION)

    assert sorted(asyncio.run(resumed())["log"]) == ["bad", "quick"]
    assert runs == ["quick", "bad", "bad"]


@pytest.mark.parametrize(("error", "tries"), [(ConnectionError("cut"), 3), (ValueError("no map"), 1)])
def test_a_node_is_tried_again_when_it_says_so_for_some_errors(error: Exception, tries: int) -> None:
    tried: list[int] = []

    async def bad(state: Log) -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        asyncio.run(graph_of(bad, retry_policy=RetryPolicy(initial_interval=0.01)).ainvoke({"log": []}))
    assert len(tried) == tries


def test_a_loop_ends_after_some_thousand_steps() -> None:
    steps: list[int] = []

    async def again(state: Log) -> Any:
        steps.append(1)

    graph = StateGraph(Log)
    graph.add_node("again", again)
    graph.add_edge(START, "again")
    graph.add_edge("again", "again")
    with pytest.raises(GraphRecursionError):
        asyncio.run(graph.compile().ainvoke({"log": []}))
    assert len(steps) > 1_000


def test_an_approval_runs_its_node_again_from_the_beginning() -> None:
    ran: list[str] = []

    async def blow_up(state: Log) -> Any:
        ran.append("begun")
        if interrupt("the castle?"):
            ran.append("gone")
        return {"log": ["done"]}

    async def asked() -> None:
        graph = graph_of(blow_up, saver=True)
        assert "__interrupt__" in await graph.ainvoke({"log": []}, CONVERSATION)
        await graph.ainvoke(Command(resume=True), CONVERSATION)

    asyncio.run(asked())
    assert ran == ["begun", "begun", "gone"]
