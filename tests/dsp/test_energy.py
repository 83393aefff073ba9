"""The energy ledger against exact arithmetic, and its promises over random histories."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import energy
from dsp.energy import (
    EVENT_AMBIGUOUS,
    EVENT_GLITCH,
    EVENT_LOST,
    EVENT_RESET,
    EVENT_ROLLOVER,
    MINUTE_NS,
    NO_EVENT,
    OUT,
    init,
    integrate_power,
    step,
)

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S - (1_790_000_000 * S) % MINUTE_NS
MAX_GAP_NS = 5 * S
MAX_POWER_W = 10e6
RANGE_WH = 2.0**32
NAN = float("nan")


@dataclass
class Meter:
    """Feeds one ledger row by row and keeps all that comes out."""

    state: Any = field(default_factory=init)
    places: int = 4
    max_power_w: float = MAX_POWER_W
    range_wh: float = RANGE_WH
    minutes: list[Any] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)

    def row(self, t_ns: int, power_w: float, import_wh: float = NAN, export_wh: float = NAN) -> None:
        out = np.zeros(self.places, OUT)
        args = (MAX_GAP_NS, self.max_power_w, self.range_wh, out)
        n = step(self.state, t_ns, power_w, import_wh, export_wh, *args)
        if (event := int(self.state["event"][0])) != NO_EVENT:
            before, after = self.state["event_before_wh"][0], self.state["event_after_wh"][0]
            self.events.append((event, int(before), int(after)))
        self.minutes += [row.copy() for row in out[:n]]
        while n == self.places:
            n = step(self.state, -1, NAN, NAN, NAN, *args)
            self.minutes += [row.copy() for row in out[:n]]

    def total(self, name: str) -> int:
        return sum(int(row[name]) for row in self.minutes)

    def waiting(self, name: str = "wh", direction: int | None = 0) -> int:
        bins = self.state["bins"][0][: int(self.state["count"][0])][name]
        return int(bins.sum() if direction is None else bins[:, direction].sum())


# Integration -----------------------------------------------------------------------------------------


powers = st.one_of(st.floats(-5e7, 5e7), st.just(NAN), st.sampled_from([0.0, 7e6, float("inf")]))
steps = st.one_of(st.integers(1, 20 * S), st.sampled_from([0, -S, MAX_GAP_NS, MAX_GAP_NS + 1, S]))


@st.composite
def traces(draw: st.DrawFn) -> tuple[Any, Any]:
    rows = draw(st.lists(st.tuples(steps, powers), max_size=60))
    t_ns = START_NS + np.cumsum([0, *(row[0] for row in rows)][: len(rows)], dtype=np.int64)
    return t_ns, np.array([row[1] for row in rows], dtype=np.float64)


@given(traces())
def test_integrated_energy_agrees_with_exact_arithmetic(trace: tuple[Any, Any]) -> None:
    energy_wh, covered_ns = integrate_power(*trace, MAX_GAP_NS)
    expected_wh, expected_ns = naive.integrate_power(*trace, MAX_GAP_NS)
    assert covered_ns == expected_ns
    assert energy_wh == pytest.approx(expected_wh, rel=1e-12, abs=1e-9)


def test_a_day_that_cancels_out_keeps_its_small_rest() -> None:
    """Large flows both ways leave 1 W for an hour; a plain sum would lose its last digits."""
    power_w = np.tile([3e7, -3e7], 43_200)
    power_w[-3600:] += 1.0
    t_ns = START_NS + np.arange(86_400, dtype=np.int64) * S
    expected_wh, _ = naive.integrate_power(t_ns, power_w, MAX_GAP_NS)
    assert integrate_power(t_ns, power_w, MAX_GAP_NS)[0] == pytest.approx(expected_wh, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(0, 10_000), st.integers(0, 2**32))
def test_channels_over_one_time_axis_agree_with_exact_arithmetic(channels: int, n: int, seed: int) -> None:
    """Lengths that fill no block, one block, several; gaps, NaN, infinity, time standing still and going back."""
    rng = np.random.default_rng(seed)
    t_ns = START_NS + np.cumsum(
        rng.choice([S, S + 7, 0, -S, MAX_GAP_NS, MAX_GAP_NS + 1], n, p=[0.7, 0.1, *[0.05] * 4])
    )
    power_w = rng.uniform(-5e7, 5e7, (channels, n))
    power_w[rng.random(power_w.shape) < 0.01] = NAN
    power_w[rng.random(power_w.shape) < 0.01] = np.inf
    energy_wh, covered_ns = np.full(channels, NAN), np.zeros(channels, np.int64)
    energy.integrate_channels(t_ns.astype(np.int64), power_w, MAX_GAP_NS, energy_wh, covered_ns)
    for c in range(channels):
        expected_wh, expected_ns = naive.integrate_power(t_ns, power_w[c], MAX_GAP_NS)
        magnitude_wh = naive.integrate_power(t_ns, np.abs(power_w[c]), MAX_GAP_NS)[0]
        assert covered_ns[c] == expected_ns
        assert abs(energy_wh[c] - expected_wh) <= 2e-15 * magnitude_wh


# Minutes ---------------------------------------------------------------------------------------------


@dataclass
class History:
    t_ns: list[int]
    power_w: list[float]
    import_wh: list[float]
    export_wh: list[float]


@st.composite
def histories(draw: st.DrawFn, wraps: bool = True) -> History:
    """A meter that only counts, seen through gaps, missing values and late rows; first and last row complete."""
    t, imported, exported = START_NS + draw(st.integers(0, MINUTE_NS)), 0, 0
    top = int(RANGE_WH) if wraps else 2**50
    offset = draw(st.sampled_from([0, 12_345, int(RANGE_WH) - 20_000, int(RANGE_WH) - 3])) if wraps else 777
    count = draw(st.integers(2, 40))
    history = History([], [], [], [])
    for i in range(count):
        power = draw(st.one_of(st.floats(-MAX_POWER_W, MAX_POWER_W), st.just(NAN), st.just(0.0)))
        complete = i in (0, count - 1) or draw(st.integers(0, 3)) > 0
        history.t_ns.append(t)
        history.power_w.append(power)
        history.import_wh.append(float((offset + imported) % top) if complete else NAN)
        history.export_wh.append(float((offset + exported) % top) if complete else NAN)
        dt = draw(
            st.one_of(st.integers(S // 10, 3 * S), st.integers(S, 70 * S), st.sampled_from([S, 600 * S, 4000 * S]))
        )
        most = int(MAX_POWER_W * dt / (3600 * S))
        imported += draw(st.integers(0, most))
        exported += draw(st.one_of(st.just(0), st.integers(0, most)))
        t += dt
    return history


def feed(meter: Meter, history: History) -> Meter:
    for row in zip(history.t_ns, history.power_w, history.import_wh, history.export_wh, strict=True):
        meter.row(*row)
    return meter


@settings(max_examples=80, deadline=None)
@given(histories())
def test_minutes_add_up_to_the_register_exactly(history: History) -> None:
    meter = feed(Meter(), history)
    for name, direction, register in (
        ("import_wh", 0, history.import_wh),
        ("export_wh", 1, history.export_wh),
    ):
        expected = 0
        known = [int(wh) for wh in register if wh == wh]
        for before, after in itertools.pairwise(known):
            expected += (after - before) % int(RANGE_WH)
        assert meter.total(name) + meter.waiting("wh", direction) == expected
    assert all(event == EVENT_ROLLOVER for event, _, _ in meter.events)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_shares_add_up_and_minutes_come_once_in_order_without_holes(history: History) -> None:
    meter = feed(Meter(), history)
    starts = [int(row["minute_ns"]) for row in meter.minutes]
    assert starts == list(range(starts[0], starts[0] + len(starts) * MINUTE_NS, MINUTE_NS)) if starts else True
    for row in meter.minutes:
        shares = row["measured_wh"] + row["integrated_wh"] + row["estimated_wh"]
        assert row["import_wh"] + row["export_wh"] == shares
        assert min(row["import_wh"], row["export_wh"], row["measured_wh"], row["estimated_wh"]) >= 0
        assert 0 <= row["covered_s"] <= 60


@settings(max_examples=60, deadline=None)
@given(histories(wraps=False))
def test_each_minute_is_within_one_watt_hour_of_exact_arithmetic(history: History) -> None:
    history.export_wh = [0.0 if wh == wh else NAN for wh in history.import_wh]
    history.power_w = [abs(power) for power in history.power_w]
    expected = naive.minutes(history.t_ns, history.power_w, history.import_wh, MAX_GAP_NS)
    meter = feed(Meter(range_wh=np.inf), history)
    for row in meter.minutes:
        exact = expected[int(row["minute_ns"])]
        assert abs(int(row["import_wh"]) - exact["import"]) <= 1
        assert float(row["covered_s"]) == pytest.approx(float(exact["covered"]) / S, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(histories(), st.data())
def test_a_kill_at_any_row_changes_nothing(history: History, data: st.DataObject) -> None:
    whole = feed(Meter(places=2), history)
    cut = data.draw(st.integers(0, len(history.t_ns)))
    first = Meter(places=2)
    rows = list(zip(history.t_ns, history.power_w, history.import_wh, history.export_wh, strict=True))
    for row in rows[:cut]:
        first.row(*row)
    second = Meter(np.frombuffer(first.state.tobytes(), energy.STATE).copy(), places=2)
    for row in rows[cut:]:
        second.row(*row)
    assert [row.tobytes() for row in first.minutes + second.minutes] == [row.tobytes() for row in whole.minutes]
    assert second.state.tobytes() == whole.state.tobytes()


@settings(max_examples=40, deadline=None)
@given(histories(), st.data())
def test_late_rows_and_repeated_rows_change_nothing(history: History, data: st.DataObject) -> None:
    expected, meter = feed(Meter(), history), Meter()
    for i, row in enumerate(zip(history.t_ns, history.power_w, history.import_wh, history.export_wh, strict=True)):
        meter.row(*row)
        if data.draw(st.booleans()):
            late_ns = int(meter.state["t_ns"][0]) - data.draw(st.integers(0, 10 * S))
            meter.row(late_ns, data.draw(powers), history.import_wh[max(0, i - 1)], NAN)
    assert [row.tobytes() for row in meter.minutes] == [row.tobytes() for row in expected.minutes]


@settings(max_examples=40, deadline=None)
@given(histories())
def test_the_batch_form_gives_the_same_minutes(history: History) -> None:
    expected = feed(Meter(), history)
    span = (history.t_ns[-1] - history.t_ns[0]) // MINUTE_NS + 3
    out = np.zeros(span, OUT)
    columns = [np.array(c) for c in (history.power_w, history.import_wh, history.export_wh)]
    t_ns = np.array(history.t_ns, dtype=np.int64)
    n = energy.minutes(t_ns, *columns, MAX_GAP_NS, MAX_POWER_W, RANGE_WH, init(), out)
    assert [row.tobytes() for row in out[:n]] == [row.tobytes() for row in expected.minutes]


def test_a_thousand_histories_of_accidents_add_up_exactly() -> None:
    """Gaps, missing values, glitches, roll-overs, resets, a clock that steps back and forward.

    Register energy = what the register moved within each epoch, from its first believed reading to its last.
    """
    rng = np.random.default_rng(20261101)
    top, rolled = int(RANGE_WH), 0
    for _ in range(1000):
        meter, expected, epochs = Meter(places=3), 0, int(rng.integers(1, 4))
        t, wh = START_NS + int(rng.integers(0, MINUTE_NS)), int(rng.integers(10**8, 10**9))
        if rng.random() < 0.3:
            wh = top - int(rng.integers(1, 20_000))
        newest = 0
        for epoch in range(epochs):
            t = max(t, newest + S)
            if epoch:
                # from just above zero or just below the top, a restart at zero looks like a glitch or a roll-over
                to_zero = rng.random() < 0.5 and 10**6 < wh % top < 0.9 * top
                wh = int(rng.integers(0, 3)) if to_zero else wh + 10**9 + 7
            anchor = last = wh
            for k in range(int(rng.integers(6, 20))):
                power = NAN if rng.random() < 0.1 else float(rng.uniform(0, MAX_POWER_W))
                if k > 3 and rng.random() < 0.1:
                    meter.row(t - S // 2, power, wh % top + 5e9, 0.0)  # a glitch
                    newest = max(newest, t - S // 2)
                if k > 3 and rng.random() < 0.1:
                    meter.row(t - S // 4, power, NAN, 0.0)
                    newest = max(newest, t - S // 4)
                meter.row(t, power, float(wh % top), 0.0)
                if epoch and k == energy.BELIEVED_AFTER - 1:
                    anchor = wh
                if t > newest:  # else the clock had stepped back: the row is ignored, the register catches up
                    rolled += wh // top - last // top
                    last, newest = wh, t
                dt = int(rng.choice([S, 2 * S, 30 * S, 900 * S])) if k > 3 else S
                wh += int(rng.integers(0, int(MAX_POWER_W * dt / (3600 * S)) + 1))
                t += dt
                if k > 3 and rng.random() < 0.1:
                    t += int(rng.choice([-5 * S, -2 * S, 3600 * S]))
            expected += last - anchor
        register_wh = sum(
            meter.total(name) + meter.waiting(name, None) for name in ("measured_wh", "estimated_wh")
        )
        assert register_wh == expected
        assert int(meter.state["epoch"][0]) == epochs - 1
        assert [event for event, _, _ in meter.events].count(EVENT_RESET) == epochs - 1
    assert rolled > 100


# The counter's accidents -----------------------------------------------------------------------------


def steady(meter: Meter, start_s: int, stop_s: int, power_w: float, offset_wh: float) -> None:
    """1 Hz at constant power; the register stands at `offset_wh` at second 0."""
    for s in range(start_s, stop_s):
        meter.row(START_NS + s * S, power_w, float(int(offset_wh + power_w * s / 3600)), 0.0)


def test_an_outage_loses_the_shape_and_not_the_energy() -> None:
    meter = Meter()
    steady(meter, 0, 90, 3.6e6, 1000)
    steady(meter, 690, 800, 3.6e6, 1000)  # ten minutes later, 1 kWh for each second
    assert [int(row["import_wh"]) for row in meter.minutes] == [60_000] * 13
    assert [float(row["covered_s"]) for row in meter.minutes] == [60, 29, *[0] * 9, 30, 60]
    assert [int(row["estimated_wh"]) for row in meter.minutes] == [0, 31_000, *[60_000] * 9, 30_000, 0]
    assert meter.events == []


def test_a_roll_over_counts_through() -> None:
    meter = Meter()
    top = int(RANGE_WH)
    for s in range(181):
        meter.row(START_NS + s * S, 3.6e6, float((top - 50_500 + 1000 * s) % top), 0.0)
    assert meter.events == [(EVENT_ROLLOVER, top - 500, 500)]
    assert [int(row["import_wh"]) for row in meter.minutes] == [60_000] * 3
    assert {int(row["epoch"]) for row in meter.minutes} == {0}


def test_a_reset_is_believed_after_three_readings_and_opens_an_epoch() -> None:
    meter = Meter()
    steady(meter, 0, 100, 3.6e6, 500_000)
    steady(meter, 100, 240, 3.6e6, -100_000)
    assert meter.events == [(EVENT_RESET, 599_000, 0)]
    assert [int(row["epoch"]) for row in meter.minutes] == [0, 1, 1]
    assert [int(row["import_wh"]) for row in meter.minutes] == [60_000] * 3  # power stands in meanwhile
    assert meter.minutes[1]["integrated_wh"] == 3000


@pytest.mark.parametrize("garbage", [0.0, 7.0, 1e12, 598_000.0, 2.0**52])
def test_a_glitch_is_rejected_and_leaves_no_trace(garbage: float) -> None:
    meter, clean = Meter(range_wh=np.inf), Meter(range_wh=np.inf)
    steady(clean, 0, 240, 3.6e6, 500_000)
    steady(meter, 0, 100, 3.6e6, 500_000)
    meter.row(START_NS + 100 * S, 3.6e6, garbage, 0.0)
    steady(meter, 101, 240, 3.6e6, 500_000)
    assert meter.events == [(EVENT_GLITCH, 599_000, int(garbage))]
    assert [row.tobytes() for row in meter.minutes] == [row.tobytes() for row in clean.minutes]


def test_a_replaced_meter_with_a_higher_index_is_not_energy() -> None:
    meter = Meter()
    steady(meter, 0, 100, 3.6e6, 500_000)
    steady(meter, 100, 240, 3.6e6, 900_000_000)
    assert meter.events == [(EVENT_RESET, 599_000, 900_100_000)]
    assert [int(row["import_wh"]) for row in meter.minutes] == [60_000] * 3


def test_a_gap_that_may_hide_a_whole_turn_is_refused() -> None:
    meter = Meter(range_wh=10_000_000.0)  # 10 MWh: an hour at the largest power
    steady(meter, 0, 120, 3.6e6, 0)
    hour = 3600
    for s in range(hour, hour + 120):
        meter.row(START_NS + s * S, 3.6e6, float(2_000_000 + 1000 * (s - hour)), 0.0)
    assert meter.events == [(EVENT_AMBIGUOUS, 119_000, 2_000_000)]
    assert meter.total("import_wh") == 119_000 + 60_000
    assert [int(row["epoch"]) for row in meter.minutes] == [0, 0, 1]


def test_a_register_that_stays_away_leaves_integrated_minutes_after_a_quarter_hour() -> None:
    meter = Meter()
    steady(meter, 0, 60, 3.6e6, 0)
    for s in range(60, 20 * 60):
        meter.row(START_NS + s * S, 3.6e6)
    assert [event for event, _, _ in meter.events] == [EVENT_LOST]
    assert [int(row["integrated_wh"]) for row in meter.minutes[1:]] == [60_000] * 18
    assert int(meter.minutes[-1]["register_import_wh"]) == 59_000  # the last one read, with its own time
    assert int(meter.minutes[-1]["register_t_ns"]) == START_NS + 59 * S


def test_a_device_without_registers_is_integrated_and_its_fractions_carried() -> None:
    meter = Meter()
    for s in range(3601):
        meter.row(START_NS + s * S, 100.0)
    assert meter.total("import_wh") == 100  # 1.667 Wh a minute
    assert meter.total("integrated_wh") == 100
    assert {int(row["register_import_wh"]) for row in meter.minutes} == {-1}


def test_power_back_to_the_grid_is_export_even_inside_one_step() -> None:
    meter = Meter()
    for s, power_w in enumerate([3.6e6, -3.6e6] * 31):
        meter.row(START_NS + s * S, power_w)
    row = meter.minutes[0]
    assert (int(row["import_wh"]), int(row["export_wh"])) == (15_000, 15_000)


def test_silence_without_registers_is_missing_coverage() -> None:
    meter = Meter()
    for s in [*range(61), *range(600, 661)]:
        meter.row(START_NS + s * S, 3.6e6)
    assert [int(row["minute_ns"] - START_NS) // MINUTE_NS for row in meter.minutes] == [0, 10]


def test_a_register_in_kwh_on_a_small_circuit_is_no_glitch() -> None:
    meter = Meter(max_power_w=20_000.0)
    for s in range(1200):
        meter.row(START_NS + s * S, 10_000.0, float(int(10_000 * s / 3.6e6) * 1000), 0.0)
    assert meter.events == []
    assert meter.total("import_wh") == 3000


def test_rows_sent_while_minutes_wait_to_be_fetched_are_counted() -> None:
    state, out = init(), np.zeros(1, OUT)
    args = (MAX_GAP_NS, MAX_POWER_W, RANGE_WH, out)
    step(state, START_NS, 0.0, 0.0, 0.0, *args)
    assert step(state, START_NS + 300 * S, 0.0, 0.0, 0.0, *args) == 1
    assert step(state, START_NS + 301 * S, 0.0, 0.0, 0.0, *args) == 1  # a minute again, the row is not taken
    assert int(state["not_taken"][0]) == 1


def test_values_that_are_no_counter_are_unknown() -> None:
    meter = Meter()
    for bad in (-1.0, 2.0**53 + 2, float("inf"), NAN):
        meter.row(START_NS + len(meter.minutes), 0.0, bad, bad)
    assert int(meter.state["known"][0].sum()) == 0
