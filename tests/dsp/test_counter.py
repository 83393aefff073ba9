"""Each kind of step, at its limits."""

import math

import pytest

from dsp.counter import AMBIGUOUS, FORWARD, GLITCH, RESET, ROLLOVER, classify

pytestmark = pytest.mark.usefixtures("kernels")
TOP = 2.0**32
MW = 1e6


@pytest.mark.parametrize(
    ("previous", "current", "step_s", "range_wh", "expected"),
    [
        (1_000_007, 1_002_007, 1.0, math.inf, (FORWARD, 2_000)),
        (1_000_007, 1_000_007, 1.0, math.inf, (FORWARD, 0)),
        (1_000_007, 2_000_008, 1.0, math.inf, (GLITCH, 0)),  # 1 MWh in a second at 10 MW
        (1_000_007, 2_000_008, 3600.0, math.inf, (FORWARD, 1_000_001)),
        (1_000_000, 2_000_000, 1.0, math.inf, (FORWARD, 1_000_000)),  # a register that counts in MWh
        (int(TOP) - 5, 3, 1.0, TOP, (ROLLOVER, 8)),
        (int(TOP) - 5, 3, 1.0, math.inf, (RESET, 0)),  # it cannot wrap, so it began anew
        (int(TOP) // 2, 3, 1.0, TOP, (RESET, 0)),  # too far below the top
        (5_000_001, 4_900_003, 1.0, math.inf, (GLITCH, 0)),  # backwards, and not near zero
        (7, 9, 3600.0 * 500, TOP, (AMBIGUOUS, 0)),  # 10 MW for 500 h is a whole turn
        (int(TOP) + 7, 3, 1.0, TOP, (RESET, 0)),  # it was never inside the stated range
    ],
)
def test_a_step_is_judged_by_what_the_circuit_can_deliver(
    previous: int, current: int, step_s: float, range_wh: float, expected: tuple[int, int]
) -> None:
    assert classify(previous, current, step_s, 10 * MW, range_wh) == expected


@pytest.mark.parametrize("max_power_w", [math.nan, 0.0, -1.0])
def test_without_a_largest_power_any_forward_step_passes(max_power_w: float) -> None:
    assert classify(1, 10**12, 1.0, max_power_w, TOP) == (FORWARD, 10**12 - 1)
