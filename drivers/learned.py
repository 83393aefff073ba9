"""What commissioning learned of devices: registers and points that they refuse. A small JSON file on disk.

It is written by `drivers.learn` and by nobody else: at run time a refusal is a fault, not a lesson.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from drivers.errors import ProfileError
from drivers.profile import Profile, Table

Zone = tuple[int, int]
TABLES: tuple[Table, ...] = ("coil", "discrete", "holding", "input")


@dataclass(frozen=True, slots=True)
class Learned:
    """Of one device.

    Attributes:
        unreadable: By table, [first, last] of registers between points that the device refuses.
        refused: Names of points that it refuses: why.
    """

    unreadable: Mapping[Table, Sequence[Zone]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.unreadable or self.refused)


class LearnedFile:
    """What was learned of all devices of a site. `load` reads it, `put` writes it anew, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._devices: dict[str, dict[str, Any]] = {}

    @classmethod
    def load(cls, path: Path) -> "LearnedFile":
        """Read the file; nothing is known where there is none. Raises: ProfileError, where it cannot be read."""
        file = cls(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return file
        except (OSError, ValueError) as error:
            raise ProfileError(f"{path}: {error}; delete it and commission the devices again") from error
        devices = content.get("devices") if isinstance(content, dict) else None
        if not isinstance(devices, dict) or content.get("schema") != 1:
            raise ProfileError(f"{path}: is no file of schema 1; delete it and commission the devices again")
        for name, device in devices.items():
            _parse(path, name, device)
        file._devices = devices
        return file

    def of(self, device: str, profile: Profile) -> Learned | None:
        """What was learned of a device with this very profile; None, if nothing or with another one."""
        entry = self._devices.get(device)
        if entry is None or entry["profile_hash"] != profile.hash:
            return None
        return _parse(self.path, device, entry)

    def is_outdated(self, device: str, profile: Profile) -> bool:
        """Whether the profile has changed since: what was learned is not used, learn again."""
        entry = self._devices.get(device)
        return entry is not None and entry["profile_hash"] != profile.hash

    def put(self, device: str, profile: Profile, learned: Learned, at: str) -> None:
        """Remember, on disk.

        Args:
            at: When it was learned, for a person, as in 2026-03-01T08:30:00Z.
        """
        self._devices[device] = {
            "profile": profile.model, "profile_hash": profile.hash, "learned_at": at,
            "unreadable": {table: [list(zone) for zone in zones] for table, zones in learned.unreadable.items()},
            "refused": dict(learned.refused),
        }  # fmt: skip
        text = json.dumps({"schema": 1, "devices": self._devices}, indent=2, ensure_ascii=False, sort_keys=True)
        beside = self.path.with_name(self.path.name + ".new")
        with open(beside, "w", encoding="utf-8") as out:
            out.write(text + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, self.path)


def _parse(path: Path, device: str, entry: Any) -> Learned:
    try:
        unreadable = {
            table: [(int(first), int(last)) for first, last in zones]
            for table, zones in entry["unreadable"].items()
        }
        if not set(unreadable) <= set(TABLES):
            raise ValueError(f"tables {sorted(unreadable)}, not {', '.join(TABLES)}")
        str(entry["profile_hash"])
        return Learned(
            cast(dict[Table, list[Zone]], unreadable), {str(k): str(v) for k, v in entry["refused"].items()}
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProfileError(f"{path}: {device}: {error!r}; delete it and commission the device again") from error
