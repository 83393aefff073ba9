"""Compile every kernel once, so that neither a first row nor a test waits for the compiler."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import cell, ekf, energy, lock_cycle, lock_rules, lock_topology, session, soc


def warm(everything: bool = True) -> float:
    """Call kernels with the types that the edge uses. Returns: seconds spent; 0.3 when all were cached.

    Args:
        everything: False loads only what a gateway feeds row by row: each loaded kernel costs memory for good.
    """
    start = time.perf_counter()
    minutes = np.zeros(4, energy.OUT)
    energy.step(energy.init(), 0, 0.0, 0.0, 0.0, 1, 1.0, np.inf, minutes)
    session.step(session.init(), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 1, np.zeros(1, session.OUT))
    lock_cycle.step(lock_cycle.init(), 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, np.zeros(1, lock_cycle.OUT))
    params = cell.pack_params(cell.load_cell("nmc"), 1, 1)
    soc.step(soc.init(params), params, 0, 3.7, 0.0, 25.0, np.nan)
    if everything:
        _warm_the_rest(minutes, params)
    return time.perf_counter() - start


def _warm_the_rest(minutes: NDArray[Any], params: NDArray[Any]) -> None:
    t_ns = np.arange(3, dtype=np.int64)
    row = np.ones(3)
    energy.integrate_power(t_ns, row, 1)
    energy.minutes(t_ns, row, row, row, 1, 1.0, np.inf, energy.init(), minutes)
    lock = lock_topology.pack(lock_topology.Lock((lock_topology.Head(), lock_topology.Head()), (1.0,)))
    lock_rules.step(lock_rules.init(), lock, 0, np.zeros(2), np.zeros(2), np.zeros(4), row, 1.0, 0.0, 0.0)
    ekf.step(ekf.init(params), params, 0, 3.7, 0.0, 25.0)
    soc.run(params, t_ns, row, row, row, np.nan, 0.3)
