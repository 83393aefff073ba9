"""Calls of a berth from the rows of its tower, its meter and the ship's battery, as they come or all at once."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp import session
from dsp.bins import UNKNOWN

OUT = session.OUT
CHARGER, METER, CHARGE = range(3)  # whose row it is: the tower's, the meter's, the ship's

ROW = np.dtype(  # NaN for what it does not tell
    [
        ("t_ns", "i8"),
        ("source", "i8"),
        ("charger_state", "f8"),
        ("mated", "f8"),
        ("power_w", "f8"),  # of the tower, or of the meter
        ("register_wh", "f8"),
        ("power_read", "i8"),  # 1: a meter's row of a scan that reads its power, known or not
        ("soc", "f8"),
    ]
)
STATE = np.dtype(
    [
        ("call", session.STATE),
        ("meter_w", "f8"),  # the meter's last power, and when
        ("meter_t_ns", "i8"),
        ("register_wh", "f8"),
        ("soc", "f8"),
    ]
)


def init(range_wh: float = math.inf) -> NDArray[Any]:
    """State of a berth of which nothing is known, whose register counts modulo `range_wh`. [Wh]"""
    state = np.zeros(1, STATE)
    state["call"] = session.init(range_wh)
    state["meter_w"] = state["register_wh"] = state["soc"] = np.nan
    state["meter_t_ns"] = UNKNOWN
    return state


@njit(cache=True, nogil=True)
def step(state: NDArray[Any], row: NDArray[Any], max_gap_ns: int, out: NDArray[Any]) -> int:
    """Take one row of a berth; say whether a call is over.

    The meter's power counts; the tower's own stands in, as not measured, where the meter's is older than
    `max_gap_ns`. Register and charge are the last ones known.

    Args:
        state: From `init`. STATE[1]
        row: ROW[1]
        max_gap_ns: Longest step that power may bridge. [ns]
        out: Receives the call. session.OUT[1]

    Returns: 1 if a call was written to `out`, else 0.
    """
    ended: int = _step(state, row[0], max_gap_ns, out)
    return ended


@njit(cache=True, nogil=True)
def run(state: NDArray[Any], rows: NDArray[Any], max_gap_ns: int, out: NDArray[Any]) -> int:
    """`step` over rows in order of time. Calls written; `out` needs a place for each. ROW[n], session.OUT[m]"""
    n: int = 0
    for i in range(rows.shape[0]):
        n += _step(state, rows[i], max_gap_ns, out[n : n + 1])
    return n


@njit(cache=True, nogil=True)
def _step(state: NDArray[Any], row: Any, max_gap_ns: int, out: NDArray[Any]) -> int:
    s, call = state[0], state["call"]
    if row.source == CHARGE:
        s.soc = row.soc
        return 0
    if row.source == METER:
        if row.power_read != 0:
            s.meter_w, s.meter_t_ns = row.power_w, row.t_ns
        if math.isfinite(row.register_wh):
            s.register_wh = row.register_wh
        power_w = row.power_w if row.power_read != 0 else math.nan
        ended: int = session.step(
            call, row.t_ns, math.nan, math.nan, power_w, s.register_wh, s.soc, max_gap_ns, out, True
        )
        return ended
    fresh = math.isfinite(s.meter_w) and row.t_ns - s.meter_t_ns <= max_gap_ns
    power_w = math.nan if fresh else row.power_w
    ended = session.step(
        call, row.t_ns, row.charger_state, row.mated, power_w, math.nan, s.soc, max_gap_ns, out, False
    )
    return int(ended)
