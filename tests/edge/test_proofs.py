"""A meter's rows are marked until they are plausible; the proof outlives a restart, not a change of settings."""

from pathlib import Path

import numpy as np
import pytest

from drivers.row import HISTORY, Quality, Row, empty_row
from edge import wire
from edge.config import LoadedSite
from edge.pipeline import Pipeline

NS = 1_000_000_000
SITE = """
schema = 1
[site]
name = "port"
gateway = "gw-1"
[broker]
host = "127.0.0.1"
[[device]]
name = "meter"
profile = "PROFILE"
host = "127.0.0.1"
origin = "test"
"""


def site(folder: Path, profile: str = "generic-meter", more: str = "") -> LoadedSite:
    file = folder / "site.toml"
    file.write_text(SITE.replace("PROFILE", profile) + more)
    return LoadedSite.load(file)


def scan(loaded: LoadedSite, second: int, **changed: float) -> Row:
    """A meter at 600 kW, power factor 0.8."""
    shown = {"power_w": 600_000.0, "frequency_hz": 50.0, "power_factor": 0.8}
    shown |= {"energy_import_total_wh": 1e9 + 500.0 * second / 3, "energy_export_total_wh": 0.0}
    for n in (1, 2, 3):
        shown |= {f"voltage_l{n}_v": 230.0, f"current_l{n}_a": 250_000 / 230.0}
    profile = loaded.profiles["meter"]
    row = empty_row(len(profile.points), 10**18 + second * NS, Quality.NOT_SCANNED)
    for name, value in (shown | changed).items():
        row.values[profile.index[name]] = value
        row.quality[profile.index[name]] = Quality.GOOD
    return row


def marked(pipeline: Pipeline) -> list[bool]:
    """Per row of the meter whether it says that something is unproven."""
    rows = [wire.decode_row(e.line) for e in pipeline.entries if e.line.startswith("meter,")]
    return ["2" in str(row.fields.get("q", "")) for row in rows]


def test_rows_become_good_and_no_event_is_made(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    pipeline = Pipeline(loaded)
    for second in range(30):
        pipeline.take("meter", scan(loaded, second))
    seen = marked(pipeline)
    assert seen[0] and not seen[-1]
    assert not any(entry.line.startswith("event,") for entry in pipeline.entries)


def test_an_implausible_meter_is_told_once_with_its_figures(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    pipeline = Pipeline(loaded)
    for second in range(40):
        pipeline.take("meter", scan(loaded, second, frequency_hz=5.0))
    events = [wire.decode_row(e.line) for e in pipeline.entries if e.line.startswith("event,")]
    assert [(e.tags["code"], e.tags["point"]) for e in events] == [("implausible", "frequency_hz")]
    assert events[0].fields == {"value": 5.0, "low": 49.0, "high": 51.0, "detail": "frequency"}
    assert all(marked(pipeline))
    types = wire.COMPUTED["event"]
    assert events[0].fields.keys() <= types.keys()


@pytest.mark.parametrize(("edit", "kept"), [("", True), ("# another day\n", False)])
def test_the_proof_is_kept_for_the_same_settings_only(tmp_path: Path, edit: str, kept: bool) -> None:
    loaded = site(tmp_path)
    first = Pipeline(loaded)
    for second in range(30):
        first.take("meter", scan(loaded, second))
    again = Pipeline(site(tmp_path, more=edit))
    again.resume(first.checkpoint(), [])
    again.take("meter", scan(loaded, 31))
    assert marked(again) == [not kept]


def test_rows_after_the_checkpoint_prove_as_they_did(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    first = Pipeline(loaded)
    for second in range(30):
        first.take("meter", scan(loaded, second))
    again = Pipeline(loaded)
    again.resume(None, [e.line for e in first.entries if e.line.startswith("meter,")])
    again.take("meter", scan(loaded, 31))
    assert marked(again) == [False]


def test_rows_of_the_past_are_marked_too_and_prove_nothing(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    pipeline = Pipeline(loaded)
    for second in range(30):
        past = scan(loaded, second)
        past.scan = HISTORY
        pipeline.take("meter", past)
    assert marked(pipeline) == 30 * [True]
    pipeline.take("meter", scan(loaded, 31))
    assert marked(pipeline)[-1]


def test_a_counter_with_fractions_travels_and_counts_as_whole_watt_hours(tmp_path: Path) -> None:
    loaded = site(tmp_path, "eastron-sdm630")
    pipeline = Pipeline(loaded)
    row = scan(loaded, 0, energy_import_total_wh=float(np.float32(1234.567)) * 1000)
    pipeline.take("meter", row)
    assert wire.decode_row(pipeline.entries[0].line).fields["energy_import_total_wh"] == 1_234_567
    assert row.values[loaded.profiles["meter"].index["energy_import_total_wh"]] == 1_234_567.0
