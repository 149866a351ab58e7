"""Pictures of Raft: who led when and what was said, the logs, distributions, ablations.

Each returns matplotlib Axes, and takes `ax` to draw on yours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Union

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from k8slab.analysis import style
from k8slab.analysis.raft_animation import Animation, animate
from k8slab.errors import InputError

if TYPE_CHECKING:
    from k8slab.experiments.raft_ablation import Ablation
    from k8slab.simulation.elections import Elections
    from k8slab.simulation.raft_run import LabRun
    from k8slab.simulation.replication import Replication

__all__ = ["ROLE_COLORS", "LabPlots", "ablation_plot", "animate", "distribution_plot", "log_picture", "timeline"]

_MS: Final = 1e6
# Roles differ in lightness and hatching, so that they can be told apart in grey too.
ROLE_COLORS: Final = {
    "follower": "#cfe3f2", "pre_candidate": "#f7d9a8", "candidate": "#E69F00", "leader": "#0072B2", "down": "#ffffff",
}  # fmt: skip
_ROLE_NAMES: Final = {"pre_candidate": "pre-candidate", "down": "down"}
# What a message is about: colour and name.
_MESSAGES: Final = {
    "vote": ("#D55E00", "votes"), "pre_vote": ("#E69F00", "pre-votes"), "append": ("#009E73", "entries"),
    "heartbeat": ("#9a9a9a", "heartbeats"), "other": ("#CC79A7", "other messages"),
}  # fmt: skip
_MOST_MESSAGES: Final = 4000
_BAR: Final = 0.34  # of a lane's height
Times = Union["Elections", "Replication", npt.ArrayLike]


class LabPlots:
    """The pictures of a run in the laboratory: `run.plot.timeline()` and the others; help() tells of each."""

    def __init__(self, run: LabRun) -> None:
        self._run = run

    def timeline(
        self, from_ms: float = 0.0, until_ms: float | None = None, *, messages: bool | None = None,
        ax: Axes | None = None,
    ) -> Axes:  # fmt: skip
        """Roles and terms of every member over time, with messages. See k8slab.analysis.raft_plots.timeline."""
        return timeline(self._run, from_ms, until_ms, messages=messages, ax=ax)

    def log(self, ax: Axes | None = None) -> Axes:
        """Every member's log at the end, a cell an entry. See k8slab.analysis.raft_plots.log_picture."""
        return log_picture(self._run, ax=ax)

    def latency(self, ax: Axes | None = None) -> Axes:
        """How long clients' writes took, as a distribution."""
        waits = self._run.commit_latency_ns() / _MS
        if not len(waits):
            raise InputError("no write of this run was answered")
        x = "from asking to the answer (ms)"
        return distribution_plot({"writes": waits}, title="How long a write takes", x=x, ax=ax)

    def animation(self, from_ms: float = 0.0, until_ms: float | None = None, *, seconds: float = 20.0) -> Animation:
        """The members in a ring and the messages between them, moving; for a notebook."""
        return animate(self._run, from_ms, until_ms, seconds=seconds)

    def __repr__(self) -> str:
        return "<pictures of a run: .timeline() .log() .latency() .animation()>"


# -- who led when ------------------------------------------------------------------


def timeline(
    run: LabRun, from_ms: float = 0.0, until_ms: float | None = None, *, messages: bool | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """A lane a member: its role as a bar with the term on it, and messages between the lanes.

    from_ms, until_ms : the time to show; to the end if not given
    messages          : whether to draw them; if not given, where there are 4,000 at most. A lost one ends in a
                        cross half-way.
    """
    from_ns, until_ns = _span(run, from_ms, until_ms)
    members = [name for name in run.members if any(change.member == name for change in run.record.roles)]
    lanes = {member: -float(row) for row, member in enumerate(members)}
    ax = style.new_axes(ax, 10.0, 1.3 + 0.75 * len(members))
    _draw_roles(ax, run, lanes, from_ns, until_ns)
    sent = [m for m in run.record.messages if from_ns <= m.sent_ns <= until_ns and {m.source, m.target} <= lanes.keys()]
    shown = len(sent) <= _MOST_MESSAGES if messages is None else messages
    kinds = _draw_messages(ax, sent, lanes) if shown else []
    _draw_actions(ax, run, from_ns, until_ns, len(members))
    ax.set(xlim=(from_ns / _MS, until_ns / _MS), ylim=(-len(members) + 0.4, 0.75))
    ax.set_yticks([*lanes.values()], [*lanes])
    style.names_on_y(ax)
    style.thousands(ax.xaxis)
    roles = [
        Patch(facecolor=color, edgecolor="#999999", hatch="////" * (role == "down"), label=_ROLE_NAMES.get(role, role))
        for role, color in ROLE_COLORS.items()
    ]
    lines = [Line2D([], [], color=_MESSAGES[kind][0], label=_MESSAGES[kind][1]) for kind in kinds]
    if shown and any(m.arrived_ns < 0 for m in sent):
        lines.append(Line2D([], [], color=style.INK, marker="x", linestyle="", markersize=5, label="lost"))
    style.legend(ax, handles=[*roles, *lines])
    note = "Numbers are terms; dashed lines are what was done to the cluster." + (
        "" if shown or messages is False else f" {len(sent):,} messages are not drawn: look at a shorter time."
    )
    return style.finish(ax, "Who led when", "virtual time (ms)", "", note=note, grid="x")


def _span(run: LabRun, from_ms: float, until_ms: float | None) -> tuple[int, int]:
    until_ns = run.ended_ns if until_ms is None else round(until_ms * _MS)
    from_ns = round(from_ms * _MS)
    if not 0 <= from_ns < until_ns:
        raise InputError(f"from_ms={from_ms:g}, until_ms={until_ns / _MS:g}: wanted 0 <= from_ms < until_ms")
    return from_ns, until_ns


def _draw_roles(ax: Axes, run: LabRun, lanes: Mapping[str, float], from_ns: int, until_ns: int) -> None:
    width = (until_ns - from_ns) / _MS
    for member, lane in lanes.items():
        changes = [change for change in run.record.roles if change.member == member]
        ends = [change.at_ns for change in changes[1:]] + [run.ended_ns]
        term_shown = None
        for change, end in zip(changes, ends, strict=True):
            start, stop = max(change.at_ns, from_ns) / _MS, min(end, until_ns) / _MS
            if stop <= start:
                continue
            ax.add_patch(
                Rectangle((start, lane - _BAR / 2), stop - start, _BAR, facecolor=ROLE_COLORS[change.role],
                          edgecolor="#8a8a8a", linewidth=0.5, hatch="////" * (change.role == "down"), zorder=2)
            )  # fmt: skip
            # A number that its bar can't hold says nothing; nor does one that stands there already.
            if stop - start > 0.022 * width and change.role != "down" and (change.role, change.term) != term_shown:
                ink = "white" if change.role == "leader" else style.INK
                ax.text(start + 0.004 * width, lane, str(change.term), fontsize=8, color=ink, va="center", zorder=4,
                        clip_on=True)
                term_shown = (change.role, change.term)


def _about(kind: str) -> str:
    return next((about for about in ("pre_vote", "vote", "append", "heartbeat") if kind.startswith(about)), "other")


def _draw_messages(ax: Axes, sent: Sequence[Any], lanes: Mapping[str, float]) -> list[str]:
    """Lines from lane to lane; what they are about."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    crosses = []
    ways = [m.arrived_ns - m.sent_ns for m in sent if m.arrived_ns >= 0]
    usual = float(np.median(ways)) if ways else 1.0
    for m in sent:
        start, stop = lanes[m.source], lanes[m.target]
        edge = _BAR / 2 if stop > start else -_BAR / 2
        begin = (m.sent_ns / _MS, start + edge)
        if m.arrived_ns < 0:
            end = ((m.sent_ns + usual / 2) / _MS, (start + stop) / 2)
            crosses.append(end)
        else:
            end = (m.arrived_ns / _MS, stop - edge)
        found.setdefault(_about(m.kind), []).append([begin, end])
    faint = 0.9 if len(sent) < 300 else 0.45
    for about, lines in found.items():
        color = _MESSAGES[about][0]
        ax.add_collection(LineCollection(lines, colors=color, linewidths=0.8, alpha=faint, zorder=1.5), autolim=False)
    if crosses:
        ax.plot(*zip(*crosses, strict=True), "x", color=style.INK, markersize=4, markeredgewidth=1.0, zorder=3)
    return [about for about in _MESSAGES if about in found]


def _draw_actions(ax: Axes, run: LabRun, from_ns: int, until_ns: int, lanes: int) -> None:
    events = run.events()
    actions = events[(events["event"] == "action") & events["at_ns"].between(from_ns, until_ns)]
    last = -np.inf
    for at_ns, what, member in actions[["at_ns", "detail", "member"]].itertuples(index=False):
        ax.axvline(at_ns / _MS, color=style.INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
        # Names that would lie on one another are left out.
        if at_ns / _MS - last > 0.12 * (until_ns - from_ns) / _MS:
            last = at_ns / _MS
            text = f" {what.lower()} {member}".rstrip()
            ax.text(last, 0.7, text, fontsize=8, color=style.INK, va="top", clip_on=True)


# -- the logs ------------------------------------------------------------------------


def log_picture(run: LabRun, ax: Axes | None = None, *, entries: int = 40) -> Axes:
    """A row a member, a cell an entry, coloured by term: what is where, and up to where it is committed.

    entries : so many at most, the last ones. Compacted entries are hatched.
    """
    logs = [log for log in run.logs if log.terms or log.base_index]
    if not logs:
        raise InputError("this run has no logs to draw")
    last = max(log.base_index + len(log.terms) for log in logs)
    first = max(1, last - entries + 1)
    terms = sorted({term for log in logs for term in log.terms})
    ax = style.new_axes(ax, 10.0, 1.6 + 0.5 * len(logs))
    for row, log in enumerate(logs):
        for index in range(first, log.base_index + len(log.terms) + 1):
            gone = index <= log.base_index
            term = 0 if gone else log.terms[index - log.base_index - 1]
            face = "#eeeeee" if gone else style.color(terms.index(term))
            done = index <= log.committed
            ax.add_patch(
                Rectangle((index - 0.5, -row - 0.36), 1, 0.72, facecolor=face, edgecolor="white", linewidth=1.2,
                          alpha=1.0 if done or gone else 0.4, hatch="////" * gone)
            )  # fmt: skip
            if not gone and last - first < 60:
                ink = "white" if done else style.INK
                ax.text(index, -row, str(term), ha="center", va="center", fontsize=8, color=ink)
        if log.committed >= first:
            ax.plot([log.committed + 0.5] * 2, [-row - 0.46, -row + 0.46], color=style.INK, linewidth=2.4)
    ax.set(xlim=(first - 0.7, last + 0.9), ylim=(-len(logs) + 0.4, 0.6))
    ax.set_yticks([-row for row in range(len(logs))], [log.member for log in logs])
    style.names_on_y(ax)
    style.whole_ticks(ax.xaxis)
    style.legend(ax, "term", [Patch(color=style.color(place), label=str(term)) for place, term in enumerate(terms)])
    note = "A black bar stands behind the last entry known to be committed; paler entries are not."
    note += " Hatched: replaced by a snapshot." if any(log.base_index >= first for log in logs) else ""
    return style.finish(ax, "The logs at the end", "index of the entry", "", note=note, grid="none")


# -- distributions ---------------------------------------------------------------------


def distribution_plot(
    times: Mapping[str, Times],
    published: Mapping[str, pd.DataFrame] | None = None,
    *,
    title: str = "How long the cluster has no leader",
    x: str = "time without a leader (ms)",
    note: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Which share of elections or writes was over within a time, a line each; published curves as marks.

    times     : by name: Elections, Replication, or values
    published : by the same names: frames with `share` and `time_ms`, as published_curve() gives
    """
    if not times:
        raise InputError("no times to show")
    ax = style.new_axes(ax)
    marked = published or {}
    for position, (name, given) in enumerate(times.items()):
        values, trials = _values(given)
        share = 100.0 * np.arange(1, len(values) + 1) / trials
        # A thousand steps are finer than any screen.
        at = np.unique(np.linspace(0, len(values) - 1, min(len(values), 1000)).round().astype(np.int64))
        ax.step(values[at], share[at], where="post", linewidth=1.8, label=name, color=style.color(position),
                linestyle="-" if marked else style.DASHES[position % len(style.DASHES)])
        if name in marked:
            ax.plot(marked[name]["time_ms"], 100.0 * marked[name]["share"], linestyle="", markersize=4.5,
                    marker=style.MARKERS[position % len(style.MARKERS)], color=style.color(position),
                    markeredgecolor="white", markeredgewidth=0.5)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    # Over more than two decades and a half, names at 2 and 5 would lie on one another.
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,)))
    ax.xaxis.set_minor_locator(NullLocator())
    style.thousands(ax.xaxis)
    ax.set(ylim=(-2.0, 102.0))
    ax.set_yticks(range(0, 101, 20))
    style.legend(ax)
    said = note or ("Lines: simulated here. Marks: published." if marked else "")
    return style.finish(ax, title, x, "done within that time (%)", note=said)


def _values(given: Times) -> tuple[npt.NDArray[np.float64], int]:
    """Sorted times that are finite, at least one; and how many there are with the others."""
    raw = getattr(given, "time", getattr(given, "latency", given))
    values = np.sort(np.asarray(raw, dtype=np.float64))
    if not len(values) or not np.isfinite(values[0]):
        raise InputError("a distribution needs one finite time or more")
    return values[np.isfinite(values)], len(values)


# -- ablations ---------------------------------------------------------------------------

_LEVELS: Final = {
    "loss": "messages lost (%)", "deaf member": "messages lost on their way to one member (%)",
    "cut link": "messages lost between two members (%)",
    "clock drift": "clocks too fast or too slow by up to (%)",
}  # fmt: skip
_MEASURES: Final = {
    "unserved_percent": ("time without a usable leader (%)", "When nobody can write"),
    "leaders_per_minute": ("leaders elected a minute", "How often the leader changes"),
    "candidacies_per_minute": ("terms begun a minute", "How often somebody stands"),
}


def ablation_plot(ablation: Ablation, metric: str = "unserved_percent", ax: Axes | None = None) -> Axes:
    """A metric against how bad the condition is, a line a set of switches; bands are 95 % intervals of the means."""
    ablation.value(metric, "both", ablation.frame["level_percent"].iloc[0] / 100)
    y, title = _MEASURES[metric]
    ax = style.new_axes(ax)
    frame = ablation.frame[ablation.frame["metric"] == metric]
    for position, (name, rows) in enumerate(frame.groupby("switches", sort=False)):
        level = rows["level_percent"]
        ax.plot(level, rows["mean"], linewidth=1.8, label=str(name), **style.line(position),
                marker=style.MARKERS[position], markersize=5)
        ax.fill_between(level, rows["low"], rows["high"], color=style.color(position), alpha=0.18, linewidth=0)
    ax.set_ylim(bottom=0)
    style.thousands(ax.xaxis)
    style.thousands(ax.yaxis)
    style.legend(ax, "switched on")
    trials = int(frame["trials"].iloc[0])
    note = f"{ablation.setup.members} members, {trials} clusters a point; bands: 95 % of the mean."
    return style.finish(ax, f"{title}: {ablation.condition}", _LEVELS[ablation.condition], y, note=note)
