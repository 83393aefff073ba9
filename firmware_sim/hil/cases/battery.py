"""A ferry's battery as the shore sees it: cells, pack and limits must fit together, and so must charge and SoC."""

import numpy as np

from firmware_sim.hil.cases import case
from firmware_sim.hil.trace import Trace, integral, lasting
from firmware_sim.hil.verdict import Check, clock_time

CELLS = ("cell_min_v", "cell_max_v")
TEMPS = ("cell_min_temp_c", "cell_max_temp_c")
FLOWS = 0.02  # of the largest current seen


@case("BAT-01")
def test_the_lowest_cell_is_not_above_the_highest(trace: Trace, check: Check) -> None:
    check.needs(*CELLS)
    low, high = (trace[name] for name in CELLS)
    crossed = lasting(low.value > high.value)
    if crossed is not None:
        i = crossed[0]
        check.fail(
            "cells_crossed", low=float(low.value[i]), high=float(high.value[i]), at=clock_time(int(low.t_ns[i]))
        )
    spread = float(np.nanmax(high.value - low.value))
    check.require(spread <= check.limits.cell_spread_v, "cells_apart", spread=1e3 * spread)
    check.saw("cells_close", spread=1e3 * spread)


@case("BAT-02")
def test_cell_voltages_are_volts(trace: Trace, check: Check) -> None:
    check.needs(*CELLS)
    low, high = float(np.min(trace[CELLS[0]].known)), float(np.max(trace[CELLS[1]].known))
    plausible = check.limits.cell_low_v <= low and high <= check.limits.cell_high_v
    check.require(plausible, "cells_implausible", low=low, high=high)
    check.saw("cells_plausible", low=low, high=high)


@case("BAT-03")
def test_the_pack_voltage_is_that_of_its_cells(trace: Trace, check: Check) -> None:
    """Cells in series times a cell between the lowest and the highest, with one number of cells all the time."""
    check.needs("pack_voltage_v", *CELLS)
    pack, low, high = (trace[name].value for name in ("pack_voltage_v", *CELLS))
    least, most = float(np.nanmax(pack / high)), float(np.nanmin(pack / low))
    fewest, largest = int(np.ceil(least - 0.3)), int(np.floor(most + 0.3))  # 0.1 V of rounding on some 900 V
    check.require(fewest <= largest and largest > 0, "series_varies", low=least, high=most)
    check.saw("series", low=fewest, high=largest)


@case("BAT-04")
def test_temperatures_are_in_order(trace: Trace, check: Check) -> None:
    check.needs(*TEMPS)
    low, high = (trace[name] for name in TEMPS)
    crossed = lasting(low.value > high.value)
    check.require(crossed is None, "temps_crossed", at=clock_time(int(low.t_ns[crossed[0] if crossed else 0])))
    if trace.has("pack_temp_c"):
        pack = trace["pack_temp_c"].value
        outside = lasting((pack < low.value - 1.0) | (pack > high.value + 1.0))
        if outside is not None:
            i = outside[0]
            check.fail(
                "temp_outside", pack=float(pack[i]), low=float(low.value[i]), high=float(high.value[i]),
                at=clock_time(int(low.t_ns[i])),
            )  # fmt: skip
    check.saw("temps_fit", low=float(np.min(low.known)), high=float(np.max(high.known)))


@case("BAT-05")
def test_charging_current_is_positive(trace: Trace, check: Check) -> None:
    check.needs("pack_current_a", "soc_bms")
    charge_as, gained = _charge(trace, check)
    check.require((charge_as > 0) == (gained > 0), "charge_sign", charge=charge_as / 3600.0, soc=100 * gained)
    check.saw("charge_direction", charge=charge_as / 3600.0, soc=100 * gained)


@case("BAT-06")
def test_the_soc_moves_with_the_charge_counted(trace: Trace, check: Check) -> None:
    check.needs("pack_current_a", "soc_bms")
    charge_as, gained = _charge(trace, check)
    capacity = charge_as / 3600.0 / gained
    stated = check.limits.capacity_ah
    if stated <= 0.0:
        check.not_evaluated("no_capacity", capacity=capacity)
    off = capacity / stated - 1.0
    check.require(abs(off) <= 0.10, "capacity_off", capacity=capacity, stated=stated, off=100 * off)
    check.saw("capacity_fits", capacity=capacity, stated=stated, off=100 * off)


@case("BAT-07")
def test_power_keeps_the_limits_of_the_bms(trace: Trace, check: Check) -> None:
    check.needs("pack_voltage_v", "pack_current_a", "charge_limit_w")
    power = trace["pack_voltage_v"].value * trace["pack_current_a"].value
    limits = [name for name in ("charge_limit_w", "discharge_limit_w") if trace.has(name)]
    for name in limits:
        toward = power if name == "charge_limit_w" else -power
        bound = trace[name]
        found = lasting(toward > 1.05 * bound.value, 5)  # a lowered limit takes a moment to be followed
        if found is not None:
            i = found[0]
            check.fail(
                "over_limit", power=float(toward[i]) / 1e6, bound=float(bound.value[i]) / 1e6, point=name,
                at=clock_time(int(bound.t_ns[i])),
            )  # fmt: skip
    check.saw("within_limits", points=", ".join(limits), peak=float(np.nanmax(power, initial=0.0)) / 1e6)


@case("BAT-08")
def test_no_current_flows_through_an_open_contactor(trace: Trace, check: Check) -> None:
    check.needs("contactor", "pack_current_a")
    current, contactor = trace["pack_current_a"], trace["contactor"].value
    open_code = trace.code("contactor", "OPEN")
    flows = np.abs(current.value) > FLOWS * float(np.nanmax(np.abs(current.value), initial=1.0))
    found = lasting(flows & (contactor == (0 if open_code is None else open_code)))
    if found is not None:
        check.fail(
            "open_current", current=float(current.value[found[0]]), at=clock_time(int(current.t_ns[found[0]]))
        )
    check.saw("contactor_fits", closed=int(np.sum(contactor == 1)), scans=trace.scans())


@case("BAT-09")
def test_soc_and_soh_are_fractions(trace: Trace, check: Check) -> None:
    names = [name for name in ("soc_bms", "soh_bms") if trace.has(name)]
    if not names:
        check.not_evaluated("no_points", points="soc_bms, soh_bms")
    shown = []
    for name in names:
        check.needs(name)
        low, high = float(np.min(trace[name].known)), float(np.max(trace[name].known))
        check.require(low >= 0.0 and 0.012 < high <= 1.2, "no_fraction", point=name, low=low, high=high)
        shown.append(f"{name} {low:.3f}…{high:.3f}")
    check.saw("fractions", points=", ".join(shown))


def _charge(trace: Trace, check: Check) -> tuple[float, float]:
    """Charge counted over the stretch with current [A s], and the SoC gained over it."""
    current, soc = trace["pack_current_a"], trace["soc_bms"]
    charge_as, _ = integral(current.t_s, current.value)
    gained = float(soc.known[-1] - soc.known[0])
    if abs(gained) < 0.02:
        check.not_evaluated("little_soc", soc=100 * gained, seconds=float(np.ptp(soc.t_s)))
    return charge_as, gained
