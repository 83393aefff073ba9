"""A bench's devices on sockets and lines, and the faults that act there."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from firmware_sim.bench import Bench, BenchDevice
from firmware_sim.clock import SimClock
from firmware_sim.encode import Values
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer, RtuOverTcpServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.opcua_server import OpcUaServer
from firmware_sim.serial_line import SerialLine
from firmware_sim.value_faults import ValueFaults
from firmware_sim.wire_faults import WireFaults

REFRESH_S = 0.5  # simulated, between two sets of OPC UA values
_REFRESH_AT_LEAST_S = 0.008  # real: above a speed of about 60 the values come less often than twice a second
_LOOK_S = 0.1  # real, between two looks at a clock that may not have been started


class PortTakenError(RuntimeError):
    """Another process listens on a port that we were told to use."""


@dataclass(frozen=True)
class Ports:
    """Where to listen. `base` counts up by device; 0 lets the system choose, as does `control` = 0."""

    host: str = "127.0.0.1"
    base: int = 0
    control: int = 0


class Switchable(Protocol):
    """What a fault can do something to, beyond its answers."""

    async def apply(self) -> None: ...


class Stand:
    """Opens the devices of a bench. Those of one bus share a port or a line."""

    def __init__(self, bench: Bench, clock: SimClock, ports: Ports) -> None:
        self.units: dict[str, ModbusUnit] = {}
        self.addresses: dict[str, dict[str, Any]] = {}  # as in the ready line
        self.servers: dict[str, Switchable] = {}  # by device
        self.board = FaultBoard(bench.traits(), clock.elapsed_ns)
        bench.use(self.board)
        self._bench = bench
        self._clock = clock
        self._ports = ports

    async def open(
        self, later: Callable[[Callable[[], Awaitable[Any]]], Any], tasks: list[asyncio.Task[None]]
    ) -> None:
        """Listen everywhere.

        Args:
            later: Takes what closes each device again.
            tasks: What runs until then is put here.

        Raises: PortTakenError.
        """
        buses: dict[str, list[str]] = {}
        for name, device in self._bench.devices.items():
            if device.profile.protocol == "modbus":
                buses.setdefault(device.table.bus or f"={name}", []).append(name)
        places = {name: i for i, name in enumerate(self._bench.devices)}
        for names in buses.values():
            await self._open_bus(names, self._port(names[0], places), later)
        for name, device in self._bench.devices.items():
            if device.profile.protocol != "modbus":
                await self._open_opcua(name, device, self._port(name, places), later, tasks)
        self.addresses = {name: self.addresses[name] for name in self._bench.devices}

    def _port(self, name: str, places: Mapping[str, int]) -> int:
        own = self._bench.devices[name].table.port
        return own or (self._ports.base + places[name] if self._ports.base else 0)

    async def _open_bus(self, names: list[str], port: int, later: Callable[..., Any]) -> None:
        units, faults = {}, {}
        for name in names:
            device = self._bench.devices[name]
            unit_id = device.table.unit_id
            seed = self._bench.seed + unit_id
            values = _now_of(device, self._clock)
            units[unit_id] = ModbusUnit(device.profile, values, self._value_faults(name))
            faults[unit_id] = WireFaults(self.board, name, self._clock.elapsed_ns, seed)
            self.units[name] = units[unit_id]
        table = self._bench.devices[names[0]].table
        line: ModbusServer | SerialLine
        if table.transport == "rtu":
            line = SerialLine(units, faults, table.baud)
            path = line.start()
            address = {"transport": "rtu", "path": path, "baud": table.baud, "parity": "N", "stop_bits": 2}
            later(line.stop)
        else:
            line = (RtuOverTcpServer if table.transport == "rtu-over-tcp" else ModbusServer)(units, faults)
            later(line.stop)
            with port_named(names[0], self._ports.host, port):
                taken = await line.start(self._ports.host, port)
            address = {"host": self._ports.host, "port": taken}
            if table.transport == "rtu-over-tcp":
                address["transport"] = table.transport
        for name in names:
            self.servers[name] = line
            unit_id = self._bench.devices[name].table.unit_id
            self.addresses[name] = {"protocol": "modbus", **address, "unit_id": unit_id}

    async def _open_opcua(
        self,
        name: str,
        device: BenchDevice,
        port: int,
        later: Callable[..., Any],
        tasks: list[asyncio.Task[None]],
    ) -> None:
        server = OpcUaServer(
            name,
            device.profile,
            _now_of(device, self._clock),
            device.table.security,
            device.table.history,
            self.board,
            self._value_faults(name),
        )
        with port_named(name, self._ports.host, port):
            url = await server.start(self._ports.host, port, self._clock.now_ns())
        later(server.stop)
        interval_s = max(_REFRESH_AT_LEAST_S, self._clock.real_s(REFRESH_S))
        tasks.append(asyncio.create_task(server.refresh_forever(self._clock.now_ns, interval_s), name=name))
        self.servers[name] = server
        taken = int(url.split(":")[2].split("/")[0])
        self.addresses[name] = {"protocol": "opcua", "host": self._ports.host, "port": taken, "url": url}

    def _value_faults(self, name: str) -> ValueFaults:
        profile = self._bench.devices[name].profile
        return ValueFaults(self.board, name, profile, self._clock.elapsed_ns, self._bench.seed)


class FaultKeeper:
    """Brings about on sockets what the board says: at each switch, and when a scripted fault begins or ends."""

    def __init__(self, stand: Stand, clock: SimClock) -> None:
        self._stand = stand
        self._clock = clock
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        stand.board.listen(self._note)

    def _note(self, device: str) -> None:
        self._changed.add(device)
        self._wake.set()

    async def settle(self) -> None:
        """Return when what was switched has come about."""
        async with self._one_at_a_time:
            while self._changed:
                await self._stand.servers[self._changed.pop()].apply()

    async def keep(self) -> None:
        """Follow the script until cancelled."""
        board, seen_ns = self._stand.board, -1
        while True:
            await self.settle()
            self._wake.clear()
            next_ns = board.next_change_ns(seen_ns)
            if next_ns is None:
                await self._wake.wait()
                continue
            left_s = self._clock.real_s((next_ns - self._clock.elapsed_ns()) / 1e9)
            if left_s > 0.0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _LOOK_S)):
                        await self._wake.wait()
            now_ns = self._clock.elapsed_ns()
            if now_ns >= next_ns:
                seen_ns = now_ns
                self._changed.update(name for name in self._stand.servers if not board.untouched(name))


def _now_of(device: BenchDevice, clock: SimClock) -> Callable[[], Values]:
    return lambda: device.values(clock.elapsed_ns())


@contextlib.contextmanager
def port_named(what: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PortTakenError(
            f"{what}: {host}:{port} cannot be listened on: {error.strerror or error}; "
            "give another --port-base or --control-port, or 0 for free ports"
        ) from error
