"""`bollard sim site`, `truth` and `picture`: what a scenario is and does, without serving it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_sim.bench import Bench
from firmware_sim.picture import NoPictureError, draw
from firmware_sim.scenario import ScenarioError, folder_of, load_scenario
from firmware_sim.site_file import site_toml
from firmware_sim.truth import NS, TruthFile

WRONG_INPUT = 2


def truth(
    scenario: Annotated[str, typer.Argument(help="a shipped scenario, or a path that ends in .toml")],
    out: Annotated[Path, typer.Option(help="the CSV file to write")] = Path("truth.csv"),
    span_s: Annotated[int, typer.Option(min=1, max=400 * 86_400, help="how much, in simulated s")] = 86_400,
    every_s: Annotated[int, typer.Option(min=1, max=86_400, help="a row every so many simulated s")] = 60,
) -> None:
    """Compute a scenario and write what is true to a CSV file."""
    loaded = _loaded(scenario)
    epoch_ns = round(loaded.scenario.start.timestamp()) * NS
    file = TruthFile(out, Bench(loaded), epoch_ns)
    for second in range(0, span_s + 1, every_s):
        file.write(second * NS)
    file.close()
    typer.echo(str(out))


def picture(
    scenario: Annotated[str, typer.Argument(help="a shipped scenario, or a path that ends in .toml")],
    plant: Annotated[
        str | None, typer.Option(help="a berth with a timetable, or a lock; the first if absent")
    ] = None,
    out: Annotated[Path, typer.Option(help="the PNG file to write")] = Path("picture.png"),
    from_s: Annotated[int, typer.Option(min=0, max=86_400, help="from here on, in s after the start")] = 0,
    span_s: Annotated[int, typer.Option(min=600, max=7 * 86_400, help="of a berth: how much, in s")] = 64_800,
) -> None:
    """Draw a berth's day (power, SoC, state) or a lock's next lockage (levels, gates, sluices) as PNG."""
    loaded = _loaded(scenario)
    try:
        draw(Bench(loaded), plant, out, loaded.scenario.start, from_s, span_s)
    except NoPictureError as error:
        _leave(str(error))
    typer.echo(str(out))


def site(
    scenario: Annotated[str, typer.Argument(help="a shipped scenario, or a path that ends in .toml")],
    host: Annotated[str, typer.Option(help="where bollard sim run listens")] = "127.0.0.1",
    port_base: Annotated[int, typer.Option(min=1, max=65_000, help="as given to bollard sim run")] = 45_000,
) -> None:
    """Write the site file with which bollard edge reads a scenario's devices, on stdout."""
    try:
        typer.echo(site_toml(_loaded(scenario), folder_of(scenario), host, port_base), nl=False)
    except ScenarioError as error:
        _leave(str(error))


def _loaded(scenario: str) -> Any:
    try:
        return load_scenario(scenario)
    except ScenarioError as error:
        return _leave(str(error))


def _leave(message: str) -> Any:
    typer.echo(message, err=True)
    raise typer.Exit(WRONG_INPUT)
