"""Seeded draws, a stream of its own for each purpose."""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p
from typing import TypeVar
from zlib import crc32

import numpy as np

Item = TypeVar("Item")


class Dice:
    """Draws that are a function of seed and purpose, so that one more draw here shifts none elsewhere.

    Drawn from numpy in blocks: one by one each would cost a microsecond.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._generator = np.random.default_rng([seed, crc32(purpose.encode())])
        self._block: list[float] = []

    def uniform(self) -> float:
        """From [0, 1)."""
        if not self._block:
            self._block = self._generator.random(256).tolist()
        return self._block.pop()

    def chance(self, probability: float) -> bool:
        return probability > 0.0 and self.uniform() < probability

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both possible."""
        return low + int(self.uniform() * (high - low + 1))

    def exponential(self, mean: int) -> int:
        """A whole number, exponentially distributed."""
        return int(-mean * log1p(-self.uniform()))

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self.uniform() * len(items))]
