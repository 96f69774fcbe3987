"""``understudy token``: a secret for links, in a file that only its owner can read."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from understudy.exceptions import UsageError
from understudy.transports._token_file import write_token

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_token"]

_BYTES = 32


def make_token(path: Path, *, force: bool) -> str:
    """Make a token, put it into the file at *path*, and return what there is to say about that, which is not the token.

    Raises:
        UsageError: The file is there and *force* is not set, or it cannot be written; a sentence for the user.
    """
    try:
        write_token(path, secrets.token_urlsafe(_BYTES), overwrite=force)
    except FileExistsError:
        problem = "is there already, and who uses it would be shut out: --force makes a new one"
        raise UsageError(f"{path} {problem}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return f"{path}: a new token, which only you can read (mode 0600)"
