"""What a subscription tells, and what happens when it stops telling: read then, never repeated on trust."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from asyncua import ua
from sim_battery import BMS, VALUES, SimBattery
from tap import Tap, opcua_services

from drivers import opcua_session, opcua_subscription
from drivers.errors import DeviceUnreachable
from drivers.opcua import OpcUaDevice, OpcUaLink
from drivers.opcua_session import Limits
from drivers.opcua_settings import OpcUaSettings
from drivers.profile import Profile
from drivers.readonly import OPCUA_SERVICES, NotARead
from drivers.row import Quality

pytestmark = pytest.mark.asyncio(loop_scope="module")
PUBLISHING_S = 0.05
SOC, VOLTAGE = BMS.index["soc_bms"], BMS.index["pack_voltage_v"]
LIVE = [i for i, point in enumerate(BMS.points) if point.scan == "live"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_battery() -> AsyncIterator[SimBattery]:
    battery = SimBattery()
    await battery.start()
    yield battery
    await battery.server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def battery(one_battery: SimBattery) -> AsyncIterator[SimBattery]:
    yield one_battery
    await one_battery.reset()


def device(url: str, profile: Profile = BMS, **settings: Any) -> OpcUaDevice:
    chosen = OpcUaSettings(**{"subscribe": True, "publishing_s": PUBLISHING_S} | settings)
    return OpcUaDevice(profile, url, 30.0, chosen)


async def scanned_until(link: OpcUaLink, done: Callable[[Any], Any], within_s: float = 30.0) -> Any:
    """Rows until one is as wanted: that one."""
    async with asyncio.timeout(within_s):
        while not done(row := await link.scan("live", time.time_ns)):  # noqa: ASYNC110 - the link is asked
            await asyncio.sleep(PUBLISHING_S)
    return row


async def held(link: OpcUaLink) -> Any:
    """A row for which nothing was asked."""
    requests = [-1]

    def asked_nothing(_: Any) -> bool:
        requests.append(link.requests)
        return requests[-1] == requests[-2]

    return await scanned_until(link, asked_nothing)


async def test_a_living_subscription_is_not_asked(battery: SimBattery) -> None:
    async with device(battery.url).open() as link:
        first = await link.scan("live", time.time_ns)
        assert first.quality[LIVE].tolist() == [Quality.GOOD] * len(LIVE), "read, while nothing is told yet"
        row = await held(link)
        np.testing.assert_array_equal(row.values[LIVE], [VALUES[BMS.points[i].name] for i in LIVE])
        assert row.quality[LIVE].tolist() == [Quality.GOOD] * len(LIVE)
        assert row.t_ns == link._watch.spoke_ns <= time.time_ns()
        assert link.source_t_ns[SOC] == battery.t_ns, "the source's own time"
        await battery.show(soc_bms=0.25)
        row = await scanned_until(link, lambda row: row.values[SOC] == 0.25)
        assert link.faults == {}


async def test_rows_go_forward_though_scans_are_faster_than_publishes(battery: SimBattery) -> None:
    async with device(battery.url, publishing_s=0.4).open() as link:
        rows = [await link.scan("live", time.time_ns) for _ in range(20)]
    times = [row.t_ns for row in rows]
    assert times == sorted(set(times))
    assert all((row.quality[LIVE] == Quality.GOOD).all() for row in rows)


async def test_points_choose_how_they_are_read(battery: SimBattery) -> None:
    points = [
        point.model_copy(update={"read": "subscribe"}) if point.name in ("contactor", "soc_bms") else point
        for point in BMS.points
    ]
    chosen = BMS.model_copy(update={"point": tuple(points)})
    by_profile = OpcUaDevice(chosen, battery.url, 5.0)
    assert [BMS.points[i].name for i in by_profile.subscribed] == ["soc_bms", "contactor"]
    assert device(battery.url, chosen, subscribe=False).subscribed == []
    named = device(battery.url, chosen, subscribe=("pack_voltage_v",))
    assert named.subscribed == [VOLTAGE]
    async with named.open() as link:
        await scanned_until(link, lambda _: link._watch.spoke_ns)
        await battery.show(pack_voltage_v=901.0, soc_bms=0.3)
        row = await scanned_until(link, lambda row: row.values[VOLTAGE] == 901.0)
        assert row.values[SOC] == 0.3


async def test_the_server_leaves_out_what_is_within_the_deadband(battery: SimBattery) -> None:
    points = [point.model_copy(update={"deadband": 0.5}) for point in BMS.points if point.name == "pack_voltage_v"]
    profile = BMS.model_copy(update={"point": tuple(points)})
    async with device(battery.url, profile).open() as link:
        await scanned_until(link, lambda _: link._watch._held)
        await battery.show(pack_voltage_v=950.4)
        spoke_ns = link._watch.spoke_ns
        await scanned_until(link, lambda _: link._watch.spoke_ns > spoke_ns)  # of the clock
        assert link._watch._held[0].Value.Value == 950.0
        await battery.show(pack_voltage_v=951.0)
        await scanned_until(link, lambda _: link._watch._held[0].Value.Value == 951.0)


@pytest.mark.parametrize("keepalive", [0, 1])
async def test_a_silent_subscription_is_read_and_made_anew(battery: SimBattery, keepalive: int) -> None:
    async with device(battery.url).open() as link:
        await held(link)
        await battery.on("silent-subscription", keepalive=keepalive)
        await battery.show(soc_bms=0.75)
        await scanned_until(link, lambda row: row.values[SOC] == 0.75)  # nothing speaks: it is read
        while not link.faults["silent_subscription"]:
            row = await link.scan("live", time.time_ns)
            assert row.values[SOC] == 0.75 and row.quality[SOC] == Quality.GOOD
            await asyncio.sleep(PUBLISHING_S)
        await battery.off("silent-subscription")
        await held(link)


async def test_what_is_said_after_a_silence_is_not_taken_for_new(battery: SimBattery) -> None:
    async with device(battery.url).open() as link:
        await held(link)
        first = link._watch._id
        link._watch._heard_s -= 2.5  # it was silent for so long; the next scan would come too late to notice
        await battery.show(soc_bms=0.6)
        async with asyncio.timeout(30.0):
            while not link.faults["silent_subscription"]:  # noqa: ASYNC110 # no scan may notice it first
                await asyncio.sleep(PUBLISHING_S)
        assert (await link.scan("live", time.time_ns)).values[SOC] == 0.6  # read
        await scanned_until(link, lambda _: link._watch._id != first and link._watch.spoke_ns)


async def test_a_subscription_that_the_server_loses_is_made_anew(battery: SimBattery) -> None:
    async with device(battery.url).open() as link:
        await held(link)
        service = battery.server._server.iserver.subscription_service
        await service.delete_subscriptions([link._watch._id])
        await scanned_until(link, lambda _: sum(link.faults.values()))
        first = link._watch._id
        await scanned_until(link, lambda _: link._watch._id != first and link._watch.spoke_ns)


async def test_a_lost_publish_ends_the_trust(battery: SimBattery) -> None:
    async with device(battery.url).open() as link:
        await held(link)
        link._watch._last_number += 1
        await battery.show(soc_bms=0.4)
        await scanned_until(link, lambda _: link.faults["lost_publish"])
        assert (await link.scan("live", time.time_ns)).values[SOC] == 0.4


async def test_an_unknown_node_is_refused_alone_and_comes_back(
    battery: SimBattery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opcua_subscription, "FIRST_WAIT_S", 0.2)
    await battery.on("unknown-node", point="soc_bms")
    for subscribe in (True, False):
        await battery.on("unknown-node", point="soc_bms")
        async with device(battery.url, subscribe=subscribe).open() as link:
            row = await link.scan("live", time.time_ns)
            expected = [Quality.REFUSED if i == SOC else Quality.GOOD for i in LIVE]
            assert row.quality[LIVE].tolist() == expected
            if subscribe:
                row = await scanned_until(link, lambda _: link._watch.spoke_ns)
                assert row.quality[LIVE].tolist() == expected
            await battery.off("unknown-node")
            await scanned_until(link, lambda row: row.quality[SOC] == Quality.GOOD)


async def test_a_refused_node_is_asked_for_ever_less(battery: SimBattery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcua_subscription, "FIRST_WAIT_S", 3600.0)
    await battery.on("unknown-node", point="soc_bms")
    async with device(battery.url, subscribe=False).open() as link:
        for _ in range(5):
            row = await link.scan("live", time.time_ns)
            assert row.quality[SOC] == Quality.REFUSED and row.quality[VOLTAGE] == Quality.GOOD
        assert link.faults == {"BadNodeIdUnknown": 1}


async def test_a_dropped_session_is_noticed_without_a_read(battery: SimBattery) -> None:
    source = device(battery.url)
    async with source.open() as link:
        await held(link)
        await battery.on("session-drop")
        with pytest.raises(DeviceUnreachable, match="BadSession"):
            await scanned_until(link, lambda _: False)
    async with source.open() as link:
        assert (await link.scan("live", time.time_ns)).quality[SOC] == Quality.GOOD


async def test_a_restarted_server_is_told_from_by_a_new_session(battery: SimBattery) -> None:
    source = device(battery.url)
    async with source.open() as link:
        await held(link)
        await battery.on("server-restart", away_s=0.2)
        with pytest.raises(DeviceUnreachable):
            await scanned_until(link, lambda _: False)
    async with asyncio.timeout(30):
        while True:
            try:
                async with source.open() as link:
                    await battery.show(soc_bms=0.35)
                    row = await held(link)
                    break
            except DeviceUnreachable:
                await asyncio.sleep(0.05)
    assert row.values[SOC] == 0.35 and row.quality[SOC] == Quality.GOOD


async def test_a_node_that_goes_without_a_word_is_found(battery: SimBattery) -> None:
    """Each point is read once in a while though it is held, in turn; what is refused is watched again later."""
    space, node_id = battery.server._server.iserver.aspace, ua.NodeId.from_string(BMS.points[SOC].node)
    node = space[node_id]
    with Tap(battery.port) as tap:
        url = battery.url.replace(str(battery.port), str(tap.port))

        def reads() -> int:
            return opcua_services(bytes(tap.streams[0])).count("ReadRequest")

        async with device(url, reread_s=1.0).open() as link:
            await scanned_until(link, lambda _: len(link._watch._held) == len(BMS.points))
            first, before = reads(), link.requests
            await scanned_until(link, lambda _: reads() >= first + len(BMS.points))
            assert link.requests - before <= 2 * len(BMS.points), "one at a time, the others are held"
            battery.server._hidden[node_id] = node  # so that the simulator leaves it alone
            del space[node_id]
            row = await scanned_until(link, lambda row: row.quality[SOC] == Quality.REFUSED)
            assert np.isnan(row.values[SOC]) and row.quality[VOLTAGE] == Quality.GOOD
            for _ in range(20):
                assert (await link.scan("live", time.time_ns)).quality[SOC] == Quality.REFUSED
            space[node_id] = battery.server._hidden.pop(node_id)
            await battery.show(soc_bms=0.3)
            await scanned_until(link, lambda row: row.values[SOC] == 0.3 and SOC in link._watch._held)
            assert link.faults == {"BadNodeIdUnknown": link.faults["BadNodeIdUnknown"]}


async def test_a_failed_sensor_is_told_with_its_status(battery: SimBattery) -> None:
    async with device(battery.url).open() as link:
        await held(link)
        await battery.on("bad-sensor-failure", point="soc_bms")
        row = await scanned_until(link, lambda row: row.quality[SOC] != Quality.GOOD)
        assert row.quality[SOC] == Quality.UNKNOWN and np.isnan(row.values[SOC])
        assert row.quality[VOLTAGE] == Quality.GOOD


async def test_nothing_is_left_behind(battery: SimBattery) -> None:
    def ours() -> set[Any]:
        return {t for t in asyncio.all_tasks() if "asyncua/client" in repr(t) or "drivers/" in repr(t)}

    before = ours()
    async with device(battery.url).open() as link:
        await held(link)
        assert len(ours() - before) == 1, "the listener alone; of asyncua none"
    assert ours() <= before

    async def cancelled() -> None:
        async with device(battery.url).open() as link:
            await held(link)
            started.set()
            await asyncio.sleep(3600)

    started = asyncio.Event()
    task = asyncio.create_task(cancelled())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ours() <= before


async def test_a_subscription_sends_only_what_reads(battery: SimBattery) -> None:
    with Tap(battery.port) as tap:
        url = battery.url.replace(str(battery.port), str(tap.port))
        async with device(url).open() as link:
            await held(link)
            with pytest.raises(NotARead, match="not sent"):
                await link._client.ask(ua.WriteRequest())
        (services,) = [opcua_services(bytes(stream)) for stream in tap.streams]
    sent = {name for name in services if name.endswith("Request")}
    assert sent <= OPCUA_SERVICES
    assert {"CreateSubscriptionRequest", "CreateMonitoredItemsRequest", "PublishRequest"} <= sent


async def test_calls_are_halved_until_the_server_takes_them(
    battery: SimBattery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that tells no limits and takes 4 nodes or items at a time."""
    asked: list[tuple[str, int]] = []
    real = opcua_session.ReadOnlyClient.ask

    async def picky(self: Any, request: Any, timeout_s: float | None = None) -> Any:
        name = type(request).__name__
        nodes = getattr(request.Parameters, "NodesToRead", None) or getattr(
            request.Parameters, "ItemsToCreate", []
        )
        asked.append((name, len(nodes)))
        if len(nodes) > 4:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadTooManyOperations)
        return await real(self, request, timeout_s)

    monkeypatch.setattr(opcua_session.ReadOnlyClient, "ask", picky)
    monkeypatch.setattr(Limits, "learn", lambda self, told: None)
    source = device(battery.url)
    async with source.open() as link:
        row = await link.scan("live", time.time_ns)
        assert (row.quality[LIVE] == Quality.GOOD).all()
        await held(link)
        assert max(n for name, n in asked if name == "CreateMonitoredItemsRequest") > 4
        assert source.limits.read <= 4 and source.limits.items <= 4
        asked.clear()
    async with source.open() as link:
        await link.scan("live", time.time_ns)
        assert max(n for _, n in asked) <= 4, "what was learned outlives the session"


async def test_limits_are_learned_and_bounded() -> None:
    limits = Limits()
    limits.learn([20, None, 10_000])
    assert (limits.read, limits.items, limits.history) == (20, 100, 500)
    limits.halve("items", 100)
    limits.learn([0, 1000, 0])
    assert (limits.read, limits.items, limits.history) == (100, 50, 10)


async def test_devices_of_a_dead_server_cost_it_one_attempt(unused_tcp_port: int) -> None:
    attempts = 0

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", unused_tcp_port)
    url = f"opc.tcp://127.0.0.1:{unused_tcp_port}/x"

    async def connect() -> str:
        try:
            async with OpcUaDevice(BMS, url, 0.5).open():
                return ""
        except DeviceUnreachable as error:
            return str(error)

    said = await asyncio.gather(*(connect() for _ in range(10)))
    assert attempts == 1
    assert sum("asked for another device just now" in line for line in said) == 9
    server.close()
