"""Sets of instants against sets of whole numbers."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.report.intervals import NOTHING, Spans, intersect, spans, subtract, total_ns, union

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda p: (min(p), max(p))), max_size=6)


def points(pairs: list[tuple[int, int]]) -> set[int]:
    return {t for a, b in pairs for t in range(a, b)}


def pairs_of(found: Spans) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in found]


@settings(deadline=None, max_examples=60)
@given(PAIRS, PAIRS)
def test_sets_of_intervals_are_sets(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    p, q = points(a), points(b)
    assert points(pairs_of(union(spans(a), spans(b)))) == p | q
    assert points(pairs_of(intersect(spans(a), spans(b)))) == p & q
    assert points(pairs_of(subtract(spans(a), spans(b)))) == p - q
    assert total_ns(spans(a)) == len(p)


@settings(deadline=None, max_examples=60)
@given(PAIRS)
def test_a_set_is_sorted_and_its_parts_lie_apart(a: list[tuple[int, int]]) -> None:
    found = pairs_of(spans(a))
    assert all(start < stop for start, stop in found)
    assert all(stop < start for (_, stop), (start, _) in pairwise(found))


def test_nothing_is_nothing() -> None:
    assert total_ns(union(NOTHING, NOTHING)) == total_ns(intersect(NOTHING, spans([(1, 2)]))) == 0
