"""A thousand days of the simulator's locks: lockages, false incoherences, planted ones. `make bench`."""

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.plant.lock import PRESETS

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
import plant_faults as pf  # the columns and their twins live with the tests
import plant_locks as pl

DAYS = int(os.environ.get("BOLLARD_LOCK_DAYS", "1000"))


@pytest.mark.benchmark(group="a day of a simulated lock, made, segmented and judged")
def test_a_thousand_days_of_simulated_locks(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark.pedantic(
        lambda: pf.compare(pl.lock_of(PRESETS["fall-4.9"], 0), pl.DAY_S, 0, pf.Tally()), rounds=3, warmup_rounds=1
    )
    kinds = [(preset, short_m) for preset in PRESETS for short_m in (None, 92.0)]
    tallies = {kind: pf.Tally() for kind in kinds}
    start = time.perf_counter()
    for seed in range(DAYS):
        kind = kinds[2 * (seed % 3) + (seed % 10 == 9)]  # the slow ones, with a middle gate, more rarely
        pf.compare(pl.lock_of(PRESETS[kind[0]], seed, kind[1]), pl.DAY_S, seed, tallies[kind])
    planted = {fault: [0, 0, 0] for fault in pf.RULE_OF}
    for seed in range(max(3, DAYS // 50)):
        for fault, counts in planted.items():
            make = partial(pl.lock_of, PRESETS[list(PRESETS)[seed % 3]], seed)
            found = pf.plant_one(make, fault, 20_000, seed, 3600)
            counts[0] += 1
            counts[1] += 0 <= found.shown <= found.told <= found.shown + 1
            counts[2] += len(found.wrong)
    with capsys.disabled():
        print(f"\n{DAYS} days of the simulator's locks at 1 Hz, {time.perf_counter() - start:.0f} s")
        print(f"  {'lock':24s} {'lockages':>9s} {'missed':>7s} {'phases within a scan':>21s} {'volume':>8s} false")
        for (preset, short_m), t in tallies.items():
            name = preset + (" + middle gate" if short_m else "")
            share, worst = 100 * t.moments_true / max(1, t.moments), 100 * t.worst_volume
            print(f"  {name:24s} {t.lockages:9d} {t.missed:7d} {share:19.3f} % {worst:6.2f} % {t.false:5d}")
        print("  planted                                  days   told within one scan   wrongly told beside it")
        for fault, (days, told, wrong) in planted.items():
            print(f"  {fault:38s} {days:6d} {told:22d} {wrong:24d}")
    assert all(t.false == 0 and t.missed == 0 and t.worst_volume < 0.01 for t in tallies.values())
    assert all(t.moments_true >= 0.99 * t.moments for t in tallies.values())
    assert all(told == days and wrong == 0 for days, told, wrong in planted.values())
