"""README's example runs as it stands, and prints what README says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = r"<!-- {} -->\s*```\w*\n(.*?)```"


def block(name: str) -> str:
    found = re.findall(BLOCK.format(name), (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1, f"README.md needs one code block after one <!-- {name} -->"
    return str(found[0])


def test_the_example_prints_what_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    code = block("example")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 15
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == block("output")


def test_the_simulated_day_prints_what_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("simulation example"), "README.md", "exec"), {})
    assert capsys.readouterr().out == block("simulation output")


def test_what_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
