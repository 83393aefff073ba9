"""The service on the gateway: polls, computes, spools and sends, until it is told to stop."""

import asyncio
import logging
import time
from collections.abc import Callable

from drivers.errors import DriverError
from drivers.row import HISTORY, Row
from edge import wire
from edge.clock import Clock
from edge.config import ConfigError, LoadedSite, catalogue
from edge.disk import Disk
from edge.flush import Flusher
from edge.local import LocalSocket
from edge.notify import Notify
from edge.pipeline import Pipeline
from edge.polling import Polling
from edge.reload import successor
from edge.reports import Reporter
from edge.rounds import Rounds
from edge.sending import Sender
from edge.spool import Salvaged, Spool, SpoolError
from edge.uplink import Uplink
from edge.waiting import Waiting

log = logging.getLogger(__name__)
DRAIN_S = 30.0  # several times resend_s of a busy link: how long a stop waits for the last receipts
RETRY_S = 1.0


class Agent:
    """One gateway. `run` returns after a clean stop; a bug in any task ends all and leaves as ExceptionGroup.

    Args:
        load: Reads the site file again, for `reload`.
        notify: Is told what the service manager wants to know.
    """

    def __init__(
        self, loaded: LoadedSite, clock: Clock, version: str,
        load: Callable[[], LoadedSite] | None = None, notify: Notify | None = None,
    ) -> None:  # fmt: skip
        self._loaded, self._clock, self._version = loaded, clock, version
        self._site = site = loaded.site
        self._load = load or (lambda: LoadedSite.load(loaded.path))
        self._notify, self._rounds = notify or Notify({}), Rounds()
        spool = Spool(loaded.spool_path, f"{site.site.name}/{site.site.gateway}")
        self._disk = Disk(spool, self._on_trouble, self._on_salvaged, self._rounds.rest, self._rounds.excuse)
        self._pipeline = Pipeline(loaded)
        self._wake = asyncio.Event()  # something may be sent
        self._changed = asyncio.Event()  # the site file is to be read again
        self._polling = Polling(loaded, clock, self._take, self._rounds)
        self._uplink = Uplink(
            site.broker, loaded.path.parent, site.site.name, site.site.gateway, catalogue(loaded).encode(),
            self._on_receipt, self._on_connect, self._on_status,
        )  # fmt: skip
        turn = asyncio.Lock()
        self._waiting = Waiting(clock, self._pipeline, self._disk, turn, self._shift, self._rounds.rest)
        self._sender = Sender(self._disk, self._uplink, site.broker)
        self._flusher = Flusher(
            self._disk, self._pipeline, clock, site.spool, self._sender, turn, lambda: not self._waiting.torn
        )
        self._reporter = Reporter(
            loaded, clock, version, self._disk, self._pipeline, self._polling.pollers, self._uplink, self._flusher
        )
        self._local = LocalSocket(loaded, self._polling.pollers, self._reporter.seen_here)

    def _take(self, device: str, row: Row) -> None:
        if row.scan != HISTORY:
            row.t_ns = self._waiting.corrected_ns(row.t_ns)
        self._polling.see(device, row)
        self._pipeline.take(device, row)
        self._local.publish(device, row)

    def _shift(self, by_ns: int) -> None:
        for poller in self._polling.pollers.values():
            poller.shift(by_ns)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Poll every device and publish what was read, until `stop` is set."""
        state, lines = await self._disk.insist(Spool.replay)
        replayed = self._pipeline.resume(state, lines)
        if self._pipeline.has_other_meters:
            self._flusher.checkpoint_soon()  # another restart is to begin with theirs
        await self._waiting.begin(self._site.clock.require)
        waiting = (await self._disk.insist(Spool.tally)).waiting
        log.info(
            "event=started version=%s devices=%d replayed=%d waiting=%d spool=%s",
            self._version, len(self._polling.pollers), replayed, waiting, self._disk.spool.id,
        )  # fmt: skip
        self._reporter.begin(replayed)
        if self._disk.spool.salvaged is not None:
            self._on_salvaged(self._disk.spool.salvaged)
        self._uplink.start(self._reporter.whoami("offline"))
        async with self._local, asyncio.TaskGroup() as group:
            self._notify.ready(self._state)
            ready()
            self._polling.start(group)
            rest = self._rounds.rest
            loops = {
                "flush": self._flusher.run(self._wake.set, rest), "send": self._send_forever(),
                "clock": self._waiting.run(), "report": self._reporter.run(rest),
            }  # fmt: skip
            for name in loops:
                self._rounds.expect(name)
            others = [group.create_task(loop, name=name) for name, loop in loops.items()]
            others += [
                group.create_task(self._uplink.lasting(), name="broker"),
                group.create_task(self._notify.feed(self._rounds), name="watchdog"),
            ]
            reloads = group.create_task(self._reload_forever(), name="reload")
            await stop.wait()
            self._notify.stopping()
            reloads.cancel()  # first: it starts pollers
            await asyncio.wait([reloads])
            for task in others:
                task.cancel()
            await self._polling.stop()
            await asyncio.wait(others)
            await self._drain()
        await self._uplink.stop(await self._reporter.status("offline"))
        tally = await self._reporter.tally()
        try:
            await self._disk.close()
        except SpoolError:  # it has told; the next start takes the file as a kill leaves it
            log.error("event=spool_not_closed")
        log.info("event=stopped sealed=%d waiting=%d", tally.sealed, tally.waiting)

    def reload(self) -> None:
        """Read the site file again, and go on with it; the old one goes on if it is wrong."""
        self._changed.set()

    async def _reload_forever(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._notify.reloading()
            try:
                await self._adopt(await asyncio.to_thread(successor, self._loaded, self._load))
                self._notify.ready(self._state)
            except (ConfigError, DriverError, ValueError) as error:
                for line in str(error).split("\n"):
                    log.error("event=site_refused reason=%r", line)
                self._notify.ready(f"{self._state}; a changed one was refused, see the journal")

    @property
    def _state(self) -> str:
        return f"site file {self._loaded.path} ({self._loaded.hash}), {len(self._polling.pollers)} devices"

    async def _adopt(self, new: LoadedSite) -> None:
        """Spool, connection and computations live on; who is polled in another way is polled anew."""
        crew, offer = self._polling.prepare(new), catalogue(new).encode()

        def adopt() -> None:
            self._pipeline.adopt(new)
            self._loaded = new
            self._reporter.adopt(new, crew.pollers)
            self._local.adopt(new, crew.pollers)
            self._uplink.announce(offer)

        await self._polling.exchange(crew, adopt)
        self._flusher.checkpoint_soon()  # a restart is to begin where the new file does
        log.info("event=site_reloaded hash=%s devices=%d anew=%r", new.hash, len(crew.pollers), list(crew.anew))

    async def _send_forever(self) -> None:
        wait_s = 1.0
        while True:
            self._rounds.rest(1.0)
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
