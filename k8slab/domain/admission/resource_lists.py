"""Amounts by resource, and arithmetic on them. Pure.

After apiserver/pkg/quota/v1/resources.go. A resource that a list doesn't name is not the same as
one it has 0 of: a quota says nothing about what it doesn't name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import TypeAlias

Amount: TypeAlias = Fraction | int
ResourceList: TypeAlias = Mapping[str, Amount]


def equals(a: ResourceList, b: ResourceList) -> bool:
    """Whether both name the same resources in the same amounts."""
    return a.keys() == b.keys() and all(a[name] == b[name] for name in a)


def exceeded(a: ResourceList, b: ResourceList) -> list[str]:
    """The resources of which `a` has more than `b`; only what both name is compared."""
    return sorted(name for name in a if name in b and a[name] > b[name])


def less_or_equal(a: ResourceList, b: ResourceList) -> bool:
    """Whether `a` exceeds `b` in nothing that both name."""
    return not exceeded(a, b)


def maximum(a: ResourceList, b: ResourceList) -> dict[str, Amount]:
    """The larger amount of each resource that either names."""
    return {name: max(a.get(name, b.get(name, 0)), b.get(name, a.get(name, 0))) for name in {**a, **b}}


def add(a: ResourceList, b: ResourceList) -> dict[str, Amount]:
    """The sum, of each resource that either names."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


def subtract(a: ResourceList, b: ResourceList) -> dict[str, Amount]:
    """The difference, of each resource that either names."""
    return {name: a.get(name, 0) - b.get(name, 0) for name in {**a, **b}}


def subtract_floor_zero(a: ResourceList, b: ResourceList) -> dict[str, Amount]:
    """The difference where it is positive, else 0."""
    return {name: max(0, amount) for name, amount in subtract(a, b).items()}


def is_zero(a: ResourceList) -> bool:
    """Whether there is nothing of any resource."""
    return all(amount == 0 for amount in a.values())


def remove_zeros(a: ResourceList) -> dict[str, Amount]:
    """Without the resources there is nothing of."""
    return {name: amount for name, amount in a.items() if amount != 0}


def negative(a: ResourceList) -> list[str]:
    """The resources there is less than nothing of."""
    return sorted(name for name, amount in a.items() if amount < 0)


def written(amount: Amount) -> str:
    """An amount for a message.

    >>> written(Fraction(1, 10)), written(2**30)
    ('0.1', '1,073,741,824')
    """
    return f"{int(amount):,}" if amount == int(amount) else f"{float(amount):g}"


def mask(a: ResourceList, names: Collection[str]) -> dict[str, Amount]:
    """Only these resources."""
    return {name: amount for name, amount in a.items() if name in names}
