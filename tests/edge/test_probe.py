"""`bollard edge probe`: what an engineer sees of an unknown device, and what the README shows of it."""

import asyncio
import hashlib
import io
import re
import signal
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from edge_rows import load
from processes import listen_to_ctrl_c
from rich.console import Console
from sim_battery import SimBattery
from sim_meter import METER, VALUES, meter
from typer.testing import CliRunner

from drivers.address import ModbusAddress
from drivers.bus import Buses
from drivers.errors import DeviceRefused
from drivers.opcua_security import NotTrusted
from drivers.opcua_settings import OpcUaSettings
from drivers.probe_opcua import tree
from edge.cli import app
from edge.clock import WallClock
from edge.local import LocalSocket
from edge.poll import Poller
from edge.probe_command import Wanted, modbus_instead, probing
from edge.probe_view import view
from edge.texts import Texts
from firmware_sim.modbus_server import ModbusServer, ModbusUnit, RtuOverTcpServer
from firmware_sim.opcua_security import server_identity
from firmware_sim.serial_line import SerialLine

LONG_S = 90.0
PATIENT_S, SILENCE_S = "30", "2"  # for an answer that comes, and for one that does not


async def probe(*words: str, folder: Path | None = None) -> tuple[int | None, str]:
    """Exit code and all that was said; `bollard edge probe … --lang en`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge.cli", "probe", "--timeout-s", PATIENT_S, *words, "--lang", "en", cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(LONG_S):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


def plain(text: str) -> str:
    """Words only: where a line breaks depends on how long a port number is."""
    return " ".join(text.split())


def shown(said: str, port: int) -> bool:
    """Whether the drivers' README shows this, of a device at 10.20.0.7.

    But for what changes with each new profile: the list of those that do not fit, and a profile's hash.
    """
    readme = (ROOT / "drivers" / "README.md").read_text(encoding="utf-8")
    wanted = said.replace(f"127.0.0.1:{port}", "10.20.0.7:502").partition("Read, but what comes")[0]
    wanted, readme = (re.sub(r"\b[0-9a-f]{16}\b", "hash", text) for text in (wanted, readme))
    return plain(wanted) in plain(readme)


async def test_swapped_words_are_seen_as_the_readme_shows() -> None:
    async with meter(swapped=True) as (_, port):
        code, said = await probe(f"modbus://127.0.0.1:{port}/1", "--once")
        assert code == 0 and shown(said, port), said
        assert max(map(len, said.splitlines())) <= 100
        code, said = await probe(f"modbus://127.0.0.1:{port}/1", "--profile", "generic-meter", "--once")
        assert code == 1 and shown(said, port), said


async def test_rtu_over_tcp_is_told_as_the_readme_shows() -> None:
    async with meter(RtuOverTcpServer) as (_, port):
        code, said = await probe(
            f"modbus://127.0.0.1:{port}/1", "--range", "0:20", "--timeout-s", SILENCE_S, "--once"
        )
    assert code == 0 and shown(said, port), said


async def test_a_serial_line_is_named_in_the_url() -> None:
    line = SerialLine({3: ModbusUnit(METER, lambda: VALUES)}, paced=False)
    path = line.start()
    try:
        settings = "parity=N&listen_s=0&unit=3"
        code, said = await probe(f"modbus+rtu://{path}?{settings}", "--range", "0:20", "--once")
    finally:
        await line.stop()
    assert code == 0 and f"modbus+rtu://{path}/3" in said
    assert "Name plate (43/14): bollard simulator" in said and "50.01 Hz?" in said
    assert "generic-meter 100 %" in plain(said)


async def test_a_right_profile_passes_and_a_wrong_unit_is_named() -> None:
    async with meter(unit=3) as (_, port):
        code, said = await probe(f"modbus://127.0.0.1:{port}/3", "--profile", "generic-meter", "--once")
        assert code == 0 and "✗" not in said and "passes frequency, power factor" in said
        url = f"modbus://127.0.0.1:{port}/1"
        code, said = await probe(url, "--once", "--range", "0:4", "--timeout-s", SILENCE_S)
        there = f"opc.tcp://127.0.0.1:{port}"
        assert await modbus_instead(there, None, float(SILENCE_S)) is None, "unit 1 alone is asked"
    assert code == 0  # it goes on with the unit that answers
    assert "Unit 1 does not answer; on the same connection these do: 3" in plain(said)
    assert "6,998,400" in said


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["modbus://127.0.0.1:1/1", "--once"], 4, "connection refused; nothing listens on that port"),
        (["modbus://127.0.0.1:1/1", "--range", "9:3"], 2, "--range 9:3: write FIRST:END"),
        (["modbus://127.0.0.1:1/1", "--table", "6"], 2, "--table 6: is not one of holding, input"),
        (["modbus://127.0.0.1:1/1", "--profile", "sdm360"], 2, "profile 'sdm360' is not known; use"),
        (["modbus://10.20..7/1"], 2, "host '10.20..7': no machine can have this name; give an address or a name"),
        (["opc.tcp://10.20..9:4840"], 4, "its host is no name and no address; give one as in 10.20.0.9 or"),
        (["modbus://[::1/1"], 2, "modbus://[::1/1: Invalid IPv6 URL; as in modbus://"),
        (["http://127.0.0.1"], 2, "'http' is not one of modbus"),
        (["opc.tcp://127.0.0.1:1", "--username", "edge"], 2, "a password is only sent encrypted"),
        (["opc.tcp://127.0.0.1:1", "--device", "bms"], 2, "--site FILE"),
        (["modbus://127.0.0.1:1/1", "--profile", "generic-bms"], 2, "--profile generic-bms: speaks opcua"),
        (["opc.tcp://127.0.0.1:1", "--profile", "generic-meter"], 2, "--profile generic-meter: speaks modbus"),
        (["opc.tcp://127.0.0.1:1", "--profile", "generic-bms"], 2, "bollard edge watch"),
    ],
)
def test_what_is_wrong_ends_with_2_and_where_nobody_is_with_4(words: list[str], code: int, told: str) -> None:
    result = CliRunner().invoke(app, ["probe", *words, "--lang", "en"])
    assert result.exit_code == code and told in result.output


async def test_the_help_names_the_table_of_the_site_file() -> None:
    code, said = await probe("--help")
    assert code == 0 and said.count("[device.opcua]") == 2


async def test_a_look_goes_through_the_agent_that_polls_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with meter() as (server, port):
        loaded, buses = load(tmp_path, meter=port), Buses()
        pollers = {
            d.name: Poller(d, loaded.profiles[d.name], WallClock(), lambda *_: None, buses)
            for d in loaded.site.device
        }
        polling = asyncio.create_task(pollers["meter"].run())
        async with LocalSocket(loaded, pollers) as local:
            code, said = await probe(f"modbus://localhost:{port}/1", "--range", "0:20", "--once")
            assert code == 0 and plain(f"whose connection it is: {local.path}") in plain(said)
            assert "50.01 Hz?" in said and "generic-meter 100 %" in plain(said)
            assert len(server.connections) == 1
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        assert pollers["meter"].bus is not None and pollers["meter"].bus.connections == 1


async def test_opc_ua_asked_of_a_modbus_device_is_told_what_it_speaks() -> None:
    async with meter() as (_, port):
        code, said = await probe(f"opc.tcp://127.0.0.1:{port}", "--timeout-s", SILENCE_S)
    assert code == 4 and "Modbus, not OPC UA" in plain(said), said
    assert f"Write modbus://127.0.0.1:{port}/1." in plain(said)


async def test_a_profile_whose_registers_are_all_refused_is_concluded_to_be_the_wrong_one() -> None:
    empty = METER.model_copy(update={"point": ()})
    server = ModbusServer({1: ModbusUnit(empty, dict)})
    port = await server.start("127.0.0.1", 0)
    wanted = Wanted(ModbusAddress("127.0.0.1", port), "holding", 0, 4, METER, timeout_s=float(PATIENT_S))
    async with probing(wanted) as (look, found):
        assert look is not None
        await look.look()
        assert [hint.key for hint in found.hints] == ["all_refused"]
        console = Console(width=100, file=io.StringIO())
        console.print(view(found, Texts("fr")))
        assert isinstance(console.file, io.StringIO)
        assert "sont toutes refusées : ce n'est pas la table de registres" in plain(console.file.getvalue())
    await server.stop()


async def test_what_changes_is_marked_and_silence_is_told_until_it_ends() -> None:
    values = {"power_w": 1000.0}
    server = ModbusServer({1: ModbusUnit(METER, lambda: VALUES | values)})
    port = await server.start("127.0.0.1", 0)
    async with probing(Wanted(ModbusAddress("127.0.0.1", port), "holding", 0, 20, timeout_s=5.0)) as (look, found):
        assert look is not None
        await look.look()
        values["power_w"] = 2000.0
        await look.again()
        assert found.changed == {0} and not found.trouble  # 447a 0000 -> 44fa 0000
        console = Console(width=100, file=io.StringIO())
        console.print(view(found, Texts("en"), live=True))
        assert isinstance(console.file, io.StringIO)
        told = console.file.getvalue()
        assert told.index("Profiles that the answers fit") < told.index("float32 abcd 2,000")  # may scroll away
        await server.stop()
        await look.again()
        assert "127.0.0.1" in found.trouble
        await server.start("127.0.0.1", port)
        await look.again()
        assert not found.trouble and not found.changed
    await server.stop()


async def test_a_live_view_ends_with_ctrl_c() -> None:
    async with meter() as (server, port):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edge.cli", "probe", f"modbus://127.0.0.1:{port}/1",
            "--profile", "generic-meter", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            preexec_fn=listen_to_ctrl_c,
        )  # fmt: skip
        async with asyncio.timeout(LONG_S):
            while server.units[1].requests[3] < 8:  # noqa: ASYNC110 - 1 knocks, 3 for each look
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert process.returncode == 130 and not err


async def test_an_opcua_server_shows_its_ways_in_and_its_tree(tmp_path: Path) -> None:
    battery = SimBattery("both")
    await battery.start()
    try:
        there = f"opc.tcp://127.0.0.1:{battery.port}"
        code, said = await probe(battery.url, folder=tmp_path)
        assert code == 0
        pem = server_identity()[1]
        pin = hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()
        async with probing(Wanted(ModbusAddress("127.0.0.1", battery.port), "holding", 0, 4, timeout_s=1.0)) as (
            look, found,
        ):  # fmt: skip
            assert look is None
            assert [(hint.key, hint.values["url"]) for hint in found.hints] == [("is_opcua", there)]
        assert f'server_fingerprint = "{pin}"' in said and "Basic256Sha256 SignAndEncrypt" in plain(said)
        assert "pack_voltage_v ns=2;s=Battery.Pack.Voltage Double" in plain(said)
        assert "vessel ns=2;s=Battery.Vessel String AURELIE Good" in plain(said)
        secure = OpcUaSettings(security_policy="Basic256Sha256", server_fingerprint=pin)
        secure = secure.beside(tmp_path, tmp_path / "own")
        some = await tree(battery.url, secure, "ns=2;s=bms", most=3, timeout_s=LONG_S)
        assert len(some.nodes) == 3 and not some.whole
        assert {node.status for node in some.nodes} == {"Good"} and some.nodes[0].type == "Double"
        with pytest.raises(DeviceRefused, match="ns=2;s=nobody: BadNodeId"):
            await tree(battery.url, OpcUaSettings(), "ns=2;s=nobody", timeout_s=LONG_S)
        with pytest.raises(NotTrusted, match="no certificate is pinned"):
            await tree(battery.url, secure.model_copy(update={"server_fingerprint": ""}), timeout_s=LONG_S)
        with pytest.raises(ValueError, match="--node Pack: is no node id; write it as in ns=2"):
            await tree(battery.url, OpcUaSettings(), "Pack")
    finally:
        await battery.server.stop()
