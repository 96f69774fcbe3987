"""``RemoteAgent``: an agent of another process, under an id of this one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeAlias, TypeVar

from understudy._plans._spec import check_seconds
from understudy.actors._handler import Handler, HandlerTable, Mark, handler
from understudy.actors._waiting import Waiting
from understudy.agents._agent import AsyncAgent
from understudy.agents._conversation import Converse, Prompt, Say, Structured
from understudy.agents._passing_on import ask_on
from understudy.agents._remote_errors import AgentUnavailable
from understudy.agents._variables import token_in
from understudy.exceptions import ActorNotFound, ActorStopped, InvalidSpec, UnderstudyError
from understudy.messages import Message, StreamMessage, Terminated
from understudy.reasons import NodeDown, NotFound
from understudy.transports._errors import LinkDown
from understudy.transports._opening import reach
from understudy.transports._remote_node import RemoteNode
from understudy.transports._terms import NodeTerms
from understudy.transports._tls import Tls

if TYPE_CHECKING:
    from understudy._plans._directives import OnFailure
    from understudy._plans._spec import Options
    from understudy.actors._ref import ActorRef
    from understudy.transports._connection import Transport
    from understudy.transports._connector import Connector
    from understudy.transports._terms import LinkOptions

    AnyMessage: TypeAlias = Message[Any]
    AnyStream: TypeAlias = StreamMessage[Any]
    AnyStructured: TypeAlias = Structured[Any]
else:
    # At run time a message class must be a class; to the checkers it is the one with any reply.
    AnyMessage, AnyStream, AnyStructured = Message, StreamMessage, Structured

__all__ = ["CONVERSATION", "Remote", "RemoteAgent"]

M = TypeVar("M")

CONVERSATION: tuple[type[Any], ...] = (Prompt, Say, Converse)
"""What agents say to one another: ``listen(messages=[*CONVERSATION, Judge])``, with each ``Structured`` besides."""

_THEIRS: OnFailure = {UnderstudyError: "resume"}
_FIRST = 5.0
"""Seconds that the first attempt at a link may take before the agent starts without."""


class Remote(AsyncAgent[M], Generic[M]):
    """Stands here for an agent of another process, with the same interface; the base of :class:`RemoteAgent`.

    A subclass says which messages the agent there takes, and nothing else; there its classes are among the
    ``messages=`` of ``listen``::

        class RemoteAccounts(Remote[Deposit | Balance]): ...

        accounts = await system.spawn(RemoteAccounts, "wss://bank.example.org:8700", token=token, id="accounts")

    Each message is passed on as it is, in the order of arrival, up to ``max_concurrency`` (100) at once; whoever asks
    more waits, and so does whoever sends more than the other side takes. Deadlines, cancels and the end of a stream's
    consumer are passed on too. The sender that the agent there sees is this one, as its own side of the link says.

    What comes back is what the agent there has answered. Its ``Refused`` is raised as it is; if it has failed, the
    asker gets an ``ActorFailed`` whose ``__cause__`` is the one from there. While there is no link, or no such agent, a
    message waits for it for *patience* seconds, and is then refused with :class:`AgentUnavailable`, as are at once
    those that were on their way when the link was lost: nobody knows then whether they were handled, and nothing is
    ever sent twice. A message that was told is lost, and told of as a refusal.

    The agent is looked up at its path again when the link was made anew or it has ended, so it may have been replaced
    by another meanwhile, with another memory.

    Args:
        node: Where it is: the URL at which its system listens, or a :class:`understudy.transports.RemoteNode`. Agents
            with one URL share a link, with ``system.connect`` too.
        id: Its id here.
        path: Its path there; by default the id.
        token: For the URL; see :meth:`understudy.ActorSystem.connect`.
        token_variable: Or the environment variable that has it, so that it need not be in a file.
        tls: Certificates, for the URL; also a table of its arguments.
        name: The name that the other node must have; by default any.
        messages: Classes of messages that the agents there may send here; replies need not be named.
        options: Bounds of the link.
        transport: Another way to connect, in place of that of the URL's scheme.
        patience: Seconds that a message waits for a link and the agent.
        description: What it is for.

    Raises:
        InvalidSpec: Something does not fit; also in ``initialize``, where the link would be shared with others who have
            given other arguments.
        HandshakeFailed, UnsafeListener, MissingExtra: In ``initialize``: there will be no link, as the two sides do not
            trust or understand each other. That just nobody is there is no error.
    """

    defaults: ClassVar[Options] = {"max_concurrency": 100, "on_failure": _THEIRS}
    """What the agent there has failed with is no failure of this one."""
    _understudy_rules = _THEIRS

    def __init__(
        self,
        node: str | RemoteNode,
        *,
        id: str,  # noqa: A002 - the name of the attribute
        path: str | None = None,
        token: str | None = None,
        token_variable: str | None = None,
        tls: Tls | Mapping[str, str] | None = None,
        name: str | None = None,
        messages: tuple[type[Any], ...] = (),
        options: LinkOptions | None = None,
        transport: Transport | None = None,
        patience: float = 1.0,
        description: str = "",
    ) -> None:
        if not isinstance(node, str | RemoteNode):  # pyright: ignore[reportUnnecessaryIsInstance]
            problem = f"must be a URL, or what `connect` has returned, got {node!r}"
            raise InvalidSpec(child=type(self).__qualname__, field="node", problem=problem)
        if not id:
            raise InvalidSpec(child=type(self).__qualname__, field="id", problem="must not be empty")
        self.id = id
        if description:
            self.description = description
        if token_variable is not None:
            token = token_in(token_variable, type(self).__qualname__)
        self._node = node
        self._path = id if path is None else path
        self._patience = check_seconds("patience", patience, type(self).__qualname__)
        certificates = Tls(**tls) if isinstance(tls, Mapping) else tls
        self._terms = NodeTerms(
            "" if isinstance(node, RemoteNode) else node,
            token,
            tls=certificates,
            node=name,
            options=options,
            transport=transport,
            messages=tuple(messages),
        )
        self._connector: Connector | None = None
        self._found: ActorRef[Any] | None = None
        # First come, first served: messages that wait for the agent must not be overtaken by those that do not.
        self._turnstile = asyncio.Lock()

    async def initialize(self) -> None:
        """Begin to link with the other process, and see that it does not refuse."""
        if isinstance(self._node, RemoteNode):
            return
        self._connector = connector = await reach(self.context.system, self._terms, self.context.ref)
        await asyncio.wait({connector.tried}, timeout=_FIRST)
        if connector.reached.done():
            connector.reached.result()

    def describe(self) -> dict[str, object]:
        """For crash reports."""
        return {"id": self.id, "agent": self._whom}

    async def pass_on(self, message: AnyMessage) -> Any:
        """Ask the agent there, or tell it."""
        agent = await self._agent()
        try:
            if Waiting.now().ask is not None:
                return await ask_on(agent, message)
            await agent.send(message)
        except ActorStopped as error:
            self._lost(error)

    async def pass_stream_on(self, message: AnyStream) -> AsyncIterator[Any]:
        """Follow a stream of the agent there; the patience is that of whoever follows this one."""
        agent = await self._agent()
        try:
            async with agent.stream(message, timeout=math.inf) as parts:
                async for part in parts:
                    yield part
        except ActorStopped as error:
            self._lost(error)

    @handler
    def _ended(self, message: Terminated) -> None:
        """It, or its node, has gone; one that comes back is looked up, and watched, anew."""
        if message.ref == self._found:
            self._found = None

    def handle_message(self, message: Any) -> Any:
        """What is no message cannot cross a link, and is unhandled."""
        # A class that overrides it may lack handlers of what it accepts: those below are not among its methods.
        return super().handle_message(message)

    @classmethod
    def _understudy_table(cls) -> HandlerTable:
        # Handlers of all messages there are, which no class can declare to accept: so they are put in past the checks.
        table = super()._understudy_table()
        table.put(Message, Handler.of("pass_on", cls.pass_on, Mark(cancellable=True, reentrant=True)))
        table.put(StreamMessage, Handler.of("pass_stream_on", cls.pass_stream_on, Mark(reentrant=True)))
        return table

    async def _agent(self) -> ActorRef[Any]:
        """The agent there.

        Raises:
            AgentUnavailable: It cannot be reached within the patience.
        """
        try:
            async with asyncio.timeout(self._patience), self._turnstile:
                if self._found is None or self._found.status == "stopped":
                    self._found = await self._look_up()
                return self._found
        except TimeoutError:
            raise self._unavailable(f"no link within {self._patience:g} s") from None
        except ActorNotFound as error:
            raise AgentUnavailable(agent=self._whom, problem=str(error), reason=NotFound()) from error
        except LinkDown as error:
            raise self._unavailable(error.why) from error

    async def _look_up(self) -> ActorRef[Any]:
        while True:
            node = await self._other()
            try:
                await node.wait_up()
                found = await node.lookup(self._path, timeout=self._patience)
            except LinkDown:
                if node.is_up:  # there is no answer, and there will be none in time
                    raise
                continue  # it was lost in this very moment
            # So that its end is known here when it has come.
            self.context.watch(found)
            return found

    async def _other(self) -> RemoteNode:
        if isinstance(self._node, RemoteNode):
            return self._node
        assert self._connector is not None
        connector = self._connector
        await asyncio.wait({connector.reached})
        return RemoteNode(connector.node, connector.reached.result(), None)

    def _lost(self, error: ActorStopped) -> NoReturn:
        self._found = None
        raise AgentUnavailable(
            agent=self._whom, problem=str(error.reason), reason=error.reason, unknown=True
        ) from error

    def _unavailable(self, why: str) -> AgentUnavailable:
        return AgentUnavailable(agent=self._whom, problem=why, reason=NodeDown(self._node_name))

    @property
    def _node_name(self) -> str:
        """As far as it is known: the name of one that has never been reached is its URL."""
        if isinstance(self._node, RemoteNode):
            return self._node.name
        reached = None if self._connector is None else self._connector.reached
        return self._node if reached is None or not reached.done() or reached.exception() else reached.result()

    @property
    def _whom(self) -> str:
        where = self._node if isinstance(self._node, str) else f"//{self._node.name}"
        return f"agent {self._path!r} at {where}"


class RemoteAgent(Remote[Prompt | Say | Converse | AnyStructured]):
    """An agent of another process that converses as agents do, a language model or whatever answers a ``Prompt``.

    ::

        critic = await system.spawn(RemoteAgent, "wss://host:8700", token=token, id="agents/critic")
        said = await critic.ask(Prompt(text="Well?"))
        async for part in critic.stream(Converse(text="And this?")): ...

    The other process calls ``system.listen(..., messages=CONVERSATION)``. A ref that ``RemoteNode.lookup`` returns
    reaches an agent there just as well, as long as there is a link. What this one adds is a place here: it is found by
    its id, it is supervised and in the tree, it outlives the link and the other process, and it says in one way that it
    cannot reach the agent. See :class:`Remote`.
    """
