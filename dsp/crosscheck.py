"""Does the register count what the power says? Differences of a meter's register against integrated power."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3_600 * NS_PER_S

STATE = np.dtype(
    [
        ("t_ns", "i8"),
        ("power_w", "f8"),
        ("register_wh", "f8"),
        ("begun", "i8"),  # a stretch with both known at every scan
        ("begun_wh", "f8"),  # the register at its first scan
        ("stretch_wh", "f8"),  # integrated since
        ("stretch_peak_w", "f8"),
        ("register_sum_wh", "f8"),  # of the stretches that are over, in this window
        ("power_sum_wh", "f8"),
        ("between_wh", "f8"),  # what power can have done between scans
        ("ends_wh", "f8"),  # what the ends of stretches can be wrong by
        ("window_ns", "i8"),
    ]
)
OUT = np.dtype(
    [("register_wh", "f8"), ("power_wh", "f8"), ("allowed_wh", "f8"), ("covered_s", "f8"), ("t_ns", "i8")]
)


def init() -> NDArray[Any]:
    """State of a meter that has not been compared yet."""
    state = np.zeros(1, STATE)
    state["t_ns"] = -1
    state["power_w"] = state["register_wh"] = np.nan
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any],
    t_ns: int,
    power_w: float,
    register_wh: float,
    max_gap_ns: int,
    class_share: float,
    quantum_wh: float,
    lag_s: float,
    window_ns: int,
    out: NDArray[Any],
) -> int:
    """Take one row; at the end of each window say whether register and power part by more than they may.

    Only stretches in which both are known at every scan are compared, so gaps and resets do not matter. Allowed
    are: the meter's class on the energy; between two scans half the change of power over the step, which is all
    that a power rising or falling throughout can do; and at both ends of a stretch one count of the register and
    `lag_s` of its highest power, since a meter refreshes registers in its own rhythm.

    Args:
        state: From `init`. STATE[1]
        t_ns: Time of the row; one that does not go forward is ignored. [ns]
        power_w: Signed, NaN if unknown. [W]
        register_wh: Import minus export, NaN if unknown. A fall or rise of more than the power explains by ten
            thousand counts of the class (reset, roll-over) is left to `dsp.energy`: it ends a stretch. [Wh]
        max_gap_ns: Longest step that is compared. [ns]
        class_share: Accuracy class as a share, both ways to power and energy: 0.01 for class 0.5 on each.
        quantum_wh: One count of the register. [Wh]
        lag_s: Refresh interval of the registers. [s]
        window_ns: Time to compare before a verdict. [ns]
        out: out[0] receives the sums of the window. OUT[1]

    Returns: 0 the window goes on, 1 it agrees, 2 it parts.
    Source: composite trapezoidal rule, NIST DLMF, section 3.5(i), and its error for a monotone integrand, at most
        half of the step times the change; maximum permissible errors by class, IEC 62053-22.
    """
    s = state[0]
    if t_ns <= s.t_ns:
        return 0
    step_ns = t_ns - s.t_ns
    known = math.isfinite(power_w) and math.isfinite(register_wh)
    if known and s.begun != 0:
        moved_wh = register_wh - s.register_wh
        most_wh = max(abs(power_w), abs(s.power_w), s.stretch_peak_w) * (step_ns / NS_PER_HOUR + lag_s / 3600.0)
        jump = abs(moved_wh) > 1e4 * (class_share * most_wh + quantum_wh)
        if step_ns > max_gap_ns or jump:
            _end(s, quantum_wh, lag_s)
        else:
            s.stretch_wh += 0.5 * (s.power_w + power_w) * step_ns / NS_PER_HOUR
            s.between_wh += 0.5 * abs(power_w - s.power_w) * step_ns / NS_PER_HOUR
            s.stretch_peak_w = max(s.stretch_peak_w, abs(power_w))
            s.window_ns += step_ns
    elif not known and s.begun != 0:
        _end(s, quantum_wh, lag_s)
    if known and s.begun == 0:
        s.begun, s.begun_wh, s.stretch_wh, s.stretch_peak_w = 1, register_wh, 0.0, abs(power_w)
    s.t_ns = t_ns
    if known:
        s.power_w, s.register_wh = power_w, register_wh
    if s.window_ns < window_ns:
        return 0
    if s.begun != 0:
        _end(s, quantum_wh, lag_s)
        s.begun, s.begun_wh, s.stretch_wh, s.stretch_peak_w = 1, register_wh, 0.0, abs(power_w)
    o = out[0]
    o.register_wh, o.power_wh, o.covered_s, o.t_ns = (
        s.register_sum_wh,
        s.power_sum_wh,
        s.window_ns / NS_PER_S,
        t_ns,
    )
    energy_wh = max(abs(s.register_sum_wh), abs(s.power_sum_wh))
    o.allowed_wh = class_share * energy_wh + s.between_wh + s.ends_wh
    parts = abs(s.register_sum_wh - s.power_sum_wh) > o.allowed_wh
    s.register_sum_wh = s.power_sum_wh = s.between_wh = s.ends_wh = 0.0
    s.window_ns = 0
    return 2 if parts else 1


@njit(cache=True, nogil=True)
def _end(s: Any, quantum_wh: float, lag_s: float) -> None:
    """A stretch is over: its register difference and its integral join the window."""
    s.register_sum_wh += s.register_wh - s.begun_wh
    s.power_sum_wh += s.stretch_wh
    s.ends_wh += 2.0 * quantum_wh + lag_s / 3600.0 * s.stretch_peak_w
    s.begun = 0
