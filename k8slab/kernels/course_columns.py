"""Columns of pods that come, wait and end over a stretch of time, without anything compiled."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
# What is told, of Told.verb.
ADDED, BOUND, ENDED, JOINED = 0, 1, 2, 3


class Pods(NamedTuple):
    """First the n pods that come, by time; then the W that wait. All have n + W rows.

    row         : int64  of the state
    kind        : int64  the class that they are decided by
    lifetime_ns : int64  how long one runs once it is bound, MAX for on and on; 0 for none that comes
    priority    : int64
    may_wait    : bool   nothing follows from its being refused but that it waits
    may_go      : bool   nothing follows from its being bound
    refusals, since_ns, sequence : int64  of those that wait; written
    """

    row: Ints
    kind: Ints
    lifetime_ns: Ints
    priority: Ints
    may_wait: Mask
    may_go: Mask
    refusals: Ints
    since_ns: Ints
    sequence: Ints


class Ends(NamedTuple):
    """Pods that run and end, by time and then by row. at_ns, row, kind, node : int64[D]"""

    at_ns: Ints
    row: Ints
    kind: Ints
    node: Ints


class Joins(NamedTuple):
    """Empty nodes that come, by time; nobody is put there before.

    at_ns, row : int64[J]    the state's row that each will have, ascending
    node       : int64[J]    filled by the player, as is
    allowed    : bool[J, C]  may a class use it
    """

    at_ns: Ints
    row: Ints
    node: Ints
    allowed: Mask


def no_joins() -> Joins:
    """No node comes."""
    none = np.zeros(0, dtype=np.int64)
    return Joins(none, none, none, np.zeros((0, 0), dtype=np.bool_))


class Rules(NamedTuple):
    """How those that were refused wait: application.scheduling_controller.

    spans_ns : int64[S]  the back-off after the k-th refusal, the last for all later ones
    window_ns : back-offs that end in the same window are over together
    backs_off : False for no back-off at all
    late_ns, every_ns : who waits for longer than late_ns is tried at the next multiple of every_ns
    down     : bool[d]   nodes on which nothing ends; those beyond d aren't any
    """

    spans_ns: Ints
    window_ns: int
    backs_off: bool
    late_ns: int
    every_ns: int
    down: Mask


class Rounds(NamedTuple):
    """A loop that looks around every so often, and finds nothing to do while nobody waits and no node grows idle.

    next_ns, every_ns : when it looks; every_ns 0 for no such loop. A course ends before a look that isn't for nothing
    before_ns : until then this holds
    most      : float64[N]  by the state's row: idle is a node of which no larger share of any of `shared` is requested,
                            below 0 for one that doesn't matter. One that comes is idle
    shared    : int64[.]    rows of resources
    """

    next_ns: int
    every_ns: int
    before_ns: int
    most: npt.NDArray[np.float64]
    shared: Ints


NO_ROUNDS: Final = Rounds(0, 0, 2**63 - 1, np.zeros(0), np.zeros(0, dtype=np.int64))


class Told(NamedTuple):
    """What happened, in order. at_ns, pod, node : int64[K], verb : int8[K]; node -1 for ADDED, pod -1 for JOINED"""

    at_ns: Ints
    verb: npt.NDArray[np.int8]
    pod: Ints
    node: Ints


class Course(NamedTuple):
    """What is to be lived through.

    before_ns : all instants before this one
    at_ns     : int64[n], when the first n of `pods` come
    line      : int64[W], those that wait, as places in `pods`, in their order
    sequence  : the number of the next that comes back
    """

    before_ns: int
    at_ns: Ints
    pods: Pods
    ends: Ends
    line: Ints
    sequence: int
    rules: Rules
    joins: Joins
    rounds: Rounds = NO_ROUNDS


class Lived(NamedTuple):
    """What came of it.

    before_ns  : the first instant that wasn't lived through: the course's, or one that has to go step by step
    line       : int64[W]  those that wait now, as places in the course's pods, in their order
    sequence   : the number of the next that comes back
    tried      : how often a pod was tried
    refused_ns, refused : int64[F]  who was refused for the first time (places in pods), and when
    """

    told: Told
    before_ns: int
    line: Ints
    sequence: int
    tried: int
    refused_ns: Ints
    refused: Ints
