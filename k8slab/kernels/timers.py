"""Timers: a heap whose columns are (instant, row, ...), the earliest first and of one instant the lowest row."""

from __future__ import annotations

from k8slab.kernels._jit import borrowing_kernel

NEVER = 2**63 - 1


@borrowing_kernel
def _earlier(heap, a, b):
    return heap[0, a] < heap[0, b] or (heap[0, a] == heap[0, b] and heap[1, a] < heap[1, b])


@borrowing_kernel
def _swap(heap, a, b):
    for row in range(heap.shape[0]):
        heap[row, a], heap[row, b] = heap[row, b], heap[row, a]


@borrowing_kernel
def rise(heap, at):
    """The column that was written behind the others takes its place."""
    while at > 0 and _earlier(heap, at, (at - 1) // 2):
        _swap(heap, at, (at - 1) // 2)
        at = (at - 1) // 2


@borrowing_kernel
def pop(heap, size):
    """The first goes behind the others; what is left are `size` of them."""
    _swap(heap, 0, size)
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _earlier(heap, child + 1, child):
            child += 1
        if not _earlier(heap, child, at):
            break
        _swap(heap, at, child)
        at = child


@borrowing_kernel
def put(heap, size, at_ns, rows):
    """These as well, but for those that are due never; gives how many there are then.

    heap : int64[2, room], the first `size` are it. at_ns, rows : int64[n]
    """
    for i in range(rows.shape[0]):
        if at_ns[i] != NEVER:
            heap[0, size], heap[1, size] = at_ns[i], rows[i]
            rise(heap, size)
            size += 1
    return size


@borrowing_kernel
def take_before(heap, size, before_ns):
    """All that are due before this instant go behind the others, the earliest last; gives how many are left."""
    while size > 0 and heap[0, 0] < before_ns:
        size -= 1
        pop(heap, size)
    return size
