"""What is left to chance, judged within tolerances: statistical.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
# Where a case says neither how many trials nor how many rounds.
_ROUNDS: Final = 1000


def judge_statistical(case: Case) -> Outcome:
    return _judge_of(case)(case)


def _judge_of(case: Case) -> Callable[[Case], Outcome]:
    """By the case's kind, or if that has another name by what it describes."""
    kind = case["id"].split("/")[1]
    setup = case.get("setup", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if "one_way" in setup:
        return _split
    if "election_timeout_ms" in setup:
        return _paper
    if "elapsed" in case:
        return _past_timeout
    if "conflict" in kind:
        return _conflicts
    raise InputError(f"case {case['id']!r}: no judge for {kind!r}; known: {', '.join(_KINDS)}")


def _outcome(actual: Any, found: list[str]) -> Outcome:
    return Outcome(not found, "statistical", actual, found)


# -- what was expected -----------------------------------------------------------


def _near(what: str, wanted: float, seen: float, tolerance: float) -> list[str]:
    if abs(seen - wanted) <= tolerance:
        return []
    return [f"{what}: expected {wanted:g} within {tolerance:g}, {seen:g} came"]


def _within(what: str, bounds: tuple[float | None, float | None], seen: float) -> list[str]:
    low, high = bounds
    if (low is None or seen >= low) and (high is None or seen <= high):
        return []
    return [f"{what}: expected within {low} and {high}, {seen:g} came"]


def _tolerance(case: Case) -> float | None:
    return next((case[key] for key in ("tolerance", "tolerance_abs") if key in case), None)


def _compare(what: str, case: Case, seen: float) -> Outcome:
    """A number with a tolerance, or a bound: a number without one, or a sentence that holds it."""
    wanted, tolerance = case["expect"], _tolerance(case)
    if isinstance(wanted, str):
        bound = _bound(wanted)
        found = _within(what, bound, seen)
        return _outcome(seen if found else wanted, found)
    if tolerance is None:
        return _outcome(seen, _within(what, (None, wanted), seen))
    return _outcome(seen, _near(what, wanted, seen, tolerance))


def _bound(text: str) -> tuple[float | None, float | None]:
    """The last number of a sentence, as what may not be exceeded; or not gone below, if it says so."""
    numbers = re.findall(r"\d+(?:\.\d+)?%?", text)
    if not numbers:
        raise InputError(f"no bound in {text!r}")
    last = float(numbers[-1].rstrip("%")) / (100.0 if numbers[-1].endswith("%") else 1.0)
    return (last, None) if re.search(r">|at least|above|more than", text) else (None, last)


# -- the core's own dice ---------------------------------------------------------


def _past_timeout(case: Case) -> Outcome:
    """How often patience has run out after so many ticks."""
    draws = _patience("follower", case["election_tick"], 3, case.get("trials", _ROUNDS))
    return _compare("share", case, sum(case["elapsed"] >= draw for draw in draws) / len(draws))


def _randomized(case: Case) -> Outcome:
    """Every value that a timeout may have occurs."""
    ticks = case["election_tick"]
    seen = set(_patience(case["role"], ticks, _voters(case), case.get("rounds", _ROUNDS)))
    missing = sorted(set(range(ticks, 2 * ticks)) - seen)
    beyond = sorted(seen - set(range(ticks, 2 * ticks)))
    found = [f"timeouts {missing} never occur"] if missing else []
    found += [f"timeouts {beyond} are out of range"] if beyond else []
    return _outcome(case["expect"] if not found else f"timeouts seen: {sorted(seen)}", found)


def _conflicts(case: Case) -> Outcome:
    """How often the first members to lose patience lose it at the same tick, which may split their votes."""
    voters, ticks = _voters(case), case.get("election_tick", 10)
    rounds = int(case.get("rounds") or case.get("trials") or _ROUNDS)
    draws = [_patience(case["role"], ticks, voters, rounds, member) for member in range(voters)]
    conflicts = sum(sorted(timeouts)[0] == sorted(timeouts)[1] for timeouts in zip(*draws, strict=True))
    return _compare("share of conflicts", case, conflicts / rounds)


def _voters(case: Case) -> int:
    sizes = (case[key] for key in ("voters", "cluster", "nodes", "size", "members") if key in case)
    size = next(sizes, 5)
    return int(size) if not isinstance(size, list) else len(size)


def _patience(role: str, election_ticks: int, voters: int, rounds: int, position: int = 0) -> list[int]:
    """The timeouts a member draws on coming into a role again and again."""
    members = [name(member) for member in range(1, voters + 1)]
    raft = Raft(members[position], members, config=RaftConfig(election_ticks=election_ticks, seed=_SEED))
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
    trials = _EFFORT * case.get("trials", setup.get("trials", 20_000))
    elections = split_votes(setup["cluster"], setup["failed"], _delays(setup["one_way"]), trials=trials, seed=_SEED)
    return _compare("share of split votes", case, split_share(elections))


def _delays(one_way: Any) -> tuple[float, float]:
    """Least and greatest delay: a number, a pair, or a text such as U(0.1, 0.2)."""
    if isinstance(one_way, str):
        one_way = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", one_way)]
    if isinstance(one_way, Mapping):
        one_way = next(iter(one_way.values())) if len(one_way) == 1 else sorted(one_way.values())
    return (one_way[0], one_way[-1]) if isinstance(one_way, list) else (one_way, one_way)


# In FORMAT.md's own words; a share of the trials has another name where it is expected.
_QUANTILES: Final = {"p50": "p0.5", "p99": "p0.99", "p999": "p0.999", "p99.9": "p0.999", "mean": "mean"}


def _paper(case: Case) -> Outcome:
    """Quantiles of the time without a leader; those for which a tolerance or a range is given must agree."""
    elections = _play(case["setup"], _EFFORT * case["setup"].get("trials", _ROUNDS))
    actual = {key: _quantile(elections, key) for key in case["expect"]}
    found: list[str] = []
    for key, given in case.items():
        what, _, short = key.partition("_")
        if what not in ("tolerance", "range"):
            continue
        quantile = _QUANTILES.get(short, short.replace("p", "p0.", 1))
        seen = _quantile(elections, quantile)
        if what == "range":
            found += _within(short, tuple(given), seen)
        else:
            wanted = case["expect"][quantile]
            found += _near(short, wanted, seen, given * wanted)
    return _outcome({key: value if isfinite(value) else None for key, value in actual.items()}, found)


def _quantile(elections: Elections, key: str) -> float:
    """A mean, or what a share of the trials stayed below: p0.5 is the median."""
    return elections.mean if key == "mean" else elections.quantile(float(key[1:]))


def _play(setup: Json, trials: int) -> Elections:
    low, high = setup["election_timeout_ms"]
    if "one_way_ms" in setup:
        return wide_area(setup["failed"], same_logs=setup["logs"] == "identical", trials=trials, seed=_SEED)
    return after_crash((float(low), float(high)), trials=trials, seed=_SEED)


_KINDS: Final[dict[str, Callable[[Case], Outcome]]] = {
    "past_timeout": _past_timeout,
    "randomized": _randomized,
    "nonconflict": _conflicts,
    "split": _split,
    "paper": _paper,
}
