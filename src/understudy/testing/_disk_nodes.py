"""Files and folders on a simulated disk: what programs see, and what a crash would leave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.testing._choices import Choices

__all__ = ["File", "Folder", "Node"]

KEEP_PROBABILITY = 0.5
TEAR_PROBABILITY = 0.5


@dataclass(eq=False)
class _Change:
    """A write at *offset*, or, without data, the file's new size."""

    offset: int
    data: bytes | None
    # A sync has made it certain; or a failed sync has made it one that no later sync can make certain.
    certain: bool = False
    stranded: bool = False

    def apply(self, content: bytearray) -> None:
        end = self.offset if self.data is None else self.offset + len(self.data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if self.data is None:
            del content[end:]
        else:
            content[self.offset : end] = self.data


class File:
    """The content of a file, whatever its name is.

    Attributes:
        content: What programs see.
    """

    def __init__(self) -> None:
        self.content = bytearray()
        self._settled = bytearray()
        # In order. What a crash leaves is what is settled, and these upon it, but for those that are lost.
        self._changes: list[_Change] = []

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* there; a gap before it is filled with zeros."""
        self._change(_Change(offset, data))

    def truncate(self, size: int) -> None:
        """Cut the content, or fill it up with zeros, to *size* bytes."""
        self._change(_Change(size, None))

    def _change(self, change: _Change) -> None:
        change.apply(self.content)
        self._changes.append(change)

    def sync(self) -> None:
        """No crash can undo what has been written, unless a sync has failed since."""
        for change in self._changes:
            change.certain = change.certain or not change.stranded
        settled = 0
        while settled < len(self._changes) and self._changes[settled].certain:
            self._changes[settled].apply(self._settled)
            settled += 1
        del self._changes[:settled]

    def strand(self) -> None:
        """A sync has failed: what it was to make certain cannot be made certain any more."""
        for change in self._changes:
            change.stranded = not change.certain

    def crash(self, choices: Choices) -> None:
        """Lose what is not certain, or keep some of it."""
        kept = [change for change in self._changes if change.certain or choices.flip("disk.keep", KEEP_PROBABILITY)]
        last = next((change for change in reversed(kept) if not change.certain), None)
        if last is not None and last.data and choices.flip("disk.tear", TEAR_PROBABILITY):
            last.data = last.data[: choices.draw("disk.tear.at", len(last.data))]
            if not last.data:
                kept.remove(last)
        for change in kept:
            change.apply(self._settled)
        self._changes.clear()
        self.content = bytearray(self._settled)


@dataclass(eq=False)
class _Naming:
    """A change of *folder*: *old* is no name any more, *new* is one of *node*; either may be None.

    A node that goes from one folder to another leaves there and arrives here; neither is certain without its *twin*.
    """

    folder: Folder
    old: str | None
    new: str | None = None
    node: Node | None = None
    twin: _Naming | None = None
    certain: bool = False

    def apply(self, names: dict[str, Node]) -> None:
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None and self.node is not None:
            names[self.new] = self.node


@dataclass(eq=False)
class Folder:
    """Names, each of a file or another folder.

    Of the changes since the last sync a crash keeps the first few. A node that has gone from folder to folder is after
    a crash in one of them, never in both or in none.

    Attributes:
        names: What programs see.
    """

    names: dict[str, Node] = field(default_factory=dict["str", "Node"])
    _settled: dict[str, Node] = field(default_factory=dict["str", "Node"])
    # In order. What is certain comes first: no change is without those before it.
    _changes: list[_Naming] = field(default_factory=list[_Naming])

    def link(self, name: str, node: Node) -> None:
        """Give *node* a name, which another may have had."""
        self._change(_Naming(self, None, name, node))

    def unlink(self, name: str) -> None:
        """Take away a name."""
        self._change(_Naming(self, name))

    def move(self, name: str, to: Folder, new: str) -> None:
        """Give the node of *name* a new name in the folder *to*, which another may have had."""
        node = self.names[name]
        if to is self:
            self._change(_Naming(self, name, new, node))
            return
        arrival = _Naming(to, None, new, node)
        arrival.twin = _Naming(self, name, twin=arrival)
        to._change(arrival)
        self._change(arrival.twin)

    def _change(self, change: _Naming) -> None:
        change.apply(self.names)
        self._changes.append(change)

    def _make_certain(self, count: int) -> None:
        """The first *count* changes, and what they are nothing without."""
        for change in self._changes[:count]:
            if not change.certain:
                change.certain = True
                if change.twin is not None and not change.twin.certain:
                    there = change.twin.folder
                    there._make_certain(there._changes.index(change.twin) + 1)

    def sync(self) -> None:
        """No crash can undo the names as they are."""
        self._make_certain(len(self._changes))
        self._settle()

    def _settle(self) -> None:
        for change in self._changes:
            if change.certain:
                change.apply(self._settled)
        self._changes.clear()

    def choose(self, choices: Choices) -> None:
        """There is a crash: choose which changes it keeps."""
        uncertain = sum(not change.certain for change in self._changes)
        kept = choices.draw("disk.names", uncertain + 1)
        self._make_certain(len(self._changes) - uncertain + kept)

    def crash(self, choices: Choices) -> None:
        """Lose the changes that are not certain, here and below. All folders have chosen by now."""
        self._settle()
        self.names = dict(self._settled)
        for _, node in sorted(self.names.items()):
            node.crash(choices)

    def folders(self) -> list[Folder]:
        """This one and all below."""
        below = [node.folders() for _, node in sorted(self.names.items()) if isinstance(node, Folder)]
        return [self, *(folder for each in below for folder in each)]

    def files(self) -> list[File]:
        """All files here and below."""
        return [node for folder in self.folders() for node in folder.names.values() if isinstance(node, File)]


Node = File | Folder
