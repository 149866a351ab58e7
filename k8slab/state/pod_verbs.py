"""The verbs that write the columns of pods, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from k8slab.domain.api_objects import ApiObjects
from k8slab.domain.columns import LEAVING, NOT_STARTED, Codes, Ints, Names, Tolerations
from k8slab.domain.models import POD_PHASES
from k8slab.domain.pod_spec import PodSpec
from k8slab.errors import StateConflict
from k8slab.state.columns import FAILED, PENDING, RUNNING, SUCCEEDED, PodRows
from k8slab.state.holding import Holding
from k8slab.state.inputs import as_amounts, as_codes, as_priorities, refuse_clashes, same_length


class PodVerbs(Holding):
    """Pods come, wait, run, end and go."""

    def add_pods(
        self,
        names: Names | Iterable[str],
        requests: npt.ArrayLike,
        *,
        namespaces: Codes[str] | None = None,
        tolerations: Codes[Tolerations] | None = None,
        priority: npt.ArrayLike | None = None,
        labels: Mapping[str, Codes[str]] | None = None,
        specs: Codes[PodSpec] | None = None,
        leaving: npt.ArrayLike = 0,
        started_ns: npt.ArrayLike = NOT_STARTED,
        owner: npt.ArrayLike = -1,
        startup_ns: npt.ArrayLike = 0,
        arrived: bool = True,
    ) -> Ints:
        """Add pods that wait for a node; gives their rows.

        requests : int64[n, R]. leaving : int8[n], codes into LEAVING. started_ns : int64[n].
        owner : int32[n]. startup_ns : int64[n], how long after their containers' start they are ready.
        arrived : False gives them rows only; they aren't there until `arrive`.
        Raises StateConflict for a name that a pod already has,
        InputError for one given twice, amounts as in `add_nodes`, a priority beyond int32.
        """
        with self.lock:
            names = names if isinstance(names, Names) else Names(names)
            count = len(names)
            amounts = as_amounts(requests, (count, len(self.schema)), "requests of pods")
            ranks = as_priorities(0 if priority is None else priority, count)
            going = as_codes(leaving, count, len(LEAVING), "codes of leaving")
            columns = {"namespaces": namespaces, "tolerations": tolerations, "specs": specs}
            same_length(count, {**columns, **(labels or {})})
            refuse_clashes("pod", names, self._pod_names, self.pod_alive)
            rows = np.arange(self.pod_count, self.pod_count + count)
            self._pod_names.extend(names)
            self._pod_alive.extend(count, arrived)
            self._pod_phase.extend(count, PENDING)
            self._pod_node.extend(count)
            self._pod_last_node.extend(count)
            self._pod_priority.extend(count, ranks)
            self._lowest_priority = min(self._lowest_priority, int(np.min(ranks, initial=2**31 - 1)))
            self._pod_request.extend(amounts)
            self._pod_namespace.extend(count, Codes.constant("default", count) if namespaces is None else namespaces)
            self._pod_tolerations.extend(count, Codes.constant((), count) if tolerations is None else tolerations)
            self._pod_labels.extend(count, labels)
            self._pod_specs.extend(count, specs)
            self._pod_leaving.extend(count, going)
            self._pod_started.extend(count, started_ns)
            self._pod_nominated.extend(count)
            self._devices.add_pods(count)
            self._pod_owner.extend(count, owner)
            self._pod_startup.extend(count, startup_ns)
            self._pod_runs.extend(count)
            self._pod_ready.extend(count)
            self._pod_unready.extend(count)
            self._pod_restarts.extend(count)
            if arrived:
                self._log("POD_ADDED", pod_rows=rows.copy())
            return rows

    def arrive(self, pod_rows: PodRows) -> None:
        """Pods that were given rows ahead of their time are there now, and wait.

        Raises StateConflict for one that is there, or was.
        """
        with self.lock:
            pods = self._pods_there(pod_rows)
            early = ~self.pod_alive[pods] & (self.pod_phase[pods] == PENDING) & (self._pod_last_node.view[pods] < 0)
            if not early.all():
                first = int(pods[np.argmin(early)])
                raise StateConflict(f"pod {self.pod_name(first)!r} can't arrive: it is there, or was removed")
            if len(pods):
                self.pod_alive[pods] = True
                self._log("POD_ADDED", pod_rows=pods)

    def bind(
        self, pod_rows: PodRows, node_rows: PodRows, *, devices: npt.ArrayLike | None = None, force: bool = False
    ) -> None:
        """Give waiting pods their nodes; they run.

        devices : int[n, D], the units that each takes of its node's devices, as a policy chose; None for
                  the fullest that has a share, the first that are free for whole ones

        Raises StateConflict for a pod that doesn't wait or a node that isn't there, and
        NotEnoughCapacity where a node would hold more than it may of something
        that the pods ask for. `force` skips that last rule: for loading what a
        real cluster was seen to do.
        """
        with self.lock:
            pods, nodes = self._alive_pods(pod_rows), self._alive_nodes(node_rows)
            assert len(pods) == len(nodes), f"{len(pods)} pods but {len(nodes)} nodes"
            if not len(pods):
                return
            waiting = (self.pod_phase[pods] == PENDING) & (self.pod_node[pods] < 0)
            if not waiting.all():
                first = int(pods[np.argmin(waiting)])
                raise StateConflict(f"cannot bind pod {self.pod_name(first)!r}: {self._condition(first)}, not waiting")
            held = self._chosen_devices(pods, nodes, self.pod_request[pods], devices, force)
            self._charge(pods, nodes, force)
            taken = self._devices.hold(pods, nodes, held)
            self.pod_node[pods] = nodes
            self.pod_last_node[pods] = nodes
            self.pod_nominated[pods] = -1
            self.pod_phase[pods] = RUNNING
            now_ns = self._now()
            self._start(pods, now_ns)
            self._log("BOUND", pod_rows=pods, node_rows=nodes, value=taken, now_ns=now_ns)

    def unbind(self, pod_rows: PodRows) -> None:
        """Evict pods: they wait again, and their nodes get the resources back.

        Raises StateConflict for a pod that is on no node.
        """
        with self.lock:
            pods = self._alive_pods(pod_rows)
            for pod in pods[self.pod_node[pods] < 0][:1].tolist():
                raise StateConflict(f"cannot unbind pod {self.pod_name(pod)!r}: {self._condition(pod)}, on no node")
            if len(pods):
                self._log("UNBOUND", pod_rows=pods, node_rows=self._release(pods))
                self.pod_phase[pods] = PENDING
                self._pod_started.view[pods] = NOT_STARTED
                self._pod_restarts.view[pods] = 0

    def nominate(self, pod_rows: PodRows, node_rows: PodRows) -> None:
        """Promise waiting pods a node, where others leave to make room for them; -1 takes a promise back.

        Raises StateConflict for a pod that doesn't wait or a node that isn't there.
        """
        with self.lock:
            pods = self._alive_pods(pod_rows)
            nodes = np.broadcast_to(np.array(node_rows, dtype=np.int64, ndmin=1), pods.shape)
            self._alive_nodes(nodes[nodes >= 0])
            for pod in pods[(self.pod_phase[pods] != PENDING) | (self.pod_node[pods] >= 0)][:1].tolist():
                raise StateConflict(f"cannot nominate pod {self.pod_name(pod)!r}: {self._condition(pod)}, not waiting")
            if len(pods):
                self._promises = True
                self.pod_nominated[pods] = nodes
                self._log("NOMINATED", pod_rows=pods, node_rows=nodes.copy())

    def set_leaving(self, pod_rows: PodRows, code: int) -> None:
        """Mark pods as being deleted, a code into domain.columns.LEAVING; what they hold they keep until they end."""
        with self.lock:
            assert 0 <= code < len(LEAVING), f"code of leaving {code} is not one of 0..{len(LEAVING) - 1}"
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self._pod_leaving.view[pods] = code
                self._log("LEAVING", pod_rows=pods, value=code)

    def set_ready(self, pod_rows: PodRows, at_ns: int) -> None:
        """Pods that hold a node are ready from an instant on, NEVER for not ready."""
        with self.lock:
            pods = self._holding(pod_rows, "set ready")
            if len(pods):
                self._note_unready(pods, at_ns)
                self._pod_ready.view[pods] = at_ns
                self._log("READY", pod_rows=pods, value=at_ns)

    def restart(self, pod_rows: PodRows, at_ns: int) -> None:
        """The containers of pods that hold a node ended, and run again from an instant on, which may lie ahead.

        They are ready when their time to start up has passed after that. Raises
        StateConflict for a pod that is on no node.
        """
        with self.lock:
            pods = self._holding(pod_rows, "restart")
            if len(pods):
                self._note_unready(pods, at_ns + self._pod_startup.view[pods])
                self._pod_runs.view[pods] = at_ns
                self._pod_ready.view[pods] = at_ns + self._pod_startup.view[pods]
                self._pod_restarts.view[pods] += 1
                self._log("RESTARTED", pod_rows=pods, value=at_ns)

    def set_objects(self, objects: ApiObjects) -> None:
        """Replace the namespaces, services, controllers and budgets that policies see."""
        with self.lock:
            self._objects = objects

    def set_phase(self, pod_rows: PodRows, code: int) -> None:
        """Set pods' phase, a code into POD_PHASES; what they hold they keep."""
        with self.lock:
            assert 0 <= code < len(POD_PHASES), f"phase {code} is not one of 0..{len(POD_PHASES) - 1}"
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self.pod_phase[pods] = code
                self._log("PHASE", pod_rows=pods, value=code)

    def finish(self, pod_rows: PodRows, code: int = SUCCEEDED) -> None:
        """End pods in a phase (succeeded or failed); their nodes get the resources back."""
        with self.lock:
            assert code in (SUCCEEDED, FAILED), f"phase {code} is no end: not {SUCCEEDED} or {FAILED}"
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self._log("FINISHED", pod_rows=pods, node_rows=self._release(pods), value=code)
                self.pod_phase[pods] = code
                self.pod_nominated[pods] = -1

    def remove_pods(self, pod_rows: PodRows) -> None:
        """Take pods away; their nodes get the resources back."""
        with self.lock:
            pods = self._alive_pods(pod_rows)
            if len(pods):
                self._log("POD_REMOVED", pod_rows=pods, node_rows=self._release(pods))
                self.pod_alive[pods] = False
                self.pod_nominated[pods] = -1

    def update_pod(
        self,
        pod_row: int,
        *,
        request: npt.ArrayLike | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
        tolerations: Tolerations | None = None,
        spec: PodSpec | None = None,
        force: bool = False,
    ) -> None:
        """Replace what is given of a pod; a bound pod's node is charged the difference.

        Raises NotEnoughCapacity where its node can't hold a grown request, unless `force`;
        InputError as `add_pods` does.
        """
        with self.lock:
            row = self._alive_pods(pod_row)
            rank = None if priority is None else as_priorities(priority, 1)
            if request is not None:
                self._resize(row, as_amounts(request, (len(self.schema),), "request"), force)
            if rank is not None:
                self.pod_priority[row] = rank
                self._lowest_priority = min(self._lowest_priority, int(np.min(rank)))
            if labels is not None:
                self._pod_labels.set(pod_row, labels)
            if namespace is not None:
                self._pod_namespace.set(pod_row, namespace)
            if tolerations is not None:
                self._pod_tolerations.set(pod_row, tolerations)
            if spec is not None:
                self._pod_specs.set(pod_row, spec)
            self._log("POD_UPDATED", pod_rows=pod_row)
