"""Under which names classes cross links."""

from __future__ import annotations

from understudy.transports._errors import MessageNotAccepted

__all__ = ["tag_of"]


def tag_of(cls: type) -> str:
    """The name under which *cls* crosses links: its ``wire_name``, else where it is defined.

    Raises:
        MessageNotAccepted: It has no ``wire_name``, and where it is defined is nothing that another process finds.
    """
    own = cls.__dict__.get("wire_name")
    if own is not None:
        if not isinstance(own, str) or not own or len(own) > 255 or not own.isprintable():
            raise MessageNotAccepted(what=cls.__qualname__, problem=f"wire_name must be a short text, got {own!r}")
        return own
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        where = "in a function" if "<locals>" in cls.__qualname__ else "in __main__"
        problem = f'it is defined {where}: give it a name, `wire_name: ClassVar[str] = "..."`, or move it to a module'
        raise MessageNotAccepted(what=cls.__qualname__, problem=problem)
    return f"{cls.__module__}.{cls.__qualname__}"
