"""What a pod says about where it may run, as values that are equal when they say the same.

A workload of a million pods has few of these: columns hold them interned, and all that
they match is worked out once for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
HOSTNAME: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class Requirement:
    """One rule on one label, or on the field metadata.name: a matchExpression or matchField."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


# ANDed. None is no selector, which matches nothing; () is an empty one, which matches everything.
Selector = tuple[Requirement, ...]


@dataclass(frozen=True)
class NodeTerm:
    """Rules on a node's labels and fields, ANDed; without any it matches no node."""

    expressions: Selector = ()
    fields: Selector = ()


# ORed. None asks for nothing; () matches no node.
NodeTerms = tuple[NodeTerm, ...]


@dataclass(frozen=True)
class PodTerm:
    """Other pods that a pod wants near or far, and what "near" is: one (anti-)affinity term.

    namespaces  : names; the pod's own is already here where the term names and selects none
    among       : the namespace selector; None selects none, () all
    """

    topology_key: str
    selector: Selector | None
    namespaces: tuple[str, ...] = ()
    among: Selector | None = None


@dataclass(frozen=True)
class SpreadConstraint:
    """One topology spread constraint with its defaults filled in, matchLabelKeys folded into the selector."""

    topology_key: str
    max_skew: int
    hard: bool
    selector: Selector | None
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True)
class HostPort:
    """A port of the node that a pod takes."""

    port: int
    protocol: str = "TCP"
    ip: str = "0.0.0.0"

    def conflicts(self, other: HostPort) -> bool:
        """Same protocol and port, and the same address or either one's is all."""
        same_ip = self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip)
        return same_ip and (self.protocol, self.port) == (other.protocol, other.port)


@dataclass(frozen=True)
class Owner:
    """The controller that a pod belongs to."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True)
class Adjustment:
    """How a pod counts for more or less of a resource in other places than its request.

    Each is added to the request, in the resource's unit.

    held    : what the node's requested grows by
    nonzero : what the node's NonZeroRequested grows by: with assumed amounts where a container names none
    scored  : what NodeResourcesFit's score adds to the node's amount
    """

    resource: str
    held: int = 0
    nonzero: int = 0
    scored: int = 0


@dataclass(frozen=True)
class PodSpec:
    """What a scheduler reads of a pod beside its requests, labels, tolerations and priority.

    node_name       : the only node it may go to, "" for any
    node_selector   : labels that a node must have
    node_required   : required node affinity; None asks for nothing
    node_preferred  : (weight, term) of preferred node affinity
    affinity, anti_affinity           : required terms
    near_preferred, far_preferred     : (weight, term) of preferred pod affinity and anti-affinity
    spread          : its own topology spread constraints; () leaves it to the profile's defaults
    ports           : host ports
    images          : one a container, init containers first, as named with a tag or digest
    gates           : scheduling gates that hold it back
    may_preempt     : False for preemptionPolicy Never
    owner           : its controller, which the default spread constraints follow
    nominated_to    : the node it was promised, where others leave to make room; "" for none
    adjustments     : where it counts for other amounts than its request

    >>> PodSpec() == PodSpec(ports=())
    True
    """

    node_name: str = ""
    node_selector: tuple[tuple[str, str], ...] = ()
    node_required: NodeTerms | None = None
    node_preferred: tuple[tuple[int, NodeTerm], ...] = ()
    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    near_preferred: tuple[tuple[int, PodTerm], ...] = ()
    far_preferred: tuple[tuple[int, PodTerm], ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    ports: tuple[HostPort, ...] = ()
    images: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    may_preempt: bool = True
    owner: Owner | None = None
    nominated_to: str = ""
    adjustments: tuple[Adjustment, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # Interned by the million: hashed once, not at each look.
        parts = (
            self.node_name, self.node_selector, self.node_required, self.node_preferred, self.affinity,
            self.anti_affinity, self.near_preferred, self.far_preferred, self.spread, self.ports, self.images,
            self.gates, self.may_preempt, self.owner, self.nominated_to, self.adjustments,
        )  # fmt: skip
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @property
    def pod_terms(self) -> tuple[PodTerm, ...]:
        """All terms about other pods, required and preferred."""
        preferred = (*self.near_preferred, *self.far_preferred)
        return (*self.affinity, *self.anti_affinity, *(term for _, term in preferred))


PLAIN: Final = PodSpec()


@dataclass(frozen=True)
class Image:
    """An image that a node has."""

    names: tuple[str, ...]
    size_bytes: int


Images = tuple[Image, ...]
