"""From the scan to a row in InfluxDB, and how fast an outage is made up for: the chain whole, every part real.

Simulated devices on sockets, the agent, mosquitto, `bollard ingest` and InfluxDB, each a process. A row's time in
the store is known to be no later than its batch's receipt, which ingest sends after the database has confirmed.

- Latency: instant of the scan to the arrival of the receipt at a listener; aim: 99 % under 1.5 s at 0.5 s flush.
- Drain: an outage of a gateway with 500 points (5 devices, 100 float32 each, every second) is in the spool at the
  start; aim: 200 times as fast as it came about, and live rows under 2 s old meanwhile.
  `BOLLARD_OUTAGE_H` (2; `make nightly` takes 96, four days).
"""

import json
import os
import queue
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from conftest import influxd, mosquitto
from processes import Process
from servers.influx import ORG, TOKEN, InfluxServer
from servers.mosquitto import Mosquitto

from edge import wire
from edge.spool import Spool
from edge.spool_base import Entry

SITE, GATEWAY = "bench-port", "gw-bench"
DEVICES, POINTS = 5, 100
MEASURE_S = 60.0
OUTAGE_H = float(os.environ.get("BOLLARD_OUTAGE_H", "2"))
MODBUS_SERVERS = Path(__file__).resolve().parent / "modbus_servers.py"
pytestmark = pytest.mark.skipif(
    influxd() is None or mosquitto() is None, reason="needs influxd (tests/servers/install.sh) and mosquitto"
)

SHORE = """
schema = 1
[store]
influx = {{ url = "{url}", org = "{org}", bucket = "{bucket}", token = "{token}" }}
[broker]
port = {port}
"""
HEAD = """
schema = 1
[site]
name = "{site}"
gateway = "{gateway}"
[broker]
host = "127.0.0.1"
port = {port}
deflate = true
[spool]
path = "spool.db"
flush_s = 0.5
max_mib = 16000
[clock]
require = false
"""
DEVICE = """
[[device]]
name = "panel-{n}"
profile = "panel.toml"
origin = "test"
host = "127.0.0.1"
port = {port}
unit_id = 1
interval_s = 1.0
timeout_s = 2.0
"""


@dataclass
class Listener:
    """Hears batches and receipts at the broker; keeps how old each row was when its receipt came."""

    port: int
    live_ages_s: list[float] = field(default_factory=list)
    drained_rows: int = 0
    before_ns: int = 0  # rows of before this instant are backlog
    _batches: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    _heard: "queue.Queue[tuple[str, bytes, int]]" = field(default_factory=queue.Queue)

    def __enter__(self) -> "Listener":
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda c, *_: c.subscribe(f"bollard/1/{SITE}/{GATEWAY}/#", qos=1)
        self.client.on_message = lambda _c, _u, m: self._heard.put((m.topic, m.payload, time.time_ns()))
        self.client.connect("127.0.0.1", self.port)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def hear(self) -> None:
        """Take what has arrived. Times were taken at arrival: being slow here falsifies nothing."""
        while not self._heard.empty():
            topic, payload, now_ns = self._heard.get()
            leaf = topic.rpartition("/")[2]
            if leaf in ("data", "data-z"):
                header, lines = wire.decode_batch(wire.inflate(payload) if leaf == "data-z" else payload)
                if header.lane in ("live", "detail"):
                    times = [int(line.rpartition(" ")[2]) for line in lines]
                    self._batches[header.spool, header.batch] = times
            elif leaf == "receipt":
                receipt = wire.decode_receipt(payload)
                times = self._batches.pop((receipt.spool, receipt.batch), [])
                self.drained_rows += sum(t < self.before_ns for t in times)
                self.live_ages_s += [(now_ns - t) / 1e9 for t in times if t >= self.before_ns]


def quantile(ages_s: list[float], share: float) -> float:
    return statistics.quantiles(ages_s, n=1000, method="inclusive")[round(share * 1000) - 1]


def panel_toml() -> str:
    """A profile of 100 float32 without gaps."""
    head = 'schema = 1\nkind = "meter"\nmodel = "panel"\nsource = "made for this benchmark"\n'
    points = (f'[[point]]\nname = "p{i}"\ntype = "float32"\naddress = {2 * i}\n' for i in range(POINTS))
    return head + "".join(points)


def site_toml(folder: Path, port: int, servers: list[int]) -> Path:
    (folder / "panel.toml").write_text(panel_toml())
    devices = "".join(DEVICE.format(n=n, port=at) for n, at in enumerate(servers))
    path = folder / "site.toml"
    path.write_text(HEAD.format(site=SITE, gateway=GATEWAY, port=port) + devices)
    return path


@dataclass
class Chain:
    """What runs on both sides of the agent."""

    broker: Mosquitto
    influx: InfluxServer
    folder: Path  # of the database
    servers: list[int]  # ports of the simulated devices
    ingest: Process


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    binary = influxd()
    assert binary is not None
    options = {"points": POINTS, "type": "float32", "ports": DEVICES, "moving": True}
    for name in ("mosquitto", "influx", "shore"):
        (tmp_path / name).mkdir()
    with (
        Mosquitto(tmp_path / "mosquitto") as broker,
        InfluxServer(binary, tmp_path / "influx") as influx,
        Process(["python", str(MODBUS_SERVERS), json.dumps(options)]) as servers,
    ):
        shore = tmp_path / "shore" / "shore.toml"
        shore.write_text(
            SHORE.format(url=influx.access.url, org=ORG, bucket="bench", token=TOKEN, port=broker.port)
        )
        with Process(["python", "-m", "gateway.cli", "ingest", "--shore", str(shore)]) as ingest:
            yield Chain(broker, influx, tmp_path / "influx", json.loads(servers.ready_line[5:]), ingest)


def agent(site: Path) -> Process:
    return Process(["python", "-m", "edge.cli", "run", "--site", str(site)])


def listen_for(listener: Listener, span_s: float) -> None:
    end_s = time.monotonic() + span_s
    while time.monotonic() < end_s:
        listener.hear()
        time.sleep(0.05)


def test_scan_to_row_in_the_store(benchmark: BenchmarkFixture, chain: Chain, tmp_path: Path) -> None:
    site = site_toml(tmp_path, chain.broker.port, chain.servers)

    def measure() -> list[float]:
        with Listener(chain.broker.port) as listener, agent(site):
            listen_for(listener, 10.0)  # kernels load, catalogues arrive
            listener.live_ages_s.clear()
            listen_for(listener, MEASURE_S)
            return listener.live_ages_s

    ages_s = benchmark.pedantic(measure, rounds=1)
    assert len(ages_s) > 0.9 * MEASURE_S * DEVICES, f"{len(ages_s)} rows in {MEASURE_S:.0f} s"
    p50, p99 = quantile(ages_s, 0.5), quantile(ages_s, 0.99)
    print(
        f"\nscan to row in InfluxDB, 0.5 s flush, {len(ages_s)} rows: p50 {p50:.2f} s, p99 {p99:.2f} s (aim 1.5 s)"
    )
    benchmark.extra_info.update({"p50_s": p50, "p99_s": p99})


def outage_rows(end_ns: int, hours: float) -> Iterator[list[Entry]]:
    """What the agent would have kept: a row per device and second, values that wander; an hour at a time."""
    random = Random(20261121)
    seconds = round(hours * 3600)
    tags = [{"site": SITE, "gateway": GATEWAY, "device": f"panel-{n}", "origin": "test"} for n in range(DEVICES)]
    for start in range(0, seconds, 3600):
        entries = []
        for second in range(start, min(start + 3600, seconds)):
            t_ns = end_ns - (seconds - second) * 1_000_000_000
            for n, mine in enumerate(tags):
                fields: dict[str, Any] = {f"p{i}": float(30_000 + random.randrange(1009)) for i in range(POINTS)}
                entries.append(Entry("live", t_ns + n, wire.encode_row("meter", mine, fields, t_ns + n), False))
        yield entries


def test_an_outage_is_made_up_for(benchmark: BenchmarkFixture, chain: Chain, tmp_path: Path) -> None:
    site = site_toml(tmp_path, chain.broker.port, chain.servers)
    now_ns = time.time_ns()
    spool = Spool(tmp_path / "spool.db", f"{SITE}/{GATEWAY}")
    rows = 0
    for entries in outage_rows(now_ns - 60 * 1_000_000_000, OUTAGE_H):
        for k in range(0, len(entries), 500):
            spool.commit(entries[k : k + 500])
            while spool.seal("live", 500, least_rows=500) is not None:  # as the agent does while nobody listens
                pass
        rows += len(entries)
    spool.close()
    size_mb = (tmp_path / "spool.db").stat().st_size / 1e6
    figures: dict[str, float] = {}

    def measure() -> None:
        with Listener(chain.broker.port, before_ns=now_ns) as listener, agent(site) as running:
            seen = psutil.Process(running.child.pid)
            began_s = time.monotonic()
            rss_mb = []
            while listener.drained_rows < rows:
                listen_for(listener, 1.0)
                rss_mb.append(seen.memory_info().rss / 1e6)
                assert time.monotonic() - began_s < 3600 * OUTAGE_H, f"{listener.drained_rows} of {rows} rows"
            figures["took_s"] = time.monotonic() - began_s
            figures["stored_mb"] = sum(f.stat().st_size for f in chain.folder.rglob("*") if f.is_file()) / 1e6
            figures["rss_mb"] = max(rss_mb)
            figures["worst_live_s"] = max(listener.live_ages_s, default=float("nan"))
            figures["p99_live_s"] = quantile(listener.live_ages_s, 0.99)

    benchmark.pedantic(measure, rounds=1)
    pace = OUTAGE_H * 3600 / figures["took_s"]
    print(
        f"\n{OUTAGE_H:g} h outage, {DEVICES * POINTS} points at 1 Hz, {rows} rows, {size_mb:.0f} MB spool:"
        f" {figures['took_s']:.0f} s, {pace:.0f} x as fast as it came about (aim 200 x),"
        f" {rows * POINTS / figures['took_s']:,.0f} values/s"
        f"\nlive rows meanwhile: p99 {figures['p99_live_s']:.2f} s, worst {figures['worst_live_s']:.2f} s"
        f" (aim 2 s); the agent's memory at most {figures['rss_mb']:.0f} MB"
        f"\nInfluxDB's folder: {figures['stored_mb']:.0f} MB,"
        f" {1e6 * figures['stored_mb'] / rows / POINTS:.1f} bytes per value before it compacts"
    )
    benchmark.extra_info.update(figures)
