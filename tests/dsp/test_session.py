"""Calls: where they begin and end, and what they took."""

import math
from dataclasses import dataclass, field
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import session

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S
MAX_GAP_NS = 5 * S
NAN = float("nan")
CHARGING, IDLE = 7.0, 0.0


@dataclass
class Berth:
    state: Any = field(default_factory=session.init)
    calls: list[Any] = field(default_factory=list)

    def row(
        self,
        second: float,
        *,
        state: float = NAN,
        mated: float = NAN,
        power_w: float = NAN,
        register_wh: float = NAN,
        soc: float = NAN,
    ) -> None:
        out = np.zeros(1, session.OUT)
        t_ns = START_NS + int(second * S)
        if session.step(self.state, t_ns, state, mated, power_w, register_wh, soc, MAX_GAP_NS, out):
            self.calls.append(out[0].copy())


def charge(berth: Berth, seconds: range, mated: range, powered: range, power_w: float = 3.6e6) -> None:
    """1 Hz; 1 kWh goes into the register for each powered second."""
    for s in seconds:
        delivered = max(0, min(s, powered.stop) - powered.start)
        berth.row(
            s,
            mated=float(s in mated),
            power_w=power_w if s in powered else 0.0,
            register_wh=50_000.0 + 1000 * delivered,
            soc=0.4 + s / 10_000,
        )


def test_a_register_that_goes_over_in_a_call_loses_nothing() -> None:
    berth = Berth(state=session.init(1e6))
    for s in range(400):
        delivered = 2000 * max(0, min(s, 300) - 100)
        berth.row(s, mated=float(50 <= s < 350), power_w=7.2e6, register_wh=(900_000.0 + delivered) % 1e6, soc=0.5)
    (call,) = berth.calls
    assert call["energy_wh"] == 400_000
    assert (call["register_open_wh"], call["register_close_wh"]) == (900_000, 300_000)


def test_a_plain_call_is_told_with_its_energy_and_times() -> None:
    berth = Berth()
    charge(berth, range(1000), range(100, 900), range(200, 800))
    (call,) = berth.calls
    assert (call["start_ns"], call["end_ns"]) == (START_NS + 100 * S, START_NS + 899 * S)
    assert call["energy_wh"] == 600_000
    assert (call["register_open_wh"], call["register_close_wh"]) == (50_000, 650_000)
    assert call["integrated_wh"] == pytest.approx(600_000, abs=1)
    assert call["peak_power_w"] == 3.6e6
    assert (call["first_power_s"], call["connected_s"], call["covered_s"]) == (100, 799, 799)
    assert call["interruptions"] == 0
    assert (call["soc_start"], call["soc_end"]) == (pytest.approx(0.41), pytest.approx(0.4899))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90)), min_size=1, max_size=12))
def test_calls_are_the_stretches_that_flicker_does_not_end(stretches: list[tuple[bool, int]]) -> None:
    mated = [on for on, length in [*stretches, (False, 120)] for _ in range(length)]
    berth = Berth()
    for s, on in enumerate(mated):
        berth.row(s, mated=float(on), power_w=0.0, register_wh=1.0)
    t_ns = START_NS + np.arange(len(mated), dtype=np.int64) * S
    found = [(int(call["start_ns"]), int(call["end_ns"])) for call in berth.calls]
    assert found == naive.calls(t_ns, mated, session.FLICKER_NS)


def test_interruptions_are_power_lost_for_more_than_ten_seconds_and_back() -> None:
    berth = Berth()
    for s in range(1000):
        gone = s in range(300, 309) or s in range(400, 420) or s in range(600, 640) or s > 800
        berth.row(s, mated=float(50 <= s < 900), power_w=0.0 if gone else 5e6)
    assert [int(call["interruptions"]) for call in berth.calls] == [2]


def test_rows_of_charger_meter_and_battery_may_come_one_by_one() -> None:
    berth = Berth()
    for s in range(1000):
        berth.row(s, state=CHARGING if 100 <= s < 900 else IDLE, power_w=3.6e6 if 200 <= s < 800 else 0.0)
        berth.row(s + 0.2, register_wh=1000.0 * max(0, min(s, 800) - 200))
        berth.row(s + 0.4, soc=0.5)
    (call,) = berth.calls
    assert call["energy_wh"] == 600_000
    assert call["integrated_wh"] == pytest.approx(600_000, abs=1)
    assert call["soc_start"] == call["soc_end"] == 0.5


def test_a_hole_in_the_middle_loses_coverage_and_not_energy() -> None:
    berth = Berth()
    charge(berth, range(400), range(100, 900), range(200, 800))
    charge(berth, range(460, 1000), range(100, 900), range(200, 800))
    (call,) = berth.calls
    assert call["energy_wh"] == 600_000
    assert call["covered_s"] == 799 - 61
    assert call["connected_s"] == 799


def test_a_call_goes_on_after_a_kill() -> None:
    whole, first = Berth(), Berth()
    charge(whole, range(1000), range(100, 900), range(200, 800))
    charge(first, range(500), range(100, 900), range(200, 800))
    second = Berth(np.frombuffer(first.state.tobytes(), session.STATE).copy())
    charge(second, range(500, 1000), range(100, 900), range(200, 800))
    assert [call.tobytes() for call in second.calls] == [call.tobytes() for call in whole.calls]


def test_silence_for_long_ends_the_call_at_its_last_sign() -> None:
    berth = Berth()
    charge(berth, range(300), range(100, 5000), range(200, 5000))
    berth.row(2000, mated=1.0)  # perhaps another ship
    (call,) = berth.calls
    assert call["end_ns"] == START_NS + 299 * S


def test_a_register_that_glitches_or_restarts_does_not_become_energy() -> None:
    berth = Berth()
    for s in range(400):
        register_wh = 70_000.0 + 100 * s if s < 200 else 100.0 * (s - 200)
        berth.row(s, mated=float(20 <= s < 340), power_w=3.6e5, register_wh=0.0 if s == 60 else register_wh)
    (call,) = berth.calls
    assert call["energy_wh"] == pytest.approx(100 * 340, abs=700)


def test_a_register_read_every_five_minutes_and_given_again_meanwhile_counts() -> None:
    berth = Berth()
    for s in range(3600):
        seen = s - s % 300
        delivered = max(0, min(seen, 3200) - 200)
        berth.row(s, mated=float(100 <= s < 3500), power_w=30e6, register_wh=8000.0 * delivered)
    (call,) = berth.calls
    assert call["energy_wh"] == 8000 * 3000


def test_without_a_register_energy_is_integrated_and_says_so() -> None:
    berth = Berth()
    for s in range(400):
        berth.row(s, mated=float(20 <= s < 340), power_w=3.6e6)
    (call,) = berth.calls
    assert call["register_open_wh"] == call["register_close_wh"] == -1
    assert call["energy_wh"] == round(float(call["integrated_wh"]))


def test_nothing_known_makes_no_call() -> None:
    berth = Berth()
    for s in range(100):
        berth.row(s)
    berth.row(100, mated=1.0)
    berth.row(110, mated=0.0)
    berth.row(200, mated=0.0)
    assert berth.calls == []
    assert math.isnan(berth.state["power_w"][0])
