"""Programs that are declared in TOML files."""

from __future__ import annotations

import importlib
import re
import reprlib
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.actors._actor import Actor
from understudy.actors._child import as_spec
from understudy.agents._errors import InvalidProgram
from understudy.agents._program import AsyncProgram
from understudy.agents._runtime import agent_group
from understudy.exceptions import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from understudy._plans._spec import ChildSpec

__all__ = ["FileProgram", "load_program"]

_MOST = 1_000_000
"""Bytes of a file that may be one."""
_CLASS = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _AgentTable(_Model):
    """``[agents.NAME]``."""

    cls: str = Field(alias="class", pattern=f"^{_CLASS}$")
    arguments: dict[str, Any] = {}
    restart: Literal["permanent", "transient", "temporary"] | None = None
    shutdown: float | Literal["infinity", "brutal_kill"] | None = None
    mailbox: int | None = Field(default=None, ge=1)
    start_timeout: float | None = Field(default=None, gt=0)
    max_handling_seconds: float | None = Field(default=None, gt=0)
    max_restarts: int | None = Field(default=None, ge=0)
    max_seconds: float | None = Field(default=None, gt=0)
    depends_on: list[str] | None = None


class _GroupTable(_Model):
    """``[groups.NAME]``."""

    agents: list[str] = Field(min_length=1)
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = "one_for_one"
    max_restarts: int = Field(default=3, ge=0)
    max_seconds: float = Field(default=5.0, gt=0)


class _ProgramTable(_Model):
    """``[program]``."""

    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    initialize_timeout: float = Field(default=30.0, gt=0)
    execute_timeout: float = Field(default=float("inf"), gt=0)
    clean_up_timeout: float = Field(default=5.0, gt=0)
    keep_going: bool = False
    front: str | None = Field(default=None, min_length=1)


class _File(_Model):
    program: _ProgramTable = _ProgramTable()
    agents: dict[str, _AgentTable] = Field(min_length=1)
    groups: dict[str, _GroupTable] = {}


class FileProgram(AsyncProgram):
    """A program that a TOML file declares; made by :func:`load_program`."""

    def __init__(self, name: str, specs: Sequence[ChildSpec[Any]]) -> None:
        self.name = name
        self._specs = tuple(specs)

    def agents(self) -> Sequence[ChildSpec[Any]]:
        return self._specs


def load_program(path: str | Path) -> FileProgram:
    """The program that a TOML file declares.

    ::

        [program]
        name = "research"
        execute_timeout = 60.0

        [agents.writer]
        class = "team:Writer"               # module:Class; the folder of the file is looked into first
        arguments = { topic = "bees" }      # keywords of its constructor

        [agents.critic]
        class = "team:Critic"
        restart = "permanent"

        [groups.panel]
        agents = ["critic"]
        strategy = "one_for_all"

    The keys of an agent are ``class``, ``arguments`` and the options of :meth:`ChildSpec.options` that have plain
    values; those of ``[program]`` are the attributes of :class:`AsyncProgram`. The folder of the file is put on
    ``sys.path``, as if Python ran it: a file of this kind is as good as a program, and is to be trusted like one.

    Raises:
        InvalidProgram: There is no such file, or it cannot be used: says for each problem the line, the key, and what
            is allowed. Nothing was started.
    """
    file = Path(path)
    text = _read(file)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, error) from None
    source = _Source(file, text)
    try:
        declared = _File.model_validate(data)
    except ValidationError as error:
        problems: dict[tuple[str, ...], list[str]] = {}
        for each in error.errors():
            problems.setdefault(_key_of(each["loc"]), []).append(_words(each))
        raise source.invalid([(key, " or ".join(words)) for key, words in problems.items()]) from None
    return _Loader(source, declared).program()


class _Source:
    """The text of a file, for telling where in it something is."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines = text.splitlines()

    def invalid(self, problems: Sequence[tuple[Sequence[str], str]]) -> InvalidProgram:
        """The error that says all these *problems*, each of a key."""
        return InvalidProgram(
            file=str(self.file), problems=[(self.line_of(key), ".".join(key), problem) for key, problem in problems]
        )

    def line_of(self, key: Sequence[str]) -> int | None:
        """The line where *key* is set; for one that is not there, that of the table in which it would be.

        The line is where the file, read line by line, first has the key: TOML says nothing of places, and reading it a
        second way would be another parser.
        """
        while key:
            before = 0  # the last line at which the file so far was complete
            for number in range(1, len(self.lines) + 1):
                try:
                    data: Any = tomllib.loads("\n".join(self.lines[:number]))
                except tomllib.TOMLDecodeError:
                    continue
                if _has(data, key):
                    return before + 1
                before = number
            key = key[:-1]
        return None


class _Loader:
    """Turns what a file declares into specs."""

    def __init__(self, source: _Source, declared: _File) -> None:
        self._source = source
        self._declared = declared

    def program(self) -> FileProgram:
        """The program, checked whole."""
        folder = str(self._source.file.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        declared = self._declared
        specs = {name: self._spec(name, table) for name, table in declared.agents.items()}
        grouped = self._check_groups()
        tops = [spec for name, spec in specs.items() if name not in grouped]
        tops += [self._group(name, table, specs) for name, table in declared.groups.items()]
        table = declared.program
        program = FileProgram(table.name or _name_of(self._source.file), tops)
        program.initialize_timeout = table.initialize_timeout
        program.execute_timeout = table.execute_timeout
        program.clean_up_timeout = table.clean_up_timeout
        program.keep_going = table.keep_going
        program.front = table.front
        try:
            program.spec()
        except InvalidSpec as error:
            raise self._misplaced(error) from error
        return program

    def _spec(self, name: str, table: _AgentTable) -> ChildSpec[Any]:
        cls = self._class(name, table.cls)
        options = table.model_dump(exclude={"cls", "arguments"}, exclude_none=True)
        try:
            return as_spec(cls, (), table.arguments).options(name=name, **options)
        except InvalidSpec as error:
            raise self._source.invalid([(("agents", name, error.field), error.problem)]) from error

    def _class(self, name: str, text: str) -> type[Actor[Any]]:
        module_name, _, class_name = text.partition(":")
        key = ("agents", name, "class")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            problem = f"importing {module_name} raised {type(error).__name__}: {error}"
            raise self._source.invalid([(key, problem)]) from error
        found: object = getattr(module, class_name, None)
        if not (isinstance(found, type) and issubclass(found, Actor)):
            problem = f"must name a class of agents, and {class_name} of {module_name} is none"
            raise self._source.invalid([(key, problem)])
        return cast("type[Actor[Any]]", found)  # type: ignore[redundant-cast]  # pyright sees Actor[Unknown]

    def _check_groups(self) -> set[str]:
        grouped: dict[str, str] = {}
        for name, table in self._declared.groups.items():
            key = ("groups", name, "agents")
            if name in self._declared.agents:
                raise self._source.invalid([(("groups", name), f"there is an agent {name!r} too: use another name")])
            for agent in table.agents:
                if agent not in self._declared.agents:
                    known = ", ".join(self._declared.agents)
                    raise self._source.invalid([(key, f"names {agent!r}, which is no agent: there are {known}")])
                if agent in grouped:
                    raise self._source.invalid([(key, f"names {agent!r}, which is in {grouped[agent]!r} already")])
                grouped[agent] = name
        return set(grouped)

    def _group(self, name: str, table: _GroupTable, specs: Mapping[str, ChildSpec[Any]]) -> ChildSpec[Any]:
        try:
            return agent_group(
                name,
                *(specs[agent] for agent in table.agents),
                strategy=table.strategy,
                max_restarts=table.max_restarts,
                max_seconds=table.max_seconds,
            )
        except InvalidSpec as error:
            raise self._misplaced(error, ("groups", name)) from error

    def _misplaced(self, error: InvalidSpec, key: Sequence[str] = ("agents",)) -> InvalidProgram:
        """*error*, which is about the place of an agent among others, at the key where it was said."""
        for name in self._declared.agents:
            if f"child {name!r}" in error.child:
                return self._source.invalid([(("agents", name, error.field), error.problem)])
        return self._source.invalid([((*key, error.field), error.problem)])


def _read(file: Path) -> str:
    problem = ""
    try:
        data = file.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        data = b""
    if len(data) > _MOST:
        problem = f"is larger than {_MOST:,} bytes"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text, problem = "", f"is not UTF-8: {error.reason} at byte {error.start}"
    if problem:
        raise InvalidProgram(file=str(file), problems=[(None, "", problem)])
    return text


def _syntax_error(file: Path, error: tomllib.TOMLDecodeError) -> InvalidProgram:
    found = re.search(r"^(.*?) ?\(at (?:line (\d+), column \d+|end of document)\)$", str(error), re.DOTALL)
    problem, line = (found[1], found[2]) if found else (str(error), None)
    return InvalidProgram(file=str(file), problems=[(None if line is None else int(line), "", problem)])


def _key_of(location: Sequence[int | str]) -> tuple[str, ...]:
    """The key in the file that pydantic's *location* is about; it has the names of union members in it too."""
    parts = tuple(str(part) for part in location)
    known = {*_AgentTable.model_fields, *_GroupTable.model_fields, *_ProgramTable.model_fields, "class"}
    depth = 2 if parts[0] == "program" else 3
    return parts if len(parts) <= depth or parts[depth - 1] not in known else parts[:depth]


def _words(error: Any) -> str:
    got = "" if error["type"] == "missing" else f", got {reprlib.repr(error['input'])}"
    said: str = error["msg"]
    if error["type"] == "extra_forbidden":
        said, got = "is no key that is known here", ""
    if error["type"] == "string_pattern_mismatch" and error["loc"][-1] == "class":
        said = "must be module:Class"
    return f"{said[:1].lower()}{said[1:]}{got}"


def _has(data: Any, key: Sequence[str]) -> bool:
    for part in key:
        if not isinstance(data, dict) or part not in data:
            return False
        data = cast("dict[str, Any]", data)[part]
    return True


def _name_of(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", file.stem).strip(".") or "program"
