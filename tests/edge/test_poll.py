"""When a device is asked, and what its link reports."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from edge_rows import load

from drivers.address import ModbusAddress
from drivers.bus import Buses
from drivers.errors import BusDown, DeviceUnreachable
from drivers.profile import Profile, load_profile
from drivers.row import Quality, Row, empty_row
from edge import poll, wire
from edge.clock import WallClock
from edge.config import DeviceConfig, LoadedSite
from edge.poll import Poller
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.value_faults import traits_of
from firmware_sim.wire_faults import WireFaults


class Scripted:
    """A device whose scans succeed until `lives` are used up; slow ones always."""

    def __init__(self, lives: int) -> None:
        self.lives, self.opened = lives, 0
        self.endpoint, self.requests, self.round_trip_s = "scripted://", 0, 0.001
        self.faults: Counter[str] = Counter()
        self.scans: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Scripted"]:
        self.opened += 1
        yield self

    async def scan(self, scan: str, now_ns: Callable[[], int]) -> Row:
        self.scans.append(scan)
        if scan == "live":
            self.lives -= 1
            if self.lives < 0:
                raise DeviceUnreachable("scripted: no answer")
        return empty_row(13, now_ns(), Quality.GOOD, scan)


@pytest.fixture
def device(tmp_path: Path) -> tuple[DeviceConfig, LoadedSite]:
    loaded = load(tmp_path)
    fast = loaded.site.device[0].model_copy(update={"interval_s": 0.1, "scan": {"slow": 0.5}})
    return fast, loaded


async def run(
    device: tuple[DeviceConfig, LoadedSite], source: Scripted, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> tuple[Poller, list[Row]]:
    monkeypatch.setattr(poll, "open_device", lambda *_, **__: source)
    rows: list[Row] = []
    config, loaded = device
    poller = Poller(config, loaded.profiles[config.name], WallClock(), lambda _, row: rows.append(row))
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(seconds)
    task.cancel()
    return poller, rows


async def test_scans_come_on_the_clock_slow_ones_first(device, monkeypatch) -> None:
    poller, rows = await run(device, Scripted(10**6), 1.25, monkeypatch)
    assert rows[0].scan == "slow"  # it tells who is there
    live = [row.t_ns for row in rows if row.scan == "live"]
    assert 5 <= len(live) <= 14
    on_time = sum(t_ns % 10**8 < 5 * 10**7 for t_ns in live)
    assert on_time > len(live) / 2  # aligned to tenths of a second; a busy machine delays some
    assert 2 <= sum(row.scan == "slow" for row in rows) <= 4
    assert poller.counts.connected
    assert poller.counts.missed + len(live) + 4 >= 12  # what did not come is counted


async def test_a_loss_is_one_row_and_no_invented_misses(device, monkeypatch) -> None:
    poller, rows = await run(device, Scripted(6), 1.2, monkeypatch)
    assert not poller.counts.connected
    assert [row.quality[0] for row in rows].count(Quality.NO_ANSWER) == 1
    assert poller.counts.missed <= 12  # since the loss, not since the connection


@pytest.mark.parametrize("lives", [10**6, 3])
async def test_a_step_of_the_clock_is_no_missed_scan(device, lives: int) -> None:
    """A gateway without a battery for its clock boots years ago; its first time server ends that."""

    class Stepping(WallClock):
        step_ns = 0

        def now_ns(self) -> int:
            return super().now_ns() + self.step_ns

    poller = poller_of(device, Scripted(lives), [])
    poller._clock = clock = Stepping()
    task = asyncio.create_task(poller.run())
    await until(lambda: poller.counts.scans >= 3)
    clock.step_ns = 10 * 365 * 86_400 * 10**9
    await asyncio.sleep(1.5)
    task.cancel()
    assert poller.counts.missed < 100


async def test_a_device_that_answers_only_slow_scans_is_backed_off_from(device, monkeypatch) -> None:
    source = Scripted(0)
    await run(device, source, 2.5, monkeypatch)
    assert source.opened <= 4


def poller_of(device: tuple[DeviceConfig, LoadedSite], source: object, rows: list[Row], **more: object) -> Poller:
    config, loaded = device
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poll, "open_device", lambda *_, **__: source)
        return Poller(config, loaded.profiles[config.name], WallClock(), lambda _, row: rows.append(row), **more)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_devices_are_staggered_by_a_lag_of_their_own(device) -> None:
    lags = {}
    for place in (0.0, 0.5):
        rows: list[Row] = []
        poller = poller_of(device, Scripted(10**6), rows, place=place)
        due_ns = poller._next(1_700_000_000_000_000_000, "live")
        lags[place] = due_ns % 10**8  # of an interval of a tenth of a second
    assert lags == {0.0: 0, 0.5: 12_500_000}


async def test_plugging_in_ends_the_back_off_of_the_berths_battery_at_once(device) -> None:
    class Charger:
        index = {"power_w": 0, "mated": 1}

    class Woken:
        resets = 0

        def reset(self) -> None:
            self.resets += 1

    class Berth:
        charger, battery = "charger-1", "ferry-bms"

    battery = Woken()
    watch = poll.PlugWatch([Berth()], {"charger-1": Charger()}, {"ferry-bms": battery})
    row = empty_row(2, 1, Quality.GOOD)
    for mated, quality, resets in ((0, 0, 0), (1, 0, 1), (1, 0, 1), (0, 0xB, 1), (1, 0, 1), (0, 0, 1), (1, 0, 2)):
        row.values[1], row.quality[1] = mated, quality
        watch.see("charger-1", row)
        watch.see("meter-1", row)
        assert battery.resets == resets


async def test_reset_ends_a_back_off(device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll.random, "uniform", lambda low, high: high)
    source, rows = Scripted(0), []
    poller = poller_of(device, source, rows)
    poller._failures = 6  # the next wait would be a minute
    task = asyncio.create_task(poller.run())
    await until(lambda: poller.counts.unreachable == 1)
    assert source.opened == 1
    source.lives = 10**6
    poller.reset()
    await until(lambda: poller.counts.connected)
    assert source.opened == 2 and poller._failures == 0
    task.cancel()


async def test_a_bus_that_is_down_does_not_lengthen_the_back_off_of_its_devices(device) -> None:
    class Down(Scripted):
        @asynccontextmanager
        async def open(self) -> AsyncIterator["Scripted"]:
            self.opened += 1
            raise BusDown("tcp:plc: left alone", 0.0)
            yield self

    source = Down(0)
    poller = poller_of(device, source, [])
    task = asyncio.create_task(poller.run())
    await until(lambda: source.opened >= 3)
    assert poller._failures == 0
    task.cancel()


@pytest.mark.parametrize(("transport", "longest_s"), [("tcp", 60.0), ("rtu", 200.0 / 0.75)])
async def test_a_dead_unit_on_a_shared_bus_costs_its_neighbours_a_hundredth(
    device, transport: str, longest_s: float
) -> None:
    class Shared(Scripted):
        bus = Buses().bus(ModbusAddress("plc", transport=transport, serial="/dev/ttyX"))

    Shared.bus.units.update({1, 2})
    config, loaded = device
    poller = poller_of((config.model_copy(update={"timeout_s": 1.0}), loaded), Shared(0), [])
    wanted = max(longest_s, 100.0 / 0.75)
    assert poller._growth == (pytest.approx(wanted), 4.0)
    Shared.bus.units.discard(2)
    assert poller._growth == (60.0, 2.0)


async def test_after_a_gap_history_comes_with_its_own_times(device) -> None:
    class Historian(Scripted):
        asked: list[tuple[int, int]] = []

        async def history(self, from_ns: int, to_ns: int) -> list[Row]:
            self.asked.append((from_ns, to_ns))
            return [empty_row(13, from_ns + i, Quality.GOOD) for i in (1, 2)]

    source, rows = Historian(3), []
    poller = poller_of(device, source, rows)
    task = asyncio.create_task(poller.run())
    await until(lambda: poller.counts.unreachable == 1)
    before = len(rows)
    source.lives = 10**6
    poller.reset()
    await until(lambda: len(rows) >= before + 4)
    task.cancel()
    lost, *filled = rows[before - 1 : before + 2]
    assert lost.quality[0] == Quality.NO_ANSWER and lost.t_ns == rows[before - 2].t_ns + 1
    from_ns, to_ns = source.asked[0]
    assert from_ns == lost.t_ns + 1 <= to_ns
    assert [row.t_ns for row in filled] == [from_ns + 1, from_ns + 2]
    assert [row.t_ns for row in rows] == sorted(row.t_ns for row in rows)


async def test_the_achieved_period_and_blocks_set_aside_are_reported(device) -> None:
    source, rows = Scripted(10**6), []
    source.set_aside = 2
    poller = poller_of(device, source, rows)
    task = asyncio.create_task(poller.run())
    await until(lambda: poller.counts.periods >= 3)
    fields = poller.take_counts().report()
    task.cancel()
    live = [row.t_ns for row in rows if row.scan == "live"]
    assert fields["set_aside"] == 2
    steps = len(live) - 1
    assert fields["period_ms"] == pytest.approx((live[-1] - live[0]) / 1e6 / steps)
    assert set(fields) <= set(wire.COMPUTED["link"])
    assert "period_ms" not in poller.take_counts().report()


async def test_devices_behind_one_gateway_share_a_connection_and_a_dead_one_stops_no_other() -> None:
    profile = Profile.model_validate(
        {
            "schema": 1, "kind": "meter", "model": "m", "source": "s",
            "point": [{"name": "r0", "type": "uint16", "address": 0}],
        }
    )  # fmt: skip
    units = {n: ModbusUnit(profile, lambda n=n: {"r0": n}) for n in (1, 2, 3)}
    board = FaultBoard({"d3": traits_of(profile, "modbus-tcp")})
    board.on("silence", "d3")
    server = ModbusServer(units, {3: WireFaults(board, "d3", lambda: 0)})
    port = await server.start("127.0.0.1", 0)
    buses, rows = Buses(), {1: [], 2: [], 3: []}
    tasks = []
    for n in units:
        config = DeviceConfig(
            name=f"d{n}", profile="-", host="127.0.0.1", port=port, unit_id=n, interval_s=0.1, timeout_s=0.4
        )
        poller = Poller(config, profile, WallClock(), lambda name, row: rows[int(name[1])].append(row), buses)
        tasks.append(asyncio.create_task(poller.run()))
    await until(lambda: len(rows[1]) > 10 and len(rows[2]) > 10)
    assert len(server.connections) == 1 and rows[3] == []
    for n in (1, 2):
        assert {float(row.values[0]) for row in rows[n]} == {float(n)}
    board.off("silence")
    await until(lambda: rows[3] != [])
    assert rows[3][0].values[0] == 3.0 and len(server.connections) == 1
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await server.stop()


@pytest.mark.parametrize(
    ("held", "refused", "concluded"),
    [
        (0, "holding 0-19, holding 40-47", "event=refuses_all points=12 "),
        (10, "holding 40-47", "event=answers failures=0 refused=2 points=12"),
    ],
)
async def test_a_device_that_refuses_is_not_merely_said_to_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, held: int, refused: str, concluded: str
) -> None:
    """What is refused stands in one line for each scan class, and the last line takes it into account."""
    caplog.set_level(logging.INFO)
    meter = load_profile("generic-meter")
    part = meter.model_copy(update={"point": meter.points[:held]})
    server = ModbusServer({1: ModbusUnit(part, lambda: {point.name: 1.0 for point in part.points})})
    port = await server.start("127.0.0.1", 0)
    loaded = load(tmp_path, meter=port)
    (device,) = (d for d in loaded.site.device if d.name == "meter")
    poller = Poller(device, meter, WallClock(), lambda *_: None)
    polling = asyncio.create_task(poller.run())
    await until(lambda: poller.counts.connected)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    await server.stop()
    lines = [line for line in caplog.messages if "exception 2" in line]
    assert len(lines) == 2 and f"/1: {refused}: exception 2: it has no such registers" in lines[1]
    assert caplog.messages[-1].startswith(f"device=meter {concluded}")
