"""what_if(): equal to schedule() after schedule(), whatever runs at a time; and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import k8slab
from k8slab import Cluster, Workload, policy
from k8slab.errors import InputError, Interrupted, UnknownName
from k8slab.experiments import variants as module
from k8slab.experiments.progress import ProgressBar

CLUSTER = Cluster.synthetic(30)
WORKLOAD = Workload.synthetic(600, 10, cluster=CLUSTER)
VARIANTS: dict[str, Any] = {
    "as it is": {},
    "seed 3": {"seed": 3, "ties": "random"},
    "packed": {"policy": "most-allocated"},
    "sampled": {"policy": policy("kube-default").sampled(10, at_least=5)},
    "no balance": {"weights": {"NodeResourcesBalancedAllocation": 0}},
    "more cpu": {"requests": {"cpu": 1.5}},
    "all half": {"requests": 0.5},
}


@pytest.mark.parametrize("workers", [1, 3])
def test_each_variant_is_what_schedule_gives(workers: int) -> None:
    order = np.random.default_rng(1).permutation(len(WORKLOAD))
    result = k8slab.what_if(CLUSTER, WORKLOAD, VARIANTS, seed=7, order=order, workers=workers)
    kube = policy("kube-default")
    cpu = WORKLOAD.schema.index("cpu")
    dearer, half = WORKLOAD.requests.copy(), WORKLOAD.requests.copy()
    dearer[:, cpu] = -(-dearer[:, cpu] * 3 // 2)
    half[:, :2] = -(-half[:, :2] // 2)
    alone: dict[str, tuple[Workload, Any, int, Any]] = {
        "as it is": (WORKLOAD, kube, 7, None),
        "seed 3": (WORKLOAD, kube, 3, "random"),
        "packed": (WORKLOAD, "most-allocated", 7, None),
        "sampled": (WORKLOAD, VARIANTS["sampled"]["policy"], 7, None),
        "no balance": (WORKLOAD, kube.with_weight("NodeResourcesBalancedAllocation", 0), 7, None),
        "more cpu": (replace(WORKLOAD, requests=dearer), kube, 7, None),
        "all half": (replace(WORKLOAD, requests=half), kube, 7, None),
    }
    for name, (workload, chosen, seed, ties) in alone.items():
        placement = k8slab.schedule(CLUSTER, workload, chosen, seed=seed, ties=ties, order=order)
        assert result[name].node_rows.tolist() == placement.node_rows.tolist(), name
    assert result.frame["variant"].tolist() == list(VARIANTS)
    assert result.frame["placed"].tolist() == [each.placed for each in result.placements.values()]
    assert result.frame["moved"][0] == 0
    assert result.frame["moved"][2] > 0


def test_columns_are_made_once_for_all_that_ask_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Workload] = []
    columns = module.columns

    def counted(cluster: Cluster, workload: Workload, order: Any) -> Any:
        made.append(workload)
        return columns(cluster, workload, order)

    monkeypatch.setattr(module, "columns", counted)
    k8slab.what_if(CLUSTER, WORKLOAD, {**{f"seed {i}": {"seed": i} for i in range(5)}, "half": {"requests": 0.5}})
    assert len(made) == 2
    assert made[0] is WORKLOAD


def test_pods_leave_as_schedule_lets_them() -> None:
    order = np.random.default_rng(2).permutation(len(WORKLOAD))
    number = np.argsort(order)
    churn = np.where(number < 300, number + 300, -1)
    variants = {name: VARIANTS[name] for name in ("as it is", "seed 3", "packed")} | {"twice": {"requests": 2}}
    result = k8slab.what_if(CLUSTER, WORKLOAD, variants, order=order, departures=churn)
    cpu = replace(WORKLOAD, requests=WORKLOAD.requests * np.array([2, 2, 1]))
    for name, workload, given in (
        ("as it is", WORKLOAD, {}),
        ("seed 3", WORKLOAD, VARIANTS["seed 3"]),
        ("packed", WORKLOAD, VARIANTS["packed"]),
        ("twice", cpu, {}),
    ):
        alone = k8slab.schedule(CLUSTER, workload, order=order, departures=churn, **given)
        assert result[name].node_rows.tolist() == alone.node_rows.tolist(), name
        assert result[name].rows_at_end.tolist() == alone.rows_at_end.tolist(), name
    assert result["twice"].node_rows.tolist() != k8slab.schedule(CLUSTER, cpu, order=order).node_rows.tolist()
    assert result.manifest()["departures"] == churn.tolist()
    with pytest.raises(InputError, match=r"departures\[0\] is 0; the pod arrives as number"):
        k8slab.what_if(CLUSTER, WORKLOAD, variants, order=order, departures=np.zeros(len(WORKLOAD), dtype=np.int64))


def test_it_shows_itself() -> None:
    result = k8slab.what_if(CLUSTER, WORKLOAD, {"as it is": {}, "<more>": {"requests": 2}})
    assert repr(result) == "<WhatIf 2 variants: as it is, <more>>"
    html = result._repr_html_()
    assert "2 variants" in html
    assert "&lt;more&gt;" in html
    manifest = result.manifest()
    assert manifest["variants"]["<more>"]["requests"] == 2
    assert manifest["workload"]["pods"] == 600
    with mpl.rc_context({"backend": "agg"}):
        axes = result.plot("placed_percent")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["as it is", "<more>"]


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({}, "variants is {}; wanted a mapping of a name to its changes, one or more"),
        ([{}], r"variants is \[{}\]; wanted a mapping"),
        ({"a": 3}, "variant 'a' is 3; wanted a mapping such as"),
        ({"a": {"sed": 1}}, "no change of variant 'a' 'sed'|'sed'.*did you mean 'seed'"),
        ({"a": {"requests": {"cpus": 2}}}, "'cpus'.*did you mean 'cpu'"),
        ({"a": {"requests": -1}}, "variant 'a': requests of cpu times -1; wanted a number, 0 or more"),
        ({"a": {"weights": {"Spread": 1}}}, "'Spread'"),
        ({"a": {"policy": "best"}}, "'best'.*did you mean 'best-fit'"),
        ({"a": {"seed": -1}}, "seed=-1 is not a whole number"),
    ],
)
def test_what_cannot_be_used_is_told_before_the_first_run(variants: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        k8slab.what_if(CLUSTER, WORKLOAD, variants)


def test_unknown_variants_and_metrics_are_told() -> None:
    result = k8slab.what_if(CLUSTER, WORKLOAD, {"half": {"requests": 0.5}})
    with pytest.raises(UnknownName, match=r"'hal'.*did you mean 'half'"):
        result["hal"]
    with pytest.raises(UnknownName, match="did you mean 'placed'"):
        result.plot("place")
    with pytest.raises(InputError, match="workers=0: wanted 1 or more"):
        k8slab.what_if(CLUSTER, WORKLOAD, {"a": {}}, workers=0)


def test_an_interruption_keeps_what_had_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def interrupted(bar: ProgressBar) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "advance", interrupted)
    with pytest.raises(Interrupted, match="interrupted after 2 of 4 variants") as caught:
        k8slab.what_if(CLUSTER, WORKLOAD, {str(i): {"seed": i} for i in range(4)}, workers=1)
    assert len(caught.value.partial.placements) == 2
