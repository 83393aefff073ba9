"""Minutes anew, when rows come late or a gap is recovered: what changed goes out as a new revision."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.energy import minutes


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
