"""Random draws: one seed, and a stream of its own for each subsystem."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from k8slab.errors import InputError


class Streams:
    """Generators that are a function of the seed and a name alone.

    So one subsystem more, or one more draw in it, leaves what all others draw as it was;
    and it doesn't matter who asks first.

    >>> streams = Streams(seed=7)
    >>> bool(streams.generator("faults").random() == Streams(seed=7).generator("faults").random())
    True
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(f"seed={seed!r}: wanted a whole number, 0 or more")
        self.seed = int(seed)

    def sequence(self, name: str) -> np.random.SeedSequence:
        """The seed of a named stream, a child of the run's: its key is the name's digest."""
        digest = sha256(name.encode()).digest()
        key = tuple(int.from_bytes(digest[at : at + 4], "little") for at in range(0, 16, 4))
        return np.random.SeedSequence(self.seed, spawn_key=key)

    def generator(self, name: str) -> np.random.Generator:
        """A fresh generator at the start of the named stream: ask once and keep it."""
        return np.random.default_rng(self.sequence(name))
