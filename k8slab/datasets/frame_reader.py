"""Reading one frame, column by column: exact arrays, or an error that says where."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Never

import numpy as np
import numpy.typing as npt

from k8slab.datasets.json_values import from_json
from k8slab.domain.columns import NEVER, NOT_STARTED, Codes, Ints, Names
from k8slab.domain.instants import SECOND_NS
from k8slab.domain.resources import CPU, GPU, MEMORY, ResourceSchema, column_of, resource_of, unit_of
from k8slab.errors import InputError
from k8slab.units import amount

if TYPE_CHECKING:
    import pandas as pd

LIMIT: Final = 2**53  # float64 counts exactly up to here, and no cluster has 8 PiB in one node
LABEL, FOREIGN, ARRAY = "label:", "foreign:", "array:"
_INT64: Final = re.compile(r"-?[0-9]{1,19}")


class FrameReader:
    """One frame being read: columns come out as exact arrays, or as an error that says where.

    what   : "node" or "pod"
    origin : how messages call the frame: its file name, or "a frame"
    key    : the column of the names, if it isn't called as `what`
    lines  : the rows are lines of a file with one heading line
    """

    def __init__(
        self,
        frame: pd.DataFrame | Mapping[str, Any],
        what: str,
        origin: str,
        *,
        key: str | None = None,
        lines: bool = False,
    ) -> None:
        import pandas as pd

        try:
            self.frame = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame)
        except (TypeError, ValueError) as error:
            raise InputError(f"{origin}: no table of {what}s: {error}") from error
        self.what, self.origin = what, origin
        self._key, self._lines = key or what, lines
        self._used: set[str] = set()
        self._names: list[str] = []
        self.columns = [str(column) for column in self.frame.columns]
        self.frame = self.frame.set_axis(self.columns, axis="columns")
        twice = [column for column in self.columns if self.columns.count(column) > 1]
        if twice:
            raise InputError(f"{origin}: column {twice[0]!r} stands twice")

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def names(self) -> Names:
        """The names, each there and unique."""
        series = self._column(self._key)
        if not len(series):
            raise InputError(f"{self.origin}: it has no rows; wanted at least one {self.what}")
        names = [_text(name) for name in series.tolist()]
        if None in names or "" in names:
            row = next(row for row, name in enumerate(names) if not name)
            self.fail(row, self._key, names[row], "a name")
        self._names = [name for name in names if name is not None]
        seen: dict[str, int] = {}
        for row, name in enumerate(self._names):
            if seen.setdefault(name, row) != row:
                raise InputError(
                    f"{self.origin}, {self._row(row)}: {self.what} {name!r} stands already in {self._row(seen[name])}; "
                    f"every {self.what} needs a name of its own"
                )
        return Names(self._names)

    def resources(self, *, leave_out: Iterable[str] = ()) -> tuple[ResourceSchema, dict[str, Ints]]:
        """The schema that the columns make, and each resource's int64[rows]."""
        amounts = {CPU: self._required(CPU, "cpu"), MEMORY: self._required(MEMORY, "memory")}
        for column in self.columns:
            resource = resource_named_by(column)
            if resource is not None and resource not in amounts and column not in leave_out and ":" not in column:
                amounts[resource] = self.amounts(column)
        return ResourceSchema.of(amounts), amounts

    def _required(self, resource: str, quantities: str) -> Ints:
        exact = column_of(resource)
        if exact in self and quantities in self:
            raise InputError(f"{self.origin}: it has both {exact!r} and {quantities!r}; wanted one of them")
        if quantities in self:
            return self.quantities(resource, quantities)
        if exact not in self:
            self._missing(exact, f" (nor {quantities!r}, which may hold quantities)")
        return self.amounts(exact)

    def amounts(self, column: str) -> Ints:
        """int64[rows] of whole numbers from 0 to below 2^53."""
        import pandas as pd

        series = self._column(column)
        resource = resource_named_by(column)
        unit = "" if resource is None or unit_of(resource) == "count" else f" of {_unit_name(resource)}"
        known = pd.to_numeric(series, errors="coerce")
        numbers: npt.NDArray[np.float64] = known.to_numpy(dtype=np.float64, na_value=np.nan)
        with np.errstate(invalid="ignore"):
            good = (numbers >= 0) & (numbers < LIMIT) & (numbers == np.floor(numbers))
        if not good.all():
            row = int(np.argmin(good))
            self.fail(row, column, series.iloc[row], f"a whole number{unit}, 0 or more and below 2^53")
        whole: Ints = numbers.astype(np.int64)
        return whole

    def quantities(self, resource: str, column: str) -> Ints:
        """int64[rows] of Kubernetes quantities, in the resource's unit."""
        import pandas as pd

        codes, values = pd.factorize(self._column(column))
        if (codes < 0).any():
            self.fail(int(np.argmin(codes)), column, None, 'a quantity such as 2, "500m" or "1.5Gi"')
        first = np.zeros(len(values), dtype=np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last write wins: the row of first appearance
        parsed = []
        for row, value in zip(first.tolist(), values, strict=True):
            exact = amount(resource, value, f"{self.origin}, {self._row(row)}, column {column}")
            if not 0 <= exact < LIMIT:
                self.fail(row, column, value, f"0 or more and below 2^53 {_unit_name(resource)}")
            parsed.append(exact)
        exact_by_row: Ints = np.array(parsed, dtype=np.int64)[codes]
        return exact_by_row

    def texts(self, column: str) -> Codes[str]:
        """A column of texts, interned; -1 where missing."""
        import pandas as pd

        codes, values = pd.factorize(self._column(column))
        written = Codes(codes.astype(np.int32), tuple(_text(value) or "" for value in values))
        return Codes.of(written.to_array()) if len(set(written.values)) < len(written.values) else written

    def parsed(self, column: str, parse: Callable[[str], Any], wanted: str) -> Codes[Any]:
        """A column of texts that `parse` understands (ValueError if not); a missing one is parsed as ""."""
        texts = self.texts(column)
        values = []
        for code, text in enumerate(texts.values):
            try:
                values.append(parse(text))
            except ValueError:
                self.fail(int(np.argmax(texts.codes == code)), column, text, wanted)
        index = {value: code for code, value in enumerate(dict.fromkeys([*values, parse("")]))}
        renumbered = np.array([index[value] for value in [*values, parse("")]], dtype=np.int32)
        return Codes(renumbered[texts.codes], tuple(index))

    def values_of(self, column: str, kind: Any, wanted: str, nothing: object) -> Codes[Any]:
        """A column of JSON texts as values of a type; -1 where missing or `nothing`."""
        found = self.parsed(column, lambda text: from_json(kind, text) if text else nothing, wanted)
        index: dict[Any, int] = {}
        number = [-1 if value == nothing else index.setdefault(value, len(index)) for value in found.values]
        return Codes(np.array([*number, -1], dtype=np.int32)[found.codes], tuple(index))

    def instants(self, column: str) -> Ints:
        """int64[rows] of nanoseconds since 1970, which are more than a float holds; a missing one is NOT_STARTED."""
        series = self._column(column)
        if series.dtype == np.int64:
            return np.asarray(series, dtype=np.int64)
        written = self.texts(column)
        known = []
        for code, text in enumerate(written.values):
            if not _INT64.fullmatch(text) or not -NOT_STARTED <= int(text) <= NOT_STARTED:
                self.fail(int(np.argmax(written.codes == code)), column, text, "whole nanoseconds since 1970")
            known.append(int(text))
        by_row: Ints = np.array([*known, NOT_STARTED], dtype=np.int64)[written.codes]
        return by_row

    def spans(self, column: str) -> Ints:
        """int64[rows] of nanoseconds, 0 or more; a missing one is NEVER."""
        found = self.instants(column)
        if (found < 0).any():
            row = int(np.argmax(found < 0))
            self.fail(row, column, int(found[row]), "nanoseconds, 0 or more")
        return found

    def spans_of_seconds(self, column: str) -> Ints:
        """int64[rows] of nanoseconds from a column of whole seconds; a missing one is NEVER."""
        missing = self._column(column).isna().to_numpy()
        return np.where(missing, NEVER, self.integers(column, 0, 2**33) * SECOND_NS)

    def integers(self, column: str, least: int, most: int) -> Ints:
        """int64[rows] of whole numbers in a range; a missing one is 0."""
        import pandas as pd

        series = self._column(column)
        known = pd.to_numeric(series, errors="coerce").mask(series.isna(), 0)
        numbers: npt.NDArray[np.float64] = known.to_numpy(dtype=np.float64, na_value=np.nan)
        good = (numbers >= least) & (numbers <= most) & (numbers == np.floor(numbers))
        if not good.all():
            row = int(np.argmin(good))
            self.fail(row, column, series.iloc[row], f"a whole number from {least:,} to {most:,}")
        whole: Ints = numbers.astype(np.int64)
        return whole

    def values(self, column: str) -> npt.NDArray[Any]:
        """A column as it is; texts that all are bools or numbers as those."""
        values: npt.NDArray[Any] = self._column(column).to_numpy()
        if not all(isinstance(value, str) or value != value for value in values.tolist()):
            return values
        if set(values.tolist()) <= {"True", "False"}:
            return np.asarray(values == "True")
        for dtype in (np.int64, np.float64):
            try:
                return values.astype(dtype)
            except (TypeError, ValueError):
                continue
        return values

    def labels(self) -> dict[str, Codes[str]]:
        """The label:KEY columns by key."""
        return {column.removeprefix(LABEL): self.texts(column) for column in self.columns if column.startswith(LABEL)}

    def warn_of_the_rest(self) -> None:
        """One warning that names the columns nobody asked for."""
        rest = [column for column in self.columns if column not in self._used]
        if rest:
            warnings.warn(
                f"{self.origin}: passed over column{'s' if len(rest) > 1 else ''} {', '.join(rest)} "
                f"(text about {self.what}s can go into label:KEY columns)",
                stacklevel=4,
            )

    def fail(self, row: int, column: str, found: object, wanted: str) -> Never:
        """Raises the InputError of one cell."""
        text = _text(found)
        shown = "is missing" if text is None else f"is {text if not isinstance(found, str) else repr(text)}"
        named = f" ({self.what} {self._names[row]!r})" if row < len(self._names) else ""
        raise InputError(f"{self.origin}, {self._row(row)}{named}: {column} {shown}; wanted {wanted}")

    def _row(self, row: int) -> str:
        return f"line {row + 2}" if self._lines else f"row {row}"

    def _column(self, column: str) -> pd.Series[Any]:
        if column not in self:
            self._missing(column)
        self._used.add(column)
        return self.frame[column]

    def _missing(self, column: str, also: str = "") -> Never:
        near = difflib.get_close_matches(column, self.columns, n=1, cutoff=0.5)
        nearest = f"; the nearest is {near[0]!r}" if near else ""
        found = ", ".join(sorted(self.columns)) or "no columns at all"
        raise InputError(f"{self.origin}: no column {column!r}{also}{nearest}. Found: {found}")


def resource_named_by(column: str) -> str | None:
    """The resource that a column holds amounts of, usage too; a label's key may look like one, but isn't."""
    return None if column.startswith((LABEL, ARRAY)) else resource_of(column.removeprefix(FOREIGN))


def _unit_name(resource: str) -> str:
    return {CPU: "mCPU", GPU: "milli-GPU"}.get(resource, unit_of(resource))


def _text(value: object) -> str | None:
    """A cell as text, None if it is missing; 3.0 is "3", as integers become floats beside a missing one."""
    if value is None or value != value:  # NaN and NaT are not equal to themselves
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return None if text == "<NA>" else text
