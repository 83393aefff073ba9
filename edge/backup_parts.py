"""Which files a gateway or a shore needs to come back: what the site file and the shore file name."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.archive import ArchiveError, Part
from edge.commissioned import commissioned_path
from edge.config import LoadedSite
from edge.signing import signature_path

SECRET_KEYS = ("tls_key", "password_file", "token_file", "key_file")
FILE_KEYS = ("tls_ca", "tls_cert", "certificate_file", "factors", "contracts", "targets")


def site_parts(loaded: LoadedSite) -> tuple[list[Part], list[str]]:
    """The site file, what it names, the spool, what was learned and signed, and the keys; and what is missing."""
    folder = loaded.path.parent
    needed = [Part("site file", "file", loaded.path)]
    needed += _named(tomllib.loads(loaded.path.read_text(encoding="utf-8")), folder)
    needed += [Part("spool", "sqlite", loaded.spool_path)]
    beside = loaded.spool_path.parent
    made = [loaded.learned_path, commissioned_path(loaded), *_below(beside / "commissioning")]
    found = [Part("signature", "file", signature_path(loaded.path))]
    found += [Part("commissioning", "file", path) for path in made]
    found += [Part("opcua", "secret", path) for path in _below(beside / "opcua")]
    return _there([*needed, *found]), _missing(needed)


def shore_parts(file: Path) -> tuple[list[Part], list[str]]:
    """The shore file, what it names, book and store; and what has to be backed up otherwise.

    Raises: ArchiveError, if the file cannot be read.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ArchiveError(f"{file}: {getattr(error, 'strerror', None) or error}; give the shore file") from error
    folder, left_out = file.parent, []
    found = [Part("shore file", "file", file), *_named(table, folder)]
    url = str(table.get("store", {}).get("url", ""))
    if url.startswith("sqlite:"):
        found.append(Part("store", "sqlite", folder / url.removeprefix("sqlite:")))
    else:
        left_out.append("store: InfluxDB keeps it; `influx backup` on its own machine")
    found.append(Part("book", "sqlite", folder / str(table.get("book", {}).get("path", "book.db"))))
    return _there(found), [*left_out, *_missing(found)]


def pki_parts(folder: Path) -> list[Part]:
    """The CA: its key signs everything. Raises: ArchiveError, if there is none."""
    if not (folder / "ca.pem").is_file():
        raise ArchiveError(f"{folder}: no CA there (ca.pem); give the folder of `bollard pki`")
    return [Part("pki", "secret" if p.suffix == ".key" else "file", p) for p in _below(folder)]


def _named(table: Any, folder: Path) -> Iterator[Part]:
    """Files that stand anywhere in a settings file, by their keys; profiles and cells by their ending."""
    if isinstance(table, list):
        for item in table:
            yield from _named(item, folder)
    if not isinstance(table, dict):
        return
    for key, value in table.items():
        if isinstance(value, dict | list):
            yield from _named(value, folder)
        elif isinstance(value, str) and key in SECRET_KEYS:
            yield Part(key, "secret", folder / value)
        elif isinstance(value, str) and (
            key in FILE_KEYS or (key in ("profile", "cell") and value.endswith(".toml"))
        ):
            yield Part(key, "file", folder / value)


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _missing(parts: list[Part]) -> list[str]:
    paths = {os.path.abspath(part.path): part.role for part in parts if not part.path.is_file()}
    return [f"{role}: no file at {path}" for path, role in paths.items()]


def _there(parts: list[Part]) -> list[Part]:
    """Those that exist, each once; a key counts as one wherever else it is named."""
    found: dict[Path, Part] = {}
    for part in parts:
        path = Path(os.path.abspath(part.path))  # without .., which no archive may hold
        if path.is_file() and (path not in found or part.kind == "secret"):
            found[path] = Part(part.role, part.kind, path)
    return list(found.values())
