"""A message class whose name somebody else uses too."""

from __future__ import annotations

from typing import ClassVar

from understudy import Message


class Twin(Message[None]):
    wire_name: ClassVar[str | None] = "twin"
