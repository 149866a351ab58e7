"""Counting pods by topology domain, and marking the nodes where that breaks a group up; see kernels.forest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from k8slab.kernels._jit import borrowing_kernel
from k8slab.kernels.company import AWAY, GAINS
from k8slab.kernels.forest import GROUP, LEAF, VALUE, Ints, Ints32, Scores, raise_class, raise_row

# Columns of Marks.kins, entries, cells, counters and classes.
START, LISTED, CELLS, SCORES, AMOUNTS, READS, CLASSES = range(7)
NODE, KIN, CELL, AFTER = range(4)
MANY, ALIKE = range(2)
READERS, LOWEST, LOWEST_AT, TRACKED = range(4)
CLASS, RANK = range(2)
_NONE_SEEN = 2**31 - 1


class Marks(NamedTuple):
    """The nodes that kins look at by themselves, and what makes a node one of them.

    Tables have few columns rather than these many arrays: to compile a call takes as long as it has arrays.

    kins : int64[K + 1, 7]
        START, LISTED  kin k's entries are entries[START : START + LISTED] and never move; the next kin's
                       START is the end of the room for them
        CELLS          its cells are cells[START : START + CELLS]
        SCORES         what the node of its i-th entry scores for its j-th class, -1 where it doesn't fit,
                       is score[SCORES + j * room + i]
        AMOUNTS        what the nodes of a cell hold of the w-th of the W things that it asks about is
                       amount[AMOUNTS + W * cell + w]
        READS          these are read[READS : the next kin's READS], counter and layout of each
        CLASSES        its classes are classes[CLASSES : the next kin's CLASSES, CLASS]
    entries  : int32[E, 4]  NODE; KIN; CELL among its kin's, -1 while the node is barred; AFTER, the node's
               next entry, -1 for none
    head     : int32[N]     a node's first entry, -1 for none
    cells    : int32[E, 2]  MANY, how many entries are in it, 0 if it is free for others; ALIKE, their group
    score    : as Forest.best; amount : int64[.]; read : int64[., 2]
    column   : int64[.]     for a row of Relations.rows: which of its kin's reads it is, -1 if it makes groups
    classes  : int64[C, 2]  CLASS, by kin; RANK of class c among its kin's, by c
    reader   : int64[., 2]  kin and layout of who reads a counter host by host: a counter's from READERS on
    counters : int64[T + 1, 4]  READERS; LOWEST amount over the domains that are seen and how many have it,
               LOWEST_AT, kept where TRACKED is 1: for hard spread constraints
    member_first, member_start, member : nodes in a slot of a layout l that is read host by host:
               member[member_start[m] : member_start[m + 1]] with m = member_first[l] + slot
    """

    kins: Ints
    entries: Ints32
    head: Ints32
    cells: Ints32
    score: Scores
    amount: Ints
    read: Ints
    column: Ints
    classes: Ints
    reader: Ints
    counters: Ints
    member_first: Ints
    member_start: Ints
    member: Ints32


# -- counting -----------------------------------------------------------------------


@borrowing_kernel
def count(kin, node, forest, marks, load, relations):
    """Count a pod of a kin that goes to a node, and mark the nodes for those that ask for such pods.

    The node's own row is to be renewed after that: its new marks aren't carried up.
    """
    amounts, rows, start = load.amounts, relations.rows, relations.start
    for j in range(start[GAINS, kin], start[GAINS, kin + 1]):
        counter, gain = rows[j, 0], rows[j, 1]
        slot = np.int64(relations.layout[relations.counter[counter, 0], node])
        if slot == 0:
            continue
        at = relations.counter[counter, 1] + slot
        amounts[at] += gain
        load.totals[counter] += gain
        if (
            marks.counters[counter, TRACKED]
            and relations.seen[at]
            and amounts[at] - gain == marks.counters[counter, LOWEST]
        ):
            marks.counters[counter, LOWEST_AT] -= 1
            if marks.counters[counter, LOWEST_AT] == 0:
                find_lowest(counter, marks, load, relations)
        mark_domain(counter, slot, node, forest, marks, load, relations)


@borrowing_kernel
def find_lowest(counter, marks, load, relations):
    """The smallest amount of a counter over the domains that are seen, and how many have it."""
    first, size = relations.counter[counter, 1], relations.counter[counter, 2]
    lowest, there = np.int64(_NONE_SEEN), 0
    for at in range(first + 1, first + 1 + size):
        if relations.seen[at]:
            amount = load.amounts[at]
            there = 1 if amount < lowest else there + (amount == lowest)
            lowest = amount if amount < lowest else lowest
    marks.counters[counter, LOWEST], marks.counters[counter, LOWEST_AT] = lowest, there


# -- marking ------------------------------------------------------------------------


@borrowing_kernel
def mark_domain(counter, slot, last, forest, marks, load, relations):
    """Mark the nodes of a domain for all who read a counter host by host; node `last` isn't carried up."""
    for k in range(marks.counters[counter, READERS], marks.counters[counter + 1, READERS]):
        kin, domain = marks.reader[k, 0], marks.member_first[marks.reader[k, 1]] + slot
        for m in range(marks.member_start[domain], marks.member_start[domain + 1]):
            node = np.int64(marks.member[m])
            _mark(node, kin, node != last, forest, marks, load, relations)


@borrowing_kernel
def _mark(node, kin, carried, forest, marks, load, relations):
    """Bar a node for a kin, or put it into the cell of those that hold as much as it does."""
    entry = _entry_of(node, kin, marks)
    if _is_barred(node, kin, marks, load, relations):
        if entry >= 0:
            _leave_cell(entry, kin, marks)
    else:
        if entry < 0:
            entry = _new_entry(node, kin, forest, marks)
        _leave_cell(entry, kin, marks)
        cell = _cell_of(node, kin, forest, marks, load, relations)
        marks.entries[entry, CELL] = cell
        marks.cells[marks.kins[kin, START] + cell, MANY] += 1
    leaf, group = forest.place[node, LEAF], forest.place[node, GROUP]
    for j in range(marks.kins[kin, CLASSES], marks.kins[kin + 1, CLASSES]):
        c = marks.classes[j, CLASS]
        if forest.best[leaf, c] != -2:
            fitted = forest.best[leaf, c] >= 0
            forest.fits[group, c] -= np.int32(fitted)
            forest.best[leaf, c] = -2
            if carried and fitted:
                raise_class(leaf, group, c, forest)


@borrowing_kernel
def _entry_of(node, kin, marks):
    """A node's entry in a kin's list, -1 if there is none."""
    entry = np.int64(marks.head[node])
    while entry >= 0 and marks.entries[entry, KIN] != kin:
        entry = np.int64(marks.entries[entry, AFTER])
    return entry


@borrowing_kernel
def _new_entry(node, kin, forest, marks):
    """Put a node into a kin's list. One that was barred fits nowhere until it is renewed."""
    start = marks.kins[kin, START]
    place, room = marks.kins[kin, LISTED], marks.kins[kin + 1, START] - start
    entry = start + place
    marks.kins[kin, LISTED] += 1
    marks.entries[entry, NODE], marks.entries[entry, KIN], marks.entries[entry, CELL] = node, kin, -1
    marks.entries[entry, AFTER] = marks.head[node]
    marks.head[node] = entry
    first, leaf = marks.kins[kin, CLASSES], forest.place[node, LEAF]
    for j in range(first, marks.kins[kin + 1, CLASSES]):
        now = forest.best[leaf, marks.classes[j, CLASS]]
        marks.score[marks.kins[kin, SCORES] + (j - first) * room + place] = now if now >= -1 else -1
    return entry


@borrowing_kernel
def _leave_cell(entry, kin, marks):
    if marks.entries[entry, CELL] >= 0:
        marks.cells[marks.kins[kin, START] + marks.entries[entry, CELL], MANY] -= 1
        marks.entries[entry, CELL] = -1


@borrowing_kernel
def _cell_of(node, kin, forest, marks, load, relations):
    """The kin's cell of a node as it is, made if it isn't there."""
    start, first, group = marks.kins[kin, START], marks.kins[kin, READS], forest.place[node, GROUP]
    width = marks.kins[kin + 1, READS] - first
    free = marks.kins[kin, CELLS]
    for cell in range(marks.kins[kin, CELLS]):
        if marks.cells[start + cell, MANY] == 0:
            free = cell
            continue
        same = marks.cells[start + cell, ALIKE] == group
        for w in range(width):
            here = _amount(marks.read[first + w, 0], marks.read[first + w, 1], node, load, relations)
            same &= marks.amount[marks.kins[kin, AMOUNTS] + cell * width + w] == here
        if same:
            return cell
    marks.kins[kin, CELLS] = max(marks.kins[kin, CELLS], free + 1)
    marks.cells[start + free, ALIKE] = group
    for w in range(width):
        here = _amount(marks.read[first + w, 0], marks.read[first + w, 1], node, load, relations)
        marks.amount[marks.kins[kin, AMOUNTS] + free * width + w] = here
    return free


@borrowing_kernel
def _amount(counter, layout, node, load, relations):
    return load.amounts[relations.counter[counter, 1] + relations.layout[layout, node]]


@borrowing_kernel
def _is_barred(node, kin, marks, load, relations):
    """Whether a pod that a kin must not be near is in a domain of the node that is no part of its group."""
    for j in range(relations.start[AWAY, kin], relations.start[AWAY, kin + 1]):
        if marks.column[j] >= 0 and _amount(relations.rows[j, 0], relations.rows[j, 1], node, load, relations) > 0:
            return True
    return False


@borrowing_kernel
def mark_all(forest, marks, load, relations):
    """Mark the nodes where pods are already, in a forest whose leaves are filled and nothing else."""
    for counter in range(relations.counter.shape[0]):
        if marks.counters[counter, TRACKED]:
            find_lowest(counter, marks, load, relations)
        if marks.counters[counter, READERS] < marks.counters[counter + 1, READERS]:
            first, size = relations.counter[counter, 1], relations.counter[counter, 2]
            for slot in range(1, size + 1):
                if load.amounts[first + slot] != 0:
                    mark_domain(counter, slot, -1, forest, marks, load, relations)


@borrowing_kernel
def renew(node, forest, marks, scratch):
    """Write scratch's VALUE, a node's scores, into its leaf and its entries, and carry it up."""
    leaf, group, value = forest.place[node, LEAF], forest.place[node, GROUP], scratch.values[VALUE]
    row, fits = forest.best[leaf], forest.fits[group]
    for c in range(value.shape[0]):
        old = row[c]
        new = value[c] if old >= -1 else old
        fits[c] += np.int32(new >= 0) - np.int32(old >= 0)
        row[c] = new
    entry = np.int64(marks.head[node])
    while entry >= 0:
        kin = marks.entries[entry, KIN]
        start, first = marks.kins[kin, START], marks.kins[kin, CLASSES]
        at, room = marks.kins[kin, SCORES] + entry - start, marks.kins[kin + 1, START] - start
        for j in range(first, marks.kins[kin + 1, CLASSES]):
            marks.score[at + (j - first) * room] = value[marks.classes[j, CLASS]]
        entry = np.int64(marks.entries[entry, AFTER])
    raise_row(leaf, group, forest, scratch)
