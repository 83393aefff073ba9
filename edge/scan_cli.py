"""`bollard edge scan`: find the devices on named hosts and serial lines. It reads only."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from drivers.address import ModbusAddress, Parity
    from drivers.scan import Sighting
    from edge.texts import Texts

TCP_TIMEOUT_S, LINE_TIMEOUT_S = 1.0, 0.5
PORTS = "502,4840"


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at, and how."""

    sockets: list[tuple[str, int]]
    serials: list[str]
    units: list[int] | None
    bauds: list[int]
    parities: list["Parity"]
    listen_s: float
    timeout_s: float | None
    look: bool
    spool: Path | None

    @property
    def count(self) -> int:
        return len(self.sockets) + len(self.serials)


class Progress:
    """One line on stderr, drawn again on a terminal; elsewhere a line for each host, port or line."""

    def __init__(self, count: int) -> None:
        self._count, self._done, self._drawn = count, 0, False
        self._terminal = sys.stderr.isatty()

    def begin(self, where: str) -> None:
        self._done += 1
        if not self._terminal:
            print(f"[{self._done}/{self._count}] {where}", file=sys.stderr, flush=True)

    def tell(self, what: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K[{self._done}/{self._count}] {what}", end="", file=sys.stderr, flush=True)
            self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    @property
    def done(self) -> int:
        return self._done


def scan(
    target: Annotated[
        list[str],
        typer.Argument(
            help="Hosts, as in 10.20.0.7-12 or plc-6:4001, opc.tcp://HOST:PORT, lines, as in /dev/ttyUSB0."
            " Only these are looked at.",
            show_default=False,
        ),
    ],
    port: Annotated[str, typer.Option(help="TCP ports of hosts that are given without one.")] = PORTS,
    unit: Annotated[
        str,
        typer.Option(help="Modbus units, as in 1-10,247; else the usual ones up to the first; 1-10 of a line."),
    ] = "",
    baud: Annotated[str, typer.Option(help="Rates of a line, in this order.")] = "19200,9600,38400,115200,57600",
    parity: Annotated[str, typer.Option(help="Parities of a line, in this order.")] = "E,N,O",
    listen_s: Annotated[
        float, typer.Option(min=0.0, max=600.0, help="Seconds to listen for another master on a line.")
    ] = 30.0,
    timeout_s: Annotated[
        float | None, typer.Option(min=0.05, max=60.0, help="Seconds to wait for an answer; 1, on a line 0.5.")
    ] = None,
    look: Annotated[bool, typer.Option(help="Look closer at what answers, with at most 60 requests each.")] = True,
    site: Annotated[
        Path | None,
        typer.Option(help="Site file of an agent whose devices are left alone; else of any that runs."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
    lang: Annotated[str, typer.Option(help="fr or en; else the terminal's.")] = "",
) -> None:
    """Find devices: Modbus units over TCP, over RTU in TCP and on serial lines, and OPC UA servers. Reads only.

    One connection at a time, one request for one register each; only what answers is looked at closer. Ends with 4
    where nobody answers, by Ctrl-C with what was found so far.
    """
    from drivers.scan_targets import parse_numbers, parse_targets
    from edge.cli import fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.scan_view import Names, Shown, lines, rest
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts = texts_for(lang)
        sockets, serials = parse_targets(target, parse_numbers(port, 1, 65_535, "--port"))
        wanted = Wanted(
            sockets, serials, parse_numbers(unit, 0, 255, "--unit") if unit else None,
            parse_numbers(baud, 300, 4_000_000, "--baud"), _parities(parity), listen_s, timeout_s, look,
            LoadedSite.load(site).spool_path if site is not None else None,
        )  # fmt: skip
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    progress, names = Progress(wanted.count), Names()
    found: list[Shown] = []

    def show(seen: "Sighting") -> None:
        found.append(Shown(seen, names))
        progress.clear()
        if not as_json:
            for line in lines(found[-1], texts):
                print(line, flush=True)

    stopped = False
    try:
        asyncio.run(_scan(wanted, progress, show, texts))
    except PermissionError as error:
        progress.clear()
        raise fail(texts("watch.not_ours", path=error.filename), 2) from error
    except KeyboardInterrupt:
        stopped = True
    progress.clear()
    if as_json:
        print(json.dumps([one.as_json() for one in found], indent=2, ensure_ascii=False))
    else:
        for line in rest(found, texts):
            print(line)
    if stopped:
        print(texts("scan.stopped", done=progress.done, count=wanted.count), file=sys.stderr)
        raise typer.Exit(130)
    if not any(one.seen.kind in ("unit", "opcua", "agent") for one in found):
        if not as_json:
            print(texts("scan.nobody"), file=sys.stderr)
        raise typer.Exit(4)


def _parities(text: str) -> list["Parity"]:
    parities = [part.strip().upper() for part in text.split(",")]
    if wrong := [p for p in parities if p not in ("E", "N", "O")]:
        raise ValueError(f"--parity {text}: {wrong[0]!r} is not one of E, N, O")
    return cast('list["Parity"]', list(dict.fromkeys(parities)))


async def _scan(wanted: Wanted, progress: Progress, show: Callable[["Sighting"], None], texts: "Texts") -> None:
    """Look at one after the other; what a running agent polls is left to it."""
    from drivers.scan import Sighting
    from edge.local_client import owner_of

    for where, address, look in _looks(wanted, progress):
        progress.begin(where)
        async with owner_of(address, wanted.spool) as owner:
            if owner is not None:
                show(Sighting(where, "agent", why=str(owner[0].path)))
                continue
        for seen in await look():
            show(seen)


def _looks(
    wanted: Wanted, progress: Progress
) -> Iterator[tuple[str, "ModbusAddress", Callable[[], Awaitable[list["Sighting"]]]]]:
    """What is looked at, whose connection or line that is, and the look itself."""
    from functools import partial

    from drivers.address import ModbusAddress, bracketed
    from drivers.scan import LINE_UNITS, look_at_line, look_at_port

    for serial in wanted.serials:
        units = [unit for unit in wanted.units or LINE_UNITS if 1 <= unit <= 247]
        timeout_s = wanted.timeout_s or LINE_TIMEOUT_S
        yield serial, ModbusAddress(transport="rtu", serial=serial), partial(
            look_at_line, serial, wanted.bauds, wanted.parities, units, wanted.listen_s, timeout_s, progress.tell,
            wanted.look,
        )  # fmt: skip
    for host, port in wanted.sockets:
        yield f"{bracketed(host)}:{port}", ModbusAddress(host, port), partial(
            look_at_port, host, port, wanted.units, wanted.timeout_s or TCP_TIMEOUT_S, progress.tell, wanted.look
        )  # fmt: skip
