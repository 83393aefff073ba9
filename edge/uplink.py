"""Sends sealed batches over MQTT and frees them when the shore confirms.

The client session is clean: the spool is the queue, the broker may forget everything. A batch without a receipt is
sent again after `resend_s`, and at each reconnect.
"""

import json
import logging
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge import wire
from edge.config import BrokerConfig, ConfigError
from edge.mqtt import Connection, tls_files
from edge.spool import Batch
from edge.tls import Expiry, TlsError, expiring, expiry

log = logging.getLogger(__name__)


class Uplink:
    """The connection to the broker, and which batches are under way.

    Args:
        folder: Where relative paths of the [broker] table start from.
        on_receipt: Called in the event loop for each receipt of this gateway.
        on_connect: Called in the event loop after each connect.
        on_status: Called in the event loop with each status of this gateway that the broker tells, ours included.
    """

    def __init__(
        self, broker: BrokerConfig, folder: Path, site: str, gateway: str, catalogue: bytes,
        on_receipt: Callable[[wire.Receipt], None], on_connect: Callable[[], None],
        on_status: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._broker, self._folder = broker, folder
        self._site, self._gateway, self._catalogue = site, gateway, catalogue
        self._on_receipt, self._on_connect, self._on_status = on_receipt, on_connect, on_status
        self._connection: Connection | None = None
        self._sent_s: dict[int, float] = {}  # batch -> monotonic time of its last sending

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.connected

    def _topic(self, leaf: str) -> str:
        return wire.topic(self._site, self._gateway, leaf)

    def start(self, offline: dict[str, Any]) -> None:
        """Connect in the background and stay connected. `offline`: the status that the broker tells if we die.

        Raises: ConfigError, if the password cannot be read.
        """
        try:
            access = self._broker.access(self._folder)
        except OSError as error:
            told = f"{error.filename}: cannot be read: {error.strerror}; its owner or mode?"
            raise ConfigError(f"broker.password_file: {told}") from error
        self._connection = Connection(
            access, f"bollard-{self._site}-{self._gateway}",
            self._connected, self._message, (self._topic("status"), json.dumps(offline).encode()),
        )  # fmt: skip
        self._connection.start()

    async def lasting(self) -> None:
        """Never returns; raises what has ended the connection for good. After `start`."""
        assert self._connection is not None
        await self._connection.lasting()

    def _connected(self) -> None:
        assert self._connection is not None
        self._connection.subscribe([self._topic("receipt"), self._topic("status")])
        self._connection.publish(self._topic("catalogue"), self._catalogue, retain=True)
        self.forget()  # what was under way may be lost: all is sent again
        self._on_connect()

    def announce(self, catalogue: bytes) -> None:
        """From now on offer this, before any row of it."""
        self._catalogue = catalogue
        if self._connection is not None and self.connected:
            self._connection.publish(self._topic("catalogue"), catalogue, retain=True)

    def forget(self) -> None:
        """Nothing is under way any more."""
        self._sent_s.clear()

    def _message(self, topic: str, payload: bytes) -> None:
        if topic == self._topic("status"):
            self._hear_status(payload)
        if topic != self._topic("receipt"):
            return  # an embedded broker may send what nobody asked for
        try:
            receipt = wire.decode_receipt(payload)
        except wire.WireError as error:
            log.warning("event=bad_receipt error=%r", str(error))
            return
        self._on_receipt(receipt)

    def _hear_status(self, payload: bytes) -> None:
        try:
            status = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if isinstance(status, dict):
            self._on_status(status)

    def expiring(self) -> list[Expiry]:
        """Certificates that end within 30 days, ours and the CA's. Reads files."""
        broker = self._broker
        files = tls_files(self._folder, broker.tls_ca, broker.tls_cert, broker.tls_key)
        return expiring(files) if files is not None else []

    def certificates(self) -> dict[str, str]:
        """When the CA's certificate and ours end (ISO 8601), by file name. Reads files."""
        broker = self._broker
        files = tls_files(self._folder, broker.tls_ca, broker.tls_cert, broker.tls_key)
        found = {}
        for file in (files.ca, files.cert) if files is not None else ():
            if file is not None:
                with suppress(TlsError):  # connecting says so
                    found[file.name] = expiry(file).ends.isoformat()
        return found

    def confirmed(self, batch: int) -> None:
        """The spool has freed this batch: it is no longer under way."""
        self._sent_s.pop(batch, None)

    def publish_status(self, status: dict[str, Any]) -> None:
        if self._connection is not None and self._connection.connected:
            self._connection.publish(self._topic("status"), json.dumps(status).encode(), retain=True)

    def room(self) -> int:
        """How many more batches may be under way now."""
        if not self.connected:
            return 0
        return self._broker.window - (len(self._sent_s) - len(self.overdue()))

    def overdue(self) -> list[int]:
        """Batches that have been under way too long without a receipt: they are to be sent again."""
        if not self.connected:
            return []
        before_s = time.monotonic() - self._broker.resend_s
        return [number for number, sent_s in self._sent_s.items() if sent_s < before_s]

    def is_under_way(self, batch: int) -> bool:
        return batch in self._sent_s

    def send(self, batch: Batch, spool: str) -> int:
        """Returns: bytes of the message. Where the connection has gone, it is sent again when that is back."""
        header = wire.Header(self._site, self._gateway, spool, batch.id, batch.lane, batch.rows, batch.crc32)
        payload = wire.encode_batch(header, batch.body)
        leaf = "data"
        if self._broker.deflate:
            payload, leaf = zlib.compress(payload, 6), "data-z"
        if self._connection is not None and self.connected:
            self._connection.publish(self._topic(leaf), payload)
            self._sent_s[batch.id] = time.monotonic()
        return len(payload)

    async def stop(self, status: dict[str, Any]) -> None:
        """Say goodbye: the retained status, then a clean disconnect. If it cannot be said, the will says it."""
        if self._connection is not None:
            await self._connection.stop((self._topic("status"), json.dumps(status).encode()))
