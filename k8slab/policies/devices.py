"""GPU devices of the nodes of a snapshot: what is free on each, and who has which, as pods come and go.

Which device a pod has is the state's to know; of pods that come here, and where no state says,
it follows from the order in which they came and the rule by which the policy chooses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints
from k8slab.domain.devices import (
    MODEL_LABELS,
    MOST_DEVICES,
    SLICE_LABEL,
    SLICING_LABEL,
    SLICINGS,
    WHOLE,
    Held,
    Slicing,
    idlest,
    milli_units,
    sliced,
)
from k8slab.domain.resources import CPU
from k8slab.errors import InputError
from k8slab.kernels import gpu as kernels
from k8slab.kernels.gpu import Largest, Nodes
from k8slab.policies.gpu_shapes import Shape, counted, most_frequent, pod_shapes, shapes_of, typical_of

if TYPE_CHECKING:
    from k8slab.policies.plugins.gpu import GpuDevices
    from k8slab.policies.snapshot import Crowd, Snapshot

_RULES: Final = {"fullest": kernels.BEST_FIT, "fragmented": kernels.FGD, "random": kernels.RANDOM}
# Draws of a device are others than those of a node, which the same seed and pod decide.
_DEVICE_DRAWS: Final = 0x6465766963650000

Mask = npt.NDArray[np.bool_]
Entry = tuple[int, Ints, Ints]  # node, int64[D] milli, int64[D] slots


class DeviceTable:
    """The devices of a snapshot's nodes, kept up to date as pods come and go.

    nodes   : what is free; cpu too, as fragmentation counts it. Memory is the snapshot's.
    slots   : int64[N, D]  bits of the slots that are taken, where devices are cut into slices
    shapes, shape_names : the distinct requests of all pods there
    typical : the shapes that make up 95 % of the pods to schedule, or of those that the policy was given
    largest : what scores are in parts of: the cluster's largest node, or what the policy was given
    """

    def __init__(self, snapshot: Snapshot, plugin: GpuDevices) -> None:
        self._snapshot = snapshot
        columns = snapshot.nodes
        self._units = milli_units(columns.schema.names)
        assert self._units.any(), f"no GPUs among {columns.schema.names}"
        self._cpu = columns.schema.index(CPU)
        crowds = (snapshot.incoming, snapshot.bound)
        index: dict[Shape, int] = {}
        self._shape_of = {
            id(crowd): np.array([index.setdefault(shape, len(index)) for shape in pod_shapes(crowd.pods)], np.int64)
            for crowd in crowds
        }
        models = self._models()
        known = (*models.values, "")  # a node without the label has a model of no name
        self.shape_names = tuple(index)
        self.shapes = shapes_of(self.shape_names, known)
        given = plugin.typical and [((cpu, milli, gpus, spec), pods) for cpu, milli, gpus, spec, pods in plugin.typical]
        counts = given or counted(self.shape_names, self.incoming_shapes)
        self.typical = typical_of(most_frequent(counts), sum(pods for _, pods in counts), known)
        self._rule = _RULES[plugin.choice]
        if self._rule == kernels.FGD and not self.typical.total:
            self._rule = kernels.BEST_FIT  # without pods to come there is nobody to be fragmented for
        self.nodes = self._idle_nodes(models)
        self.largest = self._largest(plugin)
        self.slots = np.zeros_like(self.nodes.milli)
        slicing = snapshot.domains(SLICING_LABEL).to_array().tolist()
        self.slicing: dict[int, Slicing] = {row: SLICINGS[kind] for row, kind in enumerate(slicing) if kind in SLICINGS}
        self._slice_of = {id(crowd): crowd.pods.labels.get(SLICE_LABEL) for crowd in crowds}
        self.scratch = kernels.scratch_for(self.nodes, self.shapes, 0)
        self._words, self._cursors = np.zeros(607, dtype=np.uint64), np.zeros(2, dtype=np.int64)
        self._held: dict[tuple[int, int], Entry] = {}
        self._hold_bound()
        for node in range(len(columns)):
            self._refresh(node)

    def _models(self) -> Codes[str]:
        """The nodes' GPU models, by the first of the labels that each has."""
        columns = (self._snapshot.domains(label).to_array() for label in MODEL_LABELS)
        return Codes.of(next((name for name in names if name), None) for names in zip(*columns, strict=True))

    def _idle_nodes(self, models: Codes[str]) -> Nodes:
        columns = self._snapshot.nodes
        devices = self._units @ columns.allocatable // WHOLE
        most = int(devices.max(initial=1))
        if most > MOST_DEVICES:
            name = columns.names[int(np.argmax(devices))]
            raise InputError(f"node {name!r} has {most:,} GPUs; wanted {MOST_DEVICES} or less")
        model = np.where(models.codes < 0, len(models.values), models.codes).astype(np.int64)
        cpu, memory = (np.zeros(len(columns), dtype=np.int64) for _ in range(2))
        return kernels.idle_nodes(cpu, memory, devices, model, max(most, 1))

    def _largest(self, plugin: GpuDevices) -> Largest:
        columns = self._snapshot.nodes
        found = []
        for amounts, given, what in (
            (columns.allocatable[self._cpu], plugin.largest_cpu_milli, "mCPU"),
            (self.nodes.devices * WHOLE, plugin.largest_gpus and plugin.largest_gpus * WHOLE, "milli of GPUs"),
        ):
            most = int(amounts.max(initial=1))
            if given is not None and given < most:
                name = columns.names[int(np.argmax(amounts))]
                raise InputError(f"node {name!r} has {most:,} {what}; the largest node was said to have {given:,}")
            found.append(max(most, 1) if given is None else given)
        return Largest(*found)

    def _hold_bound(self) -> None:
        """Give the pods that run what they hold, as the state says; by the rule where it says nothing."""
        placed, bound = self._snapshot.placed, self._snapshot.bound
        for row, node in enumerate(placed.node_rows.tolist()):
            if placed.devices is None:
                self._refresh(node)
                self._hold(bound, row, node)
                continue
            amounts, slots = (np.zeros(self.nodes.milli.shape[1], dtype=np.int64) for _ in range(2))
            here = min(len(amounts), placed.devices.amounts.shape[1])
            amounts[:here], slots[:here] = (column[row, :here] for column in placed.devices)
            # What it holds of devices that the node has no more, or of memory, can't be held of these.
            self._take(bound, row, node, np.minimum(amounts, self.nodes.milli[node]), slots)

    # -- what is asked ----------------------------------------------------------------

    @property
    def incoming_shapes(self) -> Ints:
        """int64[P]: the shapes of the pods to schedule."""
        return self._shape_of[id(self._snapshot.incoming)]

    @property
    def asked_milli(self) -> Ints:
        """int64[P]: milli of GPUs that the pods to schedule ask."""
        return np.asarray((self.shapes.milli * self.shapes.devices)[self.incoming_shapes])

    def shape(self, pod: int) -> int:
        """The shape of a pod to schedule."""
        return int(self.incoming_shapes[pod])

    def asks(self, pod: int) -> bool:
        """Whether a pod asks any GPU."""
        return bool(self.shapes.devices[self.shape(pod)])

    def accepted(self, pod: int) -> Mask:
        """bool[N]: nodes whose model the pod accepts."""
        return np.asarray(self.shapes.accepts[self.shape(pod)][self.nodes.model])

    def judge(self, pod: int, policy: int) -> tuple[Mask, Ints]:
        """bool[N] which nodes have devices free for a pod, and int64[N] their scores, 0 .. 100."""
        count = len(self.nodes.cpu)
        free, score = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.int64)
        kernels.judge_nodes(
            policy, self.nodes, self.shapes, self.shape(pod), self.typical, self.largest, self.scratch, free, score
        )
        for node in self.slicing if self.asks(pod) else ():
            free[node] = self.slice_for(self._snapshot.incoming, pod, node)[1] > 0
        return free, score

    def slice_for(self, crowd: Crowd, pod: int, node: int) -> tuple[int, int]:
        """(device, slots as bits) for a pod on a node that cuts its devices into slices; (-1, 0) where none is free."""
        s, slices = int(self._shape_of[id(crowd)][pod]), self._slice_of[id(crowd)]
        if not self.shapes.accepts[s, self.nodes.model[node]]:
            return -1, 0
        capacity = np.where(np.arange(self.slots.shape[1]) < self.nodes.devices[node], WHOLE, 0)
        want = int(self.shapes.milli[s] * self.shapes.devices[s])
        return sliced(self.slicing[node], self.slots[node], capacity, (slices and slices[pod]) or "", want)

    # -- coming and going -----------------------------------------------------------------

    def move(self, crowd: Crowd, pod: int, node_row: int, by: int) -> None:
        """A pod comes (1) to a node or goes (-1); the snapshot's amounts have moved already."""
        if by > 0:
            self._hold(crowd, pod, node_row)
        else:
            node, amounts, slots = self._held[id(crowd), pod]
            self._change(node, int(self._shape_of[id(crowd)][pod]), amounts, slots, -1)
        self._refresh(node_row)

    def held(self, pod: int, node_row: int) -> Ints:
        """int64[D]: the milli that a pod to schedule has of the devices of the node it came to, -1 for none."""
        entry = self._held.get((id(self._snapshot.incoming), pod)) if node_row >= 0 else None
        return np.zeros(self.nodes.milli.shape[1], dtype=np.int64) if entry is None else entry[1]

    def held_by(self, crowd: Crowd, pods: Ints) -> Held:
        """What pods that are there hold, int64[., D] each."""
        entries = [self._held[id(crowd), pod] for pod in pods.tolist()]
        width = self.nodes.milli.shape[1]
        amounts, slots = (np.array([entry[part] for entry in entries], np.int64).reshape(-1, width) for part in (1, 2))
        return Held(amounts, slots)

    def choice(self, pod: int, node_row: int) -> Ints:
        """int64[D]: the milli that a pod to schedule would get of the devices of a node."""
        return self._chosen(self._snapshot.incoming, pod, node_row)[0]

    def _hold(self, crowd: Crowd, pod: int, node_row: int) -> None:
        """Give a pod devices of a node, by the rule; where none will do, what is free, the idlest devices first."""
        node, *had = self._held.get((id(crowd), pod), (-1,))
        # It was away for the length of a question, and nobody has taken its devices meanwhile.
        back = node == node_row and (self.nodes.milli[node] >= had[0]).all() and not (self.slots[node] & had[1]).any()
        self._take(crowd, pod, node_row, *(had if back else self._chosen(crowd, pod, node_row)))

    def _chosen(self, crowd: Crowd, pod: int, node: int) -> tuple[Ints, Ints]:
        s = int(self._shape_of[id(crowd)][pod])
        free = self.nodes.milli[node]
        taken, slots = np.zeros_like(free), np.zeros_like(free)
        if not self.shapes.devices[s]:
            return taken, slots
        if node in self.slicing:
            device, bits = self.slice_for(crowd, pod, node)
            if bits:
                slots[device] = bits
                taken[device] = min(self.slicing[node].milli_of(bits), int(free[device]))
        elif kernels.has_devices(self.nodes, node, self.shapes, s):
            taken[self._devices(crowd, pod, node, s)] = self.shapes.milli[s]
        else:
            taken = idlest(free, int(self.shapes.milli[s] * self.shapes.devices[s]))
        return taken, slots

    def _devices(self, crowd: Crowd, pod: int, node: int, s: int) -> list[int]:
        """The devices that a pod gets of a node that has them."""
        from k8slab.policies.policy import draw01

        want, free = self.shapes.milli[s], self.nodes.milli[node]
        if self._rule == kernels.RANDOM and want < WHOLE:
            enough = np.flatnonzero(free >= want).tolist()
            number = draw01(self._snapshot.seed ^ _DEVICE_DRAWS, int(crowd.pods.rows[pod]))
            return [enough[int(number * len(enough))]]
        bits = kernels.choose_devices(
            self._rule, self.nodes, node, self.scratch.before[node], self.shapes, s, self.typical, self.scratch,
            self._words, self._cursors,
        )
        return [j for j in range(len(free)) if bits >> j & 1]

    def _take(self, crowd: Crowd, pod: int, node_row: int, amounts: Ints, slots: Ints) -> None:
        self._held[id(crowd), pod] = node_row, amounts, slots
        self._change(node_row, int(self._shape_of[id(crowd)][pod]), amounts, slots, 1)

    def _change(self, node_row: int, s: int, amounts: Ints, slots: Ints, by: int) -> None:
        nodes = self.nodes
        nodes.milli[node_row] -= by * amounts
        self.slots[node_row] += by * slots
        nodes.idle[node_row] = nodes.milli[node_row].sum()
        nodes.whole[node_row] = (nodes.milli[node_row] == WHOLE).sum()
        if self.shapes.devices[s]:
            tag = int(self.shapes.devices[s]) if self.shapes.milli[s] == WHOLE else 0
            nodes.tags[node_row, min(tag, nodes.tags.shape[1] - 1)] += by
            nodes.kinds[node_row] = (nodes.tags[node_row] > 0).sum()

    def _refresh(self, node_row: int) -> None:
        """Free CPU and fragmentation of a node as they are now."""
        columns = self._snapshot.nodes
        self.nodes.cpu[node_row] = columns.allocatable[self._cpu, node_row] - columns.requested[self._cpu, node_row]
        self.scratch.before[node_row] = kernels.fragment_exactly(self.nodes, node_row, self.typical)
