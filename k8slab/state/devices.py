"""The device columns of a state: which devices nodes have, and which of them each bound pod holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints
from k8slab.domain.devices import (
    SLICINGS,
    Devices,
    Held,
    asked_units,
    bits_of,
    counts_devices,
    device_capacity,
    fullest,
    idlest,
    sliced,
)
from k8slab.domain.resources import ResourceSchema
from k8slab.errors import InputError, NotEnoughCapacity
from k8slab.state.tables import Grid


class DeviceLedger:
    """Devices by node and by pod, for ClusterState, which decides who comes and goes.

    used = what the pods bound there hold. A pod may hold less than it asks, where its node was
    overcommitted; and parts of several devices, where a policy that tells devices apart by
    nothing put it on a node of which no single one would do.
    """

    def __init__(self, schema: ResourceSchema) -> None:
        self._names = schema.names
        self._any = counts_devices(schema.names)
        self._capacity, self._used, self._slots = (Grid(np.int64) for _ in range(3))
        self._held, self._held_slots = Grid(np.int32), Grid(np.int32)

    @property
    def nodes(self) -> Devices:
        """Views, N nodes."""
        return Devices(self._capacity.view, self._used.view, self._slots.view)

    @property
    def pods(self) -> Held:
        """Views, P pods; 0 for pods on no node."""
        return Held(self._held.view, self._held_slots.view)

    def add_nodes(self, allocatable: Ints) -> None:
        """More nodes, nothing of them taken. allocatable : int64[R, n]"""
        capacity = device_capacity(self._names, allocatable)
        self._widen(capacity.shape[1])
        for grid in (self._capacity, self._used, self._slots):
            grid.extend(allocatable.shape[1])
        if capacity.shape[1]:
            self._capacity.view[-len(capacity) :, : capacity.shape[1]] = capacity

    def set_capacity(self, node: int, allocatable: Ints) -> None:
        """A node has other devices now; what pods hold of those that are gone they keep. allocatable : int64[R]"""
        capacity = device_capacity(self._names, allocatable[:, None])[0]
        self._widen(len(capacity))
        self._capacity.view[node] = 0
        self._capacity.view[node, : len(capacity)] = capacity

    def add_pods(self, count: int) -> None:
        """More pods, which hold nothing."""
        self._held.extend(count)
        self._held_slots.extend(count)

    def _widen(self, width: int) -> None:
        for grid in (self._capacity, self._used, self._slots, self._held, self._held_slots):
            grid.widen(width)

    def choose(
        self,
        nodes: Ints,
        requests: Ints,
        slicings: Codes[str] | None,
        slices: Sequence[str | None] | None,
        given: npt.ArrayLike | None,
        force: bool,
    ) -> Held | None:
        """What pods that come to these nodes would hold, one after the other; changes nothing. None if nothing.

        requests : int64[n, R]
        slicings : by node row, the label of how its devices are cut; None if nobody has it
        slices   : the pods' label of which slice they want
        given    : int[n, D], units of each device, instead of the default rule

        Raises InputError for units of devices that the pods don't ask for, and unless `force`
        NotEnoughCapacity for a device that has them not free.
        """
        if not self._any:
            return None
        wants = asked_units(self._names, requests)
        if not wants.any() or not self._capacity.width:
            return None
        asked = None if given is None else self._given(nodes, wants, np.asarray(given, dtype=np.int64), force)
        if asked is not None and slicings is None:
            return Held(asked, np.zeros_like(asked))
        # Pods of one batch see one another's: on copies, as the batch may yet be refused.
        touched, place = np.unique(nodes, return_inverse=True)
        capacity, used, slots = (column[touched] for column in self.nodes)
        width = self._capacity.width
        held = Held(np.zeros((len(nodes), width), np.int64), np.zeros((len(nodes), width), np.int64))
        for row in np.flatnonzero(wants > 0).tolist():
            at, node, want = int(place[row]), int(nodes[row]), int(wants[row])
            slicing = SLICINGS.get((slicings[node] if slicings is not None else None) or "")
            own = None if asked is None else asked[row]
            if slicing is not None:
                profile = (slices[row] if slices is not None else None) or ""
                among = capacity[at] if own is None else np.where(own > 0, capacity[at], 0)
                device, bits = sliced(slicing, slots[at], among, profile, want)
                if bits:  # else no device has the slice free, and it holds none
                    held.amounts[row, device] = slicing.milli_of(bits)
                    held.slots[row, device] = bits
            elif own is not None:
                held.amounts[row] = own
            else:
                free = np.maximum(capacity[at] - used[at], 0)
                units = fullest(free, capacity[at], want)
                held.amounts[row] = idlest(free, want) if units is None else units
            used[at] += held.amounts[row]
            slots[at] |= held.slots[row]
        return held

    def _given(self, nodes: Ints, wants: Ints, amounts: Ints, force: bool) -> Ints:
        width = self._capacity.width
        if amounts.ndim != 2 or len(amounts) != len(nodes) or amounts.shape[1] > width:
            wanted = f"({len(nodes)}, {width}): units of each device"
            raise InputError(f"devices have shape {amounts.shape}; wanted {wanted}")
        odd = (amounts < 0).any(axis=1) | ((amounts > 0).any(axis=1) & (wants == 0))
        if odd.any():
            row = int(np.argmax(odd))
            raise InputError(
                f"devices[{row}] is {amounts[row].tolist()}; wanted units of devices that the pod asks, "
                f"{int(wants[row]):,} in all"
            )
        touched, place = np.unique(nodes, return_inverse=True)
        capacity, used, _ = (column[touched] for column in self.nodes)
        full = np.zeros((len(nodes), width), dtype=np.int64)
        full[:, : amounts.shape[1]] = amounts
        np.add.at(used, place, full)
        over = (used > capacity) & (used > self._used.view[touched])
        if over.any() and not force:
            at, device = np.argwhere(over)[0].tolist()
            before, whole = int(self._used.view[touched[at], device]), int(capacity[at, device])
            raise NotEnoughCapacity(
                f"cannot take {int(used[at, device]) - before:,} units of device {device} of node row "
                f"{int(touched[at])}: {max(whole - before, 0):,} of {whole:,} are free"
            )
        return full

    def hold(self, pods: Ints, nodes: Ints, held: Held | None) -> Ints | int:
        """Pods take what `choose` gave; gives int64[n], the devices as bits, 0 where nothing is held."""
        if held is None:
            return 0
        self._held.view[pods], self._held_slots.view[pods] = held
        np.add.at(self._used.view, nodes, held.amounts)
        np.add.at(self._slots.view, nodes, held.slots)  # slots of one node are disjoint, so a sum joins them
        return bits_of(held.amounts)

    def release(self, pods: Ints, nodes: Ints) -> None:
        """Pods give back to these nodes what they hold."""
        if not self._held.width:
            return
        np.subtract.at(self._used.view, nodes, self._held.view[pods])
        np.subtract.at(self._slots.view, nodes, self._held_slots.view[pods])
        self._held.view[pods] = 0
        self._held_slots.view[pods] = 0

    def check(self, pod_node: npt.NDArray[np.int32]) -> None:
        """Recompute what is used the slow way, and that no slot is held twice."""
        used, slots = np.zeros_like(self._used.view), np.zeros_like(self._slots.view)
        for pod, node in enumerate(pod_node.tolist()):
            amounts, bits = self._held.view[pod], self._held_slots.view[pod]
            assert node >= 0 or not amounts.any(), f"pod row {pod} is on no node but holds {amounts.tolist()}"
            if node >= 0:
                assert (amounts >= 0).all(), f"pod row {pod} holds {amounts.tolist()} of node row {node}'s devices"
                assert not (slots[node] & bits).any(), f"pod row {pod} holds slots of node row {node} that others hold"
                used[node] += amounts
                slots[node] |= bits
        for column, expected in ((self._used.view, used), (self._slots.view, slots)):
            for node, device in np.argwhere(column != expected)[:1].tolist():
                raise AssertionError(
                    f"device {device} of node row {node} should have {expected[node, device]:,} taken but the column "
                    f"says {column[node, device]:,}"
                )
