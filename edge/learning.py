"""`bollard edge learn`: at commissioning, what each Modbus device refuses is found out once and kept."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Protocol

from drivers.bus import Buses
from drivers.cost import Cost
from drivers.errors import DriverError, ProfileError
from drivers.learn import Lesson, learn
from drivers.learned import LearnedFile
from drivers.modbus import ModbusDevice
from edge.config import DeviceConfig, LoadedSite
from edge.modbus_settings import modbus_address
from edge.spool import locked


class Say(Protocol):
    """Tells a person a sentence of `text/*.toml`."""

    def __call__(self, key: str, /, **values: object) -> None: ...


async def commission(loaded: LoadedSite, names: Collection[str], say: Say) -> bool:
    """Learn from the named devices, one after the other, and write what was learned beside the spool.

    Args:
        names: Modbus devices of the site.

    Returns: whether all of them were reached.
    Raises: SpoolError, while `bollard edge run` reads the same devices; ProfileError, if the file is damaged.
    """
    with locked(loaded.spool_path):  # a PLC may grant one connection only
        file, buses, reached = LearnedFile.load(loaded.learned_path), Buses(), True
        for device in loaded.site.device:
            if device.name not in names:
                continue
            try:
                lesson = await _lesson(loaded, device, buses)
            except ProfileError as error:  # points that come together cannot
                say("learn.together", device=device.name, why=error)
                reached = False
            except DriverError as error:
                say("learn.unreachable", device=device.name, why=error)
                reached = False
            else:
                at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
                file.put(device.name, loaded.profiles[device.name], lesson.learned, at)
                say(f"learn.{'some' if lesson.notes else 'whole'}", device=device.name, requests=lesson.requests)
                for note in lesson.notes:
                    say(f"learn.{note.key}", what=note.what, why=note.why)
        say("learn.kept", path=file.path)
    return reached


async def _lesson(loaded: LoadedSite, device: DeviceConfig, buses: Buses) -> Lesson:
    profile, address = loaded.profiles[device.name], modbus_address(device, loaded.path.parent)
    async with ModbusDevice(profile, address, device.timeout_s, buses).open() as link:
        return await learn(profile, link.read_block, Cost.of(address))
