"""A real edge agent against a broker of its own: what the product makes of this device, with origin `test`.

Broker and store are `bollard ingest` with its embedded broker, or mosquitto where the shore's packages are
missing; the agent is `bollard edge run`. All are processes: the kit loads neither edge nor shore. What they
publish is read here by the contract's text alone, and the checksum is verified.
"""

import contextlib
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.hil.children import Child
from firmware_sim.hil.settings import Settings, Target, UnreachableError
from firmware_sim.hil.simulator import SimulatedClock

SITE, GATEWAY = "hil", "gw-hil"
SCANS_PER_S = 5.0  # of real time, on the simulator
_HEADER = re.compile(rb"# bollard/1 .* batch=(\d+) lane=(\w+) rows=(\d+) crc32=([0-9a-f]{8})\n")
_FIELD = re.compile(r'([a-z0-9_-]+)=(?:(-?\d+)i|"((?:[^"\\]|\\.)*)"|([-+.\deE]+))(?:,|$)')


@dataclass(frozen=True)
class AgentRow:
    """One row as the agent published it."""

    kind: str
    tags: dict[str, str]
    fields: dict[str, float | str]
    t_ns: int


class Gateway:
    """The running agent, heard through the broker."""

    def __init__(self, settings: Settings, target: Target, folder: Path, clock: SimulatedClock | None) -> None:
        self._settings, self._target, self._folder, self._clock = settings, target, folder, clock
        self._arrived = threading.Condition()
        self._rows: list[AgentRow] = []
        self.broken: list[str] = []  # batches whose header or checksum is wrong
        self.receipts = 0
        self.broker = ""

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            port = self._start_broker(stack)
            self._listen(stack, port)
            site = self._folder / "site.toml"
            site.write_text(site_toml(self._settings, self._target, port))
            args = ["run", "--site", str(site)]
            if self._clock is not None:
                args += ["--sim-clock", str(self._clock.file)]
            self._agent = stack.enter_context(Child("edge.cli", *args))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_broker(self, stack: contextlib.ExitStack) -> int:
        if importlib.util.find_spec("amqtt") is not None:
            shore = self._folder / "shore.toml"
            shore.write_text(
                'schema = 1\n[store]\nurl = "sqlite:store.db"\n[book]\npath = "book.db"\n'
                "[broker]\nembedded = true\nport = 0\n"
            )
            child = stack.enter_context(Child("gateway.cli", "ingest", "--shore", str(shore)))
            self.broker = "bollard ingest"
            return int(json.loads(child.ready_line)["port"])
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise UnreachableError(
                "no broker for the agent; from the clone: pip install -c constraints.txt '.[shore]',"
                " or apt-get install mosquitto"
            )
        self.broker = "mosquitto"
        return stack.enter_context(_mosquitto(program, self._folder))

    def _listen(self, stack: contextlib.ExitStack, port: int) -> None:
        ready = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bollard-hil")
        client.on_connect = lambda *_: client.subscribe([(f"bollard/1/{SITE}/{GATEWAY}/#", 1)]) and None
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _client, _data, message: self._take(message.topic, bytes(message.payload))
        client.connect("127.0.0.1", port, keepalive=60)
        client.loop_start()
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)
        if not ready.wait(10.0):
            raise UnreachableError(f"the broker on port {port} ({self.broker}) grants no subscription")

    def _take(self, topic: str, payload: bytes) -> None:
        leaf = topic.rsplit("/", 1)[-1]
        with self._arrived:
            if leaf == "receipt":
                self.receipts += 1
            elif leaf == "data":
                try:
                    self._rows += rows_of(payload)
                except ValueError as error:
                    self.broken.append(str(error))
            self._arrived.notify_all()

    def rows(self, kind: str | None = None) -> list[AgentRow]:
        """What has come so far, of one kind or of all, in order of arrival."""
        with self._arrived:
            return [row for row in self._rows if kind in (None, row.kind)]

    def wait_for(self, holds: Callable[[list[AgentRow]], bool], timeout_s: float) -> bool:
        """Wait until something holds of the rows so far. `timeout_s` is real time. [s]"""
        with self._arrived:
            return self._arrived.wait_for(lambda: holds(self._rows), timeout_s)

    @property
    def running(self) -> bool:
        return self._agent.running

    def stop(self) -> int:
        """End the agent in good order. Returns: its exit code."""
        return self._agent.stop(20.0)


def site_toml(settings: Settings, target: Target, broker_port: int) -> str:
    """The agent's site file: this device alone, as a test."""
    address = (
        f'url = "{target.url}"'
        if target.url
        else f'host = "{target.host}"\nport = {target.port}\nunit_id = {target.unit_id}'
    )
    interval_s = max(1.0, settings.speed / SCANS_PER_S)
    # A relative path would be taken from the site file's folder.
    profile = (
        str(Path(settings.profile_name).resolve())
        if settings.profile_name.endswith(".toml")
        else settings.profile_name
    )
    tables = {"lock": f"[device.lock]\nchamber_area_m2 = {settings.limits.chamber_area_m2}\n"}
    return f"""\
schema = 1
[site]
name = "{SITE}"
gateway = "{GATEWAY}"
[broker]
host = "127.0.0.1"
port = {broker_port}
[spool]
flush_s = 0.25
[clock]
require = false
[[device]]
name = "{settings.device}"
profile = "{profile}"
origin = "test"
{address}
interval_s = {interval_s}
timeout_s = {settings.timeout_s}
{tables.get(settings.kind, "")}"""


def rows_of(payload: bytes) -> Iterator[AgentRow]:
    """Rows of a batch, checksum and count verified. Raises: ValueError."""
    head = _HEADER.match(payload)
    if head is None:
        raise ValueError(f"a batch begins with {payload[:60]!r}, not with # bollard/1 …")
    body = payload[head.end() :]
    seen = f"{zlib.crc32(body):08x}"
    lines = body.decode().splitlines()
    if seen != head[4].decode() or len(lines) != int(head[3]):
        raise ValueError(
            f"batch {head[1].decode()}: crc32 {seen} of {len(lines)} rows, the header says {head[0]!r}"
        )
    return map(_row, lines)


def _row(line: str) -> AgentRow:
    series, _, rest = line.partition(" ")
    fields, _, t_ns = rest.rpartition(" ")
    kind, *tags = series.split(",")
    values: dict[str, float | str] = {
        name: float(whole or real) if whole or real else text for name, whole, text, real in _FIELD.findall(fields)
    }
    pairs: dict[str, str] = dict(tag.split("=") for tag in tags)
    return AgentRow(kind, pairs, values, int(t_ns))


@contextlib.contextmanager
def _mosquitto(program: str, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen(
        [program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end_s = time.monotonic() + 10.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > end_s:
                    raise UnreachableError(f"{program} does not listen on port {port}: {error}") from error
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def origins(rows: list[AgentRow]) -> set[str]:
    return {row.tags.get("origin", "none") for row in rows}
