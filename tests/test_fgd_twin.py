"""The FGD study's tables equal those of a second, slow program that was written from the specification alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from k8slab.experiments.fgd_run import curves, run_fgd
from k8slab.experiments.fgd_trace import TRACES, read_trace
from tests import naive_fgd_study as twin

DATA = Path(__file__).parents[2] / "shared" / "data" / "openb"

pytestmark = [
    pytest.mark.long,  # its compilation and 17 traces take minutes
    pytest.mark.skipif(not DATA.is_dir(), reason="the traces are not part of the project"),
]


@pytest.mark.parametrize("trace", TRACES)
def test_every_value_is_the_twins(trace):
    """Of traces without published values at hand too."""
    for policy in twin.CODE:
        table = curves(run_fgd(read_trace(DATA, trace), policy, 42))
        ours = np.stack([table.allocation, table.frag_amount, table.frag_ratio])
        assert np.array_equal(ours, twin.curves(DATA, trace, policy, 42), equal_nan=True)


def test_the_twin_draws_as_go_does():
    random = twin.Random(42)
    assert [random.draw() for _ in range(3)] == [3440579354231278675, 608747136543856411, 5571782338101878760]
