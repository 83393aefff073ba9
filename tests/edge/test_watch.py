"""`bollard edge watch`: through the agent where one runs, else by itself; never both."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import ROOT
from rich.console import Console

from drivers.profile import load_profile
from edge.agent import Agent
from edge.clock import WallClock
from edge.commissioning import Walk, given
from edge.config import ConfigError, LoadedSite
from edge.spool import SpoolError, locked
from edge.texts import Texts
from edge.watch import Watched
from edge.watch_view import number, view
from firmware_sim.modbus_server import ModbusServer, ModbusUnit

LONG_S = 60.0
SITE = """
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = 1
[[device]]
name = "meter-1"
profile = "generic-meter"
host = "127.0.0.1"
port = {port}
interval_s = 0.2
[[device]]
name = "charger-1"
profile = "generic-charger"
host = "127.0.0.1"
port = 1
"""
VALUES = {
    "power_w": 6_998_400.0, "reactive_power_var": 812_000.0, "voltage_l1_v": 6_351.0, "frequency_hz": 50.01,
    "power_factor": 0.993, "energy_import_total_wh": 48_211_907,
}  # fmt: skip


class Berth:
    def __init__(self, loaded: LoadedSite, server: ModbusServer) -> None:
        self.loaded, self.server = loaded, server


@pytest_asyncio.fixture
async def berth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Berth]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = ModbusServer({1: ModbusUnit(load_profile("generic-meter"), lambda: VALUES)})
    port = await server.start("127.0.0.1", 0)
    (tmp_path / "site.toml").write_text(SITE.format(port=port))
    yield Berth(LoadedSite.load(tmp_path / "site.toml"), server)
    await server.stop()


@pytest_asyncio.fixture
async def agent(berth: Berth, kernels: None) -> AsyncIterator[asyncio.Event]:
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(Agent(berth.loaded, WallClock(), "test").run(stop, ready.set))
    async with asyncio.timeout(LONG_S):
        await ready.wait()
    yield stop
    stop.set()
    await running


def drawn(watched: Watched, lang: str = "en", height: int | None = None) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(view(watched, Texts(lang), height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_of(told: str, point: str) -> list[str]:
    return next(line.split() for line in told.splitlines() if line.strip().startswith(point))


async def test_without_an_agent_it_reads_by_itself_and_keeps_agents_out(berth: Berth) -> None:
    async with Watched(berth.loaded, []) as watched:
        assert await watched.settled()
        told = drawn(watched)
        with pytest.raises(SpoolError, match="another bollard edge run"):
            locked(berth.loaded.spool_path)
    assert "No agent runs for this site" in told
    assert line_of(told, "power_w")[1:5] == ["6,998,400", "W", "2", "unproven"]
    assert line_of(told, "frequency_hz")[1:3] == ["50.01", "Hz"]
    assert line_of(told, "frequency_hz")[-2:] == ["4248", "0a3d"]
    assert "charger-1 · bollard generic charging tower · modbus://127.0.0.1:1/1 · away" in told
    locked(berth.loaded.spool_path).close()  # free again


async def test_through_the_agent_it_opens_no_connection_of_its_own(berth: Berth, agent: asyncio.Event) -> None:
    async with Watched(berth.loaded, ["meter-1"]) as watched:
        assert await watched.settled()
        told = drawn(watched, "fr")
        assert len(berth.server.connections) == 1
    assert "Par l'agent en service" in told and watched.through is not None and watched.through in told
    assert line_of(told, "power_w")[1:6] == ["6", "998", "400", "W", "2"]  # not proven yet, as the agent has it
    assert "non prouvé" in told and "charger-1" not in told
    english, readme = drawn(watched), (ROOT / "edge" / "README.md").read_text(encoding="utf-8")
    for point in ("power_w", "frequency_hz", "energy_import_total_wh"):
        assert " ".join(line_of(english, point)[:5]) == " ".join(line_of(readme, f"{point}  ")[:5])


async def test_it_tells_when_the_agent_ends(berth: Berth, agent: asyncio.Event) -> None:
    async with Watched(berth.loaded, []) as watched:
        await watched.settled()
        agent.set()
        async with asyncio.timeout(LONG_S):
            while not watched.trouble:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.02)
        assert "Nothing more comes" in drawn(watched)


async def test_an_agent_that_goes_by_another_site_file_is_to_be_reloaded(
    berth: Berth, agent: asyncio.Event
) -> None:
    """A scale, an address or a name has changed on disk: what the agent tells is not what the file says."""
    file = berth.loaded.path
    text, shipped = file.read_text(), (ROOT / "drivers" / "profiles" / "generic-meter.toml").read_text()
    (file.parent / "ours.toml").write_text(shipped.replace("address = 0\n", "address = 0\nscale = 10.0\n", 1))
    for old, new in (
        ("generic-meter", "ours.toml"),
        ("interval_s", "unit_id = 2\ninterval_s"),
        ("meter-1", "meter-2"),
    ):
        file.write_text(text.replace(old, new))
        loaded = LoadedSite.load(file)
        async with Watched(loaded, []) as watched:
            await watched.settled()
            assert "reload the agent" in watched.trouble, new
        with pytest.raises(ConfigError, match="reload the agent"):
            await Walk(loaded, loaded.site.device[0], "no_load").look(given({}), 0.0)


async def command(*words: str, **settings: Any) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge.cli", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, **settings,
    )  # fmt: skip
    async with asyncio.timeout(LONG_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_prints_one_table_and_ends(berth: Berth) -> None:
    code, out, _ = await command("watch", "--site", str(berth.loaded.path), "--once", "--lang", "en")
    assert code == 0
    assert line_of(out, "energy_import_total_wh")[1:4] == ["48,211,907", "Wh", "2"]
    assert max(map(len, out.splitlines())) <= 100
    only = ("watch", "--site", str(berth.loaded.path), "--once", "--device", "charger-1")
    assert (await command(*only))[0] == 4  # nobody answers
    code, _, err = await command("watch", "--site", str(berth.loaded.path), "--device", "meter-9", "--lang", "en")
    assert code == 2 and "--device meter-9: is no device" in err and "meter-1, charger-1" in err


async def test_what_has_no_room_on_the_screen_is_named(berth: Berth) -> None:
    async with Watched(berth.loaded, []) as watched:
        await watched.settled()
        told = drawn(watched, height=12)
    assert "power_w" in told and "No room on this screen for charger-1" in told


def test_numbers_are_written_as_the_language_does() -> None:
    en, fr = Texts("en"), Texts("fr")
    assert [number(v, en) for v in (0.0, 48_211_907.0, 50.01, 0.993, 6_340.5, 1.5e-9)] == [
        "0", "48,211,907", "50.01", "0.993", "6,340.5", "1.5e-09",
    ]  # fmt: skip
    assert [number(v, fr) for v in (6_340.5, 0.25)] == ["6\u202f340,5", "0,25"]
    assert number(float("nan"), en) == "nan"
