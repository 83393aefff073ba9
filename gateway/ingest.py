"""The shore side's service: takes batches from the broker, stores them, and only then confirms them."""

import asyncio
import logging
import os
import random
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from edge.mqtt import Connection
from edge.tls import Expiry, TlsError, TlsFiles, expiring, expiry
from edge.wire import RowLine, topic
from gateway.book import Book
from gateway.broker import EmbeddedBroker
from gateway.config import BrokerSettings, ShoreSettings
from gateway.errors import StoreError, StoreUnavailable
from gateway.intake import Counters, Intake, Message
from gateway.probes import Answers, exposition, serving
from gateway.store import Store

log = logging.getLogger(__name__)
T = TypeVar("T")
QUEUE_BYTES = 64 * 2**20
GROUP_BYTES = 2 * 2**20  # written together; about 20 000 rows, a tenth of a second
PER_MESSAGE = 512  # bytes that a message takes besides its payload
LONGEST_WAIT_S = 30.0
REPORT_S = 60.0
CARE_S = 3600.0  # between looks at certificates and old rows
STUCK_S = 600.0  # a write that takes longer never ends: its own time-outs are far shorter
DAY_NS = 86_400_000_000_000


class Inbox:
    """Messages between MQTT and the store, bounded in bytes.

    When full, data is dropped and counted: without a receipt its edge sends it again. Catalogues, which
    a gateway sends once, still find room. A batch that comes again while the first still waits takes no room:
    with the store down for an hour, every gateway sends its window twice a minute.
    """

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self.dropped = self.repeated = 0
        self.held = 0  # bytes
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._waiting: set[tuple[str, int]] = set()
        self._filled = asyncio.Event()

    def offer(self, message: Message) -> None:
        size = len(message.payload) + PER_MESSAGE
        catalogue = message.topic.endswith("/catalogue")
        key = (message.topic, hash(message.payload))
        if not catalogue and key in self._waiting:  # a chance likeness of two batches only delays one
            self.repeated += 1
            return
        if self.held + size > self._limit * (2 if catalogue else 1):
            if not self.dropped:
                log.warning("inbox holds %d bytes and is full; gateways send again what is dropped", self.held)
            self.dropped += 1
            return
        self.held += size
        self._messages.append(message)
        self._waiting.add(key)
        self._filled.set()

    async def group(self) -> list[Message]:
        """The next messages, in order: all there are, up to `GROUP_BYTES`. Waits for the first."""
        await self._filled.wait()
        group, size = [], 0
        while self._messages and size < GROUP_BYTES:
            message = self._messages.popleft()
            self._waiting.discard((message.topic, hash(message.payload)))
            group.append(message)
            size += len(message.payload) + PER_MESSAGE
        self.held -= size
        if not self._messages:
            self._filled.clear()
        return group


@dataclass
class Pulse:
    """How the service is, for its probes and metrics."""

    inbox: Inbox
    counters: Counters
    connection: Connection | None = None
    writing_since_s: float | None = None  # monotonic
    writes: int = 0
    write_s: float = 0.0
    problem: str = ""  # why the store or the book cannot be written now
    certificates: list[Expiry] = field(default_factory=list)

    def answers(self) -> Answers:
        return Answers(self.alive, self.ready, self.metrics)

    def alive(self) -> str:
        """Why this process should be started anew, or nothing."""
        since_s = self.writing_since_s
        took_s = 0.0 if since_s is None else time.monotonic() - since_s
        return f"a write has taken {took_s:.0f} s" if took_s > STUCK_S else ""

    def ready(self) -> str:
        """Why no batch is stored now, or nothing."""
        if self.connection is None or not self.connection.subscribed:
            return "no broker: not connected and subscribed"
        return self.problem

    def metrics(self) -> str:
        total = {
            f"bollard_ingest_{name}_total": ("counter", f"{name}, see gateway/README.md", value)
            for name, value in asdict(self.counters).items()
            if name != "waiting"
        }
        now = datetime.now(UTC)
        days = {seen.name: (seen.ends - now) / timedelta(days=1) for seen in self.certificates}
        return exposition(
            total
            | {
                "bollard_ingest_waiting": ("gauge", "batches without a catalogue", self.counters.waiting),
                "bollard_ingest_inbox_bytes": ("gauge", "waiting for the store", self.inbox.held),
                "bollard_ingest_ready": ("gauge", "1 while batches are stored", int(not self.ready())),
                "bollard_ingest_connects_total": (
                    "counter", "connects to a broker", self.connection.connects if self.connection else 0,
                ),
                "bollard_ingest_writes_total": ("counter", "groups written", self.writes),
                "bollard_ingest_write_seconds_total": ("counter", "time that writing took", self.write_s),
                "bollard_certificate_days": ("gauge", "days until a certificate ends", days),
            }
        )  # fmt: skip


async def run_ingest(
    settings: ShoreSettings,
    ready: Callable[[int, int | None], None] | None = None,
    counters: Counters | None = None,
) -> None:
    """Take batches until cancelled. May be cancelled, or killed, at any instant: see `Intake.take`.

    Args:
        ready: Called once with the broker's port and the probes' (None: they are off), when data of gateways
            arrives here.
        counters: An object to count in, for a caller that wants to look.

    Raises: StoreError if store or book cannot be used, GatewayError if the embedded broker's port or that of
        the probes is busy; once it runs, inside an ExceptionGroup.
    """
    async with AsyncExitStack() as stack:
        inbox = Inbox()
        pulse = Pulse(inbox, counters if counters is not None else Counters())
        probes: int | None = None
        if settings.http is not None:  # first: while the store is waited for, somebody may want to know
            probes = await stack.enter_async_context(serving(settings.http, pulse.answers()))
        store = await _patiently(settings.store.open, pulse)
        stack.enter_context(closing(store))
        book = stack.enter_context(closing(Book(settings.book.path)))
        store.remember_types(book)
        intake = Intake(store, book, production=settings.production, sites=settings.sites)
        intake.counters = pulse.counters
        broker = settings.broker
        if broker.embedded:
            embedded = await stack.enter_async_context(EmbeddedBroker(broker.port))
            broker = broker.model_copy(update={"port": embedded.port})
        told = (lambda: ready(broker.port, probes)) if ready else None
        async with _connected(broker, settings.sites, pulse, told) as connection, asyncio.TaskGroup() as group:
            group.create_task(_publish_counters(intake.counters, book), name="counters")
            group.create_task(connection.lasting(), name="broker")
            group.create_task(_take_care(settings, store, pulse), name="care")
            while True:
                await _confirm(await inbox.group(), intake, pulse, connection)


async def _confirm(messages: list[Message], intake: Intake, pulse: Pulse, connection: Connection) -> None:
    """Store messages, however long it takes, and send their receipts."""

    def take() -> list[Message]:
        return intake.take(messages)

    inbox = pulse.inbox
    intake.counters.dropped += inbox.dropped
    intake.counters.repeated += inbox.repeated
    inbox.dropped = inbox.repeated = 0
    for receipt in await _patiently(take, pulse):
        connection.publish(receipt.topic, receipt.payload)  # lost if offline: the batch comes again


async def _patiently(work: Callable[[], T], pulse: Pulse) -> T:
    """Do blocking work in a thread; as long as a store is unavailable, wait and do it again.

    When cancelled it still waits for the thread, whose store would else be closed under it.
    """
    failures = 0
    while True:
        began_s = pulse.writing_since_s = time.monotonic()
        attempt = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            result = await asyncio.shield(attempt)
        except StoreUnavailable as error:
            pulse.writing_since_s, pulse.problem = None, str(error)
            delay_s = random.uniform(0.5, 1.0) * min(LONGEST_WAIT_S, 2.0 ** min(failures, 6))
            log.log(logging.DEBUG if failures else logging.WARNING, "%s; retry in %.1f s", error, delay_s)
            failures += 1
            pulse.counters.retries += 1
            await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            await asyncio.wait([attempt])
            raise
        else:
            pulse.writing_since_s, pulse.problem = None, ""
            pulse.writes += 1
            pulse.write_s += time.monotonic() - began_s
            if failures:
                log.info("store works again after %d attempts", failures)
            return result


async def _publish_counters(counters: Counters, book: Book) -> None:
    """Say each minute what was done, and add it to the book; also once at the end."""
    earlier = Counters()
    while True:
        try:
            await asyncio.sleep(REPORT_S)
        finally:
            added = counters.since(earlier)
            earlier = Counters(**{name: getattr(counters, name) for name in Counters.__dataclass_fields__})
            log.info("counters %s", earlier)
            try:
                book.add(added)
            except StoreUnavailable as error:
                log.warning("%s; counters of this minute are not in the book", error)


async def _take_care(settings: ShoreSettings, store: Store, pulse: Pulse) -> None:
    """Each hour: certificates that are about to end, and raw rows that are old enough to go."""
    files = settings.broker.access().tls
    while True:
        if files is not None:
            pulse.certificates = _certificates(files)
            warnings = expiry_events(files, settings.sites[0] if settings.sites else "shore", datetime.now(UTC))
            for row in warnings:
                log.warning("event=certificate_expires name=%s days=%d", row.fields["text"], row.fields["value"])
            if warnings:
                await _quietly(lambda rows=warnings: store.write(rows, {}))  # type: ignore[misc]
        if settings.store.raw_days is not None:
            before_ns = time.time_ns() - settings.store.raw_days * DAY_NS
            removed = await _quietly(lambda before_ns=before_ns: store.prune(before_ns))  # type: ignore[misc]
            if removed:
                log.info("event=pruned rows=%d days=%d", removed, settings.store.raw_days)
        await asyncio.sleep(CARE_S)


def _certificates(files: TlsFiles) -> list[Expiry]:
    """Those that can be read now: one may be about to be replaced."""
    found = []
    for file in (files.ca, files.cert):
        with suppress(TlsError):
            found += [expiry(file)] if file is not None else []
    return found


def expiry_events(files: TlsFiles, site: str, now: datetime) -> list[RowLine]:
    """An event a day for each certificate that ends soon. Dated at midnight: workers and restarts say it once."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    tags = {"site": site, "gateway": "shore", "origin": "real", "code": "certificate_expires"}
    return [
        RowLine(
            "event", tags | {"point": "ca" if seen.file == files.ca else "client"},
            {"value": float(seen.days_left(midnight)), "text": seen.name, "detail": seen.ends.isoformat()},
            int(midnight.timestamp()) * 1_000_000_000,
        )
        for seen in expiring(files, now)
    ]  # fmt: skip


async def _quietly(work: Callable[[], T]) -> T | None:
    """Work that the next hour may do as well."""
    attempt = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(attempt)
    except StoreUnavailable as error:
        log.info("%s; done again in an hour", error)
        return None
    except StoreError as error:  # what is wrong for good ends the writing of batches, not this care
        log.error("%s; tried again in an hour", error)
        return None
    except asyncio.CancelledError:
        await asyncio.wait([attempt])
        raise


def filters(broker: BrokerSettings, sites: tuple[str, ...]) -> list[str]:
    """Topics to subscribe to. Only data is shared among workers: each of them needs every catalogue.

    Catalogues of every site are heard, since of one that is not listed somebody has to be told.
    """
    share = f"$share/{broker.share}/" if broker.share else ""
    data = [share + topic(site, "+", leaf) for site in sites or ("+",) for leaf in ("data", "data-z")]
    return [*data, topic("+", "+", "catalogue")]


@asynccontextmanager
async def _connected(
    broker: BrokerSettings, sites: tuple[str, ...], pulse: Pulse, ready: Callable[[], None] | None
) -> AsyncIterator[Connection]:
    """A subscribed connection that comes back by itself. The session is clean: what it misses comes again."""

    def on_connect() -> None:
        connection.subscribe(filters(broker, sites))

    connection = Connection(
        broker.access(), f"bollard-ingest-{socket.gethostname()}-{os.getpid()}", on_connect,
        lambda name, payload: pulse.inbox.offer(Message(name, payload)), on_subscribed=ready,
    )  # fmt: skip
    pulse.connection = connection
    connection.start()
    try:
        yield connection
    finally:
        await connection.stop()
