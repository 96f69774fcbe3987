"""What stands here for an actor in another process: a mailbox whose messages go over a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from understudy.actors._actor import Actor
from understudy.actors._asks import Ask, Letter, Private, is_plain, message_of, sender_of
from understudy.actors._child import child
from understudy.actors._handler import NO_HANDLERS
from understudy.actors._intake import Intake
from understudy.exceptions import ActorStopped
from understudy.mailbox._overflow import Mailbox
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.reasons import ExitReason, NotFound
from understudy.transports._frames import Stop, Unwatch, Watch
from understudy.transports._outbox import TracedOutbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from understudy._plans._spec import ChildSpec
    from understudy.actors._cell import Cell
    from understudy.transports._address import Place
    from understudy.transports._frames import Ended
    from understudy.transports._peer import Peer

__all__ = ["EndNews", "RemoteActor", "RemoteCell", "gone"]

M = TypeVar("M")


class RemoteActor(Actor[M]):
    """The class of all actors that are elsewhere, as far as this side knows."""


class EndNews(Private):
    """The news of an end, behind all that the actor had sent: exempt from capacity and from credit."""

    __slots__ = ("frame",)

    def __init__(self, frame: Ended) -> None:
        super().__init__(None, None)
        self.frame = frame


_SPEC: ChildSpec[Any] = child(RemoteActor)
_MAILBOX = Mailbox()
_BULK = 16
"""Messages in a letter, as long as nobody knows how large they are."""
_MOST = 64
"""Messages in a letter, however small they are."""
_CHEAP = 4
"""So many of them count as one that is handled, since to write them together takes no longer."""


class RemoteCell(Intake):
    """An actor of *peer*. Refs to it are ordinary ones, and this is all that they see.

    While the peer is out of reach its gate is shut, with ``NodeDown`` for the reason; it opens again when the very same
    node is back. When the actor has ended it is shut for good.
    """

    __slots__ = ("__weakref__", "_path", "at", "bulk", "final", "observers", "parked", "peer", "waits")

    remote = True
    hand = None
    turns = None
    suspended = False
    standing = None
    draining = None
    spec = _SPEC
    table = NO_HANDLERS

    def __init__(self, peer: Peer, at: Place, gate: ExitReason | None) -> None:
        self.runtime, self.place = peer.runtime, peer.runtime.env.place
        self.mailbox = self.reason = None
        self.queued = False
        self.peer = peer
        self.at = at
        self._path = f"//{peer.id.name}{at[0]}"
        self.gate = gate
        self.ready = True
        # Why the actor has ended, once that is known.
        self.final: ExitReason | None = None
        # How many messages make a letter of a good size, as the last one shows.
        self.bulk = _BULK
        # Messages wait, and the other side takes none for now.
        self.parked = False
        # Who wants to know of its end: the callbacks, by the watcher whose news it is, if it is somebody's.
        self.observers: dict[Place | None, dict[Callable[[ExitReason], object], None]] = {}
        # For whom it waits: the targets of asks that came over the link, as its own asks here show.
        self.waits: dict[object, Cell] = {}

    def __repr__(self) -> str:
        return f"<RemoteCell {self.path}>"

    # For refs

    @property
    def path(self) -> str:
        """Like ``//bank/user/accounts``."""
        return self._path

    @property
    def uid(self) -> int:
        """On its node."""
        return self.at[1]

    @property
    def status(self) -> str:
        """``"running"`` as far as is known here, ``"stopped"`` when it has ended or its node is out of reach."""
        return "running" if self.gate is None else "stopped"

    @property
    def running(self) -> bool:
        """Whether messages reach it, as far as is known here."""
        return self.gate is None

    @property
    def dead(self) -> bool:
        """It has ended, as far as is known here."""
        return self.final is not None

    @property
    def waiting(self) -> int:
        """How many messages wait on this side."""
        return len(self.mailbox) if self.mailbox is not None else 0

    def option(self, name: str) -> Any:
        """What a ref asks of options: the outbox blocks, whatever the mailbox of the actor does."""
        return _MAILBOX if name == "mailbox" else self.runtime.defaults.get(name)

    def make_mailbox(self) -> AsyncMessageQueue[Any]:
        """The outbox, made with the first message."""
        if self.mailbox is None:
            instruments, room = self.runtime.instruments, self.peer.outbox
            self.mailbox = TracedOutbox(room, instruments) if instruments.trace else AsyncMessageQueue(room)
        return self.mailbox

    def note_loss(self, message: object, why: str) -> None:
        """Nobody traces it here."""

    def state_of(self, ask: Ask) -> str:
        """How far *ask* has got, for the error of the one who waited in vain."""
        if self.peer.is_pending(ask):
            return f"sent to node {self.peer.id.name}, which has not answered"
        if self.gate is not None:
            return str(self.gate)
        full = " and takes no more for now" if self.parked else ""
        return f"not sent: {self.waiting} waiting for node {self.peer.id.name}, which is up{full}"

    def awaited(self) -> Iterator[Any]:
        """Those here for which it waits."""
        for token, target in self.waits.items():
            if isinstance(token, Ask) and not token.future.done():
                yield target

    # Messages

    def activate(self, limit: int) -> int:
        """Send what waits, as far as the other side takes it."""
        self.queued = False
        link, mailbox = self.peer.link, self.mailbox
        handled = 0
        while link is not None and mailbox is not None and mailbox.items:
            if handled >= limit:
                link.await_more()
                self.enqueue()
                return handled
            item = mailbox.next_item()
            if type(item) is EndNews:
                link.put(item.frame)
                mailbox.take()
                handled += 1
                continue
            room = link.room_for(self)
            if room == 0:
                return handled
            if isinstance(item, Letter):
                link.send(self, mailbox.take())
                handled += 1
            else:
                alike = _alike(mailbox, min(room, self.bulk, _MOST, (limit - handled) * _CHEAP))
                link.send_alike(self, alike)
                handled += -(-len(alike) // _CHEAP)
        self.ready = True
        return handled

    def send_ahead(self, ask: Ask) -> bool:
        """Send *ask* now, if nothing waits before it."""
        link, mailbox = self.peer.link, self.mailbox
        # It would be appended to nothing and be taken at once, and nobody else would be concerned.
        if link is None or mailbox is None or mailbox.items or mailbox.append_below <= 0:
            return False
        if not link.send_now(self, ask):
            return False
        mailbox.total_in += 1
        return True

    def enqueue(self) -> None:
        """Let what waits be sent."""
        self.parked = False
        if not self.queued:
            self.ready = False
            self.queued = True
            self.runtime.dispatcher.push(self)

    def tell_end(self, frame: Ended) -> None:
        """Have the other side told of an end, behind what waits."""
        if self.gate is None:
            self.make_mailbox().put_exempt(EndNews(frame))
            self.wake()

    # Its end

    def observe(self, callback: Callable[[ExitReason], object], watcher: Cell | None = None) -> None:
        """Call *callback* with the reason when it has ended, or its node is out of reach; at once when that is so."""
        if self.final is not None:
            callback(self.final)
        elif self.peer.link is None:
            callback(self.peer.down)
        else:
            by = None if watcher is None or not watcher.path.startswith("/user/") else (watcher.path, watcher.uid)
            known = self.observers.setdefault(by, {})
            if not known:
                self.peer.watched[self] = None
                self.peer.link.put(Watch(self.at, by))
            known[callback] = None

    def unobserve(self, callback: Callable[[ExitReason], object]) -> None:
        """Forget *callback*."""
        for by, known in list(self.observers.items()):
            if callback in known:
                del known[callback]
                if not known:
                    self._forget(by)
                    if self.peer.link is not None and self.final is None:
                        self.peer.link.put(Unwatch(self.at, by))

    def heard(self, by: Place | None, reason: ExitReason) -> None:
        """The news of its end, for *by* or, None, for all that only the runtime wants to know."""
        self.final = reason
        self.shut(reason)
        if by in self.observers:
            known = self.observers[by]
            self._forget(by)
            for callback in list(known):
                callback(reason)

    def shut(self, reason: ExitReason) -> None:
        """From here on nothing is accepted; what waits was never sent."""
        if self.gate is None:
            self.gate = reason
        mailbox, self.mailbox = self.mailbox, None
        self.parked = False
        if mailbox is None:
            return
        for item in mailbox.close(drain=False):
            self.lose(item, reason)

    def reopen(self) -> None:
        """Its node is back, the very same."""
        if self.final is None:
            self.gate = None
            self.ready = not self.queued

    def lost(self, reason: ExitReason) -> None:
        """Its node is out of reach: whoever watches is told, once and for all."""
        self.shut(reason)
        observers, self.observers = self.observers, {}
        for known in observers.values():
            for callback in known:
                callback(reason)

    def lose(self, item: Any, reason: ExitReason) -> None:
        """*item* is not sent."""
        if type(item) is EndNews:
            return
        message = message_of(item)
        self.dead_letter(message, sender_of(item), str(reason), told=is_plain(item))
        if isinstance(item, Ask):
            item.fail(ActorStopped(path=self.path, reason=reason, message=message))

    def _forget(self, by: Place | None) -> None:
        del self.observers[by]
        if not self.observers:
            self.peer.watched.pop(self, None)

    # Requests

    def stop(self, reason: ExitReason) -> None:
        """Ask for its end; nothing happens where its node is out of reach."""
        self._request(Stop(self.at, "stop"))

    def request_drain(self, timeout: float | None) -> None:
        """Likewise, when it has handled what it has."""
        self._request(Stop(self.at, "drain", timeout))

    def force(self, *, keep: bool) -> None:
        """Likewise, by force."""
        self._request(Stop(self.at, "kill"))

    def _request(self, frame: Stop) -> None:
        if self.peer.link is not None and self.final is None:
            self.peer.link.put(frame)


def _alike(mailbox: AsyncMessageQueue[Any], most: int) -> list[object]:
    """The next messages in *mailbox* that are of one class and have no sender, one at least."""
    first: object = mailbox.take()
    found = [first]
    kind, items = type(first), mailbox.items  # in their order, as nobody chooses among what is in an outbox
    while len(found) < most and items and type(items[0]) is kind:
        found.append(items.popleft() if len(items) <= mailbox.take_up_to else mailbox.take())
    return found


def gone(peer: Peer, at: Place) -> RemoteCell:
    """Something that is not there any more, or never was."""
    cell = RemoteCell(peer, at, NotFound())
    cell.final = NotFound()
    return cell
