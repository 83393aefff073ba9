"""The shore side against a broker and a store that are real: what is confirmed is stored, and only that."""

import asyncio
import json
import queue
import sqlite3
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from processes import Process, free_port
from servers.influx import InfluxServer
from servers.mosquitto import Mosquitto
from shore import FOREVER, GATEWAY, SITE, SPOOL, T, batch, catalogue, minute, row

from conftest import mosquitto  # isort: skip
from edge.wire import (
    Catalogue,
    Header,
    Receipt,
    body_of,
    crc32,
    decode_batch,
    decode_receipt,
    encode_batch,
    encode_row,
    topic,
)
from gateway.book import Book
from gateway.broker import EmbeddedBroker
from gateway.config import ShoreSettings, parse_shore
from gateway.errors import GatewayError
from gateway.ingest import GROUP_BYTES, Inbox, run_ingest
from gateway.intake import WAITING_KEPT, Counters, Intake, Message
from gateway.store import Store, StoreUnavailable, open_store
from gateway.store.base import Types

DATA, RECEIPT = topic(SITE, GATEWAY, "data"), topic(SITE, GATEWAY, "receipt")
ROWS = [row(T + i, power_w=float(i), state=7) for i in range(10)]


class Edge:
    """A client that plays the edge: publishes what it is told, keeps the receipts."""

    def __init__(self, port: int) -> None:
        self._receipts: queue.Queue[Receipt] = queue.Queue()
        subscribed = queue.Queue[bool]()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _c, _d, message: self._receipts.put(
            decode_receipt(bytes(message.payload))
        )
        self._client.on_subscribe = lambda *_: subscribed.put(True)
        self._client.on_connect = lambda client, *_: client.subscribe(topic(SITE, "+", "receipt"), 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        subscribed.get(timeout=5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, payload: bytes, leaf: str = "data", gateway: str = GATEWAY) -> None:
        self._client.publish(topic(SITE, gateway, leaf), payload, qos=1, retain=leaf == "catalogue")

    async def receipt(self, timeout_s: float = 5.0) -> Receipt:
        return await asyncio.to_thread(self._receipts.get, True, timeout_s)

    async def send(self, payload: bytes, leaf: str = "data") -> Receipt:
        self.publish(payload, leaf)
        return await self.receipt()

    def nothing_came(self) -> bool:
        return self._receipts.empty()


class Shore:
    """A running ingest, and the files that it writes."""

    def __init__(self, settings: ShoreSettings) -> None:
        self.settings, self.counters = settings, Counters()
        self.port = 0

    def stored(self, *fields: str) -> list[list[float]]:
        store = self.settings.store.open()
        columns = store.columns("charger", "charger-1", fields, *FOREVER)
        store.close()
        return [columns[name].tolist() for name in fields]

    def book(self) -> Book:
        return Book(self.settings.book.path)

    async def until(self, true: Callable[[Counters], Any]) -> None:
        async with asyncio.timeout(5):
            while not true(self.counters):  # noqa: ASYNC110 - a plain object that a thread counts in
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(settings: ShoreSettings) -> AsyncIterator[Shore]:
    shore, port = Shore(settings), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_ingest(settings, lambda n, _: port.set_result(n), shore.counters))
    await asyncio.wait([task, port], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    shore.port = port.result()
    try:
        yield shore
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynccontextmanager
async def edge_of(shore: Shore) -> AsyncIterator[Edge]:
    edge = await asyncio.to_thread(Edge, shore.port)
    try:
        yield edge
    finally:
        await asyncio.to_thread(edge.close)


def settings(folder: Path, **table: Any) -> ShoreSettings:
    defaults = {"schema": 1, "store": {"url": "sqlite:store.db"}, "broker": {"embedded": True, "port": 0}}
    return parse_shore(defaults | table, folder / "shore.toml")


async def test_a_good_batch_is_stored_and_confirmed(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        good = batch(1, ROWS)
        assert await edge.send(good) == Receipt(SPOOL, 1, decode_batch(good)[0].crc32, 10)
        assert shore.stored("power_w", "state") == [[float(i) for i in range(10)], [7.0] * 10]


async def test_a_batch_sent_again_is_confirmed_again_and_doubles_nothing(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        first = await edge.send(batch(1, ROWS))
        assert await edge.send(batch(1, ROWS)) == first
        assert len(shore.stored("power_w")[0]) == 10
        assert (shore.counters.batches, shore.counters.again) == (2, 1)


async def test_a_deflated_batch_is_taken_too(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        assert (await edge.send(zlib.compress(batch(1, ROWS)), "data-z")).stored == 10
        assert len(shore.stored("power_w")[0]) == 10


async def test_what_is_no_batch_gets_no_receipt_and_a_line_in_the_book(tmp_path: Path) -> None:
    good = batch(1, ROWS)
    nonsense = [
        (good.replace(b"power_w=3.0", b"power_w=4.0"), "data"),  # its checksum is off
        (good[:-40], "data"),
        (b"", "data"),
        (b"\xff\x00hello", "data"),
        (b"not zlib", "data-z"),
        (zlib.compress(good)[:-3], "data-z"),
    ]
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        for payload, leaf in nonsense:
            edge.publish(payload, leaf)
        await shore.until(lambda c: c.malformed == 6)
        edge.publish(*nonsense[0])  # once the first is through: while that waits, a repetition takes no room
        await shore.until(lambda c: c.malformed == 7)
        assert (await edge.send(batch(2, ROWS))).batch == 2  # and it goes on
        assert edge.nothing_came()
    book = shore.book()
    noted = book.malformed()
    assert len(noted) == 6
    assert any("crc32 of the lines is" in m.reason and m.times == 2 for m in noted)
    assert book.counters()["malformed"] == 7
    book.close()


async def test_a_refused_row_is_named_in_the_receipt_and_kept_in_the_book(tmp_path: Path) -> None:
    bad_tags = encode_row("charger", ROWS[0].tags | {"gateway": "gw-other"}, {"power_w": 1.0}, T)
    lines = [ROWS[0], row(T + 50, colour=1), ROWS[1], bad_tags, "charger no line at all", ROWS[2]]
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        for _ in range(2):
            receipt = await edge.send(batch(1, lines))
            assert (receipt.stored, [line for line, _ in receipt.refused]) == (3, [1, 3, 4])
        assert "field 'colour' is not in the catalogue of charger 'charger-1'" in receipt.refused[0][1]
        assert receipt.refused[1][1] == f"row of {SITE}/gw-other in a batch of {SITE}/{GATEWAY}"
        assert shore.stored("power_w") == [[0.0, 1.0, 2.0]]
        book = shore.book()
        assert [(r.batch, r.line, r.text) for r in book.refused()] == [
            (1, 1, encode_row("charger", ROWS[0].tags, {"colour": 1}, T + 50)),
            (1, 3, bad_tags),
            (1, 4, "charger no line at all"),
        ]
        book.close()


async def test_nobody_speaks_for_another_gateway(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        edge.publish(catalogue("gw-evil").encode(), "catalogue", "gw-evil")
        edge.publish(catalogue(colour="int").encode(), "catalogue", "gw-evil")
        edge.publish(batch(1, ROWS), gateway="gw-evil")
        await shore.until(lambda c: c.forged == 2)
        assert edge.nothing_came()
        assert shore.stored("power_w") == [[]]
        book = shore.book()
        assert (
            "speaks for demo-port/gw-quay-1, its topic is that of demo-port/gw-evil" in book.malformed()[0].reason
        )
        book.close()


async def test_data_waits_for_its_catalogue(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:
        edge.publish(batch(1, ROWS))
        await shore.until(lambda c: c.waiting == 1)
        assert edge.nothing_came()
        edge.publish(catalogue().encode(), "catalogue")
        assert (await edge.receipt()).stored == 10
        assert shore.counters.waiting == 0
    async with running(settings(tmp_path)) as shore, edge_of(shore) as edge:  # the book remembers
        assert (await edge.send(batch(2, ROWS))).stored == 10


async def test_production_takes_real_rows_only(tmp_path: Path) -> None:
    real = row(T + 99, tags={"origin": "real"}, power_w=1.0)
    async with running(settings(tmp_path, production=True)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        receipt = await edge.send(batch(1, [ROWS[0], real]))
        assert receipt.refused == ((0, "origin 'sim': a production shore takes real only"),)
        assert receipt.stored == 1


async def test_a_busy_port_is_one_sentence(tmp_path: Path) -> None:
    async with EmbeddedBroker(0) as broker:
        with pytest.raises(
            GatewayError, match=rf"127\.0\.0\.1:{broker.port}: Address already in use; set another"
        ):
            await run_ingest(settings(tmp_path, broker={"embedded": True, "port": broker.port}))


@pytest.mark.mosquitto
async def test_a_broker_that_forgets_everything_costs_nothing(tmp_path: Path) -> None:
    assert mosquitto()
    with Mosquitto(tmp_path) as broker:
        shore_settings = settings(tmp_path, broker={"host": "127.0.0.1", "port": broker.port})
        async with running(shore_settings) as shore, edge_of(shore) as edge:
            edge.publish(catalogue().encode(), "catalogue")
            assert (await edge.send(batch(1, ROWS))).stored == 10
            broker.kill()
            broker.start()
            async with asyncio.timeout(15):  # paho waits a second or two before it connects again
                while True:
                    edge.publish(batch(2, ROWS))
                    try:
                        assert (await edge.receipt(0.5)).batch == 2
                    except queue.Empty:
                        continue
                    break
            assert len(shore.stored("power_w")[0]) == 10


@pytest.mark.influx
async def test_a_database_that_is_down_is_waited_for(
    tmp_path: Path, own_influx_server: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_influx_server
    monkeypatch.setenv("BOLLARD_INFLUX_TOKEN", server.access.token)
    store = {"influx": {"url": server.access.url, "org": server.access.org, "bucket": "shore"}}
    async with running(settings(tmp_path, store=store)) as shore, edge_of(shore) as edge:
        edge.publish(catalogue().encode(), "catalogue")
        assert (await edge.send(batch(1, ROWS[:5]))).stored == 5
        server.kill()
        edge.publish(batch(2, ROWS[5:]))
        await shore.until(lambda c: c.retries > 0)
        assert edge.nothing_came()
        server.start()
        receipt = await edge.receipt(10.0)
        assert (receipt.batch, receipt.stored) == (2, 5)
        assert shore.stored("power_w") == [[float(i) for i in range(10)]]


async def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    shore_file = tmp_path / "shore.toml"
    port = free_port()
    shore_file.write_text(f'schema = 1\n[store]\nurl = "sqlite:s.db"\n[broker]\nembedded = true\nport = {port}\n')
    confirmed = 0
    command = ["python", "-m", "gateway.ingest_cli", "--shore", str(shore_file)]
    with Process(command) as process:
        assert json.loads(process.ready_line.removeprefix("ready ")) == {"port": port}
        edge = await asyncio.to_thread(Edge, port)
        edge.publish(catalogue().encode(), "catalogue")
        for number in range(200):
            edge.publish(batch(number, [row(T + number, power_w=1.0)]))
        for _ in range(20):
            await edge.receipt()
        process.kill()
        confirmed = 20 + edge._receipts.qsize()
        edge.close()
    store = open_store(f"sqlite:{tmp_path / 's.db'}", create=False)
    assert confirmed <= store.count(SITE, GATEWAY) <= 200
    store.close()
    with Process(command) as process:  # and the files are whole
        assert process.terminate() == 0
    assert "counters batches=0" in "\n".join(process.said)


def test_wrong_input_on_the_command_line_is_exit_2(tmp_path: Path) -> None:
    shore_file = tmp_path / "shore.toml"
    shore_file.write_text('schema = 1\ncolour = "red"\n[store]\nurl = "sqlite:nowhere/s.db"\n')
    command = ["python", "-m", "gateway.ingest_cli", "--shore", str(shore_file)]
    with Process(command, ready=None) as process:
        assert process.wait(30) == 2
    assert process.said == [f"{shore_file}: colour = 'red': Extra inputs are not permitted; use one of "
                            "book, broker, company, group, http, operator, port, production, report, schema, "
                            "sites, store, web"]  # fmt: skip
    shore_file.write_text('schema = 1\n[store]\nurl = "sqlite:nowhere/s.db"\n')
    with Process(command, ready=None) as process:
        assert process.wait(30) == 2
    assert process.said == [f"store {tmp_path}/nowhere/s.db: folder {tmp_path}/nowhere does not exist; create it"]


# Intake alone: no broker, no event loop


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(open_store(f"sqlite:{tmp_path / 's.db'}"), Book(tmp_path / "b.db"))


def known(intake: Intake, of: Catalogue | None = None) -> Intake:
    assert intake.take([Message(topic(SITE, GATEWAY, "catalogue"), (of or catalogue()).encode())]) == []
    return intake


def test_a_group_is_one_write_and_a_receipt_each(intake: Intake) -> None:
    writes = []
    store = intake._store
    write = store.write
    store.write = lambda rows, types: writes.append(len(rows)) or write(rows, types)  # type: ignore
    receipts = known(intake).take([Message(DATA, batch(n, [row(T + n, state=n), row(T, x=1)])) for n in range(5)])
    assert writes == [10]
    assert [r.topic for r in receipts] == [RECEIPT] * 5
    decoded = [decode_receipt(r.payload) for r in receipts]
    assert [(r.batch, r.stored, len(r.refused), r.refused[0][0]) for r in decoded] == [
        (n, 1, 1, 1) for n in range(5)
    ]


class FailsOnce:
    """A store that is unavailable at its second write."""

    def __init__(self, store: Store) -> None:
        self._store, self.writes = store, 0

    def write(self, rows: Any, types: Types) -> list[tuple[int, str]]:
        self.writes += 1
        if self.writes == 2:
            raise StoreUnavailable("not now")
        return self._store.write(rows, types)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_nothing_is_counted_until_all_is_durable(intake: Intake) -> None:
    known(intake)
    known_other = Message(topic(SITE, "gw-2", "catalogue"), catalogue("gw-2").encode())
    other = [row(T, tags={"gateway": "gw-2"}, power_w=1.0)]
    messages = [
        known_other,
        Message(DATA, batch(1, ROWS)),
        Message(topic(SITE, "gw-2", "data"), batch(1, other, "gw-2")),
    ]
    intake._store = FailsOnce(intake._store)  # type: ignore[assignment]
    before = str(intake.counters)
    with pytest.raises(StoreUnavailable):
        intake.take(messages)
    assert str(intake.counters) == before
    assert len(intake.take(messages)) == 2
    assert (intake.counters.batches, intake.counters.stored, intake.counters.again) == (2, 11, 0)


def test_rows_of_a_point_that_left_the_catalogue_are_still_good(intake: Intake) -> None:
    known(intake)
    known(intake, catalogue(power_w="float"))
    receipts = intake.take([Message(DATA, batch(1, [row(T, state=7)]))])
    assert decode_receipt(receipts[0].payload).stored == 1


def test_waiting_is_bounded_and_what_is_dropped_is_counted(intake: Intake) -> None:
    messages = [Message(DATA, batch(n, [minute(n, 0, 1)])) for n in range(WAITING_KEPT + 3)]
    assert intake.take(messages) == []
    assert (intake.counters.waiting, intake.counters.dropped) == (WAITING_KEPT, 3)
    receipts = intake.take([Message(topic(SITE, GATEWAY, "catalogue"), catalogue().encode())])
    assert len(receipts) == WAITING_KEPT
    assert (intake.counters.waiting, intake.counters.stored) == (0, WAITING_KEPT)


def test_other_sites_are_not_taken(tmp_path: Path) -> None:
    intake = Intake(open_store(f"sqlite:{tmp_path / 's.db'}"), Book(tmp_path / "b.db"), sites=["elsewhere"])
    assert intake.take([Message(DATA, batch(1, ROWS))]) == []
    assert intake.counters.malformed == 1


async def test_a_full_inbox_drops_data_counts_it_and_takes_catalogues() -> None:
    inbox = Inbox(limit=10_000)
    for n in range(5):
        inbox.offer(Message(DATA, bytes([n]) * 4000))
    inbox.offer(Message(topic(SITE, GATEWAY, "catalogue"), bytes(1000)))
    assert inbox.dropped == 3
    assert [len(m.payload) for m in await inbox.group()] == [4000, 4000, 1000]
    inbox.offer(Message(DATA, bytes(4000)))
    assert inbox.dropped == 3


async def test_what_comes_again_while_it_waits_takes_no_room() -> None:
    inbox = Inbox()
    for _ in range(3):
        inbox.offer(Message(DATA, b"batch 1"))
    inbox.offer(Message(DATA, b"batch 2"))
    assert (len(await inbox.group()), inbox.repeated, inbox.held) == (2, 2, 0)
    inbox.offer(Message(DATA, b"batch 1"))  # its receipt was lost: it is confirmed again
    assert len(await inbox.group()) == 1


async def test_a_group_is_bounded() -> None:
    inbox = Inbox()
    for n in range(3):
        inbox.offer(Message(DATA, bytes([n]) * (GROUP_BYTES * 2 // 3)))
    assert [len(await inbox.group()), len(await inbox.group())] == [2, 1]


def test_a_process_that_only_reads_sees_rows_while_ingest_writes(intake: Intake, tmp_path: Path) -> None:
    known(intake).take([Message(DATA, batch(1, ROWS))])
    with sqlite3.connect(tmp_path / "s.db") as db:
        assert db.execute("SELECT count(*) FROM rows_charger").fetchone() == (10,)
    db.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"name":"power_w"', b'"label":"power_w"'),
        (b'"float"', b'"double"'),
        (b'"settings":{', b'"settings":1,"x":{'),
    ],
)
def test_a_catalogue_that_describes_nothing_is_not_kept(intake: Intake, old: bytes, new: bytes) -> None:
    message = Message(topic(SITE, GATEWAY, "catalogue"), catalogue().encode().replace(old, new))
    assert intake.take([message, Message(DATA, batch(1, ROWS))]) == []
    assert (intake.counters.malformed, intake.counters.catalogues, intake.counters.waiting) == (1, 0, 1)


def test_mutated_messages_are_confirmed_with_a_reason_for_every_row_or_not_at_all(intake: Intake) -> None:
    known(intake)
    random = Random(20260301)
    lines = body_of([encode_row(r.kind, r.tags, r.fields, r.t_ns) for r in [*ROWS, row(T, vessel='A "B\\')]])
    for number in range(600):
        body = mutated(lines, random)  # under a header that fits, and above it
        header = Header(SITE, GATEWAY, SPOOL, number, "live", body.count(b"\n"), crc32(body))
        leaf, payload = [
            ("data", encode_batch(header, body)),
            ("data", mutated(batch(number, ROWS), random)),
            ("data-z", mutated(zlib.compress(batch(number, ROWS)), random)),
            ("catalogue", mutated(catalogue().encode(), random)),
        ][number % 4]
        before = intake.counters.malformed + intake.counters.catalogues
        receipts = [decode_receipt(m.payload) for m in intake.take([Message(topic(SITE, GATEWAY, leaf), payload)])]
        assert len(receipts) + intake.counters.malformed + intake.counters.catalogues - before == 1
        for receipt in receipts:
            assert all(reason for _, reason in receipt.refused)
            if leaf == "data" and number % 4 == 0:
                assert receipt.stored + len(receipt.refused) == header.rows
    assert intake.counters.refused > 0 and intake.counters.stored > 0


def mutated(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(changed))
        odd = random.choice(
            [b"9" * 25, b"i", b"nan", b"1e999", b"-", b",", b"=", b'"', b"\\", b"\x00", b"\xff", b""]
        )
        changed[at : at + random.randint(0, 3)] = odd
    return bytes(changed)
