"""`bollard report` and `bollard export` as a person calls them."""

import csv
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gateway.report.cli import app as report_app
from gateway.report.export_cli import export_command

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
    ends = ("fr.pdf", "fr.xlsx", "csv", "ships.csv", "json", "fr.html", "fr.md")
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
        ("2026-13", "demo-port", 2, "period '2026-13' is no month, half-year or year; give one as in 2026-10"),
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


# Longer periods, several sites, the open series.


def grouped(shore: Path) -> Path:
    shore.write_text(shore.read_text() + '[[group]]\nname = "port"\nsites = ["demo-port"]\n')
    return shore


def test_a_half_year_of_a_site_is_rolled_up(shore: Path, tmp_path: Path) -> None:
    words = (
        "--site",
        "demo-port",
        "--shore",
        shore,
        "--out",
        tmp_path / "out",
        "--format",
        "md",
        "--format",
        "csv",
    )
    result = call("report", "2026-H2", *words)
    assert result.exit_code == 3, result.output
    names = [f"rollup-demo-port-2026-H2.{end}" for end in ("fr.md", "csv")]
    assert result.stdout.split() == [str(tmp_path / "out" / name) for name in names]
    assert "demo-port has no row in 2026-07: the totals are without it" in result.stderr
    assert "demo-port in 2026-10 is not complete" in result.stderr


def test_a_group_is_rolled_up_also_for_a_month(shore: Path, tmp_path: Path) -> None:
    words = ("--group", "port", "--shore", grouped(shore), "--out", tmp_path, "--lang", "en", "--format", "json")
    assert call("report", "2026-10", *words).stdout == f"{tmp_path}/rollup-port-2026-10.json\n"


def test_without_a_site_each_has_its_own_report(shore: Path, tmp_path: Path) -> None:
    result = call("report", "2026-10", "--shore", shore, "--out", tmp_path, "--format", "csv")
    assert result.stdout == f"{tmp_path}/report-demo-port-2026-10.csv\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("2026", "--group", "nord"), "group 'nord' is not in the shore file; groups there: port. Add [[group]]"),
        (("2026", "--group", "port", "--site", "demo-port"), "give either --site or --group, not both"),
        (("2026", "--site", "demo-port", "--site", "demo-port"), "--site demo-port stands twice"),
        (("2026-Q3", "--site", "demo-port"), "period '2026-Q3' is no month, half-year or year"),
        ((), "give either a period, as in 2026-10, or --last-month"),
        (("2024", "--group", "port"), "port has no row in 2024"),
    ],
)
def test_a_wrong_roll_up_gets_one_sentence(shore: Path, words: tuple[str, ...], message: str) -> None:
    result = call("report", *words, "--shore", grouped(shore), "--out", shore.parent / "out")
    assert result.exit_code == (3 if "no row" in message else 2) and message in result.stderr
    assert result.stdout == "" and result.stderr.count("\n") == 1


def test_the_open_series_comes_with_its_dictionary(shore: Path, tmp_path: Path) -> None:
    words = (
        "--open",
        "--period",
        "2026-10",
        "--group",
        "port",
        "--shore",
        grouped(shore),
        "--out",
        tmp_path / "open",
    )
    result = call("export", *words)
    assert result.exit_code == 3
    series, dictionary = (exported(Path(path)) for path in result.stdout.split())
    names = {line["name"] for line in series}
    assert "energy.import_wh" in names and "calls.count" not in names  # one vessel
    assert not any(name.startswith("company.") for name in names)
    assert {line["name"] for line in dictionary if line["kind"] == "figure"} == names
    assert "held back, too few vessels" in result.stderr


@pytest.mark.parametrize(
    "words", [("--open", "--site", "demo-port"), ("--site", "demo-port", "--kind", "session")]
)
def test_an_export_that_lacks_an_option_says_which(shore: Path, words: tuple[str, ...]) -> None:
    result = call("export", *words, "--shore", shore)
    assert result.exit_code == 2
    assert ("give --period" if "--open" in words else "lacking: --from, --to") in result.stderr


def with_files(shore: Path, targets: str, rates: bytes) -> Path:
    shore.write_text(
        shore.read_text() + '[report]\ntargets = "targets.csv"\ngrid_intensity = ["eco2mix.csv"]\n',
        encoding="utf-8",
    )
    (shore.parent / "targets.csv").write_text(
        "figure,perimeter,year,value,unit,source\n" + targets, encoding="utf-8"
    )
    (shore.parent / "eco2mix.csv").write_bytes(rates)
    return shore


RATES = "Périmètre;Date;Heures;Taux de Co2\n" + "".join(
    f"France;2026-10-14;{h:02d}:{m:02d};{20 + h}\n" for h in range(24) for m in (0, 30)
)


def test_targets_and_the_hourly_indicator_stand_beside_the_figures(shore: Path, tmp_path: Path) -> None:
    """The rates in Latin-1, as the grid operator's older files are, with a row that cannot be read."""
    rates = (RATES + "France;2026-10-15;00:00;ND\n").encode("latin-1")
    file = with_files(shore, "co2.grid_site_kg,demo-port,2026,10,t,plan\n", rates)
    words = ("--site", "demo-port", "--shore", file, "--out", tmp_path, "--format", "md", "--format", "csv")
    assert call("report", "2026-10", *words).exit_code == 3
    figures = {line["key"]: line for line in exported(tmp_path / "report-demo-port-2026-10.csv")}
    energy_wh = float(figures["energy.import_wh"]["value"])
    hourly_kg = float(figures["hourly.co2_kg"]["value"])
    assert 28 <= hourly_kg * 1e6 / energy_wh <= 29  # from 8:02 to 9:17
    assert figures["hourly.co2_kg"]["coverage"] == "1"
    assert float(figures["co2.grid_site_kg"]["value"]) == pytest.approx(52 * energy_wh / 1e6)
    target_kg = 10_000 * 745 / 8760
    assert float(figures["target.value/line=2"]["value"]) == pytest.approx(target_kg)
    assert figures["target.deviation/line=2"]["value"] == ""  # an hour of the month says nothing of it
    text = (tmp_path / "report-demo-port-2026-10.fr.md").read_text(encoding="utf-8")
    assert "Indicateur horaire, hors bilan réglementaire" in text and "Objectifs et trajectoires" in text
    assert "eco2mix.csv, ligne 50 : « ND » n'est pas une intensité" in text


@pytest.mark.parametrize(
    ("targets", "rates", "message"),
    [
        ("co2.grid_site_kg,demo-port,2026,ten,t,plan\n", RATES, "targets: line 2: value 'ten' is not a number"),
        (
            "co2.grid_site_kg,demo-port,2026,1,kWh,plan\n",
            RATES,
            "line 2: co2.grid_site_kg is in kgCO2e",
        ),
        ("", "Date;Prix\n", "eco2mix.csv: line 1 names date, prix; give date_heure"),
    ],
)
def test_a_wrong_file_beside_the_rows_stops_the_report(
    shore: Path, tmp_path: Path, targets: str, rates: str, message: str
) -> None:
    file = with_files(shore, targets, rates.encode())
    result = call("report", "2026-10", "--site", "demo-port", "--shore", file, "--out", tmp_path / "out")
    assert result.exit_code == 2 and message in result.stderr
    assert result.stdout == "" and not (tmp_path / "out").exists()
