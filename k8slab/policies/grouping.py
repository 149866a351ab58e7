"""Which nodes are alike for all that compares nodes, and which pods set single nodes apart; see kernels.forest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Ints
from k8slab.policies.compiled import grouped
from k8slab.policies.plugins import Mask

if TYPE_CHECKING:
    from k8slab.kernels.company import Relations
    from k8slab.kernels.scan import Load, Sites

Ints32 = npt.NDArray[np.int32]
# A topology key makes groups of nodes while these are no more than this part of the nodes.
GROUPS_PART: Final = 1 / 8
_KIN, _COUNTER, _LAYOUT, _ROW = range(4)  # columns of _reads


@dataclass(frozen=True, eq=False)
class Grouping:
    """Groups of nodes, and who asks host by host for what is no part of them.

    group, leaf : int64[N]  each node's group, and its place among the leaves
    size, first : int64[G]  nodes of a group, and its first leaf
    leaves      : how many leaves there are, those included that fill families up
    The others are as in kernels.marks.Marks.
    """

    group: Ints
    leaf: Ints
    size: Ints
    first: Ints
    leaves: int
    start: Ints
    read_start: Ints
    read: Ints
    column: Ints
    reader_start: Ints
    reader: Ints
    member_first: Ints
    member_start: Ints
    member: Ints32

    @classmethod
    def of(cls, relations: Relations, sites: Sites, load: Load, pods_of_kin: Ints) -> Grouping:
        """The grouping of these nodes as they are, for so many pods of each kin."""
        reads = _reads(relations, len(pods_of_kin))
        fine, group = _groups(relations, reads, sites)
        reads = reads[fine[reads[:, _LAYOUT]]]
        distinct, which = np.unique(reads[:, :_ROW], axis=0, return_inverse=True)
        read_start = np.searchsorted(distinct[:, _KIN], np.arange(len(pods_of_kin) + 1))
        column = np.full(len(relations.rows), -1, dtype=np.int64)
        column[reads[:, _ROW]] = which.reshape(-1) - read_start[reads[:, _KIN]]
        by_counter = distinct[np.argsort(distinct[:, _COUNTER], kind="stable")]
        return cls(
            group=group,
            **_leaves(group),
            start=_lists(distinct, relations, load, pods_of_kin),
            read_start=read_start,
            read=np.ascontiguousarray(distinct[:, [_COUNTER, _LAYOUT]]),
            column=column,
            reader_start=np.searchsorted(by_counter[:, _COUNTER], np.arange(len(relations.counter) + 1)),
            reader=np.ascontiguousarray(by_counter[:, [_KIN, _LAYOUT]]),
            **_members(distinct, relations),
        )

    @property
    def listed(self) -> float:
        """How many nodes a pod meets in its kin's list, about: lists fill up as pods are placed."""
        return float(self.start[-1]) / max(len(self.start) - 1, 1) / 2

    def levels(self) -> tuple[Ints, Ints]:
        """int64[G, levels] the first row of each level of each group's tree, int64[G] how many levels it has."""
        from k8slab.kernels.forest import FANOUT

        offset, levels = [self.first], np.ones_like(self.size)
        rows, free = self.size, self.leaves
        while (rows > 1).any():
            tall = rows > 1
            rows = np.where(tall, -(-rows // FANOUT), 0)
            padded = np.where(rows > 1, -(-rows // FANOUT) * FANOUT, rows)
            offset.append(free + np.cumsum(padded) - padded)
            levels += tall
            free += int(padded.sum())
        return np.ascontiguousarray(np.column_stack(offset)), levels

    def members(self, slots: Ints) -> Iterator[Ints32]:
        """The nodes of these counters' slots, by each layout at which somebody reads them host by host."""
        for counter, slot in slots.tolist():
            for layout in self.reader[self.reader_start[counter] : self.reader_start[counter + 1], 1].tolist():
                domain = self.member_first[layout] + slot
                yield self.member[self.member_start[domain] : self.member_start[domain + 1]]


# -- who reads what -----------------------------------------------------------------------


def rows_of(relations: Relations, table: int) -> Ints:
    """int64[., 5]: the rows of one of the tables by kin, a kin's after the other's."""
    start = relations.start[table]
    return relations.rows[start[0] : start[-1]]


def _reads(relations: Relations, kins: int) -> Ints:
    """int64[., 4]: kin, counter and layout of all that kins look at, and the row of Relations.rows that says so."""
    from k8slab.kernels.company import AWAY, HARD, LIKED, SOFT, WANTED

    found = [np.zeros((0, 4), dtype=np.int64)]
    for table in (HARD, SOFT, AWAY, WANTED, LIKED):
        rows, sizes = rows_of(relations, table), np.diff(relations.start[table])[:kins]
        number = relations.start[table, 0] + np.arange(len(rows))
        found.append(np.column_stack([np.repeat(np.arange(len(sizes)), sizes), rows[:, 0], rows[:, 1], number]))
    return np.concatenate(found)


# -- groups -------------------------------------------------------------------------------


def _groups(relations: Relations, reads: Ints, sites: Sites) -> tuple[Mask, Ints]:
    """bool[L] the layouts that are no part of what makes a group, int64[N] each node's group.

    What a spread score counts domains by must be part; other layouts are, the coarsest first, while
    there are few groups.
    """
    from k8slab.kernels.company import SOFT

    soft, layout = rows_of(relations, SOFT), relations.layout
    nodes = layout.shape[1] if len(layout) else sites.allowed.shape[1]
    must = {int(row) for row in np.unique(soft[:, [2, 4]]) if row >= 0}
    others = [int(row) for row in np.unique(reads[:, _LAYOUT]) if row not in must]
    static = [*sites.taints, *sites.preferences, *(layout[row] for row in must)]
    # A node without a domain is told from the others in any case.
    group = _refined(np.zeros(nodes, dtype=np.int64), [*static, *(layout[row] > 0 for row in others)])
    fine = np.zeros(len(layout), dtype=np.bool_)
    for row in sorted(others, key=lambda row: int(layout[row].max(initial=0))):
        finer = _refined(group, [layout[row]])
        fine[row] = finer.max(initial=0) >= max(group.max(initial=0) + 1, GROUPS_PART * nodes)
        group = group if fine[row] else finer
    return fine, group


def _refined(group: Ints, columns: list[npt.NDArray[Any]]) -> Ints:
    """int64[N]: groups of nodes that are in one group and alike in all columns."""
    varied = [column for column in columns if len(column) and (column != column[0]).any()]
    if not varied:
        return group
    # The bits of whole floats are as good a key as their values.
    keys = np.ascontiguousarray(np.column_stack([group, *varied]), dtype=np.float64).view(np.int64)
    return grouped(keys)[0].astype(np.int64)


def _leaves(group: Ints) -> dict[str, Any]:
    from k8slab.kernels.forest import FANOUT

    size = np.bincount(group)
    padded = np.where(size > 1, -(-size // FANOUT) * FANOUT, size)
    first = np.cumsum(padded) - padded
    order = np.argsort(group, kind="stable")
    leaf = np.empty(len(group), dtype=np.int64)
    leaf[order] = np.arange(len(group)) - (np.cumsum(size) - size - first)[group[order]]
    return {"leaf": leaf, "size": size, "first": first, "leaves": int(padded.sum())}


# -- nodes that stand apart ------------------------------------------------------------------


def _lists(reads: Ints, relations: Relations, load: Load, pods_of_kin: Ints) -> Ints:
    """int64[K + 1]: where each kin's list begins, with room for all nodes that pods may ever set apart."""
    from k8slab.kernels.company import GAINS

    gains, kins = rows_of(relations, GAINS), len(pods_of_kin)
    gaining = np.repeat(np.arange(kins), np.diff(relations.start[GAINS])[:kins])
    coming = np.bincount(gains[:, 0], weights=pods_of_kin[gaining], minlength=len(relations.counter))
    room, nodes = np.zeros(kins), relations.layout.shape[1] if len(relations.layout) else 0
    largest = {row: _largest(relations.layout[row]) for row in np.unique(reads[:, _LAYOUT]).tolist()}
    for kin, counter, layout in reads.tolist():
        room[kin] += coming[counter] * largest[layout]
        if load.totals[counter]:
            room[kin] += (load.amounts[relations.counter[counter, 1] + relations.layout[layout]] != 0).sum()
    return np.cumsum([0, *np.minimum(room, nodes)]).astype(np.int64)


def _largest(place: npt.NDArray[np.int32]) -> int:
    """How many nodes the largest domain of a layout has."""
    return int(np.bincount(place)[1:].max(initial=0))


def _members(reads: Ints, relations: Relations) -> dict[str, Any]:
    """Marks.member_first, member_start and member, for the layouts that are read."""
    first, starts, members = np.zeros(len(relations.layout), dtype=np.int64), [0], [np.zeros(0, dtype=np.int32)]
    for layout in np.unique(reads[:, _LAYOUT]).tolist():
        slots = 1 + int(relations.counter[reads[reads[:, _LAYOUT] == layout, _COUNTER], 2].max())
        place = relations.layout[layout]
        first[layout] = len(starts) - 1
        starts += (starts[-1] + np.cumsum(np.bincount(place, minlength=slots))).tolist()
        members.append(np.argsort(place, kind="stable").astype(np.int32))
    start = np.array(starts, dtype=np.int64)
    return {"member_first": first, "member_start": start, "member": np.concatenate(members)}
