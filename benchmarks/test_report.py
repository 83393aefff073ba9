"""A month of a hundred meters in every format, against pandas doing the same sums. `make bench`.

4.3 million minutes and 15 000 calls from SQLite: `bollard report` makes PDF, XLSX, CSV, JSON, HTML and Markdown,
hashes every row, finds gaps, readings, 10-minute windows and carbon lines, and checks each call against minutes.
pandas reads the same rows and makes the sums alone. Each is a process of its own on one core: its time from start
to end, its CPU and its highest memory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parent))
from report_store import MONTH, SITE, fill

MINUTES, CALLS = 4_320_000, 15_000
SPENT: dict[str, tuple[float, float]] = {}  # CPU [s] and highest memory [MB] of each method
TOLD: dict[str, str] = {}

WITH_PANDAS = """
import sqlite3, sys
import pandas as pd
db = sqlite3.connect(sys.argv[1])
minutes = pd.read_sql_query('SELECT s.device, m.* FROM rows_energy_1m m JOIN series s ON s.id = m."@series"', db)
calls = pd.read_sql_query('SELECT * FROM rows_session', db)
sums = minutes.groupby("device")[
    ["import_wh", "export_wh", "covered_s", "measured_wh", "integrated_wh", "estimated_wh"]].sum()
registers = ["register_import_wh", "register_export_wh"]
readings = minutes.groupby(["device", "epoch"])[registers].agg(["first", "last"])
window = minutes["@t_ns"] // 600_000_000_000
peaks = minutes.groupby(["device", window])["import_wh"].sum().groupby("device").max() * 6
inside = [
    m["import_wh"].to_numpy()[slice(*m["@t_ns"].searchsorted([c.start_ns, c.end_ns]))].sum()
    for m, rows in ((m, calls[calls["meter"] == name]) for name, m in minutes.groupby("device"))
    for c in rows.itertuples()
]
print(int(sums["import_wh"].sum()), int(peaks.max()), sum(inside) == calls["energy_wh"].sum())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report")
    assert fill(made) == MINUTES
    return made


def with_bollard(folder: Path) -> str:
    words = (MONTH, "--site", SITE, "--shore", folder / "shore.toml", "--out", folder / "out")
    run("bollard", [sys.executable, "-m", "gateway.cli", "report", *map(str, words)])
    data = json.loads((folder / "out" / f"report-{SITE}-{MONTH}.json").read_bytes())
    figures = {figure["key"]: figure["value"] for figure in data["figures"]}
    assert figures["calls.count"] == CALLS
    meters = [value for key, value in figures.items() if key.startswith("energy.import_wh/meter=")]
    peaks = [value for key, value in figures.items() if key.startswith("peak.power_w/meter=")]
    return f"{sum(meters)} {max(peaks)} True"


def with_pandas(folder: Path) -> str:
    return run("pandas", [sys.executable, "-c", WITH_PANDAS, str(folder / "store.db")]).strip()


def run(name: str, command: list[str]) -> str:
    """On one core; 0 or 3 (some minutes of the month are not covered)."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )  # fmt: skip
    assert child.stdout is not None
    told = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode in (0, 3), command
    SPENT[name] = (used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return told


@pytest.mark.benchmark(group="month of 100 meters, 15 000 calls")
@pytest.mark.parametrize("method", [with_bollard, with_pandas])
def test_a_month_of_a_hundred_meters(
    benchmark: BenchmarkFixture, folder: Path, method: Callable[[Path], str]
) -> None:
    told = benchmark.pedantic(method, (folder,), rounds=1, warmup_rounds=0)
    assert TOLD.setdefault("both", told) == told and told.endswith("True")


def test_what_they_took() -> None:
    """After the two above: CPU and memory, and their ratio."""
    if len(SPENT) < 2:
        pytest.skip("run both methods first")
    for name, (cpu_s, memory_mb) in SPENT.items():
        print(f"\n{name}: {cpu_s:.1f} s of CPU, {memory_mb:.0f} MB", end="")
    print(f"\nbollard / pandas: {SPENT['bollard'][0] / SPENT['pandas'][0]:.2f} of the CPU,"
          f" {SPENT['bollard'][1] / SPENT['pandas'][1]:.2f} of the memory")  # fmt: skip
