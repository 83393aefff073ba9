"""Long stretches: a month at 1 Hz against exact arithmetic, and both days on which clocks change, row by row."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dsp import energy, integrate, rollup

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
MAX_GAP_NS = 5 * S
MONTH_S = 30 * 86_400
PARIS = ZoneInfo("Europe/Paris")


def test_a_month_at_1_hz_agrees_with_exact_arithmetic_to_1e_15() -> None:
    """Power in eighths of a watt, so that every term is a whole number and the sum of all is exact."""
    rng = np.random.default_rng(20260301)
    eighths = rng.integers(-(2**17), 2**26, MONTH_S)
    t_ns = 1_790_000_000 * S + np.cumsum(rng.integers(S - 10**8, S + 10**8, MONTH_S))
    t_ns[rng.integers(0, MONTH_S, 50)] += 20 * S  # gaps, and the clock back again
    power_w = eighths / 8.0
    lost = rng.random(MONTH_S) < 1e-3
    power_w[lost] = np.nan
    step_ns = np.diff(t_ns)
    counts = (step_ns > 0) & (step_ns <= MAX_GAP_NS) & ~lost[1:] & ~lost[:-1]
    terms = (eighths[1:] + eighths[:-1])[counts] * step_ns[counts]  # below 2^62
    total = (int((terms >> 32).sum()) << 32) + int((terms & 0xFFFF_FFFF).sum())
    expected_wh = total / (16 * integrate.NS_PER_HOUR)  # of Python's integers: rounded once
    energy_wh, covered_ns = integrate.integrate_power(t_ns, power_w, MAX_GAP_NS)
    assert covered_ns == int(step_ns[counts].sum())
    assert abs(energy_wh / expected_wh - 1) <= 1e-15


def midnight_ns(day: datetime) -> int:
    return int(day.replace(tzinfo=PARIS).timestamp()) * S


@pytest.mark.parametrize(("day", "hours"), [(datetime(2026, 3, 29), 23), (datetime(2026, 10, 25), 25)])
def test_the_register_of_a_clock_change_day_is_in_its_hours(day: datetime, hours: int) -> None:
    """Rows each 5 s with an outage over the change itself: the day's minutes, hours and register agree."""
    start_ns, stop_ns = midnight_ns(day), midnight_ns(day + timedelta(days=1))
    t_ns = np.arange(start_ns - 600 * S, stop_ns + 600 * S + 1, 5 * S)
    rng = np.random.default_rng(day.month)
    power_w = rng.uniform(0.0, 8e6, len(t_ns))
    register_wh = np.floor(1e9 + np.concatenate([[0.0], np.cumsum((power_w[1:] + power_w[:-1]) / 2 * 5 / 3600)]))
    change_ns = int(datetime(day.year, day.month, day.day, 1, tzinfo=ZoneInfo("UTC")).timestamp()) * S
    there = np.abs(t_ns - change_ns) > 900 * S
    minutes = np.zeros(27 * 60, energy.OUT)
    n = energy.minutes(
        t_ns[there], power_w[there], register_wh[there], np.zeros(there.sum()), 6 * S, 10e6, np.inf,
        energy.init(), minutes,
    )  # fmt: skip
    day_out, hours_out = np.zeros(1, rollup.PERIOD), np.zeros(hours, rollup.PERIOD)
    rollup.roll_up(minutes[:n], np.array([start_ns, stop_ns]), 600 * S, day_out)
    edges = np.arange(start_ns, stop_ns + 1, 3600 * S)
    rollup.roll_up(minutes[:n], edges, 600 * S, hours_out)
    assert len(edges) == hours + 1
    expected_wh = int(register_wh[t_ns == stop_ns][0] - register_wh[t_ns == start_ns][0])
    assert int(day_out["import_wh"][0]) == int(hours_out["import_wh"].sum())
    assert (
        abs(int(day_out["import_wh"][0]) - expected_wh) <= 2
    )  # a row stands on each midnight; minutes are whole Wh
    assert (int(day_out["minutes"][0]), int(day_out["minutes_all"][0])) == (hours * 60, hours * 60)
    local = [datetime.fromtimestamp(t // S, PARIS).isoformat() for t in edges[:-1].tolist()]
    assert len(set(local)) == hours
    assert int(day_out["covered_s"][0]) == hours * 3600 - 1810
    assert int(day_out["estimated_wh"][0]) > 0
