"""What is learned later: rows that come late, a gap recovered, a meter that a person has replaced.

What changes goes out as a new revision of its minute.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.bins import anchor
from dsp.energy import minutes, step


@njit(cache=True, nogil=True)
def revise(
    state: NDArray[Any],
    t_ns: NDArray[np.int64],
    power_w: NDArray[np.float64],
    register_import_wh: NDArray[np.float64],
    register_export_wh: NDArray[np.float64],
    max_gap_ns: int,
    max_power_w: float,
    counter_range_wh: float,
    published: NDArray[Any],
    scratch: NDArray[Any],
    out: NDArray[Any],
) -> int:
    """Compute a stretch of minutes again from all its rows; write those that differ from what was published.

    `state` is a checkpoint from before the first changed row. Where none was kept, a fresh `energy.init(epoch)`
    whose first row has the registers and was accepted gives the same minutes from the next full minute on: a
    reading is an anchor, nothing before it matters. Minutes before `published[0]` are not reissued.

    Args:
        state: Goes on with the rows. dsp.energy.STATE[1]
        t_ns, power_w, register_import_wh, register_export_wh: All rows of the stretch in order of time, late
            ones sorted in; the last should have registers. [n]; [ns, UTC], [W], [Wh]
        max_gap_ns, max_power_w, counter_range_wh: As for `dsp.energy.step`.
        published: The highest revision of each minute so far, in order. dsp.energy.OUT[m]
        scratch: A place for each minute from first to last row. dsp.energy.OUT[k]
        out: Receives the minutes that are new or differ. dsp.energy.OUT[k]

    Returns: minutes written to `out`. Each takes the next `rev` of its minute.
    """
    n = minutes(
        t_ns, power_w, register_import_wh, register_export_wh, max_gap_ns, max_power_w, counter_range_wh, state,
        scratch,
    )  # fmt: skip
    changed: int = 0
    k = 0
    for i in range(n):
        row = scratch[i]
        if published.shape[0] > 0 and row.minute_ns < published[0].minute_ns:
            continue
        while k < published.shape[0] and published[k].minute_ns < row.minute_ns:
            k += 1
        if k < published.shape[0] and published[k].minute_ns == row.minute_ns and _same(published[k], row):
            continue
        out[changed] = row
        changed += 1
    return changed


@njit(cache=True, nogil=True)
def replace(
    state: NDArray[Any],
    t_ns: int,
    power_w: float,
    closing_import_wh: float,
    closing_export_wh: float,
    opening_import_wh: float,
    opening_export_wh: float,
    max_gap_ns: int,
    max_power_w: float,
    counter_range_wh: float,
    out: NDArray[Any],
) -> tuple[bool, int]:
    """Change the meter at an instant that a person has written down, with both its readings; no energy is lost.

    The closing index is a reading like any other and must follow from the last one. From the opening index on a
    new epoch counts. Rows of the old meter come before, rows of the new one after; fetch all minutes first.

    Args:
        state: As for `dsp.energy.step`. dsp.energy.STATE[1]
        t_ns: Instant of the change. [ns, UTC]
        power_w: Power then, NaN if unknown. [W]
        closing_import_wh, closing_export_wh: Last readings of the old meter; NaN for a direction without. [Wh]
        opening_import_wh, opening_export_wh: First readings of the new one. [Wh]
        max_gap_ns, max_power_w, counter_range_wh: As for `dsp.energy.step`; of the old meter.
        out: Receives minutes. dsp.energy.OUT[k]

    Returns: whether the closing index was believed (else the state counts on as if nothing was said, and
        `state["event"]` may tell more), and the minutes written.
    Source: the project's domain notes, section C.4: a replacement is an operator's action with both indices.
    """
    n: int = step(
        state, t_ns, power_w, closing_import_wh, closing_export_wh, max_gap_ns, max_power_w, counter_range_wh, out
    )
    s = state[0]
    if s.t_ns != t_ns or s.register_t_ns != t_ns:
        return False, n
    s.epoch += 1
    s.known[0] = s.known[1] = 0
    opening_import = -1 if np.isnan(opening_import_wh) else int(opening_import_wh)
    opening_export = -1 if np.isnan(opening_export_wh) else int(opening_export_wh)
    anchor(s, t_ns, opening_import, opening_export)
    return True, n


@njit(cache=True, nogil=True)
def _same(a: Any, b: Any) -> bool:
    return bool(
        a.import_wh == b.import_wh
        and a.export_wh == b.export_wh
        and (a.max_power_w == b.max_power_w or (np.isnan(a.max_power_w) and np.isnan(b.max_power_w)))
        and a.covered_s == b.covered_s
        and a.measured_wh == b.measured_wh
        and a.integrated_wh == b.integrated_wh
        and a.estimated_wh == b.estimated_wh
        and a.register_import_wh == b.register_import_wh
        and a.register_export_wh == b.register_export_wh
        and a.register_t_ns == b.register_t_ns
        and a.epoch == b.epoch
    )
