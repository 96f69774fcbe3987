"""Messages that are handled together: for actors that have a handler for ``list[M]``, and a mailbox that collects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.actors._asks import Letter, message_of

if TYPE_CHECKING:
    from understudy.actors._handler import Handler, HandlerTable
    from understudy.mailbox._queue import AsyncMessageQueue

__all__ = ["Bundle", "burst_over", "next_bundle"]


class Bundle:
    """What is in hand while a handler of many messages runs."""

    __slots__ = ("handler", "items")

    def __init__(self, items: list[Any], handler: Handler) -> None:
        self.items = items
        self.handler = handler

    @property
    def messages(self) -> list[Any]:
        """What the handler gets."""
        return [message_of(item) for item in self.items]


def burst_over(mailbox: AsyncMessageQueue[Any], now: float) -> bool:
    """Whether what *mailbox* has collected is to be handled; all of it then, whatever else comes meanwhile."""
    if mailbox.burst_due() > now:
        return False
    mailbox.flush_burst()
    return True


def next_bundle(mailbox: AsyncMessageQueue[Any], table: HandlerTable) -> Bundle | None:
    """Take the messages in front that one handler takes together; None: the first is handled by itself."""
    handler = _handler_of(mailbox.peek(), table)
    if handler is None:
        return None
    items = [mailbox.take()]
    while mailbox.items and _handler_of(mailbox.peek(), table) is handler:
        items.append(mailbox.take())
    return Bundle(items, handler)


def _handler_of(item: Any, table: HandlerTable) -> Handler | None:
    # What is asked for gets a reply of its own, and envelopes of the runtime are no messages of others.
    if isinstance(item, Letter) and type(item) is not Letter:
        return None
    return table.batch[type(message_of(item))]
