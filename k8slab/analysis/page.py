"""The pages that k8slab writes: templates that lie beside this file, filled in, and pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

import jinja2
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Draw = Callable[[Axes], Any]
_WIDTH: Final = 10.0  # inches: what a column of the page is to a picture's type


def template(name: str) -> jinja2.Template:
    """A template by its file name. What is filled in is text, whatever it holds; a missing value is an error."""
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(_source)
    ).get_template(name)


def _source(name: str) -> str:
    return files("k8slab.analysis").joinpath(name).read_text(encoding="utf-8")


def picture(draw: Draw, height: float, alt: str, title: str = "") -> dict[str, str]:
    """A plot as an image that stands in the page. No pyplot, and the same bytes each time."""
    return {"alt": alt, "src": f"data:image/svg+xml;base64,{base64.b64encode(svg(draw, height, title)).decode()}"}


def whole_picture(make: Callable[[], Figure], alt: str) -> dict[str, str]:
    """The same of a plot that makes its own figure, which is closed."""
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "k8slab", "svg.fonttype": "path"}):
        figure, file = make(), io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return {"alt": alt, "src": f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"}


def svg(draw: Draw, height: float, title: str = "") -> bytes:
    """A plot as the bytes of an SVG file, the same each time. height : inches"""
    with mpl.rc_context({"svg.hashsalt": "k8slab", "svg.fonttype": "path"}):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if title:
            axes.set_title(f"{title}: {axes.get_title(loc='left')}", loc="left", fontweight="bold", fontsize=12, pad=22)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
