"""What came of a schedule in the Raft laboratory: the verdict, and tidy frames of all that happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from k8slab.domain.raft import RaftConfig
from k8slab.simulation.linearizability import Operation, Verdict, check_linearizable
from k8slab.simulation.raft_faults import MS, Request, Schedule
from k8slab.simulation.raft_world import Record, World

if TYPE_CHECKING:
    import pandas as pd

    from k8slab.analysis.raft_plots import LabPlots


@dataclass(frozen=True)
class Violation:
    """A rule that was broken, and when.

    rule : an invariant's name; `linearizability`; `liveness` when calm brought no leader or no commit; or
           `refusal` when a member's own checks stopped it
    """

    rule: str
    text: str
    at_ns: int


class MemberLog(NamedTuple):
    """A member's log at the end: entries behind `base_index` with the term of each."""

    member: str
    up: bool
    base_index: int
    terms: tuple[int, ...]
    committed: int
    applied: int


class Leadership(NamedTuple):
    """A time in which the same members led; leaders is empty where nobody did."""

    from_ns: int
    until_ns: int
    leaders: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LabRun:
    """What came of one schedule."""

    schedule: Schedule
    config: RaftConfig
    violation: Violation | None
    record: Record
    history: tuple[Operation, ...]
    ended_ns: int
    logs: tuple[MemberLog, ...] = ()

    @cached_property
    def linearizable(self) -> Verdict:
        """Whether what clients were answered could have happened one request at a time."""
        return check_linearizable(self.history)

    @property
    def members(self) -> tuple[str, ...]:
        """All members, those that wait to be added too."""
        return (*self.schedule.members, *self.schedule.spares)

    @property
    def plot(self) -> LabPlots:
        """Its pictures: `run.plot.timeline()` and others."""
        from k8slab.analysis.raft_plots import LabPlots

        return LabPlots(self)

    # -- frames ----------------------------------------------------------------

    def events(self) -> pd.DataFrame:
        """One row an event, in order: at_ns, event (action, role, request or answer), member, term, detail."""
        rows = sorted(self._events(), key=lambda row: row[0])
        return _frame(rows, ("at_ns", "event", "member", "term", "detail"))

    def _events(self) -> Iterator[tuple[int, str, str, int, str]]:
        for action in self.schedule.actions:
            if not isinstance(action, Request):
                member = str(getattr(action, "member", ""))
                yield action.at_ns, "action", member, 0, type(action).__name__
        for change in self.record.roles:
            yield change.at_ns, "role", change.member, change.term, change.role
        for operation in self.history:
            asked = f"client {operation.client}: {operation.kind} {operation.key}"
            yield operation.invoked, "request", "", 0, asked
            if operation.returned is not None:
                yield operation.returned, "answer", "", 0, f"{asked} = {operation.answer}"

    def roles(self) -> pd.DataFrame:
        """One row each time a member took another role or term: at_ns, member, role (`down` too), term."""
        return _frame(self.record.roles, ("at_ns", "member", "role", "term"))

    def elections(self) -> pd.DataFrame:
        """One row an election won: term, leader, stood_ns, elected_ns, without_leader_ns before it."""
        rows, stood, led_until, leaders = [], dict[str, int](), 0, set[str]()
        for change in self.record.roles:
            if change.member in leaders:
                leaders.discard(change.member)
                led_until = change.at_ns
            if change.role in ("candidate", "pre_candidate"):
                stood.setdefault(change.member, change.at_ns)
            elif change.role == "leader":
                without = 0 if leaders else change.at_ns - led_until
                began = stood.pop(change.member, change.at_ns)
                rows.append((change.term, change.member, began, change.at_ns, without))
                leaders.add(change.member)
            else:
                stood.pop(change.member, None)
        return _frame(rows, ("term", "leader", "stood_ns", "elected_ns", "without_leader_ns"))

    def messages(self) -> pd.DataFrame:
        """One row a message: sent_ns, arrived_ns (-1 if lost), source, target, kind, term."""
        return _frame(self.record.messages, ("sent_ns", "arrived_ns", "source", "target", "kind", "term"))

    def commits(self) -> pd.DataFrame:
        """One row each time a member applied an entry: at_ns, member, index, term."""
        return _frame(self.record.commits, ("at_ns", "member", "index", "term"))

    def operations(self) -> pd.DataFrame:
        """One row a client's request: client, kind, key, argument, answer, invoked_ns, returned_ns (-1 if never)."""
        rows = [
            (op.client, op.kind, op.key, op.argument, op.answer, op.invoked, -1 if op.returned is None else op.returned)
            for op in self.history
        ]
        return _frame(rows, ("client", "kind", "key", "argument", "answer", "invoked_ns", "returned_ns"))

    def leadership(self) -> pd.DataFrame:
        """One row a time in which the same members led: from_ns, until_ns, leader (missing without), leaders."""
        rows = [
            (span.from_ns, span.until_ns, ",".join(span.leaders) or None, len(span.leaders))
            for span in self._leadership
        ]
        return _frame(rows, ("from_ns", "until_ns", "leader", "leaders"))

    @cached_property
    def _leadership(self) -> tuple[Leadership, ...]:
        spans, leaders, since = list[Leadership](), set[str](), 0
        for change in self.record.roles:
            if (change.role == "leader") == (change.member in leaders):
                continue
            if change.at_ns > since:
                spans.append(Leadership(since, change.at_ns, tuple(sorted(leaders))))
                since = change.at_ns
            (leaders.add if change.role == "leader" else leaders.discard)(change.member)
        if self.ended_ns > since:
            spans.append(Leadership(since, self.ended_ns, tuple(sorted(leaders))))
        return tuple(spans)

    def availability(self) -> float:
        """The share of the time in which some member that was up led."""
        led = sum(span.until_ns - span.from_ns for span in self._leadership if span.leaders)
        return led / self.ended_ns if self.ended_ns else 0.0

    def commit_latency(self) -> pd.DataFrame:
        """One row a write that was answered: client, kind, key, invoked_ns, latency_ns."""
        rows = [
            (op.client, op.kind, op.key, op.invoked, op.returned - op.invoked)
            for op in self.history
            if op.returned is not None and op.kind != "get"
        ]
        return _frame(rows, ("client", "kind", "key", "invoked_ns", "latency_ns"))

    def commit_latency_ns(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """From request to answer, of those that were answered and wrote."""
        return np.asarray(self.commit_latency()["latency_ns"], dtype=np.int64)

    # -- for people ------------------------------------------------------------

    def __repr__(self) -> str:
        verdict = "no rule broken" if self.violation is None else f"broke {self.violation.rule}"
        return f"<LabRun seed {self.schedule.seed}: {len(self.members)} members, {verdict}>"

    def _repr_html_(self) -> str:
        lost = sum(message.arrived_ns < 0 for message in self.record.messages)
        waits = self.commit_latency_ns()
        elected = sum(change.role == "leader" for change in self.record.roles)
        broken = self.violation
        facts = {
            "rules": f"{broken.rule} at {broken.at_ns / MS:,.1f} ms: {broken.text}" if broken else "none broken",
            "members": ", ".join(self.members),
            "virtual time": f"{self.ended_ns / MS:,.0f} ms, {self.record.events:,} events",
            "leaders elected": f"{elected:,}, and one led for {100 * self.availability():.1f} % of the time",
            "messages": f"{len(self.record.messages):,}, {lost:,} of them lost",
            "requests": f"{len(self.history):,}, {'' if self.linearizable else 'not '}linearizable",
            "median write": f"{np.median(waits) / MS:,.1f} ms" if len(waits) else "none was answered",
        }
        rows = "".join(
            f"<tr><td style='text-align:left'>{name}</td><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in facts.items()
        )
        return f"<table>{rows}</table><p>Pictures: <code>.plot</code>; frames: <code>.events()</code> and others.</p>"


def logs_of(world: World) -> tuple[MemberLog, ...]:
    """Every member's log as it is now."""
    return tuple(
        MemberLog(
            member.name,
            member.up,
            member.raft.log.base_index,
            tuple(entry.term for entry in member.raft.log.entries),
            member.raft.log.committed,
            member.raft.log.applied,
        )
        for member in world.members.values()
    )


def _frame(rows: list[Any], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(columns))
    # Without rows pandas takes every column for objects.
    numbers = [name for name in columns if name.endswith("_ns") or name in ("term", "index", "leaders", "client")]
    return frame.astype(dict.fromkeys(numbers, "int64")) if frame.empty else frame
