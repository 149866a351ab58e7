"""A door before a pod repository: what would be saved there for the first time is admitted first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from k8slab.application.admission import Admission
from k8slab.domain.columns import Ints
from k8slab.domain.entity_columns import check_pod, request_of
from k8slab.domain.models import Pod, PodPhase
from k8slab.domain.ports import ClockPort, ClusterStatePort, PodRepositoryPort
from k8slab.domain.resources import CPU, MEMORY
from k8slab.errors import AdmissionRefused
from k8slab.units import bytes_to_mib, milli_to_cores


class AdmittedPods:
    """The repository of pods that it stands before, and on top the rules of their namespaces. Implements
    PodRepositoryPort.

    pods  : keeps them, in the columns of `state`
    clock : when a refusal is told of

    A pod that is saved for the first time is admitted, as is one that is saved with another request or in another
    namespace; save_pod raises AdmissionRefused, and keeps nothing, where quotas or limits forbid it. Defaults of
    limit ranges are filled in where a pod requests 0 of a resource.
    """

    def __init__(self, pods: PodRepositoryPort, state: ClusterStatePort, clock: ClockPort) -> None:
        self._pods = pods
        self.state = state
        self._clock = clock
        self.admission: Admission | None = None

    def filled(self, pod: Pod) -> Pod:
        """The pod as it would enter, with defaults; the same object if nothing is to be filled in.

        Raises AdmissionRefused for one that may not enter now, InputError for a request that is no amount.
        """
        if self.admission is None:
            return pod
        check_pod(pod)
        with self.state.lock:
            request, row = self._vector(pod), self.state.pod_row(pod.pod_id)
            if self._is_as_before(row, pod, request):
                return pod
            verdict = self.admission.ask_again(row, pod.namespace, request, pod.priority)
            if not verdict.admitted:
                why = f"pod {pod.pod_id!r} may not enter namespace {pod.namespace!r}: {verdict.message}"
                self.admission.refused(verdict.message, self._clock.now(), who=pod.pod_id)
                raise AdmissionRefused(why + (f" ({verdict.detail})" if verdict.detail else ""))
            return self._with(pod, request, verdict.request)

    def save_pod(self, pod: Pod) -> None:
        """Keep this pod, if its namespace admits it."""
        with self.state.lock:
            if self.admission is None:
                self._pods.save_pod(pod)
                return
            before = self.state.pod_row(pod.pod_id)
            entering = self.filled(pod)
            same = self._is_as_before(before, entering, self._vector(entering))
            self._pods.save_pod(entering)
            row = self.state.pod_row(pod.pod_id)
            if before < 0:
                self.admission.entered(np.array([row], dtype=np.int64))
            elif not same:
                self.admission.changed(row)

    def get_pod(self, pod_id: str) -> Pod | None:
        """A fresh value of the pod, None if there is none."""
        return self._pods.get_pod(pod_id)

    def list_pods(self, namespace: str | None = None) -> list[Pod]:
        """Fresh values of all pods, or of a namespace's, in the order first saved."""
        return self._pods.list_pods(namespace)

    def delete_pod(self, pod_id: str) -> bool:
        """Forget the pod; False if there is none."""
        return self._pods.delete_pod(pod_id)

    def update_pod_phase(self, pod_id: str, phase: PodPhase) -> None:
        """Set the phase alone. A pod that isn't there stays so."""
        self._pods.update_pod_phase(pod_id, phase)

    def _is_as_before(self, row: int, pod: Pod, request: Ints) -> bool:
        """Whether this pod is there, and nothing that its namespace asks about is new."""
        if row < 0 or (self.state.pod_request[row] != request).any():
            return False
        columns = self.state.pod_columns(np.array([row], dtype=np.int64))
        return (columns.namespaces[0] or "", int(columns.priority[0])) == (pod.namespace, pod.priority)

    def _vector(self, pod: Pod) -> Ints:
        return self.state.schema.vector(request_of(pod))

    def _with(self, pod: Pod, request: Ints, wanted: Ints) -> Pod:
        schema = self.state.schema
        cpu, memory = schema.index(CPU), schema.index(MEMORY)
        if wanted[cpu] == request[cpu] and wanted[memory] == request[memory]:
            return pod
        return replace(
            pod,
            cpu_request=pod.cpu_request if wanted[cpu] == request[cpu] else milli_to_cores(int(wanted[cpu])),
            memory_request=pod.memory_request
            if wanted[memory] == request[memory]
            else bytes_to_mib(int(wanted[memory])),
        )
