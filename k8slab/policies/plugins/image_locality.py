"""ImageLocality: nodes that have a pod's images already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from k8slab.domain.columns import NodeColumns
from k8slab.policies.plugins.base import Decision, Floats
from k8slab.policies.snapshot import Snapshot

MIB: Final = 2**20
_LOW: Final = 23 * MIB
_HIGH: Final = 1000 * MIB


@dataclass(frozen=True)
class ImageLocality:
    """Prefers nodes that have the pod's images, large ones most, and less where few nodes have them, 0..100."""

    name = "ImageLocality"
    highest = 100.0

    def raw(self, decision: Decision) -> Floats:
        """100 * (t - 23 MiB) / (1000 MiB * containers - 23 MiB), t the sizes found, cut to these bounds."""
        images = decision.spec.images
        found = np.zeros(len(decision.nodes), dtype=np.int64)
        for image in images:
            size, has = _spread(decision.snapshot.nodes, tagged(image))
            found += size * decision.at(has)
        # A spec without images is of one container: what is unknown is nowhere.
        high = _HIGH * max(len(images), 1)
        score: Floats = (100 * (np.clip(found, _LOW, high) - _LOW) // (high - _LOW)).astype(np.float64)
        return score

    def idle(self, snapshot: Snapshot) -> bool:
        """Whether no pod names an image, or no node has one."""
        wanted = any(spec.images for spec in snapshot.pods.specs.values)
        return not wanted or not any(snapshot.nodes.images.values)

    def normalize(self, raw: Floats, decision: Decision) -> Floats:
        """The raw score: it is on its scale already."""
        return raw

    def arguments(self) -> dict[str, Any]:
        """Nothing: there is one way to compute it."""
        return {}


def tagged(image: str) -> str:
    """An image's name with its tag; a digest has a colon of its own after the last slash.

    >>> tagged("reg:5000/app"), tagged("app:v1")
    ('reg:5000/app:latest', 'app:v1')
    """
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def _spread(nodes: NodeColumns, image: str) -> tuple[int, np.ndarray[Any, np.dtype[np.bool_]]]:
    """What finding an image counts, less where few nodes have it; and bool[N] which have it.

    The first node that has it says its size.
    """
    sizes = [next((item.size_bytes for item in held if image in item.names), -1) for held in nodes.images.values]
    size_at = np.array([*sizes, -1], dtype=np.int64)[nodes.images.codes]
    has = (size_at >= 0) & nodes.alive
    having, total = int(has.sum()), int(nodes.alive.sum())
    if not having:
        return 0, has
    return int(float(size_at[np.argmax(has)]) * (float(having) / float(total))), has
