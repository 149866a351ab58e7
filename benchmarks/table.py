"""What `pytest benchmarks --benchmark-json=FILE` measured, as a Markdown table and as a picture.

    python -m benchmarks.table FILE ...                      # prints the table; of several runs, one after another
    python -m benchmarks.table FILE --picture speed.png      # draws pods a second against nodes, classes, plug-ins
    python -m benchmarks.table FILE --readme README.md       # puts the table where README has the last one
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measuring import PATHS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEGIN, END = "<!-- speed table -->", "<!-- end of speed table -->"
Info = dict[str, Any]

# sweep: (title, what stands under the horizontal axis)
SWEEPS: Final = {
    "nodes": ("100 classes of requests", "nodes"),
    "classes": ("10,000 nodes", "classes of requests"),
    "plug-ins": ("5,000 nodes, 100 deployments", "score plug-ins at work"),
}


def read(*paths: Path) -> dict[str, Any]:
    """pytest-benchmark's JSON; of several files the benchmarks of all, on the machine of the first.

    Raises ValueError where no benchmark in a file says pods a second.
    """
    parts: list[dict[str, Any]] = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if not any("engine" in info for info in infos(part)):
            wanted = "wanted what `pytest benchmarks --benchmark-json=FILE` writes"
            raise ValueError(f"{path.name} has no benchmark with an engine's pods a second; {wanted}")
        if machine(part | {"datetime": ""}) != machine(parts[0] | {"datetime": ""}):
            raise ValueError(f"{path.name} is of another machine than {paths[0].name}; wanted runs of one machine")
    return parts[0] | {"benchmarks": [each for part in parts for each in part.get("benchmarks", [])]}


def infos(told: dict[str, Any]) -> list[Info]:
    """What each benchmark left, with its parameter `name` as its row where it says none."""
    return [{"row": (each["params"] or {}).get("name"), **each["extra_info"]} for each in told.get("benchmarks", [])]


def table(told: dict[str, Any]) -> str:
    """Pods a second a workload, in Markdown, with machine and versions under it."""
    rows = [info for info in infos(told) if "engine" in info and "sweep" not in info]
    rates = (f"{path}, pods/s" for path in PATHS)
    head = ["workload", "nodes", "pods", *rates, "engine / full scan", "path", "peak memory"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *(_cells(info) for info in rows)]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", machine(told)])


def _cells(info: Info) -> list[str]:
    rates = [_number(info.get(path)) for path in PATHS]
    times = f"{info['engine'] / info['full scan']:,.1f}" if "full scan" in info else ""
    memory = f"{info['peak_bytes'] / 2**20:,.0f} MiB" if "peak_bytes" in info else ""
    sizes = [_number(info.get(size)) for size in ("nodes", "pods")]
    return [str(info["row"]), *sizes, *rates, times, info.get("path", ""), memory]


def _number(value: float | None) -> str:
    """Three digits of it are all that a second run would find again."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{float(f'{value:.3g}'):,.{1 if value < 10 else 0}f}"


def machine(told: dict[str, Any]) -> str:
    """On what it ran, and when."""
    info = told["machine_info"]
    versions = f"Python {info['python_version']}, numpy {info.get('numpy', '?')}, numba {info.get('numba', '?')}"
    cpu = f"{info['cpu'].get('brand_raw', info['machine'])}, {info['cpu'].get('count', '?')} cores"
    return f"CPU seconds of one core, medians; {cpu}; {versions}; {told['datetime'][:10]}."


def picture(told: dict[str, Any]) -> Figure:
    """Pods a second by each way of placing, one plot a sweep that was measured."""
    from matplotlib import pyplot as plt

    from k8slab.analysis import style

    points = {sweep: [info for info in infos(told) if info.get("sweep") == sweep] for sweep in SWEEPS}
    drawn = [sweep for sweep in SWEEPS if points[sweep]]
    if not drawn:
        raise ValueError("there is nothing to draw: no benchmark of benchmarks/test_sweeps.py is in the file")
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(1.6 + 4.1 * len(drawn), 4.0), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, sweep in zip(axes[0], drawn, strict=True):
        _lines(ax, points[sweep])
        title, below = SWEEPS[sweep]
        style.finish(ax, title, below, "pods a second" if ax is axes[0, 0] else "")
    style.legend(axes[0, -1], handles=axes[0, 0].get_lines()[::-1])
    return figure


def _lines(ax: Axes, points: Sequence[Info]) -> None:
    from k8slab.analysis import style

    numbers = all(isinstance(info["x"], int) for info in points)
    points = sorted(points, key=lambda info: info["x"]) if numbers else points
    where = [info["x"] for info in points] if numbers else list(range(len(points)))
    for position, path in enumerate(PATHS):
        rates = [info.get(path, float("nan")) for info in points]
        place = len(PATHS) - 1 - position  # the engine's line is the one to see first
        look = {**style.line(place), "marker": style.MARKERS[place], "markersize": 5}
        ax.plot(where, rates, label=path, **look)
    ax.set_yscale("log")
    style.thousands(ax.yaxis)
    if numbers:
        ax.set_xscale("log")
        style.thousands(ax.xaxis)
    else:
        ax.set_xticks(where, [info["x"] for info in points], rotation=30, ha="right")


def into_readme(text: str, new: str) -> str:
    """README with another table between its two marks. Raises ValueError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: wanted {BEGIN} and, after it, {END}")
    return f"{before}{BEGIN}\n{new}\n{END}{after}"


def main(arguments: Iterable[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="what pytest --benchmark-json wrote")
    parser.add_argument("--picture", type=Path, help="an SVG or PNG to draw")
    parser.add_argument("--readme", type=Path, help="a text to put the table into, between its marks")
    given = parser.parse_args(None if arguments is None else list(arguments))
    try:
        told = read(*given.results)
        if given.picture:
            picture(told).savefig(given.picture, dpi=130)
        if given.readme:
            text = into_readme(given.readme.read_text(encoding="utf-8"), table(told))
            given.readme.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(table(told))


if __name__ == "__main__":
    main()
