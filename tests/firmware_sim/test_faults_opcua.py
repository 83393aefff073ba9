"""Each fault of OPC UA as a client sees it: status codes, connections, notifications."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from drivers.profile import load_profile
from firmware_sim.faults import FaultBoard
from firmware_sim.opcua_server import OpcUaServer
from firmware_sim.value_faults import ValueFaults, traits_of

BMS = load_profile("generic-bms")
HEARTBEAT, SOC, VOLTAGE = "ns=2;s=Battery.Heartbeat", "ns=2;s=Battery.Soc", "ns=2;s=Battery.Pack.Voltage"
EPOCH_NS = 1_791_956_400_000_000_000
VALUES = {"heartbeat": 1, "soc_bms": 0.5, "pack_voltage_v": 950.0}
pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server: its address space takes a second


class Battery:
    """A battery whose values a test sets; its server refreshes every 5 ms."""

    def __init__(self) -> None:
        self.board = FaultBoard({"bms": traits_of(BMS, "opcua")})
        self.values: dict[str, Any] = dict(VALUES)
        faults = ValueFaults(self.board, "bms", BMS, lambda: 0, seed=3)
        self.server = OpcUaServer("bms", BMS, lambda: dict(self.values), "anonymous", (), self.board, faults)
        self.url = ""

    async def on(self, name: str, **options: float | str) -> None:
        self.board.on(name, "bms", **options)
        await self.server.apply()

    async def off(self, name: str) -> None:
        self.board.off(name, "bms")
        await self.server.apply()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_battery() -> AsyncIterator[Battery]:
    battery = Battery()
    battery.url = await battery.server.start("127.0.0.1", 0, EPOCH_NS)
    refresh = asyncio.create_task(battery.server.refresh_forever(lambda: EPOCH_NS, 0.005))
    yield battery
    refresh.cancel()
    await battery.server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def battery(one_battery: Battery) -> AsyncIterator[Battery]:
    yield one_battery
    for fault in one_battery.board.active():
        one_battery.board.off(fault.name)
    one_battery.values.update(VALUES)
    await one_battery.server.apply()


@pytest_asyncio.fixture(loop_scope="module")
async def client(battery: Battery) -> AsyncIterator[Client]:
    client = Client(battery.url, timeout=1)
    await client.connect()
    yield client
    try:
        await client.disconnect()
    except (ua.UaError, ConnectionError, TimeoutError):
        client.disconnect_socket()  # the fault has taken the session


async def status(client: Client, node: str) -> str:
    found = await client.get_node(node).read_data_value(raise_on_bad_status=False)
    return str(found.StatusCode.name)


async def test_a_failed_sensor_has_its_status_and_no_value(battery: Battery, client: Client) -> None:
    await battery.on("bad-sensor-failure", point="soc_bms")
    found = await client.get_node(SOC).read_data_value(raise_on_bad_status=False)
    assert found.StatusCode.value == ua.StatusCodes.BadSensorFailure
    assert found.Value is None or found.Value.Value is None
    assert await status(client, HEARTBEAT) == "Good"
    await battery.off("bad-sensor-failure")
    assert await client.get_node(SOC).read_value() == 0.5


async def test_a_node_that_is_not_there(battery: Battery, client: Client) -> None:
    await battery.on("unknown-node")
    assert await status(client, VOLTAGE) == "BadNodeIdUnknown", "the first of the profile"
    assert await status(client, HEARTBEAT) == "Good"
    await battery.on("unknown-node", point="heartbeat")
    assert await status(client, HEARTBEAT) == "BadNodeIdUnknown"
    assert await client.get_node(VOLTAGE).read_value() == 950.0
    await battery.off("unknown-node")
    battery.values["heartbeat"] = 7
    await battery.server.apply()
    assert await client.get_node(HEARTBEAT).read_value() == 7


async def test_a_session_that_is_dropped_on_a_living_connection(battery: Battery, client: Client) -> None:
    assert await client.get_node(HEARTBEAT).read_value() == 1
    await battery.on("session-drop")
    with pytest.raises(ua.uaerrors.BadSessionIdInvalid):
        await client.get_node(HEARTBEAT).read_value()
    async with Client(battery.url) as again:
        assert await again.get_node(HEARTBEAT).read_value() == 1, "a new session is taken"


class Heard:
    def __init__(self) -> None:
        self.values: asyncio.Queue[int] = asyncio.Queue()

    def datachange_notification(self, node: Any, value: int, data: Any) -> None:
        self.values.put_nowait(value)


async def test_a_subscription_that_says_nothing_while_reads_go_on(battery: Battery, client: Client) -> None:
    heard = Heard()
    subscription = await client.create_subscription(20, heard)
    await subscription.subscribe_data_change(client.get_node(HEARTBEAT))
    assert await asyncio.wait_for(heard.values.get(), 2.0) == 1
    await battery.on("silent-subscription", keepalive=0)
    battery.values["heartbeat"] = 2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(heard.values.get(), 0.3)
    assert await client.get_node(HEARTBEAT).read_value() == 2
    await battery.off("silent-subscription")
    battery.values["heartbeat"] = 3
    seen = [await asyncio.wait_for(heard.values.get(), 2.0)]
    while seen[-1] != 3:
        seen.append(await asyncio.wait_for(heard.values.get(), 2.0))


async def test_a_silent_subscription_may_still_keep_alive(battery: Battery, client: Client) -> None:
    heard = Heard()
    alive = asyncio.Event()
    parameters = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=20, RequestedLifetimeCount=3000, RequestedMaxKeepAliveCount=3,
        PublishingEnabled=True,
    )  # fmt: skip
    await battery.on("silent-subscription")

    async def published(result: ua.PublishResult) -> None:
        if not result.NotificationMessage.NotificationData:
            alive.set()

    subscription = await client.create_subscription(parameters, heard)
    client.uaclient._subscription_callbacks[subscription.subscription_id] = published
    await subscription.subscribe_data_change(client.get_node(HEARTBEAT))
    await battery.server.apply()
    alive.clear()
    battery.values["heartbeat"] = 2
    await asyncio.wait_for(alive.wait(), 2.0)
    assert heard.values.empty()


async def test_a_server_that_restarts(battery: Battery, client: Client) -> None:
    started = client.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_StartTime))
    first = await started.read_value()
    await battery.on("server-restart", away_s=0.3)
    with pytest.raises((ConnectionError, ua.UaError, TimeoutError)):
        await client.get_node(HEARTBEAT).read_value()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", int(battery.url.split(":")[2].split("/")[0]))
    async with asyncio.timeout(30.0):
        while True:
            try:
                async with Client(battery.url) as again:
                    assert await again.get_node(HEARTBEAT).read_value() == 1
                    second = await again.get_node(started.nodeid).read_value()
                    break
            except OSError:
                await asyncio.sleep(0.05)
    assert second > first


async def test_refused_connections(battery: Battery, client: Client) -> None:
    await battery.on("refuse-connections")
    with pytest.raises(OSError):
        await Client(battery.url).connect()
    await battery.off("refuse-connections")
    async with Client(battery.url) as again:
        assert await again.get_node(HEARTBEAT).read_value() == 1


async def test_the_plcs_clock_jumps_in_the_source_timestamps(battery: Battery, client: Client) -> None:
    right = datetime.fromtimestamp(EPOCH_NS / 1e9, UTC)
    for by_s in (-7200.0, 90.0):
        await battery.on("clock-jump", by_s=by_s)
        found = await client.get_node(SOC).read_data_value()
        assert found.SourceTimestamp.replace(tzinfo=UTC) == right + timedelta(seconds=by_s)


async def test_values_that_are_nan_stuck_or_off(battery: Battery, client: Client) -> None:
    soc = client.get_node(SOC)
    await battery.on("nan", point="soc_bms")
    found = await soc.read_data_value()
    assert found.Value is not None and found.Value.Value != found.Value.Value
    assert found.StatusCode.is_good(), "the worst kind: nothing but the value tells"
    await battery.off("nan")
    await battery.on("stuck", point="soc_bms")
    battery.values["soc_bms"] = 0.75
    await battery.server.apply()
    assert await soc.read_value() == 0.5
    await battery.off("stuck")
    await battery.on("spike", point="soc_bms", factor=8, rate=1)
    assert await soc.read_value() == 6.0
