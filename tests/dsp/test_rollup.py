"""Longer periods: sums and peaks against their definition, and the days on which clocks change."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import naive_rollup
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import energy, rollup
from dsp.energy import MINUTE_NS

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
PARIS = ZoneInfo("Europe/Paris")
UTC = ZoneInfo("UTC")
WINDOW_NS = 10 * MINUTE_NS
START_NS = 1_789_992_000 * S


def minutes_of(start_ns: int, count: int, seed: int = 1) -> Any:
    """A full stretch of minutes, each with its own figures."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, energy.OUT)
    rows["minute_ns"] = start_ns + np.arange(count) * MINUTE_NS
    rows["import_wh"] = rows["measured_wh"] = rng.integers(0, 500_000, count)
    rows["covered_s"] = 60.0
    rows["max_power_w"] = rows["import_wh"] * 60.0
    rows["register_import_wh"] = np.cumsum(rows["import_wh"])
    rows["register_t_ns"] = rows["minute_ns"] + 59 * S
    return rows


def rolled(rows: Any, edges: list[int], window_ns: int = WINDOW_NS) -> Any:
    out = np.zeros(len(edges) - 1, rollup.PERIOD)
    rollup.roll_up(rows, np.array(edges, dtype=np.int64), window_ns, out)
    return out


def edge(*local: int, fold: int = 0) -> int:
    """A Paris wall-clock time as a UTC instant."""
    return int(datetime(*local, tzinfo=PARIS, fold=fold).timestamp()) * S  # type: ignore[arg-type, misc]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_periods_agree_with_their_definition(data: st.DataObject) -> None:
    rows = minutes_of(START_NS, 90, data.draw(st.integers(0, 10**6)))
    keep = np.array(data.draw(st.lists(st.sampled_from([True, True, True, False]), min_size=90, max_size=90)))
    kept = int(keep.sum())
    rows = np.repeat(rows[keep], data.draw(st.lists(st.integers(1, 2), min_size=kept, max_size=kept)))
    for row in rows:
        if data.draw(st.integers(0, 9)) == 0:
            row["estimated_wh"], row["covered_s"] = row["import_wh"] // 3, 40.0
            row["measured_wh"] = row["import_wh"] - row["estimated_wh"]
    edges = [START_NS + k * data.draw(st.sampled_from([WINDOW_NS, 3 * WINDOW_NS])) for k in range(4)]
    edges = sorted(set(edges))
    if len(edges) < 2:
        return
    for period, start, stop in zip(rolled(rows, edges), edges[:-1], edges[1:], strict=True):
        expected = naive_rollup.period(rows, start, stop, WINDOW_NS)
        for name in ("import_wh", "export_wh", "measured_wh", "estimated_wh", "minutes"):
            assert int(period[name]) == expected[name]
        assert bool(period["peak_is_bound"]) == expected["bound"]
        if expected["peak"] is None:
            assert np.isnan(period["peak_power_w"])
        else:
            assert float(period["peak_power_w"]) == pytest.approx(expected["peak"], rel=1e-12)


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 21), 24)])
def test_a_day_in_paris_has_all_its_hours_and_loses_none(day: tuple[int, int, int], hours: int) -> None:
    start, stop = edge(*day), edge(*(datetime(*day) + timedelta(days=1)).timetuple()[:3])
    assert (stop - start) // (3600 * S) == hours
    rows = minutes_of(start - 600 * MINUTE_NS, hours * 60 + 1200)
    (whole,) = rolled(rows, [start, stop])
    assert (int(whole["minutes"]), int(whole["minutes_all"])) == (hours * 60, hours * 60)
    assert int(whole["peak_is_bound"]) == 0
    for minutes in (5, 10, 15, 30, 60):
        edges = list(range(start, stop + 1, minutes * MINUTE_NS))
        parts = rolled(rows, edges, min(minutes, 10) * MINUTE_NS if minutes != 15 else 5 * MINUTE_NS)
        assert int(parts["import_wh"].sum()) == int(whole["import_wh"])
        labels = [datetime.fromtimestamp(t // S, UTC).astimezone(PARIS).isoformat() for t in edges[:-1]]
        assert len(set(labels)) == hours * 60 // minutes  # 02:30+02:00 and 02:30+01:00 are two


@pytest.mark.parametrize("month", [3, 10])
def test_a_month_with_a_clock_change_is_the_sum_of_its_days(month: int) -> None:
    first, last = datetime(2026, month, 1), datetime(2026, month + 1, 1)
    days = [edge(2026, month, d) for d in range(1, 32)] + [edge(last.year, last.month, 1)]
    rows = minutes_of(days[0], (days[-1] - days[0]) // MINUTE_NS)
    (whole,) = rolled(rows, [days[0], days[-1]])
    parts = rolled(rows, days)
    assert first.day == 1 and int(parts["import_wh"].sum()) == int(whole["import_wh"]) == rows["import_wh"].sum()
    assert int(whole["register_import_wh"]) == int(rows["register_import_wh"][-1])
    assert float(whole["peak_power_w"]) == parts["peak_power_w"].max()


def test_a_peak_with_a_missing_minute_is_a_lower_bound_and_says_so() -> None:
    rows = minutes_of(START_NS, 20)
    rows["import_wh"] = rows["measured_wh"] = [100_000] * 10 + [200_000] * 10
    (full,) = rolled(rows, [START_NS, START_NS + 20 * MINUTE_NS])
    assert (float(full["peak_power_w"]), int(full["peak_is_bound"])) == (12e6, 0)
    assert int(full["peak_t_ns"]) == START_NS + WINDOW_NS
    (holed,) = rolled(np.delete(rows, 15), [START_NS, START_NS + 20 * MINUTE_NS])
    assert (float(holed["peak_power_w"]), int(holed["peak_is_bound"])) == (10.8e6, 1)


def test_estimated_energy_makes_no_certain_peak() -> None:
    rows = minutes_of(START_NS, 10)
    rows["import_wh"], rows["measured_wh"], rows["estimated_wh"], rows["covered_s"] = 60_000, 20_000, 40_000, 20.0
    (period,) = rolled(rows, [START_NS, START_NS + WINDOW_NS])
    assert (float(period["peak_power_w"]), int(period["peak_is_bound"])) == (1.2e6, 1)
    assert float(period["peak_estimate_w"]) == 3.6e6


def test_of_two_revisions_the_last_counts() -> None:
    rows = minutes_of(START_NS, 10)
    again = rows.copy()
    again["import_wh"] += 7
    both = np.concatenate([rows, again])[np.argsort([*range(0, 20, 2), *range(1, 20, 2)])]
    (period,) = rolled(both, [START_NS, START_NS + WINDOW_NS])
    assert int(period["import_wh"]) == int(again["import_wh"].sum())
