"""`bollard site`: a file that is begun is a good one, editors know its schema, older ones are mended."""

import asyncio
import json
import os
import pty
import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from edge_rows import SITE
from jsonschema_rs import Draft202012Validator
from typer.testing import CliRunner

from drivers.profile import Profile, shipped_profiles
from edge import site_checks, site_migrate
from edge.config import ConfigError, LoadedSite, Site
from edge.site_cli import app
from edge.site_migrate import migrated

LONG_S = 90.0
BERTH = (
    "--name", "calais", "--gateway", "gw-berth-6", "--broker", "10.20.0.2:8883",
    "--device", "meter-1=generic-meter@modbus://10.20.0.7:502/3?pause_s=0.05",
    "--device", "charger-1=generic-charger@modbus+rtu:///dev/ttyUSB0?baud=9600&parity=N&unit=4",
    "--device", "ferry-bms=generic-bms@opc.tcp://10.20.0.9:4840?security_policy=Basic256Sha256&mode=Sign",
    "--pack", "ferry-bms=nmc,243,1929", "--berth", "berth-1=charger-1,meter-1,ferry-bms",
    "--device", "lock-1=generic-lock@modbus+rtu-over-tcp://10.20.0.8:4001", "--chamber-area-m2", "lock-1=1735.2",
    "--vessel", "ferry-aurelie=AURELIE,FERRY AURELIE", "--sd-card", "--paid-link", "--no-time-server",
)  # fmt: skip


def run(*words: str, lang: str = "en") -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--lang", lang])
    return done.exit_code, done.output


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_a_file_of_flags_is_a_good_one(tmp_path: Path, lang: str) -> None:
    path = tmp_path / "calais.toml"
    code, said = run("new", *BERTH, "--out", str(path), lang=lang)
    assert code == 0 and f"bollard edge check --site {path}" in said, said
    loaded = LoadedSite.load(path)
    site = loaded.site
    meter, charger, bms, lock = site.device
    assert (site.broker.host, site.broker.port, site.broker.deflate) == ("10.20.0.2", 8883, True)
    assert (site.spool.flush_s, site.clock.require) == (5.0, False)
    assert (meter.host, meter.unit_id, meter.pause_s, meter.origin) == ("10.20.0.7", 3, 0.05, "real")
    assert (charger.serial, charger.baud, charger.parity, charger.unit_id) == ("/dev/ttyUSB0", 9600, "N", 4)
    assert charger.stop_bits is None
    assert bms.url == "opc.tcp://10.20.0.9:4840" and bms.opcua is not None and bms.opcua.mode == "Sign"
    assert bms.battery is not None and (bms.battery.series, bms.battery.parallel) == (243, 1929)
    assert (lock.transport, lock.port) == ("rtu-over-tcp", 4001)
    assert lock.lock is not None and lock.lock.chamber_area_m2 == 1735.2
    assert site.berth[0].battery == "ferry-bms" and site.vessel[0].plc_names == ("AURELIE", "FERRY AURELIE")


def test_every_key_that_is_commented_out_may_be_taken_in(tmp_path: Path) -> None:
    """What the file proposes is right as it stands, but for TLS files, which have to be made first."""
    path = tmp_path / "calais.toml"
    plain = [word for word in BERTH if word not in ("--pack", "ferry-bms=nmc,243,1929")]
    assert run("new", *plain, "--out", str(path))[0] == 0
    for name in ("ca.pem", "calais.gw-berth-6.pem", "calais.gw-berth-6.key"):
        (tmp_path / name).write_text("")
    used = re.sub(r"^# (?=\[?[a-z_.0-9]+(?: = |\]))", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    loaded = LoadedSite.parse(used.encode(), path)
    meter = loaded.site.device[0].meter
    assert meter is not None and meter.ct_ratio == 800.0 and loaded.site.device[2].battery is not None
    assert loaded.site.broker.tls_ca == Path("ca.pem") and loaded.site.vessel[0].imo == "9074729"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "calais"], "--gateway, --broker, --device meter-1=generic-meter@modbus"),
        ([*BERTH, "--device", "x"], "--device x: is not NAME=PROFILE@URL; give it as in meter-1="),
        ([*BERTH, "--device", "x=nothing@modbus://10.20.0.7"], "profile 'nothing' is not known; use abb"),
        ([*BERTH, "--device", "x=generic-meter@modbus://10.20..7"], "host '10.20..7': no machine can have"),
        ([*BERTH, "--device", "x=generic-bms@opc.tcp://a?speed=3"], "speed: no such setting; use security_policy"),
        ([*BERTH, "--berth", "b=meter-1"], "--berth b=meter-1: is not NAME=CHARGER,METER[,BATTERY]"),
        ([*BERTH, "--berth", "b=meter-1,charger-1"], "is no device of kind charger; use one of: charger-1"),
        ([*BERTH, "--pack", "ferry-bms=nmc,x,2"], "is not NAME=CELL,SERIES,PARALLEL"),
        ([*BERTH, "--chamber-area-m2", "lock-1=large"], "is not NAME=AREA; give it as in lock-1=1735.2"),
        ([*BERTH, "--device", "l=generic-lock@modbus://10.20.0.7"], "--chamber-area-m2 l=1735.2 is missing"),
        ([*BERTH, "--tls-ca", "none.pem"], "broker: tls_ca = 'none.pem'"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(tmp_path: Path, words: list[str], told: str) -> None:
    path = tmp_path / "calais.toml"
    code, said = run("new", *words, "--out", str(path))
    plain = " ".join(said.split())
    assert code == 2 and told.replace("broker: tls_ca", "broker.tls_ca") in plain, said
    assert not path.exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "calais.toml"
    path.write_text("mine")
    code, said = run("new", *BERTH, "--out", str(path))
    assert code == 2 and "is there already; --force writes over it" in said and path.read_text() == "mine"
    assert run("new", *BERTH, "--out", str(path), "--force")[0] == 0 and "meter-1" in path.read_text()
    code, said = run("new", *BERTH, "--out", "-")
    assert code == 0 and said == path.read_text(encoding="utf-8")


async def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge.site_cli", "new", "--lang", "fr", cwd=tmp_path, stdin=theirs,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        answers = [
            "escaut", "gw-ecluse-2", "10.20.0.2", "x=nothing@modbus://10.20.0.8",
            "lock-1=generic-lock@modbus://10.20.0.8", "", "1735.2", "",
        ]  # fmt: skip
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        async with asyncio.timeout(LONG_S):
            out, _ = await child.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    said = out.decode()
    assert child.returncode == 0 and "Nom du site" in said and "profile 'nothing' is not known" in said, said
    assert [d.name for d in LoadedSite.load(tmp_path / "escaut.toml").site.device] == ["lock-1"]


# --- the schema ---


def plain(value: Any) -> Any:
    """TOML's values as JSON has them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def examples() -> Iterator[Any]:
    """Every whole site file that the documentation or the tests show."""
    for page in (ROOT / "README.md", ROOT / "edge" / "README.md", ROOT / "docs" / "berth-guide.md"):
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            text = re.sub(r"^   ", "", block, flags=re.MULTILINE)
            if "schema" in text and "[site]" in text:
                yield tomllib.loads(text)
    yield tomllib.loads(SITE.format(port=1883, charger=502, meter=502))


def test_the_examples_fit_the_schema_and_wrong_files_do_not() -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).output)
    validator = Draft202012Validator(schema)
    good = [plain(example) for example in examples()]
    assert len(good) >= 3
    for example in good:
        Site.model_validate(example)
        assert list(validator.iter_errors(example)) == []
    wrong = tomllib.loads((ROOT / "tests" / "cases" / "bad_site_files" / "unknown_key.toml").read_text())
    told = sorted(error.message for error in validator.iter_errors(plain(wrong)))
    assert len(told) == 2 and "intervall_s" in told[1] and "0.01" in told[0]
    described = schema["$defs"]["DeviceConfig"]["properties"]["unit_id"]
    assert described["description"] == "Modbus unit" and (described["minimum"], described["maximum"]) == (0, 255)


def test_the_shipped_profiles_fit_their_schema() -> None:
    validator = Draft202012Validator(Profile.model_json_schema(by_alias=True))
    for name in shipped_profiles():
        table = tomllib.loads((ROOT / "drivers" / "profiles" / f"{name}.toml").read_text(encoding="utf-8"))
        assert [error.message for error in validator.iter_errors(table)] == [], name


def test_the_schema_goes_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "site.schema.json"
    assert CliRunner().invoke(app, ["schema", "--out", str(path)]).exit_code == 0
    assert json.loads(path.read_text(encoding="utf-8"))["title"] == "bollard site file"
    done = CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "none" / "x.json")])
    assert done.exit_code == 2 and "cannot be written: No such file" in done.output


# --- older files ---

OLD = SITE.format(port=1, charger=1, meter=1).replace("schema = 1", "# Our quay, since 2025").lstrip()


def test_an_older_file_is_brought_up_to_date_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(OLD)
    path.chmod(0o640)
    (tmp_path / "site.toml.sig").write_text("{}")
    code, said = run("migrate", "--site", str(path), "--dry-run")
    assert code == 0 and said == "schema = 1 is written at the top\n" and path.read_text() == OLD
    code, said = run("migrate", "--site", str(path))
    assert code == 0 and "schema = 1 is written at the top" in said and "site.toml.old" in said
    assert "site.toml.sig no longer holds: sign again" in said
    assert (tmp_path / "site.toml.old").read_text() == OLD and path.stat().st_mode & 0o777 == 0o640
    assert path.read_text().startswith("# Our quay, since 2025\nschema = 1\n[site]\n")
    assert LoadedSite.load(path).site.site.name == "port"
    code, said = run("migrate", "--site", str(path))
    assert code == 0 and "nothing to change" in said
    path.write_text(OLD.replace("2025", "2026"))
    code, said = run("migrate", "--site", str(path))
    assert code == 2 and "site.toml.old: is there already" in said and "2026" in path.read_text()
    assert (tmp_path / "site.toml.old").read_text() == OLD


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("schema = 7", "schema = 7: this bollard reads 1; the file is newer: update bollard here"),
        ("schema = ", "not TOML: "),
        ('schema = "1"', "schema = '1': is no version; give a number from 0 to 1"),
        ("", "site: Field required"),
    ],
)
def test_what_cannot_be_migrated_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    code, said = run("migrate", "--site", str(path))
    assert code == 2 and told in said and path.read_text() == text and not (tmp_path / "site.toml.old").exists()
    assert run("migrate", "--site", str(tmp_path / "none.toml"))[0] == 2


def test_a_file_goes_through_all_the_steps_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it will be once there is a schema 3."""

    def renamed(old: str, new: str) -> site_migrate.Step:
        def step(lines: list[str]) -> Iterator[tuple[str, dict[str, object]]]:
            for i, line in enumerate(lines):
                lines[i] = line.replace(old, new)
            yield "schema", {"to": new}

        return step

    for module in (site_checks, site_migrate):
        monkeypatch.setattr(module, "SCHEMA", 3)
    monkeypatch.setitem(site_migrate.STEPS, 1, renamed("host", "address"))
    monkeypatch.setitem(site_migrate.STEPS, 2, renamed("address", "where"))
    text, changes = migrated('schema = 1\nhost = "plc" # ours', Path("site.toml"))
    assert 'where = "plc" # ours' in text and [values["to"] for _, values in changes] == ["address", "where"]
    with pytest.raises(ConfigError, match="this bollard reads 3"):
        migrated("schema = 4", Path("site.toml"))
