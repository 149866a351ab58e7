"""What an entry of the dictionary is, and how columns of resources are named.

A column's name may hold a placeholder, and then stands for any number of columns:

    <amount>     a resource's own column: cpu_milli, memory_bytes, pods, nvidia.com/gpu
    <resource>   a resource's name inside a longer one: cpu in cpu_utilization_percent
    [_unit]      the resource's unit, if it has one: cpu_requested_milli, pods_requested
    <label>      a label's key
    <plugin>     a plug-in's name
    <group>      node, zone, namespace or label:<label>

A dtype is "int64", "float64", "bool", "any" or "string" (pandas' own text column, text in an
object column, or a categorical of text; missing values are allowed).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from k8slab.domain.resources import column_of, unit_of


@dataclass(frozen=True)
class Column:
    """One column of a public frame, or a family of columns if the name has a placeholder.

    optional : left out where no row has a value
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    optional: bool = False

    def matches(self, name: str) -> bool:
        """Whether a frame's column of this name is meant."""
        return re.fullmatch(_pattern(self.name), name) is not None

    @property
    def required(self) -> bool:
        """A fixed name must be there unless it is optional; a family may be empty."""
        return not self.optional and _pattern(self.name) == re.escape(self.name)


# What a placeholder stands for. An extended resource has a "/" in its name, and a colon is in
# none, so that label columns and plug-in columns are never taken for resources.
_PLACEHOLDERS: Final = {
    "<amount>": r"(?:[^:/]+_(?:milli|bytes)|pods|[^:/]+/[^:]+)",
    "<resource>": r"[^:]+?",
    "[_unit]": r"(?:_milli|_bytes)?",
    "<label>": r".+",
    "<plugin>": r".+",
    "<group>": r"(?:node|zone|namespace|label:.+)",
}

# What several frames have.
UNITS: Final = "milli, bytes or count, as the name says"
POLICY: Final = Column("policy", "string", "", "the policy's name")
SEED: Final = Column("seed", "int64", "", "of the arrival order and of random ties")


def _pattern(name: str) -> str:
    pattern = re.escape(name)
    for placeholder, regex in _PLACEHOLDERS.items():
        pattern = pattern.replace(re.escape(placeholder), regex)
    return pattern


def resource_column(resource: str, what: str) -> str:
    """The name of a column that holds an amount of a resource, unit last.

    >>> [resource_column(name, "requested") for name in ("cpu", "ephemeral-storage", "pods")]
    ['cpu_requested_milli', 'ephemeral_storage_requested_bytes', 'pods_requested']
    """
    unit = unit_of(resource)
    return f"{stem_of(resource)}_{what}" + ("" if unit == "count" else f"_{unit}")


def percent_column(resource: str, what: str) -> str:
    """The name of a column that holds a share of a resource.

    >>> percent_column("ephemeral-storage", "utilization")
    'ephemeral_storage_utilization_percent'
    """
    return f"{stem_of(resource)}_{what}_percent"


def stem_of(resource: str) -> str:
    """A resource's name as it stands inside column names.

    >>> [stem_of(name) for name in ("cpu", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu")]
    ['cpu', 'ephemeral_storage', 'hugepages-2Mi', 'nvidia.com/gpu']
    """
    return column_of(resource).removesuffix(f"_{unit_of(resource)}")
