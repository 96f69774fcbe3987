"""Exit reasons and errors on their way: what is left of them is words and numbers, and never a class to be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy.exceptions import (
    ActorFailed,
    ActorNotFound,
    ActorStopped,
    AskCycle,
    AskTimeout,
    ConsumerSlow,
    MailboxFull,
    NameTaken,
    NoReply,
    Refused,
    StartError,
    Unhandled,
    WrongActorType,
)
from understudy.reasons import (
    Crashed,
    ExitReason,
    Killed,
    NodeDown,
    Normal,
    NotFound,
    RestartsExceeded,
    Shutdown,
    StartFailed,
)
from understudy.transports._errors import MessageNotAccepted, RemoteError
from understudy.transports._frames import Fault, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["error_of", "fault_of", "reason_of", "steps_of"]

_STEPS = 32
"""Of one reason; what lies deeper is cut off."""
_TEXT = 2_000
"""Characters of one text."""


def steps_of(reason: ExitReason | None) -> tuple[Step, ...]:
    """*reason*, and what lies under it, outermost first."""
    steps: list[Step] = []
    while reason is not None and len(steps) < _STEPS:
        step, reason = _step_of(reason)
        steps.append(step)
    return tuple(steps)


def _step_of(reason: ExitReason) -> tuple[Step, ExitReason | None]:
    match reason:
        case Normal():
            return Step("normal"), None
        case Shutdown(detail):
            return Step("shutdown", text=_short(detail)), None
        case Killed(first):
            return Step("killed"), first
        case Crashed(error):
            return Step("crashed", _name_of(error), _text_of(error)), None
        case StartFailed(error):
            return Step("start_failed", _name_of(error), _text_of(error)), None
        case NodeDown(node):
            return Step("node_down", name=_short(node)), None
        case RestartsExceeded(child, last, count, seconds):
            return Step("exceeded", name=_short(child), count=count, seconds=seconds), last
        case NotFound():
            return Step("not_found"), None


def reason_of(steps: Sequence[Step]) -> ExitReason:
    """The reason that these steps tell of; what cannot be is not found."""
    reason: ExitReason | None = None
    for step in reversed(steps[:_STEPS]):
        reason = _reason_of(step, reason)
    return NotFound() if reason is None else reason


def _reason_of(step: Step, beneath: ExitReason | None) -> ExitReason:
    match step.kind:
        case "normal":
            return Normal()
        case "shutdown":
            return Shutdown(step.text)
        case "killed":
            return Killed(beneath)
        case "crashed":
            return Crashed(RemoteError(name=step.name, text=step.text))
        case "start_failed":
            return StartFailed(RemoteError(name=step.name, text=step.text))
        case "node_down":
            return NodeDown(step.name)
        case "exceeded":
            return RestartsExceeded(step.name, beneath or Killed(), step.count, step.seconds)
        case "not_found":
            return NotFound()


def fault_of(number: int, error: BaseException) -> Fault:
    """What the other side learns of *error*, the answer to what it calls *number*."""
    for kind, make in _FAULTS.items():
        if isinstance(error, kind):
            return make(number, error)
    return Fault(number, "error", text=_text_of(error), name=_name_of(error))


_FAULTS: dict[type[BaseException], Callable[[int, Any], Fault]] = {
    Refused: lambda number, error: Fault(number, "refused", text=_text_of(error), name=_name_of(error)),
    ActorFailed: lambda number, error: Fault(
        number, "failed", name=_short(error.message_type), reason=steps_of(error.reason)
    ),
    Unhandled: lambda number, error: Fault(number, "unhandled", text=_short(error.remedy)),
    MailboxFull: lambda number, error: Fault(number, "full", number=float(error.capacity)),
    ActorStopped: lambda number, error: Fault(number, "stopped", reason=steps_of(error.reason)),
    AskTimeout: lambda number, error: Fault(number, "timeout", text=_short(error.state), number=error.seconds),
    AskCycle: lambda number, error: Fault(number, "cycle", facts=tuple(map(_short, error.chain[:_STEPS]))),
    NoReply: lambda number, error: Fault(number, "no_reply", reason=steps_of(error.reason)),
    ConsumerSlow: lambda number, error: Fault(number, "slow", number=error.seconds),
    ActorNotFound: lambda number, error: Fault(
        number, "not_found", name=_short(error.path), facts=tuple(map(_short, error.nearest[:_STEPS]))
    ),
    WrongActorType: lambda number, error: Fault(
        number, "wrong_type", facts=(_short(error.path), _short(error.expected), _short(error.actual))
    ),
    NameTaken: lambda number, error: Fault(number, "name_taken", name=_short(error.path)),
    StartError: lambda number, error: Fault(
        number, "not_started", name=_short(error.path), reason=steps_of(error.reason)
    ),
    MessageNotAccepted: lambda number, error: Fault(
        number, "not_accepted", name=_short(error.what), text=_short(error.problem)
    ),
}


def error_of(fault: Fault, path: str, message: object, node: str) -> BaseException:
    """The error that *fault* stands for, to whoever has sent *message* to *path*, or has called *node*."""
    reason = reason_of(fault.reason)
    match fault.kind:
        case "refused":
            return Refused(fault.text)
        case "failed":
            error = ActorFailed(path=path, message_type=fault.name, reason=reason)
            error.__cause__ = reason.error if isinstance(reason, Crashed) else None
            return error
        case "unhandled":
            return Unhandled(path=path, message=message, remedy=fault.text)
        case "full":
            return MailboxFull(path=path, capacity=fault.number, message=message)
        case "stopped":
            return ActorStopped(path=path, reason=reason, message=message)
        case "timeout":
            return AskTimeout(path=path, message=message, seconds=fault.number, state=fault.text)
        case "cycle":
            return AskCycle(chain=fault.facts, message=message)
        case "no_reply":
            return NoReply(path=path, message=message, reason=reason if fault.reason else None)
        case "slow":
            return ConsumerSlow(path=path, message=message, seconds=fault.number)
        case _:
            return _error_of_call(fault, reason, node)


def _error_of_call(fault: Fault, reason: ExitReason, node: str) -> BaseException:
    path = f"//{node}{fault.name}"
    match fault.kind:
        case "not_found":
            return ActorNotFound(path=path, nearest=tuple(f"//{node}{each}" for each in fault.facts))
        case "wrong_type" if len(fault.facts) == 3:
            at, expected, actual = fault.facts
            return WrongActorType(path=f"//{node}{at}", expected=expected, actual=actual)
        case "name_taken":
            return NameTaken(path=path, ref=None)
        case "not_started":
            return StartError(path=path, reason=reason)
        case "not_accepted":
            return MessageNotAccepted(what=fault.name, problem=fault.text)
        case _:
            return RemoteError(name=fault.name or fault.kind, text=fault.text)


def _name_of(error: BaseException) -> str:
    return _short(error.name if isinstance(error, RemoteError) else type(error).__name__)


def _text_of(error: BaseException) -> str:
    return _short(error.text if isinstance(error, RemoteError) else str(error))


def _short(text: str) -> str:
    # What is no Unicode text, a lone surrogate, is nothing that the other side would take.
    return text[:_TEXT].encode("utf-8", "replace").decode("utf-8")
