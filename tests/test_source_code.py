"""A hash of what a user's function does: the same for the same code, another for any that may decide otherwise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import k8slab
from k8slab.policies.source_code import code_hash

LIMIT = 5
TABLE: dict[str, Any] = {"a": [1, 2.0], "b": np.arange(3)}


def helper(values: Any) -> Any:
    return values > LIMIT


def given(free_cpu_milli: Any, score: Any) -> None:
    """Docstrings don't count."""
    score[:] = helper(free_cpu_milli)  # nor do comments


def with_closure(limit: Any) -> Callable[..., None]:
    def inner(free_cpu_milli: Any, score: Any) -> None:
        score[:] = free_cpu_milli > limit

    return inner


def with_a_function_in_it(free_cpu_milli: Any, score: Any) -> None:
    def above(value: int) -> bool:
        return value > LIMIT

    score[:] = [above(value) for value in free_cpu_milli]


def with_default(free_cpu_milli: Any, score: Any, *, limit: int = 3) -> None:
    score[:] = free_cpu_milli > limit + len(TABLE)


class Plugin:
    name = "own"

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def refuse(self, decision: Any) -> Any:
        return helper(decision)


def test_layout_names_of_decorators_and_docstrings_do_not_count() -> None:
    one = given

    def given_again() -> Any:
        def given(free_cpu_milli: Any, score: Any) -> None:
            score[:] = helper(
                free_cpu_milli
            )

        return given

    assert code_hash(one) == code_hash(given_again())
    assert code_hash(one) == code_hash(k8slab.kernel(one))


@pytest.mark.parametrize("function", [given, with_a_function_in_it, with_default, Plugin(1)])
def test_what_is_read_from_around_counts(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_hash(function)
    assert code_hash(function) == before
    if function is with_default:
        monkeypatch.setitem(TABLE, "b", np.array([0, 1, 3]))
    else:
        monkeypatch.setitem(globals(), "LIMIT", 6)
    assert code_hash(function) != before
    monkeypatch.undo()
    assert code_hash(function) == before


def test_closures_defaults_and_what_an_object_holds_count() -> None:
    assert code_hash(with_closure(1)) == code_hash(with_closure(1)) != code_hash(with_closure(2))
    assert code_hash(with_closure({1, 2})) == code_hash(with_closure({2, 1}))
    assert code_hash(with_closure(helper)) != code_hash(with_closure(with_closure))
    before = code_hash(with_default)
    with_default.__kwdefaults__["limit"] = 4
    assert code_hash(with_default) != before
    assert code_hash(Plugin(1)) == code_hash(Plugin(1)) != code_hash(Plugin(2))
    assert code_hash(partial(with_default, limit=1)) != code_hash(partial(with_default, limit=2))


def test_code_without_a_source_counts_as_byte_code() -> None:
    def made(text: str) -> Any:
        names: dict[str, Any] = {}
        exec(text, names)
        return names["f"]

    one, other = "def f(a, score):\n    score[:] = a", "def f(a, score):\n    score[:] = -a"
    assert code_hash(made(one)) == code_hash(made(one)) != code_hash(made(other))


def test_another_process_gives_the_same(tmp_path: Any) -> None:
    """Whatever its hash seed: sets and names come in no order of their own."""
    (tmp_path / "mine.py").write_text(
        "A, B = {'x', 'y', 'z'}, 2\n\ndef f(a, score):\n    score[:] = a * B + len(A)\n"
    )
    code = "import mine; from k8slab.policies.source_code import code_hash; print(code_hash(mine.f))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True,
            env={"PYTHONPATH": ":".join([str(tmp_path), *sys.path]), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1
