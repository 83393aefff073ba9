"""`bollard edge …`: the commands of the gateway."""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from edge.commission_cli import commission
from edge.doctor_cli import doctor
from edge.scan_cli import scan
from edge.status_cli import status
from edge.tools_cli import probe, watch

app = typer.Typer(
    help="The service on the gateway: run it, check its site file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
log = logging.getLogger(__name__)
OPEN_AGAIN_S = 5.0
SiteOption = Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)]
SignedOption = Annotated[
    bool,
    typer.Option(
        "--require-signed", envvar="BOLLARD_REQUIRE_SIGNED",
        help="Take only a site file that `bollard site sign` has signed with a key that this machine trusts.",
    ),
]  # fmt: skip
LangOption = Annotated[str, typer.Option(help="fr or en; else the terminal's.")]


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
    require_signed: SignedOption = False,
    sim_clock: Annotated[Path | None, typer.Option(help="Share the simulator's time: its clock file.")] = None,
) -> None:
    """Poll, compute, spool and publish until told to stop (SIGTERM or Ctrl-C). SIGHUP: read it again."""
    set_cache_folder()
    from drivers.errors import DriverError
    from edge.agent import Agent
    from edge.clock import SimulatedClock, WallClock
    from edge.config import ConfigError, LoadedSite
    from edge.kernels import load_kernels
    from edge.logs import log_to_stderr
    from edge.notify import COMPILING_S, Notify
    from edge.signing import load_site
    from edge.spool import SpoolError, SpoolFullError, SpoolIoError

    log_to_stderr()
    faulthandler.enable()  # a watchdog's SIGABRT leaves in the journal where each thread stood
    notify = Notify()

    def load() -> LoadedSite:
        return load_site(site, require_signed)

    async def opened() -> Agent:
        """The agent, as soon as the disk lets it have its spool. What else is wrong with that ends the start."""
        told = ""
        while True:
            try:
                return Agent(loaded, clock, bollard_version(), load, notify)
            except (SpoolFullError, SpoolIoError) as error:
                if str(error) != told:
                    log.error("event=spool_refuses error=%r", str(error))
                told = str(error)
                await asyncio.sleep(OPEN_AGAIN_S)

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # a reload reads what this start reads anyway
        begins = asyncio.create_task(notify.start_lasts())
        agent = await opened()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        loop.add_signal_handler(signal.SIGHUP, agent.reload)
        gc.freeze()  # what was loaded so far stays; collecting it again and again costs time

        def ready() -> None:
            begins.cancel()
            print("ready", flush=True)

        await agent.run(stop, ready)

    try:
        loaded = load()
        clock = SimulatedClock(sim_clock) if sim_clock else WallClock()
        # From the cache, else the first rows would wait for them. Before the loop: Ctrl-C ends it there, too.
        notify.starts_within(COMPILING_S)
        load_kernels({profile.kind for profile in loaded.profiles.values()})
        asyncio.run(serve())
    except (ConfigError, DriverError, SpoolError, ValueError) as error:
        raise fail(str(error), 2) from error
    except KeyboardInterrupt:  # before the agent began; it ends itself cleanly
        raise typer.Exit(130) from None


@app.command()
def check(site: SiteOption, require_signed: SignedOption = False, lang: LangOption = "") -> None:
    """Check a site file and its profiles without connecting to anything."""
    set_cache_folder()
    from edge.config import ConfigError, rules_of
    from edge.local import socket_path
    from edge.modbus_settings import modbus_address
    from edge.signing import load_site
    from edge.texts import texts_for

    try:
        texts, loaded = texts_for(lang), load_site(site, require_signed)
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    for device in loaded.site.device:
        profile = loaded.profiles[device.name]
        where = device.url or modbus_address(device, loaded.path.parent).endpoint
        kind, points = texts(f"site.{profile.kind}"), len(profile.points)
        print(texts("site.device", name=device.name, kind=kind, model=profile.model, points=points, where=where))
        for caveat in profile.caveats:
            print(texts("site.note", note=caveat))
        rules = rules_of(device, profile).get("rules", {})
        for rule, why in rules.get("not_evaluated", {}).items():
            print(texts("site.not_evaluated", rule=rule, why=why))
    print(texts("site.socket", path=socket_path(loaded.spool_path)))
    print(texts("site.right", path=site))


@app.command()
def plan(
    site: SiteOption,
    points: Annotated[bool, typer.Option("--points", help="Name the points of each request.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report for a program.")] = False,
    turnaround_ms: Annotated[
        float, typer.Option(min=0.0, max=1000.0, help="What a serial device takes to answer.")
    ] = 10.0,
    lang: LangOption = "",
) -> None:
    """Print every request, what it costs, and the load of each connection and line. Sends nothing.

    Ends with 3 where a connection or line cannot keep up.
    """
    set_cache_folder()
    from rich.console import Console

    from drivers.errors import ProfileError
    from drivers.learned import LearnedFile
    from drivers.plan_report import report
    from edge import plan_view
    from edge.config import ConfigError, LoadedSite
    from edge.texts import texts_for

    try:
        texts = texts_for(lang)
        loaded = LoadedSite.load(site)
        learned = LearnedFile.load(loaded.learned_path)
        made = report(plan_view.asked_of(loaded, learned), turnaround_ms / 1e3)
    except (ConfigError, ProfileError, ValueError) as error:
        raise fail(str(error), 2) from error
    if as_json:
        print(plan_view.as_json(made))
    else:
        Console(width=plan_view.WIDTH, highlight=False).print(
            plan_view.as_tables(made, texts, points, turnaround_ms / 1e3)
        )
    for device in loaded.site.device:
        if learned.is_outdated(device.name, loaded.profiles[device.name]):
            print(texts("plan.outdated", device=device.name), file=sys.stderr)
    if made.too_much:
        raise typer.Exit(3)


@app.command()
def learn(
    site: SiteOption,
    device: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
    lang: LangOption = "",
) -> None:
    """At commissioning: ask each Modbus device once which registers it refuses, and remember that.

    Reads only, and only what the plans ask for. Ends with 4 where a device was not reached.
    """
    set_cache_folder()
    from drivers.errors import ProfileError
    from edge.config import ConfigError, LoadedSite
    from edge.learning import commission as learn_all
    from edge.spool import SpoolError
    from edge.texts import texts_for

    def say(key: str, /, **values: object) -> None:
        print(texts(key, **values), flush=True)

    try:
        texts, loaded = texts_for(lang), LoadedSite.load(site)
        known = [d.name for d in loaded.site.device if loaded.profiles[d.name].protocol == "modbus"]
        for name in device or []:
            if name not in known:
                raise ConfigError(texts("learn.no_device", name=name, site=site, known=", ".join(known) or "-"))
        reached = asyncio.run(learn_all(loaded, device or known, say))
    except (ConfigError, ProfileError, SpoolError, ValueError) as error:
        raise fail(str(error), 2) from error
    if not reached:
        raise typer.Exit(4)


@app.command()
def warm() -> None:
    """Compile the kernels into the cache, so that the first start is fast."""
    set_cache_folder()
    from dsp.warm import warm as compile_kernels

    seconds = compile_kernels()
    print(f"kernels are ready in {os.environ['NUMBA_CACHE_DIR']} ({seconds:.1f} s)")


app.command()(status)
app.command()(watch)
app.command()(probe)
app.command()(doctor)
app.command()(commission)
app.command()(scan)


def bollard_version() -> str:
    try:
        return version("bollard")
    except PackageNotFoundError:
        return "0+unknown"


def main() -> None:
    app()


if __name__ == "__main__":
    main()
