"""Pictures of Raft show the data that they are given; the animation is a picture that any browser moves."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from k8slab import raft
from k8slab.analysis.raft_plots import ROLE_COLORS, distribution_plot, log_picture
from k8slab.errors import InputError, UnknownName

MS = raft.MS
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run():
    """Five members that lose messages; the leader crashes while clients write."""
    writes = [raft.Request(400 * MS + n * 60 * MS, client=n % 3, kind="append", key="x", value=n) for n in range(12)]
    lab = raft.RaftLab(5, seed=4, network=raft.NetworkModel(loss=0.05))
    return lab.run(raft.Crash(900 * MS, raft.LEADER, down_ns=500 * MS), *writes, until_ns=1500 * MS)


def bars(ax, color):
    """(begin, end) of the bars of a colour, by lane."""
    found = [patch for patch in ax.patches if isinstance(patch, Rectangle) and to_hex(patch.get_facecolor()) == color]
    return sorted((p.get_x(), p.get_x() + p.get_width()) for p in found)


def test_the_timeline_shows_who_led_when(run):
    ax = run.plot.timeline()
    led = run.leadership()
    spans = led[led["leaders"] > 0][["from_ns", "until_ns"]] / MS
    np.testing.assert_allclose(bars(ax, ROLE_COLORS["leader"].lower()), spans.to_numpy())
    ((begin, end),) = bars(ax, ROLE_COLORS["down"])
    assert (round(begin), round(end)) == (900, 1400)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["n1", "n2", "n3", "n4", "n5"]
    assert ax.get_xlabel() == "virtual time (ms)"


def test_the_timeline_shows_each_message_and_where_it_was_lost(run):
    ax = run.plot.timeline(100, 400, messages=True)
    sent = run.messages()
    shown = sent[sent["sent_ns"].between(100 * MS, 400 * MS)]
    assert sum(len(lines.get_segments()) for lines in ax.collections) == len(shown)
    (crosses,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses.get_xdata()) == (shown["arrived_ns"] < 0).sum() > 0
    assert not run.plot.timeline(100, 400, messages=False).collections


def test_the_log_picture_has_a_cell_an_entry(run):
    ax = run.plot.log()
    entries = sum(log.base_index + len(log.terms) for log in run.logs)
    assert len(ax.patches) == entries
    assert len(ax.lines) == 5  # how far each has committed
    few = log_picture(run, entries=3)
    assert len(few.patches) == 15
    with pytest.raises(InputError, match="no logs"):
        log_picture(replace(run, logs=()))


def test_distributions_rise_to_all_and_carry_published_marks():
    elections = raft.after_crash((150, 300), trials=500)
    ax = distribution_plot({"150-300": elections}, {"150-300": raft.published_curve("16", "150-300")})
    line, marks = ax.lines
    assert line.get_ydata()[-1] == 100.0
    assert line.get_xdata()[-1] == elections.time.max()
    assert marks.get_xdata()[7] == 171.3
    assert ax.get_xlabel() == "time without a leader (ms)"
    # What never was over is not drawn, but counts.
    assert distribution_plot({"a": [1.0, 2.0, np.inf, np.inf]}).lines[0].get_ydata().max() == 50.0


def test_writes_have_a_distribution_too(run):
    assert run.plot.latency().lines[0].get_xdata().max() == pytest.approx(run.commit_latency_ns().max() / MS)
    with pytest.raises(InputError, match="no write"):
        replace(run, history=()).plot.latency()


@pytest.mark.parametrize("times", [{}, {"a": []}, {"a": [np.inf]}], ids=str)
def test_a_distribution_of_nothing_is_refused(times):
    with pytest.raises(InputError):
        distribution_plot(times)


def test_an_ablation_is_a_line_a_set_of_switches():
    ablation = raft.ablate_elections("loss", [0.0, 0.3], trials=5, minutes=0.1, progress=False)
    ax = ablation.plot("leaders_per_minute")
    assert [line.get_label() for line in ax.lines] == ["neither", "pre-vote", "check-quorum", "both"]
    assert ax.lines[0].get_xdata().tolist() == [0.0, 30.0]
    assert ax.lines[3].get_ydata()[1] == ablation.value("leaders_per_minute", "both", 0.3)[0]
    assert len(ax.collections) == 4
    with pytest.raises(UnknownName, match="did you mean 'leaders_per_minute'"):
        ablation.plot("leader_per_minute")


def test_the_animation_moves_every_message_between_its_members(run):
    film = run.plot.animation(100, 400, seconds=10)
    root = ElementTree.fromstring(film.svg)
    sent = run.messages()
    shown = sent[(sent["sent_ns"] >= 100 * MS) & (sent["sent_ns"] < 400 * MS)]
    dots = [circle for circle in root.iter(f"{SVG}circle") if circle.get("visibility") == "hidden"]
    assert len(dots) == len(shown)
    for move in root.iter(f"{SVG}animate"):
        times = [float(time) for time in move.get("keyTimes").split(";")]
        assert times == sorted(times)
        assert times[0] == 0.0
        assert len(times) == len(move.get("values").split(";"))
        assert move.get("dur") == "10s"
    assert film._repr_html_().startswith("<svg")


def test_an_animation_is_a_page_of_its_own(run, tmp_path):
    page = run.plot.animation(100, 200).save(tmp_path / "run.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("draw", ["timeline", "animation"])
def test_a_time_that_is_none_is_refused(run, draw):
    with pytest.raises(InputError, match="until_ms=300"):
        getattr(run.plot, draw)(300, 300)


def test_published_curves_are_those_of_the_thesis():
    curve = raft.published_curve("9.10", "f=2")
    assert isinstance(curve, pd.DataFrame)
    assert curve.loc[curve["share"] == 0.5, "time_ms"].item() == pytest.approx(598.5, abs=0.2)
    assert all(raft.published_curve(figure, name)["time_ms"].is_monotonic_increasing
               for figure, names in raft.PUBLISHED.items() for name in names)
    with pytest.raises(UnknownName, match="did you mean '150-300'"):
        raft.published_curve("16", "150-30")
    with pytest.raises(UnknownName, match="figure"):
        raft.published_curve("17", "150-300")
