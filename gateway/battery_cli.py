"""`bollard battery`, the command line: battery.py does it."""

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dsp.cell import cell_names, load_cell
from gateway.battery import Outcome, RunOptions, fit, run, write_cell
from gateway.battery_files import RecordingError, parse_columns, read_recording
from gateway.errors import GatewayError

app = typer.Typer(no_args_is_help=True, help="Cell models and state of charge, over recordings of any battery.")
PLOT_REMEDY = "--plot needs matplotlib, which bollard does not install; add it with: pip install matplotlib"


@app.command("fit")
def fit_command(
    ocv: Annotated[list[str], typer.Option(help="Slow curve or SoC-OCV table, FILE\\[@TEMP_C]; repeatable.")],
    pulse: Annotated[list[str], typer.Option(help="Pulse test or drive, FILE\\[@TEMP_C]; repeatable.")],
    out: Annotated[Path, typer.Option(help="The cell file to write.")],
    name: Annotated[str | None, typer.Option(help="Name of the cell; by default the file's.")] = None,
    chemistry: Annotated[str | None, typer.Option(help="NMC or LFP; by default from the voltages.")] = None,
    capacity_ah: Annotated[
        float | None,
        typer.Option(help="Of the cell, where a table does not say it; resistances are scaled by it."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the recordings come from.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of curve and resistances (needs matplotlib).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Identify a cell model from recordings at one or more temperatures. Current is positive when charging."""
    try:
        plotter = _plotter() if plot else None
        if chemistry is not None and chemistry.upper() not in ("NMC", "LFP"):
            raise RecordingError(f"--chemistry {chemistry}: not one of NMC, LFP")
        if capacity_ah is not None and not capacity_ah > 0:
            raise RecordingError(f"--capacity-ah {capacity_ah:g}: give a capacity above 0")
        curves, pulses = [_at(text) for text in ocv], [_at(text) for text in pulse]
        model = fit(curves, pulses, chemistry.upper() if chemistry else None, capacity_ah)
        origin = source or "bollard battery fit: " + ", ".join(
            f"{path.name}@{temp_c:g}" if temp_c is not None else path.name for path, temp_c in [*curves, *pulses]
        )
        cell = write_cell(model, out, name or out.stem, origin.replace('"', "'"))
    except GatewayError as error:
        _fail(error)
    if plot and plotter:
        _plot_cell(plotter, cell, plot)
    figures = {
        "chemistry": model.chemistry, "capacity_ah": model.capacity_ah, "efficiency": model.efficiency,
        "temperatures_c": list(model.temps_c),
        "curves": [{"temp_c": t, "capacity_ah": c, "offset_a": o} for t, c, o in model.capacities],
        "residuals": [
            {"recording": n, "temp_c": t, "rms_v": rms, "largest_v": worst} for n, t, rms, worst in model.residuals
        ],
        "out": str(out),
    }  # fmt: skip
    if as_json:
        print(json.dumps(figures))
        return
    print(f"{model.chemistry}, {model.capacity_ah:.4g} Ah, coulombic efficiency {model.efficiency:.4f}")
    for temp_c, found_ah, offset_a in model.capacities:
        print(f"slow curve at {temp_c:g} °C: {found_ah:.4g} Ah, tester offset {1000 * offset_a:.1f} mA")
    for recording, temp_c, rms, worst in model.residuals:
        print(f"{recording} at {temp_c:g} °C: residual {1000 * rms:.1f} mV rms, largest {1000 * worst:.0f} mV")
    for k, temp_c in enumerate(model.temps_c):
        half = [float(np.interp(0.5, np.linspace(0, 1, 101), cell.r_ohm[k, j])) for j in range(3)]
        print(
            f"at {temp_c:g} °C, SoC 0.5:"
            f" R0 {1e3 * half[0]:.1f}, R1 {1e3 * half[1]:.1f}, R2 {1e3 * half[2]:.1f} mohm"
        )
    print(out)


@app.command("run")
def run_command(
    cell: Annotated[str, typer.Option(help=f"Cell model: {', '.join(cell_names())} or a TOML file.")],
    recording: Annotated[Path, typer.Option(help="CSV file, plain or .gz.")],
    columns: Annotated[
        str | None, typer.Option(help="time=…,voltage=…,current=…,temperature=…,truth=…,soc_bms=…")
    ] = None,
    series: Annotated[int, typer.Option(min=1, help="Cells in series.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, help="Strings in parallel.")] = 1,
    start_soc: Annotated[float | None, typer.Option(help="A guess, 0..1; by default unknown.")] = None,
    from_s: Annotated[float | None, typer.Option(help="First time of the file to use.")] = None,
    to_s: Annotated[float | None, typer.Option(help="Last time of the file to use.")] = None,
    current_offset_a: Annotated[float, typer.Option(help="Added to the current, to try a bad sensor.")] = 0.0,
    skip_s: Annotated[float, typer.Option(min=0.0, help="Left out of the accuracy figures.")] = 600.0,
    every_s: Annotated[float | None, typer.Option(help="Use a row every so many seconds.")] = None,
    capacity_ah: Annotated[float | None, typer.Option(help="Of the pack, if not that of new cells.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_out: Annotated[Path | None, typer.Option("--csv", help="Write the estimate of every row.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of estimate and interval (needs matplotlib).")] = None,
) -> None:
    """Estimate the state of charge over a recording, by the call that a gateway makes for each row."""
    try:
        plotter = _plotter() if plot else None
        model = _load(cell)
        _check_options(start_soc, every_s, capacity_ah)
        read = read_recording(recording, parse_columns(columns), series, parallel, model.capacity_ah)
        if from_s is not None or to_s is not None:
            read = read.cut(from_s, to_s)
        if every_s is not None:
            read = read.every(every_s)
        options = RunOptions(series, parallel, start_soc, 0.3, current_offset_a, skip_s, capacity_ah)
        outcome = run(model, read, options)
        if csv_out:
            _write_csv(csv_out, outcome)
    except GatewayError as error:
        _fail(error)
    if plot and plotter:
        _plot_run(plotter, outcome, plot)
    if as_json:
        print(json.dumps(outcome.figures))
    else:
        _print(outcome)


def _print(outcome: Outcome) -> None:
    f = outcome.figures
    if "rmse" not in f:
        print("no truth in the recording: no accuracy figures")
    elif f["rmse"] is None:
        print("the recording ends before --skip-s: no accuracy figures")
    else:
        within = f["within_5_percent_s"]
        print(f"RMSE {100 * f['rmse']:.2f} %, MAE {100 * f['mae']:.2f} %, largest {100 * f['max_error']:.2f} %")
        print("not within 5 % at the end" if within is None else f"within 5 % from {within:.0f} s on")
        print(f"95 % interval held the truth on {100 * f['coverage_95']:.1f} % of the rows")
    print(f"SoC at the end {f['soc_end']:.3f} ({f['soc_end_low']:.3f} to {f['soc_end_high']:.3f})")
    print(
        f"capacity found {f['capacity_ah']:.4g} Ah ± {f['capacity_sd_ah']:.2g},"
        f" sensor offset {f['current_bias_a']:.3g} A"
    )
    kinds = ", ".join(f"{kind} {count}" for kind, count in f["defects_by_kind"].items() if count)
    print(f"defects {f['defects']}" + (f" ({kinds})" if kinds else ""))
    print(f"{f['ns_per_step']:.0f} ns per step over {f['rows']} rows")


def _at(text: str) -> tuple[Path, float | None]:
    """FILE or FILE@25."""
    path, at, temp = text.rpartition("@")
    if not at or Path(text).exists():
        path, temp = text, ""
    try:
        temp_c = float(temp) if temp else None
    except ValueError:
        raise RecordingError(f"{text}: {temp!r} is no temperature in degC; give FILE or FILE@25") from None
    if not Path(path).is_file():
        raise RecordingError(f"{path}: no such file")
    return Path(path), temp_c


def _load(cell: str) -> Any:
    try:
        return load_cell(cell)
    except ValueError as error:
        raise RecordingError(str(error)) from error


def _check_options(start_soc: float | None, every_s: float | None, capacity_ah: float | None) -> None:
    if start_soc is not None and not 0 <= start_soc <= 1:
        raise RecordingError(f"--start-soc {start_soc:g}: give a fraction 0..1")
    for option, value in (("--every-s", every_s), ("--capacity-ah", capacity_ah)):
        if value is not None and not value > 0:
            raise RecordingError(f"{option} {value:g}: give a number above 0")


def _write_csv(path: Path, outcome: Outcome) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            truth = outcome.truth
            writer.writerow(
                ["time_s", "soc", "soc_low", "soc_high", "capacity_ah", *(["truth"] if truth is not None else [])]
            )
            columns = [outcome.t_s, outcome.soc, outcome.low, outcome.high, outcome.capacity]
            columns += [truth] if truth is not None else []
            for row in zip(*(column.tolist() for column in columns), strict=True):
                writer.writerow(["" if value != value else f"{value:.7g}" for value in row])
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}; choose another file with --csv") from error


def _plotter() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise RecordingError(PLOT_REMEDY) from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plotter

    return plotter


def _plot_cell(plotter: Any, cell: Any, path: Path) -> None:
    z = np.linspace(0, 1, 101)
    figure, (above, below) = plotter.subplots(2, 1, sharex=True, figsize=(8, 8))
    above.plot(z, cell.ocv_v, label="open circuit")
    above.fill_between(
        z, cell.ocv_v - cell.half_gap_v, cell.ocv_v + cell.half_gap_v, alpha=0.3, label="hysteresis"
    )
    above.set_ylabel("V")
    above.legend()
    for k, temp_c in enumerate(cell.temp_c):
        below.plot(z, 1000 * cell.r_ohm[k].sum(axis=0), label=f"R0 + R1 + R2 at {temp_c:g} °C")
    below.set(xlabel="SoC", ylabel="mohm", yscale="log")
    below.legend()
    figure.savefig(path, dpi=120)


def _plot_run(plotter: Any, outcome: Outcome, path: Path) -> None:
    figure, axes = plotter.subplots(figsize=(10, 5))
    hours = outcome.t_s / 3600
    axes.fill_between(hours, outcome.low, outcome.high, alpha=0.3, label="95 %")
    axes.plot(hours, outcome.soc, label="estimate")
    if outcome.truth is not None:
        axes.plot(hours, outcome.truth, "k--", linewidth=0.8, label="truth")
    axes.set(xlabel="h", ylabel="SoC", ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=120)


def _fail(error: GatewayError) -> Any:
    typer.echo(str(error), err=True)
    raise typer.Exit(error.exit_code) from error
