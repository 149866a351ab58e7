"""Cron schedules in UTC, five fields or a descriptor. Pure.

The grammar of github.com/robfig/cron's ParseStandard, which Karpenter uses: names of months and
days, ranges, steps; a day matches if both its fields do, or either one where neither is "*".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from k8slab.errors import InputError

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# (name, least, most, names of values)
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
# Every day of every month falls on every weekday within so many years (a 29 February on a given weekday: 40).
_HORIZON_DAYS: Final = 41 * 366


@dataclass(frozen=True)
class Cron:
    """Which minutes a schedule hits."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read a schedule. Raises InputError that names the field.

        >>> Cron.parse("*/20 9-17 * * mon-fri").minutes == {0, 20, 40}
        True
        """
        fields = _DESCRIPTORS.get(text, text).split()
        if len(fields) != len(_FIELDS):
            raise InputError(
                f"schedule {text!r}: found {len(fields)} fields; "
                'wanted five ("0 9 * * mon-fri") or a descriptor ("@daily")'
            )
        sets = [_field(field, text, *grammar) for field, grammar in zip(fields, _FIELDS, strict=True)]
        minutes, hours, days, months, weekdays = sets
        return cls(minutes, hours, days, months, weekdays, not (_is_star(fields[2]) or _is_star(fields[4])))

    def next_after(self, moment: datetime) -> datetime | None:
        """The first hit later than this moment; None for a day that no calendar has."""
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = start.replace(hour=0, minute=0)
        for _ in range(_HORIZON_DAYS):
            if self._hits_day(day):
                hit = self._first_of(day, start)
                if hit is not None:
                    return hit
            if day.date() == datetime.max.date():
                return None
            day += timedelta(days=1)
        return None

    def _hits_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week

    def _first_of(self, day: datetime, start: datetime) -> datetime | None:
        hits = (day.replace(hour=hour, minute=minute) for hour in sorted(self.hours) for minute in sorted(self.minutes))
        return next((hit for hit in hits if hit >= start), None)


def _field(text: str, schedule: str, name: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        found |= _part(part, f"schedule {schedule!r}, {name}", least, most, names)
    return frozenset(found)


def _is_star(field: str) -> bool:
    """Whether a day field leaves the choice to the other one; "*/2" doesn't."""
    return any(part in ("*", "?", "*/1", "?/1") for part in field.split(","))


def _part(part: str, where: str, least: int, most: int, names: dict[str, int]) -> set[int]:
    values, slash, step_text = part.partition("/")
    first_text, dash, last_text = values.partition("-")
    step = _number(step_text, where, {}) if slash else 1
    if first_text in ("*", "?") and not dash:
        first, last = least, most
    else:
        first = _number(first_text, where, names)
        # "5/15" is from 5 on, every 15.
        last = _number(last_text, where, names) if dash else most if slash else first
    if not least <= first <= last <= most or step < 1:
        raise InputError(f"{where}: {part!r} is out of order or of range; wanted {least} to {most}, steps of 1 or more")
    return set(range(first, last + 1, step))


def _number(text: str, where: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{where}: {text!r} is no number{' or name' if names else ''}")
    return int(text)
