"""Says what is missing, before anything is started."""

from __future__ import annotations

from importlib.util import find_spec

from understudy.exceptions import MissingExtra

__all__ = ["need"]


def need(package: str, *, extra: str, what: str) -> None:
    """Refuse to go on if *package* is not installed; it is not imported.

    Raises:
        MissingExtra: It is not; says what to install.
    """
    if find_spec(package) is None:
        raise MissingExtra(what=what, package=package, extra=extra)
