"""GPU devices of the nodes of a snapshot: what is free on each, who has which, and the pods that are typical.

A node has devices of 1000 milli, a pod asks a share of one or several whole ones. State and
snapshot count them as one resource; which device a pod has follows from the order in which pods
came and the rule by which the policy chooses, so devices are derived here, for policies that ask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints
from k8slab.domain.resources import CPU, GPU
from k8slab.errors import InputError
from k8slab.kernels import gpu as kernels
from k8slab.kernels.gpu import WHOLE, Nodes, Shapes, Typical

if TYPE_CHECKING:
    from k8slab.policies.snapshot import Crowd, Snapshot

MODEL_LABEL: Final = "gpu-model"
SPEC_LABEL: Final = "gpu-spec"
# Milli-GPU, or whole devices as Kubernetes' device plug-in counts them -> milli in one.
RESOURCES: Final = {GPU: 1, "nvidia.com/gpu": WHOLE}
MOST_DEVICES: Final = 63  # the bits of an int64 that says which devices a pod has
TYPICAL_PERCENT: Final = 95

Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int, int, str]  # mCPU, milli of each device, devices, accepted models joined by |


def accepted(spec: str) -> list[str]:
    """The models of a text such as "T4|P100"; none stand for any."""
    return [model for model in spec.split("|") if model]


def shape_of(cpu: int, milli: int, spec: str | None) -> Shape:
    """The shape of a pod that asks so many mCPU and milli of GPUs: a share, or whole ones.

    >>> shape_of(4000, 460, "T4||P100"), shape_of(4000, 2000, None), shape_of(4000, 0, "T4")
    ((4000, 460, 1, 'T4|P100'), (4000, 1000, 2, ''), (4000, 0, 0, ''))
    """
    return cpu, min(milli, WHOLE), -(-milli // WHOLE), "|".join(accepted(spec or "")) if milli else ""


def shapes_of(shapes: Sequence[Shape], models: Sequence[str]) -> Shapes:
    """Shapes as kernels take them."""
    accepts = [[not spec or model in accepted(spec) for model in models] for *_, spec in shapes]
    cpu, milli, devices = (np.array([shape[part] for shape in shapes], dtype=np.int64) for part in range(3))
    return Shapes(cpu, milli, devices, np.array(accepts, dtype=np.bool_).reshape(len(shapes), len(models)))


def most_frequent(shapes: Sequence[Shape], pod_shape: Ints) -> list[tuple[Shape, int]]:
    """The shapes that make up 95 % of the pods, most frequent first, each with its number of pods."""
    counts = Counter(pod_shape.tolist())
    ranked = sorted(((count, shapes[row]) for row, count in counts.items()), reverse=True)
    taken: list[tuple[Shape, int]] = []
    for count, shape in ranked:
        if 100 * sum(number for _, number in taken) >= TYPICAL_PERCENT * len(pod_shape):
            break
        taken.append((shape, count))
    return taken


def typical_of(taken: Sequence[tuple[Shape, int]], pods: int, models: Sequence[str]) -> Typical:
    """Typical pods as kernels take them, with the tables of the exact form; see k8slab.kernels.gpu.

    taken : shapes and how many pods have each
    pods  : how many there are altogether, those of other shapes too
    """
    shapes = shapes_of([shape for shape, _ in taken], models)
    number = np.array([count for _, count in taken], dtype=np.int64)
    total = int(number.sum())
    weight = number / pods if total == pods else (number / pods) / (total / pods)
    cpu_steps, milli_steps = np.unique(shapes.cpu), np.unique(shapes.milli[shapes.milli > 0])
    # By step of CPU: which typical pods have enough. Step 0 is less than any asks.
    enough_cpu = np.vstack([np.zeros(len(taken), dtype=np.bool_), cpu_steps[:, None] >= shapes.cpu])
    enough_milli = np.vstack([np.zeros(len(taken), dtype=np.bool_), milli_steps[:, None] >= shapes.milli])
    enough_devices = np.arange(MOST_DEVICES + 1)[:, None] >= shapes.devices
    single, several = (shapes.devices == 1) * number, (shapes.devices > 1) * number
    return Typical(
        shapes,
        weight,
        number,
        total,
        cpu_steps,
        np.searchsorted(milli_steps, np.arange(WHOLE + 1), side="right"),
        _counted(shapes.accepts, enough_cpu, enough_milli, single),
        _counted(shapes.accepts, enough_cpu, enough_devices, several),
    )


def _counted(accepts: Mask, enough_cpu: Mask, enough: Mask, number: Ints) -> Ints:
    """int64[G, C, L]: the sum of `number` over shapes that accept, have enough CPU, and enough of the devices.

    accepts : bool[T, G], enough_cpu : bool[C, T], enough : bool[L, T], number : int64[T]
    """
    # einsum's result may lie in memory in any order, and a kernel is compiled anew for each.
    return np.ascontiguousarray(
        np.einsum("tg,ct,lt,t->gcl", accepts, enough_cpu, enough, number, dtype=np.int64, casting="unsafe")
    )


def gpu_resource(names: Sequence[str]) -> str | None:
    """The resource that counts GPUs, None if none of these does."""
    return next((name for name in RESOURCES if name in names), None)


class DeviceTable:
    """The devices of a snapshot's nodes, kept up to date as pods come and go.

    nodes   : what is free; cpu too, as fragmentation counts it. Memory is the snapshot's.
    shapes, shape_names : the distinct requests of all pods there
    typical : the shapes that make up 95 % of the pods to schedule
    rule    : kernels.gpu.FGD chooses the device where least is fragmented, any other the fullest that will do
    """

    def __init__(self, snapshot: Snapshot, rule: int) -> None:
        self._snapshot = snapshot
        self._rule = rule
        resource = gpu_resource(snapshot.nodes.schema.names)
        assert resource is not None, f"no GPUs among {snapshot.nodes.schema.names}"
        self._gpu, self._unit = snapshot.nodes.schema.index(resource), RESOURCES[resource]
        self._cpu = snapshot.nodes.schema.index(CPU)
        models = snapshot.domains(MODEL_LABEL)
        crowds = (snapshot.incoming, snapshot.bound)
        index: dict[Shape, int] = {}
        self._shape_of = {id(crowd): self._numbered(crowd, index) for crowd in crowds}
        known = (*models.values, "")  # a node without the label has a model of no name
        self.shape_names = tuple(index)
        self.shapes = shapes_of(self.shape_names, known)
        taken = most_frequent(self.shape_names, self.incoming_shapes)
        self.typical = typical_of(taken, len(self.incoming_shapes), known)
        if not self.typical.total:
            self._rule = kernels.BEST_FIT  # without pods to come there is nobody to be fragmented for
        self.nodes = self._idle_nodes(models)
        self.scratch = kernels.scratch_for(self.nodes, self.shapes, 0)
        self._words, self._cursors = np.zeros(607, dtype=np.uint64), np.zeros(2, dtype=np.int64)
        self._held: dict[tuple[int, int], tuple[int, Ints]] = {}
        for row, node in enumerate(snapshot.placed.node_rows.tolist()):
            self._hold(snapshot.bound, row, node)
        for node in range(len(snapshot.nodes)):
            self._refresh(node)

    def _numbered(self, crowd: Crowd, index: dict[Shape, int]) -> Ints:
        """int64[P]: the shape of each pod, new ones put into the index. InputError for part of a second device."""
        pods = crowd.pods
        milli = pods.requests[:, self._gpu] * self._unit
        odd = (milli > WHOLE) & (milli % WHOLE > 0)
        if odd.any():
            row = int(np.argmax(odd))
            raise InputError(
                f"pod {pods.names[row]!r} requests {int(milli[row]):,} milli-GPU; wanted a share of one GPU, up to "
                f"{WHOLE:,}, or whole GPUs"
            )
        specs = (pods.labels.get(SPEC_LABEL) or Codes.none(len(pods))).to_array().tolist()
        cpu = pods.requests[:, self._cpu].tolist()
        shapes = (shape_of(*asked) for asked in zip(cpu, milli.tolist(), specs, strict=True))
        return np.array([index.setdefault(shape, len(index)) for shape in shapes], dtype=np.int64)

    def _idle_nodes(self, models: Codes[str]) -> Nodes:
        columns = self._snapshot.nodes
        devices = columns.allocatable[self._gpu] * self._unit // WHOLE
        most = int(devices.max(initial=1))
        if most > MOST_DEVICES:
            name = columns.names[int(np.argmax(devices))]
            raise InputError(f"node {name!r} has {most:,} GPUs; wanted {MOST_DEVICES} or less")
        model = np.where(models.codes < 0, len(models.values), models.codes).astype(np.int64)
        cpu, memory = (np.zeros(len(columns), dtype=np.int64) for _ in range(2))
        return kernels.idle_nodes(cpu, memory, devices, model, max(most, 1))

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
        kernels.judge_nodes(policy, self.nodes, self.shapes, self.shape(pod), self.typical, self.scratch, free, score)
        return free, score

    def move(self, crowd: Crowd, pod: int, node_row: int, by: int) -> None:
        """A pod comes (1) to a node or goes (-1); the snapshot's amounts have moved already."""
        if by > 0:
            self._hold(crowd, pod, node_row)
        else:
            self._release(crowd, pod)
        self._refresh(node_row)

    def _hold(self, crowd: Crowd, pod: int, node_row: int) -> None:
        """Give a pod devices of a node, by the rule; where none will do, what is free, the idlest devices first."""
        s = int(self._shape_of[id(crowd)][pod])
        want = int(self.shapes.milli[s] * self.shapes.devices[s])
        free = self.nodes.milli[node_row]
        taken = np.zeros_like(free)
        before, had = self._held.get((id(crowd), pod), (-1, taken))
        if before == node_row and (free >= had).all():
            taken = had  # it was away for the length of a question
        elif kernels.has_devices(self.nodes, node_row, self.shapes, s):
            bits = kernels.choose_devices(
                self._rule, self.nodes, node_row, self.scratch.before[node_row], self.shapes, s, self.typical,
                self.scratch, self._words, self._cursors,
            )
            taken[[j for j in range(len(free)) if bits >> j & 1]] = self.shapes.milli[s]
        else:
            for j in np.argsort(-free, kind="stable").tolist():
                taken[j] = min(want - int(taken.sum()), int(free[j]))
        self._held[id(crowd), pod] = node_row, taken
        self._change(node_row, s, taken, 1)

    def _release(self, crowd: Crowd, pod: int) -> None:
        node_row, taken = self._held[id(crowd), pod]
        self._change(node_row, int(self._shape_of[id(crowd)][pod]), taken, -1)

    def _change(self, node_row: int, s: int, taken: Ints, by: int) -> None:
        nodes = self.nodes
        nodes.milli[node_row] -= by * taken
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
