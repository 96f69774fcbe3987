"""``AIAgent``: a language model behind a mailbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from tenacity import wait_exponential
from tenacity.wait import wait_base
from typing_extensions import TypeIs

from understudy.actors._handler import handler
from understudy.agents._above import model_above
from understudy.agents._agent import AsyncAgent
from understudy.agents._answer_type import ANSWER
from understudy.agents._approvals import approver_of
from understudy.agents._conversation import Converse, Prompt, Said, Say, Spoken, Structured, TurnEnded
from understudy.agents._errors import BudgetExceeded, ModelFailed
from understudy.agents._history import Memory
from understudy.agents._scripted import ScriptedModel
from understudy.agents._tools import Tool, ToolSource, toolbox
from understudy.agents._turn import Turn
from understudy.exceptions import InvalidSpec
from understudy.messages import reply_type

if TYPE_CHECKING:
    from understudy._plans._directives import OnFailure
    from understudy._plans._spec import Options
    from understudy.agents._approving import Approver
    from understudy.agents._budget import Budget
    from understudy.agents._model import Model

    AnyStructured: TypeAlias = Structured[Any]
else:
    # At run time a message class must be a class; to the checkers it is the one with any reply.
    AnyStructured = Structured

__all__ = ["AIAgent"]

_NONE_GIVEN: Model = ScriptedModel()

_OURS: OnFailure = {BudgetExceeded: "stop", ModelFailed: "resume"}


class AIAgent(AsyncAgent[Prompt | Say | Converse | AnyStructured]):
    """An agent with a language model behind it, and tools.

    ::

        class Researcher(AIAgent):
            instructions = "You find out things about bees."

            @tool
            async def search(self, query: str) -> list[str]: ...

        researcher = await system.spawn(Researcher, model)
        said = await researcher.ask(Prompt(text="How many legs?"))
        async for part in researcher.stream(Converse(text="And wings?")): ...
        verdict = await researcher.ask(Judge(text="Is that so?"))       # class Judge(Structured[Verdict])

    It takes one prompt at a time. A prompt is answered by the model, which may call tools, all calls of one answer at
    once, and is then given their results, until it calls none. A :class:`Say` is remembered, and not answered.

    - Each call of the model and of a tool runs in a task beside the handler. Who gives up a prompt, closes its stream
      or stops the agent cancels them; one that resists is left behind, and told of, and the agent goes on.
    - Every call of a tool gets exactly one result in the history. Where it was interrupted, by a cancel, a crash or a
      restart, the result says so, before the model is called again.
    - What a tool returns, or raises, is data with its source, and never an instruction. Which tools there are is up to
      the agent; a tool that is ``dangerous`` needs a human's consent for each call, through *approver* or the
      :class:`Approvals` of the system, and is denied without.
    - What is not available is tried again, with growing delays, but not after a part of the answer was streamed to
      somebody: nothing is ever repeated.
    - *budget*, and the budgets of all above it in the tree, are reserved from before each call. What exceeds one ends
      the agent for good with ``BudgetExceeded``, and is never tried again.

    By default a ``ModelFailed`` costs the prompt and not the agent: the model's bad days are no failure of the agent.

    Args:
        model: The model; without one that of its program or runtime, and if that has none either, a
            :class:`ScriptedModel`, which says that it is none.
        instructions: What the author wants of it.
        tools: What :func:`tool` and :func:`agent_tool` have made, besides the methods that are tools; and what offers
            tools, as :func:`mcp_tools` does.
        memory: Its conversations. Without, it begins anew with each incarnation.
        budget: What it may spend.
        approver: Who allows dangerous tools.
        id: Its id; see :class:`AsyncAgent`.
        description: What it is for.

    Raises:
        InvalidSpec: Two tools have one name, or one has a name that is reserved.
    """

    defaults: ClassVar[Options] = {"on_failure": _OURS}
    """A budget that is exceeded ends it, a model that fails costs the prompt; what a subclass says is added."""
    model: Model = _NONE_GIVEN
    instructions: str = ""
    tools: Sequence[Tool | ToolSource] = ()
    approver: Approver | None = None
    budget: Budget | None = None
    max_steps: ClassVar[int] = 20
    """How many answers of the model one prompt may take; then it has failed."""
    attempts: ClassVar[int] = 3
    """How often the model is called for one answer, while it is not available."""
    retry_wait: ClassVar[wait_base] = wait_exponential(multiplier=0.5, max=30)
    """How long to wait between these: a wait strategy of tenacity."""
    model_timeout: ClassVar[float] = 120.0
    """Seconds that one answer of the model may take."""
    tool_timeout: ClassVar[float] = 60.0
    """Seconds that a tool may take which says nothing itself."""

    _memory: Memory | None = None
    _understudy_rules = _OURS

    def __init__(
        self,
        model: Model | None = None,
        *,
        instructions: str | None = None,
        tools: Sequence[Tool | ToolSource] = (),
        memory: Memory | None = None,
        budget: Budget | None = None,
        approver: Approver | None = None,
        id: str = "",  # noqa: A002 - the name of the attribute
        description: str = "",
    ) -> None:
        self._understudy_set(
            model=model,
            instructions=instructions,
            tools=tuple(tools) or None,
            _memory=memory,
            budget=budget,
            approver=approver,
            id=id or None,
            description=description or None,
        )
        self.tools_by_name()

    @property
    def memory(self) -> Memory:
        """Its conversations."""
        if self._memory is None:
            self._memory = Memory()
        return self._memory

    def tools_by_name(self) -> dict[str, Tool]:
        """The tools of its own that the model may use.

        Raises:
            InvalidSpec: Two have one name, or one has a name that is reserved.
        """
        found = toolbox(type(self), [each for each in self.tools if not _offers(each)])
        if ANSWER in found:
            problem = f"must not have the name {ANSWER!r}, by which structured answers are given"
            raise InvalidSpec(child=type(self).__qualname__, field="tools", problem=problem)
        return found

    def model_now(self) -> Model:
        """Its model at this moment: its own, or its class's; else that of the program or runtime that it is in."""
        above = model_above(self) if self.model is _NONE_GIVEN else None
        return self.model if above is None else above

    async def tools_now(self) -> dict[str, Tool]:
        """All tools that the model may use for its next answer.

        What others offer under the name of another tool is left out: nobody takes the place of a tool of its own.
        """
        found = self.tools_by_name()
        for source in [each for each in self.tools if _offers(each)]:
            for each in await source.tools(self):
                if each.name in found or each.name == ANSWER:
                    self.log.warning("tool left out, its name is taken", tool=each.name, source=each.source)
                else:
                    found[each.name] = each
        return found

    def approver_now(self) -> Approver | None:
        """Who allows dangerous tools at this moment: its own approver, else the :class:`Approvals` of the system."""
        return approver_of(self, self.approver)

    @handler(cancellable=True)
    async def answer(self, message: Prompt) -> Said:
        """Answer with text."""
        said: Said | None = None
        async with aclosing(Turn(self, message).parts()) as parts:
            async for part in parts:
                said = part.said if isinstance(part, TurnEnded) else said
        assert said is not None
        return said

    @handler
    async def converse(self, message: Converse) -> AsyncIterator[Spoken]:
        """Answer with text, while it is made."""
        async with aclosing(Turn(self, message, heard=True).parts()) as parts:
            async for part in parts:
                yield part

    @handler(cancellable=True)
    async def answer_structured(self, message: AnyStructured) -> Any:
        """Answer with a value of the type that the message names."""
        turn = Turn(self, message, output=reply_type(type(message)) or Any)
        async with aclosing(turn.parts()) as parts:
            async for _ in parts:
                pass
        return turn.value

    @handler
    def hear(self, message: Say) -> None:
        """Remember what was said."""
        self.memory.history(message.conversation).add_user(message.text, message.speaker)


def _offers(tool: Tool | ToolSource) -> TypeIs[ToolSource]:
    return not isinstance(tool, Tool) and isinstance(tool, ToolSource)  # pyright: ignore[reportUnnecessaryIsInstance]
