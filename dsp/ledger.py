"""The past of a meter, computed again from all its rows: what a gateway did row by row, in one call for a year."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp import energy
from dsp.bins import MINUTE_NS
from dsp.energy import BINS, NO_EVENT, step
from dsp.revise import replace

DAY_NS = 1_440 * MINUTE_NS
LONGEST_SILENCE_NS = 62 * DAY_NS  # a longer one is not spread over its minutes: a new epoch begins

# Besides energy.EVENT_...: what a replacement came to, and a silence that is too long.
REPLACED, REPLACEMENT_REFUSED, REPLACEMENT_TOO_LATE, SILENCE_REFUSED = range(101, 105)

REPLACEMENT = np.dtype(  # a meter changed at an instant; NaN for a direction without register
    [
        ("t_ns", "i8"),
        ("closing_import_wh", "f8"),
        ("closing_export_wh", "f8"),
        ("opening_import_wh", "f8"),
        ("opening_export_wh", "f8"),
    ]
)
EVENT = np.dtype([("t_ns", "i8"), ("event", "i8"), ("direction", "i8"), ("before_wh", "i8"), ("after_wh", "i8")])
STATE = np.dtype([("meter", energy.STATE), ("replaced", "i8")])  # replacements that are behind


def init(start_epoch: int = 0) -> NDArray[Any]:
    """State before the first row; `start_epoch` continues the count of replacements."""
    state = np.zeros(1, STATE)
    state["meter"] = energy.init(start_epoch)
    return state


def places(state: NDArray[Any], t_ns: NDArray[np.int64]) -> int:
    """Minutes that `run` may write for these rows, at most."""
    if len(t_ns) == 0:
        return 0
    meter = state["meter"][0]
    first_ns = int(meter["seen_ns"]) if meter["seen_ns"] >= 0 else int(t_ns[0])
    span_ns = max(0, min(int(t_ns[-1]) - first_ns, LONGEST_SILENCE_NS + len(t_ns) * MINUTE_NS))
    # Minutes of before that are not told yet: those open, with a silence between them.
    waiting_ns = first_ns - int(meter["bins"]["minute_ns"][0]) if meter["count"] > 0 else 0
    return (span_ns + max(0, waiting_ns)) // MINUTE_NS + BINS + 2


@njit(cache=True, nogil=True)
def run(
    state: NDArray[Any],
    fresh: NDArray[Any],
    t_ns: NDArray[np.int64],
    power_w: NDArray[np.float64],
    register_import_wh: NDArray[np.float64],
    register_export_wh: NDArray[np.float64],
    replacements: NDArray[Any],
    max_gap_ns: int,
    max_power_w: float,
    counter_range_wh: float,
    out: NDArray[Any],
    events: NDArray[Any],
) -> tuple[int, int]:
    """`energy.step` over rows in order of time, with meters replaced where a person has said so.

    A replacement takes effect before the first row at or after its instant; before the first row of all it only
    opens an epoch. A silence of more than `LONGEST_SILENCE_NS` opens one as well and is not counted.

    Args:
        state: Goes on with the rows, so that a year may come in parts. STATE[1]
        fresh: `energy.init()`, to begin again after a silence that is too long. dsp.energy.STATE[1]
        t_ns, power_w, register_import_wh, register_export_wh: [n]; [ns, UTC], [W], [Wh]
        replacements: All of this meter in order of time, the same ones in each call. REPLACEMENT[k]
        max_gap_ns, max_power_w, counter_range_wh: As for `dsp.energy.step`.
        out: Receives minutes; `places` says how many. dsp.energy.OUT
        events: Receives what the counter did; later ones are lost where it is full. EVENT

    Returns: minutes and events written. The minute of the last row stays open in `state`.
    Source: the project's domain notes, section C.4.
    """
    meter = state["meter"]
    n: int = 0
    m: int = 0
    for i in range(t_ns.shape[0]):
        s = meter[0]
        if 0 < s.t_ns < t_ns[i] - LONGEST_SILENCE_NS:
            epoch = s.epoch + 1
            meter[0] = fresh[0]
            meter[0].epoch = epoch
            m = _note(events, m, t_ns[i], SILENCE_REFUSED, 0, s.register_wh[0], -1)
        while state[0].replaced < replacements.shape[0] and replacements[state[0].replaced].t_ns <= t_ns[i]:
            change = replacements[state[0].replaced]
            state[0].replaced += 1
            what = REPLACED
            if meter[0].t_ns < 0:
                meter[0].epoch += 1
            elif change.t_ns <= meter[0].t_ns:
                what = REPLACEMENT_TOO_LATE
            else:
                believed, k = replace(
                    meter, change.t_ns, np.nan, change.closing_import_wh, change.closing_export_wh,
                    change.opening_import_wh, change.opening_export_wh, max_gap_ns, max_power_w, counter_range_wh,
                    out[n:],
                )  # fmt: skip
                n += k
                what = REPLACED if believed else REPLACEMENT_REFUSED
            before_wh, after_wh = _index(change.closing_import_wh), _index(change.opening_import_wh)
            m = _note(events, m, change.t_ns, what, 0, before_wh, after_wh)
        n += step(
            meter, t_ns[i], power_w[i], register_import_wh[i], register_export_wh[i], max_gap_ns, max_power_w,
            counter_range_wh, out[n:],
        )  # fmt: skip
        if meter[0].event != NO_EVENT:
            s = meter[0]
            m = _note(events, m, t_ns[i], s.event, s.event_direction, s.event_before_wh, s.event_after_wh)
    return n, m


@njit(cache=True, nogil=True)
def _index(wh: float) -> int:
    return -1 if np.isnan(wh) else int(wh)


@njit(cache=True, nogil=True)
def _note(
    events: NDArray[Any], m: int, t_ns: int, event: int, direction: int, before_wh: int, after_wh: int
) -> int:
    if m == events.shape[0]:
        return m
    e = events[m]
    e.t_ns, e.event, e.direction, e.before_wh, e.after_wh = t_ns, event, direction, before_wh, after_wh
    return m + 1
