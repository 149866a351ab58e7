"""Points in time: int64 nanoseconds since 1970 inside, datetimes in UTC in the entities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from k8slab.domain.models import utc_now

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_NS: Final = 1_000_000_000


def to_ns(instant: datetime) -> int:
    """Nanoseconds since 1970, exactly. A datetime without a zone is taken as UTC.

    >>> to_ns(datetime(1970, 1, 1, 0, 0, 1, 5))
    1000005000
    """
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(instant_ns: int) -> datetime:
    """The datetime in UTC; below a microsecond, which it can't hold, is cut off."""
    return _EPOCH + timedelta(microseconds=instant_ns // 1000)


class UtcTime:
    """The time that entities are stamped with: what a service goes by when it is given no clock."""

    def now(self) -> int:
        return to_ns(utc_now())
