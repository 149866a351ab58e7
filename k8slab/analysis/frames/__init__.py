"""The dictionary of public frames: every column's name, dtype, unit and meaning.

What stands here stays stable across versions; tests hold every frame against it. `column` says
how an entry is to be read, the other modules hold the entries by what they are about.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from k8slab.analysis.frames.column import Column, percent_column, resource_column, stem_of
from k8slab.analysis.frames.comparing import COMPARING
from k8slab.analysis.frames.consensus import CONSENSUS
from k8slab.analysis.frames.elastic import ELASTIC
from k8slab.analysis.frames.placing import PLACING
from k8slab.analysis.frames.reproducing import REPRODUCING
from k8slab.analysis.frames.running import RUNNING
from k8slab.errors import UnknownName

__all__ = ["FRAMES", "Column", "check_frame", "describe", "percent_column", "resource_column", "stem_of"]

FRAMES: Final[dict[str, tuple[Column, ...]]] = {
    **PLACING, **COMPARING, **RUNNING, **ELASTIC, **REPRODUCING, **CONSENSUS,
}  # fmt: skip


def describe(kind: str) -> pd.DataFrame:
    """The dictionary's entry as a frame: column, dtype, unit, meaning. UnknownName for an unknown kind."""
    rows = [(column.name, column.dtype, column.unit, column.meaning) for column in _columns_of(kind)]
    return pd.DataFrame(rows, columns=["column", "dtype", "unit", "meaning"])


def check_frame(kind: str, frame: pd.DataFrame) -> None:
    """AssertionError if a frame is not what FRAMES[kind] says.

    Every fixed column must be there, in the dictionary's order; every column must be in the
    dictionary; every dtype must be as it says. Values are not looked at.
    """
    columns = _columns_of(kind)
    names = list(frame.columns)
    assert len(set(names)) == len(names), f"{kind}: a column stands twice: {names}"
    fixed = [column.name for column in columns if column.required]
    found = [name for name in names if name in fixed]
    assert found == fixed, f"{kind}: has columns {found}, wants {fixed}"
    for name in names:
        column = next((column for column in columns if column.matches(name)), None)
        assert column is not None, f"{kind}: column {name!r} is not in the dictionary"
        assert _dtype_is(frame[name], column.dtype), f"{kind}: {name} is {frame[name].dtype}, wants {column.dtype}"


def _columns_of(kind: str) -> tuple[Column, ...]:
    if kind not in FRAMES:
        raise UnknownName("frame", kind, FRAMES)
    return FRAMES[kind]


def _dtype_is(column: pd.Series, dtype: str) -> bool:
    if dtype != "string":
        return dtype in ("any", str(column.dtype))
    # Values are looked at, not the dtype alone: text is object, str or categorical by pandas'
    # version, and a column of missing values has no text by which pandas could know it.
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna()
    return all(isinstance(value, str) for value in values)
