"""Which of the best nodes is taken: the lowest row, or one that a pod's own number picks."""

from __future__ import annotations

import numpy as np

from k8slab.kernels._jit import kernel


@kernel
def mix(x):
    """splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): a bijection that scatters bits."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@kernel
def draw01(seed, pod_row):
    """A number in [0, 1) that depends on the seed and the pod alone, not on what came before.

    So two policies under one seed draw the same for the same pod.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    x = mix(mix(np.uint64(seed) + golden) + golden * (np.uint64(pod_row) + np.uint64(1)))
    return np.float64(x >> np.uint64(11)) * 2.0**-53


@kernel
def select_lowest(score, feasible):
    """The lowest row of the highest score among the feasible, -1 if none is. score : float64[N]."""
    best = -np.inf
    row = -1
    for i in range(score.shape[0]):
        if feasible[i] and score[i] > best:
            best = score[i]
            row = i
    return row


@kernel
def select_random(score, feasible, seed, pod_row):
    """One of the feasible rows of the highest score, each as likely as the others; -1 if none is."""
    best = -np.inf
    ties = 0
    for i in range(score.shape[0]):
        if feasible[i] and score[i] > best:
            best = score[i]
            ties = 1
        elif feasible[i] and score[i] == best:
            ties += 1
    skip = int(draw01(seed, pod_row) * ties)
    for i in range(score.shape[0]):
        if feasible[i] and score[i] == best:
            if skip == 0:
                return i
            skip -= 1
    return -1
