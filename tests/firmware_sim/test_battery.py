"""The pack is the recording times its cells; the BMS has an opinion of its own."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from firmware_sim.bench import Bench
from firmware_sim.plant.battery import Battery, size_for
from firmware_sim.plant.meter import NS
from firmware_sim.plant.replay import Recording, load

RECORDING = Path(str(resources.files("firmware_sim") / "recordings" / "ferry-call.csv.gz"))


def linear(n: int = 101, soc: float = np.nan) -> Recording:
    ramp = np.linspace(0.0, 1.0, n)
    truth = np.full(n, soc) if np.isnan(soc) else soc + 0.1 * ramp
    return Recording("ramp", 3.0 + ramp, -5.0 + 10.0 * ramp, 20.0 + ramp, truth, {})


def test_the_number_of_cells_comes_closest_to_energy_and_voltage() -> None:
    size = size_for(8.8e6, 950.0, 4.7925, 3.7)
    assert (size.series, size.parallel) == (257, 1931)
    assert size.energy_wh == pytest.approx(8.8e6, rel=1e-3)
    assert size_for(8.8e6, 950.0, 4.7925, 3.7, series=216, parallel=200).capacity_ah == pytest.approx(958.5)


def test_a_pack_is_its_cells_times_series_and_parallel() -> None:
    battery = Battery(linear(), size_for(1e6, 950, 5.0, 3.5, series=250, parallel=200), "AURELIE", 1)
    values = battery.values(30 * NS + NS // 2)
    assert values["pack_voltage_v"] == pytest.approx(250 * 3.305, abs=0.051)
    assert values["pack_current_a"] == pytest.approx(200 * -1.95, abs=0.051)
    assert values["pack_temp_c"] == pytest.approx(20.3, abs=0.051)
    assert values["cell_min_v"] < 3.305 < values["cell_max_v"]  # type: ignore[operator]
    assert values["heartbeat"] == 30
    assert values["vessel"] == "AURELIE"


def test_after_the_end_the_pack_rests_as_it_was_left() -> None:
    battery = Battery(linear(soc=0.5), size_for(1e6, 950, 5.0, 3.5), "X", 1)
    assert battery.values(5000 * NS)["pack_current_a"] == 0.0
    assert battery.true_soc(5000 * NS) == pytest.approx(0.6)


def test_without_truth_nobody_knows_but_the_bms_still_says_something() -> None:
    battery = Battery(linear(), size_for(1e6, 950, 5.0, 3.5), "X", 1)
    assert battery.true_soc(50 * NS) is None
    assert 0.0 <= battery.values(50 * NS)["soc_bms"] <= 1.0  # type: ignore[operator]


def test_the_bms_is_wrong_but_not_absurd(bench: Bench) -> None:
    battery = bench.berths["berth-1"].battery
    errors = [
        battery.values(s * NS)["soc_bms"] - battery.true_soc(s * NS)  # type: ignore[operator]
        for s in range(0, 4500, 50)
    ]
    assert 0.005 < max(errors) < 0.05
    assert min(errors) > 0.0
    assert max(errors) - min(errors) > 0.003  # it drifts


def test_the_shipped_recording_is_a_crossing_a_full_call_and_a_departure() -> None:
    found = load(RECORDING)
    assert RECORDING.stat().st_size < 200_000
    assert found.seconds == 4500
    assert found.soc[0] == 0.45
    assert found.soc.max() - found.soc[800] > 0.4
    assert found.voltage_v.max() == pytest.approx(4.15, abs=1e-3)
    counted = np.cumsum((found.current_a[1:] + found.current_a[:-1]) / 2) / 3600 / 4.7925
    assert np.abs(found.soc[0] + counted - found.soc[1:]).max() < 2e-4


@pytest.mark.shared
def test_two_days_begin_a_quarter_of_an_hour_before_the_first_call(shared: Path) -> None:
    from firmware_sim.scenario import load_scenario

    file = shared / "data" / "battery" / "sim_ferry" / "ferry_nmc_20degC.csv.gz"
    loaded = load_scenario("demo-port", recording={"file": str(file), "span_s": 4500})
    said = Bench(loaded).describe()["berth-1"]
    assert (said["start_s"], said["span_s"], said["calls"]) == (5491 - 900, 4500, 1)
    assert said["pack"]["energy_wh"] == pytest.approx(8.8e6, rel=0.01)


@pytest.mark.shared
def test_a_drive_cycle_is_no_call_and_starts_at_its_start(shared: Path) -> None:
    from firmware_sim.scenario import load_scenario

    file = shared / "data" / "battery" / "lg_hg2" / "drive_25degC_UDDS.csv.gz"
    bench = Bench(load_scenario("demo-port", recording={"file": str(file), "span_s": 3600}))
    assert bench.describe()["berth-1"]["start_s"] == 0
    assert bench.truth(1000 * NS, 0)["calls"] == []
    assert bench.state(1000 * NS)["charger-1"]["state"] == 0
    assert bench.truth(0, 0)["soc"] == 1.0
