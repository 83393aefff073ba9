"""A revenue meter: signs, units and ratios, and whether its register counts what its power says."""

import numpy as np

from firmware_sim.hil.cases import case
from firmware_sim.hil.trace import Mask, Trace, integral
from firmware_sim.hil.verdict import Check, clock_time

PHASES = (1, 2, 3)
VOLTAGES = tuple(f"voltage_l{n}_v" for n in PHASES)
CURRENTS = tuple(f"current_l{n}_a" for n in PHASES)
DEAD_V = 10.0  # below it the phase is not energised
TOP = {
    "uint16": 2.0**16,
    "int16": 2.0**15,
    "uint32": 2.0**32,
    "int32": 2.0**31,
    "uint64": 2.0**53,
    "int64": 2.0**53,
}
FLOAT_STEPS = {"float32": 2.0**24, "float64": 2.0**53}  # integers up to here are exact
OWED_S = 60.0  # a meter may bring its register up to date once a minute
TOO_FAST = 1.5  # a register that counts so many times what the power gives is not merely inexact
YEARS_H = 10 * 8766.0
REGISTERS = ("energy_import_total_wh", "energy_export_total_wh")


@case("MTR-01")
def test_the_three_voltages_belong_together(trace: Trace, check: Check) -> None:
    check.needs(*VOLTAGES)
    means = np.array(
        [float(np.mean(trace[name].known)) if len(trace[name].known) else np.nan for name in VOLTAGES]
    )
    if not np.nanmax(means, initial=0.0) > DEAD_V:
        check.not_evaluated("dead", volts=float(np.nanmax(means, initial=0.0)))
    off = np.abs(means / np.mean(means) - 1.0)
    shown = " / ".join(f"{v:.0f}" for v in means)
    check.require(
        bool(np.all(off <= check.limits.voltage_share)), "phases_differ", volts=shown, off=100 * float(np.max(off))
    )
    nominal = check.limits.nominal_v
    if nominal > 0.0:
        away = float(np.mean(means)) / nominal - 1.0
        check.require(abs(away) <= 0.10, "not_nominal", volts=shown, nominal=nominal, off=100 * away)
    check.saw("phases_fit", volts=shown, off=100 * float(np.max(off)))


@case("MTR-02")
def test_the_frequency_is_nominal(trace: Trace, check: Check) -> None:
    check.needs("frequency_hz")
    nominal = check.limits.nominal_hz
    if nominal == 0.0:
        check.not_evaluated("direct_current")
    known = trace["frequency_hz"].known
    if not len(known) or float(np.max(known)) == 0.0:
        check.not_evaluated("dead", volts=0.0)
    low, high = float(np.min(known)), float(np.max(known))
    away = max(high - nominal, nominal - low)
    check.require(away <= check.limits.frequency_hz, "frequency_off", low=low, high=high, nominal=nominal)
    check.saw("frequency_fits", low=low, high=high)


@case("MTR-03")
def test_power_agrees_with_voltages_currents_and_factor(trace: Trace, check: Check) -> None:
    check.needs("power_w", "power_factor", *VOLTAGES, *CURRENTS)
    power, factor = trace["power_w"].value, trace["power_factor"].value
    apparent = sum((trace[v].value * trace[a].value for v, a in zip(VOLTAGES, CURRENTS, strict=True)), np.zeros(1))
    loaded = _loaded(trace)
    if loaded.sum() < 5:
        check.not_evaluated("no_load", seconds=float(np.ptp(trace["power_w"].t_s)))
    ratio = float(np.nanmedian(np.abs(power[loaded]) / (apparent[loaded] * np.abs(factor[loaded]))))
    hint = (
        "ratio_sqrt3" if abs(ratio * np.sqrt(3.0) - 1) < 0.03 or abs(ratio / np.sqrt(3.0) - 1) < 0.03 else "ratio"
    )
    check.require(abs(ratio - 1.0) <= check.limits.power_share, f"power_{hint}", ratio=ratio)
    check.saw("power_ratio_fits", ratio=ratio, n=int(loaded.sum()))


@case("MTR-04")
def test_the_power_factor_agrees_with_active_and_reactive_power(trace: Trace, check: Check) -> None:
    check.needs("power_w", "reactive_power_var", "power_factor")
    power, reactive, factor = (trace[n].value for n in ("power_w", "reactive_power_var", "power_factor"))
    loaded = _loaded(trace)
    if loaded.sum() < 5:
        check.not_evaluated("no_load", seconds=float(np.ptp(trace["power_w"].t_s)))
    expected = np.abs(power) / np.hypot(power, reactive)
    off = float(np.nanmedian(np.abs(np.abs(factor) - expected)[loaded]))
    params = {"shown": float(np.nanmedian(factor[loaded])), "expected": float(np.nanmedian(expected[loaded]))}
    check.require(off <= 0.02, "factor_off", **params)
    check.saw("factor_fits", **params)


@case("MTR-05")
def test_import_is_positive_and_counted_as_import(trace: Trace, check: Check) -> None:
    """A reversed current transformer shows here: power and the register that moves have opposite signs."""
    check.needs("power_w", *REGISTERS)
    gained = {name: float(np.ptp(trace[name].known)) if len(trace[name].known) else 0.0 for name in REGISTERS}
    energy_wh = integral(trace["power_w"].t_s, trace["power_w"].value)[0] / 3600.0
    imported, exported = gained[REGISTERS[0]], gained[REGISTERS[1]]
    params = {"imported": imported / 1e3, "exported": exported / 1e3, "integrated": energy_wh / 1e3}
    if imported + exported < 10.0 * abs(_scale(trace, REGISTERS[0])):
        check.not_evaluated(
            "little_energy", energy=(imported + exported) / 1e3, needed=abs(_scale(trace, REGISTERS[0])) / 100
        )
    check.require((energy_wh > 0) == (imported > exported), "sign_wrong", **params)
    check.saw("sign_right", **params)


@case("MTR-06")
def test_the_register_counts_the_integral_of_power(trace: Trace, check: Check) -> None:
    check.needs("power_w", REGISTERS[0])
    power = trace["power_w"]
    names = [name for name in REGISTERS if trace.has(name)]
    sign = {REGISTERS[0]: 1.0, REGISTERS[1]: -1.0}
    counted = sum(
        sign[name] * float(trace[name].known[-1] - trace[name].known[0])
        for name in names
        if len(trace[name].known)
    )
    energy_ws, covered_s = integral(power.t_s, power.value)
    least = 10.0 * abs(_scale(trace, REGISTERS[0])) / check.limits.energy_share
    if abs(counted) < least:
        check.not_evaluated("little_energy", energy=abs(counted) / 1e3, needed=least / 1e3)
    off = energy_ws / 3600.0 / counted - 1.0
    params = {
        "counted": counted / 1e3, "integrated": energy_ws / 3.6e6, "off": 100 * off, "minutes": covered_s / 60,
    }  # fmt: skip
    for factor in (1000.0, 0.001, 10.0):
        check.require(abs((1.0 + off) / factor - 1.0) > 0.05, "energy_factor", factor=factor, **params)
    times = counted * 3600.0 / energy_ws if energy_ws else 0.0
    check.require(times < TOO_FAST, "energy_too_fast", times=times, **params)
    check.require(abs(off) <= check.limits.energy_share, "energy_differs", **params)
    check.saw("energy_agrees", **params)


@case("MTR-07")
def test_the_register_is_wide_and_fine_enough(trace: Trace, check: Check) -> None:
    check.needs(REGISTERS[0])
    profile = trace.profile
    point = profile.points[profile.index[REGISTERS[0]]]
    power_range = profile.points[profile.index["power_w"]].range if trace.has("power_w") else None
    most_w = check.limits.max_power_w or (power_range[1] if power_range else 0.0)
    if most_w <= 0.0:
        check.not_evaluated("no_max_power")
    if point.type in FLOAT_STEPS:
        top = FLOAT_STEPS[point.type] * abs(point.scale)
        years = top / most_w / 8766.0
        check.require(most_w * YEARS_H <= top, "float_register", type=point.type, top=top / 1e6, years=years)
        check.saw("register_fine", type=point.type, days=years * 365.25)
        return
    days = TOP[point.type] * abs(point.scale) / most_w / 24.0
    check.require(days >= check.limits.wrap_days, "wraps_soon", type=point.type, days=days, power=most_w / 1e6)
    check.saw("register_fine", type=point.type, days=days)


@case("MTR-08")
def test_register_and_power_move_together(trace: Trace, check: Check) -> None:
    """A register that stands while power flows is stuck, or belongs to another meter."""
    check.needs("power_w", REGISTERS[0])
    power, register = trace["power_w"], trace[REGISTERS[0]]
    known = np.isfinite(register.value) & np.isfinite(power.value)
    t_s, value, watts = register.t_s[known], register.value[known], power.value[known]
    if len(value) < 3 or float(np.max(watts, initial=0.0)) <= 0.0:
        check.not_evaluated("no_load", seconds=float(np.ptp(power.t_s)))
    step = abs(_scale(trace, register.name))
    last, owed_wh, longest_s, evaluated = 0, 0.0, 0.0, 0
    for i in range(1, len(value)):
        owed_wh += 0.5 * (watts[i] + watts[i - 1]) * (t_s[i] - t_s[i - 1]) / 3600.0
        if value[i] != value[last]:
            last, owed_wh, evaluated = i, 0.0, evaluated + 1
        longest_s = max(longest_s, float(t_s[i] - t_s[last]))
        check.require(
            owed_wh <= 20.0 * max(1.0, step) + abs(watts[i]) * OWED_S / 3600.0,
            "register_stands", owed=owed_wh / 1e3, power=float(watts[i]) / 1e3,
            at=clock_time(int(power.t_ns[known][i])),
        )  # fmt: skip
    if evaluated < 2:
        check.not_evaluated("little_energy", energy=owed_wh / 1e3, needed=step / 50)
    check.saw("register_moves", n=evaluated, longest=longest_s)


def _loaded(trace: Trace) -> Mask:
    power = np.abs(trace["power_w"].value)
    return np.asarray(power > 0.05 * np.nanmax(power)) & (power > 100.0)


def _scale(trace: Trace, name: str) -> float:
    return trace.profile.points[trace.profile.index[name]].scale
