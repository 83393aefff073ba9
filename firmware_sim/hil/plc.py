"""The device under test, read and nothing else: one connection at a time, through the drivers of the product."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import numpy as np

from drivers.devices import Device, Link, open_device
from drivers.errors import DeviceUnreachable
from drivers.profile import Profile
from drivers.row import Row
from firmware_sim.hil.settings import Settings, Target
from firmware_sim.hil.trace import NS, Trace

SLOW_EVERY = 5  # live scans between two scans of each other class
PAIRS = 5  # times in a watch that two scans follow each other at once
RECONNECT_S = 0.5
MUTE = 10  # attempts without a single answer: a wrong unit id, or no Modbus at all. Nobody waits 45 min for it
Progress = Callable[[float], None]


class Clock:
    """UTC that runs with the monotonic clock: a step of the wall clock does not move the readings."""

    speed = 1.0

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        return time.monotonic_ns() + self._offset_ns


class Plc:
    """Reads the device. Each call opens its own connection and closes it, so that nothing is held in between.

    Args:
        clock: Of the target: simulated on the simulator.
    """

    def __init__(self, settings: Settings, target: Target, clock: Clock) -> None:
        self.profile: Profile = settings.profile
        self.clock = clock
        self.settings = settings
        self.target = target
        self.device: Device = open_device(
            settings.profile, host=target.host, port=target.port, unit_id=target.unit_id, url=target.url,
            timeout_s=settings.timeout_s,
        )  # fmt: skip

    @property
    def endpoint(self) -> str:
        return self.device.endpoint

    def scan(self, scan: str = "live") -> Row:
        """One scan. Raises: DeviceUnreachable."""
        return asyncio.run(self._scan(scan))

    def read(self, name: str) -> float | str | None:
        """One point now: its value, its text, or None where it is not good. Raises: DeviceUnreachable."""
        i = self.profile.index[name]
        row = self.scan(self.profile.points[i].scan)
        value = float(row.values[i])
        return row.text.get(i, None if np.isnan(value) else value)

    def watch(
        self, seconds: float, until: Callable[[Row], bool] | None = None, progress: Progress | None = None,
        patient: bool = True,
    ) -> Trace:  # fmt: skip
        """Scan for a while. What goes wrong is recorded; a lost connection is opened again.

        Args:
            seconds: Of the target's time. [s]
            until: End early with the first live row for which this holds.
            progress: Told the share done, now and then.
            patient: False ends with the first loss of the connection.

        Raises: DeviceUnreachable, if not even the first connection came about.
        """
        return asyncio.run(self._watch(seconds, until, progress, patient))

    async def _scan(self, scan: str) -> Row:
        async with self.device.open() as link:
            return await link.scan(scan, self.clock.now_ns)

    async def _watch(
        self, seconds: float, until: Callable[[Row], bool] | None, progress: Progress | None, patient: bool
    ) -> Trace:
        trace = Trace(self.profile)
        start_ns = self.clock.now_ns()
        end_ns = start_ns + int(seconds * NS)
        first = True
        while self.clock.now_ns() < end_ns:
            opened = self.device.open()
            try:
                async with opened as link:
                    first = False
                    if await self._until_lost(link, trace, start_ns, end_ns, until, progress):
                        break
            except DeviceUnreachable as error:
                if first:
                    raise
                trace.missed.append(str(error))
                if not patient or (len(trace.missed) >= MUTE and not trace.scans()):
                    break
                await asyncio.sleep(RECONNECT_S)
            finally:
                _count(trace, opened)
        return trace

    async def _until_lost(
        self, link: Link, trace: Trace, start_ns: int, end_ns: int,
        until: Callable[[Row], bool] | None, progress: Progress | None,
    ) -> bool:  # fmt: skip
        """Scan until the time is over or `until` holds. Raises: DeviceUnreachable."""
        interval_ns = int(self.settings.interval_s * NS)
        due_ns, n, pairs_taken = self.clock.now_ns(), 0, 0
        others = [scan for scan in self.profile.scans if scan != "live"]
        while self.clock.now_ns() < end_ns:
            if n % SLOW_EVERY == 0:
                for scan in others:
                    trace.add(await link.scan(scan, self.clock.now_ns))
            row = await link.scan("live", self.clock.now_ns)
            trace.add(row)
            trace.round_trip_s.append(link.round_trip_s)
            share = (self.clock.now_ns() - start_ns) / max(1, end_ns - start_ns)
            if share * PAIRS >= pairs_taken:
                pairs_taken += 1
                second = await link.scan("live", self.clock.now_ns)
                trace.pairs.append((row, second))
                trace.add(second)
            if until is not None and until(row):
                return True
            if progress is not None and n % 10 == 0:
                progress(share)
            n += 1
            due_ns = max(due_ns + interval_ns, self.clock.now_ns())  # what is late is not made up for
            await asyncio.sleep(max(0.0, (due_ns - self.clock.now_ns()) / NS / self.clock.speed))
        return True


def _count(trace: Trace, link: AbstractAsyncContextManager[Link]) -> None:
    trace.faults.update(getattr(link, "faults", {}))
    trace.requests += getattr(link, "requests", 0)
