"""``LoneAgent``: a program of one agent, for a class of agents that is named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from understudy._plans._spec import snake_case
from understudy.agents._agent import AsyncAgent
from understudy.agents._conversation import Converse, Prompt
from understudy.agents._program import AsyncProgram

if TYPE_CHECKING:
    from understudy._plans._spec import ChildSpec

__all__ = ["LoneAgent", "answers"]


class LoneAgent(AsyncProgram):
    """A program of one agent, which goes on until somebody ends it."""

    def __init__(self, spec: ChildSpec[Any]) -> None:
        self.spec_of_agent = spec
        self.name = snake_case(spec.factory.__name__)

    def agents(self) -> Sequence[ChildSpec[Any]]:
        return [self.spec_of_agent]


def answers(cls: object) -> TypeGuard[type[AsyncAgent[Any]]]:
    """Whether *cls* is a class of agents to which a person can talk."""
    if not isinstance(cls, type) or not issubclass(cls, AsyncAgent):
        return False
    from understudy.agents._human import HumanAgent  # with much behind it, which most programs do without

    if issubclass(cls, HumanAgent):
        return False
    table = cls.__understudy_handlers__
    return any(table[message] is not None for message in (Prompt, Converse))
