"""What the models of this example say."""

from __future__ import annotations

from understudy.agents import Answer, ScriptedModel, UseTool

__all__ = ["beekeeper", "chair", "gardener", "treasurer"]


def chair() -> ScriptedModel:
    """Chooses who speaks, by the tool that structured answers are given with, and closes the meeting."""
    order = ["gardener", "beekeeper", "treasurer", "treasurer", "neighbour"]
    choices: list[Answer] = [UseTool("final_answer", name=name, why="") for name in order]
    return ScriptedModel([*choices, UseTool("final_answer", name=None, why="we are agreed")], name="chair")


def gardener() -> ScriptedModel:
    """Chooses a place, and sees who else has to be there."""
    return ScriptedModel(
        [
            UseTool("choose_place", place="the orchard"),
            UseTool("call_the_neighbour", text="We talk about your fence. Are you coming?"),
            "I propose the orchard; the neighbour is coming.",
        ],
        name="gardener",
    )


def beekeeper() -> ScriptedModel:
    """Wants more than the plan allows, and is told so."""
    return ScriptedModel(
        [
            UseTool("place_hives", hives=5),
            UseTool("place_hives", hives=3),
            "Five would be too many, so three.",
        ],
        name="beekeeper",
    )


def treasurer() -> ScriptedModel:
    """Crashes the first time."""
    return ScriptedModel(
        [OSError("the client of this model has a bug"), "Three hives we can afford."], name="treasurer"
    )
