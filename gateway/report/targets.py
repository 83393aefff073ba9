"""Targets and trajectories: what a figure was meant to be, from a file, and how far it is from that.

One CSV with a line per figure, perimeter and year:

    figure,perimeter,year,value,unit,source
    co2.grid_site_kg,calais,2024,1200,t,"schema directeur 2023, p. 14"
    co2.grid_site_kg,calais,2030,600,t,"schema directeur 2023, p. 14"

Several years of one figure are a trajectory: between two of them a straight line. What adds up over time (energy,
emissions, counts) has a target of a year, taken by its part of the time; a share or a mean is compared as it is.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from gateway.report.errors import WrongInput
from gateway.report.figure import Figure, key_of
from gateway.report.period import Period

COLUMNS = ("figure", "perimeter", "year", "value", "unit", "source")
UNITS: Mapping[str, tuple[str, Fraction]] = {  # as written -> the figures' unit, and how many of them it is
    "Wh": ("Wh", Fraction(1)), "kWh": ("Wh", Fraction(10**3)), "MWh": ("Wh", Fraction(10**6)),
    "GWh": ("Wh", Fraction(10**9)), "kg": ("kg", Fraction(1)), "t": ("kg", Fraction(1000)),
    "W": ("W", Fraction(1)), "kW": ("W", Fraction(1000)), "MW": ("W", Fraction(10**6)),
    "%": ("1", Fraction(1, 100)), "1": ("1", Fraction(1)),
    "s": ("s", Fraction(1)), "min": ("s", Fraction(60)), "h": ("s", Fraction(3600)), "m3": ("m3", Fraction(1)),
    "count": ("count", Fraction(1)),
}  # fmt: skip
SUMS = ("Wh", "kg", "m3", "count")  # these add up over time, unless the figure is a mean
MEANS = ("_mean_", "mean", "per_100")
WHOLE_ENOUGH = Fraction(99, 100)
How = Literal["exact", "interpolated"]
EXACT: How = "exact"
INTERPOLATED: How = "interpolated"


@dataclass(frozen=True)
class Target:
    """A line of the file; `value` in the figures' unit."""

    line: int
    figure: str
    perimeter: str
    year: int
    value: Fraction
    unit: str
    source: str


@dataclass(frozen=True)
class Deviation:
    """A figure beside what it was meant to be in this period. `value` None: not measured, or not here."""

    line: int  # of the file: that of the year, or of the later end of the straight line
    figure: str
    unit: str
    value: Fraction | None
    target: Fraction
    how: How
    part: Fraction  # of a year; 1 for what is compared as it is
    source: str
    thin: bool = False  # a sum over less than 99 % of its time is not yet what the target speaks of

    @property
    def difference(self) -> Fraction | None:
        return None if self.value is None or self.thin else self.value - self.target

    @property
    def relative(self) -> Fraction | None:
        return None if self.difference is None or not self.target else self.difference / self.target


def parse_targets(text: str, name: str = "targets") -> tuple[Target, ...]:
    """Raises: WrongInput, with one line per problem: file, line, what was seen, what to write."""
    lines = text.removeprefix("\ufeff").splitlines()
    delimiter = ";" if lines and ";" in lines[0] else ","
    rows = csv.reader(lines, delimiter=delimiter)
    head = tuple(cell.strip() for cell in next(rows, []))
    if head != COLUMNS:
        raise WrongInput(f"{name}: line 1 is {','.join(head)!r}; give {','.join(COLUMNS)}")
    found: list[Target] = []
    problems: list[str] = []
    for cells in rows:
        if not any(cells):
            continue
        try:
            found.append(_target(rows.line_num, cells))
        except ValueError as error:
            problems.append(f"{name}: line {rows.line_num}: {error}")
    seen: dict[tuple[str, str, int], int] = {}
    for target in found:
        first = seen.setdefault((target.figure, target.perimeter, target.year), target.line)
        if first != target.line:
            problems.append(f"{name}: line {target.line}: says the same year as line {first}; keep one of them")
    if problems:
        raise WrongInput("\n".join(problems))
    return tuple(found)


def deviations(
    targets: Sequence[Target], perimeters: Sequence[str], period: Period, figures: Mapping[str, Figure]
) -> tuple[Deviation, ...]:
    """Those of these perimeters (a site, or a group) that speak of the period's year, in the file's order."""
    lines: dict[tuple[str, str], list[Target]] = {}
    for target in targets:
        if target.perimeter in perimeters:
            lines.setdefault((target.figure, target.perimeter), []).append(target)
    found = (_deviation(line, period, figures.get(key)) for (key, _), line in lines.items())
    return tuple(d for d in found if d is not None)


def target_figures(found: Sequence[Deviation]) -> Iterator[Figure]:
    for d in found:
        for name, value, unit in (
            ("value", d.target, d.unit), ("deviation", d.difference, d.unit), ("relative", d.relative, "1"),
        ):  # fmt: skip
            yield Figure(
                key=key_of(f"target.{name}", line=d.line), value=value, unit=unit, perimeter="target",
                formula=f"target.{d.how}" if name == "value" else f"target.{name}",
                inputs=() if name == "value" or d.value is None else (d.figure,),
            )  # fmt: skip


def _target(line: int, cells: Sequence[str]) -> Target:
    """Raises: ValueError, with what is wrong."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"has {len(cells)} cells, not {len(COLUMNS)}: {', '.join(COLUMNS)}")
    figure, perimeter, year, value, unit, source = (cell.strip() for cell in cells)
    for name, cell in (("figure", figure), ("perimeter", perimeter), ("source", source)):
        if not cell:
            raise ValueError(f"{name} is empty; an auditor will ask for it")
    if not year.isascii() or not year.isdigit() or not 1971 <= int(year) <= 2200:
        raise ValueError(f"year {year!r} is not a year; give it as in 2030")
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is not one of {', '.join(UNITS)}")
    try:
        number = Fraction(value.replace(",", "."))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"value {value!r} is not a number; give it as in 1200.5") from None
    to, factor = UNITS[unit]
    return Target(line, figure, perimeter, int(year), number * factor, to, source)


def _deviation(line: Sequence[Target], period: Period, figure: Figure | None) -> Deviation | None:
    year = period.year
    ordered = sorted(line, key=lambda t: t.year)
    earlier = [t for t in ordered if t.year <= year]
    later = [t for t in ordered if t.year >= year]
    if not earlier or not later:
        return None
    a, b = earlier[-1], later[0]
    value, how = b.value, EXACT
    if a.year != b.year:
        value = a.value + (b.value - a.value) * Fraction(year - a.year, b.year - a.year)
        how = INTERPOLATED
    sums = b.unit in SUMS and not any(word in b.figure for word in MEANS)
    part = Fraction(period.seconds, Period.parse(f"{year:04d}", period.timezone).seconds) if sums else Fraction(1)
    told = None if figure is None or figure.value is None else Fraction(figure.value)
    if figure is not None and not figure.unit.startswith(b.unit):
        raise WrongInput(
            f"targets: line {b.line}: {b.figure} is in {figure.unit}, the target in {b.unit};"
            " give one of the same kind"
        )
    source = b.source if a.source == b.source else f"{a.source}; {b.source}"
    seen = None if figure is None else figure.coverage
    thin = sums and seen is not None and seen < WHOLE_ENOUGH
    return Deviation(b.line, b.figure, b.unit, told, value * part, how, part, source, thin)
