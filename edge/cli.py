"""`bollard edge …`: the commands of the gateway."""

import asyncio
import gc
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The service on the gateway: run it, check its site file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
SiteOption = Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)]


def set_cache_folder() -> None:
    """Compiled kernels live in /var/cache/bollard if it is ours, else in the user's cache. Before Numba loads."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    system = Path("/var/cache/bollard")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bollard"
    os.environ["NUMBA_CACHE_DIR"] = str((system if os.access(system, os.W_OK) else user) / "kernels")


def fail(message: str, code: int) -> typer.Exit:
    print(message, file=sys.stderr)
    return typer.Exit(code)


@app.command()
def run(
    site: SiteOption,
    sim_clock: Annotated[Path | None, typer.Option(help="Share the simulator's time: its clock file.")] = None,
) -> None:
    """Poll, compute, spool and publish until told to stop (SIGTERM or Ctrl-C)."""
    set_cache_folder()
    from drivers.errors import DriverError
    from dsp.warm import warm as load_kernels
    from edge.agent import Agent
    from edge.clock import SimulatedClock, WallClock
    from edge.config import ConfigError, LoadedSite
    from edge.logs import log_to_stderr
    from edge.spool import SpoolError

    log_to_stderr()

    async def serve() -> None:
        kinds = {profile.kind for profile in loaded.profiles.values()}
        load_kernels(kinds)  # from the cache; else the first rows would wait for them
        agent = Agent(loaded, clock, bollard_version())
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        gc.freeze()  # what was loaded so far stays; collecting it again and again costs time
        await agent.run(stop, lambda: print("ready", flush=True))

    try:
        loaded = LoadedSite.load(site)
        clock = SimulatedClock(sim_clock) if sim_clock else WallClock()
        asyncio.run(serve())
    except (ConfigError, DriverError, SpoolError, ValueError) as error:
        raise fail(str(error), 2) from error


@app.command()
def check(site: SiteOption) -> None:
    """Check a site file and its profiles without connecting to anything."""
    set_cache_folder()
    from edge.config import ConfigError, LoadedSite, rules_of

    try:
        loaded = LoadedSite.load(site)
    except ConfigError as error:
        raise fail(str(error), 2) from error
    for device in loaded.site.device:
        profile = loaded.profiles[device.name]
        where = device.url or f"{device.host}:{device.port} unit {device.unit_id}"
        print(f"{device.name}: {profile.kind}, {profile.model}, {len(profile.points)} points, {where}")
        for caveat in profile.caveats:
            print(f"  note: {caveat}")
        rules = rules_of(device, profile).get("rules", {})
        for rule, why in rules.get("not_evaluated", {}).items():
            print(f"  not evaluated: {rule}: {why}")
    print(f"{site}: all right")


@app.command()
def warm() -> None:
    """Compile the kernels into the cache, so that the first start is fast."""
    set_cache_folder()
    from dsp.warm import warm as compile_kernels

    seconds = compile_kernels()
    print(f"kernels are ready in {os.environ['NUMBA_CACHE_DIR']} ({seconds:.1f} s)")


def bollard_version() -> str:
    try:
        return version("bollard")
    except PackageNotFoundError:
        return "0+unknown"


def main() -> None:
    app()


if __name__ == "__main__":
    main()
