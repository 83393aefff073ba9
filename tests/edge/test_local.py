"""The agent's socket: tools see rows and read through the agent's one connection, and can do nothing else."""

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from edge_rows import load, row

from drivers.address import ModbusAddress
from drivers.bus import Buses
from drivers.errors import DeviceRefused, DeviceUnreachable
from drivers.modbus_pdu import read_pdu
from drivers.profile import load_profile
from edge import local
from edge.clock import WallClock
from edge.config import LoadedSite
from edge.local import MOST_CLIENTS, MOST_UNREAD, LocalSocket
from edge.local_client import AgentClient, AgentGone, agent_at, owner_of, same_bus
from edge.poll import Poller
from firmware_sim.modbus_server import ModbusServer, ModbusUnit

LONG_S = 30.0
VALUES = {"power_w": 6_998_400.0, "frequency_hz": 50.01, "energy_import_total_wh": 48_211_907}


class Gateway:
    """A site whose meter is a real socket, with its pollers and its local socket."""

    def __init__(self, loaded: LoadedSite, server: ModbusServer) -> None:
        self.loaded, self.server = loaded, server
        buses = Buses()
        self.pollers = {
            d.name: Poller(d, loaded.profiles[d.name], WallClock(), self.take, buses) for d in loaded.site.device
        }
        self.local = LocalSocket(loaded, self.pollers)

    def take(self, device: str, made: Any) -> None:
        self.local.publish(device, made)


@pytest_asyncio.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = ModbusServer({1: ModbusUnit(load_profile("generic-meter"), lambda: VALUES)})
    port = await server.start("127.0.0.1", 0)
    made = Gateway(load(tmp_path, meter=port), server)
    async with made.local:
        yield made
    await server.stop()


@pytest_asyncio.fixture
async def polled(gateway: Gateway) -> AsyncIterator[Gateway]:
    """The same, while its meter is polled."""
    task = asyncio.create_task(gateway.pollers["meter"].run())
    yield gateway
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest_asyncio.fixture
async def agent(gateway: Gateway) -> AsyncIterator[AgentClient]:
    async with agent_at(gateway.local.path) as client:
        assert client is not None
        yield client


async def said(path: Path, *lines: str) -> list[dict[str, Any]]:
    """What the socket answers to lines as they are."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write("".join(f"{line}\n" for line in lines).encode())
    async with asyncio.timeout(LONG_S):
        answers = [json.loads(await reader.readline()) for _ in lines]
    writer.close()
    return answers


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_rows_stream_with_their_raw_words_while_the_device_is_polled(
    polled: Gateway, agent: AgentClient
) -> None:
    async with asyncio.timeout(LONG_S):
        async for seen in agent.watch():
            if seen["device"] == "meter" and seen["scan"] == "live":
                break
    index = polled.loaded.profiles["meter"].index
    assert seen["values"][index["power_w"]] == VALUES["power_w"]
    assert seen["words"][str(index["frequency_hz"])] == "42480a3d"
    assert seen["values"][index["reactive_import_total_varh"]] is None  # of another scan class
    assert seen["quality"][index["reactive_import_total_varh"]] == 15


async def test_a_tool_reads_over_the_connection_that_polling_uses(polled: Gateway, agent: AgentClient) -> None:
    await until(lambda: polled.pollers["meter"].counts.connected)
    answer = await agent.ask(f"modbus://127.0.0.1:{polled.loaded.site.device[1].port}/1", read_pdu(3, 16, 2))
    assert answer[2:].hex() == "42480a3d"
    assert len(polled.server.connections) == 1
    bus = polled.pollers["meter"].bus
    assert bus is not None and bus.connections == 1


async def test_a_refusal_and_a_silent_unit_reach_the_tool_as_what_they_are(
    gateway: Gateway, agent: AgentClient
) -> None:
    where = f"modbus://127.0.0.1:{gateway.loaded.site.device[1].port}"
    with pytest.raises(DeviceRefused, match="exception 2") as caught:
        await agent.ask(f"{where}/1", read_pdu(3, 30, 2))
    assert caught.value.fault == "exception_2"
    with pytest.raises(DeviceRefused, match="exception 11"):
        await agent.ask(f"{where}/9", read_pdu(3, 0, 1))
    await gateway.server.stop()
    with pytest.raises(DeviceUnreachable):
        await agent.ask(f"{where}/1", read_pdu(3, 0, 1))


async def test_devices_are_told_with_their_last_rows(polled: Gateway, agent: AgentClient) -> None:
    await until(lambda: polled.pollers["meter"].counts.connected)
    told = {device["name"]: device for device in await agent.devices()}
    assert list(told) == ["charger", "meter", "bms", "lock"]
    assert told["meter"]["connected"] and not told["lock"]["connected"]
    assert told["bms"]["bus"] is None and told["meter"]["bus"].startswith("tcp:127.0.0.1:")
    assert {seen["scan"] for seen in told["meter"]["rows"]} >= {"live"}
    assert all(seen["age_s"] >= 0.0 for seen in told["meter"]["rows"])


async def test_after_a_reload_a_changed_device_has_no_row_yet(gateway: Gateway, agent: AgentClient) -> None:
    for name in ("charger", "meter"):
        gateway.take(name, row(gateway.loaded, name, 1))
    anew = Poller(
        gateway.loaded.site.device[1], gateway.loaded.profiles["meter"], WallClock(), gateway.take, Buses()
    )
    gateway.local.adopt(gateway.loaded, gateway.pollers | {"meter": anew})
    told = {device["name"]: len(device["rows"]) for device in await agent.devices()}
    assert (told["charger"], told["meter"]) == (1, 0)


@pytest.mark.parametrize(
    "request_",
    [
        '{"write": {"device": "meter", "address": 0, "value": 1}}',
        '{"read": {"device": "meter", "table": "6", "address": 0, "count": 1}}',
        '{"read": {"device": "meter", "table": "holding", "address": 0, "count": 126}}',
        '{"read": {"device": "meter", "table": "holding", "address": true, "count": 1}}',
        '{"read": {"device": "meter", "table": "holding", "address": 65536, "count": 1}}',
        '{"read": {"device": "bms", "table": "holding", "address": 0, "count": 1}}',
        '{"read": {"endpoint": "modbus://10.9.9.9/1", "table": "holding", "address": 0, "count": 1}}',
        '{"read": {"endpoint": "file:///etc/passwd", "table": "holding", "address": 0, "count": 1}}',
        '{"plate": {"device": "meter", "object": "x"}}',
        '{"read": 3}', '{"read": {}, "watch": true}', "[]", "null", "not json",
    ],
)  # fmt: skip
async def test_whatever_is_no_read_is_refused_and_the_connection_goes_on(gateway: Gateway, request_: str) -> None:
    refused, devices = await said(gateway.local.path, request_, '{"devices": true}')
    assert refused["error"]["kind"] == "wrong"
    assert len(devices["devices"]) == 4
    assert not gateway.server.units[1].requests  # nothing was sent


async def test_a_reader_that_does_not_read_is_cut_off_and_the_others_are_not(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_unix_connection(str(gateway.local.path), limit=1024)
    writer.write(b'{"watch": true}\n')
    await reader.readline()
    made = row(gateway.loaded, "meter", 1, power_w=1.0)
    line_bytes = len(json.dumps(made.values.tolist()))
    for _ in range(4 * MOST_UNREAD // line_bytes):  # far more than socket buffers hold; not one await
        gateway.local.publish("meter", made)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(LONG_S):
            while await reader.read(1 << 16):  # what was in flight, then the end
                pass
    writer.close()
    assert not gateway.local._watchers
    assert (await said(gateway.local.path, '{"devices": true}'))[0]["devices"]


async def test_too_many_tools_and_too_long_a_line_are_told(gateway: Gateway) -> None:
    open_ones = [await asyncio.open_unix_connection(str(gateway.local.path)) for _ in range(MOST_CLIENTS)]
    await until(lambda: len(gateway.local._clients) == MOST_CLIENTS)
    async with agent_at(gateway.local.path) as one_more:
        assert one_more is not None
        with pytest.raises(AgentGone, match="8 tools are connected"):
            await one_more.devices()
    for _, writer in open_ones:
        writer.close()
    await until(lambda: not gateway.local._clients)
    (answer,) = await said(gateway.local.path, '{"read": "' + "x" * 5000 + '"}')
    assert "longer than" in answer["error"]["message"]


async def test_the_socket_is_its_users_alone_and_goes_with_the_agent(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    path = tmp_path / "spool.db.sock"
    path.write_bytes(b"")  # what a killed agent has left
    async with LocalSocket(loaded, {}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_ISSOCK(path.stat().st_mode)
        assert (await said(path, '{"devices": true}')) == [{"devices": []}]
    assert not path.exists()
    async with agent_at(path) as nobody:
        assert nobody is None


async def test_a_path_too_long_for_a_socket_stops_no_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / ("deep" * 25)
    folder.mkdir()
    async with LocalSocket(load(folder), {}):
        assert not list(folder.glob("*.sock"))
    assert "event=no_local_socket" in caplog.text


async def test_who_owns_a_connection_is_found_without_a_site_file(gateway: Gateway) -> None:
    port = gateway.loaded.site.device[1].port
    async with owner_of(ModbusAddress("localhost", port or 0, 7), None) as owner:
        assert owner is not None and owner[1] == f"modbus://127.0.0.1:{port}/7"
    async with owner_of(ModbusAddress("127.0.0.1", 1_234, 7), None) as owner:
        assert owner is None
    async with owner_of(ModbusAddress("127.0.0.1", port or 0, 7), Path("/nowhere/spool.db")) as owner:
        assert owner is None
    assert await same_bus("serial:/dev/ttyS0", "serial:/dev/ttyS0")
    assert not await same_bus("serial:/dev/ttyS0", "tcp:127.0.0.1:502")
    assert not await same_bus("tcp:10.20..7:502", "tcp:127.0.0.1:502")


async def test_an_agent_of_another_user_is_not_gone_around(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio, "open_unix_connection", refused)
    port = gateway.loaded.site.device[1].port or 0
    with pytest.raises(PermissionError) as caught:
        async with owner_of(ModbusAddress("127.0.0.1", port, 7), None):
            pass
    assert caught.value.filename == str(gateway.local.path)
    async with owner_of(ModbusAddress("127.0.0.1", 1_234, 7), None) as owner:  # it polls no such thing
        assert owner is None


async def test_nothing_is_left_behind_when_the_agent_has_gone(gateway: Gateway, tmp_path: Path) -> None:
    async with agent_at(gateway.local.path) as client:
        assert client is not None and await client.devices()
        await gateway.local.__aexit__()
        with pytest.raises(AgentGone):
            await client.devices()
    assert not [name for name in os.listdir(tmp_path / "bollard") if name.endswith(".json")]


def test_a_folder_of_somebody_else_is_neither_written_nor_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path, owner = tmp_path / "agents", tmp_path / "spool.db.sock", os.getuid() + 1
    monkeypatch.setattr(local, "_folders", lambda: [folder])
    monkeypatch.setattr(Path, "lstat", lambda _: SimpleNamespace(st_uid=owner))
    local._announce(path, ["tcp:plc:502"])
    assert not list(folder.iterdir())
    owner = os.getuid()
    local._announce(path, ["tcp:plc:502"])
    owner = os.getuid() + 1
    assert not list(local.announced())
    monkeypatch.setattr(local, "SERVICE_FOLDER", folder)  # the service's user is not root, and root looks
    assert list(local.announced()) == [(path, ["tcp:plc:502"])]
