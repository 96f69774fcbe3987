"""Actors, their refs, and what an actor sees of the runtime."""

from understudy.actors._actor import Actor
from understudy.actors._ask_many import ask_many
from understudy.actors._context import Context, System
from understudy.actors._dead_letters import CountDeadLetters, SubscribeDeadLetters, UnsubscribeDeadLetters
from understudy.actors._handler import handler
from understudy.actors._ref import ActorRef
from understudy.actors._reply import Reply
from understudy.actors._settings import Settings
from understudy.actors._streams import Stream
from understudy.actors._waiting import detached

__all__ = [
    "Actor",
    "ActorRef",
    "Context",
    "CountDeadLetters",
    "Reply",
    "Settings",
    "Stream",
    "SubscribeDeadLetters",
    "System",
    "UnsubscribeDeadLetters",
    "ask_many",
    "detached",
    "handler",
]
