"""``understudy replay`` and ``understudy shrink``: what a simulated test has saved when it failed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.exceptions import UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from understudy.testing._campaign import Simulated
    from understudy.testing._tape import Tape

__all__ = ["replay", "shrink"]


def replay(path: Path) -> int:
    """Run what is on the tape at *path*, tell its story, and return the exit code: 1 if it fails, 0 if it passes now.

    Raises:
        UsageError: The tape or its test cannot be used; a sentence for the user.
    """
    tape, simulated, instance = _load(path)
    outcome = simulated.replay(tape, instance)
    print("\n".join(outcome.story))
    if outcome.error is None:
        print(f"passes: {tape.test} does not fail under the choices of this tape any more; it was {tape.error}")
        return 0
    print(f"fails: {type(outcome.error).__name__}: {outcome.error}".removesuffix(": "))
    if outcome.digest != tape.digest:
        print("not the same run as on the tape: the code or the version of Python has changed since")
    return 1


def shrink(path: Path, output: Path | None, attempts: int) -> int:
    """Write a plainer tape that fails in the same way to *output*, by default in the place of *path*.

    Raises:
        UsageError: The tape or its test cannot be used, or does not fail.
    """
    from understudy.testing._tape import TapeError

    tape, simulated, instance = _load(path)
    try:
        plain = simulated.shrink(tape, instance, attempts=attempts)
    except TapeError as error:
        raise UsageError(str(error)) from None
    target = output or path
    try:
        plain.write(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    print("\n".join(plain.story))
    print(f"{len(tape.choices)} choices before, {len(plain.choices)} now: {target}")
    return 0


def _load(path: Path) -> tuple[Tape, Simulated, tuple[Any, ...]]:
    """The tape, its test, and the object whose method that is, if it is one."""
    from understudy.testing._tape import Tape, TapeError, this_python

    try:
        tape = Tape.load(path)
    except TapeError as error:
        raise UsageError(str(error)) from None
    if tape.python != this_python():
        print(f"note: made with {tape.python}, and this is {this_python()}: it may take another course")
    return tape, *_find(tape.test)


def _find(test: str) -> tuple[Simulated, tuple[Any, ...]]:
    """The simulated test of that name, like ``tests/test_orders.py::test_nothing_is_lost``."""
    from understudy.testing._campaign import Simulated

    file, _, name = test.partition("::")
    if not Path(file).is_file():
        raise UsageError(f"the test of this tape is {test}, and there is no {file} here: run from the project's folder")
    module = _import(Path(file))
    owner: object = None
    found: object = module
    for part in name.split("."):
        owner, found = found, getattr(found, part, None)
    simulated = getattr(found, "simulated", None)
    if not isinstance(simulated, Simulated):
        raise UsageError(f"there is no simulated test {name} in {file}: it must be decorated with @simulate")
    if simulated.other_parameters:
        names = ", ".join(simulated.other_parameters)
        raise UsageError(
            f"{name} takes {names} from pytest: run it by pytest with UNDERSTUDY_TAPE=TAPE in the environment"
        )
    return simulated, (owner(),) if isinstance(owner, type) else ()


def _import(file: Path) -> ModuleType:
    """The module in *file*, found where pytest would find it and what it imports."""
    root = file.resolve().parent
    while (root / "__init__.py").is_file():
        root = root.parent
    sys.path[:0] = [str(root), os.getcwd()]
    name = ".".join(file.resolve().relative_to(root).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a skip of the whole module, or an exit
        raise UsageError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    return module
