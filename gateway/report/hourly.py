"""The grid's intensity hour by hour: an indicator beside the regulatory figure, never instead of it.

Read from CSV in the form of éCO2mix: either `date_heure` with its distance from UTC and `taux_co2`, or `Date` and
`Heures` in French local time and `Taux de Co2`. It speaks of production and combustion alone (no upstream, no
imports), so it is never added to, or netted with, a figure of another perimeter.
"""

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gateway.report.errors import WrongInput
from gateway.report.month import NS

if TYPE_CHECKING:
    from gateway.report.energy import Minutes

PARIS = ZoneInfo("Europe/Paris")
TIMES = ("date_heure",)
HOURS = ("heures", "heure")
RATES = ("taux_de_co2", "taux_co2")
MOST_G_PER_KWH = 1500  # more than any fuel gives
LONGEST_STEP_NS = 3600 * NS
MILLI = 1000
FOOTER = 2  # cells that are filled on a line that is no row, as a notice at the end of a file


@dataclass(frozen=True)
class BadRow:
    """A row that was left out: where it stands, and why (`code` is a key of the texts)."""

    file: str
    line: int
    code: str
    seen: str


@dataclass(frozen=True)
class Intensity:
    """Rates of the grid, oldest first; each holds for one step."""

    t_ns: NDArray[np.int64]
    mg_per_kwh: NDArray[np.int64]
    step_ns: int
    bad: tuple[BadRow, ...]

    def at(self, t_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rate at each instant; -1 where none holds. [mg/kWh]"""
        if not len(self.t_ns):
            return np.full(len(t_ns), -1, np.int64)
        place = np.searchsorted(self.t_ns, t_ns, side="right") - 1
        holds = (place >= 0) & (t_ns - self.t_ns[np.maximum(place, 0)] < self.step_ns)
        return np.where(holds, self.mg_per_kwh[np.maximum(place, 0)], -1)

    def missing_ns(self, start_ns: int, stop_ns: int) -> int:
        """Time of [start, stop) for which no rate holds."""
        first = np.clip(self.t_ns, start_ns, stop_ns)
        last = np.clip(self.t_ns + self.step_ns, start_ns, stop_ns)
        last = np.minimum(last, np.append(first[1:], stop_ns))
        return stop_ns - start_ns - int(np.maximum(last - first, 0).sum())


@dataclass(frozen=True)
class HourlyIndicator:
    """Energy of a month by the rate of its minutes. `seen_wh` is what had a rate."""

    total_wh: int
    seen_wh: int
    co2_kg: Fraction | None  # of `seen_wh`; None: no minute had a rate
    missing_ns: int  # of the month
    month_ns: int
    bad: tuple[BadRow, ...]

    @cached_property
    def coverage(self) -> Fraction | None:
        """Share of the energy that had a rate."""
        return Fraction(self.seen_wh, self.total_wh) if self.total_wh else None

    @property
    def g_per_kwh(self) -> Fraction | None:
        """Mean weighted by the energy."""
        return None if self.co2_kg is None or not self.seen_wh else self.co2_kg * 10**6 / self.seen_wh


def indicator(intensity: Intensity, meters: Sequence["Minutes"], start_ns: int, stop_ns: int) -> HourlyIndicator:
    """Exact: whole Wh by whole mg/kWh, minute by minute; 64 bits hold a month of a meter of up to 8 GW."""
    total_wh = seen_wh = mg_wh = 0
    for minutes in meters:
        rate = intensity.at(minutes.t_ns)
        known = rate >= 0
        total_wh += int(minutes.import_wh.sum())
        seen_wh += int(minutes.import_wh[known].sum())
        mg_wh += int((minutes.import_wh[known] * rate[known]).sum())
    return HourlyIndicator(
        total_wh=total_wh, seen_wh=seen_wh,
        co2_kg=Fraction(mg_wh, 1000 * 10**6) if seen_wh else None,
        missing_ns=intensity.missing_ns(start_ns, stop_ns), month_ns=stop_ns - start_ns, bad=intensity.bad,
    )  # fmt: skip


def parse_intensity(files: Mapping[str, str]) -> Intensity:
    """Rates of all files together. `files`: name -> text.

    A row whose rate is empty says nothing: files have rows for quarters of an hour that are never filled. A row
    that cannot be read is left out and told.

    Raises: WrongInput where a file has no such columns, or no rate at all.
    """
    found: dict[int, int] = {}
    bad: list[BadRow] = []
    for name, text in files.items():
        before = len(found)
        for at_ns, mg, place in _rows(name, text, bad):
            if found.setdefault(at_ns, mg) != mg:
                bad.append(place("twice", f"{found[at_ns] / MILLI:g}, {mg / MILLI:g}"))
        if len(found) == before:
            raise WrongInput(f"{name}: no row has a rate of CO2; give a file in the form of éCO2mix")
    t_ns = np.array(sorted(found), np.int64)
    rates = np.array([found[int(t)] for t in t_ns], np.int64)
    return Intensity(t_ns, rates, _step_ns(t_ns), tuple(bad))


def _step_ns(t_ns: NDArray[np.int64]) -> int:
    """The commonest distance between rates, an hour at most: a rate holds for so long and no longer."""
    steps = Counter(int(b - a) for a, b in pairwise(t_ns))
    commonest = max(steps.values(), default=0)
    return min([LONGEST_STEP_NS, *(step for step, times in steps.items() if times == commonest)])


@dataclass(frozen=True)
class _Place:
    file: str
    line: int

    def __call__(self, code: str, seen: str) -> BadRow:
        return BadRow(self.file, self.line, code, seen)


def _rows(name: str, text: str, bad: list[BadRow]) -> Iterator[tuple[int, int, _Place]]:
    lines = text.removeprefix("\ufeff").splitlines()
    head = lines[0] if lines else ""
    delimiter = max("\t;,", key=head.count)
    columns = [_plain(cell) for cell in next(csv.reader([head], delimiter=delimiter), [])]
    time = _column(columns, TIMES)
    day, hour, rate = _column(columns, ("date",)), _column(columns, HOURS), _column(columns, RATES)
    if rate is None or (time is None and (day is None or hour is None)):
        raise WrongInput(
            f"{name}: line 1 names {', '.join(filter(None, columns)) or 'nothing'};"
            " give date_heure (or Date and Heures) and taux_co2 (or Taux de Co2)"
        )
    clock = _Clock()
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=delimiter), 2):
        place = _Place(name, number)
        if sum(bool(cell.strip()) for cell in cells) < FOOTER:
            continue
        cells += [""] * (len(columns) - len(cells))
        when = cells[time] if time is not None else f"{cells[day or 0]} {cells[hour or 0]}"
        t_ns = clock.read(when)
        if t_ns is None:
            bad.append(place("time", when))
        elif cells[rate].strip():
            mg = _mg(cells[rate])
            if mg is None:
                bad.append(place("rate", cells[rate]))
            else:
                yield t_ns, mg, place


class _Clock:
    """Times of a file in its order. A local time that comes again is that of the hour that October repeats."""

    def __init__(self) -> None:
        self._last: datetime | None = None

    def read(self, text: str) -> int | None:
        """ns UTC; None: no time, or one that no clock shows, as 02:30 when summer time begins."""
        found = re.fullmatch(r"\s*(\d\d)/(\d\d)/(\d{4}) (.*)", text)  # 25/10/2026, as French spreadsheets write it
        plain = f"{found[3]}-{found[2]}-{found[1]} {found[4]}" if found else text.strip()
        try:
            at = datetime.fromisoformat(plain)
        except ValueError:
            return None
        if at.tzinfo is None:
            local = at.replace(tzinfo=PARIS)
            repeated = local.utcoffset() != local.replace(fold=1).utcoffset()
            back = local.astimezone(UTC).astimezone(PARIS).replace(tzinfo=None)
            if back != at:
                return None
            if repeated and self._last is not None and local.astimezone(UTC) <= self._last:
                local = local.replace(fold=1)
            at = local
        self._last = at.astimezone(UTC)
        return (self._last - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _mg(text: str) -> int | None:
    """g/kWh, with a point or a comma, as whole milligrams; None: no number, or none that a grid can have."""
    match = re.fullmatch(r"\s*(\d{1,5})(?:[.,](\d+))?\s*", text)
    if match is None:
        return None
    rate = Fraction(f"{match[1]}.{match[2] or 0}")
    return round(rate * MILLI) if rate <= MOST_G_PER_KWH else None


def _plain(text: str) -> str:
    """`Taux de Co2` -> `taux_de_co2`; accents and case do not count."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def _column(columns: Sequence[str], names: Sequence[str]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)
