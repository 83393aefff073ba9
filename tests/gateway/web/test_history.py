"""Thinning keeps every peak; a silence is never drawn across."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.history import broken_at_gaps, thinned

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400)


@given(VALUES, st.integers(1, 40))
def test_least_and_greatest_of_every_span_survive(values: list[float], pixels: int) -> None:
    t_ns = np.arange(len(values), dtype=np.int64) * 1_000
    held = np.array(values)
    stop_ns = len(values) * 1_000
    kept_ns, kept = thinned(t_ns, held, 0, stop_ns, pixels)
    assert len(kept) <= max(2 * pixels, 0) or len(values) <= 2 * pixels
    assert np.all(np.diff(kept_ns) > 0)
    cell, kept_cell = t_ns * pixels // stop_ns, kept_ns * pixels // stop_ns
    for number in np.unique(cell):
        inside, shown = held[cell == number], kept[kept_cell == number]
        assert inside.min() == shown.min() and inside.max() == shown.max()


def test_a_silence_stands_as_nan_between() -> None:
    t_ns, values = broken_at_gaps(np.array([0, 10, 100]), np.array([1.0, 2.0, 3.0]), 20)
    assert t_ns.tolist() == [0, 10, 11, 100]
    assert np.isnan(values[2]) and values[[0, 1, 3]].tolist() == [1.0, 2.0, 3.0]


def test_nothing_stays_nothing() -> None:
    t_ns, values = thinned(np.array([], np.int64), np.array([]), 0, 10, 5)
    assert broken_at_gaps(t_ns, values, 5)[0].size == 0
