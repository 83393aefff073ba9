"""Clients by others read the simulator as a user starts it: libmodbus, modbus-serial, node-opcua."""

import json
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, peers
from processes import Process

from firmware_sim.running import ask

FOLDER = ROOT / "tests" / "peers"
QUAY = """
schema = 1
name = "quay"
[[berth]]
name = "berth-1"
vessel = "AURELIE"
recording = { file = "ferry-call.csv.gz" }
[[lock]]
name = "lock-1"
[[device]]
name = "meter-1"
profile = "generic-meter"
plant = "berth-1"
[[device]]
name = "bms-1"
profile = "generic-bms"
plant = "berth-1"
security = "both"
history = ["soc_bms"]
[[device]]
name = "line-meter"
profile = "generic-meter"
plant = "berth-1"
transport = "rtu"
bus = "line"
unit_id = 5
[[device]]
name = "line-lock"
profile = "generic-lock"
plant = "lock-1"
transport = "rtu"
bus = "line"
unit_id = 6
[[device]]
name = "far-meter"
profile = "generic-meter"
plant = "berth-1"
transport = "rtu-over-tcp"
unit_id = 7
"""
VOLTAGES, REGISTER = "4,6", "40,4"  # three float32, one int64 of the generic meter
LEVELS = "2,6"  # three float32 of the generic lock


class Sim:
    """A running simulator."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self.devices: dict[str, dict[str, Any]] = ready["devices"]
        self.control: int = ready["control"]

    @contextmanager
    def fault(self, name: str, device: str, **options: float | str) -> Iterator[None]:
        answer = ask(self.control, {"fault": name, "on": True, "device": device, "options": options})
        assert answer.get("on"), answer
        try:
            yield
        finally:
            ask(self.control, {"fault": name, "on": False, "device": device})


def simulator(*arguments: str) -> Iterator[Sim]:
    with Process(["python", "-m", "firmware_sim.cli", "run", *arguments], "ready ", timeout_s=120.0) as process:
        yield Sim(json.loads(process.ready_line.removeprefix("ready ")))


@pytest.fixture(scope="module")
def quay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sim]:
    path = tmp_path_factory.mktemp("quay") / "quay.toml"
    path.write_text(QUAY)
    yield from simulator(str(path))


@pytest.fixture(scope="module")
def port_day() -> Iterator[Sim]:
    yield from simulator("port-day", "--speed", "600")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client on libmodbus, compiled."""
    program = tmp_path_factory.mktemp("libmodbus") / "modbus_read"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["cc", "-O1", "-o", program, FOLDER / "modbus_read.c", *flags], check=True)
    return program


def libmodbus(reader: Path, device: dict[str, Any], *reads: str, timeout_ms: int = 300) -> list[list[int] | str]:
    """Words by request, or what libmodbus calls the error."""
    way = ["rtu", device["path"], device["baud"]] if "path" in device else ["tcp", device["host"], device["port"]]
    command = [reader, *way, device["unit_id"], timeout_ms, *reads]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, timeout=30)
    return [
        line.removeprefix("error ") if line.startswith("error ") else [int(word) for word in line.split()]
        for line in done.stdout.splitlines()
    ]


def node(script: str, *arguments: Any) -> list[dict[str, Any]]:
    """What a script printed."""
    done = subprocess.run(
        ["node", FOLDER / script, *(str(part) for part in arguments)],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"PEERS": str(peers())},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def modbus_serial(device: dict[str, Any], *reads: str, timeout_ms: int = 300) -> list[dict[str, Any]]:
    how = device.get("transport", "tcp")
    return node("modbus_read.js", how, device["host"], device["port"], device["unit_id"], timeout_ms, *reads)


def floats(words: Any) -> list[float]:
    return list(struct.unpack(f">{len(words) // 2}f", struct.pack(f">{len(words)}H", *words)))


def plausible_meter(voltages: Any, register: Any) -> None:
    assert all(9_000 < volt < 14_000 for volt in floats(voltages)), floats(voltages)
    assert 0 < int.from_bytes(struct.pack(">4H", *register), "big") < 10**12


def plausible_lock(levels: Any) -> None:
    up, down, chamber = floats(levels)
    assert -20 < down < up < 200
    assert down - 0.05 <= chamber <= up + 0.05


def by_kind(sim: Sim, protocol: str, prefix: str) -> list[dict[str, Any]]:
    return [d for name, d in sim.devices.items() if d["protocol"] == protocol and name.startswith(prefix)]


SOC, HEARTBEAT, VOLTAGE = "ns=2;s=Battery.Soc", "ns=2;s=Battery.Heartbeat", "ns=2;s=Battery.Pack.Voltage"
STARTED = "i=2257"  # Server_ServerStatus_StartTime


@pytest.mark.npm
def test_node_opcua_reads_over_basic256sha256(quay: Sim, tmp_path: Path) -> None:
    url = quay.devices["bms-1"]["url"]
    secured = node("opcua_read.js", "--secure", tmp_path, url, SOC, VOLTAGE)
    assert [one["status"] for one in secured] == ["Good", "Good"]
    assert 0.3 < secured[0]["value"] < 0.6
    assert 800 < secured[1]["value"] < 1100
    assert [one["status"] for one in node("opcua_read.js", url, SOC)] == ["Good"], "anonymous beside it"


def following(url: str, *nodes: str) -> Process:
    """node-opcua with a subscription, which also reads five times a second; both are lines of what it says."""
    script = str(FOLDER / "opcua_read.js")
    env = {"PEERS": str(peers())}
    return Process(["node", script, "--follow", url, *nodes], '{"heard":"value"', timeout_s=120.0, env=env)


def said_during_a_beat(client: Process) -> list[dict[str, Any]]:
    """What it says until a read shows another heartbeat than the read before."""
    said: list[dict[str, Any]] = []
    while len({one["value"] for one in said if "node" in one and "heard" not in one}) < 2:
        said.append(json.loads(client.wait_for("{", 60.0)))
    return said


def status_of_soc(client: Process, wanted: str) -> None:
    """Wait until a read has that status; the voltage read with it is good all the time."""
    while True:
        soc = json.loads(client.wait_for('{"node":"' + SOC, 60.0))
        assert json.loads(client.wait_for('{"node":"' + VOLTAGE, 60.0))["status"] == "Good"
        if soc["status"] == wanted:
            return


@pytest.mark.npm
def test_node_opcua_sees_faults_as_status(quay: Sim) -> None:
    url = quay.devices["bms-1"]["url"]
    with following(url, SOC, VOLTAGE) as client:
        for fault, status in (("bad-sensor-failure", "BadSensorFailure"), ("unknown-node", "BadNodeIdUnknown")):
            with quay.fault(fault, "bms-1", point="soc_bms"):
                status_of_soc(client, status)
            status_of_soc(client, "Good")
    with quay.fault("refuse-connections", "bms-1"):
        assert "error" in node("opcua_read.js", url, SOC)[0]


@pytest.mark.npm
def test_node_opcua_hears_nothing_of_a_silent_subscription_while_its_reads_go_on(quay: Sim) -> None:
    with following(quay.devices["bms-1"]["url"], HEARTBEAT) as client:
        for keepalive, heard in ((1, {"keep-alive"}), (0, set())):
            with quay.fault("silent-subscription", "bms-1", keepalive=keepalive):
                said_during_a_beat(client)  # what was under way
                assert {one["heard"] for one in said_during_a_beat(client) if "heard" in one} == heard
            client.wait_for('{"heard":"value"', 60.0)


@pytest.mark.npm
def test_node_opcua_is_told_that_its_session_is_gone_and_opens_another(quay: Sim) -> None:
    with following(quay.devices["bms-1"]["url"], HEARTBEAT) as client:
        with quay.fault("session-drop", "bms-1"):
            while "BadSessionIdInvalid" not in client.wait_for("", 60.0):
                pass
        client.wait_for('{"node"', 60.0)
        client.wait_for('{"heard":"value"', 60.0)
        assert '{"heard":"connection lost"}' not in client.said


@pytest.mark.npm
def test_node_opcua_loses_a_server_that_restarts_and_finds_a_younger_one(quay: Sim) -> None:
    url = quay.devices["bms-1"]["url"]
    first = node("opcua_read.js", url, STARTED)[0]["value"]
    with following(url, HEARTBEAT) as client, quay.fault("server-restart", "bms-1", away_s=1):
        client.wait_for('{"heard":"connection lost"}', 60.0)
        again: list[dict[str, Any]] = [{"error": "not asked yet"}]
        deadline_s = time.monotonic() + 60.0
        while "error" in again[0] and time.monotonic() < deadline_s:
            again = node("opcua_read.js", url, STARTED)
    assert again[0]["value"] > first


@pytest.mark.libmodbus
def test_libmodbus_reads_a_serial_line_with_two_units(quay: Sim, reader: Path) -> None:
    plausible_meter(*libmodbus(reader, quay.devices["line-meter"], VOLTAGES, REGISTER))
    plausible_lock(libmodbus(reader, quay.devices["line-lock"], LEVELS)[0])
    absent = {**quay.devices["line-lock"], "unit_id": 9}
    assert libmodbus(reader, absent, LEVELS) == ["Connection timed out"]


@pytest.mark.npm
def test_modbus_serial_reads_rtu_over_tcp(quay: Sim) -> None:
    plausible_meter(*(one["data"] for one in modbus_serial(quay.devices["far-meter"], VOLTAGES, REGISTER)))


# Fault -> options, what libmodbus (3.1.6) says of it, what modbus-serial (8.0.25) says of it, both as seen.
# A byte has to come within 0.5 s for libmodbus. It does not look at the unit of an answer over TCP: WORDS.
WORDS = "words"
ON_TCP: dict[str, tuple[dict[str, float | str], str, str]] = {
    "silence": ({}, "Connection timed out", "Timed out"),
    "refuse-connections": ({}, "Connection refused", "ECONNREFUSED"),
    "reset-connections": ({}, "Connection reset by peer", "Timed out"),
    "slow-bytes": ({"pause_s": 0.6}, "Connection timed out", "Timed out"),
    "half-frame": ({}, "Connection timed out", "Timed out"),
    "garbage": ({"size": 8}, "", "Timed out"),
    "wrong-unit": ({}, WORDS, "expected address 1 got 2"),
    "wrong-transaction": ({}, "Invalid data", "Timed out"),
    "late-answer": ({"delay_s": 2}, "Connection timed out", "Timed out"),
    "short-answer": ({}, "Invalid data", "expected 17 got 15"),
    "long-answer": ({}, "Invalid data", "expected 17 got 19"),
    "wrong-function": ({}, "Invalid data", "expected code 3 got 4"),
    "exception": ({"code": 4}, "Slave device or server failure", "Modbus exception 4"),
    "busy-then-fine": ({"times": 1}, "Slave device or server is busy", "Modbus exception 6"),
}


@pytest.mark.libmodbus
@pytest.mark.parametrize("fault", ON_TCP)
def test_what_libmodbus_says_of_a_fault(quay: Sim, reader: Path, fault: str) -> None:
    options, said, _ = ON_TCP[fault]
    with quay.fault(fault, "meter-1", **options):
        (heard,) = libmodbus(reader, quay.devices["meter-1"], VOLTAGES)
        if said == WORDS:
            plausible_meter(heard, [0, 0, 0, 1])
        else:
            assert isinstance(heard, str) and said in heard


@pytest.mark.npm
@pytest.mark.parametrize("fault", ON_TCP)
def test_what_modbus_serial_says_of_a_fault(quay: Sim, fault: str) -> None:
    options, _, said = ON_TCP[fault]
    with quay.fault(fault, "meter-1", **options):
        assert said in str(modbus_serial(quay.devices["meter-1"], VOLTAGES)[0])


# a busy port, 600 times as fast as time: last, so that it runs beside nothing else


@pytest.mark.libmodbus
def test_libmodbus_reads_a_day_of_a_port(port_day: Sim, reader: Path) -> None:
    for device in by_kind(port_day, "modbus", "meter"):
        plausible_meter(*libmodbus(reader, device, VOLTAGES, REGISTER))
    for device in by_kind(port_day, "modbus", "lock"):
        plausible_lock(libmodbus(reader, device, LEVELS)[0])


@pytest.mark.npm
def test_modbus_serial_reads_a_day_of_a_port(port_day: Sim) -> None:
    for device in by_kind(port_day, "modbus", "meter"):
        plausible_meter(*(one["data"] for one in modbus_serial(device, VOLTAGES, REGISTER)))
    for device in by_kind(port_day, "modbus", "lock"):
        plausible_lock(modbus_serial(device, LEVELS)[0]["data"])


@pytest.mark.npm
def test_node_opcua_reads_a_day_of_a_port(port_day: Sim) -> None:
    for device in by_kind(port_day, "opcua", "bms"):
        soc, heartbeat = node("opcua_read.js", device["url"], SOC, HEARTBEAT)
        if soc["status"] == "Good":
            assert 0.0 <= soc["value"] <= 1.0
        else:
            assert soc == {**soc, "status": "BadNoData", "value": None}
        assert heartbeat["source"].startswith("20")
