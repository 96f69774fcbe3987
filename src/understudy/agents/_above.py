"""What is above an agent in its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from understudy.agents._model import Model

__all__ = ["line_of", "model_above", "people_can_be_asked"]


def line_of(agent: Any) -> Iterator[Any]:
    """*agent*, and all actors above it that are up, the nearest first."""
    cell = agent._understudy_cell
    while cell is not None:
        yield cell.actor
        cell = cell.parent


def model_above(agent: Any) -> Model | None:
    """The model that the program or runtime of *agent* has for agents that were given none."""
    given = (getattr(actor, "model_of_all", None) for actor in line_of(agent))
    return next((model for model in given if model is not None), None)


def people_can_be_asked(agent: Any) -> bool:
    """Whether the program or runtime of *agent* says nothing else."""
    return all(getattr(actor, "people_can_be_asked", True) for actor in line_of(agent))
