"""`bollard battery`: fit and run over recordings, and what it says about files that cannot be."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dsp.cell import load_cell
from gateway.battery import accuracy
from gateway.battery_cli import app

KEYS = ("rmse", "mae", "max_error", "within_5_percent_s", "coverage_95", "capacity_ah", "defects", "ns_per_step")


def bollard(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def write(path: Path, columns: dict[str, Any]) -> Path:
    lines = [",".join(columns)]
    lines += [",".join("" if v != v else f"{v:.6g}" for v in row) for row in zip(*columns.values(), strict=True)]
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def drive(seconds: int = 1800) -> dict[str, Any]:
    """One cell, discharged at C/2 from 80 %, its voltage at rest less a resistance."""
    cell, t = load_cell("nmc"), np.arange(float(seconds))
    current = np.full(seconds, -0.5 * cell.capacity_ah)
    soc = 0.8 + np.cumsum(current) / 3600 / cell.capacity_ah
    volts = np.interp(soc, np.linspace(0, 1, 101), cell.ocv_v) + 0.06 * current
    return {
        "time_s": t,
        "voltage_v": volts,
        "current_a": current,
        "temp_c": np.full(seconds, 25.0),
        "soc_ref": soc,
    }


def test_a_run_prints_every_figure_as_json(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    file = write(tmp_path / "drive.csv.gz", drive())
    result = bollard("run", "--cell", "nmc", "--recording", file, "--start-soc", 0.5, "--json", "--csv", out)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert set(KEYS) <= set(figures)
    assert figures["rmse"] < 0.02 and figures["defects"] == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "time_s,soc,soc_low,soc_high,capacity_ah,truth" and len(lines) == 1801


def test_without_a_truth_there_are_no_accuracy_figures(tmp_path: Path) -> None:
    columns = drive(700)
    del columns["soc_ref"]
    file = write(tmp_path / "drive.csv", columns)
    figures = json.loads(bollard("run", "--cell", "nmc", "--recording", file, "--json").stdout)
    assert "rmse" not in figures and figures["ns_per_step"] > 0
    assert "no truth" in bollard("run", "--cell", "nmc", "--recording", file).stdout


def test_a_pack_with_other_names_is_read(tmp_path: Path) -> None:
    columns = drive()
    pack = {
        "t": columns["time_s"], "u": 100 * columns["voltage_v"], "i": 20 * columns["current_a"],
        "z": columns["soc_ref"],
    }  # fmt: skip
    file = write(tmp_path / "pack.csv", pack)
    words = ("run", "--cell", "nmc", "--recording", file, "--columns", "time=t,voltage=u,current=i,truth=z")
    result = bollard(
        *words, "--series", 100, "--parallel", 20, "--json", "--every-s", 5, "--from-s", 10, "--to-s", 1700
    )
    figures = json.loads(result.stdout)
    assert figures["rmse"] < 0.02 and figures["rows"] == pytest.approx(338, abs=2)
    assert figures["capacity_ah"] == pytest.approx(20 * load_cell("nmc").capacity_ah, rel=0.1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"voltage_v": None}, "no column for voltage=voltage_v"),
        ({"voltage_v": 1000.0}, "looks like mV"),
        ({"current_a": 1000.0}, "convert mA"),
        ({"soc_ref": 100.0}, "give a fraction 0..1, not percent"),
        ({"temp_c": 12.0}, "if it is K"),
        ({"time_s": -1.0}, "time goes backward"),
        ({"time_s": 0.0}, "time stands still"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    columns = drive(700)
    for name, factor in change.items():
        if factor is None:
            del columns[name]
        else:
            columns[name] = columns[name] * factor
    result = bollard("run", "--cell", "nmc", "--recording", write(tmp_path / "bad.csv", columns))
    assert result.exit_code == 2 and text in result.output
    assert "Traceback" not in result.output


def test_a_separator_other_than_a_comma_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "drive.csv", drive(700))
    file.write_text(file.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    result = bollard("run", "--cell", "nmc", "--recording", file)
    assert result.exit_code == 2 and "apart by semicolons" in result.output


def test_a_drive_is_no_open_circuit_recording(tmp_path: Path) -> None:
    file = write(tmp_path / "drive.csv", drive(700))
    result = bollard("fit", "--ocv", f"{file}@25", "--pulse", f"{file}@25", "--out", tmp_path / "x.toml")
    assert result.exit_code == 2 and "an open-circuit recording spans 0.8 or more" in result.output


def test_a_log_full_of_defects_gives_numbers_and_counts_them(tmp_path: Path) -> None:
    columns = drive()
    rng = np.random.default_rng(5)
    for name in ("voltage_v", "current_a", "temp_c"):
        columns[name][rng.integers(100, 1700, 20)] = np.nan
    columns["voltage_v"][900] = 9.0
    columns["time_s"][1000:] -= 40.0  # the clock is set back
    columns["time_s"][1400:] += 7200.0  # and a long hole
    file = write(tmp_path / "drive.csv", columns)
    result = bollard("run", "--cell", "nmc", "--recording", file, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    kinds = figures["defects_by_kind"]
    assert kinds["unknown"] >= 35 and kinds["rejected"] == 1 and kinds["out_of_order"] >= 1 and kinds["gaps"] == 1
    assert figures["defects"] == sum(kinds.values())
    assert figures["max_error"] is not None and np.isfinite(figures["soc_end"])


def test_a_plot_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    file = write(tmp_path / "drive.csv", drive(700))
    result = bollard("run", "--cell", "nmc", "--recording", file, "--plot", tmp_path / "p.png")
    assert result.exit_code == 2 and "pip install matplotlib" in result.output


def test_the_time_within_5_percent_is_the_time_after_the_last_larger_error() -> None:
    t, truth = np.arange(10.0), np.zeros(10)
    found = np.array([0.3, 0.2, 0.01, 0.2, 0.01, 0.01, 0.0, 0.0, 0.0, 0.0])
    assert accuracy(t, found, found, found, truth, 0.0)["within_5_percent_s"] == 4.0
    assert accuracy(t, found + 0.1, found, found, truth, 0.0)["within_5_percent_s"] is None


def test_a_missing_file_and_a_bad_temperature_are_named(tmp_path: Path) -> None:
    there = write(tmp_path / "a.csv", drive(700))
    for ocv, text in ((tmp_path / "no.csv", "no such file"), (f"{there}@warm", "no temperature")):
        result = bollard("fit", "--ocv", ocv, "--pulse", there, "--out", tmp_path / "c.toml")
        assert result.exit_code == 2 and text in result.output


@pytest.mark.shared
def test_fit_reads_scripts_and_tables_and_finds_capacity_and_offset(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "battery"
    out = tmp_path / "lfp.toml"
    ocv, drive_file = f"{data}/a123/ocv_25degC.csv.gz@25", f"{data}/a123/dyn_25degC.csv.gz@25"
    result = bollard("fit", "--ocv", ocv, "--pulse", drive_file, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["chemistry"] == "LFP" and figures["capacity_ah"] == pytest.approx(2.05, rel=0.005)
    words = ("--ocv", f"{data}/lfp_plateau/ocv_branches.csv.gz@25", "--pulse", drive_file, "--capacity-ah", 1.2)
    assert bollard("fit", *words, "--out", out).exit_code == 0
    assert load_cell(out).capacity_ah == 1.2 and load_cell(out).half_gap_v[50] == pytest.approx(0.019, abs=0.002)
    files = []
    for name, temp_c in (("25degC", 25), ("n10degC", -10)):
        files += ["--ocv", f"{data}/lg_hg2/ocv_c20_{name}.csv.gz@{temp_c}"]
        files += ["--pulse", f"{data}/lg_hg2/hppc_{name}.csv.gz@{temp_c}"]
    figures = json.loads(bollard("fit", *files, "--out", out, "--json").stdout)
    found = {curve["temp_c"]: curve["capacity_ah"] for curve in figures["curves"]}
    assert found[25] == pytest.approx(2.871, abs=0.01) and found[-10] == pytest.approx(2.725, abs=0.02)
