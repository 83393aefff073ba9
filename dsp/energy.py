"""Energy: minutes that add up to the meter's register exactly; integration is in `dsp.integrate`.

Register differences are the energy, power gives their shape in time. Kernels read no clock and raise nothing:
a value that is not known comes in as NaN and goes out as missing coverage.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.counter import AMBIGUOUS, FORWARD, ROLLOVER, classify
from dsp.integrate import integrate_channels, integrate_power

__all__ = ["OUT", "STATE", "init", "integrate_channels", "integrate_power", "minutes", "step"]

NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3_600 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S
LARGEST_EXACT = 2.0**53

UNKNOWN = -1  # for a register, or the time of a reading, that no row has shown

# What happened to the counter in a step: state["event"].
NO_EVENT, EVENT_ROLLOVER, EVENT_RESET, EVENT_GLITCH, EVENT_AMBIGUOUS, EVENT_LOST = range(6)

BELIEVED_AFTER = 3  # readings that agree with each other but not with the past make a new epoch
WAIT_NS = 15 * MINUTE_NS  # minutes wait this long for a register that stays away; then power alone counts
LONGEST_BRIDGE_NS = 10 * MINUTE_NS  # a larger max_gap_ns is taken as this: it bounds the waiting minutes
BINS = 32  # WAIT_NS + LONGEST_BRIDGE_NS in minutes, and some

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

STATE = np.dtype(
    [
        ("t_ns", "i8"),  # of the last row taken
        ("power_w", "f8"),
        ("epoch", "i8"),
        ("known", "i8", 2),  # this direction has a register
        ("register_wh", "i8", 2),
        ("register_t_ns", "i8"),
        ("seen_ns", "i8"),  # last row seen, taken or not
        ("waited_ns", "i8"),  # time in which rows came, but no register that could be accepted
        ("candidates", "i8"),  # readings in a row that agree with each other, but not with the last accepted
        ("candidate_wh", "i8", 2),
        ("candidate_t_ns", "i8"),
        ("candidate_direction", "i8"),
        ("candidate_first_wh", "i8"),
        ("carry_wh", "f8", 2),  # fraction of a Wh that integrated minutes owe
        ("count", "i8"),
        ("bins", BIN, BINS),
        ("ready", "i8"),  # all bins but the last, and the silent minutes, can go out
        ("silent_from_ns", "i8"),  # minutes without any row, between the last two bins
        ("silent_to_ns", "i8"),
        ("silent_next_ns", "i8"),
        ("silent_wh", "i8", 2),
        ("shown_wh", "i8", 2),  # reading of the minute that went out last
        ("shown_t_ns", "i8"),
        ("event", "i8"),
        ("event_direction", "i8"),  # 0 import, 1 export
        ("event_before_wh", "i8"),
        ("event_after_wh", "i8"),
        ("out_of_order", "i8"),  # rows ignored because time did not go forward
        ("not_taken", "i8"),  # rows ignored because minutes waited to be fetched
    ]
)


def init(start_epoch: int = 0) -> NDArray[Any]:
    """State of a meter that has not been read yet; `start_epoch` continues the count of replacements."""
    state = np.zeros(1, STATE)
    state["t_ns"] = state["register_t_ns"] = state["seen_ns"] = state["shown_t_ns"] = UNKNOWN
    state["shown_wh"] = state["register_wh"] = UNKNOWN
    state["power_w"] = np.nan
    state["epoch"] = start_epoch
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any],
    t_ns: int,
    power_w: float,
    register_import_wh: float,
    register_export_wh: float,
    max_gap_ns: int,
    max_power_w: float,
    counter_range_wh: float,
    out: NDArray[Any],
) -> int:
    """Take one row of a meter; write the UTC minutes that are complete with it.

    Between two accepted readings the register's difference is shared out over time: what power covers by the
    trapezoid, the rest of the time evenly. Whole Wh go to each minute so that all of them add up to the
    difference. A row whose registers are absent, or not believed, makes its minutes wait (`WAIT_NS` at most).

    A reading that cannot follow from the last one is not believed until `BELIEVED_AFTER` readings in a row
    agree with each other; then a new epoch begins, and the minutes meanwhile hold integrated power. Look at
    `state["event"]` after each call. A row that does not go forward in time is ignored and counted.

    Args:
        state: From `init`; `state.tobytes()` is a full checkpoint. STATE[1]
        t_ns: Time of the row; -1 fetches minutes only. [ns, UTC]
        power_w: Positive from grid to ship, NaN if unknown. [W]
        register_import_wh, register_export_wh: Counters, NaN if unknown or absent. A direction whose
            register never shows is integrated from power. Below 0 or above 2^53 counts as unknown. [Wh]
        max_gap_ns: Longest step that power may bridge; at most `LONGEST_BRIDGE_NS`. [ns]
        max_power_w: Largest power the circuit can carry; see `dsp.counter.classify`. [W]
        counter_range_wh: Modulus of the registers, infinite if they never wrap. [Wh]
        out: Receives minutes, oldest first. OUT[k], k >= 1

    Returns: n, the minutes written to out[0:n]. When n == k there may be more: call again with t_ns = -1 before
        the next row, which would be ignored.
    Source: register differences are the energy, power their shape: the project's domain notes, section C.4; power
        by the composite trapezoidal rule, NIST DLMF, section 3.5(i), cut exactly where minutes begin and where a
        straight line changes its sign.
    """
    s = state[0]
    s.event = NO_EVENT
    n: int = _emit(s, out, 0)
    if t_ns < 0:
        return n
    if s.ready != 0:
        s.not_taken += 1
        return n
    if t_ns <= s.seen_ns:
        s.out_of_order += 1
        return n
    max_gap_ns = min(max_gap_ns, LONGEST_BRIDGE_NS)
    import_wh, export_wh = _whole(register_import_wh), _whole(register_export_wh)
    anchored = s.known[0] + s.known[1] > 0
    accepted, delta_import, delta_export = False, 0, 0
    if anchored:
        accepted, delta_import, delta_export = _judge(
            s, t_ns, import_wh, export_wh, max_gap_ns, max_power_w, counter_range_wh
        )
    s.seen_ns = t_ns
    restart = s.event == EVENT_RESET or s.event == EVENT_AMBIGUOUS or s.event == EVENT_LOST
    is_gap = s.count > 0 and t_ns - s.t_ns > max_gap_ns
    if is_gap and anchored and not accepted and not restart:
        return n  # the gap lasts until the register is back

    _advance(s, t_ns, power_w, is_gap, accepted and s.register_t_ns == s.t_ns)
    if accepted:
        _settle(s, 0, delta_import)
        _settle(s, 1, delta_export)
    elif restart or not anchored:
        shown = import_wh >= 0 or export_wh >= 0
        _integrate(s, 0, s.count if shown or restart else s.count - 1)
        _integrate(s, 1, s.count if shown or restart else s.count - 1)
        s.known[0] = s.known[1] = 0
        s.silent_next_ns = s.silent_to_ns
        if restart:
            s.epoch += 1
    if accepted or restart or not anchored:
        _anchor(s, t_ns, import_wh, export_wh)
        s.ready = 1
        n = _emit(s, out, n)
    return n


@njit(cache=True, nogil=True)
def minutes(
    t_ns: NDArray[np.int64],
    power_w: NDArray[np.float64],
    register_import_wh: NDArray[np.float64],
    register_export_wh: NDArray[np.float64],
    max_gap_ns: int,
    max_power_w: float,
    counter_range_wh: float,
    state: NDArray[Any],
    out: NDArray[Any],
) -> int:
    """`step` over a whole recording. `out` needs a place for each minute from first to last row.

    Returns: the number of minutes written. The minute of the last row stays open in `state`.
    """
    n: int = 0
    for i in range(t_ns.shape[0]):
        n += step(
            state,
            t_ns[i],
            power_w[i],
            register_import_wh[i],
            register_export_wh[i],
            max_gap_ns,
            max_power_w,
            counter_range_wh,
            out[n:],
        )
    return n


@njit(cache=True, nogil=True)
def _whole(register_wh: float) -> int:
    """A counter as an integer; UNKNOWN if it is not a number that can be one."""
    if not 0.0 <= register_wh <= LARGEST_EXACT:  # also NaN
        return UNKNOWN
    return math.floor(register_wh + 0.5)


@njit(cache=True, nogil=True)
def _judge(
    s: Any, t_ns: int, import_wh: int, export_wh: int, max_gap_ns: int, max_power_w: float, range_wh: float
) -> tuple[bool, int, int]:
    """Does this reading continue the last one? Returns that and both differences; tells the event."""
    if (s.known[0] == 0 or import_wh >= 0) and (s.known[1] == 0 or export_wh >= 0):
        step_s = (t_ns - s.register_t_ns) / NS_PER_S
        kind, delta_import = _classify(s, 0, import_wh, step_s, max_power_w, range_wh)
        kind_export, delta_export = _classify(s, 1, export_wh, step_s, max_power_w, range_wh)
        direction, after_wh = 0, import_wh
        if kind_export > kind:
            direction, after_wh, kind = 1, export_wh, kind_export
        if kind in (FORWARD, ROLLOVER):
            if kind == ROLLOVER:
                _report(s, EVENT_ROLLOVER, direction, after_wh)
            elif s.candidates > 0:
                _report(s, EVENT_GLITCH, s.candidate_direction, s.candidate_first_wh)
            return True, delta_import, delta_export
        if kind == AMBIGUOUS:
            _report(s, EVENT_AMBIGUOUS, direction, after_wh)
            return False, 0, 0
        if _believe(s, t_ns, import_wh, export_wh, direction, max_power_w, range_wh):
            _report(s, EVENT_RESET, s.candidate_direction, s.candidate_first_wh)
            return False, 0, 0
    s.waited_ns += min(t_ns - s.seen_ns, max_gap_ns)  # a silence is not waiting: the register may be well
    if s.waited_ns > WAIT_NS:
        _report(s, EVENT_LOST, 0, import_wh)
    return False, 0, 0


@njit(cache=True, nogil=True)
def _classify(
    s: Any, direction: int, wh: int, step_s: float, max_power_w: float, range_wh: float
) -> tuple[int, int]:
    if s.known[direction] == 0:
        return FORWARD, 0
    judged: tuple[int, int] = classify(s.register_wh[direction], wh, step_s, max_power_w, range_wh)
    return judged


@njit(cache=True, nogil=True)
def _believe(
    s: Any, t_ns: int, import_wh: int, export_wh: int, direction: int, max_power_w: float, range_wh: float
) -> bool:
    """Count readings that follow from each other, though not from the last accepted one."""
    agrees = s.candidates > 0
    if agrees:
        step_s = (t_ns - s.candidate_t_ns) / NS_PER_S
        for d in range(2):
            if s.known[d] != 0:
                wh = import_wh if d == 0 else export_wh
                kind, _ = classify(s.candidate_wh[d], wh, step_s, max_power_w, range_wh)
                agrees = agrees and kind == FORWARD
    if not agrees:
        s.candidates = 0
        s.candidate_direction = direction
        s.candidate_first_wh = import_wh if direction == 0 else export_wh
    s.candidates += 1
    s.candidate_wh[0], s.candidate_wh[1] = import_wh, export_wh
    s.candidate_t_ns = t_ns
    return bool(s.candidates >= BELIEVED_AFTER)


@njit(cache=True, nogil=True)
def _report(s: Any, event: int, direction: int, after_wh: int) -> None:
    s.event = event
    s.event_direction = direction
    s.event_before_wh = s.register_wh[direction]
    s.event_after_wh = after_wh


@njit(cache=True, nogil=True)
def _advance(s: Any, t_ns: int, power_w: float, is_gap: bool, by_register: bool) -> None:
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
def _settle(s: Any, d: int, delta_wh: int) -> None:
    """Share a register's difference out over the minutes since the last accepted reading."""
    if s.known[d] == 0:
        _integrate(s, d, s.count)
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
def _integrate(s: Any, d: int, count: int) -> None:
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
def _anchor(s: Any, t_ns: int, import_wh: int, export_wh: int) -> None:
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
def _emit(s: Any, out: NDArray[Any], n: int) -> int:
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
