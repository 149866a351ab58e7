"""GPU devices: which nodes have some free for a pod, and the six scores of the FGD study.

A score looks at the devices that the filter GpuDevices keeps in the snapshot. Where no node has
GPUs, or no pod asks any, filter and scores have nothing to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from k8slab.domain.devices import milli_units
from k8slab.errors import InputError
from k8slab.policies.plugins.base import Decision, Floats, Refusal
from k8slab.policies.snapshot import Snapshot

CHOICES: Final = ("fullest", "fragmented", "random")


@dataclass(frozen=True)
class GpuDevices:
    """No node whose GPUs are each too full for the pod's share, or too few of them free, or of models it refuses.

    choice  : which GPU of the node a share gets: the "fullest" that has it, where least is "fragmented", or a
              "random" one, drawn by the seed
    typical : the pods that fragmentation and the measures of it have in mind, as `gpu_shapes.counted_shapes` gives
              them; of these the most frequent that make up 95 %. None for the pods to schedule.
    largest_cpu_milli, largest_gpus : what scores are in parts of; None for the cluster's largest node
    """

    choice: str = "fullest"
    typical: tuple[tuple[int, int, int, str, int], ...] | None = None
    largest_cpu_milli: int | None = None
    largest_gpus: int | None = None
    name = "GpuDevices"

    def __post_init__(self) -> None:
        if self.choice not in CHOICES:
            raise InputError(f"GpuDevices: choice={self.choice!r} is none of {', '.join(map(repr, CHOICES))}")
        for what in ("largest_cpu_milli", "largest_gpus"):
            given = getattr(self, what)
            if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
                raise InputError(f"GpuDevices: {what}={given!r}; wanted a whole number, 1 or more")

    @classmethod
    def for_score(cls, score: object, **arguments: Any) -> GpuDevices:
        """As the study's policy of this score chooses devices; of none, at random."""
        gradient = isinstance(score, FragmentationGradient)
        return cls("fragmented" if gradient else "random" if score is None else "fullest", **arguments)

    def arguments(self) -> dict[str, Any]:
        """What decides, as far as it was said."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no resource counts GPUs."""
        return not milli_units(snapshot.nodes.schema.names).any()

    def label_keys(self, snapshot: Snapshot) -> set[str]:
        """None: pods are told apart by what they ask."""
        return set()

    def prepare(self, snapshot: Snapshot) -> None:
        """Let the snapshot keep its nodes' devices."""
        from k8slab.policies.devices import DeviceTable

        snapshot.devices = DeviceTable(snapshot, self)

    def skips(self, decision: Decision) -> bool:
        """Whether the pod asks no GPU."""
        devices = decision.snapshot.devices
        return devices is None or not devices.asks(decision.pod)

    def refuse(self, decision: Decision) -> Sequence[Refusal]:
        """The nodes of other models, for good, and those without devices to give."""
        devices = decision.snapshot.devices
        accepted = decision.at(devices.accepted(decision.pod))
        free = decision.at(devices.judge(decision.pod, 0)[0])
        return [
            Refusal("node(s) didn't have a GPU of a model that the pod accepts", ~accepted, final=True),
            Refusal("Insufficient free GPU devices", accepted & ~free),
        ]


@dataclass(frozen=True)
class GpuScore:
    """One of the FGD study's scores, 0..100.

    kernel : the name of its number in k8slab.kernels.gpu, where it is computed and told
    """

    name = ""
    kernel = ""
    highest = 100.0

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether nobody keeps devices."""
        return snapshot.devices is None

    def passes_over(self, decision: Decision) -> bool:
        """Whether nobody keeps devices."""
        return decision.snapshot.devices is None

    def raw(self, decision: Decision) -> Floats:
        """The integer score."""
        from k8slab.kernels import gpu

        score = decision.snapshot.devices.judge(decision.pod, getattr(gpu, self.kernel))[1]
        return np.asarray(decision.at(score), dtype=np.float64)

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The raw score: it is on its scale already."""
        return raw

    def arguments(self) -> dict[str, Any]:
        """Nothing: there is one way to compute it."""
        return {}


@dataclass(frozen=True)
class FragmentationGradient(GpuScore):
    """Prefers the node where the pod puts least of the GPUs out of typical pods' reach."""

    name = "FragmentationGradient"
    kernel = "FGD"


@dataclass(frozen=True)
class GpuBestFit(GpuScore):
    """Prefers the node where least cpu and GPU is left, in parts of the largest node."""

    name = "GpuBestFit"
    kernel = "BEST_FIT"


@dataclass(frozen=True)
class GpuDotProduct(GpuScore):
    """Prefers the smallest product of free and asked cpu and GPU."""

    name = "GpuDotProduct"
    kernel = "DOT_PRODUCT"


@dataclass(frozen=True)
class GpuPacking(GpuScore):
    """Prefers GPUs in use, then nodes in use, then idle nodes."""

    name = "GpuPacking"
    kernel = "PACKING"


@dataclass(frozen=True)
class GpuClustering(GpuScore):
    """Prefers nodes whose pods ask alike of GPUs."""

    name = "GpuClustering"
    kernel = "CLUSTERING"


GPU_SCORES: Final = (FragmentationGradient, GpuBestFit, GpuDotProduct, GpuPacking, GpuClustering)
