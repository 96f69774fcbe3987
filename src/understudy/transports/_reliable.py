"""Channels in which nothing is lost on the way and nothing comes twice, for those who pay for it with an answer each.

The sender numbers its messages and keeps each until the other side has confirmed it; after a lost link it sends again
what is not confirmed. The receiver takes the next number only, and remembers for each channel which that is. So a
message is sent at least once, and each receiving node puts it into a mailbox once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from understudy.actors._waiting import check_timeout
from understudy.exceptions import MailboxFull
from understudy.transports._address import check_path
from understudy.transports._doorway import admit
from understudy.transports._errors import LinkError, MessageNotAccepted, ProtocolError
from understudy.transports._frames import Confirm, Letter
from understudy.transports._wire import wire_type

if TYPE_CHECKING:
    from understudy.transports._link import Link
    from understudy.transports._node import Node

__all__ = ["Channels", "ReliableChannel"]

M_contra = TypeVar("M_contra", contravariant=True, default=Any)

_AGAIN = (0.05, 2.0)
"""Seconds before it is tried again where nobody is there, or has room: at first, and at most."""
_MANY = 10_000
"""Channels of which a node remembers what has come."""


class ReliableChannel(Generic[M_contra]):
    """Sends messages to whoever is at a path of another node, through lost links and restarts on that side.

    :meth:`send` returns when the channel has accepted the message. From then on, as long as this process lives and the
    channel is not closed: it is sent until the other node confirms that it is in the mailbox of an actor at the path;
    messages come in order; and a node that lives puts none into a mailbox twice. Where nobody is at the path, or has no
    room, it is tried again. Not promised: that the actor survives until it has handled the message; and that a node
    which has been started anew has not, in its life before, handled what was not confirmed.
    """

    def __init__(self, node: Node, peer: str, path: str, capacity: int) -> None:
        self._node = node
        self._env = node.runtime.env
        self.peer = peer
        """The name of the other node."""
        self.path = path
        """The path there."""
        self.id = self._env.token_bytes(8).hex()
        self._capacity = capacity
        # What is not confirmed, in order, with its numbers; and the last number that was sent over this link.
        self._kept: deque[tuple[int, Any]] = deque()
        self._last = 0
        self._sent = 0
        self._confirmed = 0
        self._delay = _AGAIN[0]
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def unconfirmed(self) -> int:
        """How many messages are not confirmed."""
        return len(self._kept)

    async def send(self, message: M_contra, *, timeout: float | None = None) -> None:
        """Have *message* delivered; waits while too many are not confirmed.

        Raises:
            MessageNotAccepted: Its class cannot cross a link.
            MailboxFull: There was no room in time.
            LinkError: The channel is closed.
        """
        timeout = check_timeout(timeout)
        wire_type(type(message))
        self._check_open()
        if len(self._kept) >= self._capacity:
            try:
                async with asyncio.timeout(timeout):
                    while len(self._kept) >= self._capacity and not self._closed:
                        await self._wait()
            except TimeoutError:
                path = f"//{self.peer}{self.path}"
                raise MailboxFull(path=path, capacity=self._capacity, message=message, seconds=timeout) from None
            self._check_open()
        self._last += 1
        self._kept.append((self._last, message))
        self._transmit()

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was sent is confirmed.

        Raises:
            TimeoutError: It is not, in time.
            LinkError: The channel was closed first.
        """
        timeout = check_timeout(timeout)
        last = self._last
        async with asyncio.timeout(timeout):
            while self._confirmed < last:
                self._check_open()
                await self._wait()

    def close(self) -> None:
        """Send nothing more; what is not confirmed becomes dead letters."""
        if self._closed:
            return
        self._closed = True
        self._node.channels.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        kept, self._kept = self._kept, deque()
        for _, message in kept:
            self._lose(message, "its channel was closed before it was confirmed")
        self._wake()

    # For the node

    def linked(self) -> None:
        """There is a link: all that is not confirmed is sent over it."""
        self._sent = self._kept[0][0] - 1 if self._kept else self._last
        self._transmit()

    def confirmed(self, number: int, missing: bool) -> None:
        """The other side has all up to *number*, and nobody, or no room, for the next if it is *missing*."""
        if number > self._sent:
            raise ProtocolError(problem="the confirmation of what was not sent")
        if self._kept and self._kept[0][0] <= number:
            self._delay = _AGAIN[0]
            while self._kept and self._kept[0][0] <= number:
                self._confirmed = self._kept.popleft()[0]
            self._wake()
        if missing:
            self._sent = min(self._sent, number)
            if self._timer is None:
                self._timer = self._env.call_at(self._env.now() + self._delay, self._again)
                self._delay = min(self._delay * 2, _AGAIN[1])
        else:
            self._transmit()

    def _again(self) -> None:
        self._timer = None
        self._transmit()

    def _transmit(self) -> None:
        link = self._node.link_with(self.peer)
        if link is None or link.offer is None or self._timer is not None or not self._kept:
            return
        first = self._kept[0][0]
        while self._sent < self._last and self._sent + 1 - first < link.offer.window:
            number, message = self._kept[self._sent + 1 - first]
            self._send_one(link, number, message)
            self._sent = number

    def _send_one(self, link: Link, number: int, message: Any) -> None:
        try:
            wire = link.accepted(message)
            body = link.codec.dump(wire.adapter_of_many, [message], wire.tag, validated=True)
            link.put(Letter((self.path, 0), wire.tag, number=number, channel=self.id), body)
        except MessageNotAccepted as error:
            # Its number is used up by nothing, or those behind it would never come.
            self._lose(message, str(error))
            link.put(Letter((self.path, 0), "", number=number, channel=self.id))

    def _lose(self, message: object, why: str) -> None:
        self._node.runtime.dead_letter(message, f"//{self.peer}{self.path}", None, why)

    async def _wait(self) -> None:
        if self._room is None or self._room.done():
            self._room = self._env.loop.create_future()
        await asyncio.shield(self._room)

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _check_open(self) -> None:
        if self._closed:
            raise LinkError(f"the channel to //{self.peer}{self.path} is closed")


class Channels:
    """The channels of a node: those that it sends through, and how far others have come with theirs."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._sending: dict[str, ReliableChannel[Any]] = {}
        # The last number that was accepted, by node and channel.
        self._received: OrderedDict[tuple[str, str], int] = OrderedDict()
        # What is to be confirmed over each link.
        self._news: dict[tuple[Link, str], tuple[int, bool]] = {}

    def open(self, peer: str, path: str, capacity: int) -> ReliableChannel[Any]:
        """A new channel."""
        channel: ReliableChannel[Any] = ReliableChannel(self._node, peer, path, capacity)
        self._sending[channel.id] = channel
        if self._node.link_with(peer) is not None:
            channel.linked()
        return channel

    def remove(self, channel: ReliableChannel[Any]) -> None:
        """It is closed."""
        self._sending.pop(channel.id, None)

    def close(self) -> None:
        """Close them all."""
        for channel in list(self._sending.values()):
            channel.close()

    def linked(self, peer: str) -> None:
        """There is a link with that node."""
        for channel in list(self._sending.values()):
            if channel.peer == peer:
                channel.linked()

    def confirmed(self, link: Link, frame: Confirm) -> None:
        """The other side has confirmed something."""
        channel = self._sending.get(frame.channel)
        if channel is not None and channel.peer == link.session.peer.name:
            channel.confirmed(frame.number, frame.missing)

    def arrived(self, link: Link, frame: Letter, body: bytes) -> None:
        """A letter of a channel has come."""
        if not 0 < len(frame.channel) <= 64 or frame.number < 1 or not check_path(frame.to[0]):
            raise ProtocolError(problem="a letter of no channel")
        key = (link.session.peer.name, frame.channel)
        last = self._received.get(key, frame.number - 1)
        if frame.number > last + 1:
            return  # behind one that has to come again, and will come again with it
        missing = frame.number == last + 1 and not self._accept(link, frame, body)
        if frame.number == last + 1 and not missing:
            last = frame.number
        # Also when the first could not be accepted: or the second would be taken for the first.
        self._received[key] = last
        self._received.move_to_end(key)
        if len(self._received) > _MANY:
            self._received.popitem(last=False)
        self._news[link, frame.channel] = (last, missing)

    def confirm(self) -> None:
        """Tell the peer what has come; called when all of a batch has."""
        if not self._news:
            return
        news, self._news = self._news, {}
        for (link, channel), (number, missing) in news.items():
            link.put(Confirm(channel, number, missing))

    def _accept(self, link: Link, frame: Letter, body: bytes) -> bool:
        """Whether it need not come again."""
        if not frame.tag:
            return True
        path = frame.to[0]
        messages = link.inbound.messages(frame.tag, body)
        if len(messages) > 1:
            raise ProtocolError(problem="a letter of a channel with several messages")
        message = messages[0]
        if type(message) is MessageNotAccepted:
            self._node.runtime.dead_letter(frame, path, None, str(message))
            return True
        cell = self._node.find(path)
        return cell is not None and cell.gate is None and admit(cell, message)
