"""GPU devices on nodes: which fit, which are taken, six scores, and the fragmentation measure.

The policies and the measure are those of "Beware of Fragmentation: Scheduling GPU-Sharing
Workloads with Fragmentation Gradient Descent" (Weng et al., USENIX ATC 2023), in the form in
which the authors' simulator computes them: same integers, same order of floating point.

A device has 1000 milli. A pod asks nothing, a share of one device, or k whole ones. Amounts are
int64. Nodes stand in the order in which ties are won: row 0 wins them all.

Fragmentation is a sum over typical pods, and so a naive score costs devices * typical pods. It
has a second form that costs a table look-up a device. Let W be the sum of the typical pods'
counts and R a node's free milli. A free device of r milli is of use to a typical pod that asks
one device of w <= r and c <= f CPU, so a node's fragmentation is, in integers,

    W * R  -  sum over devices j of r_j * A[model, f, r_j]  -  1000 * E * B[model, f, E]

A counts the typical pods of one device that fit f and r, B those of several that fit f and the
E whole devices. In units of milli * W it is exact. A score is the integer part of a smooth
function of the difference; only where that function is within NEAR of an integer could the
rounding of the floating sums decide, and there they are computed in full.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from k8slab.kernels._jit import borrowing_kernel as kernel

Ints = npt.NDArray[np.int64]

WHOLE = 1000  # milli of a device
NEAR = 1e-6  # the sums' rounding moves a score by less than 1e-10

RANDOM, DOT_PRODUCT, CLUSTERING, PACKING, BEST_FIT, FGD = range(6)
CLASSES = ("q1_lack_both", "q2_lack_gpu", "q3_satisfied", "q4_lack_cpu", "xl_satisfied", "xr_lack_cpu", "no_access")


class Nodes(NamedTuple):
    """What is free on nodes of several devices. N nodes, D the most devices of one.

    cpu, memory : int64[N]        free mCPU, bytes
    milli       : int64[N, D]     free milli of each device, 0 beyond the node's own
    devices     : int64[N]        how many it has
    model       : int64[N]
    idle        : int64[N]        the sum of milli
    whole       : int64[N]        how many devices are free altogether
    tags        : int64[N, D + 1] its pods that share a device, that hold 1 device, 2 devices ...
    kinds       : int64[N]        how many of the tags are above 0
    """

    cpu: Ints
    memory: Ints
    milli: Ints
    devices: Ints
    model: Ints
    idle: Ints
    whole: Ints
    tags: Ints
    kinds: Ints


class Shapes(NamedTuple):
    """What pods ask, memory apart. S shapes, G models.

    cpu     : int64[S]    mCPU
    milli   : int64[S]    of each device, 0 if it asks none; 1000 if it asks several
    devices : int64[S]    how many
    accepts : bool[S, G]  models
    """

    cpu: Ints
    milli: Ints
    devices: Ints
    accepts: npt.NDArray[np.bool_]


class Typical(NamedTuple):
    """The workload that fragmentation is measured against: T shapes and their weights; see the module.

    shapes    : what they ask
    weight    : float64[T]            share of the pods; sums to 1
    number    : int64[T]              the same as a count of pods
    total     : int64                 W
    cpu_steps : int64[C]              their distinct mCPU, rising
    step      : int64[1001]           how many distinct w a device of so many milli reaches
    single    : int64[G, C + 1, L+1]  A, by model, steps of CPU and of milli reached
    several   : int64[G, C + 1, D+1]  B, by model, steps of CPU and whole devices
    """

    shapes: Shapes
    weight: npt.NDArray[np.float64]
    number: Ints
    total: int
    cpu_steps: Ints
    step: Ints
    single: Ints
    several: Ints


class Largest(NamedTuple):
    """The largest node, which scores are in parts of: mCPU, and milli of all its devices. No node may be larger."""

    cpu: int
    milli: int


class Placed(NamedTuple):
    """What became of P pods.

    node       : int64[P]  row, -1 where none could hold the pod
    devices    : int64[P]  bits
    fragmented : int64[P]  the cluster's fragmentation after each pod, in milli * Typical.total
    """

    node: Ints
    devices: Ints
    fragmented: Ints


class Scratch(NamedTuple):
    """Room that kernels work in.

    milli   : int64[D]     a node's devices as they would be
    classes : float64[7]   one sum for each of CLASSES
    before  : int64[N]     fragmentation as it is, in milli * Typical.total
    keys    : int32[S, N]  score * N + (N - 1 - row), -1 where the pod can't be: the highest is the best score
                           and, of equals, the lowest row
    seen    : int64[S]     how many changes of nodes a shape's keys know of, -1 if it has none yet
    journal : int64[P]     nodes as they changed
    last    : int64[N]     where a node stands last in the journal
    """

    milli: Ints
    classes: npt.NDArray[np.float64]
    before: Ints
    keys: npt.NDArray[np.int32]
    seen: Ints
    journal: Ints
    last: Ints


def idle_nodes(cpu: Ints, memory: Ints, devices: Ints, model: Ints, most: int) -> Nodes:
    """Nodes whose devices are all free. cpu, memory, devices, model : int64[N]; most : D, at least 1"""
    milli = np.where(np.arange(most) < devices[:, None], WHOLE, 0).astype(np.int64)
    tags = np.zeros((len(devices), most + 1), dtype=np.int64)
    kinds = np.zeros(len(devices), dtype=np.int64)
    return Nodes(cpu, memory, milli, devices, model, milli.sum(axis=1), devices.copy(), tags, kinds)


def scratch_for(nodes: Nodes, shapes: Shapes, pods: int) -> Scratch:
    """Room for placing so many pods."""
    count, most = nodes.milli.shape
    kinds = len(shapes.cpu)
    return Scratch(
        np.zeros(most, dtype=np.int64),
        np.zeros(len(CLASSES)),
        np.zeros(count, dtype=np.int64),
        np.full((kinds, count), -1, dtype=np.int32),
        np.full(kinds, -1, dtype=np.int64),
        np.zeros(pods, dtype=np.int64),
        np.full(count, -1, dtype=np.int64),
    )


# -- fragmentation --------------------------------------------------------------


@kernel
def fragment(cpu, milli, devices, model, typical, classes):
    """The milli of one node by what keeps typical pods from them. Fills `classes`, returns all but q3.

    cpu     : int64     free mCPU
    milli   : int64[D]  free milli of each device
    classes : float64[7], see CLASSES; expected milli, in the order of summation of the authors' code

    §3.1 of the paper: idle milli are a fragment to a pod that can't use them. To a pod without
    GPU all are; else to a pod that the node can't hold all are, and to one that it can hold
    those on devices too full for it.
    """
    classes[:] = 0.0
    idle = 0
    for j in range(devices):
        idle += milli[j]
    for t in range(typical.weight.shape[0]):
        weight = typical.weight[t]
        want = typical.shapes.milli[t]
        enough_cpu = cpu >= typical.shapes.cpu[t]
        if want == 0:
            classes[4 if enough_cpu else 5] += weight * idle
        elif not typical.shapes.accepts[t, model]:
            classes[6] += weight * idle
        else:
            fitting = 0
            too_full = 0
            for j in range(devices):
                if milli[j] >= want:
                    fitting += 1
                else:
                    too_full += milli[j]
            enough_gpu = fitting >= typical.shapes.devices[t]
            if enough_gpu and enough_cpu:
                classes[1] += weight * too_full
                classes[2] += weight * (idle - too_full)
            elif enough_gpu:
                classes[3] += weight * idle
            elif enough_cpu:
                classes[1] += weight * idle
            else:
                classes[0] += weight * idle
    return classes[0] + classes[1] + classes[3] + classes[4] + classes[5] + classes[6]


@kernel
def _steps(values, amount):
    """How many of the rising values are at most `amount`."""
    low, high = 0, values.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if values[middle] <= amount:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _of_use(nodes, i, step, typical):
    """int: milli * W of node i that are of use, with as much CPU as `step` says: W * R less fragmentation."""
    model = nodes.model[i]
    useful = 0
    for j in range(nodes.devices[i]):
        free = nodes.milli[i, j]
        useful += free * typical.single[model, step, typical.step[free]]
    whole = nodes.whole[i]
    return useful + WHOLE * whole * typical.several[model, step, whole]


@kernel
def fragment_exactly(nodes, i, typical):
    """int: the fragmentation of node i in milli * W, see the module."""
    step = _steps(typical.cpu_steps, nodes.cpu[i])
    return typical.total * nodes.idle[i] - _of_use(nodes, i, step, typical)


# -- which devices ----------------------------------------------------------------


@kernel
def fullest_device(nodes, i, want):
    """The device of node i with least left that still has `want` milli, the first of equals; -1 if none has."""
    best = -1
    for j in range(nodes.devices[i]):
        if nodes.milli[i, j] >= want and (best < 0 or nodes.milli[i, j] < nodes.milli[i, best]):
            best = j
    return best


@kernel
def has_devices(nodes, i, shapes, s):
    """Whether node i has devices free for a pod of shape s, of a model that it accepts."""
    count = shapes.devices[s]
    if count == 0:
        return True
    if not shapes.accepts[s, nodes.model[i]]:
        return False
    if shapes.milli[s] == WHOLE:
        return nodes.whole[i] >= count
    return fullest_device(nodes, i, shapes.milli[s]) >= 0


@kernel
def fits(nodes, i, shapes, s):
    """Whether node i can hold a pod of shape s, memory apart."""
    return nodes.cpu[i] >= shapes.cpu[s] and has_devices(nodes, i, shapes, s)


@kernel
def first_whole_devices(nodes, i, count):
    """The bits of the first `count` devices of node i that are free altogether."""
    taken = 0
    for j in range(nodes.devices[i]):
        if count > 0 and nodes.milli[i, j] == WHOLE:
            taken |= 1 << j
            count -= 1
    return taken


# -- scores -------------------------------------------------------------------------


@kernel
def dot_product(free_cpu, free_milli, cpu, milli, largest):
    """0 .. 100: higher where free and asked amounts, in parts of the largest node, have the smaller product."""
    product = (free_cpu / largest.cpu) * (cpu / largest.cpu) + (free_milli / largest.milli) * (milli / largest.milli)
    return int(100.0 * (1.0 - product / 2.0))


@kernel
def best_fit(free_cpu, free_milli, cpu, milli, largest):
    """0 .. 100: higher where less is left, in parts of the largest node. Rescaling can't change which is best."""
    left = ((free_cpu - cpu) / largest.cpu) * 0.5 + ((free_milli - milli) / largest.milli) * 0.5
    return int((1.0 - left) * 100.0)


@kernel
def gpu_clustering(nodes, i, milli, count, largest):
    """0 .. 100: higher among pods of the same tag, alone with them best; then the fuller node. 0 without GPU."""
    if count == 0:
        return 0
    full = 25 * (largest.milli - nodes.idle[i]) // largest.milli
    if nodes.tags[i, count if milli == WHOLE else 0] > 0:
        return full + (75 if nodes.kinds[i] == 1 else 50)
    return full + (25 if nodes.kinds[i] == 0 else 0)


@kernel
def gpu_packing(nodes, i, milli, count):
    """0 .. 100: first devices in use, then nodes in use, then idle nodes. 0 without GPU."""
    whole = nodes.whole[i]
    if count == 0:
        return 0
    if whole == nodes.devices[i]:
        return max(33 - whole, whole)
    if milli == WHOLE:
        return max(50 - count, 33)
    # Of one device nothing but its free milli enters, and with least left it is the first in ascending order.
    left = nodes.milli[i, fullest_device(nodes, i, milli)]
    if left == WHOLE:
        return 49
    return max(100 - (left * 100 // 1000) // 10, 50)


@kernel
def _sigmoid_score(gain):
    """0 .. 100, not yet cut to an integer. gain : expected fragmentation that goes, in devices."""
    return 100.0 * (1.0 / (1.0 + np.exp(-gain)))


@kernel
def _fgd_in_full(nodes, i, shapes, s, device, typical, scratch):
    """The score of `_fgd_device` and `_fgd_whole` by the floating sums. device : -1 for the first whole ones."""
    devices, model = nodes.devices[i], nodes.model[i]
    milli = scratch.milli
    left = shapes.devices[s] if device < 0 else 0
    for j in range(devices):
        milli[j] = nodes.milli[i, j]
    before = fragment(nodes.cpu[i], milli, devices, model, typical, scratch.classes)
    if device >= 0:
        milli[device] -= shapes.milli[s]
    for j in range(devices):
        if left > 0 and milli[j] == WHOLE:
            milli[j] = 0
            left -= 1
    after = fragment(nodes.cpu[i] - shapes.cpu[s], milli, devices, model, typical, scratch.classes)
    return int(_sigmoid_score((before - after) / 1000.0))


@kernel
def _fgd_score(gain, nodes, i, shapes, s, device, typical, scratch):
    """0 .. 100 from the exact gain (milli * W), by the floating sums where they could decide."""
    score = _sigmoid_score(gain / (1000.0 * typical.total))
    if abs(score - np.rint(score)) < NEAR:
        return _fgd_in_full(nodes, i, shapes, s, device, typical, scratch)
    return int(score)


@kernel
def fgd(nodes, i, before, shapes, s, typical, scratch):
    """Score 0 .. 100 of node i for a pod of shape s, and the device where it shares one (-1 else).

    before : int, fragment_exactly of the node as it is

    Fragmentation gradient descent (§4.2 of the paper): how little the cluster's fragmentation
    grows. For a share, the best of the devices that have it, the first of equals.
    """
    step = _steps(typical.cpu_steps, nodes.cpu[i] - shapes.cpu[s])
    useful = _of_use(nodes, i, step, typical)
    model, whole, want = nodes.model[i], nodes.whole[i], shapes.milli[s]
    full_before = WHOLE * whole * typical.several[model, step, whole]
    if want == 0 or want == WHOLE:
        count = shapes.devices[s]
        rest = whole - count
        useful -= WHOLE * count * typical.single[model, step, typical.step[WHOLE]]
        useful += WHOLE * rest * typical.several[model, step, rest] - full_before
        gain = before - (typical.total * (nodes.idle[i] - WHOLE * count) - useful)
        return _fgd_score(gain, nodes, i, shapes, s, -1, typical, scratch), -1
    best, device = -1, -1
    for j in range(nodes.devices[i]):
        free = nodes.milli[i, j]
        if free >= want and not _stands_before(nodes, i, j):
            rest = free - want
            after = useful - free * typical.single[model, step, typical.step[free]]
            after += rest * typical.single[model, step, typical.step[rest]]
            if free == WHOLE:
                after += WHOLE * (whole - 1) * typical.several[model, step, whole - 1] - full_before
            gain = before - (typical.total * (nodes.idle[i] - want) - after)
            score = _fgd_score(gain, nodes, i, shapes, s, j, typical, scratch)
            if score > best:
                best, device = score, j
    return best, device


@kernel
def _stands_before(nodes, i, j):
    """Whether an earlier device of node i has as much left: what holds for it holds for this one."""
    other = 0
    while nodes.milli[i, other] != nodes.milli[i, j]:
        other += 1
    return other < j


@kernel
def score_node(policy, nodes, i, before, shapes, s, typical, largest, scratch):
    """0 .. 100, or -1 if node i can't hold a pod of shape s (memory apart). before : as in `fgd`."""
    if not fits(nodes, i, shapes, s):
        return -1
    cpu, milli, count = shapes.cpu[s], shapes.milli[s], shapes.devices[s]
    if policy == FGD:
        return fgd(nodes, i, before, shapes, s, typical, scratch)[0]
    if policy == BEST_FIT:
        return best_fit(nodes.cpu[i], nodes.idle[i], cpu, milli * count, largest)
    if policy == DOT_PRODUCT:
        return dot_product(nodes.cpu[i], nodes.idle[i], cpu, milli * count, largest)
    if policy == CLUSTERING:
        return gpu_clustering(nodes, i, milli, count, largest)
    if policy == PACKING:
        return gpu_packing(nodes, i, milli, count)
    return 0


@kernel
def judge_nodes(policy, nodes, shapes, s, typical, largest, scratch, free, score):
    """All nodes for a pod of shape s: bool[N] whether they have devices free, int64[N] the score, 0 where it can't be.

    scratch.before : must hold fragment_exactly of every node
    """
    for i in range(score.shape[0]):
        free[i] = has_devices(nodes, i, shapes, s)
        score[i] = max(score_node(policy, nodes, i, scratch.before[i], shapes, s, typical, largest, scratch), 0)


# -- choosing and taking ----------------------------------------------------------------


@kernel
def _best(keys, free_memory, memory):
    """The node of the highest key that has the memory, -1 if there is none. keys : int32[N], see Scratch."""
    highest = np.int32(-1)
    for i in range(keys.shape[0]):
        highest = max(highest, keys[i])
    if highest < 0:
        return -1
    count = keys.shape[0]
    node = count - 1 - highest % count
    if free_memory[node] >= memory:
        return node
    highest = np.int32(-1)
    for i in range(count):
        if free_memory[i] >= memory:
            highest = max(highest, keys[i])
    return -1 if highest < 0 else count - 1 - highest % count


@kernel
def _go_intn(words, cursors, n):
    """Go's rand.Intn, as GoRandom.intn. words : uint64[607], cursors : int64[2], both moved on."""
    most = (1 << 31) - 1 - (1 << 31) % n
    while True:
        for cursor in range(2):
            cursors[cursor] = cursors[cursor] - 1 if cursors[cursor] > 0 else words.shape[0] - 1
        words[cursors[1]] += words[cursors[0]]
        drawn = np.int64((words[cursors[1]] >> np.uint64(32)) & np.uint64(0x7FFFFFFF))
        if n & (n - 1) == 0:
            return drawn & (n - 1)
        if drawn <= most:
            return drawn % n


@kernel
def _any(keys, free_memory, memory, words, cursors):
    """A node that can hold the pod, each as likely; -1 if there is none."""
    feasible = 0
    for i in range(keys.shape[0]):
        feasible += keys[i] >= 0 and free_memory[i] >= memory
    if feasible == 0:
        return -1
    left = _go_intn(words, cursors, feasible) if feasible > 1 else 0
    for i in range(keys.shape[0]):
        if keys[i] >= 0 and free_memory[i] >= memory:
            if left == 0:
                return i
            left -= 1
    return -1


@kernel
def _any_device(nodes, i, want, words, cursors):
    """A device of node i that has `want` milli, each as likely: the n-th replaces the choice with chance 1/n."""
    device, seen = -1, 0
    for j in range(nodes.devices[i]):
        if nodes.milli[i, j] >= want:
            seen += 1
            if _go_intn(words, cursors, seen) == 0:
                device = j
    return device


@kernel
def choose_devices(policy, nodes, i, before, shapes, s, typical, scratch, words, cursors):
    """The bits of the devices of node i that a pod of shape s takes; 0 if it asks none."""
    want = shapes.milli[s]
    if want == 0:
        return 0
    if want == WHOLE:
        return first_whole_devices(nodes, i, shapes.devices[s])
    if policy == FGD:
        return 1 << fgd(nodes, i, before, shapes, s, typical, scratch)[1]
    if policy == RANDOM:
        return 1 << _any_device(nodes, i, want, words, cursors)
    return 1 << fullest_device(nodes, i, want)


@kernel
def take(nodes, i, shapes, s, memory, devices):
    """Put a pod of shape s with so much memory on the devices (bits) of node i."""
    nodes.cpu[i] -= shapes.cpu[s]
    nodes.memory[i] -= memory
    if devices == 0:
        return
    want = shapes.milli[s]
    for j in range(nodes.devices[i]):
        if (devices >> j) & 1:
            nodes.whole[i] -= nodes.milli[i, j] == WHOLE
            nodes.milli[i, j] -= want
            nodes.idle[i] -= want
    tag = shapes.devices[s] if want == WHOLE else 0
    nodes.kinds[i] += nodes.tags[i, tag] == 0
    nodes.tags[i, tag] += 1


@kernel
def place(policy, nodes, shapes, pod_shape, pod_memory, typical, largest, scratch, words, cursors, placed):
    """Place pods one by one; none leaves. Changes `nodes`, fills `placed`.

    policy     : RANDOM .. FGD
    pod_shape  : int64[P], pod_memory : int64[P] bytes, in order of arrival
    scratch    : scratch_for(...), fresh
    words      : uint64[607] and cursors : int64[2], the state of GoRandom, for RANDOM

    A placement changes one node, and a shape scores changed nodes again when it is next asked for: each
    changed node once, however often it changed in between.
    """
    changes, total = 0, 0
    for i in range(nodes.cpu.shape[0]):
        scratch.before[i] = fragment_exactly(nodes, i, typical)
        total += scratch.before[i]
    for p in range(pod_shape.shape[0]):
        s = pod_shape[p]
        _catch_up(policy, nodes, shapes, s, typical, largest, scratch, changes)
        if policy == RANDOM:
            i = _any(scratch.keys[s], nodes.memory, pod_memory[p], words, cursors)
        else:
            i = _best(scratch.keys[s], nodes.memory, pod_memory[p])
        placed.node[p] = i
        placed.devices[p] = 0
        if i >= 0:
            before = scratch.before[i]
            devices = choose_devices(policy, nodes, i, before, shapes, s, typical, scratch, words, cursors)
            take(nodes, i, shapes, s, pod_memory[p], devices)
            placed.devices[p] = devices
            scratch.before[i] = fragment_exactly(nodes, i, typical)
            total += scratch.before[i] - before
            scratch.journal[changes] = i
            scratch.last[i] = changes
            changes += 1
        placed.fragmented[p] = total


@kernel
def _catch_up(policy, nodes, shapes, s, typical, largest, scratch, changes):
    """Score for shape s the nodes that have changed since it was last asked for; all, the first time."""
    count = nodes.cpu.shape[0]
    known = scratch.seen[s]
    for e in range(count if known < 0 else changes - known):
        i = e if known < 0 else scratch.journal[known + e]
        if known < 0 or scratch.last[i] == known + e:
            score = score_node(policy, nodes, i, scratch.before[i], shapes, s, typical, largest, scratch)
            scratch.keys[s, i] = -1 if score < 0 else score * count + count - 1 - i
    scratch.seen[s] = changes
