"""Compiled kernels on disk: found again by the next process, and never older than any file they come from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import k8slab
from k8slab.kernels import _compiling

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
    for name in ("__init__.py", "kernels/__init__.py", "kernels/_jit.py", "kernels/_compiling.py"):
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
    run = subprocess.run(
        command, env=environment, cwd=package.parent, capture_output=True, text=True, check=False
    )
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
