"""The pages that k8slab writes: templates that lie beside this file, filled in."""

from __future__ import annotations

from importlib.resources import files

import jinja2


def template(name: str) -> jinja2.Template:
    """A template by its file name. What is filled in is text, whatever it holds; a missing value is an error."""
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(_source)
    ).get_template(name)


def _source(name: str) -> str:
    return files("k8slab.analysis").joinpath(name).read_text(encoding="utf-8")
