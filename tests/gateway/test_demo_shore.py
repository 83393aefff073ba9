"""A shore side that is killed twice in the middle of a call, and what its store holds in the end.

The store is InfluxDB where there is one, else SQLite.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import influxd
from demo_run import LATE_KWH, SPEED, Figures, demo, finish, kill
from servers.influx import InfluxServer

from edge import wire
from gateway.book import Book
from gateway.config import load_shore
from gateway.report.html import render_html
from gateway.report.markdown import render_markdown
from gateway.report.model import build
from gateway.store import UNKNOWN, Store, open_store


@dataclass(frozen=True)
class Run:
    out: Path
    figures: Figures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    out = tmp_path_factory.mktemp("demo")
    options, env = [], {}
    if influxd():
        access = request.getfixturevalue("influx_server").access
        options = ["--influx", access.url, "--org", access.org, "--bucket", "demo"]
        env = {"BOLLARD_INFLUX_TOKEN": access.token}
    with demo(out, *options, env=env) as process:
        kill(process, out, [("shore", 20.0), ("shore", 40.0)], SPEED)
        return Run(out, finish(process, out))


def test_a_killed_shore_changes_no_figure(run: Run) -> None:
    figures = run.figures
    assert figures.lost_and_doubled == (0, 0)
    assert figures.minutes_kwh == pytest.approx(figures.plant_kwh, abs=LATE_KWH)
    assert figures.number(r"call 1: ([\d,.]+) kWh by register") == pytest.approx(figures.plant_kwh, rel=0.01)
    assert abs(figures.number(r"difference ([+-][\d.]+) %")) < 0.5


@pytest.mark.influx
def test_influxdb_gives_the_same_report(
    run: Run, tmp_path: Path, influx_server: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = influx_server.access.token
    assert token not in "".join(path.read_text(errors="replace") for path in run.out.glob("*.toml"))
    monkeypatch.setenv("BOLLARD_INFLUX_TOKEN", token)
    influx = load_shore(run.out / "shore.toml").store.open()
    sqlite = open_store(f"sqlite:{tmp_path}/copy.db")
    book = Book(run.out / "book.db")
    copy_rows(influx, sqlite, book)
    for language in ("fr", "en"):
        for render in (render_markdown, render_html):
            first, second = (
                render(build(store, book, "2026-10", "demo-port"), language) for store in (influx, sqlite)
            )
            assert first == second
            assert "SIMULATION" in first
    for part in (influx, sqlite, book):
        part.close()


def copy_rows(source: Store, target: Store, book: Book) -> None:
    """All that a report reads, from one store into another."""
    catalogue = book.catalogue("demo-port", "gw-quay-1")
    assert catalogue is not None
    types = catalogue.field_types() | {(kind, ""): fields for kind, fields in wire.COMPUTED.items()}
    for series in source.series():
        device = series.tags.get("device")
        fields = types.get((series.kind, device or "")) or types[series.kind, ""]
        columns = source.columns(series.kind, device, list(fields), 0, 2**62, all_revisions=True)
        mine = [i for i in range(len(columns)) if all(columns.tags[t][i] == v for t, v in series.tags.items())]
        rows = []
        for i in mine:
            values: dict[str, wire.Value] = {}
            for name, kind in fields.items():
                if kind == "str" and columns.text[name][i] is not None:
                    values[name] = columns.text[name][i]
                elif kind == "int" and (whole := int(columns.whole(name)[i])) != UNKNOWN:
                    values[name] = whole
                elif kind == "float" and np.isfinite(columns[name][i]):
                    values[name] = float(columns[name][i])
            rows.append(wire.RowLine(series.kind, series.tags, values, int(columns.t_ns[i])))
        assert target.write(rows, types) == []
    assert target.count("demo-port", "gw-quay-1") == source.count("demo-port", "gw-quay-1")
