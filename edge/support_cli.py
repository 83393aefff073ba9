"""`bollard support`: the bundle for whoever helps from afar."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from edge.archive import ArchiveError
from edge.cli import bollard_version, fail, set_cache_folder
from edge.texts import texts_for


def support(
    out: Annotated[Path, typer.Argument(help="The bundle to make, as in support.tar.gz.")],
    site: Annotated[Path | None, typer.Option(help="The site file of a gateway.")] = None,
    shore: Annotated[Path | None, typer.Option(help="The shore file.")] = None,
    log: Annotated[
        list[Path] | None, typer.Option(help="A log to put in, its last 2 MiB; may be repeated.")
    ] = None,
    lang: Annotated[str, typer.Option(help="fr or en; else the terminal's.")] = "",
) -> None:
    """A bundle for support: versions, settings, status, doctor, catalogue, logs, disk; secrets are taken out.

    Logs come from --log and, where there is systemd, from the last two days of its journal. Rows stay here.
    """
    set_cache_folder()
    from edge.support import bundle

    try:
        texts = texts_for(lang)
        if site is None and shore is None:
            raise ArchiveError(texts("support.of_what"))
        names, removed = asyncio.run(bundle(out, bollard_version(), site, shore, log or [], texts))
    except (ArchiveError, ValueError) as error:
        raise fail(str(error), 2) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    for name in names:
        print(name)
    print(texts("support.made", file=out, count=removed))
