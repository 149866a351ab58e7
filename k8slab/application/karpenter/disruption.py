"""What Karpenter does about nodes that cost more than they should: one method after another, one command at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.karpenter.candidates import CandidateFinder, Candidates
from k8slab.application.karpenter.pools import BALANCED, Offerings, Pool
from k8slab.application.karpenter.trial import (
    LEAVING,
    MOVING,
    NO_ROOM,
    NOT_YET,
    PENDING,
    TOO_DEAR,
    TOO_MANY,
    Moves,
    Scene,
    Trial,
    TrialScheduler,
)
from k8slab.application.node_provider import NodeProviderPort
from k8slab.domain.columns import Ints
from k8slab.domain.karpenter.consolidation import (
    MOST_NODES,
    candidate_order,
    cheaper_options,
    interleaved,
    largest_prefix,
    spot_options,
    within_budgets,
)
from k8slab.domain.karpenter.disruption_cost import Move, approves, balanced_score

Mask = npt.NDArray[np.bool_]
EMPTINESS, MULTI, SINGLE = METHODS = ("emptiness", "multi-node consolidation", "single-node consolidation")
REASON: Final = {EMPTINESS: "Empty", MULTI: "Underutilized", SINGLE: "Underutilized"}
_WHY: Final = {
    NO_ROOM: "not all pods would find a node",
    TOO_MANY: "can't be removed without launching more than one node",
    NOT_YET: "its pods would need a node that isn't there yet",
    TOO_DEAR: "can't be replaced with a cheaper node",
}
_BUDGET: Final = "the pool's disruption budget allows none now"


@dataclass(frozen=True, eq=False)
class Command:
    """Nodes that should go, and what replaces them.

    options : bool[G], what the replacement may be; None for none
    savings : of price an hour, at least; cost : of the disruption
    """

    method: str
    nodes: Candidates
    savings: float
    cost: float
    options: Mask | None = None

    @property
    def reason(self) -> str:
        """As budgets and events call it."""
        return REASON[self.method]


class Disruption:
    """Finds commands, and says whether one still holds.

    unplaced : gives int64[], pods that wait, and int64[], pods of nodes that are on their way out
    """

    def __init__(
        self,
        trials: TrialScheduler,
        finder: CandidateFinder,
        provider: NodeProviderPort,
        pools: Sequence[Pool],
        offerings: Offerings,
        unplaced: Callable[[], tuple[Ints, Ints]],
        *,
        spot_to_spot: bool = False,
    ) -> None:
        self._trials = trials
        self._finder = finder
        self._provider = provider
        self._pools = pools
        self._offerings = offerings
        self._unplaced = unplaced
        self._spot_to_spot = spot_to_spot
        # Why nodes were left alone, by row, since the last look.
        self.why: dict[int, str] = {}

    def look(self, now_ns: int) -> Candidates:
        """The candidates now, by price over disruption cost."""
        found = self._finder.find(now_ns)
        self.why = dict(self._finder.blocked)
        return found.take(candidate_order(found.price, found.cost))

    def propose(self, method: str, found: Candidates, usable: Mask, now_ns: int) -> Command | None:
        """What this method would do about these candidates."""
        allowed = self._finder.allowed(REASON[method], now_ns)
        if method == EMPTINESS:
            return self._emptiness(found, allowed)
        places = self._finder.consolidatable(found)
        if method == SINGLE:
            places = places[interleaved(found.pool[places])]
            open_pools = np.array([allowed[number] > 0 for number in range(len(self._pools))], dtype=np.bool_)
            free = open_pools[found.pool[places]]
        else:
            free = within_budgets(found.pool[places], allowed)
        for node in found.rows[places[~free]].tolist():
            self.why[node] = _BUDGET
        chosen = found.take(places[free])
        if not len(chosen.rows):
            return None
        return self._multi(chosen, usable) if method == MULTI else self._single(chosen, usable)

    def still_holds(self, command: Command, usable: Mask, now_ns: int) -> Command | None:
        """The command, or what is left of it; None if what it was based on is no more."""
        found = self._finder.find(now_ns)
        there = np.isin(found.rows, command.nodes.rows)
        if command.method == EMPTINESS:
            return self._emptiness(found.take(np.flatnonzero(there)), self._finder.allowed(command.reason, now_ns))
        order = [int(np.flatnonzero(found.rows == row)[0]) for row in command.nodes.rows.tolist() if row in found.rows]
        nodes = found.take(np.array(order, dtype=np.int64))
        if len(order) < len(command.nodes.rows) or nodes.empty.any():
            return None
        if not within_budgets(nodes.pool, self._finder.allowed(command.reason, now_ns)).all():
            return None
        scene, home = self._scene(nodes, usable)
        trial = self._trials.without(scene, nodes.rows, np.arange(len(home)))
        if trial is None or len(trial.claims) != (command.options is not None):
            return None
        if command.options is not None and (command.options & ~trial.claims[0].options).any():
            return None
        return replace(command, nodes=nodes)

    # -- emptiness --------------------------------------------------------------------------------

    def _emptiness(self, found: Candidates, allowed: dict[int, int]) -> Command | None:
        places = np.flatnonzero(found.empty)
        free = within_budgets(found.pool[places], allowed)
        for node in found.rows[places[~free]].tolist():
            self.why[node] = _BUDGET
        nodes = found.take(places[free])
        if not len(nodes.rows):
            return None
        return Command(EMPTINESS, nodes, float(nodes.price.sum()), float(nodes.cost.sum()))

    # -- consolidation ----------------------------------------------------------------------------

    def _scene(self, found: Candidates, usable: Mask) -> tuple[Scene, Ints]:
        """These nodes' pods and all that must be placed in any case; and the node of each, -1 for the latter."""
        waiting, leaving = self._unplaced()
        pods = np.concatenate([waiting, leaving, found.movers])
        counts = (len(waiting), len(leaving), len(found.movers))
        duty = np.repeat(np.array([PENDING, LEAVING, MOVING], dtype=np.int8), counts)
        scene = self._trials.scene(pods, duty, usable)
        home = np.full(int(pods.max(initial=-1)) + 1, -1, dtype=np.int64)
        home[found.movers] = found.home
        return scene, home[scene.pods]

    def _multi(self, found: Candidates, usable: Mask) -> Command | None:
        found = found.take(np.arange(min(len(found.rows), MOST_NODES)))
        if len(found.rows) < 2:
            return None
        scene, home = self._scene(found, usable)

        def attempt(length: int) -> Command | None:
            nodes = found.take(np.arange(length))
            trial = self._trials.without(scene, nodes.rows, np.flatnonzero(home < length))
            return None if trial is None else self._command(MULTI, nodes, trial)

        return largest_prefix(len(found.rows), attempt)

    def _single(self, found: Candidates, usable: Mask) -> Command | None:
        scene, home = self._scene(found, usable)
        moves = Moves.of(scene, found.rows, found.price, home, len(self._offerings.pool))
        begin, count = 0, len(found.rows)
        command = None
        while command is None and begin < count:
            begin = self._trials.first_move(scene, moves, begin)
            if begin < count:
                command = self._try_one(found, scene, home, begin)
                begin += 1
        for place in np.flatnonzero(moves.outcome >= min(_WHY)).tolist():
            self.why[int(found.rows[place])] = _WHY[int(moves.outcome[place])]
        return command

    def _try_one(self, found: Candidates, scene: Scene, home: Ints, place: int) -> Command | None:
        nodes = found.take(np.array([place]))
        trial = self._trials.without(scene, nodes.rows, np.flatnonzero((home == place) | (home < 0)))
        assert trial is not None
        return self._command(SINGLE, nodes, trial)

    def _command(self, method: str, nodes: Candidates, trial: Trial) -> Command | None:
        """What a trial that came out well allows, if it pays and the pools' policies want it."""
        options, price, cost = None, 0.0, float(nodes.cost.sum())
        if trial.claims:
            of = self._provider.group_of()[nodes.rows]
            offerings = self._offerings
            options = cheaper_options(
                trial.claims[0].options, offerings.price, offerings.kind, offerings.kind[of], nodes.price
            )
            options, why = spot_options(
                options, offerings.price, offerings.spot, offerings.spot[of], spot_to_spot=self._spot_to_spot
            )
            if not options.any():
                self._tell(nodes, why or _WHY[TOO_DEAR])
                return None
            price = float(offerings.price[options].min())
        if not self._is_balanced(nodes, price):
            return None
        return Command(method, nodes, float(nodes.price.sum()) - price, cost, options)

    def _is_balanced(self, nodes: Candidates, price: float) -> bool:
        """Whether each pool with the Balanced policy finds its share of the move worth it."""
        for number in np.unique(nodes.pool).tolist():
            pool = self._pools[number]
            if pool.consolidation != BALANCED:
                continue
            mine = nodes.pool == number
            paid = float(nodes.price[mine].sum())
            share = paid / max(float(nodes.price.sum()), 1e-300)
            move = Move(paid - price * share, float(nodes.cost[mine].sum()), *self._finder.pool_totals(number))
            if not approves(move, pool.k):
                self._tell(nodes, f"Balanced: score {balanced_score(move):.2f} is below {1 / pool.k:g}")
                return False
        return True

    def _tell(self, nodes: Candidates, why: str) -> None:
        if len(nodes.rows) == 1:
            self.why[int(nodes.rows[0])] = why
