"""LeastAllocated or MostAllocated with BalancedAllocation, over two resources, for one node and many pods at once.

kube-scheduler's own profile, and the commonest variations, in one pass: the kernels of
`scores` take a pass for each step, which costs five times as much where the rows are short.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.scores import Floats


class Pair(NamedTuple):
    """The weighted sum of a score of use and of balance, over two resources that count for every pod.

    first, second : rows of the resources
    least         : LeastAllocated, else MostAllocated
    weight        : float64[4]  the score of use; in it each resource; the balance
    """

    first: int
    second: int
    least: bool
    weight: Floats


@borrowing_kernel
def score_by_pair(has, holds, request, extra, pair, points):
    """Fill `points`, int32[C], with 1 + the node's score for every class, whether it fits or not.

    has, holds : float64[R]  a node's allocatable, below 2**40, and requested
    request    : float64[R, C]
    extra      : a score that depends on the node alone

    floor(100 * x / can) is floor((100 * x + 1/2) * (1 / can)), and needs no division for each
    class: the quotient is 1 / (2 * can) away from a whole number at least, and the error
    of the product a thousandth of that. The fractions of the balance are divided, as they
    have to be rounded as kube-scheduler's are.
    """
    can0, can1, held0, held1 = has[pair.first], has[pair.second], holds[pair.first], holds[pair.second]
    ask0, ask1 = request[pair.first], request[pair.second]
    weight0 = pair.weight[1] if can0 > 0.0 else 0.0
    weight1 = pair.weight[2] if can1 > 0.0 else 0.0
    part = 1.0 / (weight0 + weight1) if weight0 + weight1 > 0.0 else 1.0
    part0, part1 = 1.0 / can0 if can0 > 0.0 else 0.0, 1.0 / can1 if can1 > 0.0 else 0.0
    whole0, whole1 = can0 if can0 > 0.0 else 1.0, can1 if can1 > 0.0 else 1.0
    # Of less than two fractions there is no deviation.
    half = 0.5 if (can0 > 0.0) & (can1 > 0.0) else 0.0
    start0, start1, sign = (can0, can1, -1.0) if pair.least else (0.0, 0.0, 1.0)
    of_use, of_balance = pair.weight[0], pair.weight[3]
    for c in range(points.shape[0]):
        used0, used1 = held0 + ask0[c], held1 + ask1[c]
        share0, share1 = start0 + sign * used0, start1 + sign * used1
        share0, share1 = share0 if share0 > 0.0 else 0.0, share1 if share1 > 0.0 else 0.0
        share0, share1 = share0 if share0 < can0 else can0, share1 if share1 < can1 else can1
        score0 = np.floor((100.0 * share0 + 0.5) * part0)
        score1 = np.floor((100.0 * share1 + 0.5) * part1)
        use = np.floor((weight0 * score0 + weight1 * score1 + 0.5) * part)
        full0, full1 = used0 / whole0, used1 / whole1
        full0, full1 = full0 if full0 < 1.0 else 1.0, full1 if full1 < 1.0 else 1.0
        balance = np.floor((1.0 - np.abs(full1 - full0) * half) * 100.0)
        balance = balance if ask0[c] + ask1[c] > 0.0 else 0.0
        points[c] = np.int32(of_use * use + of_balance * balance + extra) + 1
