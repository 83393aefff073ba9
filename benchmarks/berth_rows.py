"""Rows of the demo's berth, as an agent takes them from the simulated PLCs: tower, meter, ferry battery."""

import json
import re
import time
from pathlib import Path
from typing import Any

from processes import Process

from edge import wire
from edge.spool import Entry, Spool
from gateway.demo import EPOCH_NS
from gateway.demo_files import DemoOptions, site_toml

SPEED = 30.0  # of simulated time: each device is read so many times a second
OPTIONS = DemoOptions(SPEED, 3600.0, 1.0, None, None, None, None, None, "", "", "")


def berth_rows(folder: Path, minutes: float) -> list[Entry]:
    """What an agent without a broker keeps in so many simulated minutes of a call, in the order of time."""
    clock = folder / "clock.json"
    start = {"epoch_ns": EPOCH_NS, "speed": SPEED, "origin_monotonic_ns": time.monotonic_ns()}
    clock.write_text(json.dumps(start))
    sim = ["python", "-m", "firmware_sim.cli", "run", "demo-port", "--sim-clock", str(clock)]
    with Process(sim) as plant:
        (folder / "site.toml").write_text(site_of(json.loads(plant.ready_line[5:]), 1))
        run = ["python", "-m", "edge.cli", "run", "--site", str(folder / "site.toml"), "--sim-clock", str(clock)]
        with Process(run) as agent:
            time.sleep(minutes * 60.0 / SPEED)
            assert agent.terminate() == 0
    return sorted(_all_of(Spool(folder / "spool.db", "demo-port/gw-quay-1")), key=lambda entry: entry.t_ns)


def site_of(serving: dict[str, Any], broker: int) -> str:
    """The demo's site file without its lock, for a simulator that serves as it says."""
    site = site_toml(OPTIONS, serving["devices"], serving["berths"]["berth-1"]["pack"], broker)
    return re.sub(r"\[\[device\]\]\nname = \"lock-1\".*?(?=\[\[berth\]\])", "", site, flags=re.DOTALL)


def _all_of(spool: Spool) -> list[Entry]:
    found = []
    for lane in wire.LANES:
        while spool.seal(lane, 500) is not None:
            pass
        number = 0
        while number := spool.next_waiting(lane, number) or 0:
            batch = spool.batch(number)
            assert batch is not None
            lines = batch.body.decode().split("\n")[:-1]
            found += [
                Entry(lane, int(line[line.rindex(" ") :]), line, lane in ("live", "detail")) for line in lines
            ]
    spool.close()
    return found


def values_in(line: str) -> int:
    """Measured or computed values of a row: all its fields."""
    return len(wire.decode_row(line).fields)
