"""Charger, meter, battery and what all kinds share: a good device turns nothing red, each mistake its own case."""
# ruff: noqa: E501 - a mistake a line reads as a table

import math
from collections.abc import Callable
from importlib import import_module
from inspect import signature

import pytest

from firmware_sim.hil.cases import FILES, battery, charger, common, meter
from firmware_sim.hil.trace import Trace

MODULES = {"charger": charger, "meter": meter, "battery": battery, "lock": common}
GOOD = [
    (kind, case)
    for kind, module in MODULES.items()
    for part in (module, common)
    for name, case in vars(part).items()
    if name.startswith("test_") and "plc" not in signature(case).parameters  # those read the device itself
]


@pytest.mark.parametrize(("kind", "case"), GOOD, ids=lambda value: getattr(value, "__name__", value))
def test_a_good_device_turns_no_case_red(
    kind: str, case: Callable[..., None], recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]]
) -> None:
    assert judge(case, recorded(kind))[0] in ("passed", "not_evaluated")


@pytest.mark.parametrize("kind", FILES)
def test_of_values_that_were_never_known_nothing_good_is_said(
    kind: str, recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    trace = recorded(kind)
    for point in trace.profile.points:
        change(trace, point.name, lambda _, old: math.nan)
    for row in [row for rows in trace.rows.values() for row in rows]:
        row.text.clear()
    for module in (import_module(f"firmware_sim.hil.cases.{kind}"), common):
        for name, case in vars(module).items():
            if name.startswith("test_") and "plc" not in signature(case).parameters:
                expected = ("passed",) if case is common.test_it_answers_in_time else ("failed", "not_evaluated")
                assert judge(case, trace)[0] in expected, name


def only(low_s: float, high_s: float, new: Callable[[float], float]) -> Callable[[float, float], float]:
    return lambda t_s, old: new(old) if low_s <= t_s <= high_s else old


MISTAKES = {
    "a state is jumped over": ("charger", "state", only(1200, 1300, lambda _: 2), charger.test_states_follow_each_other_in_order, "state_order"),
    "power while idle": ("charger", "power_w", only(0, 60, lambda _: 2e6), charger.test_power_flows_only_in_the_states_of_charging, "power_in_state"),
    "unplugged while charging": ("charger", "mated", only(1500, 1600, lambda _: 0), charger.test_the_plug_is_in_while_charging_and_out_while_not, "mated_in_state"),
    "current of the wrong sign": ("charger", "current_a", lambda _, old: -old, charger.test_power_is_voltage_times_current, "power_sign"),
    "current through the wrong ratio": ("charger", "current_a", lambda _, old: 1.1 * old, charger.test_power_is_voltage_times_current, "power_product"),
    "limit below the power": ("charger", "limit_w", only(1500, 1700, lambda _: 1e6), charger.test_power_keeps_its_limits, "over_limit"),
    "session counts tens": ("charger", "session_energy_wh", lambda _, old: old / 10, charger.test_the_session_energy_is_the_integral_of_power, "energy_differs"),
    "total belongs to another tower": ("charger", "energy_total_wh", lambda _, old: 912e6 + 0.5 * (old - 912e6), charger.test_the_total_counts_what_the_session_counts, "total_differs"),
    "an alarm while charging": ("charger", "alarm_word", only(1500, 1600, lambda _: 4), charger.test_a_fault_shows_in_the_alarm_word_and_only_then, "alarm_charging"),
    "a stop without an alarm": ("charger", "state", only(1500, 1600, lambda _: 98), charger.test_a_fault_shows_in_the_alarm_word_and_only_then, "silent_fault"),
    "one phase too low": ("meter", "voltage_l2_v", lambda _, old: 0.9 * old, meter.test_the_three_voltages_belong_together, "phases_differ"),
    "60 Hz": ("meter", "frequency_hz", lambda _, old: 1.2 * old, meter.test_the_frequency_is_nominal, "frequency_off"),
    "CT ratio": ("meter", "current_l1_a", lambda _, old: 2 * old, meter.test_power_agrees_with_voltages_currents_and_factor, "power_ratio"),
    "a reversed CT": ("meter", "power_w", lambda _, old: -old, meter.test_import_is_positive_and_counted_as_import, "sign_wrong"),
    "power factor of another phase": ("meter", "power_factor", lambda _, old: old - 0.1, meter.test_the_power_factor_agrees_with_active_and_reactive_power, "factor_off"),
    "register in kWh": ("meter", "energy_import_total_wh", lambda _, old: math.floor(old / 1000), meter.test_the_register_counts_the_integral_of_power, "energy_factor"),
    "register 3 % short": ("meter", "energy_import_total_wh", lambda _, old: math.floor(1.8e9 + 0.97 * (old - 1.8e9)), meter.test_the_register_counts_the_integral_of_power, "energy_differs"),
    "a simulator at --speed 30": ("meter", "energy_import_total_wh", lambda _, old: math.floor(1.8e9 + 30 * (old - 1.8e9)), meter.test_the_register_counts_the_integral_of_power, "energy_too_fast"),
    "a stuck register": ("meter", "energy_import_total_wh", only(1500, 4000, lambda _: 1_844_000_000), meter.test_register_and_power_move_together, "register_stands"),
    "a register that steps back": ("meter", "energy_import_total_wh", only(2000, 2100, lambda old: old - 5000), common.test_counters_only_rise, "counter_back"),
    "cells exchanged": ("battery", "cell_min_v", lambda _, old: old + 0.2, battery.test_the_lowest_cell_is_not_above_the_highest, "cells_crossed"),
    "cells in millivolt": ("battery", "cell_max_v", lambda _, old: 1000 * old, battery.test_cell_voltages_are_volts, "cells_implausible"),
    "a pack of another bank": ("battery", "pack_voltage_v", only(600, 900, lambda old: 0.95 * old), battery.test_the_pack_voltage_is_that_of_its_cells, "series_varies"),
    "temperatures exchanged": ("battery", "cell_max_temp_c", lambda _, old: old - 20, battery.test_temperatures_are_in_order, "temps_crossed"),
    "discharging is positive": ("battery", "pack_current_a", lambda _, old: -old, battery.test_charging_current_is_positive, "charge_sign"),
    "current through an open contactor": ("battery", "contactor", only(1500, 1600, lambda _: 0), battery.test_no_current_flows_through_an_open_contactor, "open_current"),
    "a limit that is not kept": ("battery", "charge_limit_w", only(1200, 1600, lambda _: 1e5), battery.test_power_keeps_the_limits_of_the_bms, "over_limit"),
    "percent": ("battery", "soc_bms", lambda _, old: 100 * old, battery.test_soc_and_soh_are_fractions, "no_fraction"),
    "a frozen heartbeat": ("charger", "heartbeat", only(600, 700, lambda _: 600), common.test_the_heartbeat_moves, "heartbeat_stood"),
    "a clock that jumped": ("charger", "heartbeat", only(2000, 6000, lambda old: old - 1500), common.test_the_heartbeat_moves, "heartbeat_back"),
    "a spike": ("meter", "voltage_l1_v", only(1000, 1000, lambda old: 10 * old), common.test_no_lone_reading_is_far_off, "spike"),
    "unknown now and then": ("meter", "power_w", lambda t_s, old: math.nan if t_s % 20 == 0 else old, common.test_every_reading_is_good, "not_good"),
    "never known": ("meter", "power_w", lambda _, old: math.nan, common.test_every_point_can_be_read, "unread"),
    "a code without meaning": ("charger", "state", only(900, 902, lambda _: 42), common.test_every_value_is_in_its_range_and_every_state_has_a_meaning, "no_meaning"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_turns_its_case_red(
    name: str, recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    kind, point, new, case, key = MISTAKES[name]
    trace = recorded(kind)
    change(trace, point, new)
    assert judge(case, trace) == ("failed", key)


def leave(trace: Trace, from_s: float, change: Callable[..., None]) -> None:
    """The ship goes: the shore's copy keeps its last values, currents and voltages are unknown."""
    for point in trace.profile.points:
        if point.type != "string":
            held = float(trace[point.name].value[int(from_s / 2)])
            gone = math.nan if point.name.startswith("pack_") else held
            change(trace, point.name, lambda t_s, old, gone=gone: gone if t_s >= from_s else old)


def test_a_ship_that_leaves_is_no_fault(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    trace = recorded("battery")
    leave(trace, 1800.0, change)
    assert judge(common.test_the_heartbeat_moves, trace) == ("passed", "heartbeat_moves")
    assert judge(common.test_every_reading_is_good, trace) == ("passed", "all_good")


def test_a_berth_without_a_ship_is_not_evaluated(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    trace = recorded("battery")
    leave(trace, 0.0, change)
    assert judge(common.test_the_heartbeat_moves, trace) == ("not_evaluated", "no_visitor")


def test_limits_of_a_battery_behind_an_ac_plug_are_not_evaluated(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    trace = recorded("battery")
    change(trace, "pack_current_a", lambda _, old: math.nan)
    for case in (
        battery.test_power_keeps_the_limits_of_the_bms,
        battery.test_no_current_flows_through_an_open_contactor,
    ):
        assert judge(case, trace) == ("not_evaluated", "unknown_visitor")


def test_a_frozen_heartbeat_beside_living_values_is_a_fault_of_a_battery_too(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    trace = recorded("battery")
    change(trace, "heartbeat", only(1000, 2000, lambda _: 1000))
    assert judge(common.test_the_heartbeat_moves, trace) == ("failed", "heartbeat_stood")


def test_a_three_phase_tower_is_recognised(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]], change: Callable[..., None]
) -> None:
    trace = recorded("charger")
    change(trace, "current_a", lambda _, old: old / (math.sqrt(3.0) * 0.98))
    assert judge(charger.test_power_is_voltage_times_current, trace) == ("passed", "power_three_phase")


def test_what_the_profile_lacks_is_not_evaluated(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]]
) -> None:
    assert judge(common.test_the_heartbeat_moves, recorded("meter")) == ("not_evaluated", "no_points")


def test_a_ramp_is_judged_only_once_one_was_given(
    recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]]
) -> None:
    case, trace = charger.test_power_rises_no_faster_than_agreed, recorded("charger")
    assert judge(case, trace) == ("not_evaluated", "no_ramp_given")
    assert judge(case, trace, ramp_w_per_s=10_000) == ("failed", "too_steep")
    assert judge(case, trace, ramp_w_per_s=1e8) == ("passed", "ramp_kept")
