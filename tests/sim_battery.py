"""A simulated battery on a real OPC UA server, whose values and faults a test sets."""

from typing import Any

from drivers.profile import load_profile
from firmware_sim.faults import FaultBoard
from firmware_sim.opcua_server import OpcUaServer
from firmware_sim.value_faults import ValueFaults, traits_of

BMS = load_profile("generic-bms")
VALUES = {
    "pack_voltage_v": 950.0, "pack_current_a": -20.0, "pack_temp_c": 21.0, "cell_min_v": 3.6, "cell_max_v": 3.7,
    "cell_min_temp_c": 20.0, "cell_max_temp_c": 22.0, "soc_bms": 0.5, "soh_bms": 0.97, "charge_limit_w": 1e6,
    "discharge_limit_w": 2e6, "contactor": 1, "alarm_word": 0, "heartbeat": 1, "vessel": "AURELIE",
}  # fmt: skip


class SimBattery:
    """A battery server; `show` sets values and makes the server publish them."""

    def __init__(self, security: str = "anonymous", history: tuple[str, ...] = ()) -> None:
        self.board = FaultBoard({"bms": traits_of(BMS, "opcua")})
        self.values: dict[str, Any] = dict(VALUES)
        self.t_ns = 1_791_956_400_000_000_000
        faults = ValueFaults(self.board, "bms", BMS, lambda: 0, seed=3)
        self.server = OpcUaServer("bms", BMS, lambda: dict(self.values), security, history, self.board, faults)
        self.url = ""

    def now_ns(self) -> int:
        return self.t_ns

    async def start(self) -> None:
        self.url = await self.server.start("127.0.0.1", 0, self.t_ns)
        self.server._now_ns = self.now_ns

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    async def show(self, **values: Any) -> None:
        """A second later these values are there."""
        self.t_ns += 1_000_000_000
        self.values |= values
        await self.server.refresh(self.t_ns)

    async def on(self, name: str, **options: float | str) -> None:
        self.board.on(name, "bms", **options)
        await self.server.apply()

    async def off(self, name: str) -> None:
        self.board.off(name, "bms")
        await self.server.apply()

    async def reset(self) -> None:
        for fault in self.board.active():
            self.board.off(fault.name)
        self.values = dict(VALUES)
        await self.server.apply()
