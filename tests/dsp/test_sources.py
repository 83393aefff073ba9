"""Each formula names where it comes from, and no public kernel is forgotten."""

import importlib
import inspect
from typing import Any

import pytest

FORMULAS = {  # kernel -> what its docstring must name
    "integrate.integrate_power": "NIST DLMF, section 3.5(i)",
    "integrate.integrate_channels": "as `integrate_power`",
    "energy.step": "domain notes, section C.4",
    "revise.replace": "domain notes, section C.4",
    "counter.classify": "domain notes, section C.4",
    "crosscheck.step": "IEC 62053-22",
    "rollup.roll_up": "10-minute intervals",
    "lock_cycle.step": "domain notes, section D.4",
    "lock_rules.step": "domain notes, section D.4",
    "lock_hydraulics.flow_step": "Hydraulics, section 53",
    "lock_hydraulics.leak_step": "NIST e-Handbook, section 4.4.3.1",
    "lock_hydraulics.drift_step": "section 6.3.2.4",
    "signal.hampel_step": "F. R. Hampel",
    "signal.mean": "NIST DLMF, section 3.5(i)",
    "signal.slope_per_s": "section 4.4.3.1",
    "signal.time_in_band": "straight lines between samples",
    "compress.step": "US patent 4 669 097",
    "compress.largest_triangles": "S. Steinarsson",
    "soc.step": "`soc_model` (the circuit) and `soc_grid` (the filter)",
    "soc_model.move": "Battery Management Systems, volume 1, chapter 2",
    "soc_model.expect": "Battery Management Systems, volume 1, chapter 2",
    "soc_model.temperature": "S. Arrhenius",
    "soc_model.slow_factor": "as `temperature`",
    "soc_model.lasting_sd": "ours",
    "soc_grid.close": "Bucy and Senne",
    "soc_grid.doubt_silence": "ours",
    "ekf.step": "J. Power Sources 134 (2004)",
    "ekf.predict": "J. Power Sources 134 (2004)",
    "ekf.correct": "J. Power Sources 134 (2004)",
    "cell.pack_params": "Kirchhoff",
    "identify_ocv.slow_curve": "Battery Management Systems, volume 1, chapter 2",
    "identify_dynamics.fit": "Numerical Methods for Least Squares Problems",
    "outlook.energy_wh": "NIST DLMF, section 3.5(i)",
    "outlook.health": "J. Power Sources 196 (2011)",
}
NO_FORMULA = {  # kernels that repeat another one, count, compare or keep
    "energy.minutes", "energy.integrate_power", "energy.integrate_channels", "energy.classify", "revise.revise",
    "revise.minutes", "revise.step", "lock_cycle.run", "lock_rules.run", "lock_hydraulics.drive_step",
    "lock_hydraulics.gate_state", "signal.check_step", "signal.hampel", "compress.flush",
    "compress.swinging_door", "session.step", "session.classify", "soc.carry", "soc.close", "soc.doubt_silence",
    "soc.move", "soc_grid.carry", "soc_grid.expect", "soc_grid.lasting_sd", "soc_grid.mix", "soc_model.mix",
    "ekf.run", "ekf.restart", "ekf.recall", "ekf.slow_factor", "ekf.temperature",
}  # fmt: skip
MODULES = (
    "integrate", "energy", "counter", "crosscheck", "rollup", "revise", "session", "lock_cycle", "lock_rules",
    "lock_hydraulics", "signal", "compress", "soc", "soc_model", "soc_grid", "ekf",
)  # fmt: skip


def public_kernels(module: str) -> dict[str, Any]:
    found = vars(importlib.import_module(f"dsp.{module}"))
    return {f"{module}.{n}": f for n, f in found.items() if hasattr(f, "py_func") and not n.startswith("_")}


@pytest.mark.parametrize(("kernel", "source"), FORMULAS.items())
def test_a_formula_names_its_source(kernel: str, source: str) -> None:
    module, name = kernel.split(".")
    text = " ".join((inspect.getdoc(getattr(importlib.import_module(f"dsp.{module}"), name)) or "").split())
    assert "Source:" in text
    assert source in text[text.index("Source:") :]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_kernel_is_a_formula_with_a_source_or_none(module: str) -> None:
    kernels = public_kernels(module)
    assert kernels
    assert set(kernels) <= set(FORMULAS) | NO_FORMULA
    assert all(inspect.getdoc(kernel) for kernel in kernels.values())
