"""Supervision: who starts whom, and what happens when one fails."""

from understudy._plans._keys import Key
from understudy._plans._spec import ChildSpec
from understudy.actors._child import child
from understudy.actors._supervisor_ref import ChildCounts, ChildInfo, SupervisorRef
from understudy.supervision._dynamic import DynamicSupervisor
from understudy.supervision._partition import (
    Partitions,
    PartitionSupervisor,
    partition_of,
    partition_supervisor,
)
from understudy.supervision._pool import Overflow, Pool, WorkerPool, worker_pool
from understudy.supervision._supervisor import Supervisor, supervisor
from understudy.supervision._task import TaskHandle
from understudy.supervision._task_map import TaskMap
from understudy.supervision._tasks import Tasks, TaskSupervisor

__all__ = [
    "ChildCounts",
    "ChildInfo",
    "ChildSpec",
    "DynamicSupervisor",
    "Key",
    "Overflow",
    "PartitionSupervisor",
    "Partitions",
    "Pool",
    "Supervisor",
    "SupervisorRef",
    "TaskHandle",
    "TaskMap",
    "TaskSupervisor",
    "Tasks",
    "WorkerPool",
    "child",
    "partition_of",
    "partition_supervisor",
    "supervisor",
    "worker_pool",
]
