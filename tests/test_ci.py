"""CI runs what README tells a reader to run: .ci/run takes the command from README itself."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = re.compile(r"<!-- test command -->\s*```\w*\n(.*?)```", re.DOTALL)


def test_readmes_test_command_makes_an_environment_and_runs_every_test():
    found = COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(found) == 1, "README.md needs one code block after one <!-- test command -->"
    command = found[0].strip()
    assert re.search(r"-m venv \.venv\b", command)
    assert "'.[test]'" in command
    # No path, no -k, no -m: all that is not marked long, as a plain `pytest` runs it.
    assert command.endswith(".venv/bin/python -m pytest")


def test_ci_takes_the_command_from_readme_and_passes_it_on():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in script
    assert 'bash -euo pipefail -c "$test_command"' in script
