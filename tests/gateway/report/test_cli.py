"""`bollard report` and `bollard export` as a person calls them."""

import csv
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gateway.report.cli import app as report_app
from gateway.report.cli import export_command

app = typer.Typer()
app.add_typer(report_app, name="report")
app.command("export")(export_command)


@pytest.fixture
def shore(demo: Any, tmp_path: Path) -> Path:
    file = tmp_path / "shore.toml"
    file.write_text('schema = 1\n[store]\nurl = "sqlite:store.db"\n[book]\npath = "book.db"\n')
    return file


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_thin_month_is_written_and_ends_with_3(shore: Path, tmp_path: Path) -> None:
    result = call("report", "2026-10", "--site", "demo-port", "--shore", shore, "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    ends = ("fr.pdf", "fr.xlsx", "csv", "json", "fr.html", "fr.md")
    paths = [tmp_path / "out" / f"report-demo-port-2026-10.{end}" for end in ends]
    assert result.stdout.split() == [str(path) for path in paths]
    assert paths[-1].read_text(encoding="utf-8").startswith("# Rapport mensuel énergie et CO₂")
    assert "the report covers 0.15% of 2026-10, less than 99 %" in result.stderr


def test_one_format_and_language_can_be_chosen(shore: Path, tmp_path: Path) -> None:
    words = ("--site", "demo-port", "--shore", shore, "--out", tmp_path, "--lang", "en", "--format", "md")
    assert call("report", "2026-10", *words).stdout == f"{tmp_path}/report-demo-port-2026-10.en.md\n"


@pytest.mark.parametrize(
    ("month", "site", "code", "message"),
    [
        ("2026-13", "demo-port", 2, "month '2026-13' is not a month; give year and month, as in 2026-10"),
        ("2026-10", "calais", 2, "site 'calais' has no rows in the store; sites there: demo-port"),
        ("2026-09", "demo-port", 3, "ask for a month between them"),
    ],
)
def test_a_wrong_question_gets_one_sentence(
    shore: Path, tmp_path: Path, month: str, site: str, code: int, message: str
) -> None:
    result = call("report", month, "--site", site, "--shore", shore, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_store_is_not_made(shore: Path, tmp_path: Path) -> None:
    other = tmp_path / "nothing.db"
    result = call("report", "2026-10", "--site", "demo-port", "--shore", shore, "--store", f"sqlite:{other}")
    assert result.exit_code == 2 and "nothing.db" in result.stderr and not other.exists()


def test_a_folder_that_is_a_file_gets_one_sentence(shore: Path) -> None:
    result = call("report", "2026-10", "--site", "demo-port", "--shore", shore, "--out", shore)
    assert result.exit_code == 2 and f"{shore}: File exists; give a folder" in result.stderr


def exported(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def export(shore: Path, out: Path, kind: str, start: str, stop: str, *more: str) -> Result:
    words = ("--kind", kind, "--from", start, "--to", stop, "--out", out)
    return call("export", "--site", "demo-port", "--shore", shore, *words, *more)


def test_export_writes_minutes_with_units_in_the_names(shore: Path, tmp_path: Path) -> None:
    out = tmp_path / "minutes.csv"
    result = export(shore, out, "energy_1m", "2026-10-14", "2026-10-15")
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    rows = exported(out)
    assert len(rows) == 75 and sum(int(row["import_wh"]) for row in rows) == 4_357_174
    assert rows[0]["time_utc"] == "2026-10-14T06:02:00Z" and rows[0]["covered_s"] == "60.0"
    assert (rows[0]["device"], rows[0]["origin"], rows[0]["rev"]) == ("meter-1", "sim", "0")


def test_export_leaves_out_the_last_instant_and_unknown_values(shore: Path, tmp_path: Path) -> None:
    out = tmp_path / "locks.csv"
    result = export(shore, out, "lock_cycle", "2026-10-14T08:02", "2026-10-14T08:52")
    assert result.exit_code == 0
    rows = exported(out)
    assert [row["direction"] for row in rows] == ["down", "up"]
    assert rows[0]["entry_s"] == "" and rows[0]["volume_m3"] == "8502.5"
    assert int(rows[0]["end_ns"]) % 10**9 == 0  # not rounded by way of a float


@pytest.mark.parametrize(
    ("kind", "start", "stop", "code", "message"),
    [
        (
            "energy_2m",
            "2026-10-14",
            "2026-10-15",
            2,
            "no kind 'energy_2m'; kinds there: energy_1m, lock_cycle, session",
        ),
        ("energy_1m", "yesterday", "2026-10-15", 2, "--from 'yesterday' is not a time"),
        ("energy_1m", "2026-10-15", "2026-10-14", 2, "is not before"),
        ("energy_1m", "2026-09-14", "2026-09-15", 3, "has no energy_1m from 2026-09-14 to 2026-09-15"),
    ],
)
def test_export_explains_what_it_cannot_do(
    shore: Path, tmp_path: Path, kind: str, start: str, stop: str, code: int, message: str
) -> None:
    out = tmp_path / "out.csv"
    result = export(shore, out, kind, start, stop)
    assert result.exit_code == code and message in result.stderr
    assert list(tmp_path.glob("out.csv*")) == []
