"""What a policy's weights do: which decisions of a placement would have gone elsewhere with another weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from k8slab.errors import InputError
from k8slab.experiments.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.experiments.placement import Placement
    from k8slab.policies import Evaluation


def weight_flips(
    placement: Placement, factors: Sequence[float] = (0.0, 0.5, 2.0, 10.0), *, every: int = 1, progress: bool = False
) -> pd.DataFrame:
    """For each score and factor, how many decisions its weight times that factor would have turned.

    factors : what to multiply one weight by, the others as they are; 0 leaves the score out
    every   : look at each so-manyth pod that arrived only; a decision takes a millisecond or more

    Each decision is looked at as it stood: before it all pods went where they went. It is
    turned if the chosen node is no longer among the best; that it might have lost a tie
    doesn't count. Pods that no node could take made no choice. Gives FRAMES["weight_flips"].
    Raises InputError for a factor below 0 or a step below 1.
    """
    import pandas as pd

    if every < 1:
        raise InputError(f"every={every!r}: wanted 1 or more")
    for factor in factors:
        if not 0 <= factor < np.inf:
            raise InputError(f"factor {factor!r} of a weight: wanted a number from 0 up")
    names = [score.name for score, _ in placement.policy.scores]
    turned = np.zeros((len(names), len(factors)), dtype=np.int64)
    looked = 0
    numbers = range(0, len(placement), every)
    with progress_bar("turning weights", len(numbers), show=progress) as bar:
        for done, judged in enumerate(placement.replay(numbers)):
            if judged.chosen >= 0:
                looked += 1
                turned += _turned(judged, factors)
            bar.reach(done + 1)
    rows = [(name, factor) for name in names for factor in factors]
    flipped = turned.ravel()
    return pd.DataFrame(
        {
            "plugin": np.array([name for name, _ in rows], dtype=object),
            "weight": np.repeat([float(weight) for _, weight in placement.policy.scores], len(factors)),
            "factor": np.array([float(factor) for _, factor in rows]),
            "decisions": np.full(len(rows), looked, dtype=np.int64),
            "flipped": flipped,
            "flipped_percent": 100.0 * flipped / max(looked, 1),
        }
    )


def _turned(judged: Evaluation, factors: Sequence[float]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """bool[K, F]: whether the chosen node would no longer be among the best."""
    feasible, chosen = judged.feasible, judged.chosen
    weighted = judged.weights[:, None] * judged.normalized
    turned = np.zeros((len(weighted), len(factors)), dtype=np.bool_)
    for place, own in enumerate(weighted):
        for column, factor in enumerate(factors):
            total = judged.total + (factor - 1.0) * own
            turned[place, column] = total[chosen] < total[feasible].max()
    return turned
