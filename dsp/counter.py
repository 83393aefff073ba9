"""What a step of an energy counter means: forward, roll-over, reset, glitch, or impossible to tell."""

import math

from numba import njit

FORWARD, ROLLOVER, RESET, GLITCH, AMBIGUOUS = range(5)

SECONDS_PER_HOUR = 3600.0
MARGIN = 1.2  # meters, ratios and the stated largest power are not exact; domain.md C.4 uses the same
LAG_S = 10.0  # a meter refreshes its registers in its own rhythm: several seconds' energy may come at once
NEAR_TOP = 0.98  # a roll-over starts from the last 2 % of the range
LARGEST_QUANTUM_WH = 1_000_000  # registers that count in MWh


@njit(cache=True, nogil=True)
def classify(previous: int, current: int, step_s: float, max_power_w: float, range_wh: float) -> tuple[int, int]:
    """Judge one step of a cumulative register by what the circuit could have delivered meanwhile.

    The limit is `MARGIN` times the largest power over the step and `LAG_S`, plus one count of a register
    that moves in steps of 10, 100, ... 1 000 000 Wh (read off the zeros at the end of both values).

    Args:
        previous: Reading before. >= 0 [Wh]
        current: Reading now. >= 0 [Wh]
        step_s: Time between them. > 0 [s]
        max_power_w: Largest power of the circuit; NaN or <= 0 means unknown, then any forward step passes. [W]
        range_wh: The register counts modulo this; NaN, infinite or <= 0 for one that never wraps. [Wh]

    Returns: kind (`FORWARD` ... `AMBIGUOUS`) and the energy of the step, 0 unless forward or roll-over. [Wh]
    Source: rules of the project's domain notes, section C.4, with the quantum and the lag added.
    """
    wraps = math.isfinite(range_wh) and range_wh > 0.0
    limit_wh = math.inf
    if max_power_w > 0.0:
        if wraps and MARGIN * max_power_w * step_s / SECONDS_PER_HOUR >= range_wh:
            return AMBIGUOUS, 0  # a whole turn may have gone by unseen
        limit_wh = MARGIN * max_power_w * (step_s + LAG_S) / SECONDS_PER_HOUR + _quantum(previous, current)
    if current >= previous:
        delta_wh = current - previous
        return (FORWARD, delta_wh) if delta_wh <= limit_wh else (GLITCH, 0)
    if wraps and previous < range_wh and previous > NEAR_TOP * range_wh:
        delta_wh = int(range_wh) - previous + current
        if delta_wh <= limit_wh:
            return ROLLOVER, delta_wh
    return (RESET, 0) if current <= limit_wh else (GLITCH, 0)


@njit(cache=True, nogil=True)
def _quantum(previous: int, current: int) -> int:
    """Largest power of ten that divides both readings."""
    quantum = 1
    while quantum < LARGEST_QUANTUM_WH and previous % (quantum * 10) == 0 and current % (quantum * 10) == 0:
        quantum *= 10
    return quantum
