"""Supervision: who starts whom, and what happens when one fails."""

from understudy._plans._spec import ChildSpec
from understudy.actors._child import child
from understudy.supervision._supervisor import Supervisor, supervisor

__all__ = ["ChildSpec", "Supervisor", "child", "supervisor"]
