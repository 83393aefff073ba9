"""A lock's period as it is read from the store, and as facts that add up: over months, and over locks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.lock_rules import RULES
from edge.wire import Catalogue
from gateway.report.intervals import total_ns
from gateway.report.lock_signals import DAY_NS, Band, LockPoints
from gateway.report.lock_time import Count, LockTime, Schedule, Share, read_time
from gateway.report.lockages import CYCLES, P95, Amount, CycleTimes, Lockages, MeanTime
from gateway.report.period import Period
from gateway.report.source import tag
from gateway.store.base import Store

MODES = ("REMOTE", "LOCAL", "MAINTENANCE", "AUTO")
ANSWER_CLASSES = 10_000  # of 1 ms; slower answers fall into the last


@dataclass(frozen=True)
class Answers:
    """How fast a lock's PLC answered the gateway: means of 10 s, counted in classes of 1 ms."""

    counts: NDArray[np.int64]
    sum_ms: float

    @classmethod
    def read(cls, store: Store, site: str, lock: str, start_ns: int, stop_ns: int) -> "Answers":
        found = cls(np.zeros(ANSWER_CLASSES, np.int64), 0.0)
        for day_ns in range(start_ns, stop_ns, DAY_NS):
            rows = store.columns(
                "link", lock, ("round_trip_ms",), day_ns, min(day_ns + DAY_NS, stop_ns), site=site
            )
            told = rows["round_trip_ms"][np.isfinite(rows["round_trip_ms"])]
            classes = np.clip(np.ceil(told), 0, ANSWER_CLASSES - 1).astype(np.int64)
            found += cls(np.bincount(classes, minlength=ANSWER_CLASSES), float(told.sum()))
        return found

    @property
    def mean_s(self) -> Fraction | None:
        count = int(self.counts.sum())
        return Fraction(self.sum_ms) / count / 1000 if count else None

    @property
    def p95_s(self) -> Fraction | None:
        """Upper end of the class that holds it; None too if it is in the last, which has none."""
        upto = np.cumsum(self.counts)
        if not upto[-1]:
            return None
        rank = -(-int(upto[-1]) * P95.numerator // P95.denominator)
        found = int(np.searchsorted(upto, rank))
        return Fraction(found, 1000) if found < ANSWER_CLASSES - 1 else None

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(self.counts + other.counts, self.sum_ms + other.sum_ms)


@dataclass(frozen=True)
class LockFacts:
    """What is said of one lock, or of several, in one period, or in several. What has no signal is None."""

    device: str = field(metadata={"add": "first"})
    start_ns: int = field(metadata={"add": "min"})
    stop_ns: int = field(metadata={"add": "max"})
    calendar: bool = field(metadata={"add": "any"})  # no opening hours: the calendar counts
    ways: Counter[str]
    complete: int
    empty: Count  # false lockages; "known" and "asked" are complete lockages here
    incomplete: int
    cycles: Mapping[str, CycleTimes]
    before: Mapping[str, CycleTimes | MeanTime]
    year_before: Mapping[str, CycleTimes]
    drawn_m3: Amount
    released_m3: Amount
    moved_m3: Amount
    energy_wh: Amount
    pump_wh: Amount  # of the nanoseconds in which their power was told
    pumps_in_register: bool | None = field(metadata={"add": "same"})
    scheduled_ns: int
    down_ns: int
    unseen_ns: int
    available: Share
    teleoperable: Share | None
    modes: Mapping[str, Share | None]
    linked: Share | None
    bands: Mapping[Band, Share]
    takeovers: Count
    requests: Count
    responses_ns: tuple[int, ...]
    incoherences: Count
    inhibited: int
    alarms: Count
    estops: Count
    answers: Answers
    not_evaluated: frozenset[str]

    @property
    def total(self) -> int:
        return self.ways.total()

    def per_100(self, count: Count) -> Fraction | None:
        """Per 100 lockages; None without a lockage."""
        return None if count.value is None or not self.total else Fraction(100 * count.value, self.total)

    def change_s(self, way: str, earlier: Mapping[str, CycleTimes | MeanTime]) -> Fraction | None:
        """By how much the mean cycle time changed; None where either period has none."""
        now_s, then_s = self.cycles[way].mean_s, earlier[way].mean_s
        return None if now_s is None or then_s is None else now_s - then_s

    @property
    def drives_wh(self) -> Fraction | None:
        """Energy without the pumps; None unless it is known whether the lock's register counts them."""
        total_wh, pump_wh = self.energy_wh.value, self.pump_wh.value
        if total_wh is None or self.pumps_in_register is None:
            return None
        if not self.pumps_in_register:
            return total_wh
        return None if pump_wh is None or pump_wh > total_wh else total_wh - pump_wh

    @property
    def nothing(self) -> bool:
        return not self.total and self.available.of_ns == 0 and self.alarms.value is None

    def __add__(self, other: "LockFacts") -> "LockFacts":
        merged = {f.name: _added(f.metadata.get("add"), getattr(self, f.name), getattr(other, f.name))
                  for f in fields(self)}  # fmt: skip
        return LockFacts(**merged)


@dataclass(frozen=True)
class LockMonth:
    """One lock in one period, as read: its lockages one by one, and its signals as runs."""

    device: str
    lockages: Lockages
    time: LockTime
    facts: LockFacts
    origins: frozenset[str]

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last instant of the period that any lockage or state speaks of."""
        time, runs = self.time, [r for r in self.time.runs.values() if len(r)]
        ends = [(int(r.start_ns[0]), int(r.stop_ns[-1])) for r in runs]
        if len(self.lockages):
            ends.append((int(self.lockages.start_ns.min()), int(self.lockages.end_ns.max())))
        inside = [(max(a, time.start_ns), min(b, time.stop_ns)) for a, b in ends]
        return (min(a for a, _ in inside), max(b for _, b in inside)) if inside else None


def together(facts: Sequence[LockFacts]) -> LockFacts:
    """One lock over several months, or several locks."""
    return reduce(lambda a, b: a + b, facts)


def read_lock(
    store: Store, site: str, lock: str, period: Period, catalogues: Sequence[Catalogue],
    schedule: Schedule | None = None,
) -> LockMonth:  # fmt: skip
    """All that the store says of a lock in a period."""
    start_ns, stop_ns = period.start_ns, period.stop_ns
    time = read_time(store, site, LockPoints.of(catalogues, lock), schedule or Schedule(), start_ns, stop_ns)
    lockages = Lockages.read(store, site, lock, start_ns, stop_ns)
    found, inhibited, origins = _incoherences(store, site, lock, start_ns, stop_ns)
    rules = _rules(catalogues, lock)
    evaluated = rules is not None and not rules >= set(RULES)
    facts = LockFacts(
        device=lock, start_ns=start_ns, stop_ns=stop_ns, calendar=time.schedule.calendar,
        **_of_lockages(lockages), **_of_time(time),
        before=cycles_in(store, site, lock, period.before()),
        year_before=cycles_in(store, site, lock, period.year_before()),
        incoherences=Count(found if evaluated or found else None, time.seen_ns, stop_ns - start_ns),
        inhibited=inhibited,
        answers=Answers.read(store, site, lock, start_ns, stop_ns),
        not_evaluated=frozenset(rules or ()),
    )  # fmt: skip
    return LockMonth(lock, lockages, time, facts, lockages.origins | time.origins | origins)


def _of_lockages(found: Lockages) -> dict[str, Any]:
    complete = int(found.complete.sum())
    return {
        "ways": Counter(found.by_way), "complete": complete, "incomplete": found.incomplete,
        "empty": Count(found.empty, found.vessel_told, complete),
        "cycles": {way: found.cycle_times(way) for way in CYCLES},
        "drawn_m3": found.drawn_m3, "released_m3": found.released_m3, "moved_m3": found.moved_m3,
        "energy_wh": found.energy,
    }  # fmt: skip


def _of_time(time: LockTime) -> dict[str, Any]:
    pump, asked_ns = time.pump, time.stop_ns - time.start_ns
    energy_wh = Fraction(round(pump.energy_wh)) if pump is not None and pump.covered_ns else None
    return {
        "scheduled_ns": total_ns(time.scheduled), "down_ns": total_ns(time.down), "unseen_ns": time.unseen_ns,
        "available": time.available, "teleoperable": time.teleoperable, "linked": time.linked,
        "modes": {mode: time.in_mode(mode) for mode in MODES}, "bands": time.in_band,
        "takeovers": time.takeovers, "requests": time.requests, "responses_ns": time.responses_ns,
        "alarms": time.alarms, "estops": time.estops,
        "pump_wh": Amount(energy_wh, 0 if pump is None else pump.covered_ns, asked_ns),
        "pumps_in_register": time.points.pumps_in_register,
    }  # fmt: skip


def _added(rule: str | None, a: Any, b: Any) -> Any:
    """Two facts of one name as one."""
    match rule:
        case "first":
            return a
        case "min":
            return min(a, b)
        case "max":
            return max(a, b)
        case "any":
            return a or b
        case "same":
            return a if a == b else None
    if isinstance(a, frozenset):
        return a | b
    if isinstance(a, Mapping) and not isinstance(a, Counter):
        return {key: _added(None, a.get(key), b.get(key)) for key in dict.fromkeys((*a, *b))}
    return b if a is None else a if b is None else a + b


def cycles_in(store: Store, site: str, lock: str, period: Period) -> dict[str, CycleTimes]:
    """Cycle times by direction."""
    lockages = Lockages.read(store, site, lock, period.start_ns, period.stop_ns)
    return {way: lockages.cycle_times(way) for way in CYCLES}


def _incoherences(
    store: Store, site: str, lock: str, start_ns: int, stop_ns: int
) -> tuple[int, int, frozenset[str]]:
    """How many began; how many more in maintenance; and the rows' origins."""
    rows = store.columns("event", lock, ("active", "inhibited"), start_ns, stop_ns, site=site)
    rule = [code.removeprefix("lock_") for code in tag(rows, "code")]
    began = np.isin(np.array(rule, str), RULES) & (rows["active"] == 1)
    hidden = began & (rows["inhibited"] == 1)
    return int((began & ~hidden).sum()), int(hidden.sum()), frozenset(tag(rows, "origin")[began])


def _rules(catalogues: Sequence[Catalogue], lock: str) -> set[str] | None:
    """Rules that are not evaluated; None where the catalogue does not say."""
    for catalogue in catalogues:
        for device in catalogue.devices:
            if device["name"] == lock and "rules" in device:
                return set(device["rules"]["not_evaluated"])
    return None
