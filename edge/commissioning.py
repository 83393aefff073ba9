"""`bollard edge commission`: check, plan, readings against the display, and what a load shows, up to a signature.

What is typed comes through `Ask`; nothing here knows a terminal.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from drivers.learned import LearnedFile
from drivers.plan_report import report
from drivers.plausible import Finding as Doubt
from drivers.plausible import Plausible
from drivers.profile import Point, Profile
from drivers.row import Quality, Row
from edge import under_load
from edge.commissioned import Stage
from edge.config import ConfigError, DeviceConfig, LoadedSite, MeterConfig
from edge.display import Agreement, Seen, Typed, compare, permuted
from edge.plan_view import asked_of
from edge.under_load import Finding, Series
from edge.watch import Seen as SeenDevice
from edge.watch import Watched

FIRST, LAST = "energy_import_total_wh", 12  # the point that is always asked; how many are asked at most
NO_LOAD_STEMS = ("energy_", "voltage_l", "voltage_v", "frequency_", "level_", "pack_voltage", "soc")
LOAD_STEMS = ("power_w", "energy_", "current_l", "power_l", "voltage_l", "current_a", "voltage_v")
READ_BEFORE_S = 120.0  # from the display to the command line; at most 0.2 MWh of a ferry
LEAST_ROWS = 3  # of the live scan class, before anything is compared
Ask = Callable[[Point], Awaitable[Typed | None]]


@dataclass
class Looked:
    """All that was found out about a device for one sheet."""

    stage: Stage
    device: DeviceConfig
    profile: Profile
    where: str
    through: str | None = None  # the agent's socket
    load: float = 0.0  # of its connection or line, 0..1
    agreements: list[Agreement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # points that had to be read off the display, and were not
    seconds: float = 0.0  # how long it was watched
    rows: int = 0

    @property
    def wrong(self) -> bool:
        """Whether anything speaks against signing."""
        return (
            any(not a.good for a in self.agreements) or any(f.good is False for f in self.findings)
            or bool(self.doubts)
        )  # fmt: skip

    @property
    def incomplete(self) -> bool:
        """Whether something that a signature needs has not been seen."""
        needed = [f for f in self.findings if f.code in ("load", "register", "direction")]
        return bool(self.missing) or any(f.good is None for f in needed)


def asked_points(profile: Profile, stage: Stage) -> list[Point]:
    """What the engineer is asked for, the needed ones first."""
    stems = NO_LOAD_STEMS if stage == "no_load" else LOAD_STEMS
    needed = needed_points(profile, stage)
    fitting = [
        p.name for stem in stems for p in profile.points
        if p.name.startswith(stem) and p.type not in ("string", "bool")
    ]  # fmt: skip
    names = list(dict.fromkeys([*needed, *fitting]))[:LAST]
    return [profile.points[profile.index[name]] for name in names]


def needed_points(profile: Profile, stage: Stage) -> list[str]:
    """Without these nobody can sign."""
    if profile.kind != "meter":
        return []
    wanted = [FIRST] if stage == "no_load" else [FIRST, "power_w"]
    return [name for name in wanted if name in profile.index]


class Walk:
    """One sheet of one device.

    Raises: what `Watched` raises; LookupError where the device does not answer; ConfigError where the agent goes
        by another site file, or has ended.

    Args:
        read_before_s: How long ago the display may have been read: under load a counter has gone on since. [s]
    """

    def __init__(
        self, loaded: LoadedSite, device: DeviceConfig, stage: Stage, read_before_s: float = READ_BEFORE_S
    ) -> None:
        self._read_before_s = read_before_s
        self._loaded, self._device, self._stage = loaded, device, stage
        self._profile = loaded.profiles[device.name]
        self._charger = next(
            (b.charger for b in loaded.site.berth if b.meter == device.name and stage == "first_call"), None
        )
        self._series = {name: Series() for name in filter(None, (device.name, self._charger))}
        self._came_s: list[float] = []
        self._last: dict[str, Any] | None = None

    async def look(self, ask: Ask, watch_s: float) -> Looked:
        """Watch the device, have the display read, compare.

        Args:
            ask: Gives what the display shows of a point, None where it does not show it.
            watch_s: How long at least the device is watched. [s]
        """
        async with Watched(self._loaded, list(self._series), self._heard) as watched:
            await watched.settled()
            watched.look()
            if watched.trouble:  # what the agent reads is not what would be signed
                raise ConfigError(watched.trouble)
            seen = watched.devices[self._device.name]
            if not seen.connected:
                raise LookupError(seen.endpoint)
            looked = Looked(self._stage, self._device, self._profile, seen.endpoint, watched.through, self._load())
            begin_s = time.monotonic()
            answers = [(point.name, await ask(point)) for point in asked_points(self._profile, self._stage)]
            typed = {name: reading for name, reading in answers if reading is not None}
            await self._enough(watched, begin_s + watch_s)
            if watched.trouble:
                raise ConfigError(watched.trouble)
        looked.seconds, looked.rows = time.monotonic() - begin_s, len(self._came_s)
        looked.agreements = [self._compare(name, reading, seen) for name, reading in typed.items()]
        looked.missing = [name for name in needed_points(self._profile, self._stage) if name not in typed]
        self._judge(looked)
        return looked

    def _load(self) -> float:
        asked = asked_of(self._loaded, LearnedFile.load(self._loaded.learned_path))
        buses = report(asked).buses
        return next((bus.load for bus in buses if self._device.name in bus.devices), 0.0)

    def _heard(self, device: str, row: dict[str, Any]) -> None:
        if device not in self._series:
            return
        profile = self._loaded.profiles[device]
        values = {
            point.name: value
            for point, value, quality in zip(profile.points, row["values"], row["quality"], strict=True)
            if value is not None and quality < Quality.STALE
        }  # fmt: skip
        self._series[device].take(row["t_ns"], values)
        if device == self._device.name and row["scan"] == "live":
            self._came_s.append(time.monotonic())
            self._last = row

    async def _enough(self, watched: Watched, until_s: float) -> None:
        """So long, and some rows at least."""
        latest_s = until_s + watched.longest_s
        while time.monotonic() < until_s or (len(self._came_s) < LEAST_ROWS and time.monotonic() < latest_s):
            watched.look()
            await asyncio.sleep(0.05)

    def _compare(self, name: str, typed: Typed, device: SeenDevice) -> Agreement:
        """With all that came while the display was looked at."""
        index = self._profile.index[name]
        meter = self._device.meter or MeterConfig()
        series = self._series[self._device.name]
        seen = Seen.of([row.get(name) for row in series.rows], device.words.get(index, ""))
        if name.endswith(("_wh", "_varh")):  # by how fast it counts itself: the power may be what is wrong
            t_ns, counted = series.of(name)
            span_s = (t_ns[-1] - t_ns[0]) / 1e9 if t_ns else 0.0
            per_s = max(0.0, counted[-1] - counted[0]) / span_s if span_s > 0 else 0.0
            seen = replace(seen, low=seen.low - per_s * self._read_before_s)
        why = Quality(device.quality[index]).name.lower()
        return compare(self._profile.points[index], typed, seen, meter.ct_ratio, meter.vt_ratio, why)

    def _judge(self, looked: Looked) -> None:
        if self._profile.kind != "meter":
            return
        meter = self._device.meter or MeterConfig()
        if self._last is not None:
            judge = Plausible(self._profile, meter.wiring, meter.nominal_hz, self._device.interval_s)
            looked.doubts = [doubt for doubt in judge.findings(_row(self._last)) if not doubt.passed]
        if (mixed := permuted(looked.agreements)) != "":
            looked.findings.append(Finding("phases_mixed", False, {"phases": mixed.upper()}))
        if self._stage == "first_call":
            charger = self._series[self._charger] if self._charger else None
            series = self._series[self._device.name]
            looked.findings += under_load.findings(
                series, charger, meter.role == "production", self._step_wh(series)
            )

    def _step_wh(self, series: Series) -> float:
        if FIRST not in self._profile.index:
            return 1.0
        point = self._profile.points[self._profile.index[FIRST]]
        if point.type == "float32" and math.isfinite(last := series.last(FIRST)):
            return max(1.0, float(np.spacing(np.float32(last))))
        return max(1.0, abs(point.scale))


def _row(told: Mapping[str, Any]) -> Row:
    """A row of the agent's socket, as the drivers' checks take it."""
    values = np.array([math.nan if v is None else v for v in told["values"]], np.float64)
    return Row(told["t_ns"], values, np.array(told["quality"], np.uint8), {}, told["scan"])


def given(readings: Mapping[str, Typed]) -> Ask:
    """Readings that were made before, and stand in a file or on the command line."""

    async def ask(point: Point) -> Typed | None:
        return readings.get(point.name)

    return ask
