"""Who has to go for a more important pod: kube-scheduler's dry run of preemption, where only amounts decide.

For a preemptor whose place hangs on free amounts alone, which the caller checks: then letting
pods go, and taking them back, changes nothing but what is free on that one node. What a dry
run found holds for the next pod that asks the same, until a pod comes to that node or goes;
so a search looks up nearly all that it compares.

Everywhere: R resources, N nodes, G guests: first the pods that ran before, then those to
schedule. All amounts are int64, in the state's own units: nothing is rounded. A guest is
more important than another if its priority is higher, else if it started earlier, else if
its number is lower: the order in which kube-scheduler takes pods back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel as kernel

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

# Columns of Guests.rows; the amounts held follow.
NEXT, PRIORITY, STARTED, HELD = 0, 1, 2, 3
# Columns of Known.costs, in the order in which candidates are compared: less is better.
WORST, IMPORTANCE, COUNT, UNSTARTED = 0, 1, 2, 3
COSTS = 4
NO_CANDIDATE = 2**63 - 1  # in the column WORST
NOBODY = 2**31 - 1  # Nodes.lowest of a node without guests
_OFFSET = 2**31  # where priorities are added up, so that each more victim counts
_VIOLATION = 2**32  # in the column WORST: more than any priority


class Guests(NamedTuple):
    """Pods that are on nodes, or may come to be.

    rows      : int64[G, HELD + R]  of each in one piece of memory: the next more important guest of its
                node (-1 for none), priority, start in ns, and by how much a node's requested falls when it goes
    protected : int32[G + 1]  a guest's disruption budgets are budgets[protected[g] : protected[g + 1]]
    budgets   : int32[.]
    """

    rows: Ints
    protected: Codes
    budgets: Codes


class Nodes(NamedTuple):
    """What nodes have and hold.

    allocatable, requested : int64[N, R]
    least   : int32[N]  the least important guest, -1 for none
    lowest  : int32[N]  its priority, NOBODY for none
    version : int32[N]  how often guests came or went
    """

    allocatable: Ints
    requested: Ints
    least: Codes
    lowest: Codes
    version: Codes


class Known(NamedTuple):
    """What was found for pods that ask the same: of equal class and priority.

    size      : K, how many nodes there are where preemption may help; the arrays are longer
    potential : int32[N]  these nodes, rising
    version   : int32[N]  of the node, as it was tried; -1 if it wasn't
    costs     : int64[N, COSTS]  violations of budgets and the highest victim's priority, in one number;
                the sum of priorities; the number of victims; less the earliest start of the highest
    """

    size: int
    potential: Codes
    version: Codes
    costs: Ints


class Work(NamedTuple):
    """Scratch of a search.

    tied      : int64[N]  the nodes that are best by all criteria
    lower     : int32[G]  the guests of one node that matter less than the preemptor, the least important first
    breaking  : bool[G]   whose going breaks a budget, by their place in `lower`
    victim    : bool[G]   who has to go, by their place in `lower`
    left      : int64[B]  how many of a budget's pods may still go; as `allowed` between two nodes
    allowed   : int64[B]
    free      : int64[R]  what is free on one node
    asks      : int64[R]  the rows of the resources that the preemptor needs room for
    victims   : int32[G]  those of the node that was chosen, the most important first
    """

    tied: Ints
    lower: Codes
    breaking: Mask
    victim: Mask
    left: Ints
    allowed: Ints
    free: Ints
    asks: Ints
    victims: Codes


# -- who is where ---------------------------------------------------------------


@kernel
def _matters_less(rows, one, other):
    """Whether one guest is less important than another."""
    if rows[one, PRIORITY] != rows[other, PRIORITY]:
        return rows[one, PRIORITY] < rows[other, PRIORITY]
    if rows[one, STARTED] != rows[other, STARTED]:
        return rows[one, STARTED] > rows[other, STARTED]
    return one > other


@kernel
def _list(guest, node, nodes, rows):
    """List a guest on a node."""
    before, after = np.int64(-1), np.int64(nodes.least[node])
    while after >= 0 and _matters_less(rows, after, guest):
        before, after = after, rows[after, NEXT]
    rows[guest, NEXT] = after
    if before >= 0:
        rows[before, NEXT] = guest
    else:
        nodes.least[node] = guest
        nodes.lowest[node] = rows[guest, PRIORITY]
    nodes.version[node] += 1


@kernel
def _come(guest, node, nodes, rows):
    """List a guest on a node, and count its amounts."""
    for r in range(nodes.requested.shape[1]):
        nodes.requested[node, r] += rows[guest, HELD + r]
    _list(guest, node, nodes, rows)


@kernel
def _go(guest, node, nodes, rows):
    """Take a guest off a node, with its amounts."""
    for r in range(nodes.requested.shape[1]):
        nodes.requested[node, r] -= rows[guest, HELD + r]
    nodes.version[node] += 1
    after = rows[guest, NEXT]
    if nodes.least[node] == guest:
        nodes.least[node] = after
        nodes.lowest[node] = rows[after, PRIORITY] if after >= 0 else NOBODY
        return
    before = np.int64(nodes.least[node])
    while rows[before, NEXT] != guest:
        before = rows[before, NEXT]
    rows[before, NEXT] = after


@kernel
def settle(node_rows, nodes, guests):
    """List the guests who ran before; their amounts are counted already. node_rows : int64[.], of guest 0 and on"""
    for guest in range(node_rows.shape[0]):
        _list(guest, node_rows[guest], nodes, guests.rows)


@kernel
def arrive(first, pods, chosen, nodes, guests):
    """List the pods (start, stop) that found a node, and count their amounts. first : the guest of pod 0"""
    for pod in range(pods[0], pods[1]):
        if chosen[pod] >= 0:
            _come(first + pod, chosen[pod], nodes, guests.rows)


@kernel
def replace_victims(guest, node, count, nodes, guests, work):
    """Let the first victims of work.victims go from a node, and put a guest in their place."""
    for i in range(count):
        _go(work.victims[i], node, nodes, guests.rows)
    _come(guest, node, nodes, guests.rows)


# -- the search -------------------------------------------------------------------


@kernel
def potential_nodes(request, checked, counted, allowed, allocatable, potential):
    """How many nodes may help: those allowed that would have room if they were empty. Fills `potential`, int32[N].

    request     : int64[R]
    allocatable : int64[R, N]
    checked : bool[R]  the resources that must be free
    counted : bool[R]  those of which a node may have too little even if empty; slots for pods are none, as
              kube-scheduler has it
    allowed : bool[N]  by the filters that look at nodes' descriptions
    """
    count = 0
    for node in range(allowed.shape[0]):
        hopes = allowed[node]
        for r in range(request.shape[0]):
            enough = (request[r] <= allocatable[r, node]) | (request[r] <= 0)
            hopes &= enough | (not checked[r]) | (not counted[r])
        potential[count] = node
        count += hopes
    return count


@kernel
def preempt(pod, seen, first, chosen, request, priority, checked, limit, draw, known, nodes, guests, work):
    """`find_victims` for a pod after those from `seen` on have arrived; if it has a node, it replaces them there."""
    arrive(first, (seen, pod), chosen, nodes, guests)
    node, victims = find_victims(request, priority, checked, limit, draw, known, nodes, guests, work)
    if node >= 0:
        replace_victims(first + pod, node, victims, nodes, guests, work)
    return node, victims


@kernel
def find_victims(request, priority, checked, limit, draw, known, nodes, guests, work):
    """The node where the least important pods would have to go for a pod that fits nowhere, and how many.

    (-1, 0) for none. They themselves stand in work.victims then.

    request : int64[R]
    checked : bool[R]  the resources that must be free
    limit   : (percent, number)  a search may stop when it has found so many candidates, at least one of
              them without breaking a budget: the larger of this share of potential nodes, and this number
    draw    : in [0, 1): where the search begins, and which of equals is chosen

    kube-scheduler's DefaultPreemption: candidates in the order of their rows from a drawn one on;
    of these the fewest violations, the lowest of the highest victim's priority, the lowest sum of
    priorities, the fewest victims, the latest start of the highest.
    """
    asks, potential = _asks(request, checked, work), known.size
    enough = min(max(potential * limit[0] // 100, limit[1]), potential)
    place = int(draw * potential) if potential > enough else 0
    found, tied, best, harmless = 0, 0, -1, False
    for _ in range(potential):
        node = known.potential[place]
        if known.version[place] != nodes.version[node]:
            known.version[place] = nodes.version[node]
            _try_node(place, request, priority, asks, known.costs, node, nodes, guests, work)
        worst = known.costs[place, WORST]
        if worst != NO_CANDIDATE:
            order = _order(known.costs, place, best) if best >= 0 else -1
            if order < 0:
                best, tied = place, 0
            if order <= 0:
                work.tied[tied] = node
                tied += 1
            found += 1
            harmless |= worst < _VIOLATION - _OFFSET
            if found >= enough and harmless:
                break
        place = place + 1 if place + 1 < potential else 0
    if found == 0:
        return -1, 0
    node = _pick(tied, draw, work)
    lower = _try_node(best, request, priority, asks, known.costs, node, nodes, guests, work)
    return node, _list_victims(lower, guests.rows, work)


@kernel
def _asks(request, checked, work):
    """How many resources a pod needs room for; their rows go into work.asks."""
    count = 0
    for r in range(request.shape[0]):
        if checked[r] and request[r] > 0:
            work.asks[count] = r
            count += 1
    return count


@kernel
def _order(costs, place, best):
    """-1, 0 or 1 as the costs in one place are less than those in another, equal or more."""
    for k in range(COSTS):
        if costs[place, k] != costs[best, k]:
            return -1 if costs[place, k] < costs[best, k] else 1
    return 0


@kernel
def _pick(tied, draw, work):
    """The node among equals that a draw picks, by their rows: they rise, but for where the search began anew."""
    turn = 0
    for i in range(1, tied):
        turn = i if work.tied[i] < work.tied[i - 1] else turn
    place = int(draw * tied) + turn
    return work.tied[place if place < tied else place - tied]


# -- the dry run on one node ---------------------------------------------------------


@kernel
def _try_node(place, request, priority, asks, costs, node, nodes, guests, work):
    """Fill costs[place] with what a node would cost: let all go that matter less, take back whom it can.

    How many matter less; who of them has to go stands in work.victim.
    """
    costs[place, WORST] = NO_CANDIDATE
    if nodes.lowest[node] >= priority:
        return 0
    lower = _let_go(node, priority, asks, nodes, guests.rows, work)
    for a in range(asks):
        if request[work.asks[a]] > work.free[work.asks[a]]:
            return 0
    if _mark_breaking(lower, guests, work):
        violations = _take_back(lower, True, request, asks, guests.rows, work)
        _take_back(lower, False, request, asks, guests.rows, work)
    else:
        violations = 0
        _take_back(lower, False, request, asks, guests.rows, work)
    importance, count = np.int64(0), 0
    for i in range(lower - 1, -1, -1):
        if work.victim[i]:
            guest = work.lower[i]
            if count == 0:  # the most important; of the highest priority it started earliest
                costs[place, WORST] = violations * _VIOLATION + guests.rows[guest, PRIORITY]
                costs[place, UNSTARTED] = -guests.rows[guest, STARTED]
            importance += guests.rows[guest, PRIORITY] + _OFFSET
            count += 1
    costs[place, IMPORTANCE], costs[place, COUNT] = importance, count
    return lower


@kernel
def _let_go(node, priority, asks, nodes, rows, work):
    """How many guests of a node matter less; they go into work.lower, what is free without them into work.free."""
    for a in range(asks):
        r = work.asks[a]
        work.free[r] = nodes.allocatable[node, r] - nodes.requested[node, r]
    count, guest = 0, np.int64(nodes.least[node])
    while guest >= 0 and rows[guest, PRIORITY] < priority:
        work.lower[count] = guest
        count += 1
        for a in range(asks):
            r = work.asks[a]
            work.free[r] += rows[guest, HELD + r]
        guest = rows[guest, NEXT]
    return count


@kernel
def _mark_breaking(lower, guests, work):
    """Whether anybody's going breaks a budget, charged from the most important on; whose goes into work.breaking."""
    broken = False
    if work.allowed.shape[0] == 0:
        return broken
    for i in range(lower - 1, -1, -1):
        guest = work.lower[i]
        work.breaking[i] = False
        for b in range(guests.protected[guest], guests.protected[guest + 1]):
            budget = guests.budgets[b]
            work.left[budget] -= 1
            work.breaking[i] |= work.left[budget] < 0
        broken |= work.breaking[i]
    for i in range(lower):
        guest = work.lower[i]
        for b in range(guests.protected[guest], guests.protected[guest + 1]):
            work.left[guests.budgets[b]] = work.allowed[guests.budgets[b]]
    return broken


@kernel
def _take_back(lower, breaking, request, asks, rows, work):
    """How many of those who break a budget, or of those who don't, have to go; the others are taken back."""
    victims = 0
    for i in range(lower - 1, -1, -1):
        if work.breaking[i] == breaking:
            guest = work.lower[i]
            stays = True
            for a in range(asks):
                r = work.asks[a]
                stays &= request[r] <= work.free[r] - rows[guest, HELD + r]
            work.victim[i] = not stays
            victims += not stays
            if stays:
                for a in range(asks):
                    work.free[work.asks[a]] -= rows[guest, HELD + work.asks[a]]
    return victims


@kernel
def _list_victims(lower, rows, work):
    """How many have to go; they go into work.victims by importance, of equals first those who break a budget."""
    count, i = 0, lower - 1
    while i >= 0:
        j = i
        while j > 0 and _equal(rows, work.lower[j - 1], work.lower[i]):
            j -= 1
        for breaking in (True, False):
            for k in range(i, j - 1, -1):
                if work.victim[k] and work.breaking[k] == breaking:
                    work.victims[count] = work.lower[k]
                    count += 1
        i = j - 1
    return count


@kernel
def _equal(rows, one, other):
    return rows[one, PRIORITY] == rows[other, PRIORITY] and rows[one, STARTED] == rows[other, STARTED]
