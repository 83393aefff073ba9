"""`bollard edge commission`: registers against the display, what a load shows, and who has signed."""

import asyncio
import json
import re
import time
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from drivers.profile import Point, load_profile
from edge.cli import app
from edge.commission_cli import _person
from edge.commissioned import Commissioned
from edge.commissioning import Walk, given
from edge.config import ConfigError, LoadedSite, catalogue
from edge.display import Seen, Typed, compare, parse_typed, permuted
from edge.sheet import finding_text, reading_text, record_of
from edge.texts import LANGS, Texts
from edge.under_load import Series, findings
from firmware_sim.modbus_server import ModbusServer, ModbusUnit

NS = 1_000_000_000
SITE = """
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = 1
[clock]
require = false
[[device]]
name = "meter-1"
profile = "{profile}"
host = "127.0.0.1"
port = {port}
interval_s = 0.1
origin = "sim"
[device.meter]
serial = "1234"
ct_ratio = 800
max_power_w = 1e7
"""
POWER_W, REGISTER_WH = 6_998_400.0, 48_211_907
DISPLAY = {"power_w": "6998.4 kW", "energy_import_total_wh": "48211.9 kWh", "voltage_l1_v": "6 351 V"}


def values(power_w: float = POWER_W) -> Callable[[], dict[str, float | int]]:
    """A meter under a steady load; what flows back is counted as export."""
    start_s = time.monotonic()

    def now() -> dict[str, float | int]:
        wh = int(abs(power_w) * (time.monotonic() - start_s) / 3600)
        volts, amperes = 6_351.0, abs(power_w) / 3 / 6_351.0
        phases = {f"voltage_l{i}_v": volts for i in (1, 2, 3)} | {f"current_l{i}_a": amperes for i in (1, 2, 3)}
        return {
            "power_w": power_w, "reactive_power_var": 0.0, "frequency_hz": 50.01,
            "power_factor": 1.0 if power_w > 0 else -1.0,
            "energy_import_total_wh": REGISTER_WH + (wh if power_w > 0 else 0),
            "energy_export_total_wh": 17 + (wh if power_w < 0 else 0), **phases,
        }  # fmt: skip

    return now


class Quay:
    """A meter on a socket, and the site file that reads it by a profile that a test may bend."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.server, self.port = folder, None, 0
        self._profile = load_profile("generic-meter")

    async def serve(self, now: Callable[[], dict[str, float | int]]) -> None:
        self.server = ModbusServer({1: ModbusUnit(self._profile, now)})
        self.port = await self.server.start("127.0.0.1", 0)

    def site(self, bend: Callable[[str], str] = lambda text: text) -> LoadedSite:
        shipped = Path(load_profile.__code__.co_filename).parent / "profiles" / "generic-meter.toml"
        (self.folder / "mine.toml").write_text(bend(shipped.read_text()))
        (self.folder / "site.toml").write_text(SITE.format(profile="mine.toml", port=self.port))
        return LoadedSite.load(self.folder / "site.toml")


@pytest_asyncio.fixture
async def quay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Quay]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    quay = Quay(tmp_path)
    yield quay
    if quay.server is not None:
        await quay.server.stop()


@pytest.fixture
def quay_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    quay = Quay(tmp_path)
    quay.port = 1  # nobody listens there
    quay.site()
    return tmp_path


def typed(loaded: LoadedSite, texts: dict[str, str]) -> dict[str, Typed]:
    profile = loaded.profiles["meter-1"]
    return {name: parse_typed(text, profile.points[profile.index[name]]) for name, text in texts.items()}


async def commission(folder: Path, *words: str) -> tuple[int, str]:
    """The command beside the server's event loop; it has its own."""
    site = ["commission", "--site", str(folder / "site.toml"), "--no-doctor", "--lang", "en", "--watch-s", "0.5"]
    done = await asyncio.to_thread(CliRunner().invoke, app, [*site, *words])
    return done.exit_code, done.output


async def test_both_sheets_are_signed_and_the_catalogue_says_so(quay: Quay) -> None:
    await quay.serve(values())
    quay.site()
    readings = quay.folder / "readings.toml"
    readings.write_text('by = "A. Martin"\n[reading]\n' + "".join(f'{k} = "{v}"\n' for k, v in DISPLAY.items()))
    load = ("--device", "meter-1", "--load")
    code, err = await commission(quay.folder, *load, "--reading", "power_w=6998.4kW")
    assert code == 2 and "the sheet without load is not signed" in err
    code, out = await commission(quay.folder, "--device", "meter-1", "--readings", str(readings))
    assert code == 0, out
    assert "meter-1: signed by A. Martin." in out and "stays provisional" in out
    loaded = quay.site()
    assert catalogue(loaded).devices[0]["commissioned"]["state"] == "no_load"
    code, out = await commission(quay.folder, *load, "--watch-s", "3", "--readings", str(readings))
    assert code == 0 and "is no longer provisional" in out, out
    assert catalogue(quay.site()).devices[0]["commissioned"]["state"] == "signed"
    record = json.loads(sorted(quay.folder.glob("commissioning/*first-call*.json"))[-1].read_text())
    assert {f["code"] for f in record["findings"]} == {"load", "direction", "register", "phases"}
    assert all(f["good"] for f in record["findings"])
    assert record["implausible"] == []
    for lang, title in (("fr", "première escale en charge"), ("en", "first call under load")):
        sheets = [*quay.folder.glob(f"commissioning/*first-call*.{lang}.md")]
        assert title in sheets[-1].read_text() and "SIMULATION" in sheets[-1].read_text()
        assert len([*quay.folder.glob(f"commissioning/*.{lang}.html")]) == 2


async def test_nobody_signs_what_is_wrong_or_missing(quay: Quay) -> None:
    await quay.serve(values())
    loaded = quay.site()
    for texts, wrong, incomplete in (
        ({"energy_import_total_wh": "48211.9 MWh"}, True, False), ({"voltage_l1_v": "6351 V"}, False, True),
        ({"energy_import_total_wh": "48.2119 MWh"}, False, False),
    ):  # fmt: skip
        looked = await Walk(loaded, loaded.site.device[0], "no_load").look(given(typed(loaded, texts)), 0.0)
        assert (looked.wrong, looked.incomplete) == (wrong, incomplete), texts
        record = record_of(loaded, looked, [], "A. Martin", "2026-10-14T08:00:00+00:00", "1")
        verdict = "wrong" if wrong else "incomplete" if incomplete else "signed"
        assert (record["verdict"], record["by"]) == (verdict, "" if verdict != "signed" else "A. Martin")


def test_wrong_input_and_a_device_that_is_away_are_told(quay_folder: Path) -> None:
    def told(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(
            app, ["commission", "--site", str(quay_folder / "site.toml"), "--lang", "en", *words]
        )
        return done.exit_code, done.output

    device = ("--device", "meter-1", "--no-doctor")
    for words, code, text in (
        (device, 2, "no reading of the display"),
        ((*device, "--reading", "power=1W"), 2, "no numeric point"),
        ((*device, "--reading", "power_w"), 2, "POINT=VALUE"),
        ((*device, "--reading", "power_w=7 kV"), 2, "kV is not the unit"),
        ((*device, "--readings", "none.toml"), 2, "none.toml: No such file"),
        (("--device", "meter-9"), 2, "is no device"),
        ((), 0, "meter-1: nothing signed"),
        ((*device, "--reading", "power_w=1W"), 4, "does not answer"),
    ):
        seen, said = told(*words)
        assert seen == code and text in said, said


INTEGER = 'address = 0\ntype = "int32"'
POWER, BOUNDS = 'address = 0\ntype = "float32"', "range = [-120_000_000, 120_000_000]"


def swapped(text: str) -> str:
    """Words the other way round; ranges out, so that what comes is shown."""
    return re.sub(r"range = .*", "", text).replace('type = "float32"', 'type = "float32"\norder = "cdab"')


@pytest.mark.parametrize(
    ("bend", "point", "code"),
    [
        (swapped, "voltage_l1_v", "swapped_words"),
        (lambda text: text.replace('address = 40\ntype = "int64"', 'address = 40\ntype = "int64"\nscale = 1000'),
         "energy_import_total_wh", "unit"),
        (lambda text: text.replace(POWER, f"{POWER}\nscale = 800").replace(BOUNDS, ""), "power_w", "ct_ratio"),
        (lambda text: text.replace(POWER, INTEGER).replace(BOUNDS, ""), "power_w", "other_type"),
    ],
)  # fmt: skip
async def test_a_wrong_profile_is_found_by_name(
    quay: Quay, bend: Callable[[str], str], point: str, code: str
) -> None:
    await quay.serve(values())
    loaded = quay.site(bend)
    looked = await Walk(loaded, loaded.site.device[0], "first_call").look(given(typed(loaded, DISPLAY)), 0.5)
    assert {a.point: a.code for a in looked.agreements}[point] == code
    assert looked.wrong


async def test_reversed_transformers_are_found_by_the_load(quay: Quay) -> None:
    await quay.serve(values(-POWER_W))
    loaded = quay.site()
    looked = await Walk(loaded, loaded.site.device[0], "first_call").look(given(typed(loaded, DISPLAY)), 1.0)
    assert {a.point: a.code for a in looked.agreements}["power_w"] == "reversed"
    assert "ct_reversed" in {f.code for f in looked.findings if f.good is False}
    without = await Walk(loaded, loaded.site.device[0], "no_load").look(given({}), 0.0)
    assert without.missing == ["energy_import_total_wh"] and not without.findings


def point(name: str = "power_w", **more: object) -> Point:
    return Point.model_validate({"name": name, "type": "float32", "address": 0} | more)


@pytest.mark.parametrize(
    ("text", "value", "step"),
    [("6998.4 kW", 6_998_400.0, 100.0), ("6 998,4kW", 6_998_400.0, 100.0), ("-7.0MW", -7e6, 1e5),
     ("0 W", 0.0, 1.0),
     ("\u22125 W", -5.0, 1.0), ("1'234 W", 1234.0, 1.0)],
)  # fmt: skip
def test_a_display_is_typed_as_it_is_read(text: str, value: float, step: float) -> None:
    found = parse_typed(text, point())
    assert (found.value, found.step) == (value, step)


@pytest.mark.parametrize("text", ["", "kW", "1,234.5 W", "7", "7 kWh", "1e3 W", "nan W", "7 xW"])
def test_what_cannot_be_a_reading_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"as in 6998\.4 kW"):
        parse_typed(text, point())


@pytest.mark.parametrize(
    ("ours", "display", "code"),
    [(6.99e6, "6.998 MW", "agrees"), (6.5e6, "6.998 MW", "differs"), (-6.998e6, "6.998 MW", "reversed"),
     (6998.0, "6.998 MW", "unit"), (6.998e5, "6.998 MW", "scale"), (6.998e6 * 100, "6.998 MW", "scale"),
     (6.998e6 / 800, "6.998 MW", "ct_ratio"), (6.998e6 * 200, "6.998 MW", "vt_ratio"),
     (6.998e6 * 160_000, "6.998 MW", "both_ratios"), (6.998e6 / 3, "6.998 MW", "third"), (0.0, "0 kW", "agrees"),
     (float("nan"), "6.998 MW", "unknown"), (0.0, "6.998 MW", "differs")],
)  # fmt: skip
def test_a_difference_is_explained_by_its_factor(ours: float, display: str, code: str) -> None:
    seen = Seen(ours, ours, ours)
    assert compare(point(), parse_typed(display, point()), seen, 800.0, 200.0, "no_answer").code == code


def test_a_counter_agrees_to_the_last_digit_of_the_display() -> None:
    register = point("energy_import_total_wh", type="int64")
    seen = Seen(48_211_907.0, 48_211_950.0, 48_211_950.0)
    assert compare(register, parse_typed("48211.9 kWh", register), seen, 1.0, 1.0).good
    assert not compare(register, parse_typed("48212.4 kWh", register), seen, 1.0, 1.0).good


def test_phases_under_other_names_are_told() -> None:
    def current(phase: str, display: float, ours: float) -> object:
        p = point(f"current_{phase}_a")
        return compare(p, parse_typed(f"{display} A", p), Seen(ours, ours, ours), 1.0, 1.0)

    mixed = [current("l1", 10.0, 20.0), current("l2", 20.0, 10.0), current("l3", 30.0, 30.0)]
    assert permuted(mixed) == "l1=l2 l2=l1"  # type: ignore[arg-type]
    right = [current("l1", 10.0, 10.0), current("l2", 20.0, 20.0), current("l3", 30.0, 30.0)]
    assert permuted(right) == ""  # type: ignore[arg-type]


def loaded_for(seconds: int, power_w: float = 6e6, register: float = 1.0, **more: float) -> Series:
    """A steady load, one row a second. `register`: how much too much the register counts."""
    series = Series()
    for second in range(seconds):
        wh = register * power_w * second / 3600
        counted = {"energy_import_total_wh": max(wh, 0.0), "energy_export_total_wh": max(-wh, 0.0)}
        series.take(second * NS, {"power_w": power_w} | counted | more)
    return series


PHASES = {f"voltage_l{i}_v": 6351.0 for i in (1, 2, 3)} | {f"current_l{i}_a": 315.0 for i in (1, 2, 3)}


def part(*shares: float) -> dict[str, float]:
    return {f"power_l{i}_w": 2e6 * share for i, share in enumerate(shares, 1)}


@pytest.mark.parametrize(
    ("meter", "charger_w", "code"),
    [
        (loaded_for(60), 5.8e6, ""),
        (loaded_for(60, -6e6), 5.8e6, "ct_reversed"),
        (loaded_for(60, register=1000.0), 5.8e6, "register_scale"),
        (loaded_for(60, 6e3), 5.8e6, "charger_scale"),
        (loaded_for(60, 2e6), 6e6, "one_ct_reversed"),
        (loaded_for(60, 1e3), 6e6, "phases_crossed"),
        (loaded_for(60, -3e6), 6e6, "phases_rotated"),
        (loaded_for(60, 4e6), 6e6, "one_phase_missing"),
        (loaded_for(60, **PHASES, **part(1, 1, 1)), 5.8e6, ""),
        (loaded_for(60, 2e6, **PHASES, **part(1, -1, 1)), 6e6, "one_ct_reversed"),
        (loaded_for(60, 1e3, **PHASES, **part(1, -0.5, -0.5)), 6e6, "phases_crossed"),
        (loaded_for(60, 2e6, **PHASES), None, "one_ct_reversed"),
        (loaded_for(60, 6e6, **PHASES), None, ""),
    ],
)
def test_a_load_shows_how_a_meter_is_wired(meter: Series, charger_w: float | None, code: str) -> None:
    charger = None
    if charger_w is not None:
        charger = Series()
        charger.take(0, {"power_w": charger_w})
    found = list(findings(meter, charger, exports=False, step_wh=1.0))
    wrong = {f.code for f in found if f.good is False}
    assert (code in wrong) if code else (wrong == set()), found
    for lang in LANGS:
        for finding in found:
            assert "{" not in finding_text(vars_of(finding), Texts(lang))[1]


def vars_of(finding: object) -> dict[str, object]:
    return {name: getattr(finding, name) for name in ("code", "good", "values")}


def test_without_a_load_or_time_nothing_is_said() -> None:
    (only,) = findings(loaded_for(60, 10.0), None, exports=False, step_wh=1.0)
    assert (only.code, only.good) == ("load", None)
    found = {f.code: f.good for f in findings(loaded_for(3), None, exports=False, step_wh=1e6)}
    assert found["register"] is None


def test_production_is_meant_to_go_out() -> None:
    found = {f.code: f.good for f in findings(loaded_for(60, -6e6), None, exports=True, step_wh=1.0)}
    assert found["direction"] is True


async def test_a_signature_holds_for_what_was_looked_at(quay: Quay) -> None:
    await quay.serve(values())
    loaded = quay.site()
    signed = Commissioned(loaded)
    (device,) = loaded.site.device
    assert signed.state(device) == "none"
    signed.sign(device, "no_load", "A. Martin", "2026-10-14T08:00:00+00:00", "a.json")
    signed.sign(device, "first_call", "A. Martin", "2026-10-14T09:00:00+00:00", "b.json")
    assert Commissioned(loaded).state(device) == "signed"
    other = quay.site(lambda text: text.replace('scan = "slow"', "", 1))
    assert Commissioned(other).state(other.site.device[0]) == "outdated"
    signed.path.write_text("{")
    with pytest.raises(ConfigError, match="is no record of commissioning"):
        Commissioned(loaded)


def test_two_who_sign_at_once_lose_no_signature(quay_folder: Path) -> None:
    loaded = LoadedSite.load(quay_folder / "site.toml")
    (device,) = loaded.site.device
    one, other = Commissioned(loaded), Commissioned(loaded)  # both read the file before either signs
    one.sign(device, "no_load", "A. Martin", "2026-10-14T08:00:00+00:00", "a.json")
    other.sign(device, "first_call", "M. Allory", "2026-10-14T09:00:00+00:00", "b.json")
    assert Commissioned(loaded).state(device) == other.state(device) == "signed"


def test_every_sentence_of_a_sheet_stands_in_both_languages() -> None:
    folder = Path(load_profile.__code__.co_filename).parents[1] / "edge" / "text"
    tables = [tomllib.loads((folder / f"{lang}.toml").read_text(encoding="utf-8")) for lang in LANGS]
    for part_of in ("doctor", "commission", "sheet", "reading", "finding"):
        assert tables[0][part_of].keys() == tables[1][part_of].keys()
    assert reading_text({"code": "agrees", "point": "power_w", "values": {}}, Texts("fr")) == "concorde"


async def test_a_person_is_asked_again_until_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, asked = ["7 kilo", "6,998 MW", ""], []

    def typed_line(question: str) -> str:
        asked.append(question)
        return lines.pop(0)

    monkeypatch.setattr("builtins.input", typed_line)
    ask = _person(Texts("fr"))
    power = load_profile("generic-meter").points[0]
    found = await ask(power)
    assert found is not None and found.value == 6_998_000.0
    assert await ask(power) is None and len(asked) == 3
    assert asked[0].startswith("Puissance active (power_w) sur l'afficheur")
