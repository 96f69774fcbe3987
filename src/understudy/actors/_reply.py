"""Replies that are given later, by whoever has the handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from understudy.actors._asks import Ask
from understudy.actors._plain_ask import ASKED
from understudy.environment import thread_id
from understudy.exceptions import ActorFailed, InvalidContext, NoReply, Refused
from understudy.reasons import Crashed, frames_of, without_traceback

if TYPE_CHECKING:
    from collections.abc import Callable

    from understudy.reasons import ExitReason

__all__ = ["Promises", "Reply", "promise"]

R_contra = TypeVar("R_contra", contravariant=True)


class Reply(Generic[R_contra]):
    """A reply that was promised: what ``self.context.reply_later()`` returns.

    It may be kept on ``self``, handed to a child, or sent in a message; it belongs to the event loop of its system. The
    first answer is the reply. Until there is one, the ask goes on waiting, up to its deadline. When the incarnation
    that has promised it ends, or nothing refers to this handle any more, the ask fails at once, with
    :class:`understudy.NoReply`.
    """

    __slots__ = ("__weakref__", "_ask", "_promises")

    def __init__(self, ask: Ask, promises: Promises) -> None:
        self._ask = ask
        self._promises = promises

    def send(self, value: R_contra) -> bool:
        """Answer with *value*.

        Returns:
            False: nobody waits any more, since there has been an answer, or the asker has given up. *value* has become
            a dead letter then.

        Raises:
            InvalidContext: Called outside of the event loop of the system.
        """
        return self._answered(self._checked.reply(value), value)

    def fail(self, error: Exception) -> bool:
        """Answer with *error*. The actor itself has not failed by that.

        A :class:`understudy.Refused` reaches the asker as it is, anything else as the ``__cause__`` of an
        :class:`understudy.ActorFailed`, as if a handler had raised it.

        Returns:
            False: as for :meth:`send`.

        Raises:
            InvalidContext: Called outside of the event loop of the system.
        """
        ask = self._checked
        failure = error if isinstance(error, Refused) else _failure(ask, error)
        without_traceback(error)
        return self._answered(ask.fail(failure), error)

    @property
    def open(self) -> bool:
        """Whether somebody still waits for it."""
        return not self._ask.future.done()

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Have *callback* called when nobody waits any more: soon after the answer, or after the asker has given up.

        It is called once, by the event loop and not in a handler, also when the actor has ended meanwhile.

        Raises:
            InvalidContext: Called outside of the event loop of the system.
        """
        self._checked.future.add_done_callback(lambda _: callback())

    @property
    def _checked(self) -> Ask:
        self._ask.cell.check_loop()
        return self._ask

    def _answered(self, wanted: bool, what: object) -> bool:
        ask = self._ask
        self._promises.pop(ask, None)
        if ask.cell.standing is not None:
            ask.cell.standing.saw("replied" if wanted else "late", ask.message, what)
        if not wanted:
            ask.late(what)
        return wanted

    def __repr__(self) -> str:
        state = "open" if self.open else "closed"
        return f"<Reply of {self._ask.cell.path} to {type(self._ask.message).__name__}, {state}>"

    def __del__(self) -> None:
        promises, ask = self._promises, self._ask
        if ask not in promises:
            return
        env = ask.cell.runtime.env
        if thread_id() == env.thread:
            promises.drop(ask)
        elif not env.loop.is_closed():
            env.loop.call_soon_threadsafe(promises.drop, ask)


class Promises(dict[Ask, None]):
    """The asks that an incarnation has promised to answer and has not answered yet."""

    def drop(self, ask: Ask, reason: ExitReason | None = None) -> None:
        """There will be no reply to *ask*; *reason* is why its incarnation has ended, if it has."""
        if ask in self:
            del self[ask]
            if not ask.cell.runtime.env.loop.is_closed():
                ask.fail(NoReply(path=ask.cell.path, message=ask.message, reason=reason))

    def drop_all(self, reason: ExitReason | None) -> None:
        """The incarnation has ended."""
        for ask in list(self):
            self.drop(ask, reason)


def promise(ask: Any, promises: Promises, message: object) -> Reply[Any]:
    """Promise a reply to *ask*, which has to be one, and that of *message* if that is given.

    Raises:
        InvalidContext: There is nothing to promise.
    """
    if type(ask) not in ASKED:
        problem = "nobody waits for a reply to the message in hand: it was not asked"
    elif message is not None and ask.message is not message:
        problem = f"the {type(message).__name__} it was given is not the message in hand"
    elif ask.promised:
        problem = f"the reply to this {type(ask.message).__name__} has been promised already: use that handle"
    else:
        ask.promised = True
        # The asker waits for whoever has the handle from here on, not for this handler.
        if ask.sender is not None and ask.sender.waits is not None:
            ask.sender.waits.pop(ask, None)
        promises[ask] = None
        return Reply(ask, promises)
    raise InvalidContext(what="reply_later", problem=problem)


def _failure(ask: Ask, error: Exception) -> ActorFailed:
    reason = Crashed(error, frames_of(error.__traceback__))
    failure = ActorFailed(path=ask.cell.path, message_type=type(ask.message).__name__, reason=reason)
    failure.__cause__ = error
    return failure
