"""Lockages of simulated days against what really happened: phases, directions, volumes, with signals missing."""

import math
import os
from typing import Any

import lock_days as ld
import numpy as np
import pytest

from dsp import lock_cycle

pytestmark = pytest.mark.usefixtures("kernels")
SIZE = ld.Size()
DAYS = int(os.environ.get("BOLLARD_LOCK_DAYS", "40"))  # benchmarks/test_locks.py runs 1 000
ORDER = ("entry", "closing", "levelling", "opening", "exit")


def lockages(day: ld.Day) -> tuple[Any, Any, Any]:
    """The kernel over one day: lockages, phases, final state."""
    out, phases = np.zeros(200, lock_cycle.OUT), np.zeros(len(day.t_ns), np.int8)
    sluices = np.stack([day.sluices[:, :2].max(axis=1), day.sluices[:, 2:].max(axis=1)], axis=1)
    state = lock_cycle.init()
    n = lock_cycle.run(
        state, day.t_ns, day.gates, sluices, day.levels, day.vessel, SIZE.area_m2, phases, out
    )  # fmt: skip
    return out[:n], phases, state


def starts_s(found: Any) -> dict[str, float]:
    """When each phase of a lockage began, from its start and durations."""
    t, starts = (int(found["start_ns"]) - ld.START_NS) / ld.S, {}
    for name in ORDER:
        length = float(found[f"{name}_s"])
        if name != "entry" or not math.isnan(length):
            starts[name] = t
            t += 0.0 if math.isnan(length) else length
    return starts | {"end": (int(found["end_ns"]) - ld.START_NS) / ld.S}


def test_phases_directions_and_volumes_of_simulated_days_are_true() -> None:
    """Every lockage, every start of a phase within one scan, 99 % of all scans in phase, volumes within 1 %."""
    in_phase = scans = 0
    for seed in range(DAYS):
        day = ld.day(seed)
        found, phases, _ = lockages(day)
        assert len(found) == len(day.lockages), seed
        for cycle, true in zip(found, day.lockages, strict=True):
            assert (int(cycle["direction"]), int(cycle["vessel_seen"])) == (true.direction, int(true.vessel))
            assert float(cycle["volume_m3"]) == pytest.approx(true.volume_m3, rel=0.01)
            got = starts_s(cycle)
            for name, t in true.starts_s.items():
                assert abs(got[name] - t) <= SIZE.scan_s + 1e-3, (seed, name)
        before = np.concatenate([day.phase[:1], day.phase[:-1]])
        in_phase += int(((phases == day.phase) | (phases == before)).sum())
        scans += len(phases)
    assert in_phase > 0.99 * scans


def test_without_levels_all_is_told_but_water() -> None:
    day = ld.day(7)
    day.levels[:] = np.nan
    found, _, state = lockages(day)
    assert [int(c["direction"]) for c in found] == [true.direction for true in day.lockages]
    assert np.isnan(found["volume_m3"]).all() and np.isnan(found["head_m"]).all()
    assert int(state["told"][0]) & lock_cycle.TOLD_LEVEL == 0


def test_without_presence_every_lockage_is_told_and_none_called_empty() -> None:
    day = ld.day(8)
    day.vessel[:] = np.nan
    found, _, state = lockages(day)
    assert [int(c["direction"]) for c in found] == [true.direction for true in day.lockages]
    assert set(found["vessel_seen"].tolist()) == {-1}
    assert int(state["told"][0]) & lock_cycle.TOLD_VESSEL == 0
