"""What reading Modbus costs: against pymodbus with a request per tag, on many devices, a serial line, with faults.

The servers run in another process; the processor share is that of the client, of one core. How long each part
measures is BOLLARD_BENCH_S (20 s); memory is watched for BOLLARD_FAULTS_S (20 s, in `make nightly` 600). The aims
stand beside the figures.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pytest_benchmark.fixture import BenchmarkFixture

from drivers.address import ModbusAddress
from drivers.bus import Buses
from drivers.modbus import ModbusDevice
from drivers.profile import Profile
from drivers.row import Quality, Row
from edge.clock import WallClock
from edge.config import DeviceConfig
from edge.health import rss_bytes
from edge.poll import Poller

MEASURE_S = float(os.environ.get("BOLLARD_BENCH_S", "20"))
FAULTS_S = float(os.environ.get("BOLLARD_FAULTS_S", "20"))
SERVERS = Path(__file__).parent / "modbus_servers.py"
TABLE: list[tuple[str, str, str]] = []


class Servers:
    """The other process."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __enter__(self) -> Self:
        self.child = subprocess.Popen(
            [sys.executable, str(SERVERS), json.dumps(self._options)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(SERVERS.parent.parent)},
        )  # fmt: skip
        assert self.child.stdout is not None
        self.at = json.loads(self.child.stdout.readline().removeprefix("ready "))
        return self

    def tell(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def __exit__(self, *exc_info: object) -> None:
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.close()
        self.child.wait(10.0)
        self.child.stdout.close()


def profile_of(points: int, kind: str) -> Profile:
    words = 2 if kind == "float32" else 1
    table = [{"name": f"p{i}", "type": kind, "address": words * i} for i in range(points)]
    return Profile.model_validate({"schema": 1, "kind": "meter", "model": "b", "source": "b", "point": table})


def told(what: str, measured: str, aim: str = "") -> None:
    TABLE.append((what, measured, aim))


@pytest.fixture(scope="module", autouse=True)
def print_table() -> Iterator[None]:
    yield
    print(f"\n{'':52s}{'measured':>26s}  aim")
    for what, measured, aim in TABLE:
        print(f"{what:52s}{measured:>26s}  {aim}")


async def rate_of(tags: int, scan: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Tags per second, and µs of CPU per tag, at full speed."""
    await scan()
    scans, wall_s, cpu_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall_s < min(3.0, MEASURE_S):
        await scan()
        scans += 1
    return tags * scans / (time.perf_counter() - wall_s), 1e6 * (time.process_time() - cpu_s) / (tags * scans)


def test_a_tag_against_pymodbus_with_a_request_per_tag(benchmark: BenchmarkFixture) -> None:
    profile, tags = profile_of(200, "float32"), 200

    async def ours(port: int) -> tuple[float, float]:
        async with ModbusDevice(profile, ModbusAddress("127.0.0.1", port)).open() as link:
            return await rate_of(tags, lambda: link.scan("live", time.time_ns))

    async def bare(port: int, count: int) -> tuple[float, float]:
        """`count` registers a request; each converted as its documentation shows."""
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()

        async def scan() -> None:
            for address in range(0, 2 * tags, count):
                reply = await client.read_holding_registers(address, count=min(count, 2 * tags - address))
                client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32)

        figures = await rate_of(tags, scan)
        client.close()
        return figures

    figures: dict[str, tuple[float, float]] = {}
    with Servers(points=200, type="float32", ports=1) as servers:

        def measure() -> None:
            figures["ours"] = asyncio.run(ours(servers.at[0]))
            figures["bare"] = asyncio.run(bare(servers.at[0], 2))
            figures["blocks"] = asyncio.run(bare(servers.at[0], 124))

        benchmark.pedantic(measure, rounds=1)
    (per_s, us), (bare_per_s, bare_us), (_, block_us) = (figures[k] for k in ("ours", "bare", "blocks"))
    told("one device, 200 float32 tags, full speed", f"{per_s:,.0f} tags/s")
    told("  CPU", f"{us:.2f} µs/tag")
    told("  bare pymodbus, a request per tag", f"{bare_per_s:,.0f} tags/s")
    told("  CPU, and ratio to ours", f"{bare_us:.1f} µs/tag, {bare_us / us:.0f} x")
    told("  bare pymodbus, 124 registers a request, CPU, ratio", f"{block_us:.2f} µs/tag, {block_us / us:.1f} x")
    assert us < bare_us


class Fleet:
    """Pollers as the agent has them, whose rows are only counted."""

    def __init__(
        self, profile: Profile, addresses: list[ModbusAddress], interval_s: float, timeout_s: float
    ) -> None:
        self.rows = [0] * len(addresses)
        self.bad = [0] * len(addresses)
        buses, clock = Buses(), WallClock()
        self.pollers = []
        for i, at in enumerate(addresses):
            config = DeviceConfig(
                name=f"d{i}", profile="b", host=at.host, port=at.port, unit_id=at.unit_id, interval_s=interval_s,
                timeout_s=timeout_s,
            )  # fmt: skip
            self.pollers.append(Poller(config, profile, clock, self._take, buses, place=i / len(addresses)))

    def _take(self, name: str, row: Row) -> None:
        i = int(name[1:])
        if row.quality[0] == Quality.GOOD:
            self.rows[i] += 1
        else:
            self.bad[i] += 1

    @contextlib.asynccontextmanager
    async def polling(self):  # type: ignore[no-untyped-def]
        tasks = [asyncio.create_task(poller.run()) for poller in self.pollers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def measure(self, seconds: float) -> tuple[list[float], float]:
        """Rows per second of each device, and the share of a core in percent."""
        before, wall_s, cpu_s = list(self.rows), time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        took_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        return [(now - then) / took_s for now, then in zip(self.rows, before, strict=True)], 100.0 * cpu_s / took_s


def fleet_figures(
    points: int, kind: str, devices: int, interval_s: float, shared: bool = False, dead: int | None = None,
    settle_s: float = 3.0, seconds: float = MEASURE_S, timeout_s: float = 1.0,
) -> tuple[list[float], float]:  # fmt: skip
    profile = profile_of(points, kind)
    layout = {"ports": 1, "units": devices} if shared else {"ports": devices, "units": 1}
    with Servers(points=points, type=kind, **layout) as servers:
        at = [
            ModbusAddress("127.0.0.1", servers.at[0 if shared else i], i + 1 if shared else 1)
            for i in range(devices)
        ]

        async def run() -> tuple[list[float], float]:
            fleet = Fleet(profile, at, interval_s, timeout_s)
            async with fleet.polling():
                await asyncio.sleep(settle_s)
                if dead is not None:
                    servers.tell(f"on silence {f'0/{dead}' if shared else f'{dead}/0'}")
                return await fleet.measure(seconds)

        return asyncio.run(run())


def test_ten_thousand_tags_a_second_from_fifty_devices(benchmark: BenchmarkFixture) -> None:
    rates, share = benchmark.pedantic(lambda: fleet_figures(200, "float32", 50, 1.0), rounds=1)
    tags = 200 * sum(rates)
    told(f"50 devices x 200 float32 at 1 s: {tags:,.0f} tags/s", f"{share:.1f} % of a core", "< 50 %")
    assert tags > 9_000 and share < 50.0


def test_a_thousand_registers_a_second(benchmark: BenchmarkFixture) -> None:
    rates, share = benchmark.pedantic(lambda: fleet_figures(125, "uint16", 8, 1.0), rounds=1)
    registers = 125 * sum(rates)
    told(f"8 devices x 125 registers at 1 s: {registers:,.0f}/s", f"{share:.2f} % of a core", "< 1 %")


@pytest.mark.parametrize("shared", [False, True])
def test_a_dead_device_of_ten(benchmark: BenchmarkFixture, shared: bool) -> None:
    """From the moment on at which it dies: on one connection its first time-outs, which come often, count too."""

    def measure() -> float:
        rates = []
        for dead, seconds in ((None, MEASURE_S), (3, max(120.0, MEASURE_S) if shared else MEASURE_S)):
            per_s, _ = fleet_figures(20, "float32", 10, 0.5, shared, dead, 3.0, seconds, 0.5)
            rates.append(statistics.mean(rate for i, rate in enumerate(per_s) if i != 3))
        return 100.0 * (rates[1] / rates[0] - 1.0)

    change = benchmark.pedantic(measure, rounds=1)
    where = "on one connection" if shared else "each its connection"
    told(f"one dead of ten, {where}: the others' rate", f"{change:+.2f} %", "> -2 %")


def test_a_serial_line_is_used_as_far_as_it_goes(benchmark: BenchmarkFixture) -> None:
    profile, baud, registers = profile_of(125, "uint16"), 19_200, 125

    async def scans(path: str) -> float:
        at = ModbusAddress(transport="rtu", serial=path, baud=baud, parity="N", stop_bits=2, listen_s=0.0)
        async with ModbusDevice(profile, at).open() as link:
            await link.scan("live", time.time_ns)
            count, start_s = 0, time.perf_counter()
            while time.perf_counter() - start_s < MEASURE_S:
                await link.scan("live", time.time_ns)
                count += 1
            return count / (time.perf_counter() - start_s)

    with Servers(points=125, type="uint16", line=True, baud=baud) as servers:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        per_s = benchmark.pedantic(lambda: asyncio.run(scans(servers.at[0])), rounds=1)
        share = 100.0 * (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
    character_s = 11 / baud
    # request, answer, and 3.5 characters of silence before each
    allowed = 1.0 / ((8 + 5 + 2 * registers + 2 * 3.5) * character_s)
    share_of_line = f"{100 * per_s / allowed:.1f} %"
    told(f"serial line, {baud} baud, 125 registers: {per_s:.2f}/s of {allowed:.2f}", share_of_line, ">= 95 %")
    told("  client CPU", f"{share:.2f} % of a core")


@contextlib.contextmanager
def log_is_not_kept() -> Iterator[None]:
    """Lines are written and gone, as in a service; pytest would keep each of them for its report."""
    root = logging.getLogger()
    kept = root.handlers
    with open(os.devnull, "w") as nowhere:
        root.handlers = [logging.StreamHandler(nowhere)]
        try:
            yield
        finally:
            root.handlers = kept


def test_memory_under_faults(benchmark: BenchmarkFixture) -> None:
    """Random faults on all of ten devices; memory after a first round of them against that at the end."""
    faults = ("silence", "garbage", "half-frame", "reset-connections", "late-answer", "exception", "short-answer")
    chance = random.Random(1)

    async def run(servers: Servers) -> tuple[float, float]:
        at = [ModbusAddress("127.0.0.1", port) for port in servers.at]
        fleet = Fleet(profile_of(20, "float32"), at, 0.1, 0.1)
        async with fleet.polling():

            async def disturb(seconds: float) -> None:
                end_s = time.perf_counter() + seconds
                while time.perf_counter() < end_s:
                    name = chance.choice(faults)
                    servers.tell(f'on {name} {chance.randrange(10)}/0 {{"rate": 0.5}}')
                    await asyncio.sleep(0.5)
                    servers.tell(f"off {name}")

            await disturb(max(10.0, FAULTS_S / 4))
            before = rss_bytes()
            await disturb(FAULTS_S)
            return before / 1e6, rss_bytes() / 1e6

    with Servers(points=20, type="float32", ports=10) as servers, log_is_not_kept():
        before, after = benchmark.pedantic(lambda: asyncio.run(run(servers)), rounds=1)
    growth = 100.0 * (after / before - 1.0)
    told(f"memory over {FAULTS_S:.0f} s of faults on ten devices: {after:.1f} MB", f"{growth:+.2f} %", "< 2 %")
