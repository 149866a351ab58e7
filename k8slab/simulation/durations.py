"""Lengths of time as people write them: "90s", "1h30m", "7d", or a number of seconds."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final, TypeAlias

from k8slab.domain.instants import SECOND_NS
from k8slab.errors import InputError

Duration: TypeAlias = str | int | float
_UNITS: Final = {"ms": 10**6, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS, "d": 86_400 * SECOND_NS}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_LONGEST_NS: Final = 100 * 365 * _UNITS["d"]


def duration_ns(duration: Duration, where: str = "", *, least_ns: int = 1) -> int:
    """Nanoseconds; InputError, which names `where`, for anything else, below `least_ns` and beyond a century.

    >>> duration_ns("1h30m") // SECOND_NS, duration_ns(0.5), duration_ns("7d") // SECOND_NS
    (5400, 500000000, 604800)
    """
    found = _value(duration)
    named = f"{where}: " if where else ""
    if found is None:
        raise InputError(f"{named}{duration!r} is no length of time; wanted '90s', '1h30m', '7d' or seconds")
    if found < least_ns:
        raise InputError(f"{named}{duration!r}; wanted a length of time {'above' if least_ns else 'of'} 0"
                         f"{'' if least_ns else ' or more'}")
    if found > _LONGEST_NS:
        raise InputError(f"{named}{duration!r} is beyond a century")
    return int(found)


def _value(duration: object) -> Fraction | None:
    if isinstance(duration, bool):
        return None
    if isinstance(duration, int | float):
        return Fraction(duration) * SECOND_NS if math.isfinite(duration) else None
    if not isinstance(duration, str):
        return None
    text = duration.strip()
    sign = -1 if text.startswith("-") else 1
    parts = _PART.findall(text.lstrip("-"))
    if not parts or "".join(number + unit for number, unit in parts) != text.lstrip("-"):
        return None
    return sign * sum((Fraction(number) * _UNITS[unit] for number, unit in parts), Fraction(0))
