"""Testing actors: a test kit for ordinary tests, and deterministic simulation.

For ordinary tests: :func:`unit` for handlers as plain methods, :class:`TestProbe`, :class:`Gate`, :class:`ManualClock`,
:func:`inject`, :class:`Chaos`, :func:`leakcheck`, and :class:`VirtualLoop`, whose clock jumps instead of sleeping.
For simulation: :func:`simulate`, which runs a test under many schedules, each decided by a seed.

The fixtures ``actor_system``, ``probe`` and ``sim`` come with the pytest plugin of the package.
"""

from understudy.testing._campaign import Report, simulate
from understudy.testing._chaos import Chaos
from understudy.testing._clock import ManualClock
from understudy.testing._disk import SimDisk
from understudy.testing._errors import (
    DeadlockError,
    EscapeError,
    InjectedCrash,
    LeakError,
    LivenessError,
    NotQuiescent,
    Violation,
)
from understudy.testing._fakes import FakeMonitor, FakePromise, FakeStream, Told
from understudy.testing._faults import Faults
from understudy.testing._gate import Gate
from understudy.testing._inject import Injection, inject
from understudy.testing._leaks import leakcheck
from understudy.testing._net import SimNet
from understudy.testing._probe import TestProbe
from understudy.testing._simulation import SimClock, Simulation
from understudy.testing._unit import FakeRef, Unit, unit
from understudy.testing._virtual import RealTimeError, VirtualLoop, loop_factories

__all__ = [
    "Chaos",
    "DeadlockError",
    "EscapeError",
    "FakeMonitor",
    "FakePromise",
    "FakeRef",
    "FakeStream",
    "Faults",
    "Gate",
    "InjectedCrash",
    "Injection",
    "LeakError",
    "LivenessError",
    "ManualClock",
    "NotQuiescent",
    "RealTimeError",
    "Report",
    "SimClock",
    "SimDisk",
    "SimNet",
    "Simulation",
    "TestProbe",
    "Told",
    "Unit",
    "Violation",
    "VirtualLoop",
    "inject",
    "leakcheck",
    "loop_factories",
    "simulate",
    "unit",
]
