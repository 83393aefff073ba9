"""From minutes to longer periods: sums with their coverage, and the peak mean power with its certainty.

The kernel knows no calendar. The caller gives each period's edges as UTC instants: 5, 10, 15, 30, 60 minutes,
days and months of Europe/Paris, so that a day has 23, 24 or 25 hours.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.bins import MINUTE_NS

MINUTES_PER_HOUR = 60.0
WHOLE = 0.99  # a window's share of time that power must cover for its mean to be certain

PERIOD = np.dtype(
    [
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("import_wh", "i8"),
        ("export_wh", "i8"),
        ("measured_wh", "i8"),
        ("integrated_wh", "i8"),
        ("estimated_wh", "i8"),
        ("covered_s", "f8"),
        ("minutes", "i8"),  # that are there
        ("minutes_all", "i8"),  # that should be
        ("max_power_w", "f8"),  # highest sample
        ("register_import_wh", "i8"),  # last reading in or before the period's last minute, -1 if none
        ("register_export_wh", "i8"),
        ("register_t_ns", "i8"),
        ("epoch_first", "i8"),
        ("epoch_last", "i8"),
        ("peak_power_w", "f8"),  # highest certain mean import power of a window; a lower bound if ...
        ("peak_t_ns", "i8"),  # start of that window
        ("peak_is_bound", "i8"),  # ... windows are incomplete
        ("peak_estimate_w", "f8"),  # with estimated shares counted in
        ("windows_whole", "i8"),
        ("windows_all", "i8"),
    ]
)


@njit(cache=True, nogil=True)
def roll_up(minutes: NDArray[Any], edges_ns: NDArray[np.int64], window_ns: int, out: NDArray[Any]) -> int:
    """Add up minutes to the periods between consecutive edges, with each one's peak mean power.

    A window is whole when all its minutes are there and power covers `WHOLE` of it. Of one that is not, only what
    was measured or integrated counts for the peak, so that the peak is a lower bound and says so.

    Args:
        minutes: `energy_1m` of one meter in order of time. Of equal minutes the last one counts, so put
            revisions in their order. dsp.energy.OUT[n]
        edges_ns: Start of each period and end of the last, whole minutes. int64[m + 1] [ns, UTC]
        window_ns: Length of a window for the peak, aligned to UTC; 600 s for the 10-minute power. A period
            should begin and end with a window. [ns]
        out: Receives m periods. PERIOD[m]

    Returns: minutes that fell into no period.
    Source: mean power of consecutive 10-minute intervals, as French contracts count it (the project's domain
        notes, section C); a window's mean is its energy over its length.
    """
    outside, i = 0, 0
    n = minutes.shape[0]
    while i < n and minutes[i].minute_ns < edges_ns[0]:
        outside += 1
        i += 1
    for k in range(edges_ns.shape[0] - 1):
        o = out[k]
        o.start_ns, o.end_ns = edges_ns[k], edges_ns[k + 1]
        _clear(o)
        o.minutes_all = (o.end_ns - o.start_ns) // MINUTE_NS
        o.windows_all = -(-(o.end_ns - o.start_ns) // window_ns)
        window, known_wh, all_wh, present, covered_s = -1, 0, 0, 0, 0.0
        while i < n and minutes[i].minute_ns < o.end_ns:
            m = minutes[i]
            i += 1
            if i < n and minutes[i].minute_ns == m.minute_ns:
                continue  # a later revision follows
            _add(o, m)
            if m.minute_ns // window_ns != window:
                if window >= 0:
                    _peak(o, window, window_ns, known_wh, all_wh, present, covered_s)
                window, known_wh, all_wh, present, covered_s = m.minute_ns // window_ns, 0, 0, 0, 0.0
            # estimates are not split by direction: take them all off the import
            known_wh += max(0, m.import_wh - m.estimated_wh)
            all_wh += m.import_wh
            present += 1
            covered_s += m.covered_s
        if window >= 0:
            _peak(o, window, window_ns, known_wh, all_wh, present, covered_s)
        o.peak_is_bound = 1 if o.windows_whole < o.windows_all else 0
    return int(outside + n - i)


@njit(cache=True, nogil=True)
def _clear(o: Any) -> None:
    o.import_wh = o.export_wh = o.measured_wh = o.integrated_wh = o.estimated_wh = 0
    o.covered_s = 0.0
    o.minutes = o.windows_whole = 0
    o.max_power_w = o.peak_power_w = o.peak_estimate_w = np.nan
    o.register_import_wh = o.register_export_wh = o.register_t_ns = -1
    o.epoch_first = o.epoch_last = o.peak_t_ns = -1


@njit(cache=True, nogil=True)
def _add(o: Any, m: Any) -> None:
    o.import_wh += m.import_wh
    o.export_wh += m.export_wh
    o.measured_wh += m.measured_wh
    o.integrated_wh += m.integrated_wh
    o.estimated_wh += m.estimated_wh
    o.covered_s += m.covered_s
    o.minutes += 1
    if m.max_power_w > o.max_power_w or np.isnan(o.max_power_w):
        o.max_power_w = m.max_power_w
    if m.register_t_ns >= 0:
        o.register_import_wh, o.register_export_wh = m.register_import_wh, m.register_export_wh
        o.register_t_ns = m.register_t_ns
    if o.epoch_first < 0:
        o.epoch_first = m.epoch
    o.epoch_last = m.epoch


@njit(cache=True, nogil=True)
def _peak(o: Any, window: int, window_ns: int, known_wh: int, all_wh: int, present: int, covered_s: float) -> None:
    minutes = window_ns // MINUTE_NS
    whole = present == minutes and covered_s >= WHOLE * 60.0 * minutes
    mean_w = (all_wh if whole else known_wh) * MINUTES_PER_HOUR / minutes
    if whole:
        o.windows_whole += 1
    if not mean_w <= o.peak_power_w:
        o.peak_power_w, o.peak_t_ns = mean_w, window * window_ns
    estimate_w = all_wh * MINUTES_PER_HOUR / minutes
    if not estimate_w <= o.peak_estimate_w:
        o.peak_estimate_w = estimate_w
