"""Calls and steps of a register against their slow twins; whose power counts at a berth."""

import math
from typing import Any

import naive_calls
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import calls, counter, session

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S
KINDS = (naive_calls.FORWARD, naive_calls.ROLLOVER, naive_calls.RESET, naive_calls.GLITCH, naive_calls.AMBIGUOUS)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.integers(0, 2**33), st.sampled_from([0, 2**32 - 5, 2**32, 10**6, 12_000])),
    st.one_of(st.integers(0, 2**33), st.integers(0, 20_000), st.sampled_from([0, 3, 10**6, 2 * 10**6])),
    st.sampled_from([0.5, 1.0, 60.0, 3600.0, 86_400.0, 5e6]),
    st.sampled_from([math.nan, -1.0, 1e4, 1e7, 1e8]),
    st.sampled_from([2.0**32, 1e9, math.inf, math.nan]),
)
def test_a_step_is_judged_as_the_twin_judges_it(
    previous: int, current: int, step_s: float, max_power_w: float, range_wh: float
) -> None:
    kind, wh = counter.classify(previous, current, step_s, max_power_w, range_wh)
    assert (KINDS[kind], wh) == naive_calls.classify(previous, current, step_s, max_power_w, range_wh)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.booleans(), st.integers(4, 40)), min_size=1, max_size=8))
def test_calls_of_full_rows_are_those_of_the_twin(seed: int, stretches: list[tuple[bool, int]]) -> None:
    """Plugged in and out for stretches of rows; every row tells all; the meter reads a whole register."""
    rng = np.random.default_rng(seed)
    mated = [on for on, count in stretches for _ in range(count)] + [False] * 20
    t, wh, told = START_NS, 10**6, []
    for on in mated:
        t += int(rng.integers(S, 5 * S))
        wh += int(rng.integers(0, 8000))
        soc = math.nan if rng.random() < 0.3 else float(rng.random())
        told.append((t, on, float(rng.uniform(0, 8e6)) if on else 0.0, wh, soc))
    state, out, found = session.init(), np.zeros(1, session.OUT), []
    for t_ns, on, power_w, register_wh, soc in told:
        args = (t_ns, math.nan, float(on), power_w, float(register_wh), soc, 15 * S, out)
        if session.step(state, *args):
            found.append(out[0].copy())
    expected = naive_calls.call(told, session.FLICKER_NS)
    assert len(found) == len(expected)
    for one, twin in zip(found, expected, strict=True):
        for name, value in twin.items():
            same = pytest.approx(value, rel=1e-9, abs=1e-6, nan_ok=True)
            assert float(one[name]) == same, name


def berth_rows(seed: int, n: int = 400) -> Any:
    """Tower, meter and battery in turn; the meter is away for a while, so that the tower's power stands in."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, calls.ROW)
    for name in ("charger_state", "mated", "power_w", "register_wh", "soc"):
        rows[name] = np.nan
    rows["t_ns"] = START_NS + np.cumsum(rng.integers(S // 2, 2 * S, n))
    rows["source"] = rng.integers(0, 3, n)
    tower, meter, ship = (rows["source"] == k for k in range(3))
    meter &= ~((np.arange(n) > 150) & (np.arange(n) < 250))
    rows["mated"][tower] = (np.arange(n) % 180 > 20)[tower]
    rows["power_w"][tower | meter] = rng.uniform(0, 5e6, n)[tower | meter]
    rows["register_wh"][meter] = (10**6 + np.cumsum(rng.integers(0, 500, n)))[meter]
    rows["power_read"][meter] = 1
    rows["soc"][ship] = rng.random(n)[ship]
    return rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 400))
def test_rows_of_a_berth_are_fed_to_the_call_as_the_words_say(seed: int, cut: int) -> None:
    """The meter's power, else the tower's where the meter's is older than the gap; last register, last charge."""
    rows, gap_ns = berth_rows(seed), 15 * S
    state, out, expected = session.init(), np.zeros(1, session.OUT), []
    meter: tuple[int, float] = (-1, math.nan)
    register = charge = math.nan
    for r in rows:
        t, source = int(r["t_ns"]), int(r["source"])
        if source == calls.CHARGE:
            charge = float(r["soc"])
            continue
        if source == calls.METER:
            if r["power_read"]:
                meter = (t, float(r["power_w"]))
            register = float(r["register_wh"]) if r["register_wh"] == r["register_wh"] else register
            power = float(r["power_w"]) if r["power_read"] else math.nan
            told = (math.nan, math.nan, power, register, charge, gap_ns, out, True)
        else:
            known = meter[1] == meter[1] and t - meter[0] <= gap_ns
            told = (
                float(r["charger_state"]), float(r["mated"]), math.nan if known else float(r["power_w"]), math.nan,
                charge, gap_ns, out, False,
            )  # fmt: skip
        if session.step(state, t, *told):
            expected.append(out[0].tobytes())
    found = np.zeros(20, calls.OUT)
    first = calls.init()
    n = calls.run(first, rows[:cut], gap_ns, found)
    n += calls.run(first, rows[cut:], gap_ns, found[n:])
    assert [one.tobytes() for one in found[:n]] == expected
    by_row, one = calls.init(), np.zeros(1, calls.OUT)
    singles = (rows[k : k + 1] for k in range(len(rows)))
    assert [one[0].tobytes() for row in singles if calls.step(by_row, row, gap_ns, one)] == expected
