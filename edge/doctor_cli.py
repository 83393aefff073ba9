"""`bollard edge doctor`: the lines of the examination on a terminal, or as JSON."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, cast

import typer


def doctor(
    site: Annotated[Path, typer.Option("--site", help="The site file (TOML).", show_default=False)],
    only: Annotated[
        list[str] | None,
        typer.Option(help="clock, disk, machine, network, broker, agent or devices; may be repeated."),
    ] = None,
    wait_s: Annotated[
        float, typer.Option(min=0.1, max=600.0, help="Seconds to wait for the receipt of the test row.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="All of it for a program.")] = False,
    lang: Annotated[str, typer.Option(help="fr or en; else the terminal's.")] = "",
) -> None:
    """Look at everything a gateway needs: each line is good, or says what to do. Ends with 1 where one is not.

    Sends one test row to the database (event doctor_ran) and waits for its receipt; writes a file of 64 KiB and
    removes it; else it only reads.
    """
    from edge.cli import bollard_version, fail, set_cache_folder
    from edge.config import ConfigError, LoadedSite
    from edge.doctor import GROUPS, Group, Patient, as_data, examine
    from edge.doctor_line import Line
    from edge.texts import texts_for

    set_cache_folder()
    try:
        texts, loaded = texts_for(lang), LoadedSite.load(site)
        for name in only or []:
            if name not in GROUPS:
                raise ConfigError(f"--only {name}: is not one of {', '.join(GROUPS)}")
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    groups = cast("list[Group]", only or list(GROUPS))
    marks = {state: texts(f"doctor.state_{state}") for state in ("good", "note", "bad")}
    width = max(map(len, marks.values()))

    async def show() -> list[Line]:
        lines = []
        async for line in examine(Patient(loaded, bollard_version(), wait_s=wait_s), groups):
            lines.append(line)
            if not as_json:
                print(f"{marks[line.state]:<{width}}  {line.text(texts)}", flush=True)
                if remedy := line.remedy(texts):
                    print(f"{'':<{width}}  → {remedy}", flush=True)
        return lines

    try:
        lines = asyncio.run(show())
    except (ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    bad = sum(line.state == "bad" for line in lines)
    if as_json:
        print(json.dumps(as_data(lines, texts), indent=2, ensure_ascii=False))
    else:
        print(texts("doctor.all_good") if not bad else texts("doctor.some_bad", count=bad))
    if bad:
        raise typer.Exit(1)
