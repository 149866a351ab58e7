"""Raft elections by the ten thousand: what a cluster is like, and how long it is without a leader.

The published measurements are three setups away: `after_crash` for figure 16 of the extended
Raft paper (thesis fig. 9.8), `wide_area` for the thesis' simulations (fig. 9.9, 9.10), `split_votes`
for its formulas (§9.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from k8slab.errors import InputError
from k8slab.kernels import elections as kernels

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_UNTIL: Final = {
    "elected": kernels.UNTIL_ELECTED,
    "heard": kernels.UNTIL_HEARD,
    "horizon": kernels.UNTIL_HORIZON,
}
# Far beyond any election that is of interest; members that never differ would go on for ever.
HORIZON_MS: Final = 100_000.0


@dataclass(frozen=True)
class ElectionSetup:
    """A cluster and its network; times in ms, or in any unit, the same one throughout.

    members        : how many, dead ones too: they count for the majority
    dead           : so many are down from the start; after a crash the leader is one of them
    timeout        : a member's patience, uniform between the two
    heartbeat      : between a leader's heartbeats; None for half the least patience
    delay          : one way, uniform between the two
    loss           : probability that a message is lost; a number, or one a pair [source, target]
    clock_rate     : how much longer than true time a member's clock takes, one a member; None for true clocks
    log_rank       : a member votes for candidates of its rank or a higher one; None for equal logs
    candidate_disk : a candidate's write before it asks for votes
    voter_disk     : a voter's write before it answers
    jitter         : added to patience at each use, uniform from 0 to this
    pre_vote, check_quorum : the core's switches
    patient_on_new_term    : a newer term restarts the timer, as in the core
    """

    members: int = 5
    dead: int = 0
    timeout: tuple[float, float] = (150.0, 300.0)
    heartbeat: float | None = None
    delay: tuple[float, float] = (0.5, 1.5)
    loss: float | Floats = 0.0
    clock_rate: tuple[float, ...] | None = None
    log_rank: tuple[int, ...] | None = None
    candidate_disk: float = 0.0
    voter_disk: float = 0.0
    jitter: float = 0.0
    pre_vote: bool = False
    check_quorum: bool = False
    patient_on_new_term: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.members <= 63 or not 0 <= self.dead < self.members:
            raise InputError(f"members={self.members}, dead={self.dead}: wanted 1 to 63 members, and one alive")
        for what, (low, high) in (("timeout", self.timeout), ("delay", self.delay)):
            if not 0.0 <= low <= high < np.inf:
                raise InputError(f"{what}=({low}, {high}): wanted 0 <= low <= high, both finite")
        if self.timeout[0] <= 0.0 or self._heartbeat <= 0.0:
            raise InputError("patience and the time between heartbeats must be more than 0")
        for name, given in (("clock_rate", self.clock_rate), ("log_rank", self.log_rank)):
            if given is not None and len(given) != self.members:
                raise InputError(f"{name} names {len(given)} members, but there are {self.members}")
        if np.any(np.asarray(self.loss) < 0.0) or np.any(np.asarray(self.loss) > 1.0):
            raise InputError("loss is a probability: from 0 to 1")

    @property
    def _heartbeat(self) -> float:
        return self.timeout[0] / 2 if self.heartbeat is None else self.heartbeat

    def model(self) -> kernels.ElectionModel:
        """The arrays that the kernel wants."""
        n = self.members
        links = np.empty((n, n), dtype=kernels.LINK)
        links["delay_low"], links["delay_high"] = self.delay
        links["loss"] = self.loss
        members = np.empty(n, dtype=kernels.MEMBER)
        members["rate"] = self.clock_rate or 1.0
        members["rank"] = self.log_rank or 0
        # The lowest are dead: with ranks that rise, those that could win stay.
        members["alive"] = np.arange(n) >= self.dead
        return kernels.ElectionModel(
            links=links,
            members=members,
            timeout_low=float(self.timeout[0]),
            timeout_high=float(self.timeout[1]),
            jitter=float(self.jitter),
            heartbeat=float(self._heartbeat),
            candidate_disk=float(self.candidate_disk),
            voter_disk=float(self.voter_disk),
            pre_vote=self.pre_vote,
            check_quorum=self.check_quorum,
            patient_on_new_term=self.patient_on_new_term,
        )


@dataclass(frozen=True, eq=False)
class Elections:
    """What came of the trials, one value each.

    time         : when it was over; inf if not within the horizon
    term         : of the last leader, 0 without
    served_share : share of the time in which a leader had a majority in its term
    candidacies  : terms that were begun
    leaders      : elections won
    """

    setup: ElectionSetup
    seed: int
    time: Floats
    term: Integers
    served_share: Floats
    candidacies: Integers
    leaders: Integers

    def quantile(self, share: float) -> float:
        """The time within which this share of the trials was over; inf where it was not."""
        # Without interpolation, which has no answer between a time and never.
        return float(np.quantile(self.time, share, method="inverted_cdf"))

    @property
    def mean(self) -> float:
        return float(self.time.mean())

    def __repr__(self) -> str:
        trials, median = len(self.time), self.quantile(0.5)
        return f"<Elections of {self.setup.members} members: {trials:,} trials, median {median:.4g}>"

    def _repr_html_(self) -> str:
        shares = (0.1, 0.5, 0.9, 0.99)
        head = "".join(f"<th>{100 * share:g} %</th>" for share in shares)
        cells = "".join(f"<td>{self.quantile(share):,.4g}</td>" for share in shares)
        return (
            f"<p>{len(self.time):,} elections of {self.setup.members} members, seed {self.seed}: over within</p>"
            f"<table><tr>{head}<th>mean</th></tr><tr>{cells}<td>{self.mean:,.4g}</td></tr></table>"
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a trial: trial, time, term, served_share, candidacies, leaders."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in ("time", "term", "served_share", "candidacies", "leaders")}
        return pd.DataFrame({"trial": np.arange(len(self.time)), **columns})


def run_elections(
    setup: ElectionSetup,
    *,
    trials: int = 1000,
    seed: int = 0,
    until: str = "elected",
    crash: bool = False,
    horizon: float = HORIZON_MS,
) -> Elections:
    """Play a setup again and again, each trial with its own dice.

    until   : "elected" when a candidate has a majority; "heard" when all that live have heard it; "horizon"
    crash   : member 0 has led, and dies at time 0 somewhere in its heartbeat interval; else all timers are fresh

    >>> setup = ElectionSetup(members=3, timeout=(150, 300))
    >>> run_elections(setup, trials=100, seed=7).quantile(0.5) < 300
    True
    """
    if until not in _UNTIL:
        raise InputError(f"until={until!r}: wanted one of {', '.join(_UNTIL)}")
    if trials < 1 or horizon <= 0.0:
        raise InputError(f"trials={trials}, horizon={horizon}: wanted one trial at least, and a time to play")
    ended, served = np.empty(trials), np.empty(trials)
    term, candidacies, leaders = (np.empty(trials, dtype=np.int64) for _ in range(3))
    dropped = kernels.run_elections(
        setup.model(), 0 if crash else -1, _UNTIL[until], horizon, np.uint64(seed), 0,
        ended, term, served, candidacies, leaders,
    )  # fmt: skip
    assert dropped == 0, f"{dropped} messages found no room on the network"
    return Elections(setup, seed, ended, term, served, candidacies, leaders)


# -- the published setups --------------------------------------------------------


def after_crash(
    timeout: tuple[float, float],
    *,
    trials: int = 1000,
    seed: int = 0,
    jitter: float | None = None,
    horizon: float = HORIZON_MS,
) -> Elections:
    """Figure 16 of the extended Raft paper: from the leader's crash until the others have heard the next one.

    Five servers on a local network; heartbeats at half the least patience; two of the four that
    are left have logs that can't win. A candidate writes 3 ms before it asks, a voter before it
    answers. Timers of real machines are not exact, which matters where the range is as narrow: if no jitter is
    given it is 3 ms for a range of 1 ms, 5 ms for one of 5 ms, else 0. With timeouts of 150 ms and none at all
    nobody is ever elected; measured was a median of 41 s, as with a jitter of some 0.4 ms.
    """
    if jitter is None:
        jitter = {5.0: 5.0, 1.0: 3.0}.get(timeout[1] - timeout[0], 0.0)
    setup = ElectionSetup(
        members=5, dead=1, timeout=timeout, log_rank=(0, 0, 1, 2, 3), candidate_disk=3.0, voter_disk=3.0, jitter=jitter
    )
    return run_elections(setup, trials=trials, seed=seed, until="heard", crash=True, horizon=horizon)


def wide_area(dead: int, *, same_logs: bool, trials: int = 10_000, seed: int = 0) -> Elections:
    """The thesis' simulated wide-area network (fig. 9.9, 9.10): 30-40 ms one way, patience of 300-600 ms."""
    setup = ElectionSetup(
        members=5,
        dead=dead,
        timeout=(300.0, 600.0),
        delay=(30.0, 40.0),
        log_rank=None if same_logs else (0, 1, 2, 3, 4),
    )
    return run_elections(setup, trials=trials, seed=seed)


def split_votes(
    members: int, dead: int, delay: tuple[float, float], *, trials: int = 20_000, seed: int = 0
) -> Elections:
    """The thesis' unit of time (§9.3): patience uniform on 1 to 2, and delays in that unit. See `split_share`."""
    setup = ElectionSetup(members=members, dead=dead, timeout=(1.0, 2.0), delay=delay)
    return run_elections(setup, trials=trials, seed=seed)


def split_share(elections: Elections) -> float:
    """The share of elections that their first term did not decide."""
    return float((elections.term > 1).mean())


def split_probability(members: int, dead: int, delay: float) -> float:
    """The probability of a split vote with one constant delay, in units of the spread of patience (thesis §9.3).

    With s members alive, an election splits when so many stand before the first one's request arrives
    that no majority is left to vote: c = s - floor(n / 2) + 1 of them. The time from the first to the
    c-th of s uniform draws is distributed as the (c - 1)-th draw.

    >>> round(split_probability(5, 1, 0.2), 4)
    0.1808
    """
    alive = members - dead
    fatal = alive - members // 2 + 1
    return sum(comb(alive, k) * delay**k * (1.0 - delay) ** (alive - k) for k in range(fatal - 1, alive + 1))


def mean_election(members: int, dead: int, delay: float, *, write: float = 0.0) -> float:
    """The mean time from a leader's crash to the next election won, in units of the spread of patience (thesis §9.3).

    delay : one way, constant
    write : what the winner has to write

    Takes terms to be independent of one another, so it is a bound where votes split often: who stood in a
    split term is ahead in the next one. From a spread of 10 delays on, simulations agree within 7 %.

    >>> round(10 * mean_election(5, 1, 0.1), 1)
    12.2
    """
    split = split_probability(members, dead, delay)
    # A leader crashes a quarter of its patience's unit after its last heartbeat, on average.
    return (1.0 + 1.0 / (members - dead + 1) + delay) / (1.0 - split) + delay + write - 0.25


def earliest_timer(alive: int, share: float) -> float:
    """The probability that the first of so many timers has run out by this share of their spread (thesis §9.3).

    >>> round(earliest_timer(4, 0.25), 3)
    0.684
    """
    return 1.0 - (1.0 - share) ** alive
