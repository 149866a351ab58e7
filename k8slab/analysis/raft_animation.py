"""A run of the Raft laboratory that moves: members in a ring, messages between them, in a notebook.

One picture in SVG whose parts the browser moves by itself (SMIL): no script, no frames, a few
hundred bytes a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import cos, pi, sin
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8slab.errors import InputError

if TYPE_CHECKING:
    from k8slab.simulation.raft_run import LabRun

Place = tuple[float, float]
_MS: Final = 1e6
_SIZE, _RING, _DISC = 460, 165, 34
_MOST_MESSAGES: Final = 5000
_ROLES: Final = {
    "follower": "#cfe3f2", "pre_candidate": "#f7d9a8", "candidate": "#E69F00", "leader": "#0072B2", "down": "#ffffff",
}  # fmt: skip
_KINDS: Final = {"vote": "#D55E00", "pre_vote": "#E69F00", "append": "#009E73", "heartbeat": "#9a9a9a"}


@dataclass(frozen=True)
class Animation:
    """A picture that moves in a notebook's cell; `.save("run.html")` for elsewhere."""

    svg: str

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> Path:
        """Write it as a page of its own."""
        page = Path(path)
        page.write_text(f"<!doctype html><meta charset='utf-8'><title>Raft</title>{self.svg}\n", encoding="utf-8")
        return page

    def __repr__(self) -> str:
        return f"<Animation of {len(self.svg):,} bytes; shown in a notebook, or by .save('run.html')>"


def animate(run: LabRun, from_ms: float = 0.0, until_ms: float | None = None, *, seconds: float = 20.0) -> Animation:
    """Play a part of a run in so many seconds, again and again.

    Discs are members, coloured by role, with their term; dots are messages, and a lost one stops half-way.
    """
    until_ns = run.ended_ns if until_ms is None else round(until_ms * _MS)
    from_ns = round(from_ms * _MS)
    if not 0 <= from_ns < until_ns or seconds <= 0.0:
        raise InputError(f"from_ms={from_ms:g}, until_ms={until_ns / _MS:g}, seconds={seconds:g}: no time to show")
    film = _Film(from_ns, until_ns, seconds)
    names = [name for name in run.members if any(change.member == name for change in run.record.roles)]
    angles = [2 * pi * place / len(names) - pi / 2 for place in range(len(names))]
    centre = _SIZE / 2
    places = {
        name: (centre + _RING * cos(a), centre + _RING * sin(a)) for name, a in zip(names, angles, strict=True)
    }
    sent = [
        m
        for m in run.record.messages
        if from_ns <= m.sent_ns < until_ns and m.source in places and m.target in places and m.source != m.target
    ]
    if len(sent) > _MOST_MESSAGES:
        raise InputError(f"{len(sent):,} messages are more than {_MOST_MESSAGES:,}: take a shorter time")
    parts = [_disc(film, run, name, *places[name]) for name in names]
    ways = sorted(m.arrived_ns - m.sent_ns for m in sent if m.arrived_ns >= 0)
    usual = ways[len(ways) // 2] if ways else round(_MS)
    for m in sent:
        arrives = m.arrived_ns if m.arrived_ns >= 0 else m.sent_ns + usual // 2
        reach = 1.0 if m.arrived_ns >= 0 else 0.5
        parts.append(_dot(film, m.kind, places[m.source], places[m.target], m.sent_ns, arrives, reach))
    parts.append(_clock(film))
    title = f"{from_ns / _MS:,.0f} to {until_ns / _MS:,.0f} ms of virtual time in {seconds:g} s"
    return Animation(
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_SIZE} {_SIZE + 40}' width='{_SIZE}' role='img' "
        f"font-family='sans-serif'><title>{escape(title)}</title>{''.join(parts)}{_legend()}</svg>"
    )


@dataclass(frozen=True)
class _Film:
    """How virtual time becomes a share of the film."""

    from_ns: int
    until_ns: int
    seconds: float

    def share(self, at_ns: int) -> str:
        share = (at_ns - self.from_ns) / (self.until_ns - self.from_ns)
        return f"{min(max(share, 0.0), 1.0):.5f}"

    def move(self, attribute: str, values: Sequence[str], times: Sequence[str], mode: str = "linear") -> str:
        return (
            f"<animate attributeName='{attribute}' dur='{self.seconds:g}s' repeatCount='indefinite' calcMode='{mode}' "
            f"values='{';'.join(values)}' keyTimes='{';'.join(times)}'/>"
        )


def _disc(film: _Film, run: LabRun, name: str, x: float, y: float) -> str:
    changes = [change for change in run.record.roles if change.member == name and change.at_ns < film.until_ns]
    before = [change for change in changes if change.at_ns <= film.from_ns]
    shown = [*before[-1:], *(change for change in changes if change.at_ns > film.from_ns)]
    times = ["0", *(film.share(change.at_ns) for change in shown[1:])]
    fills = [_ROLES[change.role] for change in shown]
    parts = [
        f"<circle cx='{x:.0f}' cy='{y:.0f}' r='{_DISC}' fill='{fills[0]}' stroke='#777'>"
        f"{film.move('fill', fills, times, 'discrete')}</circle>",
        f"<text x='{x:.0f}' y='{y - 4:.0f}' text-anchor='middle' font-size='14'>{escape(name)}</text>",
    ]
    ends = [*times[1:], "1"]
    for change, start, end in zip(shown, times, ends, strict=True):
        seen = film.move("visibility", ["hidden", "visible", "hidden"], ["0", start, end], "discrete")
        text = "down" if change.role == "down" else f"term {change.term}"
        parts.append(
            f"<text x='{x:.0f}' y='{y + 13:.0f}' text-anchor='middle' font-size='11' visibility='hidden'>"
            f"{text}{seen}</text>"
        )
    return "".join(parts)


def _dot(film: _Film, kind: str, source: Place, target: Place, sent: int, arrives: int, reach: float) -> str:
    """A message on its way; `reach` is how far of it, 1 if it arrives."""
    about = next((name for name in ("pre_vote", "vote", "append", "heartbeat") if kind.startswith(name)), "")
    start, end = film.share(sent), film.share(arrives)
    if float(end) <= float(start):
        end = f"{min(1.0, float(start) + 0.0005):.5f}"
    moves = []
    for axis, attribute in ((0, "cx"), (1, "cy")):
        begin = source[axis]
        stop = begin + reach * (target[axis] - begin)
        values = [f"{begin:.0f}", f"{begin:.0f}", f"{stop:.0f}", f"{stop:.0f}"]
        moves.append(film.move(attribute, values, ["0", start, end, "1"]))
    seen = film.move("visibility", ["hidden", "visible", "hidden"], ["0", start, end], "discrete")
    # What answers is smaller than what asks.
    radius = 4 if kind.endswith("resp") else 6
    fill = _KINDS.get(about, "#CC79A7")
    return f"<circle r='{radius}' fill='{fill}' visibility='hidden'>{''.join(moves)}{seen}</circle>"


def _clock(film: _Film) -> str:
    low, high = f"{film.from_ns / _MS:,.0f} ms", f"{film.until_ns / _MS:,.0f} ms"
    width, y = _SIZE - 40, _SIZE - 14
    move = film.move("width", ["0", str(width)], ["0", "1"])
    return (
        f"<rect x='20' y='{y}' width='{width}' height='5' fill='#e3e3e3'/>"
        f"<rect x='20' y='{y}' width='0' height='5' fill='#0072B2'>{move}</rect>"
        f"<text x='20' y='{y - 5}' font-size='11'>{low}</text>"
        f"<text x='{20 + width}' y='{y - 5}' font-size='11' text-anchor='end'>{high}</text>"
    )


def _legend() -> str:
    parts, x = [], 20
    names = {"leader": "leader", "candidate": "candidate", "pre_candidate": "pre-candidate", "follower": "follower"}
    for role, text in names.items():
        parts.append(f"<circle cx='{x + 6}' cy='{_SIZE + 8}' r='6' fill='{_ROLES[role]}' stroke='#777'/>")
        parts.append(f"<text x='{x + 16}' y='{_SIZE + 12}' font-size='11'>{text}</text>")
        x += 34 + 6 * len(text)
    x = 20
    kinds = {"vote": "votes", "pre_vote": "pre-votes", "append": "entries", "heartbeat": "heartbeats"}
    for kind, text in kinds.items():
        parts.append(f"<circle cx='{x + 6}' cy='{_SIZE + 28}' r='4' fill='{_KINDS[kind]}'/>")
        parts.append(f"<text x='{x + 16}' y='{_SIZE + 32}' font-size='11'>{text}</text>")
        x += 34 + 6 * len(text)
    return "".join(parts)
