"""Seconds as the cases write them, in the domain's nanoseconds."""

from __future__ import annotations

from typing import overload

from k8slab.domain.instants import SECOND_NS


@overload
def ns(seconds: float) -> int: ...
@overload
def ns(seconds: None) -> None: ...
def ns(seconds: float | None) -> int | None:
    """Whole seconds exactly, a fraction rounded to the nanosecond; None stays None."""
    if seconds is None:
        return None
    return seconds * SECOND_NS if isinstance(seconds, int) else round(seconds * SECOND_NS)


def seconds(instant_ns: int) -> int | float:
    """The other way; whole seconds as an int."""
    return instant_ns // SECOND_NS if instant_ns % SECOND_NS == 0 else instant_ns / SECOND_NS
