"""`bollard edge commission`: the sheet of a device, without load and after its first call, and who signs it."""

import asyncio
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from drivers.profile import Point, Profile
    from edge.commissioned import Stage
    from edge.commissioning import Ask, Looked
    from edge.config import DeviceConfig, LoadedSite
    from edge.display import Typed
    from edge.doctor_line import Line
    from edge.texts import Texts

WATCH_S, WATCH_LOAD_S = 5.0, 60.0
Say = Callable[[str], None]


def commission(
    site: Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)],
    device: Annotated[str, typer.Option(help="The device; without it, who has signed for what is listed.")] = "",
    load: Annotated[bool, typer.Option("--load", help="The second sheet: during the first call.")] = False,
    reading: Annotated[
        list[str] | None,
        typer.Option(help="POINT=VALUE as the display shows it, as in power_w=6.998MW; repeat it."),
    ] = None,
    readings: Annotated[
        Path | None, typer.Option(help="A TOML file with a table \\[reading], and by = NAME if it is signed.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who signs. Without it a person is asked, or nobody signs.")] = "",
    watch_s: Annotated[
        float | None,
        typer.Option(min=0.0, max=86_400.0, help="Seconds to watch; 5, or 60 with --load, if not given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sheets; commissioning beside the spool, if not given.")
    ] = None,
    doctor: Annotated[bool, typer.Option(help="Put what the doctor says on the sheet.")] = True,
    lang: Annotated[str, typer.Option(help="fr or en; else the terminal's.")] = "",
) -> None:
    """Compare a device with its own display and write the sheet that is signed: without load, then with --load.

    Walks through check, plan, watch and doctor. Ends with 0 where it is signed, with 1 where something is wrong,
    with 3 where something has not been seen, or nobody signs, with 4 where the device does not answer.
    """
    from drivers.errors import ProfileError
    from edge.cli import fail, set_cache_folder
    from edge.commissioned import Commissioned
    from edge.commissioning import Walk, given
    from edge.config import ConfigError, LoadedSite
    from edge.spool import SpoolError
    from edge.texts import texts_for

    set_cache_folder()
    stage: Stage = "first_call" if load else "no_load"
    try:
        texts, loaded = texts_for(lang), LoadedSite.load(site)
        signed = Commissioned(loaded)
        if not device:
            _list(loaded, signed, texts)
            return
        chosen = _device(loaded, device, site, texts)
        profile = loaded.profiles[chosen.name]
        if load and profile.kind != "meter":
            raise ConfigError(texts("commission.no_meter", device=device, kind=profile.kind))
        if load and signed.signature(chosen, "no_load") is None:
            raise ConfigError(texts("commission.first_sheet", device=device))
        typed, signer = _typed(reading or [], readings, profile, texts)
        by = by or signer
        asking = not typed and sys.stdin.isatty()
        if not typed and not asking:
            raise ConfigError(texts("commission.no_readings", device=device))
        _begin(loaded, chosen, texts)
        lines = asyncio.run(_doctor(loaded, texts)) if doctor else []
        walk = Walk(loaded, chosen, stage, 0.0) if asking else Walk(loaded, chosen, stage)
        print(texts("commission.step_watch", device=device), flush=True)
        seconds = watch_s if watch_s is not None else WATCH_LOAD_S if load else WATCH_S
        looked = asyncio.run(walk.look(_person(texts) if asking else given(typed), seconds))
        _finish(loaded, looked, lines, by, asking, signed, out, texts)
    except PermissionError as error:
        raise fail(texts("watch.not_ours", path=error.filename), 2) from error
    except (ConfigError, ProfileError, SpoolError, ValueError) as error:
        raise fail(str(error), 2) from error
    except OSError as error:
        raise fail(f"{error.filename or out}: {error.strerror}", 2) from error
    except LookupError as error:
        raise fail(texts("commission.silent", device=device, where=error.args[0]), 4) from error
    except (KeyboardInterrupt, EOFError):
        raise typer.Exit(130) from None


def _list(loaded: "LoadedSite", signed: Any, texts: "Texts") -> None:
    for device in loaded.site.device:
        print(f"{device.name}: {texts(f'commission.state_{signed.state(device)}')}")
        for stage in ("no_load", "first_call"):
            if (found := signed.signature(device, stage)) is not None:
                print(f"  {texts(f'commission.{stage}')}: {found.by}, {found.at}, {found.sheet}")


def _device(loaded: "LoadedSite", name: str, site: Path, texts: "Texts") -> "DeviceConfig":
    from edge.config import ConfigError

    known = {device.name: device for device in loaded.site.device}
    if name not in known:
        raise ConfigError(texts("watch.no_device", name=name, site=site, known=", ".join(known)))
    return known[name]


def _typed(
    words: list[str], file: Path | None, profile: "Profile", texts: "Texts"
) -> tuple[dict[str, "Typed"], str]:
    """Readings of the command line and of a file, and who signs by the file. Raises: ConfigError, ValueError."""
    from edge.config import ConfigError
    from edge.display import parse_typed

    found: dict[str, str] = {}
    signer = ""
    if file is not None:
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or error}") from error
        told = table.get("reading")
        if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
            raise ConfigError(texts("commission.file_wrong", file=file))
        found, signer = dict(told), str(table.get("by", ""))
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(texts("commission.reading_wrong", word=word))
        found[name.strip()] = value
    typed = {}
    for name, value in found.items():
        index = profile.index.get(name)
        if index is None or profile.points[index].type == "string":
            raise ConfigError(texts("commission.no_point", name=name, known=", ".join(profile.index)))
        typed[name] = parse_typed(value, profile.points[index])
    return typed, signer


def _begin(loaded: "LoadedSite", device: "DeviceConfig", texts: "Texts") -> None:
    """Check and plan, in a few lines: what they find wrong has ended the command before."""
    from drivers.learned import LearnedFile
    from drivers.plan_report import report
    from edge.plan_view import asked_of

    profile = loaded.profiles[device.name]
    print(texts("commission.step_check", site=loaded.path, model=profile.model, points=len(profile.points)))
    for caveat in profile.caveats:
        print(texts("site.note", note=caveat))
    made = report(asked_of(loaded, LearnedFile.load(loaded.learned_path)))
    bus = next(bus for bus in made.buses if device.name in bus.devices)
    state = texts(f"plan.{bus.state}")
    print(texts("commission.step_plan", bus=bus.bus, percent=100 * bus.load, state=state), flush=True)


async def _doctor(loaded: "LoadedSite", texts: "Texts") -> list["Line"]:
    from edge.cli import bollard_version
    from edge.doctor import GROUPS, Patient, examine

    print(texts("commission.step_doctor"), flush=True)
    groups = [group for group in GROUPS if group != "devices"]  # the device is looked at all the while
    lines = [line async for line in examine(Patient(loaded, bollard_version()), groups)]
    for line in lines:
        if line.state == "bad":
            print(f"  {texts('doctor.state_bad')}  {line.text(texts)} {line.remedy(texts)}")
    return lines


def _person(texts: "Texts") -> "Ask":
    """Asks on the terminal, again where it cannot be read; nothing typed means: the display does not show it."""

    async def ask(point: "Point") -> "Typed | None":
        from edge.display import parse_typed

        label = getattr(point, texts.lang) or point.name
        while True:
            text = await asyncio.to_thread(input, texts("commission.ask", label=label, name=point.name))
            if not text.strip():
                return None
            try:
                return parse_typed(text, point)
            except ValueError as error:
                print(error, file=sys.stderr)

    return ask


def _finish(
    loaded: "LoadedSite", looked: "Looked", lines: list["Line"], by: str, asking: bool, signed: Any,
    out: Path | None, texts: "Texts",
) -> None:  # fmt: skip
    """Say what agrees, have it signed, write the sheet."""
    from edge.cli import bollard_version
    from edge.sheet import record_of, write_sheet

    at = datetime.now(UTC).isoformat(timespec="seconds")
    record = record_of(loaded, looked, lines, by, at, bollard_version())
    _tell(record, texts)
    if asking and record["verdict"] == "unsigned":
        by = input(texts("commission.ask_name")).strip()
        record = record_of(loaded, looked, lines, by, at, bollard_version())
    folder = out or loaded.spool_path.parent / "commissioning"
    paths = write_sheet(record, folder)
    if record["verdict"] == "signed":
        signed.sign(looked.device, looked.stage, by, at, paths[0].name)
    for path in paths:
        print(path)
    print(texts(f"commission.verdict_{record['verdict']}", device=looked.device.name, by=by))
    if record["verdict"] == "signed":
        print(texts(f"commission.next_{looked.stage}"))
    code = {"signed": 0, "wrong": 1}.get(record["verdict"], 3)
    if code:
        raise typer.Exit(code)


def _tell(record: dict[str, Any], texts: "Texts") -> None:
    from edge.sheet import doubt_text, finding_text, reading_text

    marks = {True: "sheet.good", False: "sheet.bad", None: "sheet.open"}
    told = [(a["code"] == "agrees", f"{a['point']}: {a['typed']['text']} · {reading_text(a, texts)}")
            for a in record["readings"]]  # fmt: skip
    shown = [*told, *(finding_text(f, texts) for f in record["findings"])]
    shown += [doubt_text(d, texts) for d in record["implausible"]]
    for good, text in shown:
        print(f"  {texts(marks[good])}  {text}")
    if record["missing"]:
        print(texts("sheet.not_read", points=", ".join(record["missing"])))
