"""Every public kernel has its slow twin, its source and its benchmark; a new one without them fails here.

`TWIN` names the definition that tests hold the kernel to: a function or class of tests/naive*.py, or a test that
has it written out, reckons it from a simulated truth, or compares with the kernel that is repeated.
"""

import importlib
import inspect
import pkgutil
import re
from typing import Any

import pytest
from conftest import ROOT

import dsp

SOURCE = {  # kernel with a formula -> what its docstring must name
    "integrate.integrate_power": "NIST DLMF, section 3.5(i)",
    "integrate.integrate_channels": "as `integrate_power`",
    "energy.step": "domain notes, section C.4",
    "ledger.run": "domain notes, section C.4",
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
}
COUNTS = {  # kernels without a formula: they repeat another one, count, compare or keep
    "energy.minutes", "revise.revise", "calls.step", "calls.run", "session.step",
    "lock_cycle.run", "lock_rules.run", "lock_hydraulics.drive_step", "lock_hydraulics.gate_state",
    "signal.check_step", "signal.hampel", "compress.flush", "compress.swinging_door",
    "soc_grid.carry", "soc_model.mix", "ekf.run",
}  # fmt: skip
PLAIN = {  # plain Python with a formula
    "cell.pack_params": "Kirchhoff",
    "identify_ocv.slow_curve": "Battery Management Systems, volume 1, chapter 2",
    "identify_dynamics.fit": "Numerical Methods for Least Squares Problems",
    "outlook.energy_wh": "NIST DLMF, section 3.5(i)",
    "outlook.health": "J. Power Sources 196 (2011)",
}
PARTS = {"bins": "energy.step"}  # modules whose kernels are parts of one kernel and proved with it
TWIN = {
    "integrate.integrate_power": "naive.integrate_power",
    "integrate.integrate_channels": "naive.integrate_power",
    "energy.step": "naive.minutes",
    "energy.minutes": "test_energy.test_the_batch_form_gives_the_same_minutes",
    "ledger.run": "test_ledger.test_a_past_in_one_call_is_what_was_told_row_by_row",
    "revise.revise": "test_revise.test_a_recovered_gap_gives_the_minutes_that_were_never_lost",
    "revise.replace": "test_revise.test_a_meter_replaced_by_journal_loses_and_invents_nothing",
    "counter.classify": "naive_calls.classify",
    "crosscheck.step": "test_crosscheck.test_the_sums_of_a_window_agree_with_exact_arithmetic",
    "rollup.roll_up": "naive_rollup.period",
    "calls.step": "test_calls.test_rows_of_a_berth_are_fed_to_the_call_as_the_words_say",
    "calls.run": "test_calls.test_rows_of_a_berth_are_fed_to_the_call_as_the_words_say",
    "session.step": "naive_calls.call",
    "lock_cycle.step": "test_lock_days.test_phases_directions_and_volumes_of_simulated_days_are_true",
    "lock_cycle.run": "test_plant_locks.test_lockages_are_true_and_a_truthful_lock_is_never_accused",
    "lock_rules.step": "naive_rules.shapes",
    "lock_rules.run": "test_plant_locks.test_every_incoherence_of_the_simulator_is_told_within_one_scan",
    "lock_hydraulics.flow_step": "test_lock_hydraulics.test_a_filling_agrees_with_weighted_least_squares",
    "lock_hydraulics.leak_step": "test_lock_hydraulics.test_a_leak_agrees_with_a_fitted_line",
    "lock_hydraulics.drive_step": "test_lock_hydraulics.test_only_whole_drives_are_told",
    "lock_hydraulics.drift_step": "naive_signal.drifts",
    "lock_hydraulics.gate_state":
        "test_lock_hydraulics.test_a_gate_without_end_switches_is_followed_by_its_position",
    "signal.check_step": "naive_signal.defects",
    "signal.hampel_step": "naive_signal.hampel",
    "signal.hampel": "naive_signal.hampel",
    "signal.mean": "naive_signal.mean",
    "signal.slope_per_s": "naive_signal.slope_per_s",
    "signal.time_in_band": "naive_signal.time_in_band",
    "compress.step": "naive_signal.worst_error",
    "compress.flush": "naive_signal.worst_error",
    "compress.swinging_door": "naive_signal.worst_error",
    "compress.largest_triangles": "naive_signal.largest_triangles",
    "soc.step": "naive_soc.Grid",
    "soc_grid.close": "naive_soc.Grid.close",
    "soc_grid.carry": "naive_soc.Grid.move",
    "soc_grid.doubt_silence": "naive_soc.Grid.doubt",
    "soc_model.move": "naive_soc.Grid.move",
    "soc_model.expect": "naive.cell_voltage",
    "soc_model.temperature": "naive_soc.arrhenius",
    "soc_model.slow_factor": "test_soc_model.test_diffusion_slows_down_in_the_cold_by_its_own_activation",
    "soc_model.mix": "naive_soc.Grid",
    "soc_model.lasting_sd": "naive_soc.Grid.close",
    "ekf.step": "test_ekf.test_one_step_is_the_textbook_in_matrices",
    "ekf.run": "test_ekf.test_batch_and_stream_are_the_same_and_bad_rows_are_left",
}  # fmt: skip
WITHIN = {  # kernels that run only inside another one -> the one whose benchmark times them
    "soc_grid.close": "soc.run", "soc_grid.carry": "soc.run", "soc_grid.doubt_silence": "soc.run",
    "soc_model.move": "soc.run", "soc_model.expect": "soc.run", "soc_model.temperature": "soc.run",
    "soc_model.slow_factor": "soc.run", "soc_model.mix": "soc.run", "soc_model.lasting_sd": "soc.run",
    "lock_cycle.step": "lock_cycle.run", "lock_rules.step": "lock_rules.run",
}  # fmt: skip


def public_kernels() -> dict[str, Any]:
    """Compiled functions by module and name, each where it is written."""
    found = {}
    for info in pkgutil.iter_modules(dsp.__path__):
        module = importlib.import_module(f"dsp.{info.name}")
        for name, kernel in vars(module).items():
            here = hasattr(kernel, "py_func") and kernel.py_func.__module__ == module.__name__
            if here and not name.startswith("_") and info.name not in PARTS:
                found[f"{info.name}.{name}"] = kernel
    return found


KERNELS = public_kernels()


def words_of(kernel: str) -> str:
    module, name = kernel.split(".")
    return " ".join((inspect.getdoc(getattr(importlib.import_module(f"dsp.{module}"), name)) or "").split())


def test_the_table_names_all_kernels_and_no_other() -> None:
    assert set(SOURCE) | COUNTS == set(KERNELS)
    assert not set(SOURCE) & COUNTS
    assert set(TWIN) == set(KERNELS)
    assert set(WITHIN) <= set(KERNELS) and set(PARTS.values()) <= set(KERNELS)


@pytest.mark.parametrize(("kernel", "source"), (SOURCE | PLAIN).items())
def test_a_formula_names_its_source(kernel: str, source: str) -> None:
    text = words_of(kernel)
    assert "Source:" in text
    assert source in text[text.index("Source:") :]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_says_what_it_does_and_has_a_twin_and_a_benchmark(kernel: str) -> None:
    assert words_of(kernel)
    assert _is_there(TWIN[kernel]), f"{TWIN[kernel]} is not there, or no test uses it"
    module, name = WITHIN.get(kernel, kernel).split(".")
    benches = "\n".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    imported = re.search(rf"from dsp\.{module} import .*\b{name}\b", benches)
    named = re.findall(rf"from dsp import {module} as (\w+)", benches)
    assert imported or any(f"{known}.{name}(" in benches for known in (module, *named)), (
        f"no benchmark calls {module}.{name}"
    )


def _is_there(twin: str) -> bool:
    module, name = twin.split(".")[0], twin.split(".")[-1]
    path = ROOT / "tests" / ("dsp" if module.startswith("test_") else "") / f"{module}.py"
    if not re.search(rf"(def|class) {name}\b", path.read_text()):
        return False
    if module.startswith("test_"):
        return True
    holder = twin.split(".")[1]
    return any(f"{module}.{holder}" in test.read_text() for test in (ROOT / "tests").rglob("*.py"))
