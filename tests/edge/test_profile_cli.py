"""`bollard profile`: a draft loads, the linter says all that is wrong by line, the sheet shows every register."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from drivers.profile import load_profile, shipped_profiles
from edge.profile_cli import app
from edge.profile_lint import warnings

METER = (
    "--kind", "meter", "--model", "Acme X1", "--source", "Acme X1 map, revision 2 (2024), page 3",
    "--point", "power_w=0x0A,int32,order=cdab,scale=10,low=-1e6,high=1e6,invalid=0x80000000/0x7FFFFFFF",
    "--point", "energy_import_total_wh=20,uint64,scan=slow",
)  # fmt: skip


def run(*words: str, lang: str = "en") -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, *(("--lang", lang) if words[0] != "schema" else ())])
    return done.exit_code, done.output


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_draft_of_flags_loads(tmp_path: Path, lang: str) -> None:
    path = tmp_path / "x1.toml"
    code, said = run("new", *METER, "--out", str(path), lang=lang)
    assert code == 0 and f"bollard profile check {path}" in said, said
    power, energy = load_profile(str(path)).points
    assert (power.address, power.type, power.order, power.scale) == (10, "int32", "cdab", 10.0)
    assert (power.range, power.invalid) == ((-1e6, 1e6), (0x8000_0000, 0x7FFF_FFFF))
    assert power.fr == "Puissance active", "as the shipped profiles label it"
    assert (energy.type, energy.scan) == ("uint64", "slow")


def test_an_opc_ua_draft_has_nodes(tmp_path: Path) -> None:
    path = tmp_path / "bms.toml"
    words = [
        "--kind",
        "battery",
        "--model",
        "Acme",
        "--source",
        "Acme 1",
        "--point",
        "soc_bms=ns=2;s=Pack.Soc,float64",
    ]
    assert run("new", *words, "--out", str(path))[0] == 0
    assert load_profile(str(path)).points[0].node == "ns=2;s=Pack.Soc"


def test_a_device_with_swapped_words_gets_a_profile_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "swapped.toml"
    assert run("new", "--like", "generic-meter", "--swap", "words", "--shift", "1", "--out", str(path))[0] == 0
    made, shipped = load_profile(str(path)), load_profile("generic-meter")
    assert {point.order for point in made.points} == {"cdab"}
    assert [p.address for p in made.points] == [(p.address or 0) + 1 for p in shipped.points]
    assert made.caveats[-1] == "made from generic-meter: words swapped, addresses +1, as the device was found"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--kind", "meter"], "--model, --source, --point power_w=3004,int32"),
        ([*METER, "--point", "a_w"], "--point a_w: is not NAME=WHERE,TYPE[,KEY=VALUE]; give it as in power_w="),
        ([*METER, "--point", "a_w=x,int32"], "'x' is no whole number"),
        ([*METER, "--point", "a_w=1,int32,unit=W"], "'unit=W': no such key; use scale, offset, low, high"),
        ([*METER, "--point", "a_w=1,int32,low=0"], "low and high go together"),
        ([*METER, "--point", "a_w=1,int33"], "Input should be 'bool', 'uint16'"),
        ([*METER, "--point", "a_w=11,int32"], "points power_w and a_w overlap at holding register 11"),
        (["--like", "generic-meter", "--swap", "all"], "--swap all: is not one of words, bytes, both"),
        (["--like", "generic-meter", "--shift", "-5"], "--shift -5: moves a point of generic-meter beyond 0"),
        (["--like", "generic-bms", "--swap", "words"], "speaks opcua, which has no order"),
        (["--like", "sdm360"], "profile 'sdm360' is not known; use abb"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(tmp_path: Path, words: list[str], told: str) -> None:
    path = tmp_path / "x.toml"
    code, said = run("new", *words, "--out", str(path))
    assert code == 2 and told in " ".join(said.split()), said
    assert not path.exists()
    path.write_text("mine")
    assert run("new", *METER, "--out", str(path))[0] == 2 and path.read_text() == "mine"


BAD = """schema = 1
kind = "meeter"
model = "x"
source = "y"
[[point]]
name = "a_w"
address = 1
type = "int33"
[[point]]
name = "b_w"
address = 5
type = "int32"
[[point]]
name = "c_w"
address = 6
type = "int32"
"""


def test_everything_that_is_wrong_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(BAD)
    code, said = run("check", str(path))
    lines = [line.removeprefix(f"{path}:") for line in said.splitlines()]
    assert code == 2 and len(lines) == 3, said
    assert lines[0].startswith("2: kind = 'meeter': Input should be 'charger', 'meter', 'battery' or 'lock'; give")
    assert lines[1].startswith("8: point a_w: type = 'int33': Input should be 'bool'")
    assert lines[2] == "14: points b_w and c_w overlap at holding register 6"
    path.write_text(BAD.replace("meeter", "meter").replace("int33", "int32").replace("address = 6", "address = 5"))
    code, said = run("check", str(path))
    assert code == 2 and said == f"{path}:14: points b_w and c_w overlap at holding register 5\n"
    path.write_text("kind = ")
    assert "not TOML: " in run("check", str(path))[1]


def test_what_ought_to_be_looked_at_is_told_and_strict_ends_with_1(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    text = BAD.replace("meeter", "meter").replace("int33", "int16").replace("address = 6", "address = 8")
    path.write_text(text.replace("b_w", "voltage_l1_w").replace("c_w", "energy_export_total_wh").replace(
        'address = 8\ntype = "int32"', 'address = 8\ntype = "float32"'
    ))  # fmt: skip
    code, said = run("check", str(path))
    assert code == 0
    for told in (
        "without range: a_w, voltage_l1_w; give [lowest, highest]", "integers without invalid: a_w, voltage_l1_w",
        "source = 'y'; give the document", "without fr or en: a_w", "voltage_l1_w: is it voltage_l1_v?",
        "energy_export_total_wh is a float32: beyond 16777216", "without energy_import_total_wh energy is only",
        "x, 3 points, loads",
    ):  # fmt: skip
        assert told in said, said
    assert run("check", str(path), "--strict")[0] == 1


def test_the_shipped_profiles_are_right_and_name_their_sources() -> None:
    files = [str(ROOT / "drivers" / "profiles" / f"{name}.toml") for name in shipped_profiles()]
    code, said = run("check", *files)
    assert code == 0 and said.count(", loads") == len(files)
    for name in shipped_profiles():
        assert not {"source", "no_codes"} & {w.key for w in warnings(load_profile(name)) if name != "generic-lock"}


class Cells(HTMLParser):
    """The first cell of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[str] = []
        self._row = self._cell = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._cell = 0 if tag == "tr" else self._cell + (tag == "td")

    def handle_data(self, data: str) -> None:
        if self._cell == 1:
            self.first.append(data)
            self._cell += 1


@pytest.mark.parametrize("name", ["generic-charger", "generic-bms", "schneider-pm5xxx"])
def test_the_sheet_shows_every_register_in_both_languages(tmp_path: Path, name: str) -> None:
    profile = load_profile(name)
    fr, page = run("doc", name, lang="fr")[1], tmp_path / "sheet.html"
    assert "| Point | Où | Codage | Unité | Plage | Cycle |" in fr and profile.hash in fr
    for point in profile.points:
        assert f"| `{point.name}` |" in fr
    assert run("doc", name, "--out", str(page), lang="fr") == (0, f"{page}\n")
    cells = Cells()
    cells.feed(page.read_text(encoding="utf-8"))
    assert cells.first == [point.name for point in profile.points]
    assert "Lu sur place" in page.read_text(encoding="utf-8") and "http" not in page.read_text(encoding="utf-8")
    english = run("doc", name)[1]
    section = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8").partition(f"\n## {name}\n")[2]
    table = [line for line in english.splitlines() if line.startswith("|")]
    assert table and all(line in section for line in table), "the same code writes docs/profiles.md"
    assert run("doc", name, "--out", "sheet.pdf")[0] == 2 and run("doc", "none")[0] == 2
