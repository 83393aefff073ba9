"""One task per device: connect, scan each class when it is due, back off when nothing answers."""

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.devices import Link, open_device
from drivers.errors import DeviceUnreachable
from drivers.profile import Profile
from drivers.row import Quality, Row, empty_row
from edge.clock import Clock
from edge.config import DeviceConfig

log = logging.getLogger(__name__)
NS = 1_000_000_000
LONGEST_WAIT_S = 60.0


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
    faults: dict[str, int] = field(default_factory=dict)  # by the driver's name for it
    round_trip_s: float = 0.0

    def report(self) -> dict[str, int | float]:
        """The fields of a `link` row."""
        told = {name: count for name, count in self.faults.items() if name not in ("no_answer", "connection_lost")}
        refused = sum(count for name, count in told.items() if name.lower().startswith(("exception", "bad")))
        fields: dict[str, int | float] = {
            "connected": int(self.connected), "scans": self.scans, "missed": self.missed,
            "overruns": self.overruns, "requests": self.requests, "errors_unreachable": self.unreachable,
            "errors_refused": refused, "errors_rejected": sum(told.values()) - refused,
        }  # fmt: skip
        if self.scans:
            fields["scan_ms"] = 1e3 * self.scan_s / self.scans
            fields["round_trip_ms"] = 1e3 * self.round_trip_s
        return fields


class Poller:
    """Polls one device for ever. Only this loop retries; it logs changes, not states."""

    def __init__(
        self, device: DeviceConfig, profile: Profile, clock: Clock, take: Callable[[str, Row], None]
    ) -> None:
        self._device, self._profile, self._clock, self._take = device, profile, clock, take
        self._intervals_ns = {
            scan: int(NS * (device.interval_s if scan == "live" else device.scan.get(scan, 10.0)))
            for scan in profile.scans
        }
        self._fastest = min(self._intervals_ns, key=self._intervals_ns.__getitem__)  # the scan that proves a link
        self._source = open_device(  # loads the protocol's library: not while others are polled
            self._profile, host=device.host or "", port=device.port, unit_id=device.unit_id,
            url=device.url or "", opcua=device.opcua, timeout_s=device.timeout_s,
        )  # fmt: skip
        self.counts = LinkCounts()

    def take_counts(self) -> LinkCounts:
        """What happened since the last call."""
        counts, self.counts = self.counts, LinkCounts(connected=self.counts.connected)
        return counts

    async def run(self) -> None:
        device, source, failures = self._device, self._source, 0
        while True:
            lost_ns = self._clock.now_ns()
            try:
                async with source.open() as link:
                    due = self._first_scans()
                    while True:
                        due_ns, scan = due[0]
                        await self._clock.sleep_until(due_ns)
                        await self._scan(link, scan)
                        lost_ns = self._clock.now_ns()
                        if scan == self._fastest and (failures or not self.counts.connected):
                            log.info("device=%s event=answers failures=%d", device.name, failures)
                            failures, self.counts.connected = 0, True
                        heapq.heapreplace(due, (self._next(due_ns, scan), scan))
            except DeviceUnreachable as error:
                failures += 1
                if self.counts.connected:  # one row tells that values are unknown from here on
                    row = empty_row(len(self._profile.points), self._clock.now_ns(), Quality.NO_ANSWER)
                    self._take(device.name, row)
                self.counts.connected = False
                self.counts.unreachable += 1
                wait_s = random.uniform(0.5, 1.0) * min(LONGEST_WAIT_S, 0.5 * 2.0 ** min(failures, 8))
                level = logging.WARNING if failures == 1 else logging.DEBUG
                log.log(
                    level, "device=%s event=unreachable retry_s=%.1f error=%r", device.name, wait_s, str(error)
                )
                await asyncio.sleep(wait_s)
                away_ns = self._clock.now_ns() - lost_ns
                self.counts.missed += away_ns // self._intervals_ns.get("live", NS)

    async def _scan(self, link: Link, scan: str) -> None:
        started, requests, faults = time.monotonic(), link.requests, dict(link.faults)
        row = await link.scan(scan, self._clock.now_ns)
        self._take(self._device.name, row)
        counts = self.counts
        counts.scans += 1
        counts.scan_s += time.monotonic() - started
        counts.round_trip_s = link.round_trip_s
        counts.requests += link.requests - requests
        for name, total in link.faults.items():
            if new := total - faults.get(name, 0):  # the driver has logged what it was
                counts.faults[name] = counts.faults.get(name, 0) + new

    def _first_scans(self) -> list[tuple[int, str]]:
        """All classes at once on a new link, slow ones first: they tell who is there."""
        now_ns = self._clock.now_ns()
        slow_first = sorted(self._intervals_ns, key=lambda scan: scan == "live")
        due = [(now_ns + i, scan) for i, scan in enumerate(slow_first)]
        heapq.heapify(due)
        return due

    def _next(self, due_ns: int, scan: str) -> int:
        """The next multiple of the interval, in UTC. What was due meanwhile is counted, not made up for."""
        interval_ns = self._intervals_ns[scan]
        now_ns = self._clock.now_ns()
        next_ns = (max(due_ns, now_ns) // interval_ns + 1) * interval_ns
        late = (now_ns - due_ns) // interval_ns
        if late > 0:
            self.counts.overruns += 1
            self.counts.missed += late
        return next_ns
