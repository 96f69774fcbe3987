"""What goes wrong between processes."""

from __future__ import annotations

from understudy.exceptions import UnderstudyError

__all__ = [
    "ConnectionLost",
    "HandshakeFailed",
    "LinkDown",
    "LinkError",
    "MessageNotAccepted",
    "ProtocolError",
    "RemoteError",
    "UnsafeListener",
]


class LinkError(UnderstudyError):
    """The root of what goes wrong between processes."""


class ConnectionLost(LinkError):
    """The connection has ended. ``clean`` says whether either side has closed it, and did not just go away."""

    def __init__(self, *, peer: str, why: str, clean: bool = False) -> None:
        self.peer = peer
        self.why = why
        self.clean = clean
        super().__init__(f"the connection with {peer} has ended: {why}")


class HandshakeFailed(LinkError):
    """The two sides do not become a link: one of them does not trust, or does not understand, the other.

    ``why`` is for whoever runs this side. The other side learns ``unauthorized`` or ``refused``, and no more.
    """

    def __init__(self, *, peer: str, why: str) -> None:
        self.peer = peer
        self.why = why
        super().__init__(f"no link with {peer}: {why}")


class ProtocolError(LinkError):
    """The other side has sent what no peer may send. The connection with it, and nothing else, is closed."""

    def __init__(self, *, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the peer broke the protocol: {problem}")


class LinkDown(LinkError):
    """The node is out of reach; what was asked of it was not done, or nobody knows. Its refs are of no use for now."""

    def __init__(self, *, node: str, why: str) -> None:
        self.node = node
        self.why = why
        super().__init__(f"node {node} cannot be reached: {why}")


class MessageNotAccepted(LinkError):
    """A message, or a class, that cannot cross this link; nothing was sent."""

    def __init__(self, *, what: str, problem: str) -> None:
        self.what = what
        self.problem = problem
        super().__init__(f"{what} cannot cross a link: {problem}")


class RemoteError(LinkError):
    """Stands for an error of another process, which does not travel itself: the name of its class, and its text."""

    def __init__(self, *, name: str, text: str) -> None:
        self.name = name
        self.text = text
        super().__init__(f"{name}: {text}" if text else name)


class UnsafeListener(LinkError):
    """What was to listen, or to connect, lacks a protection; no socket was opened."""

    def __init__(self, *, url: str, problem: str) -> None:
        self.url = url
        self.problem = problem
        super().__init__(f"{url}: {problem}")
