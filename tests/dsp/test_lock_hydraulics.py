"""Coefficients, leaks and drive times of simulated days, whose truth is known."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import lock_days as ld
import naive_signal
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import lock_cycle
from dsp import lock_hydraulics as hy

pytestmark = pytest.mark.usefixtures("kernels")
SIZE = ld.Size()
SIZES_M2 = np.array(SIZE.sluice_m2)
TOGETHER = (2.5 * 0.70 + 2.5 * 0.66) / 5.0
NAN = float("nan")
S = 1_000_000_000


def coefficients(day: ld.Day) -> list[Any]:
    """Every filling and emptying of a day, by head."""
    found, out = [], np.zeros(1, hy.FLOW_OUT)
    closed = np.all(day.gates == 0, axis=1)
    for head in (0, 1):
        own, other = day.sluices[:, 2 * head : 2 * head + 2], day.sluices[:, 2 - 2 * head : 4 - 2 * head]
        alone = closed & np.all(other <= 0.02, axis=1)
        state, level = hy.flow_init(), day.levels[:, 2 * head]
        for i in range(len(day.t_ns)):
            if hy.flow_step(
                state, day.t_ns[i], level[i], day.levels[i, 1], own[i], SIZES_M2, SIZE.area_m2, alone[i], out
            ):  # fmt: skip
                found += [out[0].copy()]
    return found


def test_the_discharge_coefficient_is_found_within_two_percent() -> None:
    day = ld.day(11)
    found = coefficients(day)
    assert len(found) == len(day.lockages)
    for row in found:
        assert float(row["coefficient"]) == pytest.approx(TOGETHER, rel=0.02)
        assert float(row["sigma"]) < 0.01


def test_each_sluice_is_told_as_well_as_it_says() -> None:
    """Sluices that move alike are hard to tell apart; the standard deviations admit it."""
    errors = []
    for seed in range(6):
        for row in coefficients(ld.day(seed)):
            errors += [(row["sluice"][k] - SIZE.coefficient[k]) / row["sluice_sigma"][k] for k in (0, 1)]
    known = np.array(errors)[np.isfinite(errors)]
    assert len(known) > 200
    assert np.mean(np.abs(known) < 3.0) > 0.95


def test_a_filling_agrees_with_weighted_least_squares() -> None:
    """The twin: NumPy's least squares over the same samples."""
    t = np.arange(400.0)
    opening = np.stack([np.clip(t / 100, 0, 1), np.clip((t - 30) / 60, 0, 1)], axis=1)
    opened = np.cumsum(0.5 * (opening + np.roll(opening, 1, axis=0)), axis=0)
    root = 2.2 - opened @ np.array([0.002, 0.0015]) + 1e-4 * np.random.default_rng(2).standard_normal(400)
    head, out, state, done = np.clip(root, 0.2, None) ** 2, np.zeros(1, hy.FLOW_OUT), hy.flow_init(), 0
    used = []
    for i in range(400):
        if opening[i].max() > hy.SHUT and head[i] > hy.LEAST_HEAD_M and not done:
            used.append(i)
        done += hy.flow_step(state, int(t[i] * S), 10.0 + head[i], 10.0, opening[i], SIZES_M2, 1735.2, True, out)
    done += hy.flow_step(state, 500 * S, 10.0, 10.0, np.zeros(2), SIZES_M2, 1735.2, True, out)
    assert done == 1
    middle = 0.5 * (opening[used][1:] + opening[used][:-1])
    integral = np.vstack([np.zeros(2), np.cumsum(middle, axis=0)])
    weight = np.sqrt(head[used])
    terms = np.column_stack([np.ones(len(used)), integral]) * weight[:, None]
    beta = np.linalg.lstsq(terms, np.sqrt(head[used]) * weight, rcond=None)[0]
    expected = -beta[1:] * 2 * 1735.2 / np.sqrt(2 * 9.81) / SIZES_M2
    assert out[0]["sluice"][:2].tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_clogged_sluice_drifts_and_a_sound_one_does_not() -> None:
    state, told = hy.drift_init(), []
    for seed in range(4):
        size = SIZE if seed < 2 else replace(SIZE, coefficient=(0.70, 0.50))
        told.append(
            [hy.drift_step(state, float(row["coefficient"]), 0.03) for row in coefficients(ld.day(seed, size))]
        )
    assert not any(told[0] + told[1])
    assert told[2][-1] and all(told[3])
    assert float(state["now"][0]) == pytest.approx(0.60, rel=0.02)


def test_a_leak_is_measured_with_everything_closed() -> None:
    """Twice 2 mm an hour, told apart from waves and noise within a closed night."""
    day = ld.day(2, replace(SIZE, leak_m_s=8e-6))
    closed = np.all(day.gates == 0, axis=1) & np.all(day.sluices <= 0, axis=1)
    state, out, found = hy.leak_init(), np.zeros(1, hy.LEAK_OUT), []
    for i in range(len(day.t_ns)):
        if hy.leak_step(state, day.t_ns[i], day.levels[i, 1], SIZE.area_m2, bool(closed[i]), out):
            found += [out[0].copy()]
    assert found
    for row in found:
        if row["lasted_s"] < 3000:  # a longer rest is topped up by the simulated keeper
            assert abs(row["flow_m3_s"] + 8e-6 * SIZE.area_m2) < 5 * row["sigma_m3_s"] + 0.01


def test_a_leak_agrees_with_a_fitted_line() -> None:
    t = np.arange(600.0)
    level = 20.0 - 1e-5 * t + 0.004 * np.random.default_rng(3).standard_normal(600)
    state, out = hy.leak_init(), np.zeros(1, hy.LEAK_OUT)
    for k in range(600):
        hy.leak_step(state, int(t[k]) * S, level[k], 1000.0, True, out)
    assert hy.leak_step(state, 600 * S, 20.0, 1000.0, False, out) == 1
    (slope, _), covariance = np.polyfit(t[60:], level[60:], 1, cov=True)
    assert float(out[0]["flow_m3_s"]) == pytest.approx(1000 * slope, rel=1e-6)
    assert float(out[0]["sigma_m3_s"]) == pytest.approx(1000 * covariance[0, 0] ** 0.5, rel=1e-6)


def test_drive_times_are_those_of_the_day() -> None:
    day = ld.day(4, night=False)
    for head in (0, 1):
        state = hy.drive_init()
        took = [hy.drive_step(state, int(t), g) for t, g in zip(day.t_ns, day.gates[:, head], strict=True)]
        found = [x for x in took if x == x]
        target = 1 if head == 0 else -1
        expected = [
            opens if cycle.direction == target else -closes
            for cycle in day.lockages
            for closes, opens in [cycle.drives_s]
        ]
        assert found == pytest.approx(expected, abs=1.01)


def test_a_gate_without_end_switches_is_followed_by_its_position() -> None:
    day = ld.day(6)
    for head in (0, 1):
        position = day.positions[:, head]
        derived = [hy.gate_state(p, q) for p, q in zip(position, [NAN, *position[:-1]], strict=True)]
        assert np.mean(np.array(derived) == day.gates[:, head]) > 0.995
        day.gates[:, head] = derived
    out, phases = np.zeros(200, lock_cycle.OUT), np.zeros(len(day.t_ns), np.int8)
    sluices = np.stack([day.sluices[:, :2].max(axis=1), day.sluices[:, 2:].max(axis=1)], axis=1)
    n = lock_cycle.run(
        lock_cycle.init(), day.t_ns, day.gates, sluices, day.levels, day.vessel, SIZE.area_m2, phases, out
    )  # fmt: skip
    assert [int(c["direction"]) for c in out[:n]] == [true.direction for true in day.lockages]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([0, 1, 1, 1, 2], [3.0]),
        ([2, 3, 3, 0], [-2.0]),
        ([0, 1, 4, 1, 2], []),  # it stopped on the way
        ([1, 1, 2], []),  # its start was not seen
    ],
)
def test_only_whole_drives_are_told(states: list[int], expected: list[float]) -> None:
    state = hy.drive_init()
    took = [hy.drive_step(state, k * S, float(code)) for k, code in enumerate(states)]
    assert [x for x in took if x == x] == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(-0.3, 0.3), st.floats(0.0, 0.05))
def test_a_drift_is_told_as_the_twin_tells_it(seed: int, change: float, least_share: float) -> None:
    rng = np.random.default_rng(seed)
    values = 0.7 + 0.01 * rng.standard_normal(60)
    values[35:] *= 1.0 + change
    values[rng.random(60) < 0.1] = NAN
    state = hy.drift_init()
    got = [bool(hy.drift_step(state, float(value), least_share)) for value in values]
    expected = naive_signal.drifts(
        values.tolist(), hy.BASELINE, Fraction(hy.FORGET), int(hy.SIGMAS), least_share
    )  # fmt: skip
    assert got == expected
