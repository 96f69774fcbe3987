"""One link: a connection on which both sides have agreed, and the tasks that read from it and write to it."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Ask as LocalAsk
from understudy.actors._asks import Letter as LocalLetter
from understudy.actors._asks import sender_of, trace_of
from understudy.actors._streams import StreamAsk
from understudy.exceptions import Refused
from understudy.transports._bell import Bell
from understudy.transports._codec import Codec, JsonHeaders, MsgpackHeaders
from understudy.transports._connection import DirectConnection
from understudy.transports._errors import ConnectionLost, LinkError, MessageNotAccepted, ProtocolError
from understudy.transports._frames import Ask, Cancel, Goodbye, Letter, Offer, Open
from understudy.transports._inbound import Inbound
from understudy.transports._protocol import BATCH_SIZE, LinkProtocol
from understudy.transports._reasons import fault_of
from understudy.transports._refusals import is_refusal, refusal_type
from understudy.transports._remembered import Remembered
from understudy.transports._remote_cell import RemoteCell
from understudy.transports._wire import WireType, wire_type

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from understudy.transports._address import Place
    from understudy.transports._connection import Connection
    from understudy.transports._frames import Frame
    from understudy.transports._handshake import Session
    from understudy.transports._node import Node
    from understudy.transports._peer import Peer
    from understudy.transports._terms import Terms

__all__ = ["Link"]

_HIGH = 256 * 1024
"""Bytes that wait to be written, from which on messages wait in their outboxes instead."""
_MANY = 10_000
"""Classes of messages, and addresses with them, that are remembered."""
_FLUSH = 1.0
"""Seconds that a link which ends in order has for what waits to be written."""


class Link:
    """It is up from the first frame of the peer, which is its offer, until either side loses the other."""

    def __init__(self, node: Node, connection: Connection, session: Session, terms: Terms, *, dialled: bool) -> None:
        self.node = node
        self.terms = terms
        self.session = session
        self.dialled = dialled
        """Whether this side has connected."""
        self.up: asyncio.Future[None] = node.runtime.env.loop.create_future()
        """Done when it is up."""
        self.path = f"//{session.peer.name}"
        """For people: where it leads."""
        self._connection = connection
        self._direct = connection if isinstance(connection, DirectConnection) else None
        self._env = env = node.runtime.env
        self._dispatcher = node.runtime.dispatcher
        options = terms.options
        headers = MsgpackHeaders() if session.format == "msgpack" else JsonHeaders()
        self.codec = Codec(headers, node.carrier, max_size=options.max_size, max_depth=options.max_depth)
        # What is sent keeps to the limits of the other side, once they are known.
        self._out = Codec(headers, node.carrier, max_size=options.max_size, max_depth=options.max_depth)
        self._protocol = LinkProtocol(self.codec, session, options.timing, env.now())
        self.peer: Peer = node.peer(session.peer)
        self.peer.outbox = options.outbox
        self.inbound = Inbound(self)
        self.offer: Offer | None = None
        self.goodbye: str | None = None
        """What the peer has said at the end, if it went in order."""
        # Whether anything that is sent may belong to a trace; to ask each item costs more.
        self._traces = node.runtime.instruments.trace
        # Messages that were sent to an actor and have not found their place; none where that is zero.
        self._under_way: dict[Place, int] = {}
        self._parked: dict[RemoteCell, None] = {}
        # What the other side takes, as far as it was looked up; and what letters without a sender begin with.
        self._accepted: Remembered[type[Any], WireType] = Remembered(self._check, _MANY)
        self._headers: Remembered[tuple[Place, WireType], bytes] = Remembered(self._header_of, _MANY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._why: str | None = None
        self._over = False
        # In the run queue, to write what waits behind all who may have something to add to it.
        self._queued = False
        # Somebody in the run queue has more to send, which may go with what waits.
        self._more = False
        # The writer has a batch in hand, and whatever else waits has to be behind that.
        self._writing = False
        # What the writer waits for, and when it looks again anyway.
        self._news = Bell(env.loop)
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = math.inf
        # The least that can pass between a batch and what is due because of it.
        self._soonest = min(options.timing.heartbeat, options.timing.ack_timeout)
        self._flushed: asyncio.Future[None] | None = None

    # Out

    def put(self, frame: Frame, body: bytes = b"") -> None:
        """Have *frame* sent; nothing happens when the link is over.

        Raises:
            MessageNotAccepted: It is too large for the other side.
        """
        if not self._over:
            self._protocol.put_packed(self._out.pack(frame, body))
            self._write_soon()

    def put_fault(self, number: int, error: BaseException) -> None:
        """Have the other side told of *error*, the answer to what it calls *number*."""
        fault = fault_of(number, error)
        if isinstance(error, Refused) and is_refusal(type(error)):
            try:
                kind = refusal_type(type(error))
                self.put(replace(fault, tag=kind.tag), kind.dump(self._out, error))
            except MessageNotAccepted:  # then it is one like any other
                pass
            else:
                return
        self.put(fault)

    def _write_soon(self) -> None:
        """Have what waits written, in this turn of the event loop if that is possible."""
        if self._direct is None or self._dispatcher.closed:
            self._news.ring()
        elif not self._queued:
            self._queued = True
            self._dispatcher.push(self)

    def await_more(self) -> None:
        """Somebody has more to send, and comes in the run queue before the next turn of this link."""
        self._more = True

    def activate(self, limit: int) -> int:
        """Write what waits, as far as that needs no waiting; the rest is the writer's."""
        self._queued = False
        direct, protocol = self._direct, self._protocol
        if direct is None or self._over:
            return 0
        if self._more and protocol.waiting < BATCH_SIZE:
            self._more = False
            self._write_soon()
            return 0
        now = self._env.now()
        while protocol.waiting and not self._over:
            if self._writing or not direct.has_room:
                self._news.ring()
                return 0
            batch = protocol.next_batch(now)
            if batch is not None:
                self._write_now(direct, batch)
        if self._armed_for > now + self._soonest:
            self.arm()
        return 0

    def _write_now(self, direct: DirectConnection, batch: bytes) -> None:
        try:
            direct.write(batch)
        except ValueError as error:  # larger than the connection takes, which the limits do not let happen
            self._end(str(error))
            self.own(self._connection.aclose("broken"), "close")
        if self._parked and self._protocol.waiting < _HIGH:
            self._unpark()

    def room_for(self, cell: RemoteCell) -> int:
        """How many messages for *cell* may be sent now; if none may, *cell* is told when they may."""
        assert self.offer is not None
        room = self.offer.window - self._under_way.get(cell.at, 0)
        if room > 0 and self._protocol.waiting < _HIGH:
            return room
        cell.parked = True
        self._parked[cell] = None
        return 0

    def send(self, cell: RemoteCell, item: LocalLetter) -> None:
        """Send what was taken from the outbox of *cell*; what cannot be is a dead letter, and an error if asked."""
        message, ask = item.message, item if isinstance(item, LocalAsk) else None
        if ask is not None and ask.future.done():
            cell.dead_letter(message, ask.sender_path, "nobody waits for the reply any more")
            return
        number = 0 if ask is None else self.peer.next_number()
        try:
            wire = self.accepted(message)
            frame = self._frame_of(cell, item, wire.tag, number)
            if ask is None:
                body = self._out.dump(wire.adapter_of_many, [message], wire.tag, validated=True)
            else:
                body = self._out.dump(wire.adapter, message, wire.tag, validated=True)
            self.put(frame, body)
        except MessageNotAccepted as error:
            cell.dead_letter(message, sender_of(item), str(error), told=ask is None)
            if ask is not None:
                ask.fail(error)
            return
        self._under_way[cell.at] = self._under_way.get(cell.at, 0) + 1
        if ask is not None:
            self.peer.asked(number, ask)

    def send_now(self, cell: RemoteCell, ask: LocalAsk) -> bool:
        """Send *ask* in a batch of its own; False: others wait, and the run queue may find more to go with it."""
        if self._queued or self._protocol.waiting or self.peer.asks or not self.room_for(cell):
            return False
        self._queued = True
        try:
            self.send(cell, ask)
        finally:
            self._queued = False
        self.activate(1)
        return True

    def send_alike(self, cell: RemoteCell, messages: list[object]) -> None:
        """Likewise for messages of one class, without senders: in one letter, or in one each if anything is wrong."""
        at = cell.at
        try:
            wire = self.accepted(messages[0])
            header = self._headers[at, wire]
            body = self._out.dump(wire.adapter_of_many, messages, wire.tag, validated=True)
            data = self._out.join(Letter.code, header, body, wire)
        except MessageNotAccepted as error:
            if len(messages) == 1:
                cell.dead_letter(messages[0], None, str(error), told=True)
            else:
                cell.bulk = 1
                for each in messages:
                    self.send_alike(cell, [each])
            return
        cell.bulk = max(BATCH_SIZE * len(messages) // len(data), 1)
        self._protocol.put_packed(data)
        if not self._queued:
            self._write_soon()
        self._under_way[at] = self._under_way.get(at, 0) + len(messages)

    def _header_of(self, letter: tuple[Place, WireType]) -> bytes:
        at, wire = letter
        return self._out.headers.dump(Letter(at, wire.tag))

    def accepted(self, message: object) -> WireType:
        """What *message* is on the wire.

        Raises:
            MessageNotAccepted: It cannot cross, or the other side does not know it, or knows another one.
        """
        return self._accepted[type(message)]

    def _check(self, cls: type[Any]) -> WireType:
        wire = wire_type(cls)
        assert self.offer is not None
        theirs = self.offer.messages.get(wire.tag)
        name = self.session.peer.name
        if theirs is None:
            problem = f"node {name} does not accept {wire.tag!r}: name the class in its `messages=`"
            raise MessageNotAccepted(what=cls.__qualname__, problem=problem)
        if theirs != wire.hash:
            problem = f"node {name} has another version of {wire.tag!r}: the fields, or the reply, differ"
            raise MessageNotAccepted(what=cls.__qualname__, problem=problem)
        return wire

    def _frame_of(self, cell: RemoteCell, item: LocalLetter, tag: str, number: int) -> Frame:
        sender = None if item.sender is None else self.node.place_of(item.sender)
        trace = trace_of(item) if self._traces else None
        if not isinstance(item, LocalAsk):
            return Letter(cell.at, tag, sender, trace)
        left = None if item.deadline == math.inf else max(item.deadline - self._env.now(), 0.0)
        chain = () if item.sender is None else self.node.chain_to(item)
        if isinstance(item, StreamAsk):
            patience = None if item.patience == math.inf else item.patience
            return Open(cell.at, tag, number, left, patience, item.limit, sender, chain, trace)
        return Ask(cell.at, tag, number, left, sender, chain, trace)

    def cancel(self, number: int) -> None:
        """Nobody waits for the answer to that question any more."""
        self.inbound.unfollow(number)
        self.put(Cancel(number))

    def credited(self, at: Place, count: int) -> None:
        """So many messages for the actor at *at* have found their place."""
        left = self._under_way.get(at, 0) - count
        if count < 1 or left < 0:
            raise ProtocolError(problem="credit for messages that were not sent")
        if left:
            self._under_way[at] = left
        else:
            del self._under_way[at]
        if self._parked:
            cell = self.peer.known(at)
            if cell is not None and cell in self._parked:
                del self._parked[cell]
                cell.enqueue()

    def _unpark(self) -> None:
        """There is room for more to be written."""
        parked, self._parked = self._parked, {}
        for cell in parked:
            cell.enqueue()

    # Its life

    async def run(self) -> str:
        """Read and write until the end; why it has come."""
        options = self.terms.options
        self.put(
            Offer(
                self.terms.registry.hashes,
                tuple(self.terms.registry.actors),
                options.window,
                options.max_size,
            )
        )
        self.own(self._write(), "write")
        try:
            await self._read()
        except ConnectionLost as lost:
            self._end(lost.why if self.goodbye is None else self.goodbye)
        except ProtocolError as error:
            self.node.report("warning", "link broken by the peer", node=self.session.peer.name, why=error.problem)
            self._end("protocol error")
        except Exception as error:  # a mistake of ours ends this link, and not what keeps it
            self.node.runtime.complain(f"the link with {self.session.peer.name} failed", error)
            self._end("internal error")
        finally:
            self._end("it was cancelled")
            await self._put_away()
        assert self._why is not None
        return self._why

    @property
    def in_order(self) -> bool:
        """Whether either side has taken leave."""
        return self.goodbye is not None or self._flushed is not None

    async def close(self, why: str) -> None:
        """End it in order: what waits to be written is, if that does not take long."""
        if self._flushed is None and not self._over:
            self.put(Goodbye(why))
            self._flushed = self._env.loop.create_future()
            self._news.ring()
        if self._flushed is not None:
            await asyncio.wait({self._flushed}, timeout=_FLUSH)
        self._end(why)
        await self._connection.aclose(why)

    def own(self, coroutine: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run *coroutine*, which does not raise, as a task that ends with the link."""
        name = f"link:{self.session.peer.name}:{what}"
        task = self._env.start_task(coroutine, name=name, context=Context(), on_done=self._tasks.discard)
        if not task.done():
            self._tasks.add(task)
        return task

    def come_up(self, offer: Offer) -> None:
        """The peer has said what it understands, and so the link is up."""
        self.offer = offer
        self._out.max_size = min(self._out.max_size, offer.max_size)
        if self.node.link_up(self):
            self.up.set_result(None)
        else:
            self._end("there is a link already")

    def replace(self) -> None:
        """The peer has made another, since it has lost this one."""
        self._end("replaced by another connection")
        self.own(self._connection.aclose("replaced"), "close")

    def _end(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self._why = why
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.up.done():
            self.up.cancel()
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)
        self._parked.clear()
        self.inbound.close()
        self.node.link_down(self, why)

    async def _put_away(self) -> None:
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await self._connection.aclose(self._why or "")
        if tasks:
            await asyncio.wait(tasks)

    # Reading

    async def _read(self) -> None:
        if self._direct is not None:
            await self._direct.receive_each(self._take)
            return
        while self._take(await self._connection.receive()):
            pass

    def _take(self, data: bytes) -> bool:
        """Deal with a batch that has come; False: no other is wanted."""
        if self._over:  # ended by the writer while this was on its way
            return False
        take, protocol, dispatcher = self.inbound.take, self._protocol, self._dispatcher
        # What is answered while a batch is dealt with goes together, behind all who may have something to add to it.
        queued, self._queued = self._queued, True
        try:
            for packed in protocol.receive(data, self._env.now()):
                take(packed)
                if self._over:
                    return False
            self.node.channels.confirm()
        finally:
            self._queued = queued
        if protocol.waiting and not queued:
            if self._direct is not None and dispatcher.idle:
                self.activate(1)
            else:
                self._write_soon()
        # Who is told something handles it now, if it is quick, and not in the next turn of the event loop.
        dispatcher.run_ahead()
        # What has come makes nothing due but its acknowledgement.
        if self._protocol.ack_due < self._armed_for and not self._protocol.waiting:
            self.arm()
        return not self._over

    # Writing

    async def _write(self) -> None:
        try:
            while not self._over:
                now = self._env.now()
                self._protocol.check(now)
                self.inbound.give_credit(now)
                batch = self._protocol.next_batch(now)
                if batch is None:
                    await self._wait()
                    continue
                self._writing = True
                await self._connection.send(batch)
                self._writing = False
                if self._parked and self._protocol.waiting < _HIGH:
                    self._unpark()
        except LinkError as error:
            why = error.why if isinstance(error, ConnectionLost) else str(error)
            self._end(why)
            await self._connection.aclose(why)
        except ValueError as error:  # larger than the connection takes, which the limits do not let happen
            self._end(str(error))
            await self._connection.aclose("broken")
        except asyncio.CancelledError:
            pass

    async def _wait(self) -> None:
        """Until there is something to be written, or due."""
        if self._flushed is not None and not self._flushed.done():
            self._flushed.set_result(None)
        self.arm()
        await self._news.wait()

    def arm(self) -> None:
        """Have the writer woken when something is due; a timer that fires too early does no harm."""
        due = min(self._protocol.due(), self.inbound.credit_due)
        if self._armed_for <= due or self._over:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = due
        self._timer = self._env.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer, self._armed_for = None, math.inf
        self._news.ring()
