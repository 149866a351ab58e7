"""What is left to chance, judged within tolerances: statistical.json."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from k8slab.domain.raft import Raft, RaftConfig
from k8slab.errors import InputError
from k8slab.experiments.raft_conformance.codec import Json, name
from k8slab.experiments.raft_conformance.outcome import Case, Outcome
from k8slab.simulation.elections import Elections, after_crash, split_share, split_votes, wide_area

_SEED: Final = 7
# So many times the trials asked for: a tolerance is for the model, not for its noise.
_EFFORT: Final = 4


def judge_statistical(case: Case) -> Outcome:
    kind = case["id"].split("/")[1]
    if kind not in _KINDS:
        raise InputError(f"case {case['id']!r}: no judge for {kind!r}; known: {', '.join(_KINDS)}")
    return _KINDS[kind](case)


def _outcome(actual: Any, found: list[str]) -> Outcome:
    return Outcome(not found, "statistical", actual, found)


def _near(what: str, wanted: float, seen: float, tolerance: float) -> list[str]:
    if abs(seen - wanted) <= tolerance:
        return []
    return [f"{what}: expected {wanted:g} within {tolerance:g}, {seen:g} came"]


# -- the core's own dice ---------------------------------------------------------


def _past_timeout(case: Case) -> Outcome:
    """How often patience has run out after so many ticks."""
    draws = _patience("follower", case["election_tick"], 3, case["trials"])
    share = sum(case["elapsed"] >= draw for draw in draws) / len(draws)
    return _outcome(share, _near("share", case["expect"], share, case["tolerance"]))


def _randomized(case: Case) -> Outcome:
    """Every value that a timeout may have occurs."""
    ticks = case["election_tick"]
    seen = set(_patience(case["role"], ticks, case["voters"], case["rounds"]))
    missing = sorted(set(range(ticks, 2 * ticks)) - seen)
    beyond = sorted(seen - set(range(ticks, 2 * ticks)))
    found = [f"timeouts {missing} never occur"] if missing else []
    found += [f"timeouts {beyond} are out of range"] if beyond else []
    return _outcome(case["expect"] if not found else f"timeouts seen: {sorted(seen)}", found)


def _patience(role: str, election_ticks: int, voters: int, rounds: int) -> list[int]:
    """The timeouts a member draws on coming into a role again and again."""
    members = [name(member) for member in range(1, voters + 1)]
    raft = Raft(members[0], members, config=RaftConfig(election_ticks=election_ticks, seed=_SEED))
    draws = []
    for _ in range(rounds):
        if role == "follower":
            raft.become_follower(raft.term + 1, members[-1])
        else:
            raft.become_candidate()
        draws.append(raft.election_timeout)
    return draws


# -- the published figures -------------------------------------------------------


def _split(case: Case) -> Outcome:
    setup = case["setup"]
    one_way = setup["one_way"]
    delay = (one_way[0], one_way[1]) if isinstance(one_way, list) else (one_way, one_way)
    trials = _EFFORT * setup.get("trials", 20_000)
    share = split_share(split_votes(setup["cluster"], setup["failed"], delay, trials=trials, seed=_SEED))
    return _outcome(share, _near("share of split votes", case["expect"], share, case["tolerance_abs"]))


def _paper(case: Case) -> Outcome:
    """Quantiles of the time without a leader; those for which a tolerance is given must agree."""
    elections = _play(case["setup"], _EFFORT * case["setup"]["trials"])
    actual = {key: elections.mean if key == "mean" else elections.quantile(float(key[1:])) for key in case["expect"]}
    found: list[str] = []
    for key, quantile in (("mean", "mean"), ("p50", "p0.5"), ("p99", "p0.99")):
        tolerance = case.get(f"tolerance_{key}")
        if tolerance is not None and quantile in actual:
            wanted = case["expect"][quantile]
            found += _near(key, wanted, actual[quantile], tolerance * wanted)
    if "range_p50" in case:
        low, high = case["range_p50"]
        median = elections.quantile(0.5)
        if median < (low or 0.0) or (high is not None and median > high):
            found.append(f"p50: expected within {low} and {high}, {median:g} came")
    return _outcome({key: value if isfinite(value) else None for key, value in actual.items()}, found)


def _play(setup: Json, trials: int) -> Elections:
    low, high = setup["election_timeout_ms"]
    if "one_way_ms" in setup:
        return wide_area(setup["failed"], same_logs=setup["logs"] == "identical", trials=trials, seed=_SEED)
    return after_crash((float(low), float(high)), trials=trials, seed=_SEED)


_KINDS: Final[dict[str, Callable[[Case], Outcome]]] = {
    "past_timeout": _past_timeout,
    "randomized": _randomized,
    "split": _split,
    "paper": _paper,
}
