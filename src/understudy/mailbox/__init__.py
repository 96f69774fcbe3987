"""Mailboxes: the queue that every actor has, also of use on its own."""

from understudy.mailbox._errors import QueueClosed, QueueEmpty, QueueFull
from understudy.mailbox._overflow import Mailbox
from understudy.mailbox._priority import PriorityMessageQueue
from understudy.mailbox._queue import AsyncMessageQueue
from understudy.mailbox._rolling import Burst, RollingBatch
from understudy.mailbox._rules import Policy
from understudy.mailbox._statistics import QueueStatistics

__all__ = [
    "AsyncMessageQueue",
    "Burst",
    "Mailbox",
    "Policy",
    "PriorityMessageQueue",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueStatistics",
    "RollingBatch",
]
