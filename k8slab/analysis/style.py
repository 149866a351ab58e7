"""How every plot looks: colours, units for people, axes without clutter. Global settings are never touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator

from k8slab.analysis.frames import stem_of
from k8slab.domain.resources import unit_of

Grid = Literal["both", "x", "y", "none"]

# Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008) without its yellow, which white
# paper swallows. Colours differ in lightness too; lines and marks differ in shape as well.
COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES: Final = ("-", (0, (5, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<")  # one more than colours, so pairs don't repeat
INK: Final = "#222222"
FAINT: Final = "#6b6b6b"
RULE: Final = "#e3e3e3"
ACCENT, SECOND = COLORS[0], COLORS[1]

# What a resource's exact unit is divided by for people, and what they call the result.
_PEOPLE: Final = {"cpu": (1000.0, "cores"), "gpu": (1000.0, "GPUs"), "pods": (1.0, "pods")}
_NAMES: Final = {"cpu": "CPU", "gpu": "GPU"}


def color(position: int) -> str:
    """The position's colour; they repeat after seven."""
    return COLORS[position % len(COLORS)]


def line(position: int) -> dict[str, Any]:
    """Colour and dashes of a line: 28 different ones, neighbours differing in both."""
    return {"color": color(position), "linestyle": DASHES[position % len(DASHES)]}


def marks(position: int, points: int) -> dict[str, Any]:
    """Some seven marks along a line of so many points, neighbours' at different places."""
    every = max(points // 7, 1)
    return {"marker": MARKERS[position % len(MARKERS)], "markersize": 5, "markevery": (position % every, every)}


def for_people(resource: str) -> tuple[float, str]:
    """(divisor, unit) in which people say how much of a resource there is.

    >>> for_people("cpu"), for_people("memory"), for_people("nvidia.com/gpu")
    ((1000.0, 'cores'), (1073741824.0, 'GiB'), (1.0, 'count'))
    """
    if resource in _PEOPLE:
        return _PEOPLE[resource]
    return (2.0**30, "GiB") if unit_of(resource) == "bytes" else (1.0, "count")


def resource_name(resource: str) -> str:
    """A resource as it is called in a title.

    >>> resource_name("cpu"), resource_name("ephemeral_storage")
    ('CPU', 'ephemeral storage')
    """
    return _NAMES.get(resource, stem_of(resource).replace("_", " "))


def amount_label(resource: str) -> str:
    """The name of an axis of amounts.

    >>> amount_label("cpu"), amount_label("gpu")
    ('CPU (cores)', 'GPUs')
    """
    unit = for_people(resource)[1]
    return unit if resource in ("gpu", "pods") else f"{resource_name(resource)} ({unit})"


def sentence(text: str) -> str:
    """The text with a capital first letter.

    >>> sentence("memory packed"), sentence("CPU packed")
    ('Memory packed', 'CPU packed')
    """
    return text[:1].upper() + text[1:]


def new_axes(ax: Axes | None, width: float = 7.2, height: float = 4.0) -> Axes:
    """The axes given, or those of a new figure that makes room for its legend by itself."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def finish(ax: Axes, title: str, x: str, y: str, *, note: str = "", grid: Grid = "both") -> Axes:
    """Title, axis names, faint grid behind the data, no box. `note` is a line in small print under the title."""
    ax.set_title(title, loc="left", fontsize=12, color=INK, pad=22 if note else 10, fontweight="bold")
    if note:
        ax.annotate(note, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9,
                    color=FAINT, va="bottom", annotation_clip=False)
    ax.set_xlabel(x, fontsize=10, color=INK)
    ax.set_ylabel(y, fontsize=10, color=INK)
    ax.tick_params(labelsize=9, colors=INK, length=3, color=RULE)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#bdbdbd")
    if grid != "none":
        ax.grid(axis=grid, color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def legend(ax: Axes, title: str = "", handles: Sequence[Any] | None = None) -> None:
    """A legend beside the data, never on it."""
    if handles is None:
        handles = ax.get_legend_handles_labels()[0]
    box = ax.legend(handles=handles, title=title, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0,
                    frameon=False, fontsize=9, title_fontsize=9, handlelength=2.6, alignment="left")
    for text in (*box.get_texts(), box.get_title()):
        text.set_color(INK)


def names_on_y(ax: Axes) -> None:
    """A vertical axis of names needs neither line nor ticks."""
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def thousands(axis: Axis) -> None:
    """1,200,000 rather than 1200000 or 1.2e+06; no offset at the end of the axis."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def whole_ticks(axis: Axis) -> None:
    """Ticks at whole numbers only, for things that are counted."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=8, steps=[1, 2, 2.5, 5, 10]))
    thousands(axis)


def percent_axes(ax: Axes, right: float = 100.0) -> None:
    """Both axes from 0 to 100 percent, the horizontal one further if need be, with a little air."""
    ax.set(xlim=(-0.02 * right, 1.02 * right), ylim=(-2.0, 102.0))
    ax.set_xticks(range(0, int(right) + 1, 20 if right <= 120 else 50))
    ax.set_yticks(range(0, 101, 20))
