"""The demo as a person runs it: processes, sockets, a broker, a store, and someone who kills them."""

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from processes import Process

SPEED = 240
LATE_KWH = 3.5 * 0.05 * SPEED / 3600  # the tower's base load while a reading takes 50 ms to arrive


class Figures:
    """What the demo prints at its end."""

    def __init__(self, text: str) -> None:
        self.text = text

    def number(self, pattern: str) -> float:
        found = re.search(pattern, self.text)
        assert found is not None, f"{pattern!r} not in:\n{self.text}"
        return float(found[1].replace(",", ""))

    @property
    def lost_and_doubled(self) -> tuple[float, float]:
        return self.number(r"lost (\d+)"), self.number(r"doubled (\d+)")

    @property
    def minutes_kwh(self) -> float:
        return self.number(r"minutes of meter-1: ([\d,.]+) kWh")

    @property
    def plant_kwh(self) -> float:
        return self.number(r"register over them ([\d,.]+) kWh")


def demo(out: Path, *options: str, speed: int = SPEED, env: dict[str, str] | None = None) -> Process:
    """At 240, one call in 19 seconds."""
    fast = ["--speed", str(speed), "--interval", "3s", "--plain"]
    return Process(
        ["python", "-m", "gateway.cli", "demo", "--out", str(out), *fast, *options], ready=None, env=env
    )


def finish(process: Process, out: Path) -> Figures:
    code = process.wait(180)
    text = "\n".join(process.said)
    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in out.glob("*.log"))
    assert code == 0, f"exit {code}\n{text}\n{logs}"
    return Figures(text)


def kill(process: Process, out: Path, due: Sequence[tuple[str, float]], speed: int) -> None:
    """kill -9 processes of a running demo by name, each so many simulated minutes after its start."""
    clock = out / "clock.json"
    while not (clock.exists() and json.loads(clock.read_text())["origin_monotonic_ns"]):
        assert process.child.poll() is None, "\n".join(process.said)
        time.sleep(0.05)
    started_ns = json.loads(clock.read_text())["origin_monotonic_ns"]
    for name, minutes in due:
        due_ns = started_ns + int(minutes * 60e9 / speed)
        time.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
        pid = json.loads((out / "pids.json").read_text())[name]
        os.kill(pid, signal.SIGKILL)
        while json.loads((out / "pids.json").read_text())[name] == pid:
            assert process.child.poll() is None, "\n".join(process.said)
            time.sleep(0.02)
