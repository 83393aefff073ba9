"""truth.csv, and pictures of what happened."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firmware_sim.bench import Bench
from firmware_sim.cli import app
from firmware_sim.scenario import load_scenario
from firmware_sim.truth import NS, truth_row


def test_a_row_says_what_the_control_port_says() -> None:
    bench = Bench(load_scenario("channel-berth"))
    row, truth = truth_row(bench, 3600 * NS, 0), bench.truth(3600 * NS, 0)
    assert row["time_s"] == 3600.0
    assert row["berth-1.soc"] == truth["soc"]
    assert row["berth-1.power_w"] > 25e6
    assert row["meter-1.import_wh"] == truth["registers"]["meter-1"]
    assert row["point-1.power_w"] > row["berth-1.power_w"]


def test_truth_csv_has_a_line_per_instant_and_nothing_for_unknown(tmp_path: Path) -> None:
    out = tmp_path / "truth.csv"
    done = CliRunner().invoke(
        app, ["truth", "port-day", "--out", str(out), "--span-s", "7200", "--every-s", "600"]
    )
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    rows = list(csv.DictReader(out.open()))
    assert [float(row["time_s"]) for row in rows] == [600.0 * k for k in range(13)]
    assert rows[0]["berth-1.soc"] == ""
    assert {"lock-1.level_chamber_m", "lock-2.phase", "delivery-1.import_wh", "berth-3.state"} <= rows[0].keys()
    assert rows[0]["utc"] == "2027-06-01T00:00:00Z"


def test_a_served_run_writes_its_truth_too(tmp_path: Path) -> None:
    out = tmp_path / "truth.csv"
    run = ["run", "demo-port", "--speed", "600", "--truth", str(out), "--duration-s", "1800"]
    done = subprocess.run(
        [sys.executable, "-m", "firmware_sim.cli", *run], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout.removeprefix("ready "))["control"]
    rows = list(csv.DictReader(out.open()))
    assert len(rows) >= 5
    assert all(float(row["berth-1.soc"]) > 0 for row in rows)


def test_a_scenario_that_is_not_there_ends_with_2() -> None:
    for command in ("truth", "picture"):
        done = CliRunner().invoke(app, [command, "moon"])
        assert (done.exit_code, "not known; use canal-lock" in done.output) == (2, True)


@pytest.mark.parametrize(("scenario", "plant"), [("channel-berth", "berth-1"), ("canal-lock", "lock-1")])
def test_a_picture_is_a_png(tmp_path: Path, scenario: str, plant: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra sim")
    out = tmp_path / "picture.png"
    done = CliRunner().invoke(app, ["picture", scenario, "--plant", plant, "--out", str(out), "--span-s", "7200"])
    assert done.exit_code == 0, done.output
    assert out.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["picture", "canal-lock", "--plant", "crane", "--out", str(tmp_path / "p.png")])
    assert (done.exit_code, "use lock-1" in done.output) == (2, True)
