"""What Cluster and Workload share: read-only arrays, hashes of content, a table for the notebook."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Names
from k8slab.domain.resources import PODS, ResourceSchema
from k8slab.units import format_amount

T = TypeVar("T", bound=Hashable)
S = TypeVar("S", bound=np.generic)


def read_only(array: npt.ArrayLike, dtype: type[S]) -> npt.NDArray[S]:
    """The array as contiguous `dtype` that nobody can write: itself if it is that already, else a copy."""
    out = np.ascontiguousarray(array, dtype=dtype)
    if out.flags.writeable:
        out = out.copy() if out is array or out.base is not None else out
        out.flags.writeable = False
    return out


def sealed(array: npt.NDArray[S]) -> npt.NDArray[S]:
    """An array of our own, made read-only in place: saves the copy that `read_only` would take."""
    array.flags.writeable = False
    return array


def read_only_codes(column: Codes[T]) -> Codes[T]:
    return Codes(read_only(column.codes, np.int32), column.values)


def widened(amounts: npt.NDArray[np.int64], ours: ResourceSchema, wider: ResourceSchema) -> npt.NDArray[np.int64]:
    """int64[R, N] in the rows of a schema that has ours and more; 0 of what is new."""
    out = np.zeros((len(wider), amounts.shape[1]), dtype=np.int64)
    out[ours.rows_in(wider)] = amounts
    return sealed(out)


def told_apart(names: Names) -> Names:
    """The same names, but that a repeated one is numbered: "pod-3", "pod-3/2", ... by the next number that is free."""
    if names.repeated() is None:
        return names
    taken = set(names)
    last = dict.fromkeys(taken, 0)
    distinct = []
    for name in names:
        last[name] += 1
        called = name
        while last[name] > 1 and called in taken:
            called = f"{name}/{last[name]}"
            last[name] += called in taken
        taken.add(called)
        distinct.append(called)
    return Names(distinct)


def request_classes(requests: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which pods ask the same: (class of each pod int64[P], a pod of each class int64[C]), classes in sorted order.

    One sort a resource: a million pods take 0.2 s, where np.unique(axis=0) takes 2.
    """
    classes = np.zeros(len(requests), dtype=np.int64)
    for column in requests.T:
        values, codes = np.unique(column, return_inverse=True)
        if len(values) > 1:
            classes = np.unique(classes * len(values) + codes, return_inverse=True)[1]
    return classes, np.unique(classes, return_index=True)[1]


def content_hash(parts: Mapping[str, Iterable[bytes]]) -> str:
    """sha256 over named parts, each with its length, so that no two contents run together."""
    total = hashlib.sha256()
    for name, chunks in parts.items():
        part = hashlib.sha256()
        for chunk in chunks:
            part.update(len(chunk).to_bytes(8, "little"))
            part.update(chunk)
        total.update(f"{name}={part.hexdigest()}\n".encode())
    return total.hexdigest()


def array_bytes(array: npt.NDArray[Any]) -> Iterable[bytes]:
    """An array's shape and little-endian values, to hash."""
    yield repr(array.shape).encode()
    yield np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def as_texts(column: Codes[T], text: Callable[[T], str]) -> Codes[str]:
    """The column with its values written out; rows of value "" have none."""
    index: dict[str, int] = {}
    texts = [text(value) for value in column.values]
    number = [index.setdefault(written, len(index)) if written else -1 for written in texts]
    return Codes(sealed(np.array([*number, -1], dtype=np.int32)[column.codes]), tuple(index))


def codes_bytes(column: Codes[str]) -> Iterable[bytes]:
    """A column's values by row, to hash: the same however its codes are numbered."""
    first = np.full(len(column.values), len(column), dtype=np.int64)
    rows = np.flatnonzero(column.codes >= 0)[::-1]
    first[column.codes[rows]] = rows  # the last write wins: the row of first appearance
    used = np.argsort(first, kind="stable")[: int((first < len(column)).sum())]
    number = np.full(len(column.values) + 1, -1, dtype=np.int32)
    number[used] = np.arange(len(used), dtype=np.int32)
    yield "\x00".join(column.values[code] for code in used).encode()
    yield from array_bytes(number[column.codes])


def labels_bytes(labels: Mapping[str, Codes[str]]) -> Iterable[bytes]:
    """All labels by key, to hash; a key that no row has doesn't count."""
    for key in sorted(labels):
        if (labels[key].codes >= 0).any():
            yield key.encode()
            yield from codes_bytes(labels[key])


def totals(schema: ResourceSchema, amounts: npt.NDArray[np.int64]) -> list[tuple[str, str]]:
    """(resource, amount for people) of int64[R] totals."""
    return [(name, format_amount(name, int(total))) for name, total in zip(schema.names, amounts, strict=True)]


def shape_text(schema: ResourceSchema, amounts: Iterable[int]) -> str:
    """One node's or pod's amounts in a line, 0 left out: "16 cores, 64 GiB"."""
    parts = [
        format_amount(name, int(value)) + ("" if name in ("cpu", "memory") else f" {name}")
        for name, value in zip(schema.names, amounts, strict=True)
        if value and name != PODS
    ]
    return ", ".join(parts) or "nothing"


def counted(count: int, what: str) -> str:
    """A count with its noun: "1 node", "1,213 nodes"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def html_table(title: str, rows: Iterable[tuple[str, str]], note: str) -> str:
    """A small two-column table for a notebook's output, its style inline."""
    cells = "".join(
        f'<tr><th style="text-align:left;padding:2px 12px 2px 0;font-weight:600;white-space:nowrap">{html.escape(head)}'
        f'</th><td style="text-align:left;padding:2px 0">{html.escape(value)}</td></tr>'
        for head, value in rows
    )
    below = f'<div style="opacity:.7;font-size:.85em;max-width:48em">{html.escape(note)}</div>' if note else ""
    return (
        f'<div style="font-family:sans-serif"><div style="font-size:1.1em;font-weight:600">{html.escape(title)}</div>'
        f'<table style="border-collapse:collapse;margin:4px 0">{cells}</table>{below}</div>'
    )
