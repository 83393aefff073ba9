"""Register against power: silent while they agree, told when they part."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import crosscheck

S = 1_000_000_000
NAN = float("nan")
HOUR_NS = 3600 * S


def verdicts(t_ns: Any, power_w: Any, register_wh: Any, lag_s: float = 2.0) -> tuple[list[int], list[Any]]:
    state, out, found, rows = crosscheck.init(), np.zeros(1, crosscheck.OUT), [], []
    for t, p, r in zip(t_ns, power_w, register_wh, strict=True):
        if verdict := crosscheck.step(state, int(t), float(p), float(r), 5 * S, 0.01, 1.0, lag_s, HOUR_NS, out):
            found.append(verdict)
            rows.append(out[0].copy())
    return found, rows


def metered(seed: int, seconds: int = 8000, ratio: float = 1.0) -> tuple[Any, Any, Any]:
    """True power at 10 Hz counted by the register; sampled each second with class error and a lag."""
    rng = np.random.default_rng(seed)
    ramp = np.interp(np.arange(seconds * 10) / 10, np.sort(rng.uniform(0, seconds, 12)), rng.uniform(0, 8e6, 12))
    register = np.floor(1e6 + np.cumsum(ramp) / 36_000 * ratio * rng.uniform(0.998, 1.002))
    index = np.arange(seconds) * 10
    late = np.maximum(index - int(rng.integers(0, 20)), 0)
    return np.arange(seconds) * S, ramp[index] * rng.uniform(0.998, 1.002), register[late]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_a_sound_meter_is_not_accused(seed: int) -> None:
    t_ns, power_w, register_wh = metered(seed)
    lost = np.random.default_rng(seed).random(len(t_ns)) < 0.002
    power_w[lost] = NAN
    found, _ = verdicts(t_ns, power_w, register_wh)
    assert set(found) <= {1}


@pytest.mark.parametrize("ratio", [0.9, 1.1, 10.0, 0.1, 2.0 / 3.0])
def test_a_wrong_ratio_is_told(ratio: float) -> None:
    """A phase lost, a transformer's ratio mistaken, a factor of ten."""
    found, rows = verdicts(*metered(4, ratio=ratio))
    assert found and set(found) == {2}
    assert float(rows[0]["register_wh"] / rows[0]["power_wh"]) == pytest.approx(ratio, rel=0.02)


def test_a_reset_or_a_gap_is_no_disagreement() -> None:
    t_ns, power_w, register_wh = metered(9)
    register_wh[3000:] -= register_wh[3000] - 5.0
    keep = np.ones(len(t_ns), dtype=bool)
    keep[5000:5600] = False
    found, _ = verdicts(t_ns[keep], power_w[keep], register_wh[keep])
    assert found == [1, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5 * S), st.floats(0, 1e7), st.integers(0, 20_000)), min_size=2, max_size=40)
)
def test_the_sums_of_a_window_agree_with_exact_arithmetic(rows: list[tuple[int, float, int]]) -> None:
    t = np.cumsum([row[0] for row in rows])
    register = np.cumsum([row[2] for row in rows])
    state, out = crosscheck.init(), np.zeros(1, crosscheck.OUT)
    last = len(rows) - 1
    for i in range(len(rows)):
        window = 1 if i == last else 2**62
        got = crosscheck.step(state, int(t[i]), rows[i][1], float(register[i]), 5 * S, 0.01, 1e6, 2.0, window, out)
    energy = [
        (Fraction(rows[i - 1][1]) + Fraction(rows[i][1])) / 2 * int(t[i] - t[i - 1]) for i in range(1, len(rows))
    ]
    assert got in (1, 2)
    assert float(out[0]["power_wh"]) == pytest.approx(float(sum(energy) / HOUR_NS), rel=1e-9, abs=1e-9)
    assert float(out[0]["register_wh"]) == register[-1] - register[0]
