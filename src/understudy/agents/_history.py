"""``History``: one conversation of an agent, and ``Memory``, all of them. Neither does I/O."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from understudy.agents._model import ModelTurn, ToolResult, UserTurn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from understudy.agents._model import HistoryItem, ToolCall

__all__ = ["History", "Memory", "problems_of"]


class History:
    """The entries of a conversation, oldest first, within a budget.

    Invariant, whatever calls are made in whatever order: behind each turn of the model come results of its calls and
    nothing else, at most one for each, until the next turn; and all of them have one before there is a next turn. Who
    is interrupted leaves calls open; :meth:`settle` closes them.

    Args:
        budget: How many characters it may have, about a fourth of that in tokens. What is older is forgotten, whole
            turns at a time; the last turn of a user, with all that came of it, stays in any case.
    """

    def __init__(self, budget: int = 100_000) -> None:
        self.budget = budget
        self._items: list[HistoryItem] = []
        # Calls of the last turn of the model that have no result yet, by their ids.
        self._open: dict[str, ToolCall] = {}
        self._size = 0

    @property
    def items(self) -> tuple[HistoryItem, ...]:
        """The entries."""
        return tuple(self._items)

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        """The calls that have no result yet."""
        return tuple(self._open.values())

    def add_user(self, text: str, speaker: str = "") -> None:
        """Somebody has said *text*."""
        self.settle("the turn was interrupted before it had a result")
        self._add(UserTurn(text=text, speaker=speaker))
        self._forget()

    def add_model(self, text: str, calls: Sequence[ToolCall] = ()) -> ModelTurn:
        """The model has answered; returns the turn as it is kept, with ids of calls that are unique in it."""
        self.settle("the turn was interrupted before it had a result")
        turn = ModelTurn(text=text, calls=_unique(calls))
        self._add(turn)
        self._open = {call.id: call for call in turn.calls}
        return turn

    def add_result(self, result: ToolResult) -> bool:
        """*result* of an open call; False: there is no such call open, and it was not added."""
        call = self._open.get(result.call)
        if call is None or call.tool != result.tool:
            return False
        del self._open[result.call]
        self._add(result)
        return True

    def settle(self, why: str) -> list[ToolResult]:
        """Give each open call a result that says it was interrupted, and *why*; returns these."""
        results = [
            ToolResult(call=call.id, tool=call.tool, status="interrupted", content=why, source="runtime")
            for call in self._open.values()
        ]
        for result in results:
            self.add_result(result)
        return results

    def _add(self, item: HistoryItem) -> None:
        self._items.append(item)
        self._size += _size(item)

    def _forget(self) -> None:
        """Drop the oldest turns while there is too much, so that it begins with a user again."""
        if self._size <= self.budget:
            return
        users = [number for number, item in enumerate(self._items) if isinstance(item, UserTurn)]
        sizes = [_size(item) for item in self._items]
        for start in users:
            if start and sum(sizes[start:]) <= self.budget:
                break
        else:
            start = users[-1]
        del self._items[:start]
        self._size = sum(sizes[start:])

    def __len__(self) -> int:
        return len(self._items)


class Memory:
    """The conversations of an agent, by their names. Those that nobody has gone on with for longest are forgotten.

    An agent that shall know after a restart what was said before it is given one: arguments are passed to each
    incarnation as they are. Without, it begins anew.

    Args:
        conversations: How many it keeps.
        budget: How many characters each may have; see :class:`History`.
    """

    def __init__(self, *, conversations: int = 1_000, budget: int = 100_000) -> None:
        self._most = max(conversations, 1)
        self._budget = budget
        self._histories: OrderedDict[str, History] = OrderedDict()

    def history(self, conversation: str = "") -> History:
        """That conversation, which is begun if there is none."""
        found = self._histories.get(conversation)
        if found is None:
            found = self._histories[conversation] = History(self._budget)
        self._histories.move_to_end(conversation)
        while len(self._histories) > self._most:
            self._histories.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._histories)


def problems_of(items: Iterable[HistoryItem]) -> list[str]:
    """What is wrong with *items* as what a model is given: calls without a result, or with two, or in a wrong place."""
    problems: list[str] = []
    pending: dict[str, str] = {}
    for number, item in enumerate(items):
        if isinstance(item, ToolResult):
            if pending.pop(item.call, None) != item.tool:
                problems.append(f"entry {number}: a result of {item.call} ({item.tool}), which is not open")
            continue
        problems += [f"entry {number}: call {call} ({tool}) has no result before it" for call, tool in pending.items()]
        pending = {call.id: call.tool for call in item.calls} if isinstance(item, ModelTurn) else {}
    return problems + [f"at the end: call {call} ({tool}) has no result" for call, tool in pending.items()]


def _unique(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    found: dict[str, ToolCall] = {}
    for call in calls:
        name, number = call.id, 1
        while name in found:
            number += 1
            name = f"{call.id}-{number}"
        found[name] = call if name == call.id else call.model_copy(update={"id": name})
    return tuple(found.values())


def _size(item: HistoryItem) -> int:
    match item:
        case UserTurn():
            return len(item.text)
        case ModelTurn():
            return len(item.text) + sum(len(call.arguments) for call in item.calls)
        case ToolResult():
            return len(item.model_dump_json())
