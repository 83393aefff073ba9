"""Sets of instants: half-open intervals [start, stop), sorted and apart. int64[n, 2] [ns, UTC]. Exact."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Spans = NDArray[np.int64]
NOTHING: Spans = np.empty((0, 2), np.int64)


def spans(pairs: Iterable[tuple[int, int]] | NDArray[np.int64]) -> Spans:
    """Any intervals as a set: sorted, those that touch joined, empty ones left out."""
    found = pairs if isinstance(pairs, np.ndarray) else np.array(list(pairs), np.int64)
    return _where([(found.reshape(-1, 2), 1)], 1)


def union(*sets: Spans) -> Spans:
    return _where([(s, 1) for s in sets], 1)


def intersect(a: Spans, b: Spans) -> Spans:
    return _where([(a, 1), (b, 1)], 2)


def subtract(a: Spans, b: Spans) -> Spans:
    """What is in `a` and not in `b`."""
    return _where([(a, 1), (b, -1)], 1)


def total_ns(a: Spans) -> int:
    return int((a[:, 1] - a[:, 0]).sum())


def _where(weighted: list[tuple[Spans, int]], least: int) -> Spans:
    """Where the weights of the sets that hold an instant add up to `least` or more."""
    weighted = [(s[s[:, 1] > s[:, 0]], weight) for s, weight in weighted]
    edges = np.concatenate([s.T.ravel() for s, _ in weighted])
    steps = np.concatenate([np.repeat((weight, -weight), len(s)) for s, weight in weighted])
    if not len(edges):
        return NOTHING
    times, place = np.unique(edges, return_inverse=True)
    depth = np.zeros(len(times), np.int64)
    np.add.at(depth, place, steps)
    inside = (depth.cumsum() >= least).astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], inside))))
    return times[changes].reshape(-1, 2)
