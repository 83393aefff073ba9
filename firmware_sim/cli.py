"""Command line of the simulator: `bollard sim`, and `python -m firmware_sim.cli` for its own process."""

import asyncio
import json
import logging
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_sim.bench import Bench
from firmware_sim.clock import NS, ClockError, SimClock
from firmware_sim.fault_cli import fault, faults
from firmware_sim.plant.replay import DEFAULT_COLUMNS
from firmware_sim.plant_cli import picture, site, truth
from firmware_sim.scenario import ScenarioError, load_scenario, shipped_scenarios
from firmware_sim.truth import TruthFile, follow

WRONG_INPUT, UNREACHABLE, INTERRUPTED = 2, 4, 130
_UNITS_S = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}

app = typer.Typer(no_args_is_help=True, help="Simulated PLCs on real sockets.", add_completion=False)


@app.callback()
def _sub_commands() -> None:
    """Simulated PLCs on real sockets."""


def duration(text: str) -> int:
    """Whole seconds of 3600, 90s, 75min, 1.5h or 2d. Raises: typer.BadParameter."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if match is None or match[2] not in _UNITS_S:
        raise typer.BadParameter(f"{text!r} is no duration; write 3600, 90s, 75min, 1.5h or 2d")
    return round(float(match[1]) * _UNITS_S[match[2]])


def columns(text: str) -> dict[str, str]:
    """{"voltage": "U"} of "voltage=U,…". Raises: typer.BadParameter."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    wrong = [name for name, sign, value in pairs if not (sign and value.strip())]
    if wrong or not pairs:
        raise typer.BadParameter(f"{text!r}: write quantity=column,… with {', '.join(DEFAULT_COLUMNS)}")
    return {name.strip(): value.strip() for name, _, value in pairs}


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="a shipped scenario, or a path that ends in .toml")],
    sim_clock: Annotated[
        Path | None, typer.Option(help="shared clock file; without it the clock starts at once")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.01, max=3600, help="of our own clock, without --sim-clock")] = 1.0,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port_base: Annotated[
        int, typer.Option(min=0, max=65_000, help="port of the first device; 0 for free ports")
    ] = 0,
    control_port: Annotated[int, typer.Option(min=0, max=65_535, help="loopback port for the truth")] = 0,
    recording: Annotated[
        Path | None, typer.Option(help="CSV or CSV.gz of one cell, instead of the scenario's")
    ] = None,
    column_map: Annotated[
        Any, typer.Option("--columns", parser=columns, help="quantity=column,… of the recording")
    ] = None,
    start: Annotated[Any, typer.Option(parser=duration, help="where in the recording to begin, as in 2h")] = None,
    span: Annotated[Any, typer.Option(parser=duration, help="how much of it to replay, as in 75min")] = None,
    capacity_ah: Annotated[float | None, typer.Option(help="of the recorded cell, if not found")] = None,
    series: Annotated[int | None, typer.Option(help="cells in a string of the pack")] = None,
    parallel: Annotated[int | None, typer.Option(help="strings of the pack")] = None,
    duration_s: Annotated[
        Any, typer.Option("--duration-s", parser=duration, help="simulated time after which to stop")
    ] = None,
    parent_pid: Annotated[int | None, typer.Option(help="stop when this process is gone")] = None,
    truth_file: Annotated[
        Path | None, typer.Option("--truth", help="CSV file to which the truth is written meanwhile")
    ] = None,
    truth_every_s: Annotated[int, typer.Option(min=1, max=86_400, help="a row every so many simulated s")] = 60,
) -> None:
    """Serve a scenario's devices until stopped. Prints one line `ready {…}` when all of them listen."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_LOGFMT)
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it logs a traceback for a port that is taken
    wanted = {
        "file": None if recording is None else str(recording.absolute()),
        "columns": column_map,
        "start_s": start,
        "span_s": span,
        "capacity_ah": capacity_ah,
    }
    pack = {"series": series, "parallel": parallel}
    try:
        loaded = load_scenario(scenario, recording=_given(wanted), pack=_given(pack))
        bench = Bench(loaded)  # before the clock: the first time ever, its kernels take some seconds to compile
        clock = _clock(sim_clock, loaded.scenario.start.timestamp(), speed)
    except (ScenarioError, ClockError) as error:
        _leave(str(error), WRONG_INPUT)
    from firmware_sim.serve import Ports, PortTakenError, run  # asyncua takes a third of a second

    following: list[asyncio.Task[None]] = []  # ends with the event loop

    def ready(line: dict[str, Any]) -> None:
        typer.echo("ready " + json.dumps(line, separators=(",", ":")))
        sys.stdout.flush()
        if truth_file is not None:
            file = TruthFile(truth_file, bench, clock.epoch_ns)
            following.append(
                asyncio.get_running_loop().create_task(follow(file, clock.elapsed_ns, truth_every_s, clock.real_s))
            )

    try:
        ports = Ports(host, port_base, control_port)
        interrupted = asyncio.run(run(bench, clock, ports, ready, duration_s, parent_pid))
    except PortTakenError as error:
        _leave(str(error), UNREACHABLE)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command()
def scenarios() -> None:
    """List the scenarios that come with bollard."""
    for name in shipped_scenarios():
        typer.echo(name)


app.command("site")(site)
app.command("truth")(truth)
app.command("picture")(picture)
app.command("fault")(fault)
app.command("faults")(faults)
_LOGFMT = 'time=%(asctime)s level=%(levelname)s logger=%(name)s msg="%(message)s"'


def _clock(file: Path | None, start_s: float, speed: float) -> SimClock:
    return SimClock.from_file(file) if file is not None else SimClock.started(round(start_s) * NS, speed)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _leave(message: str, code: int) -> Any:
    typer.echo(message, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
