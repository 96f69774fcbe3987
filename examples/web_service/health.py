"""What `/healthz` says: whether the service is alive, and whether it should be sent requests."""

from __future__ import annotations

from dataclasses import dataclass

from understudy import ActorSystem, ExitReason, Instrument

__all__ = ["Health", "Report"]


@dataclass(frozen=True)
class Report:
    """How the service is at one moment."""

    live: bool
    """False: only a restart of the process can help."""
    problems: tuple[str, ...]
    """Why no requests should be sent at present."""

    @property
    def ready(self) -> bool:
        return self.live and not self.problems


class Health(Instrument):
    """Remembers which mailboxes are nearly full, and looks at the tree for the rest."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.loads: dict[str, float] = {}

    def mailbox_high(self, path: str, load: float) -> None:
        self.loads[path] = load

    def mailbox_low(self, path: str, load: float) -> None:
        self.loads.pop(path, None)

    def actor_stopped(self, path: str, reason: ExitReason) -> None:
        self.loads.pop(path, None)

    def report(self, system: ActorSystem) -> Report:
        """In the event loop of *system*. It asks no actor, so that none can keep it waiting."""
        if system.find(self.root) is None:
            return Report(live=False, problems=(f"/user/{self.root} has ended",))
        problems = [f"{node.path} is {node.status}" for node in system.tree().walk() if node.status != "running"]
        problems += [f"{path} is nearly full" for path in self.loads]
        return Report(live=True, problems=tuple(problems))
