"""Months between local midnights."""

from datetime import UTC, datetime

import pytest

from gateway.report.errors import WrongInput
from gateway.report.month import Month


def utc_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("month", "start", "stop", "hours"),
    [
        ("2026-10", "2026-09-30T22:00", "2026-10-31T23:00", 745),  # summer time ends on the 25th
        ("2026-03", "2026-02-28T23:00", "2026-03-31T22:00", 743),  # it begins on the 29th
        ("2026-12", "2026-11-30T23:00", "2026-12-31T23:00", 744),
    ],
)
def test_a_month_lies_between_local_midnights(month: str, start: str, stop: str, hours: int) -> None:
    seen = Month.parse(month, "Europe/Paris")
    assert (seen.start_ns, seen.stop_ns) == (utc_ns(start), utc_ns(stop))
    assert seen.seconds == hours * 3600


@pytest.mark.parametrize("text", ["2026-13", "2026-1", "26-10", "october", "2026-10-01", "0001-01", ""])
def test_what_is_no_month_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(WrongInput, match="give year and month, as in 2026-10"):
        Month.parse(text, "Europe/Paris")
