"""Go's random stream: known values, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.errors import InputError
from k8slab.experiments import go_random
from k8slab.experiments.go_random import GoRandom
from k8slab.kernels import gpu


def test_the_first_values_of_seed_42():
    random = GoRandom(42)
    assert [random.int63() for _ in range(3)] == [3440579354231278675, 608747136543856411, 5571782338101878760]


def test_the_table_is_a_state_of_the_recurrence():
    """A jump by fewer steps, made and walked."""
    steps = 1000
    values = go_random._filled(1, (20, 10)).tolist()
    walked = list(values)
    for _ in range(steps):
        walked.append((walked[-607] + walked[-273]) % 2**64)
    power = [int(c) for c in go_random._power(steps)]
    assert sum(c * v for c, v in zip(power, values, strict=True)) % 2**64 == walked[steps]


def test_zero_has_a_stream_of_its_own():
    assert GoRandom(0).int63() == GoRandom(89_482_311).int63() == 8717895732742165505


@given(st.integers(0, 2**63 - 1), st.integers(1, 400))
def test_orders_are_permutations(seed, count):
    random = GoRandom(seed)
    items = list(range(count))
    random.shuffle(items)
    assert sorted(items) == sorted(random.perm(count)) == list(range(count))


@given(st.integers(0, 2**31), st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=20))
def test_the_kernel_draws_the_same(seed, bounds):
    words, cursors = GoRandom(seed).state()
    random = GoRandom(seed)
    for n in bounds:
        drawn = random.intn(n)
        assert 0 <= drawn < n
        assert gpu._go_intn(words, cursors, n) == drawn
    assert np.array_equal(words, random.state()[0])


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "42"])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(InputError, match=r"seed .* is out of range; wanted a whole number from 0 to 2\^63 - 1"):
        GoRandom(seed)
