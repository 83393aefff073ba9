"""Identification on a cell made up for it: what went in comes out."""

import math

import naive
import numpy as np
import pytest

from dsp.cell import Cell
from dsp.identify import CannotIdentify, Record, Table, as_toml, identify
from dsp.identify_dynamics import filtered, hat
from dsp.identify_ocv import KNOTS
from dsp.identify_records import Trace

Z = np.linspace(0, 1, 101)
CURVE = 3.2 + 0.9 * Z + 0.05 * np.sin(6 * Z)
CELL = Cell(
    "made up", "NMC", "", 3.0, 6.0, 6.0, 1.0, 10.0, 100.0, 20.0, 2500.0, 2500.0, 0.0, CURVE, np.zeros(101),
    np.full(101, 0.005), np.array([25.0]), np.array([[np.full(101, r) for r in (0.02, 0.01, 0.015)]]),
)  # fmt: skip


def record(current_a: list[tuple[float, float]], step_s: float, soc: float, name: str) -> Record:
    """Voltage of the made up cell under (current, hours) after (current, hours)."""
    t, i, v, x1, x2 = [0.0], [0.0], [naive.cell_voltage(CELL, soc, 0.0, 0.0, 0.0, 0.0, 25.0)], 0.0, 0.0
    for amperes, hours in current_a:
        for _ in range(round(hours * 3600 / step_s)):
            mean = 0.5 * (i[-1] + amperes)
            soc += mean * step_s / 3600 / CELL.capacity_ah
            x1 = mean + (x1 - mean) * math.exp(-step_s / CELL.tau1_s)
            x2 = mean + (x2 - mean) * math.exp(-step_s / CELL.tau2_s)
            t.append(t[-1] + step_s)
            i.append(amperes)
            v.append(naive.cell_voltage(CELL, min(1.0, max(0.0, soc)), amperes, x1, x2, 0.0, 25.0))
    return Record(name, 25.0, np.array(t), np.array(i), np.array(v))


def slow(hours: float = 20.0) -> Record:
    return record([(-0.15, hours), (0.0, 1.0), (0.15, hours)], 60.0, 1.0, "slow")


def pulses() -> Record:
    pattern = [(-3.0, 0.05), (0.0, 0.1), (2.0, 0.03), (0.0, 0.2), (-1.0, 0.2)]
    return record(pattern * 8, 2.0, 1.0, "pulses")


def test_a_made_up_cell_is_found_again() -> None:
    found = identify([slow()], [], [pulses()])
    assert found.chemistry == "NMC"
    assert found.capacity_ah == pytest.approx(3.0, rel=0.01)
    knots = np.linspace(0.3, 0.9, 13)
    curve = np.interp(knots, KNOTS, found.tables["ocv_v"])
    assert np.abs(curve - np.interp(knots, Z, CURVE)).max() < 0.006
    total = sum(np.array(found.tables[key][0]) for key in ("r0_ohm", "r1_ohm", "r2_ohm"))
    assert total[4:9] == pytest.approx(0.045, rel=0.15)
    assert "slow_activation_k" in as_toml(found, "x", "made up")


def test_what_is_missing_is_said() -> None:
    with pytest.raises(CannotIdentify, match="give one with --pulse"):
        identify([slow()], [], [])
    with pytest.raises(CannotIdentify, match="give one with --ocv"):
        identify([], [], [pulses()])
    with pytest.raises(CannotIdentify, match="no discharge in it"):
        identify([record([(0.15, 2.0)], 60.0, 0.2, "charge")], [], [pulses()])
    with pytest.raises(CannotIdentify, match="give --capacity-ah"):
        identify([], [Table("table", Z, CURVE, CURVE)], [pulses()])


def test_lags_and_interpolation_are_those_of_their_definition() -> None:
    r = pulses()
    x1, x2, _ = filtered(Trace(25.0, r.t_s, r.current_a, r.voltage_v, np.full(len(r.t_s), 0.5)), 3.0, 10, 100, 20)
    k = 50
    before = 0.5 * (r.current_a[k] + r.current_a[k - 1])
    for x, tau in ((x1, 10.0), (x2, 100.0)):
        assert x[k] == pytest.approx(before + (x[k - 1] - before) * math.exp(-2.0 / tau), rel=1e-12)
    knots = np.array([0.0, 0.2, 1.0])
    values = np.array([1.0, 3.0, -1.0])
    places = np.array([0.0, 0.1, 0.2, 0.6, 1.0])
    assert hat(places, knots) @ values == pytest.approx(np.interp(places, knots, values), abs=1e-12)
