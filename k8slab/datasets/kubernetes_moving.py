"""What a dump says of whether a pod may be moved to another node: local volumes, and the autoscaler's annotation."""

from __future__ import annotations

from typing import Final

from k8slab.datasets.kubernetes_dump import ApiObject
from k8slab.domain.moving import LOCAL_STORAGE, SAFE_TO_EVICT

_LOCAL: Final = ("emptyDir", "hostPath")


def moving_labels(pod: ApiObject) -> dict[str, str]:
    """As labels, for a pod that they concern; nothing for all others."""
    found = {}
    notes = pod.metadata.child("annotations") if pod.metadata.get("annotations") else None
    if notes is not None:
        said = notes.get(SAFE_TO_EVICT)
        if said is not None and str(said).lower() in ("true", "false"):
            found[SAFE_TO_EVICT] = str(said).lower()
    volumes = pod.spec.get("volumes")
    if isinstance(volumes, list) and any(
        isinstance(volume, dict) and any(volume.get(kind) is not None for kind in _LOCAL) for volume in volumes
    ):
        found[LOCAL_STORAGE] = "true"
    return found
