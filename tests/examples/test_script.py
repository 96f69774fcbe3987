"""The example `examples/script`. What it prints is tested with the command of its README."""

from __future__ import annotations

from collections import Counter

from examples.script.actors import Add, Words, WordsOf, Writer
from examples.script.program import TEXTS, count
from understudy import ActorSystem, Background, child


def test_the_counts_outlive_a_crash_as_they_belong_to_the_script() -> None:
    counts: Counter[str] = Counter()
    with Background(ActorSystem(child(Words, counts).options(name="words"))) as background:
        writer = background.call(background.system.lookup, "words/writer", Writer)
        assert [count(writer, text) for text in (TEXTS[0], "crash", "the end")] == [
            "5 words in 'the cat and the dog'",
            "'crash' failed: too much",
            "2 words in 'the end'",
        ]
        assert writer.ask_threadsafe(WordsOf(most=1)).result(5) == [("the", 3)]
        assert writer.ask_threadsafe(Add(text="on")).result(5) == 1
    assert counts == Counter({"the": 3, "cat": 1, "and": 1, "dog": 1, "end": 1, "on": 1})
