"""Energy of a month at 1 Hz, against what a user would pick instead. `make bench`."""

import ctypes
import math
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsp.energy import NS_PER_HOUR, integrate_power

S = 1_000_000_000
MAX_GAP_NS = 5 * S
MONTH_S = 30 * 86_400
Method = Callable[[Any, Any, int], tuple[float, int]]

C_LOOP = r"""
#include <stdint.h>
#include <math.h>
double integrate(const int64_t *t, const double *p, int64_t n, int64_t max_gap, int64_t *covered) {
    double e = 0.0;
    *covered = 0;
    for (int64_t i = 1; i < n; i++) {
        int64_t step = t[i] - t[i - 1];
        double mean = 0.5 * (p[i - 1] + p[i]);
        if (step > 0 && step <= max_gap && isfinite(mean)) { e += mean * (double)step; *covered += step; }
    }
    return e / 3.6e12;
}
"""


@pytest.fixture(scope="module")
def month() -> tuple[Any, Any]:
    """Five calls a day around 7 MW with noise, jittered stamps, lost samples and a few outages."""
    rng = np.random.default_rng(20260301)
    s = np.arange(MONTH_S)
    in_call = (s % (86_400 // 5)) < 2700
    power_w = np.where(in_call, 7e6, 2e4) * (1 + 0.01 * rng.standard_normal(MONTH_S))
    power_w[rng.random(MONTH_S) < 1e-3] = np.nan
    t_ns = 1_790_000_000 * S + s * S + rng.integers(0, 50_000_000, MONTH_S)
    keep = rng.random(MONTH_S) > 3e-3
    for start in rng.integers(0, MONTH_S, 10):
        keep[start : start + 1800] = False
    return t_ns[keep], power_w[keep]


@pytest.fixture(scope="module")
def exact(month: tuple[Any, Any]) -> tuple[float, int]:
    """Sum without rounding (`math.fsum`) of the same trapezoids."""
    t_ns, power_w = month
    step_ns, doubled_w = np.diff(t_ns), power_w[1:] + power_w[:-1]
    counts = (step_ns > 0) & (step_ns <= MAX_GAP_NS) & np.isfinite(doubled_w)
    energy_wh = math.fsum((doubled_w[counts] * step_ns[counts]).tolist()) / (2 * NS_PER_HOUR)
    return energy_wh, int(step_ns[counts].sum())


def with_numpy(t_ns: Any, power_w: Any, max_gap_ns: int) -> tuple[float, int]:
    step_ns, mean_w = np.diff(t_ns), 0.5 * (power_w[1:] + power_w[:-1])
    counts = (step_ns > 0) & (step_ns <= max_gap_ns) & np.isfinite(mean_w)
    return float((mean_w[counts] * step_ns[counts]).sum() / NS_PER_HOUR), int(step_ns[counts].sum())


def with_pandas(t_ns: Any, power_w: Any, max_gap_ns: int) -> tuple[float, int]:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"t": t_ns, "p": power_w})
    step, mean = frame.t.diff(), frame.p.rolling(2).mean()
    counts = (step > 0) & (step <= max_gap_ns) & mean.notna()
    return float((mean[counts] * step[counts]).sum() / NS_PER_HOUR), int(step[counts].sum())


@pytest.fixture(scope="module")
def with_c(tmp_path_factory: pytest.TempPathFactory) -> Method:
    """A plain C loop, -O3, compiled here and now."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here: apt-get install gcc")
    folder: Path = tmp_path_factory.mktemp("c")
    (folder / "e.c").write_text(C_LOOP, encoding="utf-8")
    command = [
        compiler,
        "-O3",
        "-march=native",
        "-shared",
        "-fPIC",
        "-o",
        str(folder / "e.so"),
        str(folder / "e.c"),
    ]
    subprocess.run([*command, "-lm"], check=True)
    loop = ctypes.CDLL(str(folder / "e.so")).integrate
    loop.restype = ctypes.c_double

    def call(t_ns: Any, power_w: Any, max_gap_ns: int) -> tuple[float, int]:
        covered = ctypes.c_int64()
        energy_wh = loop(
            t_ns.ctypes.data_as(ctypes.c_void_p),
            power_w.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(len(t_ns)),
            ctypes.c_int64(max_gap_ns),
            ctypes.byref(covered),
        )
        return energy_wh, covered.value

    return call


@pytest.mark.benchmark(group="energy of a month at 1 Hz")
@pytest.mark.parametrize("name", ["bollard", "numpy", "pandas", "c"])
def test_energy_of_a_month(
    benchmark: Any,
    request: pytest.FixtureRequest,
    month: tuple[Any, Any],
    exact: tuple[float, int],
    name: str,
) -> None:
    methods = {"bollard": integrate_power, "numpy": with_numpy, "pandas": with_pandas}
    method: Method = request.getfixturevalue("with_c") if name == "c" else methods[name]
    method(month[0][:2], month[1][:2], MAX_GAP_NS)  # compile outside the measurement
    energy_wh, covered_ns = benchmark.pedantic(method, args=(*month, MAX_GAP_NS), rounds=7)
    assert covered_ns == exact[1]
    # Rounding the terms leaves 1e-16 of each; only the compensated sum is held to more than that.
    assert energy_wh == pytest.approx(exact[0], rel=1e-15 if name == "bollard" else 1e-9)


def test_the_ratio_to_a_c_loop_is_printed(
    month: tuple[Any, Any], exact: tuple[float, int], with_c: Method, capsys: pytest.CaptureFixture[str]
) -> None:
    """All in one run, interleaved, best of nine."""
    methods: dict[str, Method] = {
        "bollard (compensated)": integrate_power,
        "C -O3 (plain sum)": with_c,
        "NumPy": with_numpy,
        "pandas": with_pandas,
    }
    best = dict.fromkeys(methods, math.inf)
    error = {}
    for _ in range(9):
        for name, method in methods.items():
            start = time.perf_counter()
            energy_wh, _ = method(*month, MAX_GAP_NS)
            best[name] = min(best[name], time.perf_counter() - start)
            error[name] = abs(energy_wh / exact[0] - 1)
    with capsys.disabled():
        print(f"\nenergy of a month at 1 Hz, {len(month[0])} samples, {exact[0] / 1e6:.3f} MWh")
        for name, seconds in best.items():
            ratio = seconds / best["bollard (compensated)"]
            print(f"  {name:24s} {1000 * seconds:8.2f} ms   x {ratio:6.2f}   relative error {error[name]:.1e}")
    assert best["bollard (compensated)"] < best["NumPy"]
