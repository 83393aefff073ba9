"""A calendar month of a site, as the instants in UTC between which it lies."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from gateway.report.errors import WrongInput

NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Month:
    """A month from local midnight to local midnight: 31 days of October hold 745 h in Europe/Paris."""

    year: int
    month: int
    timezone: str

    @classmethod
    def parse(cls, text: str, timezone: str) -> "Month":
        """`text` is YYYY-MM. Raises: WrongInput."""
        match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
        if match is None or not 1971 <= int(match[1]) <= 2200:
            raise WrongInput(f"month {text!r} is not a month; give year and month, as in 2026-10")
        return cls(int(match[1]), int(match[2]), timezone)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def start_ns(self) -> int:
        return self._midnight_ns(self.year, self.month)

    @cached_property
    def stop_ns(self) -> int:
        """First instant that no longer belongs to the month."""
        return self._midnight_ns(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def last_day(self) -> date:
        return date(self.year + self.month // 12, self.month % 12 + 1, 1) - timedelta(days=1)

    @property
    def seconds(self) -> int:
        return (self.stop_ns - self.start_ns) // NS

    def _midnight_ns(self, year: int, month: int) -> int:
        since = datetime(year, month, 1, tzinfo=self.zone).astimezone(UTC) - EPOCH
        return since // timedelta(microseconds=1) * 1000


@lru_cache(maxsize=4096)  # the same few ends of months and hours come again and again
def utc(t_ns: int) -> str:
    """ISO 8601 with as many decimals of a second as there are."""
    seconds, ns = divmod(t_ns, 1_000_000_000)
    whole = datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
    return f"{whole}.{ns:09d}".rstrip("0").rstrip(".") + "Z" if ns else f"{whole}Z"
