"""Compiled kernels on disk: found again by the next process, and never older than any file they come from."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numba import version_info
from numba.core.errors import TypingError

import k8slab
from k8slab.kernels import _compiling, _jit
from k8slab.kernels._jit import borrowing_kernel, kernel

INNER = """
from k8slab.kernels._jit import kernel

@kernel
def times(x):
    return {} * x
"""
OUTER = """
from k8slab.kernels._jit import kernel
from k8slab.kernels.inner import times

@kernel
def run(x):
    return times(x) + 1
"""
ASK = """
from k8slab.kernels import _compiling
_compiling.listen(lambda: print("compiling"))
from k8slab.kernels.outer import run
print(run(20))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the kernels' folder with a kernel that calls one of another file."""
    source, copy = Path(k8slab.__file__).parent, tmp_path / "site" / "k8slab"
    (copy / "kernels").mkdir(parents=True)
    parts = [f"kernels/{path.name}" for path in (source / "kernels").glob("_*.py")]
    for name in ("__init__.py", *parts):
        shutil.copy(source / name, copy / name)
    write(copy, "inner", INNER.format(2))
    write(copy, "outer", OUTER)
    return copy


def write(package: Path, name: str, text: str) -> None:
    (package / "kernels" / f"{name}.py").write_text(text)


def ask(package: Path, **folders: Path) -> list[str]:
    """What a process of its own prints: that it compiles, if it does, and the answer."""
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment |= {name: str(path) for name, path in folders.items()}
    command = [sys.executable, "-c", ASK]
    run = subprocess.run(command, env=environment, cwd=package.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.parametrize("elsewhere", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_changed_inner_file_is_compiled_anew_and_an_unchanged_one_is_found(package, tmp_path, elsewhere):
    folders = {"NUMBA_CACHE_DIR": tmp_path / "cache"} if elsewhere else {}
    assert ask(package, **folders) == ["compiling", "41"]
    assert ask(package, **folders) == ["41"]
    before = (package / "kernels" / "inner.py").stat()
    write(package, "inner", INNER.format(3))
    # Same size and same time: only the text tells.
    os.utime(package / "kernels" / "inner.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ask(package, **folders) == ["compiling", "61"]
    assert ask(package, **folders) == ["61"]


@pytest.mark.parametrize(
    "importing",
    [
        "from k8slab.kernels.inner import times",
        "from k8slab.kernels import (\n    _compiling, inner,\n)\ntimes = inner.times",
        "import k8slab.kernels.inner as inner\ntimes = inner.times",
        "from .inner import times",
    ],
)
def test_only_the_files_that_a_kernel_imports_count(package, importing):
    write(package, "middle", "from k8slab.kernels.outer import run")
    write(package, "outer", OUTER.replace("from k8slab.kernels.inner import times", importing))
    files = {path.name for path in stamped(package, "middle")}
    assert {"middle.py", "outer.py", "inner.py"} < files
    write(package, "other", INNER.format(9))
    assert ("other.py" in {path.name for path in stamped(package, "middle")}) == importing.startswith("from .")


def stamped(package, name):
    """The files that a kernel's place on disk hangs on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "__file__", str(package / "kernels" / "_jit.py"))
        _jit._named_in.cache_clear()
        try:
            return _jit._reached_from(package / "kernels" / f"{name}.py")
        finally:
            _jit._named_in.cache_clear()


def test_a_kernel_that_no_kernel_imports_can_change_without_a_new_compilation(package):
    assert ask(package) == ["compiling", "41"]
    write(package, "other", INNER.format(9))
    assert ask(package) == ["41"]


# -- kernels that call kernels ------------------------------------------------------------


@kernel
def _add(numbers, more):
    numbers[0] += more
    return numbers[0]


@kernel
def _add_twice(numbers, more):
    _add(numbers, 1)
    return _add(numbers, more) + np.zeros(3).shape[0]


@borrowing_kernel
def _add_often(numbers, more):
    return _add_twice(numbers, more) + _add(numbers, 10)


def test_a_kernel_gives_the_same_to_python_and_to_kernels():
    numbers = np.zeros(1, dtype=np.int64)
    assert _add_often(numbers, np.int64(5)) == (1 + 5 + 3) + (1 + 5 + 10)
    assert _add(numbers, 1) == 17
    assert _add_twice(numbers, 0) == 18 + 3
    assert _add_often.py_func(np.zeros(1, dtype=np.int64), 5) == 25


def compiled_here(function):
    """A kernel of its own that is found on no disk."""
    return _jit._dispatcher(function.py_func, {"error_model": "numpy", "nogil": True}, version_info.short)


def test_a_called_kernel_is_compiled_once_for_numbers_written_out_and_others():
    compiled_here(_add_often)(np.zeros(1, dtype=np.int64), np.int64(5))
    assert len(_add._called.overloads) == 1


class _Part(NamedTuple):
    numbers: np.ndarray
    sign: int


class _Whole(NamedTuple):
    """With parts of all sizes, and others within."""

    on: bool
    inner: _Part
    grid: np.ndarray
    half: float


@borrowing_kernel
def _of_part(part, k):
    part.numbers[k] += 1
    return part.sign * part.numbers[k]


@kernel
def _flipped(whole):
    return _Part(whole.inner.numbers, -whole.inner.sign)


@kernel
def _same(whole):
    return whole


@borrowing_kernel
def _of_whole(whole, maybe, scale):
    total = 0.0
    for k in range(whole.grid.shape[0]):
        total += _of_part(whole.inner, k) * whole.grid[k, 1] + _of_part(_flipped(_same(whole)), k)
    if maybe is not None:
        total += _of_part(maybe, 0)
    return total * scale.half if whole.on else -1.0


@kernel
def _sum_over(whole, maybe):
    total = 0.0
    for _ in range(3):
        total += _of_whole(whole, maybe, scale=whole)
    return total, _same(whole).half


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("with_part", [False, True])
def test_tuples_of_arrays_are_the_same_to_kernels_that_are_lent_them(on, with_part):
    def given():
        whole = _Whole(on, _Part(np.arange(3), 2), np.arange(6.0).reshape(3, 2), 0.5)
        return whole, _Part(np.zeros(1, dtype=np.int64), -1) if with_part else None

    with pytest.MonkeyPatch.context() as patch:
        for each in (_of_part, _flipped, _same, _of_whole):
            patch.setitem(globals(), each.py_func.__name__, each.py_func)
        python = given()
        expected = _sum_over.py_func(*python)
    compiled = given()
    assert _sum_over(*compiled) == expected
    assert compiled[0].inner.numbers.tolist() == python[0].inner.numbers.tolist() != [0, 1, 2]


@kernel
def _with_sign(part):
    return part, part.sign


@kernel
def _largest(numbers):
    best, most = _with_sign(_Part(numbers, -1))
    for sign in range(5):
        part, now = _with_sign(_Part(numbers, sign % 4))
        if now > most:
            best, most = part, now
    return best.sign, best


def test_what_a_kernel_gives_back_of_what_it_was_lent_stays_as_it_is():
    sign, best = _largest(np.arange(2))
    assert sign == best.sign == 3
    assert best.numbers.tolist() == [0, 1]


def test_a_tuple_that_is_lent_is_one_argument():
    compiled_here(_sum_over)(_Whole(True, _Part(np.arange(3), 2), np.zeros((3, 2)), 0.5), None)
    library = next(iter(_of_part._called.overloads.values())).library
    (function,) = (each for each in library._final_module.functions if "_of_part" in each.name)
    # What is returned, the exception, the tuple, the number.
    assert len(list(function.arguments)) == 4


def test_collecting_garbage_is_as_it_was_after_a_compilation():
    @kernel
    def add(a):
        return a + 1

    for collects in (True, False):
        (gc.enable if collects else gc.disable)()
        try:
            add(1 if collects else 1.0)
            assert gc.isenabled() == collects
        finally:
            gc.enable()


def test_a_mistake_in_a_called_kernel_is_told_by_its_name():
    @kernel
    def inner(x):
        return x.nothing

    @kernel
    def outer(x):
        return inner(x)

    with pytest.raises(TypingError, match="Unknown attribute 'nothing'"):
        outer(np.zeros(1))


def test_what_can_not_be_kept_beside_the_files_is_kept_for_the_user(package, tmp_path):
    # A file of the folder's name keeps root out as well, as a read-only install keeps others.
    (package / "kernels" / "__pycache__").write_text("")
    home = {"HOME": tmp_path / "home", "XDG_CACHE_HOME": tmp_path / "home" / "cache"}
    assert ask(package, **home) == ["compiling", "41"]
    assert ask(package, **home) == ["41"]


def test_where_nothing_can_be_written_each_process_compiles(package, tmp_path):
    (package / "kernels" / "__pycache__").write_text("")
    file = tmp_path / "file"
    file.write_text("")
    for _ in range(2):
        assert ask(package, HOME=file, XDG_CACHE_HOME=file) == ["compiling", "41"]


def test_the_listener_is_told_once():
    told: list[str] = []
    _compiling.listen(lambda: told.append("once"))
    _compiling.tell()
    _compiling.tell()
    assert told == ["once"]


@pytest.mark.parametrize(("listens", "looks", "said"), [(False, True, 1), (False, False, 0), (True, True, 0)])
def test_who_sits_before_the_screen_is_told_where_nobody_listens(listens, looks, said, monkeypatch, capsys):
    monkeypatch.setattr(_compiling, "_told", False)
    monkeypatch.setattr(_compiling, "_listeners", [lambda: None] if listens else [])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: looks, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for _ in range(2):
        _compiling.tell()
    assert capsys.readouterr().err == f"{_compiling.MESSAGE}\n" * said


def test_a_numba_that_was_not_tried_compiles_its_own_way():
    def add(a, b):
        return a + b

    from k8slab.kernels._calling import Kernel

    assert version_info.short in _jit._TRIED
    tried, untried = (_jit._dispatcher(add, {"nogil": True}, version) for version in (version_info.short, (0, 61)))
    assert isinstance(tried, Kernel)
    assert not isinstance(untried, Kernel)
    assert tried(1, 2) == untried(1, 2) == 3
