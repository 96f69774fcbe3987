"""What a queue raises that is used on its own; actors turn these into their own errors."""

from __future__ import annotations

from typing import Literal

from understudy.exceptions import MailboxFull, UnderstudyError

__all__ = ["QueueClosed", "QueueEmpty", "QueueFull"]


class QueueEmpty(UnderstudyError):
    """There is no item now, or none that was asked for; one may come."""

    selected: bool = False
    """Whether there are items, but none that was asked for."""

    def __init__(self, *, selected: bool = False) -> None:
        sentence = "the queue is empty: use `await queue.get()` to wait for an item"
        if selected:
            self.selected = selected
            sentence = "nothing in the queue is what was asked for: use `await queue.get(...)` to wait for it"
        super().__init__(sentence)


class QueueFull(MailboxFull):
    """There is no room in a queue that is used on its own. ``message`` is the item that did not get in."""

    size: float | None = None
    """The weight of the item if that alone is more than the capacity, so that there will never be room; else None."""

    def __init__(self, *, capacity: float, message: object, size: float | None = None) -> None:
        super().__init__(path="queue", capacity=capacity, message=message)
        sentence = f"the queue is full ({capacity:,}): use `await queue.put(...)`, or set `capacity=`"
        if size is not None:
            self.size = size
            sentence = f"the item weighs {size:,}, more than the queue can take ({capacity:,}): set `capacity=`"
        self.args = (sentence,)


class QueueClosed(UnderstudyError):
    """The queue is closed. ``message`` is the item that did not get in, None after a `get`."""

    overflowed: bool = False
    """Whether nobody closed it but its policy `stop`, since it was full."""

    def __init__(
        self,
        *,
        operation: Literal["get", "put"],
        message: object = None,
        overflowed: bool = False,
        selected: bool = False,
    ) -> None:
        self.operation = operation
        self.message = message
        if overflowed:
            self.overflowed = True
        state = "closed"
        if operation == "get":
            state = "closed, and nothing in it is what was asked for" if selected else "closed and empty"
        why = " (it was full, and its policy is 'stop')" if overflowed else ""
        super().__init__(f"the queue is {state}{why}: {operation} can do nothing more")
