"""`bollard site …`: the site file before it runs: begun, described to an editor, brought up to date, signed."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edge import sign_cli

if TYPE_CHECKING:
    from edge.site_draft import SiteDraft
    from edge.texts import Texts

app = typer.Typer(
    help="The site file: begin one, its JSON Schema, bring older ones up to date, sign.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (sign_cli.key, sign_cli.sign, sign_cli.verify):
    app.command()(command)
T = TypeVar("T")
LangOption = Annotated[str, typer.Option(help="fr or en; else the terminal's.")]
DRAFT_2020_12 = "https://json-schema.org/draft/2020-12/schema"


@app.command()
def new(
    name: Annotated[str, typer.Option(help="The site's name, as in calais.")] = "",
    gateway: Annotated[str, typer.Option(help="This gateway's name, as in gw-berth-6.")] = "",
    broker: Annotated[str, typer.Option(help="The MQTT broker, as in 10.20.0.2 or broker.lan:8883.")] = "",
    device: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PROFILE@URL, with the URL that edge scan prints; may be repeated."),
    ] = None,
    berth: Annotated[
        list[str] | None, typer.Option(help="NAME=CHARGER,METER\\[,BATTERY], devices of this file; repeatable.")
    ] = None,
    pack: Annotated[
        list[str] | None,
        typer.Option(help="A battery's NAME=CELL,SERIES,PARALLEL, as in ferry-bms=nmc,243,1929."),
    ] = None,
    chamber_area_m2: Annotated[
        list[str] | None, typer.Option(help="Of a lock: NAME=AREA, as in lock-1=1735.2.")
    ] = None,
    vessel: Annotated[
        list[str] | None, typer.Option(help="NAME=TEXT\\[,TEXT]: a vessel and what PLCs call it.")
    ] = None,
    timezone: Annotated[str, typer.Option(help="As in Europe/Paris.")] = "Europe/Paris",
    tls_ca: Annotated[str, typer.Option(help="The CA's certificate (PEM), seen from the site file.")] = "",
    tls_cert: Annotated[str, typer.Option(help="This gateway's certificate (PEM).")] = "",
    tls_key: Annotated[str, typer.Option(help="Its key (PEM).")] = "",
    time_server: Annotated[bool, typer.Option(help="Whether a time server can be reached.")] = True,
    sd_card: Annotated[bool, typer.Option("--sd-card", help="The spool is on an SD card: fewer commits.")] = False,
    paid_link: Annotated[bool, typer.Option("--paid-link", help="Few and small messages, as for 4G.")] = False,
    origin: Annotated[str, typer.Option(help="real, sim, replay or test.")] = "real",
    out: Annotated[str, typer.Option(help="The file; - prints it; NAME.toml if not given.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    lang: LangOption = "",
) -> None:
    """Write a commented site file that `bollard edge check` accepts. Connects to nothing.

    On a terminal it asks for what the options leave open.
    """
    from drivers.errors import ProfileError
    from edge.cli import fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.site_draft import (
        SiteDraft,
        parse_berth,
        parse_chamber,
        parse_device,
        parse_pack,
        site_text,
    )  # fmt: skip
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts = texts_for(lang)
        tls = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
        draft = SiteDraft(
            name, gateway, broker, timezone, tls={key: value for key, value in tls.items() if value},
            devices=[parse_device(text) for text in device or []], berths=dict(map(parse_berth, berth or [])),
            chambers=dict(map(parse_chamber, chamber_area_m2 or [])), packs=dict(map(parse_pack, pack or [])),
            vessels={n: t.split(",") if t else [] for n, _, t in (v.partition("=") for v in vessel or [])},
            origin=origin, time_server=time_server, sd_card=sd_card, paid_link=paid_link,
        )  # fmt: skip
        _complete(draft, Path(out).parent, texts)
        path = Path(f"{draft.name}.toml" if out in ("", "-") else out)
        text = site_text(draft, path.parent, path.name, texts)
        LoadedSite.parse(text.encode(), path)
        if out == "-":
            print(text, end="")
            return
        if path.exists() and not force:
            raise ConfigError(texts("site_new.exists", path=path))
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(texts("site_new.not_written", path=out, why=error.strerror), 2) from error
    except (ConfigError, ProfileError, ValueError) as error:
        raise fail(str(error), 2) from error
    print(texts("site_new.written", path=path))


def _complete(draft: "SiteDraft", folder: Path, texts: "Texts") -> None:
    """Ask for what is missing. Raises: ValueError, where nobody is there to be asked."""
    from edge.site_draft import (
        BERTH_EXAMPLE,
        DEVICE_EXAMPLE,
        parse_berth,
        parse_device,
        unmeasured_locks,
    )  # fmt: skip

    asks = sys.stdin.isatty()
    if not asks:
        missing = [f"--{key}" for key in ("name", "gateway", "broker") if not getattr(draft, key)]
        missing += [] if draft.devices else [f"--device {DEVICE_EXAMPLE}"]
        missing += [f"--chamber-area-m2 {lock}=1735.2" for lock in unmeasured_locks(draft, folder)]
        if missing:
            raise ValueError(texts("site_new.missing", missing=", ".join(missing)))
        return
    for key in ("name", "gateway", "broker"):
        if not getattr(draft, key):
            setattr(draft, key, typer.prompt(texts(f"site_new.ask_{key}")))
    begun = bool(draft.devices)
    ask_device, ask_berth = (texts("site_new.ask_device", example=DEVICE_EXAMPLE),
                             texts("site_new.ask_berth", example=BERTH_EXAMPLE))  # fmt: skip
    while not begun and (found := asked(ask_device, parse_device, folder)):
        draft.devices.append(found)
    for lock in unmeasured_locks(draft, folder):
        if area := asked(texts("site_new.ask_chamber", lock=lock), partial(_chamber, lock)):
            draft.chambers |= dict([area])
    while not begun and draft.devices and (berth := asked(ask_berth, parse_berth)):
        draft.berths |= dict([berth])


def _chamber(lock: str, area: str) -> tuple[str, float]:
    from edge.site_draft import parse_chamber

    return parse_chamber(f"{lock}={area}")


def asked(question: str, parse: Callable[[str], T], folder: Path | None = None) -> T | None:
    """An answer that can be used; None for an empty one."""
    from drivers.errors import ProfileError
    from drivers.profile import load_profile

    while True:
        text = typer.prompt(question, default="", show_default=False)
        if not text:
            return None
        try:
            found: Any = parse(text)
            if folder is not None:
                load_profile(found.profile, beside=folder)
        except (ProfileError, ValueError) as error:
            print(error, file=sys.stderr)
        else:
            return found  # type: ignore[no-any-return]


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="A file to write it to.")] = None,
) -> None:
    """Print the JSON Schema of a site file, by which an editor completes and checks while one writes."""
    from edge.config import Site

    write_schema(Site, "bollard site file", out)


def write_schema(model: Any, title: str, out: Path | None) -> None:
    """To a file, or to stdout."""
    from edge.cli import fail

    made = {"$schema": DRAFT_2020_12, **model.model_json_schema(by_alias=True), "title": title}
    text = json.dumps(made, indent=2, ensure_ascii=False)
    if out is None:
        print(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"{out}: cannot be written: {error.strerror}; give another --out", 2) from error


@app.command()
def migrate(
    site: Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and write nothing.")] = False,
    lang: LangOption = "",
) -> None:
    """Bring a site file of an older schema to the present one; each change is told, the old file is kept."""
    from edge.cli import fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.signing import signature_path
    from edge.site_migrate import migrated
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts = texts_for(lang)
    except ValueError as error:
        raise fail(str(error), 2) from error
    try:
        old = site.read_text(encoding="utf-8")
        text, changes = migrated(old, site)
        LoadedSite.parse(text.encode(), site)
        for key, values in changes:
            print(texts(f"site_migrate.{key}", **values))
        if not changes:
            print(texts("site_migrate.nothing", path=site))
        elif not dry_run:
            kept = site.with_name(f"{site.name}.old")
            if kept.exists():
                raise ConfigError(texts("site_migrate.kept_before", kept=kept))
            for path, content in ((kept, site.read_bytes()), (site, text.encode())):
                _replace(path, content, like=site.stat())
            print(texts("site_migrate.written", path=site, kept=kept))
            if signature_path(site).exists():
                print(texts("site_migrate.signature", path=signature_path(site)))
    except OSError as error:
        raise fail(texts("site_migrate.disk", path=error.filename or site, why=error.strerror), 2) from error
    except UnicodeDecodeError as error:
        raise fail(f"{site}: not UTF-8: byte {error.start}; save the file as UTF-8", 2) from error
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error


def _replace(path: Path, content: bytes, like: os.stat_result) -> None:
    """Whole or not at all; the agent, which is not root, reads it as before."""
    from edge.commissioned import write_whole

    write_whole(path, content, like.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(path, like.st_uid, like.st_gid)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
