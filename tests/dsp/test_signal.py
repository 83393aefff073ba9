"""Signals: each figure against its definition, each defect found and nothing else."""

from typing import Any

import naive_signal
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import signal
from dsp.signal import OUT_OF_RANGE, SATURATED, STUCK, TOO_FAST

S = 1_000_000_000
NAN = float("nan")
MAX_GAP_NS = 5 * S
values = st.one_of(st.integers(-50, 50).map(lambda v: v / 8), st.floats(-1e3, 1e3), st.just(NAN))


@st.composite
def recordings(draw: st.DrawFn, least: int = 0) -> tuple[Any, Any]:
    found = draw(st.lists(values, min_size=least, max_size=40))
    steps = draw(
        st.lists(st.sampled_from([1, S // 3, S, 5 * S, 5 * S + 1, 0]), min_size=len(found), max_size=len(found))
    )
    return 1_790_000_000 * S + np.cumsum(np.array(steps, dtype=np.int64)), np.array(found, dtype=float)


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=50), st.integers(1, 5), st.sampled_from([0.0, 0.25, 10.0]))
def test_despiking_agrees_with_its_definition_batch_and_streaming(
    found: list[float], half: int, least: float
) -> None:
    expected = naive_signal.hampel(found, half, 3.0, least)
    out = np.zeros(len(found))
    signal.hampel(np.array(found, dtype=float), half, 3.0, least, out)
    assert out.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)
    state = signal.hampel_init()
    streamed = [signal.hampel_step(state, value, half, 3.0, least)[0] for value in found]
    assert streamed[2 * half :] == pytest.approx(
        expected[half : len(found) - half], rel=1e-12, abs=1e-12, nan_ok=True
    )


def test_a_spike_goes_and_a_step_stays() -> None:
    level = np.concatenate([np.full(20, 10.0), np.full(20, 12.0)]) + 0.004 * np.sin(np.arange(40.0))
    spiked, out = level.copy(), np.zeros(40)
    spiked[10], spiked[33] = 4.0, 50.0
    assert signal.hampel(spiked, 3, 4.0, 0.02, out) == 2
    assert np.abs(out - level).max() < 0.02


@settings(max_examples=150, deadline=None)
@given(recordings())
def test_mean_and_slope_agree_with_exact_arithmetic(recording: tuple[Any, Any]) -> None:
    t_ns, found = recording
    expected = naive_signal.mean(t_ns, found, MAX_GAP_NS)
    got, _ = signal.mean(t_ns, found, MAX_GAP_NS)
    assert np.isnan(got) if expected is None else got == pytest.approx(float(expected), rel=1e-9, abs=1e-9)
    slope = naive_signal.slope_per_s(t_ns, found)
    got = signal.slope_per_s(t_ns, found)
    span_s = (t_ns[-1] - t_ns[0]) / S if len(t_ns) else 0.0
    if slope is None:
        assert np.isnan(got)
    elif span_s > 0.1:
        assert got == pytest.approx(float(slope), rel=1e-6, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(recordings(), st.sampled_from([-2.0, 0.0, 1.0]), st.sampled_from([0.0, 2.0]))
def test_time_in_a_band_agrees_with_exact_arithmetic(recording: tuple[Any, Any], low: float, width: float) -> None:
    t_ns, found = recording
    expected = naive_signal.time_in_band(t_ns, found, low, low + width, MAX_GAP_NS)
    got = signal.time_in_band(t_ns, found, 0.0, low, low + width, MAX_GAP_NS)
    assert got == pytest.approx([float(x) for x in expected], rel=1e-9, abs=1e-9)


def test_a_band_is_measured_above_its_datum() -> None:
    t_ns = np.arange(3, dtype=np.int64) * S
    below, inside, above = signal.time_in_band(t_ns, np.array([19.0, 21.0, 21.0]), 20.0, -0.5, 0.5, MAX_GAP_NS)
    assert (below, inside, above) == (0.25, 0.5, 1.25)


def judge(rows: list[tuple[float, float]]) -> list[int]:
    state = signal.check_init()
    limits = (0.0, 20.0, 0.01, 5 * S, 0.5, 19.5, 3, 2.0)
    return [signal.check_step(state, int(t * S), value, *limits) for t, value in rows]


def test_each_defect_is_told_and_nothing_else() -> None:
    assert judge([(k, 10.0 + 0.1 * k) for k in range(20)]) == [0] * 20
    assert judge([(0, 25.0), (1, 24.9)]) == [OUT_OF_RANGE] * 2
    assert judge([(k, 10.0) for k in range(7)]) == [0] * 5 + [STUCK] * 2
    assert judge([(k, 19.6 + 0.1 * (k % 2)) for k in range(4)]) == [0, 0, SATURATED, SATURATED]
    assert judge([(0, 10.0), (1, 12.0), (2, 14.1), (5, 20.0)]) == [0, 0, TOO_FAST, 0]


def test_unknown_and_repeated_samples_are_passed_over() -> None:
    assert judge([(0, 10.0), (1, NAN), (1, 10.0), (1, 3.0), (5, 10.0), (6, 10.0)]) == [0, 0, 0, 0, STUCK, STUCK]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.one_of(st.just(NAN), st.sampled_from([10.0, 10.0, 10.004, 19.6, 25.0, -1.0]), st.floats(-5, 30)),
        ),
        max_size=40,
    )
)
def test_defects_agree_with_the_twin(steps: list[tuple[int, float]]) -> None:
    limits = (0.0, 20.0, 0.01, 5 * S, 0.5, 19.5, 3, 2.0)
    t, samples = 0, []
    for step_s, value in steps:
        t += step_s
        samples.append((t * S, value))
    state = signal.check_init()
    got = [signal.check_step(state, t_ns, value, *limits) for t_ns, value in samples]
    assert got == naive_signal.defects(samples, limits)
