"""Compile every kernel once, so that neither a first row nor a test waits for the compiler."""

import time
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import cell, crosscheck, ekf, energy, lock_cycle, lock_rules, lock_topology, revise, session, soc
from dsp import lock_hydraulics as hydraulics


def warm(kinds: Collection[str] | None = None) -> float:
    """Call kernels with the types that the edge uses. Returns: seconds spent; 0.3 when all were cached.

    Args:
        kinds: Devices of a gateway: only what it feeds row by row for them is loaded, since each loaded kernel
            costs memory for good. None loads every kernel.
    """
    start = time.perf_counter()
    params = cell.pack_params(cell.load_cell("nmc"), 1, 1)
    for kind, load in (("meter", _meter), ("charger", _calls), ("lock", _lock)):
        if kinds is None or kind in kinds:
            load()
    if kinds is None or "battery" in kinds:
        soc.step(soc.init(params), params, 0, 3.7, 0.0, 25.0, np.nan)
    if kinds is None:
        _the_rest(params)
    return time.perf_counter() - start


def _meter() -> None:
    energy.step(energy.init(), 0, 0.0, 0.0, 0.0, 1, 1.0, np.inf, np.zeros(4, energy.OUT))
    crosscheck.step(crosscheck.init(), 0, 0.0, 0.0, 1, 0.01, 1.0, 1.0, 1, np.zeros(1, crosscheck.OUT))


def _calls() -> None:
    session.step(session.init(), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 1, np.zeros(1, session.OUT), True)


def _lock() -> None:
    two, three = np.zeros(2), np.zeros(3)
    lock_cycle.step(lock_cycle.init(), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, np.zeros(1, lock_cycle.OUT))
    record = lock_topology.pack(lock_topology.Lock((lock_topology.Head(), lock_topology.Head()), (1.0,)))
    lock_rules.step(lock_rules.init(), record, 0, two, two, np.zeros(4), three, 1.0, 0.0, 0.0)
    hydraulics.leak_step(hydraulics.leak_init(), 0, 0.0, 1.0, False, np.zeros(1, hydraulics.LEAK_OUT))
    flow_out = np.zeros(1, hydraulics.FLOW_OUT)
    hydraulics.flow_step(hydraulics.flow_init(), 0, 1.0, 0.0, two[:1], two[:1], 1.0, False, flow_out)
    hydraulics.drive_step(hydraulics.drive_init(), 0, 0.0)
    hydraulics.drift_step(hydraulics.drift_init(), 0.0, 0.1)


def _the_rest(params: NDArray[Any]) -> None:
    t_ns, row, minutes = np.arange(3, dtype=np.int64), np.ones(3), np.zeros(4, energy.OUT)
    energy.integrate_power(t_ns, row, 1)
    energy.minutes(t_ns, row, row, row, 1, 1.0, np.inf, energy.init(), minutes)
    nothing = np.zeros(0, energy.OUT)
    revise.revise(energy.init(), t_ns, row, row, row, 1, 1.0, np.inf, nothing, minutes, minutes.copy())
    hydraulics.gate_state(0.5, 0.4)
    ekf.step(ekf.init(params), params, 0, 3.7, 0.0, 25.0)
    soc.run(params, t_ns, row, row, row, np.nan, 0.3)
