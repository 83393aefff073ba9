"""A bench on real sockets, a clock that a test sets by hand, and a Modbus client that only knows bytes."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from firmware_sim.bench import Bench
from firmware_sim.clock import SimClock
from firmware_sim.scenario import Loaded, load_scenario
from firmware_sim.serve import Ports, serving

EPOCH_NS = 1_791_956_400_000_000_000


class HandClock(SimClock):
    """Stands at `t_ns` after the epoch until a test moves it."""

    def __init__(self) -> None:
        super().__init__(EPOCH_NS, 60.0, None)
        self.t_ns = 0

    def now_ns(self) -> int:
        return self.epoch_ns + self.t_ns


class RawModbus:
    """Sends bytes, gets bytes. Shares no code with the server, the driver or pymodbus."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._transaction = 0

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def frame(self) -> bytes:
        """One whole frame, header included."""
        async with asyncio.timeout(30.0):
            head = await self.reader.readexactly(6)
            return head + await self.reader.readexactly(int.from_bytes(head[4:6], "big"))

    async def pdu(self, request: bytes, unit: int = 1) -> bytes:
        """The response PDU to a request PDU, with the header checked."""
        self._transaction += 1
        head = self._transaction.to_bytes(2, "big") + b"\0\0" + (len(request) + 1).to_bytes(2, "big")
        self.writer.write(head + bytes([unit]) + request)
        frame = await self.frame()
        assert frame[:4] == head[:4]
        assert frame[6] == unit
        return frame[7:]

    async def registers(self, address: int, count: int, function: int = 3) -> bytes:
        """The data bytes of registers."""
        answer = await self.pdu(struct.pack(">BHH", function, address, count))
        assert answer[:2] == bytes([function, 2 * count]), answer.hex()
        return answer[2:]


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[int], Any]]:
    """Opens raw Modbus connections and closes them after the test."""
    open_ones: list[RawModbus] = []

    async def connect(port: int) -> RawModbus:
        open_ones.append(await RawModbus.connect(port))
        return open_ones[-1]

    yield connect
    for client in open_ones:
        client.writer.close()


@pytest.fixture(scope="session")
def demo_port() -> Loaded:
    return load_scenario("demo-port")


@pytest.fixture
def bench(demo_port: Loaded) -> Bench:
    return Bench(demo_port)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def served(demo_port: Loaded, clock: HandClock) -> AsyncIterator[dict[str, Any]]:
    """The demo port on free ports, without its OPC UA device, which takes a second to start.

    The value is its ready line, and the bench as "bench".
    """
    modbus = tuple(d for d in demo_port.scenario.device if d.profile != "generic-bms")
    scenario = demo_port.scenario.model_copy(update={"device": modbus})
    bench = Bench(replace(demo_port, scenario=scenario))
    async with serving(bench, clock, Ports(), asyncio.Event()) as ready:
        yield {**ready, "bench": bench}


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "cell.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
