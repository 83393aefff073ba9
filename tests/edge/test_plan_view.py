"""`bollard edge plan`: a person sees every request before one is sent, in French or English."""

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from drivers.learned import Learned, LearnedFile
from drivers.profile import load_profile
from edge.cli import app
from edge.texts import texts_for
from firmware_sim.scenario import folder_of, load_scenario
from firmware_sim.site_file import site_toml


@pytest.fixture
def port_day(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(site_toml(load_scenario("port-day"), folder_of("port-day"), "127.0.0.1", 45_000))
    return path


def plan(site: Path, *options: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["plan", "--site", str(site), *options])
    assert result.exit_code == code, result.output
    return result.output


def test_the_port_day_costs_as_many_requests_as_the_readme_says(port_day: Path) -> None:
    told = json.loads(plan(port_day, "--json"))
    requests = {
        scan: sum(len(s["requests"]) for d in told["devices"] for s in d["scans"] if s["scan"] == scan)
        for scan in ("live", "slow")
    }
    # live: 3 chargers, 2 x 4 meters, 2 locks, 3 ferries; slow: 2 x 3 chargers, 4 meters, 2 locks, 3 ferries
    assert requests == {"live": 16, "slow": 15}
    spans = {
        d["name"]: [(r["first"], r["last"]) for s in d["scans"] for r in s["requests"]] for d in told["devices"]
    }
    assert spans["charger-1"] == spans["charger-3"] == [(0, 17), (20, 23), (100, 111)]
    assert spans["delivery-1"] == [(0, 19), (40, 47), (48, 51)]
    assert spans["lock-2"] == [(0, 25), (64, 69)]
    assert {bus["bus"]: round(bus["requests_per_s"], 1) for bus in told["buses"] if "4500" in bus["bus"]}[
        "modbus://127.0.0.1:45001"
    ] == 2.1
    assert all(bus["state"] == "fine" for bus in told["buses"])


def test_the_readme_shows_what_is_printed(port_day: Path) -> None:
    readme = (ROOT / "drivers" / "README.md").read_text(encoding="utf-8")
    told = "\n".join(line.rstrip() for line in plan(port_day, "--lang", "en").splitlines())
    assert told.strip("\n") in readme


def test_tables_fit_a_terminal_and_name_devices_with_the_same_plan_once(port_day: Path) -> None:
    told = plan(port_day, "--lang", "en")
    assert max(map(len, told.splitlines())) <= 100
    assert told.count("holding 100-111") == 1 and "charger-1, charger-2, charger-3" in told
    assert "Nothing has been sent." in told and "127.0.0.1:45009" in told
    named = plan(port_day, "--lang", "en", "--points")
    assert "session_energy_wh" in named and max(map(len, named.splitlines())) <= 100


def test_french_is_spoken_unless_the_terminal_is_english(port_day: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C.UTF-8")
    assert "Charge par connexion ou ligne" in plan(port_day)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    assert texts_for().lang == "en"
    assert "language 'de' is not one of fr, en" in plan(port_day, "--lang", "de", code=2)


def test_both_languages_have_the_same_sentences_with_the_same_values() -> None:
    fr, en = (
        tomllib.loads((resources.files("edge") / "text" / f"{lang}.toml").read_text(encoding="utf-8"))
        for lang in ("fr", "en")
    )
    assert fr.keys() == en.keys()
    for part in fr.keys() - {"decimal"}:
        assert fr[part].keys() == en[part].keys()
        for key, sentence in fr[part].items():
            assert set(re.findall(r"{(\w+)", sentence)) == set(re.findall(r"{(\w+)", en[part][key])), key


def test_a_connection_that_cannot_keep_up_is_named_with_its_remedy(port_day: Path) -> None:
    shared = port_day.read_text().replace("port = 450", "interval_s = 0.1\nport = 450")
    profile = Path(port_day.parent, "wide.toml")
    wide = "".join(f'[[point]]\nname = "p{i}"\naddress = {100 * i}\ntype = "uint16"\n' for i in range(70))
    profile.write_text('schema = 1\nkind = "lock"\nmodel = "wide"\nsource = "this test"\n' + wide)
    port_day.write_text(shared.replace('"generic-lock"', '"wide.toml"'))
    told = plan(port_day, "--lang", "en", code=3)
    assert "modbus://127.0.0.1:45010: too many requests. Slow down:" in told
    assert "lock-1, scan class live: every 0.21 s instead of 0.1 s  (interval_s = 0.21)" in told
    told = plan(port_day, "--lang", "fr", code=3)
    assert "lock-1, cycle live : toutes les 0,21 s au lieu de 0,1 s  (interval_s = 0.21)" in told


def test_what_commissioning_learned_is_told_and_so_is_what_no_longer_counts(port_day: Path) -> None:
    file = LearnedFile.load(port_day.parent / "learned.json")
    charger, meter = load_profile("generic-charger"), load_profile("generic-meter")
    file.put("charger-1", charger, Learned(refused={"vessel": "exception 2"}), "2026-03-01T08:30:00Z")
    file.put("meter-1", charger, Learned({"holding": [(9, 9)]}), "2026-03-01T08:30:00Z")
    told = plan(port_day, "--lang", "en")
    assert "charger-1: refused at commissioning, never asked for again: vessel" in told
    assert "meter-1: the profile has changed since commissioning" in told
    assert meter.hash != charger.hash


def test_a_site_file_that_is_wrong_ends_with_all_its_problems(port_day: Path) -> None:
    port_day.write_text(port_day.read_text().replace("unit_id = 1", "unit_id = 700"))
    told = plan(port_day, code=2)
    assert told.count("unit_id = 700") == 9


SERIAL = """
[[device]]
name = "meter-{0}"
profile = "generic-meter"
transport = "rtu"
serial = "/dev/ttyS9"
baud = 9600
unit_id = {0}
interval_s = 0.5
"""


def test_the_load_of_a_serial_line_is_predicted_from_its_baud_rate(port_day: Path) -> None:
    head = port_day.read_text().split("[[device]]")[0]
    port_day.write_text(head + "".join(SERIAL.format(unit) for unit in range(1, 5)))
    told = json.loads(plan(port_day, "--json", code=3))
    (line,) = told["buses"]
    assert (line["bus"], line["devices"]) == (
        "modbus+rtu:///dev/ttyS9",
        ["meter-1", "meter-2", "meter-3", "meter-4"],
    )
    # per meter 20 and 8 registers twice a second, 4 every 10 s; 32.9 ms a request, 2.29 ms a register
    request_s, register_s = 20 * 11 / 9600 + 0.010, 2 * 11 / 9600
    each = (2 * request_s + 28 * register_s) / 0.5 + (request_s + 4 * register_s) / 10.0
    assert line["load"] == pytest.approx(4 * each) and line["is_serial"]
    assert [(slower["scan"], slower["from_s"]) for slower in line["slower"]] == [("live", 0.5)] * len(
        line["slower"]
    )
    readme = (ROOT / "drivers" / "README.md").read_text(encoding="utf-8")
    shown = [line.rstrip() for line in plan(port_day, "--lang", "en", code=3).splitlines()]
    assert "\n".join(shown[shown.index("Load of each connection or line") : -2]).strip("\n") in readme
    faster = json.loads(plan(port_day, "--json", "--turnaround-ms", "0", code=0))
    assert faster["buses"][0]["load"] == pytest.approx(4 * (each - 2 * 0.010 / 0.5 - 0.010 / 10.0))
