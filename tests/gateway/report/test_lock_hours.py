"""Opening hours and stoppages from the journal."""

from datetime import date, datetime, timedelta
from typing import Any

import lock_rows as lr
from lock_rows import LOCK, NS, SITE

from gateway.journal import NewEntry, encode, parse
from gateway.report.intervals import total_ns
from gateway.report.lock_hours import schedule_of
from gateway.report.lock_time import Schedule
from gateway.report.model import build
from gateway.report.period import Period

OCTOBER = Period.parse("2026-10", "Europe/Paris")
HOUR_NS = 3600 * NS


def write(port: Any, kind: str, **values: str) -> int:
    body = parse(kind, {"lock": LOCK} | values, "Europe/Paris", "test")
    return int(port.book.write_journal([NewEntry(SITE, kind, encode(body), "A. Auteur", "test")], 1)[0].number)


def october(port: Any) -> Schedule:
    return schedule_of(port.book.journal(SITE), LOCK, OCTOBER)


def test_without_an_entry_there_are_no_hours(port: Any) -> None:
    found = october(port)
    assert (found.hours, found.calendar) == (None, True)


def test_hours_are_local_also_where_the_clocks_change(port: Any) -> None:
    write(port, "lock_hours", first_day="2026-01-01", opens="00:00", closes="06:00")
    found = october(port)
    assert found.hours is not None and not found.calendar
    lengths = [(b - a) // HOUR_NS for a, b in found.hours.tolist()]
    assert lengths == [7 if day == 25 else 6 for day in range(1, 32)]


def test_hours_hold_on_their_weekdays_and_seasons(port: Any) -> None:
    write(port, "lock_hours", first_day="2026-04-01", last_day="2026-10-15", opens="06:30", closes="20:30")
    write(
        port,
        "lock_hours",
        first_day="2026-10-16",
        weekdays="mon,tue,wed,thu,fri,sat",
        opens="08:00",
        closes="18:00",
    )
    write(port, "lock_hours", first_day="2026-10-16", weekdays="mon", opens="20:00", closes="00:00")
    found = october(port)
    assert found.hours is not None and not found.calendar
    days = [date(2026, 10, d) for d in range(16, 32)]
    late = sum(10 * (d.weekday() < 6) + 4 * (d.weekday() == 0) for d in days)
    assert total_ns(found.hours) == (15 * 14 + late) * HOUR_NS


def test_days_that_no_entry_reaches_count_whole(port: Any) -> None:
    write(port, "lock_hours", first_day="2026-10-30", opens="06:00", closes="07:00")
    found = october(port)
    assert found.calendar and found.hours is not None
    assert total_ns(found.hours) == (29 * 24 + 1 + 2) * HOUR_NS


def test_an_entry_that_was_taken_back_counts_no_more(port: Any) -> None:
    number = write(port, "lock_hours", first_day="2026-01-01", opens="00:00", closes="06:00")
    port.book.write_journal([NewEntry(SITE, "withdrawn", "{}", "A. Auteur", "wrong lock", number)], 2)
    assert october(port).hours is None


def test_stoppages_are_planned_or_not_and_of_this_lock(port: Any) -> None:
    write(port, "lock_stoppage", start="2026-10-05T08:00", stop="2026-10-05T10:00", planned="true")
    write(port, "lock_stoppage", start="2026-10-06T08:00", stop="2026-10-06T11:00", planned="false")
    write(port, "lock_stoppage", lock="lock-9", start="2026-10-06T08:00", stop="2026-10-06T11:00", planned="false")
    found = october(port)
    assert (total_ns(found.planned), total_ns(found.unplanned)) == (2 * HOUR_NS, 3 * HOUR_NS)


def test_a_report_takes_hours_and_stoppages_from_the_journal(port: Any) -> None:
    port.book.put_catalogue(lr.catalogue())
    write(port, "lock_hours", first_day="2026-01-01", opens="06:00", closes="20:00")
    write(port, "lock_stoppage", start="2026-10-05T08:00", stop="2026-10-05T12:00", planned="true")
    write(port, "lock_stoppage", start="2026-10-06T18:00", stop="2026-10-06T23:00", planned="false")
    first = datetime.fromisoformat("2026-10-06T04:00+00:00")  # 06:00 in Paris
    t_ns = [int((first + timedelta(minutes=i)).timestamp()) * NS for i in range(14 * 60 + 1)]
    lr.write(port.store, t_ns, mode=1, centre_link=1, estop=0)
    (lock,) = build(port.store, port.book, "2026-10", SITE).locks
    assert lock.facts.scheduled_ns == (31 * 14 - 4) * HOUR_NS
    assert lock.facts.down_ns == 2 * HOUR_NS  # what lies in opening hours
    assert lock.facts.available.value is not None
    assert (lock.facts.available.of_ns, lock.facts.available.part_ns) == (14 * HOUR_NS, 12 * HOUR_NS)
