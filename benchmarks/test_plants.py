"""A month of `port-day` at 1 s on one core: three berths, five ships, two locks with a tick of 0.25 s.

The yardstick beside it is the same text of the same plants, run by Python itself on plain lists, which is how a
simulator is stepped that was not compiled. It runs for twenty minutes of simulated time, starts at the same state
and must end at the same; its month is scaled up. Aim: the month in under a minute.
"""

import copy
import importlib
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from firmware_sim.bench import Bench
from firmware_sim.plant.lock import TRACE, Lock
from firmware_sim.plant.port import Port
from firmware_sim.scenario import load_scenario

NS = 1_000_000_000
DAY_S, MONTH_DAYS, YARDSTICK_S = 86_400, 30, 1200
KERNELS = ("chemistry", "pack", "tower", "supply", "lock_kernel")


def plants() -> tuple[Port, list[Lock]]:
    bench = Bench(load_scenario("port-day"))
    return bench.points["point-1"].port, list(bench.locks.values())


def run_month(port: Port, locks: list[Lock]) -> float:
    """Every second of the month in a trace, a day at a time. Returns: largest power at the delivery point. [W]"""
    trace, water = np.zeros((DAY_S, port.columns)), np.zeros((DAY_S, TRACE))
    highest_w = 0.0
    for day in range(1, MONTH_DAYS + 1):
        port.step(DAY_S, trace)
        highest_w = max(highest_w, float(trace[:, 0].max()))
        for lock in locks:
            lock.advance(day * DAY_S * NS, water, 1)
    return highest_w


@contextmanager
def plain_python() -> Iterator[dict[str, ModuleType]]:
    """The kernels' modules once more, without the compiler."""
    names = [f"firmware_sim.plant.{name}" for name in KERNELS]
    kept = {name: sys.modules.pop(name) for name in names}
    numba.config.DISABLE_JIT = True
    try:
        yield {name: importlib.import_module(f"firmware_sim.plant.{name}") for name in KERNELS}
    finally:
        numba.config.DISABLE_JIT = False
        sys.modules.update(kept)


def plain_steps(seconds: int) -> tuple[float, list[list[float]]]:
    """Returns: time that Python takes for `seconds` of the same port [s], and the towers' state after it."""
    port, locks = plants()
    port.step(5 * 3600, np.zeros((5 * 3600, port.columns)))  # to where ships are charging
    for lock in locks:
        lock.advance(5 * 3600 * NS)
        lock._provide(4 * (5 * 3600 + seconds))
        lock._orders_at(4 * 5 * 3600)
    rows: dict[str, Any] = {
        key: getattr(port, key).tolist()
        for key in (
            "point", "hub", "towers", "berths", "packs", "curves", "areas", "ships", "calls", "trips", "events",
            "flags", "room", "copies",
        )
    }  # fmt: skip
    trace = [[0.0] * port.columns for _ in range(seconds)]
    with plain_python() as modules:
        start = time.perf_counter()
        modules["supply"].run(
            *(rows[key] for key in list(rows)[:-1]), port.seconds, seconds, rows["copies"], trace
        )
        for lock in locks:
            parts = (lock._parameters, lock._state, lock._orders, lock._draws, lock._boats, lock._log)
            water = [[0.0] * TRACE for _ in range(seconds)]
            modules["lock_kernel"].run(*(copy.deepcopy(part.tolist()) for part in parts), 4 * seconds, water, 4)
        took_s = time.perf_counter() - start
    compiled = np.zeros((seconds, port.columns))
    port.step(seconds, compiled)
    assert rows["berths"] == pytest.approx(port.berths, rel=1e-9, abs=1e-6)  # the same plant
    return took_s, rows["berths"]


def test_a_month_of_port_day(benchmark: BenchmarkFixture) -> None:
    """Prints simulated seconds per second, the month, memory, and the ratio to plain Python, in one run."""
    run_day = plants()
    run_day[0].step(60, np.zeros((60, run_day[0].columns)))  # compiled outside the measurement
    for lock in run_day[1]:
        lock.advance(60 * NS, np.zeros((60, TRACE)), 1)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    port, locks = plants()
    start = time.process_time()
    highest_w = benchmark.pedantic(run_month, (port, locks), rounds=1, iterations=1)
    month_s = time.process_time() - start
    after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    plain_s, _ = plain_steps(YARDSTICK_S)
    balance = port.balance()
    simulated_s = MONTH_DAYS * DAY_S
    plain_month_s = plain_s / YARDSTICK_S * simulated_s
    print(
        f"\nport-day, {MONTH_DAYS} days at 1 s (locks at 0.25 s), one core: "
        f"{month_s:.1f} s, {simulated_s / month_s:,.0f} simulated s per s\n"
        f"  plain Python on lists: {YARDSTICK_S / plain_s:,.0f} simulated s per s, "
        f"the month {plain_month_s:,.0f} s; ratio {plain_month_s / month_s:.0f}\n"
        f"  memory: {before_mb:.0f} MB with the kernels, {after_mb:.0f} MB at most\n"
        f"  {balance['grid_j'] / 3.6e12:.2f} GWh from the grid, at most {highest_w / 1e6:.2f} MW, "
        f"{sum(lock.completed for lock in locks)} lockages; not accounted for: "
        f"{balance['open_j'] / balance['grid_j']:.1e} of the energy"
    )
    assert month_s < 60.0
    assert highest_w <= 70e6
    assert abs(balance["open_j"]) <= 1e-6 * balance["grid_j"]
