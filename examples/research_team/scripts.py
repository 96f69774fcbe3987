"""What the models of this example say, and where their knowledge is from."""

from __future__ import annotations

from understudy.agents import Answer, ScriptedModel, UseTool

__all__ = ["LIBRARY", "chief", "critic", "researcher"]

LIBRARY = {
    "bees": ["Bees are insects.", "A bee has two pairs of wings."],
    "spiders": ["Spiders are arachnids.", "A spider has eight legs."],
}
"""What there is to be found."""

_MOST = 100
"""Words of an answer."""


def researcher(topic: str, *, crashes: bool = False) -> ScriptedModel:
    """Looks a topic up, and tells what it has found; one that *crashes* does so the first time it is called."""
    answers: list[Answer] = [UseTool("read", topic=topic), " ".join(LIBRARY[topic])]
    crash: list[Answer] = [OSError("the client of this model has a bug")] if crashes else []
    return ScriptedModel([*crash, *answers], name=topic, max_tokens=_MOST)


def critic() -> ScriptedModel:
    """Judges what it is shown, by the tool that structured answers are given with."""
    return ScriptedModel([UseTool("final_answer", good=True, why="both have sources")], name="critic", max_tokens=_MOST)


def chief() -> ScriptedModel:
    """Asks both researchers at once, one of them again, and then writes."""
    return ScriptedModel(
        [
            [
                "I ask both.",
                UseTool("ask_bees", text="What are bees?"),
                UseTool("ask_spiders", text="What are spiders?"),
            ],
            ["Spiders once more.", UseTool("ask_spiders", text="What are spiders?")],
            "Bees are insects with two pairs of wings; spiders are arachnids with eight legs.",
        ],
        name="chief",
        max_tokens=_MOST,
    )
