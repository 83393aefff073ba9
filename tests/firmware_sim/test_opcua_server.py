"""What an OPC UA client reads of the battery."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import Client, ua

from drivers.profile import load_profile
from firmware_sim.bench import Bench
from firmware_sim.opcua_server import OpcUaServer

BMS = load_profile("generic-bms")


@pytest.fixture
async def client(bench: Bench, clock: Any) -> AsyncIterator[Client]:
    """A client of the demo port's battery, whose server refreshes every 5 ms."""
    source = bench.devices["ferry-bms"].values
    server = OpcUaServer("ferry-bms", BMS, lambda: source(clock.elapsed_ns()))
    url = await server.start("127.0.0.1", 0, clock.now_ns())
    refresh = asyncio.create_task(server.refresh_forever(clock.now_ns, 0.005))
    async with Client(url) as connected:
        yield connected
    refresh.cancel()
    await server.stop()


async def refreshed(client: Client, heartbeat: int) -> None:
    """Wait until the server shows the heartbeat of the time that was set."""
    node = client.get_node("ns=2;s=Battery.Heartbeat")
    async with asyncio.timeout(3.0):
        while await node.read_value() != heartbeat:  # noqa: ASYNC110 - the server is asked, not an event
            await asyncio.sleep(0.005)


async def test_every_point_is_at_its_node_with_type_and_time_and_cannot_be_written(
    client: Client, bench: Bench, clock: Any
) -> None:
    clock.t_ns = 1234 * 10**9
    await refreshed(client, 1234)
    expected = bench.state(clock.t_ns)["ferry-bms"]
    for point in BMS.points:
        found = await client.get_node(point.node).read_data_value()
        assert found.Value is not None
        assert found.Value.Value == expected[point.name], point.name
        kind = {"float64": "Double", "uint16": "UInt16", "uint32": "UInt32", "string": "String"}[point.type]
        assert found.Value.VariantType.name == kind
        assert found.StatusCode.is_good()
        stamp = found.SourceTimestamp.replace(tzinfo=UTC)
        assert stamp == datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)

    with pytest.raises(ua.UaStatusCodeError):
        await client.get_node("ns=2;s=Battery.Soc").write_value(0.5)


async def test_a_subscription_sees_the_values_change(client: Client, clock: Any) -> None:
    seen: asyncio.Queue[int] = asyncio.Queue()

    class Handler:
        def datachange_notification(self, node: Any, value: int, data: Any) -> None:
            seen.put_nowait(value)

    subscription = await client.create_subscription(20, Handler())
    await subscription.subscribe_data_change(client.get_node("ns=2;s=Battery.Heartbeat"))
    async with asyncio.timeout(3.0):
        assert await seen.get() == 0
        clock.t_ns = 77 * 10**9
        assert await seen.get() == 77


async def test_unknown_is_a_bad_status_and_no_number() -> None:
    server = OpcUaServer("bms", BMS, lambda: {"soc_bms": None, "heartbeat": 3})
    url = await server.start("127.0.0.1", 0, now_ns=0)
    try:
        async with Client(url) as client:
            found = await client.get_node("ns=2;s=Battery.Soc").read_data_value(raise_on_bad_status=False)
            assert found.StatusCode.value == ua.StatusCodes.BadNoData
            assert await client.get_node("ns=2;s=Battery.Heartbeat").read_value() == 3
    finally:
        await server.stop()
