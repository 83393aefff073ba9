"""The running system: simulator, three agents, a broker, InfluxDB, two workers; proxies on every way between."""

import asyncio
import contextlib
import getpass
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chaos import journal, site
from chaos.disk import Disk, build
from chaos.http_proxy import HttpProxy
from chaos.mqtt_proxy import MqttProxy
from processes import free_port
from servers.influx import TOKEN, InfluxServer
from servers.mosquitto import Mosquitto

from conftest import influxd  # isort: skip
from gateway.config import TOKEN_VARIABLE
from gateway.pki import Pki

ROOT = Path(__file__).resolve().parents[2]
LEAD_NS = 500_000_000
WORKERS = ("ingest-1", "ingest-2")
AGENT_RESTART_S = 1.0 + site.MAX_GAP_S / site.SPEED  # a death that no meter's power bridges
FEW_ROWS = 500  # that are on their way at any time
ANSWER_S = 120.0  # of the simulator, on a busy machine
MOST_STARTS = 500  # of one process: it is not to die by itself again and again
BROKER = """\
user {user}
persistence true
persistence_location {folder}/
autosave_interval 5
log_dest stderr
max_inflight_messages 1000
listener {plain} 127.0.0.1
allow_anonymous true
listener {tls} 127.0.0.1
cafile {pki}/ca.pem
certfile {pki}/b1.pem
keyfile {pki}/b1.key
require_certificate true
use_identity_as_username true
"""


@dataclass
class Child:
    """A process of the product. It is started again when it has died, as a service manager does."""

    name: str
    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    restart_s: float = 0.5  # how long the service manager waits
    held: bool = False  # a fault wants it to stay down
    deaths: list[tuple[int, int]] = field(default_factory=list)  # monotonic ns: seen dead, started again
    codes: list[int] = field(default_factory=list)  # ends that nobody had asked for
    _process: subprocess.Popen[bytes] | None = None
    _killed_ns: int = 0
    _log_at: int = 0  # where its log of this start begins

    def start(self) -> None:
        if self._killed_ns:
            self.deaths.append((self._killed_ns, time.monotonic_ns()))
            self._killed_ns = 0
        self.starts += 1
        self._log_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT,
                env=os.environ | self.env, start_new_session=True,
            )  # fmt: skip

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """At once, as the kernel does when memory is out."""
        if self._process is not None and self.alive():
            self._killed_ns = time.monotonic_ns()  # the supervisor may look in between
            self._process.kill()
            self._process.wait()
            self._killed_ns = time.monotonic_ns()

    def end(self, timeout_s: float) -> int | None:
        """SIGTERM, and time to say goodbye. None: it did not go."""
        if self._process is None or not self.alive():
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
            self._process.kill()
            self._process.wait()
        self._killed_ns = time.monotonic_ns()
        return code

    def see(self) -> None:
        """Start it again if it has ended by itself."""
        if self._process is None or self.held or self.alive():
            return
        if not self._killed_ns:
            self.codes.append(self._process.returncode)
            self._killed_ns = time.monotonic_ns()
        if time.monotonic_ns() - self._killed_ns < self.restart_s * 1e9:
            return
        assert self.starts < MOST_STARTS, f"{self.name} dies again and again:\n{self.tail()}"
        self.start()

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def ready_line(self) -> str | None:
        """The rest of the ready line of its last start; None: not yet."""
        said = self.log.read_bytes()[self._log_at :].decode(errors="replace")
        return next((line[5:].strip() for line in said.splitlines() if line.startswith("ready")), None)

    async def started(self, times: int, within_s: float) -> None:
        """Return once it is ready after so many starts; or later than that, if other faults keep it down."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            if self.starts >= times and self.ready_line() is not None:
                return
            await asyncio.sleep(0.1)

    async def ready(self, timeout_s: float = 120.0) -> str:
        end_s = time.monotonic() + timeout_s
        while (said := self.ready_line()) is None:
            assert self.alive() and time.monotonic() < end_s, f"{self.name} is not ready:\n{self.tail()}"
            await asyncio.sleep(0.05)
        return said


class Gateway:
    """One agent with its folder, and the way to its broker."""

    def __init__(self, name: str, folder: Path, shim: Path) -> None:
        self.name, self.folder = name, folder
        self.spool = folder / "disk" / "spool.db"
        self.owner = f"{site.SITE}/{name}"
        self.disk = Disk(shim, folder / "disk")
        self.tls = name in site.SPOKEN_TLS
        self.clock: dict[str, object] = {}  # what is wrong with it; see edge.clock.SimulatedClock
        self.stepped = False  # its clock has been set wrong while it was trusted
        self.wrong_until_s = 0.0  # monotonic: its clock was wrong, and nobody may have noted yet that it is right
        self.guesses = False  # it has booted meanwhile: how long that took no clock can tell
        self.uplink: MqttProxy
        self.agent: Child

    def take_certificate(self, pki: Path) -> dict[str, str]:
        """Copy what the CA has made for it; where the site file finds it."""
        stem = self.owner.replace("/", ".")
        names = {"tls_ca": "ca.pem", "tls_cert": f"{stem}.pem", "tls_key": f"{stem}.key"}
        for name in names.values():
            (self.folder / name).write_bytes((pki / name).read_bytes())
        return names


class System:
    """All of it. Use `running`."""

    def __init__(self, folder: Path, gateways: Iterable[str] = tuple(site.SHARE)) -> None:
        self.folder = folder
        shim = build(folder)
        self.disk = Disk(shim, folder / "disk")  # the shore's: its book
        self.gateways = {name: Gateway(name, folder / name, shim) for name in gateways}
        self.pki = Pki.init(folder / "pki")
        binary = influxd()
        assert binary is not None, "use the marker influx"
        (folder / "influx").mkdir()
        self.influx = InfluxServer(binary, folder / "influx")
        self.plain_port, self.tls_port = free_port(), free_port()
        self.broker = Mosquitto(folder, made=self._broker_files(), port=self.plain_port)
        self.shore = MqttProxy(self.plain_port)  # between the broker and the workers
        self.database = HttpProxy(self.influx.access.url)
        self.sim = self._child("sim", ["firmware_sim.cli", "run", "scenario.toml"])
        self.workers: dict[str, Child] = {}
        self.origin_ns = 0  # monotonic
        self.control = 0

    # From nothing to a running system.

    async def start(self) -> None:
        """Bring all up with simulated time standing still, then let it run."""
        self._write_clock(self.folder, None)
        site.write(self.folder, "bms.toml", site.bms_profile())
        scenario = site.write(self.folder, "scenario.toml", site.scenario())
        clock = ["--sim-clock", str(self.folder / "clock.json")]
        self.sim.command[-1:] = [str(scenario), *clock, "--port-base", "0", "--control-port", "0"]
        self.sim.start()
        await asyncio.gather(asyncio.to_thread(self.influx.__enter__), asyncio.to_thread(self.broker.start))
        await asyncio.gather(self.shore.start(), self.database.start())
        said = json.loads(await self.sim.ready())
        self.control = said["control"]
        await self._start_shore()
        for gateway in self.gateways.values():
            await self._start_gateway(gateway, said["devices"])
        for child in (*self.workers.values(), *self.agents()):
            await child.ready()
        self.origin_ns = time.monotonic_ns() + LEAD_NS
        self._write_clock(self.folder, self.origin_ns)
        for gateway in self.gateways.values():
            self.set_clock(gateway)

    async def _start_shore(self) -> None:
        (self.folder / "disk").mkdir()
        access = self.influx.access
        shore = site.write(
            self.folder, "shore.toml", site.shore_file(self.database.url, access.org, self.shore.port)
        )
        for name in WORKERS:
            self.workers[name] = self._child(name, ["gateway.ingest_cli", "--shore", str(shore)])
            self.workers[name].env = {TOKEN_VARIABLE: TOKEN, **self.disk.env}
            self.workers[name].start()
            await self.workers[name].ready()  # the first makes book and buckets

    async def _start_gateway(self, gateway: Gateway, addresses: dict[str, object]) -> None:
        folder = gateway.folder
        folder.mkdir()
        self.set_clock(gateway)
        clock = ["--sim-clock", str(folder / "clock.json")]
        gateway.uplink = MqttProxy(self.tls_port if gateway.tls else self.plain_port, readable=not gateway.tls)
        await gateway.uplink.start()
        tls = None
        site.write(folder, "bms.toml", site.bms_profile())
        if gateway.tls:
            self.pki.issue("gateway", gateway.owner)
            tls = gateway.take_certificate(self.pki.folder)
        file = site.write(folder, "site.toml", site.site_file(gateway.name, addresses, gateway.uplink.port, tls))
        journal.install(gateway.spool, gateway.owner)
        gateway.disk.settle()
        gateway.agent = self._child(gateway.name, ["edge.cli", "run", "--site", str(file), *clock])
        gateway.agent.env = gateway.disk.env
        gateway.agent.restart_s = AGENT_RESTART_S
        gateway.agent.start()

    def _broker_files(self) -> Path:
        self.pki.issue("broker", "b1", ["127.0.0.1"])
        made = self.folder / "mosquitto"
        text = BROKER.format(
            user=getpass.getuser(), folder=made, plain=self.plain_port, tls=self.tls_port, pki=self.pki.folder
        )
        return site.write(made, "mosquitto.conf", text).parent

    def _child(self, name: str, module: list[str]) -> Child:
        return Child(name, [sys.executable, "-m", *module], self.folder / f"{name}.log")

    def _write_clock(self, folder: Path, origin_ns: int | None, **wrong: object) -> Path:
        text = {"epoch_ns": site.START_NS, "speed": site.SPEED, "origin_monotonic_ns": origin_ns, **wrong}
        part = site.write(folder, "clock.json.part", json.dumps(text))
        return part.rename(folder / "clock.json")

    def set_clock(self, gateway: Gateway) -> None:
        """Have a gateway's machine show its clock as it is now."""
        self._write_clock(gateway.folder, self.origin_ns or None, **gateway.clock)

    # While it runs.

    def agents(self) -> list[Child]:
        return [gateway.agent for gateway in self.gateways.values() if hasattr(gateway, "agent")]

    def children(self) -> list[Child]:
        return [*self.agents(), *self.workers.values()]

    def ways(self) -> list[MqttProxy]:
        """Between gateways, broker and shore."""
        return [self.shore, *(gateway.uplink for gateway in self.gateways.values() if hasattr(gateway, "uplink"))]

    def child(self, name: str) -> Child:
        return next(child for child in self.children() if child.name == name)

    def simulated_ns(self, monotonic_ns: int) -> int:
        return site.START_NS + int((monotonic_ns - self.origin_ns) * site.SPEED)

    async def supervise(self) -> None:
        """What a service manager does, for ever."""
        while True:
            await asyncio.sleep(0.2)
            assert self.sim.alive(), f"the plant itself has died:\n{self.sim.tail()}"
            for child in self.children():
                child.see()

    async def ask(self, **request: object) -> dict[str, object]:
        """One question to the simulator's control port."""
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.control, limit=2**24)
            writer.write(json.dumps(request).encode() + b"\n")
            answer: dict[str, object] = json.loads(await reader.readline())
        writer.close()
        assert "error" not in answer, answer
        return answer

    async def settle(self, within_s: float) -> None:
        """Stop every agent once all that it has sealed is confirmed."""
        end_s = time.monotonic() + within_s
        await asyncio.gather(*(self._settle(gateway, end_s) for gateway in self.gateways.values()))

    async def _settle(self, gateway: Gateway, end_s: float) -> None:
        agent = gateway.agent
        while True:
            while (
                (left := journal.tally(gateway.spool).waiting) > FEW_ROWS
                or not agent.alive()
                or agent.ready_line() is None
            ):
                assert time.monotonic() < end_s, (
                    f"{gateway.name}: {left} rows still wait:\n{self.last_words(agent)}"
                )
                await asyncio.sleep(0.3)
            agent.held = True
            code = await asyncio.to_thread(agent.end, 60.0)
            if not journal.tally(gateway.spool).waiting:
                assert code == 0, f"{gateway.name} ended with {code}:\n{agent.tail()}"
                return
            agent.held = False  # its last receipts did not come in time: once more

    def last_words(self, child: Child) -> str:
        return "\n".join(f"{each.name}:\n{each.tail()}" for each in (child, *self.workers.values()))

    async def stop(self) -> None:
        for child in (*self.children(), self.sim):
            child.held = True
            child.kill()
        await asyncio.to_thread(self.broker.kill)
        await asyncio.to_thread(self.influx.kill)
        for proxy in (self.database, *self.ways()):
            await proxy.stop()


@contextlib.asynccontextmanager
async def running(folder: Path, gateways: Iterable[str] = tuple(site.SHARE)) -> AsyncIterator[System]:
    """The system while the block runs, and somebody who starts again what dies."""
    system = System(folder, gateways)
    try:
        await system.start()
        async with asyncio.TaskGroup() as group:  # what the supervisor finds wrong ends the block
            supervisor = group.create_task(system.supervise(), name="supervisor")
            yield system
            supervisor.cancel()
    finally:
        await system.stop()
