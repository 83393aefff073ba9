"""The simulator's locks through the kernels: lockages true, truthful locks never accused, planted faults found."""

from functools import partial

import numpy as np
import plant_faults as pf
import plant_locks as pl
import pytest

from firmware_sim.plant.lock import PRESETS

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.mark.parametrize("short_m", [None, 92.0])
def test_the_fast_columns_are_what_the_plc_shows(short_m: float | None) -> None:
    fast, slow = (pl.lock_of(PRESETS["fall-4.9"], 5, short_m) for _ in range(2))
    day = pl.run(fast, 3000, 1)
    rows = [slow.values(second * pl.NS) for second in range(1, 3001)]
    for i, name in enumerate(day.heads):
        shown = np.array([row[f"gate_{name}_state"] for row in rows])
        assert np.count_nonzero(shown != day.gates[:, i]) <= 4  # a drive is told one scan before it has moved
        assert np.array_equal([row[f"sluice_{name}_position"] for row in rows], day.sluices[:, i])
        for k, way in enumerate(("in", "out")):
            green = np.array([row[f"light_{name}_{way}"] for row in rows]) == pl.GREEN
            assert np.array_equal(green, day.lights[:, 2 * i + k] == pl.GREEN)
    assert np.count_nonzero([row["vessel_present"] for row in rows] != day.vessel) <= 2
    assert np.abs(np.array([row["level_chamber_m"] for row in rows]) - day.levels[:, 1]).max() < 0.01


@pytest.mark.parametrize("preset", PRESETS)
def test_lockages_are_true_and_a_truthful_lock_is_never_accused(preset: str) -> None:
    tally = pf.Tally()
    for seed, short_m in ((1, None), (2, 92.0)):
        pf.compare(pl.lock_of(PRESETS[preset], seed, short_m), 40_000, seed, tally)
    assert tally.lockages >= 30 and tally.missed == 0
    assert tally.false == 0
    assert tally.worst_volume < 0.01
    assert tally.moments_true >= 0.99 * tally.moments


@pytest.mark.parametrize("fault", pf.RULE_OF)
def test_every_incoherence_of_the_simulator_is_told_within_one_scan(fault: str) -> None:
    """Told at the scan that shows it by the twin's words; nothing is told that the twin does not see."""
    make = partial(pl.lock_of, PRESETS["fall-4.9"], 3)
    found = pf.plant_one(make, fault, 14_000, 3, 3600)
    assert found.shown >= 0
    assert found.shown <= found.told <= found.shown + 1
    assert found.wrong == []
