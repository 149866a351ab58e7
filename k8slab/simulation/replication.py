"""Replication by the million commits: how many a second, and how long each takes.

The published measurement is one setup away: `log_cabin` for the throughput of thesis ch. 10. For a
cluster that fails while it replicates, use the laboratory: here the leader stays in office.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from k8slab.errors import InputError
from k8slab.kernels import replication as kernels

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReplicationSetup:
    """A cluster in office and clients that write; times in ms.

    members        : how many, all of them up
    clients        : each asks for one write, waits for its answer, and asks for the next
    delay          : one way between members, uniform between the two
    loss           : probability that a message between members is lost
    client_delay   : one way between a client and the leader
    disk           : a write that is synced, uniform between the two; what comes meanwhile is the next write
    request_cpu    : the leader's time for each request
    message_cpu    : a member's time for each message it sends
    entry_cpu      : the leader's time for each entry sent to each follower
    heartbeat      : between heartbeats
    max_inflight   : appends on their way to a follower
    parallel_write : a leader sends an entry before its own copy is written (thesis §10.2.1), as the core does
    """

    members: int = 3
    clients: int = 1
    delay: tuple[float, float] = (1.0, 5.0)
    loss: float = 0.0
    client_delay: float = 0.0
    disk: tuple[float, float] = (0.0, 0.0)
    request_cpu: float = 0.0
    message_cpu: float = 0.0
    entry_cpu: float = 0.0
    heartbeat: float = 20.0
    max_inflight: int = 256
    parallel_write: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.members <= 63 or not 1 <= self.clients <= 1000:
            raise InputError(f"members={self.members}, clients={self.clients}: wanted 1 to 63, and 1 to 1000")
        for what, (low, high) in (("delay", self.delay), ("disk", self.disk)):
            if not 0.0 <= low <= high < np.inf:
                raise InputError(f"{what}=({low}, {high}): wanted 0 <= low <= high, both finite")
        for what in ("client_delay", "request_cpu", "message_cpu", "entry_cpu"):
            if not 0.0 <= getattr(self, what) < np.inf:
                raise InputError(f"{what}={getattr(self, what)}: wanted 0 or more, and finite")
        if not 0.0 <= self.loss < 1.0:
            raise InputError(f"loss={self.loss}: wanted a probability below 1")
        if self.heartbeat <= 0.0 or not 1 <= self.max_inflight <= 1000:
            raise InputError(
                f"heartbeat={self.heartbeat}, max_inflight={self.max_inflight}: wanted more than 0, and 1 to 1000"
            )
        if self.members == 1 and not any((self.client_delay, self.disk[1], self.request_cpu)):
            raise InputError("a single member to whom nothing takes time would commit for ever at time 0")

    def model(self) -> kernels.ReplicationModel:
        """What the kernel wants."""
        return kernels.ReplicationModel(
            self.members, self.clients, float(self.delay[0]), float(self.delay[1]), float(self.loss),
            float(self.client_delay), float(self.disk[0]), float(self.disk[1]), float(self.request_cpu),
            float(self.message_cpu), float(self.entry_cpu), float(self.heartbeat), self.max_inflight,
            self.parallel_write,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Replication:
    """What came of it, one value a write, in the order of the answers; times in ms.

    latency     : from a client's asking to its being answered
    answered_at : since the leader's election
    messages    : sent in all, those that got lost not counted
    """

    setup: ReplicationSetup
    seed: int
    latency: Floats
    answered_at: Floats
    messages: int

    @property
    def throughput(self) -> float:
        """Writes a second, without the first tenth, in which the leader comes into its stride."""
        first = len(self.answered_at) // 10
        span = self.answered_at[-1] - self.answered_at[first]
        return float(1000.0 * (len(self.answered_at) - 1 - first) / span)

    @property
    def mean(self) -> float:
        return float(self.latency.mean())

    def quantile(self, share: float) -> float:
        """The latency that this share of the writes stayed within."""
        return float(np.quantile(self.latency, share, method="inverted_cdf"))

    def __repr__(self) -> str:
        setup = self.setup
        what = f"{setup.members} members, {setup.clients} clients"
        return f"<Replication by {what}: {self.throughput:,.0f} writes/s, median {self.quantile(0.5):.3g} ms>"

    def _repr_html_(self) -> str:
        shares = (0.1, 0.5, 0.9, 0.99)
        head = "".join(f"<th>{100 * share:g} %</th>" for share in shares)
        cells = "".join(f"<td>{self.quantile(share):,.3g} ms</td>" for share in shares)
        return (
            f"<p>{len(self.latency):,} writes of {self.setup.clients} clients to {self.setup.members} members, seed "
            f"{self.seed}: {self.throughput:,.0f} a second, answered within</p>"
            f"<table><tr>{head}<th>mean</th></tr><tr>{cells}<td>{self.mean:,.3g} ms</td></tr></table>"
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a write: write, latency_ms, answered_ms."""
        import pandas as pd

        columns = {"latency_ms": self.latency, "answered_ms": self.answered_at}
        return pd.DataFrame({"write": np.arange(len(self.latency)), **columns})


def run_replication(
    setup: ReplicationSetup, *, writes: int = 10_000, seed: int = 0, horizon: float = np.inf
) -> Replication:
    """Let clients write until so many writes are answered; fewer if the horizon, in ms, comes first.

    >>> run = run_replication(ReplicationSetup(members=3, delay=(1.0, 1.0)), writes=100)
    >>> run.latency[:3].tolist()  # ms to a follower and back; the first write waits until it has been heard of
    [4.0, 2.0, 2.0]
    """
    if writes < 2:
        raise InputError(f"writes={writes}: wanted two at least")
    latency, answered_at = np.empty(writes), np.empty(writes)
    done, sent, dropped = kernels.run_replication(setup.model(), np.uint64(seed), float(horizon), latency, answered_at)
    assert dropped == 0, f"{dropped} messages found no room"
    return Replication(setup, seed, latency[:done], answered_at[:done], sent)


def log_cabin(
    members: int, clients: int, *, writes: int = 20_000, seed: int = 0, parallel_write: bool = True
) -> Replication:
    """Writes of 1 KiB as the thesis measured them (ch. 10): 1 GbE, an SSD that takes 0.25 ms.

    The processor's times are fitted to what it measured with 100 clients; the rest follows from them. One client's
    and a hundred clients' throughputs come out within a tenth; ten clients' 14 to 39 % above what was measured, which
    no constant cost explains that leaves the others as they are.
    """
    setup = ReplicationSetup(
        members, clients, delay=(0.11, 0.15), client_delay=0.215, disk=(0.22, 0.28), request_cpu=0.034,
        message_cpu=0.002, entry_cpu=0.00125, heartbeat=75.0, parallel_write=parallel_write,
    )  # fmt: skip
    return run_replication(setup, writes=writes, seed=seed)
