"""Quantities: Kubernetes' grammar and rounding, against a twin that reads a text letter by letter."""

from __future__ import annotations

import math
from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8slab import units
from k8slab.domain.resources import unit_of
from k8slab.errors import InputError, QuantityError

SUFFIXES = {
    **{"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(1000)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("MGTPE", start=2)},
    **{suffix + "i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
EXACT = Context(prec=400)


def naive_quantity(text: str) -> Decimal | None:
    """The value by the grammar of Kubernetes' resource.Quantity, None if it is none; rounded up to 1e-9."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    number = ""
    while rest and (rest[0] in "0123456789" or (rest[0] == "." and "." not in number)):
        number, rest = number + rest[0], rest[1:]
    if not any(letter in "0123456789" for letter in number):
        return None
    if rest in SUFFIXES:
        scale = SUFFIXES[rest]
    elif rest[0] in "eE" and rest[1:].removeprefix("-" if rest[1:2] == "-" else "+").isdecimal():
        scale = EXACT.power(Decimal(10), int(rest[1:]))
    else:
        return None
    value = EXACT.multiply(Decimal(number if number[-1] != "." else number[:-1]), scale)
    value = value.quantize(Decimal("1e-9"), rounding=ROUND_UP, context=EXACT)
    return -value if text[0] == "-" else value


numbers = st.one_of(
    st.integers(0, 10**7).map(str),
    st.tuples(st.integers(0, 999), st.text("0123456789", max_size=12)).map(lambda pair: f"{pair[0]}.{pair[1]}"),
    st.text("0123456789", min_size=1, max_size=4).map(lambda digits: "." + digits),
)
endings = st.one_of(
    st.sampled_from([*SUFFIXES, "K", "mi", "Kib", "i", " ", "e", "E+"]),
    st.tuples(st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 11)).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}"
    ),
)
texts = st.one_of(
    st.tuples(st.sampled_from(["", "", "", "+", "-"]), numbers, endings).map("".join),
    st.text("0123456789.+-eEinumkKMGTP ", max_size=6),
)


@given(texts)
def test_parse_quantity_equals_naive(text):
    expected = naive_quantity(text)
    if expected is None or abs(expected) >= 2**63:
        with pytest.raises(QuantityError):
            units.parse_quantity(text)
        return
    exact = Fraction(expected)
    assert units.parse_quantity(text) == exact
    if exact >= 0:
        assert units.cpu_milli(text) == math.ceil(exact * 1000)
        assert units.memory_bytes(text) == math.ceil(exact)


@pytest.mark.parametrize(
    ("text", "milli", "count"),
    [
        ("100m", 100, 1),
        ("0.1", 100, 1),
        ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
        ("1e3", 1_000_000, 1000),
        ("1E3", 1_000_000, 1000),  # an exponent, while a lone E is exa
        ("1E", 10**21, 10**18),
        ("12E-1", 1200, 2),
        ("0.4m", 1, 1),
        ("1n", 1, 1),
        ("0.1n", 1, 1),  # finer than 1e-9: rounded up to it
        ("5.", 5000, 5),
        (".5", 500, 1),
        ("+2", 2000, 2),
        ("0", 0, 0),
        ("0Ei", 0, 0),
    ],
)
def test_worked_by_hand(text, milli, count):
    assert (units.cpu_milli(text), units.memory_bytes(text)) == (milli, count)


@pytest.mark.parametrize(
    "bad",
    ["", " ", "Gi", ".", "-", "1.5Gib", "1 Gi", " 1", "1\n", "1,5", "1K", "0.1mi", "1.1.1", "1e", "1e1.5", "--1", "1+1",
     "0x10", "٣", "1e1000", None, True, float("nan"), float("inf"), [], "9Ei9", "8Ei", "1e19"],
)  # fmt: skip
def test_a_bad_quantity_is_named(bad):
    with pytest.raises(QuantityError) as caught:
        units.parse_quantity(bad, where="pod 'web', cpu")
    assert str(caught.value).startswith(f"pod 'web', cpu: {bad!r} is ")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, InputError)


def test_sums_are_rounded_once():
    assert units.round_up(3 * units.parse_quantity("0.4m") * 1000) == 2
    assert 3 * units.cpu_milli("0.4m") == 3


def test_numbers_stand_for_what_they_print():
    assert units.parse_quantity(0.1) == Fraction(1, 10)
    assert units.parse_quantity(np.float64(0.1)) == Fraction(1, 10)
    assert units.parse_quantity(np.int64(3)) == 3
    assert units.parse_quantity(1e-12) == Fraction(1, 10**9)
    assert units.parse_quantity(Fraction(1, 3)) == Fraction(1, 3)


@pytest.mark.parametrize("resource", ["cpu", "gpu", "memory", "pods", "ephemeral-storage", "nvidia.com/gpu"])
def test_amount_agrees_with_the_schema_on_units(resource):
    assert units.amount(resource, "1.5") == {"milli": 1500, "bytes": 2, "count": 2}[unit_of(resource)]


@given(st.integers(0, 10**9))
def test_cores_and_back(milli):
    assert units.cores_to_milli(units.milli_to_cores(milli)) == milli


@given(st.integers(0, 2**53))
def test_mib_and_back(count):
    assert units.mib_to_bytes(units.bytes_to_mib(count)) == count


def test_dust_of_float_sums_is_no_request():
    assert units.cores_to_milli(0.1 + 0.2) == 300
    assert units.cores_to_milli(0.0001) == 1
    assert units.mib_to_bytes(0.1) == 104_858
    assert units.cores_to_milli(0) == 0


@pytest.mark.parametrize("convert", [units.cores_to_milli, units.mib_to_bytes])
@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_no_negative_or_endless_amounts(convert, bad):
    with pytest.raises(QuantityError, match="wanted a number that is 0 or more"):
        convert(bad)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "1m"), (999, "999m"), (1000, "1 core"), (1500, "1.5 cores"), (12_345, "12.3 cores"),
     (107_018_000, "107,018 cores"), (-2000, "-2 cores")],
)  # fmt: skip
def test_format_cpu(amount, text):
    assert units.format_cpu(amount) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "1 B"), (1023, "1,023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (2**40, "1 TiB"), (2**62, "4 EiB")],
)
def test_format_bytes(amount, text):
    assert units.format_bytes(amount) == text
