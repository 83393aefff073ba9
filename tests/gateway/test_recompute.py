"""Recomputed from the store: what the edge told row by row, revisions where rows or a journal say otherwise."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edge_rows import NS, START_NS, a_call, load, row
from typer.testing import CliRunner

from drivers.row import Quality, Row, empty_row
from edge import wire
from edge.config import LoadedSite, catalogue
from edge.pipeline import Pipeline
from gateway.book import Book
from gateway.journal import NewEntry
from gateway.recompute import Meter, recompute_minutes, write
from gateway.recompute_calls import Place, recompute_calls
from gateway.recompute_cli import recompute
from gateway.store.sqlite import SqliteStore

pytestmark = pytest.mark.usefixtures("kernels")
MINUTE_NS = 60 * NS
STOP_NS = START_NS + 3600 * NS
Scan = tuple[str, Row]


class Shore:
    """A store and a book that hold what a gateway has sent."""

    def __init__(self, folder: Path, loaded: LoadedSite) -> None:
        self.folder, self.loaded = folder, loaded
        self.store, self.book = SqliteStore(folder / "store.db"), Book(folder / "book.db")
        self.book.put_catalogue(catalogue(loaded))
        self.types = self.book.field_types("port", "gw") or {}
        self.file = folder / "shore.toml"
        self.file.write_text('schema = 1\n[store]\nurl = "sqlite:store.db"\n[book]\npath = "book.db"\n')

    def take(self, entries: list[str]) -> None:
        assert self.store.write([wire.decode_row(line) for line in entries], self.types) == []

    def fed(self, scans: Iterator[Scan] | list[Scan]) -> Pipeline:
        pipeline = Pipeline(self.loaded)
        for device, scan in scans:
            pipeline.take(device, scan)
        self.take([e.line for e in pipeline.entries])
        return pipeline

    def meter(self) -> Meter:
        (found,) = self.book.catalogues()
        device = next(d for d in found.devices if d["name"] == "meter")
        return Meter.of(found, device, self.book.journal("port"))

    def place(self) -> Place:
        (found,) = self.book.catalogues()
        return Place.of(found, next(d for d in found.devices if d["name"] == "charger"))

    def minutes(self) -> dict[int, dict[str, float]]:
        names = list(wire.COMPUTED["energy_1m"])
        there = self.store.columns("energy_1m", "meter", names, START_NS - MINUTE_NS, STOP_NS, "port")
        return {
            int(t): {name: float(there[name][i]) for name in names} | {"rev": int(there.rev[i])}
            for i, t in enumerate(there.t_ns)
        }

    def run(self, *options: str) -> tuple[int, str]:
        import typer

        app = typer.Typer()
        app.command()(recompute)
        result = CliRunner().invoke(app, ["--shore", str(self.file), *options])
        return result.exit_code, result.output


@pytest.fixture
def shore(tmp_path: Path) -> Iterator[Shore]:
    found = Shore(tmp_path, load(tmp_path))
    yield found
    found.store.close()
    found.book.close()


def scans(loaded: LoadedSite, seconds: int = 1500) -> list[Scan]:
    """Tower, meter and battery with holes, and a silence that the poller saw."""
    rows = [(d, r) for d, r in a_call(loaded, 2, seconds) if d != "lock"]
    rows.append(
        ("meter", empty_row(len(loaded.profiles["meter"].points), START_NS + 400 * NS + 7, Quality.NO_ANSWER))
    )
    return sorted(rows, key=lambda one: one[1].t_ns)


def test_nothing_new_gives_no_revision(shore: Shore) -> None:
    """Row for row the same as the edge told: minutes and calls."""
    shore.fed(scans(shore.loaded))
    outcome = recompute_minutes(shore.store, shore.meter(), START_NS + 3 * MINUTE_NS, STOP_NS)
    assert outcome.computed >= 19 and outcome.rows > 1000
    assert (outcome.lines, outcome.kept, outcome.events) == ([], 0, [])
    told = recompute_calls(shore.store, shore.place(), START_NS, STOP_NS)
    assert (told.computed, told.lines, told.kept, told.absent) == (1, [], 0, 0)


def test_rows_that_the_edge_could_not_count_are_counted_ashore(tmp_path: Path) -> None:
    """They reached the store hours later: minutes and call become those of a gateway that missed nothing."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, late = (Shore(tmp_path / part, load(tmp_path / part)) for part in ("a", "b"))
    whole.fed(scans(whole.loaded))
    lost = [
        s for s in scans(late.loaded) if s[0] in ("meter", "charger") and 500 <= (s[1].t_ns - START_NS) / NS < 900
    ]
    ids = {id(scan) for _, scan in lost}
    assert ids
    kept = [
        s
        for s in scans(late.loaded)
        if not (s[0] in ("meter", "charger") and 500 <= (s[1].t_ns - START_NS) / NS < 900)
    ]
    late.fed(kept)
    only = Pipeline(late.loaded)
    for device, scan in lost:
        only.take(device, scan)
    late.take([e.line for e in only.entries if e.line.startswith(("meter,", "charger,"))])
    outcome = recompute_minutes(late.store, late.meter(), START_NS - MINUTE_NS, STOP_NS)
    assert write(late.store, outcome.lines, late.types) == []
    expected, found = whole.minutes(), late.minutes()
    revised = {t for t, m in found.items() if m.pop("rev") >= 1000}
    assert {line.t_ns for line in outcome.lines} == revised and len(revised) >= 6
    for minute in expected.values():
        minute.pop("rev")
    assert str(found) == str(expected)
    calls = recompute_calls(late.store, late.place(), START_NS, STOP_NS)
    (told,) = recompute_calls(whole.store, whole.place(), START_NS, STOP_NS).lines or [None]
    assert told is None
    (call,) = calls.lines
    there = whole.store.columns("session", "charger", ["covered_s", "energy_wh"], START_NS, STOP_NS)
    assert (call.fields["covered_s"], call.fields["energy_wh"]) == (there["covered_s"][0], there["energy_wh"][0])
    assert call.tags["rev"] == "1000" and call.tags["vessel"] == "ferry-aurelie"
    for shore in (whole, late):
        shore.store.close()
        shore.book.close()


def a_replaced_meter(loaded: LoadedSite) -> list[Scan]:
    """2 s rows at 90 kW: at second 400 another meter counts from 17 Wh, at 25 Wh a second as before."""
    return [
        ("meter", row(loaded, "meter", START_NS + s * NS, power_w=90e3, energy_import_total_wh=float(
            5_000_000 + 25 * s if s < 400 else 17 + 25 * (s - 400))))
        for s in range(1, 1400, 2)
    ]  # fmt: skip


def replacement(shore: Shore, **indices: int) -> None:
    at = np.datetime_as_string(np.datetime64(START_NS + 400 * NS, "ns"), unit="s")
    parts = ", ".join(f'"{name}": {wh}' for name, wh in indices.items())
    body = f'{{"meter": "meter", "at": "{at}Z"{", " + parts if parts else ""}}}'
    shore.book.write_journal([NewEntry("port", "meter_replacement", body, "A. Martin", "verification")], 1)


def test_a_meter_replacement_entered_ashore_loses_no_energy(shore: Shore) -> None:
    shore.fed(a_replaced_meter(shore.loaded))
    assert sum(m["integrated_wh"] for m in shore.minutes().values()) > 0, "the edge saw a reset"
    replacement(shore, closing_import_wh=5_010_000, opening_import_wh=17)
    code, text = shore.run("--device", "meter", "--from", "2026-09-21T14:00Z", "--to", "2026-09-21T15:00Z")
    assert code == 0, text
    assert "replaced 5010000 Wh -> 17 Wh" in text
    found = shore.minutes()
    assert {m["import_wh"] for t, m in found.items() if t >= START_NS} == {1500}
    assert {m["epoch"] for m in found.values()} == {0, 1}
    assert all(m["integrated_wh"] == 0 and m["estimated_wh"] == 0 for m in found.values())
    assert max(m["rev"] for m in found.values()) == 1000
    again = shore.run("--device", "meter", "--from", "2026-09-21T14:00Z", "--to", "2026-09-21T15:00Z")
    assert again[0] == 0 and " 0 revisions written" in again[1]


def test_a_replacement_without_indices_is_not_applied_and_says_so(shore: Shore) -> None:
    shore.fed(a_replaced_meter(shore.loaded))
    replacement(shore)
    code, text = shore.run("--device", "meter", "--from", "2026-09-21", "--to", "2026-09-22", "--dry-run")
    assert code == 3
    assert "replacement refused" in text and "both indices must be given" in " ".join(text.split())


def test_minutes_whose_rows_are_gone_stay_as_they_are(shore: Shore, tmp_path: Path) -> None:
    pipeline = Pipeline(shore.loaded)
    for device, scan in scans(shore.loaded):
        pipeline.take(device, scan)
    gone = range(600, 800)
    shore.take([
        e.line for e in pipeline.entries
        if not (e.line.startswith("meter,") and (e.t_ns - START_NS) // NS in gone)
    ])  # fmt: skip
    before = shore.minutes()
    code, text = shore.run("--device", "meter", "--from", "2026-09-21", "--to", "2026-09-22")
    assert code == 3 and "left as they are" in text
    assert shore.minutes() == before


def test_calls_that_the_rows_deny_are_withdrawn(shore: Shore) -> None:
    shore.fed(scans(shore.loaded))
    fields = {name: 0 for name, type_ in wire.COMPUTED["session"].items() if type_ == "int"}
    fields |= {"start_ns": START_NS + 1400 * NS, "end_ns": START_NS + 1450 * NS}
    tags = {"site": "port", "gateway": "gw", "device": "charger", "origin": "real", "rev": "0"}
    shore.store.write([wire.RowLine("session", tags, fields, START_NS + 1400 * NS)], shore.types)
    (line,) = recompute_calls(shore.store, shore.place(), START_NS, STOP_NS).lines
    assert (line.t_ns, line.tags["rev"], line.fields["withdrawn"]) == (START_NS + 1400 * NS, "1000", 1)
    assert write(shore.store, [line], shore.types) == []
    assert recompute_calls(shore.store, shore.place(), START_NS, STOP_NS).lines == []


def test_a_year_comes_in_parts_that_make_no_difference(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    shore.fed(scans(shore.loaded))
    monkeypatch.setattr("gateway.recompute.PART_NS", 97 * NS)
    monkeypatch.setattr("gateway.recompute.LOOKS_NS", (3600 * NS, 5000 * NS))
    outcome = recompute_minutes(shore.store, shore.meter(), START_NS + 3 * MINUTE_NS, STOP_NS)
    assert outcome.computed >= 19 and outcome.lines == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--device", "nobody", "--from", "2026-09-21"), "is in no catalogue; devices: bms, charger, lock, meter"),
        (("--device", "bms", "--from", "2026-09-21"), "is a battery; only minutes of a meter and calls"),
        (("--device", "meter", "--from", "yesterday"), "--from yesterday"),
        (("--device", "meter", "--from", "2026-09-21", "--to", "2026-09-20"), "is not after --from"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(shore: Shore, options: tuple[str, ...], told: str) -> None:
    code, text = shore.run(*options)
    assert code == 2
    assert told in " ".join(text.split())


def test_numbers_of_a_minute_are_whole_where_the_wire_has_them_whole(shore: Shore) -> None:
    shore.fed(a_replaced_meter(shore.loaded))
    replacement(shore, closing_import_wh=5_010_000, opening_import_wh=17)
    lines = recompute_minutes(shore.store, shore.meter(), START_NS, STOP_NS).lines
    assert lines and [wire.problem_with(line, shore.types) for line in lines] == [None] * len(lines)
    assert all(math.isfinite(v) for line in lines for v in line.fields.values() if isinstance(v, float))
