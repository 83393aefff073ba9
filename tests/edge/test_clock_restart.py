"""A clock that was an hour ahead is behind the rows that are there: a restart still knows how long nobody read."""

import asyncio
from pathlib import Path

import pytest
from edge_rows import NS, START_NS, load, row

from edge import wire
from edge.clock import WallClock
from edge.config import BrokerConfig, SpoolConfig
from edge.disk import Disk
from edge.flush import Flusher
from edge.meter import EVENTS
from edge.pipeline import Pipeline
from edge.sending import Sender
from edge.spool import Spool
from edge.uplink import Uplink
from edge.waiting import Waiting

pytestmark = pytest.mark.usefixtures("kernels")
HOUR_S = 3600.0
EVERY_S = 4.0  # between two readings


class Machine:
    """True time, the machine's monotonic clock and its wall clock, which may be wrong."""

    def __init__(self) -> None:
        self.true_ns, self.boot, self.booted_ns = START_NS, "first", START_NS - 50 * NS
        self.error_s, self.synchronised = 0.0, True

    def reboots(self, after_s: float) -> None:
        self.true_ns += int(after_s * NS)
        self.boot, self.booted_ns = "second", self.true_ns - 20 * NS


class Clock(WallClock):
    """Of this machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        super().__init__()

    def mono_ns(self) -> int:
        return self._machine.true_ns - self._machine.booted_ns

    def _wall_ns(self, mono_ns: int) -> int:
        return self._machine.true_ns + int(self._machine.error_s * NS)

    def _synchronised(self) -> bool:
        return self._machine.synchronised

    def boot_id(self) -> str:
        return self._machine.boot


class Gateway:
    """What of an agent gives a meter's rows their times and keeps them, at 3.6 MW: 1000 Wh a second."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._machine, self._loaded, self.clock = machine, load(folder), Clock(machine)
        self.spool = Spool(folder / "spool.db", "port/gw")
        disk = Disk(self.spool, lambda _: None, lambda _: None)
        self._pipeline, turn, broker = Pipeline(self._loaded), asyncio.Lock(), BrokerConfig(host="b")
        uplink = Uplink(broker, folder, "port", "gw", b"", lambda _: None, lambda: None)
        self.waiting = Waiting(self.clock, self._pipeline, disk, turn, lambda _: None)
        self._flusher = Flusher(
            disk, self._pipeline, self.clock, SpoolConfig(min_free_mib=0), Sender(disk, uplink, broker), turn,
            lambda: not self.waiting.torn,
        )  # fmt: skip

    async def start(self) -> None:
        self._pipeline.resume(*self.spool.replay())
        await self.waiting.begin(require=True)

    async def reads(self, seconds: float, watts: float = 3.6e6) -> None:
        for _ in range(int(seconds / EVERY_S)):
            self._machine.true_ns += int(EVERY_S * NS)
            wh = 5_000_000 + min(self._machine.true_ns - START_NS, int(STOP_S * NS)) // NS * 1000
            scan = row(self._loaded, "meter", self.clock.now_ns(), power_w=watts, energy_import_total_wh=float(wh))
            self._pipeline.take("meter", scan)
        await self._flusher.flush()
        await self.waiting.look()

    def rows(self) -> list[wire.RowLine]:
        return [wire.decode_row(line) for (line,) in self.spool._db.execute("SELECT line FROM row ORDER BY seq")]


STOP_S = 1600.0  # then nothing flows any more: all minutes that have energy are complete at the end


async def hour_ahead_and_back(gateway: Gateway, machine: Machine) -> None:
    await gateway.reads(60)
    machine.error_s = HOUR_S
    await gateway.reads(20)
    machine.error_s = 0.0
    await gateway.reads(60)
    gateway.spool.close()  # as a kill would: no checkpoint, no goodbye


async def energy_is_exact(gateway: Gateway, machine: Machine) -> None:
    left_s = STOP_S - (machine.true_ns - START_NS) / NS
    await gateway.reads(left_s)
    await gateway.reads(1500, watts=0.0)
    rows = gateway.rows()
    readings = [r.fields["energy_import_total_wh"] for r in rows if r.kind == "meter"]
    minutes = [r.fields for r in rows if r.kind == "energy_1m"]
    assert sum(int(m["import_wh"]) for m in minutes) == int(readings[-1]) - int(readings[0])
    assert {m["epoch"] for m in minutes} == {0}
    codes = {r.tags["code"] for r in rows if r.kind == "event"}
    assert not codes & set(EVENTS.values())
    times = [r.t_ns for r in rows if r.kind == "meter"]
    assert times == sorted(times)


@pytest.mark.parametrize("outage_s", [1.0, 600.0])
async def test_after_a_restart_in_the_same_boot_no_energy_is_lost(tmp_path: Path, outage_s: float) -> None:
    machine = Machine()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await hour_ahead_and_back(gateway, machine)
    machine.true_ns += int(outage_s * NS)
    again = Gateway(tmp_path, machine)
    await again.start()
    assert again.clock.now_ns() == pytest.approx(machine.true_ns + HOUR_S * NS, abs=NS)
    assert again.clock.take_step_s() == pytest.approx(-HOUR_S, abs=1.0)
    await energy_is_exact(again, machine)


async def test_after_a_reboot_the_wall_clock_tells_how_long_it_took(tmp_path: Path) -> None:
    machine = Machine()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await hour_ahead_and_back(gateway, machine)
    machine.reboots(after_s=600.0)
    again = Gateway(tmp_path, machine)
    await again.start()
    await energy_is_exact(again, machine)


async def test_rows_that_wait_for_the_time_of_the_new_boot_come_after_those_that_are_there(tmp_path: Path) -> None:
    machine = Machine()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await hour_ahead_and_back(gateway, machine)
    machine.reboots(after_s=600.0)
    machine.synchronised, machine.error_s = False, -50 * 365 * 24 * HOUR_S
    again = Gateway(tmp_path, machine)
    await again.start()
    await again.reads(100)
    assert again.spool.held_count() == 25
    machine.synchronised, machine.error_s = True, 0.0
    await energy_is_exact(again, machine)
    assert not any("late" in r.fields for r in again.rows())


async def test_a_kill_right_after_the_step_knows_of_it(tmp_path: Path) -> None:
    """The step is on disk with the first rows that have its time."""
    machine = Machine()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await gateway.reads(60)
    machine.error_s = HOUR_S
    await gateway.reads(EVERY_S)
    gateway.spool.close()
    machine.true_ns, machine.error_s = machine.true_ns + 600 * NS, 0.0
    again = Gateway(tmp_path, machine)
    await again.start()
    await energy_is_exact(again, machine)


async def test_a_night_without_power_lets_the_clock_be_right_again(tmp_path: Path) -> None:
    machine = Machine()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await hour_ahead_and_back(gateway, machine)
    machine.reboots(after_s=9 * HOUR_S)
    again = Gateway(tmp_path, machine)
    await again.start()
    assert again.clock.now_ns() == machine.true_ns
    assert again.clock.trusted()


@pytest.mark.parametrize("error_s", [HOUR_S, -HOUR_S])
async def test_a_reboot_while_the_clock_was_wrong_for_a_moment(tmp_path: Path, error_s: float) -> None:
    """It has run rightly for long: that is what it is measured by, also by an agent that has started meanwhile."""
    machine = Machine()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await gateway.reads(60)
    machine.error_s = error_s
    await gateway.reads(20)
    gateway.spool.close()
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await gateway.reads(20)
    gateway.spool.close()
    machine.reboots(after_s=600.0)
    machine.error_s = 0.0
    again = Gateway(tmp_path, machine)
    await again.start()
    assert again.clock.now_ns() == pytest.approx(machine.true_ns + max(0.0, error_s) * NS, abs=NS)
    await energy_is_exact(again, machine)


async def test_a_reboot_after_the_clock_was_put_right(tmp_path: Path) -> None:
    machine = Machine()
    machine.error_s = -HOUR_S
    gateway = Gateway(tmp_path, machine)
    await gateway.start()
    await gateway.reads(60)
    machine.error_s = 0.0
    await gateway.reads(20)
    gateway.spool.close()
    machine.reboots(after_s=600.0)
    again = Gateway(tmp_path, machine)
    await again.start()
    assert again.clock.now_ns() == machine.true_ns
