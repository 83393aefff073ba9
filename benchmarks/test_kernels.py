"""What a row costs in each kernel that has no other benchmark, in batch or by one call a row. `make bench`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsp import calls, compress, counter, crosscheck, energy, ledger, revise, rollup, session, signal
from dsp import lock_hydraulics as hydraulics

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
S = 1_000_000_000
ROWS = 86_400
MAX = (5 * S, 12e6, np.inf)
Case = tuple[Callable[[], Any], int]  # what to call, and how many rows it takes


@pytest.fixture(scope="module")
def day() -> tuple[Any, Any, Any]:
    """A day at 1 Hz of a meter: time, power, register."""
    rng = np.random.default_rng(1)
    power_w = rng.uniform(0.0, 1e7, ROWS)
    return (
        1_790_000_000 * S + np.arange(ROWS) * S, power_w,
        np.floor(1e9 + np.concatenate([[0.0], np.cumsum((power_w[1:] + power_w[:-1]) / 7200)])),
    )  # fmt: skip


def of_energy(day: tuple[Any, Any, Any]) -> dict[str, Case]:
    t, p, r = day
    zero, out = np.zeros(ROWS), np.zeros(2000, energy.OUT)
    one = np.zeros(4, energy.OUT)
    state, check, check_out = energy.init(), crosscheck.init(), np.zeros(1, crosscheck.OUT)
    columns = list(zip(t.tolist(), p.tolist(), r.tolist(), strict=True))[:20_000]
    n = energy.minutes(t, p, r, zero, *MAX, energy.init(), out)
    minutes, edges = out[:n].copy(), np.arange(t[0] - t[0] % (600 * S), t[-1], 600 * S)
    periods, scratch, nothing = np.zeros(len(edges) - 1, rollup.PERIOD), np.zeros(2000, energy.OUT), out[:0]
    replaced, events = np.zeros(0, ledger.REPLACEMENT), np.zeros(8, ledger.EVENT)

    def step() -> None:
        state[:] = energy.init()
        for t_ns, power_w, register_wh in columns:
            energy.step(state, t_ns, power_w, register_wh, 0.0, *MAX, one)

    def compare() -> None:
        for t_ns, power_w, register_wh in columns:
            crosscheck.step(check, t_ns, power_w, register_wh, 5 * S, 0.01, 1.0, 2.0, 3600 * S, check_out)

    def replace() -> None:
        for _ in range(1000):
            revise.replace(energy.init(), 5, 0.0, 1.0, 0.0, 0.0, 0.0, *MAX, one)

    return {
        "energy.step": (step, len(columns)),
        "energy.minutes": (lambda: energy.minutes(t, p, r, zero, *MAX, energy.init(), out), ROWS),
        "ledger.run": (
            lambda: ledger.run(ledger.init(), energy.init(), t, p, r, zero, replaced, *MAX, out, events), ROWS,
        ),
        "revise.revise": (
            lambda: revise.revise(energy.init(), t, p, r, zero, *MAX, nothing, scratch, out), ROWS,
        ),
        "revise.replace": (replace, 1000),
        "rollup.roll_up": (lambda: rollup.roll_up(minutes, edges, 600 * S, periods), n),
        "crosscheck.step": (compare, len(columns)),
        "counter.classify": (
            lambda: [counter.classify(1000, 1000 + k, 1.0, 1e7, np.inf) for k in range(10_000)], 10_000,
        ),
    }  # fmt: skip


def of_calls(day: tuple[Any, Any, Any]) -> dict[str, Case]:
    t, p, r = day
    rows = np.zeros(ROWS, calls.ROW)
    rows["t_ns"], rows["source"], rows["power_w"], rows["register_wh"] = t, np.arange(ROWS) % 2, p, r
    rows["power_read"], rows["charger_state"], rows["mated"] = 1, 7.0, np.arange(ROWS) % 9000 < 3000
    out, one, state = np.zeros(100, calls.OUT), np.zeros(1, calls.OUT), calls.init()
    call = session.init()
    singles = [rows[k : k + 1] for k in range(20_000)]

    def step() -> None:
        state[:] = calls.init()
        for row in singles:
            calls.step(state, row, 15 * S, one)

    def by_session() -> None:
        call[:] = session.init()
        for k in range(20_000):
            session.step(call, 5 + k * S, 7.0, 1.0, 1e6, 1e6 + k, 0.5, 15 * S, one)

    return {
        "calls.run": (lambda: calls.run(calls.init(), rows, 15 * S, out), ROWS),
        "calls.step": (step, len(singles)),
        "session.step": (by_session, 20_000),
    }


def of_signals(day: tuple[Any, Any, Any]) -> dict[str, Case]:
    t, p, _ = day
    check, ring, points = signal.check_init(), signal.hampel_init(), np.zeros(ROWS, compress.POINT)
    door, few = compress.init(), np.zeros(2, compress.POINT)
    values = p.tolist()[:20_000]

    def checks() -> None:
        check[:] = signal.check_init()
        for k, value in enumerate(values):
            signal.check_step(check, k * S, value, 0.0, 1e7, 0.0, 0, -np.inf, np.inf, 0, np.inf)

    def despike() -> None:
        for value in values:
            signal.hampel_step(ring, value, 3, 3.0, 0.0)

    def doors() -> None:
        door[:] = compress.init()
        for k, value in enumerate(values):
            compress.step(door, k * S, value, 1e5, 600 * S, few)
        compress.flush(door, few)

    return {
        "signal.check_step": (checks, len(values)),
        "signal.hampel_step": (despike, len(values)),
        "signal.mean": (lambda: signal.mean(t, p, 5 * S), ROWS),
        "signal.slope_per_s": (lambda: signal.slope_per_s(t, p), ROWS),
        "signal.time_in_band": (lambda: signal.time_in_band(t, p, 0.0, 2e6, 8e6, 5 * S), ROWS),
        "compress.step": (doors, len(values)),
        "compress.flush": (lambda: compress.flush(compress.init(), few), 1),
        "compress.swinging_door": (lambda: compress.swinging_door(t, p, 1e5, 600 * S, points), ROWS),
    }


def of_water() -> dict[str, Case]:
    flow, leak, drive, drift = (
        hydraulics.flow_init(), hydraulics.leak_init(), hydraulics.drive_init(), hydraulics.drift_init(),
    )  # fmt: skip
    flow_out, leak_out = np.zeros(1, hydraulics.FLOW_OUT), np.zeros(1, hydraulics.LEAK_OUT)
    open_, sizes = np.array([1.0, 0.5]), np.array([2.5, 2.5])

    def repeated(call: Callable[[int], Any]) -> Case:
        return lambda: [call(k) for k in range(10_000)], 10_000

    return {
        "lock_hydraulics.flow_step": repeated(
            lambda k: hydraulics.flow_step(flow, k * S, 10.0, 5.0 + k * 1e-4, open_, sizes, 1735.0, True, flow_out)
        ),
        "lock_hydraulics.leak_step": repeated(
            lambda k: hydraulics.leak_step(leak, k * S, 5.0, 1735.0, True, leak_out)
        ),
        "lock_hydraulics.drive_step": repeated(lambda k: hydraulics.drive_step(drive, k * S, float(k % 4))),
        "lock_hydraulics.drift_step": repeated(lambda k: hydraulics.drift_step(drift, 0.6 + k * 1e-6, 0.05)),
        "lock_hydraulics.gate_state": repeated(lambda k: hydraulics.gate_state(0.5, 0.4)),
    }


@pytest.mark.benchmark(group="every other kernel, all once")
def test_what_a_row_costs_in_each_kernel(benchmark: Any, day: tuple[Any, Any, Any], ratios: Any) -> None:
    """Calls from Python, one a row, include what Python and the boxing take: 0.5 us and more."""
    cases = of_energy(day) | of_calls(day) | of_signals(day) | of_water()
    best = dict.fromkeys(cases, np.inf)
    for call, _ in cases.values():
        call()  # compile
    for _ in range(3):
        for name, (call, rows) in cases.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], (time.perf_counter() - start) / rows)
    benchmark.pedantic(cases["energy.minutes"][0], rounds=3)
    for name, seconds in best.items():
        ratios.add(f"{name}, a row", "s", seconds)
