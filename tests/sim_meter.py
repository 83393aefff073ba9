"""A simulated meter on a port, with values of its own for each register."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from drivers.profile import load_profile
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer, ModbusUnit
from firmware_sim.value_faults import ValueFaults, traits_of

METER = load_profile("generic-meter")
VALUES: dict[str, Any] = {
    "power_w": 6_998_400.0, "reactive_power_var": 812_000.0, "voltage_l1_v": 6_351.0, "voltage_l2_v": 6_340.5,
    "voltage_l3_v": 6_355.25, "current_l1_a": 368.5, "current_l2_a": 367.0, "current_l3_a": 369.25,
    "frequency_hz": 50.01, "power_factor": 0.993, "energy_import_total_wh": 48_211_907,
    "energy_export_total_wh": 1_204, "reactive_import_total_varh": 5_311_200,
}  # fmt: skip


def meter_unit(swapped: bool = False, **values: Any) -> ModbusUnit:
    board = FaultBoard({"m": traits_of(METER, "modbus-tcp")})
    if swapped:
        board.on("swapped-words", "m")
    return ModbusUnit(METER, lambda: VALUES | values, ValueFaults(board, "m", METER, lambda: 0, 1))


@asynccontextmanager
async def meter(
    make: Callable[..., ModbusServer] = ModbusServer, swapped: bool = False, unit: int = 1, **values: Any
) -> AsyncIterator[tuple[ModbusServer, int]]:
    """A meter on a port."""
    server = make({unit: meter_unit(swapped, **values)})
    port = await server.start("127.0.0.1", 0)
    yield server, port
    await server.stop()
