"""The filter against its twin, against bad data, and on recorded cells."""

import gzip
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import naive
import naive_soc
import numpy as np
import pytest

from dsp import ekf, soc, soc_grid, soc_model
from dsp.cell import load_cell, pack_params

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S
NAN = float("nan")
CONSTANTS = SimpleNamespace(**{**vars(soc_model), **vars(soc_grid), **vars(soc)})


def drive(name: str, seconds: int, soc0: float, seed: int, h: float = 0.0) -> tuple[Any, Any, Any, Any]:
    """A random drive on the model itself: times [s], voltage, current and true SoC of one cell."""
    cell, rng = load_cell(name), np.random.default_rng(seed)
    current = np.repeat(rng.normal(-0.2, 0.7, seconds // 20 + 1), 20)[:seconds] * cell.capacity_ah
    voltage, truth = np.empty(seconds), np.empty(seconds)
    z, x1, x2 = soc0, 0.0, 0.0
    for k in range(seconds):
        if k:
            mean = 0.5 * (current[k] + current[k - 1])
            moved = mean / 3600 / cell.capacity_ah * (cell.efficiency if mean > 0 else 1.0)
            if not 0.05 < z + moved < 0.95:
                current[k] = -current[k - 1]
                mean, moved = 0.0, 0.0
            z += moved
            x1 = mean + (x1 - mean) * math.exp(-1 / cell.tau1_s)
            x2 = mean + (x2 - mean) * math.exp(-1 / cell.tau2_s)
            if moved:
                goal = math.copysign(1.0, moved)
                h = goal + (h - goal) * math.exp(-cell.hysteresis_rate * abs(moved))
        truth[k] = z
        voltage[k] = naive.cell_voltage(cell, z, current[k], x1, x2, h, 25.0)
    return np.arange(seconds, dtype=np.float64), voltage, current, truth


@pytest.mark.parametrize("name", ["nmc", "lfp"])
def test_the_filter_agrees_with_its_twin(name: str) -> None:
    t_s, voltage, current, _ = drive(name, 1500, 0.6, seed=5)
    cell = load_cell(name)
    params = pack_params(cell, 1, 1)
    state, twin = soc.init(params), naive_soc.Grid(cell, CONSTANTS, ekf)
    for k in range(len(t_s)):
        soc.step(state, params, START_NS + int(t_s[k]) * S, voltage[k], current[k], 25.0, NAN)
        twin.step(t_s[k], voltage[k], current[k], 25.0)
        if not twin.window:  # between windows the twin says nothing
            assert state["soc"][0] == pytest.approx(twin.soc, abs=2e-5)
            assert state["capacity_ah"][0] == pytest.approx(twin.capacity_ah, rel=1e-4)
    assert twin.settled or name == "lfp"


@pytest.mark.parametrize("past", [-1.0, 1.0])
def test_what_hysteresis_was_before_the_first_row_is_found_with_soc(past: float) -> None:
    t_s, voltage, current, truth = drive("lfp", 5400, 0.3, seed=17, h=past)
    params = pack_params(load_cell("lfp"), 1, 1)
    state = soc.init(params)
    for k in range(len(t_s)):
        soc.step(state, params, START_NS + k * S, voltage[k], current[k], 25.0, NAN)
        if k > 60:
            assert state["soc_low"][0] <= truth[k] <= state["soc_high"][0]
    assert state["pasts"][0] == 1
    assert abs(state["soc"][0] - truth[-1]) < 0.01


def test_a_sensors_offset_is_found_and_not_followed() -> None:
    t_s, voltage, current, truth = drive("nmc", 14_000, 0.9, seed=19)
    params = pack_params(load_cell("nmc"), 1, 1)
    offset_a = 0.04 * float(params["capacity_ah"][0])
    state, worst = soc.init(params), 0.0
    for k in range(len(t_s)):
        soc.step(state, params, START_NS + k * S, voltage[k], current[k] + offset_a, 25.0, NAN)
        worst = max(worst, abs(float(state["soc"][0] - truth[k]))) if k > 7_000 else 0.0
    assert state["bias_a"][0] == pytest.approx(offset_a, rel=0.25)
    assert worst < 0.02


def test_an_unknown_start_is_found_within_ten_minutes() -> None:
    for name in ("nmc", "nmc-m50"):
        for soc0 in (0.25, 0.5, 0.85):
            t_s, voltage, current, truth = drive(name, 1800, soc0, seed=11)
            t_ns = (t_s * S).astype(np.int64) + START_NS
            found, low, high = soc.run(
                pack_params(load_cell(name), 1, 1), t_ns, voltage, current, np.full(1800, 25.0)
            )
            assert np.abs(found - truth)[600:].max() < 0.025
            assert ((low <= truth) & (truth <= high))[600:].mean() > 0.95


def test_a_pack_gives_what_its_cell_gives() -> None:
    t_s, voltage, current, _ = drive("nmc", 600, 0.6, seed=3)
    t_ns, temp = (t_s * S).astype(np.int64), np.full(600, 25.0)
    cell = load_cell("nmc")
    one, _, _ = soc.run(pack_params(cell, 1, 1), t_ns, voltage, current, temp)
    many, _, _ = soc.run(pack_params(cell, 216, 200), t_ns, 216 * voltage, 200 * current, temp)
    assert np.abs(one - many).max() < 1e-9


def test_nothing_is_said_before_anything_is_known() -> None:
    params = pack_params(load_cell("nmc"), 1, 1)
    state = soc.init(params)
    for k in range(3):
        soc.step(state, params, START_NS + k * S, NAN, 1.0, 25.0, 0.5)
        assert np.isnan(state["soc"][0]) and np.isnan(state["soc_low"][0])
    soc.step(state, params, START_NS + 3 * S, 3.7, 1.0, 25.0, 0.5)
    assert 0 <= state["soc_low"][0] <= state["soc"][0] <= state["soc_high"][0] <= 1


def test_a_guess_is_said_at_once_and_a_bad_guess_refused() -> None:
    params = pack_params(load_cell("nmc"), 1, 1)
    state = soc.init(params, 0.7, 0.05)
    soc.step(state, params, START_NS, NAN, 0.0, 25.0, NAN)
    assert state["soc"][0] == pytest.approx(0.7, abs=0.01)
    assert state["soc_high"][0] - state["soc_low"][0] > 0.15
    for guess in ((1.4, 0.1), (0.5, 0.0)):
        with pytest.raises(ValueError, match=r"give 0\.\.1"):
            soc.init(params, *guess)


def test_bad_rows_neither_raise_nor_spoil_the_result() -> None:
    _t_s, voltage, current, truth = drive("nmc", 2400, 0.6, seed=7)
    rng = np.random.default_rng(1)
    params = pack_params(load_cell("nmc"), 1, 1)
    state, errors = soc.init(params), []
    for k in range(2400):
        v, i, t, t_ns = voltage[k], current[k], 25.0, START_NS + k * S
        match int(rng.integers(0, 40)):
            case 0:
                v = NAN
            case 1:
                i = NAN
            case 2:
                t = 900.0
            case 3:
                v = 0.0
            case 4:
                i = 1e6
            case 5:
                t_ns -= 30 * S
            case 6:
                v = float("inf")
            case 7:
                t = NAN
        soc.step(state, params, t_ns, v, i, t, NAN)
        if k >= 600:
            errors.append(state["soc"][0] - truth[k])
    assert np.abs(errors).max() < 0.03
    assert state["rejected"][0] > 100


def test_an_outage_widens_the_interval_and_keeps_the_truth_in_it() -> None:
    _t_s, voltage, current, truth = drive("nmc", 5400, 0.9, seed=13)
    params = pack_params(load_cell("nmc"), 1, 1)
    state = soc.init(params)
    width = []
    for k in [*range(1800), *range(3600, 5400)]:
        soc.step(state, params, START_NS + k * S, voltage[k], current[k], 25.0, NAN)
        width.append(state["soc_high"][0] - state["soc_low"][0])
        if k >= 600:
            assert state["soc_low"][0] - 0.01 <= truth[k] <= state["soc_high"][0] + 0.01
    assert width[1800] > width[1799] + 0.02
    assert state["gaps"][0] == 1


def test_a_clock_set_back_is_followed_from_the_second_row() -> None:
    params = pack_params(load_cell("nmc"), 1, 1)
    state = soc.init(params)
    for k in range(100):
        soc.step(state, params, START_NS + k * S, 3.7 + 1e-4 * (k % 7), -1.0, 25.0, NAN)
    before = state["soc"][0]
    soc.step(state, params, START_NS - 500 * S, 3.7, -1.0, 25.0, NAN)  # late, or the clock?
    assert state["t_ns"][0] == START_NS + 99 * S
    soc.step(state, params, START_NS - 499 * S, 3.7, -1.0, 25.0, NAN)
    assert state["t_ns"][0] == START_NS - 499 * S
    assert state["out_of_order"][0] == 2 and abs(state["soc"][0] - before) < 0.01


def test_a_spike_is_left_out_and_a_lasting_step_taken() -> None:
    params = pack_params(load_cell("nmc"), 1, 1)
    state = soc.init(params)
    for k in range(200):
        soc.step(state, params, START_NS + k * S, 3.3 if k == 150 else 3.7 + 1e-4 * (k % 7), -0.5, 25.0, NAN)
    assert state["spikes"][0] == 1 and state["voltage_v"][0] == pytest.approx(3.7, abs=0.001)
    for k in range(200, 203):
        soc.step(state, params, START_NS + k * S, 3.45, -0.5, 25.0, NAN)
    assert state["spikes"][0] == 2 and state["voltage_v"][0] == 3.45


def test_values_frozen_under_load_are_counted_and_followed_by_doubt() -> None:
    params = pack_params(load_cell("lfp"), 1, 1)
    state = soc.init(params, 0.6, 0.02)
    for k in range(400):
        soc.step(state, params, START_NS + k * S, 3.28 + 1e-4 * (k % 5), -2.0, 25.0, NAN)
    for k in range(400, 1600):
        soc.step(state, params, START_NS + k * S, 3.28, -2.0, 25.0, NAN)
    assert state["frozen_rows"][0] > 800
    width = state["soc_high"][0] - state["soc_low"][0]
    soc.step(state, params, START_NS + 1600 * S, 3.27, -2.0, 25.0, NAN)
    assert state["gaps"][0] == 1 and state["soc_high"][0] - state["soc_low"][0] > width


def test_a_bms_that_lies_or_stands_still_loses_its_trust_and_pulls_little() -> None:
    t_s, voltage, current, truth = drive("nmc", 7200, 0.6, seed=9)
    params = pack_params(load_cell("nmc"), 1, 1)
    good, lying, frozen = (soc.init(params) for _ in range(3))
    for k in range(len(t_s)):
        row = (START_NS + k * S, voltage[k], current[k], 25.0)
        soc.step(good, params, *row, truth[k] + 0.02)
        soc.step(lying, params, *row, min(1.0, truth[k] + 0.3 + 1e-5 * (k % 2)))
        soc.step(frozen, params, *row, 0.6)
    assert good["bms_trust"][0] > 0.9
    assert lying["bms_trust"][0] < 0.05 and abs(lying["soc"][0] - truth[-1]) < 0.02
    assert frozen["bms_trust"][0] == 0.0 and abs(frozen["soc"][0] - truth[-1]) < 0.02


def test_a_kill_changes_nothing() -> None:
    _t_s, voltage, current, _ = drive("lfp", 600, 0.6, seed=3)
    params = pack_params(load_cell("lfp"), 1, 1)
    whole, parts = soc.init(params), soc.init(params)
    for k in range(600):
        for state in (whole, parts):
            soc.step(state, params, START_NS + k * S, voltage[k], current[k], 25.0, NAN)
        parts = np.frombuffer(parts.tobytes(), soc.STATE).copy()
    assert parts.tobytes() == whole.tobytes()


# Recorded cells: `../shared/data/battery` -------------------------------------------------------------


def recording(shared: Path, name: str) -> Any:
    with gzip.open(shared / "data" / "battery" / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        return np.genfromtxt(file, delimiter=",", names=True)


MEASURED = ("voltage_meas_v", "current_meas_a", "temp_meas_c")
PLAIN = ("voltage_v", "current_a", "temp_c")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "cell", "columns", "rows", "limit", "least_coverage"),
    [
        ("lg_hg2/drive_25degC_UDDS", "nmc", PLAIN, (0, None), 0.010, 0.95),
        ("lg_hg2/drive_25degC_UDDS", "nmc", PLAIN, (0, 3600), 0.010, 0.95),
        ("lg_hg2/drive_25degC_LA92", "nmc", PLAIN, (0, None), 0.010, 0.95),
        ("lg_hg2/drive_40degC_LA92", "nmc", PLAIN, (0, None), 0.015, 0.95),
        ("lg_hg2/drive_0degC_Mixed1", "nmc", PLAIN, (0, None), 0.030, 0.85),
        ("sim_ferry/ferry_nmc_20degC", "nmc-m50", MEASURED, (0, 4500), 0.020, 0.95),
        ("sim_ferry/ferry_nmc_20degC", "nmc-m50", MEASURED, (60_000, 64_500), 0.020, 0.95),
        ("sim_ferry/ferry_nmc_20degC", "nmc-m50", MEASURED, (0, None), 0.020, 0.80),
        ("a123/dyn_25degC", "lfp", PLAIN, (0, None), 0.010, 0.95),
        ("a123/dyn_45degC", "lfp", PLAIN, (0, None), 0.030, 0.70),
    ],
)
def test_recorded_cells_are_followed_from_an_unknown_start(
    shared: Path,
    name: str,
    cell: str,
    columns: tuple[str, str, str],
    rows: tuple[int, int | None],
    limit: float,
    least_coverage: float,
) -> None:
    """RMSE and interval after the first ten minutes."""
    data = recording(shared, name)[slice(*rows)]
    truth = next(data[key] for key in ("soc_ref_closed", "soc_ref", "soc_true") if key in data.dtype.names)
    t_ns = (data["time_s"] * S).astype(np.int64)
    voltage, current, temp = (np.ascontiguousarray(data[key], dtype=np.float64) for key in columns)
    found, low, high = soc.run(pack_params(load_cell(cell), 1, 1), t_ns, voltage, current, temp)
    later = data["time_s"] - data["time_s"][0] >= 600
    rmse = float(np.sqrt(((found - truth)[later] ** 2).mean()))
    coverage = float(((low <= truth) & (truth <= high))[later].mean())
    print(f"{name} {rows}: RMSE {100 * rmse:.2f} %, 95 % interval held {100 * coverage:.1f} %")
    assert rmse < limit
    assert coverage >= least_coverage
