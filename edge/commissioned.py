"""Which devices are signed for: what `bollard edge commission` keeps beside the spool, and the shore is told.

A device is signed twice: without load, and after its first call under load. A signature holds for what was looked
at, that is the profile, the address and how the meter is counted; a change of either asks for another.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge.config import ConfigError, DeviceConfig, LoadedSite

Stage = Literal["no_load", "first_call"]
STAGES: tuple[Stage, ...] = ("no_load", "first_call")
METER_KEYS = ("serial", "ct_ratio", "vt_ratio", "registers", "wiring", "nominal_hz")  # what a reading depends on


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who has signed for a stage, and when (ISO 8601, UTC). `holds_for`: a subject; `sheet`: its record."""

    by: str
    at: str
    holds_for: str
    sheet: str


def commissioned_path(loaded: LoadedSite) -> Path:
    return loaded.spool_path.with_name("commissioned.json")


def subject_of(loaded: LoadedSite, device: DeviceConfig) -> str:
    """What a signature holds for, as a short hash."""
    profile = loaded.profiles[device.name]
    meter = device.meter.model_dump(mode="json", include=set(METER_KEYS)) if device.meter else None
    text = json.dumps([profile.hash, loaded.endpoint(device), meter], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Commissioned:
    """The signatures of a site.

    Raises: ConfigError, if the file is damaged: nobody may be asked to sign again without knowing why.
    """

    def __init__(self, loaded: LoadedSite) -> None:
        self._loaded, self.path = loaded, commissioned_path(loaded)
        self._signed = self._read()

    def _read(self) -> dict[str, dict[str, Signature]]:
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            return {
                name: {stage: Signature(**stages[stage]) for stage in STAGES if stage in stages}
                for name, stages in told["devices"].items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{self.path}: is no record of commissioning ({error}); restore it from a backup, or move it away"
                " and sign again"
            ) from error

    def signature(self, device: DeviceConfig, stage: Stage) -> Signature | None:
        """The one that holds; None where nobody has signed, or for something else."""
        found = self._signed.get(device.name, {}).get(stage)
        return found if found and found.holds_for == subject_of(self._loaded, device) else None

    def is_outdated(self, device: DeviceConfig) -> bool:
        """Whether somebody has signed, but for another profile, address or meter."""
        return any(s in self._signed.get(device.name, {}) and self.signature(device, s) is None for s in STAGES)

    def state(self, device: DeviceConfig) -> str:
        """`signed`, `no_load` (the first call is missing), `outdated` or `none`."""
        first, second = (self.signature(device, stage) for stage in STAGES)
        if first and second:
            return "signed"
        if self.is_outdated(device):
            return "outdated"
        return "no_load" if first else "none"

    def told(self, device: DeviceConfig) -> dict[str, Any]:
        """As the catalogue has it: the state, and who has signed when."""
        signed = {stage: found for stage in STAGES if (found := self.signature(device, stage)) is not None}
        return {"state": self.state(device)} | {
            stage: {"by": found.by, "at": found.at} for stage, found in signed.items()
        }

    def sign(self, device: DeviceConfig, stage: Stage, by: str, at: str, sheet: str) -> None:
        """Keep a signature beside what others have signed meanwhile; on disk when this returns.

        Raises: OSError; ConfigError, if the file has been damaged.
        """
        with _alone_in(self.path.parent):
            self._signed = self._read()
            mine = self._signed.setdefault(device.name, {})
            mine[stage] = Signature(by, at, subject_of(self._loaded, device), sheet)
            told = {
                name: {stage: asdict(signature) for stage, signature in stages.items()}
                for name, stages in self._signed.items()
            }
            text = json.dumps({"schema": 1, "devices": told}, indent=2, ensure_ascii=False)
            write_whole(self.path, text.encode())


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else signs in this folder meanwhile. Raises: OSError."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def told_of(loaded: LoadedSite) -> dict[str, dict[str, Any]]:
    """Per device what the catalogue says; a damaged record stops no agent, but nobody has signed by it."""
    try:
        signed = Commissioned(loaded)
    except ConfigError as error:
        log.error("event=commissioning_record_damaged error=%r", str(error))
        return {device.name: {"state": "damaged"} for device in loaded.site.device}
    return {device.name: signed.told(device) for device in loaded.site.device}


class Watcher:
    """Sees that somebody has signed while the agent runs."""

    def __init__(self, loaded: LoadedSite) -> None:
        self._loaded = loaded
        self._seen = self._stamp()
        self.told = told_of(loaded)

    def _stamp(self) -> tuple[int, int]:
        try:
            found = commissioned_path(self._loaded).stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    def changed(self) -> bool:
        """Look again. Returns: whether what is told has changed."""
        if (stamp := self._stamp()) == self._seen:
            return False
        self._seen, before = stamp, self.told
        self.told = told_of(self._loaded)
        return self.told != before


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is whole or not there, and on disk when this returns. Raises: OSError."""
    part = path.with_name(path.name + ".part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
