"""vpa_cases: histograms and estimates."""

from __future__ import annotations

from typing import Any

from k8slab.domain.vertical.estimates import (
    Amounts,
    History,
    amount_of,
    at_least,
    confidence,
    with_confidence,
    with_margin,
)
from k8slab.domain.vertical.histogram import Buckets, DecayingHistogram, ExponentialBuckets, LinearBuckets
from k8slab.experiments.conform_controllers.times import ns

Json = dict[str, Any]


def _buckets(given: Json) -> Buckets:
    if given["type"] == "linear":
        return LinearBuckets(given["max_value"], given["bucket_size"], given["epsilon"])
    return ExponentialBuckets(given["max_value"], given["first_bucket_size"], given["ratio"], given["epsilon"])


def _percentiles(case: Json) -> Json:
    histogram = DecayingHistogram(_buckets(case["histogram"]), ns(case["half_life_s"]))
    for sample in case["samples"]:
        histogram.add(sample["value"], sample["weight"], ns(sample["t"]))
    return {"values": [histogram.percentile(share) for share in case["percentiles"]]}


def _confidence(case: Json) -> Json:
    last = max(0, case["samples"] - 1) * case["sample_gap_s"]
    return {"confidence": confidence(History(0, ns(last), case["samples"]), ns(case["confidence_interval_s"]))}


def _amounts(case: Json, prefix: str) -> Amounts:
    cpu, memory = case.get(f"{prefix}_cpu_cores", 0.0), case.get(f"{prefix}_memory_bytes", 0.0)
    return Amounts(amount_of(cpu * 1000), amount_of(memory))


def _told(amounts: Amounts) -> Json:
    return {"cpu_cores": amounts.cpu_milli / 1000, "memory_bytes": float(amounts.memory_bytes)}


def _confidence_multiplier(case: Json) -> Json:
    base = _amounts(case, "base")
    return _told(with_confidence(base, case["multiplier"], case["exponent"], case["confidence"]))


def _margin(case: Json) -> Json:
    return _told(with_margin(_amounts(case, "base"), case["margin_fraction"]))


def _minimum(case: Json) -> Json:
    return _told(at_least(_amounts(case, "base"), _amounts(case, "min")))


KINDS = {
    "percentiles": _percentiles,
    "confidence": _confidence,
    "confidence_multiplier": _confidence_multiplier,
    "margin": _margin,
    "minimum": _minimum,
}
