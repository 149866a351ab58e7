"""What pods hold of their nodes: charged when they are bound, given back when they go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import NEVER, Ints
from k8slab.domain.devices import SLICE_LABEL, SLICING_LABEL, Held
from k8slab.errors import NotEnoughCapacity, StateConflict
from k8slab.state.columns import PodRows
from k8slab.state.queries import StateQueries


class Holding(StateQueries):
    """The one place where requested amounts, devices and the times of running pods change together."""

    def _holding(self, pod_rows: PodRows, act: str) -> Ints:
        pods = self._alive_pods(pod_rows)
        for pod in pods[self.pod_node[pods] < 0][:1].tolist():
            raise StateConflict(f"cannot {act} pod {self.pod_name(pod)!r}: {self._condition(pod)}, on no node")
        return pods

    def _start(self, pods: Ints, now_ns: int) -> None:
        """The containers of pods run from now on, if there is a clock to say when that is."""
        if self._clock is not None:
            # A pod that was seen to run before keeps the instant that was told.
            self._pod_started.view[pods] = np.minimum(self._pod_started.view[pods], now_ns)
            self._pod_runs.view[pods] = now_ns
            self._pod_ready.view[pods] = now_ns + self._pod_startup.view[pods]
            self._pod_unready.view[pods] = now_ns

    def _note_unready(self, pods: Ints, ready_ns: int | Ints) -> None:
        """Pods that are ready now and, with this for their `pod_ready_ns`, won't be."""
        now_ns = self._now()
        ceases = (self._pod_ready.view[pods] <= now_ns) & (ready_ns > np.int64(now_ns))
        self._pod_unready.view[pods[ceases]] = now_ns

    def _charge(self, pods: Ints, nodes: Ints, force: bool) -> None:
        if len(pods) == 1:
            charge, touched = self.pod_request[pods[0]][:, None], nodes
        else:
            touched, where = np.unique(nodes, return_inverse=True)
            charge = np.zeros((len(self.schema), len(touched)), dtype=np.int64)
            requests = self.pod_request[pods]
            for resource in range(len(self.schema)):
                np.add.at(charge[resource], where, requests[:, resource])
        after = self.requested[:, touched] + charge
        if not force:
            self._refuse_overcommit("bind {} to", pods, nodes, touched, charge, after)
        self.requested[:, touched] = after

    def _refuse_overcommit(self, act: str, pods: Ints, nodes: Ints, touched: Ints, charge: Ints, after: Ints) -> None:
        # As Kubernetes: a pod that asks for nothing of an over-committed resource still fits.
        over = (charge > 0) & (after > self.allocatable[:, touched])
        for resource, place in np.argwhere(over)[:1].tolist():
            node = int(touched[place])
            which = [int(pod) for pod in pods[nodes == node]]
            who = f"pod {self.pod_name(which[0])!r}" if len(which) == 1 else f"{len(which):,} pods"
            capacity = int(self.allocatable[resource, node])
            raise NotEnoughCapacity(
                f"cannot {act.format(who)} node {self.node_name(node)!r}: {int(charge[resource, place]):,} more "
                f"{self.schema.columns[resource]} requested but "
                f"{max(capacity - int(self.requested[resource, node]), 0):,} of {capacity:,} are free"
            )

    def _release(self, pods: Ints) -> Ints:
        nodes = self.pod_node[pods].astype(np.int64)
        held = nodes >= 0
        for resource in range(len(self.schema)):
            np.subtract.at(self.requested[resource], nodes[held], self.pod_request[pods[held], resource])
        self._devices.release(pods[held], nodes[held])
        self.pod_node[pods] = -1
        self._pod_runs.view[pods] = NEVER
        self._pod_ready.view[pods] = NEVER
        self._pod_unready.view[pods] = NEVER
        return nodes

    def _resize(self, pod: Ints, request: Ints, force: bool) -> None:
        node = self.pod_node[pod].astype(np.int64)
        if node[0] >= 0:
            growth = request - self.pod_request[pod[0]]
            after = self.requested[:, node] + growth[:, None]
            if not force:
                self._refuse_overcommit("grow {} on", pod, node, node, growth[:, None], after)
            self.requested[:, node] = after
            self._devices.release(pod, node)
            self._devices.hold(pod, node, self._chosen_devices(pod, node, request[None], None, force))
        self.pod_request[pod[0]] = request

    def _chosen_devices(
        self, pods: Ints, nodes: Ints, requests: Ints, given: npt.ArrayLike | None, force: bool
    ) -> Held | None:
        slicings, slices = self._node_labels.get_one(SLICING_LABEL), self._pod_labels.get_one(SLICE_LABEL)
        wanted = None if slices is None else [slices[row] for row in pods.tolist()]
        return self._devices.choose(nodes, requests, slicings, wanted, given, force)
