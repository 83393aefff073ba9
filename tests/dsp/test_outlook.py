"""Energy, time and health: against sums by hand, and total least squares against a search."""

import math
from typing import Any

import numpy as np
import pytest

from dsp import outlook, soc
from dsp.cell import load_cell, pack_params


def settled(value: float = 0.6) -> tuple[Any, Any]:
    params = pack_params(load_cell("nmc"), 100, 20)
    state = soc.init(params, value, 0.02)
    soc.step(state, params, 0, float("nan"), 0.0, 25.0, float("nan"))
    return state, params


def test_energy_is_the_area_under_the_open_circuit_curve() -> None:
    params = pack_params(load_cell("nmc"), 100, 20)
    z = np.linspace(0.203, 0.757, 100_001)
    volts = np.interp(z, np.linspace(0, 1, 101), params["ocv_v"][0])
    by_hand = float(np.sum(0.5 * (volts[1:] + volts[:-1]) * np.diff(z))) * 100 * 50.0
    assert outlook.energy_wh(params, 0.203, 0.757, 50.0) == pytest.approx(by_hand, rel=1e-6)
    assert outlook.energy_wh(params, 0.757, 0.203, 50.0) == pytest.approx(-by_hand, rel=1e-6)


def test_what_is_left_has_bounds_and_nothing_known_is_nan() -> None:
    state, params = settled()
    left = outlook.available_wh(state, params, 0.1)
    assert 0 < left.low < left.value < left.high
    assert math.isnan(outlook.available_wh(soc.init(params), params).value)


def test_time_to_a_target_is_charge_over_current() -> None:
    state, params = settled()
    capacity_ah, now = float(state["capacity_ah"][0]), float(state["soc"][0])
    found = outlook.time_to_s(state, params, 0.9, 20.0)
    assert found.value == pytest.approx((0.9 - now) * capacity_ah * 3600 / 20.0)
    assert found.low < found.value < found.high
    for target, current in ((0.9, -20.0), (0.9, 0.0), (0.2, 20.0), (0.9, float("nan"))):
        assert math.isnan(outlook.time_to_s(state, params, target, current).value)


def calls(n: int, seed: int) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.2, 0.6, n)
    sd, ah_sd = np.full(n, 0.02), np.full(n, 0.3)
    return true + rng.normal(0, sd), sd, 93.0 * true + rng.normal(0, ah_sd), ah_sd


def test_health_is_the_minimum_that_a_search_finds() -> None:
    data = calls(30, 1)
    dsoc, sd, ah, ah_sd = data
    q = np.linspace(80, 110, 300_001)
    cost = sum((a - q * d) ** 2 / (u**2 + (q * s) ** 2) for d, s, a, u in zip(dsoc, sd, ah, ah_sd, strict=True))
    found = outlook.health(*data, 100.0)
    assert found.capacity_ah == pytest.approx(q[int(np.argmin(cost))], abs=2e-4)
    assert found.soh == pytest.approx(found.capacity_ah / 100.0)


def test_health_holds_the_truth_as_often_as_it_says() -> None:
    found = [outlook.health(*calls(20, seed), 100.0) for seed in range(300)]
    held = np.mean([abs(f.capacity_ah - 93.0) < 1.96 * f.sd_ah for f in found])
    assert 0.9 <= held <= 0.99
    assert abs(np.mean([f.capacity_ah for f in found]) - 93.0) < 0.3  # ordinary least squares is 1 Ah low here


def test_health_refuses_what_cannot_be() -> None:
    ones = np.ones(3)
    for rows in ((ones * 0, ones, ones, ones), (ones, ones * 0, ones, ones)):
        with pytest.raises(ValueError, match=r"moved SoC|above 0"):
            outlook.health(*rows, 100.0)
