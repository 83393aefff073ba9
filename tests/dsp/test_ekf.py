"""The Kalman filter against matrices, on the model itself, and beside the grid."""

import math
from typing import Any

import numpy as np
import pytest

from dsp import ekf
from dsp.cell import load_cell, pack_params

S = 1_000_000_000


def drive(name: str, seconds: int, soc0: float, seed: int, bias_a: float = 0.0, factor: float = 1.0) -> Any:
    """Measured rows of a cell whose sensor says `bias_a` too much and which holds `factor` of its capacity."""
    cell, rng = load_cell(name), np.random.default_rng(seed)
    steps = np.repeat(rng.normal(-0.05, 0.7, seconds // 300 + 1), 300)[:seconds]
    current = (steps + 0.6 * np.sin(np.arange(seconds) / 1500.0)) * cell.capacity_ah
    volts, truth = np.empty(seconds), np.empty(seconds)
    z, x1, x2 = soc0, 0.0, 0.0
    grid = np.linspace(0, 1, 101)
    r = [np.array([np.interp(25.0, cell.temp_c, cell.r_ohm[:, k, j]) for j in range(101)]) for k in range(3)]
    for k in range(seconds):
        if k:
            mean = 0.5 * (current[k] + current[k - 1])
            if not 0.1 < z + mean / 3600 / cell.capacity_ah / factor < 0.95:
                current[k] = -current[k - 1]
                mean = 0.0
            z += mean / 3600 / cell.capacity_ah / factor
            x1, x2 = (
                mean + (x1 - mean) * math.exp(-1 / cell.tau1_s),
                mean + (x2 - mean) * math.exp(-1 / cell.tau2_s),
            )
        drop = sum(np.interp(z, grid, r[j]) * x for j, x in enumerate((current[k], x1, x2)))
        volts[k], truth[k] = np.interp(z, grid, cell.ocv_v) + drop, z
    return np.arange(seconds) * S, volts, current + bias_a, np.full(seconds, 25.0), truth


def test_one_step_is_the_textbook_in_matrices() -> None:
    params = pack_params(load_cell("nmc"), 1, 1)
    p, state = params[0], ekf.init(params, 0.6, 0.2)
    ekf.step(state, params, 0, 3.7, -1.0, 25.0)
    before = state.copy()
    ekf.step(state, params, 10 * S, 3.72, -2.0, 25.0)
    per, b = 1 / 3600 / float(p["capacity_ah"]), before[0]
    zz, zb, zq, bb, bq, qq = b["p"]
    cov = np.array([[zz, zb, zq], [zb, bb, bq], [zq, bq, qq]])
    charge = (-1.5 - b["bias_a"]) * 10
    f = np.array([[1, -10 * per * b["inverse"], charge * per], [0, 1, 0], [0, 0, 1.0]])
    walk = (ekf.WALK_SOC, ekf.WALK_OFFSET_C * p["capacity_ah"], ekf.WALK_CAPACITY)
    cov = f @ cov @ f.T + np.diag(np.square(walk)) * 10
    z = b["soc"] + charge * per * b["inverse"]
    x = [-1.5 + (b[key] + 1.5) * math.exp(-10 / p[tau]) for key, tau in (("x1_a", "tau1_s"), ("x2_a", "tau2_s"))]
    h = -1 + (b["h"] + 1) * math.exp(-p["hysteresis_rate"] * abs(charge) * per)
    grid = np.linspace(0, 1, 101)
    r = [np.interp(z, grid, p["r_ohm"][2, k]) for k in range(3)]
    ohmic, gap = r[0] * -2.0 + r[1] * x[0] + r[2] * x[1], np.interp(z, grid, p["half_gap_v"])
    a = int(z * 100)
    slope = np.array([(p["ocv_v"][a + 1] - p["ocv_v"][a]) * 100, -sum(r), 0.0])
    noise = (p["sigma_v"][a] ** 2 + (0.3 * ohmic) ** 2 + (0.3 * gap) ** 2) * ekf.CORRELATION_S / 10
    total = slope @ cov @ slope + noise
    gain = cov @ slope / total
    e = 3.72 - (np.interp(z, grid, p["ocv_v"]) + gap * h + ohmic + slope[1] * b["bias_a"])
    expected = np.array([z, b["bias_a"], b["inverse"]]) + gain * e
    assert abs(e) < ekf.GATE * math.sqrt(total)
    assert [state[key][0] for key in ("soc", "bias_a", "inverse")] == pytest.approx(expected, rel=1e-9)
    cov = cov - np.outer(gain, cov @ slope)
    assert state["p"][0] == pytest.approx(cov[np.triu_indices(3)], rel=1e-6, abs=1e-12)


def test_an_offset_is_found_and_a_wrong_start_forgotten() -> None:
    *rows, truth = drive("nmc", 40_000, 0.6, 3, bias_a=0.1)
    params = pack_params(load_cell("nmc"), 1, 1)
    state = ekf.init(params, 0.9, 0.3)
    found = ekf.run(state, params, *rows)
    assert np.abs(found - truth)[5000:].mean() < 0.02
    assert state["bias_a"][0] == pytest.approx(0.1, abs=0.04)


def test_batch_and_stream_are_the_same_and_bad_rows_are_left() -> None:
    t_ns, volts, current, temp, _ = drive("lfp", 500, 0.6, 4)
    params = pack_params(load_cell("lfp"), 1, 1)
    batch, stream = ekf.init(params), ekf.init(params)
    ekf.run(batch, params, t_ns, volts, current, temp)
    for k in range(500):
        ekf.step(stream, params, int(t_ns[k]), volts[k], current[k], 25.0)
        ekf.step(stream, params, int(t_ns[k]), float("nan"), current[k], 25.0)
        ekf.step(stream, params, int(t_ns[k]) - S, volts[k], current[k], 25.0)
    assert stream.tobytes() == batch.tobytes()
    with pytest.raises(ValueError, match=r"give 0\.\.1"):
        ekf.init(params, 1.5)
