"""Run the notebook in a kernel, and print what each cell has printed.

python -m examples.notebook.execute
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

__all__ = ["NOTEBOOK", "execute", "main", "texts"]

FORMAT: Any = nbformat  # which has no types
NOTEBOOK = Path(__file__).parent / "meters.ipynb"


def execute(path: Path) -> Any:
    """The notebook, with what it has printed in this run; an error in a cell is raised here."""
    notebook = FORMAT.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        # Sockets in the file system: those of TCP, the default, would be open to all users of this machine.
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})
        where = {"metadata": {"path": str(path.parent)}}
        NotebookClient(notebook, config=config, resources=where, timeout=60).execute()
    return notebook


def texts(notebook: Any) -> Iterator[tuple[int, str]]:
    """The number and the output of each cell that has one."""
    for cell in notebook["cells"]:
        outputs = cell.get("outputs", [])
        text = "".join("".join(each.get("text") or each["data"]["text/plain"]) for each in outputs)
        if text:
            yield cell["execution_count"], text.rstrip()


def main() -> None:
    """Print, or with ``--save`` write into the notebook, what comes out."""
    parser = argparse.ArgumentParser(description="Run the notebook.")
    parser.add_argument("--save", action="store_true", help="keep the outputs in the notebook")
    notebook = execute(NOTEBOOK)
    if parser.parse_args().save:
        for cell in notebook["cells"]:
            cell["metadata"].pop("execution", None)  # at what time
        notebook["metadata"]["language_info"] = {"name": "python"}  # of whatever version
        FORMAT.write(notebook, NOTEBOOK)
    for number, text in texts(notebook):
        first, *others = text.splitlines()
        print(f"[{number}] {first}", *(f"    {line}" for line in others), sep="\n")


if __name__ == "__main__":
    main()
