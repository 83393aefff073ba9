"""`bollard edge watch`: what every point says now, from the running agent, else from the devices themselves."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.bus import Buses
from drivers.learned import LearnedFile
from drivers.profile import Profile
from drivers.row import HISTORY, Quality, Row
from edge.clock import WallClock
from edge.config import LoadedSite
from edge.local import socket_path
from edge.local_client import AgentClient, AgentGone, agent_at
from edge.poll import Poller
from edge.proofs import Proofs
from edge.spool import locked

PATIENCE_S = 10.0  # beyond the longest wait of any device, until what has not come is shown as missing
RELOAD = "reload the agent (systemctl reload bollard-edge), or take the change of the site file back"
ASK_AGAIN_S = 5.0  # the agent for the state of its links


@dataclass
class Seen:
    """What is known of a device.

    Attributes:
        came_s: Per point, when it last came; NaN before. [s, monotonic]
        words: Registers of each point in hex; empty where there are none.
        scans: Scan classes that have come.
    """

    name: str
    profile: Profile
    endpoint: str
    connected: bool | None = None  # None: not known yet
    came_s: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    text: dict[int, str] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)
    scans: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        count = len(self.profile.points)
        self.came_s, self.values = [float("nan")] * count, [None] * count
        self.quality = [int(Quality.NOT_SCANNED)] * count

    @property
    def complete(self) -> bool:
        """Whether every scan class has come, or nobody is there."""
        return self.connected is False or self.scans >= set(self.profile.scans)

    def take(self, row: dict[str, Any], age_s: float = 0.0) -> None:
        """A row as the agent's socket tells it."""
        if row["scan"] == HISTORY:
            return
        came_s = time.monotonic() - age_s
        for i, (value, quality) in enumerate(zip(row["values"], row["quality"], strict=True)):
            if quality == Quality.NOT_SCANNED:
                continue
            self.values[i], self.quality[i], self.came_s[i] = value, quality, came_s
            self.text.pop(i, None)
        self.text |= {int(i): text for i, text in row["text"].items()}
        self.words |= {int(i): words for i, words in row["words"].items()}
        self.scans.add(row["scan"])
        self.connected = any(quality not in (Quality.NO_ANSWER, Quality.NOT_SCANNED) for quality in row["quality"])
        if not self.connected:  # such a row speaks for all scan classes
            self.quality = [int(Quality.NO_ANSWER)] * len(self.quality)
            self.values = [None] * len(self.values)


class Watched:
    """The devices of a site as they are seen, kept up to date while its `async with` block runs.

    Attributes:
        devices: In the order of the site file.
        through: Socket of the agent that is watched; None where we read by ourselves.
        trouble: Why nothing more comes; empty while it does.

    Args:
        names: Of these devices only; none means all.
        heard: Called with a device's name and each row as it comes, as the agent's socket tells it.
    """

    def __init__(
        self, loaded: LoadedSite, names: Collection[str],
        heard: Callable[[str, dict[str, Any]], None] = lambda _device, _row: None,
    ) -> None:  # fmt: skip
        self._heard = heard
        self.through: str | None = None
        self.trouble = ""
        self._loaded = loaded
        self._wanted = [d for d in loaded.site.device if not names or d.name in names]
        self.devices = {d.name: Seen(d.name, loaded.profiles[d.name], loaded.endpoint(d)) for d in self._wanted}
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._pollers: dict[str, Poller] = {}
        self._proofs = Proofs(loaded)

    async def __aenter__(self) -> "Watched":
        """Raises: PermissionError (an agent of another user runs), SpoolError (it is not known if one does)."""
        path = socket_path(self._loaded.spool_path).absolute()
        agent = await self._stack.enter_async_context(agent_at(path))
        if agent is not None:
            self.through = str(path)
            teller = await self._stack.enter_async_context(agent_at(path))  # the other one streams
            self._tasks = [asyncio.create_task(self._listen(agent, teller or agent), name="listen")]
        else:
            try:  # a PLC may grant one connection only: while we read, no agent starts
                self._stack.enter_context(locked(self._loaded.spool_path))
                self._poll()
            except BaseException:
                await self._stack.aclose()
                raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    @property
    def longest_s(self) -> float:
        """How long the first rows may take."""
        waits = [d.timeout_s + (d.listen_s if d.serial else 0.0) for d in self._wanted]
        return PATIENCE_S + max(waits, default=0.0)

    async def settled(self) -> bool:
        """Wait until every device has said all, or is away. Returns: whether any has answered."""
        end_s = time.monotonic() + self.longest_s
        while time.monotonic() < end_s and not self.trouble:
            self.look()
            if all(seen.complete for seen in self.devices.values()):
                break
            await asyncio.sleep(0.05)
        return any(seen.connected for seen in self.devices.values())

    def look(self) -> None:
        """Take over what only our own pollers know; raise what has gone wrong in one."""
        for name, poller in self._pollers.items():
            if poller.tried:
                self.devices[name].connected = poller.counts.connected
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _listen(self, agent: AgentClient, teller: AgentClient) -> None:
        async def rows() -> None:
            async for row in agent.watch():
                if row["device"] in self.devices:
                    self.devices[row["device"]].take(row)
                    self._heard(row["device"], row)

        async def links() -> None:
            while True:
                await asyncio.sleep(ASK_AGAIN_S)
                self._links(await teller.devices(), rows=False)

        try:
            self._links(await teller.devices(), rows=True)
            async with asyncio.TaskGroup() as group:
                group.create_task(rows())
                group.create_task(links())
        except* AgentGone as gone:
            self.trouble = str(gone.exceptions[0])

    def _links(self, told: Sequence[dict[str, Any]], rows: bool) -> None:
        """What the agent says of its devices. Raises: AgentGone, where it goes by another site file than we do."""
        if missing := self.devices.keys() - {device["name"] for device in told}:
            raise AgentGone(f"{', '.join(sorted(missing))}: the agent does not poll it yet; {RELOAD}")
        for device in told:
            seen = self.devices.get(device["name"])
            if seen is None:
                continue
            if (device.get("profile_hash"), device["endpoint"]) != (seen.profile.hash, seen.endpoint):
                raise AgentGone(
                    f"{seen.name}: the agent asks {device['endpoint']} by another profile or address than this"
                    f" site file gives; {RELOAD}"
                )
            for row in sorted(device["rows"], key=lambda row: -row["age_s"]) if rows else ():
                seen.take(row, row["age_s"])
            if device["connected"] or seen.connected is not None or device["tried"]:
                seen.connected = device["connected"]

    def _poll(self) -> None:
        loaded, buses = self._loaded, Buses()
        learned = LearnedFile.load(loaded.learned_path)
        for i, device in enumerate(self._wanted):
            profile = loaded.profiles[device.name]
            poller = Poller(
                device, profile, WallClock(), self._take, buses, loaded.path.parent, i / len(self._wanted),
                learned.of(device.name, profile),
            )  # fmt: skip
            self._pollers[device.name] = poller
            self._tasks.append(asyncio.create_task(poller.run(), name=f"poll {device.name}"))

    def _take(self, device: str, row: Row) -> None:
        self._proofs.judge(device, row)
        words = getattr(self._pollers[device].link, "words", None)
        raw = {i: found.hex() for i in range(len(row.values)) if words and (found := words(i)) is not None}
        values = [None if np.isnan(value) else value for value in row.values.tolist()]
        told = {"scan": row.scan, "t_ns": row.t_ns, "values": values, "quality": row.quality.tolist()}
        told |= {"text": row.text, "words": raw}
        self.devices[device].take(told)
        self._heard(device, told)
