"""Energy: minutes that add up to the meter's register exactly; integration is in `dsp.integrate`.

Register differences are the energy, power gives their shape in time. Kernels read no clock and raise nothing:
a value that is not known comes in as NaN and goes out as missing coverage.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.bins import BIN, MINUTE_NS, NS_PER_S, OUT, UNKNOWN, anchor, emit, integrate, lay, settle
from dsp.counter import AMBIGUOUS, FORWARD, ROLLOVER, classify
from dsp.integrate import integrate_channels, integrate_power

__all__ = ["MINUTE_NS", "OUT", "STATE", "init", "integrate_channels", "integrate_power", "minutes", "step"]

LARGEST_EXACT = 2.0**53

# What happened to the counter in a step: state["event"].
NO_EVENT, EVENT_ROLLOVER, EVENT_RESET, EVENT_GLITCH, EVENT_AMBIGUOUS, EVENT_LOST = range(6)

BELIEVED_AFTER = 3  # readings that agree with each other but not with the past make a new epoch
WAIT_NS = 15 * MINUTE_NS  # minutes wait this long for a register that stays away; then power alone counts
LONGEST_BRIDGE_NS = 10 * MINUTE_NS  # a larger max_gap_ns is taken as this: it bounds the waiting minutes
BINS = 32  # WAIT_NS + LONGEST_BRIDGE_NS in minutes, and some

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
    n: int = emit(s, out, 0)
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

    lay(s, t_ns, power_w, is_gap, accepted and s.register_t_ns == s.t_ns)
    if accepted:
        settle(s, 0, delta_import)
        settle(s, 1, delta_export)
    elif restart or not anchored:
        shown = import_wh >= 0 or export_wh >= 0
        integrate(s, 0, s.count if shown or restart else s.count - 1)
        integrate(s, 1, s.count if shown or restart else s.count - 1)
        s.known[0] = s.known[1] = 0
        s.silent_next_ns = s.silent_to_ns
        if restart:
            s.epoch += 1
    if accepted or restart or not anchored:
        anchor(s, t_ns, import_wh, export_wh)
        s.ready = 1
        n = emit(s, out, n)
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
