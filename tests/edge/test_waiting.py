"""Until somebody knows what time it is: a boot without time, clocks that step, trust that comes late or never."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from edge_rows import NS, START_NS, a_call, row

from drivers.row import Row
from edge import wire
from edge.clock import Anchor
from edge.config import LoadedSite
from edge.disk import Disk
from edge.pipeline import Pipeline
from edge.spool import HeldBoot, Spool
from edge.waiting import Placed, Waiting, placed

pytestmark = pytest.mark.usefixtures("kernels")
HOUR_NS = 3600 * NS


class Machine:
    """A clock whose wall time is wrong by `error_ns` until `trust`; time goes on when the test says so."""

    speed = 1.0

    def __init__(
        self, boot: str, utc_ns: int, mono_ns: int = 5 * NS, error_ns: int = 0, trust: bool = False
    ) -> None:
        self.boot, self._mono_ns, self._true_ns = boot, mono_ns, utc_ns - mono_ns
        self.error_ns, self.trust, self.known = error_ns, trust, True

    def passes(self, seconds: float) -> None:
        self._mono_ns += int(seconds * NS)

    def utc_ns(self) -> int:
        return self._true_ns + self._mono_ns

    def now_ns(self) -> int:
        return self.utc_ns() + (self.error_ns if not self.known else 0)

    def mono_ns(self) -> int:
        return self._mono_ns

    def boot_id(self) -> str:
        return self.boot

    def trusted(self) -> bool:
        return self.trust

    def wait(self) -> None:
        self.known = False

    def settle(self) -> None:
        self.known = True

    def anchor(self) -> Anchor:
        return Anchor(self.boot, self._mono_ns, self.now_ns())

    def go_on(self, anchor: Anchor | None, t_ns: int) -> None:
        pass

    def take_step_s(self) -> float:
        return 0.0

    async def sleep_until(self, t_ns: int) -> None:
        raise AssertionError("nothing here sleeps by the clock")


class Gateway:
    """What of an agent has to do with waiting: pipeline, spool, and what lets rows go."""

    def __init__(self, loaded: LoadedSite, folder: Path, clock: Machine) -> None:
        self.clock, self.shifts = clock, list[int]()
        self.spool = Spool(folder / "spool.db", "port/gw")
        self.disk = Disk(self.spool, lambda _: None, lambda _: None)
        self.pipeline = Pipeline(loaded)
        self.waiting = Waiting(clock, self.pipeline, self.disk, asyncio.Lock(), self.shifts.append)

    async def start(self, require: bool = True) -> None:
        self.pipeline.resume(*self.spool.replay())
        await self.waiting.begin(require)

    def take(self, device: str, scan: Row) -> None:
        scan.t_ns = self.clock.now_ns()
        self.pipeline.take(device, scan)

    async def flush(self, checkpoint: bool = False) -> None:
        state = self.pipeline.checkpoint() if checkpoint else None
        entries, self.pipeline.entries = self.pipeline.entries, []
        held, self.pipeline.held = self.pipeline.held, []
        await self.disk(Spool.commit, entries, state, held)

    def rows(self) -> list[wire.RowLine]:
        lines = [line for (line,) in self.spool._db.execute("SELECT line FROM row ORDER BY seq")]
        return [wire.decode_row(line) for line in lines + [entry.line for entry in self.pipeline.entries]]


def power(loaded: LoadedSite, watts: float) -> Row:
    return row(loaded, "meter", 1, power_w=watts, energy_import_total_wh=watts)


def of_meter(rows: list[wire.RowLine]) -> list[tuple[float, int, bool]]:
    return [(float(r.fields["power_w"]), r.t_ns, "clk" in r.fields) for r in rows if r.kind == "meter"]


@pytest.mark.parametrize("error_ns", [-HOUR_NS, HOUR_NS, -50 * 365 * 24 * HOUR_NS, 0])
async def test_rows_get_the_times_they_had_however_wrong_the_clock_was(
    loaded: LoadedSite, tmp_path: Path, error_ns: int
) -> None:
    clock = Machine("a", START_NS, error_ns=error_ns)
    gateway = Gateway(loaded, tmp_path, clock)
    await gateway.start()
    times = []
    for i in range(5):
        clock.passes(1.0)
        times.append(clock.utc_ns())
        gateway.take("meter", power(loaded, 100.0 + i))
        if i == 2:
            await gateway.flush()
    await gateway.waiting.look()
    assert gateway.rows() == [] and gateway.spool.held_count() == 3, "nothing has a time yet"
    clock.trust = True
    await gateway.waiting.look()
    assert gateway.shifts == [-error_ns]
    clock.passes(1.0)
    gateway.take("meter", power(loaded, 105.0))
    assert of_meter(gateway.rows()) == [
        (100.0 + i, t_ns, False) for i, t_ns in enumerate([*times, clock.utc_ns()])
    ]
    assert gateway.spool.held_count() == 0 and not gateway.pipeline.holding
    (told,) = [r for r in gateway.rows() if r.tags.get("code") == "clock_known"]
    assert told.fields["rows"] == 5


async def test_a_call_that_waited_is_computed_as_if_it_had_not(loaded: LoadedSite, tmp_path: Path) -> None:
    """Bit by bit, with the waiting rows partly on disk, a restart in between, and trust that comes late."""
    straight = Pipeline(loaded)
    calls = list(a_call(loaded, seconds=400))
    for device, scan in calls:
        straight.take(device, scan)
    calls = list(a_call(loaded, seconds=400))
    clock = Machine("a", START_NS, error_ns=-HOUR_NS)
    gateway = Gateway(loaded, tmp_path, clock)
    await gateway.start()
    for i, (device, scan) in enumerate(calls):
        if i == 700:
            await gateway.flush(checkpoint=True)
            gateway.spool.close()
            clock.error_ns = 7 * HOUR_NS  # the wall clock of an unset machine may say anything
            gateway = Gateway(loaded, tmp_path, clock)
            await gateway.start()
        if i == 1000:
            clock.trust = True
            await gateway.waiting.look()
        scan.t_ns += 0 if clock.known else clock.error_ns
        gateway.pipeline.take(device, scan)
        if i % 100 == 50:
            await gateway.flush()
    computed = [r for r in gateway.rows() if r.tags.get("code") != "clock_known"]
    assert computed == [wire.decode_row(entry.line) for entry in straight.entries]


async def test_an_isolated_network_sends_at_once_and_says_so(loaded: LoadedSite, tmp_path: Path) -> None:
    gateway = Gateway(loaded, tmp_path, Machine("a", START_NS))
    await gateway.start(require=False)
    gateway.pipeline.trusted = False
    gateway.take("meter", power(loaded, 1.0))
    assert of_meter(gateway.rows()) == [(1.0, START_NS, True)]


async def test_a_restart_in_a_boot_whose_time_is_known_waits_for_nothing(
    loaded: LoadedSite, tmp_path: Path
) -> None:
    clock = Machine("a", START_NS)
    first = Gateway(loaded, tmp_path, clock)
    await first.start()
    clock.trust = True
    await first.waiting.look()
    first.spool.close()
    clock.trust = False  # the kernel forgets after some hours without a time server
    second = Gateway(loaded, tmp_path, clock)
    await second.start()
    assert clock.known and not second.pipeline.holding


async def test_a_boot_that_never_knew_the_time_keeps_order_and_distances(
    loaded: LoadedSite, tmp_path: Path
) -> None:
    before = Machine("before", START_NS, trust=True)
    gateway = Gateway(loaded, tmp_path, before)
    await gateway.start()
    gateway.take("meter", power(loaded, 1.0))
    await gateway.flush(checkpoint=True)
    gateway.spool.close()
    lost = Machine("lost", START_NS + HOUR_NS, error_ns=-50 * 365 * 24 * HOUR_NS)
    gateway = Gateway(loaded, tmp_path, lost)
    await gateway.start()
    for watts in (2.0, 3.0, 4.0):
        lost.passes(10.0)
        gateway.take("meter", power(loaded, watts))
    await gateway.flush()
    gateway.spool.close()
    now = Machine("now", START_NS + 2 * HOUR_NS, mono_ns=60 * NS)
    gateway = Gateway(loaded, tmp_path, now)
    await gateway.start()
    gateway.take("meter", power(loaded, 5.0))
    now.trust = True
    await gateway.waiting.look()
    found = of_meter(gateway.rows())
    assert [watts for watts, *_ in found] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [clk for *_, clk in found] == [False, True, True, True, False]
    times = [t_ns for _, t_ns, _ in found]
    assert times[2] - times[1] == times[3] - times[2] == 10 * NS
    assert times[3] == START_NS + 2 * HOUR_NS - 60 * NS - 1, "as late as it can have been: before this boot"
    (told,) = [r for r in gateway.rows() if r.tags.get("code") == "rows_without_time"]
    assert (told.fields["rows"], told.fields["text"]) == (3, "lost")
    assert told.fields["detail"] == f"{times[1]}-{times[3]}"


def test_the_wall_clock_is_believed_where_it_can_be_right() -> None:
    def boot(name: str, wall_ns: int) -> HeldBoot:
        return HeldBoot(name, 10, 5 * NS, 95 * NS, wall_ns)

    boots = [boot("a", 1000 * NS), boot("b", 5 * NS), boot("c", 2000 * NS), boot("d", 3000 * NS)]
    found = placed(boots, {"d": 9000 * NS}, 9000 * NS, 500 * NS)
    assert found["d"] == Placed(9000 * NS, True)
    assert found["c"] == Placed(2000 * NS, False)  # a clock with a battery, and no time server
    assert found["b"] == Placed(2000 * NS - 1 - 95 * NS, False)  # before c began
    assert found["a"] == Placed(1000 * NS, False)
    ends = {name: place.offset_ns + 95 * NS for name, place in found.items()}
    assert ends["a"] < found["b"].offset_ns + 5 * NS < ends["b"] < found["c"].offset_ns + 5 * NS


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5, 6])
async def test_a_kill_while_rows_are_let_go_counts_none_twice(
    loaded: LoadedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    import edge.waiting

    monkeypatch.setattr(edge.waiting, "AT_ONCE", 3)
    clock = Machine("a", START_NS, error_ns=HOUR_NS)
    gateway = Gateway(loaded, tmp_path, clock)
    await gateway.start()
    for i in range(10):
        clock.passes(1.0)
        gateway.take("meter", power(loaded, float(i)))
    await gateway.flush()
    clock.trust = True
    left = calls

    async def dies(function: Callable[..., object], *args: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return function(gateway.spool, *args)

    monkeypatch.setattr(gateway.disk, "insist", dies)
    with pytest.raises(KeyboardInterrupt):
        await gateway.waiting.look()
    gateway.spool.close()
    again = Gateway(loaded, tmp_path, clock)
    await again.start()
    await again.waiting.look()
    assert [watts for watts, *_ in of_meter(again.rows())] == [float(i) for i in range(10)]
    assert again.spool.tally().waiting == len(again.rows()) - len(again.pipeline.entries)


async def test_a_time_told_before_the_clock_was_known_is_put_right(loaded: LoadedSite, tmp_path: Path) -> None:
    clock = Machine("a", START_NS, error_ns=-HOUR_NS)
    gateway = Gateway(loaded, tmp_path, clock)
    await gateway.start()
    told_ns = clock.now_ns()
    clock.trust = True
    await gateway.waiting.look()
    clock.passes(1.0)
    assert gateway.waiting.corrected_ns(told_ns) == told_ns + HOUR_NS
    assert gateway.waiting.corrected_ns(clock.now_ns()) == clock.now_ns()
    clock.passes(600.0)
    assert gateway.waiting.corrected_ns(told_ns) == told_ns
