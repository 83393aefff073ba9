"""How a lock ages: discharge coefficients from filling curves, leaks, drive times, and whether they drift.

Each kernel takes the scans of a lock and gives a figure when an occasion is over; `drift_step` watches one figure
over many of them. All are trends for a person to look at, none is an alarm.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
GRAVITY = 9.81
SLUICES = 4  # of one head
TERMS = SLUICES + 1
GATE_CLOSED, GATE_OPENING, GATE_OPEN, GATE_CLOSING, GATE_STOPPED = range(5)
AT_END = 0.01  # a gate within 1 % of its way is at its end
MOVES = 0.002  # least change of a position from scan to scan that is movement
SHUT = 0.02
LEAST_HEAD_M = 0.15  # below, noise spoils the root of the head
LEAST_FALL_M = 0.5  # a smaller one tells no coefficient
LEAST_SAMPLES = 20
WAVES = 2.5  # neighbouring samples share the chamber's waves: without it 3 sigmas held 89 % on simulated days
OPENED_S = 5.0  # a sluice open for less, in seconds of full opening, tells nothing of itself
JUMP_M = 0.25  # a spike of a level
BLIND_NS = 10 * NS_PER_S
SETTLE_S = 60.0  # waves, after everything has closed
LEAST_LEAK_S = 120.0
BASELINE, FORGET, SIGMAS = 20, 0.2, 4.0  # occasions that make the reference; weight of the newest; limit

FLOW = np.dtype(
    [
        ("t_ns", "i8"),
        ("n", "i8"),
        ("opened_s", "f8", SLUICES),  # integral of each opening
        ("opening", "f8", SLUICES),  # at the last scan
        ("normal", "f8", (TERMS, TERMS)),  # weighted normal equations: 1, then each sluice
        ("right", "f8", TERMS),
        ("both", "f8", (2, 2)),  # the same for all sluices as one
        ("both_right", "f8", 2),
        ("squares", "f8"),
        ("first_m", "f8"),
        ("last_m", "f8"),
    ]
)
FLOW_OUT = np.dtype(
    [
        ("coefficient", "f8"),  # of the head's sluices together
        ("sigma", "f8"),
        ("sluice", "f8", SLUICES),  # of each; NaN where it did not open or cannot be told apart
        ("sluice_sigma", "f8", SLUICES),
        ("head_m", "f8"),
        ("samples", "i8"),
        ("t_ns", "i8"),
    ]
)
LEAK = np.dtype(
    [
        ("closed_ns", "i8"),
        ("t_ns", "i8"),
        ("n", "i8"),
        ("x", "f8"),  # means, and moments about them
        ("y", "f8"),
        ("xx", "f8"),
        ("xy", "f8"),
        ("yy", "f8"),
    ]
)
LEAK_OUT = np.dtype([("flow_m3_s", "f8"), ("sigma_m3_s", "f8"), ("lasted_s", "f8"), ("t_ns", "i8")])
DRIVE = np.dtype([("state", "i8"), ("since_ns", "i8"), ("whole", "i8"), ("t_ns", "i8")])
DRIFT = np.dtype([("n", "i8"), ("base", "f8"), ("spread", "f8"), ("now", "f8"), ("drifted", "i8")])


def flow_init() -> NDArray[Any]:
    """State of a head whose sluices have not opened."""
    state = np.zeros(1, FLOW)
    state["t_ns"] = -1
    return state


def leak_init() -> NDArray[Any]:
    """State of a chamber that is not closed."""
    state = np.zeros(1, LEAK)
    state["closed_ns"] = state["t_ns"] = -1
    return state


def drive_init() -> NDArray[Any]:
    """State of a gate that has not been seen."""
    state = np.zeros(1, DRIVE)
    state["state"] = state["t_ns"] = -1
    return state


def drift_init() -> NDArray[Any]:
    """State of a figure without history."""
    state = np.zeros(1, DRIFT)
    state["now"] = np.nan
    return state


@njit(cache=True, nogil=True)
def gate_state(position: float, before: float) -> float:
    """A gate's state from its position alone, for a lock whose end switches are missing.

    Args: position and the one a scan before, 0 closed .. 1 open; NaN gives NaN.
    """
    if math.isnan(position):
        return math.nan
    if position <= AT_END:
        return float(GATE_CLOSED)
    if position >= 1.0 - AT_END:
        return float(GATE_OPEN)
    if position > before + MOVES:
        return float(GATE_OPENING)
    if position < before - MOVES:
        return float(GATE_CLOSING)
    return math.nan if math.isnan(before) else float(GATE_STOPPED)


@njit(cache=True, nogil=True)
def flow_step(
    state: NDArray[Any],
    t_ns: int,
    reach_m: float,
    chamber_m: float,
    sluices: NDArray[np.float64],
    sluice_m2: NDArray[np.float64],
    chamber_m2: float,
    others_closed: bool,
    out: NDArray[Any],
) -> int:
    """Take one scan of a head; tell its sluices' discharge coefficients when a filling or emptying is over.

    The root of the head falls by c w sqrt(2 g) / (2 A) for each second of full opening: a straight line over the
    integral of the opening, fitted with the head as weight (noise of a level counts less where the head is high).
    Sluices that move alike tell their sum well and themselves badly; `sluice_sigma` says so. `sigma` is that of
    the fit, which takes the sluices as alike.

    Args:
        state: From `flow_init`. FLOW[1]
        t_ns: Time of the scan; one that does not go forward is ignored. [ns]
        reach_m, chamber_m: Levels on both sides. [m]
        sluices: Opening of each sluice of this head, 0 .. 1; NaN ends the occasion. float64[k], k <= `SLUICES`
        sluice_m2: Opening area of each. float64[k] [m2]
        chamber_m2: Plan area of the chamber. [m2]
        others_closed: All gates, and the sluices of the other heads, are closed.
        out: out[0] receives the figures. FLOW_OUT[1]

    Returns: 1 when an occasion ended and gave a coefficient, else 0.
    Source: c w sqrt(2 g h) dt + A dh = 0, Encyclopaedia Britannica, 11th ed., Hydraulics, section 53, as in the
        project's domain notes, section D.5; weighted least squares, NIST e-Handbook, section 4.1.4.3.
    """
    s = state[0]
    if t_ns <= s.t_ns:
        return 0
    count = sluices.shape[0]
    is_open = False
    for k in range(count):
        is_open = is_open or sluices[k] > SHUT
    head_m = abs(reach_m - chamber_m)
    flows = is_open and others_closed and not math.isnan(np.sum(sluices))
    if s.n > 0 and (not flows or head_m <= LEAST_HEAD_M or t_ns - s.t_ns > BLIND_NS):
        found = _coefficients(s, sluice_m2, chamber_m2, out)
        s.n = 0
        s.t_ns = -1 if flows and head_m > LEAST_HEAD_M else t_ns
        return int(found)
    if flows and head_m > LEAST_HEAD_M:
        if s.n == 0:
            s.opened_s[:] = 0.0
            s.normal[:, :] = 0.0
            s.right[:] = 0.0
            s.both[:, :] = 0.0
            s.both_right[:] = 0.0
            s.squares = 0.0
            s.first_m = s.last_m = head_m
        else:
            for k in range(count):
                s.opened_s[k] += 0.5 * (s.opening[k] + sluices[k]) * (t_ns - s.t_ns) / NS_PER_S
        s.opening[:count] = sluices
        if abs(head_m - s.last_m) <= JUMP_M:
            _gather(s, head_m, sluice_m2)
            s.last_m = head_m
    s.t_ns = t_ns
    return 0


@njit(cache=True, nogil=True)
def _gather(s: Any, head_m: float, sluice_m2: NDArray[np.float64]) -> None:
    root, term = math.sqrt(head_m), np.ones(TERMS)
    term[1:] = s.opened_s
    combined = 0.0
    for k in range(sluice_m2.shape[0]):
        combined += sluice_m2[k] * s.opened_s[k]
    for i in range(TERMS):
        for j in range(TERMS):
            s.normal[i, j] += head_m * term[i] * term[j]
        s.right[i] += head_m * term[i] * root
    s.both[0, 0] += head_m
    s.both[0, 1] += head_m * combined
    s.both[1, 1] += head_m * combined * combined
    s.both_right[0] += head_m * root
    s.both_right[1] += head_m * combined * root
    s.squares += head_m * root * root
    s.n += 1


@njit(cache=True, nogil=True)
def _coefficients(s: Any, sluice_m2: NDArray[np.float64], chamber_m2: float, out: NDArray[Any]) -> bool:
    """Solve both fits; the one for all sluices decides whether there is a result."""
    o = out[0]
    scale = 2.0 * chamber_m2 / math.sqrt(2.0 * GRAVITY)
    spread = s.both[0, 0] * s.both[1, 1] - s.both[0, 1] * s.both[0, 1]
    if s.n < LEAST_SAMPLES or s.first_m - s.last_m < LEAST_FALL_M or spread <= 0.0:
        return False
    slope = (s.both[0, 0] * s.both_right[1] - s.both[0, 1] * s.both_right[0]) / spread
    start = (s.both_right[0] - slope * s.both[0, 1]) / s.both[0, 0]
    left = max(0.0, s.squares - start * s.both_right[0] - slope * s.both_right[1]) / (s.n - 2)
    o.coefficient, o.sigma = -slope * scale, WAVES * math.sqrt(left * s.both[0, 0] / spread) * scale
    o.head_m, o.samples, o.t_ns = s.first_m, s.n, s.t_ns
    o.sluice[:] = math.nan
    o.sluice_sigma[:] = math.nan
    used = np.zeros(TERMS, np.int64)
    m = 1
    for k in range(sluice_m2.shape[0]):
        if s.opened_s[k] > OPENED_S:
            used[m] = k + 1
            m += 1
    inverse = np.zeros((m, m))
    if not _invert(s.normal, used, m, inverse):
        return True
    beta = np.zeros(m)
    for i in range(m):
        for j in range(m):
            beta[i] += inverse[i, j] * s.right[used[j]]
    left = s.squares
    for i in range(m):
        left -= beta[i] * s.right[used[i]]
    left = max(0.0, left) / (s.n - m)
    for i in range(1, m):
        k = used[i] - 1
        o.sluice[k] = -beta[i] * scale / sluice_m2[k]
        o.sluice_sigma[k] = WAVES * math.sqrt(left * inverse[i, i]) * scale / sluice_m2[k]
    return True


@njit(cache=True, nogil=True)
def _invert(matrix: Any, used: NDArray[np.int64], m: int, inverse: NDArray[np.float64]) -> bool:
    """Gauss and Jordan on the used rows, scaled to a unit diagonal; False if they do not tell terms apart."""
    a, unit = np.zeros((m, 2 * m)), np.zeros(m)
    for i in range(m):
        unit[i] = math.sqrt(matrix[used[i], used[i]])
        if unit[i] <= 0.0:
            return False
    for i in range(m):
        for j in range(m):
            a[i, j] = matrix[used[i], used[j]] / (unit[i] * unit[j])
        a[i, m + i] = 1.0
    for i in range(m):
        if a[i, i] < 1e-12:  # positive definite: no pivoting needed until rounding is all that is left
            return False
        pivot = a[i, i]
        for j in range(2 * m):
            a[i, j] /= pivot
        for k in range(m):
            if k != i:
                factor = a[k, i]
                for j in range(2 * m):
                    a[k, j] -= factor * a[i, j]
    for i in range(m):
        for j in range(m):
            inverse[i, j] = a[i, m + j] / (unit[i] * unit[j])
    return True


@njit(cache=True, nogil=True)
def leak_step(
    state: NDArray[Any], t_ns: int, chamber_m: float, chamber_m2: float, all_closed: bool, out: NDArray[Any]
) -> int:
    """Take one scan of a chamber; tell its net leak when a time with everything closed is over.

    Args:
        state: From `leak_init`. LEAK[1]
        t_ns: Time of the scan. [ns]
        chamber_m: Level, NaN is passed over. [m]
        chamber_m2: Plan area. [m2]
        all_closed: Gates and sluices of both heads.
        out: out[0] receives the flow into the chamber, negative when it loses more than it gets. LEAK_OUT[1]

    Returns: 1 when a closed time of at least `LEAST_LEAK_S` ended, else 0.
    Source: slope of the least-squares line and its standard error, NIST e-Handbook, section 4.4.3.1, times area.
    """
    s = state[0]
    if t_ns <= s.t_ns:
        return 0
    s.t_ns = t_ns
    if all_closed:
        if s.closed_ns < 0:
            s.closed_ns, s.n = t_ns, 0
            s.x = s.y = s.xx = s.xy = s.yy = 0.0
        x = (t_ns - s.closed_ns) / NS_PER_S
        if x >= SETTLE_S and math.isfinite(chamber_m) and (s.n == 0 or abs(chamber_m - s.y) <= JUMP_M):
            s.n += 1  # means and moments about them, updated (Welford)
            dx, dy = x - s.x, chamber_m - s.y
            s.x += dx / s.n
            s.y += dy / s.n
            s.xx += dx * (x - s.x)
            s.xy += dx * (chamber_m - s.y)
            s.yy += dy * (chamber_m - s.y)
        return 0
    lasted_s = (t_ns - s.closed_ns) / NS_PER_S - SETTLE_S
    told = s.closed_ns >= 0 and lasted_s >= LEAST_LEAK_S and s.n >= LEAST_SAMPLES
    s.closed_ns = -1
    if not told:
        return 0
    o = out[0]
    slope = s.xy / s.xx
    left = max(0.0, s.yy - slope * s.xy) / (s.n - 2)
    o.flow_m3_s, o.sigma_m3_s = chamber_m2 * slope, chamber_m2 * math.sqrt(left / s.xx)
    o.lasted_s, o.t_ns = lasted_s, t_ns
    return 1


@njit(cache=True, nogil=True)
def drive_step(state: NDArray[Any], t_ns: int, gate: float) -> float:
    """Take one scan of a gate (or sluice); give the seconds of a drive that ended now, else NaN.

    A positive time is an opening, a negative one a closing. Drives that stopped on the way, turned round, or
    whose start or end went by in a silence are not told. The scan interval is its uncertainty.
    """
    s = state[0]
    if t_ns <= s.t_ns or math.isnan(gate):
        return math.nan
    took = math.nan
    code, before = int(gate), s.state
    if s.t_ns >= 0 and t_ns - s.t_ns > BLIND_NS:
        s.whole = 0
    if code != before:
        if code == GATE_OPEN and before == GATE_OPENING and s.whole == 1:
            took = (t_ns - s.since_ns) / NS_PER_S
        elif code == GATE_CLOSED and before == GATE_CLOSING and s.whole == 1:
            took = -(t_ns - s.since_ns) / NS_PER_S
        starts = (code == GATE_OPENING and before == GATE_CLOSED) or (code == GATE_CLOSING and before == GATE_OPEN)
        s.whole = 1 if starts and t_ns - s.t_ns <= BLIND_NS else 0
        s.state, s.since_ns = code, t_ns
    s.t_ns = t_ns
    return took


@njit(cache=True, nogil=True)
def drift_step(state: NDArray[Any], value: float, least_share: float) -> bool:
    """Take one occasion's figure; say whether the figure has drifted from its first `BASELINE` occasions.

    Args:
        state: From `drift_init`; `base` and `now` are the reference and the present mean. DRIFT[1]
        value: The figure; NaN is passed over.
        least_share: A smaller change than this share of the reference is no drift.

    Source: EWMA control chart, NIST/SEMATECH e-Handbook, section 6.3.2.4 (S. W. Roberts, Technometrics 1, 1959);
        4 instead of 3 sigmas, since the reference is itself estimated.
    """
    s = state[0]
    if math.isnan(value):
        return bool(s.drifted)
    s.n += 1
    if s.n <= BASELINE:
        before = s.base
        s.base += (value - before) / s.n
        s.spread += (value - before) * (value - s.base)
        s.now = s.base
        return False
    s.now += FORGET * (value - s.now)
    sigma = math.sqrt(s.spread / (BASELINE - 1) * FORGET / (2.0 - FORGET))
    s.drifted = 1 if abs(s.now - s.base) > max(SIGMAS * sigma, least_share * abs(s.base)) else 0
    return bool(s.drifted)
