"""The tower's states, and its energy against the battery's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.bench import Bench
from firmware_sim.plant.berth import Berth
from firmware_sim.plant.charger import MATED, Charger, ChargerSize, State
from firmware_sim.plant.meter import NS
from firmware_sim.plant.replay import Charge

FOLLOWS = {  # what may come after each state
    State.IDLE: {State.APPROACH, State.DOCKED, State.CONNECTING, State.HANDSHAKE, State.PRECHARGE, State.RAMP_UP},
    State.APPROACH: {State.DOCKED},
    State.DOCKED: {State.CONNECTING},
    State.CONNECTING: {State.HANDSHAKE},
    State.HANDSHAKE: {State.PRECHARGE},
    State.PRECHARGE: {State.RAMP_UP},
    State.RAMP_UP: {State.CC, State.CV, State.RAMP_DOWN},
    State.CC: {State.CV, State.RAMP_DOWN},
    State.CV: {State.RAMP_DOWN},
    State.RAMP_DOWN: {State.DISCONNECTING, State.PAUSED, State.RAMP_UP},
    State.PAUSED: {State.RAMP_UP},
    State.DISCONNECTING: {State.COMPLETED},
    State.COMPLETED: {State.IDLE, State.APPROACH, State.DOCKED},
}  # fmt: skip


@pytest.fixture
def berth(bench: Bench) -> Berth:
    return bench.berths["berth-1"]


def states(charger: Charger, seconds: int) -> list[State]:
    return [charger.state(s * NS) for s in range(seconds)]


def test_the_call_of_the_shipped_recording_takes_believable_times(berth: Berth) -> None:
    seen = states(berth.charger, 4501)
    lengths = {state: seen.count(state) for state in State}
    assert [s for i, s in enumerate(seen) if i == 0 or s != seen[i - 1]] == [*list(State)[:12], State.IDLE]
    assert 60 <= lengths[State.APPROACH] <= 300
    assert 10 <= lengths[State.DOCKED] <= 60
    assert 15 <= lengths[State.CONNECTING] <= 60
    assert 5 <= lengths[State.HANDSHAKE] <= 20
    assert 2 <= lengths[State.PRECHARGE] <= 20
    assert 10 <= lengths[State.RAMP_UP] <= 60
    assert lengths[State.CC] > 1500
    assert lengths[State.CV] > 300
    assert 5 <= lengths[State.RAMP_DOWN] <= 30
    assert 15 <= lengths[State.DISCONNECTING] <= 60


def test_mated_lasts_from_the_end_of_connecting_to_the_start_of_disconnecting(berth: Berth) -> None:
    seen = states(berth.charger, 4501)
    mated = [berth.charger.mated(s * NS) for s in range(4501)]
    first, last = mated.index(True), len(mated) - 1 - mated[::-1].index(True)
    assert (seen[first - 1], seen[last + 1]) == (State.CONNECTING, State.DISCONNECTING)
    assert all(mated[first : last + 1])


def test_the_shipped_call_peaks_at_about_seven_megawatts(berth: Berth) -> None:
    assert 6.7e6 <= berth.charger.grid_w.max() <= 7.2e6
    assert berth.battery.size.energy_wh == pytest.approx(8.8e6, rel=0.01)


def test_grid_energy_is_battery_energy_and_losses(berth: Berth) -> None:
    charger = berth.charger
    battery_w = charger.battery_a * charger.voltage_v
    cable_w = charger.cable_ohm * charger.battery_a**2
    parts = sum(float(np.trapezoid(w)) for w in (battery_w, cable_w, charger.loss_w, charger.own_w))
    metered_ws = 3600.0 * berth.meter.import_wh(4501 * NS) - 3600.0 * berth.meter.import_wh(0)
    assert metered_ws == pytest.approx(parts, rel=1e-6)
    assert 0.93 < float(np.trapezoid(battery_w)) / parts < 0.98


def test_the_values_agree_with_each_other_in_mid_call(berth: Berth) -> None:
    values = berth.charger.values(1500 * NS)
    assert values["state"] == State.CC
    assert values["mated"] is True
    assert values["vessel"] == "AURELIE"
    assert values["heartbeat"] == 1500
    assert values["power_w"] == pytest.approx(values["voltage_v"] * values["current_a"])  # type: ignore[operator]
    assert values["power_w"] <= values["setpoint_w"] <= values["limit_w"]  # type: ignore[operator]
    assert 12.0 < values["plug_temp_c"] < 60.0  # type: ignore[operator]
    battery = berth.battery.values(1500 * NS)
    dc_w = battery["pack_voltage_v"] * battery["pack_current_a"]  # type: ignore[operator]
    assert 0.98 < dc_w / values["power_w"] < 1.0  # type: ignore[operator]


def test_between_calls_there_is_nothing_at_the_plug(berth: Berth) -> None:
    for second in (100, 4400):
        values = berth.charger.values(second * NS)
        assert [values[n] for n in ("state", "mated", "power_w", "voltage_v", "setpoint_w", "vessel")] == [
            0, False, 0.0, 0.0, 0, "",
        ]  # fmt: skip
    total = berth.charger.values(4400 * NS)["session_energy_wh"]
    assert total == pytest.approx(4.1e6, rel=0.1)  # kept until the next call


@st.composite
def days(draw: st.DrawFn) -> tuple[list[Charge], np.ndarray]:
    """Some charges, anywhere and of any shape, with anything between them."""
    seconds, charges, current = 0, [], []
    for _ in range(draw(st.integers(1, 4))):
        pause = draw(st.integers(0, 1500)) if not charges else draw(st.integers(1, 1500))
        length = draw(st.integers(60, 900))
        current += [draw(st.floats(-9, 0))] * pause
        plateau, floor_a = draw(st.integers(0, length)), draw(st.floats(0.5, 9))
        current += [9.0] * plateau + np.linspace(9.0, floor_a, length - plateau).tolist()
        charges.append(Charge(seconds + pause, seconds + pause + length - 1))
        seconds += pause + length
    return charges, np.array(current + [0.0] * draw(st.integers(0, 300)))


@given(days())
def test_whatever_the_charges_the_states_follow_the_rules(day: tuple[list[Charge], np.ndarray]) -> None:
    charges, current_a = day
    n = len(current_a)
    charger = Charger(ChargerSize(), np.full(n, 900.0), current_a * 1000, charges, "AURELIE")
    seen = states(charger, n + 400)
    for before, after in pairwise(seen):
        assert after == before or after in FOLLOWS[before]
    for second, state in enumerate(seen):
        if charger.power_w(second * NS) > 0.0:
            assert state in MATED
            assert state in (State.RAMP_UP, State.CC, State.CV, State.RAMP_DOWN)
    assert 1 <= len(charger.calls) <= len(charges)
    assert seen[-1] == State.IDLE


def test_a_rest_during_a_call_is_a_pause_with_the_plug_in() -> None:
    current_a = np.concatenate([np.full(400, 7000.0), np.zeros(60), np.full(400, 7000.0), np.zeros(10)])
    charger = Charger(ChargerSize(), np.full(870, 900.0), current_a, [Charge(0, 859)], "X")
    assert [charger.state(s * NS) for s in (300, 430, 700)] == [State.CC, State.PAUSED, State.CC]
    assert charger.mated(430 * NS)
    assert charger.values(430 * NS)["power_w"] == 0.0
    assert len(charger.calls) == 1


def test_a_faster_charge_gets_a_larger_tower() -> None:
    charger = Charger(ChargerSize(), np.full(400, 900.0), np.full(400, 12_000.0), [Charge(0, 399)], "X")
    assert charger.values(200 * NS)["limit_w"] == 11_500_000
    assert charger.grid_w.max() < 11_500_000
