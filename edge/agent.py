"""The service on the gateway: polls, computes, spools and sends, until it is told to stop."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from drivers.bus import Buses
from drivers.learned import LearnedFile
from drivers.row import Row
from edge import wire
from edge.clock import Clock
from edge.config import LoadedSite, catalogue
from edge.health import Health, boot_id
from edge.local import LocalSocket
from edge.pipeline import Pipeline
from edge.poll import PlugWatch, Poller
from edge.spool import Batch, Entry, Spool, SpoolError
from edge.uplink import Uplink

log = logging.getLogger(__name__)
T = TypeVar("T")
NS = 1_000_000_000
CHECKPOINT_S = 60.0  # of the agent's clock: how much a start has to replay
LINK_REPORT_S, GATEWAY_REPORT_S, STATUS_S = 10.0, 30.0, 10.0
CERTIFICATES_S = 86_400.0
MOST_ROWS_IN_MEMORY = 200_000  # while the disk refuses; some 100 MB
MOST_ROWS_PER_BATCH = 500
DETAIL_EVERY_S = 5.0  # real seconds that detail rows are collected for one batch
DRAIN_S = 10.0  # how long a stop waits for the last receipts


class Agent:
    """One gateway. `run` returns after a clean stop; a bug in any task ends all and leaves as ExceptionGroup."""

    def __init__(self, loaded: LoadedSite, clock: Clock, version: str) -> None:
        self._loaded, self._clock, self._version = loaded, clock, version
        self._site = loaded.site
        self._spool = Spool(loaded.spool_path, f"{self._site.site.name}/{self._site.site.gateway}")
        self._disk = ThreadPoolExecutor(1, "spool")  # the only thread that touches the spool from here on
        self._pipeline = Pipeline(loaded)
        self._health = Health(loaded.spool_path.parent)
        self._wake = asyncio.Event()  # something may be sent
        buses, devices, learned = Buses(), self._site.device, LearnedFile.load(loaded.learned_path)
        self._pollers = {
            d.name: Poller(
                d,
                loaded.profiles[d.name],
                clock,
                self._take,
                buses,
                loaded.path.parent,
                i / len(devices),
                learned.of(d.name, loaded.profiles[d.name]),
            )
            for i, d in enumerate(devices)
        }
        self._local = LocalSocket(loaded, self._pollers)
        self._plugs = PlugWatch(self._site.berth, loaded.profiles, self._pollers)
        self._uplink = Uplink(
            self._site.broker, loaded.path.parent, self._site.site.name, self._site.site.gateway,
            catalogue(loaded).encode(), self._on_receipt, self._on_connect,
        )  # fmt: skip
        self._started_ns = 0
        self._tally = self._spool.tally()
        self._waiting: dict[int, str] = {}  # batches without a receipt, oldest first: id -> lane
        self._checkpoint_due_ns = 0
        self._flush_fails = False
        self._flushed_ns = 0  # all rows up to here are on disk
        self._status_due = False  # a new connection has to be told at once
        self._lost_rows = 0  # that neither disk nor memory could take

    def _take(self, device: str, row: Row) -> None:
        self._plugs.see(device, row)
        self._pipeline.take(device, row)
        self._local.publish(device, row)

    def _on_disk(self, function: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._disk, function, *args)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Poll every device and publish what was read, until `stop` is set."""
        state, lines = self._spool.replay()
        replayed = self._pipeline.resume(state, lines)
        self._clock.not_before(self._pipeline.newest_ns())
        self._waiting = dict(self._spool.waiting_ids())
        self._started_ns = self._clock.now_ns()
        self._checkpoint_due_ns = self._started_ns + int(CHECKPOINT_S * NS)
        log.info(
            "event=started version=%s devices=%d replayed=%d waiting=%d spool=%s",
            self._version, len(self._pollers), replayed, self._tally.waiting, self._spool.id,
        )  # fmt: skip
        self._pipeline.take_event(
            "agent_started", None, self._started_ns, text=self._version, rows=replayed, detail=boot_id()
        )
        self._uplink.start(self._whoami("offline"))
        async with self._local, asyncio.TaskGroup() as group:
            ready()
            polls = [group.create_task(p.run(), name=f"poll {name}") for name, p in self._pollers.items()]
            others = [
                group.create_task(task, name=name)
                for name, task in (
                    ("flush", self._flush_forever()), ("send", self._send_forever()),
                    ("report", self._report_forever()), ("broker", self._uplink.lasting()),
                )
            ]  # fmt: skip
            await stop.wait()
            for task in polls + others:
                task.cancel()
            await asyncio.wait(polls + others)
            await self._drain()
        await self._uplink.stop(await self._status("offline"))
        await self._on_disk(self._spool.close)
        self._disk.shutdown()
        log.info("event=stopped sealed=%d waiting=%d", self._tally.sealed, self._tally.waiting)

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(self._site.spool.flush_s)
            await self._flush()

    async def _flush(self, checkpoint: bool = False) -> None:
        """One commit: the rows since the last one, and once a minute the state they led to."""
        pipeline, entries = self._pipeline, self._pipeline.entries
        now_ns = self._clock.now_ns()
        checkpoint = checkpoint or now_ns >= self._checkpoint_due_ns
        if not entries and not checkpoint:
            return
        pipeline.entries = []
        state = pipeline.checkpoint() if checkpoint else None
        commit = self._on_disk(self._spool.commit, entries, state)
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await asyncio.wait([commit])  # it must be known whether these rows are on disk
            if commit.exception() is not None:
                pipeline.entries = entries + pipeline.entries
            raise
        except SpoolError as error:
            await self._keep(entries, error)
            return
        if self._flush_fails:
            log.info("event=spool_writes_again rows=%d", len(entries))
            self._flush_fails = False
        self._flushed_ns = now_ns
        if checkpoint:
            self._checkpoint_due_ns = now_ns + int(CHECKPOINT_S * NS)
            await self._make_room(self._site.spool.max_mib * 2**20)
        self._wake.set()

    async def _keep(self, entries: list[Entry], error: SpoolError) -> None:
        """The disk refuses: hold the rows in memory, up to a bound, give up detail on disk, and say so once."""
        if not self._flush_fails:
            log.error("event=spool_refuses error=%r", str(error))
            self._flush_fails = True
        kept = entries + self._pipeline.entries
        if len(kept) > MOST_ROWS_IN_MEMORY:
            self._lost_rows += len(kept) - MOST_ROWS_IN_MEMORY
            log.error("event=rows_lost total=%d reason='disk and memory are full'", self._lost_rows)
            order = sorted(range(len(kept)), key=lambda i: (-wire.LANES.index(kept[i].lane), i))
            gone = set(order[: len(kept) - MOST_ROWS_IN_MEMORY])  # the oldest detail first, events never before it
            kept = [entry for i, entry in enumerate(kept) if i not in gone]
        self._pipeline.entries = kept
        await self._make_room(int(0.9 * await self._on_disk(self._spool.used_bytes)))

    async def _make_room(self, most_bytes: int) -> None:
        try:
            dropped = await self._on_disk(self._spool.make_room, most_bytes)
        except SpoolError:  # not even room to delete: the flush has told
            return
        for lane, rows, first_ns, last_ns in dropped:
            log.warning("event=dropped lane=%s rows=%d from_ns=%d to_ns=%d", lane, rows, first_ns, last_ns)
            self._pipeline.take_event(
                "rows_dropped", None, self._clock.now_ns(), rows=rows, text=lane, detail=f"{first_ns}-{last_ns}"
            )
        if dropped:
            self._waiting = dict(await self._on_disk(self._spool.waiting_ids))

    async def _send_forever(self) -> None:
        detail_due_s = 0.0
        while True:
            try:
                async with asyncio.timeout(1.0):  # batches without a receipt come due by themselves
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if time.monotonic() >= detail_due_s:
                detail_due_s = time.monotonic() + DETAIL_EVERY_S
                await self._send(wire.LANES)
            else:
                await self._send(wire.LANES[:-1])

    async def _send(self, lanes: tuple[str, ...]) -> None:
        """Send what is due: sealed batches first, then seal what is new, lane by lane."""
        uplink = self._uplink
        for number in [n for n in self._waiting if uplink.due(n)]:
            if uplink.room() <= 0:
                break
            batch = await self._on_disk(self._spool.batch, number)
            if batch is None:
                self._waiting.pop(number, None)
            else:
                uplink.send(batch, self._spool.id)
        for lane in lanes:
            while uplink.room() > 0:
                try:
                    sealed = await self._on_disk(self._spool.seal, lane, MOST_ROWS_PER_BATCH)
                except SpoolError:  # the flush has told; rows stay where they are until the disk takes writes
                    return
                if sealed is None:
                    break
                self._waiting[sealed.id] = lane
                self._send_now(sealed)
        self._tally = await self._on_disk(self._spool.tally)

    def _send_now(self, batch: Batch) -> None:
        if self._uplink.connected:
            self._uplink.send(batch, self._spool.id)

    def _on_receipt(self, receipt: wire.Receipt) -> None:
        def done(future: "asyncio.Future[bool]") -> None:
            if future.cancelled():
                return
            if (error := future.exception()) is not None:  # the batch stays, and is sent again when it is due
                log.error("event=confirm_refused batch=%d error=%r", receipt.batch, str(error))
            elif future.result():
                self._waiting.pop(receipt.batch, None)
                self._uplink.confirmed(receipt.batch)
                self._wake.set()
            else:
                log.warning("event=receipt_does_not_fit batch=%d", receipt.batch)

        for line, reason in receipt.refused:
            log.warning("event=row_refused batch=%d line=%d reason=%r", receipt.batch, line, reason)
        if receipt.batch in self._waiting:
            self._on_disk(self._spool.confirm, receipt).add_done_callback(done)

    async def _report_forever(self) -> None:
        """Publish what the links and the gateway itself are doing."""
        next_link_ns = next_gateway_ns = next_status_ns = next_certificates_ns = self._clock.now_ns()
        while True:
            now_ns = self._clock.now_ns()
            self._pipeline.trusted = self._clock.trusted()
            step_s = self._clock.take_step_s()
            if step_s:
                log.warning("event=clock_step step_s=%.3f", step_s)
                self._pipeline.take_event("clock_step", None, now_ns, step_s=step_s)
            if now_ns >= next_link_ns:
                next_link_ns = now_ns + int(LINK_REPORT_S * NS)
                for name, poller in self._pollers.items():
                    self._pipeline.take_report("link", name, dict(poller.take_counts().report()), now_ns)
            if now_ns >= next_gateway_ns:
                next_gateway_ns = now_ns + int(GATEWAY_REPORT_S * NS)
                await self._report_gateway(now_ns)
            if now_ns >= next_certificates_ns:
                next_certificates_ns = now_ns + int(CERTIFICATES_S * NS)
                await self._tell_certificates(now_ns)
            if now_ns >= next_status_ns or self._status_due:
                self._status_due = False
                next_status_ns = now_ns + int(STATUS_S * NS)
                self._uplink.publish_status(await self._status("online"))
            await asyncio.sleep(max(0.02, 1.0 / self._clock.speed))

    async def _report_gateway(self, now_ns: int) -> None:
        self._tally = await self._on_disk(self._spool.tally)
        oldest_ns = await self._on_disk(self._spool.oldest_waiting_ns)
        size = await self._on_disk(self._spool.used_bytes)
        oldest_s = (now_ns - oldest_ns) / NS if oldest_ns is not None else 0.0
        fields = self._health.report(self._tally, size, len(self._waiting), oldest_s, self._pipeline.trusted)
        fields["dropped_rows"] = self._tally.dropped + self._lost_rows
        self._pipeline.take_report("gateway", None, dict(fields), now_ns)

    async def _tell_certificates(self, now_ns: int) -> None:
        """An event for each that ends soon: from that day on the broker takes nothing from us, not even this."""
        now = datetime.now(UTC)  # of the world that made them, also where time is simulated
        for seen in await asyncio.to_thread(self._uplink.expiring):
            days = seen.days_left(now)
            log.warning("event=certificate_expires file=%s days=%d", seen.file, days)
            told: dict[str, wire.Value] = {
                "value": float(days), "text": seen.name, "detail": seen.ends.isoformat(),
            }  # fmt: skip
            self._pipeline.take_event("certificate_expires", None, now_ns, **told)

    def _whoami(self, state: str) -> dict[str, Any]:
        """What the broker tells when we are gone: nothing that we could not know beforehand."""
        return {
            "state": state, "since_ns": self._started_ns, "version": self._version, "boot_id": boot_id(),
            "spool": self._spool.id,
        }  # fmt: skip

    async def _status(self, state: str) -> dict[str, Any]:
        tally = self._tally = await self._on_disk(self._spool.tally)
        oldest_ns = await self._on_disk(self._spool.oldest_waiting_ns)
        return self._whoami(state) | {
            "clock_trusted": self._pipeline.trusted,
            "confirmed_until_ns": self._flushed_ns if oldest_ns is None else oldest_ns - 1,
            "sealed": tally.sealed, "waiting": tally.waiting, "dropped": tally.dropped + self._lost_rows,
            "refused": tally.refused,
        }  # fmt: skip

    def _on_connect(self) -> None:
        self._status_due = True
        self._wake.set()

    async def _drain(self) -> None:
        """At a stop, with all tasks ended: rows to disk with their state, then wait a little for the shore."""
        await self._flush(checkpoint=True)
        self._waiting = dict(await self._on_disk(self._spool.waiting_ids))
        deadline_s = time.monotonic() + DRAIN_S
        while self._uplink.connected and time.monotonic() < deadline_s:
            await self._send(wire.LANES)
            if self._tally.waiting == 0:
                break
            await asyncio.sleep(0.05)
        if self._pipeline.entries:
            log.error("event=rows_lost rows=%d reason='the disk takes no writes'", len(self._pipeline.entries))
