"""Sends sealed batches over MQTT and frees them when the shore confirms.

The client session is clean: the spool is the queue, the broker may forget everything. paho's thread does nothing
but hand over to the event loop. A batch without a receipt is sent again after `resend_s`, and at each reconnect.
"""

import asyncio
import json
import logging
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge import wire
from edge.config import BrokerConfig
from edge.spool import Batch

log = logging.getLogger(__name__)


class Uplink:
    """The connection to the broker, and which batches are under way.

    Args:
        folder: Where a relative `password_file` starts from.
        on_receipt: Called in the event loop for each receipt of this gateway.
        on_connect: Called in the event loop after each connect.
    """

    def __init__(
        self, broker: BrokerConfig, folder: Path, site: str, gateway: str, catalogue: bytes,
        on_receipt: Callable[[wire.Receipt], None], on_connect: Callable[[], None],
    ) -> None:  # fmt: skip
        self._broker, self._folder = broker, folder
        self._site, self._gateway, self._catalogue = site, gateway, catalogue
        self._on_receipt, self._on_connect = on_receipt, on_connect
        self._loop = asyncio.get_running_loop()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"bollard-{site}-{gateway}", clean_session=True
        )
        self.connected = False
        self._told = ""  # why there is no broker, said once
        self._sent_s: dict[int, float] = {}  # batch -> monotonic time of its last sending

    def _topic(self, leaf: str) -> str:
        return wire.topic(self._site, self._gateway, leaf)

    def start(self, offline: dict[str, Any]) -> None:
        """Connect in the background and stay connected. `offline`: the status that the broker tells if we die."""
        client, broker = self._client, self._broker
        if broker.username is not None:
            secret = self._folder / broker.password_file if broker.password_file else None
            password = secret.read_text().strip() if secret else None
            client.username_pw_set(broker.username, password)
        client.will_set(self._topic("status"), json.dumps(offline), qos=1, retain=True)
        client.reconnect_delay_set(1, broker.reconnect_s)  # paho doubles its wait between these
        client.on_connect = self._greet
        client.on_connect_fail = lambda _c, _u: self._call(
            self._refused, "no answer; check [broker] host and port"
        )
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._call(self._disconnected, reason)
        client.on_message = lambda _c, _u, message: self._call(self._message, message.topic, message.payload)
        client.connect_async(broker.host, broker.port, keepalive=broker.keepalive_s)
        client.loop_start()

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """From paho's thread into the event loop; nothing to do once that has closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _greet(self, client: mqtt.Client, _user: object, _flags: object, reason: Any, _properties: object) -> None:
        """In paho's thread. It keeps what was not acknowledged, and would send it beside what we send again."""
        client.drop_out_messages()
        self._call(self._connected, reason)

    def _refused(self, why: str) -> None:
        if why != self._told:
            log.warning("event=no_broker broker=%s:%d reason=%r", self._broker.host, self._broker.port, why)
            self._told = why

    def _connected(self, reason: Any) -> None:
        if reason.is_failure:
            self._refused(str(reason))
            return
        self._told = ""
        log.info("event=broker_connected broker=%s:%d", self._broker.host, self._broker.port)
        self._client.subscribe(self._topic("receipt"), qos=1)
        self._client.publish(self._topic("catalogue"), self._catalogue, qos=1, retain=True)
        self._sent_s.clear()  # what was under way may be lost: all is sent again
        self.connected = True
        self._on_connect()

    def _disconnected(self, reason: Any) -> None:
        if self.connected:
            log.warning(
                "event=broker_lost broker=%s:%d reason=%r", self._broker.host, self._broker.port, str(reason)
            )
        self.connected = False

    def _message(self, topic: str, payload: bytes) -> None:
        if topic != self._topic("receipt"):
            return  # an embedded broker may send what nobody asked for
        try:
            receipt = wire.decode_receipt(payload)
        except wire.WireError as error:
            log.warning("event=bad_receipt error=%r", str(error))
            return
        self._on_receipt(receipt)

    def confirmed(self, batch: int) -> None:
        """The spool has freed this batch: it is no longer under way."""
        self._sent_s.pop(batch, None)

    def publish_status(self, status: dict[str, Any]) -> None:
        if self.connected:
            self._client.publish(self._topic("status"), json.dumps(status), qos=1, retain=True)

    def room(self) -> int:
        """How many more batches may be under way now."""
        if not self.connected:
            return 0
        return self._broker.window - sum(
            not self.due(batch) for batch in self._sent_s
        )  # what is overdue frees its place

    def due(self, batch: int) -> bool:
        """Whether a batch has to be sent: never yet on this connection, or too long without a receipt."""
        sent_s = self._sent_s.get(batch)
        return sent_s is None or time.monotonic() - sent_s > self._broker.resend_s

    def send(self, batch: Batch, spool: str) -> None:
        header = wire.Header(self._site, self._gateway, spool, batch.id, batch.lane, batch.rows, batch.crc32)
        payload = wire.encode_batch(header, batch.body)
        leaf = "data"
        if self._broker.deflate:
            payload, leaf = zlib.compress(payload, 6), "data-z"
        self._client.publish(self._topic(leaf), payload, qos=1)
        self._sent_s[batch.id] = time.monotonic()

    async def stop(self, status: dict[str, Any]) -> None:
        """Say goodbye: the retained status, then a clean disconnect."""
        if self.connected:
            info = self._client.publish(self._topic("status"), json.dumps(status), qos=1, retain=True)
            for _ in range(50):
                if info.is_published():
                    break
                await asyncio.sleep(0.02)
        self.connected = False  # on purpose: nothing to warn of
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
