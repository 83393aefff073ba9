"""Power cuts without a plug: what a process wrote is recorded, and given back as a disk might hold it afterwards.

A disk keeps for sure what was written to a file before the last sync of that file. Of what came later it keeps
anything: nothing, all, or some, and of a write its first sectors. Names that were removed may be there until
the folder was synced.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECTOR = 512
RECORD = struct.Struct("<cHqI")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a process did: w(rite), t(runcate), s(ync) or u(nlink)."""

    what: str
    name: str
    at: int
    data: bytes


def record(folder: Path, code: str, *arguments: str) -> list[Step]:
    """Run Python code in a process of its own; what it did to the files in `folder`, in order."""
    shim = folder.with_name("power_cut.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE / "power_cut.c", "-ldl"], check=True)
    trace = folder.with_name("trace")
    env = os.environ | {"LD_PRELOAD": str(shim), "POWER_CUT_FOLDER": str(folder), "POWER_CUT_TRACE": str(trace)}
    done = subprocess.run([sys.executable, "-c", code, str(folder), *arguments], env=env, check=False, timeout=120)
    assert done.returncode == 0
    return list(_read(trace.read_bytes(), folder))


def _read(trace: bytes, folder: Path) -> Iterator[Step]:
    at = 0
    while at < len(trace):
        what, length, offset, size = RECORD.unpack_from(trace, at)
        at += RECORD.size
        name = trace[at : at + length].decode()
        at += length
        written = size if what == b"w" else 0
        if not name.endswith("-shm"):  # memory that processes share: no disk sees it
            yield Step(what.decode(), os.path.relpath(name, folder), offset, trace[at : at + written])
        at += written


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    exists: bool = False  # for sure
    since: list[Step] = field(default_factory=list)  # the last sync


def after_cut(steps: Sequence[Step], folder: Path, chance: random.Random) -> None:
    """Fill a new folder with what a disk may hold if the power went after these steps."""
    files: dict[str, _File] = {}
    for step in steps:
        file = files.setdefault(step.name, _File())
        if step.what == "s" and step.name == ".":
            for other in files.values():  # all names as they are now
                if any(s.what == "u" for s in other.since):
                    last = max(i for i, s in enumerate(other.since) if s.what == "u")
                    other.durable, other.exists = bytearray(), False
                    other.since = other.since[last + 1 :]
        elif step.what == "s":
            for earlier in file.since:
                _apply(file.durable, earlier)
            file.exists, file.since = True, []
        else:
            file.since.append(step)
    share = chance.choice((0.0, 0.5, 1.0))  # of the unsynced writes that had come to the disk
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, file in files.items():
        content, exists = bytearray(file.durable), file.exists
        for step in file.since:
            if chance.random() >= share:
                continue
            exists = step.what != "u"
            _apply(content, _torn(step, chance) if chance.random() < 0.3 else step)
        if exists and name != ".":
            (folder / name).write_bytes(content)


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "u":
        content.clear()
    elif step.what == "t":
        del content[step.at :]
        content.extend(bytes(step.at - len(content)))
    else:
        content.extend(bytes(max(0, step.at - len(content))))
        content[step.at : step.at + len(step.data)] = step.data


def _torn(step: Step, chance: random.Random) -> Step:
    """A write of which only the first sectors had come to the disk."""
    if step.what != "w":
        return step
    sectors = len(step.data) // SECTOR
    return Step(step.what, step.name, step.at, step.data[: SECTOR * chance.randint(0, sectors)])
