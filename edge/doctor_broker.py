"""The way to the shore, step by step: the broker's port, TLS, certificates, login, and a test row to the database.

The test row is an event `doctor_ran` in a batch of a spool of its own: its receipt frees nothing of an agent's.
"""

import asyncio
import contextlib
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge import wire
from edge.config import LoadedSite, catalogue
from edge.doctor_line import Line
from edge.mqtt import Access, Connection
from edge.tls import WARN_DAYS, Expiry, TlsError, TlsFiles, expiry

CONNECT_S = 10.0


async def broker_lines(
    loaded: LoadedSite, version: str, status: dict[str, Any] | None, wait_s: float
) -> AsyncIterator[Line]:
    """All brokers of the site file; the test row goes by the first that lets us in.

    Args:
        status: Of the running agent, which has told its catalogue; None: we tell it ourselves.
    """
    broker = loaded.site.broker
    try:
        access = broker.access(loaded.path.parent)
    except OSError as error:
        yield Line("broker", "", "bad", "broker_no_password", {"file": str(error.filename), "why": error.strerror})
        return
    for line in certificate_lines(access.tls) if access.tls else ():
        yield line
    sent = False
    for host, port in access.brokers:
        where = f"{host}:{port}"
        try:
            lines = await asyncio.to_thread(lambda at=(host, port): list(_reach(at, access.tls)))  # type: ignore[misc]
        except OSError as error:
            yield Line("broker", where, "bad", "broker_closed", {"why": error.strerror or str(error)})
            continue
        for line in lines:
            yield line
        if any(line.state == "bad" for line in lines):
            continue
        async for line in _login(loaded, replace(access, brokers=((host, port),)), version, status, wait_s, sent):
            yield line
            sent = sent or line.key == "receipt"


def certificate_lines(files: TlsFiles) -> Iterator[Line]:
    """How long the CA's and our own certificate hold; that the key is no one else's to read."""
    for file in (files.ca, files.cert):
        if file is None:
            continue
        try:
            yield _ends(file.name, expiry(file))
        except TlsError as error:
            yield Line("certificate", file.name, "bad", "certificate_unreadable", {"why": str(error)})
    if files.key is not None and (mode := _mode(files.key)) & 0o077:
        yield Line(
            "certificate", files.key.name, "bad", "key_open", {"mode": f"{mode:04o}", "file": str(files.key)}
        )


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode & 0o777
    except OSError:
        return 0


def _ends(name: str, seen: Expiry) -> Line:
    days = seen.days_left(datetime.now(UTC))
    values = {"days": days, "ends": f"{seen.ends:%Y-%m-%d}", "name": seen.name}
    key = "certificate_ended" if days < 0 else "certificate_ends" if days < WARN_DAYS else "certificate"
    return Line("certificate", name, "good" if key == "certificate" else "bad", key, values)


def _reach(at: tuple[str, int], files: TlsFiles | None) -> Iterator[Line]:
    """TCP, then TLS with the broker's chain and name checked. Raises: OSError where nobody listens."""
    where = f"{at[0]}:{at[1]}"
    start_s = time.monotonic()
    with socket.create_connection(at, CONNECT_S) as line:
        yield Line("broker", where, "good", "broker_open", {"ms": 1000.0 * (time.monotonic() - start_s)})
        if files is None:
            yield Line("tls", where, "note", "tls_none")
            return
        try:
            with files.context().wrap_socket(line, server_hostname=at[0]) as secured:
                ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {})["notAfter"]))
                version = secured.version()
        except ssl.SSLCertVerificationError as error:
            yield Line("tls", where, "bad", "tls_not_trusted", {"why": error.verify_message})
            return
        except (ssl.SSLError, TlsError) as error:
            yield Line("tls", where, "bad", "tls_fails", {"why": getattr(error, "reason", "") or str(error)})
            return
    yield Line("tls", where, "good", "tls", {"version": version or "-"})
    yield _ends(where, Expiry(Path(where), at[0], datetime.fromtimestamp(ends, UTC)))


async def _login(
    loaded: LoadedSite, access: Access, version: str, status: dict[str, Any] | None, wait_s: float, sent: bool
) -> AsyncIterator[Line]:
    """Log in, ask for receipts, and (once) send a test row and wait for its receipt."""
    where = "{}:{}".format(*access.brokers[0])
    site, gateway = loaded.site.site.name, loaded.site.site.gateway
    receipts: asyncio.Queue[wire.Receipt] = asyncio.Queue()
    subscribed = asyncio.Event()

    def on_message(topic: str, payload: bytes) -> None:
        if topic == wire.topic(site, gateway, "receipt"):
            with contextlib.suppress(wire.WireError):
                receipts.put_nowait(wire.decode_receipt(payload))

    connection = Connection(
        access, f"bollard-doctor-{uuid.uuid4().hex[:12]}",  # not the agent's: it would lose its connection
        lambda: connection.subscribe([wire.topic(site, gateway, "receipt")]), on_message,
        on_subscribed=subscribed.set,
    )  # fmt: skip
    connection.start()
    try:
        await _until(lambda: connection.connected or bool(connection.why), CONNECT_S + wait_s)
        if not connection.connected:
            yield Line("login", where, "bad", "login_refused", {"why": connection.why or "-"})
        elif not await _until(subscribed.is_set, wait_s):
            yield Line("login", where, "bad", "login_no_receipts", {"site": site, "gateway": gateway})
        else:
            yield Line("login", where, "good", "login")
            if not sent:
                yield await _round_trip(loaded, connection, receipts, version, status, wait_s)
    finally:
        await connection.stop()


async def _until(true: Any, seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while not true() and time.monotonic() < end_s:  # noqa: ASYNC110 - its reasons have no event
        await asyncio.sleep(0.02)
    return bool(true())


async def _round_trip(
    loaded: LoadedSite, connection: Connection, receipts: "asyncio.Queue[wire.Receipt]", version: str,
    status: dict[str, Any] | None, wait_s: float,
) -> Line:  # fmt: skip
    """A row goes to the database; its receipt says that it is there."""
    site, gateway = loaded.site.site.name, loaded.site.site.gateway
    if status is None:
        connection.publish(wire.topic(site, gateway, "catalogue"), catalogue(loaded).encode(), retain=True)
    spool, body = str(uuid.uuid4()), wire.body_of([_test_row(loaded, version, status)])
    header = wire.Header(site, gateway, spool, 1, "events", 1, wire.crc32(body))
    start_s = time.monotonic()
    connection.publish(wire.topic(site, gateway, "data"), wire.encode_batch(header, body))
    try:
        async with asyncio.timeout(wait_s):
            while (receipt := await receipts.get()).spool != spool:
                pass
    except TimeoutError:
        values = {"seconds": wait_s, "topic": wire.topic(site, gateway, "data")}
        return Line("receipt", "", "bad", "receipt_none", values)
    if receipt.refused:
        return Line("receipt", "", "bad", "receipt_refused", {"why": receipt.refused[0][1]})
    return Line("receipt", "", "good", "receipt", {"ms": 1000.0 * (time.monotonic() - start_s)})


def _test_row(loaded: LoadedSite, version: str, status: dict[str, Any] | None) -> str:
    """An event of the gateway itself, as its pipeline would tell it."""
    origins = {device.origin for device in loaded.site.device}
    origin = next((o for o in ("test", "sim", "replay") if o in origins), "real")
    tags = {"site": loaded.site.site.name, "gateway": loaded.site.site.gateway, "origin": origin}
    fields: dict[str, wire.Value] = {"text": version}
    if status is not None and not status["clock_trusted"]:
        fields["clk"] = 0
    return wire.encode_row("event", tags | {"code": "doctor_ran"}, fields, time.time_ns())
