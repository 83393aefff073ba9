"""Processor and memory of the agent, ThingsBoard's gateway and Node-RED at one and the same task.

Each in turn reads the registers of simulated devices once a second (1 x 100, then 8 x 125; other values each
second) and publishes them with QoS 1 to a real mosquitto. What arrives there is counted: values per second, and
bytes. Only the agent keeps what it reads on disk, with sync, until the shore has confirmed it; the shore side runs
beside it, as a process of its own. The others are as shipped, with the settings of `peer_settings.py`;
`peers/install.sh` installs them at the first run. A peer that cannot be installed is left out, and told why.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psutil
import pytest
from conftest import mosquitto
from paho.mqtt.enums import CallbackAPIVersion
from processes import Process, free_port
from pytest_benchmark.fixture import BenchmarkFixture
from servers.mosquitto import Mosquitto

from benchmarks import peer_settings
from benchmarks.test_drivers import Servers
from edge.wire import decode_batch, decode_row, parse_topic

HERE = Path(__file__).resolve().parent
SETTLE_S, MEASURE_S = 15.0, float(os.environ.get("BOLLARD_BENCH_S", "30"))
LAYOUTS = {100: (1, 100), 1000: (8, 125)}  # registers per second: devices, registers of each
TABLE: list[tuple[str, str, "Cost"]] = []
MISSING: list[str] = []


@dataclass
class Cost:
    """What one of them took and brought."""

    share: float  # of a core [%]
    megabytes: float
    values_per_s: float
    bytes_per_s: float


@dataclass
class Listener:
    """Counts what the broker is given; tells ThingsBoard's gateway its limits, before which it sends nothing."""

    port: int
    values: int = 0
    bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Listener":
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe([("#", 1)])
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        request = "v1/devices/me/rpc/request/"
        if message.topic.startswith(request):
            unlimited = json.dumps({"maxInflightMessages": 100, "rateLimits": {}})
            client.publish(message.topic.replace("request", "response"), unlimited, qos=1)
        values = values_in(message.topic, message.payload)
        if values:
            with self._lock:
                self.values += values
                self.bytes += len(message.payload)

    def counted(self) -> tuple[int, int]:
        with self._lock:
            return self.values, self.bytes


def values_in(topic: str, payload: bytes) -> int:
    """How many registers' values a message carries."""
    if topic.startswith("node-red/"):
        return len(json.loads(payload)["values"])
    if topic == "v1/gateway/telemetry":
        return sum(len(each["values"]) for rows in json.loads(payload).values() for each in rows)
    leaf = parse_topic(topic)[2] if topic.startswith("bollard/") else ""
    if leaf in ("data", "data-z"):
        batch = zlib.decompress(payload) if leaf == "data-z" else payload
        rows = [decode_row(line) for line in decode_batch(batch)[1]]
        return sum(len(row.fields) for row in rows if row.kind == "meter")
    return 0


def installed(peer: str) -> Path:
    """Its folder. Skips where it cannot be had."""
    done = subprocess.run(["bash", str(HERE / "peers" / "install.sh"), peer], capture_output=True, text=True)
    if done.returncode:
        MISSING.append(f"{peer}: not installed: {done.stderr.strip()[-300:]}")
        pytest.skip(MISSING[-1])
    return Path(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def agent(folder: Path, ports: list[int], registers: int, broker: int) -> Iterator[Process]:
    site = peer_settings.for_agent(folder, ports, registers, broker)
    subprocess.run([sys.executable, "-m", "edge.cli", "warm"], check=True, stdout=subprocess.DEVNULL)
    shore = folder / "shore.toml"
    shore.write_text(
        'schema = 1\n[store]\nurl = "sqlite:store.db"\n[book]\npath = "book.db"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {broker}\n'
    )
    with (
        Process(["python", "-m", "gateway.cli", "ingest", "--shore", str(shore)]),
        Process(["python", "-m", "edge.cli", "run", "--site", str(site)]) as process,
    ):
        yield process


@contextlib.contextmanager
def thingsboard(folder: Path, ports: list[int], registers: int, broker: int) -> Iterator[Process]:
    home = installed("thingsboard")
    peer_settings.for_thingsboard(folder, ports, registers, broker)
    command = [str(home / "bin" / "python"), str(HERE / "peers" / "run_thingsboard.py")]
    env = {"TB_GW_CONFIG_DIR": str(folder), "PYTHONPATH": ""}
    with Process(command, ready=None, env=env, cwd=folder) as process:
        yield process


@contextlib.contextmanager
def node_red(folder: Path, ports: list[int], registers: int, broker: int) -> Iterator[Process]:
    home = installed("node-red")
    peer_settings.for_node_red(folder, ports, registers, broker, free_port())
    os.symlink(home / "node_modules", folder / "node_modules")
    red = str(home / "node_modules" / "node-red" / "red.js")
    command = ["node", red, "--userDir", str(folder), "--settings", str(folder / "settings.js")]
    with Process(command, ready=None, cwd=folder) as process:
        yield process


PEERS = {
    "bollard edge": agent,
    "thingsboard-gateway 3.8.5": thingsboard,
    "node-red 4.1.15": node_red,
}


@pytest.fixture(scope="module", autouse=True)
def print_table() -> Iterator[None]:
    yield
    head = ("registers/s", "% core", "ratio", "MB", "ratio", "values/s", "bytes/s")
    print("\n" + " " * 26 + "".join(f"{text:>12s}" for text in head))
    ours = {rate: cost for name, rate, cost in TABLE if name == "bollard edge"}
    for name, rate, cost in sorted(TABLE, key=lambda line: int(line[1])):
        own = ours.get(rate, cost)
        figures = (
            f"{cost.share:.2f}", f"{cost.share / own.share:.1f}", f"{cost.megabytes:.0f}",
            f"{cost.megabytes / own.megabytes:.2f}", f"{cost.values_per_s:.0f}", f"{cost.bytes_per_s:.0f}",
        )  # fmt: skip
        print(f"{name:26s}{rate:>12s}" + "".join(f"{text:>12s}" for text in figures))
    print("\n".join(MISSING))


@pytest.mark.parametrize("rate", LAYOUTS)
@pytest.mark.parametrize("name", PEERS)
def test_reading_and_publishing(benchmark: BenchmarkFixture, tmp_path: Path, name: str, rate: int) -> None:
    if mosquitto() is None:
        pytest.skip("needs mosquitto: apt-get install mosquitto")
    devices, registers = LAYOUTS[rate]
    layout: dict[str, Any] = {"points": registers, "type": "uint16", "ports": devices, "moving": True}
    with (
        Servers(**layout) as servers,
        Mosquitto(tmp_path) as broker,
        Listener(broker.port) as listener,
        PEERS[name](tmp_path, servers.at, registers, broker.port) as process,
    ):
        cost = benchmark.pedantic(lambda: measured(process, listener), rounds=1)
        said = "\n".join(process.said[-40:])
    TABLE.append((name, str(rate), cost))
    assert cost.values_per_s > 0.8 * rate, said  # whole messages of a second: one more or less


def measured(process: Process, listener: Listener) -> Cost:
    """Once values arrive, and it has settled."""
    seen = psutil.Process(process.child.pid)
    end_s = time.monotonic() + 120.0
    while listener.counted()[0] == 0:
        assert time.monotonic() < end_s, "nothing arrives:\n" + "\n".join(process.said[-40:])
        assert process.child.poll() is None, "\n".join(process.said[-40:])
        time.sleep(0.1)
    time.sleep(SETTLE_S)
    values, size = listener.counted()
    start_s, cpu_s = time.monotonic(), sum(seen.cpu_times()[:2])
    time.sleep(MEASURE_S)
    took_s, cpu_s = time.monotonic() - start_s, sum(seen.cpu_times()[:2]) - cpu_s
    more_values, more_size = listener.counted()
    share = 100.0 * cpu_s / took_s
    return Cost(share, seen.memory_info().rss / 1e6, (more_values - values) / took_s, (more_size - size) / took_s)
