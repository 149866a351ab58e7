"""Go's math/rand, draw for draw: what decides order, clones and ties in the FGD study.

An additive lagged Fibonacci generator, x[n] = x[n-607] + x[n-273] modulo 2^64 (Knuth, "The Art
of Computer Programming" 2, §3.2.2). A seed fills the 607 cells by a Lehmer generator; they are
then combined with a fixed table. Go ships the table; it is the state of the same recurrence
after 7.8e12 steps, and a power of t modulo the recurrence's polynomial jumps there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.errors import InputError

Words = npt.NDArray[np.uint64]

CELLS: Final = 607
LAG: Final = 273
START: Final = CELLS - LAG  # the feeding cursor of a fresh generator; the tapping one starts at 0
HIGHEST_SEED: Final = 2**63 - 1
_WARM_UP: Final = 7_800_000_000_000
_LEHMER: Final = (48_271, 2**31 - 1)
_ZERO_SEED: Final = 89_482_311
_WORD: Final = 2**64 - 1
_LOW: Final = 2**32 - 1


class GoRandom:
    """The global source of a Go program after rand.Seed(seed).

    seed : 0 to 2^63 - 1

    >>> [GoRandom(42).int63(), GoRandom(42).intn(100)]
    [3440579354231278675, 5]
    """

    def __init__(self, seed: int) -> None:
        self._cells: list[int] = _filled(check_go_seed(seed), (40, 20)).__xor__(_table()).tolist()
        self._tap, self._feed = 0, START

    def uint64(self) -> int:
        """The next word of the stream; everything else is made of these."""
        self._tap = self._tap - 1 if self._tap else CELLS - 1
        self._feed = self._feed - 1 if self._feed else CELLS - 1
        word = (self._cells[self._feed] + self._cells[self._tap]) & _WORD
        self._cells[self._feed] = word
        return word

    def int63(self) -> int:
        """0 to 2^63 - 1."""
        return self.uint64() & HIGHEST_SEED

    def intn(self, n: int) -> int:
        """0 to n - 1, for n up to 2^31 - 1: high bits, with rejection, and a draw even for n = 1."""
        if n & (n - 1) == 0:
            return (self.int63() >> 32) & (n - 1)
        most = 2**31 - 1 - 2**31 % n
        drawn = self.int63() >> 32
        while drawn > most:
            drawn = self.int63() >> 32
        return drawn % n

    def shuffle(self, items: list[Any]) -> None:
        """In place, from the end; bounded by Lemire's multiply-and-shift, not as `intn`."""
        for last in range(len(items) - 1, 0, -1):
            other = self._bounded(last + 1)
            items[last], items[other] = items[other], items[last]

    def perm(self, n: int) -> list[int]:
        """A permutation of 0 to n - 1."""
        order = [0] * n
        for i in range(n):
            j = self.intn(i + 1)
            order[i] = order[j]
            order[j] = i
        return order

    def skip(self, draws: int) -> None:
        """So many draws that somebody else takes."""
        for _ in range(draws):
            self.uint64()

    def state(self) -> tuple[Words, npt.NDArray[np.int64]]:
        """uint64[607] the cells and int64[2] the tapping and feeding cursor, for kernels that draw on."""
        return np.array(self._cells, dtype=np.uint64), np.array([self._tap, self._feed], dtype=np.int64)

    def _bounded(self, n: int) -> int:
        product = ((self.int63() >> 31) & _LOW) * n
        if product & _LOW < n:
            least = (2**32 - n) % n
            while product & _LOW < least:
                product = ((self.int63() >> 31) & _LOW) * n
        return product >> 32


def check_go_seed(seed: int) -> int:
    """The seed, or InputError if Go would not take it for what it says."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= HIGHEST_SEED:
        raise InputError(f"seed {seed!r} is out of range; wanted a whole number from 0 to 2^63 - 1")
    return int(seed)


def _lehmer(seed: int) -> Iterator[int]:
    factor, modulus = _LEHMER
    x = seed % modulus or _ZERO_SEED
    while True:
        x = factor * x % modulus
        yield x


def _filled(seed: int, shifts: tuple[int, int]) -> Words:
    """uint64[607]: each cell from three values of the Lehmer generator, shifted by so much, so much and 0."""
    values = _lehmer(seed)
    for _ in range(20):
        next(values)
    drawn = np.array([next(values) for _ in range(3 * CELLS)], dtype=np.uint64).reshape(CELLS, 3)
    high, middle = (np.uint64(shift) for shift in shifts)
    cells: Words = (drawn[:, 0] << high) ^ (drawn[:, 1] << middle) ^ drawn[:, 2]
    return cells


@functools.cache
def _table() -> Words:
    """Go's table of 607 words, which is the state after 7.8e12 steps from seed 1, in 0.1 s.

    Draw n writes cell (334 - n) mod 607, so the cells of a fresh state are, in order of age, the values
    at (333 - k) mod 607, k = 0 .. 606. The value n steps later is the sum of c[k] * value[k], where the
    c are the coefficients of t^n modulo t^607 - t^334 - 1.
    """
    by_age = (START - 1 - np.arange(CELLS)) % CELLS
    values = np.concatenate([_filled(1, (20, 10))[by_age], np.zeros(CELLS - 1, dtype=np.uint64)])
    for n in range(CELLS, len(values)):
        values[n] = values[n - CELLS] + values[n - LAG]
    coefficients = _power(_WARM_UP)
    later = np.array([(coefficients * values[i : i + CELLS]).sum(dtype=np.uint64) for i in range(CELLS)])
    table = np.empty(CELLS, dtype=np.uint64)
    # The oldest of them was written by draw n = 7.8e12 - 606.
    table[(START - (_WARM_UP - CELLS + 1) - np.arange(CELLS)) % CELLS] = later
    return table


def _power(exponent: int) -> Words:
    """uint64[607]: the coefficients of t^exponent modulo t^607 - t^334 - 1, by squaring from the highest bit."""
    power = np.zeros(CELLS, dtype=np.uint64)
    power[0] = 1
    for bit in f"{exponent:b}":
        square = np.convolve(power, power)
        power = _reduced(np.concatenate([np.zeros(1, dtype=np.uint64), square]) if bit == "1" else square)
    return power


def _reduced(polynomial: Words) -> Words:
    """Modulo t^607 - t^334 - 1: t^d is t^(d-273) + t^(d-607). 273 at a time, so that none falls on another."""
    end = len(polynomial)
    while end > CELLS:
        start = max(CELLS, end - LAG)
        block = polynomial[start:end].copy()
        polynomial[start - CELLS : end - CELLS] += block
        polynomial[start - LAG : end - LAG] += block
        end = start
    return polynomial[:CELLS]
