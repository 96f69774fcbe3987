"""Secrets that are named in files, and are elsewhere."""

from __future__ import annotations

import os

from understudy.exceptions import InvalidSpec

__all__ = ["token_in"]


def token_in(variable: str, where: str) -> str:
    """The token in the environment variable of that name.

    Raises:
        InvalidSpec: It is not set.
    """
    token = os.environ.get(variable, "")
    if not token:
        raise InvalidSpec(child=where, field="token_variable", problem=f"is {variable}, which is not set")
    return token
