"""ResourceQuota and LimitRange, worked by hand, with properties."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab.domain.admission import resource_lists as lists
from k8slab.domain.admission.limit_range import (
    LimitRangeItem,
    admit_pod,
    api_defaults,
    claim_violations,
    limit_range_defaults,
    violations,
)
from k8slab.domain.admission.pods import (
    AdmittedPod,
    AffinityTerm,
    ContainerResources,
    is_best_effort,
    pod_limits,
    pod_requests,
)
from k8slab.domain.admission.quota import AdmissionRequest, LimitedResource, ResourceQuota, admit, handles
from k8slab.domain.admission.scopes import ScopeSelector, matching_scopes
from k8slab.domain.admission.usage import (
    PersistentVolumeClaim,
    Service,
    matching_resources,
    pod_usage,
    total_usage,
    unstated,
    usage_of,
)
from k8slab.domain.instants import SECOND_NS as S
from k8slab.errors import UnknownName

MILLI = Fraction(1, 1000)


def container(cpu=None, memory=None, *, limit=None, name="c", **more):
    requests = {key: value for key, value in {"cpu": cpu, "memory": memory}.items() if value is not None}
    return ContainerResources(name, requests, {"cpu": limit} if limit is not None else {}, **more)


def pod(*containers, init=(), **more):
    return AdmittedPod(containers, init, **more)


WEB = pod(container(2, 100))


# -- lists -------------------------------------------------------------------------


def test_arithmetic_knows_what_is_not_named():
    a, b = {"cpu": 3, "memory": 5}, {"cpu": 4, "pods": 1}
    assert lists.add(a, b) == {"cpu": 7, "memory": 5, "pods": 1}
    assert lists.subtract(a, b) == {"cpu": -1, "memory": 5, "pods": -1}
    assert lists.subtract_floor_zero(a, b) == {"cpu": 0, "memory": 5, "pods": 0}
    assert lists.maximum(a, b) == {"cpu": 4, "memory": 5, "pods": 1}
    assert lists.maximum({"cpu": -1}, {}) == {"cpu": -1}
    assert lists.exceeded(b, a) == ["cpu"]  # a has no pods, so nothing is said of them
    assert not lists.less_or_equal(b, a)
    assert lists.equals(a, dict(a))
    assert not lists.equals(a, {**a, "pods": 0})
    assert lists.remove_zeros({"cpu": 0, "memory": 1}) == {"memory": 1}
    assert lists.is_zero({})
    assert lists.is_zero({"cpu": 0})
    assert not lists.is_zero(a)
    assert lists.negative(lists.subtract(a, b)) == ["cpu", "pods"]
    assert lists.mask(a, {"cpu", "gpu"}) == {"cpu": 3}


amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "pods"]), st.integers(-9, 9))


@given(amounts, amounts)
def test_what_is_taken_away_can_be_given_back(a, b):
    assert lists.remove_zeros(lists.subtract(lists.add(a, b), b)) == lists.remove_zeros(a)
    assert lists.less_or_equal(a, lists.maximum(a, b))


# -- a pod as a whole --------------------------------------------------------------


def test_what_a_pod_needs_at_once():
    side, init = container(1, restart_always=True), container(5)
    assert pod_requests(pod(container(2), container(1, 7), init=(side,)))["cpu"] == 4
    assert pod_requests(pod(container(2), init=(side, init)))["cpu"] == 6  # the sidecar runs already
    assert pod_requests(pod(container(2), init=(init, side)))["cpu"] == 5
    assert pod_requests(pod(container(2), overhead={"cpu": 1, "memory": 3})) == {"cpu": 3, "memory": 3}


def test_overhead_is_added_to_limits_that_there_are():
    assert pod_limits(pod(container(2, limit=4), overhead={"cpu": 1, "memory": 3})) == {"cpu": 5}
    assert pod_limits(pod(container(2), overhead={"cpu": 1})) == {}


def test_pod_level_resources_go_before_the_sum():
    whole = pod(container(2, 100), requests={"cpu": 9, "example.com/x": 1}, limits={})
    assert pod_requests(whole) == {"cpu": 9, "memory": 100}


def test_while_it_is_resized_the_larger_of_asked_and_granted_counts():
    resized = pod(container(2, status_requests={"cpu": 3}), container(1))
    assert pod_requests(resized)["cpu"] == 4
    assert pod_requests(resized, in_place_resize=False)["cpu"] == 3


def test_best_effort():
    assert is_best_effort(pod(container()))
    assert is_best_effort(pod(ContainerResources("c", {"example.com/x": 1}, {"cpu": 0})))
    assert not is_best_effort(pod(container(), init=(container(1),)))
    assert not is_best_effort(pod(container(), requests={"memory": 1}))


# -- usage -------------------------------------------------------------------------


def test_what_a_pod_uses_of_a_quota():
    odd = ContainerResources(
        "c", {"cpu": 1, "hugepages-2Mi": 4, "example.com/gpu": 2}, {"cpu": 3, "example.com/gpu": 2}
    )
    assert pod_usage(pod(odd), 0) == {
        "count/pods": 1,
        "pods": 1,
        "cpu": 1,
        "requests.cpu": 1,
        "limits.cpu": 3,
        "hugepages-2Mi": 4,
        "requests.hugepages-2Mi": 4,
        "requests.example.com/gpu": 2,
    }


def test_what_ended_or_is_lost_counts_by_number_alone():
    leaving = replace(WEB, deleted_ns=0, deletion_grace_seconds=30)
    assert pod_usage(replace(WEB, phase="Succeeded"), 0) == {"count/pods": 1}
    assert pod_usage(leaving, 30 * S) == pod_usage(WEB, 0)
    assert pod_usage(leaving, 30 * S + 1) == {"count/pods": 1}
    assert total_usage([WEB, replace(WEB, phase="Failed")], [], 0)["count/pods"] == 2


def test_services_and_claims():
    assert usage_of(Service("LoadBalancer", 3), 0)["services.nodeports"] == 3
    assert usage_of(Service("LoadBalancer", 3, node_ports=0), 0)["services.nodeports"] == 0
    assert usage_of(Service("NodePort", 2), 0) == {
        "count/services": 1, "services": 1, "services.loadbalancers": 0, "services.nodeports": 2,
    }  # fmt: skip
    assert usage_of(Service("ClusterIP", 2), 0)["services.nodeports"] == 0
    gold = usage_of(PersistentVolumeClaim(5, "gold"), 0)
    assert gold["requests.storage"] == gold["gold.storageclass.storage.k8s.io/requests.storage"] == 5


def test_what_a_quota_makes_containers_state():
    two = pod(container(1, name="b"), container(name="a"), init=(container(memory=1, name="i"),))
    assert unstated(two, ["cpu", "memory", "pods", "ephemeral-storage"]) == {"cpu": ["a", "i"], "memory": ["a", "b"]}
    assert unstated(two, ["limits.cpu"]) == {"limits.cpu": ["a", "b", "i"]}
    assert unstated(replace(two, limits={"cpu": 1}), ["cpu", "memory"]) == {}


def test_which_resources_of_a_quota_an_object_uses_at_all():
    names = {
        "pods", "count/pods", "limits.memory", "hugepages-2Mi", "requests.hugepages-2Mi", "requests.example.com/gpu",
        "example.com/gpu", "services", "services.nodeports", "count/services", "persistentvolumeclaims",
        "requests.storage", "gold.storageclass.storage.k8s.io/requests.storage", "count/secrets",
    }  # fmt: skip
    claims = {name for name in names if "persistentvolume" in name or name.endswith("requests.storage")}
    services = {name for name in names if "services" in name}
    others = {"example.com/gpu", "count/secrets"}
    assert matching_resources(WEB, names) == names - claims - services - others
    assert matching_resources(Service(), names) == services
    assert matching_resources(PersistentVolumeClaim(1), names) == claims


def test_a_pod_that_leaves_without_a_grace_counts():
    assert pod_usage(replace(WEB, deleted_ns=0), 999 * S) == pod_usage(WEB, 0)


# -- scopes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        (ScopeSelector("Terminating"), pod(active_deadline_seconds=0), pod()),
        (ScopeSelector("NotTerminating"), pod(), pod(active_deadline_seconds=5)),
        (ScopeSelector("BestEffort"), pod(container()), WEB),
        (ScopeSelector("NotBestEffort"), WEB, pod(container())),
        (ScopeSelector("PriorityClass"), pod(priority_class="high"), pod()),
        (ScopeSelector("PriorityClass", "DoesNotExist"), pod(), pod(priority_class="high")),
        (ScopeSelector("PriorityClass", "In", ("high",)), pod(priority_class="high"), pod(priority_class="low")),
        (ScopeSelector("PriorityClass", "NotIn", ("high",)), pod(), pod(priority_class="high")),
        (
            ScopeSelector("CrossNamespacePodAffinity"),
            pod(affinity_terms=(AffinityTerm(), AffinityTerm(namespace_selector={}))),
            pod(affinity_terms=(AffinityTerm(),)),
        ),
    ],
)
def test_scopes(scope, inside, outside):
    assert matching_scopes(inside, [scope]) == [scope]
    assert matching_scopes(outside, [scope]) == []


def test_bad_scopes_are_named():
    with pytest.raises(UnknownName, match="unknown quota scope 'Besteffort'; did you mean 'BestEffort'"):
        ScopeSelector("Besteffort")
    with pytest.raises(UnknownName, match="unknown scope operator 'Is'"):
        ScopeSelector("PriorityClass", "Is")


# -- quota -------------------------------------------------------------------------


QUOTA = ResourceQuota("q", {"cpu": 5, "memory": 500, "pods": 3}, {"cpu": 1, "memory": 50, "pods": 1})


def create(item, *quotas, limited=(), **more):
    return admit(AdmissionRequest("Create", item, **more), quotas or (QUOTA,), limited)


def update(new, old, quota=QUOTA, **more):
    return admit(AdmissionRequest("Update", new, old, **more), (quota,), ())


def test_an_admitted_pod_is_charged():
    answer = create(WEB)
    assert answer.admitted
    assert answer.quotas[0].used == {"cpu": 3, "memory": 150, "pods": 2}
    assert create(WEB, dry_run=True).quotas[0].used == QUOTA.used


def test_what_exceeds_a_quota_is_refused_and_nothing_charged():
    other = replace(QUOTA, name="small", hard={"pods": 1})
    answer = create(WEB, QUOTA, other)
    assert (answer.admitted, answer.message) == (False, "exceeded quota 'small': pods")
    assert answer.quotas == (QUOTA, other)


def test_a_quota_that_is_exceeded_blocks_only_what_adds_to_it():
    full = replace(QUOTA, hard={"requests.storage": 1, "cpu": 5}, used={"requests.storage": 9, "cpu": 1})
    assert create(WEB, full).admitted


def test_containers_must_state_what_is_tracked():
    answer = create(pod(container(1)))
    assert (answer.admitted, answer.message) == (False, "failed quota 'q': must specify memory for c")
    assert "status unknown for quota 'q': memory" in create(WEB, replace(QUOTA, used={"cpu": 1, "pods": 1})).message


def test_a_quota_with_scopes_counts_only_what_is_within_them():
    scoped = replace(QUOTA, scopes=(ScopeSelector("Terminating"),), hard={"pods": 1})
    assert create(WEB, scoped).quotas == (scoped,)
    assert not create(replace(WEB, active_deadline_seconds=9), scoped).admitted
    services = ResourceQuota("s", {"services": 0}, {"services": 0}, scopes=(ScopeSelector("Terminating"),))
    assert create(Service(), services).admitted  # scopes are about pods
    assert not create(Service(), replace(services, scopes=())).admitted


def test_an_update_is_charged_for_what_it_adds():
    claims = ResourceQuota("c", {"requests.storage": 100}, {"requests.storage": 10})
    old = PersistentVolumeClaim(10)
    assert update(PersistentVolumeClaim(30), old, claims).quotas[0].used == {"requests.storage": 30}
    assert update(PersistentVolumeClaim(5), old, claims).quotas[0].used == {"requests.storage": 10}
    assert not update(PersistentVolumeClaim(101), old, claims).admitted
    created = update(PersistentVolumeClaim(30), None, claims)  # there was nothing: charged as a create
    assert created.quotas[0].used == {"requests.storage": 40}
    assert "quota usage is negative for requests.storage" in create(PersistentVolumeClaim(-1), claims).message


def test_which_updates_of_pods_are_looked_at():
    big = pod(container(99, 1))
    assert update(big, WEB).admitted
    assert not update(big, WEB, subresource="resize").admitted
    assert not update(replace(big, active_deadline_seconds=1), WEB).admitted
    assert create(big, subresource="binding").admitted
    assert handles("Update", "resize", resize=False) is False
    assert handles("Delete") is False
    no_services = ResourceQuota("s", {"services": 0}, {"services": 0})
    assert create(Service(), no_services, subresource="status").admitted
    assert admit(AdmissionRequest("Delete", Service()), (no_services,), ()).admitted


def test_limited_resources_need_a_quota_that_covers_them():
    rule = LimitedResource("pods", ("cpu",))
    assert create(WEB, QUOTA, limited=[rule]).message == "insufficient quota to consume: requests.cpu"
    wide = replace(QUOTA, hard={**QUOTA.hard, "requests.cpu": 9}, used={**QUOTA.used, "requests.cpu": 0})
    assert create(WEB, wide, limited=[rule]).admitted
    assert create(Service(), QUOTA, limited=[rule]).admitted
    # An update that adds anything at all is looked at whole, though it adds no cpu.
    more = replace(WEB, overhead={"memory": 1})
    resized = AdmissionRequest("Update", more, WEB, "resize")
    assert admit(resized, (QUOTA,), [rule]).message == "insufficient quota to consume: requests.cpu"
    assert admit(AdmissionRequest("Update", WEB, WEB, "resize"), (QUOTA,), [rule]).admitted
    high = LimitedResource("pods", match_scopes=(ScopeSelector("PriorityClass", "In", ("high",)),))
    refused = create(replace(WEB, priority_class="high"), QUOTA, limited=[high])
    assert refused.message == "insufficient quota to match these scopes: PriorityClass"
    covering = replace(QUOTA, scopes=(ScopeSelector("PriorityClass", "In", ("high",)),))
    assert create(replace(WEB, priority_class="high"), covering, limited=[high]).admitted
    assert create(WEB, QUOTA, limited=[high]).admitted


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=12))
def test_no_history_of_admissions_exceeds_a_quota(requested):
    quotas = (QUOTA,)
    for cpu, memory in requested:
        quotas = admit(AdmissionRequest("Create", pod(container(cpu, memory))), quotas, ()).quotas
    assert lists.less_or_equal(quotas[0].used, QUOTA.hard)


# -- limit range ---------------------------------------------------------------------


def item(kind="Container", **bounds):
    return LimitRangeItem(kind, **bounds)


def test_defaults_fill_in_what_is_not_stated():
    rule = item(default={"cpu": 75 * MILLI, "memory": 10}, default_request={"cpu": 50 * MILLI, "memory": 5})
    filled = limit_range_defaults(container(memory=512), rule)
    assert filled.requests == {"cpu": 50 * MILLI, "memory": 512}
    assert filled.limits == {"cpu": 75 * MILLI, "memory": 10}
    assert api_defaults(container(limit=4)).requests == {"cpu": 4}
    assert api_defaults(container(1, limit=4)).requests == {"cpu": 1}


@pytest.mark.parametrize(
    ("checked", "bounds", "message"),
    [
        (container(50), {"min": {"cpu": 50}}, None),
        (container(49), {"min": {"cpu": 50}}, "a request of 49 cpu, 50 at the least"),
        (container(), {"min": {"cpu": 50}}, "no request of cpu, which must be 50 at the least"),
        (container(50, limit=49), {"min": {"cpu": 50}}, "a limit of 49 cpu, 50 at the least"),
        (container(limit=2), {"max": {"cpu": 2}}, None),
        (container(1), {"max": {"cpu": 2}}, "no limit of cpu, which may be 2 at the most"),
        (container(limit=3), {"max": {"cpu": 2}}, "a limit of 3 cpu, 2 at the most"),
        (container(3, limit=2), {"max": {"cpu": 2}}, "a request of 3 cpu, 2 at the most"),
        (container(2, limit=3), {"max_limit_request_ratio": {"cpu": Fraction(3, 2)}}, None),
        (
            container(1, limit=2),
            {"max_limit_request_ratio": {"cpu": Fraction(3, 2)}},
            "a limit of 2 cpu to a request of 1, a ratio of 1.5 at the most",
        ),
        (container(0, limit=2), {"max_limit_request_ratio": {"cpu": 2}}, "no request or no limit of cpu"),
    ],
)
def test_bounds_of_a_container(checked, bounds, message):
    for whole in (pod(checked), pod(init=(checked,))):
        found = violations(whole, item(**bounds))
        assert len(found) == (message is not None)
        if message is not None:
            assert found[0].startswith(message)


def test_bounds_of_a_pod_are_of_its_sums():
    both = pod(container(60), container(60))
    assert violations(both, item("Pod", min={"cpu": 100})) == []
    assert len(violations(both, item(min={"cpu": 100}))) == 2
    side = pod(container(1000, limit=1500), init=(container(1500, restart_always=True),))
    assert violations(side, item("Pod", max={"cpu": 2000})) == ["a request of 2,500 cpu, 2,000 at the most"]
    assert violations(both, item("PersistentVolumeClaim", min={"storage": 1})) == []
    # Neither the overhead nor what a resize has granted is asked for by a container.
    loaded = replace(pod(replace(container(60, limit=60), status_requests={"cpu": 90})), overhead={"cpu": 50})
    assert violations(loaded, item("Pod", max={"cpu": 60})) == []
    assert violations(loaded, item("Pod", min={"cpu": 61})) == [
        "a request of 60 cpu, 61 at the least",
        "a limit of 60 cpu, 61 at the least",
    ]


def test_bounds_of_a_claim():
    rule = item("PersistentVolumeClaim", min={"storage": 5}, max={"storage": 9})
    assert [len(claim_violations(storage, rule)) for storage in (4, 5, 9, 10)] == [1, 0, 0, 1]
    assert claim_violations(1, item("PersistentVolumeClaim", max={"files": 1})) == [
        "no request of files, which may be 1 at the most"
    ]


def test_only_creates_of_whole_living_pods_are_looked_at():
    rule = item(min={"cpu": 1}, default={"cpu": 8}, default_request={"cpu": 2})
    bare = pod(container())
    filled, wrong = admit_pod(bare, [rule, item(max={"cpu": 4})], "Create")
    assert filled.containers[0].requests == {"cpu": 2}
    assert wrong == ["a limit of 8 cpu, 4 at the most"]
    for operation, subresource, checked in [
        ("Update", "", bare), ("Create", "status", bare), ("Create", "", replace(bare, deleted_ns=0)),
    ]:  # fmt: skip
        assert admit_pod(checked, [rule], operation, subresource) == (checked, [])


def test_a_type_that_is_none():
    with pytest.raises(UnknownName, match="did you mean 'Container'"):
        item("container")
