"""Nodes in memory: the NodeRepositoryPort as a window on a state."""

from __future__ import annotations

from k8slab.domain.models import Node
from k8slab.infrastructure.entity_window import EntityWindow
from k8slab.state import ClusterState


class InMemoryNodeRepository:
    """Keeps nodes in the columns of a state, its own or one that it shares with a pod repository.

    On a shared state a node's `pods` are those bound to it, and its usage is their
    requests and what was saved beyond them. Thread-safe.
    """

    def __init__(self, state: ClusterState | None = None) -> None:
        self.state = state if state is not None else ClusterState()
        self._window = EntityWindow(self.state)

    def save_node(self, node: Node) -> None:
        """Keep this node. Raises InputError for an amount that is no number."""
        self._window.save_node(node)

    def get_node(self, node_id: str) -> Node | None:
        """A fresh value of the node, None if there is none."""
        return self._window.get_node(node_id)

    def list_nodes(self) -> list[Node]:
        """Fresh values of all nodes, in the order first saved."""
        return self._window.list_nodes()

    def update_node_resources(self, node_id: str, cpu_used: float, memory_used: float) -> None:
        """Set the usage (cores, MiB) alone. A node that isn't there stays so."""
        with self.state.lock:
            node = self.get_node(node_id)
            if node is not None:
                node.cpu_used, node.memory_used = cpu_used, memory_used
                self.save_node(node)
