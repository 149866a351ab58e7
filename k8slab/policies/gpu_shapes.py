"""What pods ask of GPUs, as kernels take it: shapes, and the typical pods that fragmentation is measured against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints
from k8slab.domain.devices import MOST_DEVICES, SPEC_LABEL, WHOLE, milli_units
from k8slab.domain.resources import CPU
from k8slab.errors import InputError
from k8slab.kernels.gpu import Shapes, Typical

TYPICAL_PERCENT: Final = 95

Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int, int, str]  # mCPU, milli of each device, devices, accepted models joined by |
Counted = tuple[int, int, int, str, int]  # the same and how many pods have it


def accepted(spec: str) -> list[str]:
    """The models of a text such as "T4|P100"; none stand for any."""
    return [model for model in spec.split("|") if model]


def shape_of(cpu: int, milli: int, spec: str | None) -> Shape:
    """The shape of a pod that asks so many mCPU and milli of GPUs: a share, or whole ones.

    >>> shape_of(4000, 460, "T4||P100"), shape_of(4000, 2000, None), shape_of(4000, 0, "T4")
    ((4000, 460, 1, 'T4|P100'), (4000, 1000, 2, ''), (4000, 0, 0, ''))
    """
    return cpu, min(milli, WHOLE), -(-milli // WHOLE), "|".join(accepted(spec or "")) if milli else ""


def shapes_of(shapes: Sequence[Shape], models: Sequence[str]) -> Shapes:
    """Shapes as kernels take them."""
    accepts = [[not spec or model in accepted(spec) for model in models] for *_, spec in shapes]
    cpu, milli, devices = (np.array([shape[part] for shape in shapes], dtype=np.int64) for part in range(3))
    return Shapes(cpu, milli, devices, np.array(accepts, dtype=np.bool_).reshape(len(shapes), len(models)))


def most_frequent(counts: Iterable[tuple[Shape, int]]) -> list[tuple[Shape, int]]:
    """The shapes that make up 95 % of the pods, most frequent first, each with its number of pods."""
    ranked = sorted(((count, shape) for shape, count in counts), reverse=True)
    pods = sum(count for count, _ in ranked)
    taken: list[tuple[Shape, int]] = []
    for count, shape in ranked:
        if 100 * sum(number for _, number in taken) >= TYPICAL_PERCENT * pods:
            break
        taken.append((shape, count))
    return taken


def counted(shapes: Sequence[Shape], pod_shape: Ints) -> list[tuple[Shape, int]]:
    """Each shape that pods have, and how many have it. pod_shape : int64[P] rows of `shapes`"""
    return [(shapes[row], count) for row, count in Counter(pod_shape.tolist()).items()]


def counted_shapes(typical: Any) -> tuple[Counted, ...]:
    """The shapes of a workload's pods, or of rows (mCPU, milli of each GPU, GPUs, models joined by |, pods), counted.

    typical : a Workload, or rows: tuples, or a frame as `analysis.gpu.gpu_failures` gives

    Raises InputError for what is neither, and for a row that no pod can be.
    """
    if hasattr(typical, "requests"):
        return tuple(sorted((*shape, count) for shape, count in Counter(pod_shapes(typical)).items()))
    rows = typical.itertuples(index=False) if hasattr(typical, "itertuples") else typical
    try:
        return tuple(_checked_shape(*row) for row in rows)
    except TypeError as error:
        raise InputError(
            f"typical={typical!r}: wanted a Workload, or rows of mCPU, milli of each GPU, GPUs, models and pods"
        ) from error


def _checked_shape(cpu: int, milli: int, devices: int, models: str | None, pods: int) -> Counted:
    row = (int(cpu), int(milli), int(devices), "|".join(accepted(models or "")), int(pods))
    none, share = row[1] == row[2] == 0, 0 < row[1] < WHOLE and row[2] == 1
    if row[0] < 0 or row[4] < 1 or not (none or share or (row[1] == WHOLE and 0 < row[2] <= MOST_DEVICES)):
        raise InputError(
            f"typical pods of {row[0]:,} mCPU, {row[1]:,} milli of each of {row[2]:,} GPUs, {row[4]:,} of them: wanted "
            f"no GPU, a share of one (1 to {WHOLE - 1}) or up to {MOST_DEVICES} whole ones ({WHOLE}), of 1 pod or more"
        )
    return row


def pod_shapes(pods: Any) -> list[Shape]:
    """The shape of each of some pods. pods : PodColumns or a Workload. InputError for part of a second device."""
    names = pods.schema.names
    milli = pods.requests @ milli_units(names)
    odd = (milli > WHOLE) & (milli % WHOLE > 0)
    if odd.any():
        row = int(np.argmax(odd))
        raise InputError(
            f"pod {pods.names[row]!r} requests {int(milli[row]):,} milli-GPU; wanted a share of one GPU, up to "
            f"{WHOLE:,}, or whole GPUs"
        )
    specs = (pods.labels.get(SPEC_LABEL) or Codes.none(len(pods))).to_array().tolist()
    cpu = pods.requests[:, names.index(CPU)].tolist()
    return [shape_of(*asked) for asked in zip(cpu, milli.tolist(), specs, strict=True)]


def typical_of(taken: Sequence[tuple[Shape, int]], pods: int, models: Sequence[str]) -> Typical:
    """Typical pods as kernels take them, with the tables of the exact form; see k8slab.kernels.gpu.

    taken : shapes and how many pods have each
    pods  : how many there are altogether, those of other shapes too
    """
    shapes = shapes_of([shape for shape, _ in taken], models)
    number = np.array([count for _, count in taken], dtype=np.int64)
    total = int(number.sum())
    weight = number / pods if total == pods else (number / pods) / (total / pods)
    cpu_steps, milli_steps = np.unique(shapes.cpu), np.unique(shapes.milli[shapes.milli > 0])
    # By step of CPU: which typical pods have enough. Step 0 is less than any asks.
    enough_cpu = np.vstack([np.zeros(len(taken), dtype=np.bool_), cpu_steps[:, None] >= shapes.cpu])
    enough_milli = np.vstack([np.zeros(len(taken), dtype=np.bool_), milli_steps[:, None] >= shapes.milli])
    enough_devices = np.arange(MOST_DEVICES + 1)[:, None] >= shapes.devices
    single, several = (shapes.devices == 1) * number, (shapes.devices > 1) * number
    return Typical(
        shapes,
        weight,
        number,
        total,
        cpu_steps,
        np.searchsorted(milli_steps, np.arange(WHOLE + 1), side="right"),
        _counted(shapes.accepts, enough_cpu, enough_milli, single),
        _counted(shapes.accepts, enough_cpu, enough_devices, several),
    )


def _counted(accepts: Mask, enough_cpu: Mask, enough: Mask, number: Ints) -> Ints:
    """int64[G, C, L]: the sum of `number` over shapes that accept, have enough CPU, and enough of the devices.

    accepts : bool[T, G], enough_cpu : bool[C, T], enough : bool[L, T], number : int64[T]
    """
    # einsum's result may lie in memory in any order, and a kernel is compiled anew for each.
    return np.ascontiguousarray(
        np.einsum("tg,ct,lt,t->gcl", accepts, enough_cpu, enough, number, dtype=np.int64, casting="unsafe")
    )
