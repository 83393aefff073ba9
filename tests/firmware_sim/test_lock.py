"""Water, gates and the PLC's sequence: what must hold in every lock."""

from dataclasses import replace
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.plant import lock_kernel as lk
from firmware_sim.plant.lock import DOWN, GREEN, MOST_HEAD_M, UP, DriveView, Lock, LockSize, Phase
from firmware_sim.plant.meter import NS

DAY_NS = 86_400 * NS


def run(lock: Lock, seconds: int, step_ns: int = NS // 4) -> None:
    for t_ns in range(0, seconds * NS, step_ns):
        lock.advance(t_ns)


def test_the_filling_time_is_that_of_the_closed_formula() -> None:
    """domain: c = 0.7 and 4.1 m2 level 4.90 m in a 144.60 x 12 m chamber in 10 minutes, opened at once."""
    size = LockSize(sluice_m2=4.1, sluice_open_s=0.01)
    lock = Lock(size, seed=1)
    lock.advance(2 * 3600 * NS)
    phases = lock.lockages[0].phases
    formula_s = 2 * size.area_m2 * sqrt(4.90) / (0.7 * 4.1 * sqrt(2 * 9.81))
    assert formula_s == pytest.approx(604.4, abs=0.5)
    assert phases["shutting"] - phases["levelling"] == pytest.approx(formula_s, rel=0.035)  # stops 5 mm early
    assert Lock.head_m(lock, lock.side) < 1e-9


def test_linear_opening_costs_half_its_time() -> None:
    """With c*a(t)*sqrt(2 g h) and a sluice that opens over T1, the level is equal T1/2 later."""
    times = []
    for open_s in (0.01, 120.0):
        lock = Lock(LockSize(sluice_open_s=open_s), seed=1)
        lock.advance(2 * 3600 * NS)
        phases = lock.lockages[0].phases
        times.append(phases["shutting"] - phases["levelling"])
    assert times[1] - times[0] == pytest.approx(60.0, abs=0.5)


def test_the_level_moves_by_the_flow_through_the_sluices() -> None:
    """Integrate Q = c w s sqrt(2 g h) from outside, with nothing but positions and levels."""
    size = LockSize()
    lock = Lock(size, seed=5)
    flowed_m3, before = 0.0, (0.0, lock.level_m)
    dt = 0.25
    for tick in range(4 * 3 * 3600):
        lock.advance(tick * NS // 4)
        flow = 0.0
        for side, sign in ((UP, 1), (DOWN, -1)):
            head = lock.head_m(side)
            flow += sign * size.discharge * size.sluice_m2 * lock.sluices[side].position * sqrt(2 * 9.81 * head)
        flowed_m3 += 0.5 * (flow + before[0]) * dt
        before = (flow, lock.level_m)
    assert lock.completed >= 5
    assert flowed_m3 == pytest.approx(size.area_m2 * (lock.level_m - size.upstream_m), abs=10.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.floats(0.5, 25.0), st.floats(1.0, 12.0))
def test_any_lock_keeps_its_rules(seed: int, fall_m: float, sluice_m2: float) -> None:
    size = replace(LockSize(), upstream_m=10.0 + fall_m, downstream_m=10.0, sluice_m2=sluice_m2)
    lock = Lock(size, seed)
    before = {side: lock.gates[side].position for side in (UP, DOWN)}
    for second in range(3 * 3600):
        lock.advance(second * NS)
        assert size.downstream_m - 1e-9 <= lock.level_m <= size.upstream_m + 1e-9
        for side, other in ((UP, DOWN), (DOWN, UP)):
            gate = lock.gates[side]
            if gate.position > before[side]:
                assert lock.head_m(side) <= MOST_HEAD_M  # never opens against a head
            if not gate.closed:
                assert lock.gates[other].closed
                assert lock.sluices[other].closed
                assert lock.sluices[side].closed  # so that no rule of a supervisor finds fault
            if not lock.sluices[side].closed:
                assert lock.sluices[other].closed
            before[side] = gate.position
    balance_m3 = lock.drawn_m3 - lock.released_m3
    assert balance_m3 == pytest.approx(size.area_m2 * (lock.level_m - size.upstream_m), abs=1e-6)


def test_lockages_alternate_and_take_believable_times() -> None:
    lock = Lock(LockSize(), seed=20261014)
    lock.advance(DAY_NS)
    done = [lockage for lockage in lock.lockages if lockage.end_s is not None]
    assert [lockage.direction for lockage in done[:4]] == ["down", "up", "down", "up"]
    assert all(a.direction != b.direction for a, b in pairwise(done))
    for lockage in done:
        assert lockage.end_s is not None
        assert 10 * 60 <= lockage.end_s - lockage.start_s <= 30 * 60
        assert lockage.volume_m3 == pytest.approx(8502.5, abs=0.5)
        assert list(lockage.phases) == ["entry", "closing", "levelling", "shutting", "opening", "exit"]
    starts = [lockage.start_s for lockage in done]
    assert 22 * 60 <= (starts[-1] - starts[0]) / (len(starts) - 1) <= 30 * 60
    assert 0 < sum(not lockage.vessel for lockage in done) < len(done) / 3


def test_the_lock_does_the_same_however_often_it_is_asked() -> None:
    often, once = Lock(LockSize(), seed=9), Lock(LockSize(), seed=9)
    for t_ns in range(0, 5400 * NS, 333_333_333):
        often.values(t_ns)
    assert often.values(5400 * NS) == once.values(5400 * NS)


def test_levels_are_shown_with_a_few_millimetres_of_noise() -> None:
    lock = Lock(LockSize(), seed=4)
    shown = [lock.values(s * NS)["level_upstream_m"] for s in range(60)]
    off_m = [abs(level - 21.60) for level in shown]  # type: ignore[operator]
    assert 0.0005 < max(off_m) <= 0.004
    assert len(set(shown)) > 50


def test_a_light_is_green_only_beside_an_open_gate_and_a_boat() -> None:
    lock = Lock(LockSize(), seed=20261014)
    greens = 0
    for second in range(0, 6 * 3600, 5):
        values = lock.values(second * NS)
        for side in (UP, DOWN):
            for light in ("in", "out"):
                if values[f"light_{side}_{light}"] == GREEN:
                    greens += 1
                    assert values[f"gate_{side}_state"] == 2
                    assert lock.phase == (Phase.ENTRY if light == "in" else Phase.EXIT)
    assert greens > 100


def test_counters_go_on_and_the_interlock_word_says_why() -> None:
    lock = Lock(LockSize(), seed=20261014)
    first, later = dict(lock.values(0)), lock.values(3 * 3600 * NS)
    assert first["interlock_word"] == 0b1001  # upstream gate open, levels differ downstream
    assert later["cycle_total"] == 10_482 + lock.completed
    used_wh = later["energy_total_wh"] - first["energy_total_wh"]  # type: ignore[operator]
    assert 3 * 900 < used_wh < 3 * 4000


def test_a_drive_covers_its_way_exactly() -> None:
    drive = np.array([0.0, 1.0])  # position, target
    assert lk.travel(drive, 0, 10.0, 4.0, 4.0) == pytest.approx(0.8)  # half of 0.4 over 4 s
    assert drive[0] == pytest.approx(0.4)
    assert lk.travel(drive, 0, 10.0, 4.0, 10.0) == pytest.approx(0.7 * 6 + 4)
    assert drive[0] == 1.0
    drive[1] = 0.0
    lk.travel(drive, 0, 10.0, 4.0, 1.0)
    assert drive[0] == 0.75


def test_end_switches_and_motors_tell_five_states() -> None:
    state = np.zeros(lk.LOCK_STATE)
    view = DriveView(state, 0)
    seen = []
    for position, target in ((0.0, 0.0), (0.4, 1.0), (1.0, 1.0), (0.4, 0.0), (0.4, 0.4)):
        state[:2] = position, target
        seen.append(view.state)
    assert seen == [0, 1, 2, 3, 4]
    state[:2], state[lk.HALTED] = (0.4, 1.0), 1.0  # an emergency stop in between
    assert (view.state, view.moving) == (4, False)
