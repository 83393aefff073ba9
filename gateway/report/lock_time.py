"""What a lock did with its time: open or down, in which mode, linked to its centre or not, its levels in band.

Availability is asked of the scheduled time: opening hours less planned stoppages. Of that,

    down       a stoppage that was not planned, the maintenance mode, an emergency stop
    unknown    no row told, and no stoppage was written down
    available  the rest

and the figure is available / (scheduled - unknown): what nobody saw is neither for nor against the lock, and its
share is printed beside it. Teleoperation is available while the lock is, its mode is remote, and the centre's link
is up where a point tells.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gateway.report.intervals import NOTHING, Spans, intersect, spans, subtract, total_ns, union
from gateway.report.lock_signals import (
    Band,
    HourlyLevels,
    LockPoints,
    Mask,
    PowerReader,
    RunReader,
    Runs,
    daily_rows,
)
from gateway.report.month import NS
from gateway.store.base import Array, Store

LEVELS = ("level_upstream_m", "level_chamber_m", "level_downstream_m")
STATES = ("mode", "centre_link", "estop", "takeover_request", "alarm_word")
POWER = "pump_power_w"
Wanted = Callable[[NDArray[np.float64]], Mask]
LONGEST_TAKEOVER_NS = 3600 * NS  # a take-over that comes later than this did not answer the request


@dataclass(frozen=True)
class Schedule:
    """What people wrote down of a lock. `hours` None: no opening hours, so the calendar counts.

    `calendar`: at least on some days it does.
    """

    hours: Spans | None = None
    calendar: bool = True
    planned: Spans = field(default_factory=NOTHING.copy)
    unplanned: Spans = field(default_factory=NOTHING.copy)


@dataclass(frozen=True)
class Share:
    """A time out of a time that is known. The rest of the time asked for is unknown."""

    of_ns: int
    part_ns: int
    asked_ns: int

    @property
    def value(self) -> Fraction | None:
        return Fraction(self.part_ns, self.of_ns) if self.of_ns else None

    @property
    def coverage(self) -> Fraction | None:
        return Fraction(self.of_ns, self.asked_ns) if self.asked_ns else None

    def __add__(self, other: "Share") -> "Share":
        return Share(self.of_ns + other.of_ns, self.part_ns + other.part_ns, self.asked_ns + other.asked_ns)


@dataclass(frozen=True)
class Count:
    """How often something was seen in `known_ns` of a time; None: nothing tells of it."""

    value: int | None
    known_ns: int
    asked_ns: int

    @property
    def coverage(self) -> Fraction | None:
        return None if self.value is None or not self.asked_ns else Fraction(self.known_ns, self.asked_ns)

    def __add__(self, other: "Count") -> "Count":
        told = [count for count in (self.value, other.value) if count is not None]
        return Count(sum(told) if told else None, self.known_ns + other.known_ns, self.asked_ns + other.asked_ns)


@dataclass(frozen=True)
class LockTime:
    """A lock's raw rows of a period. A signal that its PLC does not offer has no runs."""

    start_ns: int
    stop_ns: int
    points: LockPoints
    schedule: Schedule
    runs: Mapping[str, Runs]  # of STATES
    in_band: Mapping[Band, Share]
    levels: Mapping[str, HourlyLevels]
    pump: PowerReader | None
    origins: frozenset[str]

    @cached_property
    def scheduled(self) -> Spans:
        period = spans([(self.start_ns, self.stop_ns)])
        hours = period if self.schedule.hours is None else intersect(self.schedule.hours, period)
        return subtract(hours, self.schedule.planned)

    @cached_property
    def down(self) -> Spans:
        found = [self.schedule.unplanned]
        if "MAINTENANCE" in self.points.modes:
            found.append(self.runs["mode"].where(self._is("MAINTENANCE")))
        found.append(self.runs["estop"].where(_set))
        return intersect(union(*found), self.scheduled)

    @cached_property
    def _seen(self) -> Spans:
        """Scheduled time of which it is known whether the lock was down."""
        told = self.runs["mode"] if len(self.runs["mode"]) else self.runs["estop"]
        return union(intersect(told.known, self.scheduled), self.down)

    @cached_property
    def available(self) -> Share:
        return self._known_share(self._seen, subtract(self._seen, self.down))

    @property
    def unseen_ns(self) -> int:
        """Scheduled time of which nobody knows."""
        return total_ns(self.scheduled) - total_ns(self._seen)

    @cached_property
    def teleoperable(self) -> Share | None:
        """None: nothing tells whether the lock is in remote mode."""
        if "REMOTE" not in self.points.modes or "mode" not in self.points.names:
            return None
        known, could = self.runs["mode"].known, self.runs["mode"].where(self._is("REMOTE"))
        if "centre_link" in self.points.names:
            known = intersect(known, self.runs["centre_link"].known)
            could = intersect(could, self.runs["centre_link"].where(_set))
        known = union(intersect(known, self.scheduled), self.down)
        return self._known_share(known, intersect(subtract(could, self.down), known))

    def in_mode(self, name: str) -> Share | None:
        """Scheduled time in a mode; None where the profile does not name it."""
        if name not in self.points.modes or "mode" not in self.points.names:
            return None
        return self._share(self.runs["mode"], self._is(name))

    @cached_property
    def linked(self) -> Share | None:
        """Scheduled time in which the centre's link was up."""
        if "centre_link" not in self.points.names:
            return None
        return self._share(self.runs["centre_link"], _set)

    @cached_property
    def takeovers(self) -> Count:
        """Times that the mode went from remote to local, at any hour."""
        return self._count("mode", None if self._local is None else len(self._local))

    @cached_property
    def requests(self) -> Count:
        """Times that a local take-over was asked for."""
        return self._count("takeover_request", len(self._requested))

    @cached_property
    def responses_ns(self) -> tuple[int, ...]:
        """From a request to local mode, of those requests that were answered within an hour."""
        found = []
        for i, asked_ns in enumerate(self._requested):
            until_ns = min([asked_ns + LONGEST_TAKEOVER_NS, *self._requested[i + 1 : i + 2]])
            answered = next((t for t in self._local or () if asked_ns <= t <= until_ns), None)
            if answered is not None:
                found.append(answered - asked_ns)
        return tuple(found)

    @cached_property
    def alarms(self) -> Count:
        """Alarms that appeared: bits of the alarm word that were not set in the row before."""
        changes = self.runs["alarm_word"].changes()
        appeared = [(int(after) & ~int(before)).bit_count() for t, before, after in changes if self._inside(t)]
        return self._count("alarm_word", sum(appeared))

    @cached_property
    def estops(self) -> Count:
        changes = self.runs["estop"].changes()
        return self._count("estop", sum(before == 0 and self._inside(t) for t, before, _ in changes))

    @cached_property
    def seen_ns(self) -> int:
        """Time of the period of which any state was told."""
        period = spans([(self.start_ns, self.stop_ns)])
        return max(total_ns(intersect(runs.known, period)) for runs in self.runs.values())

    def _count(self, name: str, value: int | None) -> Count:
        known_ns = total_ns(intersect(self.runs[name].known, spans([(self.start_ns, self.stop_ns)])))
        told = name in self.points.names and len(self.runs[name]) > 0
        return Count(value if told else None, known_ns, self.stop_ns - self.start_ns)

    @cached_property
    def _local(self) -> tuple[int, ...] | None:
        modes = self.points.modes
        if not {"REMOTE", "LOCAL"} <= modes.keys() or not len(self.runs["mode"]):
            return None
        wanted = modes["REMOTE"], modes["LOCAL"]
        return tuple(t for t, *pair in self.runs["mode"].changes() if tuple(pair) == wanted and self._inside(t))

    @cached_property
    def _requested(self) -> tuple[int, ...]:
        changes = self.runs["takeover_request"].changes()
        return tuple(t for t, before, after in changes if before == 0 and after != 0 and self._inside(t))

    def _known_share(self, known: Spans, part: Spans) -> Share:
        """Where stoppages are all that is known, nothing is known of the rest: no share at all."""
        known_ns, asked_ns = total_ns(known), total_ns(self.scheduled)
        if known_ns == total_ns(self.down) < asked_ns:
            return Share(0, 0, asked_ns)
        return Share(known_ns, total_ns(part), asked_ns)

    def _inside(self, t_ns: int) -> bool:
        return self.start_ns <= t_ns < self.stop_ns

    def _is(self, mode: str) -> Wanted:
        code = self.points.modes[mode]
        return lambda values: values == code

    def _share(self, runs: Runs, wanted: Wanted) -> Share:
        known = intersect(runs.known, self.scheduled)
        part = intersect(runs.where(wanted), self.scheduled)
        return Share(total_ns(known), total_ns(part), total_ns(self.scheduled))


def _set(values: NDArray[np.float64]) -> Mask:
    return np.not_equal(values, 0.0)


def read_time(
    store: Store, site: str, points: LockPoints, schedule: Schedule, start_ns: int, stop_ns: int
) -> LockTime:  # fmt: skip
    """A lock's time in [start_ns, stop_ns). Rows a little before and after it are read too: they hold into it."""
    states = {name: RunReader(points.hold_ns.get(name, 0)) for name in STATES}
    kept = {band: RunReader(points.hold_ns.get(band.point, 0)) for band in points.bands}
    levels = {name: HourlyLevels(start_ns, stop_ns) for name in LEVELS if name in points.names}
    pump = PowerReader(points.hold_ns[POWER]) if POWER in points.names else None
    origins: set[str] = set()
    for t_ns, column, tags in raw_rows(store, site, points, start_ns, stop_ns):
        for name, reader in states.items():
            if name in column:
                reader.feed(t_ns, column[name])
        for band, reader in kept.items():
            reader.feed(t_ns, _beside(column[band.point], band))
        for name, hourly in levels.items():
            hourly.feed(t_ns, column[name])
        if pump is not None:
            pump.feed(t_ns, column[POWER], start_ns, stop_ns)
        origins |= set(np.unique(tags["origin"].astype(str)))
    period = spans([(start_ns, stop_ns)])
    return LockTime(
        start_ns=start_ns, stop_ns=stop_ns, points=points, schedule=schedule,
        runs={name: reader.runs() for name, reader in states.items()},
        in_band={band: _within(reader.runs(), period) for band, reader in kept.items()},
        levels=levels, pump=pump, origins=frozenset(origins),
    )  # fmt: skip


def raw_rows(
    store: Store, site: str, points: LockPoints, start_ns: int, stop_ns: int
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, Array], Mapping[str, Array]]]:
    """Times, numbers and tags of the rows that a lock's time is reckoned from, a day at a time."""
    asked = (*STATES, *LEVELS, *(band.point for band in points.bands), POWER)
    wanted = [name for name in dict.fromkeys(asked) if name in points.names]
    look_ns = max(points.hold_ns.values(), default=0)
    if wanted:
        yield from daily_rows(store, site, points.device, wanted, start_ns - look_ns, stop_ns + look_ns + 1)


def _beside(level_m: NDArray[np.float64], band: Band) -> NDArray[np.float64]:
    """1 within the band, 0 outside, NaN where unknown."""
    inside = (level_m >= band.low_m) & (level_m <= band.high_m)
    return np.where(np.isfinite(level_m), inside.astype(np.float64), np.nan)


def _within(runs: Runs, period: Spans) -> Share:
    """Of all hours: a level has to hold at night too."""
    known, part = intersect(runs.known, period), intersect(runs.where(_set), period)
    return Share(total_ns(known), total_ns(part), total_ns(period))
