"""What a benchmark's JSON says of the machine: what matters for speed, and not whose machine it is."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)
    machine_info.update(numpy=np.__version__, numba=numba.__version__)
