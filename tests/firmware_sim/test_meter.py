"""The register is the exact integral, and everything shown fits together."""

from fractions import Fraction
from math import floor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.plant.meter import NS, Meter, MeterSize, PowerIntegral

powers = st.lists(st.integers(0, 40_000_000), min_size=2, max_size=30)


def exact_wh(power_w: list[int], t_ns: int) -> int:
    """Trapezoids in fractions, second by second."""
    total = Fraction(0)
    t = Fraction(t_ns, NS)
    for k in range(floor(t) + 1):
        first = power_w[min(k, len(power_w) - 1)]
        after = power_w[min(k + 1, len(power_w) - 1)]
        into = min(Fraction(1), t - k)
        total += into * (first + (first + (after - first) * into)) / 2
    return floor(total / 3600)


@given(powers, st.integers(0, 40 * NS))
def test_the_energy_is_exact_at_any_instant(power_w: list[int], t_ns: int) -> None:
    assert PowerIntegral(np.array(power_w, dtype=np.int64)).energy_wh(t_ns) == exact_wh(power_w, t_ns)


@given(powers, st.lists(st.integers(-NS, 40 * NS), min_size=2))
def test_the_energy_never_falls(power_w: list[int], times: list[int]) -> None:
    integral = PowerIntegral(np.array(power_w, dtype=np.int64))
    energies = [integral.energy_wh(t) for t in sorted(times)]
    assert energies == sorted(energies)
    assert integral.energy_wh(-NS) == 0


def test_power_is_a_straight_line_between_seconds() -> None:
    integral = PowerIntegral(np.array([0, 1000, 400], dtype=np.int64))
    assert [integral.power_w(t) for t in (0, NS // 4, NS, 3 * NS // 2, 9 * NS)] == [0, 250, 1000, 700, 400]


def test_phases_carry_the_power_that_is_shown() -> None:
    size = MeterSize(import_wh=1000, export_wh=7, reactive_varh=50)
    meter = Meter(size, np.full(100, 6_800_000), np.full(100, 1_100_000), seed=3)
    values = meter.values(50 * NS)
    apparent = sum(values[f"voltage_l{i}_v"] * values[f"current_l{i}_a"] for i in (1, 2, 3))  # type: ignore[operator]
    assert abs(apparent * values["power_factor"] - values["power_w"]) < 1e-3  # type: ignore[operator]
    assert values["energy_import_total_wh"] == 1000 + 6_800_000 * 50 // 3600
    assert values["reactive_import_total_varh"] == 50 + 1_100_000 * 50 // 3600
    assert values["energy_export_total_wh"] == 7
    assert 49.9 < values["frequency_hz"] < 50.1  # type: ignore[operator]
