"""Quotas, limit ranges and priority classes before the door: every pod that enters is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from k8slab.application.calendar import Rank
from k8slab.domain.admission.limit_range import LimitRangeItem, admit_pod
from k8slab.domain.admission.pods import AdmittedPod, ContainerResources, pod_requests
from k8slab.domain.admission.quota import AdmissionRequest, ResourceQuota, admit
from k8slab.domain.admission.resource_lists import Amount, add, subtract_floor_zero
from k8slab.domain.admission.usage import pod_usage
from k8slab.domain.columns import Ints
from k8slab.domain.models import POD_PHASES, PodPhase
from k8slab.domain.ports import ClusterStatePort, EventSinkPort
from k8slab.domain.resources import PODS, unit_of
from k8slab.errors import UnknownName

_ENDS: Final = ("FINISHED", "POD_REMOVED")
_MILLI: Final = 1000
_SUCCEEDED: Final = POD_PHASES.index(PodPhase.SUCCEEDED)


@dataclass(frozen=True)
class NamespaceRules:
    """What a namespace asks of its pods."""

    namespace: str
    quotas: tuple[ResourceQuota, ...] = ()
    limits: tuple[LimitRangeItem, ...] = ()


@dataclass(frozen=True, eq=False)
class Verdict:
    """What came of pods that ask to enter. admitted : how many, the first ones; request : int64[R], with defaults;
    detail : what is used of a quota that they would exceed"""

    admitted: int
    request: Ints
    message: str = ""
    detail: str = ""


class Admission:
    """Charges quotas when pods enter, and takes the charge back when they end or are removed.

    rules            : by namespace; pods of others enter unasked
    priority_classes : name -> value; a pod is of the class whose value it has
    released         : called when room has come back in some quota

    A pod is one container that requests what its row says; what it requests 0 of it doesn't state. It is
    looked at when it is made, before it is there: one that is refused never exists.
    """

    name = "admission"
    # Before pods arrive and workloads make theirs, after those that end have ended.
    rank: int = Rank.PODS + 5

    def __init__(
        self,
        state: ClusterStatePort,
        sink: EventSinkPort,
        rules: Sequence[NamespaceRules],
        priority_classes: Mapping[str, int] | None = None,
        released: Callable[[], None] | None = None,
    ) -> None:
        self._state = state
        self._sink = sink
        self._rules = {one.namespace: one for one in rules}
        self._quotas = {one.namespace: one.quotas for one in rules}
        self._class_of = {value: name for name, value in (priority_classes or {}).items()}
        self._released = released
        self._charged: dict[int, tuple[str, AdmittedPod]] = {}
        self._known: dict[tuple[str, int, bytes], tuple[AdmittedPod, str]] = {}
        self._seen = state.version

    def quotas(self, namespace: str) -> tuple[ResourceQuota, ...]:
        """The quotas of a namespace with what is used of them now; UnknownName for one without rules."""
        self._catch_up()
        if namespace not in self._quotas:
            raise UnknownName("namespace", namespace, self._quotas)
        return self._quotas[namespace]

    # -- who asks ----------------------------------------------------------------------

    def ask(self, namespace: str, request: Ints, priority: int, count: int) -> Verdict:
        """How many of so many equal pods may enter. They are charged when they are `entered`, at once after this."""
        if namespace not in self._rules:
            return Verdict(count, request)
        self._catch_up()
        pod, wrong = self._pod(namespace, request, priority)
        if wrong:
            return Verdict(0, request, wrong)
        quotas = self._quotas[namespace]
        for number in range(count):
            answer = admit(AdmissionRequest("Create", pod), quotas, ())
            if not answer.admitted:
                return Verdict(number, self._request(pod), answer.message, answer.detail)
            quotas = answer.quotas
        return Verdict(count, self._request(pod))

    def ask_again(self, pod_row: int, namespace: str, request: Ints, priority: int) -> Verdict:
        """Whether a pod may be what it says from now on. pod_row : -1 for one that isn't there yet

        Limits are for those that come; quotas charge what a pod grows by.
        """
        self._catch_up()
        held = self._charged.get(pod_row)
        if namespace not in self._rules or held is None or held[0] != namespace:
            return self.ask(namespace, request, priority, 1)
        pod = self._resized(held[1], request, priority)
        answer = admit(AdmissionRequest("Update", pod, held[1], "resize"), self._quotas[namespace], ())
        return Verdict(int(answer.admitted), request, answer.message, answer.detail)

    def entered(self, pod_rows: Ints) -> None:
        """These pods were made after they were admitted: their quotas are charged."""
        pods = self._state.pod_columns(pod_rows)
        for place, row in enumerate(pod_rows.tolist()):
            namespace = pods.namespaces[place] or ""
            if namespace in self._rules and row not in self._charged:
                pod, _ = self._pod(namespace, pods.requests[place], int(pods.priority[place]))
                self._charged[row] = (namespace, pod)
                self._charge(namespace, pod)

    def changed(self, pod_row: int) -> None:
        """This pod, that was admitted again, is another now: it is charged for what it is."""
        held = self._charged.pop(pod_row, None)
        one = np.array([pod_row], dtype=np.int64)
        if held is None:
            self.entered(one)
            return
        self._charge(*held, back=True)
        pods = self._state.pod_columns(one)
        if pods.namespaces[0] != held[0]:
            self.entered(one)
            return
        pod = self._resized(held[1], pods.requests[0], int(pods.priority[0]))
        self._charged[pod_row] = (held[0], pod)
        self._charge(held[0], pod)

    def adopt(self) -> None:
        """Charge anew what is there, and nothing else: whoever did so before is gone, or there was nobody."""
        state = self._state
        self._charged.clear()
        self._quotas = {one.namespace: one.quotas for one in self._rules.values()}
        self._seen = state.version
        self.entered(np.flatnonzero(state.pod_alive & (state.pod_phase != _SUCCEEDED)))

    def screen(self, pod_rows: Ints, now_ns: int) -> npt.NDArray[np.bool_]:
        """bool[n]: which of these pods, that have rows and aren't there yet, may enter; they are charged, one after
        another. Those that may not are told of as the event FailedCreate. Defaults are for `fill` to write."""
        pods = self._state.pod_columns(pod_rows)
        entered = np.ones(len(pod_rows), dtype=np.bool_)
        for place, row in enumerate(pod_rows.tolist()):
            namespace = pods.namespaces[place] or ""
            if namespace not in self._rules:
                continue
            verdict = self.ask(namespace, pods.requests[place], int(pods.priority[place]), 1)
            entered[place] = verdict.admitted == 1
            if verdict.admitted:
                self.entered(pod_rows[place : place + 1])
            else:
                self.refused(verdict.message, now_ns, row)
        return entered

    def fill(self, pod_rows: Ints) -> None:
        """Write the defaults of limit ranges into pods that have just come."""
        for row in pod_rows.tolist():
            found = self._charged.get(row)
            if found is not None:
                request = self._request(found[1])
                if (request != self._state.pod_request[row]).any():
                    self._state.update_pod(row, request=request)

    def refused(self, message: str, now_ns: int, pod_row: int = -1, who: str = "") -> None:
        """Tell of a pod that may not enter."""
        self._sink.emit(
            "events", time_ns=now_ns, controller=self.name, event="FailedCreate", pod_row=pod_row, node_row=-1,
            detail=f"{who}: {message}" if who else message,
        )  # fmt: skip

    # -- the loop: room that comes back ----------------------------------------------------

    def next_ns(self, now_ns: int) -> int | None:
        return now_ns if self._state.version != self._seen else None

    def run_once(self, now_ns: int) -> None:
        if self._catch_up() and self._released is not None:
            self._released()

    def _catch_up(self) -> bool:
        """Take back what ended pods used; whether there was any."""
        back = False
        for change in self._state.changes(self._seen):
            if change.verb in _ENDS:
                for row in change.pod_rows.tolist():
                    found = self._charged.pop(row, None)
                    if found is not None:
                        back = True
                        self._charge(*found, back=True)
        self._seen = self._state.version
        return back

    def _charge(self, namespace: str, pod: AdmittedPod, *, back: bool = False) -> None:
        """Charge the quotas that match a pod, whatever their limits, or take that back."""
        usage = pod_usage(pod, 0)
        kept = []
        for quota in self._quotas[namespace]:
            if all(scope.matches(pod) for scope in quota.scopes):
                mine = {name: amount for name, amount in usage.items() if name in quota.hard}
                changed = _less(quota.used, mine) if back else add(quota.used, mine)
                quota = replace(quota, used={**quota.used, **changed})
            kept.append(quota)
        self._quotas[namespace] = tuple(kept)

    # -- a row as admission sees it ----------------------------------------------------------

    def _pod(self, namespace: str, request: Ints, priority: int) -> tuple[AdmittedPod, str]:
        """The pod with its defaults, and what is wrong with it."""
        key = (namespace, priority, np.asarray(request).tobytes())
        if key not in self._known:
            filled, wrong = admit_pod(self._stated(request, priority), self._rules[namespace].limits, "Create")
            self._known[key] = filled, "; ".join(wrong)
        return self._known[key]

    def _stated(self, request: Ints, priority: int) -> AdmittedPod:
        """The pod as its row says, without anybody's defaults."""
        stated = {
            name: Fraction(int(value), _MILLI) if unit_of(name) == "milli" else int(value)
            for name, value in zip(self._state.schema.names, np.asarray(request).tolist(), strict=True)
            if value and name != PODS
        }
        return AdmittedPod((ContainerResources("main", stated),), priority_class=self._class_of.get(priority, ""))

    def _resized(self, pod: AdmittedPod, request: Ints, priority: int) -> AdmittedPod:
        """The pod with another request; limits that it was given stay."""
        new = self._stated(request, priority)
        return replace(new, containers=(replace(new.containers[0], limits=pod.containers[0].limits),))

    def _request(self, pod: AdmittedPod) -> Ints:
        """int64[R]"""
        amounts = pod_requests(pod)
        values = [
            1 if name == PODS else amounts.get(name, 0) * (_MILLI if unit_of(name) == "milli" else 1)
            for name in self._state.schema.names
        ]
        return np.array([-(-value // 1) for value in values], dtype=np.int64)


def _less(used: Mapping[str, Amount], back: Mapping[str, Amount]) -> dict[str, Amount]:
    return {name: amount for name, amount in subtract_floor_zero(used, back).items() if name in back}
