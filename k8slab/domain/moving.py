"""Labels that say whether a pod may be moved to another node. In a cluster the first is an annotation."""

from __future__ import annotations

from typing import Final

# "false" keeps the pod's node from being emptied, "true" lets the pod go whatever else holds it.
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
# "true": what the pod has on its node's disk would be lost.
LOCAL_STORAGE: Final = "k8slab.io/local-storage"
# "true" on a pod or a node: Karpenter leaves the node alone.
DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
# What a pod's eviction costs beside its priority, from -2147483647 to 2147483647.
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
