"""Dice of kernels that draw one number after another."""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.choice import mix


@borrowing_kernel
def uniform(dice):
    """The next draw from [0, 1): SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), dice uint64[1]."""
    dice[0] += np.uint64(0x9E3779B97F4A7C15)
    return float(mix(dice[0]) >> np.uint64(11)) * 2.0**-53
