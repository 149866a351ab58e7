"""The same time under several autoscalers: paired by seed, told in money and in waiting."""

from __future__ import annotations

import matplotlib as mpl
import pytest

import k8slab
from k8slab.errors import InputError, UnknownName
from k8slab.simulation import ClusterAutoscaler, Deployment, Exponential, InstanceType, NodeGroup, PodStream, Poisson
from k8slab.simulation.autoscalers import HorizontalAutoscaler
from k8slab.simulation.instance_types import cluster_of

mpl.use("Agg")
FOUR = InstanceType(name="four", resources={"cpu": 4, "memory": "16Gi"}, price_per_hour=0.2, boot="90s")
BIG = InstanceType(name="big", resources={"cpu": 16, "memory": "64Gi"}, price_per_hour=0.9, boot="90s")
SMALL = [NodeGroup(name="small", instance_type=FOUR, min_size=1, initial=2, max_size=30)]
LARGE = [NodeGroup(name="large", instance_type=BIG, min_size=1, initial=1, max_size=30)]


def simulation():
    shapes = k8slab.Workload.from_frame({"pod": ["a", "b"], "cpu": ["500m", 2], "memory": ["1Gi", "2Gi"]})
    stream = PodStream("batch", shapes, Poisson("20s"), Exponential("10m"))
    web = Deployment("web", {"cpu": "100m", "memory": "1Gi"})
    return k8slab.Simulation(cluster_of(SMALL), [stream, web], autoscalers=[HorizontalAutoscaler("web")], seed=5)


def test_a_backtest_pairs_seeds_and_finds_who_is_beaten():
    waits = ClusterAutoscaler(groups=SMALL, evict_bare_pods=True)
    variants = {
        "10 minutes": waits,
        "1 minute": ClusterAutoscaler(groups=SMALL, unneeded_time="1m", delay_after_add="1m", evict_bare_pods=True),
        "large nodes": [ClusterAutoscaler(groups=LARGE, evict_bare_pods=True)],
    }
    found = k8slab.backtest(simulation(), variants, seeds=range(3), until="150m", progress=False)
    assert found.frame["autoscaler"].tolist() == list(variants) * 3
    means = found.frame.groupby("autoscaler")["cost"].mean()
    assert means["1 minute"] < means["10 minutes"]
    cost = found.differences().query("metric == 'cost'").set_index("autoscaler")
    assert cost.loc["1 minute", "baseline"] == "10 minutes"
    assert cost.loc["1 minute", "difference"] == pytest.approx(means["1 minute"] - means["10 minutes"])
    assert set(found.pareto()) <= set(variants)
    assert "1 minute" in found.pareto("node_hours", "cost")
    ax = found.plot.pareto()
    assert "cost" in ax.get_title(loc="left").lower() + ax.get_title().lower()
    assert "10 minutes" in found._repr_html_()
    assert "costs least" in found.answer()
    # The same as by hand.
    alone = simulation().replaced(seed=2, autoscalers=(HorizontalAutoscaler("web"), waits)).run("150m")
    mine = found.frame.query("autoscaler == '10 minutes' and seed == 2").iloc[0]
    assert mine["cost"] == alone.metrics["cost"][0]
    assert mine["slo_missed"] == (alone.frames.pods["pending_s"] > 60).sum()
    with pytest.raises(UnknownName, match="unknown autoscaler '10 minute'; did you mean '10 minutes'"):
        found.differences("10 minute")
    with pytest.raises(UnknownName, match="unknown metric 'prise'"):
        found.plot.pareto(y="prise")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"autoscalers": []}, "no autoscalers to compare"),
        ({"autoscalers": [ClusterAutoscaler(groups=SMALL)] * 2}, "two autoscalers are named 'cluster-autoscaler'"),
        ({"seeds": []}, "no seeds"),
        ({"until": None}, "a backtest of a Simulation needs until"),
        ({"slo": "soon"}, "slo"),
    ],
)
def test_what_cannot_be_compared(given, message):
    arguments = {"autoscalers": [ClusterAutoscaler(groups=SMALL)], "until": "1h", "progress": False, **given}
    with pytest.raises(InputError, match=message):
        k8slab.backtest(simulation(), arguments.pop("autoscalers"), **arguments)
