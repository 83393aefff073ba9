"""Servers by others: libmodbus and modbus-serial are read, lost, started again and read again."""

import asyncio
import contextlib
import os
import pty
import select
import subprocess
import threading
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, peers
from processes import Process, free_port

from drivers.profile import Profile, load_profile
from drivers.row import Quality, Row
from edge.clock import WallClock
from edge.config import DeviceConfig
from edge.poll import Poller

FOLDER = ROOT / "tests" / "peers"
UNIT = 3
POINTS = {  # name: table, address, type
    "first": ("holding", 0, "uint16"),
    "near": ("holding", 4, "uint32"),
    "far": ("holding", 300, "uint16"),
    "measured": ("input", 20, "uint32"),
    "switch": ("coil", 9, "bool"),
    "contact": ("discrete", 10, "bool"),
}
EXPECTED = {  # register n of these servers holds 3 n + 7, coil n is set where n % 3 == 0
    "first": 7, "near": 19 * 2**16 + 22, "far": 907, "measured": 67 * 2**16 + 70, "switch": 1, "contact": 0,
}  # fmt: skip


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    text = 'schema = 1\nkind = "lock"\nmodel = "a server by others"\nsource = "tests/peers"\n'
    for name, (table, address, kind) in POINTS.items():
        text += f'[[point]]\nname = "{name}"\ntable = "{table}"\naddress = {address}\ntype = "{kind}"\n'
    path = tmp_path / "peer.toml"
    path.write_text(text)
    return path


class Reader:
    """A device that is polled five times a second, and what came of it."""

    def __init__(self, profile: Path, **where: Any) -> None:
        self.profile: Profile = load_profile(str(profile))
        self.rows: list[Row] = []
        table = {
            "name": "peer", "profile": str(profile), "unit_id": UNIT, "interval_s": 0.2, "timeout_s": 1.0, **where,
        }  # fmt: skip
        device = DeviceConfig.model_validate(table)
        self.poller = Poller(device, self.profile, WallClock(), lambda _, row: self.rows.append(row))

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poller.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, wanted: Callable[[Row], bool]) -> Row:
        """The next row that is as wanted."""
        seen = len(self.rows)
        async with asyncio.timeout(60.0):
            while True:
                for row in self.rows[seen:]:
                    if wanted(row):
                        return row
                seen = len(self.rows)
                await asyncio.sleep(0.02)


def is_good(row: Row) -> bool:
    return not row.quality.any()


def is_lost(row: Row) -> bool:
    return bool((row.quality == Quality.NO_ANSWER).all() and np.isnan(row.values).all())


async def read_lose_restart_recover(reader: Reader, serve: Callable[[], Process]) -> None:
    async with reader.reading():
        with serve():
            first = await reader.until(is_good)
        await reader.until(is_lost)
        with serve():
            again = await reader.until(is_good)
    for row in (first, again):
        assert dict(zip(POINTS, row.values.tolist(), strict=True)) == EXPECTED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server on libmodbus, compiled."""
    program = tmp_path_factory.mktemp("libmodbus") / "modbus_serve"
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["cc", "-O1", "-o", program, FOLDER / "modbus_serve.c", *flags], check=True)
    return program


@pytest.mark.libmodbus
async def test_a_libmodbus_server_over_tcp(server: Path, profile: Path) -> None:
    port = free_port()
    reader = Reader(profile, host="127.0.0.1", port=port)
    await read_lose_restart_recover(reader, lambda: Process([str(server), "tcp", str(port), str(UNIT)]))


@pytest.mark.npm
async def test_a_modbus_serial_server_over_tcp(profile: Path) -> None:
    port = free_port()
    command = ["node", str(FOLDER / "modbus_serve.js"), str(port), str(UNIT)]
    reader = Reader(profile, host="127.0.0.1", port=port)
    await read_lose_restart_recover(reader, lambda: Process(command, env={"PEERS": str(peers())}))


@pytest.fixture
def line() -> Iterator[tuple[str, str]]:
    """The two ends of a serial line: what is written to one comes out of the other."""
    ends = [pty.openpty() for _ in range(2)]
    masters = [master for master, _ in ends]
    for fd in (fd for end in ends for fd in end):
        tty.setraw(fd)
    stop_r, stop_w = os.pipe()

    def carry() -> None:
        while True:
            ready, _, _ = select.select([*masters, stop_r], [], [])
            if stop_r in ready:
                return
            for master in ready:
                os.write(masters[1 - masters.index(master)], os.read(master, 4096))

    carrier = threading.Thread(target=carry, daemon=True)
    carrier.start()
    yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    os.write(stop_w, b"x")
    carrier.join(5.0)
    for fd in (*(fd for end in ends for fd in end), stop_r, stop_w):
        os.close(fd)


@pytest.mark.libmodbus
async def test_a_libmodbus_server_on_a_serial_line(server: Path, profile: Path, line: tuple[str, str]) -> None:
    ours, theirs = line
    reader = Reader(profile, transport="rtu", serial=ours, baud=19_200, parity="N", stop_bits=2, listen_s=0.0)
    await read_lose_restart_recover(reader, lambda: Process([str(server), "rtu", theirs, "19200", str(UNIT)]))
