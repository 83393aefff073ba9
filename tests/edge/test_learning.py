"""`bollard edge learn`: what a device refuses is found out once, kept, and gone around from then on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.learned import Learned, LearnedFile
from drivers.profile import parse_profile
from drivers.row import Quality
from edge.cli import app
from edge.clock import WallClock
from edge.config import LoadedSite
from edge.learning import commission
from edge.poll import Poller
from edge.spool import SpoolError, locked
from edge.texts import texts_for
from firmware_sim.modbus_server import ModbusServer
from firmware_sim.modbus_unit import ModbusUnit

HEAD = 'schema = 1\nkind = "meter"\nmodel = "Holey 3"\nsource = "this test"\n'
POINTS = "".join(
    f'[[point]]\nname = "{name}"\naddress = {address}\ntype = "uint16"\nfr = "x"\nen = "x"\n'
    for name, address in {"one": 0, "two": 1, "three": 8, "four": 12}.items()
)
WITHOUT_FOUR = POINTS.split('[[point]]\nname = "four"')[0]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A device without registers 4 and 5, and of an older make that has no fourth point."""
    profile = parse_profile(HEAD + "forbidden = [[4, 5]]\n" + WITHOUT_FOUR, "made up")
    server = ModbusServer({1: ModbusUnit(profile, lambda: {"one": 11, "two": 22, "three": 33})})
    yield await server.start("127.0.0.1", 0)
    await server.stop()


def site(folder: Path, port: int) -> LoadedSite:
    (folder / "holey.toml").write_text(HEAD + POINTS)
    (folder / "site.toml").write_text(
        'schema = 1\n[site]\nname = "s"\ngateway = "g"\n[broker]\nhost = "127.0.0.1"\n'
        + '[[device]]\nname = "meter-1"\nprofile = "holey.toml"\nhost = "127.0.0.1"\n'
        + f"port = {port}\ntimeout_s = 5.0\n"
    )
    return LoadedSite.load(folder / "site.toml")


async def learned(loaded: LoadedSite) -> tuple[bool, list[str]]:
    texts, told = texts_for("en"), []

    def say(key: str, /, **values: object) -> None:
        told.append(texts(key, **values))

    return await commission(loaded, ["meter-1"], say), told


async def test_what_a_device_refuses_is_told_kept_and_gone_around(tmp_path: Path, port: int) -> None:
    loaded = site(tmp_path, port)
    reached, told = await learned(loaded)
    assert reached
    assert told[0].startswith("meter-1: ") and told[0].endswith(" requests")
    assert "  holding 4-5 cannot be read: requests go around it" in told
    assert any(line.startswith("  point four refused, never asked for again: ") for line in told)
    assert (
        told[-1] == f"Kept in {tmp_path / 'learned.json'}, which bollard edge run and plan read when they start."
    )
    profile = loaded.profiles["meter-1"]
    kept = LearnedFile.load(loaded.learned_path).of("meter-1", profile)
    assert kept is not None and kept.unreadable == {"holding": [(4, 5)]} and set(kept.refused) == {"four"}


async def test_afterwards_the_poller_reads_all_that_there_is(tmp_path: Path, port: int) -> None:
    loaded = site(tmp_path, port)
    await learned(loaded)
    device, profile = loaded.site.device[0], loaded.profiles["meter-1"]
    kept = LearnedFile.load(loaded.learned_path).of("meter-1", profile)
    rows: asyncio.Queue = asyncio.Queue()
    poller = Poller(device, profile, WallClock(), lambda _, row: rows.put_nowait(row), learned=kept)
    task = asyncio.create_task(poller.run())
    row = await asyncio.wait_for(rows.get(), 30.0)
    task.cancel()
    assert row.values[:3].tolist() == [11, 22, 33]
    assert row.quality.tolist() == [0, 0, 0, Quality.REFUSED]


async def test_a_device_that_is_not_there_is_told_and_nothing_is_learned(tmp_path: Path) -> None:
    with_no_port = site(tmp_path, 1)
    reached, told = await learned(with_no_port)
    assert not reached
    assert told[0].startswith("meter-1: modbus://127.0.0.1:1") and told[0].endswith("nothing is learned")
    assert LearnedFile.load(with_no_port.learned_path).of("meter-1", with_no_port.profiles["meter-1"]) is None


async def test_nothing_is_asked_while_the_agent_reads_the_same_devices(tmp_path: Path, port: int) -> None:
    loaded = site(tmp_path, port)
    with locked(loaded.spool_path), pytest.raises(SpoolError, match="another bollard edge run is using it"):
        await learned(loaded)
    assert not loaded.learned_path.exists()
    assert LearnedFile.load(loaded.learned_path).of("meter-1", loaded.profiles["meter-1"]) != Learned()


def test_the_command_names_a_wrong_device_and_ends_with_4_where_one_was_not_reached(tmp_path: Path) -> None:
    site(tmp_path, 1)
    command = ["learn", "--site", str(tmp_path / "site.toml"), "--lang", "en"]
    wrong = CliRunner().invoke(app, [*command, "--device", "meter-9"])
    assert wrong.exit_code == 2
    assert "--device meter-9: is no Modbus device of" in wrong.output and "use meter-1" in wrong.output
    away = CliRunner().invoke(app, command)
    assert away.exit_code == 4 and "nothing is learned" in away.output
