"""A call at a berth: from plugging in to unplugging, with its energy, peak and interruptions."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.bins import NS_PER_HOUR, NS_PER_S, UNKNOWN
from dsp.counter import AMBIGUOUS, FORWARD, ROLLOVER, classify
from dsp.energy import BELIEVED_AFTER, LARGEST_EXACT

FLICKER_NS = 30 * NS_PER_S  # a shorter contact is no call, a shorter parting does not end one
SILENCE_NS = 900 * NS_PER_S  # without word of the plug for longer, the ship may have been changed
WINDOW_NS = 600 * NS_PER_S  # of the peak mean power, aligned on UTC
INTERRUPTION_NS = 10 * NS_PER_S
LOW_SHARE = 0.01  # of the peak: below it the charge is interrupted
LEAST_POWER_W = 1_000.0  # auxiliaries and noise are not the start of a charge
LARGEST_POWER_W = 60e6  # above any shore connection planned (35 MW a ship): what is faster is a glitch
FIRST_CONNECTED, LAST_CONNECTED, PAUSED = 3, 10, 90  # charger states: connecting ... disconnecting

OUT = np.dtype(
    [
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("energy_wh", "i8"),
        ("register_open_wh", "i8"),
        ("register_close_wh", "i8"),
        ("integrated_wh", "f8"),
        ("peak_power_w", "f8"),
        ("covered_s", "f8"),
        ("connected_s", "f8"),
        ("first_power_s", "f8"),
        ("interruptions", "i8"),
        ("soc_start", "f8"),
        ("soc_end", "f8"),
        ("begin_known", "i8"),  # 0: it had begun, or may have, before the first row that showed it
        ("end_known", "i8"),
        ("begin_unseen_s", "f8"),  # so much earlier it may have begun; NaN: nothing was known before
        ("end_unseen_s", "f8"),
        ("peak_10min_w", "f8"),
        ("peak_10min_ns", "i8"),  # start of that window
    ]
)

STATE = np.dtype(
    [
        ("t_ns", "i8"),
        ("in_call", "i8"),
        ("connected", "i8"),  # at the last row that told
        ("told_ns", "i8"),
        ("start_ns", "i8"),
        ("last_connected_ns", "i8"),
        ("parted_ns", "i8"),  # the row that told of the parting
        ("begin_unseen_ns", "i8"),
        ("connected_ns", "i8"),
        ("range_wh", "f8"),  # the register counts modulo this; infinite: it never goes over
        ("register_wh", "i8"),  # last one believed; UNKNOWN before the first
        ("register_t_ns", "i8"),  # when it last moved, or the call began
        ("strange", "i8"),  # readings in a row that do not follow from it
        ("strange_wh", "i8"),
        ("open_wh", "i8"),
        ("counted_wh", "i8"),
        ("power_w", "f8"),
        ("power_t_ns", "i8"),
        ("measured", "i8"),  # it was the meter's
        ("window", "i8"),
        ("window_w_ns", "f8"),
        ("peak_window", "i8"),
        ("peak_window_w_ns", "f8"),
        ("energy_w_ns", "f8"),
        ("covered_ns", "i8"),
        ("after_ns", "i8"),  # of these, since the last connected row
        ("peak_w", "f8"),
        ("first_power_w", "f8"),
        ("first_power_ns", "i8"),
        ("low_since_ns", "i8"),
        ("interruptions", "i8"),
        ("soc_start", "f8"),
        ("soc_end", "f8"),
    ]
)


def init(range_wh: float = math.inf) -> NDArray[Any]:
    """State of a berth of which nothing is known, whose register counts modulo `range_wh`. [Wh]"""
    state = np.zeros(1, STATE)
    state["range_wh"] = range_wh
    for name in ("t_ns", "told_ns", "register_wh", "register_t_ns", "power_t_ns", "low_since_ns", "window"):
        state[name] = UNKNOWN
    state["power_w"] = np.nan
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any],
    t_ns: int,
    charger_state: float,
    mated: float,
    power_w: float,
    register_wh: float,
    soc: float,
    max_gap_ns: int,
    out: NDArray[Any],
    measured: bool = True,
) -> int:
    """Take what one row tells of a berth; say when a call is over.

    A call lasts while the plug is mated; where that is not known, while the charger's state is connecting to
    disconnecting, or paused. What is unknown in a row keeps its last value, so rows of charger, meter and
    battery may come one by one. The end is known `FLICKER_NS` after the parting; until then the register is
    still followed, for meters that lag. Silence of more than `SILENCE_NS` ends a call at its last sign.

    A call begins and ends with a row that shows it. Where the row before it (or after it) is further away than
    `max_gap_ns`, it may have begun earlier (ended later): `begin_known`, `end_known` and the unseen times say so.

    Args:
        state: From `init`. STATE[1]
        t_ns: Time of the row; one that does not go forward is ignored, except equal times. [ns, UTC]
        charger_state: Code of the charger's state machine, NaN if unknown.
        mated: 1 plugged in, 0 not, NaN if unknown.
        power_w: Positive from shore to ship, NaN if unknown. [W]
        register_wh: Import register of the berth's meter, NaN if this row has none; the last one known may
            be given again. [Wh]
        soc: State of charge of the ship, NaN if unknown. 0..1
        max_gap_ns: Longest step that power may bridge. [ns]
        out: out[0] receives the call. Registers are -1 and energy is integrated where no register was
            seen; `first_power_s`, `soc_start`, `soc_end` are NaN where unknown. `connected_s` is the time mated
            and `covered_s` that in which the meter's power was seen, from first to last sign. OUT[k], k >= 1
        measured: False where `power_w` is the tower's, not the meter's: it is integrated but covers nothing.

    Returns: 1 when a call ended with this row, else 0.
    """
    s = state[0]
    if t_ns < s.t_ns:
        return 0
    ended: int = 0
    told = math.isfinite(mated) or math.isfinite(charger_state)
    if s.in_call != 0 and t_ns - s.told_ns > SILENCE_NS:
        ended = _end(s, out, t_ns, max_gap_ns)
    connected = s.connected != 0
    if math.isfinite(mated):
        connected = mated >= 0.5
    elif told:
        connected = FIRST_CONNECTED <= charger_state <= LAST_CONNECTED or charger_state == PAUSED

    _count(s, t_ns, register_wh)
    if told:
        if s.in_call != 0 and s.connected == 0 and t_ns - s.last_connected_ns > FLICKER_NS:
            ended = _end(s, out, s.parted_ns, max_gap_ns)
        if connected and s.in_call == 0:
            _start(s, t_ns, max_gap_ns)
        elif s.in_call != 0 and connected:
            if s.connected != 0:
                s.connected_ns += t_ns - s.last_connected_ns
            s.last_connected_ns = t_ns
        elif s.in_call != 0 and s.connected != 0:
            s.parted_ns = t_ns
        s.connected = 1 if connected else 0
        s.told_ns = t_ns
    if s.in_call != 0 and s.connected != 0 and math.isfinite(soc):
        if math.isnan(s.soc_start):
            s.soc_start = soc
        s.soc_end = soc
    if math.isfinite(power_w):
        _follow_power(s, t_ns, power_w, max_gap_ns, measured)
    s.t_ns = t_ns
    return ended


@njit(cache=True, nogil=True)
def _start(s: Any, t_ns: int, max_gap_ns: int) -> None:
    s.in_call = 1
    s.begin_unseen_ns = UNKNOWN if s.told_ns < 0 else (t_ns - s.told_ns if t_ns - s.told_ns > max_gap_ns else 0)
    s.window = s.peak_window = UNKNOWN
    s.window_w_ns = s.peak_window_w_ns = 0.0
    s.start_ns = s.last_connected_ns = t_ns
    s.open_wh = s.register_wh
    s.register_t_ns = t_ns
    s.connected_ns = s.counted_wh = s.covered_ns = s.after_ns = s.interruptions = 0
    s.energy_w_ns = s.peak_w = s.first_power_w = 0.0
    s.soc_start = s.soc_end = math.nan
    s.low_since_ns = s.first_power_ns = UNKNOWN


@njit(cache=True, nogil=True)
def _end(s: Any, out: NDArray[Any], parted_ns: int, max_gap_ns: int) -> int:
    """Write the call. `parted_ns`: the first row that showed it over, or the first after a silence."""
    s.in_call = s.connected = 0
    if s.last_connected_ns - s.start_ns < FLICKER_NS:
        return 0
    o = out[0]
    o.start_ns, o.end_ns = s.start_ns, s.last_connected_ns
    o.integrated_wh = s.energy_w_ns / NS_PER_HOUR
    o.register_open_wh = s.open_wh
    o.register_close_wh = s.register_wh if s.open_wh >= 0 else UNKNOWN
    o.energy_wh = s.counted_wh if s.open_wh >= 0 else math.floor(o.integrated_wh + 0.5)
    o.peak_power_w = s.peak_w if s.power_t_ns >= s.start_ns else math.nan
    o.covered_s = (s.covered_ns - s.after_ns) / NS_PER_S
    o.connected_s = s.connected_ns / NS_PER_S
    o.first_power_s = (s.first_power_ns - s.start_ns) / NS_PER_S if s.first_power_ns >= 0 else math.nan
    o.interruptions = s.interruptions
    o.soc_start, o.soc_end = s.soc_start, s.soc_end
    unseen_ns = parted_ns - s.last_connected_ns
    o.begin_known = 1 if s.begin_unseen_ns == 0 else 0
    o.end_known = 1 if unseen_ns <= max_gap_ns else 0
    o.begin_unseen_s = s.begin_unseen_ns / NS_PER_S if s.begin_unseen_ns >= 0 else math.nan
    o.end_unseen_s = unseen_ns / NS_PER_S if unseen_ns > max_gap_ns else 0.0
    _close_window(s)
    o.peak_10min_w = s.peak_window_w_ns / WINDOW_NS if s.peak_window >= 0 else math.nan
    o.peak_10min_ns = s.peak_window * WINDOW_NS if s.peak_window >= 0 else UNKNOWN
    return 1


@njit(cache=True, nogil=True)
def _count(s: Any, t_ns: int, register_wh: float) -> None:
    """Follow the register; a reading that cannot follow is believed when others confirm it."""
    if not 0.0 <= register_wh <= LARGEST_EXACT:
        return
    wh = math.floor(register_wh + 0.5)
    if s.register_wh >= 0:
        step_s = (t_ns - s.register_t_ns) / NS_PER_S
        kind, delta_wh = classify(s.register_wh, wh, step_s, LARGEST_POWER_W, s.range_wh)
        if kind == AMBIGUOUS:  # still for hours: what it shows counts, the meter's own ledger asks for an index
            kind, delta_wh = classify(s.register_wh, wh, step_s, LARGEST_POWER_W, math.inf)
        if kind not in (FORWARD, ROLLOVER):
            s.strange = s.strange + 1 if wh >= s.strange_wh else 1
            s.strange_wh = wh
            if s.strange < BELIEVED_AFTER:
                return
        s.counted_wh += delta_wh
    elif s.in_call != 0:
        s.open_wh = wh
    if wh != s.register_wh:  # an unchanged one may be the last known, given again: its time is not this row's
        s.register_wh = wh
        s.register_t_ns = t_ns
    s.strange = 0


@njit(cache=True, nogil=True)
def _follow_power(s: Any, t_ns: int, power_w: float, max_gap_ns: int, measured: bool) -> None:
    step_ns = t_ns - s.power_t_ns
    if s.in_call != 0:
        if s.power_t_ns >= s.start_ns and step_ns <= max_gap_ns:
            s.energy_w_ns += 0.5 * (s.power_w + power_w) * step_ns
            _lay_over_windows(s, s.power_t_ns, t_ns, s.power_w, power_w)
            if measured and s.measured != 0:
                s.covered_ns += step_ns
                s.after_ns = 0 if s.connected != 0 else s.after_ns + step_ns
        s.peak_w = max(s.peak_w, power_w)
        low_w = LOW_SHARE * s.peak_w
        if power_w > LEAST_POWER_W and s.first_power_w <= low_w:
            s.first_power_w = power_w
            s.first_power_ns = t_ns
        if s.first_power_ns >= 0 and s.connected != 0:
            if power_w > low_w:
                if 0 <= s.low_since_ns < t_ns - INTERRUPTION_NS:
                    s.interruptions += 1
                s.low_since_ns = UNKNOWN
            elif s.low_since_ns < 0:
                s.low_since_ns = t_ns
    s.power_w = power_w
    s.power_t_ns = t_ns
    s.measured = 1 if measured else 0


@njit(cache=True, nogil=True)
def _lay_over_windows(s: Any, from_ns: int, to_ns: int, first_w: float, last_w: float) -> None:
    """Share a step's energy out over the 10-minute windows that it touches."""
    slope = (last_w - first_w) / (to_ns - from_ns) if to_ns > from_ns else 0.0
    at_ns = from_ns
    while at_ns < to_ns:
        window = at_ns // WINDOW_NS
        if window != s.window:
            _close_window(s)
            s.window, s.window_w_ns = window, 0.0
        until_ns = min(to_ns, (window + 1) * WINDOW_NS)
        middle_ns = 0.5 * (at_ns - from_ns + until_ns - from_ns)
        s.window_w_ns += (first_w + slope * middle_ns) * (until_ns - at_ns)
        at_ns = until_ns


@njit(cache=True, nogil=True)
def _close_window(s: Any) -> None:
    if s.window >= 0 and s.window_w_ns > s.peak_window_w_ns:
        s.peak_window, s.peak_window_w_ns = s.window, s.window_w_ns
