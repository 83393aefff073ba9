"""Opening hours and stoppages of a lock, from the journal, as instants."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from gateway.journal import DAYS, Entry, LockHours, LockStoppage, in_force
from gateway.report.intervals import spans
from gateway.report.lock_time import Schedule
from gateway.report.month import NS
from gateway.report.period import Period
from gateway.texts import local


def schedule_of(entries: Sequence[Entry], lock: str, period: Period) -> Schedule:
    """What the journal says of a lock in a period.

    Several entries for one day add up. On a day that no entry of opening hours reaches, the whole day counts:
    that a lock is closed on a weekday is said by hours that hold on the other days.
    """
    valid = in_force(entries)
    bodies = [e.body for e in valid if e.kind in ("lock_hours", "lock_stoppage")]
    mine = [b for b in bodies if isinstance(b, LockHours | LockStoppage) and b.lock == lock]
    hours = [b for b in mine if isinstance(b, LockHours)]
    stoppages = [b for b in mine if isinstance(b, LockStoppage)]
    found: list[tuple[int, int]] = []
    unsaid = False
    for day in _days(period):
        reaching = [b for b in hours if b.first_day <= day and (b.last_day is None or day <= b.last_day)]
        unsaid = unsaid or not reaching
        open_ = [(b.opens, b.closes) for b in reaching if DAYS[day.weekday()] in b.weekdays]
        found += [
            (_ns(period, day, opens), _ns(period, day, closes, end=True))
            for opens, closes in (open_ if reaching else [(time(0), time(0))])
        ]
    return Schedule(
        hours=spans(found) if hours else None,
        calendar=unsaid,
        planned=spans([(_instant(b.start), _instant(b.stop)) for b in stoppages if b.planned]),
        unplanned=spans([(_instant(b.start), _instant(b.stop)) for b in stoppages if not b.planned]),
    )


def _days(period: Period) -> list[date]:
    first, last = local(period.start_ns, period.zone).date(), period.last_day
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _ns(period: Period, day: date, at: time, end: bool = False) -> int:
    """A local time as an instant; midnight as an end is that of the next day."""
    if end and at == time(0):
        day += timedelta(days=1)
    return _instant(datetime.combine(day, at, period.zone))


def _instant(at: datetime) -> int:
    since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * (NS // 1_000_000)
