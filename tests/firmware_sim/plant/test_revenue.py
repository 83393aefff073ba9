"""A revenue meter: its class, its transformers, its wiring, its registers, and what may happen to them."""

from dataclasses import replace

import pytest

from drivers.profile import load_profile
from firmware_sim import build
from firmware_sim.faults import FaultBoard
from firmware_sim.plant.disturb import disturbed
from firmware_sim.plant.revenue import MeterSpec, RevenueMeter
from firmware_sim.scenario_tables import RevenueTable

NS = 1_000_000_000
POWER_W = 12e6
SPEC = MeterSpec(import_wh=0, export_wh=0)


def meter(spec: MeterSpec = SPEC, seed: int = 1) -> RevenueMeter:
    """Through it flow 12 MW, from the start on."""
    return RevenueMeter(spec, seed, lambda t: POWER_W, lambda t: POWER_W * t / NS, 0.15, lambda t: 1.0)


@pytest.mark.parametrize("limit", [0.2, 0.5, 1.0])
def test_the_error_stays_within_the_class_and_differs_from_meter_to_meter(limit: float) -> None:
    errors = []
    for seed in range(200):
        one = meter(replace(SPEC, class_percent=limit), seed)
        errors.append(one.counted_wh(3600 * NS) / POWER_W - 1.0)
    assert max(map(abs, errors)) <= limit / 100
    assert max(errors) > limit / 200 > -limit / 200 > min(errors)


def test_power_and_register_agree() -> None:
    one = meter()
    gained = one.counted_wh(7200 * NS) - one.counted_wh(3600 * NS)
    assert gained == pytest.approx(one.power_w(0), abs=1.0)


def test_secondary_registers_are_divided_by_both_ratios() -> None:
    spec = replace(SPEC, secondary=True, ct_ratio=400.0, vt_ratio=200.0)
    values, primary = meter(spec).values(3600 * NS), meter().values(3600 * NS)
    for name in ("power_w", "reactive_power_var"):
        assert float(str(values[name])) * 80_000 == pytest.approx(float(str(primary[name])))
    assert float(str(values["voltage_l1_v"])) * 200 == pytest.approx(float(str(primary["voltage_l1_v"])))
    assert float(str(values["current_l1_a"])) * 400 == pytest.approx(float(str(primary["current_l1_a"])))
    assert int(str(values["energy_import_total_wh"])) == int(meter().counted_wh(3600 * NS) / 80_000)


def test_phases_carry_the_power_shown() -> None:
    values = meter().values(60 * NS)
    apparent = sum(
        float(str(values[f"voltage_l{n}_v"])) * float(str(values[f"current_l{n}_a"])) for n in (1, 2, 3)
    )
    assert apparent * float(str(values["power_factor"])) == pytest.approx(values["power_w"], rel=1e-6)


def test_a_reversed_ct_takes_two_thirds_away_and_three_of_them_count_as_export() -> None:
    one, all_three = meter(replace(SPEC, reversed_ct=(2,))), meter(replace(SPEC, reversed_ct=(1, 2, 3)))
    assert one.power_w(0) / meter().power_w(0) == pytest.approx(1 - 2 * 0.3322, rel=1e-3)
    values = all_three.values(3600 * NS)
    assert float(str(values["power_w"])) < 0
    assert values["energy_import_total_wh"] == 0
    assert values["energy_export_total_wh"] == pytest.approx(POWER_W, rel=0.002)


def test_three_wires_show_voltages_between_phases_and_two_currents() -> None:
    values = meter(replace(SPEC, wiring="3P3W")).values(60 * NS)
    assert float(str(values["voltage_l1_v"])) == pytest.approx(20_000, rel=0.01)
    assert values["current_l2_a"] is None
    assert values["current_l1_a"] is not None


def test_direct_current_has_one_voltage_and_no_frequency() -> None:
    values = meter(replace(SPEC, wiring="DC", line_voltage_v=1000.0)).values(60 * NS)
    assert values["frequency_hz"] is values["power_factor"] is values["voltage_l2_v"] is None
    product = float(str(values["voltage_l1_v"])) * float(str(values["current_l1_a"]))
    assert product == pytest.approx(values["power_w"])


def test_sixty_hertz_is_shown_and_nothing_in_an_outage() -> None:
    assert float(str(meter(replace(SPEC, frequency_hz=60.0)).values(0)["frequency_hz"])) == pytest.approx(
        60, abs=0.05
    )
    dark = RevenueMeter(SPEC, 1, lambda t: 0.0, lambda t: 1e9, 0.1, lambda t: 0.0).values(NS)
    assert dark["voltage_l1_v"] == dark["frequency_hz"] == 0.0
    assert int(str(dark["energy_import_total_wh"])) > 0


def test_a_register_goes_over_where_its_type_does() -> None:
    for name, modulus in (("meter-uint32-kwh", 2**32 * 10), ("meter-float32", None), ("meter-float64", None)):
        profile = load_profile(f"firmware_sim/profiles/{name}.toml")
        assert build.meter(RevenueTable(), profile).modulus_wh == modulus
    one = meter(replace(SPEC, import_wh=2**32 * 10 - 1_000_000, modulus_wh=2.0**32 * 10))
    before, after = one.import_wh(0), one.import_wh(3600 * NS)
    assert (before, after) == (2**32 * 10 - 1_000_000, one.counted_wh(3600 * NS) - 2**32 * 10)


def shown(board: FaultBoard, second: int) -> int:
    one, t_ns = meter(replace(SPEC, class_percent=0.0)), second * NS
    values = disturbed("meter", one.values(t_ns), t_ns, board.at("m", t_ns), one.counted_wh)
    return int(str(values["energy_import_total_wh"]))


@pytest.mark.parametrize(
    ("name", "options", "at", "later"),
    [
        ("counter-reset", {}, 0, 12_000_000),
        ("counter-reset", {"to_wh": 5}, 5, 12_000_005),
        ("counter-replacement", {}, 17, 12_000_017),
        ("counter-backwards", {"by_wh": 500}, 11_999_500, 23_999_500),
        ("counter-rollover", {"after_wh": 1000}, 12_000_000, 11_999_000),
        ("counter-rollover", {"after_wh": 1000, "modulus_wh": 100_000_000}, 99_999_000, 11_999_000),
    ],
)
def test_what_happens_to_a_counter_and_stays(name: str, options: dict[str, float], at: int, later: int) -> None:
    board = FaultBoard()
    board.plan(name, "m", 3600 * NS, 3700 * NS, options)
    assert shown(board, 3599) == 11_996_666
    assert shown(board, 3600) == at
    assert shown(board, 7200) == later  # long after the fault has ended


def test_two_things_may_happen_to_one_counter() -> None:
    board = FaultBoard()
    board.plan("counter-reset", "m", 3600 * NS, None, {})
    board.plan("counter-backwards", "m", 7200 * NS, None, {"by_wh": 1_000_000})
    assert shown(board, 7200) == 11_000_000


def test_a_heartbeat_stands_or_jumps() -> None:
    board = FaultBoard()
    board.plan("frozen-heartbeat", "c", 100 * NS, 200 * NS, {})
    board.plan("clock-jump", "c", 300 * NS, 400 * NS, {"by_s": 3600})

    def beat(second: int) -> int:
        found = disturbed("charger", {"heartbeat": second % 2**16}, second * NS, board.at("c", second * NS))
        return int(str(found["heartbeat"]))

    assert [beat(s) for s in (99, 100, 150, 200, 250, 300, 399, 400)] == [99, 100, 100, 200, 250, 3900, 3999, 400]
