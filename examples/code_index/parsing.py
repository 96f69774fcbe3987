"""What is done to one file. This is what runs in the worker processes, so it imports little and nothing of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Definition", "Kind", "Module", "parse"]

Kind: TypeAlias = Literal["function", "class", "import"]


class Definition(NamedTuple):
    """A name that a file defines, or imports, and the line on which it does."""

    kind: Kind
    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """What was found in one file: its names, which are few beside the nodes of its syntax tree."""

    path: Path
    definitions: tuple[Definition, ...]


def parse(path: Path) -> Module:
    """Read and parse the file at *path*.

    The bytes go to the parser as they are, because it is the parser that finds out their encoding, as it does when the
    file is imported.

    Raises:
        SyntaxError: It is not Python, of this version; also for most of what is wrong with an encoding.
        MemoryError: It is nested too deep for the parser.
        RecursionError, ValueError, UnicodeDecodeError: Other ways in which some versions say the same.
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path.name)
    return Module(path, tuple(definitions(tree)))


def definitions(tree: ast.Module) -> Iterator[Definition]:
    """All that *tree* defines, also inside of functions and classes, in no particular order.

    Only statements can define a function, a class or an import, so no expression is looked at, which is most of a tree.
    """
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield Definition("function", name, node.lineno)
            case ast.ClassDef(name=name):
                yield Definition("class", name, node.lineno)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for alias in names:
                    yield Definition("import", alias.name, node.lineno)
            case _:
                pass
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            statements: list[ast.AST] = getattr(node, block, [])
            pending.extend(statements)
