"""GPU devices: which nodes have some free for a pod, and the six scores of the FGD study.

A score looks at the devices that the filter GpuDevices keeps in the snapshot. Where no node has
GPUs, or no pod asks any, filter and scores have nothing to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from k8slab.errors import InputError
from k8slab.policies.plugins.base import Decision, Floats, Refusal
from k8slab.policies.snapshot import Snapshot


@dataclass(frozen=True)
class GpuDevices:
    """No node whose GPUs are each too full for the pod's share, or too few of them free, or of models it refuses.

    choice : which GPU of the node a share gets: "fullest" that has it, or where least is "fragmented"
    """

    choice: str = "fullest"
    name = "GpuDevices"

    def __post_init__(self) -> None:
        if self.choice not in ("fullest", "fragmented"):
            raise InputError(f"GpuDevices: choice={self.choice!r} is neither 'fullest' nor 'fragmented'")

    @classmethod
    def for_score(cls, score: object) -> GpuDevices:
        """As the study's policy of this score chooses devices."""
        return cls("fragmented" if isinstance(score, FragmentationGradient) else "fullest")

    def arguments(self) -> dict[str, Any]:
        """What decides."""
        return {"choice": self.choice}

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no resource counts GPUs."""
        from k8slab.policies.devices import gpu_resource

        return gpu_resource(snapshot.nodes.schema.names) is None

    def label_keys(self, snapshot: Snapshot) -> set[str]:
        """None: pods are told apart by what they ask."""
        return set()

    def prepare(self, snapshot: Snapshot) -> None:
        """Let the snapshot keep its nodes' devices."""
        from k8slab.kernels import gpu
        from k8slab.policies.devices import DeviceTable

        snapshot.devices = DeviceTable(snapshot, gpu.FGD if self.choice == "fragmented" else gpu.BEST_FIT)

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
    """Prefers the node where least cpu and GPU is left, in parts of 128 cores and 8 GPUs."""

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
