"""Where clusters and workloads come from: drawn, read from frames and files, dumped by kubectl, or embedded."""

from k8slab.datasets.cluster import Cluster
from k8slab.datasets.openb import OPENB_CARD, openb
from k8slab.datasets.swf import swf
from k8slab.datasets.webshop import webshop
from k8slab.datasets.workload import Workload
from k8slab.domain.pod_spec import ZONE

__all__ = ["OPENB_CARD", "ZONE", "Cluster", "Workload", "openb", "swf", "webshop"]
