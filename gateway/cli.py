"""The front door: `bollard`. Loads a folder's commands only when one of them is called.

The one module that may name every folder; it imports none of them before it knows which is wanted.
"""

import importlib
import os
import sys
from typing import Any

GROUPS = {  # command -> (module, attribute, help)
    "demo": ("gateway.demo_cli", "demo", "A berth and a lock on this machine, from PLC to monthly report."),
    "edge": ("edge.cli", "app", "The service on the gateway: run it, check its site file."),
    "site": (
        "edge.site_cli",
        "app",
        "The site file: begin one, check by an editor, bring up to date, sign.",
    ),
    "profile": ("edge.profile_cli", "app", "The profile of a device: begin one, check it, its register sheet."),
    "sim": ("firmware_sim.cli", "app", "Simulated PLCs on real sockets."),
    "hil": ("firmware_sim.hil.cli", "app", "Acceptance tests of a device, simulated or real. Reads only."),
    "ingest": ("gateway.ingest_cli", "ingest", "The shore side: takes batches, stores them, confirms them."),
    "serve": ("gateway.web.serve", "serve", "The supervisors' page: locks and berths live, in a browser."),
    "user": ("gateway.web.user_cli", "app", "Who may look at the page: add, passwd, remove, token."),
    "rejected": ("gateway.rejected_cli", "app", "Rows that the store could not take: list, show, replay, drop."),
    "store": ("gateway.store_cli", "app", "The store: remove old raw rows."),
    "influx": ("gateway.influx_cli", "app", "InfluxDB: buckets, retention and tokens with least rights."),
    "pki": ("gateway.pki_cli", "app", "A small CA: certificates for gateways, shore services and brokers."),
    "broker": ("gateway.broker_cli", "app", "Configuration of mosquitto: TLS, and one access rule per gateway."),
    "fleet": (
        "gateway.fleet_cli",
        "fleet",
        "All gateways, the worst first: versions, confirmed until, clock, disk.",
    ),
    "backup": ("edge.backup_cli", "backup", "Spool, book, store and keys as one archive, while all runs."),
    "restore": ("edge.backup_cli", "restore", "Put an archive of `bollard backup` back; refuses a damaged one."),
    "support": ("edge.support_cli", "support", "A bundle for support, with secrets taken out."),
    "battery": ("gateway.battery_cli", "app", "Cell models and state of charge, over recordings of any battery."),
    "journal": ("gateway.journal_cli", "app", "What people write down: calls, lock hours, replaced meters."),
    "report": ("gateway.report.cli", "app", "The monthly energy and CO2 report of a site."),
    "recompute": ("gateway.recompute_cli", "recompute", "Minutes or calls once more from raw rows, as revisions."),
    "export": ("gateway.report.export_cli", "export_command", "Rows of a device as CSV."),
}


def main() -> None:
    """Find the command's module by name, load it, and let it read the rest of the line."""
    import typer

    words = sys.argv[1:] + os.environ.get("COMP_WORDS", "").split()  # the shell asks for completions this way
    wanted = next((word for word in words if word in GROUPS), None)
    front = typer.Typer(
        name="bollard", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
        help="Telemetry and edge computing for the quay and the lock. It informs; it is no safety function.",
    )  # fmt: skip
    front.command("version", help="Print the version.")(_print_version)
    if sys.argv[1:] == ["--version"]:
        _print_version()
        return
    for name, (module, attribute, text) in GROUPS.items():
        if name == wanted:
            _mount(front, name, getattr(_load(name, module), attribute), text)
        else:
            front.command(name, help=text)(_not_loaded)
    front()


def _load(command: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        extra = "sim" if command in ("sim", "hil") else "shore"
        sys.exit(
            f"bollard {command} needs {error.name}; install it from the clone:"
            f" pip install -c constraints.txt '.[{extra}]'"
        )


def _mount(front: Any, name: str, target: Any, text: str) -> None:
    import typer

    if isinstance(target, typer.Typer):
        front.add_typer(target, name=name, help=text)
    else:
        front.command(name, help=target.__doc__ or text)(target)


def _not_loaded() -> None:
    """Stands in the list of `bollard --help` for a command that was not called."""


def _print_version() -> None:
    from importlib.metadata import version

    print(version("bollard"))


if __name__ == "__main__":
    main()
