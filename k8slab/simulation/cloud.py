"""A simulated cloud: nodes boot for a time, are refused now and then, and cost money from launch to end."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np

from k8slab.application.calendar import Rank
from k8slab.application.node_provider import ManagedGroup, Refusal
from k8slab.domain.columns import NEVER, Codes, Codes32, Ints, Names
from k8slab.domain.devices import device_capacity
from k8slab.domain.node_template import NodeTemplate
from k8slab.domain.pod_spec import HOSTNAME
from k8slab.domain.resources import GPU
from k8slab.errors import InputError
from k8slab.simulation.distributions import as_distribution
from k8slab.simulation.instance_types import GROUP_LABEL, NodeGroup, check_groups
from k8slab.simulation.world import World
from k8slab.units import duration_ns, format_amount

_AHEAD: Final = 64
OUT_OF_CAPACITY: Final = "the cloud has no such instance now"
TOO_LATE: Final = "the node hasn't come in time"


@dataclass
class Lease:
    """A node from the instant it was asked for. node_row : -1 if it never came; joined_ns, ended_ns : NEVER so far"""

    group: int
    launched_ns: int
    joined_ns: int = NEVER
    ended_ns: int = NEVER
    node_row: int = -1
    end: str = ""


class _Dice:
    """A group's boot times and refusals, drawn for its first launch, its second, ...: whatever else happens."""

    def __init__(self, group: NodeGroup, rng: np.random.Generator) -> None:
        self._boot = as_distribution(group.instance_type.boot)  # type: ignore[arg-type]  # a mapping no more
        self._failure = group.instance_type.launch_failure
        self._rng = rng
        self._ready: list[tuple[int, bool]] = []

    def take(self) -> tuple[int, bool]:
        """How long the next launch boots, and whether it is refused."""
        if not self._ready:
            boot = self._boot.draw(_AHEAD, self._rng).tolist()
            refused = (self._rng.random(_AHEAD) < self._failure).tolist()
            self._ready = list(zip(boot, refused, strict=True))[::-1]
        return self._ready.pop()


class Cloud:
    """Implements NodeProviderPort. leases : all nodes of groups that ever were, or were asked for"""

    name = "cloud"
    rank: int = Rank.FAULTS
    heeds_pods = False

    def __init__(self, world: World, groups: tuple[NodeGroup, ...]) -> None:
        check_groups(groups)
        self._world = world
        self._state = world.state
        self.node_groups = groups
        self.groups = tuple(_managed(group, world) for group in groups)
        allocatable = np.stack([group.template.allocatable for group in self.groups], axis=1)
        owners = range(len(world.workloads.names))
        self._has_daemons = any(world.workloads.spec(owner).kind == "DaemonSet" for owner in owners)
        self._has_devices = [bool(row.any()) for row in device_capacity(world.state.schema.names, allocatable)]
        self._dice = [_Dice(group, world.streams.generator(f"cloud/{group.name}")) for group in groups]
        self._numbers = {group.name: number for number, group in enumerate(groups)}
        # A name is never given twice, so that what is told of nodes by name is clear.
        self._made = [group.first_size for group in groups]
        self._booting: list[tuple[int, int, Lease]] = []
        self._upcoming = np.zeros(len(groups), dtype=np.int64)
        self._refused: list[Refusal] = []
        self._order = 0
        self.leases: list[Lease] = []
        self._of_node: dict[int, Lease] = {}
        self._group_of = self._first_groups()
        for row in np.flatnonzero(self._group_of >= 0).tolist():
            self._lease(Lease(int(self._group_of[row]), 0, 0, NEVER, row))
        self._check_sizes()

    def _first_groups(self) -> Codes32:
        column = self._state.node_columns().labels.get(GROUP_LABEL)
        if column is None:
            return np.full(self._state.node_count, -1, dtype=np.int32)
        numbers = [*(self._numbers.get(name, -1) for name in column.values), -1]
        return np.array(numbers, dtype=np.int32)[column.codes]

    def _check_sizes(self) -> None:
        there = np.bincount(self._group_of[self._group_of >= 0], minlength=len(self.groups))
        for group, count in zip(self.groups, there.tolist(), strict=True):
            if not group.min_size <= count <= group.max_size:
                raise InputError(
                    f"node group {group.name!r}: {count} nodes of the cluster have its label {GROUP_LABEL}; wanted "
                    f"{group.min_size} to {group.max_size}, as cluster_of(groups) makes them"
                )

    def _lease(self, lease: Lease) -> None:
        self.leases.append(lease)
        if lease.node_row >= 0:
            self._of_node[lease.node_row] = lease

    # -- NodeProviderPort -----------------------------------------------------------------

    def group_of(self) -> Codes32:
        """int32[N]: the group of each node row, -1 for none."""
        missing = self._state.node_count - len(self._group_of)
        if missing:
            self._group_of = np.concatenate([self._group_of, np.full(missing, -1, dtype=np.int32)])
        return self._group_of

    def upcoming(self) -> Ints:
        """int64[G]: nodes that were asked for and aren't there yet."""
        return self._upcoming

    def launch(self, group: int, count: int, now_ns: int) -> list[Lease]:
        """Ask for nodes: each boots for its time, or is refused at once; cluster-autoscaler learns that later."""
        refused, leases = 0, []
        for _ in range(count):
            boot_ns, fails = self._dice[group].take()
            if fails:
                refused += 1
                continue
            lease = Lease(group, now_ns)
            leases.append(lease)
            self._lease(lease)
            self._order += 1
            heapq.heappush(self._booting, (now_ns + boot_ns, self._order, lease))
            self._upcoming[group] += 1
        if refused:
            self._refused.append(Refusal(group, refused, OUT_OF_CAPACITY))
        return leases

    def take_refusals(self, late_ns: int, now_ns: int) -> list[Refusal]:
        """Refused since the last time, and given up as they were asked for before `late_ns`."""
        found, self._refused = self._refused, []
        late = [lease for _, _, lease in self._booting if lease.launched_ns < late_ns]
        for lease in late:
            lease.ended_ns, lease.end = now_ns, TOO_LATE
            self._upcoming[lease.group] -= 1
        if late:
            self._booting = [one for one in self._booting if one[2].ended_ns == NEVER]
            heapq.heapify(self._booting)
            counts = np.bincount([lease.group for lease in late], minlength=len(self.groups))
            found += [Refusal(int(k), int(counts[k]), TOO_LATE, late=True) for k in np.flatnonzero(counts)]
        return found

    def gives_up_ns(self, after_ns: int) -> int:
        """Until when `take_refusals` has nothing to tell, if it gives up after so long: 0 for now, NEVER for ever."""
        if self._refused:
            return 0
        return min((lease.launched_ns + after_ns for _, _, lease in self._booting), default=NEVER)

    def terminate(self, node_row: int, now_ns: int) -> None:
        """Take a node away, with the pods of daemon sets that are on it."""
        rows = self._state.pods_on(node_row)
        if len(rows):
            self._state.remove_pods(rows)
        self._state.remove_node(node_row)
        lease = self._of_node[node_row]
        lease.ended_ns, lease.end = now_ns, "removed"

    # -- for whoever lives through many instants at once -------------------------------------

    def ahead(self, before_ns: int) -> tuple[list[tuple[int, NodeTemplate]], int]:
        """When the next nodes join, one an instant, and of which template; and the instant before which that is all."""
        if not self._booting or self._booting[0][0] >= before_ns:
            return [], before_ns
        if self._world.on_join or self._has_daemons:
            # Others have something to do when a node joins.
            return [], self._booting[0][0]
        found: list[tuple[int, NodeTemplate]] = []
        for at_ns, _, lease in sorted(one for one in self._booting if one[0] < before_ns):
            template = self.groups[lease.group].template
            if self._has_devices[lease.group] or (found and found[-1][0] == at_ns):
                return [one for one in found if one[0] < at_ns], at_ns
            found.append((at_ns, template))
        return found, before_ns

    def join_ahead(self, count: int) -> None:
        """The next so many get their rows; somebody else tells the state that they are there."""
        leases = [heapq.heappop(self._booting) for _ in range(count)]
        if leases:
            self._add([lease for _, _, lease in leases], [at_ns for at_ns, _, _ in leases], there=False)

    # -- the loop ----------------------------------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        return self._booting[0][0] if self._booting else None

    def run_once(self, now_ns: int) -> None:
        joining = []
        while self._booting and self._booting[0][0] <= now_ns:
            joining.append(heapq.heappop(self._booting)[2])
        for group in sorted({lease.group for lease in joining}):
            leases = [lease for lease in joining if lease.group == group]
            rows = self._add(leases, [now_ns] * len(leases), there=True)
            for told in self._world.on_join:
                told(rows, now_ns)

    def _add(self, leases: list[Lease], at_ns: list[int], *, there: bool) -> Ints:
        """Nodes join at these instants; gives their rows. there : the state is told of it here"""
        numbers = [lease.group for lease in leases]
        groups = [self.groups[number] for number in numbers]
        names = [self._new_name(number) for number in numbers]
        keys = dict.fromkeys(key for group in groups for key in group.template.labels)
        labels = {key: Codes.of([group.template.labels.get(key) for group in groups]) for key in keys}
        rows = self._state.add_nodes(
            Names(names),
            np.stack([group.template.allocatable for group in groups], axis=1),
            taints=Codes.of([group.template.taints for group in groups]),
            labels={**labels, HOSTNAME: Codes.of(names)},
            there=there,
        )
        self.group_of()[rows] = numbers
        for number in numbers:
            self._upcoming[number] -= 1
        for lease, joined_ns, row in zip(leases, at_ns, rows.tolist(), strict=True):
            lease.joined_ns, lease.node_row = joined_ns, row
            self._of_node[row] = lease
            self._world.sink.emit(
                "node_scaling", time_ns=joined_ns, autoscaler=self.name, action="joined",
                group=self.groups[lease.group].name, nodes=1, pods=0, node_row=row,
                reason=f"booted for {(joined_ns - lease.launched_ns) / 1e9:.1f} s",
            )  # fmt: skip
        return rows

    def _new_name(self, number: int) -> str:
        while True:
            name = f"{self.groups[number].name}-{self._made[number]}"
            self._made[number] += 1
            if self._state.node_row(name) < 0:
                return name


def _managed(group: NodeGroup, world: World) -> ManagedGroup:
    """The group as autoscalers see it. InputError if its nodes are too small for a daemon set that they must run."""
    kind, schema = group.instance_type, world.state.schema
    template = NodeTemplate(
        group.name, kind.vector(schema), _overhead(group, world), group.node_labels(), group.node_taints()
    )
    gpu = any(name == GPU or name.endswith("/gpu") for name, value in kind.amounts().items() if value)
    unneeded_ns, unready_ns = (
        None if span is None else duration_ns(span, f"{group}, {key}")
        for key, span in (("unneeded_time", group.unneeded_time), ("unready_time", group.unready_time))
    )
    return ManagedGroup(
        group.name, template, group.min_size, group.max_size, kind.price_per_hour, kind.name, kind.limit,
        group.all_or_nothing, gpu, group.utilization_threshold, unneeded_ns, unready_ns,
    )  # fmt: skip


def _overhead(group: NodeGroup, world: World) -> Ints:
    """int64[R]: what daemon sets take of each node, whatever its taints: as the workloads' controller places them."""
    workloads, schema = world.workloads, world.state.schema
    has = group.instance_type.vector(schema)
    total: Ints = np.zeros(len(schema), dtype=np.int64)
    for owner, name in enumerate(workloads.names):
        spec = workloads.spec(owner)
        if spec.kind != "DaemonSet":
            continue
        total = total + spec.request
        for row in np.flatnonzero((total > has) & (spec.request > 0))[:1].tolist():
            resource = schema.names[row]
            raise InputError(
                f"{group}: {group.instance_type} is too small for daemon set {name!r}: with it they request "
                f"{format_amount(resource, int(total[row]))} {resource}, of {format_amount(resource, int(has[row]))}"
            )
    return total
