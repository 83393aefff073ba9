"""A right meter proves itself in a few rows; a wrong map, scale, order or sign never does, and says why."""

from collections.abc import Callable
from math import cos, radians, sqrt

import numpy as np
import pytest

from drivers.codec import Decoder
from drivers.plan import plan
from drivers.plausible import FAILURES, PASSES, Finding, Plausible, Wiring
from drivers.profile import Profile, load_profile, shipped_profiles
from drivers.row import Quality, Row, empty_row
from firmware_sim.encode import RegisterImage
from firmware_sim.plant.meter import Meter, MeterSize

METER = load_profile("siemens-pac3200-pac4200")
NS = 1_000_000_000
Values = dict[str, float]


def measured(power_w: float = 900_000.0, volts: float = 231.0, factor: float = 0.95) -> Values:
    """What a meter on a balanced three-phase supply of 50 Hz shows."""
    apparent_va = power_w / factor
    values: Values = {
        "frequency_hz": 50.01,
        "power_w": power_w,
        "apparent_power_va": apparent_va,
        "power_factor": factor,
        "energy_import_total_wh": 1e9,
        "energy_export_total_wh": 5e6,
    }
    for phase in (1, 2, 3):
        values |= {f"voltage_l{phase}_v": volts, f"current_l{phase}_a": apparent_va / 3 / volts}
        values |= {f"power_l{phase}_w": power_w / 3}
    return values | {f"voltage_{line}_v": volts * sqrt(3) for line in ("l12", "l23", "l31")}


def row(profile: Profile, values: Values, t_ns: int = NS, scan: str = "live") -> Row:
    shown = empty_row(len(profile.points), t_ns, Quality.NOT_SCANNED, scan)
    for name, value in values.items():
        if (i := profile.index.get(name)) is not None:
            point = profile.points[i]
            low, high = point.range or (-np.inf, np.inf)
            fits = low <= value <= high
            shown.values[i] = value if fits else np.nan
            shown.quality[i] = Quality.GOOD if fits else Quality.OUT_OF_RANGE
    return shown


def watch(
    values: Callable[[int], Values] | Values,
    rows: int = FAILURES + 5,
    wiring: Wiring = "3P4W",
    nominal_hz: float = 50,
    profile: Profile = METER,
) -> tuple[Plausible, list[Finding], Row]:
    """Feed rows, one a second. Returns: the judge, what it told, the last row."""
    judge = Plausible(profile, wiring, nominal_hz)
    told: list[Finding] = []
    for second in range(rows):
        shown = row(profile, values(second) if callable(values) else values, 10**18 + second * NS)
        told += judge.judge(shown)
    return judge, told, shown


def test_values_are_kept_and_marked_until_the_checks_have_passed() -> None:
    judge, told, last = watch(measured(), PASSES - 1)
    power = METER.index["power_w"]
    assert last.quality[power] == Quality.UNPROVEN and last.values[power] == 900_000.0
    again = row(METER, measured())
    told += judge.judge(again)
    assert again.quality[power] == Quality.GOOD and not told
    assert again.quality[METER.index["energy_import_total_wh"]] == Quality.UNPROVEN  # no energy has flowed yet


def counting(step_wh: float = 1.0, sign: float = 1.0) -> Callable[[int], Values]:
    """A load of 900 kW and a register that counts it in steps."""

    def values(second: int) -> Values:
        counted_wh = 900_000.0 * second / 3600
        return measured() | {"energy_import_total_wh": 1e9 + sign * (counted_wh // step_wh) * step_wh}

    return values


def test_a_register_that_follows_the_power_is_proven() -> None:
    judge, told, last = watch(counting(), 25)
    assert judge.proven == {"electrical", "energy"} and not told
    assert set(last.quality.tolist()) <= {Quality.GOOD, Quality.NOT_SCANNED}


def test_once_proven_it_stays_proven() -> None:
    judge, _, _ = watch(counting(), 25)
    odd = row(METER, measured() | {"frequency_hz": 42.0})
    assert judge.judge(odd) == []
    assert odd.quality[METER.index["frequency_hz"]] == Quality.GOOD


@pytest.mark.parametrize(
    ("wrong", "check", "point"),
    [
        ({"frequency_hz": 5.001}, "frequency", "frequency_hz"),  # a scale of the Countis E24 on another model
        ({"frequency_hz": 60.0}, "frequency", "frequency_hz"),
        ({"power_l2_w": -300_000.0}, "balance", "power_w"),  # an unsigned total of signed phases
        ({"power_w": 900.0}, "balance", "power_w"),  # kW taken for W
        ({"voltage_l23_v": 231.0}, "line_voltage", "voltage_l23_v"),  # shifted by two registers
        ({"power_factor": 0.6}, "power_factor", "power_factor"),
        ({"current_l1_a": 13.0}, "apparent", "apparent_power_va"),
        ({"voltage_l1_v": 2e8}, "range", "voltage_l1_v"),
        ({"current_l3_a": 2.4e-41}, "word_order", "current_l3_a"),
    ],
)
def test_a_wrong_profile_is_never_proven_and_says_why_once(wrong: Values, check: str, point: str) -> None:
    judge, told, last = watch(measured() | wrong, 3 * FAILURES)
    assert judge.proven == set()
    assert [finding.point for finding in told if finding.check == check] == [point]
    assert not any(finding.passed for finding in told)
    power = METER.index["power_w"]
    assert last.quality[power] == Quality.UNPROVEN and last.values[power] == (measured() | wrong)["power_w"]


@pytest.mark.parametrize(
    "register", [counting(sign=-1.0), counting(sign=1000.0), lambda _: measured()], ids=["sign", "scale", "tariff"]
)
def test_a_register_that_does_not_follow_the_power_is_never_proven(register: Callable[[int], Values]) -> None:
    judge, told, last = watch(register, 90)
    assert judge.proven == {"electrical"}
    assert [(f.check, f.point) for f in told] == [("energy", "energy_import_total_wh")]
    assert last.quality[METER.index["energy_import_total_wh"]] == Quality.UNPROVEN


def test_a_coarse_register_is_compared_over_as_much_energy_as_its_step_asks_for() -> None:
    countis = load_profile("socomec-countis-e3x-e4x")  # counts in kWh: 50 kWh are 200 s at 900 kW
    before, _, _ = watch(counting(1000.0), 190, profile=countis)
    after, told, _ = watch(counting(1000.0), 230, profile=countis)
    assert "energy" not in before.proven and "energy" in after.proven and not told


def test_an_export_meter_counts_the_other_way() -> None:
    def exporting(second: int) -> Values:
        shown = measured(-900_000.0, factor=-0.95)
        return shown | {"energy_export_total_wh": 5e6 + 900_000.0 * second / 3600}

    judge, told, _ = watch(exporting, 25)
    assert judge.proven == {"electrical", "energy"} and not told


@pytest.mark.parametrize("dead", [{}, dict.fromkeys(measured(), 0.0)], ids=["unknown", "zero"])
def test_a_dead_berth_is_neither_proof_nor_doubt(dead: Values) -> None:
    judge, told, _ = watch(dead, 3 * FAILURES)
    assert judge.proven == set() and not told


def test_a_ramp_between_two_requests_is_no_wrong_profile() -> None:
    def ramp(second: int) -> Values:
        lag = {"power_w": 500_000.0} if second < FAILURES - 1 else {}  # the total is read before the phases
        return measured() | lag

    judge, told, _ = watch(ramp, FAILURES + PASSES)
    assert "electrical" in judge.proven and not told


def test_three_wires_have_no_phase_voltages_to_compare() -> None:
    values = measured() | {f"voltage_l{n}_v": 0.0 for n in (1, 2, 3)} | {f"power_l{n}_w": 0.0 for n in (1, 2, 3)}
    assert "electrical" in watch(values, wiring="3P3W")[0].proven
    assert "electrical" not in watch(values, wiring="3P4W")[0].proven


def test_sixty_hertz_where_the_site_says_so() -> None:
    values = measured() | {"frequency_hz": 59.6}
    assert "electrical" in watch(values, nominal_hz=60)[0].proven
    assert "electrical" not in watch(values, nominal_hz=50)[0].proven


@pytest.mark.parametrize("angle", [0.0, 20.0, 60.0, 85.0])
@pytest.mark.parametrize("name", ["generic-meter", "abb-b23-b24", "eastron-sdm630", "schneider-pm5xxx"])
def test_right_meters_of_any_load_are_proven(name: str, angle: float) -> None:
    values = measured(400_000.0, 20_000 / sqrt(3), cos(radians(angle)))
    judge, told, _ = watch(values, profile=load_profile(name))
    assert "electrical" in judge.proven and not told


SIMULATED = [name for name in shipped_profiles() if load_profile(name).kind == "meter"]


@pytest.mark.parametrize("name", SIMULATED)
def test_a_simulated_meter_of_every_profile_is_proven_through_its_registers(name: str) -> None:
    """Steps and rounding of each map's encoding stay within the tolerances."""
    profile = load_profile(name)
    plan_ = plan(profile, "live")
    decoder, image = Decoder(profile, plan_), RegisterImage(profile)
    active_w = np.full(120, 6_000_000)
    meter = Meter(MeterSize(), active_w, active_w // 3, seed=4)
    judge = Plausible(profile, "3P4W", 50)
    told: list[Finding] = []
    for second in range(120):
        values = meter.values(second * NS)
        answers = [
            np.array(image.read(b.table, b.address, b.count, values), ">u2").tobytes() for b in plan_.blocks
        ]
        told += judge.judge(decoder.decode(answers, 10**18 + second * NS))
    assert judge.proven == {"electrical", "energy"} and not told


def test_what_cannot_be_checked_is_not_held_back() -> None:
    point = {"name": "energy_import_total_wh", "type": "uint32", "address": 0}
    bare = Profile.model_validate(
        {"schema": 1, "kind": "meter", "model": "pulse counter", "source": "test", "point": [point]}
    )
    assert Plausible(bare, "3P4W", 50).proven == {"electrical", "energy"}


def test_power_that_is_sampled_too_rarely_proves_no_register() -> None:
    assert Plausible(METER, "3P4W", 50, interval_s=900.0).proven == {"energy"}


def test_direct_current_is_voltage_times_current() -> None:
    points = [
        {"name": name, "type": "float32", "address": 2 * i}
        for i, name in enumerate(("voltage_v", "current_a", "power_w"))
    ]
    meter = Profile.model_validate(
        {"schema": 1, "kind": "meter", "model": "DC", "source": "test", "point": points}
    )
    right = {"voltage_v": 800.0, "current_a": 1250.0, "power_w": 1_000_000.0}
    assert "electrical" in watch(right, wiring="DC", nominal_hz=0, profile=meter)[0].proven
    judge, told, _ = watch(right | {"power_w": 1000.0}, wiring="DC", nominal_hz=0, profile=meter)
    assert "electrical" not in judge.proven and [f.check for f in told] == ["dc_power"]
