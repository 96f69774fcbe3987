"""Keys by which messages are routed: their bytes are the same in all processes."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

__all__ = ["Key", "encoded"]

Key: TypeAlias = "str | bytes | int | Enum | tuple[Key, ...]"
"""What can be routed by: its hash is the same in all processes."""


def encoded(key: Key) -> bytes:
    """*key* as bytes; those of unequal keys differ, those of equal keys do not, as `True` and `1`.

    Raises:
        TypeError: The key is of another type.
    """
    match key:
        case str():
            return b"s" + key.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + key
        case int():
            return b"i%x" % int(key)
        case tuple():
            return b"t" + b"".join(b"%d:%b" % (len(part), part) for part in map(encoded, key))
        case Enum() if isinstance(getattr(key, "name", None), str):
            return f"e{type(key).__qualname__}.{key.name}".encode()
        case _:
            raise TypeError(
                f"a key must be a str, bytes, an int, a member of an enumeration or a tuple of these, got {key!r} of "
                f"type {type(key).__name__}: others have no hash that all processes agree on; use its id, or str(...)"
            )
