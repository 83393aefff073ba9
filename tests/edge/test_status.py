"""What the broker says of a gateway is right in whatever order things happen, with real agents."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from edge_rows import load
from mqtt_watch import Watcher, until, watching
from servers.mosquitto import Mosquitto

from edge import agent as agent_module
from edge.agent import Agent
from edge.clock import WallClock
from edge.config import LoadedSite

pytestmark = [pytest.mark.mosquitto, pytest.mark.usefixtures("kernels")]
STATUS, CATALOGUE = "bollard/1/port/gw/status", "bollard/1/port/gw/catalogue"


class Gateway:
    """An agent in this process that can be killed."""

    def __init__(self, folder: Path, *brokers: Mosquitto) -> None:
        folder.mkdir(exist_ok=True)
        load(folder, port=brokers[0].port)
        more = ", ".join(f'"127.0.0.1:{b.port}"' for b in brokers[1:])
        site = folder / "site.toml"
        text = site.read_text().replace("[clock]", f"reconnect_s = 1\nfallback = [{more}]\n[clock]")
        site.write_text(text)
        self.agent = Agent(LoadedSite.load(site), WallClock(), "test")
        self.stop, self.ready = asyncio.Event(), asyncio.Event()
        self.running = asyncio.create_task(self.agent.run(self.stop, self.ready.set))

    @property
    def id(self) -> str:
        return self.agent._disk.spool.id

    def cut(self) -> None:
        """The line is gone; the agent comes back by itself."""
        assert self.agent._uplink._connection is not None
        self.agent._uplink._connection.cut()

    async def kill(self) -> None:
        """Nothing is said, nothing is finished, nobody comes back."""
        connection = self.agent._uplink._connection
        assert connection is not None and connection._task is not None
        connection._task.cancel()
        self.running.cancel()
        await asyncio.wait([self.running, connection._task])
        connection.cut()
        self.agent._disk.spool._db.close()
        self.agent._disk.spool._lock.close()

    async def end(self) -> None:
        if not self.running.done():
            self.stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(self.running, 60.0)


class Scene:
    """A broker, who listens to it, and gateways."""

    def __init__(self, folder: Path, first: Mosquitto, second: Mosquitto, watcher: Watcher) -> None:
        self.folder, self.first, self.second, self.watcher = folder, first, second, watcher
        self.gateways: list[Gateway] = []

    def start(self, name: str = "gw", *brokers: Mosquitto) -> Gateway:
        self.gateways.append(Gateway(self.folder / name, *(brokers or (self.first,))))
        return self.gateways[-1]

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.watcher.last(STATUS) or b"{}"))

    async def says(self, state: str, *, by: Gateway, goodbye: bool | None = None) -> None:
        """The last word on the broker. `goodbye`: whether an offline is the agent's own, or its will."""

        def holds() -> bool:
            said = self.status()
            own = goodbye is None or ("sealed" in said) == goodbye
            return said.get("state") == state and said.get("spool") == by.id and own

        await until(holds)


async def connected(scene: Scene) -> None:
    await scene.says("online", by=scene.start())


async def stopped(scene: Scene) -> None:
    gateway = scene.start()
    await scene.says("online", by=gateway)
    await gateway.end()
    await scene.says("offline", by=gateway, goodbye=True)


async def killed(scene: Scene) -> None:
    gateway = scene.start()
    await scene.says("online", by=gateway)
    await gateway.kill()
    await scene.says("offline", by=gateway, goodbye=False)


async def killed_and_started(scene: Scene) -> None:
    await killed(scene)
    await scene.says("online", by=scene.start())


async def stopped_and_started(scene: Scene) -> None:
    await stopped(scene)
    await scene.says("online", by=scene.start())


async def cut_off_for_a_moment(scene: Scene) -> None:
    gateway = scene.start()
    await scene.says("online", by=gateway)
    gateway.cut()
    await scene.says("offline", by=gateway, goodbye=False)
    await scene.says("online", by=gateway)


async def broker_forgets_everything(scene: Scene) -> None:
    gateway = scene.start()
    await scene.says("online", by=gateway)
    scene.first.kill()
    await until(lambda: not scene.watcher.connection.connected)
    scene.watcher.heard.clear()
    scene.first.start()
    await scene.says("online", by=gateway)
    assert scene.watcher.last(CATALOGUE) is not None


async def broker_comes_after_the_agent(scene: Scene) -> None:
    scene.first.kill()
    gateway = scene.start()
    await gateway.ready.wait()
    scene.first.start()
    await scene.says("online", by=gateway)


async def stopped_while_cut_off(scene: Scene) -> None:
    """Nobody hears the goodbye: the will stands."""
    gateway = scene.start()
    await scene.says("online", by=gateway)
    gateway.stop.set()
    gateway.cut()
    await gateway.end()
    await scene.says("offline", by=gateway)


async def will_of_an_older_connection_comes_late(scene: Scene) -> None:
    """A line that died silently: the broker learns of it only after the agent is back."""
    gateway = scene.start()
    await scene.says("online", by=gateway)
    will = json.dumps(gateway.agent._reporter.whoami("offline")).encode()
    scene.watcher.connection.publish(STATUS, will, retain=True)
    await scene.says("offline", by=gateway, goodbye=False)
    await scene.says("online", by=gateway)


async def over_to_the_second_broker_and_back(scene: Scene) -> None:
    scene.first.kill()
    gateway = scene.start("gw", scene.first, scene.second)
    async with watching(scene.second.port, "bollard/1/#") as other:
        await until(lambda: json.loads(other.last(STATUS) or b"{}").get("state") == "online")
        scene.first.start()
        gateway.cut()
        await scene.says("online", by=gateway)
        await until(lambda: json.loads(other.last(STATUS) or b"{}").get("state") == "offline")


async def two_of_the_same_name(scene: Scene) -> None:
    """They throw one another off; each says so, and once one is stopped the other is what the broker says."""
    one, two = scene.start("one"), scene.start("two")

    def told(gateway: Gateway) -> bool:
        return gateway.agent._reporter._namesake_told_s > 0

    await until(lambda: told(one) and told(two))
    await two.end()
    await scene.says("online", by=one)


ORDERS: list[Callable[[Scene], Awaitable[None]]] = [
    connected, stopped, killed, killed_and_started, stopped_and_started, cut_off_for_a_moment,
    broker_forgets_everything, broker_comes_after_the_agent, stopped_while_cut_off,
    will_of_an_older_connection_comes_late, over_to_the_second_broker_and_back, two_of_the_same_name,
]  # fmt: skip


@asynccontextmanager
async def scene_in(folder: Path) -> AsyncIterator[Scene]:
    for name in ("first", "second"):
        (folder / name).mkdir()
    with Mosquitto(folder / "first") as first, Mosquitto(folder / "second") as second:
        async with watching(first.port, "bollard/1/#") as watcher:
            scene = Scene(folder, first, second, watcher)
            try:
                yield scene
            finally:
                await asyncio.gather(*(gateway.end() for gateway in scene.gateways))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
async def test_the_status_is_right_in_the_end(
    tmp_path: Path, order: Callable[[Scene], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "DRAIN_S", 0.1)  # no shore is there that would confirm
    async with scene_in(tmp_path) as scene:
        await order(scene)
        expected = scene.status()
        async with watching(scene.first.port, STATUS) as late:  # who comes later is told the same
            await until(lambda: late.heard)
            assert json.loads(late.heard[-1][1])["state"] == expected["state"]
