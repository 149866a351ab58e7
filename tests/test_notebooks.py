"""The notebooks: each is committed as it ran, runs again from its first cell, and prints the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# The shortest is run every day, the others with the long tests.
one_every_day = pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem.startswith("03-") else [pytest.mark.long]) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)


def _code_cells(path: Path) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def _outputs(cells: list[Any]) -> list[Any]:
    return [output for cell in cells for output in cell.outputs]


def _printed(cells: list[Any], *streams: str) -> str:
    streams = streams or ("stdout", "stderr")
    text = "".join(output.text for output in _outputs(cells) if output.get("name") in streams)
    # Whether kernels must be compiled depends on what ran before on this machine.
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("compiling kernels"))


def test_they_are_numbered_in_order() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}-" for number in range(1, len(NOTEBOOKS) + 1)]


@each_notebook
def test_it_is_committed_as_it_ran(path: Path) -> None:
    cells = _code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it from top to bottom"
    outputs = _outputs(cells)
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs), "it shows no picture"


@each_notebook
def test_it_asks_a_question_seeds_and_asserts_its_claim(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    title = notebook.cells[0].source.splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?")
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert "SEED = 7" in sources[0].splitlines()
    assert any(line.startswith("assert ") for source in sources for line in source.splitlines())


@one_every_day
def test_it_runs_and_prints_what_is_committed(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    before = _printed(_code_cells(path))
    # In a folder of its own, so that what it writes isn't left beside the notebooks.
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    after = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert _printed(after) == before
    assert not _printed(after, "stderr")
