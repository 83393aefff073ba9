"""Minutes that are not out yet: rows laid over them, energy shared out among them, given out when complete.

Part of `dsp.energy`, which decides what a register's reading means; `s` is one record of its STATE.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3_600 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S

UNKNOWN = -1  # for a register, or the time of a reading, that no row has shown

OUT = np.dtype(
    [
        ("minute_ns", "i8"),
        ("import_wh", "i8"),
        ("export_wh", "i8"),
        ("max_power_w", "f8"),
        ("covered_s", "f8"),
        ("measured_wh", "i8"),
        ("integrated_wh", "i8"),
        ("estimated_wh", "i8"),
        ("register_import_wh", "i8"),
        ("register_export_wh", "i8"),
        ("register_t_ns", "i8"),
        ("epoch", "i8"),
    ]
)

BIN = np.dtype(  # a minute that is not out yet; pairs are (import, export)
    [
        ("minute_ns", "i8"),
        ("epoch", "i8"),
        ("covered_ns", "i8"),
        ("max_power_w", "f8"),
        ("wh", "i8", 2),
        ("measured_wh", "i8"),
        ("integrated_wh", "i8"),
        ("estimated_wh", "i8"),
        ("register_wh", "i8", 2),
        ("register_t_ns", "i8"),
        ("spanned", "i8"),  # a register difference covers it, so that even 0 Wh is knowledge
        # since the last accepted reading, not yet turned into Wh:
        ("shape_w_ns", "f8", 2),
        ("bridged_ns", "i8"),
        ("gap_ns", "i8"),
    ]
)


@njit(cache=True, nogil=True)
def lay(s: Any, t_ns: int, power_w: float, is_gap: bool, by_register: bool) -> None:
    """Lay the step from the last row to this one over its minutes."""
    minute_ns = t_ns - t_ns % MINUTE_NS
    s.silent_from_ns = s.silent_to_ns = s.silent_next_ns = minute_ns
    if s.count == 0:
        _open_bin(s, minute_ns)
    elif is_gap:
        last = s.bins[s.count - 1]
        last.gap_ns += min(t_ns, last.minute_ns + MINUTE_NS) - s.t_ns
        if minute_ns > last.minute_ns:
            s.silent_from_ns = s.silent_next_ns = last.minute_ns + MINUTE_NS
            _open_bin(s, minute_ns)
            s.bins[s.count - 1].gap_ns += t_ns - minute_ns
    else:
        has_shape = math.isfinite(s.power_w + power_w)
        slope = (power_w - s.power_w) / (t_ns - s.t_ns)
        from_ns = s.t_ns
        while from_ns < t_ns:
            if from_ns >= s.bins[s.count - 1].minute_ns + MINUTE_NS:
                _open_bin(s, s.bins[s.count - 1].minute_ns + MINUTE_NS)
            b = s.bins[s.count - 1]
            to_ns = min(t_ns, b.minute_ns + MINUTE_NS)
            if has_shape:
                first_w = s.power_w + slope * (from_ns - s.t_ns)
                last_w = s.power_w + slope * (to_ns - s.t_ns)
                b.shape_w_ns[0] += _positive_part(first_w, last_w) * (to_ns - from_ns)
                b.shape_w_ns[1] += _positive_part(-first_w, -last_w) * (to_ns - from_ns)
            if has_shape or by_register:
                b.bridged_ns += to_ns - from_ns
                b.covered_ns += to_ns - from_ns
            else:
                b.gap_ns += to_ns - from_ns
            from_ns = to_ns
        if minute_ns > s.bins[s.count - 1].minute_ns:  # the row stands on the boundary
            _open_bin(s, minute_ns)
    b = s.bins[s.count - 1]
    if math.isfinite(power_w) and not power_w <= b.max_power_w:
        b.max_power_w = power_w
    s.t_ns = t_ns
    s.power_w = power_w


@njit(cache=True, nogil=True)
def settle(s: Any, d: int, delta_wh: int) -> None:
    """Share a register's difference out over the minutes since the last accepted reading."""
    if s.known[d] == 0:
        integrate(s, d, s.count)
        return
    silent_ns = s.silent_to_ns - s.silent_from_ns
    shape_wh, bridged_ns, gap_ns = 0.0, 0, silent_ns
    for k in range(s.count):
        shape_wh += s.bins[k].shape_w_ns[d] / NS_PER_HOUR
        bridged_ns += s.bins[k].bridged_ns
        gap_ns += s.bins[k].gap_ns
    # Power tells what went where it covers; what is left went through the gaps, evenly in time.
    per_shape, per_bridged, per_gap = 0.0, 0.0, 0.0
    if shape_wh > 0.0:
        per_shape = 1.0 if gap_ns > 0 and shape_wh < delta_wh else delta_wh / shape_wh
    if gap_ns > 0:
        per_gap = max(0.0, delta_wh - shape_wh) / gap_ns
    elif shape_wh == 0.0:
        per_bridged = delta_wh / bridged_ns
    exact_wh, given_wh = 0.0, 0
    s.silent_wh[d] = 0
    for k in range(s.count):
        b = s.bins[k]
        if k == s.count - 1 and silent_ns > 0:
            exact_wh += per_gap * silent_ns
            s.silent_wh[d] = min(delta_wh, math.floor(exact_wh + 0.5)) - given_wh
            given_wh += s.silent_wh[d]
        gap_wh = per_gap * b.gap_ns
        exact_wh += per_shape * b.shape_w_ns[d] / NS_PER_HOUR + per_bridged * b.bridged_ns + gap_wh
        upto_wh = delta_wh if k == s.count - 1 else min(delta_wh, math.floor(exact_wh + 0.5))
        part_wh = upto_wh - given_wh
        estimated_wh = min(part_wh, math.floor(gap_wh + 0.5)) if b.bridged_ns > 0 else part_wh
        b.wh[d] += part_wh
        b.estimated_wh += estimated_wh
        b.measured_wh += part_wh - estimated_wh
        b.spanned = 1
        b.shape_w_ns[d] = 0.0
        given_wh = upto_wh


@njit(cache=True, nogil=True)
def integrate(s: Any, d: int, count: int) -> None:
    """Turn the power of the first `count` minutes into whole Wh; the fraction goes to the next."""
    for k in range(count):
        b = s.bins[k]
        exact_wh = s.carry_wh[d] + b.shape_w_ns[d] / NS_PER_HOUR
        whole_wh = math.floor(exact_wh)
        s.carry_wh[d] = exact_wh - whole_wh
        b.wh[d] += whole_wh
        b.integrated_wh += whole_wh
        b.shape_w_ns[d] = 0.0


@njit(cache=True, nogil=True)
def anchor(s: Any, t_ns: int, import_wh: int, export_wh: int) -> None:
    """Count from this row on; its registers, where it has them, are the new starting point."""
    for k in range(s.count):
        s.bins[k].bridged_ns = s.bins[k].gap_ns = 0
    s.waited_ns = 0
    s.candidates = 0
    b = s.bins[s.count - 1]
    b.epoch = s.epoch
    for d in range(2):
        wh = import_wh if d == 0 else export_wh
        s.register_wh[d] = wh
        if wh >= 0:
            s.known[d] = 1
            s.register_t_ns = t_ns
            b.register_t_ns = t_ns
        b.register_wh[d] = wh


@njit(cache=True, nogil=True)
def emit(s: Any, out: NDArray[Any], n: int) -> int:
    """Write what is complete: waiting minutes, then silent ones; the last minute stays."""
    if s.ready == 0:
        return n
    while n < out.shape[0] and s.count > 1:
        b = s.bins[0]
        if b.register_t_ns >= 0:
            s.shown_wh[0], s.shown_wh[1] = b.register_wh[0], b.register_wh[1]
            s.shown_t_ns = b.register_t_ns
        if b.spanned != 0 or b.covered_ns > 0:  # else nothing is known of it
            o = out[n]
            o.minute_ns = b.minute_ns
            o.import_wh, o.export_wh = b.wh[0], b.wh[1]
            o.max_power_w = b.max_power_w
            o.covered_s = b.covered_ns / NS_PER_S
            o.measured_wh, o.integrated_wh, o.estimated_wh = b.measured_wh, b.integrated_wh, b.estimated_wh
            _write_register(s, o, b.epoch)
            n += 1
        for k in range(1, s.count):
            s.bins[k - 1] = s.bins[k]
        s.count -= 1
    while n < out.shape[0] and s.count == 1 and s.silent_next_ns < s.silent_to_ns:
        o = out[n]
        o.minute_ns = s.silent_next_ns
        o.import_wh, o.export_wh = _silent_share(s, 0), _silent_share(s, 1)
        o.max_power_w = math.nan
        o.covered_s = 0.0
        o.measured_wh = o.integrated_wh = 0
        o.estimated_wh = o.import_wh + o.export_wh
        _write_register(s, o, s.epoch)
        s.silent_next_ns += MINUTE_NS
        n += 1
    if s.count == 1 and s.silent_next_ns >= s.silent_to_ns:
        s.ready = 0
    return n


@njit(cache=True, nogil=True)
def _positive_part(first: float, last: float) -> float:
    """Mean of max(0, x) along a straight line."""
    if first >= 0.0 and last >= 0.0:
        return 0.5 * (first + last)
    high, low = max(first, last), min(first, last)
    return 0.5 * high * high / (high - low) if high > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _open_bin(s: Any, minute_ns: int) -> None:
    b = s.bins[s.count]
    b.minute_ns = minute_ns
    b.epoch = s.epoch
    b.covered_ns = b.measured_wh = b.integrated_wh = b.estimated_wh = b.spanned = 0
    b.bridged_ns = b.gap_ns = 0
    b.max_power_w = math.nan
    b.register_t_ns = UNKNOWN
    for d in range(2):
        b.wh[d] = 0
        b.shape_w_ns[d] = 0.0
    s.count += 1


@njit(cache=True, nogil=True)
def _write_register(s: Any, o: Any, epoch: int) -> None:
    o.register_import_wh, o.register_export_wh = s.shown_wh[0], s.shown_wh[1]
    o.register_t_ns = s.shown_t_ns
    o.epoch = epoch


@njit(cache=True, nogil=True)
def _silent_share(s: Any, d: int) -> int:
    """Whole Wh of the next silent minute: an even share, remainders carried."""
    minutes_all = (s.silent_to_ns - s.silent_from_ns) // MINUTE_NS
    k = (s.silent_next_ns - s.silent_from_ns) // MINUTE_NS
    whole_wh, rest_wh = s.silent_wh[d] // minutes_all, s.silent_wh[d] % minutes_all
    return int(whole_wh + rest_wh * (k + 1) // minutes_all - rest_wh * k // minutes_all)
