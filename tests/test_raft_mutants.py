"""Each of the seeded mistakes is caught by the laboratory; without one, the same schedules find nothing."""

from __future__ import annotations

import pytest

from k8slab.simulation import raft_lab
from tests.raft_mutants import MUTANTS, mutated, runs

SCHEDULES = 500


def first_violation(lab, family="random", schedules=SCHEDULES):
    """The first schedule of a family that breaks a rule, by its seed, and what it breaks."""
    for run in runs(lab, family, range(schedules)):
        if run.violation is not None:
            return run.schedule.seed, run.violation
    return None


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_laboratory_catches(mutant):
    with mutated(mutant) as lab:
        caught = first_violation(lab, mutant.family)
    assert caught is not None, f"{SCHEDULES} schedules did not notice that {mutant.name}"


def test_the_shipped_core_is_back_afterwards():
    with mutated(MUTANTS[0]) as lab:
        assert lab is not raft_lab


@pytest.mark.parametrize("family", ["random", "figure 8", "swap"])
def test_the_shipped_core_breaks_no_rule_where_mutants_do(family):
    assert first_violation(raft_lab, family, 20) is None
