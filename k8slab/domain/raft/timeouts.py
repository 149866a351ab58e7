"""Election timeouts: random enough that members rarely agree, yet a function of seed and name."""

from __future__ import annotations

from typing import Final
from zlib import crc32

_MASK: Final = 2**64 - 1


class ElectionTimeouts:
    """Draws of one member. Uniform on election_ticks .. 2 * election_ticks - 1 (Raft §5.2).

    SplitMix64 (Steele, Lea, Flood 2014): a counter and a mixer, so a draw costs no state to keep.
    """

    def __init__(self, seed: int, member_id: str) -> None:
        self._state = (seed * 0x9E3779B97F4A7C15 + (crc32(member_id.encode()) << 32)) & _MASK

    def draw(self, election_ticks: int) -> int:
        self._state = mixed = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return election_ticks + (mixed ^ (mixed >> 31)) % election_ticks
