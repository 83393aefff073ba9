"""The simulator as a process: how it starts, what it says, and that it always ends."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_sim.cli import columns, duration

Start = Callable[..., "subprocess.Popen[str]"]
SCENARIO = """
schema = 1
name = "lock-only"
[[lock]]
name = "lock-1"
[[device]]
name = "lock-1"
profile = "generic-lock"
plant = "lock-1"
"""


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*args: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "firmware_sim.cli", "run", *map(str, args)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "lock.toml"
    path.write_text(SCENARIO)
    return path


def ready(child: "subprocess.Popen[str]") -> dict[str, object]:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("ready "), line + str(child.stderr and child.stderr.read())
    found: dict[str, object] = json.loads(line.removeprefix("ready "))
    return found


def test_ready_names_every_device_and_sigterm_ends_it(start: Start) -> None:
    child = start("demo-port", "--speed", 60)
    said = ready(child)
    devices = said["devices"]
    assert isinstance(devices, dict)
    assert list(devices) == ["charger-1", "meter-1", "ferry-bms", "lock-1"]
    for device in devices.values():
        with socket.create_connection((device["host"], device["port"]), 1.0):
            pass
    assert devices["charger-1"].keys() == {"protocol", "host", "port", "unit_id"}
    assert devices["ferry-bms"]["url"].startswith("opc.tcp://127.0.0.1:")
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0


def test_ctrl_c_is_130_and_the_control_port_stops_it_too(start: Start, scenario: Path) -> None:
    first, second = start(scenario), start(scenario)
    ready(first)
    first.send_signal(signal.SIGINT)
    with socket.create_connection(("127.0.0.1", ready(second)["control"])) as control:  # type: ignore[arg-type]
        control.sendall(b'{"stop": true}\n')
        assert json.loads(control.makefile().readline()) == {"stopping": True}
    assert first.wait(30) == 130
    assert second.wait(30) == 0


def test_it_ends_with_its_duration_and_with_its_parent(start: Start, scenario: Path) -> None:
    timed = start(scenario, "--speed", 60, "--duration-s", 6)
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    orphan = start(scenario, "--parent-pid", parent.pid)
    ready(timed)
    ready(orphan)
    assert orphan.poll() is None
    parent.communicate(b"\n")
    assert timed.wait(30) == 0
    assert orphan.wait(30) == 0


def test_ports_are_given_out_in_order_and_a_busy_one_is_exit_4(start: Start, scenario: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        child = start(scenario, "--port-base", taken.getsockname()[1])
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 4
    assert len(errors.splitlines()) == 1
    assert "lock-1: 127.0.0.1:" in errors and "--port-base" in errors


def test_wrong_input_is_exit_2_with_every_problem(start: Start, scenario: Path, tmp_path: Path) -> None:
    scenario.write_text(SCENARIO.replace("schema = 1", "schema = 2").replace('plant = "', 'plants = "'))
    child = start(scenario)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "schema = 2" in errors and "device[0].plants" in errors and "device[0].plant" in errors
    child = start("demo-port", "--recording", tmp_path / "none.csv", "--sim-clock", tmp_path / "none.json")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "none.csv: cannot be read" in errors


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("90s", 90), ("75min", 4500), ("1.5h", 5400), ("2d", 172_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == seconds


def test_column_maps() -> None:
    assert columns("time=t, voltage=U") == {"time": "t", "voltage": "U"}
    for wrong in ("", "time", "time="):
        with pytest.raises(Exception, match="write quantity=column"):
            columns(wrong)
