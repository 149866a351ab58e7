"""The Raft laboratory by one name: `from k8slab import raft`.

    lab = raft.RaftLab(members=5, seed=1, network=raft.NetworkModel(loss=0.1))
    run = lab.run(raft.Crash(900 * raft.MS, raft.LEADER, down_ns=500 * raft.MS))
    run.plot.timeline()
    raft.ablate_elections("loss").plot()

Names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    **dict.fromkeys(("Change", "Raft", "RaftConfig"), "k8slab.domain.raft"),
    **dict.fromkeys(
        ("Operation", "Verdict", "check_linearizable", "register_model"), "k8slab.simulation.linearizability"
    ),
    **dict.fromkeys(("LabRun", "Violation"), "k8slab.simulation.raft_run"),
    "RaftLab": "k8slab.simulation.raft_lab",
    **dict.fromkeys(
        (
            "LEADER", "MS", "SECOND", "ChangeMembers", "ClockModel", "Compact", "Crash", "CutOneWay", "DiskModel",
            "Heal", "Isolate", "NetworkModel", "Partition", "Request", "Restart", "Schedule", "SlowDisk", "Transfer",
            "random_schedule", "random_switches",
        ),
        "k8slab.simulation.raft_faults",
    ),
    **dict.fromkeys(
        (
            "ElectionSetup", "Elections", "after_crash", "earliest_timer", "mean_election", "run_elections",
            "split_probability", "split_share", "split_votes", "wide_area",
        ),
        "k8slab.simulation.elections",
    ),
    **dict.fromkeys(
        ("Replication", "ReplicationSetup", "log_cabin", "run_replication"), "k8slab.simulation.replication"
    ),
    **dict.fromkeys(("Ablation", "ablate_elections"), "k8slab.experiments.raft_ablation"),
    **dict.fromkeys(("Soak", "soak_raft"), "k8slab.experiments.raft_soak"),
    **dict.fromkeys(("animate", "distribution_plot", "log_picture", "timeline"), "k8slab.analysis.raft_plots"),
    **dict.fromkeys(("PUBLISHED", "published_curve"), "k8slab.analysis.raft_published"),
}  # fmt: skip

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'k8slab.raft' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
