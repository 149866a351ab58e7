"""How many pods of each workload were ready, and how many really served, at every instant of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from k8slab.domain.columns import NEVER, Ints
from k8slab.state.journal import VERBS

if TYPE_CHECKING:
    from k8slab.simulation.world import World

_V: Final = {verb: code for code, verb in enumerate(VERBS)}
_BEGINS: Final = ("BOUND", "RESTARTED", "READY")
_ENDS: Final = ("UNBOUND", "FINISHED", "POD_REMOVED", "LEAVING")


class Spells(NamedTuple):
    """The times at which pods were ready on a node, by the journal.

    pod_rows, node_rows, start_ns, end_ns : int64[S]; end is above start
    """

    pod_rows: Ints
    node_rows: Ints
    start_ns: Ints
    end_ns: Ints


class Steps(NamedTuple):
    """A number that changes.

    at_ns : int64[K], ascending, each once
    value : int64[K] from then on; 0 before the first
    """

    at_ns: Ints
    value: Ints


def ready_spells(world: World) -> Spells:
    """Each time that a pod was ready: one that is told to leave isn't, whatever it still does."""
    journal = world.state.journal.columns()
    chosen = np.isin(journal["verb"], [_V[verb] for verb in (*_BEGINS, *_ENDS)])
    pod, verb = journal["pod_row"][chosen], journal["verb"][chosen]
    time, value, node = journal["time_ns"][chosen], journal["value"][chosen], journal["node_row"][chosen]
    order = np.argsort(pod, kind="stable")
    pod, verb, time, value, node = (column[order] for column in (pod, verb, time, value, node))
    ready = _ready_from(world, pod, verb, time, value)
    # Until the pod's next entry, whatever that says.
    ends = np.where(np.append(pod[1:] == pod[:-1], False), np.append(time[1:], 0), world.clock.now())
    on = _last(node, verb == _V["BOUND"])
    gone = _gone(verb, value, pod)
    there = (ready < ends) & ~gone
    return Spells(pod[there], on[there], ready[there], ends[there])


def _ready_from(world: World, pod: Ints, verb: Ints, time: Ints, value: Ints) -> Ints:
    startup = world.state.pod_startup_ns[pod]
    ready = np.full(len(pod), NEVER)
    bound, again, said = (verb == _V[name] for name in _BEGINS)
    ready[bound] = time[bound] + startup[bound]
    later = again & (value < NEVER)
    ready[later] = value[later] + startup[later]
    ready[said] = np.maximum(value[said], time[said])
    return ready


def _last(values: Ints, where: np.ndarray) -> Ints:
    """At each place the value at the last place before or at it where `where` holds."""
    place = np.maximum.accumulate(np.where(where, np.arange(len(values)), -1))
    return np.where(place >= 0, values[place], -1)


def _gone(verb: Ints, value: Ints, pod: Ints) -> np.ndarray:
    """Whether a pod was told to leave before an entry, and not bound since."""
    told = (verb == _V["LEAVING"]) & (value != 0)
    places = np.arange(len(pod))
    first = np.maximum.accumulate(np.where(np.append(True, pod[1:] != pod[:-1])[: len(pod)], places, -1))
    last_told = np.maximum.accumulate(np.where(told, places, -1))
    last_bound = np.maximum.accumulate(np.where(verb == _V["BOUND"], places, -1))
    return np.asarray((last_told >= first) & (last_told > last_bound))


def serving_spells(world: World, spells: Spells) -> Spells:
    """The same without the times at which their node was down, though nobody may have known."""
    if "node_faults" not in world.parts:
        return spells
    for node, start, end in zip(*(column.tolist() for column in world.parts["node_faults"].down), strict=True):
        hit = (spells.node_rows == node) & (spells.start_ns < end) & (spells.end_ns > start)
        struck = _take(spells, hit)
        before = _take(struck._replace(end_ns=np.minimum(struck.end_ns, start)), struck.start_ns < start)
        after = _take(struck._replace(start_ns=np.maximum(struck.start_ns, end)), struck.end_ns > end)
        # What is left of them may be struck again by a later outage.
        pieces = zip(_take(spells, ~hit), before, after, strict=True)
        spells = Spells(*(np.concatenate(columns) for columns in pieces))
    return spells


def _take(spells: Spells, which: np.ndarray) -> Spells:
    return Spells(*(column[which] for column in spells))


def workload_steps(world: World, spells: Spells, owner: int) -> Steps:
    """How many pods of a workload these spells count, over time."""
    mine = world.state.pod_owner[spells.pod_rows] == owner
    at = np.concatenate([spells.start_ns[mine], spells.end_ns[mine]])
    change = np.repeat([1, -1], int(mine.sum()))
    instants, where = np.unique(at, return_inverse=True)
    value = np.cumsum(np.bincount(where, weights=change, minlength=len(instants))).astype(np.int64)
    # What lasts until the run's end doesn't end with it.
    lived = instants < world.clock.now()
    return Steps(instants[lived], value[lived])
