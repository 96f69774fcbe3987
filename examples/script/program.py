"""A plain script with threads, and actors beside it.

python -m examples.script.program
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog

from understudy import ActorFailed, ActorRef, ActorSystem, Background, Refused, SystemCollapsed, child

from .actors import Add, Words, WordsOf, Writer

__all__ = ["count", "main"]

TEXTS = ["the cat and the dog", "", "a dog and a bone", "the end"]


def count(writer: ActorRef[Add | WordsOf], text: str) -> str:
    """In any thread: what has come of one text."""
    try:
        return f"{writer.ask_threadsafe(Add(text=text)).result()} words in {text!r}"
    except Refused as refused:
        return f"{text!r} refused: {refused}"
    except ActorFailed as failed:
        return f"{text!r} failed: {failed.__cause__}"


def main() -> None:
    """From the start of the actors to their end."""
    logging = structlog.make_filtering_bound_logger(50)  # "critical": what the log would say, the script says itself
    structlog.configure(wrapper_class=logging)
    try:
        with Background(ActorSystem(child(Words, Counter()).options(name="words"))) as background:
            writer = background.call(background.system.lookup, "words/writer", Writer)
            with ThreadPoolExecutor(4) as threads:
                for line in threads.map(partial(count, writer), TEXTS):
                    print(line)
            print("most:", writer.ask_threadsafe(WordsOf(most=3)).result(timeout=5.0))
            print(count(writer, "crash"))
            print("most:", writer.ask_threadsafe(WordsOf(most=1)).result(timeout=5.0))
            print(count(writer, "crash again"))
            background.call(background.system.wait_stopped)
    except SystemCollapsed as collapse:
        print(collapse)


if __name__ == "__main__":
    main()
