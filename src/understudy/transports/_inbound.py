"""What comes over a link: who is meant, whether he may be, and what becomes of it."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from understudy._plans._instant import INSTANT
from understudy.actors._asks import FutureAsk
from understudy.actors._asks import Letter as LocalLetter
from understudy.actors._cell import Cell
from understudy.actors._streams import StreamAsk
from understudy.environment import not_now
from understudy.exceptions import ActorStopped, AskCycle, Refused
from understudy.reasons import NotFound
from understudy.transports._address import Address, check_path
from understudy.transports._doorway import Doorway, admit
from understudy.transports._errors import MessageNotAccepted, ProtocolError
from understudy.transports._frames import (
    Ask,
    Call,
    Cancel,
    Confirm,
    Credit,
    Ended,
    Fault,
    Goodbye,
    Letter,
    Offer,
    Open,
    Part,
    Reply,
    Stop,
    Taken,
    Unwatch,
    Watch,
)
from understudy.transports._reasons import error_of, reason_of, steps_of
from understudy.transports._remote_stream import Following, Forwarding
from understudy.transports._terms import Answer
from understudy.transports._wire import WireType, wire_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from understudy.reasons import ExitReason
    from understudy.transports._address import Place
    from understudy.transports._codec import Packed
    from understudy.transports._link import Link
    from understudy.transports._remote_cell import RemoteCell

__all__ = ["Inbound"]

_CREDIT_DELAY = 0.5
"""Seconds for which credit that is too little for a frame of its own is kept back."""
_MANY_WATCHES = 100_000
_MANY_ASKS = 100_000
_LONG_CHAIN = 64
_MANY_PLACES = 10_000


class _Asked:
    """An ask that has come, until it is answered."""

    __slots__ = ("ask", "waiters")

    def __init__(self, ask: FutureAsk, waiters: Sequence[RemoteCell]) -> None:
        self.ask = ask
        # The remote actors that wait for it, as far as they are known here.
        self.waiters = waiters


class Inbound:
    """The receiving half of a link.

    The peer is authenticated, and that is all that is taken for granted of it: each frame is looked at for itself. What
    no peer can have sent by accident raises ``ProtocolError``, which ends the link; what can have crossed with other
    news is answered, or forgotten.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._node = link.node
        self._runtime = link.node.runtime
        self._peer = link.peer
        self._window = link.terms.options.window
        self._found: dict[Place, Cell] = {}
        self._doors: dict[Place, Doorway] = {}
        self._asks: dict[int, _Asked] = {}
        self._watches: dict[tuple[Place, Place | None], tuple[Cell, Callable[[ExitReason], object]]] = {}
        self.forwarding: dict[int, Forwarding] = {}
        """The streams that the peer reads."""
        self._following: dict[int, Following] = {}
        # What has found its place, and the peer has not been told of.
        self._placed: dict[Place, int] = {}
        self.credit_due = math.inf
        """When :meth:`give_credit` wants to be called."""
        # Of the frames that may come now, by their classes: an offer first, and what else there is behind it.
        self._handlers: dict[type[Any], Callable[[Any, bytes], None]] = {Offer: self._offer}
        self._later: dict[type[Any], Callable[[Any, bytes], None]] = {
            Ask: self._ask,
            Call: self._call,
            Cancel: self._cancel,
            Confirm: self._confirm,
            Credit: self._credit,
            Ended: self._ended,
            Fault: self._fault,
            Goodbye: self._goodbye,
            Letter: self._letter,
            Open: self._open,
            Part: self._part,
            Reply: self._reply,
            Stop: self._stop,
            Taken: self._taken,
            Unwatch: self._unwatch,
            Watch: self._watch,
        }

    def take(self, packed: Packed) -> None:
        """Deal with a frame that has come.

        Raises:
            ProtocolError: It is one that no peer may send now.
        """
        frame, body = packed
        handler = self._handlers.get(type(frame))
        if handler is None:
            raise ProtocolError(problem="the first frame is no offer" if self.link.offer is None else "a second offer")
        handler(frame, body)

    def _offer(self, frame: Offer, body: bytes) -> None:
        if frame.window < 1 or frame.max_size < 1:
            raise ProtocolError(problem="the first frame is no offer")
        self._handlers = self._later
        self.link.come_up(frame)

    def close(self) -> None:
        """The link is over: nobody on the other side waits for anything, or watches anybody."""
        why = str(self._peer.down)
        asks, self._asks = self._asks, {}
        for asked in asks.values():
            self._release(asked)
            asked.ask.give_up()
        watches, self._watches = self._watches, {}
        for cell, callback in watches.values():
            cell.unobserve(callback)
        doors, self._doors = self._doors, {}
        for door in doors.values():
            door.close(why)
        self.forwarding.clear()  # their tasks are the link's
        self._following.clear()
        self._found.clear()

    # Who is meant

    def find(self, at: Place) -> Cell | None:
        """The actor here at *at*, if it is alive and its own.

        Raises:
            ProtocolError: It is one that is not for others.
        """
        cell = self._found.get(at)
        if cell is not None and not cell.dead:
            return cell
        path, uid = at
        if not check_path(path):
            raise ProtocolError(problem="a path that is not for others")
        found = self._node.find(path)
        if found is None or found.uid != uid:
            self._found.pop(at, None)
            return None
        if len(self._found) >= _MANY_PLACES:
            self._found.clear()
        self._found[at] = found
        return found

    def message(self, tag: str, body: bytes) -> tuple[WireType, Any]:
        """The message in *body*, and what it is on the wire.

        Raises:
            MessageNotAccepted: It is none that this side accepts.
        """
        wire = self.link.terms.registry.find(tag)
        return wire, self.link.codec.load(wire.adapter, body, tag)

    def messages(self, tag: str, body: bytes) -> list[Any]:
        """The messages in the *body* of a letter; in the place of one that this side does not accept, why not."""
        codec = self.link.codec
        try:
            wire = self.link.terms.registry.find(tag)
        except MessageNotAccepted as error:
            return [error] * codec.count(body, self._window)
        return codec.load_each(wire, body, self._window)

    def _sender(self, place: Place) -> RemoteCell:
        """Whoever the peer says has sent something: in any case one of its own."""
        if not check_path(place[0]):
            raise ProtocolError(problem="a sender that cannot be one")
        return self._peer.cell(place)

    # Messages

    def _letter(self, frame: Letter, body: bytes) -> None:
        sender = None if frame.sender is None else self._sender(frame.sender)
        if frame.number:
            self._node.channels.arrived(self.link, frame, body)
            return
        cell = self.find(frame.to)
        messages = self.messages(frame.tag, body)
        plain = sender is None and frame.trace is None
        if cell is not None and plain and MessageNotAccepted not in map(type, messages):
            self._deliver_each(cell, frame.to, messages)
            return
        accepted: list[Any] = []
        for each in messages:
            if type(each) is MessageNotAccepted:
                self._lost(frame, frame, sender, str(each))
            elif cell is None:
                self._lost(frame, each, sender, str(NotFound()))
            else:
                accepted.append(each if plain else _letter(each, sender, frame))
        if cell is None:
            self.link.put(Ended(frame.to, steps_of(NotFound())))
        else:
            self._deliver_each(cell, frame.to, accepted)

    def _lost(self, frame: Letter, message: object, sender: RemoteCell | None, why: str) -> None:
        self._runtime.dead_letter(message, frame.to[0], None if sender is None else sender.path, why)
        self.placed(frame.to)

    def _deliver_each(self, cell: Cell, at: Place, items: list[Any]) -> None:
        done = 0
        if cell.gate is None and at not in self._doors:
            done = cell.make_mailbox().offer_each(items)
            if done:
                cell.wake()
                self.placed(at, done)
        for each in items[done:]:
            self.deliver(cell, at, each)

    def deliver(self, cell: Cell, at: Place, item: Any) -> None:
        """Put *item* into the mailbox of *cell*, now or, when there is room, later."""
        door = self._doors.get(at)
        if door is not None:
            door.put(item)
        elif admit(cell, item):
            self.placed(at)
        else:
            door = self._doors[at] = Doorway(self, cell, at, self._window, item)
            door.start()

    def forget_door(self, at: Place, door: Doorway) -> None:
        """Nobody waits there any more."""
        if self._doors.get(at) is door:
            del self._doors[at]

    def _ask(self, frame: Ask, body: bytes) -> None:
        sender = self._asker(frame)
        if len(self._asks) >= _MANY_ASKS or (frame.left is not None and frame.left < 0):
            raise ProtocolError(problem="more questions than anybody has, or one that is over")
        question = self._question(frame, body)
        if question is None:
            return
        cell, wire, message = question
        runtime = self._runtime
        now = runtime.env.now()
        seconds = math.inf if frame.left is None else frame.left
        answer = Answer(partial(self._answered, frame.id, wire), runtime.env.loop)
        ask = FutureAsk(message, sender, answer, cell, seconds, now + seconds)
        self._asks[frame.id] = _Asked(ask, self._wait_for(cell, ask, frame.chain) if frame.chain else ())
        if frame.trace is not None:
            ask.trace = frame.trace
        # As who asks here does. One that is ready has nothing waiting, neither in its mailbox nor at its door.
        direct = cell.ready and type(message) in cell.table.direct and seconds > 0 and cell.gate is None
        if direct and runtime.dispatcher.answer_ahead(cell, ask) is not not_now:
            if not answer.done():
                runtime.asks.add(ask, now)
            self.placed(frame.to)
            return
        runtime.asks.add(ask, now)
        self.deliver(cell, frame.to, ask)

    def _wait_for(self, cell: Cell, ask: FutureAsk, chain: tuple[str, ...]) -> Sequence[RemoteCell]:
        """Note who waits for what *cell* was asked."""
        self._node.chains[ask] = chain
        waiters = self._node.waiters_of(chain)
        for each in waiters:
            each.waits[ask] = cell
        return waiters

    def _asker(self, frame: Ask | Open) -> RemoteCell | None:
        """Whoever the peer says has put a question, whose number must be its own."""
        sender = None if frame.sender is None else self._sender(frame.sender)
        if frame.id in self._asks or frame.id in self.forwarding:
            raise ProtocolError(problem="a question with the number of another")
        return sender

    def _question(self, frame: Ask | Open, body: bytes) -> tuple[Cell, WireType, Any] | None:
        """Who is asked, the message, and what that is on the wire; None: it cannot be put, and the peer is told why."""
        cell = self.find(frame.to)
        try:
            wire, message = self.message(frame.tag, body)
        except MessageNotAccepted as error:
            self._decline(frame, error)
            return None
        if len(frame.chain) > _LONG_CHAIN:
            raise ProtocolError(problem="a chain of askers longer than any")
        if cell is None:
            self._decline(frame, ActorStopped(path=frame.to[0], reason=NotFound()))
            return None
        me = str(Address(self._node.id.name, self._node.id.run, cell.path, cell.uid)) if frame.chain else ""
        if me in frame.chain:
            start = frame.chain.index(me)
            chain = [self._node.shown(each) for each in (*frame.chain[start:], me)]
            self._decline(frame, AskCycle(chain=chain, message=message))
            return None
        return cell, wire, message

    def _decline(self, frame: Ask | Open, error: Exception) -> None:
        self.link.put_fault(frame.id, error)
        self.placed(frame.to)

    def _answered(self, number: int, wire: WireType, answer: Answer) -> None:
        asked = self._asks.pop(number, None)
        if asked is None:
            return
        if asked.waiters or self._node.chains:
            self._release(asked)
        error = answer.exception()
        try:
            if error is None:
                self.link.put(Reply(number), self._dump(wire, answer.result()))
            else:
                self.link.put_fault(number, error)
        except MessageNotAccepted as problem:
            self.link.put_fault(number, problem)

    def _dump(self, wire: WireType, reply: object) -> bytes:
        validated = type(reply) is wire.answer_class
        return self.link.codec.dump(wire.answer, reply, f"the reply to {wire.tag}", validated=validated)

    def _release(self, asked: _Asked) -> None:
        for each in asked.waiters:
            each.waits.pop(asked.ask, None)
        self._node.chains.pop(asked.ask, None)

    def _cancel(self, frame: Cancel, body: bytes) -> None:
        asked = self._asks.pop(frame.id, None)
        if asked is not None:
            self._release(asked)
            asked.ask.give_up()
            return
        forwarding = self.forwarding.pop(frame.id, None)
        if forwarding is not None:
            forwarding.cancel()

    # Credit

    def placed(self, at: Place, more: int = 1) -> None:
        """So many more messages for the actor at *at* have found their place, or their end."""
        count = self._placed.get(at, 0) + more
        if count >= max(1, self._window // 4):
            self._placed.pop(at, None)
            self.link.put(Credit(at, count))
            return
        self._placed[at] = count
        if self.credit_due == math.inf:
            self.credit_due = self._runtime.env.now() + _CREDIT_DELAY
            self.link.arm()

    def give_credit(self, now: float) -> None:
        """Tell the peer of what has found its place, if that was kept back for long enough."""
        if now < self.credit_due - INSTANT:
            return
        self.credit_due = math.inf
        placed, self._placed = self._placed, {}
        for at, count in placed.items():
            self.link.put(Credit(at, count))

    def _credit(self, frame: Credit, body: bytes) -> None:
        self.link.credited(frame.to, frame.count)

    # Answers

    def _reply(self, frame: Reply, body: bytes) -> None:
        self._following.pop(frame.id, None)
        ask = self._peer.answered(frame.id)
        if ask is None:
            self._returned(frame, body)
            return
        if isinstance(ask, StreamAsk):
            ask.reply(None)
            return
        try:
            value = self.link.codec.load(wire_type(type(ask.message)).answer, body, "the reply")
        except MessageNotAccepted as error:
            ask.fail(error)
        else:
            ask.reply(value)

    def _returned(self, frame: Reply, body: bytes) -> None:
        future = self._peer.returned(frame.id)
        if future is not None:
            future.set_result(body)

    def _fault(self, frame: Fault, body: bytes) -> None:
        ask = self._peer.answered(frame.id)
        node = self._peer.id.name
        self._following.pop(frame.id, None)
        if ask is not None:
            ask.fail(self._refusal(frame, body) or error_of(frame, ask.cell.path, ask.message, node))
            return
        future = self._peer.returned(frame.id)
        if future is not None:
            future.set_exception(error_of(frame, f"//{node}", None, node))

    def _refusal(self, frame: Fault, body: bytes) -> Refused | None:
        """The refusal that *frame* tells of, if it is of a class that this side has named."""
        kind = self.link.terms.registry.refusals.get(frame.tag) if frame.kind == "refused" else None
        if kind is None:
            return None
        try:
            return kind.load(self.link.codec, body, frame.text)
        except MessageNotAccepted:  # another version of it
            return None

    # Streams

    def unfollow(self, number: int) -> None:
        """Nobody here reads that stream any more."""
        self._following.pop(number, None)

    def _open(self, frame: Open, body: bytes) -> None:
        self._asker(frame)
        if not 1 <= frame.limit <= 1_000_000 or (frame.patience is not None and frame.patience <= 0):
            raise ProtocolError(problem="a stream that nobody could ask for")
        question = self._question(frame, body)
        if question is None:
            return
        if len(self.forwarding) >= self.link.terms.options.max_streams:
            self._decline(frame, MessageNotAccepted(what=frame.tag, problem="too many streams are open"))
            return
        cell, wire, message = question
        forwarding = self.forwarding[frame.id] = Forwarding(self, frame, cell, wire, message)
        forwarding.start()
        self.placed(frame.to)

    def _part(self, frame: Part, body: bytes) -> None:
        ask = self._peer.pending(frame.id)
        if not isinstance(ask, StreamAsk):
            return  # it was closed meanwhile
        following = self._following.get(frame.id)
        if following is None:
            following = self._following[frame.id] = Following(self, frame.id, ask)
        try:
            part = self.link.codec.load(wire_type(type(ask.message)).answer, body, "the part")
        except MessageNotAccepted as error:
            self._peer.answered(frame.id)
            self.link.cancel(frame.id)
            ask.fail(error)
        else:
            following.arrived(part)

    def _taken(self, frame: Taken, body: bytes) -> None:
        forwarding = self.forwarding.get(frame.id)
        if forwarding is not None:
            forwarding.taken(frame.count)

    # Ends

    def _watch(self, frame: Watch, body: bytes) -> None:
        if frame.by is not None:
            self._sender(frame.by)
        key = (frame.of, frame.by)
        cell = self.find(frame.of)
        if key in self._watches:
            return
        if len(self._watches) >= _MANY_WATCHES:
            raise ProtocolError(problem="more watches than anybody has")
        if cell is None:
            self._tell_end(frame.of, frame.by, NotFound())
            return
        callback = partial(self._watched_ended, frame.of, frame.by)
        self._watches[key] = (cell, callback)
        cell.observe(callback)

    def _unwatch(self, frame: Unwatch, body: bytes) -> None:
        watched = self._watches.pop((frame.of, frame.by), None)
        if watched is not None:
            watched[0].unobserve(watched[1])

    def _watched_ended(self, of: Place, by: Place | None, reason: ExitReason) -> None:
        self._watches.pop((of, by), None)
        self._tell_end(of, by, reason)

    def _tell_end(self, of: Place, by: Place | None, reason: ExitReason) -> None:
        frame = Ended(of, steps_of(reason), by)
        if by is None:
            self.link.put(frame)
        else:  # behind what it has sent to its watcher
            self._peer.cell(by).tell_end(frame)

    def _ended(self, frame: Ended, body: bytes) -> None:
        cell = self._peer.known(frame.of)
        if cell is None:
            return
        reason = reason_of(frame.reason)
        door = None if frame.by is None else self._doors.get(frame.by)
        if door is None:
            cell.heard(frame.by, reason)
        else:
            door.call(partial(cell.heard, frame.by, reason))

    def _stop(self, frame: Stop, body: bytes) -> None:
        cell = self.find(frame.to)
        if cell is None:
            return
        self._node.report("info", "stopped from elsewhere", path=cell.path, how=frame.how, node=self._peer.id.name)
        if frame.how == "stop":
            cell.request_stop(self._node.stopped_by(self._peer.id))
        elif frame.how == "drain":
            cell.request_drain(frame.seconds if frame.seconds is None or frame.seconds > 0 else None)
        else:
            cell.force(keep=True)

    def _call(self, frame: Call, body: bytes) -> None:
        self._node.calls.take(self.link, frame, body)

    def _confirm(self, frame: Confirm, body: bytes) -> None:
        self._node.channels.confirmed(self.link, frame)

    def _goodbye(self, frame: Goodbye, body: bytes) -> None:
        self.link.goodbye = frame.why[:100] or "it went in order"


def _letter(message: object, sender: RemoteCell | None, frame: Letter) -> LocalLetter:
    letter = LocalLetter(message, sender)
    if frame.trace is not None:
        letter.trace = frame.trace
    return letter
