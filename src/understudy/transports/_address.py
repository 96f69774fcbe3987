"""Addresses of actors, as they are written where they cross from one process to another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from understudy.transports._errors import ProtocolError

__all__ = ["Address", "NoAddress", "Place", "check_node_name", "check_path"]

Place: TypeAlias = tuple[str, int]
"""Path and uid of an actor on a node that goes without saying."""

_NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.-]{1,255}){1,64}")
_ADDRESS = re.compile(rf"//({_NODE.pattern})@([0-9a-f]{{16}})({_PATH.pattern})#([0-9]{{1,18}})")


class NoAddress(ProtocolError):
    """A text that is no address where one was due; it tells apart what a ref has raised and what a user's check has."""


@dataclass(frozen=True, slots=True)
class Address:
    """An actor anywhere: ``//bank@1f0c9a3b5d7e8f60/user/accounts#17``.

    The node's name and run id tell a node from the one that has been started anew under its name; the uid tells an
    actor from the next one at its path.
    """

    node: str
    run: str
    path: str
    uid: int

    def __str__(self) -> str:
        return f"//{self.node}@{self.run}{self.path}#{self.uid}"

    @property
    def place(self) -> Place:
        """Where it is on its node."""
        return self.path, self.uid

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that *text* is.

        Raises:
            NoAddress: It is none.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise NoAddress(problem="what should be the address of an actor is not")
        node, run, path, uid = found.groups()
        return cls(node, run, path, int(uid))


def check_node_name(name: str) -> bool:
    """Whether *name* may be that of a node."""
    return _NODE.fullmatch(name) is not None


def check_path(path: str) -> bool:
    """Whether *path* is one that others may name: below ``/user``. What is the runtime's is not theirs."""
    return path.startswith("/user/") and _PATH.fullmatch(path) is not None
