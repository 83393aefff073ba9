"""What each kind of fault does to the running system, and how it ends. `plan.py` says when."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from uuid import uuid4

from chaos.mqtt_proxy import MqttProxy
from chaos.plan import Fault
from chaos.site import STEP_S
from chaos.system import System
from chaos.tcp_proxy import TcpProxy

SOON_S = 60.0  # by then a process has come up, on a busy machine
NOTED_S = 20.0  # by then an agent has noted on disk what its clocks say, also one that was dead or had a full disk
SLOW_S = 0.4  # what each piece of data takes longer


class Faults:
    """Switches faults on a system. What a power cut keeps is drawn from the seed."""

    def __init__(self, system: System, seed: int) -> None:
        self._system = system
        self._chance = Random(seed)
        self._broker, self._database = asyncio.Lock(), asyncio.Lock()  # a server is down once at a time
        self.pages_lost = 0

    async def hit(self, fault: Fault) -> None:
        """Switch a fault on, and off again after its time."""
        async with self.fault(fault.kind, fault.target):
            await asyncio.sleep(fault.for_s)

    def fault(self, kind: str, target: str) -> AbstractAsyncContextManager[None]:
        """The fault as long as its block."""
        if kind.startswith("database-") and (status := kind.removeprefix("database-")).isdigit():
            return self._attribute(self._system.database, "answer", int(status), 0)
        made: dict[str, Callable[[str], AbstractAsyncContextManager[None]]] = {
            "kill": self._kill,
            "power-cut": self._power_cut,
            "disk-full": self._disk_full,
            "clock-step": self._clock_step,
            "boot-without-time": self._boot_without_time,
            "expired-certificate": self._expired_certificate,
            "kill-broker": lambda _: self._broker_down(self._system.broker.kill),
            "wipe-broker": lambda _: self._broker_down(self._wipe_broker),
            "restart-broker": lambda _: self._broker_down(self._system.broker.stop),
            "kill-database": lambda _: self._database_down(),
            "network-cut": lambda name: self._cut(self._way(name)),
            "network-slow": lambda name: self._attribute(self._way(name), "delay_s", SLOW_S, 0.0),
            "network-half-open": lambda name: self._half_open(self._way(name)),
            "doubled-messages": lambda name: self._attribute(self._way(name), "doubling", 0.5, 0.0),
            "reordered-messages": lambda name: self._attribute(self._way(name), "swapping", 0.5, 0.0),
            "database-refuses-connections": lambda _: self._cut(self._system.database),
            "database-slow": lambda _: self._attribute(self._system.database, "delay_s", SLOW_S, 0.0),
            "database-silent": lambda _: self._half_open(self._system.database),
            "database-loses-answers": lambda _: self._attribute(
                self._system.database, "lose_answers", True, False
            ),
        }
        return made[kind](target)

    def _way(self, name: str) -> MqttProxy:
        return self._system.shore if name == "shore" else self._system.gateways[name].uplink

    @asynccontextmanager
    async def _attribute(
        self, proxy: TcpProxy, name: str, value: object, afterwards: object
    ) -> AsyncIterator[None]:
        setattr(proxy, name, value)
        yield
        setattr(proxy, name, afterwards)

    # Processes and disks.

    @asynccontextmanager
    async def _kill(self, name: str) -> AsyncIterator[None]:
        await asyncio.to_thread(self._system.child(name).kill)
        yield

    @asynccontextmanager
    async def _power_cut(self, name: str) -> AsyncIterator[None]:
        gateway = self._system.gateways[name]
        gateway.agent.held = True
        await asyncio.to_thread(gateway.agent.kill)
        self.pages_lost += await asyncio.to_thread(gateway.disk.cut_power, self._chance)
        gateway.agent.held = False
        yield

    @asynccontextmanager
    async def _disk_full(self, name: str) -> AsyncIterator[None]:
        disk = self._system.disk if name == "shore" else self._system.gateways[name].disk
        disk.fill()
        yield
        disk.free()

    # Clocks.

    @asynccontextmanager
    async def _clock_step(self, name: str) -> AsyncIterator[None]:
        """The wall clock is set wrong by an hour, and right again."""
        gateway = self._system.gateways[name]
        gateway.stepped = True
        gateway.clock["step_s"] = self._chance.choice((-STEP_S, STEP_S))
        gateway.wrong_until_s = float("inf")
        self._system.set_clock(gateway)
        yield
        gateway.clock["step_s"] = 0.0
        self._system.set_clock(gateway)
        gateway.wrong_until_s = time.monotonic() + NOTED_S

    @asynccontextmanager
    async def _boot_without_time(self, name: str) -> AsyncIterator[None]:
        """The machine starts anew with a clock that is weeks behind, and hears of no time server for a while."""
        gateway = self._system.gateways[name]
        gateway.agent.held = True
        gateway.guesses |= time.monotonic() < gateway.wrong_until_s
        await asyncio.to_thread(gateway.agent.kill)
        gateway.clock |= {"trusted": False, "error_s": -self._chance.uniform(1e4, 3e6), "boot": str(uuid4())}
        self._system.set_clock(gateway)
        starts, gateway.agent.held = gateway.agent.starts, False
        await gateway.agent.started(starts + 1, SOON_S)
        yield
        gateway.guesses |= time.monotonic() < gateway.wrong_until_s
        gateway.clock["trusted"] = True
        self._system.set_clock(gateway)

    # Networks.

    @asynccontextmanager
    async def _cut(self, proxy: TcpProxy) -> AsyncIterator[None]:
        proxy.refuse = True
        proxy.cut()
        yield
        proxy.refuse = False

    @asynccontextmanager
    async def _half_open(self, proxy: TcpProxy) -> AsyncIterator[None]:
        """Connections that are there stay so and hear nothing, for ever; new ones only while it lasts."""
        proxy.dead = True
        proxy.freeze()
        yield
        proxy.dead = False

    @asynccontextmanager
    async def _expired_certificate(self, name: str) -> AsyncIterator[None]:
        """The gateway's certificate has run out, and its connection breaks; then somebody renews it."""
        gateway, pki = self._system.gateways[name], self._system.pki
        await asyncio.to_thread(pki.renew, gateway.owner, days=0)
        gateway.take_certificate(pki.folder)
        gateway.uplink.cut()
        yield
        await asyncio.to_thread(pki.renew, gateway.owner)
        gateway.take_certificate(pki.folder)

    # Servers.

    @asynccontextmanager
    async def _broker_down(self, end: Callable[[], object]) -> AsyncIterator[None]:
        async with self._broker:
            await asyncio.to_thread(end)
            yield
            await asyncio.to_thread(self._system.broker.start)

    def _wipe_broker(self) -> None:
        self._system.broker.kill()
        (self._system.folder / "mosquitto" / "mosquitto.db").unlink(missing_ok=True)

    @asynccontextmanager
    async def _database_down(self) -> AsyncIterator[None]:
        async with self._database:
            await asyncio.to_thread(self._system.influx.kill)
            yield
            await asyncio.to_thread(self._system.influx.start)
