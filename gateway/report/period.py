"""What a report is of: a month, a half-year or a year of a site, as whole months."""

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from gateway.report.errors import WrongInput
from gateway.report.month import Month
from gateway.texts import local

Span = Literal["month", "half", "year"]
LENGTH = {"month": 1, "half": 6, "year": 12}


@dataclass(frozen=True)
class Period:
    """Months in a row, from local midnight to local midnight."""

    first: Month
    span: Span

    @classmethod
    def parse(cls, text: str, timezone: str) -> "Period":
        """`text` is 2026-10, 2026-H2 or 2026. Raises: WrongInput."""
        match = re.fullmatch(r"(\d{4})(?:-(?:H([12])|(0[1-9]|1[0-2])))?", text)
        if match is None or not 1971 <= int(match[1]) <= 2200:
            raise WrongInput(
                f"period {text!r} is no month, half-year or year; give one as in 2026-10, 2026-H2 or 2026"
            )
        year, half, month = match.groups()
        if month:
            return cls(Month(int(year), int(month), timezone), "month")
        if half:
            return cls(Month(int(year), 6 * int(half) - 5, timezone), "half")
        return cls(Month(int(year), 1, timezone), "year")

    @classmethod
    def last_month(cls, now_ns: int, timezone: str) -> "Period":
        """The calendar month before the one that it is now in this time zone."""
        now = local(now_ns, ZoneInfo(timezone))
        return cls(_month(now.year, now.month - 1, timezone), "month")

    def __str__(self) -> str:
        if self.span == "month":
            return str(self.first)
        return f"{self.year:04d}" + (f"-H{self.first.month // 6 + 1}" if self.span == "half" else "")

    @property
    def year(self) -> int:
        return self.first.year

    @cached_property
    def months(self) -> tuple[Month, ...]:
        first = self.first
        return tuple(_month(first.year, first.month + i, first.timezone) for i in range(LENGTH[self.span]))

    @property
    def month(self) -> int:
        """The first one."""
        return self.first.month

    @property
    def last_day(self) -> date:
        return self.months[-1].last_day

    @property
    def timezone(self) -> str:
        return self.first.timezone

    @property
    def zone(self) -> ZoneInfo:
        return self.first.zone

    @property
    def start_ns(self) -> int:
        return self.first.start_ns

    @property
    def stop_ns(self) -> int:
        return self.months[-1].stop_ns

    @property
    def seconds(self) -> int:
        return sum(m.seconds for m in self.months)

    def before(self) -> "Period":
        """The period of this length that ends where this one starts."""
        first = self.first
        return Period(_month(first.year, first.month - LENGTH[self.span], first.timezone), self.span)

    def year_before(self) -> "Period":
        return Period(Month(self.first.year - 1, self.first.month, self.first.timezone), self.span)


def _month(year: int, month: int, timezone: str) -> Month:
    """`month` may lie outside 1..12: it carries over."""
    carry, index = divmod(month - 1, 12)
    return Month(year + carry, index + 1, timezone)
