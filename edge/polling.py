"""The pollers of a site, each in its task; a changed site file exchanges those that it changes.

What shares a connection or line changes together: it has one owner at a time. All others poll on.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from drivers.bus import Buses
from drivers.learned import LearnedFile
from drivers.row import Row
from edge.clock import Clock
from edge.config import DeviceConfig, LoadedSite
from edge.modbus_settings import modbus_address
from edge.poll import PlugWatch, Poller
from edge.rounds import WORK_S, Rounds

log = logging.getLogger(__name__)
AGAIN_S = 1.0
SEVERAL = 20  # deadlines of one request that a scan may wait for, its neighbours on the line included
Take = Callable[[str, Row], None]
Shares = Mapping[str, list[tuple[DeviceConfig, str]]]  # by connection or line: all that its pollers are made of


@dataclass(frozen=True)
class Crew:
    """The pollers of one site file; some may be at work already."""

    loaded: LoadedSite
    shares: Shares
    pollers: dict[str, Poller]
    anew: tuple[str, ...]  # devices whose poller the crew before did not have
    plugs: PlugWatch


class Polling:
    """Starts, stops and exchanges pollers. Raises: DriverError, ValueError of a site file that has none."""

    def __init__(self, loaded: LoadedSite, clock: Clock, take: Take, rounds: Rounds) -> None:
        self._clock, self._take, self._rounds = clock, take, rounds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._crew = Crew(loaded, {}, {}, (), PlugWatch((), {}, {}))
        self._crew = self.prepare(loaded)

    @property
    def pollers(self) -> dict[str, Poller]:
        return self._crew.pollers

    def see(self, device: str, row: Row) -> None:
        """A row of any device: a ship that has plugged in is looked for at once."""
        self._crew.plugs.see(device, row)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Poll, in tasks of this group."""
        self._group = group
        self._run(self._crew.anew)

    async def stop(self) -> None:
        await self._end(tuple(self._tasks))

    def prepare(self, loaded: LoadedSite) -> Crew:
        """Pollers for another site file. Nothing is sent, and nothing ends. Raises: DriverError, ValueError."""
        now, shares = self._crew, _shares(loaded)
        same = [members for share, members in now.shares.items() if shares.get(share) == members]
        staying = {device.name for members in same for device, _ in members}
        learned, site = LearnedFile.load(loaded.learned_path), loaded.site
        buses: dict[str, Buses] = {share: Buses() for share in shares}
        pollers = {
            device.name: now.pollers[device.name] if device.name in staying else Poller(
                device, loaded.profiles[device.name], self._clock, self._take, buses[_share(device, loaded)],
                loaded.path.parent, i / len(site.device),
                learned.of(device.name, loaded.profiles[device.name]), self._rounds.rest,
            )
            for i, device in enumerate(site.device)
        }  # fmt: skip
        anew = tuple(name for name in pollers if name not in staying)
        return Crew(loaded, shares, pollers, anew, PlugWatch(site.berth, loaded.profiles, pollers))

    async def exchange(self, crew: Crew, adopt: Callable[[], None]) -> None:
        """Go on with what `prepare` has made.

        Args:
            adopt: Called in the instant in which what has changed is polled no more by the old file and not yet
                by the new one. If it raises, all is polled as before.
        """
        before, staying = self._crew, set(crew.pollers) - set(crew.anew)
        ended = tuple(name for name in self._tasks if name not in staying)
        await self._end(ended)
        self._crew = crew
        try:
            adopt()
        except BaseException:
            self._crew = before
            self._run(ended)
            raise
        self._run(crew.anew)

    def _run(self, names: tuple[str, ...]) -> None:
        for device in self._crew.loaded.site.device:
            if device.name in names:
                name = f"poll {device.name}"
                listens_s = device.listen_s if device.serial else 0.0
                self._rounds.expect(name, WORK_S + listens_s + SEVERAL * device.timeout_s)
                poller = self._crew.pollers[device.name]
                self._tasks[device.name] = self._group.create_task(_kept(poller, device.name), name=name)

    async def _end(self, names: Collection[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            self._rounds.expect(task.get_name())  # to end, however long it would have rested
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            self._rounds.forget(task.get_name())


async def _kept(poller: Poller, device: str) -> None:
    """Poll until we are told to stop. A cancellation that nobody asked for would silence a device for ever."""
    while True:
        try:
            return await poller.run()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.error("device=%s event=polling_begins_again error=%r", device, error)
            await asyncio.sleep(AGAIN_S)


def _share(device: DeviceConfig, loaded: LoadedSite) -> str:
    """What a device shares with others: its connection or line."""
    if loaded.profiles[device.name].protocol != "modbus":
        return device.name
    return modbus_address(device, loaded.path.parent).bus_key


def _shares(loaded: LoadedSite) -> Shares:
    found: dict[str, list[tuple[DeviceConfig, str]]] = {}
    for device in loaded.site.device:
        found.setdefault(_share(device, loaded), []).append((device, loaded.profiles[device.name].hash))
    return found
