"""What the meeting decides about: its shared state, and the rules for changing it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Plan"]


class Plan(BaseModel):
    """Where bees shall live, and how many."""

    model_config = ConfigDict(frozen=True)

    place: str = ""
    hives: int = Field(default=0, ge=0, le=3)
