"""What may be written into the columns: amounts, codes, priorities, names; checked before a verb changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from k8slab.domain.columns import Codes, Ints, Names
from k8slab.domain.resources import LARGEST_AMOUNT
from k8slab.errors import InputError, StateConflict
from k8slab.state.tables import NameTable


def as_amounts(given: npt.ArrayLike, shape: tuple[int, ...], what: str) -> Ints:
    """int64 of this shape. Raises InputError for what is negative, not whole or beyond LARGEST_AMOUNT."""
    found = np.asarray(given)
    assert found.shape == shape, f"{what} have shape {found.shape}, not {shape}"
    if found.size and found.dtype.kind not in "iu":
        raise InputError(f"{what}: {found.dtype} where whole numbers are wanted")
    low, high = int(found.min(initial=0)), int(found.max(initial=0))
    if low < 0:
        raise InputError(f"{what}: {low:,} is negative")
    if high > LARGEST_AMOUNT:
        raise InputError(f"{what}: {high:,} is beyond {LARGEST_AMOUNT:,}")
    return found.astype(np.int64, copy=False)


def as_codes(given: npt.ArrayLike, count: int, codes: int, what: str) -> npt.NDArray[np.int8]:
    """int8[count], one code for all or one each, all in 0..codes - 1."""
    found = np.broadcast_to(np.asarray(given), (count,))
    assert ((found >= 0) & (found < codes)).all(), f"{what} are not all in 0..{codes - 1}"
    return found.astype(np.int8)


def as_priorities(given: npt.ArrayLike, count: int) -> npt.NDArray[np.int32]:
    """int32[count], one priority for all or one each. Raises InputError beyond int32."""
    found = np.broadcast_to(np.asarray(given), (count,))
    for wrong in found[(found < -(2**31)) | (found >= 2**31)][:1].tolist():
        raise InputError(f"priority {wrong:,} is beyond int32, as Kubernetes has it")
    return found.astype(np.int32)


def same_length(count: int, columns: Mapping[str, Codes[Any] | None]) -> None:
    """Assert that every column that is given has a row for each new one."""
    for name, column in columns.items():
        assert column is None or len(column) == count, f"{name} has {len(column or ())} rows for {count}"


def refuse_clashes(kind: str, names: Names, table: NameTable, alive: npt.NDArray[np.bool_]) -> None:
    """Raise InputError for a name given twice, StateConflict for one that a living row has."""
    repeated = names.repeated()
    if repeated is not None:
        raise InputError(f"cannot add {kind} {repeated!r} twice")
    for name, row in table.clashes(names):
        if alive[row]:
            raise StateConflict(f"cannot add {kind} {name!r}: row {row:,} has that name")
