"""What the demo concludes: the stored rows against the plant's truth and the edge's ledger."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.demo import EPOCH_NS, Control
from gateway.demo_files import GATEWAY, SITE
from gateway.store import Columns, Store

SETTLING_NS = 600 * 1_000_000_000  # the estimator may take ten minutes to find the charge
FOREVER_NS = 2**62
ARRIVES_S = 0.05  # real: a reading is stamped when it arrives; simulated time runs on meanwhile
BASE_LOAD_W = 3500.0  # what the tower takes at both ends of the span


@dataclass(frozen=True)
class Call:
    register_wh: int
    integrated_wh: float

    @property
    def difference(self) -> float:
        return (self.integrated_wh - self.register_wh) / self.register_wh if self.register_wh else math.nan


@dataclass(frozen=True)
class Result:
    """Energies in Wh, SoC errors as fractions."""

    calls: tuple[Call, ...]
    plant_calls: int
    minutes_wh: int
    plant_wh: int
    covered_s: float
    minutes: int
    late_wh: float  # what the base load draws while a reading is on its way
    soc_rmse: float
    soc_max: float
    soc_held: float  # share of samples whose 95 % interval holds the truth
    soc_samples: int
    lockages: int
    sealed: int
    stored: int
    refused: int
    dropped: int
    waiting: int

    @property
    def energy_agrees(self) -> bool:
        """Whether the minutes say what the plant's register says, to the Wh that a reading takes to arrive."""
        return abs(self.minutes_wh - self.plant_wh) <= self.late_wh and len(self.calls) <= self.plant_calls

    @property
    def lost(self) -> int:
        return max(0, self._missing)

    @property
    def doubled(self) -> int:
        return max(0, -self._missing)

    @property
    def _missing(self) -> int:
        return self.sealed - self.refused - self.dropped - self.waiting - self.stored


def conclude(store: Store, control: Control, status: dict[str, Any], speed: float) -> Result:
    """Compare. `status` is the last one that the edge published, `speed` that of simulated time."""
    truth = control.ask(get="truth")
    sessions = store.columns("session", "charger-1", ("energy_wh", "integrated_wh"), 0, FOREVER_NS, SITE)
    calls = tuple(
        Call(int(energy_wh), float(integrated_wh))
        for energy_wh, integrated_wh in zip(sessions["energy_wh"], sessions["integrated_wh"], strict=True)
    )
    energy = store.columns("energy_1m", "meter-1", ("import_wh", "covered_s"), 0, FOREVER_NS, SITE)
    soc = store.columns("soc", "ferry-bms", ("soc", "soc_low", "soc_high"), 0, FOREVER_NS, SITE)
    settled = soc.t_ns >= EPOCH_NS + SETTLING_NS
    times = soc.t_ns[settled]
    true = np.array([math.nan if x is None else x for x in _soc_at(control, times.tolist())])
    error = soc["soc"][settled] - true
    known = np.isfinite(error)
    held = (soc["soc_low"][settled] <= true) & (true <= soc["soc_high"][settled])
    return Result(
        calls, len(truth["calls"]),
        int(energy["import_wh"].sum()), _register_wh(control, store, energy),
        float(energy["covered_s"].sum()), len(energy.t_ns),
        BASE_LOAD_W * ARRIVES_S * speed / 3600.0,
        float(np.sqrt(np.mean(error[known] ** 2))) if known.any() else math.nan,
        float(np.abs(error[known]).max()) if known.any() else math.nan,
        float(held[known].mean()) if known.any() else math.nan, int(known.sum()),
        len(store.columns("lock_cycle", "lock-1", ("end_ns",), 0, FOREVER_NS, SITE).t_ns),
        int(status["sealed"]), store.count(SITE, GATEWAY), int(status["refused"]),
        int(status["dropped"]), int(status["waiting"]),
    )  # fmt: skip


def _register_wh(control: Control, store: Store, minutes: Columns) -> int:
    """By how much the plant's register moved from the first reading to the end of the last minute."""
    readings = store.columns("meter", "meter-1", ("energy_import_total_wh",), 0, FOREVER_NS, SITE)
    known = np.isfinite(readings["energy_import_total_wh"])
    if not len(minutes) or not known.any():
        return 0
    first_ns = int(readings.t_ns[known][0])
    last_ns = int(minutes.t_ns[-1]) + 60 * 1_000_000_000
    first, last = control.ask(registers_at=[first_ns, last_ns])["registers"]["meter-1"]
    return int(last) - int(first)


def _soc_at(control: Control, times: Sequence[int]) -> list[float | None]:
    found: list[float | None] = []
    for start in range(0, len(times), 5000):
        found += control.ask(soc_at=list(times[start : start + 5000]))["soc"]
    return found


def lines(result: Result) -> list[str]:
    """The figures as a person reads them."""
    out = []
    if not result.plant_calls:
        out.append("no call in this recording: nothing was charged, only the state of charge is judged")
    for i, call in enumerate(result.calls, 1):
        out.append(
            f"call {i}: {call.register_wh / 1e3:,.3f} kWh by register, {call.integrated_wh / 1e3:,.3f} kWh by"
            f" integrated power, difference {100 * call.difference:+.3f} %"
        )
    out += [
        f"minutes of meter-1: {result.minutes_wh / 1e3:,.3f} kWh, the plant's register over them"
        f" {result.plant_wh / 1e3:,.3f} kWh; covered {result.covered_s:,.0f} s of {60 * result.minutes:,} s",
        f"state of charge after 10 minutes: RMSE {100 * result.soc_rmse:.2f} %, largest error"
        f" {100 * result.soc_max:.2f} %, interval held the truth on {100 * result.soc_held:.1f} %"
        f" of {result.soc_samples:,} samples",
        f"lockages: {result.lockages}",
        f"rows: sealed {result.sealed:,}, stored {result.stored:,}, refused {result.refused}, dropped"
        f" {result.dropped}, waiting {result.waiting}, lost {result.lost}, doubled {result.doubled}",
    ]
    return out
