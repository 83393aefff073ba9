"""A lock's raw rows as runs: from when to when each signal had which value. Read a day at a time.

A value holds until the next row, if that comes soon; a longer silence belongs to nobody and is no run. So a
month of rows a second needs as much memory as the signals have changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.lock_cycle import BLIND_NS
from edge.wire import Catalogue
from gateway.report.intervals import Spans, spans
from gateway.report.month import NS
from gateway.store.base import Array, Store

DAY_NS = 86_400 * NS
HOUR_NS = 3600 * NS
OTHER_SCAN_S = 10.0  # the edge's own, of a scan class that the site file does not time
SCANS = 3  # as many scans may be missing in a row before a value is no longer held
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Band:
    """Where a level is meant to be, both ends included."""

    point: str
    low_m: float
    high_m: float


@dataclass(frozen=True)
class LockPoints:
    """What the catalogue says of a lock: which points it has, what their codes mean, how often they come."""

    device: str
    names: frozenset[str]
    modes: Mapping[str, float]  # meaning (LOCAL, REMOTE, MAINTENANCE, …) -> code
    hold_ns: Mapping[str, int]  # of each point: a silence up to this long does not part two rows
    bands: tuple[Band, ...]  # those of the site file, as long as their point is there
    pumps_in_register: bool | None  # does energy_total_wh count them too? None: nobody said

    @classmethod
    def of(cls, catalogues: Sequence[Catalogue], device: str) -> "LockPoints":
        found: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        for catalogue in catalogues:
            found |= next((dict(d) for d in catalogue.devices if d["name"] == device), {})
            settings |= next((s for s in catalogue.settings.get("device", ()) if s["name"] == device), {})
        points = {p["name"]: p for p in found.get("points", ())}
        codes = points.get("mode", {}).get("codes") or {}
        modes = {str(name).upper(): float(code) for code, name in codes.items()}
        lock = settings.get("lock") or {}
        wanted = lock.get("maintenance_mode", -1)
        if wanted >= 0:  # the site file has the last word
            modes["MAINTENANCE"] = float(wanted)
        every_s = {"live": found.get("interval_s") or 1.0} | dict(settings.get("scan") or {})
        hold_ns = {
            name: max(BLIND_NS, round(SCANS * every_s.get(p.get("scan", "live"), OTHER_SCAN_S) * NS))
            for name, p in points.items()
        }
        bands = tuple(Band(**band) for band in lock.get("band", ()) if band["point"] in points)
        return cls(device, frozenset(points), modes, hold_ns, bands, lock.get("pumps_in_register"))


@dataclass(frozen=True)
class Runs:
    """Stretches of one value, oldest first. A run of no length is a row without a neighbour."""

    start_ns: NDArray[np.int64]
    stop_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def known(self) -> Spans:
        return spans(np.column_stack((self.start_ns, self.stop_ns)))

    def where(self, wanted: Callable[[NDArray[np.float64]], Mask]) -> Spans:
        """When the value was as wanted."""
        chosen = wanted(self.value)
        return spans(np.column_stack((self.start_ns[chosen], self.stop_ns[chosen])))

    def changes(self) -> Iterator[tuple[int, float, float]]:
        """Instant, value before and value from then on, also across a silence."""
        for i in np.flatnonzero(self.value[1:] != self.value[:-1]):
            yield int(self.start_ns[i + 1]), float(self.value[i]), float(self.value[i + 1])


@dataclass
class RunReader:
    """Joins what it is fed, in order of time, into runs."""

    hold_ns: int
    _parts: list[Runs] = field(default_factory=list)
    _last: tuple[int, float] | None = None

    def feed(self, t_ns: NDArray[np.int64], value: NDArray[np.float64]) -> None:
        """Rows of a stretch of time. NaN: this row does not tell."""
        told = np.isfinite(value)
        t_ns, value = t_ns[told], value[told]
        if not len(t_ns):
            return
        if self._last is not None:
            t_ns = np.concatenate(([self._last[0]], t_ns))
            value = np.concatenate(([self._last[1]], value))
        self._last = int(t_ns[-1]), float(value[-1])
        next_ns = np.append(t_ns[1:], t_ns[-1])
        stop_ns = np.where(next_ns - t_ns <= self.hold_ns, next_ns, t_ns)
        self._parts.append(_joined(Runs(t_ns, stop_ns, value)))

    def runs(self) -> Runs:
        if not self._parts:
            return Runs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        return _joined(
            Runs(
                np.concatenate([p.start_ns for p in self._parts]),
                np.concatenate([p.stop_ns for p in self._parts]),
                np.concatenate([p.value for p in self._parts]),
            )
        )


def _joined(runs: Runs) -> Runs:
    """Neighbours of one value as one run."""
    first = np.ones(len(runs), bool)
    first[1:] = (runs.start_ns[1:] != runs.stop_ns[:-1]) | (runs.value[1:] != runs.value[:-1])
    last = np.append(first[1:], True)
    return Runs(runs.start_ns[first], runs.stop_ns[last], runs.value[first])


@dataclass
class PowerReader:
    """Energy of a power by straight lines between rows; a silence longer than `hold_ns` adds nothing."""

    hold_ns: int
    energy_wh: float = 0.0
    covered_ns: int = 0
    _last: tuple[int, float] | None = None

    def feed(self, t_ns: NDArray[np.int64], power_w: NDArray[np.float64], start_ns: int, stop_ns: int) -> None:
        """A step belongs to the time in which it starts."""
        told = np.isfinite(power_w)
        t_ns, power_w = t_ns[told], power_w[told]
        if not len(t_ns):
            return
        if self._last is not None:
            t_ns = np.concatenate(([self._last[0]], t_ns))
            power_w = np.concatenate(([self._last[1]], power_w))
        self._last = int(t_ns[-1]), float(power_w[-1])
        step_ns = np.diff(t_ns)
        counts = (step_ns <= self.hold_ns) & (t_ns[:-1] >= start_ns) & (t_ns[:-1] < stop_ns)
        energy_w_ns = (power_w[1:] + power_w[:-1])[counts] * step_ns[counts]
        self.energy_wh += float(energy_w_ns.sum()) / 2.0 / HOUR_NS
        self.covered_ns += int(step_ns[counts].sum())


@dataclass
class HourlyLevels:
    """Mean level of each hour, for a chart. Hours begin with the period."""

    start_ns: int
    stop_ns: int

    def __post_init__(self) -> None:
        count = -(-(self.stop_ns - self.start_ns) // HOUR_NS)
        self._count, self._sum = np.zeros(count, np.int64), np.zeros(count)

    def feed(self, t_ns: NDArray[np.int64], level_m: NDArray[np.float64]) -> None:
        told = np.isfinite(level_m) & (t_ns >= self.start_ns) & (t_ns < self.stop_ns)
        hour = (t_ns[told] - self.start_ns) // HOUR_NS
        np.add.at(self._count, hour, 1)
        np.add.at(self._sum, hour, level_m[told])

    @property
    def mean_m(self) -> NDArray[np.float64]:
        """NaN where no row told."""
        with np.errstate(invalid="ignore"):
            return self._sum / np.where(self._count > 0, self._count, np.nan)


def daily_rows(
    store: Store, site: str, device: str, fields: Sequence[str], start_ns: int, stop_ns: int
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, Array], Mapping[str, Array]]]:
    """Times, numbers and tags of a lock's rows, a day at a time."""
    for day_ns in range(start_ns, stop_ns, DAY_NS):
        rows = store.columns("lock", device, fields, day_ns, min(day_ns + DAY_NS, stop_ns), site=site)
        if len(rows):
            yield rows.t_ns, {name: rows[name] for name in fields}, rows.tags
