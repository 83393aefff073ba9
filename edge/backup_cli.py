"""`bollard backup` and `bollard restore`: spool, book, store and keys as one archive, and back."""

import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from edge.archive import Archive, ArchiveError, Member, Part, write_archive
from edge.backup_parts import pki_parts, shore_parts, site_parts
from edge.cli import bollard_version, fail
from edge.config import ConfigError, LoadedSite
from edge.spool_file import SpoolError, locked
from edge.spool_restore import mend_spool
from edge.texts import texts_for

Lang = Annotated[str, typer.Option(help="fr or en; else the terminal's.")]


def backup(
    out: Annotated[Path, typer.Argument(help="The archive to make, as in backup.tar; it will hold keys.")],
    site: Annotated[Path | None, typer.Option(help="The site file: its spool, profiles and keys.")] = None,
    shore: Annotated[Path | None, typer.Option(help="The shore file: its book, store and keys.")] = None,
    pki: Annotated[Path | None, typer.Option(help="The folder of `bollard pki`.")] = None,
    lang: Lang = "",
) -> None:
    """One archive of what a gateway or a shore needs to come back, while everything runs.

    Spool, book and store are copied as of one instant each; every file has its hash. A file that the settings name
    and that is missing is told. The archive holds keys: it is readable by you alone, keep it so.
    """
    try:
        texts = texts_for(lang)
        if site is None and shore is None and pki is None:
            raise ArchiveError(texts("backup.of_what"))
        parts: list[Part] = []
        left_out: list[str] = []
        if site is not None:
            found, missing = site_parts(LoadedSite.load(site))
            parts, left_out = parts + found, left_out + missing
        if shore is not None:
            found, missing = shore_parts(shore)
            parts, left_out = parts + found, left_out + missing
        if pki is not None:
            parts += pki_parts(pki)
        unique = {part.path.absolute(): part for part in sorted(parts, key=lambda part: part.kind == "secret")}
        at = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = write_archive(out, list(unique.values()), at, bollard_version(), left_out)
    except OSError as error:
        raise fail(
            f"{error.filename}: cannot be read: {error.strerror}; run this as its owner, or as root", 2
        ) from error
    except (ArchiveError, ConfigError, ValueError) as error:
        raise fail(str(error), 2) from error
    for member in manifest.members:
        print(texts("backup.part", role=member.role, path=member.path, kib=member.bytes / 1024))
    for line in left_out:
        print(texts("backup.left_out", what=line), file=sys.stderr)
    print(texts("backup.made", file=out, count=len(manifest.members)))


def restore(
    archive: Annotated[Path, typer.Argument(help="An archive of `bollard backup`.")],
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    root: Annotated[Path, typer.Option(help="Put everything below this folder instead.")] = Path("/"),
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it is whole, and what is in it.")
    ] = False,
    lang: Lang = "",
) -> None:
    """Put an archive back to where its files were. Nothing is replaced without --force; a damaged one is refused.

    Stop the agent, ingest and serve first. A spool comes back under a new id and without the state of its
    computations, so that no old receipt frees its rows and no energy is counted twice.
    """
    told = []
    try:
        texts = texts_for(lang)

        def mend(member: Member, file: Path) -> None:
            if member.role == "spool":
                found = mend_spool(file)
                told.append(texts("backup.spool", waiting=found.waiting, held=found.held, id=found.new_id[:8]))

        with Archive(archive) as opened, contextlib.ExitStack() as stack:
            made = opened.manifest
            print(texts("backup.whole", file=archive, at=made.made_at, host=made.host, version=made.software))
            if check:
                for member in made.members:
                    print(texts("backup.part", role=member.role, path=member.path, kib=member.bytes / 1024))
                return
            for member in made.members:
                target = root / member.path.lstrip("/")
                if member.role == "spool" and target.parent.is_dir():
                    stack.enter_context(locked(target))  # no agent may have it open
            written = opened.put_back(root, force, mend)
    except (ArchiveError, SpoolError, ValueError) as error:
        raise fail(str(error), 2) from error
    for path in written:
        print(path)
    for line in told:
        print(line)
    for line in made.left_out:
        print(texts("backup.left_out", what=line), file=sys.stderr)
