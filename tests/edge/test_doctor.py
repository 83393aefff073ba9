"""`bollard edge doctor`: each line is good, or says what to do, in both languages."""

import asyncio
import getpass
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ROOT
from processes import Process, free_port
from servers.mosquitto import Mosquitto
from typer.testing import CliRunner

from edge.cli import app
from edge.config import LoadedSite, SpoolConfig
from edge.doctor import Patient, as_data, examine
from edge.doctor_broker import certificate_lines
from edge.doctor_line import Line
from edge.doctor_machine import KernelClock, Machine, clock_lines, disk_lines, forward_lines
from edge.mqtt import tls_files
from edge.texts import LANGS, Texts
from gateway.pki import Pki

SITE = """
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "{host}"
port = {port}
{more}
[clock]
require = false
[[device]]
name = "meter-1"
profile = "generic-meter"
host = "127.0.0.1"
port = 1
origin = "sim"
"""
CHRONY = "C0A80001,10.20.0.1,2,1790000000.0,0.000001,0.0,0.0,0.0,0.0,0.0,0.0,0.0,64.0,{leap}\n"


def site(folder: Path, host: str = "127.0.0.1", port: int = 1, more: str = "") -> LoadedSite:
    file = folder / "site.toml"
    file.write_text(SITE.format(host=host, port=port, more=more))
    return LoadedSite.load(file)


def keys(lines: Sequence[Line]) -> dict[str, str]:
    return {line.key: line.state for line in lines}


def examined(loaded: LoadedSite, *groups: str, wait_s: float = 5.0) -> list[Line]:
    async def look() -> list[Line]:
        return [line async for line in examine(Patient(loaded, "1", wait_s=wait_s), groups)]  # type: ignore[arg-type]

    return asyncio.run(look())


def machine(root: Path, synchronised: bool = True, **tools: str) -> Machine:
    return Machine(root, lambda command: tools.get(command[0]), lambda: KernelClock(synchronised, 3.0))


@pytest.mark.parametrize(
    ("synchronised", "tools", "required", "key", "state"),
    [
        (True, {"chronyc": CHRONY.format(leap="Normal")}, True, "clock_set", "good"),
        (True, {"timedatectl": "NTP=yes\nNTPSynchronized=yes\n"}, True, "clock_set", "good"),
        (True, {}, True, "clock_set_by_nobody_known", "good"),
        (False, {"chronyc": CHRONY.format(leap="Not synchronised")}, True, "clock_unset", "bad"),
        (False, {"timedatectl": "NTP=no\n"}, True, "clock_no_daemon", "bad"),
        (False, {}, False, "clock_isolated", "note"),
    ],
)
def test_who_sets_the_clock(
    tmp_path: Path, synchronised: bool, tools: dict[str, str], required: bool, key: str, state: str
) -> None:
    (line,) = clock_lines(machine(tmp_path, synchronised, **tools), required, None)
    assert (line.key, line.state) == (key, state)


def test_what_the_agent_thinks_of_the_clock(tmp_path: Path) -> None:
    for known, trusted, key in (
        (False, False, "trust_waits"),
        (True, False, "trust_lost"),
        (True, True, "trusted"),
    ):
        status = {"clock_known": known, "clock_trusted": trusted, "held": 7}
        assert [line.key for line in clock_lines(machine(tmp_path), True, status)][1] == key


def test_a_gateway_that_forwards_is_told_so(tmp_path: Path) -> None:
    assert keys(list(forward_lines(machine(tmp_path)))) == {"forwards_nothing": "good"}
    for path in ("proc/sys/net/ipv4", "proc/sys/net/ipv6/conf/all"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "proc/sys/net/ipv4/ip_forward").write_text("1\n")
    (tmp_path / "proc/sys/net/ipv6/conf/all/forwarding").write_text("0\n")
    (line,) = forward_lines(machine(tmp_path))
    assert line.state == "bad" and line.values["which"] == "IPv4"
    assert "net.ipv4.ip_forward = 0" in line.remedy(Texts("fr"))


def test_the_disk_is_written_and_its_wear_read(tmp_path: Path) -> None:
    spool = tmp_path / "spool.db"
    spool.write_bytes(b"x" * 100)
    assert keys(list(disk_lines(machine(tmp_path), spool, SpoolConfig(min_free_mib=1)))) == {
        "disk_free": "good", "spool": "good", "write": "good", "wear_unknown": "note",
    }  # fmt: skip
    spool.write_bytes(b"x" * 7 * 2**20)
    found = keys(list(disk_lines(machine(tmp_path), spool, SpoolConfig(min_free_mib=1_000_000, max_mib=8))))
    assert found["disk_short"] == found["spool_full"] == "bad"
    device = tmp_path.stat().st_dev
    disk = tmp_path / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    (disk / "device").mkdir(parents=True)
    for life, key in (("0x01 0x02", "wear"), ("0x0a 0x01", "worn")):
        (disk / "device" / "life_time").write_text(life)
        assert key in keys(list(disk_lines(machine(tmp_path), spool, SpoolConfig())))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(f"1 2 8:1 / {tmp_path} rw,noatime - ext4 /dev/sda1 ro\n")
    found = keys(list(disk_lines(machine(tmp_path), spool, SpoolConfig())))
    assert found["mount_read_only"] == "bad" and "write" not in found
    gone = disk_lines(machine(tmp_path), tmp_path / "none" / "spool.db", SpoolConfig())
    assert keys(list(gone)) == {"disk_no_folder": "bad"}


def test_a_disk_that_takes_no_file_is_told(unwritable: Path) -> None:
    found = keys(list(disk_lines(Machine(Path("/nowhere")), unwritable / "spool.db", SpoolConfig(min_free_mib=0))))
    assert found["write_refused"] == "bad"


def test_certificates_are_counted_in_days_and_a_key_is_for_us_alone(tmp_path: Path) -> None:
    pki = Pki.init(tmp_path / "pki")
    pki.issue("gateway", "port/gw", days=10)
    key = tmp_path / "pki/port.gw.key"
    key.chmod(0o644)
    files = tls_files(tmp_path, Path("pki/ca.pem"), Path("pki/port.gw.pem"), Path("pki/port.gw.key"))
    assert files is not None
    found = keys(list(certificate_lines(files)))
    assert found == {"certificate": "good", "certificate_ends": "bad", "key_open": "bad"}


def test_a_name_that_nobody_knows_and_a_port_that_nobody_opens(tmp_path: Path) -> None:
    loaded = site(tmp_path, "no-such-host.invalid")
    assert keys(examined(loaded, "network")) == {"dns_unknown": "bad"}
    assert keys(examined(site(tmp_path), "broker")) == {"broker_closed": "bad"}
    assert keys(examined(site(tmp_path), "devices")) == {"device_silent": "bad"}


@pytest.mark.mosquitto
def test_a_test_row_without_a_receipt_and_one_that_is_refused(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        loaded = site(tmp_path, port=broker.port)
        found = examined(loaded, "broker", wait_s=0.5)
        assert keys(found)["login"] == "good" and keys(found)["receipt_none"] == "bad"
        assert "bollard/1/port/gw/data" in found[-1].remedy(Texts("en"))
        shore = tmp_path / "shore.toml"
        shore.write_text(
            f'schema = 1\nproduction = true\n[store]\nurl = "sqlite:store.db"\n[broker]\nport = {broker.port}\n'
        )
        with Process(["python", "-m", "gateway.ingest_cli", "--shore", str(shore)]):
            (refused,) = [x for x in examined(loaded, "broker", wait_s=60.0) if x.check == "receipt"]
        assert refused.key == "receipt_refused" and "origin 'sim'" in refused.text(Texts("fr"))


@pytest.mark.mosquitto
def test_tls_step_by_step(tmp_path: Path) -> None:
    """The broker's chain and name, our login by certificate, and access rules that are not ours."""
    pki = Pki.init(tmp_path / "pki")
    pki.issue("gateway", "port/gw")
    pki.issue("broker", "b", ["127.0.0.1"])
    tls = 'tls_ca = "pki/ca.pem"\ntls_cert = "pki/{0}.pem"\ntls_key = "pki/{0}.key"'
    port, folder = free_port(), tmp_path / "mosquitto"
    config = ["broker", "config", "--shore", str(tmp_path / "shore.toml"), "--pki", str(tmp_path / "pki")]
    pki.issue("shore", "ingest")
    (tmp_path / "shore.toml").write_text(
        f'schema = 1\n[store]\nurl = "sqlite:s.db"\n[broker]\nport = {port}\n{tls.format("ingest")}\n'
    )
    config += ["--out", str(folder), "--bind", "127.0.0.1", "--user", getpass.getuser()]
    subprocess.run([sys.executable, "-m", "gateway.cli", *config], check=True, timeout=60, capture_output=True)
    with Mosquitto(tmp_path, made=folder, port=port):
        own = keys(examined(site(tmp_path, port=port, more=tls.format("port.gw")), "broker", wait_s=0.5))
        assert own["tls"] == own["login"] == own["certificate"] == "good"
        by_name = examined(site(tmp_path, "localhost", port, tls.format("port.gw")), "broker", wait_s=0.5)
        assert keys(by_name)["tls_not_trusted"] == "bad"


def test_what_is_damaged_beside_the_spool_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("geheim")
    loaded = site(tmp_path, more='username = "gw"\npassword_file = "secret"')
    (tmp_path / "secret").unlink()
    (tmp_path / "commissioned.json").write_text("{")
    (tmp_path / "learned.json").write_text("{")
    found = examined(loaded, "network", "broker", "agent", "devices")
    assert (
        keys(found).items()
        >= {"commissioned_damaged": "bad", "learned_damaged": "bad", "broker_no_password": "bad"}.items()
    )
    assert all(line.remedy(Texts("fr")) for line in found if line.state == "bad")


def test_the_command_ends_with_1_and_says_what_to_do(tmp_path: Path) -> None:
    site(tmp_path)

    def told(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["doctor", "--site", str(tmp_path / "site.toml"), *words])
        return done.exit_code, done.output

    code, out = told("--only", "broker", "--only", "agent", "--lang", "fr")
    assert code == 1 and "À FAIRE" in out and "→ Adresse et port de [broker]" in out and "À faire : 1." in out
    code, out = told("--only", "broker", "--json")
    data = json.loads(out)
    assert code == 1 and data["good"] is False and data["lines"][0]["do"]
    assert told("--only", "disk", "--lang", "en")[0] in (0, 1)
    assert told("--only", "weather")[0] == 2


def test_every_line_has_its_sentences() -> None:
    """What can be found has a text in both languages, and what is bad has a remedy."""
    for lang in LANGS:
        texts = Texts(lang)
        for file in (ROOT / "edge").glob("doctor*.py"):
            for found in re.finditer(r'Line\([^()]*?"(good|note|bad)", "(\w+)"', file.read_text()):
                assert texts._table["doctor"][found[2]], found[0]
                if found[1] == "bad":
                    assert texts._table["doctor_do"][found[2]], found[0]
    day = as_data([Line("clock", "", "good", "trusted")], Texts("fr"))
    assert day["good"] and day["lines"][0]["do"] == ""
