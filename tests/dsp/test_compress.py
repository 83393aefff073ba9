"""Fewer points: the bound is kept exactly, the heartbeat beats, holes stay holes."""

from itertools import pairwise
from typing import Any

import naive_signal
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import compress

S = 1_000_000_000
NAN = float("nan")
NEVER = 2**62
numbers = st.one_of(st.integers(-20, 20).map(float), st.floats(-1e9, 1e9), st.floats(-1.0, 1.0))


def kept(t_ns: Any, values: Any, bound: float, heartbeat_ns: int = NEVER) -> list[tuple[int, float]]:
    out = np.zeros(len(t_ns) + 1, compress.POINT)
    n = compress.swinging_door(np.asarray(t_ns, np.int64), np.asarray(values, float), bound, heartbeat_ns, out)
    return [(int(p["t_ns"]), float(p["value"])) for p in out[:n]]


@st.composite
def recordings(draw: st.DrawFn, unknown: bool = True) -> tuple[Any, Any]:
    values = draw(st.lists(st.one_of(numbers, st.just(NAN)) if unknown else numbers, min_size=1, max_size=60))
    steps = draw(st.lists(st.integers(1, 3 * S), min_size=len(values), max_size=len(values)))
    return 1_790_000_000 * S + np.cumsum(np.array(steps, dtype=np.int64)), np.array(values)


@settings(max_examples=300, deadline=None)
@given(recordings(), st.sampled_from([0.0, 0.01, 1.0, 1e6]), st.sampled_from([NEVER, 5 * S]))
def test_no_sample_is_further_from_the_lines_than_the_bound(
    recording: tuple[Any, Any], bound: float, heartbeat_ns: int
) -> None:
    t_ns, values = recording
    points = kept(t_ns, values, bound, heartbeat_ns)
    samples = {int(t): v for t, v in zip(t_ns, values, strict=True)}
    assert all(v == samples[t] or (v != v and samples[t] != samples[t]) for t, v in points)  # measured ones only
    assert [t for t, _ in points] == sorted({t for t, _ in points})
    assert naive_signal.worst_error(t_ns, values, points) <= bound
    assert points[0][0] == t_ns[0] and points[-1][0] == t_ns[-1]


@settings(max_examples=100, deadline=None)
@given(recordings(), st.sampled_from([3 * S, 10 * S]))
def test_the_heartbeat_leaves_no_longer_hole_than_itself_and_a_sample(
    recording: tuple[Any, Any], heartbeat_ns: int
) -> None:
    t_ns, values = recording
    points = kept(t_ns, values, 1e12, heartbeat_ns)
    times = [t for t, _ in points]
    assert all(b - a <= max(heartbeat_ns, 3 * S) + 3 * S for a, b in pairwise(times))


@settings(max_examples=60, deadline=None)
@given(recordings(), st.integers(0, 60))
def test_a_restart_changes_nothing(recording: tuple[Any, Any], cut: int) -> None:
    t_ns, values = recording
    state, out, found = compress.init(), np.zeros(2, compress.POINT), []
    for i, (t, value) in enumerate(zip(t_ns, values, strict=True)):
        if i == cut:
            state = np.frombuffer(state.tobytes(), compress.DOOR).copy()
        found += [p.copy() for p in out[: compress.step(state, int(t), float(value), 0.5, 9 * S, out)]]
    found += [p.copy() for p in out[: compress.flush(state, out)]]
    assert str([(int(p["t_ns"]), float(p["value"])) for p in found]) == str(kept(t_ns, values, 0.5, 9 * S))


def test_a_ramp_takes_two_points_and_noise_within_the_bound_none() -> None:
    t_ns = np.arange(1000, dtype=np.int64) * S
    ramp = 0.01 * np.arange(1000) + np.random.default_rng(1).uniform(-0.04, 0.04, 1000)
    assert len(kept(t_ns, ramp, 0.1)) <= 8
    assert len(kept(t_ns, 0.25 * np.arange(1000), 0.001)) == 2


def test_silence_begins_and_ends_with_a_kept_point() -> None:
    points = kept(np.arange(8) * S, [1.0, 1.0, 1.0, NAN, NAN, NAN, 1.0, 1.0], 0.1)
    assert [t // S for t, _ in points] == [0, 2, 3, 5, 6, 7]


def test_time_that_stands_still_is_counted_and_ignored() -> None:
    state, out = compress.init(), np.zeros(2, compress.POINT)
    for t in (0, S, S, 0):
        compress.step(state, t, 1.0, 0.1, NEVER, out)
    assert int(state["out_of_order"][0]) == 2


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 200), st.integers(3, 12), st.integers(0, 2**32))
def test_largest_triangles_agree_with_their_definition(n: int, m: int, seed: int) -> None:
    """Noise, so that no two triangles have one area."""
    rng = np.random.default_rng(seed)
    t_ns, values = np.cumsum(rng.integers(1, 3 * S, n)), rng.standard_normal(n)
    chosen = np.zeros(m, np.int64)
    count = compress.largest_triangles(t_ns, values, chosen)
    assert chosen[:count].tolist() == naive_signal.largest_triangles(t_ns, values, m)


def test_a_peak_survives_downsampling_and_a_hole_stays() -> None:
    values = np.zeros(10_000)
    values[4321] = 7.0
    values[6000:7000] = NAN
    chosen = np.zeros(100, np.int64)
    assert compress.largest_triangles(np.arange(10_000, dtype=np.int64), values, chosen) == 100
    assert 4321 in chosen and (np.diff(chosen) > 0).all()
    assert 5 <= np.isnan(values[chosen]).sum() <= 15


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_short_recording_is_kept_whole(n: int) -> None:
    chosen = np.zeros(5, np.int64)
    assert compress.largest_triangles(np.arange(n, dtype=np.int64), np.zeros(n), chosen) == n
    assert chosen[:n].tolist() == list(range(n))
