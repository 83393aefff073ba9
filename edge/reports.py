"""What the gateway says about itself: its links, its own state, its status, and what a person should know."""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge import wire
from edge.clock import Clock
from edge.commissioned import Watcher
from edge.config import LoadedSite, catalogue
from edge.disk import Disk
from edge.flush import Flusher
from edge.health import Health
from edge.pipeline import Pipeline
from edge.poll import Poller
from edge.rounds import Rest, nobody_asks
from edge.spool import Spool, SpoolError, Tally
from edge.uplink import Uplink

log = logging.getLogger(__name__)
NS = 1_000_000_000
LINK_REPORT_S, GATEWAY_REPORT_S, STATUS_S = 10.0, 30.0, 10.0
CERTIFICATES_S = 86_400.0
NAMESAKE_S = 600.0


class Every:
    """True once in so many seconds of the agent's clock, counted by the monotonic one: steps change nothing."""

    def __init__(self, interval_s: float, speed: float) -> None:
        self._interval_s, self._due_s = interval_s / speed, 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._due_s:
            return False
        self._due_s = time.monotonic() + self._interval_s
        return True


class Reporter:
    """Makes the reports. What the spool does not tell at once is told as it was."""

    def __init__(
        self, loaded: LoadedSite, clock: Clock, version: str, disk: Disk, pipeline: Pipeline,
        pollers: Mapping[str, Poller], uplink: Uplink, flusher: Flusher,
    ) -> None:  # fmt: skip
        self._clock, self._version, self._disk, self._pipeline = clock, version, disk, pipeline
        self._certificates: dict[str, str] = {}
        self._uplink, self._flusher = uplink, flusher
        self.adopt(loaded, pollers)
        self._health = Health(loaded.spool_path.parent)
        self._started_s = time.monotonic()
        self._last = Tally(0, 0, 0, 0)
        self._known: dict[str, Any] = {}  # what the last status said of the spool
        self._status_due = True
        self._namesake_told_s = -NAMESAKE_S

    def adopt(self, loaded: LoadedSite, pollers: Mapping[str, Poller]) -> None:
        """From now on tell of these."""
        self._devices = [device.name for device in loaded.site.device]
        self._loaded, self._signed, self._pollers = loaded, Watcher(loaded), pollers

    def begin(self, replayed: int) -> None:
        self._pipeline.trusted = self._clock.trusted()
        self._pipeline.take_event(
            "agent_started", None, self._clock.now_ns(), text=self._version, rows=replayed,
            detail=self._clock.boot_id(),
        )  # fmt: skip

    def tell_status(self) -> None:
        """The status has to be said at once: nobody knows it, or somebody knows a wrong one."""
        self._status_due = True

    def tell_namesake(self, status: Mapping[str, object]) -> None:
        """Somebody else speaks for this gateway; each throws the other off the broker, again and again."""
        if time.monotonic() - self._namesake_told_s < NAMESAKE_S:
            return
        self._namesake_told_s = time.monotonic()
        log.error(
            "event=name_taken spool=%s boot=%s reason='another agent speaks for this site and gateway;"
            " give one of them another name'", status.get("spool"), status.get("boot_id"),
        )  # fmt: skip
        self._pipeline.take_event("name_taken", None, self._clock.now_ns(), text=str(status.get("spool")))

    async def run(self, rest: Rest = nobody_asks) -> None:
        speed = self._clock.speed
        links, gateway = Every(LINK_REPORT_S, speed), Every(GATEWAY_REPORT_S, speed)
        certificates, status = Every(CERTIFICATES_S, speed), Every(STATUS_S, speed)
        while True:
            now_ns = self._clock.now_ns()
            self._pipeline.trusted = self._clock.trusted()
            step_s = self._clock.take_step_s()
            if step_s:
                log.warning("event=clock_step step_s=%.3f", step_s)
                self._pipeline.take_event("clock_step", None, now_ns, step_s=step_s)
            if links():
                for name, poller in self._pollers.items():
                    self._pipeline.take_report("link", name, dict(poller.take_counts().report()), now_ns)
            if gateway():
                await self._report_gateway()
            if certificates():
                await self.tell_certificates()
            if status() or self._status_due:
                self._status_due = False
                if self._signed.changed():
                    self._uplink.announce(catalogue(self._loaded).encode())
                self._uplink.publish_status(await self.status("online"))
            rest(1.0)
            await asyncio.sleep(max(0.02, 1.0 / speed))

    async def tally(self) -> Tally:
        self._last = await self._disk.asked(self._last, Spool.tally)
        return self._last

    async def _report_gateway(self) -> None:
        try:
            tally, oldest_ns = await self.tally(), await self._disk(Spool.oldest_waiting_ns)
            size, batches = await self._disk(Spool.used_bytes), await self._disk(Spool.batches_waiting)
        except SpoolError:  # the disk has told
            return
        now_ns = self._clock.now_ns()
        oldest_s = (now_ns - oldest_ns) / NS if oldest_ns is not None else 0.0
        fields = self._health.report(tally, size, batches, oldest_s, self._pipeline.trusted)
        fields["dropped_rows"] = tally.dropped + self._flusher.lost_rows
        self._pipeline.take_report("gateway", None, dict(fields), now_ns)

    async def tell_certificates(self) -> None:
        """An event for each that ends soon: from that day on the broker takes nothing from us, not even this."""
        self._certificates = await asyncio.to_thread(self._uplink.certificates)
        now = datetime.now(UTC)  # of the world that made them, also where time is simulated
        for seen in await asyncio.to_thread(self._uplink.expiring):
            days = seen.days_left(now)
            log.warning("event=certificate_expires file=%s days=%d", seen.file, days)
            told: dict[str, wire.Value] = {
                "value": float(days), "text": seen.name, "detail": seen.ends.isoformat(),
            }  # fmt: skip
            self._pipeline.take_event("certificate_expires", None, self._clock.now_ns(), **told)

    def whoami(self, state: str) -> dict[str, Any]:
        """What the broker tells when we are gone: nothing that we could not know beforehand."""
        since_s = time.monotonic() - self._started_s
        since_ns = self._clock.now_ns() - int(since_s * self._clock.speed * NS) if self._clock.known else None
        return {
            "state": state, "since_ns": since_ns, "version": self._version, "boot_id": self._clock.boot_id(),
            "spool": self._disk.spool.id,
        }  # fmt: skip

    async def status(self, state: str) -> dict[str, Any]:
        """Who we are, until when everything is confirmed, device by device, and what became of all rows."""
        tally = await self.tally()
        try:
            oldest, beyond_ns = await self._disk(Spool.oldest_by_device)
            held, spool_bytes = await self._disk(Spool.held_count), await self._disk(Spool.used_bytes)
            self._known = {"confirmed_until_ns": None, "devices": {}, "held": held, "spool_bytes": spool_bytes}
        except SpoolError:
            oldest = None
        if oldest is not None:
            everything = [t_ns for t_ns in (*oldest.values(), beyond_ns) if t_ns is not None]
            self._known["confirmed_until_ns"] = self._until(min(everything, default=None))
            for name in self._devices:
                mine = [t_ns for t_ns in (oldest.get(name), beyond_ns) if t_ns is not None]
                last_ns = self._pipeline.last_ns(name)  # what was never read is not confirmed either
                until_ns = self._until(min(mine, default=None))
                self._known["devices"][name] = {
                    "confirmed_until_ns": None if last_ns is None else min(last_ns, until_ns),
                    "commissioned": self._signed.told[name]["state"],
                }
        return self.whoami(state) | {
            "now_ns": self._clock.now_ns(),
            "clock_trusted": self._pipeline.trusted, "clock_known": self._clock.known,
            "sealed": tally.sealed, "stored": tally.stored, "waiting": tally.waiting,
            "dropped": tally.dropped + self._flusher.lost_rows, "refused": tally.refused,
            "disk_free_bytes": self._health.disk_free_bytes(), "certificates": self._certificates,
        } | self._known  # fmt: skip

    async def seen_here(self) -> dict[str, Any]:
        """The status for a person beside the gateway: online is what we are to the broker."""
        return await self.status("online" if self._uplink.connected else "offline")

    def _until(self, oldest_ns: int | None) -> int:
        """Where nothing waits, all that is on disk is confirmed."""
        return self._flusher.flushed_ns if oldest_ns is None else oldest_ns - 1
