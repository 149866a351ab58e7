"""The contract of the repositories as code: run it on your own adapter.

    from k8slab.infrastructure.contract import check_node_repository, check_pod_repository

    check_pod_repository(lambda: MyPodRepository(tmp_path / "pods.db"))

Each check makes repositories with the function that it is given, which must give an empty
one at each call, and raises AssertionError with a sentence about the first thing that isn't so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from k8slab.domain.models import Node, NodeState, Pod, PodPhase
from k8slab.domain.ports import NodeRepositoryPort, PodRepositoryPort

_THREADS: Final = 8
_EACH: Final = 25


def check_pod_repository(make: Callable[[], PodRepositoryPort]) -> None:
    """Assert that an adapter keeps the contract of PodRepositoryPort. `make` gives an empty repository."""
    _pods_come_back(make())
    _pods_are_listed(make())
    _pods_are_replaced_and_deleted(make())
    _pods_are_snapshots(make())
    repo = make()
    _in_threads(lambda number: repo.save_pod(_pod(f"pod-{number}")))
    _expect(len(repo.list_pods()), _THREADS * _EACH, f"pods after {_THREADS} threads saved {_EACH} each")


def check_node_repository(make: Callable[[], NodeRepositoryPort]) -> None:
    """Assert that an adapter keeps the contract of NodeRepositoryPort. `make` gives an empty repository."""
    _nodes_come_back(make())
    _nodes_are_listed_and_replaced(make())
    _nodes_are_snapshots(make())
    repo = make()
    _in_threads(lambda number: repo.save_node(_node(f"node-{number}")))
    _expect(len(repo.list_nodes()), _THREADS * _EACH, f"nodes after {_THREADS} threads saved {_EACH} each")


# -- pods ----------------------------------------------------------------------


def _pod(pod_id: str, **changes: Any) -> Pod:
    given: dict[str, Any] = {
        "name": "web",
        "namespace": "shop",
        "node_id": "",
        "phase": PodPhase.PENDING,
        "container_image": "nginx:1.27",
    }
    return Pod(pod_id, **{**given, **changes})


def _full_pod() -> Pod:
    """Every field unlike its default, and amounts finer than a milli or a byte."""
    return _pod(
        "p",
        node_id="a-node-unknown-here",
        phase=PodPhase.RUNNING,
        replicas=3,
        cpu_request=0.1234567,
        memory_request=100.0000001,
        cpu_limit=1 / 3,
        memory_limit=2048.5,
        restart_count=2,
        labels={"app": "web", "tier": ""},
        created_at=datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC),
        last_restart=datetime(2024, 3, 1, tzinfo=UTC),
        tolerations=["gpu=a100:NoExecute", "spot"],
        priority=-7,
    )


def _pods_come_back(repo: PodRepositoryPort) -> None:
    _expect(repo.get_pod("nobody"), None, "get_pod of an id that was never saved")
    _expect(repo.list_pods(), [], "list_pods of an empty repository")
    for saved in (_pod("plain"), _full_pod()):
        repo.save_pod(saved)
        _expect_same(repo.get_pod(saved.pod_id), saved, "get_pod")
    _expect_same(repo.list_pods()[1], _full_pod(), "list_pods")


def _pods_are_listed(repo: PodRepositoryPort) -> None:
    for pod_id, namespace in (("z", "shop"), ("a", "bank"), ("m", "shop")):
        repo.save_pod(_pod(pod_id, namespace=namespace))
    _expect([pod.pod_id for pod in repo.list_pods()], ["z", "a", "m"], "list_pods, in the order first saved")
    _expect([pod.pod_id for pod in repo.list_pods("shop")], ["z", "m"], "list_pods('shop')")
    _expect([pod.pod_id for pod in repo.list_pods(namespace="none")], [], "list_pods of a namespace without pods")


def _pods_are_replaced_and_deleted(repo: PodRepositoryPort) -> None:
    for pod_id in ("first", "second"):
        repo.save_pod(_pod(pod_id))
    changed = _pod("first", name="api", namespace="bank", cpu_request=2.0, priority=3, labels={"app": "api"})
    repo.save_pod(changed)
    _expect([pod.pod_id for pod in repo.list_pods()], ["first", "second"], "list_pods after saving a pod again")
    _expect_same(repo.get_pod("first"), changed, "get_pod of a pod that was saved again")
    repo.update_pod_phase("first", PodPhase.FAILED)
    changed.phase = PodPhase.FAILED
    _expect_same(repo.get_pod("first"), changed, "get_pod after update_pod_phase, which changes the phase alone,")
    repo.update_pod_phase("nobody", PodPhase.RUNNING)
    _expect(repo.get_pod("nobody"), None, "get_pod after update_pod_phase of an id that was never saved")
    _expect(repo.delete_pod("first"), True, "delete_pod of a pod that is there")
    _expect(repo.delete_pod("first"), False, "delete_pod of a pod that is gone")
    _expect(repo.get_pod("first"), None, "get_pod of a pod that was deleted")
    repo.save_pod(_pod("first"))
    _expect([pod.pod_id for pod in repo.list_pods()], ["second", "first"], "list_pods after deleting and saving anew")


def _pods_are_snapshots(repo: PodRepositoryPort) -> None:
    given = _full_pod()
    repo.save_pod(given)
    for what, pod in (
        ("that was saved", given),
        ("from get_pod", repo.get_pod("p")),
        ("from list_pods", repo.list_pods()[0]),
    ):
        assert pod is not None
        pod.phase = PodPhase.FAILED
        pod.labels["changed"] = "yes"
        pod.tolerations.append("changed")
        _expect_same(repo.get_pod("p"), _full_pod(), f"get_pod, after the object {what} was changed and not saved,")


# -- nodes -----------------------------------------------------------------------


def _node(node_id: str, **changes: Any) -> Node:
    return Node(node_id, **{"name": f"host of {node_id}", "state": NodeState.READY, **changes})


def _full_node() -> Node:
    """Every field unlike its default: overcommitted, with pods that nobody knows and amounts finer than a milli."""
    return _node(
        "n",
        state=NodeState.CORDONED,
        cpu_capacity=8.5,
        memory_capacity=1000.25,
        cpu_allocatable=7.0000001,
        memory_allocatable=900.0000001,
        cpu_used=10.1234567,
        memory_used=950.0000001,
        pods=["ghost-2", "ghost-1"],
        labels={"zone": "zone-1"},
        taints=["gpu=a100:NoExecute", "spot"],
        last_heartbeat=datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC),
    )


def _nodes_come_back(repo: NodeRepositoryPort) -> None:
    _expect(repo.get_node("nobody"), None, "get_node of an id that was never saved")
    _expect(repo.list_nodes(), [], "list_nodes of an empty repository")
    nothing = _node("nothing", cpu_allocatable=0, memory_allocatable=0, cpu_used=1.5)
    for saved in (_node("plain"), nothing, _node("used", cpu_used=10.0), _full_node()):
        repo.save_node(saved)
        _expect_same(repo.get_node(saved.node_id), saved, "get_node")
    _expect_same(repo.list_nodes()[3], _full_node(), "list_nodes")


def _nodes_are_listed_and_replaced(repo: NodeRepositoryPort) -> None:
    for node_id in ("z", "a", "m"):
        repo.save_node(_node(node_id))
    changed = _node("z", name="other", state=NodeState.NOT_READY, cpu_allocatable=1.0, pods=["p"], cpu_used=0.5)
    repo.save_node(changed)
    _expect([node.node_id for node in repo.list_nodes()], ["z", "a", "m"], "list_nodes, in the order first saved")
    _expect_same(repo.get_node("z"), changed, "get_node of a node that was saved again")
    repo.update_node_resources("z", cpu_used=0.1234567, memory_used=33.3)
    changed.cpu_used, changed.memory_used = 0.1234567, 33.3
    _expect_same(repo.get_node("z"), changed, "get_node after update_node_resources, which changes the usage alone,")
    repo.update_node_resources("nobody", 1.0, 1.0)
    _expect(repo.get_node("nobody"), None, "get_node after update_node_resources of an id that was never saved")


def _nodes_are_snapshots(repo: NodeRepositoryPort) -> None:
    given = _full_node()
    repo.save_node(given)
    for what, node in (
        ("that was saved", given),
        ("from get_node", repo.get_node("n")),
        ("from list_nodes", repo.list_nodes()[0]),
    ):
        assert node is not None
        node.cpu_used = 0.0
        node.pods.append("changed")
        node.labels["changed"] = "yes"
        node.taints.append("changed")
        _expect_same(repo.get_node("n"), _full_node(), f"get_node, after the object {what} was changed and not saved,")


# -- both ------------------------------------------------------------------------


def _expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, wanted {wanted!r}")


def _expect_same(found: Pod | Node | None, wanted: Pod | Node, what: str) -> None:
    if found is None:
        raise AssertionError(f"{what}: None, wanted {wanted!r}")
    for field in fields(wanted):
        _expect(getattr(found, field.name), getattr(wanted, field.name), f"{what} gives another {field.name}")


def _in_threads(save: Callable[[int], None]) -> None:
    """Save from several threads at once; what one of them raises is raised here."""
    raised: list[Exception] = []

    def run(numbers: Sequence[int]) -> None:
        try:
            for number in numbers:
                save(number)
        except Exception as error:
            raised.append(error)

    threads = [
        threading.Thread(target=run, args=(range(first, _THREADS * _EACH, _THREADS),)) for first in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise AssertionError(f"saving from {_THREADS} threads raised {raised[0]!r}") from raised[0]
