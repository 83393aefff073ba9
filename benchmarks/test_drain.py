"""An outage of days is drained while new rows stay new: agent, mosquitto, ingest and its SQLite store.

The rows that wait are those of the demo's berth, as many as a gateway of 500 points takes in BOLLARD_DRAIN_DAYS
days (0.1 if not given); the agent goes on reading the demo's meter once a second. Aims: 200 × real time, new rows
in the store within 2 s.
"""

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from berth_rows import berth_rows, site_of, values_in
from conftest import mosquitto
from processes import Process
from servers.mosquitto import Mosquitto
from spool_fill import fill

DAYS = float(os.environ.get("BOLLARD_DRAIN_DAYS", "0.1"))
POINTS_PER_S = 500.0
OWNER = "demo-port/gw-quay-1"
pytestmark = pytest.mark.skipif(mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto")


class Running:
    """The store and the spool, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self._store, self._spool = folder / "store.db", folder / "spool.db"

    def newest_age_s(self) -> float:
        """How old the meter's newest row in the store is."""
        with contextlib.closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as db:
            newest_ns = db.execute('SELECT max("@t_ns") FROM rows_meter').fetchone()[0]
        return (time.time_ns() - newest_ns) / 1e9

    def tally(self) -> tuple[int, int]:
        """Rows stored, rows waiting."""
        query = "SELECT sum(stored), sum(sealed - stored - refused - dropped) FROM tally"
        with contextlib.closing(sqlite3.connect(f"file:{self._spool}?mode=ro", uri=True)) as db:
            found: tuple[int, int] = db.execute(query).fetchone()
        return found


@contextlib.contextmanager
def running(folder: Path, port: int) -> Iterator[Running]:
    """Plant, shore and agent in real time, with the spool that is in the folder."""
    clock = {"epoch_ns": time.time_ns(), "speed": 1.0, "origin_monotonic_ns": time.monotonic_ns()}
    (folder / "clock.json").write_text(json.dumps(clock))
    (folder / "shore.toml").write_text(f'schema = 1\n[store]\nurl = "sqlite:store.db"\n[broker]\nport = {port}\n')
    sim = ["python", "-m", "firmware_sim.cli", "run", "demo-port", "--sim-clock", str(folder / "clock.json")]
    ingest = ["python", "-m", "gateway.ingest_cli", "--shore", str(folder / "shore.toml")]
    with Process(sim) as plant, Process(ingest):
        site = site_of(json.loads(plant.ready_line[5:]), port)
        (folder / "site.toml").write_text(site + "\n[clock]\nrequire = false\n")
        with Process(["python", "-m", "edge.cli", "run", "--site", str(folder / "site.toml")]) as agent:
            yield Running(folder)
            agent.terminate(60.0)


def test_an_outage_is_drained_while_new_rows_stay_new(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    sample = berth_rows(tmp_path / "sample", 10.0)
    values = sum(values_in(entry.line) for entry in sample) / len(sample)
    rows = int(DAYS * 86_400 * POINTS_PER_S / values)
    fill(tmp_path / "spool.db", sample, rows, time.time_ns() - 60 * 10**9, OWNER)
    ages: list[float] = []
    took_s = 0.0

    def drain() -> None:
        nonlocal took_s
        (tmp_path / "broker").mkdir()
        with Mosquitto(tmp_path / "broker") as broker, running(tmp_path, broker.port) as seen:
            begin_s, half_s = 0.0, 0.0
            while True:
                stored, waiting = seen.tally()
                if stored and not begin_s:
                    begin_s = time.monotonic() - 1e-3
                if begin_s and stored > 0.05 * rows and not half_s:
                    half_s = time.monotonic()  # the first rows tell nothing yet
                if half_s and waiting > 0.02 * rows:
                    with contextlib.suppress(sqlite3.Error):
                        ages.append(seen.newest_age_s())
                if begin_s and waiting < 0.01 * rows:
                    took_s = time.monotonic() - begin_s
                    return
                time.sleep(0.1)

    benchmark.pedantic(drain, rounds=1)
    rate, per_s = rows / took_s, POINTS_PER_S / values
    ages.sort()
    p50, p99 = ages[len(ages) // 2], ages[int(len(ages) * 0.99)]
    print(f"\n{rows:,} rows, {DAYS} days of {POINTS_PER_S:.0f} values/s, in {took_s:.1f} s")
    print(f"{rate:,.0f} rows/s: {rate / per_s:.0f} × real time (aim 200)")
    print(f"age of the newest row of a 1 s scan in the store: p50 {p50:.2f} s, p99 {p99:.2f} s (aim 2 s)")
