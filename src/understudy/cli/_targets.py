"""From TARGET, a text, to the tree that it names."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar

from understudy._plans._spec import ChildSpec
from understudy.actors._child import child
from understudy.agents._agent import AsyncAgent
from understudy.agents._errors import InvalidProgram
from understudy.agents._program import AsyncProgram
from understudy.agents._program_file import load_program
from understudy.cli._lone import LoneAgent, answers
from understudy.exceptions import InvalidSpec, UsageError
from understudy.supervision._supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

__all__ = ["Target", "declare", "guarded", "load", "spec_of"]

T = TypeVar("T")
Tree: TypeAlias = "type[Supervisor] | ChildSpec[Any] | type[AsyncProgram] | AsyncProgram | type[AsyncAgent[Any]]"

PROGRAM = "program"
"""What a file calls the tree to run when it defines several, and the name of that file in a folder."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a TARGET led to; *text* is how the user put it."""

    text: str
    tree: Tree


def load(text: str, *, agents: bool = False) -> Target:
    """Import what *text* names and find the tree in it, or with *agents* a class of agents that people can talk to.

    =====================  =============================================================
    ``module:Name``        in a module; the current folder is searched first
    ``path/to/file.py``    in a file: ``program``, else the only tree that it defines
    ``file.py:Name``       in a file, by name
    ``folder``             in its ``program.py``; ``folder:Name`` as well
    ``path/to/file.toml``  a program of agents that the file declares
    =====================  =============================================================

    The file's folder comes first on ``sys.path``, as if Python ran the file. A file in a package (a folder with an
    ``__init__.py``) is imported as a part of it, relative imports included, and the folder around the package comes
    first. Both so that processes which the program spawns can import the same modules under the same names.

    Raises:
        UsageError: There is no such thing, importing it failed, or it is not a tree; a sentence for the user.
    """
    if Path(text).suffix == ".toml":
        return Target(text, _declared_in(text))
    place, name = _split(text)
    path = _file(place, named=name is not None)
    if path is not None:
        text = str(path) if name is None else f"{path}:{name}"
        file = path.resolve()
        module = guarded(text, lambda: _import_file(file), folder=file.parent)
    else:
        _first_on_path(Path.cwd())
        module = guarded(text, lambda: _import_module(place), folder=Path.cwd())
    return Target(text, _find(module, name, text, agents=agents))


def declare(target: Target, args: Sequence[str]) -> ChildSpec[Any] | AsyncProgram:
    """The spec, or the program, of *target*, made by its ``from_args`` if it has one.

    Raises:
        UsageError: *args* do not fit, or the spec does not validate.
    """
    made_already = isinstance(target.tree, AsyncProgram)
    from_args: Callable[[Sequence[str]], object] | None = (
        None if made_already else getattr(target.tree, "from_args", None)
    )
    if from_args is None:
        if args:
            raise UsageError(f"{target.text} takes no arguments (it has no from_args), got: {' '.join(args)}")
        return _without_arguments(target.text, target.tree) if isinstance(target.tree, type) else target.tree
    made = guarded(target.text, lambda: from_args(args), "its from_args raised")
    if _is_spec(made) and answers(made.factory):
        return LoneAgent(made)
    if not (_is_spec(made) or isinstance(made, AsyncProgram)):
        raise UsageError(
            f"{target.text}: from_args must return a ChildSpec or an AsyncProgram, got {type(made).__name__}"
        )
    return made


def spec_of(found: ChildSpec[Any] | AsyncProgram, text: str) -> ChildSpec[Any]:
    """The tree of what *text* has led to.

    Raises:
        UsageError: It does not validate.
    """
    return guarded(text, found.spec) if isinstance(found, AsyncProgram) else found


def _split(text: str) -> tuple[str, str | None]:
    place, colon, name = text.rpartition(":")
    # The colon of C:\app.py is followed by no name.
    return (place, name) if colon and place and name.isidentifier() else (text, None)


def _file(place: str, *, named: bool) -> Path | None:
    """The file that *place* means, or None if it can only be a module."""
    if not place:
        raise UsageError("TARGET is empty: name a module, a file or a folder")
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"there is no file {place}")
        return path
    program = path / f"{PROGRAM}.py"
    if program.is_file():
        return program
    if path.is_file():
        raise UsageError(f"{place} is not a Python file")
    is_name = all(part.isidentifier() for part in place.split("."))
    if path.is_dir() and not (is_name and named):
        raise UsageError(f"the folder {place} has no {PROGRAM}.py")
    if not is_name:
        raise UsageError(f"there is no file or folder {place}")
    return None


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {error.name}") from None
        raise


def _import_file(path: Path) -> ModuleType:
    folder, name = _importable(path)
    _first_on_path(folder)
    return _import_from_package(path, name) if "." in name else _import_alone(path, name)


def _importable(path: Path) -> tuple[Path, str]:
    """In which folder *path* has which name for ``import``."""
    folder, name = path.parent, path.stem.replace(".", "_")
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, name = folder.parent, f"{folder.name}.{name}"
    return folder, name


def _import_from_package(path: Path, name: str) -> ModuleType:
    top = name.partition(".")[0]
    module = importlib.import_module(name) if _is_free(top, path.parents[name.count(".") - 1] / "__init__.py") else None
    if module is None or not _is_from(module, path):
        raise UsageError(f"{path}: its package cannot be called {top}, another module is: rename the folder")
    return module


def _import_alone(path: Path, name: str) -> ModuleType:
    if not _is_free(name, path):
        name = f"understudy_target_{name}"  # like queue.py, which must not become the queue of everybody else
    if _is_from(sys.modules.get(name), path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_free(name: str, path: Path) -> bool:
    """Whether *path* can be the module *name* without taking the name from another one."""
    if (loaded := sys.modules.get(name)) is not None:
        return _is_from(loaded, path)
    return name not in sys.stdlib_module_names


def _is_from(module: ModuleType | None, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path


def _first_on_path(folder: Path) -> None:
    text = str(folder)
    if sys.path[:1] != [text]:
        sys.path.insert(0, text)


def _find(module: ModuleType, name: str | None, text: str, *, agents: bool) -> Tree:
    if name is None and hasattr(module, PROGRAM):
        name, text = PROGRAM, f"{text}:{PROGRAM}"
    trees = _defined_trees(module)
    if name is not None:
        return _named(module, name, text, trees, agents=agents)
    if agents and not trees:
        trees = {name: cls for name, cls in vars(module).items() if answers(cls) and cls.__module__ == module.__name__}
    if not trees:
        raise UsageError(f"{text} defines no supervisor class and no tree declared with supervisor(...), nor a program")
    if len(trees) > 1:
        raise UsageError(f"{text} defines several trees: {', '.join(trees)}; say which: {text}:{next(iter(trees))}")
    return next(iter(trees.values()))


def _named(module: ModuleType, name: str, text: str, trees: Mapping[str, Tree], *, agents: bool) -> Tree:
    if not hasattr(module, name):
        what = f"it defines {', '.join(trees)}" if trees else "it defines no tree"
        raise UsageError(f"{text}: there is no {name} in it, {what}")
    found: object = getattr(module, name)
    if _is_tree(found) or (agents and answers(found)):
        return found
    what = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
    raise UsageError(f"{text} is {what}, not a supervisor class or a tree declared with supervisor(...), nor a program")


def _is_spec(value: object) -> TypeGuard[ChildSpec[Any]]:
    return isinstance(value, ChildSpec)


def _is_tree(value: object) -> TypeGuard[Tree]:
    return _is_spec(value) or _is_program(value) or (isinstance(value, type) and issubclass(value, Supervisor))


def _is_program(value: object) -> bool:
    """Whether it is a program of agents, or a class of them."""
    return isinstance(value, AsyncProgram) or (isinstance(value, type) and issubclass(value, AsyncProgram))


def _defined_trees(module: ModuleType) -> dict[str, Tree]:
    """The trees that *module* itself defines, by name, in order; what it only imports does not count."""
    imported = _imported_names(module)
    trees: dict[str, Tree] = {}
    for name, value in vars(module).items():
        if _is_supervisor(value) and value not in trees.values() and _is_defined_in(module, name, value, imported):
            trees[name] = value
    return trees


def _is_supervisor(value: object) -> TypeGuard[Tree]:
    if _is_program(value):
        return True
    cls: object = value.factory if _is_spec(value) else value
    return isinstance(cls, type) and issubclass(cls, Supervisor)


def _is_defined_in(module: ModuleType, name: str, tree: Tree, imported: set[str]) -> bool:
    return tree.__module__ == module.__name__ if isinstance(tree, type) else name not in imported


def _imported_names(module: ModuleType) -> set[str]:
    """The names that import statements bind in *module*: a spec does not know where it was made."""
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def _declared_in(text: str) -> AsyncProgram:
    try:
        return load_program(text)
    except InvalidProgram as error:
        raise UsageError(str(error)) from error


def _without_arguments(
    text: str, cls: type[Supervisor | AsyncProgram | AsyncAgent[Any]]
) -> ChildSpec[Any] | AsyncProgram:
    if issubclass(cls, AsyncProgram):
        return guarded(text, cls, "making it raised")
    try:
        return LoneAgent(child(cls)) if issubclass(cls, AsyncAgent) else child(cls)
    except InvalidSpec as error:
        raise UsageError(f"{text} needs a from_args: {error}") from None


def guarded(text: str, call: Callable[[], T], what: str = "importing it raised", folder: Path | None = None) -> T:
    """What *call* returns; what the user's code raises in it becomes one sentence, with the place, best in *folder*.

    Raises:
        UsageError: It raised.
    """
    try:
        return call()
    except UsageError:
        raise
    except InvalidSpec as error:
        raise UsageError(f"{text} declares what cannot work: {error}") from error
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and folder is None:
            raise  # a program may print its help and leave
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        detail = f": {words}" if words else ""
        raise UsageError(f"{text}: {what} {type(error).__name__}{detail} ({_where(error, folder)})") from error


def _where(error: BaseException, folder: Path | None) -> str:
    """The file and line to look at: the innermost one in *folder*, else the innermost one."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    inside = [frame for frame in frames if folder is not None and folder in Path(frame.filename).parents]
    frame = (inside or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
