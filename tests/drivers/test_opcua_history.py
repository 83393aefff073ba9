"""What a server kept while nobody listened: rows with their own times, the same whenever they are asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from sim_battery import BMS, SimBattery
from tap import Tap, opcua_services

from drivers import opcua_history
from drivers.errors import DeviceUnreachable
from drivers.opcua import OpcUaDevice, OpcUaLink
from drivers.opcua_settings import OpcUaSettings
from drivers.row import HISTORY, Quality, Row

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECOND = 1_000_000_000
KEPT = ("pack_voltage_v", "soc_bms", "contactor", "vessel")
VOLTAGE, SOC, CONTACTOR, VESSEL = (BMS.index[name] for name in KEPT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_battery() -> AsyncIterator[SimBattery]:
    battery = SimBattery(history=KEPT)
    await battery.start()
    yield battery
    await battery.server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def battery(one_battery: SimBattery) -> AsyncIterator[SimBattery]:
    storage(one_battery).max_history_data_response_size = 10_000
    await one_battery.show()
    yield one_battery
    await one_battery.reset()


def storage(battery: SimBattery) -> Any:
    return battery.server._server.iserver.history_manager.storage


def kept(battery: SimBattery, point: str) -> list[Any]:
    name = str(BMS.points[BMS.index[point]].node).partition(";s=")[2]
    (values,) = (values for node, values in storage(battery)._datachanges.items() if node.Identifier == name)
    return list(values)


async def until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - the server is asked
            await asyncio.sleep(0.01)


async def a_gap(battery: SimBattery, seconds: int) -> tuple[int, int]:
    """Voltage changes every second, charge every third, once the contactor opens. Returns: its bounds."""
    from_ns = battery.t_ns
    for second in range(1, seconds + 1):
        changed: dict[str, Any] = {"pack_voltage_v": 900.0 + second}
        if second % 3 == 0:
            changed["soc_bms"] = 0.001 * second
        if second == 5:
            changed["contactor"] = 0
        await battery.show(**changed)
    await until(lambda: kept(battery, "pack_voltage_v")[-1].Value.Value == 900.0 + seconds)
    await until(lambda: kept(battery, "soc_bms")[-1].Value.Value == 0.001 * (seconds // 3 * 3))
    return from_ns, battery.t_ns + SECOND


async def opened(battery: SimBattery, port: int = 0, **settings: Any) -> OpcUaLink:
    url = battery.url.replace(str(battery.port), str(port)) if port else battery.url
    return OpcUaDevice(BMS, url, 5.0, OpcUaSettings(**settings)).open()


def shown(rows: list[Row]) -> list[tuple[int, list[float], list[int], dict[int, str]]]:
    return [(r.t_ns, np.nan_to_num(r.values, nan=-1.0).tolist(), r.quality.tolist(), r.text) for r in rows]


async def test_a_gap_comes_back_with_its_own_times(battery: SimBattery) -> None:
    async with await opened(battery) as link:
        await link.scan("live", battery.now_ns)
        from_ns, to_ns = await a_gap(battery, 12)
        rows = await link.history(from_ns, to_ns)
        assert [row.t_ns for row in rows] == [from_ns + s * SECOND for s in range(1, 13)]
        assert [row.values[VOLTAGE] for row in rows] == [900.0 + s for s in range(1, 13)]
        third = rows[2]
        assert third.values[SOC] == 0.003 and third.scan == HISTORY
        assert [i for i, q in enumerate(third.quality) if q == Quality.GOOD] == [VOLTAGE, SOC]
        assert rows[0].quality[SOC] == Quality.NOT_SCANNED and np.isnan(rows[0].values[SOC])
        assert rows[4].values[CONTACTOR] == 0.0
        assert shown(await link.history(from_ns, to_ns)) == shown(rows), "the same past, the same rows"
        inside = await link.history(rows[2].t_ns, rows[6].t_ns)
        assert shown(inside) == shown(rows[3:6]), "both ends left out: those rows are there already"
        assert await link.history(to_ns, to_ns + 1000) == []


async def test_the_past_may_be_asked_for_before_the_first_scan(battery: SimBattery) -> None:
    from_ns, to_ns = await a_gap(battery, 3)
    async with await opened(battery) as link:
        assert [row.values[VOLTAGE] for row in await link.history(from_ns, to_ns)] == [901.0, 902.0, 903.0]


async def test_a_long_gap_is_fetched_newest_first_and_in_parts(
    battery: SimBattery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opcua_history, "MOST_VALUES", 40)
    monkeypatch.setattr(opcua_history, "MOST_ROWS", 20)
    async with await opened(battery) as link:
        await link.scan("live", battery.now_ns)
        from_ns, to_ns = await a_gap(battery, 50)
        parts = []
        while part := await link.history(from_ns, to_ns):
            assert len(part) <= 20
            parts.append(part)
            to_ns = part[0].t_ns
        rows = [row for part in reversed(parts) for row in part]
        assert len(parts) == 3 and parts[0][-1].values[VOLTAGE] == 950.0, "the newest first"
        assert [row.values[VOLTAGE] for row in rows] == [900.0 + s for s in range(1, 51)]
        charges = [row.values[SOC] for row in rows if row.quality[SOC] == Quality.GOOD]
        assert charges == [0.001 * s for s in range(3, 51, 3)], "nothing of the slower node is left out"


async def test_pages_of_the_server_are_followed_and_given_back(
    battery: SimBattery, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage(battery).max_history_data_response_size = 7
    async with await opened(battery) as link:
        await link.scan("live", battery.now_ns)
        from_ns, to_ns = await a_gap(battery, 30)
        before = link.requests
        rows = await link.history(from_ns, to_ns)
        assert [row.values[VOLTAGE] for row in rows] == [900.0 + s for s in range(1, 31)]
        assert link.requests - before > 4
        released = []
        real = link.ask

        async def listening(request: Any, answer: Any, what: str) -> Any:
            released.append(getattr(request.Parameters, "ReleaseContinuationPoints", None))
            return await real(request, answer, what)

        monkeypatch.setattr(link, "ask", listening)
        monkeypatch.setattr(opcua_history, "MOST_ROWS", 10)
        rows = await link.history(from_ns, to_ns)
        assert rows[-1].values[VOLTAGE] == 930.0 and len(rows) <= 10
        assert released[-1] is True, "what is not fetched does not stay open on the server"


async def test_a_value_that_was_bad_stays_bad(battery: SimBattery) -> None:
    async with await opened(battery) as link:
        await link.scan("live", battery.now_ns)
        from_ns = battery.t_ns
        await battery.show(soc_bms=None, vessel="BALMORAL")
        await battery.show(soc_bms=7.0)
        await until(lambda: kept(battery, "soc_bms")[-1].Value.Value == 7.0)
        await until(lambda: kept(battery, "vessel")[-1].Value.Value == "BALMORAL")
        unknown, beyond = await link.history(from_ns, battery.t_ns + SECOND)
        assert unknown.quality[SOC] == Quality.UNKNOWN and unknown.text == {VESSEL: "BALMORAL"}
        assert beyond.quality[SOC] == Quality.OUT_OF_RANGE and np.isnan(beyond.values[SOC])


async def test_only_reads_are_sent_and_only_where_there_is_a_history(battery: SimBattery) -> None:
    with Tap(battery.port) as tap:
        async with await opened(battery, tap.port) as link:
            await link.scan("live", battery.now_ns)
            from_ns, to_ns = await a_gap(battery, 3)
            assert len(await link.history(from_ns, to_ns)) == 3
        async with await opened(battery, tap.port, history=False) as link:
            await link.scan("live", battery.now_ns)
            assert await link.history(from_ns, to_ns) == []
        with_history, without = (opcua_services(bytes(stream)) for stream in tap.streams)
    assert with_history.count("HistoryReadRequest") == 1
    assert "HistoryReadRequest" not in without
    assert {s for s in with_history if s.endswith("Request")} == {
        "CreateSessionRequest", "ActivateSessionRequest", "CloseSessionRequest", "ReadRequest",
        "HistoryReadRequest",
    }  # fmt: skip


async def test_the_past_of_a_clock_that_is_wrong_is_left_alone(
    battery: SimBattery, caplog: pytest.LogCaptureFixture
) -> None:
    async with await opened(battery) as link:
        assert await link.history(0, battery.t_ns + 60 * SECOND) == [], "now is said to be a minute later"
        from_ns, to_ns = await a_gap(battery, 3)
        await battery.on("clock-jump", by_s=-7200.0)
        await link.scan("live", battery.now_ns)
        assert await link.history(from_ns, to_ns) == []
        assert "history is not read: the server's clock is" in caplog.text
        await battery.off("clock-jump")
        await link.scan("live", battery.now_ns)
        assert len(await link.history(from_ns, to_ns)) == 3


async def test_a_history_that_takes_too_long_does_not_keep_the_device_from_being_read(
    battery: SimBattery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: Any) -> Any:
        await asyncio.sleep(3600)

    from_ns, to_ns = await a_gap(battery, 3)
    monkeypatch.setattr(battery.server._server.iserver.history_manager, "read_history", slow)
    device = OpcUaDevice(BMS, battery.url, 1.0)
    async with device.open() as link:
        with pytest.raises(DeviceUnreachable, match="no answer"):
            await link.history(from_ns, to_ns)
    async with device.open() as link:
        assert await link.history(from_ns, to_ns) == [], "not asked again at once"
        assert (await link.scan("live", battery.now_ns)).quality[VOLTAGE] == Quality.GOOD
