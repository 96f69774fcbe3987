"""The state of an actor: its attributes, wherever they are kept, without those of the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from types import MemberDescriptorType
from typing import Any

__all__ = ["OURS", "attributes_of", "put_attributes"]

OURS = "_understudy"
"""How the names of the runtime's own attributes begin."""


def attributes_of(actor: object) -> dict[str, Any]:
    """The attributes of *actor* that are set, by their names: a new dictionary of the values themselves."""
    found = {name: value for name, value in vars(actor).items() if not name.startswith(OURS)}
    for name, slot in _slots(type(actor)).items():
        try:
            found[name] = slot.__get__(actor)
        except AttributeError:  # not set
            continue
    return found


def put_attributes(actor: object, attributes: Mapping[str, Any]) -> None:
    """Let *actor* have these attributes and no others; past ``__setattr__``, for the class may be frozen."""
    slots, kept = _slots(type(actor)), vars(actor)
    for name in [name for name in kept if not name.startswith(OURS)]:
        del kept[name]
    for slot in slots.values():
        try:
            slot.__delete__(actor)
        except AttributeError:  # it was not set
            continue
    for name, value in attributes.items():
        if name in slots:
            slots[name].__set__(actor, value)
        else:
            kept[name] = value


def _slots(cls: type) -> dict[str, MemberDescriptorType]:
    return {
        name: member
        for base in reversed(cls.__mro__)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    }
