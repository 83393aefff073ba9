"""A lock's period: its lockages, its time, what did not fit together, and how its times changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from dsp.lock_rules import RULES
from edge.wire import Catalogue
from gateway.report.intervals import total_ns
from gateway.report.lock_signals import DAY_NS, LockPoints
from gateway.report.lock_time import LockTime, Schedule, read_time
from gateway.report.lockages import CYCLES, P95, CycleTimes, Lockages
from gateway.report.period import Period
from gateway.report.source import tag
from gateway.store.base import Store


@dataclass(frozen=True)
class Answers:
    """How fast a lock's PLC answered the gateway: a mean per report of the link, every 10 s."""

    count: int
    mean_ms: Fraction | None
    p95_ms: Fraction | None


@dataclass(frozen=True)
class LockMonth:
    """One lock in one period. What has no signal is None."""

    device: str
    lockages: Lockages
    time: LockTime
    incoherences: Mapping[str, int] | None  # per rule, those that began; None: no rule could be evaluated
    inhibited: int  # incoherences during maintenance: shown, not counted
    not_evaluated: tuple[str, ...]  # rules that the lock's signals cannot feed
    answers: Answers
    before: Mapping[str, CycleTimes]  # by direction, in the period before
    year_before: Mapping[str, CycleTimes]
    event_origins: frozenset[str]

    @property
    def total(self) -> int:
        return len(self.lockages)

    @property
    def incoherent(self) -> int | None:
        return None if self.incoherences is None else sum(self.incoherences.values())

    def per_100(self, count: int | None) -> Fraction | None:
        """Per 100 lockages; None without a lockage."""
        return None if count is None or not self.total else Fraction(100 * count, self.total)

    def change_s(self, way: str, earlier: Mapping[str, CycleTimes]) -> Fraction | None:
        """By how much the mean cycle time changed; None where either period has none."""
        now_s, then_s = self.lockages.cycle_times(way).mean_s, earlier[way].mean_s
        return None if now_s is None or then_s is None else now_s - then_s

    @cached_property
    def pump_wh(self) -> Fraction | None:
        """Of the pumps' power, integrated."""
        pump = self.time.pump
        return None if pump is None or not pump.covered_ns else Fraction(round(pump.energy_wh))

    @property
    def drives_wh(self) -> Fraction | None:
        """Energy without the pumps; None unless it is known whether the lock's register counts them."""
        total_wh, inside = self.lockages.energy.value, self.time.points.pumps_in_register
        if total_wh is None or inside is None:
            return None
        if not inside:
            return total_wh
        return None if self.pump_wh is None or self.pump_wh > total_wh else total_wh - self.pump_wh

    @property
    def pump_coverage(self) -> Fraction | None:
        pump = self.time.pump
        return None if pump is None else Fraction(pump.covered_ns, self.time.stop_ns - self.time.start_ns)

    @property
    def seen(self) -> Fraction:
        """Share of the period in which any row of the lock told its mode or its emergency stop."""
        known = [runs.known for runs in self.time.runs.values()]
        return Fraction(max(map(total_ns, known), default=0), self.time.stop_ns - self.time.start_ns)

    @property
    def origins(self) -> frozenset[str]:
        return self.lockages.origins | self.time.origins | self.event_origins

    @property
    def empty_of_rows(self) -> bool:
        return not self.total and not self.time.origins


def read_lock(
    store: Store, site: str, lock: str, period: Period, catalogues: Sequence[Catalogue],
    schedule: Schedule | None = None,
) -> LockMonth:  # fmt: skip
    """All that the store says of a lock in a period."""
    start_ns, stop_ns = period.start_ns, period.stop_ns
    points = LockPoints.of(catalogues, lock)
    found, inhibited, origins = _incoherences(store, site, lock, start_ns, stop_ns)
    rules = _rules(catalogues, lock)
    evaluated = rules is not None and not rules >= set(RULES)
    return LockMonth(
        device=lock,
        lockages=Lockages.read(store, site, lock, start_ns, stop_ns),
        time=read_time(store, site, points, schedule or Schedule(), start_ns, stop_ns),
        incoherences=found if evaluated or found else None,
        inhibited=inhibited,
        not_evaluated=tuple(sorted(rules or ())),
        answers=_answers(store, site, lock, start_ns, stop_ns),
        before=_cycles(store, site, lock, period.before()),
        year_before=_cycles(store, site, lock, period.year_before()),
        event_origins=origins,
    )


def _cycles(store: Store, site: str, lock: str, period: Period) -> dict[str, CycleTimes]:
    lockages = Lockages.read(store, site, lock, period.start_ns, period.stop_ns)
    return {way: lockages.cycle_times(way) for way in CYCLES}


def _incoherences(
    store: Store, site: str, lock: str, start_ns: int, stop_ns: int
) -> tuple[Counter[str], int, frozenset[str]]:
    """How many began, per rule; how many of them in maintenance; and the rows' origins."""
    rows = store.columns("event", lock, ("active", "inhibited"), start_ns, stop_ns, site=site)
    rule = np.array([code.removeprefix("lock_") for code in tag(rows, "code")], object)
    began = np.isin(rule.astype(str), RULES) & (rows["active"] == 1)
    hidden = began & (rows["inhibited"] == 1)
    return Counter(rule[began & ~hidden]), int(hidden.sum()), frozenset(tag(rows, "origin")[began])


def _rules(catalogues: Sequence[Catalogue], lock: str) -> set[str] | None:
    """Rules that are not evaluated; None where the catalogue does not say."""
    for catalogue in catalogues:
        for device in catalogue.devices:
            if device["name"] == lock and "rules" in device:
                return set(device["rules"]["not_evaluated"])
    return None


def _answers(store: Store, site: str, lock: str, start_ns: int, stop_ns: int) -> Answers:
    parts = [
        store.columns("link", lock, ("round_trip_ms",), day_ns, min(day_ns + DAY_NS, stop_ns), site=site)[
            "round_trip_ms"
        ]
        for day_ns in range(start_ns, stop_ns, DAY_NS)
    ]
    found = np.concatenate(parts) if parts else np.empty(0)
    found = np.sort(found[np.isfinite(found)])
    if not len(found):
        return Answers(0, None, None)
    rank = max(1, -(-len(found) * P95.numerator // P95.denominator))
    mean = Fraction(float(np.mean(found)))
    return Answers(len(found), mean, Fraction(float(found[rank - 1])))
