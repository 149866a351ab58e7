"""The cluster as columns: the one truth that everything reads and only its verbs write."""

from k8slab.state.cluster_state import ClusterState
from k8slab.state.journal import VERBS, Journal

__all__ = ["VERBS", "ClusterState", "Journal"]
