"""Energy of sampled power, batch: any number of channels over one time axis, at the speed of the memory.

The loops are cut in short blocks: a block is summed by the processor's vector unit in any order, and the blocks
are summed with compensation. That is as exact as compensating every term, and as fast as not doing so.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_HOUR = 3_600_000_000_000
STEPS = 2048  # steps whose weights stay in the first cache while all channels use them
SUMMED = 256  # terms of a plain sum; 16 and more run side by side, so at most 16 roundings follow each other

# Only the order of a sum is free. Nothing may be assumed about NaN and infinity, which are looked for.
ANY_ORDER = {"reassoc", "nsz", "contract"}


@njit(cache=True, nogil=True)
def integrate_power(t_ns: NDArray[np.int64], power_w: NDArray[np.float64], max_gap_ns: int) -> tuple[float, int]:
    """Integrate power over time, leaving out gaps.

    A step counts when both its samples are finite and it goes forward by at most `max_gap_ns`. Silence becomes
    missing coverage, not invented energy. The sum is compensated: a month at 1 Hz agrees with exact arithmetic
    to 1e-15.

    Args:
        t_ns: Sample times in order of arrival. int64[n] [ns, UTC]
        power_w: Positive from shore to ferry, NaN if unknown. float64[n] [W]
        max_gap_ns: Longest step that a straight line may bridge. [ns]

    Returns: energy of the steps that count [Wh], and the time they cover [ns].
    Source: composite trapezoidal rule, NIST DLMF, section 3.5(i); compensation by D. E. Knuth, The Art of
        Computer Programming, vol. 2, section 4.2.2, theorem B, as in A. Neumaier, ZAMM 54 (1974), over blocks.
    """
    energy_wh, covered_ns = np.zeros(1), np.zeros(1, np.int64)
    integrate_channels(t_ns, power_w.reshape((1, power_w.shape[0])), max_gap_ns, energy_wh, covered_ns)
    return energy_wh[0], covered_ns[0]


@njit(cache=True, nogil=True)
def integrate_channels(
    t_ns: NDArray[np.int64],
    power_w: NDArray[np.float64],
    max_gap_ns: int,
    energy_wh: NDArray[np.float64],
    covered_ns: NDArray[np.int64],
) -> None:
    """`integrate_power` for every row of `power_w`, all read at the same times.

    It holds no lock of the interpreter: two threads with half of the channels each take half the time.

    Args:
        t_ns: Sample times in order of arrival. int64[n] [ns, UTC]
        power_w: Positive from shore to ferry, NaN if unknown; one channel a row. float64[channels, n] [W]
        max_gap_ns: Longest step that a straight line may bridge. [ns]
        energy_wh: Receives the energy of each channel. float64[channels] [Wh]
        covered_ns: Receives the time that counts. int64[channels] [ns]

    Source: as `integrate_power`.
    """
    weight = np.empty(STEPS)
    energy_wh[:] = 0.0  # first as sums of (W + W) ns, with what rounding lost beside them
    covered_ns[:] = 0
    lost = np.zeros(power_w.shape[0])
    for start in range(0, t_ns.shape[0] - 1, STEPS):
        count = min(STEPS, t_ns.shape[0] - 1 - start)
        _weigh(t_ns[start : start + count], t_ns[start + 1 : start + 1 + count], max_gap_ns, weight)
        for channel in range(power_w.shape[0]):
            power = power_w[channel]
            for k in range(0, count, SUMMED):
                at, stop = start + k, min(k + SUMMED, count)
                size = stop - k
                term, time_ns = _sum(power[at : at + size], power[at + 1 : at + 1 + size], weight[k:stop])
                before = energy_wh[channel]
                after = before + term
                of_term = after - before
                lost[channel] += (before - (after - of_term)) + (term - of_term)
                energy_wh[channel] = after
                covered_ns[channel] += int(time_ns)
    for channel in range(power_w.shape[0]):
        energy_wh[channel] = (energy_wh[channel] + lost[channel]) / (2.0 * NS_PER_HOUR)


@njit(cache=True, nogil=True)
def _weigh(
    before_ns: NDArray[np.int64],
    after_ns: NDArray[np.int64],
    max_gap_ns: int,
    weight: NDArray[np.float64],
) -> None:
    """Length of each step, 0 where it does not count. [ns]"""
    for i in range(before_ns.shape[0]):
        step_ns = after_ns[i] - before_ns[i]
        step_ns = step_ns if (step_ns > 0) & (step_ns <= max_gap_ns) else 0
        weight[i] = step_ns


@njit(cache=True, nogil=True, fastmath=ANY_ORDER)
def _sum(
    before_w: NDArray[np.float64],
    after_w: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> tuple[float, float]:
    """Plain sum of a block's terms and of the time they cover. No branches, so that it runs in vectors.

    The time is exact: whole numbers whose sum stays below 2^53, as long as no step longer than nine hours counts.
    """
    total, time_ns = 0.0, 0.0
    for i in range(before_w.shape[0]):
        doubled_w = before_w[i] + after_w[i]
        counts = abs(doubled_w) < np.inf  # false for NaN too
        total += doubled_w * weight[i] if counts else 0.0
        time_ns += weight[i] if counts else 0.0
    return total, time_ns
