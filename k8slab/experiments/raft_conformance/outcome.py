"""What came of one case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Case = dict[str, Any]
Tier = Literal["A", "B", "C", "timed", "statistical"]


@dataclass(frozen=True)
class Outcome:
    """Whether a case passed, and what was seen.

    passed      : everything that its tier asks is as expected
    tier        : A pure functions and single rules; B what members of a cluster agree on; C one
                  member to the last message; `timed` as B, where ticks drive elections;
                  `statistical` within the tolerance given
    actual      : what was seen, in the schema of what the case expects
    differences : what differs, in words; those that the tier does not ask begin with "beyond"
    """

    passed: bool
    tier: Tier
    actual: Any
    differences: list[str] = field(default_factory=list)


def compared(tier: Tier, expected: Any, actual: Any) -> Outcome:
    """The outcome of a case whose every part must be as expected."""
    found = list(differences("", expected, actual))
    return Outcome(not found, tier, actual, found)


def differences(path: str, expected: Any, actual: Any) -> Iterator[str]:
    """Where two JSON values differ, in words."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            where = f"{path}.{key}" if path else str(key)
            if key not in actual:
                yield f"{where}: expected {expected[key]!r}, nothing came"
            elif key not in expected:
                yield f"{where}: {actual[key]!r} came unexpectedly"
            else:
                yield from differences(where, expected[key], actual[key])
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for position, (wanted, found) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(f"{path}[{position}]", wanted, found)
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{path or 'value'}: expected {expected!r}, {actual!r} came"


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The fields of a state that are not as they were."""
    return {key: value for key, value in after.items() if key not in before or before[key] != value}
