"""A thousand simulated days of a lock with truth: phases, volumes, false and missed incoherences. `make bench`."""

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsp import lock_cycle, lock_rules, lock_topology

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import lock_days as ld  # the generator lives with the tests
from lock_plants import plant

DAYS = int(os.environ.get("BOLLARD_LOCK_DAYS", "1000"))
SIZE = ld.Size()
HEAD = lock_topology.Head(sluice_m2=(1.5, 1.5))
TOPOLOGY = lock_topology.pack(lock_topology.Lock((HEAD, HEAD), (SIZE.area_m2,)))
ORDER = ("entry", "closing", "levelling", "opening", "exit")


def judge(day: ld.Day) -> Any:
    raised = np.zeros(len(day.t_ns), np.int64)
    columns = (day.gates, day.sluices, day.lights, day.levels, day.mode, day.heartbeat, day.in_lockage)
    lock_rules.run(lock_rules.init(), TOPOLOGY, day.t_ns, *columns, raised)
    return raised


@pytest.mark.benchmark(group="rules over a day of a lock, 86 400 scans")
def test_a_thousand_days_of_a_lock(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out, phases = np.zeros(300, lock_cycle.OUT), np.zeros(ld.DAY_S, np.int8)
    benchmark.pedantic(judge, args=(ld.day(0),), rounds=3, warmup_rounds=1)  # else --benchmark-only skips this
    spent = {"days made": 0.0, "rules": 0.0, "lockages": 0.0}
    false = lockages = scans = in_phase = starts = starts_true = 0
    planted, found = dict.fromkeys(lock_rules.RULES, 0), dict.fromkeys(lock_rules.RULES, 0)
    volume_errors = []
    rng = np.random.default_rng(1)
    for seed in range(DAYS):
        clock = time.perf_counter()
        day = ld.day(seed)
        spent["days made"] += time.perf_counter() - clock
        clock = time.perf_counter()
        false += int(np.count_nonzero(judge(day)))
        spent["rules"] += time.perf_counter() - clock
        sluices = np.stack([day.sluices[:, :2].max(axis=1), day.sluices[:, 2:].max(axis=1)], axis=1)
        clock = time.perf_counter()
        n = lock_cycle.run(
            lock_cycle.init(), day.t_ns, day.gates, sluices, day.levels, day.vessel, SIZE.area_m2, phases, out
        )  # fmt: skip
        spent["lockages"] += time.perf_counter() - clock
        before = np.concatenate([day.phase[:1], day.phase[:-1]])
        in_phase += int(((phases == day.phase) | (phases == before)).sum())
        scans += len(phases)
        assert n == len(day.lockages)
        for cycle, true in zip(out[:n], day.lockages, strict=True):
            lockages += 1
            volume_errors.append(abs(float(cycle["volume_m3"]) / true.volume_m3 - 1))
            t = (int(cycle["start_ns"]) - ld.START_NS) / ld.S
            for name in ORDER:
                if name in true.starts_s:
                    starts += 1
                    starts_true += abs(t - true.starts_s[name]) <= SIZE.scan_s + 1e-3
                    t += np.nan_to_num(float(cycle[f"{name}_s"]))
        if seed % 10 == 0:  # every tenth day again for each rule, with it planted
            for k, rule in enumerate(lock_rules.RULES):
                again = ld.day(seed)
                if (at := plant(again, rule, rng)) is None:
                    continue
                planted[rule] += 1
                hits = np.flatnonzero(judge(again) & (1 << k))
                found[rule] += bool(len(hits) and at <= hits[0] <= at + 1)
    with capsys.disabled():
        print(f"\n{DAYS} simulated days of a lock at 1 Hz, {lockages} lockages")
        print(f"  starts of phases within one scan   {100 * starts_true / starts:.3f} %")
        print(f"  scans in the true phase            {100 * in_phase / scans:.3f} %")
        print(f"  volumes: worst error               {100 * max(volume_errors):.2f} %")
        print(f"  false incoherences                 {false}")
        print(f"  planted and found within one scan  {sum(found.values())} of {sum(planted.values())}")
        for name, seconds in spent.items():
            print(f"  {name:34s} {1e3 * seconds / DAYS:.1f} ms a day, {1e9 * seconds / scans:.0f} ns a scan")
    assert false == 0 and found == planted
    assert starts_true > 0.99 * starts and max(volume_errors) < 0.01


@pytest.fixture(scope="module")
def level() -> Any:
    rng = np.random.default_rng(3)
    found = 20.0 + np.cumsum(rng.standard_normal(86_400)) * 1e-3 + 0.004 * rng.standard_normal(86_400)
    found[rng.integers(0, 86_400, 50)] += 1.0
    return found


@pytest.mark.benchmark(group="despiking a day of a level, with the ratios above")
def test_despiking_and_downsampling_of_a_day(
    benchmark: Any, level: Any, capsys: pytest.CaptureFixture[str], ratios: Any
) -> None:
    from dsp import compress, signal

    t_ns = np.arange(len(level), dtype=np.int64) * ld.S
    out, points, chosen = np.zeros(len(level)), np.zeros(len(level), compress.POINT), np.zeros(1000, np.int64)

    def numpy_hampel() -> Any:
        windows = np.lib.stride_tricks.sliding_window_view(level, 7)
        middle = np.median(windows, axis=1)
        spread = 1.4826 * np.median(np.abs(windows - middle[:, None]), axis=1)
        return np.where(np.abs(level[3:-3] - middle) > 3 * spread, middle, level[3:-3])

    methods = {
        "hampel, 7 samples": lambda: signal.hampel(level, 3, 3.0, 0.0, out),
        "hampel, NumPy": numpy_hampel,
        "swinging door, 1 cm": lambda: compress.swinging_door(t_ns, level, 0.01, 600 * ld.S, points),
        "largest triangles, 1 000": lambda: compress.largest_triangles(t_ns, level, chosen),
    }
    if importlib.util.find_spec("pandas"):
        import pandas

        series = pandas.Series(level)

        def pandas_hampel() -> Any:
            middle = series.rolling(7, center=True).median()
            return middle, (series - middle).abs().rolling(7, center=True).median()  # nearly: one median a window

        methods["hampel, pandas (approximate)"] = pandas_hampel
    benchmark.pedantic(methods["hampel, 7 samples"], rounds=3, warmup_rounds=1)
    best = dict.fromkeys(methods, np.inf)
    for _ in range(5):
        for name, method in methods.items():
            start = time.perf_counter()
            method()
            best[name] = min(best[name], time.perf_counter() - start)
    kept = compress.swinging_door(t_ns, level, 0.01, 600 * ld.S, points)
    with capsys.disabled():
        print(f"\na day of a level at 1 Hz; the door keeps {kept} of {len(level)} points")
        for name, seconds in best.items():
            ratio = seconds / best["hampel, 7 samples"]
            each_ns = 1e9 * seconds / len(level)
            print(f"  {name:30s} {1e3 * seconds:8.2f} ms   {each_ns:7.0f} ns a sample   x {ratio:.2f}")
    others = {name.removeprefix("hampel, "): s for name, s in best.items() if name.startswith("hampel, ")}
    ratios.add("despiking a day of a level", "s", others.pop("7 samples"), others)
    assert best["hampel, 7 samples"] < best["hampel, NumPy"]
