"""Ingest into a real InfluxDB against what a user would write with influxdb-client's own points. `make bench`."""

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from conftest import influxd
from servers.influx import ORG, TOKEN, InfluxServer
from shore import GATEWAY, SITE, T, batch, catalogue, row

from edge.wire import RowLine, topic
from gateway.book import Book
from gateway.intake import Intake, Message
from gateway.store import open_store

BATCHES, ROWS = 400, 100  # 40 000 rows of 12 fields, as a charging tower has them
POINTS = {
    "state": "int", "power_w": "float", "voltage_v": "float", "current_a": "float", "frequency_hz": "float",
    "power_factor": "float", "setpoint_w": "float", "limit_w": "float", "energy_total_wh": "int",
    "session_energy_wh": "int", "plug_temp_c": "float", "heartbeat": "int",
}  # fmt: skip
pytestmark = pytest.mark.skipif(influxd() is None, reason="no influxd here: run tests/servers/install.sh")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    binary = influxd()
    assert binary is not None
    with InfluxServer(binary, tmp_path_factory.mktemp("influx")) as started:
        yield started


def rows() -> list[RowLine]:
    random = Random(20261121)
    return [
        row(T + n * 1_000_000_000, **{
            name: random.randrange(10**9) if kind == "int" else round(random.uniform(-2e4, 2e4), 3)
            for name, kind in POINTS.items()
        })
        for n in range(BATCHES * ROWS)
    ]  # fmt: skip


def with_points(server: InfluxServer, made: list[RowLine], _: Path) -> None:
    """influxdb-client as its manual has it: a Point per row, 5000 in a request. Nothing is checked."""
    bucket = f"points-{uuid.uuid4().hex[:8]}"
    with InfluxDBClient(server.access.url, TOKEN, org=ORG, timeout=60_000) as client:
        client.buckets_api().create_bucket(bucket_name=bucket)
        with client.write_api(write_options=SYNCHRONOUS) as write:
            for k in range(0, len(made), 5000):
                points = []
                for line in made[k : k + 5000]:
                    point = Point(line.kind)
                    for name, text in line.tags.items():
                        point.tag(name, text)
                    for name, value in line.fields.items():
                        point.field(name, value)
                    points.append(point.time(line.t_ns, WritePrecision.NS))
                write.write(bucket, record=points)


def with_ingest(server: InfluxServer, messages: list[Message], folder: Path) -> None:
    """Ours, from the bytes that MQTT delivers to the receipt: checksum, origin, owner, types, book, write."""
    name = uuid.uuid4().hex[:8]
    url = server.access.store_url(f"ours-{name}")
    with closing(open_store(url, token=TOKEN)) as store, closing(Book(folder / f"{name}.db")) as book:
        store.remember_types(book)
        intake = Intake(store, book)
        intake.take([Message(topic(SITE, GATEWAY, "catalogue"), catalogue(**POINTS).encode())])
        receipts = len(intake.take(messages[:1]))  # the pattern of a series is learned once
        for k in range(0, len(messages), 50):  # 5000 rows, too
            receipts += len(intake.take(messages[k : k + 50]))
        assert (receipts, intake.counters.again, intake.counters.refused) == (BATCHES + 1, 1, 0)


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Rows per second, and this process's processor time per row. [1/s], [µs]"""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    count = BATCHES * ROWS
    return count / (time.perf_counter() - wall_s), 1e6 * (time.process_time() - cpu_s) / count


def test_ingest_against_points(benchmark: BenchmarkFixture, server: InfluxServer, tmp_path: Path) -> None:
    made = rows()
    messages = [
        Message(topic(SITE, GATEWAY, "data"), batch(n, list(made[n * ROWS : (n + 1) * ROWS])))
        for n in range(BATCHES)
    ]
    figures: dict[str, list[tuple[float, float]]] = {"Point": [], "ingest": []}

    def measure() -> None:
        for _ in range(3):  # by turns: the machine is not quiet
            figures["Point"].append(measured(lambda: with_points(server, made, tmp_path)))
            figures["ingest"].append(measured(lambda: with_ingest(server, messages, tmp_path)))

    benchmark.pedantic(measure, rounds=1)
    best = {name: (max(r for r, _ in seen), min(c for _, c in seen)) for name, seen in figures.items()}
    print(f"\n{'best of 3':12s}{'rows/s':>12s}{'µs CPU/row':>12s}")
    for name, (rate, cpu_us) in best.items():
        print(f"{name:12s}{rate:12,.0f}{cpu_us:12.1f}")
    faster, lighter = best["ingest"][0] / best["Point"][0], best["Point"][1] / best["ingest"][1]
    print(f"ingest: {faster:.1f} x the rows/s, 1/{lighter:.1f} of the CPU per row (aim 5 x)")
    benchmark.extra_info.update({"faster": faster, "lighter": lighter})
