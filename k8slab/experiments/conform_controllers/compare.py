"""Where what was computed differs from what was recorded: only what was recorded is compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from k8slab.errors import QuantityError
from k8slab.experiments.conformance import Difference
from k8slab.units import parse_quantity

# Recorded values were printed with few digits.
_RELATIVE: Final = {"utilization": 0.01}
_RELATIVE_ELSEWHERE: Final = 1e-6
# What these keys hold are sets, written as lists.
_SETS: Final = ("taints", "no_execute", "disrupted_pods")
# What these hold are amounts, and 1Gi is 1024Mi.
_AMOUNTS: Final = ("usage", "used_after", "requests", "limits", "result")


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any], kind: str) -> Iterator[Difference]:
    """One for each thing recorded that was computed otherwise, or not at all."""
    for key, wanted in expected.items():
        if key not in actual:
            yield Difference(key, _text(wanted), "nothing")
        else:
            yield from _differences(wanted, actual[key], key, kind)
    if "error" in actual and "error" not in expected:
        yield Difference("error", "none", str(actual["error"]))


def _differences(wanted: Any, got: Any, path: str, kind: str) -> Iterator[Difference]:
    top = path.split("/")[0]
    if top in _SETS and isinstance(wanted, list) and isinstance(got, list):
        wanted, got = sorted(wanted, key=_text), sorted(got, key=_text)
    if isinstance(wanted, dict) and isinstance(got, dict) and (top in _AMOUNTS or wanted.keys() == got.keys()):
        for key in sorted({*wanted, *got}):
            if key in wanted and key in got:
                yield from _differences(wanted[key], got[key], f"{path}/{key}", kind)
            else:
                yield Difference(f"{path}/{key}", _text(wanted.get(key)), _text(got.get(key)))
    elif not _equal(wanted, got, top, kind):
        yield Difference(path, _text(wanted), _text(got))


def _equal(wanted: Any, got: Any, top: str, kind: str) -> bool:
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(_equal(a, b, top, kind) for a, b in zip(wanted, got, strict=True))
    if isinstance(wanted, float) or isinstance(got, float):
        relative = _RELATIVE.get(kind, _RELATIVE_ELSEWHERE)
        return _is_number(wanted) and _is_number(got) and math.isclose(wanted, got, rel_tol=relative)
    if top in _AMOUNTS and isinstance(wanted, str) and isinstance(got, str):
        return _same_amount(wanted, got)
    return bool(wanted == got)


def _same_amount(wanted: str, got: str) -> bool:
    try:
        return parse_quantity(wanted) == parse_quantity(got)
    except QuantityError:
        return wanted == got


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
