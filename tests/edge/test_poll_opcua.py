"""One OPC UA device through the poller: its server goes away, lives on unseen, and comes back with its past."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from sim_battery import BMS, SimBattery

from drivers.opcua_settings import OpcUaSettings
from drivers.row import HISTORY, Quality, Row
from edge.clock import WallClock
from edge.config import DeviceConfig
from edge.poll import Poller

VOLTAGE = BMS.index["pack_voltage_v"]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def battery() -> AsyncIterator[SimBattery]:
    battery = SimBattery(history=("pack_voltage_v", "soc_bms"))
    battery.t_ns = time.time_ns()
    await battery.start()
    yield battery
    await battery.server.stop()


async def until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - rows come by a callback
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("subscribe", [False, True])
async def test_what_happened_while_the_server_was_away_is_told_when_it_returns(
    battery: SimBattery, subscribe: bool
) -> None:
    rows: list[Row] = []
    config = DeviceConfig(
        name="bms", profile="generic-bms", url=battery.url, interval_s=0.1, timeout_s=5.0, origin="test",
        opcua=OpcUaSettings(subscribe=subscribe, publishing_s=0.05),
    )  # fmt: skip
    poller = Poller(config, BMS, WallClock(), lambda _, row: rows.append(row))
    task = asyncio.create_task(poller.run())
    try:
        await until(lambda: len([row for row in rows if row.scan == "live"]) > 5)
        assert poller.counts.clock_offset_s == pytest.approx(0.0, abs=30.0)
        await battery.on("refuse-connections")
        await until(lambda: rows[-1].quality[VOLTAGE] == Quality.NO_ANSWER)
        gone, shown = len(rows), []
        for volts in range(801, 811):
            battery.t_ns = time.time_ns()
            battery.values["pack_voltage_v"] = float(volts)
            await battery.server.refresh(battery.t_ns)
            shown.append(battery.t_ns // 1000 * 1000)
            await asyncio.sleep(0.05)
        await battery.off("refuse-connections")
        poller.reset()
        await until(lambda: len([row for row in rows[gone:] if row.scan == "live"]) > 5)
    finally:
        task.cancel()
        await asyncio.wait([task])
    past = [row for row in rows if row.scan == HISTORY]
    assert [row.values[VOLTAGE] for row in past] == [float(volts) for volts in range(801, 811)]
    assert [row.t_ns for row in past] == shown, "with the times of the source"
    again = next(row for row in rows[gone:] if row.scan == "live")
    assert again.values[VOLTAGE] == 810.0 and again.t_ns > past[-1].t_ns
    lost = [row for row in rows if (row.quality == Quality.NO_ANSWER).any()]
    assert len(lost) == 1 and np.isnan(lost[0].values).all()
