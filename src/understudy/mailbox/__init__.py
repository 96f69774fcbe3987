"""Mailboxes: the queue that every actor has, also of use on its own."""

from understudy.mailbox._overflow import Mailbox
from understudy.mailbox._queue import AsyncMessageQueue, QueueClosed, QueueEmpty, QueueFull, QueueStatistics

__all__ = [
    "AsyncMessageQueue",
    "Mailbox",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueStatistics",
]
