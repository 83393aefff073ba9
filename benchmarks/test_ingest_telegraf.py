"""From the broker to the rows in InfluxDB: `bollard ingest` against Telegraf's mqtt_consumer. `make bench`.

Telegraf reads our topics with nothing but the topic. It checks no checksum, owner or type and confirms nothing.
"""

import os
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
from shore import GATEWAY, SITE, batch, catalogue
from test_ingest import BATCHES, POINTS, ROWS, rows

from edge.wire import topic

DEADLINE_S = 120.0
TELEGRAF = """
[agent]
  interval = "1s"
  flush_interval = "200ms"
  metric_batch_size = 5000
  metric_buffer_limit = 1000000
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["bollard/1/+/+/data"]
  qos = 1
  topic_tag = ""
  max_undelivered_messages = 1000
  data_format = "influx"
[[outputs.influxdb_v2]]
  urls = ["{url}"]
  token = "{token}"
  organization = "{org}"
  bucket = "{bucket}-raw"
"""
SHORE = """
schema = 1
[store]
influx = {{ url = "{url}", org = "{org}", bucket = "{bucket}", token = "{token}" }}
[broker]
port = {port}
"""


def telegraf() -> Path | None:
    """What tests/servers/telegraf/install.sh has built, or None."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bollard" / "servers"
    found = sorted(Path(os.environ.get("BOLLARD_SERVERS", cache)).glob("telegraf-v*"))
    return found[-1] if found else None


pytestmark = [
    pytest.mark.skipif(telegraf() is None, reason="no telegraf here: run tests/servers/telegraf/install.sh"),
    pytest.mark.skipif(influxd() is None or mosquitto() is None, reason="needs influxd and mosquitto"),
]


@contextmanager
def with_telegraf(folder: Path, bucket: str, port: int, server: InfluxServer) -> Iterator[psutil.Process]:
    org = server.call("GET", "/api/v2/orgs")["orgs"][0]["id"]
    server.call("POST", "/api/v2/buckets", {"orgID": org, "name": f"{bucket}-raw", "retentionRules": []})
    conf = folder / "telegraf.conf"
    conf.write_text(TELEGRAF.format(port=port, url=server.access.url, token=TOKEN, org=ORG, bucket=bucket))
    binary = telegraf()
    assert binary is not None
    with Process([str(binary), "--config", str(conf)], ready=None) as process:
        while not any("Connected [tcp" in line for line in process.said):
            assert process.child.poll() is None, process.said
            time.sleep(0.05)
        yield psutil.Process(process.child.pid)


@contextmanager
def with_ingest(folder: Path, bucket: str, port: int, server: InfluxServer) -> Iterator[psutil.Process]:
    shore = folder / "shore.toml"
    shore.write_text(SHORE.format(port=port, url=server.access.url, token=TOKEN, org=ORG, bucket=bucket))
    with Process(["python", "-m", "gateway.ingest_cli", "--shore", str(shore)]) as process:
        yield psutil.Process(process.child.pid)


def stored(server: InfluxServer, bucket: str) -> int:
    script = (
        f'from(bucket: "{bucket}-raw") |> range(start: 2020-01-01T00:00:00Z, stop: 2040-01-01T00:00:00Z)'
        ' |> filter(fn: (r) => r._field == "heartbeat") |> group() |> count()'
    )
    request = urllib.request.Request(
        f"{server.access.url}/api/v2/query?org={ORG}", data=script.encode(),
        headers={"Authorization": f"Token {TOKEN}", "Content-Type": "application/vnd.flux"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as reply:
        lines = reply.read().decode().split()
    return int(lines[1].split(",")[-1]) if len(lines) > 1 else 0


def drive(
    started: Callable[..., "contextmanager[psutil.Process]"],
    folder: Path,
    server: InfluxServer,
    batches: list[bytes],
) -> tuple[float, float]:
    """Rows per second from the first publish to the last row in the store, and CPU per row. [1/s], [µs]"""
    bucket, folder = f"t-{uuid.uuid4().hex[:8]}", folder / uuid.uuid4().hex[:8]
    folder.mkdir()
    with Mosquitto(folder, "max_queued_messages 0\nmax_inflight_messages 1000\n") as broker:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(1000)
        connected = threading.Event()
        client.on_connect = lambda *_: connected.set()
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        assert connected.wait(20)
        client.publish(topic(SITE, GATEWAY, "catalogue"), catalogue(**POINTS).encode(), qos=1, retain=True)
        with started(folder, bucket, broker.port, server) as process:
            cpu_s, wall_s = sum(process.cpu_times()[:2]), time.perf_counter()
            for payload in batches:
                client.publish(topic(SITE, GATEWAY, "data"), payload, qos=1)
            while stored(server, bucket) < BATCHES * ROWS:
                assert time.perf_counter() - wall_s < DEADLINE_S, stored(server, bucket)
                time.sleep(0.1)
            took_s = time.perf_counter() - wall_s
            cpu_s = sum(process.cpu_times()[:2]) - cpu_s
        client.disconnect()
        client.loop_stop()
    return BATCHES * ROWS / took_s, 1e6 * cpu_s / (BATCHES * ROWS)


def test_ingest_against_telegraf(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    binary = influxd()
    assert binary is not None
    made = rows()
    batches = [batch(n, list(made[n * ROWS : (n + 1) * ROWS])) for n in range(BATCHES)]
    figures: dict[str, list[tuple[float, float]]] = {"telegraf": [], "ingest": []}
    (tmp_path / "influx").mkdir()

    def measure() -> None:
        with InfluxServer(binary, tmp_path / "influx") as server:
            for _ in range(3):  # by turns: the machine is not quiet
                figures["telegraf"].append(drive(with_telegraf, tmp_path, server, batches))
                figures["ingest"].append(drive(with_ingest, tmp_path, server, batches))

    benchmark.pedantic(measure, rounds=1)
    best = {name: (max(r for r, _ in seen), min(c for _, c in seen)) for name, seen in figures.items()}
    binary = telegraf()
    print(f"\n{binary.name if binary else ''}\n{'best of 3':12s}{'rows/s':>12s}{'µs CPU/row':>12s}")
    for name, (rate, cpu_us) in best.items():
        print(f"{name:12s}{rate:12,.0f}{cpu_us:12.1f}")
    faster, lighter = best["ingest"][0] / best["telegraf"][0], best["telegraf"][1] / best["ingest"][1]
    print(f"ingest: {faster:.1f} x the rows/s, 1/{lighter:.1f} of the CPU per row (aim: at least level)")
    benchmark.extra_info.update({"faster": faster, "lighter": lighter})
