"""Weights turned one at a time, and the web shop that they are turned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import k8slab
from k8slab.errors import InputError
from k8slab.experiments.placement import Placement
from k8slab.experiments.what_if import weight_flips

FACTORS = (0.0, 0.5, 3.0)
DUMPS = Path(__file__).parents[2] / "shared" / "data" / "kubernetes"


@pytest.fixture(scope="module")
def shop() -> Placement:
    cluster, workload = k8slab.datasets.webshop(nodes=12, seed=3)
    return k8slab.schedule(cluster, workload, seed=5)


def test_flips_are_those_of_judging_again_with_another_weight(shop: Placement) -> None:
    frame = weight_flips(shop, FACTORS, every=16).set_index(["plugin", "factor"])
    decided = [number for number in range(0, len(shop), 16) if shop.evaluate(number).chosen >= 0]
    assert (frame["decisions"] == len(decided)).all()
    for score, weight in shop.policy.scores:
        for factor in FACTORS:
            other = shop.policy.with_weight(score.name, factor * weight)
            turned = 0
            for number in decided:
                judged = shop.evaluate(number, other)
                best = judged.total[judged.feasible].max()
                turned += judged.total[shop.evaluate(number).chosen] < best
            assert frame.loc[(score.name, factor), "flipped"] == turned, (score.name, factor)
    assert frame["flipped"].sum() > 0


def test_a_replay_stands_where_each_decision_stood(shop: Placement) -> None:
    numbers = [0, 3, 4, 90, len(shop) - 1]
    for number, judged in zip(numbers, shop.replay(numbers), strict=True):
        alone = shop.evaluate(number)
        assert judged.chosen == alone.chosen
        assert np.array_equal(judged.total, alone.total)
    with pytest.raises(InputError, match="arrival 2 comes after 5: numbers must rise"):
        list(shop.replay([5, 2]))


def test_a_replay_knows_who_had_to_go() -> None:
    cluster = k8slab.Cluster.of(["a", "b"], [[4000, 4000], [2**34, 2**34], [110, 110]])
    requests, priority = [[2000, 2**30, 1]] * 7, np.array([0, 0, 1, 0, 5, 9, 0], dtype=np.int32)
    placement = k8slab.schedule(cluster, k8slab.Workload.of([f"p{i}" for i in range(7)], requests, priority=priority))
    assert len(placement.evictions) == 2
    for number, judged in enumerate(placement.replay(range(7))):
        assert judged.message() == placement.evaluate(number).message()


@pytest.mark.skipif(not DUMPS.is_dir(), reason="the sample dumps are not part of the project")
def test_on_a_sample_dump_taints_are_a_switch_and_resources_a_dial() -> None:
    dump = DUMPS / "medium-kubectl-nodes-pods.json.gz"
    cluster, workload = k8slab.Cluster.from_kubernetes(dump), k8slab.Workload.from_kubernetes(dump, "all")
    placement = k8slab.schedule(cluster.without_pods(), workload, seed=7)
    flipped = weight_flips(placement, (0.0, 10.0), every=8).set_index(["plugin", "factor"])["flipped"]
    assert flipped["TaintToleration", 0.0] > flipped["TaintToleration", 10.0] == 0
    assert flipped["NodeResourcesFit", 0.0] > 0 < flipped["NodeResourcesFit", 10.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": [-1.0]}, r"factor -1\.0 of a weight: wanted a number from 0 up"),
        ({"every": 0}, "every=0: wanted 1 or more"),
    ],
)
def test_what_makes_no_sense_is_told(shop: Placement, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        weight_flips(shop, **arguments)  # type: ignore[arg-type]


def test_the_web_shop_has_some_of_everything_and_is_the_same_for_the_same_seed() -> None:
    cluster, workload = k8slab.datasets.webshop(seed=1)
    again, more = k8slab.datasets.webshop(seed=1, scale=2)
    assert cluster.content_hash() == again.content_hash() != k8slab.datasets.webshop(seed=2)[0].content_hash()
    assert len(more) == 2 * len(workload)
    specs = workload.specs.values
    for said in ("anti_affinity", "near_preferred", "node_preferred", "spread", "images", "adjustments"):
        assert any(getattr(spec, said) for spec in specs), said
    assert cluster.objects.services
    assert any(taints for taints in cluster.taints.values)
    assert any(images for images in cluster.images.values)
