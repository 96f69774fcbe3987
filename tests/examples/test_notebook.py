"""The example `examples/notebook`. That its cells run is tested with the command of its README."""

from __future__ import annotations

import json
from typing import Any

from examples.notebook.execute import NOTEBOOK, texts
from tests.examples.stage import EXAMPLES, commands


def notebook() -> Any:
    return json.loads(NOTEBOOK.read_text("utf-8"))


def test_what_the_notebook_shows_is_what_its_readme_shows_and_the_run_has_printed() -> None:
    (printed,) = commands(EXAMPLES / "notebook" / "README.md").values()
    shown = [
        f"{'    ' if index else f'[{number}] '}{line}"
        for number, text in texts(notebook())
        for index, line in enumerate(text.splitlines())
    ]
    assert shown == printed.splitlines()


def test_no_cell_has_failed_and_nothing_of_the_machine_is_kept() -> None:
    for cell in notebook()["cells"]:
        assert cell["metadata"] == {}
        for output in cell.get("outputs", []):
            assert output["output_type"] in ("execute_result", "stream")
            assert output.get("name") != "stderr"
    assert notebook()["metadata"]["language_info"] == {"name": "python"}
