"""Curves of any length, thinned so that no peak is lost: per pixel the least and the greatest value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.store import Store

MOST_PIXELS = 4000
MINUTES_FROM_NS = 2 * 86_400 * 10**9  # longer spans of a meter's power are drawn from its minutes


@dataclass(frozen=True, slots=True)
class Curve:
    """A field over time. Where nothing was known for longer than `gap_ns` there is a NaN between."""

    name: str
    t_ns: NDArray[np.int64]
    values: NDArray[np.float64]


def curves(
    store: Store, site: str, kind: str, device: str, fields: Sequence[str], start_ns: int, stop_ns: int,
    pixels: int, gap_ns: int,
) -> list[Curve]:  # fmt: skip
    """Curves of a device's fields with `start_ns <= t < stop_ns`, at most two points per pixel.

    Raises: StoreUnavailable, StoreError.
    """
    found = store.columns(kind, device, fields, start_ns, stop_ns, site)
    made = []
    for name in fields:
        known = ~np.isnan(found[name])
        t_ns, values = thinned(found.t_ns[known], found[name][known], start_ns, stop_ns, pixels)
        made.append(Curve(name, *broken_at_gaps(t_ns, values, max(gap_ns, 2 * (stop_ns - start_ns) // pixels))))
    return made


def thinned(
    t_ns: NDArray[np.int64], values: NDArray[np.float64], start_ns: int, stop_ns: int, pixels: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The least and the greatest value of each of `pixels` equal spans, at their own instants."""
    if len(t_ns) <= 2 * pixels:
        return t_ns, values
    cell = (t_ns - start_ns) * pixels // max(1, stop_ns - start_ns)
    first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    order = np.lexsort((values, cell))  # within a cell from least to greatest
    last = np.r_[first[1:], len(cell)] - 1
    kept = np.unique(np.r_[order[first], order[last]])
    return t_ns[kept], values[kept]


def broken_at_gaps(
    t_ns: NDArray[np.int64], values: NDArray[np.float64], gap_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A NaN after each point that is followed by a silence longer than that: a line must not cross it."""
    after = np.flatnonzero(np.diff(t_ns) > gap_ns)
    return np.insert(t_ns, after + 1, t_ns[after] + 1), np.insert(values, after + 1, np.nan)
