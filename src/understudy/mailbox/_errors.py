"""What a queue raises that is used on its own; actors turn these into their own errors."""

from __future__ import annotations

from typing import Literal

from understudy.exceptions import MailboxFull, UnderstudyError

__all__ = ["QueueClosed", "QueueEmpty", "QueueFull"]


class QueueEmpty(UnderstudyError):
    """There is no item now, or none that was asked for; one may come."""

    def __init__(self, *, selected: bool = False) -> None:
        self.selected = selected
        what = "nothing in the queue is what was asked for" if selected else "the queue is empty"
        super().__init__(f"{what}: use `await queue.get(...)` to wait for an item")


class QueueFull(MailboxFull):
    """There is no room in a queue that is used on its own. ``message`` is the item that did not get in.

    ``size`` is its weight if that alone is more than the capacity, so that there will never be room; else None.
    """

    def __init__(self, *, capacity: float, message: object, size: float | None = None) -> None:
        super().__init__(path="queue", capacity=capacity, message=message)
        self.size = size
        sentence = f"the queue is full ({capacity:,}): use `await queue.put(...)`, or set `capacity=`"
        if size is not None:
            sentence = f"the item weighs {size:,}, more than the queue can take ({capacity:,}): set `capacity=`"
        self.args = (sentence,)


class QueueClosed(UnderstudyError):
    """The queue is closed. ``message`` is the item that did not get in, None after a `get`.

    ``overflowed``: nobody closed it but its policy `stop`, since it was full.
    """

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
        self.overflowed = overflowed
        state = "closed"
        if operation == "get":
            state = "closed, and nothing in it is what was asked for" if selected else "closed and empty"
        why = " (it was full, and its policy is 'stop')" if overflowed else ""
        super().__init__(f"the queue is {state}{why}: {operation} can do nothing more")
