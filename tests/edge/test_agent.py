"""The whole agent on real sockets: what one dead device, a missing broker or a bad disk may not do."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from edge_rows import load
from processes import Process
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from servers.mosquitto import Mosquitto

from edge import agent as agent_module
from edge import wire
from edge.agent import Agent
from edge.clock import WallClock
from edge.config import LoadedSite
from edge.spool import Spool
from gateway.events import sentence
from gateway.pki import Pki
from gateway.store import open_store
from gateway.texts import load_texts

SITE = """
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = 1
[spool]
flush_s = 0.1
[clock]
require = false
[[device]]
name = "good"
profile = "generic-meter"
host = "127.0.0.1"
port = {good}
interval_s = 0.1
[[device]]
name = "silent"
profile = "generic-meter"
host = "127.0.0.1"
port = {silent}
interval_s = 0.1
timeout_s = 0.3
[[device]]
name = "absent"
profile = "generic-meter"
host = "127.0.0.1"
port = 1
interval_s = 0.1
"""


def rows_by_device(spool: Path) -> Counter[str]:
    db = sqlite3.connect(f"file:{spool}?mode=ro", uri=True)
    lines = [wire.decode_row(line) for (line,) in db.execute("SELECT line FROM row")]
    db.close()
    return Counter(row.tags.get("device", "") for row in lines if row.kind == "meter")


@pytest.mark.usefixtures("kernels")
async def test_dead_devices_and_no_broker_cost_a_good_device_nothing(tmp_path: Path) -> None:
    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    registers = SimData(0, count=100, values=7, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(id=1, simdata=[registers]), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    assert server.transport is not None
    good_port = server.transport.sockets[0].getsockname()[1]
    site = tmp_path / "site.toml"
    site.write_text(SITE.format(good=good_port, silent=silent.sockets[0].getsockname()[1]))
    from edge.config import LoadedSite

    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(Agent(LoadedSite.load(site), WallClock(), "test").run(stop, ready.set))
    await ready.wait()
    await asyncio.sleep(2.5)
    stop.set()
    await asyncio.wait_for(running, 5.0)
    silent.close()
    await server.shutdown()
    rows = rows_by_device(tmp_path / "spool.db")
    assert rows["good"] >= 20  # of 25 that were due
    assert rows["silent"] == rows["absent"] == 0  # they were never there: absence is no row


@pytest.mark.usefixtures("kernels")
async def test_a_broker_that_takes_nothing_stops_no_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers CONNECT, and then reads no more: what is sent stays in the sockets, and then nothing is sent."""

    monkeypatch.setattr(agent_module, "DRAIN_S", 0.1)

    async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x20\x02\x00\x00")  # CONNACK, MQTT 3.1.1, 3.2
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(3600.0)

    registers = SimData(0, count=100, values=7, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(id=1, simdata=[registers]), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    stalled = await asyncio.start_server(say_hello, "127.0.0.1", 0)
    assert server.transport is not None
    site = tmp_path / "site.toml"
    text = SITE.format(good=server.transport.sockets[0].getsockname()[1], silent=1)
    port = stalled.sockets[0].getsockname()[1]
    site.write_text(text.replace("port = 1\n[spool]", f"port = {port}\nwindow = 3\n[spool]"))
    stop, ready = asyncio.Event(), asyncio.Event()
    agent = Agent(LoadedSite.load(site), WallClock(), "test")
    running = asyncio.create_task(agent.run(stop, ready.set))
    async with asyncio.timeout(60.0):
        await ready.wait()
        while agent._uplink.room() > 0 or not agent._uplink.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        before = (await agent._disk(Spool.tally)).sealed
        while (await agent._disk(Spool.tally)).sealed < before + 20:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stop.set()
    stalled.close()
    await asyncio.wait_for(running, 60.0)
    await server.shutdown()


def run_edge(site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", "run", "--site", str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


async def test_the_end_of_the_gateways_certificate_is_told(tmp_path: Path) -> None:
    pki = Pki.init(tmp_path / "pki")
    pki.issue("gateway", "port/gw", days=10)
    tls = 'tls_ca = "pki/ca.pem"\ntls_cert = "pki/port.gw.pem"\ntls_key = "pki/port.gw.key"\n[spool]'
    file = tmp_path / "site.toml"
    file.write_text(SITE.format(good=1, silent=2).replace("[spool]", tls))
    agent = Agent(LoadedSite.load(file), WallClock(), "1")
    await agent._reporter.tell_certificates()
    (told,) = [wire.decode_row(entry.line) for entry in agent._pipeline.entries]
    assert (told.kind, told.tags["code"], told.fields["text"]) == ("event", "certificate_expires", "port/gw")
    assert told.fields["value"] in (9.0, 10.0)
    assert "port/gw" in sentence(told, load_texts("fr"))


def test_a_damaged_spool_is_told_in_one_sentence_and_left_alone(tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / "spool.db").write_bytes(b"what a power cut left" * 500)
    told = one_sentence(run_edge(tmp_path / "site.toml"))
    assert "spool.db: is damaged" in told
    assert "move it away" in told
    assert (tmp_path / "spool.db").read_bytes().startswith(b"what a power cut left")


def test_an_unwritable_folder_is_told_in_one_sentence(tmp_path: Path, unwritable: Path) -> None:
    load(tmp_path)
    site = tmp_path / "site.toml"
    site.write_text(
        site.read_text().replace("[[device]]", f'[spool]\npath = "{unwritable}/spool.db"\n[[device]]', 1)
    )
    tmp_path.chmod(0o555)
    assert "cannot be written by" in one_sentence(run_edge(site))
    tmp_path.chmod(0o755)


def test_a_missing_spool_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    load(tmp_path)
    site = tmp_path / "site.toml"
    site.write_text(site.read_text().replace("[[device]]", '[spool]\npath = "none/spool.db"\n[[device]]', 1))
    assert "the folder" in one_sentence(run_edge(site))


def test_a_signal_stops_the_service_with_its_rows_on_disk(tmp_path: Path) -> None:
    load(tmp_path)
    with Process(["python", "-m", "edge.cli", "run", "--site", str(tmp_path / "site.toml")]) as agent:
        time.sleep(1.0)  # every device is absent: that stops nothing
        assert agent.child.poll() is None, agent.said
        agent.child.send_signal(signal.SIGTERM)
        assert agent.wait(15) == 0, agent.said
    assert any("event=stopped" in line for line in agent.said)
    db = sqlite3.connect(tmp_path / "spool.db")
    (events,) = db.execute("SELECT count(*) FROM row WHERE line LIKE 'event,%code=agent_started%'").fetchone()
    assert events == 1


@pytest.mark.mosquitto
def test_a_shore_that_comes_late_gets_all_that_waits(tmp_path: Path) -> None:
    """The broker is there all the time, so nothing but the receipt's deadline sends the batches again."""
    shore = tmp_path / "shore.toml"
    with Mosquitto(tmp_path) as broker:
        load(tmp_path, port=broker.port)
        site = tmp_path / "site.toml"
        few = f"port = {broker.port}\nwindow = 2\nresend_s = 1.0\n[spool]\nflush_s = 0.1\n"
        site.write_text(site.read_text().replace(f"port = {broker.port}\n", few, 1))
        shore.write_text(f'schema = 1\n[store]\nurl = "sqlite:store.db"\n[broker]\nport = {broker.port}\n')
        with Process(["python", "-m", "edge.cli", "run", "--site", str(site)]) as agent:
            time.sleep(4.0)  # well past the first deadline, with the window full
            with Process(["python", "-m", "gateway.ingest_cli", "--shore", str(shore)]):
                end_s = time.monotonic() + 20.0
                while stored(tmp_path / "store.db") < 5 and time.monotonic() < end_s:
                    time.sleep(0.1)
                assert agent.terminate() == 0, agent.said
    assert stored(tmp_path / "store.db") >= 5
    assert "waiting=0" in agent.said[-1], agent.said[-5:]


def stored(path: Path) -> int:
    """Rows in a SQLite store; 0 while it is not there."""
    if not path.exists():
        return 0
    store = open_store(f"sqlite:{path}")
    try:
        return store.count("port", "gw")
    finally:
        store.close()


def test_two_agents_never_share_a_spool(tmp_path: Path) -> None:
    load(tmp_path)
    with Process(["python", "-m", "edge.cli", "run", "--site", str(tmp_path / "site.toml")]):
        assert "another bollard edge run is using it" in one_sentence(run_edge(tmp_path / "site.toml"))


def test_a_broker_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    load(tmp_path)
    with Process(["python", "-m", "edge.cli", "run", "--site", str(tmp_path / "site.toml")], ready=None) as agent:
        while "event=no_broker" not in (told := agent.wait_for("time=", 20.0)):
            pass
        assert "broker=127.0.0.1:1" in told
        assert "check [broker] host" in told
        time.sleep(3.0)
    assert sum("event=no_broker" in line for line in agent.said) == 1
