"""Kubernetes quantities and the exact integers they stand for: "500m" is 500 mCPU, "1.5Gi" is 1,610,612,736 bytes.

A quantity is an exact decimal. It becomes an integer once, rounded up, after all sums are done
(three containers of 0.4m make 2 mCPU, not 3): so `parse_quantity` gives a Fraction to add with,
and `cpu_milli`, `memory_bytes` and `amount` give the integer.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from numbers import Integral
from typing import Final, TypeAlias

from k8slab.errors import QuantityError

Quantity: TypeAlias = str | int | float | Fraction

_GRAMMAR: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:(n|u|m|k|M|G|T|P|E|[KMGTPE]i)|[eE]([+-]?[0-9]{1,3}))?")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NANO: Final = 10**9
_MILLI_RESOURCES: Final = ("cpu", "gpu")  # as domain.resources.unit_of; a test says that they agree
_SPAN_UNITS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 604_800 * 10**9,
}  # fmt: skip
_SPAN_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d|w)")
_SPAN: Final = re.compile(r"([+-]?)((?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h|d|w))+)")
_SPAN_WANTED: Final = 'wanted seconds as a number, or a text such as "15s", "5m", "1h30m" or "7d"'
_WANTED: Final = 'wanted a Kubernetes quantity such as 2, "0.5", "500m", "1.5Gi" or "1e3"'


def parse_quantity(quantity: Quantity, where: str = "") -> Fraction:
    """The exact value of a Kubernetes quantity, to add up before it is rounded.

    Precision finer than 10^-9 is rounded away from zero, as Kubernetes does. A float stands for
    the decimal that prints as it does (0.1 is a tenth). Raises QuantityError, which names the
    text and `where` it stood, on anything else, and beyond int64, where Kubernetes itself clamps
    or wraps around.

    >>> parse_quantity("100m"), parse_quantity("1.5Ki"), parse_quantity("1e3"), parse_quantity("1E") == 10**18
    (Fraction(1, 10), Fraction(1536, 1), Fraction(1000, 1), True)
    >>> parse_quantity("1.5Gib", where="pod 'web', cpu")
    Traceback (most recent call last):
        ...
    k8slab.errors.QuantityError: pod 'web', cpu: '1.5Gib' is no quantity; wanted a Kubernetes quantity such as 2, \
"0.5", "500m", "1.5Gi" or "1e3"
    """
    value = _value(quantity)
    if value is None:
        raise QuantityError(f"{where + ': ' if where else ''}{quantity!r} is no quantity; {_WANTED}")
    if abs(value) >= 2**63:
        raise QuantityError(f"{where + ': ' if where else ''}{quantity!r} is beyond int64 (2^63 - 1)")
    return value


def cpu_milli(quantity: Quantity, where: str = "") -> int:
    """milli-CPU of a cpu quantity, rounded up.

    >>> cpu_milli("100m"), cpu_milli("0.1"), cpu_milli(2), cpu_milli("0.4m")
    (100, 100, 2000, 1)
    """
    return round_up(parse_quantity(quantity, where) * 1000)


def memory_bytes(quantity: Quantity, where: str = "") -> int:
    """Bytes (or a plain count) of a quantity, rounded up.

    >>> memory_bytes("1.5Gi"), memory_bytes("1k"), memory_bytes("100m")
    (1610612736, 1000, 1)
    """
    return round_up(parse_quantity(quantity, where))


def amount(resource: str, quantity: Quantity, where: str = "") -> int:
    """What a quantity of a resource is in k8slab's exact integers, rounded up: milli for cpu and gpu, else units.

    >>> amount("cpu", "1.5"), amount("memory", "1Mi"), amount("nvidia.com/gpu", "2")
    (1500, 1048576, 2)
    """
    return cpu_milli(quantity, where) if resource in _MILLI_RESOURCES else memory_bytes(quantity, where)


def round_up(value: Fraction) -> int:
    """The nearest integer that is at least as far from zero: Kubernetes' rounding."""
    return math.ceil(value) if value > 0 else math.floor(value)


def cores_to_milli(cores: float) -> int:
    """milli-CPU of a float of cores, rounded up, dust of float sums left out (0.1 + 0.2 is 300).

    Raises QuantityError if it is negative, NaN or infinite.
    """
    return _float_to_int(cores, 1000.0, "cores")


def mib_to_bytes(mib: float) -> int:
    """Bytes of a float of MiB, rounded up, dust of float sums left out. Raises as `cores_to_milli` does."""
    return _float_to_int(mib, 2.0**20, "MiB")


def milli_to_cores(milli: int) -> float:
    """Cores of milli-CPU: 1500 is 1.5."""
    return int(milli) / 1000


def bytes_to_mib(amount_bytes: int) -> float:
    """MiB of bytes: 1,610,612,736 is 1536.0."""
    return int(amount_bytes) / 2**20


def duration_ns(quantity: str | int | float, where: str = "", *, least_ns: int = 0) -> int:
    """Nanoseconds of a time span: seconds as a number, or a text as Go writes it, or with days ("d") and weeks ("w").

    Raises QuantityError, which names the text and `where` it stood, on anything else, on less
    than `least_ns`, and beyond int64.

    >>> duration_ns("1h30m") == 5400 * 10**9, duration_ns("2.5s"), duration_ns(0.25), duration_ns("7d") // 10**9
    (True, 2500000000, 250000000, 604800)
    >>> duration_ns("-5m", where="scenario.toml, until")
    Traceback (most recent call last):
        ...
    k8slab.errors.QuantityError: scenario.toml, until: '-5m' is negative; wanted 0s or more
    """
    place = f"{where}: " if where else ""
    value = _span(quantity)
    if value is None:
        raise QuantityError(f"{place}{quantity!r} is no time span; {_SPAN_WANTED}")
    if value < least_ns:
        what = "is negative" if value < 0 else "is too short"
        raise QuantityError(f"{place}{quantity!r} {what}; wanted {format_duration(least_ns)} or more")
    if value >= 2**63 - 1:
        raise QuantityError(f"{place}{quantity!r} is beyond int64 nanoseconds, which is 292 years")
    return value


def format_duration(span_ns: int) -> str:
    """A time span for people, in its two largest units, or with a decimal below a minute.

    >>> format_duration(90 * 10**9), format_duration(7 * 86_400 * 10**9), format_duration(1_500_000_000)
    ('1m 30s', '7d', '1.5s')
    """
    seconds = abs(int(span_ns)) / 10**9
    sign = "-" if span_ns < 0 else ""
    if seconds < 60:
        unit, scale = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if seconds * s >= 1), ("ns", 1e9))
        return f"{sign}{_short(seconds * scale)}{unit}" if seconds else "0s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or parts:
            parts.append((left // size, unit))
            left %= size
        if len(parts) == 2:
            break
    return sign + " ".join(f"{count}{unit}" for count, unit in parts if count)


def format_cpu(milli: int) -> str:
    """milli-CPU for people.

    >>> format_cpu(250), format_cpu(1000), format_cpu(1500), format_cpu(107_018_000)
    ('250m', '1 core', '1.5 cores', '107,018 cores')
    """
    if abs(milli) < 1000:
        return f"{int(milli)}m" if milli else "0"
    return f"{_short(milli / 1000)} core{'' if milli == 1000 else 's'}"


def format_bytes(amount_bytes: int) -> str:
    """Bytes for people, in the largest binary unit that leaves at least 1.

    >>> format_bytes(0), format_bytes(512), format_bytes(1536 * 2**20), format_bytes(503_828_480 * 2**20)
    ('0', '512 B', '1.5 GiB', '480.5 TiB')
    """
    size, unit = float(amount_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if abs(size) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{_short(size)} {unit}" if amount_bytes else "0"


def format_amount(resource: str, value: int) -> str:
    """An amount of a resource for people.

    >>> format_amount("cpu", 1500), format_amount("memory", 2**30), format_amount("gpu", 460), format_amount("pods", 9)
    ('1.5 cores', '1 GiB', '0.46', '9')
    """
    if resource == "cpu":
        return format_cpu(value)
    if resource in _MILLI_RESOURCES:
        return _short(value / 1000)
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        return format_bytes(value)
    return f"{int(value):,}"


def _value(quantity: Quantity) -> Fraction | None:
    """The exact value, None if it is no quantity."""
    if isinstance(quantity, str):
        return _parse(quantity)
    if isinstance(quantity, Fraction):
        return quantity
    if isinstance(quantity, Integral):  # numpy's integers are too
        return None if isinstance(quantity, bool) else Fraction(int(quantity))
    if isinstance(quantity, float) and math.isfinite(quantity):
        return _to_nano(Fraction(Decimal(repr(float(quantity)))))
    return None


@lru_cache(maxsize=4096)  # a dump of 100,000 pods has a few hundred distinct texts
def _parse(text: str) -> Fraction | None:
    match = _GRAMMAR.fullmatch(text)
    if match is None or not (match[2] or match[3]) or len(text) > 200:
        return None
    sign, whole, decimals, suffix, exponent = match.groups(default="")
    digits = Fraction(int(whole + decimals), 10 ** len(decimals))
    if suffix in _BINARY:
        value = digits * 2 ** _BINARY[suffix]
    else:
        value = digits * Fraction(10) ** (int(exponent) if exponent else _DECIMAL[suffix])
    return _to_nano(-value if sign == "-" else value)


def _span(quantity: object) -> int | None:
    """Nanoseconds, None if it is no time span."""
    if isinstance(quantity, bool):
        return None
    if isinstance(quantity, Integral):
        return int(quantity) * _NANO
    if isinstance(quantity, float):
        return round(quantity * _NANO) if math.isfinite(quantity) else None
    match = _SPAN.fullmatch(quantity) if isinstance(quantity, str) else None
    if match is None:
        return None
    total = sum(Fraction(number) * _SPAN_UNITS[unit] for number, unit in _SPAN_PART.findall(match[2]))
    return round(-total if match[1] == "-" else total)


def _to_nano(value: Fraction) -> Fraction:
    return Fraction(round_up(value * _NANO), _NANO)


def _float_to_int(value: float, scale: float, unit: str) -> int:
    if not (math.isfinite(value) and value >= 0):
        raise QuantityError(f"{value!r} {unit}: wanted a number that is 0 or more")
    return math.ceil(round(value * scale, 6))


def _short(number: float) -> str:
    """At most one decimal from 10 on, two below: 480.5, 1.25, 107,018."""
    text = f"{number:,.1f}" if abs(number) >= 10 else f"{number:,.2f}"
    return text.rstrip("0").rstrip(".")
