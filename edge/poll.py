"""One task per device: connect, scan each class when it is due, back off when nothing answers.

Scan classes are aligned to the clock: a class of 1 s is due at each full second, plus a lag that is the device's
own and always the same, up to a quarter of the interval and no more than 250 ms. So devices do not all ask in
the same millisecond. Classes of one device follow one another, slow ones first.
"""

import asyncio
import heapq
import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drivers.bus import Bus, Buses
from drivers.devices import Link, open_device
from drivers.errors import BusDown, DeviceUnreachable
from drivers.learned import Learned
from drivers.profile import Profile
from drivers.row import Quality, Row, empty_row
from edge.clock import Clock, SimulatedClock
from edge.config import BerthConfig, DeviceConfig
from edge.gaps import Gaps
from edge.modbus_settings import modbus_address
from edge.rounds import Rest, nobody_asks

log = logging.getLogger(__name__)
NS = 1_000_000_000
LONGEST_WAIT_S = 60.0
MOST_SILENCE = 0.01  # share of a shared bus's time that a dead unit may take with its time-outs
MOST_LAG_NS = NS // 4
Take = Callable[[str, Row], None]


@dataclass
class LinkCounts:
    """What a device's link did since it was last reported."""

    connected: bool = False
    scans: int = 0
    missed: int = 0  # due while the device was away, or while an earlier scan still ran
    overruns: int = 0
    scan_s: float = 0.0  # of all scans together
    requests: int = 0
    unreachable: int = 0
    set_aside: int = 0  # requests that are made only now and then, since they are refused
    faults: dict[str, int] = field(default_factory=dict)  # by the driver's name for it
    round_trip_s: float = 0.0
    periods: int = 0  # of the fastest class, between two scans that followed one another
    period_s: float = 0.0  # of all of them together
    clock_offset_s: float = math.nan  # the device's clock minus ours, where it tells

    def report(self) -> dict[str, int | float]:
        """The fields of a `link` row."""
        told = {name: count for name, count in self.faults.items() if name not in ("no_answer", "connection_lost")}
        refused = sum(count for name, count in told.items() if name.lower().startswith(("exception", "bad")))
        fields: dict[str, int | float] = {
            "connected": int(self.connected), "scans": self.scans, "missed": self.missed,
            "overruns": self.overruns, "set_aside": self.set_aside, "requests": self.requests,
            "errors_unreachable": self.unreachable, "errors_refused": refused,
            "errors_rejected": sum(told.values()) - refused,
        }  # fmt: skip
        if self.scans:
            fields["scan_ms"] = 1e3 * self.scan_s / self.scans
            fields["round_trip_ms"] = 1e3 * self.round_trip_s
        if math.isfinite(self.clock_offset_s):
            fields["clock_offset_ms"] = 1e3 * self.clock_offset_s
        if self.periods:
            fields["period_ms"] = 1e3 * self.period_s / self.periods
        return fields


class Poller:
    """Polls one device for ever. Only this loop retries; it logs changes, not states.

    Args:
        take: Is given each row.
        buses: Through which devices share connections; without, this one has its own.
        folder: That of the site file.
        learned: What commissioning found out about the device.
        place: 0..1, where between two scans of the first device this one's lie.
        rest: Is told before each wait how long that will be.
    """

    def __init__(
        self,
        device: DeviceConfig,
        profile: Profile,
        clock: Clock,
        take: Take,
        buses: Buses | None = None,
        folder: Path = Path(),
        place: float = 0.0,
        learned: Learned | None = None,
        rest: Rest = nobody_asks,
    ) -> None:
        self._device, self._profile, self._clock, self._take = device, profile, clock, take
        self._rest = rest
        self._intervals_ns = {
            scan: int(NS * (device.interval_s if scan == "live" else device.scan.get(scan, 10.0)))
            for scan in profile.scans
        }
        self._lags_ns = {
            scan: int(place * min(interval_ns // 4, MOST_LAG_NS))
            for scan, interval_ns in self._intervals_ns.items()
        }
        self._fastest = min(self._intervals_ns, key=self._intervals_ns.__getitem__)  # the scan that proves a link
        self._source = open_device(  # loads the protocol's library: not while others are polled
            self._profile,
            modbus_address(device, folder) if profile.protocol == "modbus" else None,
            url=device.url or "", opcua=device.opcua, timeout_s=device.timeout_s, buses=buses, learned=learned,
        )  # fmt: skip
        self._failures = 0
        self._wake = asyncio.Event()  # ends a back-off
        self.bus: Bus | None = getattr(self._source, "bus", None)
        self.link: Link | None = None  # the last one
        self.tried = False  # it has answered, or has been found away
        if self.bus is not None:
            self.bus.on_return(self._wake.set)
        self._has_history, self._gaps = False, Gaps(device.name)
        self._planned_s = dict.fromkeys(self._intervals_ns, time.monotonic())  # when the next scan was decided
        self._due: list[tuple[int, str]] = []  # on the link that is open
        self._last_ns = 0  # of the last row that was taken
        self._last_fastest_ns = 0  # 0: the one before is not its neighbour
        self.counts = LinkCounts()

    def take_counts(self) -> LinkCounts:
        """What happened since the last call."""
        counts = self.counts
        self.counts = LinkCounts(connected=counts.connected, set_aside=counts.set_aside)
        return counts

    def reset(self) -> None:
        """Forget all back-off, and try at once: something has been plugged in."""
        self._failures = 0
        if (reset := getattr(self._source, "reset", None)) is not None:
            reset()
        self._wake.set()

    def shift(self, by_ns: int) -> None:
        """The clock is known now, and all times that it told so far were wrong by this much. [ns]"""
        self._due[:] = [(due_ns + by_ns, scan) for due_ns, scan in self._due]
        self._last_ns += by_ns if self._last_ns else 0
        self._last_fastest_ns += by_ns if self._last_fastest_ns else 0
        self._gaps.shift(by_ns)

    async def run(self) -> None:
        while True:
            lost_s = time.monotonic()
            try:
                async with self._source.open() as link:
                    self.link = link
                    await self._fill_gap(link)
                    due = self._due = self._first_scans()
                    while True:
                        due_ns, scan = due[0]
                        self._rest(max(0.0, (due_ns - self._clock.now_ns()) / NS))
                        await self._clock.sleep_until(due_ns)
                        row = await self._scan(link, scan)
                        lost_s = time.monotonic()
                        if scan == self._fastest and (self._failures or not self.counts.connected):
                            self._tell_answers(row)
                            self._failures, self.counts.connected, self.tried = 0, True, True
                        heapq.heapreplace(due, (self._next(due[0][0], scan), scan))
                        if self._clock.known:  # a server cannot be asked for times that nobody knows
                            await self._gaps.fill(link, self._hand_on)
            except DeviceUnreachable as error:
                await self._back_off(error)
                away_ns = self._passed_ns(lost_s)
                self.counts.missed += away_ns // self._intervals_ns.get("live", NS)

    def _passed_ns(self, since_s: float) -> int:
        """Time of the clock that has passed since a monotonic instant, whatever steps the clock has made."""
        return int((time.monotonic() - since_s) * self._clock.speed * NS)

    async def _back_off(self, error: DeviceUnreachable) -> None:
        """Tell once that values are unknown from here on, and wait; longer each time, or until `reset`."""
        name = self._device.name
        if self.counts.connected:
            # From the last row on, if the device can fill the gap later: rows have to come in the order of time.
            lost_ns = self._last_ns + 1 if self._has_history else self._clock.now_ns()
            self._hand_on(empty_row(len(self._profile.points), lost_ns, Quality.NO_ANSWER))
        self._last_fastest_ns = 0
        self.counts.connected, self.tried = False, True
        longest_s, factor = self._growth
        wait_s = random.uniform(0.5, 1.0) * min(longest_s, 0.5 * factor ** min(self._failures + 1, 16))
        if isinstance(error, BusDown):  # nothing was sent: this device is no more silent than its neighbours
            wait_s = error.wait_s + random.uniform(0.0, 0.5)
        else:
            self._failures += 1
            self.counts.unreachable += 1
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        log.log(level, "device=%s event=unreachable retry_s=%.1f error=%r", name, wait_s, str(error))
        self._wake.clear()
        self._rest(wait_s)
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    @property
    def _growth(self) -> tuple[float, float]:
        """Longest wait [s], and by how much waits grow.

        On a shared bus so fast and so far that the time-outs of a dead unit cost its neighbours a hundredth.
        """
        bus = self.bus
        if bus is None or len(bus.units) < 2:
            return LONGEST_WAIT_S, 2.0
        lost_s = self._device.timeout_s * (1 if bus.address.has_transaction_ids else 2)  # and silent for as long
        return max(LONGEST_WAIT_S, lost_s / MOST_SILENCE / 0.75), 4.0  # 0.75: what the jitter leaves on average

    async def _fill_gap(self, link: Link) -> None:
        """Have the device tell what was while nobody asked, if it can: rows with their own times."""
        self._has_history = hasattr(link, "history")
        if self._has_history and self._last_ns:
            self._gaps.add(self._last_ns + 1, self._clock.now_ns())
            if self._clock.known:
                await self._gaps.fill(link, self._hand_on)

    def _hand_on(self, row: Row) -> None:
        self._take(self._device.name, row)
        self._last_ns = max(self._last_ns, row.t_ns)

    def _tell_answers(self, row: Row) -> None:
        """That it is there; and whether that is all that can be said for it."""
        name, points = self._device.name, int((row.quality != Quality.NOT_SCANNED).sum())
        refused = int((row.quality == Quality.REFUSED).sum())
        if refused and refused == points:
            log.warning(
                "device=%s event=refuses_all points=%d failures=%d hint=%r",
                name, refused, self._failures, "it is there, but has nothing of this profile: compare profile and"
                " unit; bollard edge probe shows what it has",
            )  # fmt: skip
        else:
            some = f" refused={refused} points={points}" if refused else ""
            log.info("device=%s event=answers failures=%d%s", name, self._failures, some)

    async def _scan(self, link: Link, scan: str) -> Row:
        started, requests, faults = time.monotonic(), link.requests, dict(link.faults)
        try:
            row = await link.scan(scan, self._clock.now_ns)
        finally:
            self._count(link, requests, faults)
        self._hand_on(row)
        counts = self.counts
        counts.scans += 1
        counts.scan_s += time.monotonic() - started
        counts.round_trip_s = link.round_trip_s
        if scan == self._fastest:
            if self._last_fastest_ns:
                counts.periods += 1
                counts.period_s += (row.t_ns - self._last_fastest_ns) / NS
            self._last_fastest_ns = row.t_ns
        return row

    def _count(self, link: Link, requests: int, faults: Mapping[str, int]) -> None:
        counts = self.counts
        counts.requests += link.requests - requests
        counts.set_aside = getattr(link, "set_aside", 0)
        if not isinstance(self._clock, SimulatedClock):  # no other clock has anything to do with that one
            counts.clock_offset_s = getattr(link, "clock_offset_s", math.nan)
        for name, total in link.faults.items():
            if new := total - faults.get(name, 0):  # the driver has logged what it was
                counts.faults[name] = counts.faults.get(name, 0) + new

    def _first_scans(self) -> list[tuple[int, str]]:
        """All classes at once on a new link, slow ones first: they tell who is there."""
        now_ns = self._clock.now_ns()
        slow_first = sorted(self._intervals_ns, key=lambda scan: scan == "live")
        due = [(now_ns + i, scan) for i, scan in enumerate(slow_first)]
        self._planned_s = dict.fromkeys(slow_first, time.monotonic())
        heapq.heapify(due)
        return due

    def _next(self, due_ns: int, scan: str) -> int:
        """The next multiple of the interval, in UTC, plus the lag. What was due meanwhile is only counted."""
        interval_ns, lag_ns = self._intervals_ns[scan], self._lags_ns[scan]
        now_ns = self._clock.now_ns()
        next_ns = ((max(due_ns, now_ns) - lag_ns) // interval_ns + 1) * interval_ns + lag_ns
        late = min(now_ns - due_ns, self._passed_ns(self._planned_s[scan])) // interval_ns
        self._planned_s[scan] = time.monotonic()
        if late > 0:
            self.counts.overruns += 1
            self.counts.missed += late
        return next_ns


class PlugWatch:
    """Ends the back-off of a berth's battery as soon as the berth's charger says that a ship has plugged in."""

    def __init__(
        self, berths: Iterable[BerthConfig], profiles: Mapping[str, Profile], pollers: Mapping[str, Poller]
    ) -> None:
        self._watched = {  # charger -> where `mated` stands in its rows, and whom to wake
            berth.charger: (profiles[berth.charger].index["mated"], pollers[berth.battery])
            for berth in berths
            if berth.battery is not None and "mated" in profiles[berth.charger].index
        }
        self._mated: dict[str, bool] = {}

    def see(self, device: str, row: Row) -> None:
        """Look at a row of any device."""
        if device not in self._watched:
            return
        index, battery = self._watched[device]
        if row.quality[index] >= Quality.STALE:  # unknown: a ship may come and go unseen
            return
        mated = row.values[index] == 1.0
        if mated and not self._mated.get(device, False):
            battery.reset()
        self._mated[device] = mated
