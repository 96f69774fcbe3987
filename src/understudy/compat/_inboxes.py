"""What an agent of the old design reads: an inbox for each sender, as views on one queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Ask, Private, message_of
from understudy.actors._monitors import News
from understudy.mailbox._errors import QueueClosed, QueueEmpty
from understudy.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from understudy.mailbox._queue import AsyncMessageQueue

__all__ = ["AgentMessage", "Inbox", "Inboxes", "Stopping", "sender_id_of"]


class AgentMessage(Message):
    """What an agent of the old design gets: a text, and the id of the agent that has sent it."""

    sender_id: str
    content: str


class Inbox:
    """What one sender has sent and the agent has not read; an ``asyncio.Queue`` as far as one reads from it."""

    def __init__(self, inboxes: Inboxes, sender_id: str | None) -> None:
        self._inboxes = inboxes
        self._sender_id = sender_id

    def __repr__(self) -> str:
        return f"<Inbox of {self._sender_id or 'all'}, {self.qsize()} unread>"

    async def get(self) -> str:
        """The next text; waits for it, without a limit. If that is cancelled, nothing is lost."""
        return await self._inboxes.take(self._sender_id)

    def get_nowait(self) -> str:
        """The next text.

        Raises:
            asyncio.QueueEmpty: There is none.
        """
        return self._inboxes.take_nowait(self._sender_id)

    def qsize(self) -> int:
        """How many there are."""
        return len(self._inboxes.unread(self._sender_id))

    def empty(self) -> bool:
        """Whether there is none."""
        return not self.qsize()


class Inboxes(Mapping[str, Inbox]):
    """The inboxes of an agent, by the ids of the senders: one for each id; those with something unread are listed.

    Args:
        queue: Where what is unread waits.
        keyed: Whether the keys of that queue are ids of senders; else its items are looked at one after the other.
    """

    def __init__(self, queue: AsyncMessageQueue[Any], *, keyed: bool) -> None:
        self._queue = queue
        self._keyed = keyed
        self.told = False
        """Whether who waits has been told that nothing more will come, and goes on all the same."""

    def __getitem__(self, sender_id: str) -> Inbox:
        return Inbox(self, sender_id)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(message.sender_id for message in self.unread(None)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def all(self) -> Inbox:
        """What all senders have sent, in the order in which it came."""
        return Inbox(self, None)

    def unread(self, sender_id: str | None) -> list[AgentMessage]:
        """What that sender has sent, or all have, and the agent has not read."""
        wanted = _from(sender_id)
        return [message_of(item) for item in self._queue.contents() if wanted(item)]

    async def take(self, sender_id: str | None) -> str:
        """The next text of that sender, or of any."""
        try:
            item = await self._queue.get(*self._selection(sender_id))
        except QueueClosed:
            return await self._over()
        return _content(item)

    def take_nowait(self, sender_id: str | None) -> str:
        """The next text of that sender, or of any.

        Raises:
            asyncio.QueueEmpty: There is none.
        """
        try:
            return _content(self._queue.get_nowait(*self._selection(sender_id)))
        except (QueueEmpty, QueueClosed):
            raise asyncio.QueueEmpty from None

    def _selection(self, sender_id: str | None) -> tuple[Callable[[Any], bool] | None, Hashable]:
        return (None, sender_id) if self._keyed and sender_id is not None else (_from(sender_id), None)

    async def _over(self) -> str:
        """What the agent waits for cannot come any more. A loop that goes on asking shall wait for force, not spin."""
        if not self.told:
            self.told = True
            raise Stopping("nothing more will come: the agent is being stopped")
        forever: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await forever


class Stopping(asyncio.CancelledError):
    """For code that waits for a message that cannot come, since the agent is being stopped: like the cancel to come."""


def sender_id_of(message: AgentMessage) -> str:
    """The key of an agent's queue."""
    return message.sender_id


def _from(sender_id: str | None) -> Callable[[Any], bool]:
    def wanted(item: Any) -> bool:
        if isinstance(item, Ask | Private | News):
            return False
        message = message_of(item)
        return isinstance(message, AgentMessage) and sender_id in (None, message.sender_id)

    return wanted


def _content(item: Any) -> str:
    message: AgentMessage = message_of(item)
    return message.content
