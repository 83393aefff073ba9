"""Water and interlocks of every lock: balance, filling time, and what never happens unless it is asked for."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from firmware_sim.faults import FaultBoard
from firmware_sim.plant import lock_kernel as lk
from firmware_sim.plant.lock import (
    DOWN,
    EQUAL_M,
    MID,
    MOST_HEAD_M,
    PRESETS,
    TRACE,
    UP,
    Lock,
    LockMoment,
    LockSize,
    pump_power_w,
)
from firmware_sim.plant.pack import Floats

NS = 1_000_000_000
HOURS3 = 3 * 3600


def run(lock: Lock, seconds: int) -> Floats:
    trace = np.zeros((seconds, TRACE))
    lock.advance(seconds * NS, trace, 1)
    return trace


def random_size(seed: int) -> LockSize:
    rng = np.random.default_rng(seed)
    low = float(rng.uniform(0, 30))
    return LockSize(
        length_m=float(rng.uniform(40, 200)), width_m=float(rng.uniform(5, 13)), downstream_m=low,
        upstream_m=low + float(rng.uniform(0.5, 25)), sluice_m2=float(rng.uniform(1.5, 12)),
        sluice_open_s=float(rng.uniform(5, 300)), sluice_close_s=float(rng.uniform(5, 90)),
        gate_drive_s=float(rng.uniform(20, 180)), leak_up_m2=float(rng.uniform(0, 0.004)),
        leak_down_m2=float(rng.uniform(0, 0.004)), short_m=30.0 if rng.random() < 0.3 else None,
        pump_m3_s=1.0, pump_w=50_000.0, first_vessel_s=float(rng.uniform(10, 600)),
    )  # fmt: skip


def broken_rules(lock: Lock, trace: Floats) -> set[str]:
    """Which rules of domain.md D.4 a trace breaks, found from positions and levels only."""
    found = set()
    level, short = trace[:, lk.TRACE_LEVEL], trace[:, lk.TRACE_SHORT] > 0
    gate = {UP: trace[:, 2], DOWN: np.where(short, trace[:, 6], trace[:, 4])}
    sluice = {UP: trace[:, 3], DOWN: np.where(short, trace[:, 7], trace[:, 5])}
    same = np.append([True], short[1:] == short[:-1])  # the other lower head is another gate
    for side, other in ((UP, DOWN), (DOWN, UP)):
        head = np.abs(lock.reach_m[side] - level)
        opens = np.append([False], np.diff(gate[side]) > 0) & same
        closes = np.append([False], np.diff(gate[side]) < 0) & same
        if (opens & (np.append([0.0], head[:-1]) > MOST_HEAD_M + 0.01)).any():
            found.add("gate opens under head")
        if ((gate[side] > 0) & (sluice[other] > 0)).any():
            found.add("opposite sluice open")
        if (closes & (sluice[side] > 0)).any():
            found.add("sluice open while its gate closes")
    if ((gate[UP] > 0) & (gate[DOWN] > 0)).any():
        found.add("both gates open")
    if ((sluice[UP] > 0) & (sluice[DOWN] > 0)).any():
        found.add("sluices of both heads open")
    return found


def test_a_thousand_locks_keep_their_rules_and_their_water() -> None:
    for seed in range(1000):
        size = random_size(seed)
        lock = Lock(size, seed)
        trace = run(lock, HOURS3)
        assert broken_rules(lock, trace) == set(), seed
        level = trace[:, lk.TRACE_LEVEL]
        assert (level >= size.downstream_m - 1e-9).all() and (level <= size.upstream_m + 1e-9).all(), seed
        if size.short_m is None:
            held = size.area_m2 * (lock.level_m - size.upstream_m)
            assert lock.drawn_m3 - lock.released_m3 == pytest.approx(held, abs=1e-6 * max(1.0, lock.drawn_m3)), (
                seed
            )


def test_volume_balances_with_an_intermediate_gate() -> None:
    """In a short lockage only the part above the intermediate gate moves."""
    size = replace(PRESETS["fall-4.9"], short_m=92.0, leak_up_m2=0.0, leak_down_m2=0.0, empty_share=0.0)
    lock = Lock(size, 5)
    lock.advance(86_400 * NS)
    done = [one for one in lock.lockages if one.end_s]
    volumes = {round(one.volume_m3) for one in done}
    assert volumes == {round(144.6 * 12 * 4.9), round(92 * 12 * 4.9)}
    drawn = sum(one.volume_m3 for one in lock.lockages if one.direction == UP and "opening" in one.phases)
    assert lock.drawn_m3 == pytest.approx(drawn, rel=0.005)
    assert MID in lock.gates


@pytest.mark.parametrize("name", PRESETS)
def test_filling_and_emptying_take_the_time_of_the_closed_formula_within_one_percent(name: str) -> None:
    """t = 2 A (sqrt H - sqrt h) / (c w sqrt(2 g)), and half of the time in which the sluices open."""
    size = replace(PRESETS[name], leak_up_m2=0.0, leak_down_m2=0.0)
    lock = Lock(size, 1)
    lock.advance(7200 * NS)
    fall_m = size.upstream_m - size.downstream_m
    formula_s = (
        2 * size.area_m2 * (sqrt(fall_m) - sqrt(EQUAL_M)) / (size.discharge * size.sluice_m2 * sqrt(2 * 9.81))
    )
    formula_s += size.sluice_open_s / 2
    for one in lock.lockages[:2]:
        assert one.phases["shutting"] - one.phases["levelling"] == pytest.approx(formula_s, rel=0.01), (
            one.direction
        )
    assert 4 * 60 < formula_s < 12 * 60


def test_peak_flow_is_where_the_book_has_it() -> None:
    """Sluices that open for longer than the peak needs: at h = 4/9 H (domain.md D.5)."""
    size = replace(PRESETS["fall-4.9"], sluice_open_s=2000.0, leak_up_m2=0.0, leak_down_m2=0.0)
    lock = Lock(size, 1)
    trace = run(lock, 3000)
    level = trace[:, lk.TRACE_LEVEL]
    at = int(np.argmax(np.abs(np.diff(level))))
    assert (level[at] - size.downstream_m) / 4.9 == pytest.approx(4 / 9, abs=0.01)


def test_the_deepest_lock_uses_the_water_and_the_energy_that_are_published() -> None:
    lock = Lock(PRESETS["fall-13.13"], 1)
    lock.advance(86_400 * NS)
    one = next(one for one in lock.lockages if one.end_s)
    assert one.volume_m3 == pytest.approx(22_783, rel=0.001)
    assert 0.0 <= lock.released_m3 - lock.pumped_m3 + 2.0 < 45_000  # they start when enough is owed
    lift_wh = pump_power_w(1.0, 13.13) * 22_783 / 3600.0
    assert lift_wh / 1000 == pytest.approx(1164, rel=0.01)
    used = int(str(lock.values(86_400 * NS)["energy_total_wh"])) - lock.size.energy_wh
    assert used == pytest.approx(lock.pumped_m3 * lift_wh / 22_783 + 24 * 1500, rel=0.05)


def test_a_leak_shows_while_everything_is_closed_and_only_then() -> None:
    lock = Lock(replace(LockSize(), leak_down_m2=0.05), 1, moments=[LockMoment("estop", 620, 1220)])
    before = None
    for second in range(600, 1200, 10):
        lock.advance(second * NS)
        closed = all(drive.position == 0.0 for drive in [*lock.gates.values(), *lock.sluices.values()])
        if closed and before is not None:
            fell_m = before - lock.level_m
            flow = 0.7 * 0.05 * sqrt(2 * 9.81 * max(0.0, before - 16.7))
            assert fell_m == pytest.approx(flow * 10 / lock.size.area_m2, rel=0.05, abs=1e-5)
        before = lock.level_m if closed else None


def test_an_emergency_stop_and_an_outage_hold_every_drive() -> None:
    for kind, point in (("estop", "estop"), ("outage", "ups")):
        lock = Lock(LockSize(), 20261014, moments=[LockMoment(kind, 300, 420)])
        lock.advance(299 * NS)
        start = [drive.position for drive in (*lock.gates.values(), *lock.sluices.values())]
        values = lock.values(301 * NS)
        held = [drive.position for drive in (*lock.gates.values(), *lock.sluices.values())]
        assert values[point] == 1
        lock.advance(419 * NS)
        assert [drive.position for drive in (*lock.gates.values(), *lock.sluices.values())] == held
        assert held != start or held.count(0.0) >= 2
        assert not any(drive.moving for drive in lock.gates.values())
        done = lock.values(3600 * NS)
        assert (done[point], lock.completed) == (0, 2)


def test_in_maintenance_no_lockage_begins_and_a_stuck_gate_raises_its_alarm() -> None:
    lock = Lock(LockSize(), 1, moments=[LockMoment("mode", 0, 7200, 2.0)])
    assert (lock.values(7000 * NS)["mode"], len(lock.lockages)) == (2, 0)
    stuck = Lock(LockSize(), 1, moments=[LockMoment("gate-stuck", 0, 7200)])
    values = stuck.values(3600 * NS)
    assert int(str(values["alarm_word"])) & lk.A_DRIVE
    assert values["takeover_request"] == 1


def test_listed_boats_pass_in_their_order_and_the_chamber_goes_to_meet_them() -> None:
    size = LockSize(boats=((600, UP, 100.0), (3600, UP, 50.0), (7200, DOWN, 80.0)))
    lock = Lock(size, 1)
    lock.advance(4 * 3600 * NS)
    seen = [(one.direction, one.vessel) for one in lock.lockages]
    assert seen == [(DOWN, False), (UP, True), (DOWN, False), (UP, True), (DOWN, True)]


FAULTS = {
    "lock-opposite-sluice-open": "opposite sluice open",
    "lock-sluice-open-while-gate-closes": "sluice open while its gate closes",
    "lock-opposite-gates-open": "both gates open",
    "lock-opposite-sluices-open": "sluices of both heads open",
    "lock-gate-opens-under-head": "gate opens under head",
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", range(5))
def test_each_interlock_can_be_broken_on_purpose_and_is_whole_again_after(name: str, seed: int) -> None:
    lock = Lock(replace(PRESETS["fall-4.9"], empty_share=0.0), seed)
    lock.device, lock.board = "lock-1", FaultBoard()
    lock.board.plan(name, "lock-1", 60 * NS, HOURS3 * NS, {})
    broken = run(lock, HOURS3)
    assert FAULTS[name] in broken_rules(lock, broken)
    size = lock.size
    held = size.area_m2 * (lock.level_m - size.upstream_m)
    assert lock.drawn_m3 - lock.released_m3 == pytest.approx(held, abs=1e-6 * lock.drawn_m3)
    again = np.zeros((2 * HOURS3, TRACE))
    lock.advance(3 * HOURS3 * NS, again, 1)
    assert broken_rules(lock, again[3600:]) == set()
    assert lock.completed > 5


def test_a_level_that_moves_and_one_that_stands_break_the_water_on_purpose() -> None:
    lock = Lock(LockSize(), 1)
    lock.device, lock.board = "lock-1", FaultBoard()
    lock.board.plan("lock-level-still-sluice-open", "lock-1", 60 * NS, 900 * NS, {})
    trace = run(lock, 900)
    assert trace[-1, 5] == 1.0  # the lower sluices are open
    assert np.ptp(trace[:, 0]) == 0.0
    other = Lock(LockSize(), 1)
    other.device, other.board = "lock-1", FaultBoard()
    other.board.plan("lock-level-moves-all-closed", "lock-1", 0, None, {"rate_m_per_s": -0.01})
    moved = run(other, 900)
    still = (moved[:, 2:8] == 0.0).all(axis=1)
    assert still.sum() > 60
    assert np.diff(moved[still, 0]).min() == pytest.approx(-0.01, abs=1e-6)


def test_lights_and_modes_can_lie_too() -> None:
    lock = Lock(LockSize(), 1)
    lock.device, lock.board = "lock-1", FaultBoard()
    lock.board.plan("lock-green-light-gate-closed", "lock-1", 0, None, {})
    lock.board.plan("lock-mode-change-in-cycle", "lock-1", 200 * NS, 800 * NS, {"mode": 0})
    assert lock.values(10 * NS)["light_down_in"] == 2
    assert lock.values(10 * NS)["gate_down_state"] == 0
    assert [lock.values(s * NS)["mode"] for s in (150, 300, 900)] == [1, 0, 1]


def test_a_fault_acts_from_its_beginning_however_late_the_plant_is_asked() -> None:
    late, often = (Lock(LockSize(), 3) for _ in range(2))
    for lock in (late, often):
        lock.device, lock.board = "lock-1", FaultBoard()
        lock.board.plan("lock-opposite-sluice-open", "lock-1", 100 * NS + 7, 700 * NS, {})
    for t_ns in range(0, 3600 * NS, 1_234_567_890):
        often.advance(t_ns)
    assert late.values(3600 * NS) == often.values(3600 * NS)
