"""Published distributions of Raft's election times, as quantiles.

Read off the vector figures of Diego Ongaro's dissertation, "Consensus: Bridging Theory and Practice"
(Stanford 2014; github.com/ongardie/dissertation, CC-BY 4.0): fig. 9.8, which is figure 16 of the
extended Raft paper (USENIX ATC 2014), measured on LogCabin; 9.9 and 9.10, simulated.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

import pandas as pd

from k8slab.errors import UnknownName

# Figure -> its curves: ranges of the election timeout in ms, or how many of five servers are down.
PUBLISHED: Final = {
    "16": ("150-150", "150-151", "150-155", "150-175", "150-200", "150-300", "12-24", "25-50", "50-100", "100-200"),
    "9.9": ("f=0", "f=1", "f=2"),
    "9.10": ("f=0", "f=1", "f=2"),
}


@cache
def _table() -> pd.DataFrame:
    path = files("k8slab.datasets").joinpath("raft_elections.csv")
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"figure": str, "curve": str})


def published_curve(figure: str, curve: str) -> pd.DataFrame:
    """A published curve: share of the elections, and the time_ms within which they were over.

    >>> curve = published_curve("16", "150-300")
    >>> float(curve.loc[curve["share"] == 0.5, "time_ms"].item())
    171.3
    """
    if figure not in PUBLISHED:
        raise UnknownName("figure", figure, PUBLISHED)
    if curve not in PUBLISHED[figure]:
        raise UnknownName(f"curve of figure {figure}", curve, PUBLISHED[figure])
    table = _table()
    rows = table[(table["figure"] == figure) & (table["curve"] == curve)]
    return rows[["share", "time_ms"]].reset_index(drop=True)
