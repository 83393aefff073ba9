"""How far a month's figures can be trusted: uncertainty, replaced meters, outages and why, corrections, checks."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np

from gateway.journal import Entry, MeterReplaced, in_force
from gateway.report.calls import Call
from gateway.report.energy import Gap, MeterMonth, Minutes
from gateway.report.month import NS, Month
from gateway.report.problems import Problem
from gateway.report.source import tag
from gateway.report.stays import instant_ns
from gateway.store.base import Store

SHORE_REVISION = 1000  # revisions from here on are the shore's: a replacement from the journal was applied
NEAR_NS = 600 * NS  # an event so close to an outage may be its reason
MID = {"A": Fraction("3.5"), "B": Fraction(2), "C": Fraction("0.7")}  # percent; 2014/32/EU annex V, +5 to +30 °C
COVERAGE_FACTOR = 2  # of the expanded uncertainty, about 95 %
TOLERANCE = Fraction(1, 100)  # between registers and integrated power, over a month of calls
STEP = 10**5  # uncertainties are rounded up to 0.001 %
EVENT_FIELDS = ("value", "rows", "text", "step_s", "before_wh", "after_wh")  # one of them at least is known
REASONS = ("agent_started", "rows_dropped", "clock_step", "counter_register_lost", "counter_gap_refused")


@dataclass(frozen=True)
class Uncertainty:
    """Of a meter's energy. `percents`: limits of error of meter, CT and VT by class; None: class not given."""

    percents: tuple[Fraction | None, ...]

    @property
    def expanded(self) -> Fraction | None:
        """U, with coverage factor 2, as a share of the energy, rounded up; None if a class is not known.

        Each class limit is the half width of a rectangle, u = a / sqrt(3); uncorrelated, they add up by squares.
        Source: JCGM 100:2008 (GUM), 4.3.7, 5.1.2 and 6.2.1.
        """
        squares = Fraction(0)
        for percent in self.percents:
            if percent is None:
                return None
            squares += (percent / 100) ** 2
        return root_up(COVERAGE_FACTOR**2 * squares / 3)


def root_up(square: Fraction) -> Fraction:
    """Square root, rounded up to 1 / STEP."""
    scaled = -(-square.numerator * STEP**2 // square.denominator)
    root = isqrt(scaled)
    return Fraction(root + (root * root < scaled), STEP)


def uncertainty_of(meter: Mapping[str, Any]) -> Uncertainty:
    """From the classes in the site file; a meter without transformers (ratio 1) has no error of theirs."""
    return Uncertainty((
        class_percent(meter.get("accuracy_class", "")),
        *(
            Fraction(0) if meter.get(f"{part}_ratio", 1) == 1 and not meter.get(f"{part}_class") else
            class_percent(meter.get(f"{part}_class", ""))
            for part in ("ct", "vt")
        ),
    ))  # fmt: skip


def class_percent(name: str) -> Fraction | None:
    """0.2 of 0.2S; A, B and C of the directive on measuring instruments."""
    text = name.strip().upper().removesuffix("S")
    if text in MID:
        return MID[text]
    try:
        return Fraction(text)
    except ValueError:
        return None


def combined(parts: Iterable[tuple[int, Fraction | None]]) -> Fraction | None:
    """U of a sum of energies whose meters err on their own, as a share of it. Source: GUM 5.1.2."""
    known = list(parts)
    total = sum(energy_wh for energy_wh, _ in known)
    if not total or any(u is None for _, u in known):
        return None
    return root_up(
        sum(((energy_wh * (u or 0)) ** 2 for energy_wh, u in known), Fraction(0)) / Fraction(total) ** 2
    )


@dataclass(frozen=True)
class Replacement:
    """A meter was changed in the month. `between_wh` is what the indices say went through the old one last."""

    meter: str
    at_ns: int
    closing_import_wh: int | None
    opening_import_wh: int | None
    source: str  # site_file, or the number of the journal's entry
    reason: str
    applied: bool  # the minutes know of it

    @property
    def known(self) -> bool:
        return self.closing_import_wh is not None and self.opening_import_wh is not None


def replacements(
    devices: Mapping[str, Any], entries: Sequence[Entry], minutes: Mapping[str, Minutes], month: Month
) -> tuple[Replacement, ...]:
    """Those of the month, from the site file and the journal; one that both know counts once."""
    found: dict[tuple[str, int], Replacement] = {}
    for name, device in devices.items():
        for item in (device.get("meter") or {}).get("replacement") or ():
            at_ns = instant_ns(datetime.fromisoformat(item["at"]))
            closing, opening = (_whole(item.get(f"{end}_import_wh")) for end in ("closing", "opening"))
            found[name, at_ns] = Replacement(
                name, at_ns, closing, opening, "site_file", item.get("reason", ""), True
            )
    for entry in in_force(entries):
        body = entry.body
        if isinstance(body, MeterReplaced) and (body.meter, instant_ns(body.at)) not in found:
            at_ns = instant_ns(body.at)
            applied = body.meter in minutes and _revised_ashore(minutes[body.meter], at_ns)
            found[body.meter, at_ns] = Replacement(
                body.meter, at_ns, body.closing_import_wh, body.opening_import_wh, str(entry.number), entry.reason,
                applied,
            )  # fmt: skip
    inside = [r for r in found.values() if month.start_ns <= r.at_ns < month.stop_ns]
    return tuple(sorted(inside, key=lambda r: (r.meter, r.at_ns)))


def _revised_ashore(minutes: Minutes, at_ns: int) -> bool:
    near = minutes.within(at_ns - NEAR_NS, at_ns + NEAR_NS)
    return bool((near.rev >= SHORE_REVISION).any())


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def replacement_problems(found: Sequence[Replacement], meters: Sequence[MeterMonth]) -> list[Problem]:
    problems = []
    for r in found:
        where = {"meter": r.meter, "at_ns": r.at_ns}
        if not r.known:
            problems.append(Problem("no_indices", where))
        elif not r.applied:
            problems.append(Problem("not_recomputed", where))
    told = {r.meter for r in found}
    problems += [
        Problem("epoch_unexplained", {"meter": m.device})
        for m in meters
        if m.device not in told and len({s.epoch for s in m.registers}) > 1
    ]
    return problems


@dataclass(frozen=True)
class Outage:
    """A gap and what is known of its reason: the code of an event, the whole gateway, or this meter alone."""

    meter: str
    gap: Gap
    reason: str
    estimated_wh: int  # counted across it by registers


def outages(
    store: Store, site: str, meters: Sequence[MeterMonth], minutes: Mapping[str, Minutes], month: Month
) -> tuple[Outage, ...]:
    """Every gap of a second or more. Read: events of the month that may explain one."""
    rows = store.columns("event", None, EVENT_FIELDS, month.start_ns - NEAR_NS, month.stop_ns + NEAR_NS, site=site)
    codes, devices = tag(rows, "code"), tag(rows, "device")
    telling = [i for i in range(len(rows)) if codes[i] in REASONS]
    silent = {m.device: [g for g in m.gaps if g.missing_ns >= NS] for m in meters}
    found = []
    for meter in meters:
        t_ns, estimated_wh = minutes[meter.device].t_ns, minutes[meter.device].estimated_wh
        for gap in silent[meter.device]:
            near = [
                str(codes[i]) for i in telling
                if devices[i] in ("", meter.device)
                and gap.start_ns - NEAR_NS <= rows.t_ns[i] < gap.stop_ns + NEAR_NS
            ]  # fmt: skip
            others = (gaps for name, gaps in silent.items() if name != meter.device)
            shared = len(silent) > 1 and all(_touched(gap, gaps) for gaps in others)
            alone = "all_silent" if shared else "meter_silent"
            low, high = np.searchsorted(t_ns, (gap.start_ns, gap.stop_ns))
            reason = near[0] if near else alone
            found.append(Outage(meter.device, gap, reason, int(estimated_wh[low:high].sum())))
    return tuple(found)


def _touched(gap: Gap, others: Sequence[Gap]) -> bool:
    """Does one of these, which follow each other, share time with the gap?"""
    first = bisect_right(others, gap.start_ns, key=lambda other: other.stop_ns)
    return first < len(others) and others[first].start_ns < gap.stop_ns


@dataclass(frozen=True)
class Correction:
    """Minutes of a meter that were reckoned anew after they had been sent."""

    meter: str
    minutes: int
    first_wh: int  # their import as first sent
    now_wh: int
    newest: int  # highest revision

    @property
    def difference_wh(self) -> int:
        return self.now_wh - self.first_wh


def corrections(store: Store, site: str, minutes: Mapping[str, Minutes], month: Month) -> tuple[Correction, ...]:
    """Read: all revisions of meters that have any."""
    found = []
    for device, rows in minutes.items():
        revised = rows.rev > 0
        if not revised.any():
            continue
        every = store.columns(
            "energy_1m", device, ("import_wh",), month.start_ns, month.stop_ns, site=site, all_revisions=True
        )
        first: dict[int, tuple[int, int]] = {}
        for t_ns, rev, wh in zip(
            every.t_ns.tolist(), every.rev.tolist(), every["import_wh"].tolist(), strict=True
        ):
            if t_ns not in first or rev < first[t_ns][0]:
                first[t_ns] = rev, 0 if np.isnan(wh) else round(wh)
        then_wh = sum(first[t_ns][1] for t_ns in rows.t_ns[revised].tolist())
        now_wh = int(rows.import_wh[revised].sum())
        found.append(Correction(device, int(revised.sum()), then_wh, now_wh, int(rows.rev.max())))
    return tuple(found)


@dataclass(frozen=True)
class CrossCheck:
    """Calls of a meter: registers beside integrated power."""

    meter: str
    calls: int
    register_wh: int
    integrated_wh: Fraction

    @property
    def difference(self) -> Fraction | None:
        """As a share of the registers."""
        return (self.integrated_wh - self.register_wh) / self.register_wh if self.register_wh else None

    @property
    def agrees(self) -> bool | None:
        return None if self.difference is None else abs(self.difference) <= TOLERANCE


def cross_checks(calls: Sequence[Call]) -> tuple[CrossCheck, ...]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        if call.energy_wh is not None and call.integrated_wh is not None:
            found.setdefault(call.meter, []).append(call)
    return tuple(
        CrossCheck(
            meter, len(both), sum(c.energy_wh or 0 for c in both),
            sum((Fraction(c.integrated_wh or 0.0) for c in both), Fraction(0)),
        )
        for meter, both in sorted(found.items())
    )  # fmt: skip


@dataclass(frozen=True)
class Earlier:
    """The same total a month or a year ago; None: no rows of that time."""

    what: str  # month or year
    month: Month
    import_wh: int | None
    coverage: Fraction


def earlier(store: Store, site: str, meters: Sequence[str], month: Month) -> tuple[Earlier, ...]:
    """The counted meters' import in the month before, and in that of the year before."""
    before = (month.year, month.month - 1) if month.month > 1 else (month.year - 1, 12)
    found = []
    for what, (year, number) in (("month", before), ("year", (month.year - 1, month.month))):
        then = Month(year, number, month.timezone)
        rows = [Minutes.read(store, site, meter, then.start_ns, then.stop_ns) for meter in meters]
        measured = bool(rows) and all(len(r) for r in rows)
        covered = min((Fraction(int(r.covered_ns.sum()), then.seconds * NS) for r in rows), default=Fraction(0))
        found.append(Earlier(what, then, sum(int(r.import_wh.sum()) for r in rows) if measured else None, covered))
    return tuple(found)


@dataclass(frozen=True)
class Quality:
    uncertainties: Mapping[str, Uncertainty]  # by meter
    replacements: tuple[Replacement, ...]
    outages: tuple[Outage, ...]
    corrections: tuple[Correction, ...]
    checks: tuple[CrossCheck, ...]
    earlier: tuple[Earlier, ...]
