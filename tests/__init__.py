"""The tests: `pytest` runs them all, `pytest -m long` those that take minutes."""
