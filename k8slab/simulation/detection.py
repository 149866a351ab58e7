"""How good a failure detector was: what it suspected against what was really down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.detectors import FailureDetector, Suspicions
from k8slab.domain.instants import SECOND_NS
from k8slab.simulation.fault_times import DOWN, merged
from k8slab.simulation.node_lives import removed_ns

if TYPE_CHECKING:
    from k8slab.simulation.world import World



@dataclass(frozen=True, eq=False)
class Detection:
    """One detector's suspicions beside the truth.

    down_*     : int64[F] each  outages: node, from when to when
    suspicions : its own
    found_ns   : int64[F]  when each outage was suspected first, NEVER for one that was missed
    right      : bool[S]   whether the node was down at some time while it was suspected
    """

    down_node: Ints
    down_start_ns: Ints
    down_end_ns: Ints
    suspicions: Suspicions
    found_ns: Ints
    right: npt.NDArray[np.bool_]

    @property
    def delay_s(self) -> npt.NDArray[np.float64]:
        """float64[F]: from an outage's beginning to its suspicion; missing for one that was missed.

        An outage that began while its node was suspected wrongly counts as found at once.
        """
        delay = (self.found_ns - self.down_start_ns) / SECOND_NS
        return np.where(self.found_ns == NEVER, np.nan, delay)

    def wrong_s(self) -> float:
        """How long nodes were suspected that were up, in node seconds."""
        suspected = (self.suspicions.end_ns - self.suspicions.start_ns).sum()
        both = _overlap(self)
        return float((suspected - both) / SECOND_NS)

    def scores(self) -> dict[str, float]:
        """Counts, precision and recall, and how the delays are spread.

        precision : of its suspicions, the share that was right; missing where it had none
        recall    : of the outages, the share that it found; missing where there were none

        After Chen, Toueg, Aguilera, "On the quality of service of failure detectors" (IEEE Transactions
        on Computers 51, 2002): detection time, mistakes, and how long mistakes last.
        """
        delay = self.delay_s[~np.isnan(self.delay_s)]
        outages, suspicions = len(self.found_ns), len(self.right)
        found, right = len(delay), int(self.right.sum())
        spread = {
            f"delay_{name}_s": float(of(delay)) if found else np.nan
            for name, of in (
                ("mean", np.mean), ("median", np.median), ("p95", lambda d: np.percentile(d, 95)), ("max", np.max)
            )
        }  # fmt: skip
        return {
            "outages": outages,
            "found": found,
            "suspicions": suspicions,
            "right": right,
            "wrong": suspicions - right,
            "precision": right / suspicions if suspicions else np.nan,
            "recall": found / outages if outages else np.nan,
            **spread,
            "wrong_s": self.wrong_s(),
        }


def detect(world: World, detector: FailureDetector) -> Detection:
    """What a detector makes of a run's heartbeats, whether it acted in it or not."""
    lives = world.parts["lives"]
    down, until = lives.faults.only(DOWN), np.minimum(removed_ns(world), world.clock.now())
    node, start, end = merged(down.node_row, down.start_ns, np.minimum(down.end_ns, until[down.node_row]))
    lived = start < until[node]
    suspicions = _until(lives.heartbeats.suspicions(detector), until)
    return judge(node[lived], start[lived], end[lived], suspicions)


def judge(down_node: Ints, down_start_ns: Ints, down_end_ns: Ints, suspicions: Suspicions) -> Detection:
    """Set suspicions against outages. Both are apart on each node, and sorted by node and time."""
    found = np.full(len(down_node), NEVER)
    right = np.zeros(len(suspicions.node_rows), dtype=np.bool_)
    first = np.searchsorted(suspicions.node_rows, down_node, side="left")
    after = np.searchsorted(suspicions.node_rows, down_node, side="right")
    for outage, (begin, end) in enumerate(zip(first.tolist(), after.tolist(), strict=True)):
        starts, ends = suspicions.start_ns[begin:end], suspicions.end_ns[begin:end]
        both = (starts < down_end_ns[outage]) & (ends > down_start_ns[outage])
        if both.any():
            right[begin:end] |= both
            found[outage] = max(int(starts[both][0]), int(down_start_ns[outage]))
    return Detection(down_node, down_start_ns, down_end_ns, suspicions, found, right)


def all_detectors(world: World) -> Mapping[str, FailureDetector]:
    """The detector that acted, by its kind's name, and those that only watched."""
    health = world.parts["health"]
    return {type(health.detector).__name__: health.detector, **health.compare}


def _until(suspicions: Suspicions, until_ns: Ints) -> Suspicions:
    """Those that began before their node was taken away, or the run ended; it may have been interrupted."""
    until = until_ns[suspicions.node_rows]
    begun = suspicions.start_ns < until
    ends = np.minimum(suspicions.end_ns, until)[begun]
    return Suspicions(suspicions.node_rows[begun], suspicions.start_ns[begun], ends)


def _overlap(detection: Detection) -> int:
    """Nanoseconds in which nodes were both down and suspected."""
    edges = {
        "suspected": (detection.suspicions.node_rows, detection.suspicions.start_ns, detection.suspicions.end_ns),
        "down": (detection.down_node, detection.down_start_ns, detection.down_end_ns),
    }
    node = np.concatenate([edge[0] for edge in edges.values() for _ in (0, 1)])
    at = np.concatenate([column for edge in edges.values() for column in edge[1:]])
    step = np.concatenate([np.full(len(edge[0]), sign) for edge in edges.values() for sign in (1, -1)])
    order = np.lexsort((step, at, node))
    level = np.cumsum(step[order])
    lasting = np.diff(at[order], append=at[order][-1:])
    # Between a node's last edge and the next node's first the level is 0.
    return int(lasting[level == 2].sum())


@dataclass(frozen=True, eq=False)
class Repairs:
    """What taints did to pods, and whether their node was really down.

    evicted_ns : int64[E]   when each pod was evicted
    pod_rows   : int64[E]
    for_nothing: bool[E]    its node was up
    lost_ns    : int64[E]   from then until it, or the pod that its workload made for it, could be ready again:
                            until it was bound and had started up; until the run's end if it never was
    ran_ns     : int64[E]   how long its container had run: work that a job does again
    """

    evicted_ns: Ints
    pod_rows: Ints
    for_nothing: npt.NDArray[np.bool_]
    lost_ns: Ints
    ran_ns: Ints

    def costs(self) -> dict[str, float]:
        """Pods moved, for nothing and in all, and the pod seconds lost by that."""
        nothing = self.for_nothing
        return {
            "moved": len(nothing),
            "moved_for_nothing": int(nothing.sum()),
            "lost_pod_s": float(self.lost_ns.sum() / SECOND_NS),
            "lost_pod_s_for_nothing": float(self.lost_ns[nothing].sum() / SECOND_NS),
            "work_lost_s_for_nothing": float(self.ran_ns[nothing].sum() / SECOND_NS),
        }


def repairs(world: World) -> Repairs:
    """All evictions by taint in a run, in order."""
    told = world.sink.columns("healing")
    by_taint = np.array(
        [a == "evict" and r.startswith("taint ") for a, r in zip(told["action"], told["reason"], strict=True)],
        dtype=np.bool_,
    )
    at, pods, nodes = (told[name][by_taint].astype(np.int64) for name in ("time_ns", "pod_row", "node_row"))
    journal = world.state.journal.columns()
    successor = _successors(world, journal, at, pods)
    ready = _next_ready(world, journal, successor, at)
    return Repairs(at, pods, ~_was_down(world, nodes, at), ready - at, at - _last_start(journal, pods, at))


def _was_down(world: World, nodes: Ints, at_ns: Ints) -> npt.NDArray[np.bool_]:
    node, start, end = world.parts["node_faults"].down
    found = np.zeros(len(nodes), dtype=np.bool_)
    for case, (row, now) in enumerate(zip(nodes.tolist(), at_ns.tolist(), strict=True)):
        mine = node == row
        found[case] = bool(((start[mine] <= now) & (now < end[mine])).any())
    return found


def _successors(world: World, journal: Mapping[str, npt.NDArray[np.int64]], at_ns: Ints, pods: Ints) -> Ints:
    """The pod that each one's workload made in that instant, itself for a bare pod, -1 where there is none."""
    from k8slab.state.journal import VERBS

    added = journal["verb"] == VERBS.index("POD_ADDED")
    rows, times = journal["pod_row"][added], journal["time_ns"][added]
    owners = world.state.pod_owner
    made: dict[tuple[int, int], list[int]] = {}
    for row, time in zip(rows.tolist(), times.tolist(), strict=True):
        if owners[row] >= 0:
            made.setdefault((time, int(owners[row])), []).append(row)
    found = []
    for time, pod in zip(at_ns.tolist(), pods.tolist(), strict=True):
        owner = int(owners[pod])
        waiting = made.get((time, owner), [])
        found.append(pod if owner < 0 else (waiting.pop(0) if waiting else -1))
    return np.array(found, dtype=np.int64)


def _next_ready(world: World, journal: Mapping[str, npt.NDArray[np.int64]], pods: Ints, at_ns: Ints) -> Ints:
    from k8slab.state.journal import VERBS

    until = world.clock.now()
    bound = journal["verb"] == VERBS.index("BOUND")
    rows, times = journal["pod_row"][bound], journal["time_ns"][bound]
    order = np.lexsort((times, rows))
    rows, times = rows[order], times[order]
    startup = world.state.pod_startup_ns
    found = np.full(len(pods), until)
    for case, (pod, now) in enumerate(zip(pods.tolist(), at_ns.tolist(), strict=True)):
        mine = times[np.searchsorted(rows, pod, side="left") : np.searchsorted(rows, pod, side="right")]
        later = mine[mine >= now]
        if pod >= 0 and len(later):
            found[case] = min(int(later[0] + startup[pod]), until)
    return found


def _last_start(journal: Mapping[str, npt.NDArray[np.int64]], pods: Ints, at_ns: Ints) -> Ints:
    from k8slab.state.journal import VERBS

    bound, again = (journal["verb"] == VERBS.index(verb) for verb in ("BOUND", "RESTARTED"))
    rows = np.concatenate([journal["pod_row"][bound], journal["pod_row"][again]])
    times = np.concatenate([journal["time_ns"][bound], journal["value"][again]])
    order = np.lexsort((times, rows))
    rows, times = rows[order], times[order]
    found = at_ns.copy()
    for case, (pod, now) in enumerate(zip(pods.tolist(), at_ns.tolist(), strict=True)):
        mine = times[np.searchsorted(rows, pod, side="left") : np.searchsorted(rows, pod, side="right")]
        before = mine[mine <= now]
        found[case] = int(before[-1]) if len(before) else now
    return found
