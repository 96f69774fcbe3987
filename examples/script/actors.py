"""Who keeps the counts."""

from __future__ import annotations

from collections import Counter

from understudy import Actor, ChildSpec, Message, Refused, Supervisor, child, handler

__all__ = ["Add", "Words", "WordsOf", "Writer"]


class Add(Message[int]):
    """Count the words of *text*; answered with how many there were."""

    text: str


class WordsOf(Message[list[tuple[str, int]]]):
    """The most frequent words."""

    most: int


class Writer(Actor[Add | WordsOf]):
    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts  # given by the script: it outlives a crash

    @handler
    def add(self, message: Add) -> int:
        words = message.text.lower().split()
        if not words:
            raise Refused("there is nothing in it")
        if "crash" in words:
            raise ValueError("too much")
        self.counts.update(words)
        return len(words)

    @handler
    def most(self, message: WordsOf) -> list[tuple[str, int]]:
        return sorted(self.counts.most_common(), key=lambda pair: (-pair[1], pair[0]))[: message.most]


class Words(Supervisor):
    """Bears one crash, not two."""

    max_restarts = 1

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    def children(self) -> list[ChildSpec]:
        return [child(Writer, self.counts)]
