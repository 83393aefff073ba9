"""Kernels of the circuit and of a silence, against their definitions."""

import math
from types import SimpleNamespace

import naive_soc
import numpy as np
import pytest

from dsp import ekf, soc, soc_grid, soc_model
from dsp.cell import load_cell, pack_params

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.mark.parametrize("temp_c", [-20.0, -10.0, 3.0, 25.0, 33.0, 40.0, 55.0])
def test_resistances_follow_arrhenius_between_and_beyond(temp_c: float) -> None:
    cell = load_cell("nmc")
    p = pack_params(cell, 1, 1)[0]
    t, share, factor = soc_model.temperature(temp_c, p)
    found = factor * ((1 - share) * cell.r_ohm[t, 0, 50] + share * cell.r_ohm[t + 1, 0, 50])
    inside_c = min(40.0, max(-10.0, temp_c))
    beyond = math.exp(cell.activation_k * (1 / (temp_c + 273.15) - 1 / (inside_c + 273.15)))
    assert found == pytest.approx(beyond * naive_soc.arrhenius(cell, inside_c, cell.r_ohm[:, 0, 50]), rel=1e-9)


def test_diffusion_slows_down_in_the_cold_by_its_own_activation() -> None:
    cell = load_cell("lfp")
    p = pack_params(cell, 1, 1)[0]
    expected = math.exp(cell.slow_activation_k * (1 / 268.15 - 1 / 298.15))
    assert soc_model.slow_factor(-5.0, p) == pytest.approx(expected, rel=1e-12)
    assert soc_model.slow_factor(25.0, p) == 1.0
    assert cell.slow_activation_k > cell.activation_k


def test_a_silence_spreads_the_hypotheses_as_its_definition_says() -> None:
    cell = load_cell("nmc")
    params = pack_params(cell, 1, 1)
    state = soc.init(params, 0.6, 0.05)
    state["usual_a"] = 1.5
    twin = naive_soc.Grid(cell, SimpleNamespace(**{**vars(soc_model), **vars(soc_grid), **vars(soc)}), ekf)
    twin.rows[0]["logw"] = state["logw"][0, 0].astype(np.float64)
    soc_grid.doubt_silence(state[0], params[0], 900.0, -0.8)
    twin.doubt(900.0, -0.8, 1.5, (cell.max_charge_a, cell.max_discharge_a))
    for past in range(soc_model.PASTS):
        assert state["logw"][0, past] == pytest.approx(twin.rows[0]["logw"], abs=1e-4)
    assert (state["logw"][0, 0] >= soc.init(params, 0.6, 0.05)["logw"][0, 0]).all()
