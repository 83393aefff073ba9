"""What the berth guide shows is what the commands print."""

import asyncio
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT
from sim_battery import SimBattery
from sim_meter import meter, meter_unit
from typer.testing import CliRunner

from drivers.address import ModbusAddress
from drivers.scan import Sighting, look_at_line, look_at_port
from edge.config import LoadedSite
from edge.probe_command import Wanted, probing
from edge.probe_draft import modbus_draft
from edge.profile_cli import app as profile
from edge.profile_draft import profile_text
from edge.scan_view import Names, Shown, lines, rest
from edge.site_cli import app as site
from edge.texts import Texts
from firmware_sim.modbus_server import RtuOverTcpServer
from firmware_sim.serial_line import SerialLine

GUIDE = (ROOT / "docs" / "berth-guide.md").read_text(encoding="utf-8")
EN = Texts("en")
PATIENT_S, BOTH_S = 30.0, 1.5  # for an answer; for an answer after a silence


def block(start: str) -> str:
    """The block of the guide that starts so."""
    (found,) = [text for text in re.findall(r"```\w*\n(.*?)```", GUIDE, re.DOTALL) if text.startswith(start)]
    return str(found)


def same(text: str) -> str:
    """Without what differs from run to run: days, fingerprints, hashes of profiles."""
    return re.sub(r"\b[0-9a-f]{16}\b|\b[0-9a-f]{64}\b|\b20\d\d-\d\d-\d\d\b", "…", text)


async def look(port: int, unit: int, timeout_s: float = PATIENT_S) -> list[Sighting]:
    return await look_at_port("127.0.0.1", port, [unit], timeout_s, lambda _: None)


async def test_scan_prints_what_the_guide_shows() -> None:
    line, battery = SerialLine({3: meter_unit()}, baud=9_600, paced=False), SimBattery("both")
    path = line.start()
    await battery.start()
    try:
        async with meter(swapped=True) as (_, swapped), meter(RtuOverTcpServer, unit=3) as (_, server):
            seen = await look_at_line(path, (9_600,), ("N",), (3,), 0.0, PATIENT_S, lambda _: None)
            seen += await look(swapped, 1)
            seen += await look(server, 3, BOTH_S)
            seen += await look(battery.port, 1, BOTH_S)
            seen += await look(1, 1)
    finally:
        await battery.server.stop()
        await line.stop()
    names = Names()
    shown = [Shown(one, names) for one in seen]
    said = "\n".join([line for one in shown for line in lines(one, EN)] + list(rest(shown, EN))) + "\n"
    places = {
        path: "/dev/ttyUSB0", f"127.0.0.1:{swapped}": "10.20.0.7:502", f"127.0.0.1:{server}": "10.20.0.8:4001",
        f"127.0.0.1:{battery.port}": "10.20.0.9:4840", "127.0.0.1:1\n": "10.20.0.10:502\n",
    }  # fmt: skip
    for here, there in places.items():
        said = said.replace(here, there)
    assert same(said) == same(block("/dev/ttyUSB0 ·"))


async def drafted(takes: list[str]) -> str:
    """The draft of a meter with swapped words."""
    async with meter(swapped=True) as (_, port):
        wanted = Wanted(ModbusAddress("127.0.0.1", port), "holding", 0, 64, timeout_s=PATIENT_S)
        async with probing(wanted) as (looker, _):
            assert looker is not None
            draft = modbus_draft(await looker.look(), takes, "", EN)
    return profile_text(draft, "my-meter.toml", EN).replace(f"127.0.0.1:{port}", "10.20.0.7:502")


def test_the_draft_is_the_one_that_the_guide_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = shlex.split(block("bollard edge probe").replace("\\\n", " "))
    text = asyncio.run(drafted([word for before, word in pairwise(command) if before == "--take"]))
    assert same(text) == same(block("# Written by bollard profile new"))
    monkeypatch.chdir(tmp_path)
    Path("my-meter.toml").write_text(text, encoding="utf-8")
    checked = CliRunner().invoke(profile, ["check", "my-meter.toml", "--lang", "en"])
    assert checked.exit_code == 0 and same(checked.output) == same(block("my-meter.toml: look at"))


def test_the_site_file_is_the_one_that_the_guide_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = shlex.split(block("bollard site new").replace("\\\n", " "))
    done = CliRunner().invoke(site, [*command[2:], "--lang", "en"])
    assert done.exit_code == 0, done.output
    written = Path("calais.toml")
    assert written.read_text(encoding="utf-8") == block("# Written by bollard site new")
    assert [d.name for d in LoadedSite.load(written).site.device] == ["meter-1", "charger-1"]
