"""What the ledger costs: bytes on the wire, bytes written to the disk, room for 30 days, memory of a full spool.

The rows are those of the demo's berth while a ferry charges, taken by an agent from simulated PLCs at 1 Hz.
BOLLARD_SPOOL_ROWS: how many rows wait in the last one; 1 000 000 if not given.
"""

import json
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from berth_rows import berth_rows, values_in

from edge import wire
from edge.config import SpoolConfig
from edge.spool import ROWS_IN_BATCH, Entry, Spool

MINUTES = 20.0
ROWS = int(os.environ.get("BOLLARD_SPOOL_ROWS", "1000000"))
HOUR_S, MONTH_S = 3600.0, 30 * 86_400.0
UUID = "0b8e4d3a-6c1f-4e0a-9d57-1f2e3d4c5b6a"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    return berth_rows(tmp_path_factory.mktemp("berth"), MINUTES)


def span_s(rows: list[Entry]) -> float:
    return (rows[-1].t_ns - rows[0].t_ns) / 1e9


def grouped(rows: list[Entry], seconds: float) -> Iterator[list[Entry]]:
    """The rows of each so many seconds, one lane after the other, as they are sealed."""
    groups: dict[tuple[int, int], list[Entry]] = {}
    for entry in rows:
        groups.setdefault((int(entry.t_ns // (seconds * 1e9)), wire.LANES.index(entry.lane)), []).append(entry)
    for group in groups.values():
        for at in range(0, len(group), ROWS_IN_BATCH):
            yield group[at : at + ROWS_IN_BATCH]


def wire_bytes(rows: list[Entry], seconds: float) -> tuple[float, float]:
    """Bytes of MQTT payload per value: as they are, and deflated."""
    plain = deflated = 0
    for number, group in enumerate(grouped(rows, seconds), 1):
        body = wire.body_of(entry.line for entry in group)
        lane = group[0].lane
        header = wire.Header("demo-port", "gw-quay-1", UUID, number, lane, len(group), wire.crc32(body))
        payload = wire.encode_batch(header, body)
        plain += len(payload)
        deflated += len(zlib.compress(payload, 6))
    values = sum(values_in(entry.line) for entry in rows)
    return plain / values, deflated / values


def test_bytes_per_value_on_the_wire(benchmark: BenchmarkFixture, rows: list[Entry]) -> None:
    cases = {
        "each flush of 0.5 s": 0.5,
        "each 5 s": 5.0,
        "each 10 s (collect_s)": 10.0,
        "each 30 s": 30.0,
        "a backlog": 1e6,
    }
    found = benchmark.pedantic(lambda: {name: wire_bytes(rows, s) for name, s in cases.items()}, rounds=1)
    per_s = sum(values_in(entry.line) for entry in rows) / span_s(rows)
    print(f"\nberth, {len(rows)} rows, {per_s:.0f} values/s; bytes per value (aim: under 6 deflated)")
    print(f"{'sealed':24s}{'plain':>8s}{'deflated':>10s}{'ratio':>8s}{'MB/month':>10s}")
    for name, (plain, deflated) in found.items():
        month = deflated * per_s * MONTH_S / 1e6
        print(f"{name:24s}{plain:8.1f}{deflated:10.2f}{plain / deflated:8.1f}{month:10.0f}")


def written_bytes() -> int:
    """What this process has had written to block devices."""
    text = Path("/proc/self/io").read_text()
    return int(text.split("write_bytes: ")[1].split("\n")[0])


def keep(path: Path, rows: list[Entry], flush_s: float) -> tuple[int, int]:
    """The rows go through a spool as an agent does it whose shore confirms at once. Bytes written, commits."""
    spool, before, commits, state = Spool(path), written_bytes(), 0, b"s" * 30_000
    flushes: dict[int, list[Entry]] = {}
    for entry in rows:
        flushes.setdefault(int(entry.t_ns // (flush_s * 1e9)), []).append(entry)
    minute, receipts = 0, list[wire.Receipt]()
    for tick, entries in flushes.items():
        is_minute = int(tick * flush_s // 60) != minute
        minute = int(tick * flush_s // 60)
        done = spool.commit(entries, state if is_minute else None, (), 0, 0, receipts, wire.LANES)
        receipts = [wire.Receipt(spool.id, s.id, s.crc32, s.rows) for s in done.sealed]
        commits += 1
    spool.close()
    return written_bytes() - before, commits


def test_bytes_written_per_hour(benchmark: BenchmarkFixture, rows: list[Entry], tmp_path: Path) -> None:
    figures = benchmark.pedantic(
        lambda: {flush_s: keep(tmp_path / f"{flush_s}.db", rows, flush_s) for flush_s in (0.5, 5.0)}, rounds=1
    )
    text = sum(len(entry.line) + 1 for entry in rows)
    print(f"\nwritten to the disk in an hour; the rows themselves are {text / span_s(rows) * HOUR_S / 1e6:.1f} MB")
    for flush_s, (size, commits) in figures.items():
        per_h = HOUR_S / span_s(rows)
        print(f"flush_s = {flush_s:3.1f}: {size * per_h / 1e6:7.1f} MB/h, {commits * per_h:7.0f} syncs/h, "
              f"{size / text:5.1f} bytes for each byte of a row")  # fmt: skip
    print(f"ratio: {figures[0.5][0] / figures[5.0][0]:.1f}")


def test_a_full_spool_costs_disk_not_memory(
    benchmark: BenchmarkFixture, rows: list[Entry], tmp_path: Path
) -> None:
    (tmp_path / "sample").write_bytes(pickle.dumps(rows))
    root = Path(__file__).resolve().parent.parent
    command = [
        sys.executable,
        Path(__file__).with_name("spool_fill.py"),
        tmp_path / "spool.db",
        tmp_path / "sample",
        str(ROWS),
    ]
    env = os.environ | {"PYTHONPATH": str(root)}
    done = benchmark.pedantic(
        lambda: subprocess.run(command, env=env, capture_output=True, text=True, check=True), rounds=1
    )
    tenths = [json.loads(line) for line in done.stdout.splitlines()]
    first, last = tenths[0], tenths[-1]
    per_row = last["file"] / last["rows"]
    per_s = len(rows) / span_s(rows)
    month = per_s * MONTH_S * per_row
    fill_us, grown = 1e6 * last["s"] / last["rows"], last["rss"] / first["rss"]
    print(f"\n{last['waiting']:,} rows wait: {last['file'] / 1e6:.0f} MB, {per_row:.1f} bytes a row")
    print(f"memory after a tenth {first['rss'] / 1e6:.1f} MB, full {last['rss'] / 1e6:.1f} MB: × {grown:.2f}")
    print(f"{fill_us:.0f} µs a row to fill")
    most = SpoolConfig().max_mib * 2**20
    days = most / (per_s * per_row) / 86_400
    print(f"30 days of this berth ({per_s:.1f} rows/s): {month / 2**20:.0f} MiB")
    print(f"spool.max_mib = {most // 2**20} holds {days:.0f} days, or 30 days of {most / month:.1f} such berths")
    assert last["waiting"] == ROWS
    assert last["rss"] - first["rss"] < 4e6
