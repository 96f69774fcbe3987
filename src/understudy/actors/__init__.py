"""Actors, their refs, and what an actor sees of the runtime."""

from understudy.actors._actor import Actor
from understudy.actors._addresses import Address, Name, Via
from understudy.actors._ask_many import ask_many
from understudy.actors._context import Context, System
from understudy.actors._dead_letters import (
    CountDeadLetters,
    ReplayDeadLetters,
    SubscribeDeadLetters,
    UnsubscribeDeadLetters,
)
from understudy.actors._debug import Debug
from understudy.actors._groups import Group, Groups, Joined, Left
from understudy.actors._handler import handler
from understudy.actors._inspection import ActorState, ActorStatistics, InHand
from understudy.actors._monitors import Monitor
from understudy.actors._owned import PipeFailed
from understudy.actors._ref import ActorRef
from understudy.actors._registry import Entry, Registered, Registry, Unregistered
from understudy.actors._reply import Reply
from understudy.actors._routers import Broadcast, Children, Routees, Router, Routing, ScatterGather
from understudy.actors._settings import Settings
from understudy.actors._state_machine import StateMachine
from understudy.actors._states import enter, in_state
from understudy.actors._streams import Stream
from understudy.actors._timers import Timers
from understudy.actors._waiting import detached

__all__ = [
    "Actor",
    "ActorRef",
    "ActorState",
    "ActorStatistics",
    "Address",
    "Broadcast",
    "Children",
    "Context",
    "CountDeadLetters",
    "Debug",
    "Entry",
    "Group",
    "Groups",
    "InHand",
    "Joined",
    "Left",
    "Monitor",
    "Name",
    "PipeFailed",
    "Registered",
    "Registry",
    "ReplayDeadLetters",
    "Reply",
    "Routees",
    "Router",
    "Routing",
    "ScatterGather",
    "Settings",
    "StateMachine",
    "Stream",
    "SubscribeDeadLetters",
    "System",
    "Timers",
    "Unregistered",
    "UnsubscribeDeadLetters",
    "Via",
    "ask_many",
    "detached",
    "enter",
    "handler",
    "in_state",
]
