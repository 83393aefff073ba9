"""Peaks and exceedance of subscribed power per tariff class, and how they agree with the invoice.

Exceedance is what HTA contracts bill by: the root of the sum of the squares of what each 10-minute mean power had
beyond the subscribed power. The power is the delivery meter's, or an imported load curve's.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from math import isqrt

import numpy as np

from gateway.report.contracts import Contract, Invoice, LoadCurve
from gateway.report.energy import WINDOW_NS, Minutes, Window
from gateway.report.errors import WrongInput
from gateway.report.month import NS, Month
from gateway.report.problems import Problem
from gateway.report.stays import instant_ns
from gateway.texts import local

HOUR = Fraction(WINDOW_NS, 3600 * NS)  # of a window
SCALE = {"W": 1, "kW": 1000, "MW": 10**6}


@dataclass(frozen=True)
class ClassMonth:
    """A tariff class in a month. Powers in W; `exceedance_w` is cut to the W."""

    tariff: str
    subscribed_w: tuple[tuple[int, Fraction], ...]  # (first window of the month for which it holds, power)
    energy_wh: int | None
    windows: int
    incomplete: int
    peak: Window | None
    beyond: int  # windows above the subscribed power
    most_beyond_w: Fraction
    exceedance_w: int
    constrained_h: Fraction  # time at or above the contract's share of the subscribed power


@dataclass(frozen=True)
class Comparison:
    """A figure of the invoice beside ours. `agrees`: within what the meter may be off; None: that is not known."""

    tariff: str  # "" for the whole point
    quantity: str  # energy, peak or exceedance
    ours: Fraction | None
    invoice: Fraction
    agrees: bool | None


@dataclass(frozen=True)
class TariffMonth:
    meter: str
    source: str  # "meter", or the load curve's file
    classes: tuple[ClassMonth, ...]
    invoice: tuple[Comparison, ...]
    curve_wh: Fraction | None  # energy of the load curve
    problems: tuple[Problem, ...]

    @property
    def constrained_h(self) -> Fraction:
        return sum((c.constrained_h for c in self.classes), Fraction(0))


def tariff_month(
    contract: Contract, minutes: Minutes, found: Sequence[Window], month: Month,
    curves: Mapping[str, str], uncertainty: Fraction | None,
) -> TariffMonth:  # fmt: skip
    """Reckon a delivery point's month.

    Args:
        contract: Of the point. `minutes`, `found`: of its meter in the month, and their 10-minute windows.
        curves: Load curves as CSV text, by file name.
        uncertainty: Of the meter's energy, as a share; None if its classes are not known.

    Raises: WrongInput.
    """
    problems: list[Problem] = []
    source, windows, curve_wh = "meter", list(found), None
    if contract.load_curve is not None:
        source = contract.load_curve.file
        if source not in curves:
            raise WrongInput(
                f"contracts: load_curve.file = {source}: is not there; give a path beside the contracts"
            )
        windows, curve_wh = read_curve(contract.load_curve, curves[source], month)
        missing = month.seconds * NS // WINDOW_NS - sum(w.complete for w in windows)
        if missing:
            problems.append(Problem("curve_lacks", {"file": source, "n": missing}))
    starts = {w.start_ns: local(w.start_ns, month.zone) for w in windows}
    names = {t: contract.tariff_at(at) for t, at in starts.items()}
    lacking = sum(name is None for name in names.values())
    if lacking:
        problems.append(Problem("no_tariff", {"meter": contract.meter, "n": lacking}))
    energy = _energy(contract, minutes, month)
    classes = tuple(
        _class(contract, tariff, [w for w in windows if names[w.start_ns] == tariff], starts, energy.get(tariff))
        for tariff in dict.fromkeys(c.name for c in contract.tariff)
    )
    problems += [
        Problem("no_subscribed", {"meter": contract.meter, "tariff": c.tariff})
        for c in classes
        if c.windows and not c.subscribed_w
    ]
    invoice = _compare(contract, classes, sum(energy.values()), windows, month, uncertainty)
    return TariffMonth(contract.meter, source, classes, invoice, curve_wh, tuple(problems))


def _class(
    contract: Contract,
    tariff: str,
    windows: Sequence[Window],
    starts: Mapping[int, datetime],
    energy_wh: int | None,
) -> ClassMonth:
    subscribed = [contract.subscribed_w(tariff, starts[w.start_ns].date()) for w in windows]
    dated: dict[Fraction, int] = {}
    for window, limit_w in zip(windows, subscribed, strict=True):
        if limit_w is not None:
            dated.setdefault(limit_w, window.start_ns)
    pairs = [(w.power_w, s) for w, s in zip(windows, subscribed, strict=True) if s is not None]
    beyond_w = [power_w - limit_w for power_w, limit_w in pairs if power_w > limit_w]
    squares = sum((b * b for b in beyond_w), Fraction(0))
    near = sum(power_w >= contract.constraint_share * limit_w for power_w, limit_w in pairs)
    return ClassMonth(
        tariff=tariff,
        subscribed_w=tuple((start_ns, limit_w) for limit_w, start_ns in dated.items()),
        energy_wh=energy_wh,
        windows=len(windows),
        incomplete=sum(not w.complete for w in windows),
        peak=max(windows, key=lambda w: (w.power_w, w.complete, -w.start_ns), default=None),
        beyond=len(beyond_w),
        most_beyond_w=max(beyond_w, default=Fraction(0)),
        exceedance_w=isqrt(squares.numerator // squares.denominator),
        constrained_h=near * HOUR,
    )


def _energy(contract: Contract, minutes: Minutes, month: Month) -> dict[str, int]:
    """Import of each class. A tariff's hours are whole tens of minutes, so a window belongs to one."""
    start_ns = minutes.t_ns // WINDOW_NS * WINDOW_NS
    sums: dict[str, int] = {}
    for t_ns, rows in _runs(start_ns):
        tariff = contract.tariff_at(local(t_ns, month.zone))
        if tariff is not None:
            sums[tariff] = sums.get(tariff, 0) + int(minutes.import_wh[rows].sum())
    return sums


def _runs(start_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Iterable[tuple[int, slice]]:
    starts, first = np.unique(start_ns, return_index=True)
    stops = [*first[1:].tolist(), len(start_ns)]
    return ((int(t), slice(a, b)) for t, a, b in zip(starts, first.tolist(), stops, strict=True))


def _compare(
    contract: Contract, classes: Sequence[ClassMonth], total_wh: int, windows: Sequence[Window], month: Month,
    uncertainty: Fraction | None,
) -> tuple[Comparison, ...]:  # fmt: skip
    found = []
    for line in (i for i in contract.invoice if i.month == str(month)):
        ours = _ours(line, classes, total_wh, windows)
        for quantity, value in (
            ("energy", line.energy_kwh), ("peak", line.peak_kw), ("exceedance", line.exceedance_kw),
        ):  # fmt: skip
            if value is None:
                continue
            mine = ours[quantity]
            allowed = None if uncertainty is None else uncertainty * value + 1  # and 1 kWh, 1 kW of rounding
            agrees = None if mine is None or allowed is None else abs(mine - value) <= allowed
            found.append(Comparison(line.tariff, quantity, mine, value, agrees))
    return tuple(found)


def _ours(
    line: Invoice, classes: Sequence[ClassMonth], total_wh: int, windows: Sequence[Window]
) -> dict[str, Fraction | None]:
    """In kWh and kW, as invoices are."""
    if line.tariff:
        one = next(c for c in classes if c.tariff == line.tariff)
        peak_w = None if one.peak is None else one.peak.power_w
        values = {"energy": one.energy_wh, "peak": peak_w, "exceedance": one.exceedance_w}
    else:
        values = {
            "energy": total_wh,
            "peak": max((w.power_w for w in windows), default=None),
            "exceedance": isqrt(sum(c.exceedance_w**2 for c in classes)),
        }
    return {name: None if value is None else Fraction(value, 1000) for name, value in values.items()}


def read_curve(curve: LoadCurve, text: str, month: Month) -> tuple[list[Window], Fraction]:
    """10-minute windows of the month from a load curve, and its energy [Wh].

    Raises: WrongInput, with the line.
    """
    points = sorted(_points(curve, text))
    times = [t for t, _ in points]
    steps = {b - a for a, b in pairwise(times)}
    if not steps or min(steps) <= 0 or WINDOW_NS % min(steps):
        seen = f"{min(steps) // NS} s" if steps else "one value"
        raise WrongInput(
            f"{curve.file}: its step is {seen}; give each instant once, in steps that divide 10 minutes"
        )
    step_ns = min(steps)
    shift_ns = step_ns if curve.stamp == "end" else 0
    by_window: dict[int, list[Fraction]] = {}
    for t_ns, power_w in points:
        start_ns = t_ns - shift_ns
        if month.start_ns <= start_ns < month.stop_ns:
            by_window.setdefault(start_ns // WINDOW_NS * WINDOW_NS, []).append(power_w)
    if not by_window:
        raise WrongInput(f"{curve.file}: holds no value of {month}; give the load curve of that month")
    whole = WINDOW_NS // step_ns
    windows = [
        Window(start_ns, int(sum(powers) / whole), len(powers) == whole) for start_ns, powers in by_window.items()
    ]
    energy_wh = sum((p for powers in by_window.values() for p in powers), Fraction(0)) * Fraction(
        step_ns, 3600 * NS
    )
    return windows, energy_wh


def _points(curve: LoadCurve, text: str) -> Iterable[tuple[int, Fraction]]:
    lines = text.removeprefix("\ufeff").splitlines()
    rows = csv.DictReader(lines, delimiter=";" if lines and ";" in lines[0] else ",")
    for name in (curve.time, curve.value):
        if name not in (rows.fieldnames or ()):
            columns = ", ".join(rows.fieldnames or ()) or "none"
            raise WrongInput(f"{curve.file}: no column {name!r}; there are {columns}; name them in the contract")
    for row in rows:
        where = f"{curve.file}: line {rows.line_num}"
        try:
            at = datetime.fromisoformat(row[curve.time])
            power_w = Fraction(row[curve.value].replace(",", ".")) * SCALE[curve.unit]
        except (ValueError, TypeError, AttributeError) as error:
            raise WrongInput(f"{where}: {row[curve.time]!r}, {row[curve.value]!r}: {error}") from error
        if at.tzinfo is None:
            raise WrongInput(f"{where}: {row[curve.time]} says no distance from UTC; give it as in 06:00+02:00")
        yield instant_ns(at), power_w
