"""Simulated Modbus devices in a process of their own, so that a benchmark's CPU is the client's alone.

Argument: JSON with `points` (float32, or uint16 registers), `ports`, `units` per port, `line` (a paced serial
line instead), `moving` (each second other values). Prints `ready` and the ports, or the line's path. On stdin it
takes lines `on NAME DEVICE {options}` and `off NAME`; a device is `PORT/UNIT`, both counted from 0. Ends
with its stdin.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from drivers.profile import Profile
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.serial_line import SerialLine
from firmware_sim.value_faults import traits_of
from firmware_sim.wire_faults import WireFaults


def profile_of(points: int, kind: str) -> Profile:
    """Points without gaps, named p0, p1, …"""
    words = 2 if kind == "float32" else 1
    table = [{"name": f"p{i}", "type": kind, "address": words * i} for i in range(points)]
    return Profile.model_validate({"schema": 1, "kind": "meter", "model": "b", "source": "b", "point": table})


def source_of(values: dict[str, float], moving: bool) -> Callable[[], dict[str, float]]:
    """Always the same values, or others each second: a register in the middle of its range that wanders."""
    if not moving:
        return lambda: values
    latest: list[Any] = [0, values]

    def now() -> dict[str, float]:
        second = int(time.monotonic())
        if latest[0] != second:
            latest[:] = second, {name: 30_000 + (97 * i + 31 * second) % 1009 for i, name in enumerate(values)}
        return latest[1]  # type: ignore[no-any-return]

    return now


async def serve(options: dict) -> None:
    profile = profile_of(options["points"], options["type"])
    values = {f"p{i}": float(i) if options["type"] == "float32" else i for i in range(options["points"])}
    source = source_of(values, options.get("moving", False))
    ports, units = options.get("ports", 1), options.get("units", 1)
    names = [f"{port}/{unit}" for port in range(ports) for unit in range(units)]
    protocol = "modbus-rtu" if options.get("line") else "modbus-tcp"
    board = FaultBoard({name: traits_of(profile, protocol) for name in names})
    servers: list[ModbusServer | SerialLine] = []
    told: list[int | str] = []
    for port in range(ports):
        here = {unit + 1: ModbusUnit(profile, source) for unit in range(units)}
        faults = {unit + 1: WireFaults(board, f"{port}/{unit}", lambda: 0, port) for unit in range(units)}
        if options.get("line"):
            line = SerialLine(here, faults, baud=options["baud"])
            told.append(line.start())
            servers.append(line)
        else:
            server = ModbusServer(here, faults)
            told.append(await server.start("127.0.0.1", 0))
            servers.append(server)
    print("ready", json.dumps(told), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line_read := await reader.readline():
        what, name, *rest = line_read.decode().strip().split(" ", 3)
        if what == "on":
            board.on(name, rest[0], **json.loads(rest[1]) if len(rest) > 1 else {})
        else:
            board.off(name)
        for server in servers:
            await server.apply()


asyncio.run(serve(json.loads(sys.argv[1])))
