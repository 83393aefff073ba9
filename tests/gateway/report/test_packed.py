"""Columns in few bytes: what comes out is what went in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.report.packed import Packed

WHOLE = st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.one_of(
    st.lists(WHOLE, max_size=20),
    st.lists(st.integers(0, 300), max_size=20),
    st.lists(st.integers(-5, 5).map(lambda n: n * 60_000_000_000 + 7), max_size=20),
)


@given(COLUMNS, st.integers(0, 20), st.integers(0, 20))
def test_a_column_comes_back_whole_and_in_parts(values: list[int], low: int, high: int) -> None:
    packed = Packed.of(np.array(values, np.int64))
    assert packed.unpacked().tolist() == values and packed.count == len(values)
    assert packed.cut(low, high).unpacked().tolist() == values[low:high]
    assert packed.cut(low, high).count == len(values[low:high])


@pytest.mark.parametrize(
    ("values", "bytes_each"),
    [([5] * 1000, 0), (range(1000), 2), (range(0, 10**15, 60 * 10**9), 2), ([0, 10**6], 4), ([0, 2**33 + 1], 8)],
)
def test_it_takes_as_few_bytes_as_it_needs(values: object, bytes_each: int) -> None:
    steps = Packed.of(np.array(list(values), np.int64)).steps  # type: ignore[call-overload]
    assert (0 if steps is None else steps.dtype.itemsize) == bytes_each
