"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Pictures are drawn without a screen. Set before anything imports matplotlib.
os.environ["MPLBACKEND"] = "Agg"

# A kernel's first call compiles it, which takes longer than any deadline. CI draws the same
# cases at each run, so that a red run is red again, and hypothesis' usual hundred of them;
# a developer's run draws new ones, and fewer: it is made many times a day.
settings.register_profile("developer", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A run of everything takes every core; one of named files stays in one process, as does `-n 0` or `--pdb`."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    options = config.option
    # A worker comes here too, with the options as if nobody had asked for workers.
    several = os.name == "posix" and config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput")
    if everything and several and options.numprocesses is None and not options.usepdb:
        options.numprocesses = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        # A file's tests mostly follow one another, so that what they share is made once.
        options.dist = "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    """Workers save compiled kernels one after another.

    numba picks a free file name and then writes it: of two processes that save two signatures of one
    kernel in the same moment, both might pick the same, and one would later run the other's code.
    """
    if not hasattr(config, "workerinput"):
        return
    import fcntl

    from numba.core.caching import IndexDataCacheFile

    save = IndexDataCacheFile.save

    def save_alone(self: Any, key: Any, data: Any) -> None:
        with Path(self._cache_path, ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(self, key, data)

    IndexDataCacheFile.save = save_alone
