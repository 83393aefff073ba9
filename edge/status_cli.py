"""`bollard edge status`: until when each device is confirmed ashore, and what waits."""

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from edge.texts import Texts

NS = 1_000_000_000
ROWS = ("sealed", "stored", "refused", "dropped", "waiting", "held")


def status(
    site: Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="All of it for a program.")] = False,
    lang: Annotated[str, typer.Option(help="fr or en; else the terminal's.")] = "",
) -> None:
    """Show until when each device is confirmed ashore, what waits here, and how the clock is.

    Asks the running agent. Ends with 4 where none runs for this site file, with 1 where rows have been dropped.
    """
    from rich.console import Console

    from edge.cli import fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.local import socket_path
    from edge.local_client import AgentGone
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts, loaded = texts_for(lang), LoadedSite.load(site)
        path = socket_path(loaded.spool_path)
        found = asyncio.run(_ask(path))
    except PermissionError as error:
        raise fail(texts("watch.not_ours", path=error.filename), 2) from error
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    except AgentGone as error:
        raise fail(str(error), 4) from error
    if found is None:
        raise fail(texts("status.nobody", path=path), 4)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        zone = ZoneInfo(loaded.site.site.timezone)
        Console(highlight=False).print(view(found, texts, zone, time.time_ns()))
    if found["dropped"]:
        raise typer.Exit(1)


async def _ask(path: Path) -> dict[str, Any] | None:
    from edge.local_client import agent_at

    async with agent_at(path) as agent:
        return None if agent is None else await agent.status()


def view(found: dict[str, Any], texts: Texts, zone: ZoneInfo, now_ns: int) -> Any:
    """A table of the devices, and what concerns them all."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("device", "confirmed", "behind"):
        table.add_column(texts(f"status.{column}"), justify="right" if column == "behind" else "left")
    for name, device in found["devices"].items():
        until_ns = device["confirmed_until_ns"]
        behind = texts("status.seconds", seconds=max(0.0, (now_ns - until_ns) / NS)) if until_ns else "—"
        table.add_row(name, _instant(until_ns, zone) if until_ns else texts("status.nothing"), behind)
    broker = texts("status.connected" if found["state"] == "online" else "status.not_connected")
    clock = "trusted" if found["clock_trusted"] else "unset" if not found["clock_known"] else "drifts"
    counts = " · ".join(f"{texts(f'status.{name}')} {found[name]}" for name in ROWS)
    return Group(Text(f"{broker} · {texts(f'status.clock_{clock}')}"), table, Text(counts))


def _instant(t_ns: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(t_ns // NS, zone).strftime("%Y-%m-%d %H:%M:%S %Z")
