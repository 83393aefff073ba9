"""Compute ferry-call.csv.gz: one crossing, one full charge, one departure, by PyBaMM's DFN model.

Not part of the product: PyBaMM is no dependency of bollard. README.md beside this file says how to run it
and what the columns mean. Current here is positive when charging; PyBaMM counts the other way round.
"""

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pybamm
from numpy.typing import NDArray

HEALTHY_AH = 5.1532  # capacity of Chen2020 between 2.5 and 4.2 V
HEALTH = 0.93  # reached by narrowing the electrodes, so voltages at equal C-rate stay as they were
CAPACITY_AH = HEALTHY_AH * HEALTH
START_SOC = 0.45
AMBIENT_K = 293.15
CHARGE_C, CHARGE_V = 0.72, 4.15  # a ship's battery is kept below the cell's 4.2 V for a long life
CROSSING_S, BERTHING_S, RAMP_UP_S, CHARGING_S = 720, 90, 40, 2640
RAMP_DOWN_S, LEAVING_S, DEPARTURE_S = 15, 75, 920  # 4500 s in all
SEED = 20261014


def sea(seconds: int, manoeuvre_s: int, arrives: bool, random: np.random.Generator) -> NDArray[np.float64]:
    """Current per second under way: steady with waves, jerky while manoeuvring. Negative [A]."""
    t = np.arange(seconds)
    c_rate = -0.45 - 0.05 * np.sin(2 * np.pi * t / 11.0) - 0.03 * np.cumsum(random.normal(0, 0.1, seconds))
    near = t >= seconds - manoeuvre_s if arrives else t < manoeuvre_s
    bursts = np.repeat(random.choice([0.1, 0.25, 0.6, 1.1, 1.6], seconds // 12 + 1), 12)[:seconds]
    smooth = np.convolve(np.pad(bursts, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    c_rate = np.where(near, -smooth - 0.05, np.clip(c_rate, -0.9, -0.1))
    return np.asarray(c_rate * CAPACITY_AH)


def drive(current_a: NDArray[np.float64]) -> pybamm.step.Current:
    """A step that follows a current per second; the last value is held for its second."""
    t = np.arange(len(current_a) + 1.0)
    pybamm_a = -np.append(current_a, current_a[-1])
    return pybamm.step.current(np.column_stack([t, pybamm_a]), duration=len(current_a), period="1 second")


def solve(
    steps: list[pybamm.step.BaseStep], before: pybamm.Solution | None
) -> tuple[pybamm.Solution, pybamm.ParameterValues]:
    parameters = pybamm.ParameterValues("Chen2020")
    parameters["Electrode width [m]"] *= HEALTH
    parameters["Nominal cell capacity [A.h]"] = CAPACITY_AH
    parameters["Ambient temperature [K]"] = AMBIENT_K
    parameters["Initial temperature [K]"] = AMBIENT_K
    model = pybamm.lithium_ion.DFN({"thermal": "lumped"})
    simulation = pybamm.Simulation(
        model,
        parameter_values=parameters,
        experiment=pybamm.Experiment([(step,) for step in steps]),
        solver=pybamm.IDAKLUSolver(rtol=1e-6, atol=1e-8),
    )
    initial_soc = START_SOC if before is None else None
    return simulation.solve(initial_soc=initial_soc, starting_solution=before), parameters


def main() -> None:
    random = np.random.default_rng(SEED)
    charge_a = CHARGE_C * CAPACITY_AH
    hotel_a = -0.02 * CAPACITY_AH  # between disconnecting the engines and the plug, the ship lives on it
    arrival, _ = solve(
        [
            drive(sea(CROSSING_S, 150, True, random)),
            drive(np.full(BERTHING_S, hotel_a)),
            drive(np.linspace(0.0, charge_a, RAMP_UP_S)),
        ],
        None,
    )
    hold = pybamm.step.current(-charge_a, duration=CHARGING_S, termination=f"{CHARGE_V} V", period="1 second")
    full, _ = solve([hold], arrival)
    done_s = CROSSING_S + BERTHING_S + RAMP_UP_S
    left_s = round(done_s + CHARGING_S - float(full["Time [s]"].entries[-1]))
    print(f"constant voltage for {left_s} s")
    full, _ = solve([pybamm.step.voltage(CHARGE_V, duration=left_s, period="1 second")], full)
    last_a = -float(full["Current [A]"].entries[-1])
    whole, _ = solve(
        [
            drive(np.linspace(last_a, 0.0, RAMP_DOWN_S)),
            drive(np.full(LEAVING_S, hotel_a)),
            drive(sea(DEPARTURE_S, 120, False, random)),
        ],
        full,
    )
    write(whole, random)


def write(solution: pybamm.Solution, random: np.random.Generator) -> None:
    """Resample to 1 Hz (steps repeat an instant: the value after the step counts) and add the sensors."""
    time = np.asarray(solution["Time [s]"].entries)
    last = np.append(np.diff(time) > 1e-6, True)
    t = np.arange(round(time[-1]) + 1)
    current, voltage, temp, charged = (
        np.interp(t, time[last], np.asarray(solution[name].entries)[last])
        for name in (
            "Current [A]",
            "Terminal voltage [V]",
            "Volume-averaged cell temperature [K]",
            "Discharge capacity [A.h]",
        )
    )
    current, temp, soc = -current, temp - 273.15, START_SOC - charged / CAPACITY_AH
    n = len(t)
    columns = {
        "time_s": (t, "d"),
        "current_a": (current, ".4f"),
        "voltage_v": (voltage, ".5f"),
        "temp_c": (temp, ".2f"),
        "soc_true": (soc, ".5f"),
        "current_meas_a": (current * 1.002 + 0.01 + random.normal(0, 0.002 * CAPACITY_AH, n), ".3f"),
        "voltage_meas_v": (voltage + random.normal(0, 0.003, n), ".3f"),
        "temp_meas_c": (temp + random.normal(0, 0.3, n), ".1f"),
    }
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*([format(v, f) for v in values.tolist()] for values, f in columns.values()), strict=True))
    target = Path(__file__).with_name("ferry-call.csv.gz")
    target.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    print(
        f"{target}: {n} rows, SoC {soc.min():.3f} to {soc.max():.3f}, {voltage.min():.3f} to {voltage.max():.3f} V"
    )


if __name__ == "__main__":
    main()
