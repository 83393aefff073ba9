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


@pytest.mark.parametrize("fault", ["lock-level-moves-all-closed", "lock-level-still-sluice-open"])
@pytest.mark.parametrize("short", [True, False])
def test_levels_of_a_double_lock_are_judged_by_the_water_in_use(fault: str, short: bool) -> None:
    """Over a whole lockage with the middle gate, or without: the twin sees a lock of the chambers that are one."""
    lock, seconds = pl.lock_of(PRESETS["fall-4.9"], 5, 92.0), 16_000
    volume_m3 = lock.size.width_m * 4.9 * (92.0 if short else lock.size.length_m)
    probe = pl.run(pl.lock_of(PRESETS["fall-4.9"], 5, 92.0), seconds, 5)
    down = [x for x in probe.lockages if "exit" in x.phases and x.direction == "down"]  # a full chamber can sink
    at = int(next(x for x in down if x.volume_m3 == pytest.approx(volume_m3)).phases["closing"])
    pf.plant(lock, fault, at, at + 900)
    topology, areas_m2 = pf.topology_of(lock)
    day = pl.run(lock, seconds, 5)
    _, phases = pf.lockages(day, areas_m2)
    rule = pf.RULE_OF[fault]
    raised = np.flatnonzero(pf.judge(day, topology, phases) >> pf.lock_rules.RULES.index(rule) & 1)
    twin = topology.copy()
    twin["chamber_m2"][0, 0] = areas_m2[0] if short else sum(areas_m2)
    during = slice(at, at + 900)
    shown = np.flatnonzero(pf.shown(pf.as_two_heads(day), twin, phases)[rule][during])
    assert len(shown) and len(raised)
    assert raised[0] == at + shown[0]
