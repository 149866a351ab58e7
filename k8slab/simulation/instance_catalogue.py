"""A catalogue of instance types: from a CSV or TOML file, or the embedded example."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from k8slab.domain.resources import column_of, is_known
from k8slab.errors import InputError, UnknownName
from k8slab.simulation.distributions import LogNormal
from k8slab.simulation.instance_types import InstanceType, told

if TYPE_CHECKING:
    import pandas as pd

_FIELDS: Final = (
    "instance_type", "family", "price_per_hour", "boot", "boot_sigma", "launch_failure", "limit", "labels", "taints",
)  # fmt: skip
_TOML_FIELDS: Final = ("name", "family", "resources", "price_per_hour", "boot", "launch_failure", "limit", "labels",
                       "taints")  # fmt: skip

EXAMPLE_CARD: Final = """\
Sixteen made-up types of four families, general, compute, memory and GPU, with what a kubelet leaves
to pods of machines of 2 to 96 cores. Prices are of the order of what public clouds ask on demand, in
dollars; they are nobody's. GPU types carry the taint nvidia.com/gpu, boot slowly and are refused now
and then.
"""


class InstanceCatalogue(Mapping[str, InstanceType]):
    """Instance types by name, in their order.

    >>> catalogue = InstanceCatalogue.example()
    >>> catalogue["general-4"].price_per_hour
    0.192
    """

    def __init__(self, types: Iterable[InstanceType], source: str = "types") -> None:
        self._types: dict[str, InstanceType] = {}
        self.source = source
        for one in types:
            if one.name in self._types:
                raise InputError(f"{source}: two instance types are named {one.name!r}; wanted a name for each")
            self._types[one.name] = one
        if not self._types:
            raise InputError(f"{source}: no instance types; wanted at least one")

    @classmethod
    def example(cls) -> InstanceCatalogue:
        """The embedded one; see EXAMPLE_CARD."""
        text = resources.files("k8slab.simulation").joinpath("instance_types.csv").read_text(encoding="utf-8")
        return cls(_from_csv(text.splitlines(), "the example catalogue"), "the example catalogue")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> InstanceCatalogue:
        """Read a .csv or .toml file.

        A CSV has a row a type: `instance_type`, `price_per_hour`, a column a resource ("cpu": 3920m, "memory": 14Gi,
        "pods", "nvidia.com/gpu"), and may have `family`, `boot` (60s), `boot_sigma` (of a lognormal whose median is
        `boot`), `launch_failure` (a share), `limit`, `labels` (key=value, joined by commas) and `taints`. A TOML file
        has an [[instance_type]] a type, whose keys are InstanceType's.

        Raises InputError with file, row and key of what can't be read: a type without a price or with a negative
        one, a quantity that is none, a key that nothing has (and the nearest that there is).
        """
        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
            raise InputError(f"cannot read the catalogue {str(file)!r}: {reason}") from error
        if file.suffix.lower() == ".toml":
            return cls(_from_toml(text, str(file)), str(file))
        if file.suffix.lower() == ".csv":
            return cls(_from_csv(text.splitlines(), str(file)), str(file))
        raise InputError(f"cannot read the catalogue {str(file)!r}: wanted a .csv or .toml file")

    def __getitem__(self, name: str) -> InstanceType:
        if name not in self._types:
            raise UnknownName("instance type", name, self._types, f"In {self.source}.")
        return self._types[name]

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def family(self, name: str) -> list[InstanceType]:
        """The types of a family. Raises UnknownName if none is of it."""
        found = [one for one in self._types.values() if one.family == name]
        if not found:
            raise UnknownName("family", name, {one.family for one in self._types.values()}, f"In {self.source}.")
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row a type: see the frame `instance_types`."""
        import pandas as pd

        names = dict.fromkeys(name for one in self.values() for name in one.amounts())
        frame: dict[str, Any] = {
            "instance_type": list(self),
            "family": [one.family for one in self.values()],
            "price_per_hour": [float(one.price_per_hour) for one in self.values()],
            "launch_failure": [float(one.launch_failure) for one in self.values()],
        }
        for name in names:
            frame[column_of(name)] = [one.amounts().get(name, 0) for one in self.values()]
        return pd.DataFrame(frame)

    def __repr__(self) -> str:
        return f"InstanceCatalogue({len(self)} types: {', '.join(list(self)[:4])}{', ...' if len(self) > 4 else ''})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(one.name)}</td>"
            f"<td style='text-align:left'>{escape(told(one))}</td><td>{one.price_per_hour:.3f}</td></tr>"
            for one in self.values()
        )
        return f"<table><tr><th>instance type</th><th>allocatable</th><th>price an hour</th></tr>{rows}</table>"


def catalogue_of(given: InstanceCatalogue | str | PathLike[str] | None, where: str) -> InstanceCatalogue:
    """The catalogue, read if it is a file's name, the example if it is None. Raises InputError that says where."""
    if given is None:
        return InstanceCatalogue.example()
    if isinstance(given, str | PathLike):
        return InstanceCatalogue.load(given)
    if not isinstance(given, InstanceCatalogue):
        raise InputError(f"{where}: catalogue={given!r}; wanted an InstanceCatalogue, or a file's name")
    return given


def _from_csv(lines: list[str], source: str) -> Iterator[InstanceType]:
    reader = csv.DictReader(lines)
    names = [name.strip() for name in reader.fieldnames or ()]
    for name in names:
        if name not in _FIELDS and not is_known(name):
            raise InputError(f"{source}: {UnknownName('column', name, (*_FIELDS, 'cpu', 'memory', 'pods'))}")
    for name in ("instance_type", "price_per_hour"):
        if name not in names:
            raise InputError(f"{source}: no column {name}; it has {', '.join(names) or 'none'}")
    for number, row in enumerate(reader, start=2):
        cells = {key.strip(): (value or "").strip() for key, value in row.items() if isinstance(key, str)}
        where = f"{source}, line {number}"
        if None in row:
            raise InputError(f"{where}: more cells than columns")
        yield _made(where, **_of_cells(cells, where))


def _of_cells(cells: Mapping[str, str], where: str) -> dict[str, Any]:
    """A row's cells as InstanceType's arguments; empty ones are left to the defaults."""
    name = cells["instance_type"]
    if not name:
        raise InputError(f"{where}: no instance_type; wanted a name")
    if not cells["price_per_hour"]:
        raise InputError(f"{where}: instance type {name!r} has no price_per_hour; wanted a number, 0 or more")
    found: dict[str, Any] = {"name": name, "resources": {}}
    for key, text in cells.items():
        if key not in _FIELDS and text:
            found["resources"][key] = text
    for key, read in (("price_per_hour", float), ("launch_failure", float), ("limit", int)):
        if cells.get(key):
            found[key] = _read(read, cells[key], f"{where}: instance type {name!r}, {key}")
    for key in ("family", "taints"):
        if cells.get(key):
            found[key] = cells[key]
    if cells.get("labels"):
        pairs = [item.partition("=") for item in cells["labels"].split(",")]
        found["labels"] = {key.strip(): value.strip() for key, _, value in pairs}
    if cells.get("boot"):
        sigma = _read(float, cells.get("boot_sigma") or "0", f"{where}: instance type {name!r}, boot_sigma")
        found["boot"] = _read(lambda text: LogNormal(text, sigma), cells["boot"], where) if sigma else cells["boot"]
    return found


def _from_toml(text: str, source: str) -> Iterator[InstanceType]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: it isn't TOML: {error}") from error
    for key in table:
        if key != "instance_type":
            raise InputError(f"{source}: {UnknownName('key', key, ['instance_type'])}")
    listed = table.get("instance_type", [])
    if not isinstance(listed, list):
        raise InputError(f"{source}: instance_type is no list of tables; wanted [[instance_type]]")
    for number, row in enumerate(listed, start=1):
        where = f"{source}, [[instance_type]] {row.get('name', number)!r}"
        for key in row:
            if key not in _TOML_FIELDS:
                raise InputError(f"{where}: {UnknownName('key', key, _TOML_FIELDS)}")
        for key in ("name", "resources", "price_per_hour"):
            if key not in row:
                raise InputError(f"{where}: no {key}; wanted name, resources and price_per_hour")
        yield _made(where, **row)


def _made(where: str, **arguments: Any) -> InstanceType:
    made: InstanceType = _read(lambda given: InstanceType(**given), arguments, where)
    return made


def _read(make: Any, given: Any, where: str) -> Any:
    try:
        return make(given)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {given!r} can't be read: {error}") from error
