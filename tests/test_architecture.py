"""The rules of the code that no type checker knows: what the core may not call, and what each facade exports."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ParamSpec

import pytest
from typing_extensions import TypeVar

import understudy

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "understudy"

# --- What the source may not call -------------------------------------------------------------------------------------

ENVIRONMENT = "goes through understudy.environment"

MODULES_OF_THE_CORE = {
    "time": ENVIRONMENT,
    "datetime": ENVIRONMENT,
    "random": ENVIRONMENT,
    "uuid": ENVIRONMENT,
    "secrets": ENVIRONMENT,
    "threading": ENVIRONMENT,
    "_thread": ENVIRONMENT,
}
MODULES_OF_THE_PACKAGE = dict.fromkeys(
    ("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "yaml", "ruamel"),
    "runs or builds what a stranger sent",
)
NAMES_OF_THE_CORE = {
    "create_task": "only the environment creates tasks: it owns and names them",
    "ensure_future": "only the environment creates tasks: it owns and names them",
    "Task": "only the environment creates tasks: it owns and names them",
    "sleep": ENVIRONMENT,
    "wait_for": "may swallow a cancel on 3.11; use a deadline of the runtime",
    "Condition": "loses a wake-up when the waiter is cancelled; use a deque and futures",
    "gather": "leaves the others running when one fails",
    "get_event_loop": "deprecated outside a loop; use get_running_loop",
}
NOT_THE_CORE = ("environment.py", "runner.py", "cli/", "testing/")
"""The ports themselves, the runner that makes the event loop, and the command line, which is a user of the core."""

ALLOWED: dict[tuple[str, str], str] = {}
"""Exceptions: the file under src/understudy and the forbidden name, with the reason."""


@dataclass(frozen=True)
class Use:
    """A forbidden name, the line that uses it, and why it is forbidden."""

    name: str
    line: int
    why: str


class _Scan(ast.NodeVisitor):
    """Finds forbidden uses in one module, whatever the names it imports them by."""

    def __init__(self, *, core: bool) -> None:
        self.core = core
        self.modules = MODULES_OF_THE_PACKAGE | (MODULES_OF_THE_CORE if core else {})
        self.names: dict[str, str] = {}  # a name bound by an import, and its full name
        self.found: list[Use] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._module(alias.name, node.lineno)
            self.names[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module is None:
            return
        self._module(node.module, node.lineno)
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            self.names[alias.asname or alias.name] = full
            if alias.name == "*" and full.startswith("asyncio."):
                self._found("asyncio.*", node.lineno, "hides which of its names are used")
            elif alias.name != "Task":  # may be an annotation; calling it is found below
                self._full_name(full, node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self._resolve(node)
        if full is not None and node.attr != "Task":
            self._full_name(full, node.lineno)
        elif self.core and node.attr == "create_task" and _names_a_loop(node.value):
            self._found("asyncio.create_task", node.lineno, NAMES_OF_THE_CORE["create_task"])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        full = self._resolve(node.func)
        if full is not None and full.rpartition(".")[2] == "Task":
            self._full_name(full, node.lineno)
        if full in ("importlib.import_module", "__import__") and node.args:
            match node.args[0]:
                case ast.Constant(value=str() as module):
                    self._module(module, node.lineno)
        self.generic_visit(node)

    def _resolve(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name):
                return self.names.get(name, name if name == "__import__" else None)
            case ast.Attribute(value=value, attr=attr):
                base = self._resolve(value)
                return None if base is None else f"{base}.{attr}"
        return None

    def _module(self, module: str, line: int) -> None:
        top = module.partition(".")[0]
        if why := self.modules.get(top):
            self._found(top, line, why)

    def _full_name(self, full: str, line: int) -> None:
        top, _, rest = full.partition(".")
        name = rest.rpartition(".")[2]
        if self.core and top == "asyncio" and (why := NAMES_OF_THE_CORE.get(name)):
            self._found(f"asyncio.{name}", line, why)

    def _found(self, name: str, line: int, why: str) -> None:
        self.found.append(Use(name, line, why))


def _names_a_loop(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.endswith("loop")
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.endswith("loop")
    return False


def forbidden(source: str, *, core: bool = True) -> list[Use]:
    """The forbidden uses in this source, in the order of its lines."""
    scan = _Scan(core=core)
    scan.visit(ast.parse(source))
    return sorted(scan.found, key=lambda use: use.line)


def sources() -> list[str]:
    """The paths of the package's modules, under src/understudy."""
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def source_of(module: str) -> str:
    return (PACKAGE / module).read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import time", "time"),
        ("import datetime as dt", "datetime"),
        ("from random import Random", "random"),
        ("import uuid", "uuid"),
        ("from secrets import token_hex", "secrets"),
        ("def f():\n    import threading", "threading"),
        ("import asyncio\nasyncio.create_task(f())", "asyncio.create_task"),
        ("import asyncio as aio\naio.ensure_future(f())", "asyncio.ensure_future"),
        ("import asyncio.tasks\nasyncio.tasks.create_task(f())", "asyncio.create_task"),
        ("from asyncio import tasks as t\nt.create_task(f())", "asyncio.create_task"),
        ("import asyncio\nasyncio.get_running_loop().create_task(f())", "asyncio.create_task"),
        ("def f(loop):\n    loop.create_task(g())", "asyncio.create_task"),
        ("class A:\n    def f(self):\n        self._loop.create_task(g())", "asyncio.create_task"),
        ("import asyncio\nasyncio.Task(f(), loop=None)", "asyncio.Task"),
        ("from asyncio import Task as T\nT(f())", "asyncio.Task"),
        ("import asyncio\nspawn = asyncio.create_task", "asyncio.create_task"),
        ("from asyncio import wait_for", "asyncio.wait_for"),
        ("import asyncio\nasync def f():\n    await asyncio.wait_for(g(), 1)", "asyncio.wait_for"),
        ("from asyncio.locks import Condition as C", "asyncio.Condition"),
        ("import asyncio\nasync def f():\n    await asyncio.gather(g())", "asyncio.gather"),
        ("from asyncio import sleep as nap", "asyncio.sleep"),
        ("import asyncio\nasyncio.get_event_loop()", "asyncio.get_event_loop"),
        ("from asyncio import *", "asyncio.*"),
        ("import pickle", "pickle"),
        ("from marshal import loads", "marshal"),
        ("import yaml", "yaml"),
        ("import importlib\nimportlib.import_module('pickle')", "pickle"),
        ("__import__('time')", "time"),
    ],
)
def test_the_scan_finds_each_forbidden_use(source: str, name: str) -> None:
    assert name in {use.name for use in forbidden(source)}


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\nasync def f():\n    async with asyncio.timeout(1): await asyncio.wait([], timeout=1)",
        "import asyncio\nasyncio.get_running_loop().create_future()",
        "import asyncio\ndef f(task: asyncio.Task[None]) -> None: ...",
        "from asyncio import Task\ndef f(task: Task[None]) -> bool: return isinstance(task, Task)",
        "def f(environment):\n    environment.create_task(g())",
        "def f(clock):\n    return clock.time(), clock.sleep(1)",
        "from . import time",
        "class E(Exception):\n    def __reduce__(self): return E, ()",
        "'import time; asyncio.sleep(1)  # in words only'",
    ],
)
def test_the_scan_lets_pass_what_is_not_forbidden(source: str) -> None:
    assert forbidden(source) == []


def test_the_scan_of_what_is_not_the_core_still_finds_what_no_module_may_import() -> None:
    source = "import time, pickle, asyncio\nasyncio.sleep(1)"
    assert [use.name for use in forbidden(source, core=False)] == ["pickle"]


def test_no_module_uses_what_is_forbidden_and_each_exception_is_still_needed() -> None:
    uses = {
        (module, use.name): f"{module}, line {use.line}: {use.name}: {use.why}"
        for module in sources()
        for use in forbidden(source_of(module), core=not module.startswith(NOT_THE_CORE))
    }
    assert [told for use, told in uses.items() if use not in ALLOWED] == []
    assert ALLOWED.keys() - uses.keys() == set()


def test_the_scan_sees_the_whole_core() -> None:
    names = {module.partition("/")[0].removesuffix(".py") for module in sources()}
    assert names >= {"reasons", "exceptions", "messages", "instrument", "environment", "mailbox", "actors", "_plans"}
    assert names >= {"supervision", "system", "cli", "__init__"}


# --- Imports ----------------------------------------------------------------------------------------------------------


def facade_imports(source: str) -> list[str]:
    """The names that this source imports from one of our packages instead of from the module that defines them."""
    return [
        f"line {node.lineno}: {alias.name} from {node.module}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "understudy"
        for alias in node.names
        if _is_package(node.module) and not _exists(f"{node.module}.{alias.name}")
    ]


def _is_package(module: str) -> bool:
    return (ROOT / "src").joinpath(*module.split("."), "__init__.py").exists()


def _exists(module: str) -> bool:
    path = (ROOT / "src").joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def test_an_import_through_a_facade_is_found() -> None:
    source = "from understudy import Actor, reasons\nfrom understudy.mailbox import AsyncMessageQueue\nimport asyncio"
    assert facade_imports(source) == [
        "line 1: Actor from understudy",
        "line 2: AsyncMessageQueue from understudy.mailbox",
    ]
    assert facade_imports("from understudy.reasons import Normal") == []


def test_modules_import_a_name_from_where_it_is_defined() -> None:
    modules = [module for module in sources() if not module.endswith("__init__.py")]
    found = {module: facade_imports(source_of(module)) for module in modules}
    assert {module: names for module, names in found.items() if names} == {}


DEPENDENCIES = """
import pydantic, structlog, tenacity, typing_extensions
class Model(pydantic.BaseModel):
    number: typing_extensions.Annotated[int, pydantic.Field(ge=1)]
"""
"""Uses them as the package does: pydantic loads parts of itself with the first model, structlog `rich` if it can."""


def loaded_by(statement: str) -> set[str]:
    """The top-level modules, but for the standard library's, that a fresh interpreter holds after *statement*."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {name.partition(".")[0] for name in json.loads(done.stdout)}
    return {name for name in names if name not in sys.stdlib_module_names and not name.startswith("__")}


def test_importing_the_package_loads_nothing_but_its_dependencies() -> None:
    dependencies = loaded_by(DEPENDENCIES)
    assert dependencies >= {"pydantic", "structlog", "tenacity", "typing_extensions"}
    ours = loaded_by("import understudy")
    assert "understudy" in ours
    assert ours - {"understudy"} - dependencies == set()


def test_importing_the_package_does_not_load_the_command_line() -> None:
    loaded = loaded_by("import sys, understudy\nassert 'understudy.cli' not in sys.modules")
    assert (loaded - loaded_by(DEPENDENCIES)) & {"typer", "rich", "click"} == set()


# --- Facades ----------------------------------------------------------------------------------------------------------


@functools.cache
def modules() -> dict[str, ModuleType]:
    """Every importable module of the package, by its name; `__main__` runs on import and is left out."""
    names = ["understudy", *(info.name for info in pkgutil.walk_packages(understudy.__path__, "understudy."))]
    return {name: importlib.import_module(name) for name in names if not name.endswith(".__main__")}


def facades() -> list[str]:
    """The public packages and modules that say what they export."""
    return [name for name, module in modules().items() if hasattr(module, "__all__") and not is_private(name)]


def is_private(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("."))


def test_each_public_package_is_a_facade() -> None:
    packages = {name for name, module in modules().items() if hasattr(module, "__path__") and not is_private(name)}
    assert packages >= {"understudy", "understudy.mailbox", "understudy.actors", "understudy.supervision"}
    assert packages - set(facades()) == set()


@pytest.mark.parametrize("name", facades())
def test_all_is_sorted_and_each_name_exists(name: str) -> None:
    module = modules()[name]
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [each for each in module.__all__ if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", facades())
def test_all_matches_the_public_names(name: str) -> None:
    module = modules()[name]
    public = {each for each, value in vars(module).items() if not each.startswith("_") and _belongs(module, value)}
    assert public - set(module.__all__) == set()


def _belongs(module: ModuleType, value: object) -> bool:
    """Whether a public name bound to *value* is part of the module's face, and not just something it uses."""
    if isinstance(value, ModuleType | TypeVar | typing.TypeVar | ParamSpec) or type(value).__module__ == "__future__":
        return False
    # A package binds what it exports and nothing else; a module also binds what it imports.
    return hasattr(module, "__path__") or getattr(value, "__module__", None) == module.__name__


# --- Text -------------------------------------------------------------------------------------------------------------

# Spelt so that no pattern matches itself.
UNWANTED = {
    "a path outside the checkout": re.compile(r"(?:\.\./)+(?:sha)(?:red)\b"),
    "a path of one machine": re.compile(r"(?<![\w./<>-])/(?:work|root|home/\w+|Users/\w+)(?=/)"),
    "a number of some tracker": re.compile(
        r"\bissues?\s+#?\d+\b|\(#\d+\)|\b(?:fix|close)(?:es|s|d)?\s+#\d+", re.IGNORECASE
    ),
    "the host of a package registry": re.compile(
        r"\b(?:pypi\.(?:org)|files\.python(?:hosted)\.org|registry\.(?:npmjs)\.org|deb\.(?:debian)\.org)"
    ),
}


def unwanted(text: str) -> list[str]:
    """What this text should not name, with the line."""
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {what}: {match.group()!r}"
        for what, pattern in UNWANTED.items()
        for match in pattern.finditer(text)
    ]


def texts() -> list[Path]:
    """The text files of the project: what git tracks or would add, or, in an unpacked archive, what is there."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    )
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not path.relative_to(ROOT).parts[0].startswith(".venv")]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


@pytest.mark.parametrize(
    "text",
    [
        "see " + "../" + "shared/notes",
        "cd /" + "work/main",
        "#!/" + "root/bin/python",
        "in '/" + "home/jane/src'",
        "issue" + " 12",
        "closes" + " #7",
        "https://" + "pypi" + ".org/simple",
    ],
)
def test_unwanted_text_is_found(text: str) -> None:
    assert len(unwanted(text)) == 1


@pytest.mark.parametrize("text", ["/user/orders/worker-3", "src/work/queue.py", "gh-116720", "the issue of 2 tasks"])
def test_wanted_text_passes(text: str) -> None:
    assert unwanted(text) == []


def test_no_file_names_what_only_one_machine_has() -> None:
    paths = texts()
    assert {path.relative_to(ROOT).as_posix() for path in paths} >= {"pyproject.toml", "Makefile", "tests/conftest.py"}
    found = {
        path.relative_to(ROOT).as_posix(): told
        for path in paths
        if (told := unwanted(path.read_text("utf-8", errors="replace")))
    }
    assert found == {}
