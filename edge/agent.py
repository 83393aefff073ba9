"""The service on the gateway: polls, computes, spools and sends, until it is told to stop."""

import asyncio
import logging
import time
from collections.abc import Callable

from drivers.bus import Buses
from drivers.learned import LearnedFile
from drivers.row import HISTORY, Row
from edge import wire
from edge.clock import Clock
from edge.config import LoadedSite, catalogue
from edge.disk import Disk
from edge.flush import Flusher
from edge.local import LocalSocket
from edge.pipeline import Pipeline
from edge.poll import PlugWatch, Poller
from edge.reports import Reporter
from edge.sending import Sender
from edge.spool import Salvaged, Spool, SpoolError
from edge.uplink import Uplink
from edge.waiting import Waiting

log = logging.getLogger(__name__)
DRAIN_S = 30.0  # several times resend_s of a busy link: how long a stop waits for the last receipts
RETRY_S = 1.0


class Agent:
    """One gateway. `run` returns after a clean stop; a bug in any task ends all and leaves as ExceptionGroup."""

    def __init__(self, loaded: LoadedSite, clock: Clock, version: str) -> None:
        self._loaded, self._clock, self._version = loaded, clock, version
        self._site = site = loaded.site
        spool = Spool(loaded.spool_path, f"{site.site.name}/{site.site.gateway}")
        self._disk = Disk(spool, self._on_trouble, self._on_salvaged)
        self._pipeline = Pipeline(loaded)
        self._wake = asyncio.Event()  # something may be sent
        buses, learned = Buses(), LearnedFile.load(loaded.learned_path)
        self._pollers = {
            d.name: Poller(
                d, loaded.profiles[d.name], clock, self._take, buses, loaded.path.parent, i / len(site.device),
                learned.of(d.name, loaded.profiles[d.name]),
            )
            for i, d in enumerate(site.device)
        }  # fmt: skip
        self._plugs = PlugWatch(site.berth, loaded.profiles, self._pollers)
        self._uplink = Uplink(
            site.broker, loaded.path.parent, site.site.name, site.site.gateway, catalogue(loaded).encode(),
            self._on_receipt, self._on_connect, self._on_status,
        )  # fmt: skip
        turn = asyncio.Lock()
        self._waiting = Waiting(clock, self._pipeline, self._disk, turn, self._shift)
        self._sender = Sender(self._disk, self._uplink, site.broker)
        self._flusher = Flusher(
            self._disk, self._pipeline, clock, site.spool, self._sender, turn, lambda: not self._waiting.torn
        )
        self._reporter = Reporter(
            loaded, clock, version, self._disk, self._pipeline, self._pollers, self._uplink, self._flusher
        )
        self._local = LocalSocket(loaded, self._pollers, self._reporter.seen_here)

    def _take(self, device: str, row: Row) -> None:
        if row.scan != HISTORY:
            row.t_ns = self._waiting.corrected_ns(row.t_ns)
        self._plugs.see(device, row)
        self._pipeline.take(device, row)
        self._local.publish(device, row)

    def _shift(self, by_ns: int) -> None:
        for poller in self._pollers.values():
            poller.shift(by_ns)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Poll every device and publish what was read, until `stop` is set."""
        state, lines = await self._disk.insist(Spool.replay)
        replayed = self._pipeline.resume(state, lines)
        await self._waiting.begin(self._site.clock.require)
        waiting = (await self._disk.insist(Spool.tally)).waiting
        log.info(
            "event=started version=%s devices=%d replayed=%d waiting=%d spool=%s",
            self._version, len(self._pollers), replayed, waiting, self._disk.spool.id,
        )  # fmt: skip
        self._reporter.begin(replayed)
        if self._disk.spool.salvaged is not None:
            self._on_salvaged(self._disk.spool.salvaged)
        self._uplink.start(self._reporter.whoami("offline"))
        async with self._local, asyncio.TaskGroup() as group:
            ready()
            polls = [group.create_task(p.run(), name=f"poll {name}") for name, p in self._pollers.items()]
            others = [
                group.create_task(task, name=name)
                for name, task in (
                    ("flush", self._flusher.run(self._wake.set)), ("send", self._send_forever()),
                    ("clock", self._waiting.run()), ("report", self._reporter.run()),
                    ("broker", self._uplink.lasting()),
                )
            ]  # fmt: skip
            await stop.wait()
            for task in polls + others:
                task.cancel()
            await asyncio.wait(polls + others)
            await self._drain()
        await self._uplink.stop(await self._reporter.status("offline"))
        tally = await self._reporter.tally()
        try:
            await self._disk.close()
        except SpoolError:  # it has told; the next start takes the file as a kill leaves it
            log.error("event=spool_not_closed")
        log.info("event=stopped sealed=%d waiting=%d", tally.sealed, tally.waiting)

    async def _send_forever(self) -> None:
        wait_s = 1.0
        while True:
            try:
                async with asyncio.timeout(min(1.0, wait_s)):  # what has no receipt comes due by itself
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                wait_s = await self._sender.turn()
            except SpoolError:  # the disk has told; rows stay where they are until it works again
                wait_s = RETRY_S

    # What comes from the shore.

    def _on_receipt(self, receipt: wire.Receipt) -> None:
        for line, reason in receipt.refused:
            log.warning("event=row_refused batch=%d line=%d reason=%r", receipt.batch, line, reason)
        self._sender.receive(receipt)
        self._wake.set()

    def _on_connect(self) -> None:
        self._sender.begin_again()
        self._reporter.tell_status()
        self._wake.set()

    def _on_status(self, status: dict[str, object]) -> None:
        """The broker says something about us that another has said: our will, or somebody of our name."""
        if status.get("spool") not in (None, self._disk.spool.id):
            self._reporter.tell_namesake(status)
        elif status.get("state") == "offline":  # of an older connection, and wrong
            self._reporter.tell_status()

    # What the disk says.

    def _on_trouble(self, error: SpoolError) -> None:
        self._pipeline.take_event("spool_refuses", None, self._clock.now_ns(), detail=str(error))

    def _on_salvaged(self, found: Salvaged) -> None:
        """The spool is another one now; what the computations know is right, and goes into it at once."""
        log.error(
            "event=spool_salvaged aside=%s rows=%d lost=%s why=%r", found.aside, found.rows, found.lost, found.why
        )
        fields: dict[str, wire.Value] = {"rows": found.rows, "text": found.aside, "detail": found.why}
        if found.lost is not None:
            fields["value"] = float(found.lost)
        self._pipeline.take_event("spool_salvaged", None, self._clock.now_ns(), **fields)
        self._flusher.checkpoint_soon()
        self._uplink.forget()
        self._sender.begin_again()

    async def _drain(self) -> None:
        """At a stop, with all tasks ended: rows to disk with their state, then wait a little for the shore."""
        while await self._flusher.flush(checkpoint=True) and (self._pipeline.entries or self._pipeline.held):
            pass
        deadline_s = time.monotonic() + DRAIN_S
        while self._uplink.connected and time.monotonic() < deadline_s:
            self._sender.hurry()
            try:
                await self._sender.turn()
            except SpoolError:
                break
            await self._flusher.flush()
            if (await self._reporter.tally()).waiting == 0:
                break
            await asyncio.sleep(0.05)
        left = len(self._pipeline.entries) + len(self._pipeline.held)
        if left:
            log.error("event=rows_lost rows=%d reason='the disk takes no writes'", left)
