"""What stands at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Never

from understudy.actors._actor import Actor

if TYPE_CHECKING:
    from understudy._plans._spec import Options

__all__ = ["Guardian"]


class Guardian(Actor[Never]):
    """The parent at ``/user`` or ``/system``; only the deadline of the whole system bounds its end."""

    defaults: ClassVar[Options] = {"shutdown": "infinity"}
