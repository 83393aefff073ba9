"""The accuracy tables of dsp/README.md: `python -m benchmarks.soc_table [SHARED/data/battery] [--quick]`.

Fits every cell model anew by what `bollard battery fit` does (open-circuit and pulse files only; A123: one
drive), runs `bollard battery run`'s estimator over the recordings, and prints Markdown: each recording, the
aims of soc.md, and what bad sensors cost. Figures are after 10 minutes (plateau: one hour), from a start 30 %
wrong unless the row says otherwise.
"""

import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dsp.cell import Cell
from gateway.battery import RunOptions, fit, run, write_cell
from gateway.battery_files import Recording, read_columns, read_recording

MEASURED = {"voltage": "voltage_meas_v", "current": "current_meas_a", "temperature": "temp_meas_c"}
SMALL_BIAS = {**MEASURED, "current": "current_meas_small_bias_a"}
LG = {"n10degC": -10.0, "0degC": 0.0, "25degC": 25.0, "40degC": 40.0}
A123 = {"n5degC": -5.0, "5degC": 5.0, "25degC": 25.0, "45degC": 45.0}
HEAD = "| Recording | RMSE | MAE | largest | within 5 % after | interval held | capacity found |\n|" + " --- |" * 7


class Bench:
    """Files read and cells fitted once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.read = folder, {}  # type: Path, dict[Any, Recording]
        self.cells = {name: self.fitted(name, *files) for name, files in self.sources().items()}

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.csv.gz"

    def sources(self) -> dict[str, Any]:
        def at(pattern: str, temps: dict[str, float]) -> list[tuple[Path, float]]:
            return [(self.path(pattern.format(label)), temp_c) for label, temp_c in temps.items()]

        drive = at("a123/dyn_{}", {"25degC": 25.0})
        char_nmc, char_lfp = (at(f"sim_ferry/char_{c}_{{}}", {"25degC": 25.0}) for c in ("nmc", "lfp"))
        return {
            "nmc": (at("lg_hg2/ocv_c20_{}", LG), at("lg_hg2/hppc_{}", LG), None),
            "lfp": (at("a123/ocv_{}", A123), drive, None),
            "plateau": (at("lfp_plateau/ocv_{}", {"branches": 25.0}), drive, 1.2),
            "nmc-m50": (char_nmc, char_nmc, None),
            "lfp-ferry": (char_lfp, char_lfp, None),
        }

    def fitted(self, name: str, ocv: Any, pulse: Any, capacity_ah: float | None) -> Cell:
        with tempfile.TemporaryDirectory() as folder:
            model = fit(ocv, pulse, capacity_ah=capacity_ah)
            return write_cell(model, Path(folder) / f"{name}.toml", name, "benchmarks/soc_table.py")

    def recording(self, name: str, columns: dict[str, str]) -> Recording:
        key = (name, tuple(columns.items()))
        if key not in self.read:
            found = read_recording(self.path(name), columns)
            if columns:  # the ferry: rows that the gateway missed are not there
                found = found.rows(np.flatnonzero(read_columns(self.path(name))["sample_ok"] > 0))
            if found.truth is None:
                found = dataclasses.replace(found, truth=charged_to_full(found))
            self.read[key] = found
        return self.read[key]

    def run(
        self, cell: str, name: str, start: float | None = None, columns: dict[str, str] | None = None,
        part: float = 0.0, wrong: float = 0.0, change: Any = None, **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """`part`: begin so far into the file; `wrong`: start so far off the truth there."""
        r = self.recording(name, columns or {})
        if part:
            r = r.cut(float(r.t_s[0] + part * (r.t_s[-1] - r.t_s[0])), None)
        if wrong and r.truth is not None:
            start = float(np.clip(r.truth[0] + wrong, 0, 1))
            start = (
                float(np.clip(r.truth[0] - wrong, 0, 1)) if abs(start - r.truth[0]) < 0.8 * abs(wrong) else start
            )
        if change is not None:
            r = change(r)
        outcome = run(self.cells[cell], r, RunOptions(start_soc=start, **options))
        return {**outcome.figures, "outcome": outcome}


def charged_to_full(r: Recording) -> Any:
    """A charge to the end is full at its last row: counted back by its own current and the LG cell's capacity."""
    steps = np.diff(r.t_s) * 0.5 * (r.current_a[1:] + r.current_a[:-1]) / 3600
    ah = np.concatenate([[0.0], np.cumsum(steps)])
    capacity_ah = {True: 2.775, False: 2.871}["0degC" in r.path.name]  # c_ref_ah of index.csv
    return 1.0 + (ah - ah[-1]) / capacity_ah


def line(name: str, f: dict[str, Any]) -> str:
    if f.get("rmse") is None:
        return f"| {name} | no truth |||||"
    within = "never" if f["within_5_percent_s"] is None else f"{f['within_5_percent_s']:.0f} s"
    return (
        f"| {name} | {100 * f['rmse']:.2f} % | {100 * f['mae']:.2f} % | {100 * f['max_error']:.1f} % | {within} |"
        f" {100 * f['coverage_95']:.0f} % | {f['capacity_ah']:.3f} Ah |"
    )


DRIVES = (
    *(("nmc", f"lg_hg2/drive_{d}") for d in ("25degC_LA92", "25degC_Mixed1", "25degC_UDDS", "40degC_LA92",
                                             "0degC_Mixed1", "0degC_US06")),
    ("nmc", "lg_hg2/charge_25degC_after_UDDS"), ("nmc", "lg_hg2/charge_0degC_after_US06"),
    *(("lfp", f"a123/dyn_{label}") for label in ("25degC", "45degC", "5degC", "n5degC")),
    ("lfp", "a123/charge_25degC_after_25degC"), ("lfp", "a123/charge_25degC_after_5degC"),
)  # fmt: skip
FERRIES = (("nmc-m50", "sim_ferry/ferry_nmc_20degC"), ("lfp-ferry", "sim_ferry/ferry_lfp_25degC"))


def recordings(bench: Bench) -> Iterable[str]:
    yield HEAD
    for cell, name in DRIVES:
        yield line(f"{name}, `{cell}`", bench.run(cell, name, wrong=-0.3))
    yield line("lfp_plateau/plateau_25degC, `plateau`, after 1 h",
               bench.run("plateau", "lfp_plateau/plateau_25degC", wrong=0.3, skip_s=3600.0))  # fmt: skip
    for cell, name in FERRIES:
        yield line(f"{name}, measured columns, start unknown", bench.run(cell, name, columns=MEASURED))


def mean_line(aim: str, text: str, limit: str, runs: list[dict[str, Any]]) -> str:
    rmse = [100 * f["rmse"] for f in runs]
    held = [100 * f["coverage_95"] for f in runs]
    within = [np.inf if f["within_5_percent_s"] is None else f["within_5_percent_s"] for f in runs]
    return (
        f"| {aim} | {text} | {limit} | {np.mean(rmse):.2f} % | {max(rmse):.2f} % | {np.median(within):.0f} s |"
        f" {min(held):.0f}-{max(held):.0f} % | {len(runs)} |"
    )


def aims(bench: Bench) -> Iterable[str]:
    yield (
        "| Aim | Case | Aim | mean RMSE | worst RMSE | within 5 % (median) | interval held | runs |\n|"
        + " --- |" * 8
    )
    warm, cold = [n for c, n in DRIVES[:4]], [n for c, n in DRIVES[4:6]]
    yield mean_line("S1", "NMC >= 10 degC from full, start 30 % wrong", "0.6 / 1.1 %",
                    [bench.run("nmc", n, wrong=-0.3) for n in warm])  # fmt: skip
    yield mean_line(
        "S1b",
        "NMC >= 10 degC, mid-cycle, 30 % wrong",
        "1.5 / 3 %",
        [bench.run("nmc", n, part=p, wrong=w) for n in warm for p in (0.25, 0.5, 0.65) for w in (0.3, -0.3)],
    )
    yield mean_line("S2", "NMC 0 degC from full", "1.7 %", [bench.run("nmc", n, wrong=-0.3) for n in cold])
    yield mean_line(
        "S3",
        "NMC, offsets 300 and 50 mA",
        "1.3 %",
        [bench.run("nmc", n, 1.0, current_offset_a=o) for n in warm + cold for o in (0.3, -0.3, 0.05, -0.05)],
    )
    yield mean_line("S4", "LFP in the plateau 25 degC, 30 % wrong, after 1 h", "1.0 / 1.5 %",
                    [bench.run("lfp", "a123/dyn_25degC", part=p, wrong=w, skip_s=3600.0)
                     for p in (0.3, 0.4, 0.5, 0.6) for w in (0.3, -0.3)])  # fmt: skip
    name = "lfp_plateau/plateau_25degC"
    yield mean_line("S5", "LFP 25 h inside the plateau, 25 degC", "1.0 %",
                    [bench.run("plateau", name, wrong=0.3, skip_s=3600.0)])  # fmt: skip
    yield mean_line(
        "S5",
        "the same, offset C/100",
        "2.5 %",
        [bench.run("plateau", name, wrong=0.3, skip_s=3600.0, current_offset_a=o) for o in (0.012, -0.012)],
    )
    for cell, ferry in FERRIES:
        new = bench.cells[cell].capacity_ah
        wrong_ah = None if cell == "nmc-m50" else 1.07 * new
        f = bench.run(cell, ferry, columns=MEASURED, capacity_ah=wrong_ah)
        true_ah = 4.7925 if cell == "nmc-m50" else new
        late = after_outages(f["outcome"])
        yield mean_line("S6", f"{ferry}, bad sensor, capacity 7 % wrong", "1.8 / 2.0 %", [f])
        yield f"| S6 | largest error later than 15 min after an outage | 10 % | {100 * late:.1f} % |||| 1 |"
        yield (f"| H1 | capacity after two days, true {true_ah:.3f} Ah | 1.5 % | {f['capacity_ah']:.3f} Ah,"
               f" {100 * (f['capacity_ah'] / true_ah - 1):+.1f} % |||| 1 |")  # fmt: skip


def after_outages(outcome: Any) -> float:
    """Largest error outside the first 15 minutes of the file and after each silence of a minute."""
    t, error = outcome.t_s, np.abs(outcome.soc - outcome.truth)
    counts = t - t[0] > 900
    for k in np.flatnonzero(np.diff(t) > 60):
        counts &= ~((t > t[k]) & (t < t[k + 1] + 900))
    return float(np.nanmax(error[counts]))


def faults(bench: Bench) -> Iterable[str]:
    def every(seconds: float) -> Any:
        return lambda r: r.every(seconds)

    def gaps(length_s: float, number: int) -> Any:
        def change(r: Recording) -> Recording:
            keep, span = np.ones(len(r.t_s), bool), r.t_s[-1] - r.t_s[0]
            for k in range(number):
                start = r.t_s[0] + span * (k + 1) / (number + 1) - length_s / 2
                keep &= ~((r.t_s > start) & (r.t_s < start + length_s))
            return r.rows(np.flatnonzero(keep))

        return change

    def gain(r: Recording) -> Recording:
        return dataclasses.replace(r, current_a=1.01 * r.current_a)

    def noise(r: Recording) -> Recording:
        return dataclasses.replace(
            r, voltage_v=r.voltage_v + np.random.default_rng(1).normal(0, 0.005, len(r.t_s))
        )

    cases = (
        ("nmc", "lg_hg2/drive_25degC_UDDS", {}), ("nmc", "lg_hg2/drive_0degC_Mixed1", {}),
        ("lfp", "a123/dyn_25degC", {}), ("plateau", "lfp_plateau/plateau_25degC", {}),
        *((cell, name, {"voltage": "voltage_v"}) for cell, name in FERRIES),
    )  # fmt: skip
    titles = (
        "none",
        "gain +1 %",
        "offset 0.5 % of 3C",
        "noise 5 mV",
        "10 min gaps",
        "4 h gap",
        "2 s",
        "5 s",
        "10 s",
    )
    yield f"| RMSE with the fault | {' | '.join(titles)} |\n|" + " --- |" * (len(titles) + 1)
    for cell, name, columns in cases:
        rated_a = 3 * bench.cells[cell].capacity_ah
        changes = (None, gain, None, noise, gaps(600, 3), gaps(14_400, 1), every(2), every(5), every(10))
        cells = []
        for title, change in zip(titles, changes, strict=True):
            span = bench.recording(name, columns).t_s[-1]
            if title == "4 h gap" and span < 5 * 3600:
                cells.append("too short")
                continue
            offset = 0.005 * rated_a if title.startswith("offset") else 0.0
            f = bench.run(cell, name, wrong=-0.3, columns=columns, change=change, current_offset_a=offset)
            cells.append(f"{100 * f['rmse']:.2f} % ({100 * f['coverage_95']:.0f})")
        yield f"| {name} | {' | '.join(cells)} |"


def main(argv: list[str]) -> int:
    beside = Path(__file__).resolve().parent.parent.parent / "shared"
    words = [word for word in argv if not word.startswith("--")]
    folder = Path(words[0]) if words else Path(os.environ.get("BOLLARD_SHARED", beside)) / "data" / "battery"
    if not folder.is_dir():
        print(f"{folder}: no such folder; give the one with lg_hg2, a123, …", file=sys.stderr)
        return 2
    bench = Bench(folder)
    for title, part in (("Recordings", recordings), ("Aims of soc.md", aims), ("Sensor faults", faults)):
        print(f"\n### {title}\n")
        for text in part(bench):
            print(text, flush=True)
        if "--quick" in argv:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
