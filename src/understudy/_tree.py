"""The live tree of a system as data, text, Mermaid and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy.actors._cell import Cell

__all__ = ["Node", "Tree", "node_of"]


@dataclass(frozen=True, slots=True)
class Node:
    """One actor at one moment."""

    name: str
    path: str
    actor: str
    """The name of its class."""
    status: str
    incarnation: int
    waiting: int
    """Messages in the mailbox."""
    suspended: bool = False
    """Its messages wait until somebody resumes it."""
    restarts: int = 0
    """Of a supervisor: restarts that count against its limit at this moment."""
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """This one and all below, parents first."""
        yield self
        for each in self.children:
            yield from each.walk()


@dataclass(frozen=True, slots=True)
class Tree:
    """All actors of a system at one moment; ``str()`` of it draws them."""

    system: str
    nodes: tuple[Node, ...]

    def walk(self) -> Iterator[Node]:
        """All actors, parents first."""
        for node in self.nodes:
            yield from node.walk()

    def __str__(self) -> str:
        return "\n".join([self.system, *_lines(self.nodes, "")])

    def mermaid(self) -> str:
        """A Mermaid flowchart; names are quoted, so that nothing in them can be markup."""
        lines = ["flowchart TD", f'    root["{_escape(self.system)}"]']
        numbers = {node.path: f"n{number}" for number, node in enumerate(self.walk())}
        for node in self.walk():
            label = f"{node.name}<br/>{node.actor}, {node.status}"
            lines.append(f'    {numbers[node.path]}["{_escape(label, keep="<br/>")}"]')
            parent = numbers.get(node.path.rpartition("/")[0], "root")
            lines.append(f"    {parent} --> {numbers[node.path]}")
        return "\n".join(lines)

    def json(self) -> str:
        """The same facts as a JSON object."""
        return json.dumps({"system": self.system, "actors": [asdict(node) for node in self.nodes]})


def node_of(cell: Cell) -> Node:
    """*cell* and what is below it."""
    family: dict[str, Any] = cell.family.children if cell.family is not None else {}
    return Node(
        name=cell.name,
        path=cell.path,
        actor=cell.class_name,
        status=cell.status,
        incarnation=cell.incarnation,
        waiting=cell.waiting,
        suspended=cell.suspended,
        restarts=_recent(cell),
        children=tuple(node_of(child.cell) for child in family.values()),
    )


def _recent(cell: Cell) -> int:
    if cell.family is None or not cell.family.plan.shared:
        return 0
    since = cell.runtime.env.now() - cell.family.plan.max_seconds
    return sum(time >= since for time in cell.family.times)


def _lines(nodes: tuple[Node, ...], indent: str) -> Iterator[str]:
    for number, node in enumerate(nodes):
        last = number == len(nodes) - 1
        yield f"{indent}{'└── ' if last else '├── '}{_line(node)}"
        yield from _lines(node.children, indent + ("    " if last else "│   "))


def _line(node: Node) -> str:
    again = f", incarnation {node.incarnation}" if node.incarnation > 1 else ""
    waiting = f", {node.waiting:,} waiting" if node.waiting else ""
    restarts = f", {node.restarts:,} recent restart{'s' if node.restarts > 1 else ''}" if node.restarts else ""
    suspended = ", suspended" if node.suspended else ""
    return f"{node.name}  {node.actor}, {node.status}{suspended}{again}{waiting}{restarts}"


def _escape(text: str, keep: str = "\0") -> str:
    escaped = [part.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;") for part in text.split(keep)]
    return keep.join(escaped)
