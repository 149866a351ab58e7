"""kube-scheduler's recorded decisions, made again by groups: every node chosen is one of those it would have taken."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from k8slab import Cluster, Workload
from k8slab.errors import InputError
from k8slab.experiments import conform_kube_scheduler as suite
from k8slab.experiments.placement import columns
from k8slab.policies.profile import policy_from_configuration
from tests.test_conform import CATEGORIES, RECORDED, recorded_there

Json = Mapping[str, Any]


@recorded_there
@pytest.mark.parametrize("category", CATEGORIES)
def test_groups_choose_as_recorded_in_every_eighth_scenario(category: str) -> None:
    chooses_as_recorded(category, 8)


@pytest.mark.long
@recorded_there
@pytest.mark.parametrize("category", CATEGORIES)
def test_groups_choose_as_recorded(category: str) -> None:
    chooses_as_recorded(category, 1)


def chooses_as_recorded(category: str, every: int) -> None:
    with gzip.open(RECORDED / f"{category}.jsonl.gz", "rt", encoding="utf-8") as file:
        scenarios = [json.loads(line) for line in [*file][::every]]
    run = 0
    for scenario in scenarios:
        wanted = recorded(scenario)
        try:
            found = chosen(scenario)
        except InputError as error:
            # Numpy decides where a pod was promised a node or amounts are beyond float64, whatever path is asked for.
            if not any(reason in str(error) for reason in ("promised", "beyond exact float64")):
                raise
            continue
        assert found == wanted, scenario["id"]
        run += 1
    assert run > len(scenarios) / 2


def recorded(scenario: Json) -> list[str | None]:
    """The first name of the best nodes for each pod, None where none was feasible."""
    expected = scenario["expect"]
    if "pending" in scenario:
        return [step.get("chosen") for step in expected["steps"]]
    return [min(expected["best"]) if "best" in expected else None]


def chosen(scenario: Json) -> list[str | None]:
    """The same by path groups, without preemption, as the verdicts were recorded."""
    # The lowest row is then the first name.
    nodes = sorted(scenario["nodes"]["items"], key=lambda node: str(node["metadata"]["name"]))
    cluster = Cluster.from_kubernetes(suite._dump({**scenario, "nodes": {"items": nodes}}))
    items = scenario["pending"]["items"] if "pending" in scenario else [scenario["pod"]]
    workload = Workload.from_kubernetes({"apiVersion": "v1", "kind": "PodList", "items": items}, which="given")
    policy = policy_from_configuration({"profiles": [{"pluginConfig": scenario.get("pluginConfig") or []}]})
    placed = replace(policy, post_filter=None).place(*columns(cluster, workload), ties="lowest", path="groups")
    return [cluster.names[row] if row >= 0 else None for row in placed.node_rows.tolist()]
