"""Cell models: those shipped load, and a wrong file says everything that is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

from dsp.cell import PARAMS, cell_names, load_cell, pack_params


@pytest.mark.parametrize("name", cell_names())
def test_a_shipped_model_is_plausible(name: str) -> None:
    cell = load_cell(name)
    assert (np.diff(cell.ocv_v) >= 0).all()
    assert 2.0 <= cell.ocv_v[0] < cell.ocv_v[-1] <= 4.3
    assert cell.half_gap_v.max() <= 0.05
    assert (np.diff(cell.temp_c) > 0).all()
    assert cell.source


def test_the_names_of_the_shipped_models_are_the_contract() -> None:
    assert cell_names() == ["lfp", "nmc", "nmc-m50"]


def test_a_pack_is_its_cell_times_series_and_parallel() -> None:
    cell = load_cell("nmc")
    params = pack_params(cell, 216, 200, capacity_ah=500.0)
    assert params.dtype == PARAMS
    assert (params["series"][0], params["parallel"][0], params["capacity_ah"][0]) == (216, 200, 2.5)
    assert pack_params(cell, 1, 1)["capacity_ah"][0] == cell.capacity_ah


@pytest.mark.parametrize(("series", "parallel", "capacity_ah"), [(0, 1, None), (1, -2, None), (1, 1, 0.0)])
def test_an_impossible_pack_is_refused(series: int, parallel: int, capacity_ah: float | None) -> None:
    with pytest.raises(ValueError, match=r"1 or more|not above 0"):
        pack_params(load_cell("nmc"), series, parallel, capacity_ah)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"cell 'nca': not one of lfp, nmc, nmc-m50"):
        load_cell("nca")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load_cell(tmp_path / "mine.toml")


def test_every_problem_of_a_file_is_listed_at_once(tmp_path: Path) -> None:
    good = Path(__file__).parents[2] / "dsp" / "cells" / "lfp.toml"
    text = good.read_text(encoding="utf-8")
    text = re.sub(r"capacity_ah = [0-9.]+", "capacity_ah = -1", text).replace("[hysteresis]", "[histeresis]")
    text = text.replace("tau1_s = ", "tau_1 = ").replace("temp_c = 25", 'temp_c = "warm"')
    bad = tmp_path / "bad.toml"
    bad.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        load_cell(bad)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(bad)) for line in lines)
    for part in (
        "capacity_ah = -1 is not a number from 0.001 to 10000",
        "histeresis: no such key",
        "[hysteresis] is missing",
        "tau_1: no such key",
        "tau1_s = None",
        "resistance[0].temp_c = 'warm'",
    ):
        assert any(part in line for line in lines), part


def test_a_file_that_is_no_toml_names_the_place(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("ocv = [1,", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.toml: not TOML: .*; save the file as UTF-8"):
        load_cell(bad)
    bad.write_bytes(b'name = "\xe9"')
    with pytest.raises(ValueError, match=r"bad\.toml: not TOML: .*0xe9.*; save the file as UTF-8"):
        load_cell(bad)
