"""Devices that pods share: what a node has of them, what a pod takes of which one, and slices as MIG cuts them.

A device has a capacity in units: a GPU 1000 milli, a GPU whose memory is shared its share of the
node's memory. A pod asks units of its node's kind: up to one device's capacity is a share of one
device, more is so many whole ones. A device that is cut into slices has slots beside, of which a
slice takes some that lie together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.domain.resources import GPU

Ints = npt.NDArray[np.int64]
WHOLE: Final = 1000  # milli of a GPU
MOST_DEVICES: Final = 63  # of a node: the bits of an int64 that says which devices a pod has
# Milli-GPU, or whole devices as Kubernetes' device plug-in counts them -> milli in one.
MILLI: Final = {GPU: 1, "nvidia.com/gpu": WHOLE}
# GPUs shared by memory: the node's memory over all its GPUs, which a pod asks of one, and how many GPUs it has.
GPU_MEMORY: Final = "aliyun.com/gpu-mem"
GPU_COUNT: Final = "aliyun.com/gpu-count"

# Labels. Of a node, the first of these that it has; of a pod: models joined by |, devices joined by -, a profile.
MODEL_LABELS: Final = ("gpu-model", "alibabacloud.com/gpu-card-model", "nvidia.com/gpu.product")
SPEC_LABEL: Final = "gpu-spec"
INDEX_LABEL: Final = "gpu-index"
SLICING_LABEL: Final = "gpu-slicing"  # of a node: a name of SLICINGS
SLICE_LABEL: Final = "gpu-slice"  # of a pod: a profile


@dataclass(frozen=True)
class Slicing:
    """How a device is cut: which profiles it offers, and so which combinations of them fit on it.

    slots    : how many there are
    profiles : name -> (slots it takes, the slots where it may begin)
    """

    slots: int
    profiles: Mapping[str, tuple[int, tuple[int, ...]]]

    def place(self, taken: int, profile: str) -> int:
        """The bits of the first slots where a profile goes on a device whose `taken` bits are; 0 if nowhere.

        >>> [bin(SLICINGS["A100-40GB"].place(taken, "3g.20gb")) for taken in (0, 0b1, 0b10001)]
        ['0b1111', '0b11110000', '0b0']
        """
        size, starts = self.profiles.get(profile, (0, ()))
        masks = (((1 << size) - 1) << start for start in starts)
        return next((mask for mask in masks if not mask & taken), 0)

    def milli_of(self, bits: int) -> int:
        """What slots count for of the device's 1000."""
        return bits.bit_count() * WHOLE // self.slots

    def profile_for(self, want: int) -> str:
        """The smallest profile of so many milli, "" if none has."""
        sizes = {name: size for name, (size, _) in self.profiles.items() if size * WHOLE >= want * self.slots}
        return min(sizes, key=lambda name: sizes[name], default="")


def _mig(gib: int) -> Slicing:
    """Eight slots of memory, as A100 and H100 have them; seven can begin a slice of one."""
    names = {
        f"1g.{gib}gb": (1, tuple(range(7))),
        f"1g.{2 * gib}gb": (2, (0, 2, 4, 6)),
        f"2g.{2 * gib}gb": (2, (0, 2, 4)),
        f"3g.{4 * gib}gb": (4, (0, 4)),
        f"4g.{4 * gib}gb": (4, (0,)),
        f"7g.{8 * gib}gb": (8, (0,)),
    }
    return Slicing(8, names)


# Placements as NVIDIA's driver lists them (nvidia-smi mig -lgipp).
SLICINGS: Final[Mapping[str, Slicing]] = {
    "A30-24GB": Slicing(4, {"1g.6gb": (1, (0, 1, 2, 3)), "2g.12gb": (2, (0, 2)), "4g.24gb": (4, (0,))}),
    "A100-40GB": _mig(5),
    "A100-80GB": _mig(10),
    "H100-80GB": _mig(10),
}


class Devices(NamedTuple):
    """The devices of N nodes, D the most that one has.

    capacity : int64[N, D]  units, 0 beyond the node's own
    used     : int64[N, D]  what the pods there hold
    slots    : int64[N, D]  bits of the slots that are taken of a device that is cut into slices
    """

    capacity: Ints
    used: Ints
    slots: Ints


class Held(NamedTuple):
    """What P pods hold of their node's devices.

    amounts : int[P, D]  units
    slots   : int[P, D]  bits
    """

    amounts: npt.NDArray[np.integer]
    slots: npt.NDArray[np.integer]


def counts_devices(names: Sequence[str]) -> bool:
    """Whether any of these resources is of devices that pods share."""
    return any(name in MILLI or name == GPU_MEMORY for name in names)


def milli_units(names: Sequence[str]) -> Ints:
    """int64[R]: the milli-GPU that one of each resource stands for."""
    return np.array([MILLI.get(name, 0) for name in names], dtype=np.int64)


def asked_units(names: Sequence[str], requests: Ints) -> Ints:
    """int64[P]: what pods ask of devices, from their requests int64[P, R]: milli-GPU, else memory of one GPU."""
    milli = requests @ milli_units(names)
    memory = requests[:, names.index(GPU_MEMORY)] if GPU_MEMORY in names else np.zeros_like(milli)
    return np.where(milli > 0, milli, memory)


def device_capacity(names: Sequence[str], allocatable: Ints) -> Ints:
    """int64[N, D]: the units of each device that nodes have, from what they allow, int64[R, N]."""
    each, count = np.full(allocatable.shape[1], WHOLE), milli_units(names) @ allocatable // WHOLE
    if GPU_MEMORY in names and GPU_COUNT in names:
        memory, gpus = allocatable[names.index(GPU_MEMORY)], allocatable[names.index(GPU_COUNT)]
        shared = (count == 0) & (gpus > 0)
        each, count = np.where(shared, memory // np.maximum(gpus, 1), each), np.where(shared, gpus, count)
    # A node of more devices than bits has none to tell apart; whoever must tells so.
    count = np.where(count > MOST_DEVICES, 0, count)
    return np.where(np.arange(int(count.max(initial=0))) < count[:, None], each[:, None], 0).astype(np.int64)


def fullest(free: Ints, capacity: Ints, want: int) -> Ints | None:
    """Which units a pod takes of each device, int64[D], by the default rule; None where none will do.

    A share goes to the device with least left that has it, whole devices are the first that are
    free altogether; of equals the first.

    >>> fullest(np.array([1000, 400, 600]), np.array([1000] * 3), 500).tolist()
    [0, 0, 500]
    """
    taken = np.zeros_like(free)
    each = int(capacity.max(initial=0))
    if 0 < want < each:
        enough = np.flatnonzero(free >= want)
        if not len(enough):
            return None
        taken[enough[np.argmin(free[enough])]] = want
        return taken
    whole = np.flatnonzero((free == capacity) & (capacity > 0))
    count = want // each if each else 0
    if not each or want % each or count > len(whole):
        return None
    taken[whole[:count]] = each
    return taken


def idlest(free: Ints, want: int) -> Ints:
    """int64[D]: where no device will do, what is free of the idlest devices, one after the other."""
    taken = np.zeros_like(free)
    for device in np.argsort(-free, kind="stable").tolist():
        taken[device] = max(min(want - int(taken.sum()), int(free[device])), 0)
    return taken


def sliced(slicing: Slicing, taken: Ints, capacity: Ints, profile: str, want: int) -> tuple[int, int]:
    """(device, bits) for a slice on one of a node's devices: where most is taken already; (-1, 0) where none will do.

    taken   : int64[D]  bits
    profile : "" for the smallest of `want` milli
    """
    name = profile or slicing.profile_for(want)
    order = sorted(np.flatnonzero(capacity > 0).tolist(), key=lambda j: -int(taken[j]).bit_count())
    places = ((device, slicing.place(int(taken[device]), name)) for device in order)
    return next((place for place in places if place[1]), (-1, 0))


def bits_of(amounts: npt.NDArray[np.integer]) -> Ints:
    """int64[P]: which devices hold anything of amounts int[P, D]."""
    return np.asarray((amounts > 0) @ (np.int64(1) << np.arange(amounts.shape[1])), dtype=np.int64)
