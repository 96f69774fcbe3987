"""One turn of an agent with a model: answers, calls of tools, and answers again, until it has nothing more to call."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from understudy._plans._backoff import next_delay
from understudy.actors._ref import ActorRef
from understudy.actors._runtime import runtime_of
from understudy.agents._answer_type import ANSWER, AnswerType
from understudy.agents._approvals import decision_of
from understudy.agents._approving import ApprovalRequest
from understudy.agents._beside import Beside
from understudy.agents._budget import Amount, budgets_of, reserve
from understudy.agents._conversation import Said, TextDelta, ToolEnded, ToolStarted, TurnEnded
from understudy.agents._errors import ModelFailed, ModelUnavailable
from understudy.agents._limiter import Acquire, LimiterOf, Release
from understudy.agents._model import ModelRequest, ModelText, ModelUsage, ToolCall, ToolResult
from understudy.agents._model_call import ModelCall, affordable
from understudy.agents._pause import pause
from understudy.agents._tools import ToolError, told_validation
from understudy.exceptions import ActorStopped, NoReply
from understudy.mailbox._errors import QueueClosed
from understudy.reasons import plain_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from understudy.agents._ai import AIAgent
    from understudy.agents._approving import Decision
    from understudy.agents._beside import Outcome
    from understudy.agents._budget import Reservation
    from understudy.agents._conversation import Converse, Prompt, Spoken, Structured
    from understudy.agents._model import Model, ModelEvent, ModelTurn, ToolStatus
    from understudy.agents._tools import Tool

__all__ = ["Turn"]

_NOTHING = object()
_SHORTEST = 1e-3
"""Seconds below which it makes no sense to begin a call."""


class Turn:
    """What an agent does about one prompt.

    Args:
        agent: The agent, in the handler of the prompt.
        prompt: What was said to it.
        output: The type of a structured answer; None for text.
        heard: Whether somebody hears the text while it is made, so that none of it can be taken back.
    """

    def __init__(
        self, agent: AIAgent, prompt: Prompt | Converse | Structured[Any], *, output: Any = None, heard: bool = False
    ) -> None:
        self.agent = agent
        self.value: Any = _NOTHING
        """The structured answer, once there is one."""
        self._prompt = prompt
        self._heard = heard
        self._history = agent.memory.history(prompt.conversation)
        self._tools: dict[str, Tool] = {}
        self._adapter: TypeAdapter[Any] | None = None if output is None else TypeAdapter(output)
        self._budgets = budgets_of(agent)
        self._beside = Beside(agent)
        self._env = runtime_of(agent.context.system).env
        # Of the answer that is being made.
        self._texts: list[str] = []
        self._calls: list[ToolCall] = []

    async def parts(self) -> AsyncGenerator[Spoken, None]:
        """What is said and done, and at the end a :class:`TurnEnded`.

        Whatever ends it, no call of a tool is left without its result.

        Raises:
            ModelFailed: The model gives no answer, or comes to no end.
            BudgetExceeded: There is not enough left for the next call.
        """
        history = self._history
        history.add_user(self._prompt.text, self._prompt.speaker)
        try:
            for _ in range(self.agent.max_steps):
                self._tools = await self.agent.tools_now()
                async with aclosing(self._answer()) as texts:
                    async for text in texts:
                        yield TextDelta(text=text)
                turn = history.add_model("".join(self._texts), self._calls)
                if turn.calls:
                    async with aclosing(self._use_tools(turn)) as steps:
                        async for step in steps:
                            yield step
                elif self._answer_type is not None:
                    history.add_user(f"Give your answer by calling the tool {ANSWER}.")
                if self.value is not _NOTHING or (not turn.calls and self._answer_type is None):
                    yield TurnEnded(said=self._said(turn))
                    return
            raise ModelFailed(
                model=self._model.name, problem=f"it has come to no end in {self.agent.max_steps} answers (max_steps)"
            )
        finally:
            history.settle("the turn was interrupted: whether this has had effects is unknown")

    @cached_property
    def _model(self) -> Model:
        return self.agent.model_now()

    @cached_property
    def _answer_type(self) -> AnswerType | None:
        return None if self._adapter is None else AnswerType(self._adapter)

    def _said(self, turn: ModelTurn) -> Said:
        return Said(text=turn.text, speaker=self.agent.id, conversation=self._prompt.conversation)

    # The model

    async def _answer(self) -> AsyncGenerator[str, None]:
        """One answer of the model; what can be tried again is, as long as nobody has heard any of it."""
        agent, attempt, heard = self.agent, 0, False
        while True:
            attempt += 1
            self._texts, self._calls = [], []
            try:
                async with aclosing(self._attempt()) as texts:
                    async for text in texts:
                        heard = self._heard
                        yield text
                return
            except ModelUnavailable as error:
                wanted = error.retry_after or 0.0
                if heard or attempt >= agent.attempts or wanted > agent.model_timeout:
                    problem = f"{error.problem} (attempt {attempt} of {agent.attempts}"
                    problem += ", and a part was heard already)" if heard else ")"
                    if wanted > agent.model_timeout:
                        problem += f"; it wants to be left alone for {wanted:g} s, longer than model_timeout allows"
                    raise ModelFailed(model=self._model.name, problem=problem) from error
                agent.log.warning("model not available", model=self._model.name, problem=error.problem, attempt=attempt)
            await pause(max(wanted, next_delay(agent.retry_wait, attempt - 1, 0.0, math.inf).seconds))

    async def _attempt(self) -> AsyncGenerator[str, None]:
        """Call the model once."""
        self._history.settle("the turn was interrupted: whether this has had effects is unknown")
        request, reservation = self._reserved(self._request())
        call = ModelCall(self._model, request)
        lease: tuple[ActorRef[Any], int] | None = None
        task: asyncio.Task[Outcome[None]] | None = None
        began = self._env.now()
        try:
            lease = await self._lease(reservation)
            began = self._env.now()
            task = self._beside.start(call.run, "model")
            task.add_done_callback(lambda _: call.events.close())  # also if it was cancelled before its first step
            deadline = began + reservation.granted.seconds
            while (event := await self._next_event(call, deadline)) is not None:
                match event:
                    case ModelText():
                        self._texts.append(event.text)
                        yield event.text
                    case ToolCall():
                        self._calls.append(event)
                    case ModelUsage():
                        pass
            outcome = await task
            outcome.get()
        finally:
            reservation.settle(call.used(reservation.granted, self._env.now() - began))
            if lease is not None:
                lease[0].tell(Release(lease=lease[1]))
            if task is not None:
                await self._beside.end([task])

    async def _next_event(self, call: ModelCall, deadline: float) -> ModelEvent | None:
        """The next part of the answer, None at its end."""
        left = deadline - self._env.now()
        try:
            if left <= 0:
                raise TimeoutError
            return await call.events.get(timeout=None if left == math.inf else left)
        except QueueClosed:
            return None
        except TimeoutError:
            raise ModelUnavailable("no answer in time", model=self._model.name) from None

    def _request(self) -> ModelRequest:
        tools = [tool.schema for tool in self._tools.values()]
        if self._answer_type is not None:
            tools.append(self._answer_type.schema)
        instructions = self.agent.instructions
        return ModelRequest(instructions=instructions, history=self._history.items, tools=tuple(tools))

    def _reserved(self, request: ModelRequest) -> tuple[ModelRequest, Reservation]:
        """*request* with as many tokens as can be paid for, and what was reserved for it."""
        model, inputs = self._model, self._model.count(request)
        most = max(model.max_tokens, 1)
        for budget in self._budgets:
            left = budget.left
            most = int(min(most, max(left.tokens - inputs, 1)))
            most = affordable(model, inputs, most, left.cost)
        price = model.price(ModelUsage(input_tokens=inputs, output_tokens=most))
        wish = Amount(inputs + most, price, 1, self.agent.model_timeout)
        reservation = reserve(self._budgets, wish, replace(wish, seconds=_SHORTEST))
        return request.model_copy(update={"max_tokens": most}), reservation

    async def _lease(self, reservation: Reservation) -> tuple[ActorRef[Any], int] | None:
        """Leave of the provider's limiter, if there is one."""
        registry, number = self.agent.context.system.registry, self._env.next_uid()
        while (limiter := registry.find(LimiterOf(self._model.provider))) is not None:
            try:
                tokens = 0 if reservation.granted.tokens == math.inf else int(reservation.granted.tokens)
                return limiter, await limiter.ask(Acquire(tokens=tokens, lease=number))
            except BaseException as error:
                limiter.tell(Release(lease=number))  # it may have been given in this very moment
                if not isinstance(error, ActorStopped | NoReply):
                    raise
            await pause(_SHORTEST)  # it was restarted, or has gone
        return None

    # The tools

    async def _use_tools(self, turn: ModelTurn) -> AsyncGenerator[Spoken, None]:
        """All calls of *turn* at once; each has its result as soon as it is there."""
        running: dict[asyncio.Task[Outcome[ToolResult]], ToolCall] = {}
        try:
            for call in turn.calls:
                yield ToolStarted(call=call.id, tool=call.tool)
            for call in turn.calls:
                running[self._beside.start(partial(self._use, call), f"call:{call.id}")] = call
            while running:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task.done()]:
                    call = running.pop(task)
                    result = task.result().get()
                    self._history.add_result(result)
                    yield ToolEnded(call=call.id, tool=call.tool, status=result.status)
        finally:
            await self._beside.end(list(running))

    async def _use(self, call: ToolCall) -> ToolResult:
        """The one result of *call*, whatever happens to it; only what a budget does not allow is an error."""
        if call.tool == ANSWER and self._answer_type is not None:
            return self._take_answer(call, self._answer_type)
        tool = self._tools.get(call.tool)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            return _result(call, "error", f"there is no tool {call.tool!r}; there are: {known}", "runtime")
        try:
            arguments = tool.validated(call.arguments)
        except ValidationError as error:
            return _result(call, "error", told_validation(error), "runtime")
        for asked, decide in ((tool.dangerous, self._decision), (tool.needs_consent, self._consent)):
            if asked and not (decision := await decide(call, tool)).approved:
                return _result(call, "denied", decision.in_words, "approval")
        return await self._run_tool(call, tool, arguments)

    async def _run_tool(self, call: ToolCall, tool: Tool, arguments: BaseModel) -> ToolResult:
        seconds = self.agent.tool_timeout if tool.timeout is None else tool.timeout
        counted = 0.0 if tool.is_agent else seconds
        least = Amount(cost=tool.cost, calls=1, seconds=min(counted, _SHORTEST))
        reservation = reserve(self._budgets, Amount(cost=tool.cost, calls=1, seconds=counted), least)
        seconds = min(seconds, reservation.granted.seconds) if counted else seconds
        began = self._env.now()
        try:
            content, source = await self._beside.run(
                partial(tool.use, self.agent, arguments), f"tool:{tool.name}", None if seconds == math.inf else seconds
            )
        except TimeoutError as error:
            said = str(error) or f"it has not ended within {plain_seconds(seconds)}, and was cancelled"
            return _result(call, "error", said, tool.source)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _result(call, "error", "it was cancelled by somebody", tool.source)
        except ToolError as error:
            return _result(call, error.status, str(error), tool.source)
        except Exception as error:
            return _result(call, "error", f"{type(error).__name__}: {error}", tool.source)
        else:
            return _result(call, "ok", content, source)
        finally:
            took = self._env.now() - began
            reservation.settle(Amount(cost=tool.cost, calls=1, seconds=min(took, counted)))

    async def _decision(self, call: ToolCall, tool: Tool) -> Decision:
        approver = self.agent.approver_now()
        request = ApprovalRequest(
            agent=self.agent.context.path,
            tool=call.tool,
            arguments=call.arguments,
            conversation=self._prompt.conversation,
            call=call.id,
        )
        return await self._beside.run(partial(decision_of, approver, request), f"approval:{tool.name}")

    async def _consent(self, call: ToolCall, tool: Tool) -> Decision:
        return await self._beside.run(partial(tool.consent, self.agent), f"consent:{tool.name}")

    def _take_answer(self, call: ToolCall, answer_type: AnswerType) -> ToolResult:
        if self.value is not _NOTHING:
            return _result(call, "error", "there was an answer already", "runtime")
        try:
            self.value = answer_type.value(call.arguments)
        except ValidationError as error:
            return _result(call, "error", told_validation(error), "runtime")
        return _result(call, "ok", "taken", "runtime")


def _result(call: ToolCall, status: ToolStatus, content: Any, source: str) -> ToolResult:
    return ToolResult(call=call.id, tool=call.tool, status=status, content=content, source=source)
