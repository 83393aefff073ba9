"""The bundle of `bollard support`: what somebody far away needs to see, and no secret."""

import asyncio
import contextlib
import io
import itertools
import json
import os
import platform
import shutil
import sqlite3
import tarfile
import time
import tomllib
from collections.abc import Collection, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from edge.archive import ArchiveError
from edge.config import ConfigError, LoadedSite, catalogue
from edge.doctor import Patient, as_data, examine
from edge.doctor_machine import run_tool
from edge.local import socket_path
from edge.local_client import AgentGone, agent_at
from edge.redact import Redactor, known_secrets
from edge.texts import Texts

LOG_BYTES = 2 << 20  # of each log, its end
UNITS = ("bollard-edge", "bollard-ingest", "bollard-serve", "bollard", "mosquitto")
VARIABLES = ("BOLLARD_INFLUX_TOKEN", "BOLLARD_INFLUX_ADMIN_TOKEN")


async def bundle(
    out: Path, version: str, site: Path | None, shore: Path | None, logs: Sequence[Path], texts: Texts
) -> tuple[list[str], int]:
    """Write the bundle. Returns: names of what is in it, and how many secrets were taken out.

    Raises: ArchiveError, if it cannot be written.
    """
    given = (("site", site), ("shore", shore))
    settings = {name: (path, _toml(path)) for name, path in given if path is not None}
    secrets = {os.environ.get(name, "") for name in VARIABLES}
    for path, table in settings.values():
        secrets |= known_secrets(table, path.parent)
    redactor = Redactor(secrets - {""})
    found: dict[str, str] = {"versions.json": _json(_versions(version)), "disk.txt": _disk()}
    for name, (_, table) in settings.items():  # as data: a comment may hold anything
        found[f"{name}.json"] = _json(redactor.data(table))
    if site is not None:
        found |= {
            name: _json(redactor.data(value)) for name, value in (await _gateway(site, version, texts)).items()
        }
    if shore is not None:
        table = settings["shore"][1]
        for name, path in _shore_files(table, shore.parent).items():
            found[f"schema-{name}.json"] = _json(_schema(path))
    for log in logs:
        found[_free(f"logs/{log.name}", found)] = _tail(log)
    for unit in UNITS:
        told = await asyncio.to_thread(run_tool, ["journalctl", "-u", unit, "--since=-2d", "-o", "short-iso"])
        if told and "-- No entries --" not in told:
            found[_free(f"logs/journal-{unit}.txt", found)] = told[-LOG_BYTES:]
    whole = {name: redactor.text(text) for name, text in found.items()}
    whole["README.txt"] = texts("support.readme", names=", ".join(whole), count=redactor.removed)
    _write(out, whole)
    return list(whole), redactor.removed


def _toml(path: Path) -> Any:
    """A settings file as data; what is wrong with it, if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {"error": str(error)}


async def _gateway(site: Path, version: str, texts: Texts) -> dict[str, Any]:
    """What the agent and the site file say; each part stands for itself, whatever is wrong with the others."""
    try:
        loaded = LoadedSite.load(site)
    except ConfigError as error:
        return {"site-problems.json": str(error).split("\n")}
    found: dict[str, Any] = {"catalogue.json": json.loads(catalogue(loaded).encode())}
    with contextlib.suppress(AgentGone, OSError):
        async with agent_at(socket_path(loaded.spool_path).absolute()) as agent:
            if agent is not None:
                found["status.json"], found["devices.json"] = await agent.status(), await agent.devices()
    lines = [line async for line in examine(Patient(loaded, version))]
    found["doctor.json"] = as_data(lines, texts)
    found["schema-spool.json"] = _schema(loaded.spool_path)
    beside = [*sorted(loaded.spool_path.parent.glob("*"))]
    found["files.json"] = {path.name: path.stat().st_size for path in beside if path.is_file()}
    return found


def _versions(version: str) -> dict[str, Any]:
    release = Path("/etc/os-release")
    return {
        "bollard": version, "python": platform.python_version(), "machine": platform.machine(),
        "kernel": platform.release(), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "system": release.read_text() if release.is_file() else "",
        "uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME),
        "packages": sorted(f"{d.metadata['Name']} {d.version}" for d in distributions()),
    }  # fmt: skip


def _disk() -> str:
    parts = [run_tool(["df", "-h"]), run_tool(["df", "-i"]), run_tool(["lsblk"])]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/self/mountinfo").read_text())
    parts.append(f"{shutil.disk_usage('/')}")
    return "\n".join(part for part in parts if part)


def _shore_files(table: Any, folder: Path) -> dict[str, Path]:
    url = str(table.get("store", {}).get("url", "")) if isinstance(table.get("store"), dict) else ""
    found = {"book": folder / str(table.get("book", {}).get("path", "book.db"))}
    return found | ({"store": folder / url.removeprefix("sqlite:")} if url.startswith("sqlite:") else {})


def _schema(path: Path) -> dict[str, Any]:
    """Tables of a SQLite file and how many rows they have: their content stays here."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        ) as db:
            tables = db.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
            ).fetchall()
            version = db.execute("PRAGMA user_version").fetchone()[0]
            rows = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name, _ in tables}
    except sqlite3.Error as error:
        return {"path": str(path), "error": str(error)}
    return {"path": str(path), "version": version, "rows": rows, "tables": dict(tables)}


def _free(name: str, taken: Collection[str]) -> str:
    """Two logs may have one name: the second then is agent.log-2."""
    names = (name if i == 1 else f"{name}-{i}" for i in itertools.count(1))
    return next(free for free in names if free not in taken)


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"{log}: {error.strerror}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _write(out: Path, files: dict[str, str]) -> None:
    """Whole or not there."""
    if out.exists():
        raise ArchiveError(f"{out}: is there already; give another name")
    part = out.with_name(out.name + ".part")
    try:
        part.unlink(missing_ok=True)
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as tar:
            for name, text in files.items():
                content = text.encode("utf-8", "replace")
                info = tarfile.TarInfo(f"bollard-support/{name}")
                info.size, info.mode, info.mtime = len(content), 0o600, int(time.time())
                tar.addfile(info, io.BytesIO(content))
        part.replace(out)
    except OSError as error:
        raise ArchiveError(
            f"{out}: cannot be written: {error.strerror}; give another folder, or make room"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
