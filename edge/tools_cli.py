"""`bollard edge watch` and `probe`: what a person looks through on the quay. They read only."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from drivers.probe_opcua import Tree
    from drivers.profile import Table
    from edge.profile_draft import ProfileDraft
    from edge.texts import Texts

REFRESH_S, LOOK_S = 0.5, 1.0
TABLES = ("holding", "input", "coil", "discrete")
LangOption = Annotated[str, typer.Option(help="fr or en; else the terminal's.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Print once and end.")]


def watch(
    site: Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)],
    device: Annotated[list[str] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    once: OnceOption = False,
    lang: LangOption = "",
) -> None:
    """Show every point of a site as it comes: value, quality, age, raw words. Ctrl-C ends it.

    Through the running agent, where one runs for this site file; else it reads the devices itself. Ends with 4
    where no device answers.
    """
    from drivers.errors import ProfileError
    from edge.cli import fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.spool import SpoolError
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts, loaded = texts_for(lang), LoadedSite.load(site)
        known = [d.name for d in loaded.site.device]
        for name in device or []:
            if name not in known:
                raise ConfigError(texts("watch.no_device", name=name, site=site, known=", ".join(known)))
        from edge.watch import Watched
        from edge.watch_view import WIDTH, view

        async def show() -> bool:
            async with Watched(loaded, device or []) as watched:
                answered = await watched.settled() if once else True
                console = _console(WIDTH if once else None)
                if once:
                    console.print(view(watched, texts))
                    return answered

                async def draw() -> "RenderableType":
                    watched.look()
                    return view(watched, texts, console.height if console.is_terminal else None)

                await _live(console, draw, REFRESH_S)
                return True

        answered = asyncio.run(show())
    except PermissionError as error:
        raise fail(texts("watch.not_ours", path=error.filename), 2) from error
    except (ConfigError, ProfileError, SpoolError, ValueError) as error:
        raise fail(str(error), 2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not answered:
        raise typer.Exit(4)


def probe(
    url: Annotated[
        str,
        typer.Argument(
            help="modbus://HOST:PORT/UNIT, modbus+rtu-over-tcp://…, modbus+tls://…,"
            " modbus+rtu:///dev/ttyUSB0?baud=9600&unit=3, or opc.tcp://HOST:PORT.",
            show_default=False,
        ),
    ],
    span: Annotated[
        str, typer.Option("--range", help="FIRST:END of the registers to show, END left out.")
    ] = "0:64",
    table: Annotated[str, typer.Option(help="holding, input, coil or discrete.")] = "holding",
    profile: Annotated[
        str, typer.Option(help="Read all points of a profile instead, and say which are implausible.")
    ] = "",
    once: OnceOption = False,
    draft: Annotated[
        Path | None, typer.Option(help="Look once and write a profile of what was seen, as in my-meter.toml.")
    ] = None,
    take: Annotated[
        list[str] | None,
        typer.Option(help="With --draft: NAME=REGISTER or NAME=NODE, or as --point of profile new; repeatable."),
    ] = None,
    kind: Annotated[str, typer.Option(help="With --draft: charger, meter, battery or lock.")] = "",
    force: Annotated[bool, typer.Option("--force", help="With --draft: write over a file that is there.")] = False,
    site: Annotated[
        Path | None, typer.Option(help="Site file of the agent to look through; else any that runs here.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.05, max=60.0, help="Seconds to wait for an answer.")] = 1.0,
    node: Annotated[str, typer.Option(help="OPC UA: where the tree begins, as in ns=2;s=Pack.")] = "i=85",
    depth: Annotated[int, typer.Option(min=1, max=20, help="OPC UA: levels of the tree.")] = 5,
    most: Annotated[int, typer.Option(min=1, max=5000, help="OPC UA: nodes of the tree.")] = 200,
    device: Annotated[
        str, typer.Option(help="OPC UA: sign on as this device of --site does, with its \\[device.opcua].")
    ] = "",
    security_policy: Annotated[
        str, typer.Option(help="OPC UA: as in \\[device.opcua]; with it the next five.")
    ] = "None",
    mode: Annotated[str, typer.Option(help="Sign or SignAndEncrypt.")] = "SignAndEncrypt",
    server_fingerprint: Annotated[str, typer.Option(help="SHA-256 of the server's certificate.")] = "",
    username: Annotated[str, typer.Option(help="User name.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="A file that holds the password.")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="Folder of client.der and client.key.pem, made there if they are not.")
    ] = None,
    lang: LangOption = "",
) -> None:
    """Look at a device that is not known yet: raw registers in every order, what they may be, which profile fits.

    Reads only, gently, and through the running agent where that polls the device. Ends with 4 where nobody
    answers, with 1 where points of --profile are implausible.
    """
    from drivers.errors import DriverError
    from drivers.probe_url import parse_url
    from drivers.profile import load_profile
    from edge.cli import fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.local_client import AgentGone
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts = texts_for(lang)
        known = load_profile(profile) if profile else None
        if known is not None and (known.protocol == "opcua") != url.startswith("opc.tcp://"):
            raise ValueError(texts("probe.other_protocol", profile=profile, protocol=known.protocol, url=url))
        if draft is not None and known is not None:
            raise ValueError(texts("probe.draft_or_profile", profile=profile))
        if known is not None and known.protocol == "opcua":
            raise ValueError(texts("probe.opcua_profile", profile=profile))
    except (DriverError, ValueError) as error:
        raise fail(str(error), 2) from error
    if url.startswith("opc.tcp://"):
        settings: dict[str, Any] = {
            "security_policy": security_policy, "mode": mode, "server_fingerprint": server_fingerprint,
            "username": username, "password_file": password_file,
        }  # fmt: skip
        to_file = partial(_write_opcua_draft, url, draft, take or [], kind, force) if draft is not None else None
        span_of_tree = (node, depth, most)
        _probe_opcua(url, settings, identity, site, device, span_of_tree, max(4.0, timeout_s), lang, to_file)
        return
    try:
        from edge.probe_command import Wanted, probing
        from edge.probe_draft import modbus_draft
        from edge.probe_view import WIDTH, view

        first, count = _range(span, texts)
        if table not in TABLES:
            raise ValueError(f"--table {table}: is not one of {', '.join(TABLES)}")
        spool = LoadedSite.load(site).spool_path if site is not None else None
        wanted = Wanted(parse_url(url), cast("Table", table), first, count, known, timeout_s, spool)
    except (ConfigError, DriverError, ValueError) as error:
        raise fail(str(error), 2) from error

    async def show() -> int:
        async with probing(wanted) as (looker, found):
            console = _console(WIDTH if once or draft is not None else None)
            if looker is None:
                console.print(view(found, texts))
                return 4
            await looker.look()
            if draft is not None:
                console.print(view(found, texts))
                _write_draft(modbus_draft(found, take or [], kind, texts), draft, force, texts)
                return 0
            if once:
                console.print(view(found, texts))
                return 1 if found.reading is not None and found.reading.doubts else 0

            async def draw() -> "RenderableType":
                return view(await looker.again(), texts, live=True)

            await _live(console, draw, LOOK_S)
            return 0

    try:
        code = asyncio.run(show())
    except PermissionError as error:
        raise fail(texts("watch.not_ours", path=error.filename), 2) from error
    except (AgentGone, DriverError) as error:
        raise fail(texts("probe.no_device", why=error), 4) from error
    except ValueError as error:  # of the draft
        raise fail(str(error), 2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if code:
        raise typer.Exit(code)


def _probe_opcua(
    url: str, given: dict[str, Any], identity: Path | None, site: Path | None, device: str,
    span: tuple[str, int, int], timeout_s: float, lang: str, to_file: "Callable[[Tree, Texts], None] | None",
) -> None:  # fmt: skip
    """A session of its own: OPC UA servers take several."""
    from pydantic import ValidationError

    from drivers.errors import DeviceUnreachable, DriverError
    from drivers.opcua_security import endpoints
    from drivers.opcua_settings import OpcUaSettings
    from drivers.probe_opcua import tree
    from drivers.profile import explain_all
    from edge.cli import fail
    from edge.config import ConfigError, LoadedSite
    from edge.probe_command import modbus_instead
    from edge.probe_opcua_view import WIDTH, endpoints_view, tree_view
    from edge.texts import texts_for

    async def show() -> None:
        console = _console(WIDTH)
        try:
            ways_in = await endpoints(url, timeout_s)
        except DriverError as error:
            spool = LoadedSite.load(site).spool_path if site is not None else None
            if (other := await modbus_instead(url, spool, timeout_s)) is None:
                raise
            raise DeviceUnreachable(texts("probe.is_modbus", why=error, url=other)) from error
        console.print(endpoints_view(ways_in, texts))
        seen = await tree(url, settings, *span, timeout_s=timeout_s)
        console.print(tree_view(seen, texts))
        if to_file is not None:
            to_file(seen, texts)

    try:
        texts = texts_for(lang)
        here = Path.cwd()
        settings = OpcUaSettings.model_validate(given).beside(here, here / (identity or "opcua"))
        if device:
            if site is None:
                raise ConfigError(texts("probe.device_without_site", name=device))
            known = {d.name: d for d in LoadedSite.load(site).site.device if d.url}
            if device not in known:
                raise ConfigError(texts("watch.no_device", name=device, site=site, known=", ".join(known) or "-"))
            settings = known[device].opcua or settings
        asyncio.run(show())
    except ValidationError as error:
        raise fail("\n".join(explain_all("probe", error, OpcUaSettings)), 2) from error
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    except DriverError as error:
        raise fail(texts("probe.no_device", why=error), 4) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _write_opcua_draft(
    url: str, file: Path, takes: list[str], kind: str, force: bool, seen: "Tree", texts: "Texts"
) -> None:
    from edge.probe_draft import opcua_draft

    _write_draft(opcua_draft(seen, url, takes, kind, texts), file, force, texts)


def _write_draft(made: "ProfileDraft", file: Path, force: bool, texts: "Texts") -> None:
    """Raises: ProfileError, ValueError."""
    from drivers.errors import ProfileError
    from drivers.profile import parse_profile
    from edge.profile_cli import write_profile
    from edge.profile_draft import profile_text

    text = profile_text(made, str(file), texts)
    try:
        parse_profile(text, str(file))
    except ProfileError as error:
        raise ValueError(str(error)) from error
    write_profile(text, file, force, texts)


def _range(text: str, texts: "Texts") -> tuple[int, int]:
    """First address and number of addresses. Raises: ValueError."""
    first, _, end = text.partition(":")
    if not (first.isdigit() and end.isdigit() and int(first) < int(end) <= 65_536):
        raise ValueError(texts("probe.range_wrong", text=text))
    return int(first), int(end) - int(first)


def _console(width: int | None = None) -> "Console":
    from rich.console import Console

    return Console(width=width, highlight=False)


async def _live(console: "Console", draw: Callable[[], Awaitable["RenderableType"]], every_s: float) -> None:
    """Draw again and again, in place on a terminal, until Ctrl-C."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            started_s = time.monotonic()
            live.update(await draw(), refresh=True)
            await asyncio.sleep(max(0.1, every_s - (time.monotonic() - started_s)))
