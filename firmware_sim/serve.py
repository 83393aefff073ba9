"""Put a bench on real sockets and keep it there until it is stopped."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from firmware_sim.bench import Bench, BenchDevice
from firmware_sim.clock import SimClock
from firmware_sim.control import ControlPort
from firmware_sim.encode import Values
from firmware_sim.modbus_server import ModbusServer, ModbusUnit
from firmware_sim.opcua_server import OpcUaServer

log = logging.getLogger("firmware_sim")
REFRESH_S = 0.5  # simulated, between two sets of OPC UA values
_REFRESH_AT_LEAST_S = 0.008  # real: above a speed of about 60 the values come less often than twice a second
_PARENT_POLL_S = 0.3


class PortTakenError(RuntimeError):
    """Another process listens on a port that we were told to use."""


@dataclass(frozen=True)
class Ports:
    """Where to listen. `base` counts up by device; 0 lets the system choose, as does `control` = 0."""

    host: str = "127.0.0.1"
    base: int = 0
    control: int = 0


@contextlib.asynccontextmanager
async def serving(
    bench: Bench, clock: SimClock, ports: Ports, stop: asyncio.Event
) -> AsyncIterator[dict[str, Any]]:
    """Serve every device while the block runs.

    Yields: what the ready line says: devices with their addresses, the control port, what is replayed.
    Raises: PortTakenError.
    """
    units: dict[str, ModbusUnit] = {}
    devices: dict[str, dict[str, Any]] = {}
    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(_cancelled_at_exit())
        for i, (name, device) in enumerate(bench.devices.items()):
            port = ports.base + i if ports.base else 0
            values = _now_of(device, clock)
            if device.profile.protocol == "modbus":
                units[name] = ModbusUnit(device.profile, values)
                server = ModbusServer({device.table.unit_id: units[name]})
                stack.push_async_callback(server.stop)
                with _named(name, ports.host, port):
                    taken = await server.start(ports.host, port)
                address = {"host": ports.host, "port": taken, "unit_id": device.table.unit_id}
            else:
                opcua = OpcUaServer(name, device.profile, values)
                with _named(name, ports.host, port):
                    url = await opcua.start(ports.host, port, clock.now_ns())
                stack.push_async_callback(opcua.stop)
                interval_s = max(_REFRESH_AT_LEAST_S, clock.real_s(REFRESH_S))
                group.append(asyncio.create_task(opcua.refresh_forever(clock.now_ns, interval_s), name=name))
                address = {"host": ports.host, "port": int(url.split(":")[2].split("/")[0]), "url": url}
            devices[name] = {"protocol": device.profile.protocol, **address}
        control = ControlPort(
            bench, clock, stop, lambda: {name: dict(unit.requests) for name, unit in units.items()}
        )
        stack.push_async_callback(control.stop)
        with _named("the control port", "127.0.0.1", ports.control):
            control_port = await control.start(ports.control)
        yield {"devices": devices, "control": control_port, "berths": bench.describe()}


async def run(
    bench: Bench,
    clock: SimClock,
    ports: Ports,
    ready: Callable[[dict[str, Any]], None],
    duration_s: float | None = None,
    parent_pid: int | None = None,
) -> bool:
    """Serve until SIGTERM, SIGINT, a stop on the control port, the end of `duration_s` or of the parent.

    Args:
        ready: Called once, when every socket listens.
        duration_s: Simulated, counted from the epoch. [s]

    Returns: whether it was SIGINT that ended it.
    Raises: PortTakenError.
    """
    stop, interrupted = asyncio.Event(), False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        stop.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    async with serving(bench, clock, ports, stop) as ready_line, _cancelled_at_exit() as tasks:
        if parent_pid is not None:
            tasks.append(asyncio.create_task(_watch_parent(parent_pid, stop), name="parent"))
        if duration_s is not None:
            tasks.append(asyncio.create_task(_watch_clock(clock, duration_s, stop), name="duration"))
        ready(ready_line)
        await stop.wait()
    return interrupted


async def _watch_parent(pid: int, stop: asyncio.Event) -> None:
    ours = os.getppid() == pid  # else it is another process, as under a wrapper
    while not stop.is_set():
        if (ours and os.getppid() != pid) or not _exists(pid):
            log.info("parent %d is gone; stopping", pid)
            stop.set()
        await asyncio.sleep(_PARENT_POLL_S)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _watch_clock(clock: SimClock, duration_s: float, stop: asyncio.Event) -> None:
    while not stop.is_set():
        left_s = duration_s - clock.elapsed_ns() / 1e9
        if left_s <= 0.0:
            stop.set()
        await asyncio.sleep(min(0.1, max(0.001, clock.real_s(left_s))))  # the clock may not have started


def _now_of(device: BenchDevice, clock: SimClock) -> Callable[[], Values]:
    return lambda: device.values(clock.elapsed_ns())


@contextlib.asynccontextmanager
async def _cancelled_at_exit() -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks put into the list end with the block; a bug in one leaves here."""
    tasks: list[asyncio.Task[None]] = []
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.contextmanager
def _named(what: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PortTakenError(
            f"{what}: {host}:{port} cannot be listened on: {error.strerror or error}; "
            "give another --port-base or --control-port, or 0 for free ports"
        ) from error
