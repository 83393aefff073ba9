"""A meter's raw rows out of SQLite, through the ledger, beside what is published. `make bench`."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import wire
from edge.config import catalogue
from gateway.book import Book
from gateway.recompute import Meter, recompute_minutes, write
from gateway.store.sqlite import SqliteStore

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from edge_rows import NS, START_NS, load  # a site with a meter

DAYS = 2
YEAR_ROWS = 365 * 86_400


@pytest.mark.benchmark(group="recompute: two days of a meter at 1 Hz, nothing new")
def test_a_year_of_raw_rows_in_seconds(benchmark: Any, tmp_path: Path, ratios: Any) -> None:
    """Measured over two days, per row; the year is that many times as long. Processor time: it is one thread."""
    store, book = SqliteStore(tmp_path / "store.db"), Book(tmp_path / "book.db")
    book.put_catalogue(catalogue(load(tmp_path)))
    (found,) = book.catalogues()
    meter = Meter.of(found, next(d for d in found.devices if d["name"] == "meter"), ())
    types, rng = book.field_types("port", "gw") or {}, np.random.default_rng(1)
    power_w = rng.uniform(0.0, 1e7, DAYS * 86_400)
    register_wh = np.floor(1e9 + np.cumsum(power_w) / 3600).astype(int)
    tags = {"site": "port", "gateway": "gw", "device": "meter", "origin": "sim"}
    for k in range(0, len(power_w), 8640):
        rows = zip(
            range(k, k + 8640), power_w[k : k + 8640].tolist(), register_wh[k : k + 8640].tolist(), strict=True
        )
        store.write([
            wire.RowLine("meter", tags, {"power_w": p, "energy_import_total_wh": r}, START_NS + i * NS)
            for i, p, r in rows
        ], types)  # fmt: skip
    stop_ns = START_NS + len(power_w) * NS
    first = recompute_minutes(store, meter, START_NS, stop_ns)
    write(store, first.lines, types)
    spent = []

    def again() -> None:
        start = time.process_time()
        outcome = recompute_minutes(store, meter, START_NS, stop_ns)
        spent.append((time.process_time() - start) / outcome.rows)
        assert outcome.lines == [] and outcome.computed > DAYS * 1439

    benchmark.pedantic(again, rounds=3)
    ratios.add("recompute, a raw row", "s", min(spent))
    ratios.add("recompute, a year at 1 Hz (from two days)", "s", min(spent) * YEAR_ROWS, aim="seconds")
    store.close()
    book.close()
