"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# Pictures are drawn without a screen. Set before anything imports matplotlib.
os.environ["MPLBACKEND"] = "Agg"

# A kernel's first call compiles it, which takes longer than any deadline. CI draws the
# same cases at each run, so that a red run is red again; a developer's draws new ones.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
