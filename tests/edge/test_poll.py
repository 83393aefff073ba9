"""When a device is asked, and what its link reports."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from edge_rows import load

from drivers.errors import DeviceUnreachable
from drivers.row import Quality, Row, empty_row
from edge import poll
from edge.clock import WallClock
from edge.config import DeviceConfig, LoadedSite
from edge.poll import Poller


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


async def test_a_device_that_answers_only_slow_scans_is_backed_off_from(device, monkeypatch) -> None:
    source = Scripted(0)
    await run(device, source, 2.5, monkeypatch)
    assert source.opened <= 4
