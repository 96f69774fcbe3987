"""``ToolPins``: what somebody has approved of, of the tools of a server, and keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.exceptions import InvalidSpec
from understudy.transports._files import replace_file
from understudy.transports._mcp_values import ToolInfo, description_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ToolPin", "ToolPins"]

_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_MOST = 10_000_000
"""Bytes of a file that may be one."""


class ToolPin(BaseModel):
    """What was approved of a tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str
    """That of :func:`understudy.transports.mcp.description_hash`."""
    tool: ToolInfo | None = None
    """As it was then; None: only the hash is known."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = 1
    tools: dict[str, ToolPin]


class ToolPins:
    """Which descriptions of the tools of one server are approved: what an :class:`MCPAgent` offers, and no others.

    ::

        pins = ToolPins()                                   # trust what is there at first, and nothing new
        pins = ToolPins(file="files.pins.json")             # likewise, and remember it
        pins = ToolPins({"read_file": "sha256:..."})        # nothing but that

    It is an object that is passed to each incarnation, so what is approved outlives restarts; with *file* the process
    too. What is not pinned is withheld until a human approves of it, and is pinned then.

    Args:
        pins: Hashes by the names of tools. With any, or with a file that is there, nothing else is trusted at first.
        file: Where to keep them, as JSON. One agent has it for itself.

    Raises:
        InvalidSpec: A hash is none.
    """

    def __init__(self, pins: Mapping[str, str] | None = None, *, file: str | Path | None = None) -> None:
        given = dict(pins or {})
        for name, digest in given.items():
            if _HASH.fullmatch(str(digest)) is None:
                problem = f"must be hashes, 'sha256:' and 64 digits, got {digest!r} for {name!r}"
                raise InvalidSpec(child="ToolPins", field="pins", problem=problem)
        self.file = None if file is None else Path(file)
        self._pins = {name: ToolPin(hash=digest) for name, digest in given.items()}
        # Nothing has been seen, and nothing was said: what is there first is trusted.
        self._open = pins is None

    def get(self, name: str) -> ToolPin | None:
        """What is approved of the tool *name*."""
        return self._pins.get(name)

    def holds(self, tool: ToolInfo) -> bool:
        """Whether *tool* is approved as it is."""
        pin = self._pins.get(tool.name)
        return pin is not None and pin.hash == description_hash(tool)

    def approve(self, tool: ToolInfo) -> None:
        """*tool* is approved as it is."""
        self._pins[tool.name] = ToolPin(hash=description_hash(tool), tool=tool)

    def meet(self, tools: Iterable[ToolInfo]) -> bool:
        """These are there: the first ones are trusted, if nothing was said before; whether anything is new in here.

        Of what only the hash was known, the description is kept as well.
        """
        before = dict(self._pins)
        for tool in tools:
            pin = self._pins.get(tool.name)
            if (self._open and pin is None) or (pin is not None and pin.tool is None and self.holds(tool)):
                self.approve(tool)
        self._open = False
        return before != self._pins

    def read(self) -> None:
        """Take in what the file has, if there is one; blocks.

        Raises:
            InvalidSpec: It cannot be read, or is none. It is not taken for one that is empty.
        """
        if self.file is None:
            return
        problem = ""
        try:
            data = self.file.read_bytes()
            if len(data) > _MOST:
                problem = f"is larger than {_MOST:,} bytes"
            else:
                found = _File.model_validate_json(data)
                problem = _problem_of(found)
                if not problem:
                    self._pins = {**self._pins, **found.tools}
                    self._open = False
        except FileNotFoundError:
            return
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        except ValidationError as error:
            problem = f"is none: {error.error_count()} things in it are not what they should be"
        if problem:
            raise InvalidSpec(child=str(self.file), field="file", problem=f"of approved tools {problem}")

    def write(self) -> None:
        """Put all into the file, whole or not at all; blocks.

        Raises:
            OSError: It cannot be written.
        """
        if self.file is None:
            return
        data = _File(tools=self._pins).model_dump(mode="json")
        replace_file(self.file, json.dumps(data, indent=2, sort_keys=True) + "\n")

    def __len__(self) -> int:
        return len(self._pins)

    def __repr__(self) -> str:
        where = "" if self.file is None else f", in {self.file}"
        return f"<ToolPins of {', '.join(self._pins) or 'nothing'}{where}>"


def _problem_of(file: _File) -> str:
    if file.version != 1:
        return f"is of a version that is not known, {file.version}"
    for name, pin in file.tools.items():
        if _HASH.fullmatch(pin.hash) is None or (pin.tool is not None and description_hash(pin.tool) != pin.hash):
            return f"has a hash of {name!r} that is not that of its description"
    return ""
