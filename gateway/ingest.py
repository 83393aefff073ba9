"""The shore side's service: takes batches from the broker, stores them, and only then confirms them."""

import asyncio
import logging
import os
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge.wire import topic
from gateway.book import Book
from gateway.broker import EmbeddedBroker
from gateway.config import BrokerSettings, ShoreSettings
from gateway.errors import StoreUnavailable
from gateway.intake import Counters, Intake, Message

log = logging.getLogger(__name__)
T = TypeVar("T")
QUEUE_BYTES = 64 * 2**20
GROUP_BYTES = 2 * 2**20  # written together; about 20 000 rows, a tenth of a second
PER_MESSAGE = 512  # bytes that a message takes besides its payload
LONGEST_WAIT_S = 30.0
REPORT_S = 60.0


class Inbox:
    """Messages between MQTT and the store, bounded in bytes.

    When full, data is dropped and counted: without a receipt its edge sends it again. Catalogues, which
    a gateway sends once, still find room.
    """

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self.dropped = 0
        self._limit, self._held = limit, 0
        self._messages: deque[Message] = deque()
        self._filled = asyncio.Event()

    def offer(self, message: Message) -> None:
        size = len(message.payload) + PER_MESSAGE
        limit = self._limit * (2 if message.topic.endswith("/catalogue") else 1)
        if self._held + size > limit:
            if not self.dropped:
                log.warning("inbox holds %d bytes and is full; gateways send again what is dropped", self._held)
            self.dropped += 1
            return
        self._held += size
        self._messages.append(message)
        self._filled.set()

    async def group(self) -> list[Message]:
        """The next messages, in order: all there are, up to `GROUP_BYTES`. Waits for the first."""
        await self._filled.wait()
        group, size = [], 0
        while self._messages and size < GROUP_BYTES:
            group.append(self._messages.popleft())
            size += len(group[-1].payload) + PER_MESSAGE
        self._held -= size
        if not self._messages:
            self._filled.clear()
        return group


async def run_ingest(
    settings: ShoreSettings, ready: Callable[[int], None] | None = None, counters: Counters | None = None
) -> None:
    """Take batches until cancelled. May be cancelled, or killed, at any instant: see `Intake.take`.

    Args:
        ready: Called once with the broker's port, when data of gateways arrives here.
        counters: An object to count in, for a caller that wants to look.

    Raises: StoreError if store or book cannot be used, GatewayError if the embedded broker's port is busy;
        once it runs, inside an ExceptionGroup.
    """
    async with AsyncExitStack() as stack:
        store = await _patiently(settings.store.open)
        stack.enter_context(closing(store))
        book = stack.enter_context(closing(Book(settings.book.path)))
        intake = Intake(store, book, production=settings.production, sites=settings.sites)
        intake.counters = counters if counters is not None else intake.counters
        broker = settings.broker
        if broker.embedded:
            embedded = await stack.enter_async_context(EmbeddedBroker(broker.port))
            broker = broker.model_copy(update={"port": embedded.port})
        inbox = Inbox()
        async with _connected(broker, settings.sites, inbox, ready) as client, asyncio.TaskGroup() as group:
            group.create_task(_publish_counters(intake.counters, book), name="counters")
            while True:
                await _confirm(await inbox.group(), intake, inbox, client)


async def _confirm(messages: list[Message], intake: Intake, inbox: Inbox, client: mqtt.Client) -> None:
    """Store messages, however long it takes, and send their receipts."""

    def take() -> list[Message]:
        return intake.take(messages)

    intake.counters.dropped += inbox.dropped
    inbox.dropped = 0
    for receipt in await _patiently(take, intake.counters):
        client.publish(receipt.topic, receipt.payload, qos=1)  # lost if offline: the batch comes again


async def _patiently(work: Callable[[], T], counters: Counters | None = None) -> T:
    """Do blocking work in a thread; as long as a store is unavailable, wait and do it again.

    When cancelled it still waits for the thread, whose store would else be closed under it.
    """
    failures = 0
    while True:
        attempt = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            result = await asyncio.shield(attempt)
        except StoreUnavailable as error:
            delay_s = random.uniform(0.5, 1.0) * min(LONGEST_WAIT_S, 2.0 ** min(failures, 6))
            log.log(logging.DEBUG if failures else logging.WARNING, "%s; retry in %.1f s", error, delay_s)
            failures += 1
            if counters is not None:
                counters.retries += 1
            await asyncio.sleep(delay_s)
        except asyncio.CancelledError:
            await asyncio.wait([attempt])
            raise
        else:
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


@asynccontextmanager
async def _connected(
    broker: BrokerSettings, sites: tuple[str, ...], inbox: Inbox, ready: Callable[[int], None] | None
) -> AsyncIterator[mqtt.Client]:
    """A subscribed MQTT client that reconnects by itself; its thread only hands messages to the event loop."""
    loop = asyncio.get_running_loop()
    filters = [(topic(site, "+", leaf), 1) for site in sites or ("+",) for leaf in ("data", "data-z")]
    filters.append((topic("+", "+", "catalogue"), 1))  # of every site: one that is not listed has to be told of
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=f"bollard-ingest-{socket.gethostname()}-{os.getpid()}"
    )  # a clean session: what it misses comes again
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    client.max_inflight_messages_set(1000)
    client.max_queued_messages_set(10_000)
    client.reconnect_delay_set(1, int(LONGEST_WAIT_S))
    announced = [ready] if ready else []

    def on_connect(client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.warning("broker %s:%d: %s", broker.host, broker.port, reason)
            return
        log.info("connected to broker %s:%d", broker.host, broker.port)
        client.subscribe(filters)

    def on_subscribe(*_: Any) -> None:
        if announced:
            loop.call_soon_threadsafe(announced.pop(), broker.port)

    def on_disconnect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.warning("broker %s:%d: connection lost: %s", broker.host, broker.port, reason)

    def on_connect_fail(*_: Any) -> None:
        log.warning("broker %s:%d does not answer; trying again; check [broker]", broker.host, broker.port)

    def on_message(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        loop.call_soon_threadsafe(inbox.offer, Message(message.topic, bytes(message.payload)))

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.on_disconnect, client.on_connect_fail = on_disconnect, on_connect_fail
    client.connect_async(broker.host, broker.port, keepalive=30)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
