"""An issue of a report: its files for machines, its frozen rows, and whether a changed byte is found."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import uuid
import zipfile
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest
from servers.influx import TOKEN
from typer.testing import CliRunner, Result

from gateway.report import attach
from gateway.report.cli import app
from gateway.report.issue import Format, Issue, issue
from gateway.report.verify import seal_path
from gateway.store import open_store
from gateway.texts import load_texts

STEM = "report-demo-port-2026-10"
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def october(port: Any) -> Issue:
    return issue(port.store, port.book, "2026-10", "demo-port")


@pytest.fixture
def shore(demo: Any, tmp_path: Path) -> Path:
    file = tmp_path / "shore.toml"
    file.write_text('schema = 1\n[store]\nurl = "sqlite:store.db"\n[book]\npath = "book.db"\n')
    return file


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def make(shore: Path, *more: object) -> Result:
    return call("2026-10", "--site", "demo-port", "--shore", shore, "--out", shore.parent / "out", *more)


def test_the_json_keeps_to_its_published_schema(demo: Any) -> None:
    text = resources.files("gateway").joinpath("schema", "report.schema.json").read_text("utf-8")
    check = jsonschema_rs.validator_for(json.loads(text))
    data = json.loads(october(demo).json)
    check.validate(data)
    for wrong in ({"status": "filed"}, {"figures": [{"key": "x"}]}, {"more": 1}):
        assert not check.is_valid(data | wrong)
    assert next(f for f in data["figures"] if f["key"] == "co2.grid_site_kg")["exact"] == "28321631/125000"


def test_csv_and_json_tell_the_same_figures(demo: Any) -> None:
    made = october(demo)
    lines = list(csv.DictReader(io.StringIO(made.csv.decode())))
    figures = json.loads(made.json)["figures"]
    assert [line["key"] for line in lines] == [figure["key"] for figure in figures]
    assert [line["value"] for line in lines] == ["" if f["value"] is None else repr(f["value"]) for f in figures]


def sheets(data: bytes) -> dict[str, list[list[str]]]:
    """Cells of a workbook as a spreadsheet would see them, by name of their sheet."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        shared = [
            "".join(node.itertext())
            for node in ElementTree.fromstring(book.read("xl/sharedStrings.xml")).iter(f"{SHEET}si")
        ]
        names = [
            s.attrib["name"] for s in ElementTree.fromstring(book.read("xl/workbook.xml")).iter(f"{SHEET}sheet")
        ]
        found = {}
        for number, name in enumerate(names, 1):
            page = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))
            found[name] = [
                [shown(cell.get("t"), cell.findtext(f"{SHEET}v") or "", shared) for cell in row.iter(f"{SHEET}c")]
                for row in page.iter(f"{SHEET}row")
            ]  # fmt: skip
    return found


def shown(type_: str | None, value: str, shared: list[str]) -> str:
    return shared[int(value)] if type_ == "s" else value


def test_the_workbook_has_numbers_and_the_mark_on_each_sheet(demo: Any) -> None:
    found = sheets(october(demo).render(Format.XLSX, "fr"))
    assert list(found)[:3] == ["Rapport", "Énergie", "Couverture"]
    assert all(rows[0] == ["SIMULATION"] for rows in found.values())
    assert found["Énergie"][1:] == [
        ["meter", "import_wh", "export_wh"],
        ["", "4357174", "0"],
        ["meter-1", "4357174", "0"],
    ]


def test_the_same_issue_from_processes_of_another_world_has_the_same_bytes(shore: Path) -> None:
    worlds = (
        {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "fr_FR.UTF-8", "PYTHONHASHSEED": "2"},
    )
    folders = []
    for i, world in enumerate(worlds):
        folders.append(shore.parent / f"out-{i}")
        words = ("2026-10", "--site", "demo-port", "--shore", str(shore), "--out", str(folders[-1]), "--final")
        command = [sys.executable, "-m", "gateway.cli", "report", *words]
        done = subprocess.run(command, env=os.environ | world, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert len(first) == 9 and first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.influx
def test_influxdb_and_sqlite_give_the_same_bytes_in_every_format(demo: Any, influx_server: Any) -> None:
    url = influx_server.access.store_url(f"t-{uuid.uuid4().hex[:12]}")
    with closing(open_store(url, token=TOKEN)) as store:
        assert store.write(demo.written, {}) == []
        other = issue(store, demo.book, "2026-10", "demo-port")
        assert other.manifest == october(demo).manifest
        for kind in Format:
            assert other.render(kind, "fr") == october(demo).render(kind, "fr"), kind


def test_a_final_issue_verifies_and_finds_a_changed_byte_of_its_rows(shore: Path, tmp_path: Path) -> None:
    assert make(shore, "--final", "--format", "json", "--format", "pdf").exit_code == 3  # few minutes in the month
    for name in (f"{STEM}.json", f"{STEM}.fr.pdf"):
        result = call("verify", tmp_path / "out" / name, "--lang", "en")
        assert result.exit_code == 0, result.stdout
        assert f"{name}: identical, byte by byte" in result.stdout
    rows = tmp_path / "out" / f"{STEM}.rows.zip"
    whole = rows.read_bytes()
    for at in range(7, len(whole), len(whole) // 25):
        rows.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert call("verify", tmp_path / "out" / f"{STEM}.json").exit_code == 1, at


def rewritten(rows: Path, change: str) -> None:
    """Replace a number in a column, and the digests that would tell, as somebody with skill would."""
    with zipfile.ZipFile(rows) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    name = next(name for name in parts if name.endswith(change))
    parts[name] = parts[name][:-8] + (10**6).to_bytes(8, "little")
    index = json.loads(parts["index.json"])
    number = int(name[:4])
    index["answers"][number]["columns"][change] = hashlib.sha256(parts[name]).hexdigest()
    parts["index.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(rows, "w") as new:
        for part, data in parts.items():
            new.writestr(part, data)
    seal_path(rows).unlink()


def test_rows_that_were_changed_with_care_are_told_by_the_report(shore: Path, tmp_path: Path) -> None:
    make(shore, "--final", "--format", "pdf")
    rewritten(tmp_path / "out" / f"{STEM}.rows.zip", "import_wh.npy")
    result = call("verify", tmp_path / "out" / f"{STEM}.fr.pdf", "--lang", "en")
    assert result.exit_code == 1 and "! rows energy_1m of meter-1 (75): not those of the report" in result.stdout


def test_a_changed_pdf_is_told_and_its_data_found_all_the_same(shore: Path, tmp_path: Path) -> None:
    make(shore, "--final", "--format", "pdf")
    pdf = tmp_path / "out" / f"{STEM}.fr.pdf"
    data = pdf.read_bytes()
    pdf.write_bytes(data.replace(b"/Title", b"/Titel", 1))
    result = call("verify", pdf, "--lang", "en")
    assert result.exit_code == 1 and "not the file that bollard" in result.stdout


def test_a_pdf_whose_files_another_zlib_packed_is_the_same(
    shore: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(attach, "LEVEL", 0)
        make(shore, "--final", "--format", "pdf")
    result = call("verify", tmp_path / "out" / f"{STEM}.fr.pdf", "--lang", "en")
    assert result.exit_code == 0 and "byte by byte once its attachments are unpacked" in result.stdout


def test_a_correction_since_is_named_with_its_row(shore: Path, demo: Any, tmp_path: Path, paris_ns: Any) -> None:
    make(shore, "--final", "--format", "json")
    demo.minutes(paris_ns("2026-10-14T08:05"), [777], rev="1000")
    words = ("verify", tmp_path / "out" / f"{STEM}.json", "--store", f"sqlite:{tmp_path}/store.db", "--lang", "en")
    result = call(*words)
    assert result.exit_code == 0 and "2026-10-14T06:05:00Z" in result.stdout
    assert "Corrected since: energy_1m of meter-1" in result.stdout


def test_a_month_is_not_frozen_over_another(shore: Path, demo: Any, paris_ns: Any) -> None:
    assert make(shore, "--final", "--format", "json").exit_code == 3
    before = (shore.parent / "out" / f"{STEM}.rows.zip").read_bytes()
    assert make(shore, "--final", "--format", "json").exit_code == 3  # the same rows once more
    demo.minutes(paris_ns("2026-10-14T08:05"), [777], rev="1000")
    result = make(shore, "--final", "--format", "json")
    assert result.exit_code == 2 and "was frozen with other rows" in result.stderr
    assert (shore.parent / "out" / f"{STEM}.rows.zip").read_bytes() == before


def test_what_a_later_issue_says_of_an_earlier_one(shore: Path, demo: Any, tmp_path: Path, paris_ns: Any) -> None:
    make(shore, "--format", "md")
    text = tmp_path / "out" / f"{STEM}.fr.md"
    assert "Éditions antérieures" not in text.read_text()
    demo.minutes(paris_ns("2026-10-14T08:05"), [777], rev="1000")
    for _ in range(2):  # made twice, it says the same
        make(shore, "--format", "md", "--final")
        told = text.read_text().split("## Éditions antérieures")[1].split("##")[0]
        assert "provisoire" in told and "0,277" in told
        assert told.count("\n|") == 3
    assert len(demo.book.filed("demo-port", "2026-10")) == 2


def test_a_month_that_is_not_over_cannot_be_final(shore: Path, tmp_path: Path) -> None:
    result = call("2199-01", "--site", "demo-port", "--shore", shore, "--final", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "is not over" in result.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--last-month", "2026-10"), "give either a period"),
        ((), "give either a period"),
    ],
)
def test_a_month_is_given_once(shore: Path, words: tuple[str, ...], message: str) -> None:
    result = call("make", *words, "--site", "demo-port", "--shore", shore)
    assert result.exit_code == 2 and message in result.stderr


def test_a_trace_goes_from_the_total_to_readings_and_factors(shore: Path) -> None:
    words = ("--site", "demo-port", "--month", "2026-10", "--shore", shore)
    chain = call("trace", "co2.grid_site_kg", *words, "--lang", "en").stdout
    for part in (
        "co2.grid_site_kg = 226.573048 kgCO2e",
        "factor: elec.fr.ademe.2022.consumption@1 = 52.0 gCO2e/kWh; ADEME",
        "\n  energy.import_wh = 4357174 Wh",
        "\n    energy.import_wh/meter=meter-1 = 4357174 Wh",
        "sum of import_wh: 4357174, 75 rows",
        "register_import_wh=1000500",
        "… and 70 more",
        "register.opening_wh/meter=meter-1,direction=import,epoch=0 = 1000500 Wh",
    ):
        assert part in chain
    assert (
        call("trace", "co2.grid_site_kg", *words, "--all").stdout.count("register_import_wh=") == 77
    )  # and two readings


def test_a_trace_needs_only_the_frozen_rows(shore: Path, tmp_path: Path) -> None:
    make(shore, "--final", "--format", "json")
    words = ("--site", "demo-port", "--month", "2026-10", "--shore", shore)
    key = "call.energy_wh/berth=berth-1,start=2026-10-14T06:15:07Z"
    frozen = call("trace", key, "--rows", tmp_path / "out" / f"{STEM}.rows.zip")
    assert frozen.exit_code == 0 and "energy_wh=4341374" in frozen.stdout
    assert frozen.stdout.split("\n")[0] == call("trace", key, *words).stdout.split("\n")[0]


def test_an_unknown_key_names_those_near_it(shore: Path) -> None:
    words = ("--site", "demo-port", "--month", "2026-10", "--shore", shore)
    result = call("trace", "energy.imported_wh", *words)
    assert result.exit_code == 2 and "near it: energy.import_wh" in result.stderr


def test_what_is_no_report_is_said_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "x.pdf"
    assert "x.pdf: no such file" in call("verify", file).stderr
    file.write_bytes(b"%PDF-1.7 nothing")
    assert "holds no data of a report" in call("verify", file).stderr
    file.write_text("{}")
    assert "holds no data of a report" in call("verify", file).stderr


def test_every_finding_and_sentence_of_a_trace_exists_in_both_languages() -> None:
    for lang in ("fr", "en"):
        for code in (
            "sealed",
            "seal_broken",
            "rows_differ",
            "figure_differs",
            "file_differs",
            "file_packed_otherwise",
        ):
            assert load_texts(lang).template(f"report.verify.{code}")
