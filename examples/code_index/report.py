"""What is told at the end: plain data, the check of the sum, and the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .parsing import Definition

__all__ = ["Failure", "SumError", "Tally", "answer", "check", "summary"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file could not be parsed: what its parser crashed with."""

    path: Path
    kind: str
    text: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= 100 else f"{self.text[:99]}…"
        return f"{self.kind}: {text}" if text else self.kind


@dataclass(frozen=True, slots=True)
class Tally:
    """What the index has collected."""

    indexed: frozenset[Path]
    failures: Mapping[Path, Failure]
    twice: tuple[Path, ...]
    """Files of which it was told more than once."""
    found: Mapping[str, int]
    """How many functions, classes and imports."""
    places: tuple[tuple[Path, Definition], ...] = ()
    """Where the name that was asked for is defined or imported."""


class SumError(Exception):
    """Files were lost, counted twice, or came from nowhere."""


def check(seen: Collection[Path], tally: Tally) -> str:
    """The sum, as a sentence.

    Raises:
        SumError: It does not hold; says which files are missing or too many.
    """
    given, counted = set(seen), tally.indexed | set(tally.failures)
    wrong = {
        "lost": given - counted,
        "counted but never seen": counted - given,
        "counted twice": {*tally.twice, *(tally.indexed & set(tally.failures))},
    }
    if found := [f"{what}: {', '.join(map(shown, sorted(paths)))}" for what, paths in wrong.items() if paths]:
        raise SumError("; ".join(found))
    return (
        f"The sum holds: {len(seen):,} seen = {len(tally.indexed):,} indexed + {len(tally.failures):,} failed; "
        "none lost, none counted twice."
    )


def summary(seen: Collection[Path], tally: Tally, *, crashes: int, restarts: int, seconds: float) -> Iterator[str]:
    """The lines that say what was found and what was survived."""
    failures = sorted(tally.failures.values(), key=lambda failure: failure.path)
    kinds = Counter(failure.kind for failure in failures).most_common()
    if failures:
        yield f"Parsers crashed on these {len(failures):,} files, and their understudies went on:"
        width = max(len(_short(failure.path)) for failure in failures)
        yield from (f"  {_short(failure.path):{width}}  {failure}" for failure in failures)
        yield ""
    yield f"files seen    {len(seen):7,}"
    yield f"  indexed     {len(tally.indexed):7,}"
    yield f"  failed      {len(failures):7,}  {_counted(kinds)}".rstrip()
    yield f"crashes       {crashes:7,}"
    yield f"restarts      {restarts:7,}"
    yield f"definitions   {sum(tally.found.values()):7,}  {_counted(tally.found.items())}".rstrip()
    yield f"seconds       {seconds:7.1f}"


def answer(query: str, tally: Tally) -> Iterator[str]:
    """The lines that say where *query* is defined."""
    defined = sorted((path, at.line, at.kind) for path, at in tally.places if at.kind != "import")
    imported = len(tally.places) - len(defined)
    if defined:
        yield f"{query} is defined in"
        yield from (f"  {shown(path)}:{line}  {kind}" for path, line, kind in defined)
    else:
        yield f"{query} is defined nowhere in these folders"
    if imported:
        yield f"and imported in {imported:,} place{'s' if imported > 1 else ''}"


def shown(path: Path) -> str:
    """*path* for people: a name may hold line ends, or bytes that are no text."""
    return text if (text := str(path)).isprintable() else repr(text)


def _short(path: Path) -> str:
    return shown(Path(path.parent.name, path.name))


def _counted(numbers: Collection[tuple[str, int]]) -> str:
    return ", ".join(f"{what} {number:,}" for what, number in numbers)
