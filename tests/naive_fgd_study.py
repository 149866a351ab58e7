"""The FGD study's runs a second time, from the CSVs to the three tables, sharing no code with k8slab.

Every rule is the plain one: floating sums over typical pods, no integer form, a loop over all nodes
for each pod. What makes it bearable is that a node's score for a shape is kept until the node changes.
"""

from __future__ import annotations

import csv
import math
from collections import Counter

import numpy as np
import pandas as pd
from numba import njit

G, C, WHOLE = 8000.0, 128000.0, 1000
LOADS = 131
FGD, BEST_FIT, DOT, CLUSTERING, PACKING = range(5)
CODE = {"06-FGD": FGD, "05-BestFit": BEST_FIT, "02-DotProd": DOT, "03-GpuClustering": CLUSTERING,
        "04-GpuPacking": PACKING}
LEHMER = 2**31 - 1
STEPS = 7_800_000_000_000


# -- Go's math/rand ---------------------------------------------------------------


def lehmer(seed):
    x = seed % LEHMER or 89482311
    while True:
        x = 48271 * x % LEHMER
        yield x


def filled(seed, high, low):
    numbers = lehmer(seed)
    for _ in range(20):
        next(numbers)
    return [(next(numbers) << high ^ next(numbers) << low ^ next(numbers)) % 2**64 for _ in range(607)]


def reduced(product):
    """A polynomial of 1213 terms modulo t^607 = t^334 + 1, as the recurrence x[n] = x[n-607] + x[n-273] has it."""
    for power in range(len(product) - 1, 606, -1):
        product[[power - 607, power - 273]] += product[power]  # as arrays, sums go round without a warning
    return product[:607]


def times(a, b):
    product = np.zeros(1213, dtype=np.uint64)
    for power in range(607):
        product[power : power + 607] += a[power] * b
    return reduced(product)


def go_table():
    """Go's own 607 words: the same recurrence from seed 1, 7.8e12 steps on."""
    start = filled(1, 20, 10)
    # Cells as a sequence x[0], x[1], ...: draw n writes cell (334 - n) mod 607.
    sequence = np.array([start[(333 - n) % 607] for n in range(607)], dtype=np.uint64)
    power, square, steps = np.zeros(607, dtype=np.uint64), np.zeros(607, dtype=np.uint64), STEPS
    power[0] = square[1] = 1
    while steps:
        if steps & 1:
            power = times(power, square)
        square, steps = times(square, square), steps >> 1
    later = []
    for _ in range(607):
        later.append(int((power * sequence).sum(dtype=np.uint64)))
        power = reduced(np.concatenate([[np.uint64(0)], power]))
    return [later[(333 - STEPS - cell) % 607] for cell in range(607)]


TABLE = go_table()


class Random:
    def __init__(self, seed):
        self.cells = [word ^ own for word, own in zip(filled(seed, 40, 20), TABLE, strict=True)]
        self.tap, self.feed = 0, 334

    def draw(self):
        self.tap, self.feed = (self.tap - 1) % 607, (self.feed - 1) % 607
        self.cells[self.feed] = (self.cells[self.feed] + self.cells[self.tap]) % 2**64
        return self.cells[self.feed] & (2**63 - 1)

    def intn(self, n):
        while True:
            number = self.draw() >> 32
            if n & (n - 1) == 0:
                return number & (n - 1)
            if number <= 2**31 - 1 - 2**31 % n:
                return number % n

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            n = i + 1
            product = (self.draw() >> 31 & 0xFFFFFFFF) * n
            if product % 2**32 < n:
                while product % 2**32 < (2**32 - n) % n:
                    product = (self.draw() >> 31 & 0xFFFFFFFF) * n
            items[i], items[product >> 32] = items[product >> 32], items[i]

    def perm(self, n):
        items = [0] * n
        for i in range(n):
            j = self.intn(i + 1)
            items[i], items[j] = items[j], i
        return items


# -- the inputs ---------------------------------------------------------------------


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_pods(folder, trace):
    """[(name, cpu, memory, w, k, spec)], by name"""
    pods = []
    for row in read(folder / f"openb_pod_list_{trace}.csv"):
        count = int(row["num_gpu"])
        milli = min(int(row["gpu_milli"]), WHOLE) if count else 0
        spec = "|".join(item for item in (row.get("gpu_spec") or "").split("|") if item) if count else ""
        pods.append((row["name"], int(row["cpu_milli"]), int(row["memory_mib"]), milli, count, spec))
    return sorted(pods)


def tuned(pods, capacity, random):
    arrivals = list(pods)
    random.shuffle(arrivals)
    target, asked = 1.3 * capacity, sum(pod[3] * pod[4] for pod in pods)
    if asked > target:
        while asked > target:
            gone = arrivals.pop(random.intn(len(arrivals)))
            asked -= gone[3] * gone[4]
    elif asked < target:
        while True:
            clone = pods[random.intn(len(pods))]
            if asked + clone[3] > target:
                break
            arrivals.append(clone)
            asked += clone[3] * clone[4]
    return arrivals


def typical_pods(pods):
    """[((c, w, k, spec), weight)]"""
    counts = Counter((pod[1], *pod[3:]) for pod in pods)
    ranked = sorted(((count, shape) for shape, count in counts.items()), reverse=True)
    taken, covered = [], 0
    for count, shape in ranked:
        if covered >= 0.95 * len(pods):
            break
        taken.append((shape, count))
        covered += count
    if len(taken) == len(ranked):
        return [(shape, count / len(pods)) for shape, count in taken]
    return [(shape, (count / len(pods)) / (covered / len(pods))) for shape, count in taken]


# -- placing ------------------------------------------------------------------------


@njit
def fragment(f, gpus, n, model, tc, tw, tk, ta, tp):
    q1 = q2 = q4 = xl = xr = na = 0.0
    idle = 0
    for j in range(n):
        idle += gpus[j]
    for i in range(len(tp)):
        if tw[i] == 0:
            if f >= tc[i]:
                xl += tp[i] * idle
            else:
                xr += tp[i] * idle
        elif not ta[i, model]:
            na += tp[i] * idle
        else:
            fit, lost = 0, 0
            for j in range(n):
                if gpus[j] >= tw[i]:
                    fit += 1
                else:
                    lost += gpus[j]
            if fit >= tk[i] and f >= tc[i]:
                q2 += tp[i] * lost
            elif fit >= tk[i]:
                q4 += tp[i] * idle
            elif f >= tc[i]:
                q2 += tp[i] * idle
            else:
                q1 += tp[i] * idle
    return q1 + q2 + q4 + xl + xr + na


@njit
def fullest(gpus, n, w):
    best = -1
    for j in range(n):
        if gpus[j] >= w and (best < 0 or gpus[j] < gpus[best]):
            best = j
    return best


@njit
def score(policy, f, gpus, n, model, share, tags, c, w, k, before, tc, tw, tk, ta, tp):
    """(score, device of a share) of a node that fits. tags : pods that share, then by number of GPUs"""
    idle, whole = 0, 0
    for j in range(n):
        idle += gpus[j]
        whole += gpus[j] == WHOLE
    g = w * k
    if policy == DOT:
        return int(100 * (1 - (f / C * (c / C) + idle / G * (g / G)) / 2)), -1
    if policy == BEST_FIT:
        return int((1 - (((f - c) / C) * 0.5 + ((idle - g) / G) * 0.5)) * 100), -1
    if policy == CLUSTERING:
        if k == 0:
            return 0, -1
        base = 25 * (8000 - idle) // 8000
        kinds = 0
        for t in range(len(tags)):
            kinds += tags[t] > 0
        if tags[0 if w < WHOLE else k] > 0:
            return base + (75 if kinds == 1 else 50), -1
        return (base if kinds else base + 25), -1
    if policy == PACKING:
        if k == 0:
            return 0, -1
        if whole == n:
            return max(33 - whole, whole), -1
        chosen = np.zeros(n, dtype=np.bool_)
        fresh, filled_up = 0, 0
        for _ in range(k):
            best = -1
            for j in range(n):
                if not chosen[j] and gpus[j] >= w and (best < 0 or gpus[j] < gpus[best]):
                    best = j
            chosen[best] = True
            fresh += gpus[best] == WHOLE
            filled_up += gpus[best] * 100 // 1000
        return (max(50 - fresh, 33) if fresh else max(100 - filled_up // 10, 50)), -1
    best, device = -1, -1
    after = gpus.copy()
    if share:
        for j in range(n):
            if gpus[j] >= w:
                after[j] = gpus[j] - w
                gain = before - fragment(f - c, after, n, model, tc, tw, tk, ta, tp)
                value = int(100 * (1 / (1 + math.exp(-gain / 1000))))
                after[j] = gpus[j]
                if value > best:
                    best, device = value, j
        return best, device
    left = k
    for j in range(n):
        if left > 0 and gpus[j] == WHOLE:
            after[j] = 0
            left -= 1
    gain = before - fragment(f - c, after, n, model, tc, tw, tk, ta, tp)
    return int(100 * (1 / (1 + math.exp(-gain / 1000)))), -1


@njit
def place(policy, cpu, memory, gpus, count, model, pods, shape, accepts, tc, tw, tk, ta, tp):
    """(used, frag) after each pod. pods : int64[A, 4] c, m, w, k; accepts : bool[S, models] by shape"""
    nodes, arrivals = len(cpu), len(pods)
    tags = np.zeros((nodes, gpus.shape[1] + 1), dtype=np.int64)
    version = np.zeros(nodes, dtype=np.int64)
    known = np.full((len(accepts), nodes), -1, dtype=np.int64)
    kept = np.zeros((len(accepts), nodes), dtype=np.int64)
    frag = np.zeros(nodes)
    for i in range(nodes):
        frag[i] = fragment(cpu[i], gpus[i], count[i], model[i], tc, tw, tk, ta, tp)
    used, sums = np.zeros(arrivals, dtype=np.int64), np.zeros(arrivals)
    so_far = 0
    for p in range(arrivals):
        c, m, w, k = pods[p]
        s = shape[p]
        share = 0 < w < WHOLE
        best, highest = -1, -1
        for i in range(nodes):
            if known[s, i] < version[i]:
                fit = 0
                for j in range(count[i]):
                    fit += w > 0 and gpus[i, j] >= w
                kept[s, i] = -1
                if cpu[i] >= c and (k == 0 or (accepts[s, model[i]] and fit >= k)):
                    kept[s, i] = score(policy, cpu[i], gpus[i], count[i], model[i], share, tags[i], c, w, k, frag[i],
                                       tc, tw, tk, ta, tp)[0]
                known[s, i] = version[i]
            if memory[i] >= m and kept[s, i] > highest:
                best, highest = i, kept[s, i]
        if best >= 0:
            i = best
            if share:
                j = fullest(gpus[i], count[i], w)
                if policy == FGD:
                    j = score(policy, cpu[i], gpus[i], count[i], model[i], share, tags[i], c, w, k, frag[i], tc, tw,
                              tk, ta, tp)[1]
                gpus[i, j] -= w
                tags[i, 0] += 1
            elif k:
                left = k
                for j in range(count[i]):
                    if left > 0 and gpus[i, j] == WHOLE:
                        gpus[i, j] = 0
                        left -= 1
                tags[i, k] += 1
            cpu[i] -= c
            memory[i] -= m
            version[i] += 1
            so_far += w * k
            frag[i] = fragment(cpu[i], gpus[i], count[i], model[i], tc, tw, tk, ta, tp)
        used[p], sums[p] = so_far, frag.sum()
    return used, sums


def curves(folder, trace, policy, seed):
    """The three tables' rows: float64[131] each."""
    nodes = sorted((row["sn"], int(row["cpu_milli"]), int(row["memory_mib"]), int(row["gpu"]), row["model"])
                   for row in read(folder / "openb_node_list_gpu_node.csv"))
    all_gpus = sum(node[3] for node in nodes)
    pods, random = read_pods(folder, trace), Random(seed)
    random.draw()
    arrivals = tuned(pods, all_gpus * WHOLE, random)
    for _ in range(10):
        random.draw()
    ranks = random.perm(len(nodes))
    ranked = [node for _, node in sorted(zip(ranks, nodes, strict=True))]
    models = sorted({node[4] for node in nodes})

    def accepts(spec):
        return [not spec or model in spec.split("|") for model in models]

    typical = typical_pods(pods)
    tc, tw, tk = (np.array([shape[part] for shape, _ in typical]) for part in range(3))
    ta = np.array([accepts(shape[3]) for shape, _ in typical])
    tp = np.array([weight for _, weight in typical])
    cpu, memory, count = (np.array([node[part] for node in ranked]) for part in (1, 2, 3))
    gpus = np.where(np.arange(count.max()) < count[:, None], WHOLE, 0)
    index: dict[tuple, int] = {}
    shape = np.array([index.setdefault((pod[1], *pod[3:]), len(index)) for pod in arrivals])
    numbers = np.array([pod[1:5] for pod in arrivals])
    model = np.array([models.index(node[4]) for node in ranked])
    used, frag = place(CODE[policy], cpu, memory, gpus, count, model, numbers, shape,
                       np.array([accepts(key[3]) for key in index]), tc, tw, tk, ta, tp)
    return binned(np.cumsum(numbers[:, 2] * numbers[:, 3]), used, frag, all_gpus)


def binned(arrived, used, frag, all_gpus):
    """As the authors' scripts do: what the simulator prints, in pandas."""
    idle = all_gpus * WHOLE - used
    amount = np.array([float(f"{value:.2f}") for value in frag.tolist()])
    ratio = np.array([float(f"{100 * f / i:.2f}") if i else 0.0 for f, i in zip(frag.tolist(), idle.tolist(),
                                                                               strict=True)])
    samples = pd.DataFrame({"load": (arrived / all_gpus / 10).round(0), "alloc": (used / all_gpus / 10).round(2),
                            "amount": amount, "ratio": ratio})
    rows = []
    for load in range(LOADS):
        here = samples[samples["load"] == load]
        if not len(here):
            here = samples[(samples["load"] >= load - 1) & (samples["load"] <= load + 1)]
        mean = here.mean()
        rows.append((np.round(mean["alloc"], 2), np.round(100 * mean["amount"] / 1000 / all_gpus, 2), mean["ratio"]))
    return np.array(rows).T

