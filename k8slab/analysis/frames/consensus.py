"""The Raft laboratory."""

from __future__ import annotations

from typing import Final

from k8slab.analysis.frames.column import Column

CONSENSUS: Final[dict[str, tuple[Column, ...]]] = {
    # LabRun: what happened in one schedule of the Raft laboratory.
    "raft.events": (
        Column("at_ns", "int64", "ns", "virtual time"),
        Column("event", "string", "", "action (a fault, a change), role, request or answer"),
        Column("member", "string", "", "whose it is; empty where that means nothing"),
        Column("term", "int64", "", "of a role; 0 elsewhere"),
        Column("detail", "string", "", "the action, the role, or who asked what"),
    ),
    "raft.roles": (
        Column("at_ns", "int64", "ns", "from when on a member has this role in this term"),
        Column("member", "string", "", "who"),
        Column("role", "string", "", "follower, pre_candidate, candidate, leader or down"),
        Column("term", "int64", "", "in which term"),
    ),
    "raft.elections": (
        Column("term", "int64", "", "the term that was won"),
        Column("leader", "string", "", "who won it"),
        Column("stood_ns", "int64", "ns", "since when it had been a candidate, in this term or earlier ones"),
        Column("elected_ns", "int64", "ns", "when it won"),
        Column("without_leader_ns", "int64", "ns", "how long nobody had led before; 0 if somebody still did"),
    ),
    "raft.messages": (
        Column("sent_ns", "int64", "ns", "when it left"),
        Column("arrived_ns", "int64", "ns", "when it arrives; -1 if it was lost"),
        Column("source", "string", "", "who sent it"),
        Column("target", "string", "", "to whom"),
        Column("kind", "string", "", "append, vote, heartbeat and so on, and their answers"),
        Column("term", "int64", "", "the sender's term"),
    ),
    "raft.commits": (
        Column("at_ns", "int64", "ns", "when the member applied the entry"),
        Column("member", "string", "", "who"),
        Column("index", "int64", "", "the entry's place in the log"),
        Column("term", "int64", "", "the entry's term"),
    ),
    "raft.operations": (
        Column("client", "int64", "", "the client's number"),
        Column("kind", "string", "", "put, append, get"),
        Column("key", "string", "", "of the key-value store"),
        Column("argument", "any", "", "what was put or appended"),
        Column("answer", "any", "", "the key's values afterwards; missing if there was no answer"),
        Column("invoked_ns", "int64", "ns", "when it was asked for the first time"),
        Column("returned_ns", "int64", "ns", "when it was answered; -1 if never"),
    ),
    "raft.leadership": (
        Column("from_ns", "int64", "ns", "beginning of a time in which the same members led"),
        Column("until_ns", "int64", "ns", "its end"),
        Column("leader", "string", "", "who led, several by commas; missing where nobody did"),
        Column("leaders", "int64", "count", "how many led, in different terms"),
    ),
    "raft.commit_latency": (
        Column("client", "int64", "", "the client's number"),
        Column("kind", "string", "", "put or append"),
        Column("key", "string", "", "of the key-value store"),
        Column("invoked_ns", "int64", "ns", "when it was asked for the first time"),
        Column("latency_ns", "int64", "ns", "from then until it was answered"),
    ),
    # Elections.to_frame(): one row a trial.
    "raft.trials": (
        Column("trial", "int64", "", "its number; with the seed it can be played again"),
        Column("time", "float64", "the setup's unit, ms", "when it was over; infinite if not within the horizon"),
        Column("term", "int64", "", "of the last leader, 0 without"),
        Column("served_share", "float64", "share", "of the time in which a leader had a majority in its term"),
        Column("candidacies", "int64", "count", "terms that were begun"),
        Column("leaders", "int64", "count", "elections won"),
    ),
    # Replication.to_frame(): one row a write.
    "raft.writes": (
        Column("write", "int64", "", "its number, in the order of the answers"),
        Column("latency_ms", "float64", "ms", "from a client's asking to its being answered"),
        Column("answered_ms", "float64", "ms", "when, since the leader's election"),
    ),
    # Ablation.frame: one row a condition, level, set of switches and metric.
    "raft.ablation": (
        Column("condition", "string", "", "loss, deaf member, cut link or clock drift"),
        Column("level_percent", "float64", "percent", "how bad it is"),
        Column("switches", "string", "", "neither, pre-vote, check-quorum or both"),
        Column("metric", "string", "", "unserved_percent, leaders_per_minute or candidacies_per_minute"),
        Column("mean", "float64", "as the metric", "over the trials"),
        Column("low", "float64", "as the metric", "lower end of the mean's 95 % bootstrap interval"),
        Column("high", "float64", "as the metric", "its upper end"),
        Column("trials", "int64", "count", "clusters played, each with its own dice"),
    ),
}
